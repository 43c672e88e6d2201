"""Count parameters and multiply-adds layer by layer, by one stated convention."""

import html
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.cost.rules import rule_for

CONVENTIONS = {
    "mac": "one operation is a product that is added to a sum (a multiply-add)",
    "flop": "a multiply-add is two operations, a product and a sum",
}
_HEADINGS = ("layer", "type", "output", "parameters", "multiply-adds", "operations")


@dataclass(frozen=True)
class Row:
    """The cost of one layer for one example.

    `shape` is the output's, without the batch; `biases` are the additions of a bias; `operations` counts by the
    convention of the whole `Cost`.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    n_params: int
    macs: int
    biases: int
    operations: int


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one example: one `Row` per layer, in the order of the calls.

    `uncounted` names the modules whose operations are not known: their parameters are counted, their
    multiply-adds are missing from every total.
    """

    rows: tuple[Row, ...]
    uncounted: tuple[str, ...]
    convention: str
    bias: bool

    @property
    def n_params(self) -> int:
        """All parameters, a shared one once."""
        return sum(row.n_params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds, biases not included."""
        return sum(row.macs for row in self.rows)

    @property
    def operations(self) -> int:
        """Operations by the convention, with the biases if `bias` is true."""
        return sum(row.operations for row in self.rows)

    def __repr__(self) -> str:
        tail = f", uncounted: {', '.join(self.uncounted)}" if self.uncounted else ""
        layers = f"{len(self.rows)} layer{'s' if len(self.rows) != 1 else ''}"
        return f"Cost({layers}, {self.n_params:,} parameters, {self.macs:,} multiply-adds{tail})"

    def __str__(self) -> str:
        cells = [_HEADINGS, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join([_line(row, widths) for row in cells] + [self.note])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{heading}</th>' for heading in _HEADINGS)
        body = "".join(_html_row(row) for row in self._cells())
        caption = f"<caption>{html.escape(self.note)}</caption>"
        return f'<table class="labkit-cost">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'

    @property
    def note(self) -> str:
        """One sentence that states the convention and what is missing."""
        biases = "biases counted" if self.bias else "biases not counted"
        missing = f" Not counted: {', '.join(self.uncounted)}." if self.uncounted else ""
        return f"For one example; {CONVENTIONS[self.convention]}; {biases}.{missing}"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            macs, operations = ("?", "?") if row.name in self.uncounted else (f"{row.macs:,}", f"{row.operations:,}")
            shape = " x ".join(map(str, row.shape))
            yield row.name, row.kind, shape, f"{row.n_params:,}", macs, operations
        yield "all", "", "", f"{self.n_params:,}", f"{self.macs:,}", f"{self.operations:,}"


def count(model: nn.Module, example_inputs: Any, *, convention: str = "mac", bias: bool = False) -> Cost:
    """Count a network's parameters and operations for one example by running it once.

    Parameters
    ----------
    model : the network; its mode and weights stay as they are
    example_inputs : a tensor whose first dimension is the batch, or a tuple of the model's arguments; the counts
        are divided by the batch
    convention : "mac" (one multiply-add is one operation) or "flop" (it is two)
    bias : also count the addition of a bias, one operation for each output of a layer that has one

    Returns
    -------
    Cost with one row per layer. Counted are linear layers, convolutions (grouped, dilated, transposed), average
    pooling (one per element of the window) and normalisations (one per element, as in evaluation mode); activations,
    max pooling and reshaping take no multiply-add. Other modules are named in `.uncounted`. Operations that a
    `forward` does outside of any module, such as a sum or a softmax, are invisible here.

    Raises
    ------
    TypeError, ValueError : not a module, no inputs, or an unknown convention.

    Lecture 003 counts multiply-adds without biases, the default here. Chapter 4.

    >>> from labkit.nets import LeNet300
    >>> count(LeNet300(), torch.zeros(1, 1, 28, 28))
    Cost(4 layers, 266,610 parameters, 266,200 multiply-adds)
    """
    checks.instance(model, "model", nn.Module)
    checks.choice(convention, "convention", CONVENTIONS)
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    if not inputs or not isinstance(inputs[0], torch.Tensor) or inputs[0].dim() == 0 or len(inputs[0]) == 0:
        raise ValueError(f"example_inputs must be a tensor with a non-empty batch, got {type(example_inputs).__name__}")
    units = [_Unit(name, module) for name, module in _find(model, "", set())]
    _run(model, inputs, units)
    return Cost(tuple(_rows(units, len(inputs[0]), convention, bias)), _uncounted(units), convention, bias)


class _Unit:
    """A module that gets a row of its own, and what its calls added up to."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.module, self.rule = name, module, rule_for(module)
        self.place: float = math.inf  # of the first call, among all calls
        self.shape: tuple[int, ...] = ()
        self.macs = self.biases = 0

    def add(self, place: int, x: Any, y: Any) -> None:
        """Note one call."""
        self.place = min(place, self.place)
        self.shape = tuple(y.shape[1:]) if isinstance(y, torch.Tensor) else ()
        if self.rule:
            self.macs += self.rule(self.module, x, y)
            self.biases += y.numel() if isinstance(getattr(self.module, "bias", None), torch.Tensor) else 0

    @property
    def counted(self) -> bool:
        """A layer that was never called, but has weights, may be used by its parent in an unknown way."""
        return self.rule is not None and (self.place < math.inf or not any(True for _ in self.module.parameters()))

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of this row; those of children have rows of their own unless a rule covers them."""
        return self.module.parameters(recurse=self.rule is not None)


def _find(module: nn.Module, name: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that get a row: those with a rule, those without children, those with own parameters."""
    if id(module) in seen:
        return
    seen.add(id(module))
    whole = rule_for(module) is not None or not any(True for _ in module.children())
    if whole or any(True for _ in module.parameters(recurse=False)):
        yield name or type(module).__name__, module
    if not whole:
        for child_name, child in module.named_children():
            yield from _find(child, f"{name}.{child_name}" if name else child_name, seen)


def _run(model: nn.Module, inputs: tuple, units: list[_Unit]) -> None:
    """Run the model once, with a hook on each unit, and take the hooks off again."""
    places = itertools.count()
    hooks = [
        unit.module.register_forward_hook(lambda _, x, y, unit=unit: unit.add(next(places), x[0] if x else None, y))
        for unit in units
    ]
    try:
        with checks.evaluating(model):
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    units.sort(key=lambda unit: unit.place)


def _rows(units: list[_Unit], batch: int, convention: str, bias: bool) -> Iterator[Row]:
    seen: set[int] = set()
    per_mac = {"mac": 1, "flop": 2}[convention]
    for unit in units:
        fresh = {id(p): p.numel() for p in unit.parameters() if id(p) not in seen}
        seen.update(fresh)
        macs, biases = unit.macs // batch, unit.biases // batch
        kind = type(unit.module).__name__
        operations = per_mac * macs + bias * biases
        yield Row(unit.name, kind, unit.shape, sum(fresh.values()), macs, biases, operations)


def _uncounted(units: list[_Unit]) -> tuple[str, ...]:
    return tuple(unit.name for unit in units if not unit.counted)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left = "  ".join(cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True))
    return left + "  " + "  ".join(cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True))


def _html_row(cells: tuple[str, ...]) -> str:
    escaped = [html.escape(cell) for cell in cells]
    tail = "".join(f"<td>{cell}</td>" for cell in escaped[1:])
    return f'<tr><th scope="row">{escaped[0]}</th>{tail}</tr>'
