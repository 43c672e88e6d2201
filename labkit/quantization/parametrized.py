"""Layers whose weights pass a quantizer before every use, by torch's parametrizations.

The float weights stay where the optimizer finds them; the layer computes with what the quantizer makes of them.
Chapters 17 and 19.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from labkit import checks
from labkit.decomposition.response import find_layers

Quantizer = Callable[[torch.Tensor], nn.Module]


def quantize_weights(model: nn.Module, layers: Iterable[str], make: Quantizer) -> dict[str, Any]:
    """Let the weights of the named layers pass a quantizer from now on; return the quantizers by layer name.

    Parameters
    ----------
    model : the network, changed in place; make its optimizer afterwards
    layers : names of linear or convolutional layers, as in `model.named_modules()`
    make : called with each layer's weight, returns the module that maps the weight to its quantized form,
        such as `TernaryWeight`; parameters of that module are trained along

    Raises
    ------
    TypeError, ValueError : no layers, a layer that the model does not have, or one that has a quantizer already.

    Chapter 19.

    >>> from labkit.quantization import TernaryWeight
    >>> model = nn.Sequential(nn.Linear(8, 4))
    >>> _ = quantize_weights(model, ["0"], TernaryWeight)
    >>> len(model[0].weight.unique()) <= 3
    True
    """
    found = find_layers(model, checks.names(layers, "layers"), argument="layers")
    checks.function(make, "make")
    for name, layer in found.items():
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(f"layers must not have a quantizer yet, got {name!r}; call finalize(model) first")
    made = {name: make(layer.weight.detach()) for name, layer in found.items()}
    for name, quantizer in made.items():
        parametrize.register_parametrization(found[name], "weight", quantizer)
    return made


def finalize(model: nn.Module) -> nn.Module:
    """Bake the quantized weights in and drop float copies and quantizers; return the model, changed in place.

    Afterwards the state has the plain keys of the network again. Raises TypeError if `model` is not a module.

    >>> from labkit.quantization import TernaryWeight
    >>> model = nn.Sequential(nn.Linear(8, 4))
    >>> _ = quantize_weights(model, ["0"], TernaryWeight)
    >>> sorted(finalize(model).state_dict())
    ['0.bias', '0.weight']
    """
    checks.instance(model, "model", nn.Module)
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            module.eval()
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model


def float_weight(layer: nn.Module) -> torch.Tensor:
    """Return the float weight that the optimizer moves: behind the quantizer if the layer has one.

    Raises TypeError if `layer` has no weight.

    >>> float_weight(nn.Linear(3, 2)).shape
    torch.Size([2, 3])
    """
    if parametrize.is_parametrized(layer, "weight"):
        return layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
    if not isinstance(getattr(layer, "weight", None), torch.Tensor):
        raise TypeError(f"layer must have a weight, got {type(layer).__name__}")
    return layer.weight  # type: ignore[return-value]


def checked_weight(weight: Any, name: str = "weight") -> torch.Tensor:
    """Return a floating-point weight tensor, finite and not empty; TypeError or ValueError otherwise.

    >>> checked_weight(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    if not checks.floating(weight, name).numel() or not weight.isfinite().all():
        raise ValueError(f"{name} must be finite and not empty, got shape {tuple(weight.shape)}")
    return weight
