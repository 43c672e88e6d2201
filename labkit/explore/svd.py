"""The explorer of Chapter 5: every rank of a photograph and of the first layer of a trained network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from labkit.datasets import mnist, photograph
from labkit.decomposition import LowRank, break_even_rank, param_count, svd_rate, thin_svd
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cut, Lines, Picture, Pixels, Readouts, Series
from labkit.nets import load

PHOTOGRAPH, LAYER = "photograph", "fc1"
ACCURACY = "Held-out accuracy"
TILES = (15, 20, 28, 28)  # the 300 rows of fc1 as 15 x 20 tiles, its 784 columns as 28 x 28 pixels
UNITS = {"Compression rate": "×", "Relative error": "%", "PSNR": "dB", ACCURACY: "%"}


@dataclass(frozen=True, eq=False)
class Subject:
    """A matrix with its SVD, how it becomes a picture, and how good it is at each rank."""

    svd: LowRank
    tiles: tuple[int, int, int, int] | None  # rows, columns, height, width; None: the matrix is the picture
    span: tuple[float, float]
    rest: float  # the picture of what is left out goes from -rest to rest
    accuracy: Callable[[int], float] | None = None

    def errors(self) -> np.ndarray:
        """Return the relative Frobenius errors at ranks 1, ..., r."""
        tail = np.append(np.cumsum(self.svd.s[:0:-1].astype(float) ** 2)[::-1], 0.0)
        return np.sqrt(tail / np.sum(self.svd.s.astype(float) ** 2))

    def psnr(self) -> np.ndarray:
        """Return 10 log10(1 / mean squared error) in dB at ranks 1, ..., r; infinite where nothing is left out."""
        norm = np.linalg.norm(self.svd.s.astype(float))
        with np.errstate(divide="ignore"):
            return -10 * np.log10((norm * self.errors()) ** 2 / np.prod(self.svd.shape))

    def picture(self, A: np.ndarray) -> np.ndarray:
        """Return the matrix as a picture."""
        if self.tiles is None:
            return A
        rows, columns, height, width = self.tiles
        return A.reshape(self.tiles).transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


@register
def svd_explorer(photo: str = "china") -> Explorer:
    """Return the explorer of truncated SVD: a photograph or LeNet-300-100's first layer, at every rank.

    `photo` is "china" or "flower". The static page holds all ranks of both, see `page_data`.
    Chapter 5; lecture 000:231-257, 002:386-398.

    >>> numbers = svd_explorer().compute(subject="photograph", rank=50)["numbers"]
    >>> numbers["Parameters"], round(numbers["Compression rate"], 2)
    (53400, 5.12)
    """
    subjects = {PHOTOGRAPH: _photograph(photo), LAYER: _layer()}
    ranks = {name: len(subject.svd.s) for name, subject in subjects.items()}
    labels = {PHOTOGRAPH: "Photograph, 427 × 640", LAYER: "Weights of LeNet's first layer, 300 × 784"}
    return Explorer(
        "svd",
        lambda subject, rank: _views(subjects[subject], rank),
        title="Truncated SVD: how many terms does a matrix need?",
        controls=[
            Choice("subject", labels, label="Matrix"),
            Slider("rank", 1, max(ranks.values()), default=20, label="Rank k", high_by=("subject", ranks)),
        ],
        views=[
            Picture("reconstruction", "Sum of the first k terms"),
            Picture("residual", "What is left out", scale=True),
            Lines("spectrum", "Spectrum", wide=True, x_label="index i", y_label="singular value", y_scale="log"),
            Readouts("numbers", units=UNITS, digits={ACCURACY: 4}),
        ],
        static=Browser("svd.js", lambda: page_data(subjects)),
        alt="A {subject} rebuilt from its first {rank} singular triplets, what is left out, and the singular values",
        caption="In the picture of the layer each tile holds the weights from 28 × 28 pixels to one of 300 units.",
    )


def _views(subject: Subject, rank: int) -> dict[str, Any]:
    part = subject.svd.truncate(rank).to_tensor()  # (m, n)
    rest = subject.svd.to_tensor() - part
    colormap = "grey" if subject.tiles is None else "diverging"
    return {
        "reconstruction": Pixels(subject.picture(part), *subject.span, colormap),
        "residual": Pixels(subject.picture(rest), -subject.rest, subject.rest, "diverging"),
        "spectrum": _spectrum(subject.svd, rank),
        "numbers": _numbers(subject, rank),
    }


def _spectrum(svd: LowRank, rank: int) -> list[Any]:
    i = np.arange(1, len(svd.s) + 1)
    kept = Series(svd.s[:rank], i[:rank], "kept")
    left = [Series(svd.s[rank:], i[rank:], "left out", muted=True)] if rank < len(i) else []
    limit = break_even_rank(*svd.shape)
    return [kept, *left, Cut(x=limit, label=f"break-even, {limit}", muted=True), Cut(x=rank, label=f"k = {rank}")]


def _numbers(subject: Subject, rank: int) -> dict[str, Any]:
    m, n = subject.svd.shape
    quality = ("PSNR", subject.psnr()[rank - 1]) if subject.accuracy is None else (ACCURACY, subject.accuracy(rank))
    return {
        "Compression rate": svd_rate(m, n, rank),
        "Parameters": param_count((m, n), rank=rank, singular_values=True),
        "Relative error": 100 * float(subject.errors()[rank - 1]),
        quality[0]: float(quality[1]),
        "Smaller than dense": rank <= break_even_rank(m, n),
    }


def _photograph(name: str) -> Subject:
    return Subject(thin_svd(photograph(name)), None, (0.0, 1.0), 0.25)


def _layer() -> Subject:
    weight = load("lenet-300-100").get_parameter("fc1.weight").detach().numpy()  # (300, 784)
    span = float(np.quantile(np.abs(weight), 0.999))
    svd = thin_svd(weight)
    return Subject(svd, TILES, (-span, span), span / 2, accuracy_by_rank(svd))


def accuracy_by_rank(svd: LowRank) -> Callable[[int], float]:
    """Return the function from rank to the accuracy (percent) of LeNet-300-100 with its first layer at that rank.

    `svd` holds the factors of the layer's weight (300, 784). The factorised layer maps x to U_k (S_k (V_k^T x)) + b;
    V^T x is computed once for all ranks. The digits are the 5,000 of `mnist("heldout", source="offline")`.

    >>> accuracy_by_rank(thin_svd(load("lenet-300-100").fc1.weight.detach().numpy()))(300) > 97
    True
    """
    net: Any = load("lenet-300-100")
    US, Vt = (torch.from_numpy(np.ascontiguousarray(f)) for f in (svd.U * svd.s, svd.Vt))  # (300, r), (r, 784)
    images, labels = mnist("heldout", source="offline").tensors()
    projected = images.flatten(1) @ Vt.T  # (5000, r)

    @cache
    @torch.no_grad()
    def accuracy(rank: int) -> float:
        hidden = net.relu(projected[:, :rank] @ US[:, :rank].T + net.fc1.bias)  # (5000, 300)
        scores = net.fc3(net.relu(net.fc2(hidden)))  # (5000, 10)
        return 100 * float((scores.argmax(1) == labels).float().mean())

    return accuracy


# ---- the static page


def page_data(subjects: dict[str, Subject], *, tolerance: float = 0.75 / 255) -> dict[str, Any]:
    """Return what `static/svd.js` needs to show every rank of every subject, in some 650 kB.

    The factors are rounded so that the full sum is off by `tolerance` of the picture's span (root mean square), three
    quarters of a grey level; the numbers stay exact, for they are computed here.
    """
    return {name: _page_subject(subject, tolerance) for name, subject in subjects.items()}


def _page_subject(subject: Subject, tolerance: float) -> dict[str, Any]:
    m, n = subject.svd.shape
    ranks = range(1, len(subject.svd.s) + 1)
    steps, codes = rounded_factors(subject.svd, error=tolerance * (subject.span[1] - subject.span[0]))
    quality = subject.psnr() if subject.accuracy is None else [subject.accuracy(k) for k in ranks]
    return {
        "shape": [m, n],
        "tiles": subject.tiles,
        "span": subject.span,
        "rest": subject.rest,
        "s": subject.svd.s,
        "steps": codec.Exact(steps),
        "codes": codec.zigzag(codes),
        "breakEven": break_even_rank(m, n),
        "errors": codec.Exact(100 * subject.errors()),
        "quality": {
            "label": "PSNR" if subject.accuracy is None else "Held-out accuracy",
            "values": codec.Exact(quality),
        },
    }


def rounded_factors(svd: LowRank, *, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Return steps (r,) and integers q (r, m + n) with A ~ sum_i step_i^2 q_i[:m] q_i[m:]^T.

    The columns of U sqrt(S) and V sqrt(S) are rounded to multiples of step_i = c / sqrt(s_i). Rounding has variance
    step^2 / 12, so every term adds c^2 (1/m + 1/n) / 12 to the mean squared error of A: small terms need few levels,
    and c follows from the root mean square `error` that is allowed.

    >>> steps, q = rounded_factors(thin_svd(np.diag([4.0, 1.0])), error=0.01)
    >>> A = (steps**2 * q[:, :2].T) @ q[:, 2:]
    >>> bool(np.abs(A - np.diag([4, 1])).max() < 0.05)
    True
    """
    (m, n), r = svd.shape, len(svd.s)
    root = np.sqrt(np.maximum(svd.s.astype(float), 1e-12))
    factors = np.hstack([svd.U.T, svd.Vt]) * root[:, None]  # (r, m + n)
    c = error / np.sqrt(r * (1 / m + 1 / n) / 12)
    steps = np.minimum(c / root, np.abs(factors).max(axis=1))
    return steps, np.round(factors / steps[:, None]).astype(int)
