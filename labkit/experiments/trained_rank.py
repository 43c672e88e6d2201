"""Low rank learned in training against low rank made afterwards: TRP, nuclear norm, SVD. Chapter 9."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from labkit.compress import compress
from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import Digits, mnist
from labkit.decomposition import TRPTrainer, low_rank_plan, nuclear_penalty, uniform_ranks
from labkit.experiments.low_rank import RATES, Row, fine_tuned, means
from labkit.experiments.registry import Record, experiment
from labkit.nets import VggSmall
from labkit.training import evaluate, fit

METHODS = ("svd", "nuclear", "trp", "trp + nuclear")
LAYERS = (  # all but the classifier
    "features.conv1_1",
    "features.conv1_2",
    "features.conv2_1",
    "features.conv2_2",
    "features.conv3_1",
    "features.conv3_2",
    "fc1",
)


@experiment(
    "trained-rank",
    split="trained and fine-tuned on the 55,000 digits of mnist('train') with the learning rates of train-lenet and "
    "svd-fc; period and nuclear weight chosen by the error on the 5,000 of mnist('heldout') after training on the "
    "first 20,000; the network, its layers and the numbers of epochs had been settled on with 3,000 of the same "
    "5,000; error on the 10,000 of mnist('test'), which no choice has seen",
    minutes=12,
    tiny={"source": "offline", "seeds": (0,), "plain_epochs": 1, "epochs": 1, "n_choice": 100, "n_train": 200}
    | {"periods": (2,), "nuclear_weights": (1e-3,), "width": 0.25},
    times=lambda made: _time_again(made),
)
def trained_rank(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    speedup: float = 2.4,
    plain_epochs: int = 3,
    epochs: int = 3,
    periods: tuple[int, ...] = (5, 20, 80),
    nuclear_weights: tuple[float, ...] = (1e-3, 3e-3, 1e-2),
    n_choice: int = 20_000,
    n_train: int | None = None,
    width: float = 0.5,
) -> dict[str, Any]:
    """A small VGG without normalisation at low rank: SVD after training, nuclear norm, TRP, and both together.

    All methods share `plain_epochs` of plain training; `epochs` by each method follow, with the learning rate from
    its start again. Every layer but the classifier is left with the same share of its multiply-adds.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    made = _Training(_ranks(speedup, width, digits), plain_epochs, epochs, width)
    grid = list(_settings(periods, nuclear_weights))
    tried = made.tried(grid, digits[:n_choice], mnist("heldout", source=source), seeds[0])
    chosen = [_best(tried, method) for method in METHODS]
    rows: list[Row] = []
    for seed in seeds:
        for setting, model in made.trained(chosen, digits, seed):
            rows += _rows(model, made.ranks, digits, test, {"seed": seed} | setting)
    return {"rows": rows, "summary": _summary(rows) | {"tried": tried}}


def _ranks(speedup: float, width: float, digits: Digits) -> dict[str, int]:
    """Return the ranks that give every layer the same share of its multiply-adds."""
    model, x = VggSmall(batch_norm=False, width=width), digits[:1].tensors()[0]
    return uniform_ranks(model, budget=int(count(model, x).macs / speedup), example_inputs=x, layers=LAYERS)


def _settings(periods: tuple[int, ...], weights: tuple[float, ...]) -> Iterator[Row]:
    """Yield every setting of every method; a period of 0 says that nothing is replaced in the training."""
    for method in METHODS:
        of_method = periods if "trp" in method else (0,), weights if "nuclear" in method else (0.0,)
        yield from ({"method": method, "period": m, "nuclear_weight": weight} for m, weight in product(*of_method))


def _best(tried: list[Row], method: str) -> Row:
    """Return the setting of a method with the least validation error."""
    best = min((row for row in tried if row["method"] == method), key=lambda row: row["validation_error"])
    return {key: value for key, value in best.items() if key != "validation_error"}


@dataclass(frozen=True)
class _Training:
    """What the trainings of all methods have in common."""

    ranks: dict[str, int]
    plain_epochs: int
    epochs: int
    width: float

    def trained(self, settings: Iterable[Row], digits: Digits, seed: int) -> Iterator[tuple[Row, nn.Module]]:
        """Yield for each setting the network trained plainly at first and then by the method."""
        given: dict[str, Any] = {"learning_rate": RATES["lenet-5"], "random_state": seed, "progress": False}
        start = VggSmall(batch_norm=False, width=self.width, random_state=seed)
        fit(start, digits, epochs=self.plain_epochs, **given)
        for setting in settings:
            model = copy.deepcopy(start)
            fit(model, digits, epochs=self.epochs, **given, **_arguments(model, self.ranks, setting))
            yield setting, model

    def tried(self, settings: Iterable[Row], digits: Digits, heldout: Digits, seed: int) -> list[Row]:
        """Return the settings with the error on held-out digits at low rank."""
        return [
            setting | {"validation_error": evaluate(_cut(model, self.ranks, digits), heldout).error}
            for setting, model in self.trained(settings, digits, seed)
        ]


def _arguments(model: nn.Module, ranks: dict[str, int], setting: Row) -> dict[str, Any]:
    """Return what a method adds to the arguments of `fit`."""
    period, weight = setting["period"], setting["nuclear_weight"]
    if period:
        return {"optimizer": TRPTrainer(model, ranks, period=period, nuclear_weight=weight).optimizer()}
    return {"regularizer": nuclear_penalty(LAYERS, weight=weight)} if weight else {}


def _cut(model: nn.Module, ranks: dict[str, int], digits: Digits) -> nn.Module:
    """Return a copy with its layers as two, at these ranks."""
    return compress(model, low_rank_plan(ranks), example_inputs=digits[:1].tensors()[0])[0]


def _rows(model: nn.Module, ranks: dict[str, int], digits: Digits, test: Digits, labels: Row) -> Iterator[Row]:
    """Yield the network at these ranks, as it is and after one epoch of fine-tuning."""
    small = _cut(model, ranks, digits)
    named = " ".join(f"{name.rpartition('.')[2]}:{rank}" for name, rank in ranks.items())
    measured = labels | {"ranks": named} | _measured(model, small, test)
    for tuned in (False, True):
        small = fine_tuned(small, digits, epochs=1, seed=labels["seed"]) if tuned else small
        yield measured | {"fine_tuned": tuned, "test_error": evaluate(small, test).error}


def _measured(model: nn.Module, small: nn.Module, test: Digits) -> Row:
    """Return the error of the network before the cut, and the cost after it."""
    x = test[:64].tensors()[0]
    cost = count(small, x[:1])
    return {
        "parameters": cost.n_params,
        "multiply_adds": cost.macs,
        "bytes": file_bytes(small),
        "time_ratio_64": round(time_ratio(lambda: model(x), lambda: small(x)), 3),
        "error_before": evaluate(model, test).error,
    }


def _time_again(made: Record) -> Iterator[tuple[Row, Row]]:
    """Yield the time ratio that all rows share: they have one shape, and trained weights take no other time."""
    width, digits = made.settings["width"], mnist("test", source="offline")
    model = VggSmall(batch_norm=False, width=width, random_state=0)
    small = _cut(model, _ranks(made.settings["speedup"], width, digits), digits)
    yield {}, {key: value for key, value in _measured(model, small, digits).items() if key == "time_ratio_64"}


def _summary(rows: list[Row]) -> dict[str, Any]:
    """Return the mean errors at low rank, and before the cut."""
    before = [row | {"test_error": row["error_before"]} for row in rows if not row["fine_tuned"]]
    return {"mean_test_error": means(rows, ("method", "fine_tuned")), "mean_before": means(before, ("method",))}
