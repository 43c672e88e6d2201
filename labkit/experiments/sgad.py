"""SGAD on a small residual network: how many blocks each picture runs, for several largest drop ratios. Chapter 29."""

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.cost import count, time_ratio
from labkit.datasets import mnist
from labkit.dynamic import SGAD, Run, expected_drop_ratio, macs_ran, sgad_objective, softmax_variance
from labkit.experiments.low_rank import Row
from labkit.experiments.registry import EXPERIMENTS, experiment
from labkit.nets import SmallResNet, save, sgad_net
from labkit.training import evaluate, fit

CHANNELS = (8, 16, 32)
BINS = 18  # of the difficulty, between 0 and its bound 0.09; those of the explorer of Chapter 29
BOUND = 0.09  # (M - 1) / M^2 for M = 10


@experiment(
    "sgad",
    split="trained on the first 30,000 digits of mnist('train'), the dense network and SGAD for as many epochs; the "
    "weight of the regulariser and the size of the guidance chosen on the 5,000 of mnist('heldout'); error, blocks and "
    "multiply-adds on the 10,000 of mnist('test')",
    minutes=5,
    tiny={"source": "offline", "s_max": (0.5, 0.8), "shipped": 0.8, "n": 1, "n_train": 256, "n_test": 200, "epochs": 1},
)
def sgad(
    output: Path,
    *,
    source: str = "download",
    seeds: tuple[int, ...] = (0,),
    s_max: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8),
    shipped: float = 0.8,
    n: int = 3,
    epochs: int = 4,
    learning_rate: float = 3e-3,
    weight: float = 2.0,
    n_train: int = 30_000,
    n_test: int = 10_000,
) -> dict[str, Any]:
    """SGAD from a trained residual network at several s_max: error, blocks and multiply-adds that ran, by difficulty.

    Each network starts from the dense one after `epochs` epochs and trains for as many again; so does the dense one.
    """
    train, test = mnist("train", source=source)[:n_train], mnist("test", source=source)[:n_test]
    rows, summary = list[Row](), {key: Row() for key in ("gradient", "dense", "shown", "shipped")}
    for seed in seeds:
        dense, models = _trained(n, train, s_max, weight, epochs=epochs, learning_rate=learning_rate, random_state=seed)
        summary["gradient"][str(seed)], summary["dense"][str(seed)] = gradients(dense, train), _described(dense, test)
        found = {s: measured(model, dense, *test.tensors(), s_max=s) for s, model in models.items()}
        rows += [{"s_max": s, "seed": seed} | row for s, (row, _) in found.items()]
        if seed == seeds[0]:
            summary["shown"] = {f"{s:g}": shown for s, (_, shown) in found.items()}
            summary["shipped"] = _ship(models[shipped], output, rows[s_max.index(shipped)] | {"n_train": len(train)})
    return {"rows": rows, "summary": summary}


def gradients(model: SmallResNet, digits: Any) -> list[float]:
    """Return for each block the mean of the absolute gradient over the weights of its branch, for the first digits."""
    x, y = digits[:1000].tensors()
    model.zero_grad()
    functional.cross_entropy(model.eval()(x), y).backward()
    weights = [[p for name, p in b.named_parameters() if name.startswith("conv")] for b in model.blocks]
    means = [torch.cat([_gradient(p).flatten() for p in own]).abs().mean() for own in weights]
    model.zero_grad()
    return [float(f"{float(mean):.4g}") for mean in means]


def measured(model: SGAD, dense: SmallResNet, x: torch.Tensor, y: torch.Tensor, *, s_max: float) -> tuple[Row, Row]:
    """Return the row of a network on pictures x with labels y, and what the explorer shows of it."""
    model.eval()
    with torch.no_grad():
        runs = [model.run(part) for part in x.split(500)]
        variance = torch.cat([softmax_variance(model.guide(run.z)) for run in runs])
    masks, scores = (torch.cat([getattr(run, key) for run in runs]) for key in ("masks", "scores"))
    expected = expected_drop_ratio(variance, n_classes=10, s_max=s_max)
    easy = variance >= variance.median()
    whole, dropped = count(dense, x[:1]).macs, Run(scores, masks, x).dropped
    work = [macs_ran(model, x[half])[1] / int(half.sum()) / whole for half in (easy, ~easy)]
    row = {
        "error": 100 * float((scores.argmax(1) != y).double().mean()),
        "expected": float(expected.mean()),
        "dropped": float(dropped.mean()),
        "dropped_easy": float(dropped[easy].mean()),
        "dropped_hard": float(dropped[~easy].mean()),
        "macs": macs_ran(model, x)[1] / len(x) / whole,
        "macs_easy": work[0],
        "macs_hard": work[1],
        "time_ratio": time_ratio(lambda: dense(x[:100]), lambda: model(x[:100])),
        "time_ratio_single": time_ratio(lambda: dense(x[:1]), lambda: model(x[:1])),
    }
    wrong = scores.argmax(1) != y
    return _size(model) | _rounded(row), {"blocks": _list(masks.mean(0)), **_by_difficulty(variance, dropped, wrong)}


def _by_difficulty(variance: torch.Tensor, dropped: torch.Tensor, wrong: torch.Tensor) -> Row:
    """Return by bins of the variance how many pictures there are, how many are wrong, and what they drop."""
    bins = (variance / BOUND * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    sums = torch.zeros(BINS).index_add(0, bins, dropped)
    mistakes = torch.bincount(bins, weights=wrong.double(), minlength=BINS)
    shares = [round(float(s / n), 4) if n else None for s, n in zip(sums, counts, strict=True)]
    return {"counts": counts.tolist(), "wrong": mistakes.long().tolist(), "dropped": shares}


def _trained(
    n: int, train: Any, s_max: tuple[float, ...], weight: float, **options: Any
) -> tuple[SmallResNet, dict[float, SGAD]]:
    """Return the network that goes on without masks, and one SGAD for each s_max; all go on from the same start."""
    start = SmallResNet(n=n, channels=CHANNELS, stride=2, random_state=options["random_state"])
    fit(start, train, **options)
    dense = copy.deepcopy(start)
    fit(dense, train, **options)
    models = {s: sgad_net(copy.deepcopy(start), random_state=options["random_state"]) for s in s_max}
    for s, model in models.items():
        fit(model, train, objective=sgad_objective(s_max=s, weight=weight), **options)
    return dense, models


def _described(model: SmallResNet, test: Any) -> Row:
    error, macs = round(evaluate(model, test).error, 4), count(model, test[:1].tensors()[0]).macs
    return {"error": error, "macs": macs} | _size(model)


def _size(model: nn.Module) -> Row:
    """Return the parameters that use needs, so without the guidance, and the bytes of the state in float32."""
    used = [part for name, part in model.named_children() if name != "guide"]
    numbers = [t.numel() for part in used for t in part.state_dict().values() if t.is_floating_point()]
    return {"parameters": sum(p.numel() for part in used for p in part.parameters()), "n_bytes": 4 * sum(numbers)}


def _ship(model: SGAD, output: Path, row: Row) -> Row:
    header = {"command": "python -m labkit.experiments sgad", "split": EXPERIMENTS["sgad"].split} | row
    header |= {"torch": torch.__version__, "date": datetime.now(UTC).date().isoformat()}
    save(model, output / "checkpoints" / "sgad-net.safetensors", header=header)
    return header


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    return checks.instance(parameter.grad, "grad", torch.Tensor)


def _rounded(row: Row) -> Row:
    return {key: round(value, 4) for key, value in row.items()}


def _list(values: torch.Tensor | Sequence[float]) -> list[float]:
    return [round(float(v), 4) for v in values]
