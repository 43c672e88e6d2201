r"""Channel gating: compute a part of the input channels first, and the rest only where that looks worth it.

With the first b of C input channels as the base,

.. math:: p = w_{:b} * x_{:b}, \qquad \text{gate} = 1_{\operatorname{norm}_p(p) > \tau}, \qquad
   y = \begin{cases} \operatorname{norm}(p + w_{b:} * x_{b:})_+ & \text{where the gate is open} \\
   \operatorname{norm}_p(p)_+ & \text{elsewhere.} \end{cases}

Hua, Zhou, De Sa, Zhang, Suh (2019), arXiv:1805.12549; lecture 003:3158. Chapter 29.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from labkit import checks
from labkit.convolution.window import Pair, Window
from labkit.dynamic.skipping import (
    DynamicLayer,
    Tensor,
    bare,
    convolve_positions,
    layer_config,
    norm_settings,
    output_size,
    per_output,
    unbiased,
)


class ChannelGate(DynamicLayer):
    r"""A convolution, batch norm and ReLU whose partial sums decide, output by output, whether the rest is added.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding : as in `nn.Conv2d`
    base : b, the number of input channels of the partial sum, 1 to in_channels - 1
    threshold : :math:`\tau`, where it starts, a number or -inf; it is a parameter, one for each output channel.
        At -inf every gate is open and the layer is exactly its dense one
    steepness : above 0, of the sigmoid whose slope stands for that of the gate in the backward pass
    target : the threshold that `penalty()`, the mean of :math:`(T - \tau)^2`, draws towards
    norm : eps and momentum of the batch norms, as in `nn.BatchNorm2d`; None for those of torch
    random_state : int, Generator or None, for the initial weights

    Raises
    ------
    TypeError, ValueError : an argument out of its range; in a call an x of another shape.

    `execution` is "masked" or "gathered", which adds the rest only at open gates. `gate` holds those of the last
    call, bool (n, K, H', W'). Formula: see the module. Chapter 29.

    >>> layer = ChannelGate(8, 4, 3, base=2, threshold=0.5, random_state=0).eval()
    >>> layer(torch.ones(1, 8, 5, 5)).shape
    torch.Size([1, 4, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        base: int,
        stride: Pair = 1,
        padding: Pair = 0,
        threshold: float = 0.0,
        target: float = 1.0,
        steepness: float = 4.0,
        norm: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.base = checks.integer(base, "base", low=1, high=checks.integer(in_channels, "in_channels", low=2) - 1)
        self.target = checks.number(target, "target", low=-math.inf)
        self.steepness = checks.positive(steepness, "steepness")
        with checks.seeded(random_state):
            self.conv = unbiased(in_channels, out_channels, Window(kernel_size, stride, padding))
        self.norm, self.base_norm = (nn.BatchNorm2d(out_channels, **norm_settings(norm)) for _ in range(2))
        self.threshold = nn.Parameter(torch.full((out_channels,), _threshold(threshold)))
        self.gate = torch.zeros(0, dtype=torch.bool)

    @classmethod
    def from_conv(
        cls, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, base: int, **options: Any
    ) -> "ChannelGate":
        """Return a layer with the weights of conv and its batch norm; `options` as for the class.

        Nothing is known yet about the partial sums: their norm starts as if they had base / in_channels of the mean
        and of the variance. Raises TypeError or ValueError for layers of another kind, such as a dilated one.

        >>> conv, x = nn.Conv2d(4, 3, 3, bias=False), torch.randn(1, 4, 8, 8)
        >>> gated = ChannelGate.from_conv(conv, base=1, threshold=-math.inf).eval()
        >>> torch.allclose(gated(x), conv(x).relu(), atol=1e-6)
        True
        """
        plain, norm = bare(conv, norm)
        if plain.dilation != (1, 1):
            raise ValueError(f"conv must have dilation (1, 1), got {plain.dilation}")
        made = cls(**layer_config(plain, norm, "dilation") | options, base=base).to(plain.weight)
        made.conv.load_state_dict(plain.state_dict())
        made.norm = norm
        made.base_norm.load_state_dict(norm.state_dict())
        share = base / plain.in_channels
        cast(Tensor, made.base_norm.running_mean).mul_(share)
        cast(Tensor, made.base_norm.running_var).mul_(share)
        return made.train(conv.training)

    def to_dense(self) -> nn.Sequential:
        """Return convolution, batch norm and ReLU without gates: the layer at a threshold of -inf.

        >>> x, layer = torch.randn(1, 4, 5, 5), ChannelGate(4, 2, 3, base=1, threshold=-math.inf).eval()
        >>> torch.equal(layer.to_dense()(x), layer(x))
        True
        """
        conv, norm = bare(self.conv, self.norm)
        return nn.Sequential(conv, norm, nn.ReLU()).train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (n, K, H', W')."""
        x = self.checked(x)
        partial = self._partial(x)
        low = self.base_norm(partial)
        distance = low - self.threshold[:, None, None]
        self.gate = distance > 0
        whole, work = self._whole(x, partial)
        self.ran = work + self.base * self._places(x)
        y = torch.where(self.gate, whole, low)
        return (y + self._slope(distance, whole, low)).relu() if self.training else y.relu()

    def _partial(self, x: Tensor) -> Tensor:
        conv, b = self.conv, self.base
        return nn.functional.conv2d(x[:, :b], conv.weight[:, :b], None, conv.stride, cast(Any, conv.padding))

    def _whole(self, x: Tensor, partial: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised whole sums, right where the gate is open, and what adding the rest took."""
        if self.masked:
            rest = self.conv.in_channels - self.base
            return self.norm(self.conv(x)), torch.full((len(x),), rest * self._places(x), dtype=torch.int64)
        added, work = convolve_positions(x, self.conv, self.gate, first=self.base)
        return self.norm(partial + added), work

    def _places(self, x: Tensor) -> int:
        """Return the multiply-adds of one input channel for one image."""
        return self.conv.out_channels * per_output(self.conv) * math.prod(output_size(self.conv, x))

    def _slope(self, distance: Tensor, whole: Tensor, low: Tensor) -> Tensor:
        """Return zeros with the gradient that a soft gate would have."""
        soft = (self.steepness * distance).sigmoid()
        return (soft - soft.detach()) * (whole - low).detach()

    def penalty(self) -> Tensor:
        """Return the mean squared distance of the thresholds from their target."""
        return (self.target - self.threshold).square().mean()

    @property
    def open_share(self) -> float:
        """The share of gates that were open in the last call; NaN before the first."""
        return float(self.gate.float().mean())

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        own = {"base": self.base, "target": self.target, "steepness": self.steepness}
        return layer_config(self.conv, self.norm, "dilation") | own

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"base={self.base}, target={self.target:g}"


def _threshold(value: Any) -> float:
    return -math.inf if isinstance(value, float) and value == -math.inf else checks.number(value, "threshold", low=-1e6)
