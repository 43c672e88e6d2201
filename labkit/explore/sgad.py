"""The SGAD explorer of Chapter 29: how sure a trained network is, and how many blocks each picture should run."""

from functools import cache
from typing import Any

import numpy as np
import torch

from labkit import checks
from labkit.datasets import mnist
from labkit.dynamic import expected_drop_ratio, kept_at_most_sure, softmax_variance
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Lines, Readouts, Series
from labkit.nets import load

GUIDES = {"lenet-300-100": "LeNet-300-100", "lenet-5": "LeNet-5"}
READINGS = {"mended": "ln(1 − s_max), as it must be", "printed": "ln(s_max), as the slide prints it"}
CLASSES = 10
BOUND = (CLASSES - 1) / CLASSES**2
BLOCKS = 15  # of the residual network with 32 layers
N_DIGITS, BINS = 500, 18
STOPS = BOUND * np.arange(51) / 50  # variances of the curve
CENTRES = BOUND * (np.arange(BINS) + 0.5) / BINS
UNITS = dict.fromkeys(("At the variance 1/M", "At the largest variance", "Dropped on average"), "%")
VIEWS = [
    Lines(
        "ratio",
        "Blocks to drop",
        x_label="variance of the probabilities",
        y_label="blocks dropped (%)",
        x_range=(0, 0.1),
        y_range=(0, 100),
    ),
    Lines(
        "difficulty",
        f"How sure the network is, {N_DIGITS} test digits",
        x_label="variance of the probabilities",
        y_label="digits",
        x_range=(0, 0.1),
    ),
    Bars("blocks", f"Blocks that run, of {BLOCKS}", y_label="digits"),
    Readouts("numbers", units=UNITS),
]


@cache
def scores(guide: str) -> torch.Tensor:
    """Return a trained network's scores before the softmax on test digits: (n, 10), float64."""
    x, _ = mnist("test", source="offline")[:N_DIGITS].tensors()
    model = load(guide)
    with checks.evaluating(model):
        return model(x).double()


@register
def sgad_explorer() -> Explorer:
    """Return the SGAD explorer: s_max, its reading and the softness of the guidance, against blocks that run.

    Chapter 29; lecture 003:3078-3107.

    >>> explorer = sgad_explorer()
    >>> [round(explorer.compute(s_max=0.2, reading=r)["numbers"]["At the variance 1/M"]) for r in ("mended", "printed")]
    [20, 80]
    """
    return Explorer(
        "sgad",
        _views,
        title="SGAD: easy pictures run fewer blocks",
        controls=[
            Slider("s_max", 0.05, 0.95, 0.05, default=0.5, label="Largest drop ratio s_max"),
            Choice("reading", READINGS, label="Scale", style="radio"),
            Choice("guide", GUIDES, label="Guidance"),
            Slider("temperature", values=(1, 2, 4, 8, 16), default=4, label="Scores divided by"),
        ],
        views=VIEWS,
        static=Browser("sgad.js", page_data),
        alt="The drop ratio over the variance for s_max {s_max}, the scale {reading}; test digits by the variance of "
        "{guide}, its scores divided by {temperature}; and how many blocks they run",
        caption=f"What the regulariser asks for, in whole blocks of {BLOCKS}. The guidance is a trained network on "
        "digits that it has not seen; dividing its scores makes it less sure.",
    )


def _views(s_max: float, reading: str, guide: str, temperature: int) -> dict[str, Any]:
    variance = softmax_variance(scores(guide) / temperature)
    options: dict[str, Any] = {"n_classes": CLASSES, "s_max": s_max, "reading": reading}
    dropped = expected_drop_ratio(variance, **options).numpy()
    curve = expected_drop_ratio(torch.from_numpy(STOPS), **options).numpy()
    counts = np.bincount(np.minimum((variance.numpy() / BOUND * BINS).astype(int), BINS - 1), minlength=BINS)
    run = np.floor(BLOCKS * (1 - dropped) + 0.5).astype(int)
    return {
        "ratio": [
            Series(100 * curve, STOPS, "to drop"),
            Cut(y=100 * s_max, label="s_max", muted=True),
            Cut(x=BOUND, label="largest", muted=True),
        ],
        "difficulty": [Series(counts, CENTRES, "digits", "steps")],
        "blocks": {str(k): int(n) for k, n in enumerate(np.bincount(run, minlength=BLOCKS + 1))},
        "numbers": _numbers(variance.numpy(), dropped, run, 1 - kept_at_most_sure(s_max, reading=reading)),
    }


def _numbers(variance: np.ndarray, dropped: np.ndarray, run: np.ndarray, ceiling: float) -> dict[str, Any]:
    order = np.argsort(-variance, kind="stable")  # easiest first
    easy, hard = run[order[: len(run) // 2]], run[order[len(run) // 2 :]]
    return {
        "At the variance 1/M": 100 * ceiling,
        "At the largest variance": 100 * (1 - (1 - ceiling) ** (CLASSES * BOUND)),
        "Dropped on average": 100 * float(dropped.mean()),
        "Blocks, easy half": float(easy.mean()),
        "Blocks, hard half": float(hard.mean()),
    }


def page_data() -> dict[str, Any]:
    """Return what `static/sgad.js` needs: the scores of the two networks, and the axes."""
    fixed = {"stops": codec.Exact(STOPS), "centres": codec.Exact(CENTRES), "bound": BOUND}
    fixed |= {"classes": CLASSES, "blocks": BLOCKS, "bins": BINS}
    return fixed | {"scores": {guide: codec.Exact(scores(guide).numpy()) for guide in GUIDES}}
