"""The explorer of Chapter 7: four ways to factorise a trained convolution, at every rank."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.cost import conv_macs
from labkit.datasets import mnist
from labkit.decomposition import SCHEMES, Cut, factorize_conv, kernel_spectrum, rank_for_energy
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Grid
from labkit.explore.views import Cut as Mark
from labkit.explore.views import Lines, Readouts, Series
from labkit.nets import load

LABELS = {
    "hw_1x1": "h × w, then 1 × 1",
    "1x1_hw": "1 × 1, then h × w",
    "hx1_1xw": "h × 1, then 1 × w",
    "dac": "depthwise, then 1 × 1 (DAC)",
}
SHARES = (5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)
ENERGY = 0.99
UNITS = {"Error of the kernel": "%", "Accuracy, 500 digits": "%", "Bound at 99 % energy": "×", "Multiply-adds": ""}


@dataclass(frozen=True, eq=False)
class Layer:
    """A trained convolution, the pictures that reach it, and what the rest of the network makes of its output."""

    conv: nn.Conv2d
    inputs: torch.Tensor
    labels: torch.Tensor
    rest: Any

    @cached_property
    def kernel(self) -> np.ndarray:
        """The kernel (m, c, h, w)."""
        return self.conv.weight.detach().numpy()

    def cut(self, scheme: str) -> Cut:
        """Return how the scheme cuts the kernel."""
        return Cut(self.kernel.shape, scheme)  # type: ignore[arg-type]

    def rank(self, scheme: str, share: int) -> int:
        """Return the rank that is `share` percent of the full one, at least 1."""
        return max(1, round(share * self.cut(scheme).full_rank / 100))

    @cached_property
    def spectra(self) -> dict[str, np.ndarray]:
        """The joint singular values of each scheme."""
        return {scheme: kernel_spectrum(self.kernel, scheme=scheme).astype(float) for scheme in SCHEMES}

    def errors(self, scheme: str) -> np.ndarray:
        """Return the relative Frobenius errors at ranks 1, 2, ... in percent."""
        s = self.spectra[scheme]
        tails = np.sqrt(np.maximum(np.sum(s**2) - np.cumsum(s**2), 0))
        return 100 * tails / np.linalg.norm(s)

    def macs(self, scheme: str) -> np.ndarray:
        """Return the multiply-adds of the two convolutions at ranks 1, 2, ... for one picture."""
        (height, width), (h, w) = self.inputs.shape[2:], self.conv.kernel_size
        inner = SCHEMES[scheme]
        rows, columns = (height - h + 1 if "h" in inner else height), (width - w + 1 if "w" in inner else width)
        cut, outputs = self.cut(scheme), (height - h + 1) * (width - w + 1)
        each = cut.n_matrices * (rows * columns * cut.rows + outputs * cut.columns)
        return each * np.arange(1, cut.full_rank + 1)

    def bound(self, scheme: str) -> float:
        """Return how many times fewer multiply-adds the scheme takes at 99 % energy, at most."""
        return self.kernel.size / self.cut(scheme).n_params(rank_for_energy(self.spectra[scheme], energy=ENERGY))

    @torch.no_grad()
    def accuracy(self, scheme: str, rank: int) -> float:
        """Return the percentage of right digits with the convolution factorised."""
        dense = factorize_conv(self.conv, scheme=scheme, rank=rank).to_dense()  # the same map; depthwise ones are slow
        scores = self.rest(dense(self.inputs))
        return 100 * float((scores.argmax(1) == self.labels).double().mean())


@register
def conv_schemes_explorer() -> Explorer:
    """Return the explorer of the four schemes on the second convolution of the trained LeNet-5 (50 x 20 x 5 x 5).

    The accuracy is that on the first 500 digits of `mnist("test", source="offline")`, without fine-tuning. The rank is
    given in percent of the full rank, which differs between the schemes. Chapter 7; lecture 000:282-346, 001:94-98.

    >>> conv_schemes_explorer().compute(scheme="dac", share=100)["numbers"]["Rank"]
    25
    """
    layer = second_layer()
    return Explorer(
        "conv-schemes",
        cache(lambda scheme, share: _views(layer, scheme, layer.rank(scheme, share))),
        title="Four ways to cut a convolution in two",
        controls=[
            Choice("scheme", LABELS, label="Scheme"),
            Slider("share", values=SHARES, default=20, label="Rank", unit="% of full"),
        ],
        views=[
            Lines("errors", "Error against cost", wide=True, x_label="multiply-adds for one picture (thousands)",
                  y_label="error of the kernel (%)", x_range=(0, 3200), y_range=(0, 100)),
            Lines("spectrum", "Singular values of the scheme", x_label="index i", y_label="singular value"),
            Readouts("numbers", units=UNITS),
        ],
        static=Grid(),
        alt="Error of a factorised kernel against its multiply-adds for four schemes; {scheme} at {share} % is marked",
        caption="Right of the vertical line a factorised layer takes more multiply-adds than the layer itself.",
    )  # fmt: skip


def second_layer() -> Layer:
    """Return conv2 of the trained LeNet-5 with what reaches it of 500 digits."""
    net: Any = load("lenet-5")
    images, labels = mnist("test", source="offline")[:500].tensors()

    def rest(y: torch.Tensor) -> torch.Tensor:
        return net.fc2(net.relu(net.fc1(net.pool(y).flatten(1))))

    with torch.no_grad():
        return Layer(net.conv2, net.pool(net.conv1(images)), labels, rest)


def _views(layer: Layer, scheme: str, rank: int) -> dict[str, Any]:
    s = layer.spectra[scheme]
    i = np.arange(1, len(s) + 1)
    enough = rank_for_energy(s, energy=ENERGY)
    left = [Series(s[rank:], i[rank:], "left out", muted=True)] if rank < len(i) else []
    return {
        "errors": [*_curves(layer, scheme), _here(layer, scheme, rank), Mark(x=_dense(layer) / 1000, label="dense")],
        "spectrum": [Series(s[:rank], i[:rank], "kept"), *left, Mark(x=enough, label="99 % energy", muted=True)],
        "numbers": _numbers(layer, scheme, rank),
    }


def _curves(layer: Layer, scheme: str) -> list[Series]:
    """Return the four curves, each in 40 points at most; those of the other schemes grey."""
    made = []
    for name, label in LABELS.items():
        macs, errors = layer.macs(name) / 1000, layer.errors(name)
        some = np.unique(np.linspace(0, len(macs) - 1, 40).astype(int))
        made.append(Series(errors[some], macs[some], label, muted=name != scheme))
    return made


def _here(layer: Layer, scheme: str, rank: int) -> Series:
    x, y = layer.macs(scheme)[rank - 1] / 1000, layer.errors(scheme)[rank - 1]
    return Series([y], [x], "shown", kind="points")


def _dense(layer: Layer) -> int:
    m, c, h, _ = layer.kernel.shape
    return conv_macs(c, m, kernel=h, size=tuple(side - h + 1 for side in layer.inputs.shape[2:]))


def _numbers(layer: Layer, scheme: str, rank: int) -> dict[str, Any]:
    cut, macs = layer.cut(scheme), int(layer.macs(scheme)[rank - 1])
    return {
        "Rank": rank,
        "Full rank": cut.full_rank,
        "Weights": cut.n_params(rank),
        "Multiply-adds": macs,
        "Error of the kernel": float(layer.errors(scheme)[rank - 1]),
        "Accuracy, 500 digits": layer.accuracy(scheme, rank),
        "Fewer multiply-adds than dense": macs < _dense(layer),
        "Bound at 99 % energy": layer.bound(scheme),
    }
