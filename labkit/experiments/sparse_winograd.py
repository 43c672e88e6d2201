"""Train the network of chapter 24 in its three forms, prune it in the Winograd domain, and count what is left."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.convolution import (
    SparseWinograd,
    SparseWinogradConv2d,
    density,
    density_after_transform,
    input_density_after_transform,
)
from labkit.cost import time_ratio
from labkit.datasets import Digits, mnist
from labkit.experiments.registry import Record, experiment
from labkit.nets import save
from labkit.nets.winograd_net import FORMS, WinogradNet
from labkit.training import evaluate, fit

SPLIT = (
    "trained on digits of mnist('train') without any choice made on others; error on the 5,000 digits of "
    "mnist('heldout') and the 10,000 of mnist('test')"
)
Row = dict[str, Any]


@experiment(
    "sparse-winograd",
    split=SPLIT,
    minutes=4,
    tiny={
        "source": "offline",
        "n_train": 300,
        "epochs": 1,
        "tune_epochs": 1,
        "sparsities": (0.6,),
        "n_count": 20,
        "n_time": 4,
    },
    times=lambda made: _retimed(made),
)
def sparse_winograd(
    output: Path,
    *,
    source: str = "download",
    n_train: int | None = 10_000,
    epochs: int = 3,
    tune_epochs: int = 1,
    learning_rate: float = 2e-3,
    sparsities: tuple[float, ...] = (0.4, 0.6, 0.8),
    shipped: float = 0.6,
    seeds: tuple[int, ...] = (0,),
    n_count: int = 200,
    n_time: int = 16,
) -> dict[str, Any]:
    """Direct, Winograd, and ReLU in the Winograd domain; pruned step by step, each step with further training."""
    digits = mnist("train", source=source)[:n_train]
    data = {"heldout": mnist("heldout", source=source), "test": mnist("test", source=source)}
    rows, summary = list[Row](), dict[str, Any]()
    for seed, form in product(seeds, FORMS):
        for sparsity, model in _trained(form, digits, sparsities, seed, learning_rate, (epochs, tune_epochs)):
            rows.append({"seed": seed} | _row(model, sparsity, data, n_count, n_time))
            if (form, sparsity, seed) == (FORMS[-1], shipped, seeds[0]):
                summary["shipped"] = _ship(model, output, rows[-1] | {"n_train": len(digits)})
            if (form, seed) == ("direct", seeds[0]):
                summary["direct"] = _zeros(model, data["heldout"], n_count)
    return {"rows": rows, "summary": summary}


def _trained(
    form: str, digits: Digits, sparsities: tuple[float, ...], seed: int, rate: float, epochs: tuple[int, int]
) -> Iterator[tuple[float, WinogradNet]]:
    """Yield the network after each step of pruning; the unpruned one trains as long as the first pruned one."""
    model = WinogradNet(form, random_state=seed)
    fit(model, digits, epochs=epochs[0], learning_rate=rate, random_state=seed)
    for sparsity in (0.0, *(sparsities if form != "direct" else ())):
        one = copy.deepcopy(model) if sparsity == 0 else model
        if sparsity:
            one.prune(sparsity)
        fit(one, digits, epochs=epochs[1], learning_rate=rate / 4, random_state=seed)
        yield sparsity, one


def _row(model: WinogradNet, sparsity: float, data: dict[str, Digits], n_count: int, n_time: int) -> Row:
    errors = {f"{name}_error": round(evaluate(model, digits).error, 4) for name, digits in data.items()}
    row: Row = {"form": model.form, "sparsity": sparsity} | errors
    if model.form == "direct":
        return row | dict.fromkeys(model.sparse_layers)
    x, _ = data["heldout"][:n_count].tensors()
    for name, layer, inputs in layers_and_inputs(model, x):
        found = layer.count(inputs)
        row[name] = {
            "direct": found.direct,
            "dense": found.dense,
            "nonzero": found.nonzero,
            "weights": found.weights,
            "activations": found.activations,
            "saving": found.saving,
        } | _times(layer, inputs[:n_time])
    return row


def _times(layer: SparseWinogradConv2d, x: torch.Tensor) -> Row:
    """Return how many times faster than a plain convolution, and than dense Winograd, the sparse paths are."""
    plain = nn.Conv2d(x.shape[1], layer.weight.shape[0], 3, padding=1)
    fast = SparseWinograd(layer)
    ways = {f"skip_{skip}": (lambda skip=skip: fast(x, skip=skip)) for skip in fast.SKIPS}
    return {name: round(time_ratio(lambda: plain(x), way), 4) for name, way in ways.items()}


def _retimed(made: Record) -> Iterator[tuple[Row, Row]]:
    """Yield the times of every row with networks that were not trained.

    Time depends on where numbers are zero. Pruned alike, a network has as many weights left at each place before
    training as after it; and inputs are shifted until as many of them are zero as were recorded.
    """
    x, _ = mnist("heldout", source="offline")[: made.settings["n_time"]].tensors()
    for row in (row for row in made.rows if row["form"] != "direct"):
        model = WinogradNet(row["form"], random_state=row["seed"])
        model.between = nn.Identity()
        if row["sparsity"]:
            model.prune(row["sparsity"])
        measured = {
            name: row[name] | _times(layer, shifted(layer, z, row[name]["activations"]))
            for name, layer, z in layers_and_inputs(model, x)
        }
        yield {key: row[key] for key in ("seed", "form", "sparsity")}, measured


def shifted(layer: SparseWinogradConv2d, z: torch.Tensor, share: float) -> torch.Tensor:
    """Return relu(z + c), with c such that about this share of the layer's transformed inputs is not zero.

    A layer with a ReLU in the Winograd domain has its zeros there, before training as after it: it gets z itself.
    """
    if layer.relu:
        return z
    low, high = -float(z.abs().max()), float(z.abs().max())
    for _ in range(20):
        middle = (low + high) / 2
        sparser = density(layer.transformed((z + middle).relu())) < share
        low, high = (middle, high) if sparser else (low, middle)
    return (z + high).relu()


@torch.no_grad()
def layers_and_inputs(model: WinogradNet, x: torch.Tensor) -> list[tuple[str, Any, torch.Tensor]]:
    """Return (name, layer, input) of conv2 and conv3 for images x (n, 1, 28, 28)."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(model, name).register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name in model.sparse_layers
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return [(name, getattr(model, name), seen[name]) for name in model.sparse_layers]


def _zeros(model: WinogradNet, digits: Digits, n: int) -> Row:
    """Return what happens to zeros of the direct network: of activations, and of weights pruned to a third."""
    found: Row = {}
    for name, layer, x in layers_and_inputs(model, digits[:n].tensors()[0]):
        w = layer.weight.detach()
        third = w * (w.abs() >= w.abs().flatten().quantile(2 / 3))
        padded = nn.functional.pad(x, (1, 2, 1, 2))
        found[name] = {
            "activations": density(x),
            "activations_transformed": input_density_after_transform(padded),
            "weights": density(third),
            "weights_transformed": density_after_transform(third),
        }
    return found


def _ship(model: WinogradNet, output: Path, row: Row) -> Row:
    header = {key: row[key] for key in ("form", "sparsity", "seed", "n_train", "heldout_error", "test_error")}
    header |= {"split": SPLIT, "command": "python -m labkit.experiments sparse-winograd", "torch": torch.__version__}
    header["date"] = datetime.now(UTC).date().isoformat()
    save(model, output / "checkpoints" / "sparse-winograd.safetensors", header=header)
    return header
