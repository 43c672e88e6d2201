r"""The layers of a packed network: signs in words, products by XOR and POPCOUNT, batch norm as integer thresholds.

Between two sign functions a binary network computes sign(f(s)), where s is the integer product of signs and f is all
that lies between: a scale, a bias, batch normalisation, tanh. Each channel of f is monotone, so that

.. math:: \operatorname{sign} f_c(s) = -1 \iff \epsilon_c s < t_c

for a direction :math:`\epsilon_c = \pm 1` (the sign of the batch norm's weight) and an integer threshold. Both are
found by trying f on every integer that s can be, so that rounding and ties fall as they do in the float network.
Yang et al. (2017), arXiv:1705.09864; lecture 003:1267-1340. Chapter 19.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.kernels import binary_conv2d, pack_bits, pack_bits_nchw, xnor_matmul
from labkit.quantization.binary import BinaryLayer

WORD = 64


class PackedWeights(nn.Module):
    """Signs of `shape` (m, ...) as bits, 8 to a byte, in the buffer `rows`; what the packed layers share.

    `binary_input` says whether the layer's input is replaced by its signs. If so, it takes real numbers or words and
    returns the integer products as an int32 array; if not, real numbers, and returns real numbers.
    """

    rows: torch.Tensor

    def __init__(self, shape: tuple[int, ...], *, binary_input: bool = True) -> None:
        super().__init__()
        self.shape, self.binary_input = tuple(shape), binary_input
        self.n = math.prod(shape[1:])
        self.register_buffer("rows", torch.zeros(shape[0], -(-self.n // 8), dtype=torch.uint8))
        self.register_load_state_dict_post_hook(lambda *_: self._forget())

    def fill(self, weight: torch.Tensor) -> "PackedWeights":
        """Take the signs of `weight`, a bit 1 where it is negative."""
        negative = (weight.detach().flatten(1) < 0).numpy()
        self.rows.copy_(torch.from_numpy(np.packbits(negative, axis=1, bitorder="little")))
        self._forget()
        return self

    @cached_property
    def signs(self) -> np.ndarray:
        """The weights as int8 +1 and -1, of the layer's shape."""
        bits = np.unpackbits(self.rows.numpy(), axis=1, count=self.n, bitorder="little")
        return (1 - 2 * bits.astype(np.int8)).reshape(self.shape)

    @cached_property
    def real(self) -> torch.Tensor:
        """The weights as float32, for layers with real inputs."""
        return torch.from_numpy(self.signs).float()

    def _forget(self) -> None:
        for name in ("signs", "real", "words"):
            self.__dict__.pop(name, None)


class PackedLinear(PackedWeights):
    """The products of a binary linear layer.

    `shape` is (outputs, inputs). Where the words of a picture come in, `picture` is its shape (c, h, w); the words
    (n, ceil(c / 64), h, w) then need no new order, since the weights are kept in theirs.
    """

    def __init__(self, shape: tuple[int, int], *, picture: Any = None, binary_input: bool = True) -> None:
        super().__init__(shape, binary_input=binary_input)
        self.picture = tuple(picture) if picture else None

    @cached_property
    def words(self) -> np.ndarray:
        """The weights in the order in which the words of the input come."""
        if self.picture is None:
            return pack_bits(self.signs)
        return pack_bits_nchw(self.signs.reshape(-1, *self.picture)).reshape(self.shape[0], -1)

    def forward(self, x: Any) -> Any:
        """Return the products (n, outputs) for a batch x: real numbers (n, inputs), or words."""
        if not self.binary_input:
            return functional.linear(x, self.real)
        x = pack_bits(x) if isinstance(x, torch.Tensor) else x.reshape(len(x), -1)
        if self.picture is None:
            return xnor_matmul(x, self.words, n=self.n)
        n = WORD * self.words.shape[1]  # also the bits that fill the words; they agree, and each adds 1
        return xnor_matmul(x, self.words, n=n) - np.int32(n - self.n)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"shape": self.shape, "picture": self.picture, "binary_input": self.binary_input}


class PackedConv2d(PackedWeights):
    """The products of a binary convolution of `shape` (m, c, h, w); `stride`, `padding`, `dilation` as in nn.Conv2d.

    Pixels outside the picture count as +1.
    """

    def __init__(
        self, shape: tuple[int, ...], *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, binary_input: bool = True
    ) -> None:
        super().__init__(shape, binary_input=binary_input)
        self.geometry = {"stride": stride, "padding": padding, "dilation": dilation}

    @cached_property
    def words(self) -> np.ndarray:
        """The weights as words (m, ceil(c / 64), h, w)."""
        return pack_bits_nchw(self.signs)

    def forward(self, x: Any) -> Any:
        """Return the products (n, m, h', w') for a batch x: real numbers (n, c, h, w), or words."""
        if not self.binary_input:
            return functional.conv2d(x, self.real, None, **self.geometry)
        words = pack_bits_nchw(x) if isinstance(x, torch.Tensor) else x
        return binary_conv2d(words, self.words, channels=self.shape[1], **self.geometry)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"shape": self.shape, "binary_input": self.binary_input} | self.geometry


class Directed(nn.Module):
    """Integer products times +1 or -1 for each channel, so that every channel of what follows rises."""

    direction: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("direction", torch.ones(channels, dtype=torch.int8))

    def forward(self, s: np.ndarray) -> np.ndarray:
        """Return the products s (n, c, ...) with their directions."""
        return s * self.direction.numpy().astype(np.int32).reshape((-1,) + (1,) * (s.ndim - 2))

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"channels": len(self.direction)}


class IntegerPool(nn.Module):
    """The largest integer of each window: max pooling of products, before or after the direction."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, s: np.ndarray) -> np.ndarray:
        """Return the pooled products (n, c, h', w')."""
        k, step = self.kernel_size, self.stride
        last = [side - k + 1 for side in s.shape[2:]]
        corners = [s[:, :, i : i + last[0] : step, j : j + last[1] : step] for i in range(k) for j in range(k)]
        return np.maximum.reduce(corners)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"kernel_size": self.kernel_size, "stride": self.stride}


class Threshold(nn.Module):
    """Words of signs from integer products: a sign is negative where its product lies below the channel's `limit`."""

    limit: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("limit", torch.zeros(channels, dtype=torch.int32))

    def forward(self, s: np.ndarray) -> np.ndarray:
        """Return words (n, ceil(c / 64)) or (n, ceil(c / 64), h, w) for products (n, c) or (n, c, h, w)."""
        pack = pack_bits if s.ndim == 2 else pack_bits_nchw
        return pack(s, thresholds=self.limit.numpy())

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        return {"channels": len(self.limit)}


class Affine(nn.Module):
    """Real outputs from products: times a scale and plus a bias for each channel, where the layer has them."""

    scale: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(self, channels: int, *, scale: bool, bias: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels) if scale else None)
        self.register_buffer("bias", torch.zeros(channels) if bias else None)

    def forward(self, s: Any) -> torch.Tensor:
        """Return real numbers of the shape of s (n, c, ...)."""
        y = torch.from_numpy(s).float() if isinstance(s, np.ndarray) else s
        shape = (-1,) + (1,) * (y.dim() - 2)
        y = y if self.scale is None else y * self.scale.reshape(shape)
        return y if self.bias is None else y + self.bias.reshape(shape)

    @classmethod
    def of(cls, layer: Any) -> "Affine":
        """Return the scale and bias of a binary layer."""
        made = cls(len(layer.weight), scale=layer.scaled, bias=layer.bias is not None)
        if made.scale is not None:
            made.scale.copy_(layer.scale().detach())
        if made.bias is not None:
            made.bias.copy_(layer.bias.detach())
        return made

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer."""
        channels = next((len(b) for b in (self.scale, self.bias) if b is not None), 0)
        return {"channels": channels, "scale": self.scale is not None, "bias": self.bias is not None}


def fold_thresholds(tail: nn.Module, layer: BinaryLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what follows a binary layer, up to the next sign, as a direction and a threshold for each channel.

    Parameters
    ----------
    tail : the modules between the layer and the next sign function, each monotone in its input: batch normalisation,
        tanh, ReLU; taken in evaluation mode
    layer : the binary layer, whose scale and bias belong to f as well

    Returns
    -------
    int8 tensor (c,) of +1 and -1 and int32 tensor (c,): the sign is negative where direction * s < threshold. A batch
    norm weight of 0 makes the sign constant; its threshold is one that every or no product is below.

    Raises ValueError if a channel of f is not monotone. See the head of this module for the formula.

    >>> from labkit.quantization import BinaryLinear
    >>> norm = nn.BatchNorm1d(2).eval()
    >>> _ = norm.weight.data.copy_(torch.tensor([1.0, -1.0]))
    >>> fold_thresholds(norm, BinaryLinear(4, 2))
    (tensor([ 1, -1], dtype=torch.int8), tensor([0, 0], dtype=torch.int32))
    """
    checks.instance(layer, "layer", BinaryLayer)
    checks.instance(tail, "tail", nn.Module)
    n = layer.weight[0].numel()
    negative = _negative(tail, layer, torch.arange(-n, n + 1, 2.0))  # every product of n signs; (n + 1, c)
    falling = negative[-1] & ~negative[0]
    ordered = torch.where(falling, negative.flip(0), negative).int()  # the negative ones first, in every channel
    if (ordered.diff(dim=0) > 0).any():
        raise ValueError("tail must be monotone in every channel, so that one threshold can replace it")
    return (1 - 2 * falling.to(torch.int8)), (2 * ordered.sum(0) - n).int()


def _negative(tail: nn.Module, layer: Any, s: torch.Tensor) -> torch.Tensor:
    """Return where f_c(s) < 0, for each s and each channel c."""
    x = s[:, None].repeat(1, len(layer.weight))  # (n + 1, c)
    x = x[..., None, None] if isinstance(layer, nn.Conv2d) else x
    with checks.evaluating(tail):
        return (tail(Affine.of(layer)(x)) < 0).flatten(1)
