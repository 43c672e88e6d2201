"""How many multiply-adds one call of a module takes, by the module's type.

A rule gets the module, its input x and its output y, both with the batch, and returns the multiply-adds of the call.
Multiply-adds are products that are added up; the addition of a bias is kept apart. Comparisons, copies and
look-ups cost none, so a ReLU or a max pooling is counted, as 0.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Rule = Callable[[Any, torch.Tensor, torch.Tensor], int]


def linear(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> int:
    """One product for each input of each output."""
    return y.numel() * layer.in_features


def convolution(layer: nn.Conv2d, x: torch.Tensor, y: torch.Tensor) -> int:
    """Each output sees kernel x (c_in / groups) inputs, whatever stride, padding and dilation are."""
    return y.numel() * math.prod(layer.kernel_size) * layer.in_channels // layer.groups


def transposed(layer: nn.ConvTranspose2d, x: torch.Tensor, y: torch.Tensor) -> int:
    """Each input is spread over kernel x (c_out / groups) outputs, those that padding cuts off included."""
    return x.numel() * math.prod(layer.kernel_size) * layer.out_channels // layer.groups


def one_per_output(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """A scale and a shift for each element: a normalisation in evaluation mode."""
    return y.numel()


def one_per_input(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """Each input is added once: adaptive average pooling."""
    return x.numel()


def average(layer: nn.AvgPool2d, x: torch.Tensor, y: torch.Tensor) -> int:
    """Each output adds up a window."""
    size = layer.kernel_size
    return y.numel() * (math.prod(size) if isinstance(size, tuple) else size ** (x.dim() - 2))


def none(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """No product."""
    return 0


RULES: dict[type, Rule] = {
    nn.Linear: linear,
    nn.modules.conv._ConvTransposeNd: transposed,
    nn.modules.conv._ConvNd: convolution,
    nn.modules.batchnorm._NormBase: one_per_output,
    nn.GroupNorm: one_per_output,
    nn.LayerNorm: one_per_output,
    nn.modules.pooling._AvgPoolNd: average,
    nn.modules.pooling._AdaptiveAvgPoolNd: one_per_input,
    nn.modules.pooling._MaxPoolNd: none,
    nn.modules.pooling._AdaptiveMaxPoolNd: none,
    nn.modules.dropout._DropoutNd: none,
    nn.ReLU: none,
    nn.LeakyReLU: none,
    nn.Hardtanh: none,
    nn.PReLU: none,
    nn.ELU: none,
    nn.GELU: none,
    nn.SiLU: none,
    nn.Sigmoid: none,
    nn.Tanh: none,
    nn.Softmax: none,
    nn.LogSoftmax: none,
    nn.Flatten: none,
    nn.Unflatten: none,
    nn.Identity: none,
    nn.Embedding: none,
}


def rule_for(module: nn.Module) -> Rule | None:
    """Return the rule of the module's nearest class, or None."""
    return next((RULES[kind] for kind in type(module).__mro__ if kind in RULES), None)
