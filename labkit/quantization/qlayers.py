"""Layers that compute with integers: int8 weights and inputs, int32 sums, and a multiplier and a shift in between.

Chapter 15; lecture 003:977-993.
"""

import functools
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.window import sides
from labkit.quantization.integer import (
    Levels,
    int_matmul,
    multiplier_and_shift,
    pack_integers,
    patches,
    quantize_to,
    requantize,
    round_half_up,
    unpack_integers,
)
from labkit.quantization.uniform import integer_range

Tensor = torch.Tensor


class QLayer(nn.Module):
    """What the integer layers share: int8 weights, int32 biases, scales, and where integers come from and go to.

    The input is rounded to `input_levels` and the weight w_c of channel c is `weight_scale[c]` times an integer, so

        y_c = s_x s_c ( sum (q_x - z_x) q_w + q_b ) ,

    where the bracket is an int32. `forward` takes and returns real numbers; after `fold_requantize` it may take and
    return integers. In memory a weight takes a byte whatever its bits; the state, and so a file, holds its bits alone.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    weight_scale: Tensor
    input_scale: Tensor
    input_zero_point: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, bias: bool, weight_bits: int, input_bits: int, input_signed: bool, device: Any
    ) -> None:
        super().__init__()
        self.weight_bits = checks.integer(weight_bits, "weight_bits", low=2, high=8)
        self.input_signed = checks.flag(input_signed, "input_signed")
        self.input_bits = checks.integer(input_bits, "input_bits", low=2 if input_signed else 1, high=8)
        fixed = functools.partial(nn.Parameter, requires_grad=False)
        self.weight = fixed(torch.zeros(shape, dtype=torch.int8, device=device))
        has_bias = checks.flag(bias, "bias")
        self.bias = fixed(torch.zeros(shape[0], dtype=torch.int32, device=device)) if has_bias else None
        self.register_buffer("weight_scale", torch.ones(shape[0], dtype=torch.float64, device=device))
        self.register_buffer("input_scale", torch.ones((), dtype=torch.float64, device=device))
        self.register_buffer("input_zero_point", torch.zeros((), dtype=torch.int32, device=device))
        self.integer_input = False
        self.next_levels: Levels | None = None
        self._pairs = torch.empty(0, 2, dtype=torch.int64)

    @property
    def input_levels(self) -> Levels:
        """The numbers that the inputs are rounded to."""
        return Levels(float(self.input_scale), int(self.input_zero_point), self.input_bits, self.input_signed)

    @property
    def output_scale(self) -> Tensor:
        """What one unit of the integer sum is worth, for each channel (m,), float64."""
        return self.input_scale * self.weight_scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a batch of real inputs, or of integers where the layer was folded."""
        q = x if self.integer_input else quantize_to(x, self.input_levels)
        total = self.accumulate(q)
        if self.next_levels is None:
            return (total * self._spread(self.output_scale)).to(torch.float64 if self.integer_input else x.dtype)
        return requantize(total, *map(self._spread, self.multipliers()), to=self.next_levels)

    def hand_on(self, levels: Levels) -> None:
        """From now on return integers of these levels, those of the layer that reads the output."""
        pairs = [
            multiplier_and_shift(float(s) / checks.instance(levels, "levels", Levels).scale) for s in self.output_scale
        ]
        self.next_levels, self._pairs = levels, torch.tensor(pairs)  # (m, 2)

    def multipliers(self) -> tuple[Tensor, Tensor]:
        """Return the integers M and n of every channel that lead to the next layer; ValueError without `hand_on`."""
        if self.next_levels is None:
            raise ValueError("next_levels must be set by hand_on, got None")
        M, n = self._pairs.T
        return M, n

    def accumulate(self, q: Tensor) -> Tensor:
        """Return the int32 sums for integer inputs q, biases included."""
        raise NotImplementedError

    def fake(self, x: Tensor) -> Tensor:
        """Return the same layer simulated in float64: rounded inputs and weights, real products and sums."""
        levels = self.input_levels
        rounded = (quantize_to(x, levels).double() - levels.zero_point) * levels.scale
        dense = self.to_dense()
        return self._apply_dense(rounded, dense.weight, dense.bias)

    def to_dense(self) -> Any:
        """Return the float64 layer with the rounded weights."""
        raise NotImplementedError

    def _apply_dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _spread(self, value: Tensor) -> Tensor:
        """Give one value for each channel (m,) the shape that broadcasts against an output."""
        return value

    def _fill(
        self, layer: Any, levels: Levels, per_channel: bool, weight_scale: float | None, next_scale: float | None
    ) -> Self:
        """Round the weights of a float layer; with `next_scale` the scales are moved until they fold exactly."""
        w = layer.weight.detach().double()
        checks.array(w, "layer.weight")
        top = integer_range(self.weight_bits, signed=True)[1]
        scale = (
            _weight_scales(w, top, per_channel)
            if weight_scale is None
            else w.new_full((len(w),), checks.positive(weight_scale, "weight_scale"))
        )
        scale = scale if next_scale is None else _foldable(scale, levels.scale, next_scale)
        self.input_scale.fill_(levels.scale)
        self.input_zero_point.fill_(levels.zero_point)
        self.weight_scale.copy_(scale)
        self.weight.copy_(round_half_up(w / _like(scale, w)).clamp(-top, top))
        if self.bias is not None:
            limit = 2**31 - 1
            self.bias.copy_(round_half_up(layer.bias.detach().double() / self.output_scale).clamp(-limit, limit))
        return self.train(layer.training)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.weight_bits < 8:
            destination[f"{prefix}weight"] = pack_integers(self.weight.detach(), bits=self.weight_bits)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        key, shape = f"{prefix}weight", tuple(self.weight.shape)
        if self.weight_bits < 8 and key in state_dict:
            try:
                state_dict[key] = unpack_integers(state_dict[key], bits=self.weight_bits, shape=shape)
            except (TypeError, ValueError) as error:
                args[-1].append(f"{key}: {error}")  # torch's list of what does not fit
                return
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _dense_state(self) -> dict[str, Tensor]:
        state = {"weight": self.weight * _like(self.weight_scale, self.weight)}
        return state | ({} if self.bias is None else {"bias": self.bias * self.output_scale})


class QLinear(QLayer):
    """A linear layer with int8 weights and int32 sums; see `QLayer`.

    `in_features`, `out_features`, `bias`, `device` as in nn.Linear; `weight_bits` (2 to 8), `input_bits` (1 to 8) and
    `input_signed` say which integers occur. A new layer holds zeros; `from_linear` rounds a trained one.
    Jacob et al. (2018), arXiv:1712.05877. Chapter 15; lecture 003:984-993.

    >>> QLinear.from_linear(nn.Linear(6, 4), input_levels=Levels(0.1))(torch.zeros(5, 6)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_bits: int = 8,
        input_bits: int = 8,
        input_signed: bool = True,
        device: Any = None,
    ) -> None:
        shape = checks.size(out_features, "out_features"), checks.size(in_features, "in_features")
        made: Any = {"weight_bits": weight_bits, "input_bits": input_bits, "input_signed": input_signed}
        super().__init__(shape, bias=bias, device=device, **made)
        self.out_features, self.in_features = shape

    @classmethod
    def from_linear(
        cls,
        layer: nn.Linear,
        *,
        input_levels: Levels,
        weight_bits: int = 8,
        per_channel: bool = True,
        weight_scale: float | None = None,
        next_scale: float | None = None,
    ) -> Self:
        """Round a trained layer.

        `input_levels` comes from calibration; `weight_scale` is one scale for the weight, by default it follows from
        the largest weights; `next_scale` is the scale of the layer that reads the output, if it will be
        folded. Raises TypeError or ValueError for a bad argument.
        """
        checks.instance(layer, "layer", nn.Linear)
        made = cls(layer.in_features, layer.out_features, **_settings(layer, input_levels, weight_bits))
        return made._fill(layer, input_levels, per_channel, weight_scale, next_scale)

    def accumulate(self, q: Tensor) -> Tensor:
        """Return the int32 sums (..., m) for integer inputs (..., n)."""
        total = int_matmul(q.reshape(-1, self.in_features), self.weight.T)
        return _finish(total, self).reshape(*q.shape[:-1], self.out_features)

    def to_dense(self) -> nn.Linear:
        """Return the float64 nn.Linear with the rounded weights."""
        dense = nn.Linear(self.in_features, self.out_features, self.bias is not None, dtype=torch.float64)
        dense.load_state_dict(self._dense_state())
        return dense.train(self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return {"in_features": self.in_features, "out_features": self.out_features} | _config(self)

    def multiply_adds(self, x: Tensor, y: Tensor) -> int:
        """Return the integer multiply-adds of a call."""
        return y.numel() * self.in_features

    def extra_repr(self) -> str:
        """Return the sizes and bits for the printed form."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {_bits_text(self)}"

    def _apply_dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)


class QConv2d(QLayer):
    """A convolution with int8 weights and int32 sums; see `QLayer`. Groups are not supported.

    `in_channels`, `out_channels`, `kernel_size`, `stride`, `padding` (numbers, zeros are padded), `dilation`, `bias`,
    `device` as in nn.Conv2d; the others as in `QLinear`. `from_conv` rounds a trained layer.
    Jacob et al. (2018), arXiv:1712.05877. Chapter 15; lecture 003:984-993.

    >>> QConv2d.from_conv(nn.Conv2d(1, 4, 3), input_levels=Levels(0.1))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 4, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        bias: bool = True,
        weight_bits: int = 8,
        input_bits: int = 8,
        input_signed: bool = True,
        device: Any = None,
    ) -> None:
        window = sides(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
        kernel = window.pop("kernel_size")
        shape = checks.size(out_channels, "out_channels"), checks.size(in_channels, "in_channels"), *kernel
        made: Any = {"weight_bits": weight_bits, "input_bits": input_bits, "input_signed": input_signed}
        super().__init__(shape, bias=bias, device=device, **made)
        self.out_channels, self.in_channels, self.kernel_size, self.window = shape[0], shape[1], kernel, window

    @classmethod
    def from_conv(
        cls,
        layer: nn.Conv2d,
        *,
        input_levels: Levels,
        weight_bits: int = 8,
        per_channel: bool = True,
        weight_scale: float | None = None,
        next_scale: float | None = None,
    ) -> Self:
        """Round a trained layer; arguments and errors as in `QLinear.from_linear`, one group only."""
        checks.instance(layer, "layer", nn.Conv2d)
        if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"layer must have groups=1 and be padded by numbers of zeros, got {layer}")
        window = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        made = _settings(layer, input_levels, weight_bits) | window
        sizes: Any = (layer.in_channels, layer.out_channels, layer.kernel_size)
        return cls(*sizes, **made)._fill(layer, input_levels, per_channel, weight_scale, next_scale)

    def accumulate(self, q: Tensor) -> Tensor:
        """Return the int32 sums (n, m, h', w') for integer inputs (n, c, h, w)."""
        windows = patches(q, self.kernel_size, int(self.input_zero_point), **self.window)  # (n, h', w', c kh kw)
        total = _finish(int_matmul(windows.flatten(0, 2), self.weight.flatten(1).T), self)
        return total.reshape(*windows.shape[:3], -1).permute(0, 3, 1, 2).contiguous()

    def to_dense(self) -> nn.Conv2d:
        """Return the float64 nn.Conv2d with the rounded weights."""
        given: Any = self.window | {"bias": self.bias is not None, "dtype": torch.float64}
        dense = nn.Conv2d(self.in_channels, self.out_channels, self.kernel_size, **given)
        dense.load_state_dict(self._dense_state())
        return dense.train(self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        sizes = {"in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": self.kernel_size}
        return sizes | self.window | _config(self)

    def multiply_adds(self, x: Tensor, y: Tensor) -> int:
        """Return the integer multiply-adds of a call."""
        return y.numel() * self.weight[0].numel()

    def extra_repr(self) -> str:
        """Return the sizes and bits for the printed form."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {_bits_text(self)}"

    def _apply_dense(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(x, weight, bias, **self.window)

    def _spread(self, value: Tensor) -> Tensor:
        return value[:, None, None]


def _weight_scales(w: Tensor, top: int, per_channel: bool) -> Tensor:
    """Return max |w| / top of every channel, or of all; 1 for a channel of zeros."""
    largest = w.abs().flatten(1).amax(1) if per_channel else w.abs().amax().expand(len(w))
    return torch.where(largest > 0, largest / top, 1.0)


def _foldable(scale: Tensor, input_scale: float, next_scale: float) -> Tensor:
    """Move scales by less than 2^-21 so that scale * input_scale / next_scale is a multiplier over a power of two."""
    pairs = [multiplier_and_shift(float(s) * input_scale / next_scale) for s in scale]
    return torch.tensor([M / 2**n for M, n in pairs], dtype=torch.float64) * next_scale / input_scale


def _finish(total: Tensor, layer: QLayer) -> Tensor:
    """Take z_x times the sum of the weights off the sums (rows, m), and add the biases."""
    correction = layer.input_zero_point * layer.weight.flatten(1).sum(1, dtype=torch.int32)
    return total - correction + (0 if layer.bias is None else layer.bias)


def _settings(layer: Any, levels: Levels, weight_bits: int) -> dict[str, Any]:
    checks.instance(levels, "input_levels", Levels)
    bits = {"weight_bits": weight_bits, "input_bits": levels.bits, "input_signed": levels.signed}
    return bits | {"bias": layer.bias is not None, "device": layer.weight.device}


def _config(layer: QLayer) -> dict[str, Any]:
    bits = {"weight_bits": layer.weight_bits, "input_bits": layer.input_bits, "input_signed": layer.input_signed}
    return {"bias": layer.bias is not None} | bits


def _bits_text(layer: QLayer) -> str:
    return f"weight_bits={layer.weight_bits}, input_bits={layer.input_bits}"


def _like(value: Tensor, like: Tensor) -> Tensor:
    """Give values (m,) the shape that meets axis 0 of (m, ...)."""
    return value.reshape(-1, *[1] * (like.dim() - 1))
