"""How the error of approximated layers grows on its way to the output, and a bound on it.

Approximating the matrices approximates the network, and the error accumulates: lecture 000:219-227, 002:100-103.
Chapter 2.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit import checks


@dataclass(frozen=True)
class LayerError:
    """The error at the output of one layer, relative to the norm of the exact output.

    `local` is what this layer adds by itself: exact and approximate layer, both on the approximate network's input.
    `relative` is the whole error so far; `bound`, at least as large, is what theory allows (infinite if unknown).
    """

    name: str
    local: float
    relative: float
    bound: float


@dataclass(frozen=True)
class ErrorPropagation:
    """The errors of all layers in the order of their calls, the last one that of the output.

    `chain` says whether each layer's input was just the output of the one before; only then is there a bound.
    """

    rows: tuple[LayerError, ...]
    chain: bool

    @property
    def relative(self) -> float:
        """Relative error of the last layer's output."""
        return self.rows[-1].relative

    @property
    def bound(self) -> float:
        """Bound on the relative error of the last layer's output."""
        return self.rows[-1].bound


@dataclass(frozen=True)
class _Call:
    name: str
    x: torch.Tensor
    y: torch.Tensor


def error_propagation(model: nn.Module, approx: nn.Module, x: torch.Tensor, *, bounds: bool = True) -> ErrorPropagation:
    """Compare a network and an approximation of it, layer by layer, on the same inputs.

    With h_l = f_l(h_{l-1}) exact, h'_l = f'_l(h'_{l-1}) approximate and L_l the Lipschitz constant of f_l:

        norm(h'_l - h_l) <= L_l norm(h'_{l-1} - h_{l-1}) + norm(f'_l(h'_{l-1}) - f_l(h'_{l-1})),

    so the output error is at most the sum of the local errors, each times the product of the L after it.

    Parameters
    ----------
    model : the exact network; its layers are the modules without children
    approx : a network that calls layers of the same names in the same order, as `labkit.compress.compress` returns
    x : a batch of inputs; norms are taken over the whole batch
    bounds : False leaves out the Lipschitz constants, which take most of the time; bounds are infinite then

    Raises
    ------
    TypeError, ValueError : not modules or a tensor, or networks whose layers do not match.

    Chapter 2; lecture 000:219-227.

    >>> import copy
    >>> with checks.seeded(0):
    ...     model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> approx = copy.deepcopy(model)
    >>> approx[0].weight.data += 0.01
    >>> result = error_propagation(model, approx, torch.ones(3, 4))
    >>> 0 < result.relative <= result.bound
    True
    """
    for name, net in (("model", model), ("approx", approx)):
        checks.instance(net, name, nn.Module)
    checks.instance(x, "x", torch.Tensor)
    checks.instance(bounds, "bounds", bool)
    names = [name for name, module in model.named_modules() if not any(True for _ in module.children())]
    exact, rough = _calls(model, names, x), _calls(approx, names, x)
    if not exact or [call.name for call in exact] != [call.name for call in rough]:
        raise ValueError(f"approx must call the layers {[c.name for c in exact]}, got {[c.name for c in rough]}")
    chain = _same(exact[0].x, x) and all(_same(a.y, b.x) for a, b in itertools.pairwise(exact))
    return ErrorPropagation(tuple(_rows(model, exact, rough, chain and bounds)), chain)


def lipschitz(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """Return a number L with norm(f(a) - f(b)) <= L norm(a - b) for a layer f in evaluation mode; infinite if unknown.

    Parameters
    ----------
    layer : linear, convolution, batch normalisation, pooling or an activation
    shape : of the layer's input, with the batch

    The exact norm for a linear layer. A convolution with zero padding is part of a circular one on the padded map,
    whose norm is the largest singular value of its transfer matrices: Sedghi, Gupta, Long (2019), arXiv:1805.10408.
    Raises TypeError if `layer` is not a module. Chapter 2.

    >>> round(lipschitz(nn.ReLU(), (1, 3)), 3), round(lipschitz(nn.AvgPool2d(2), (1, 1, 4, 4)), 3)
    (1.0, 0.5)
    """
    checks.instance(layer, "layer", nn.Module)
    rule = next((_CONSTANTS[kind] for kind in type(layer).__mro__ if kind in _CONSTANTS), None)
    return float(rule(layer, shape)) if rule else math.inf


def _calls(model: nn.Module, names: list[str], x: torch.Tensor) -> list[_Call]:
    """Run a network and return what each named module got and gave, in the order of the calls."""
    calls: list[_Call] = []
    missing = set(names) - {name for name, _ in model.named_modules()}
    if missing:
        raise ValueError(f"approx must have the layers of model; missing are {sorted(missing)}")

    def note(name: str) -> Callable:
        return lambda module, args, y: calls.append(_Call(name, args[0].clone(), y.clone()))

    hooks = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        with checks.evaluating(model):
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _rows(model: nn.Module, exact: list[_Call], rough: list[_Call], bounded: bool) -> list[LayerError]:
    rows, bound = [], 0.0
    with checks.evaluating(model):
        for call, other in zip(exact, rough, strict=True):
            layer = model.get_submodule(call.name)
            norm = float(call.y.norm())
            local = float((other.y - layer(other.x)).norm())
            bound = local + (lipschitz(layer, tuple(call.x.shape)) * bound if bound else 0.0) if bounded else math.inf
            error = float((other.y - call.y).norm())
            rows.append(LayerError(call.name, *(_relative(value, norm) for value in (local, error, bound))))
    return rows


def _relative(value: float, norm: float) -> float:
    return value / norm if norm else (math.inf if value else 0.0)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Say whether b is a, reshaped at most."""
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


def _linear(layer: nn.Linear, shape: tuple[int, ...]) -> float:
    return float(torch.linalg.matrix_norm(layer.weight.detach().double(), 2))


def _convolution(layer: Any, shape: tuple[int, ...]) -> float:
    if layer.padding_mode != "zeros" or layer.transposed:
        return math.inf
    kernel, dims = _spread(layer), tuple(range(2, layer.weight.dim()))
    spans = [n - 1 for n in kernel.shape[2:]]
    padding = spans if layer.padding == "same" else [0 if layer.padding == "valid" else 2 * p for p in layer.padding]
    grid = [n + p for n, p in zip(shape[2:], padding, strict=True)]
    transfer = torch.fft.rfftn(kernel, s=grid, dim=dims)  # (c_out, c_in / groups, frequencies..)
    blocks = transfer.flatten(2).permute(2, 0, 1).unflatten(1, (layer.groups, -1))  # (f, g, c_out / g, c_in / g)
    wide = blocks if blocks.shape[-1] >= blocks.shape[-2] else blocks.mT
    return float(torch.linalg.eigvalsh(wide @ wide.mH).max().clamp(min=0).sqrt())  # the smaller Gram matrix is cheaper


def _spread(layer: Any) -> torch.Tensor:
    """Return the kernel in double precision with the holes of its dilation filled in with zeros."""
    weight = layer.weight.detach().double()
    sides = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], layer.dilation, strict=True)]
    kernel = weight.new_zeros(*weight.shape[:2], *sides)
    kernel[(..., *(slice(None, None, d) for d in layer.dilation))] = weight
    return kernel


def _batch_norm(layer: Any, shape: tuple[int, ...]) -> float:
    if layer.running_var is None:
        return math.inf
    scale = 1.0 if layer.weight is None else layer.weight.detach()
    return float((scale / torch.sqrt(layer.running_var + layer.eps)).abs().max())


def _overlap(layer: Any, shape: tuple[int, ...]) -> int:
    """Return in how many windows of a pooling one input can lie."""
    kernel, stride = (_sides(value, len(shape) - 2) for value in (layer.kernel_size, layer.stride))
    return math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True))


def _max_pool(layer: Any, shape: tuple[int, ...]) -> float:
    plain = _sides(layer.dilation, 1)[0] == 1
    return math.sqrt(_overlap(layer, shape)) if plain else math.inf


def _avg_pool(layer: Any, shape: tuple[int, ...]) -> float:
    return math.sqrt(_overlap(layer, shape) / math.prod(_sides(layer.kernel_size, len(shape) - 2)))


def _sides(value: Any, n: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * n


def _one(layer: nn.Module, shape: tuple[int, ...]) -> float:
    return 1.0


_CONSTANTS: dict[type, Callable[[Any, tuple[int, ...]], float]] = {
    nn.Linear: _linear,
    nn.modules.conv._ConvNd: _convolution,
    nn.modules.batchnorm._BatchNorm: _batch_norm,
    nn.modules.pooling._MaxPoolNd: _max_pool,
    nn.modules.pooling._AvgPoolNd: _avg_pool,
    nn.modules.dropout._DropoutNd: _one,
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Tanh, nn.Hardtanh, nn.Softmax, nn.Identity, nn.Flatten, nn.Unflatten), _one),
    nn.LeakyReLU: lambda layer, shape: max(1.0, abs(layer.negative_slope)),
    nn.Sigmoid: lambda layer, shape: 0.25,
}
