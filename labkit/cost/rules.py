"""What one call of a module costs, by the module's type.

A rule gets the module, its first input x and its output y, both with the batch, and returns the `Work` of the call.
Only modules with a formula of their own are here; what any other module does is counted operation by operation
(`labkit.cost.operators`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Work:
    """What a call takes: multiply-adds, additions of a bias, and other operations, one per element."""

    macs: int = 0
    biases: int = 0
    elementwise: int = 0


Rule = Callable[[Any, Any, Any], Work]


def linear(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> Work:
    """One product for each input of each output."""
    return Work(y.numel() * layer.in_features, biases(layer, y))


def bilinear(layer: nn.Bilinear, x: torch.Tensor, y: torch.Tensor) -> Work:
    """Each output is x1^T A x2: a matrix times a vector, then a dot product."""
    return Work(y.numel() * layer.in1_features * (layer.in2_features + 1), biases(layer, y))


def convolution(layer: nn.Conv2d, x: torch.Tensor, y: torch.Tensor) -> Work:
    """Each output sees kernel x (c_in / groups) inputs, whatever stride, padding and dilation are."""
    return Work(y.numel() * math.prod(layer.kernel_size) * layer.in_channels // layer.groups, biases(layer, y))


def transposed(layer: nn.ConvTranspose2d, x: torch.Tensor, y: torch.Tensor) -> Work:
    """Each input is spread over kernel x (c_out / groups) outputs, those that padding cuts off included."""
    return Work(x.numel() * math.prod(layer.kernel_size) * layer.out_channels // layer.groups, biases(layer, y))


def recurrent(layer: nn.RNNBase, x: Any, y: Any) -> Work:
    """Each time step uses every weight matrix, of all layers, gates and directions, once; and every bias."""
    sizes = {name: p.numel() for name, p in layer.named_parameters()}
    steps = x.data.numel() // layer.input_size  # x is a tensor or a PackedSequence, which holds no padding
    weights = sum(n for name, n in sizes.items() if name.startswith("weight"))
    return Work(steps * weights, steps * (sum(sizes.values()) - weights))


def batch_norm(layer: nn.BatchNorm2d, x: torch.Tensor, y: torch.Tensor) -> Work:
    """A scale and a shift for each element in evaluation mode: one multiply-add."""
    return Work(macs=y.numel())


def one_per_output(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Work:
    """One scaling for each element: a normalisation whose statistics come from the data."""
    return Work(elementwise=y.numel())


def one_per_input(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Work:
    """Each input is added once: adaptive average pooling."""
    return Work(elementwise=x.numel())


def average(layer: nn.AvgPool2d, x: torch.Tensor, y: torch.Tensor) -> Work:
    """Each output adds up a window."""
    size = layer.kernel_size
    window = math.prod(size) if isinstance(size, tuple) else size ** (x.dim() - 2)
    return Work(elementwise=y.numel() * window)


def biases(layer: nn.Module, y: torch.Tensor) -> int:
    """Return the number of additions of a bias: one for each output, if the layer has one."""
    return y.numel() if isinstance(getattr(layer, "bias", None), torch.Tensor) else 0


RULES: dict[type, Rule] = {
    nn.Linear: linear,
    nn.Bilinear: bilinear,
    nn.modules.conv._ConvTransposeNd: transposed,
    nn.modules.conv._ConvNd: convolution,
    nn.RNNBase: recurrent,
    nn.modules.instancenorm._InstanceNorm: one_per_output,  # before its base class, the batch normalisation
    nn.modules.batchnorm._NormBase: batch_norm,
    nn.GroupNorm: one_per_output,
    nn.LayerNorm: one_per_output,
    nn.RMSNorm: one_per_output,
    nn.LocalResponseNorm: one_per_output,
    nn.modules.pooling._AvgPoolNd: average,
    nn.modules.pooling._AdaptiveAvgPoolNd: one_per_input,
}


def rule_for(module: nn.Module) -> Rule | None:
    """Return the rule of a module: its own method `multiply_adds(x, y)`, or that of its nearest class, or None.

    A layer that computes outside of torch, in a compiled kernel or in NumPy, says by that method what it costs.
    """
    if callable(getattr(type(module), "multiply_adds", None)):
        return lambda layer, x, y: Work(layer.multiply_adds(x, y), biases(layer, y))
    return next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)


def foldable(module: nn.Module) -> bool:
    """Say whether a batch normalisation right after this module can be folded into its weights."""
    return isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
