"""Dynamic execution at equal training budgets: accuracy against the multiply-adds that ran. Chapter 29.

Every method starts from the same network and trains for as many epochs afterwards as the dense one: feature boosting
and suppression (FBS), network slimming, both together, channel gating, low-cost collaborative layers, and an agent
that prunes at run time.
"""

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit.cost import count, file_bytes, time_ratio
from labkit.datasets import LabelledImages, cifar10, has_cifar10, mnist
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
from labkit.experiments.registry import experiment
from labkit.nets import CifarNet, save
from labkit.pruning import scale_penalty, select_channels, slim
from labkit.training import cross_entropy, evaluate, fit

SPLIT = (
    "trained on digits of mnist('train'), the same for all methods; learning rate, annealing and penalties chosen by "
    "error and multiply-adds on mnist('heldout'), 5,000 digits; test error on the 10,000 of mnist('test')"
)
Row = dict[str, Any]
Point = tuple[str, float, float]  # method, its setting (see METHODS), share of the channels removed by slimming
POINTS: tuple[Point, ...] = (
    ("dense", 1.0, 0.0),
    ("FBS", 0.55, 0.0),
    ("FBS", 0.5, 0.0),
    ("slimming", 1.0, 0.45),
    ("FBS", 0.58, 0.0),
    ("FBS", 0.8, 0.0),
    ("FBS", 0.65, 0.0),
    ("FBS", 0.4, 0.0),
    ("slimming", 1.0, 0.3),
    ("slimming", 1.0, 0.6),
    ("slimming + FBS", 0.8, 0.3),
    ("slimming + FBS", 0.65, 0.3),
    ("channel gating", 0.0, 0.0),
    ("channel gating", 0.5, 0.0),
    ("LCCL", 0.0, 0.0),
    ("LCCL", 0.05, 0.0),
    ("runtime pruning", 0.05, 0.0),
    ("runtime pruning", 0.1, 0.0),
    ("runtime pruning", 0.3, 0.0),
    ("runtime pruning", 1.0, 0.0),
)
REPEATED = (*POINTS[:5], *POINTS[-4:])  # trained for every seed, the others for the first one
TINY: tuple[Point, ...] = (("dense", 1.0, 0.0), ("FBS", 0.5, 0.0), ("slimming + FBS", 0.5, 0.3), ("LCCL", 0.1, 0.0))
TINY_RUN: dict[str, Any] = {
    "source": "offline",
    "n_train": 200,
    "epochs": (1, 1),
    "points": TINY,
    "repeated": TINY[:2],
    "shipped": TINY[1],
    "seeds": (0, 1),
    "cifar": {"points": TINY[:2], "n_train": 64, "epochs": (1, 1), "n_count": 5, "n_time": 2, "n_test": 50},
    "n_count": 20,
    "n_time": 4,
    "n_test": 100,
    "paper_widths": (8,) * 8,
}
SPLITS = ("train", "heldout", "test")
BATCH = 128
SPREADS = (0.0, 0.3, 1.0)
SPREAD = 0.3  # of the random weights of the saliency predictor, beside the scales of the trained network
CIFAR: dict[str, Any] = {"points": (*POINTS[:4], ("slimming + FBS", 0.8, 0.3)), "n_train": 45_000, "epochs": (5, 10)}
FIRST = 1  # the first block that becomes dynamic: the one before it sees one channel and takes a hundredth of the work
PAPER_WIDTHS = (64, 64, 128, 128, 128, 192, 192, 192)


def _steps(n: int, epochs: int) -> int:
    return epochs * math.ceil(n / BATCH)


def _fbs(
    start: CifarNet, density: float, n_steps: int, seed: int, *, spread: float = SPREAD
) -> tuple[nn.Module, Callable]:
    """Setting: the density of the end, reached after half of the steps."""

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return FBSConv2d.from_conv(conv, norm, spread=spread, random_state=seed)

    return start.replaced(make, first=FIRST), DensityAnnealing(density, n_steps=max(1, n_steps // 2))


def _gating(start: CifarNet, threshold: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: the target of the thresholds, from which they start; a quarter of the inputs is the base."""

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        return ChannelGate.from_conv(conv, norm, base=conv.in_channels // 4, threshold=threshold, target=threshold)

    return start.replaced(make, first=FIRST), _penalised(0.1)


def _lccl(start: CifarNet, weight: float, n_steps: int, seed: int) -> tuple[nn.Module, Callable]:
    """Setting: the weight of the mean of the cheap outputs in the loss. At first about half of these are zero.

    Every second layer predicts, as in the paper; a chain of nothing but products does not train.
    """
    predicts = itertools.cycle((True, False))

    def make(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
        if not next(predicts):
            return nn.Sequential(conv, norm, nn.ReLU())
        layer = LCCL.from_conv(conv, norm, random_state=seed)
        layer.cheap_norm.reset_parameters()  # scale 1, shift 0: from 1 everywhere no zeros would grow
        return layer

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


@experiment("dynamic", split=SPLIT, minutes=20, tiny=TINY_RUN)
def dynamic(
    output: Path,
    *,
    source: str = "download",
    n_train: int = 12_000,
    epochs: tuple[int, int] = (3, 5),
    learning_rate: float = 3e-3,
    scale_weight: float = 1e-4,
    points: tuple[Point, ...] = POINTS,
    repeated: tuple[Point, ...] = REPEATED,
    shipped: Point = POINTS[2],
    seeds: tuple[int, ...] = (0, 1, 2),
    n_count: int = 500,
    n_time: int = 64,
    n_test: int | None = None,
    paper_widths: tuple[int, ...] = PAPER_WIDTHS,
    cifar: Mapping[str, Any] = CIFAR,
) -> Row:
    """FBS, network slimming and four other ways to skip channels, each trained for the same number of epochs.

    Where the archive of CIFAR-10 is in the cache, `summary["cifar10"]` holds rows for it too, with the settings that
    `cifar` changes; otherwise none.
    """
    options: Row = {"n_train": n_train, "epochs": epochs, "n_count": n_count, "n_time": n_time, "n_test": n_test}
    options |= {"learning_rate": learning_rate, "scale_weight": scale_weight}
    kept = Kept(_folder("dynamic", options) if source == "download" else None)
    runs = [_Run({name: mnist(name, source=source) for name in SPLITS}, seed=seed, **options) for seed in seeds]
    rows = [kept(run.row, *p, run.seed) for run in runs for p in (points if run is runs[0] else repeated)]
    summary = _shown(runs[0], kept, shipped, output, paper_widths)
    return {"rows": rows, "summary": summary | {"cifar10": on_cifar10(options | dict(cifar), seeds[0])}}


def _shown(run: "_Run", kept: Kept, shipped: Point, output: Path, paper_widths: tuple[int, ...]) -> Row:
    """Write the shipped network, and return what the page shows beside the rows."""
    parts = (run.ship, run.skipping, run.spreads)
    summary: Row = {part.__name__: kept(part, *shipped, run.seed, output) for part in parts}
    return summary | {"paper_widths": [paper_size(density, paper_widths) for density in (0.75, 0.5, 0.33)]}


def on_cifar10(options: Row, seed: int) -> list[Row]:
    """Return the rows of `options["points"]` for CIFAR-10, none where its archive is not in the cache.

    The other options are those of `dynamic`, without defaults: n_train, epochs, n_count, n_time, n_test,
    learning_rate, scale_weight.

    >>> on_cifar10({"points": ()}, seed=0) if not has_cifar10() else []
    []
    """
    options = dict(options)
    points = options.pop("points")
    if not has_cifar10():
        return []
    kept = Kept(_folder("dynamic-cifar10", options))
    run = _Run({name: cifar10(name) for name in SPLITS}, seed=seed, **options)
    return [kept(run.row, *point, seed) for point in points]


def _folder(name: str, options: Row) -> str:
    """Return the folder of the cache for rows made with these options."""
    first, second = options["epochs"]
    return f"{name}-{options['n_train']}-{first}-{second}-{options['learning_rate']:g}"


class _Run:
    """One seed: the starting networks, trained when they are first needed, and what each method makes of them."""

    def __init__(
        self,
        parts: Mapping[str, LabelledImages],
        *,
        seed: int,
        n_train: int,
        epochs: tuple[int, int],
        n_count: int,
        n_time: int,
        n_test: int | None,
        learning_rate: float,
        scale_weight: float,
    ) -> None:
        self.seed, self.epochs, self.n_count, self.n_time = seed, epochs, n_count, n_time
        self.learning_rate, self.scale_weight = learning_rate, scale_weight
        self.train = parts["train"][:n_train]
        self.data = {name: parts[name][:n_test] for name in ("heldout", "test")}
        self._starts: dict[bool, CifarNet] = {}
        self._models: dict[Point, nn.Module] = {}

    def network(self) -> CifarNet:
        """Return the untrained network for these pictures."""
        _, channels, side, _ = self.train[:1].tensors()[0].shape
        return CifarNet(channels=channels, image_size=side, random_state=self.seed)

    def start(self, slimmed: bool) -> CifarNet:
        """Return the network after the first epochs, trained with the penalty on its scales if it will be slimmed."""
        if slimmed not in self._starts:
            model = self.network()
            self._fit(model, self.epochs[0], regularizer=scale_penalty(self.scale_weight if slimmed else 0.0))
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
            n_steps = _steps(len(self.train), self.epochs[1])
            model, objective = METHODS[method](start, setting, n_steps, self.seed)
            self._fit(model, self.epochs[1], objective=objective)
            if METHODS[method] is _fbs:
                set_density(model, setting)  # a training of very few steps may end before it gets there
            self._models[point] = model
        return self._models[point]

    def _fit(self, model: nn.Module, epochs: int, **options: Any) -> None:
        fixed: dict[str, Any] = {"batch_size": BATCH, "random_state": self.seed, "progress": False}
        fit(model, self.train, epochs=epochs, learning_rate=self.learning_rate, **fixed, **options)

    def row(self, method: str, setting: float, sparsity: float, seed: int) -> Row:
        """Return errors in percent, multiply-adds that ran for an image in the mean, and measured time ratios."""
        model = self.model((method, setting, sparsity))
        errors = {f"{name}_error": round(evaluate(model, part).error, 4) for name, part in self.data.items()}
        x, _ = self.data["heldout"][: self.n_count].tensors()
        dense = self.network().eval()
        whole = count(dense, x[:1]).macs
        _gathered(model, batch=False)
        macs = count(model, x).macs
        named = {"method": method, "setting": setting, "sparsity": sparsity, "seed": seed}
        named |= {"parameters": sum(p.numel() for p in model.parameters()), "n_bytes": file_bytes(model)}
        named |= errors | {"macs": macs, "saving": round(whole / macs, 4)} | self._halves(model, macs)
        return named | _times(model, dense, x[:1], x[: self.n_time])

    @torch.no_grad()
    def _halves(self, model: nn.Module, macs: int) -> Row:
        """Return the mean multiply-adds for the easier half of the images and for the harder one.

        Easy is what the network that all methods start from has a small loss for.
        """
        x, labels = self.data["heldout"][: self.n_count].tensors()
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
        header |= {"n_train": len(self.train), "command": "python -m labkit.experiments dynamic"}
        header |= {"torch": torch.__version__, "date": datetime.now(UTC).date().isoformat()}
        save(model, output / "checkpoints" / "fbs-net.safetensors", header=header)
        return header

    def skipping(self, method: str, setting: float, sparsity: float, seed: int, output: Path) -> Row:
        """Return the probability of skipping each channel for each class, (10, channels) for each dynamic layer."""
        x, labels = self.data["heldout"].tensors()
        skips = skip_probabilities(self.model((method, setting, sparsity)), x, labels)
        return {name: [[round(p, 4) for p in row] for row in part.tolist()] for name, part in skips.items()}

    def spreads(self, method: str, setting: float, sparsity: float, seed: int, output: Path) -> list[Row]:
        """Return for several spreads of the predictor's first weights the errors, and how many channels vary.

        A channel varies if it runs for 2 to 98 % of the pictures.
        """
        made = []
        for spread in SPREADS:
            model = self.model((method, setting, sparsity)) if spread == SPREAD else self._spread(setting, spread)
            skips = torch.cat(list(skip_probabilities(model, *self.data["heldout"].tensors()).values()), 1).mean(0)
            row = {"spread": spread, "varied": int(((skips > 0.02) & (skips < 0.98)).sum()), "channels": len(skips)}
            made.append(row | {f"{name}_error": round(evaluate(model, p).error, 4) for name, p in self.data.items()})
        return made

    def _spread(self, density: float, spread: float) -> nn.Module:
        n_steps = _steps(len(self.train), self.epochs[1])
        model, objective = _fbs(self.start(False), density, n_steps, self.seed, spread=spread)
        self._fit(model, self.epochs[1], objective=objective)
        set_density(model, density)
        return model


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


def label(method: str, setting: float, sparsity: float) -> str:
    """Return the name of a point with its setting, as a table shows it.

    >>> label("slimming + FBS", 0.8, 0.3), label("runtime pruning", 0.1, 0)
    ('slimming 30 %, then FBS, d = 0.8', 'runtime pruning, α = 0.1')
    """
    slimmed = f"slimming {100 * sparsity:g} %"
    if method in ("slimming", "slimming + FBS"):
        return slimmed if method == "slimming" else f"{slimmed}, then FBS, d = {setting:g}"
    symbol = {"FBS": "d", "channel gating": "T", "LCCL": "λ", "runtime pruning": "α"}.get(method)
    return f"{method}, {symbol} = {setting:g}" if symbol else method


def means(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each point, method by method and dear before cheap: means, the number of seeds, a label.

    >>> row = {"method": "FBS", "setting": 0.5, "sparsity": 0, "seed": 0, "macs": 2}
    >>> means([row, row | {"seed": 1, "macs": 4}])[0]["macs"]
    3.0
    """
    points: dict[tuple, list[Row]] = {}
    for row in rows:
        points.setdefault((row["method"], row["setting"], row["sparsity"]), []).append(row)
    made = []
    for point, own in points.items():
        numbers = {k: sum(row[k] for row in own) / len(own) for k in own[0] if k not in ("method", "seed")}
        made.append({"label": label(*point), "method": point[0], "seeds": len(own)} | numbers)
    return sorted(made, key=lambda row: (list(METHODS).index(row["method"]), -row["macs"]))
