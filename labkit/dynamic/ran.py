"""Count the multiply-adds of the convolutions and matrix products that a call really ran. Chapter 29."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from labkit import checks


def _flops(*shapes: Any, **_: Any) -> int:
    """A matrix (m, n) or a vector (n,) times a vector: a product and a sum for each entry of the larger one."""
    return 2 * max(math.prod(shape) for shape in shapes if isinstance(shape, torch.Size))


def _conv_flops(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return conv_flop_count(x, weight, out_shape)


_VECTORS = dict.fromkeys((torch.ops.aten.mv, torch.ops.aten.addmv, torch.ops.aten.dot), _flops)
_MORE = _VECTORS | {torch.ops.aten.mkldnn_convolution: _conv_flops}  # torch's own table knows none of these


def macs_ran(function: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """Call function(*args) without gradients and return its result and the multiply-adds that it took.

    torch reports every convolution and every matrix product that it is asked for, with the shapes it had; nothing is
    taken from a formula for the layer. What a layer skipped is therefore not in the sum, and what it computed in vain
    is. Biases, normalisations and activations are not counted.

    Parameters
    ----------
    function : a module or a function of tensors; a module runs in its own mode, no gradient is recorded
    args : its arguments

    Raises
    ------
    TypeError : `function` cannot be called.

    Chapter 29.

    >>> _, macs = macs_ran(torch.nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 10, 10))
    >>> macs == 3 * 3 * 3 * 8 * 10 * 10
    True
    """
    checks.function(function, "function")
    counter = FlopCounterMode(display=False, custom_mapping=_MORE)
    with torch.no_grad(), counter:
        result = function(*args)
    return result, counter.get_total_flops() // 2
