"""What every data set of the book is made of: images with their labels."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch

from labkit import checks


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with one label each; a slice or an array of indices gives the chosen ones: `data[:100]`.

    `images` is float32 (n, *SHAPE) in [0, 1]; `labels` is int64 (n,). The data sets are `Digits` and `ColorImages`.
    Raises TypeError or ValueError for anything but arrays of these shapes.
    """

    SHAPE: ClassVar[tuple[int, ...]]

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    split: str
    source: str

    def __post_init__(self) -> None:
        for value, name in ((self.images, "images"), (self.labels, "labels")):
            checks.instance(value, name, np.ndarray)
        if self.images.ndim == 0 or self.images.shape[1:] != self.SHAPE:
            sides = ", ".join(map(str, self.SHAPE))
            raise ValueError(f"images must have shape (n, {sides}), got {self.images.shape}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must have shape {self.images.shape[:1]}, got {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Self:
        if not isinstance(index, slice | np.ndarray | list):
            raise TypeError(f"index must be a slice or an array of integers, got {index!r}")
        return type(self)(self.images[index], self.labels[index], self.split, self.source)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(split={self.split!r}, n={len(self)}, source={self.source!r})"

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images as (n, channels, height, width) and the labels as (n,)."""
        return torch.from_numpy(self.images), torch.from_numpy(self.labels)

    def divide(self, n: int, *, random_state: Any) -> tuple[Self, Self]:
        """Divide into two parts, the second of `n` images, each with the same share of every class.

        >>> from labkit.datasets import mnist
        >>> rest, part = mnist("test", source="offline").divide(200, random_state=0)
        >>> len(rest), np.bincount(part.labels).tolist()
        (800, [20, 20, 20, 20, 20, 20, 20, 20, 20, 20])
        """
        checks.integer(n, "n", low=1, high=len(self) - 1)
        order = balanced_order(self.labels, random_state)
        return self[order[n:]], self[order[:n]]


class Digits(LabelledImages):
    """Handwritten digits: `images` is float32 (n, 28, 28) in [0, 1], 0 for the background."""

    SHAPE = (28, 28)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images as (n, 1, 28, 28) and the labels as (n,)."""
        images, labels = super().tensors()
        return images.unsqueeze(1), labels


class ColorImages(LabelledImages):
    """Small photographs: `images` is float32 (n, 3, 32, 32) in [0, 1], the channels red, green, blue."""

    SHAPE = (3, 32, 32)


def balanced_order(labels: np.ndarray, random_state: Any) -> np.ndarray:
    """Return a random order of the labels in which every prefix holds the classes in their overall shares."""
    order = checks.generator(random_state).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return order[np.argsort(place[order], kind="stable")]
