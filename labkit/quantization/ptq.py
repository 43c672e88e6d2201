"""Post-training quantization: calibrate and round, without training. Chapter 15; lecture 001:353, 003:1007-1051."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.quantization.calibration import Calibration, calibrate
from labkit.quantization.fold import links, set_module
from labkit.quantization.histogram import Histogram, HistogramCollector
from labkit.quantization.integer import Levels
from labkit.quantization.qlayers import QConv2d, QLinear
from labkit.quantization.uniform import integer_range


def collect_inputs(
    model: nn.Module, batches: torch.Tensor | Iterable[torch.Tensor], *, names: Iterable[str] | None = None
) -> dict[str, Histogram]:
    """Return the histogram of the inputs of every linear and convolutional layer, or of those named.

    `batches` is a tensor or any iterable of tensors; only one batch is in memory at a time. Raises TypeError or
    ValueError for batches that do not fit the model, for NaN, and for a layer that the model does not have or that
    was not called. Chapter 15; lecture 003:1007-1017.

    >>> collect_inputs(nn.Sequential(nn.Linear(6, 4)), torch.ones(2, 6))["0"].total
    12
    """
    layers = _layers(checks.instance(model, "model", nn.Module), names)
    collectors = {name: HistogramCollector() for name in layers}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: collectors[name].add(args[0]) and None)
        for name, layer in layers.items()
    ]
    try:
        with checks.evaluating(model):
            for x in batches_of(batches, "batches"):
                model(x)
    except RuntimeError as error:  # torch's word for a shape or a type that a layer does not take
        raise ValueError(f"batches must fit the model: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return {name: collector.histogram() for name, collector in collectors.items()}


def batches_of(data: Any, name: str) -> Iterator[torch.Tensor]:
    """Yield the batches of a tensor, which is one, or of an iterable of tensors; an error for anything else.

    >>> [tuple(x.shape) for x in batches_of(torch.ones(4, 6).split(2), "data")]
    [(2, 6), (2, 6)]
    """
    try:
        batches = iter([data] if isinstance(data, torch.Tensor) else data)
    except TypeError as error:
        raise TypeError(f"{name} must be a tensor or batches of tensors, got {type(data).__name__}") from error
    empty = True
    for x in batches:
        checks.array(checks.instance(x, name, torch.Tensor), name)
        yield x
        empty = False
    if empty:
        raise ValueError(f"{name} must hold at least one batch, got none")


def levels_of(hist: Histogram, calibration: Calibration, *, bits: int = 8, scheme: str = "symmetric") -> Levels:
    """Return the levels for data with this histogram and threshold.

    "symmetric" has zero point 0, and no sign bit if no entry was negative. "affine" spreads all levels over the part
    of the range that occurs. Raises TypeError or ValueError for a bad argument. Chapter 15; lecture 003:1019-1026.

    >>> from labkit.quantization import collect, max_calibrate
    >>> hist = collect([-0.5, 0.0, 1.0])
    >>> levels_of(hist, max_calibrate(hist), scheme="affine").zero_point
    -43
    """
    T = checks.instance(calibration, "calibration", Calibration).threshold
    signed = checks.instance(hist, "hist", Histogram).low < 0
    if checks.choice(scheme, "scheme", ("symmetric", "affine")) == "symmetric" or not signed:
        return Levels(T / integer_range(bits, signed=signed)[1], 0, bits, signed)
    first, last = max(hist.low, -T), min(max(hist.high, 0.0), T)
    low, high = integer_range(bits, signed=True, narrow=False)
    scale = (last - first) / (high - low)
    return Levels(scale, low + round(-first / scale), bits, True)


def ptq(
    model: nn.Module,
    data: torch.Tensor | Iterable[torch.Tensor],
    *,
    bits: int = 8,
    weight_bits: int | None = None,
    rule: str = "kl",
    per_channel: bool = True,
    scheme: str = "symmetric",
    names: Iterable[str] | None = None,
    **options: Any,
) -> nn.Module:
    """Return a copy of a trained network with integer layers, from a few batches of inputs and without training.

    Parameters
    ----------
    model : the network; it stays as it is
    data : inputs to calibrate with, a batch or an iterable of batches; no labels
    bits, weight_bits : bits of the activations (1 to 8) and of the weights (2 to 8, by default the same)
    rule : "max", "percentile", "mse" or "kl", for the activations; weights always reach from -max to max
    per_channel : a scale for every output channel of a weight, or one for the whole weight
    scheme : "symmetric" or "affine", see `levels_of`
    names : the layers, by default every nn.Linear and nn.Conv2d
    options : what else `calibrate` takes for the rule, such as zero_bin

    Raises
    ------
    TypeError, ValueError : a bad argument, or a layer that cannot be quantized.

    No gradient is computed. Where one integer layer feeds the next, the weight scales are moved by less than 2^-21 so
    that `fold_requantize` changes no bit. Krishnamoorthi (2018), arXiv:1806.08342. Chapter 15; lecture 001:353.

    >>> small = ptq(nn.Sequential(nn.Linear(6, 4)), torch.linspace(-1, 1, 6000).reshape(1000, 6))
    >>> small[0]
    QLinear(in_features=6, out_features=4, weight_bits=8, input_bits=8)
    """
    given: dict[str, Any] = {"bits": bits, "weight_bits": weight_bits, "rule": rule, "per_channel": per_channel}
    small = copy.deepcopy(checks.instance(model, "model", nn.Module))
    for name, layer_scheme in ptq_plan(model, data, **given, scheme=scheme, names=names, **options).items():
        set_module(small, name, layer_scheme.apply(model.get_submodule(name)))
    return small


def with_levels(
    model: nn.Module,
    levels: Mapping[str, Levels],
    *,
    weight_bits: int = 8,
    per_channel: bool = True,
    weight_scales: Mapping[str, float] | None = None,
) -> nn.Module:
    """Return a copy of a network in which every named layer is an integer layer with these input levels.

    `weight_scales` gives a layer one scale for its weight, by default it follows from the largest weights. Other
    arguments and errors as in `ptq`, which finds the levels by calibration.

    >>> with_levels(nn.Sequential(nn.Linear(6, 4)), {"0": Levels(0.1)})[0].input_bits
    8
    """
    small = copy.deepcopy(checks.instance(model, "model", nn.Module))
    checks.instance(levels, "levels", Mapping)
    checks.instance({} if weight_scales is None else weight_scales, "weight_scales", Mapping)
    checks.names(levels, "levels")
    given: dict[str, Any] = {"weight_bits": weight_bits, "per_channel": per_channel, "weight_scales": weight_scales}
    for name, scheme in _plan(model, levels, **given).items():
        set_module(small, name, scheme.apply(model.get_submodule(name)))
    return small


@dataclass(frozen=True)
class IntegerScheme:
    """What a plan of `compress` says about one layer: its integer form, see `QLinear.from_linear`.

    >>> IntegerScheme(Levels(0.1)).apply(nn.Linear(6, 4)).weight.dtype
    torch.int8
    """

    input_levels: Levels
    weight_bits: int = 8
    per_channel: bool = True
    weight_scale: float | None = None
    next_scale: float | None = None

    def __post_init__(self) -> None:
        checks.instance(self.input_levels, "input_levels", Levels)
        checks.integer(self.weight_bits, "weight_bits", low=2, high=8)
        checks.flag(self.per_channel, "per_channel")
        for name in ("weight_scale", "next_scale"):
            if getattr(self, name) is not None:
                checks.positive(getattr(self, name), name)

    def apply(self, layer: nn.Module) -> QLinear | QConv2d:
        """Return the integer layer; raises TypeError or ValueError if the layer does not fit."""
        settings: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(layer, nn.Conv2d):
            return QConv2d.from_conv(layer, **settings)
        return QLinear.from_linear(checks.instance(layer, "layer", nn.Linear), **settings)


def ptq_plan(
    model: nn.Module,
    data: torch.Tensor | Iterable[torch.Tensor],
    *,
    bits: int = 8,
    weight_bits: int | None = None,
    rule: str = "kl",
    per_channel: bool = True,
    scheme: str = "symmetric",
    names: Iterable[str] | None = None,
    **options: Any,
) -> dict[str, IntegerScheme]:
    """Return a plan for `compress` that puts an integer layer in place of each layer; arguments and errors as in `ptq`.

    >>> plan = ptq_plan(nn.Sequential(nn.Linear(6, 4)), torch.linspace(-1, 1, 6000).reshape(1000, 6), rule="max")
    >>> plan["0"].input_levels.top
    1.0
    """
    levels = {
        name: levels_of(hist, calibrate(hist, rule=rule, bits=bits, **options), bits=bits, scheme=scheme)
        for name, hist in collect_inputs(model, batches_of(data, "data"), names=names).items()
    }
    return _plan(model, levels, weight_bits=bits if weight_bits is None else weight_bits, per_channel=per_channel)


def _plan(
    model: nn.Module,
    levels: Mapping[str, Levels],
    *,
    weight_bits: int,
    per_channel: bool,
    weight_scales: Mapping[str, float] | None = None,
) -> dict[str, IntegerScheme]:
    readers = {link.first: link.second for link in links(model, names=levels)}
    scales = weight_scales or {}
    return {
        name: IntegerScheme(
            levels[name],
            weight_bits,
            per_channel,
            weight_scale=scales.get(name),
            next_scale=levels[readers[name]].scale if name in readers else None,
        )
        for name in _layers(model, levels)
    }


def _layers(model: nn.Module, names: Iterable[str] | None) -> dict[str, Any]:
    found = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    if names is None:
        if not found:
            raise ValueError("model must hold a linear or convolutional layer, got none")
        return found
    return {name: found[checks.choice(name, "names", found)] for name in checks.names(names, "names")}
