"""Dynamic execution at equal training budgets: accuracy against the multiply-adds that ran. Chapter 29.

Every method starts from the same network and trains for as many epochs afterwards as the dense one: feature boosting
and suppression (FBS), network slimming, both together, channel gating, low-cost collaborative layers, and an agent
that prunes at run time.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.cost import count, time_ratio
from labkit.datasets import Digits, mnist
from labkit.dynamic import (
    LCCL,
    ChannelGate,
    DensityAnnealing,
    DynamicLayer,
    FBSConv2d,
    RuntimePruning,
    penalty,
    set_density,
    set_execution,
    skip_probabilities,
)
from labkit.experiments.low_bit import Kept
from labkit.nets import CifarNet, save
from labkit.pruning import scale_penalty, select_channels, slim
from labkit.training import cross_entropy, evaluate, fit

SPLIT = (
    "trained on digits of mnist('train'), the same for all methods, without any choice made on others; error on the "
    "5,000 digits of mnist('heldout') and the 10,000 of mnist('test')"
)
Row = dict[str, Any]
Point = tuple[str, float, float]  # method, its setting (see METHODS), share of the channels removed by slimming
POINTS: tuple[Point, ...] = (
    ("dense", 1.0, 0.0),
    ("FBS", 0.8, 0.0),
    ("FBS", 0.65, 0.0),
    ("FBS", 0.5, 0.0),
    ("FBS", 0.4, 0.0),
    ("slimming", 1.0, 0.3),
    ("slimming", 1.0, 0.45),
    ("slimming", 1.0, 0.6),
    ("slimming + FBS", 0.8, 0.3),
    ("slimming + FBS", 0.65, 0.3),
    ("channel gating", 0.0, 0.0),
    ("channel gating", 0.5, 0.0),
    ("LCCL", 0.1, 0.0),
    ("runtime pruning", 0.2, 0.0),
)
TINY: tuple[Point, ...] = (("dense", 1.0, 0.0), ("FBS", 0.5, 0.0), ("slimming + FBS", 0.5, 0.3), ("LCCL", 0.1, 0.0))
TINY_RUN: dict[str, Any] = {
    "source": "offline",
    "n_train": 200,
    "epochs": (1, 1),
    "points": TINY,
    "shipped": TINY[1],
    "n_count": 20,
    "n_time": 4,
    "n_test": 100,
    "paper_widths": (8,) * 8,
}
BATCH = 128
SPREAD = 0.0  # of the random weights of the saliency predictor: it starts from the scales of the trained network
FIRST = 1  # the first block that becomes dynamic: the one before it sees one channel and takes a hundredth of the work
PAPER_WIDTHS = (64, 64, 128, 128, 128, 192, 192, 192)


def _steps(n: int, epochs: int) -> int:
    return epochs * math.ceil(n / BATCH)


def _fbs(start: CifarNet, density: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: the density of the end, reached after half of the steps."""

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return FBSConv2d.from_conv(conv, norm, spread=SPREAD, random_state=seed)

    return start.replaced(make, first=FIRST), DensityAnnealing(density, n_steps=max(1, n_steps // 2))


def _gating(start: CifarNet, threshold: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: the target of the thresholds, from which they start; a quarter of the inputs is the base."""

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return ChannelGate.from_conv(conv, norm, base=conv.in_channels // 4, threshold=threshold, target=threshold)

    return start.replaced(make, first=FIRST), _penalised(0.1)


def _lccl(start: CifarNet, weight: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: the weight of the mean of the cheap outputs in the loss."""

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return LCCL.from_conv(conv, norm, random_state=seed)

    return start.replaced(make, first=FIRST), _penalised(weight)


def _agent(start: CifarNet, budget_penalty: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: what running all multiply-adds costs the agent."""
    head = nn.Sequential(copy.deepcopy(start.pool), nn.Flatten(), copy.deepcopy(start.fc))
    model = RuntimePruning(start.layers(), head, random_state=seed)
    return model, model.objective(budget_penalty=budget_penalty)


def _dense(start: CifarNet, setting: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: none."""
    return copy.deepcopy(start), cross_entropy


def _penalised(weight: float) -> Callable:
    return lambda model, x, y: cross_entropy(model, x, y) + weight * penalty(model)


METHODS: dict[str, Callable[[CifarNet, float, int, int], tuple[nn.Module, Callable]]] = {
    "dense": _dense,
    "slimming": _dense,
    "FBS": _fbs,
    "slimming + FBS": _fbs,
    "channel gating": _gating,
    "LCCL": _lccl,
    "runtime pruning": _agent,
}


def dynamic(
    output: Path,
    *,
    source: str = "download",
    n_train: int = 12_000,
    epochs: tuple[int, int] = (3, 5),
    learning_rate: float = 3e-3,
    scale_weight: float = 1e-4,
    points: tuple[Point, ...] = POINTS,
    shipped: Point = POINTS[3],
    seeds: tuple[int, ...] = (0,),
    n_count: int = 500,
    n_time: int = 64,
    n_test: int | None = None,
    paper_widths: tuple[int, ...] = PAPER_WIDTHS,
) -> Row:
    """FBS, network slimming and four other ways to skip channels, each trained for the same number of epochs."""
    digits = mnist("train", source=source)[:n_train]
    data = {name: mnist(name, source=source)[:n_test] for name in ("heldout", "test")}
    kept = Kept("dynamic" if source == "download" else None)
    settings = _Settings(epochs, learning_rate, scale_weight, n_count, n_time)
    runs = [_Run(digits, data, settings, seed) for seed in seeds]
    rows = [kept(made.row, *point, made.seed, digits) for made in runs for point in points]
    summary = {name: kept(getattr(runs[0], name), *shipped, seeds[0], output) for name in ("ship", "skipping")}
    summary["paper_widths"] = [paper_size(density, paper_widths) for density in (0.75, 0.5, 0.33)]
    return {"rows": rows, "summary": summary}


@dataclass(frozen=True)
class _Settings:
    epochs: tuple[int, int]
    learning_rate: float
    scale_weight: float
    n_count: int
    n_time: int


class _Run:
    """One seed: the starting networks, trained when they are first needed, and what each method makes of them."""

    def __init__(self, digits: Digits, data: dict[str, Digits], settings: _Settings, seed: int) -> None:
        self.digits, self.data, self.settings, self.seed = digits, data, settings, seed
        self._starts: dict[bool, CifarNet] = {}
        self._models: dict[Point, nn.Module] = {}

    def start(self, slimmed: bool) -> CifarNet:
        """Return the network after the first epochs, trained with the penalty on its scales if it will be slimmed."""
        if slimmed not in self._starts:
            model = CifarNet(random_state=self.seed)
            weight = self.settings.scale_weight if slimmed else 0.0
            self._fit(model, self.settings.epochs[0], self.settings.learning_rate, regularizer=scale_penalty(weight))
            self._starts[slimmed] = model
        return self._starts[slimmed]

    def model(self, point: Point) -> nn.Module:
        """Return the trained network of a point."""
        if point not in self._models:
            method, setting, sparsity = point
            start: Any = self.start(sparsity > 0)
            if sparsity:
                recipe = select_channels(start, sparsity=sparsity, min_channels=2)
                start = slim(start, recipe, chain=start.chain, last="fc", build=start.like)
            n_steps = _steps(len(self.digits), self.settings.epochs[1])
            model, objective = METHODS[method](start, setting, n_steps, self.seed)
            self._fit(model, self.settings.epochs[1], self.settings.learning_rate / 2, objective=objective)
            if METHODS[method] is _fbs:
                set_density(model, setting)  # a training of very few steps may end before it gets there
            self._models[point] = model
        return self._models[point]

    def _fit(self, model: nn.Module, epochs: int, rate: float, **options: Any) -> None:
        fixed: dict[str, Any] = {"batch_size": BATCH, "random_state": self.seed, "progress": False}
        fit(model, self.digits, epochs=epochs, learning_rate=rate, **fixed, **options)

    def row(self, method: str, setting: float, sparsity: float, seed: int, digits: Digits) -> Row:
        """Return errors in percent, multiply-adds that ran for an image in the mean, and measured time ratios."""
        model = self.model((method, setting, sparsity))
        errors = {f"{name}_error": round(evaluate(model, part).error, 4) for name, part in self.data.items()}
        x, _ = self.data["heldout"][: self.settings.n_count].tensors()
        whole = count(CifarNet(), x[:1]).macs
        _gathered(model, batch=False)
        macs = count(model, x).macs
        named = {"method": method, "setting": setting, "sparsity": sparsity, "seed": seed}
        named["parameters"] = sum(p.numel() for p in model.parameters())
        named |= errors | {"macs": macs, "saving": round(whole / macs, 4)} | self._halves(model, macs)
        return named | _times(model, CifarNet(random_state=0).eval(), x[:1], x[: self.settings.n_time])

    @torch.no_grad()
    def _halves(self, model: nn.Module, macs: int) -> Row:
        """Return the mean multiply-adds for the easier half of the images and for the harder one.

        Easy is what the network that all methods start from has a small loss for.
        """
        x, labels = self.data["heldout"][: self.settings.n_count].tensors()
        order = nn.functional.cross_entropy(self.start(False)(x), labels, reduction="none").argsort()
        model(x)
        layers = [m for m in model.modules() if isinstance(m, DynamicLayer)]
        ran = torch.stack([layer.ran for layer in layers]).sum(0).double() if layers else torch.zeros(len(x))
        static = macs - float(ran.mean())  # layers that are the same for every image
        halves = zip(("macs_easy", "macs_hard"), order.chunk(2), strict=True)
        return {name: round(static + float(ran[half].mean())) for name, half in halves}

    def ship(self, method: str, setting: float, sparsity: float, seed: int, output: Path) -> Row:
        """Write the network of a point to a file, and return the file's header."""
        model = self.model((method, setting, sparsity))
        errors = {f"{name}_error": round(evaluate(model, part).error, 4) for name, part in self.data.items()}
        header = {"method": method, "density": setting, "sparsity": sparsity, "seed": seed, "split": SPLIT} | errors
        header |= {"n_train": len(self.digits), "command": "python -m labkit.experiments dynamic"}
        header |= {"torch": torch.__version__, "date": datetime.now(UTC).date().isoformat()}
        save(model, output / "checkpoints" / "fbs-net.safetensors", header=header)
        return header

    def skipping(self, method: str, setting: float, sparsity: float, seed: int, output: Path) -> Row:
        """Return the probability of skipping each channel for each class, (10, channels) for each dynamic layer."""
        x, labels = self.data["heldout"].tensors()
        skips = skip_probabilities(self.model((method, setting, sparsity)), x, labels)
        return {name: [[round(p, 4) for p in row] for row in part.tolist()] for name, part in skips.items()}


def paper_size(density: float, widths: tuple[int, ...] = PAPER_WIDTHS) -> Row:
    """Return saving and time ratios of FBS in an untrained network of M-CifarNet's size, where a layer is real work.

    >>> paper_size(0.5, (4,) * 8)["saving"] > 1
    True
    """
    dense = CifarNet(widths=widths, channels=3, image_size=32, random_state=0).eval()

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return FBSConv2d.from_conv(conv, norm, density=density, spread=0.3, random_state=0)

    model = dense.replaced(make, first=FIRST).eval()
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    _gathered(model, batch=False)
    saving = round(count(dense, x).macs / count(model, x).macs, 4)
    return {"density": density, "saving": saving} | _times(model, dense, x[:1], x)


def _times(model: nn.Module, dense: nn.Module, single: torch.Tensor, batch: torch.Tensor) -> Row:
    """Return how many times faster than a dense network a model is: one image alone, and a batch."""
    times = dict[str, float]()
    for name, x in (("single", single), ("batch", batch)):
        _gathered(model, batch=name == "batch")
        times[f"time_ratio_{name}"] = round(time_ratio(partial(dense, x), partial(model, x)), 4)
    return times


def _gathered(model: nn.Module, *, batch: bool) -> None:
    """Let every dynamic layer compute only what it keeps, in batches or for one image."""
    if any(isinstance(module, FBSConv2d) for module in model.modules()):
        set_execution(model, "batch" if batch else "image")
    elif any(isinstance(module, DynamicLayer) for module in model.modules()):
        set_execution(model, "gathered")
