"""Fold the conversions between integer layers, so that integers go all the way. Chapter 15; lecture 003:977-993."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import fx, nn

from labkit import checks
from labkit.quantization.qlayers import QLayer

# What may lie between two integer layers: it never mixes values, or takes the largest, so it commutes with rounding
TRANSPARENT = (nn.MaxPool2d, nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout)
TRANSPARENT_METHODS = ("flatten", "reshape", "view")


class Link:
    """Two layers of which the second reads what the first writes; `between` are the transparent steps in between."""

    def __init__(self, first: str, second: str, between: list[fx.Node]) -> None:
        self.first, self.second, self.between = first, second, between


def links(model: nn.Module, *, names: Iterable[str]) -> list[Link]:
    """Return the links between the layers `names`; none if torch.fx cannot trace the model.

    Raises TypeError or ValueError unless `model` is a module and `names` a list of names.

    >>> net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [(link.first, link.second) for link in links(net, names=["0", "2"])]
    [('0', '2')]
    """
    wanted, _ = set(checks.names(names, "names")), checks.instance(model, "model", nn.Module)
    try:
        graph = _Tracer().trace(model)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return []
    return list(_links(graph, model, wanted))


def fold_requantize(model: nn.Module) -> fx.GraphModule:
    """Return a network in which integers go from one integer layer to the next.

    Where a layer turns its sums into real numbers, and the next one turns these into integers again, both conversions
    are replaced by a multiplier and a shift; max pooling, ReLU and reshaping in between work on the integers. A layer
    with several readers keeps its real output. For a network made by `ptq` the outputs are the same bit for bit, if
    the real numbers in between are kept as float64. Raises TypeError or ValueError if the model holds no integer
    layer or cannot be traced. Chapter 15; lecture 003:977-993.

    >>> net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> x = torch.linspace(-1, 1, 6000).reshape(1000, 6)
    >>> from labkit.quantization import ptq
    >>> small = ptq(net, x, rule="max")
    >>> torch.equal(fold_requantize(small)(x), small(x.double()))
    True
    """
    checks.instance(model, "model", nn.Module)
    names = [name for name, module in model.named_modules() if isinstance(module, QLayer)]
    if not names:
        raise ValueError("model must hold an integer layer (see ptq), got none")
    folded = copy.deepcopy(model)
    try:
        graph = _Tracer().trace(folded)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"model cannot be traced by torch.fx: {error}") from error
    result = fx.GraphModule(folded, graph)
    for link in _links(graph, result, set(names)):
        _fold(result, link)
    result.recompile()
    return result.train(model.training)


def fake_quantized(model: nn.Module) -> nn.Module:
    """Return the float64 twin of a network with integer layers: rounded numbers, but real products and sums.

    This is how training for few bits sees a network. Raises TypeError unless model is a module.

    >>> from labkit.quantization import ptq
    >>> net = ptq(nn.Sequential(nn.Linear(6, 4)), torch.eye(6), rule="max")
    >>> torch.allclose(fake_quantized(net)(torch.eye(6)), net(torch.eye(6).double()))
    True
    """
    twin = copy.deepcopy(checks.instance(model, "model", nn.Module))
    for name, module in list(twin.named_modules()):
        if isinstance(module, QLayer):
            if not name:
                return FakeLayer(module)
            set_module(twin, name, FakeLayer(module))
    return twin


class FakeLayer(nn.Module):
    """An integer layer simulated in float64."""

    def __init__(self, layer: QLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the float64 output for real inputs."""
        return self.layer.fake(x)


class IntegerReLU(nn.Module):
    """max(q, z): ReLU on integers whose zero point is z."""

    def __init__(self, zero_point: int) -> None:
        super().__init__()
        self.zero_point = checks.integer(zero_point, "zero_point", low=-(2**31), high=2**31 - 1)

    def forward(self, q: torch.Tensor) -> torch.Tensor:
        """Return the integers, none below the zero point."""
        return q.clamp(min=self.zero_point)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, QLayer) or super().is_leaf_module(m, module_qualified_name)


def _links(graph: fx.Graph, model: nn.Module, names: set[str]) -> Iterator[Link]:
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target in names]
    once = {n.target for n in calls if sum(other.target == n.target for other in calls) == 1}
    for node in calls:
        between: list[fx.Node] = []
        source: Any = node.args[0]
        while isinstance(source, fx.Node) and len(source.users) == 1 and _is_transparent(source, model):
            between.append(source)
            source = source.args[0]
        if isinstance(source, fx.Node) and len(source.users) == 1 and {source.target, node.target} <= once:
            yield Link(str(source.target), str(node.target), between)


def _is_transparent(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), TRANSPARENT)
    return node.target in TRANSPARENT_METHODS if node.op == "call_method" else node.target is torch.flatten


def _fold(model: fx.GraphModule, link: Link) -> None:
    first: Any = model.get_submodule(link.first)
    second: Any = model.get_submodule(link.second)
    first.hand_on(second.input_levels)
    second.integer_input = True
    for node in link.between:
        if node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), nn.ReLU):
            name = f"{link.second.replace('.', '_')}_relu"
            model.add_module(name, IntegerReLU(second.input_levels.zero_point))
            node.target = name


def set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module `name` of a model."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
