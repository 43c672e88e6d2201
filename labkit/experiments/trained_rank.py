"""Low rank learned in training against low rank made afterwards: TRP, nuclear norm, SVD. Chapter 9."""

import copy
from collections.abc import Callable, Iterator
from itertools import count as count_from
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.compress import compress
from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import Digits, mnist
from labkit.decomposition import TRPTrainer, low_rank_plan, nuclear_penalty, uniform_ranks
from labkit.experiments.low_rank import RATES, Row, fine_tuned, means
from labkit.experiments.registry import experiment
from labkit.nets import LeNet300, VggSmall
from labkit.training import evaluate, fit

RATE = 2e-3
LOW_RANK = (  # all layers but the first and the last, which have too little to give
    "features.conv1_2",
    "features.conv2_1",
    "features.conv2_2",
    "features.conv3_1",
    "features.conv3_2",
    "fc1",
)
BATCH = 128
SPECTRUM = 60  # singular values of fc1 that the monitor keeps


@experiment(
    "trained-rank",
    split="trained and fine-tuned on the first 5,000 of mnist('train'); error on the 10,000 of mnist('test'). Training "
    "from the start by TRP had been tried first and had ended 4 points above plain training: hence "
    "the plain epochs at the start",
    minutes=2,
    tiny={"source": "offline", "seeds": (0,), "epochs": 1, "plain_epochs": 1, "n_train": 200, "width": 0.25},
)
def trained_rank(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0,),
    speedups: tuple[float, ...] = (2.4,),
    plain_epochs: int = 4,
    epochs: int = 4,
    period: int = 20,
    nuclear_weight: float = 3e-4,
    n_train: int | None = 5_000,
    width: float = 0.5,
) -> dict[str, Any]:
    """A small VGG without normalisation at low rank: SVD after training, nuclear norm, TRP, and both together.

    All methods share `plain_epochs` of plain training; `epochs` by each method follow, with the learning rate from
    its start again.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for seed in seeds:
        start = _fit(VggSmall(batch_norm=False, width=width, random_state=seed), digits, plain_epochs, seed)
        for speedup in speedups:
            ranks = _ranks(start, speedup, digits)
            for method, given in _methods(ranks, period, nuclear_weight).items():
                model = _fit(copy.deepcopy(start), digits, epochs, seed, given)
                rows += _rows(model, ranks, digits, test, {"seed": seed, "method": method, "speedup": speedup})
    tuned = means(rows, ("method", "speedup", "fine_tuned"))
    return {"rows": rows, "summary": {"mean_test_error": tuned, "mean_before": _before(rows)}}


def _fit(model: nn.Module, digits: Digits, epochs: int, seed: int, given: Callable = lambda model: {}) -> nn.Module:
    """Train the model in place, with what `given(model)` adds to the arguments of `fit`, and return it."""
    fit(model, digits, epochs=epochs, learning_rate=RATE, random_state=seed, progress=False, **given(model))
    return model


def _ranks(model: nn.Module, speedup: float, digits: Digits) -> dict[str, int]:
    """Return the ranks that give every layer the same share of its multiply-adds."""
    x = digits[:1].tensors()[0]
    return uniform_ranks(model, budget=int(count(model, x).macs / speedup), example_inputs=x, layers=LOW_RANK)


def _methods(ranks: dict[str, int], period: int, weight: float) -> dict[str, Callable[[nn.Module], dict[str, Any]]]:
    """Return for each method the function from the model to what `fit` gets."""

    def by_trp(nuclear_weight: float) -> Callable[[nn.Module], dict[str, Any]]:
        given: dict[str, Any] = {"period": period, "nuclear_weight": nuclear_weight}
        return lambda model: {"optimizer": TRPTrainer(model, ranks, **given).optimizer()}

    return {
        "svd": lambda model: {},
        "nuclear": lambda model: {"regularizer": nuclear_penalty(LOW_RANK, weight=weight)},
        "trp": by_trp(0.0),
        "trp + nuclear": by_trp(weight),
    }


def _rows(model: nn.Module, ranks: dict[str, int], digits: Digits, test: Digits, labels: Row) -> Iterator[Row]:
    """Yield the network at these ranks, as it is and after one epoch of fine-tuning."""
    x = test[:64].tensors()[0]
    before = evaluate(model, test).error
    small = compress(model, low_rank_plan(ranks), example_inputs=x[:1])[0]
    cost = count(small, x[:1])
    measured = {
        "ranks": " ".join(f"{name.rpartition('.')[2]}:{rank}" for name, rank in ranks.items()),
        "parameters": cost.n_params,
        "multiply_adds": cost.macs,
        "bytes": file_bytes(small),
        "time_ratio_64": round(time_ratio(lambda: model(x), lambda: small(x)), 3),
        "error_before": before,
    }
    for tuned in (False, True):
        small = fine_tuned(small, digits, epochs=1, seed=labels["seed"]) if tuned else small
        yield labels | measured | {"fine_tuned": tuned, "test_error": evaluate(small, test).error}


def _before(rows: list[Row]) -> list[Row]:
    """Return the mean error before the truncation, for each method and speed-up."""
    once = [row | {"test_error": row["error_before"]} for row in rows if not row["fine_tuned"]]
    return means(once, ("method", "speedup"))


@experiment(
    "trp-monitor",
    split="trained on the 4,000 of mnist('train', source='offline'); error on the first 2,000 of "
    "mnist('heldout', source='offline'); no choice was made on either",
    minutes=3,
    tiny={"n_train": 200, "epochs": 1, "nuclear_weights": (1e-3,), "periods": (2,), "tols": (0.3, 0.6)},
)
def trp_monitor(
    output: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    nuclear_weights: tuple[float, ...] = (0.0, 3e-3),
    periods: tuple[int, ...] = (8, 32, 128),
    tols: tuple[float, ...] = (0.2, 0.4, 0.6),
    epochs: int = 5,
    n_train: int | None = None,
) -> dict[str, Any]:
    """LeNet-300-100 by TRP for every nuclear weight, period and tolerance: spectrum of fc1 and errors, by epoch.

    `error_svd` is the error of the network that was trained plainly for as long, truncated to the same ranks.
    """
    digits = mnist("train", source="offline")[:n_train]
    heldout = mnist("heldout", source="offline")[:2000]
    rows: list[Row] = []
    for seed in seeds:
        plain = _by_epoch(LeNet300(random_state=seed), digits, torch.optim.Adam, epochs, seed)
        for weight, period, tol in product(nuclear_weights, periods, tols):
            model = LeNet300(random_state=seed)
            trainer = TRPTrainer(model, ["fc1", "fc2"], tol=tol, period=period, nuclear_weight=weight)
            trained = _by_epoch(model, digits, trainer.optimizer(), epochs, seed)
            labels = {"seed": seed, "nuclear_weight": weight, "period": period, "tol": tol}
            states = [_state(a, b, tol, heldout) for a, b in zip(trained, plain, strict=True)]
            rows += [labels | {"epoch": epoch} | state for epoch, state in enumerate(states, 1)]
    return {"rows": rows, "summary": {"n_runs": len(rows) // epochs}}


def _by_epoch(model: nn.Module, digits: Digits, optimizer: Any, epochs: int, seed: int) -> list[nn.Module]:
    """Train the model and return a copy of it after each epoch."""
    n_batches, steps, copies = -(-len(digits) // BATCH), count_from(1), []

    def keep(*_: Any) -> None:
        if next(steps) % n_batches == 0:
            copies.append(copy.deepcopy(model))

    def made(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        steps_down = optimizer(parameters, **settings)
        steps_down.register_step_post_hook(keep)
        return steps_down

    rate = RATES["lenet-300-100"]
    fit(
        model,
        digits,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=rate,
        optimizer=made,
        random_state=seed,
        progress=False,
    )
    return copies


def _state(model: nn.Module, plain: nn.Module, tol: float, heldout: Digits) -> Row:
    """Return the spectrum of fc1 and the errors before and after truncation, also of the plain network."""
    small = copy.deepcopy(model)
    ranks = TRPTrainer(small, ["fc1", "fc2"], tol=tol).truncate()
    other = copy.deepcopy(plain)
    TRPTrainer(other, ranks).truncate()
    spectra = [torch.linalg.svdvals(net.get_parameter("fc1.weight").detach()) for net in (model, plain)]
    errors = [evaluate(net, heldout).error for net in (model, small, plain, other)]
    return {
        "rank_fc1": ranks["fc1"],
        "rank_fc2": ranks["fc2"],
        **dict(zip(("error", "error_truncated", "error_plain", "error_svd"), errors, strict=True)),
        "spectrum": [float(f"{s:.4g}") for s in spectra[0][:SPECTRUM]],
        "spectrum_plain": [float(f"{s:.4g}") for s in spectra[1][:SPECTRUM]],
    }
