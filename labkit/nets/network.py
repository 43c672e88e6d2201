"""What the larger networks share: checked arguments, channels scaled by a width multiplier, a checked input."""

from typing import Any

import torch
from torch import nn

from labkit import checks


class Network(nn.Module):
    """A classifier of square pictures that knows its `input_shape` (channels, height, width), the batch left out.

    Parameters
    ----------
    channels : colours of a picture
    image_size : side of a picture in pixels, at least `smallest`
    width : multiplier of every number of channels and of hidden units; 1.0 is the network of the paper
    n_classes : scores in the output
    any_size : whether `forward` takes pictures of any side from `smallest` on, not only `image_size`

    Raises TypeError or ValueError for arguments outside these ranges. Howard et al. (2017), arXiv:1704.04861, name
    the width multiplier. Chapter 4.

    >>> Network(channels=3, image_size=32, smallest=8, width=0.5, n_classes=10).scaled(64)
    32
    """

    def __init__(
        self, *, channels: int, image_size: int, smallest: int, width: float, n_classes: int, any_size: bool = False
    ) -> None:
        super().__init__()
        side = checks.integer(image_size, "image_size", low=smallest)
        self.input_shape = (channels, side, side)
        self.width = checks.number(width, "width", low=1e-3, high=1e3)
        self.n_classes = checks.integer(n_classes, "n_classes", low=1)
        self._smallest, self._any_size = smallest, any_size

    def scaled(self, channels: int, *, multiple: int = 1) -> int:
        """Return `channels` times the width, to the nearest multiple of `multiple` (at least one)."""
        return multiple * max(1, int(channels * self.width / multiple + 0.5))

    def checked(self, x: Any) -> torch.Tensor:
        """Return x, a batch of pictures; TypeError or ValueError says which shape is allowed."""
        checks.instance(x, "x", torch.Tensor)
        c, side, _ = self.input_shape
        fits = x.dim() == 4 and x.shape[1] == c
        if self._any_size and not (fits and min(x.shape[2:]) >= self._smallest):
            raise ValueError(f"x must be (n, {c}, h, w) with sides of at least {self._smallest}, got {tuple(x.shape)}")
        if not self._any_size and not (fits and tuple(x.shape[2:]) == (side, side)):
            raise ValueError(f"x must be (n, {c}, {side}, {side}), got {tuple(x.shape)}; image_size sets the side")
        return x
