"""LeNet-5 with Kronecker layers and factorised convolutions, with and without fine-tuning. Chapters 6 and 7."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.compress import Scheme, compress
from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import mnist
from labkit.decomposition import (
    SCHEMES,
    ConvScheme,
    KConvScheme,
    KroneckerScheme,
    LowRankScheme,
    factorize_conv,
    kernel_spectrum,
    rank_for_energy,
    speedup_bound,
)
from labkit.experiments.low_rank import Row, fine_tuned, means
from labkit.experiments.registry import Record, experiment
from labkit.nets import load
from labkit.training import evaluate, fit

SPLIT = (
    "starts from the shipped LeNet-5; fine-tuned for one epoch on the first 10,000 of mnist('train') with the learning "
    "rate of svd-fc, the seed sets their order; error on the 10,000 of mnist('test'); no choice was made on these"
)
TINY = {"source": "offline", "seeds": (0,), "n_train": 200}


@experiment(
    "kronecker-layers",
    split=SPLIT,
    minutes=8,
    tiny=TINY | {"ranks": (1,), "configurations": {"conv2": ("2,25,10,5,1",)}},
    times=lambda made: plan_times(_kronecker_plans(made.settings["ranks"], made.settings["configurations"])),
)
def kronecker_layers(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    ranks: tuple[int, ...] = (1, 2, 4, 8, 16),
    configurations: dict[str, tuple[str, ...]] = {  # noqa: B006  (a setting, never changed)
        "conv1": ("2,5,1,1,5", "2,20,1,1,5"),
        "conv2": ("1,50,10,5,1", "1,50,20,1,5", "2,25,10,5,1"),
    },
    n_train: int | None = 10_000,
) -> dict[str, Any]:
    """LeNet-5: fc1 as a sum of Kronecker products or by SVD at equal parameters, and its convolutions as KConv.

    A rank of fc1 (500 x 800) takes 1,300 numbers as u v^T, and also with right factors of 20 x 25 or 25 x 32.
    """
    rows = plan_rows(_kronecker_plans(ranks, configurations), source, seeds, n_train)
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("layer", "form", "rank", "fine_tuned"))}}


@experiment(
    "conv-schemes",
    split=SPLIT,
    minutes=6,
    tiny=TINY | {"ranks": {"hw_1x1": (8,), "dac": (1, 2)}},
    times=lambda made: plan_times(_scheme_plans(made.settings["ranks"])),
)
def conv_schemes(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    ranks: dict[str, tuple[int, ...]] = {  # noqa: B006  (a setting, never changed)
        "hw_1x1": (4, 8, 16, 32),
        "1x1_hw": (2, 4, 8, 12),
        "hx1_1xw": (8, 16, 32, 48),
        "dac": (1, 2, 4, 7),
    },
    n_train: int | None = 10_000,
) -> dict[str, Any]:
    """LeNet-5 with its second convolution in two, by each of the four schemes, at several ranks."""
    rows = plan_rows(_scheme_plans(ranks), source, seeds, n_train)
    return {"rows": rows, "summary": {"mean_test_error": means(rows, ("layer", "form", "rank", "fine_tuned"))}}


@experiment(
    "low-rank-pays",
    split="trained on the first 20,000 of mnist('train'); error on the 10,000 of mnist('test'); no choice was made",
    minutes=4,
    tiny=TINY | {"epochs": 1},
    times=lambda made: _layer_times(made),
)
def low_rank_pays(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: int = 6,
    energies: tuple[float, ...] = (0.8, 0.9, 0.95, 0.99),
    n_train: int | None = 20_000,
) -> dict[str, Any]:
    """A small network with 3 x 3, 1 x 1, depthwise and bottleneck convolutions: what each kind gains by factorising."""
    digits, test = mnist("train", source=source)[:n_train], mnist("test", source=source)
    rows: list[Row] = []
    for seed in seeds:
        model = ManyKinds(random_state=seed)
        fit(model, digits, epochs=epochs, learning_rate=2e-3, random_state=seed, progress=False)
        labels = {"seed": seed, "test_error": evaluate(model, test).error}
        rows += [labels | row for row in _gains(model, energies)]
    return {"rows": rows, "summary": {"mean_bound": _mean_bounds(rows)}}


class ManyKinds(nn.Sequential):
    """A network for 28 x 28 digits that has every kind of convolution once: wide, depthwise, 1 x 1, bottleneck.

    `random_state` (an int, a NumPy Generator or None) seeds the initial weights.

    >>> ManyKinds(random_state=0)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, random_state: Any = None) -> None:
        with checks.seeded(random_state):
            super().__init__()
            self.stem = _block(1, 32, 3, stride=2, padding=1)  # (n, 32, 14, 14)
            self.wide = _block(32, 64, 3, padding=1)
            self.depthwise = _block(64, 64, 3, padding=1, groups=64)
            self.pointwise = _block(64, 64, 1)
            self.squeeze = _block(64, 16, 1)
            self.bottleneck = _block(16, 16, 3, padding=1)
            self.expand = _block(16, 64, 1)
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 10))


def _block(c: int, m: int, kernel: int, **window: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c, m, kernel, **window), nn.ReLU())  # type: ignore[arg-type]


def _kronecker_plans(
    ranks: tuple[int, ...], configurations: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, str, int, Scheme]]:
    """Yield (layer, form, rank, scheme); a configuration is the lecture's "r,o1,c1,h1,w1"."""
    for rank in ranks:
        yield "fc1", "svd", rank, LowRankScheme(rank=rank)
        for right in ((20, 25), (25, 32)):
            yield "fc1", f"kronecker {right[0]} x {right[1]}", rank, KroneckerScheme(right, rank=rank)
    for layer, several in configurations.items():
        for name in several:
            r, o1, c1, h1, w1 = map(int, name.split(","))
            yield layer, f"kconv {name}", r, KConvScheme((o1, c1, h1, w1), rank=r)


def _scheme_plans(ranks: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, str, int, Scheme]]:
    for scheme, several in ranks.items():
        for rank in several:
            yield "conv2", scheme, rank, ConvScheme(scheme, rank=rank)


def plan_rows(
    plans: Iterator[tuple[str, str, int, Scheme]], source: str, seeds: tuple[int, ...], n_train: int | None
) -> list[Row]:
    """Return a row for the dense network, and for each plan one without fine-tuning and one for each seed with it."""
    digits, test, dense = mnist("train", source=source)[:n_train], mnist("test", source=source), load("lenet-5")
    x = test[:64].tensors()[0]
    labels = {"layer": "", "form": "dense", "rank": 0, "seed": seeds[0], "fine_tuned": False}
    rows = [labels | _measured(dense, dense, "conv2", x) | {"test_error": evaluate(dense, test).error}]
    for layer, form, rank, scheme in plans:
        small = compress(dense, {layer: scheme}, example_inputs=x[:1])[0]
        labels = {"layer": layer, "form": form, "rank": rank} | _measured(dense, small, layer, x)
        rows.append(labels | {"seed": seeds[0], "fine_tuned": False, "test_error": evaluate(small, test).error})
        for seed in seeds:
            tuned = fine_tuned(small, digits, epochs=1, seed=seed)
            rows.append(labels | {"seed": seed, "fine_tuned": True, "test_error": evaluate(tuned, test).error})
    order = rows[0].keys()
    return [{key: row[key] for key in order} for row in rows]


def _measured(dense: Any, small: Any, layer: str, x: torch.Tensor) -> Row:
    """Return the error of the weight, the cost of the layer and of the network, and time ratios for 1 and 64 images.

    A time ratio above 1 says that the network with the smaller layer is the faster one.
    """
    cost = count(small, x[:1])
    return {
        "weight_error": round(_distance(getattr(dense, layer), getattr(small, layer)), 4),
        "layer_parameters": sum(p.numel() for p in getattr(small, layer).parameters()),
        "layer_multiply_adds": sum(row.macs for row in cost.rows if row.name.split(".")[0].split(":")[0] == layer),
        "parameters": cost.n_params,
        "multiply_adds": cost.macs,
        "bytes": file_bytes(small),
    } | _times(dense, small, x)


def _times(dense: Any, small: Any, x: torch.Tensor) -> Row:
    return {
        "time_ratio_1": round(time_ratio(lambda: dense(x[:1]), lambda: small(x[:1])), 3),
        "time_ratio_64": round(time_ratio(lambda: dense(x), lambda: small(x)), 3),
    }


def plan_times(plans: Iterator[tuple[str, str, int, Scheme]]) -> Iterator[tuple[Row, Row]]:
    """Yield for the dense network and each plan the values that name its rows, and its time ratios measured now."""
    dense, x = load("lenet-5"), mnist("test", source="offline")[:64].tensors()[0]
    yield {"form": "dense"}, _times(dense, dense, x)
    for layer, form, rank, scheme in plans:
        small = compress(dense, {layer: scheme}, example_inputs=x[:1])[0]
        yield {"layer": layer, "form": form, "rank": rank}, _times(dense, small, x)


def _distance(layer: Any, small: Any) -> float:
    """Return the relative Frobenius error of a layer's weight."""
    made = small.to_dense().weight if hasattr(small, "to_dense") else small.weight
    return ((made - layer.weight).norm() / layer.weight.norm()).item()


def _gains(model: ManyKinds, energies: tuple[float, ...]) -> Iterator[Row]:
    """Yield for every convolution, scheme and energy the rank that keeps it, the bound on the gain, and the time."""
    for name, layer, x in _with_inputs(model):
        schemes = SCHEMES if max(layer.kernel_size) > 1 else ("hw_1x1",)  # a 1 x 1 kernel has one cut only
        for scheme, energy in product(schemes, energies):
            labels = {"layer": name, "kernel": " x ".join(map(str, layer.weight.shape)), "scheme": scheme}
            yield labels | {"energy": energy} | _gain(layer, scheme, energy, x)


def _with_inputs(model: ManyKinds) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """Yield the name of every convolution, the layer, and 64 inputs of it."""
    x = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for name, block in list(model.named_children())[:-1]:
        yield name, block[0], x  # type: ignore[index]
        with torch.no_grad():
            x = block(x)


def _layer_times(made: Record) -> Iterator[tuple[Row, Row]]:
    """Yield layer, scheme and rank of the record's rows, and the time ratio; trained weights take no other time."""
    for name, layer, x in _with_inputs(ManyKinds(random_state=0)):
        for scheme, k in sorted({(row["scheme"], row["rank"]) for row in made.select(layer=name)}):
            ratio = _time_ratio(layer, factorize_conv(layer, scheme=scheme, rank=k), x)
            yield {"layer": name, "scheme": scheme, "rank": k}, {"time_ratio": ratio}


def _gain(layer: nn.Conv2d, scheme: str, energy: float, x: torch.Tensor) -> Row:
    W = layer.weight.detach().numpy()
    given: dict[str, Any] = {"scheme": scheme, "groups": layer.groups}
    k = rank_for_energy(kernel_spectrum(W, **given), energy=energy)
    bound = round(speedup_bound(W, energy=energy, **given), 4)
    return {
        "rank": k,
        "bound": bound,
        "time_ratio": _time_ratio(layer, factorize_conv(layer, scheme=scheme, rank=k), x),
    }


@torch.no_grad()
def _time_ratio(layer: nn.Module, small: nn.Module, x: torch.Tensor) -> float:
    return round(time_ratio(lambda: layer(x), lambda: small(x)), 3)


def _mean_bounds(rows: list[Row]) -> list[Row]:
    """Return for each layer and energy the scheme with the highest mean bound over the seeds, with that mean."""
    found: dict[tuple, dict[str, list[float]]] = {}
    for row in rows:
        bounds = found.setdefault((row["layer"], row["kernel"], row["energy"]), {})
        bounds.setdefault(row["scheme"], []).append(row["bound"])
    return [dict(zip(("layer", "kernel", "energy"), key, strict=True)) | _best(b) for key, b in found.items()]


def _best(bounds: dict[str, list[float]]) -> Row:
    scheme = max(bounds, key=lambda scheme: float(np.mean(bounds[scheme])))
    return {"scheme": scheme, "bound": round(float(np.mean(bounds[scheme])), 4)}
