r"""Low-cost collaborative layers: a 1 x 1 convolution predicts where the output is zero, and there nothing is computed.

.. math:: u = \operatorname{norm}_u(v * x)_+, \qquad y = \operatorname{norm}(w * x)_+ \; u,

where :math:`w * x` is needed only at the positions with :math:`u > 0`. Dong, Huang, Yang, Yan (2017),
arXiv:1703.08651; lecture 003:3157. Chapter 29.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from labkit import checks
from labkit.convolution.window import Window
from labkit.dynamic.skipping import (
    DynamicLayer,
    Tensor,
    bare,
    convolve_positions,
    layer_config,
    norm_config,
    norm_settings,
    per_output,
    unbiased,
)


class LCCL(DynamicLayer):
    """A convolution, batch norm and ReLU multiplied by those of a cheap 1 x 1 convolution, whose zeros are skipped.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride : as in `nn.Conv2d`; kernel_size odd, so that padding by half of it
        gives both convolutions outputs of one size
    norm : eps and momentum of the batch norms, as in `nn.BatchNorm2d`; None for those of torch
    random_state : int, Generator or None, for the initial weights

    Raises
    ------
    TypeError, ValueError : an argument out of its range; in a call an x of another shape.

    `execution` is "masked" or "gathered". `u` holds the cheap outputs of the last call, (n, K, H', W'); `penalty()` is
    their mean, which training may add to get more zeros. Formula: see the module. Chapter 29.

    >>> layer = LCCL(3, 4, 3, random_state=0).eval()
    >>> x = torch.randn(1, 3, 6, 6)
    >>> y = layer(x)
    >>> bool((y[layer.u == 0] == 0).all())
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        norm: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        if checks.integer(kernel_size, "kernel_size", low=1) % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        checks.integer(stride, "stride", low=1)
        with checks.seeded(random_state):
            self.conv = unbiased(in_channels, out_channels, Window(kernel_size, stride, kernel_size // 2))
            self.cheap = unbiased(in_channels, out_channels, Window(1, stride))
        self.norm, self.cheap_norm = (nn.BatchNorm2d(out_channels, **norm_settings(norm)) for _ in range(2))
        self.u = torch.zeros(0)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, random_state: Any = None) -> "LCCL":
        """Return a layer that starts as relu(norm(conv(x))): the cheap output is 1 everywhere until it is trained.

        Its batch norm starts with the scale 0 and the shift 1. Raises TypeError or ValueError for layers of another
        kind, or a convolution that is not square, padded by half its odd kernel, and without dilation.

        >>> conv, x = nn.Conv2d(4, 3, 3, padding=1), torch.randn(1, 4, 8, 8)
        >>> torch.allclose(LCCL.from_conv(conv).eval()(x), conv(x).relu(), atol=1e-6)
        True
        """
        plain, norm = bare(conv, norm)
        (side, _), (stride, _) = plain.kernel_size, plain.stride
        wanted = {"kernel_size": (side,) * 2, "stride": (stride,) * 2, "padding": (side // 2,) * 2, "dilation": (1, 1)}
        for name, value in wanted.items():
            if getattr(plain, name) != value:
                raise ValueError(f"conv must have {name} {value}, got {getattr(plain, name)}")
        options: dict[str, Any] = {"stride": stride, "norm": norm_config(norm), "random_state": random_state}
        made = cls(plain.in_channels, plain.out_channels, side, **options)
        made.to(plain.weight).conv.load_state_dict(plain.state_dict())
        made.norm = norm
        nn.init.zeros_(made.cheap_norm.weight), nn.init.ones_(made.cheap_norm.bias)
        return made.train(conv.training)

    def to_dense(self) -> nn.Sequential:
        """Return convolution, batch norm and ReLU without the cheap layer.

        >>> [type(layer).__name__ for layer in LCCL(1, 2, 3).to_dense()]
        ['Conv2d', 'BatchNorm2d', 'ReLU']
        """
        return nn.Sequential(*bare(self.conv, self.norm), nn.ReLU()).train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (n, K, H', W'), zero wherever u is."""
        x = self.checked(x)
        self.u = self.cheap_norm(self.cheap(x)).relu()
        if self.masked:
            z, work = self.conv(x), torch.full((len(x),), self._products * math.prod(self.u.shape[1:]))
        else:
            z, work = convolve_positions(x, self.conv, self.u > 0)
        self.ran = work + self.conv.in_channels * math.prod(self.u.shape[1:])
        return self.norm(z).relu() * self.u

    @property
    def _products(self) -> int:
        return self.conv.in_channels * per_output(self.conv)

    def penalty(self) -> Tensor:
        """Return the mean of the cheap outputs of the last call."""
        return self.u.mean() if self.u.numel() else cast(Tensor, self.u.sum())

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        (side, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        window = {"kernel_size": side, "stride": stride}
        return layer_config(self.conv, self.norm, "padding", "dilation") | window

    @property
    def zero_share(self) -> float:
        """The share of outputs that the last call could skip; NaN before the first."""
        return float((self.u == 0).float().mean())
