"""Compress a network by a plan, and report what that really saved.

>>> from labkit.decomposition import LowRankScheme
>>> from labkit.nets import load
>>> small, report = compress(load("lenet-300-100"), {"fc1": LowRankScheme(rank=16)}, example_inputs=torch.zeros(1, 784))
>>> report.parameters_ratio > 5
True
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from labkit import checks, decomposition, dynamic, html, quantization, sparse
from labkit.cost import Cost, count, file_bytes, time_ratio
from labkit.nets import NETS, save
from labkit.nets.store import read
from labkit.pruning import SlimmingRecipe

# Every compressed layer of the package: a module that can tell how to build its like
MODULES: dict[str, Callable[..., nn.Module]] = {
    name: kind
    for package in (decomposition, dynamic, quantization, sparse)
    for name, kind in vars(package).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and hasattr(kind, "config")
}


class Scheme(Protocol):
    """What a plan holds for a layer: an object that turns it into a smaller one."""

    def apply(self, layer: nn.Module) -> nn.Module:
        """Return the compressed layer; raises TypeError or ValueError if the layer does not fit."""


@dataclass(frozen=True)
class State:
    """One side of a report: the cost for one example, the bytes on disk, the error in percent where it was measured."""

    cost: Cost
    n_bytes: int
    error: float | None


@dataclass(frozen=True, repr=False)
class Report:
    """What a compression changed: both sides, the layers replaced, and the measured speed.

    `time_ratio` is time before / time after on the example inputs, one thread: above 1 the compressed network is
    faster. `str(report)` and the HTML show it; the repr leaves it out, since it is never twice the same.
    """

    before: State
    after: State
    layers: tuple[tuple[str, str], ...]
    time_ratio: float

    @property
    def parameters_ratio(self) -> float:
        """Parameters before / after."""
        return self.before.cost.n_params / max(1, self.after.cost.n_params)

    @property
    def macs_ratio(self) -> float:
        """Multiply-adds before / after."""
        return self.before.cost.macs / max(1, self.after.cost.macs)

    @property
    def bytes_ratio(self) -> float:
        """Bytes on disk before / after."""
        return self.before.n_bytes / self.after.n_bytes

    @property
    def slower(self) -> bool:
        """True if the compressed network takes more time than the original."""
        return self.time_ratio < 1

    @property
    def verdict(self) -> str:
        """One sentence about speed."""
        if self.slower:
            return f"SLOWER: {1 / self.time_ratio:.2f} times the time of the original"
        return f"faster: {self.time_ratio:.2f} times the speed of the original"

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {before} -> {after}" for name, before, after, _ in self._rows())
        return f"Report({numbers}{'; SLOWER than the original' if self.slower else ''})"

    def __str__(self) -> str:
        head = "\n".join(
            f"{name}: {before} -> {after}{ratio and f'  ({ratio})'}" for name, before, after, ratio in self._rows()
        )
        return f"{head}\ntime: {self.verdict}{self._missing()}"

    def _repr_html_(self) -> str:
        header, numeric = ("", "before", "after", "ratio"), (False, True, True, True)
        note = f"Time, {self.verdict}, one thread.{self._missing()}"
        return html.table(header, self._rows(), caption="Before and after compression", note=note, numeric=numeric)

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        old, new = self.before, self.after
        yield "parameters", f"{old.cost.n_params:,}", f"{new.cost.n_params:,}", f"{self.parameters_ratio:.2f}x"
        yield "multiply-adds", f"{old.cost.macs:,}", f"{new.cost.macs:,}", f"{self.macs_ratio:.2f}x"
        yield "bytes", f"{old.n_bytes:,}", f"{new.n_bytes:,}", f"{self.bytes_ratio:.2f}x"
        if old.error is not None and new.error is not None:
            yield "error", f"{old.error:.2f} %", f"{new.error:.2f} %", f"{new.error - old.error:+.2f} points"

    def _missing(self) -> str:
        names = sorted({*self.before.cost.uncounted, *self.after.cost.uncounted})
        return f" Multiply-adds not counted: {', '.join(names)}." if names else ""


def compress(
    model: nn.Module,
    plan: Mapping[str, Scheme],
    *,
    example_inputs: torch.Tensor | tuple[Any, ...],
    evaluate: Callable[[nn.Module], float] | None = None,
    rounds: int = 7,
) -> tuple[nn.Module, Report]:
    """Return a compressed copy of a network and a report; the network itself stays as it is.

    Parameters
    ----------
    model : the network
    plan : {layer name: scheme}, such as {"fc1": LowRankScheme(rank=16)}; names as in model.named_modules()
    example_inputs : a batch, or a tuple of the model's arguments, to count multiply-adds and to measure the time
    evaluate : called with the network before and after; returns an error in percent
    rounds : rounds of the time measurement, at least 7

    Raises
    ------
    TypeError, ValueError : an empty plan, a layer that the model does not have (near matches are named), a scheme
        that does not fit its layer, or bad example inputs.

    A layer that the model uses under two names is replaced under both. Chapter 5.

    >>> from labkit.decomposition import LowRankScheme
    >>> compress(nn.Sequential(nn.Linear(90, 60)), {"0": LowRankScheme(rank=3)}, example_inputs=torch.zeros(1, 90))[0]
    Sequential(
      (0): LowRankLinear(
        (first): Linear(in_features=90, out_features=3, bias=False)
        (second): Linear(in_features=3, out_features=60, bias=True)
      )
    )
    """
    _check_plan(model, plan)
    small = copy.deepcopy(model)
    layers = [_replace(small, name, scheme) for name, scheme in plan.items()]
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    before, after = (_state(net, example_inputs, evaluate) for net in (model, small))
    with checks.evaluating(model), checks.evaluating(small):
        ratio = time_ratio(lambda: model(*inputs), lambda: small(*inputs), rounds=rounds)
    return small, Report(before, after, tuple(layers), ratio)


def save_compressed(model: nn.Module, path: str | Path, *, recipe: SlimmingRecipe | None = None) -> None:
    """Write a compressed network to a safetensors file, with the recipe that rebuilds it in the header.

    Parameters
    ----------
    model : a network in which `compress` or you have replaced layers; tensors keep their number types
    path : the file, with suffix .safetensors
    recipe : for a slimmed network, which channels `labkit.pruning.slim` kept

    Raises
    ------
    TypeError, ValueError : not a module, no recipe, another suffix, or NaN or infinity among the weights.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "small.safetensors"
    ...     save_compressed(nn.Sequential(decomposition.LowRankLinear(6, 4, rank=2)), path)
    ...     load_compressed(path, model=nn.Sequential(nn.Linear(6, 4)))[0].rank
    2
    """
    checks.instance(model, "model", nn.Module)
    slimmed = None if recipe is None else checks.instance(recipe, "recipe", SlimmingRecipe).to_json()
    modules = {
        name: {"kind": type(module).__name__, "config": module.config()}
        for name, module in model.named_modules(remove_duplicate=False)
        if type(module) in MODULES.values()
    }
    net = next((key for key, kind in NETS.items() if type(model) is kind), None)
    save(model, path, header={"net": net, "modules": modules, "recipe": slimmed}, dtype=None)


def load_compressed(path: str | Path, *, model: nn.Module | None = None) -> nn.Module:
    """Rebuild a compressed network from the recipe in its file; every tensor must fit, none may be left.

    Parameters
    ----------
    path : a file that `save_compressed` wrote
    model : a dense network of the same architecture, which stays as it is; not needed for the two that
        `labkit.nets.load` knows. For a slimmed network one of any widths, with a method like(widths)

    Raises
    ------
    FileNotFoundError : no such file.
    TypeError, ValueError : a file that is damaged or does not fit the network, or `model` is missing.

    Returns the network in evaluation mode; dynamic layers compute masked, as new ones do. Chapters 5 and 29.

    >>> load_compressed("small.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: small.safetensors is not there...
    """
    state, header = read(Path(path))
    try:
        net = _skeleton(header["net"], path, model)
        if header.get("recipe") is not None:
            net = net.like(SlimmingRecipe.from_json(header["recipe"]).widths)
        for name, recipe in header["modules"].items():
            kind = MODULES[checks.choice(recipe["kind"], "kind", MODULES)]
            _set(net, name, getattr(kind, "from_config", kind)(**recipe["config"], device="meta"))
        net.load_state_dict(state, strict=True, assign=True)
    except (KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold a compressed network that fits: {error}") from error
    return net.eval()


def load_recipe(path: str | Path) -> SlimmingRecipe | None:
    """Return the recipe of the slimmed network in a file that `save_compressed` wrote, None for any other network.

    Raises FileNotFoundError or ValueError as `load_compressed`.

    >>> load_recipe("small.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: small.safetensors is not there...
    """
    text = read(Path(path))[1].get("recipe")
    return None if text is None else SlimmingRecipe.from_json(text)


def _check_plan(model: nn.Module, plan: Mapping[str, Scheme]) -> None:
    checks.instance(model, "model", nn.Module)
    if not checks.instance(plan, "plan", Mapping):
        raise ValueError("plan must name at least one layer, got an empty plan")
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    for name, scheme in plan.items():
        checks.choice(name, "plan", names)
        if not callable(getattr(scheme, "apply", None)):
            raise TypeError(f"plan[{name!r}] must be a scheme with an apply method, got {type(scheme).__name__}")


def _replace(model: nn.Module, name: str, scheme: Scheme) -> tuple[str, str]:
    """Put the compressed layer into every place where the model has the old one; return its name and the scheme."""
    layer = model.get_submodule(name)
    try:
        smaller = scheme.apply(layer)
    except (TypeError, ValueError) as error:
        raise type(error)(f"plan[{name!r}]: {error}") from error
    for place in [place for place, module in model.named_modules(remove_duplicate=False) if module is layer]:
        _set(model, place, smaller)
    return name, repr(scheme)


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module `name`; AttributeError if there is no such place."""
    model.get_submodule(name)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _state(model: nn.Module, example_inputs: Any, evaluate: Callable[[nn.Module], float] | None) -> State:
    error = None if evaluate is None else checks.number(evaluate(model), "evaluate(model)", low=0)
    return State(count(model, example_inputs), file_bytes(model), error)


def _skeleton(name: str | None, path: str | Path, model: nn.Module | None) -> Any:
    if model is not None:
        return copy.deepcopy(checks.instance(model, "model", nn.Module))
    if name is None:
        raise ValueError(f"model must be given, since {path} holds no network of labkit.nets")
    return NETS[checks.choice(name, "net", NETS)]()
