"""The lecture's two tables of a network, and shares of the whole: by layer, by type, as a tree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from labkit import checks, html
from labkit.cost.count import Cost, Row
from labkit.cost.text import aligned, readable

Sides = int | tuple[int, ...]
QUANTITIES = {"parameters": "n_params", "macs": "macs", "operations": "operations"}


class ParamRow(NamedTuple):
    """One parameter tensor: its shape, its elements, their size as text and their percentage of all elements."""

    name: str
    shape: tuple[int, ...]
    n_params: int
    size: str
    percent: float


class OpRow(NamedTuple):
    """One layer: shapes in and out, elements of the output, operations, as text too, and their percentage of all."""

    name: str
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    n_outputs: int
    operations: int
    readable: str
    percent: float


@dataclass(frozen=True, repr=False)
class CostTable:
    """A table with one named tuple a row and a total; it prints as text, and draws itself in a notebook."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Any, ...]
    totals: tuple[str, ...]
    note: str = ""

    def __repr__(self) -> str:
        return f"CostTable({self.title!r}, {len(self.rows)} rows)"

    def __str__(self) -> str:
        return aligned([self.header, *self._cells()], self._numeric)

    def _repr_html_(self) -> str:
        return html.table(self.header, self._cells(), caption=self.title, note=self.note, numeric=self._numeric)

    @property
    def _numeric(self) -> tuple[bool, ...]:
        """All columns but the first stand right."""
        return tuple(j > 0 for j in range(len(self.header)))

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            yield *(_cell(value) for value in row[:-1]), f"{row.percent:.2f}%"
        yield self.totals


class TreeMap(NamedTuple):
    """Leaves with their values, and for each leaf and branch the branch that it belongs to ("" for the whole)."""

    values: dict[str, int]
    parents: dict[str, str]


def param_table(model: nn.Module) -> CostTable:
    """Return the parameters of a network, one row a tensor, as lecture 000:184-197 lists them.

    Raises TypeError if `model` is not a module. Sizes are those of the number type that the parameters have; a shared
    parameter is listed once; percentages are of the elements. Chapter 4.

    >>> print(param_table(nn.Linear(1600, 512)))
    parameter        shape  elements      size  percent
    weight     (512, 1600)   819,200   3.1 MiB   99.94%
    bias            (512,)       512   2.0 KiB    0.06%
    total                    819,712   3.1 MiB
    """
    checks.instance(model, "model", nn.Module)
    named = dict(model.named_parameters())
    total = sum(p.numel() for p in named.values())
    n_bytes = sum(p.numel() * p.element_size() for p in named.values())
    rows = tuple(
        ParamRow(
            name, tuple(p.shape), p.numel(), readable(p.numel() * p.element_size(), "B"), _percent(p.numel(), total)
        )
        for name, p in named.items()
    )
    header = ("parameter", "shape", "elements", "size", "percent")
    return CostTable("Parameters", header, rows, ("total", "", f"{total:,}", readable(n_bytes, "B"), ""))


def op_table(cost: Cost) -> CostTable:
    """Return feature maps and operations, one row a layer, as lecture 000:202-217 lists them.

    cost : what `count` returned; the lecture's own total is that of `count(model, x, bias="linear")`. Activations and
    dropout are left out, since they do not change a shape and take no multiply-add. Raises TypeError for anything
    else. Chapter 4.

    >>> import torch
    >>> from labkit.cost import count
    >>> print(op_table(count(nn.Sequential(nn.Linear(1600, 512), nn.ReLU()), torch.zeros(1, 1600), bias="linear")))
    layer    input  output  elements  operations   readable  percent
    0      (1600,)  (512,)       512     819,712   800.5 Ki  100.00%
    total                                819,712   800.5 Ki
    """
    total = checks.instance(cost, "cost", Cost).operations
    rows = tuple(
        OpRow(
            *(row.name, row.input_shape, row.shape, row.n_outputs, row.operations),
            readable(row.operations),
            _percent(row.operations, total),
        )
        for row in cost.rows
        if row.calls and not _idle(row)
    )
    header = ("layer", "input", "output", "elements", "operations", "readable", "percent")
    totals = ("total", "", "", "", f"{total:,}", readable(total), "")
    return CostTable("Feature maps and operations", header, rows, totals, cost.note)


def share_by_type(cost: Cost, *, of: str = "operations") -> dict[str, float]:
    """Return the share of each type of layer, largest first: {type: fraction of the whole}, types with none left out.

    Parameters
    ----------
    cost : what `count` returned
    of : "parameters", "macs" or "operations"

    Raises TypeError or ValueError for other arguments. Weights live in the fully connected layers, computation in the
    convolutions: lecture 000:181-224, 003:268-273. Chapter 4.

    >>> import torch
    >>> from labkit.cost import count
    >>> from labkit.nets import LeNet5
    >>> {kind: round(share, 2) for kind, share in share_by_type(count(LeNet5(), torch.zeros(1, 1, 28, 28))).items()}
    {'Conv2d': 0.82, 'Linear': 0.18}
    """
    totals: dict[str, int] = {}
    for row, value in _values(cost, of):
        totals[row.kind] = totals.get(row.kind, 0) + value
    whole = sum(totals.values())
    return {kind: n / whole for kind, n in sorted(totals.items(), key=lambda item: -item[1])}


def tree_map(cost: Cost, *, of: str = "macs") -> TreeMap:
    """Return the layers as a tree, by the dots in their names, for `labkit.explore.figures.treemap`.

    cost : what `count` returned; of : "parameters", "macs" or "operations". A branch may have a value of its own, on
    top of those of its leaves. Raises TypeError or ValueError for other arguments. Chapter 4.

    >>> import torch
    >>> from labkit.cost import count
    >>> tree_map(count(nn.Sequential(nn.Sequential(nn.Linear(2, 3))), torch.zeros(1, 2)))
    TreeMap(values={'0.0': 6}, parents={'0.0': '0', '0': ''})
    """
    values = {row.name: value for row, value in _values(cost, of)}
    parents: dict[str, str] = {}
    for name in values:
        while name and name not in parents:
            branch = name.rpartition(":")[0] or name.rpartition(".")[0]
            parents[name] = name = "" if ":" in name and branch not in _branches(cost) else branch
    return TreeMap(values, parents)


def linear_cost(m: int, n: int) -> tuple[int, int]:
    """Return the parameters and the multiply-adds of y = W x with W (m, n): m n of each.

    Raises TypeError or ValueError unless both are integers of at least 1. Chapter 2; lecture 000:86-94.

    >>> linear_cost(512, 1600)
    (819200, 819200)
    """
    size = checks.integer(m, "m", low=1) * checks.integer(n, "n", low=1)
    return size, size


def conv_macs(c_in: int, c_out: int, *, kernel: Sides, size: Sides, groups: int = 1) -> int:
    """Return the multiply-adds of a two-dimensional convolution: h w (c_in / groups) k k c_out.

    Parameters
    ----------
    c_in, c_out : channels, multiples of `groups`
    kernel, size : sides of the kernel and of the output, an int for a square or a pair (h, w)

    Raises TypeError or ValueError for sizes below 1. Chapter 4; lecture 003:2001-2011.

    >>> conv_macs(512, 512, kernel=3, size=14)
    462422016
    """
    checks.integer(groups, "groups", low=1)
    for name, channels in (("c_in", c_in), ("c_out", c_out)):
        if checks.integer(channels, name, low=1) % groups:
            raise ValueError(f"{name} must be a multiple of groups = {groups}, got {channels}")
    (kh, kw), (h, w) = _pair(kernel, "kernel"), _pair(size, "size")
    return h * w * (c_in // groups) * kh * kw * c_out


def _pair(value: Sides, name: str) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an int or a pair, got {value!r}")
    return checks.integer(pair[0], name, low=1), checks.integer(pair[1], name, low=1)


def _values(cost: Cost, of: str) -> Iterator[tuple[Row, int]]:
    """Yield the rows that have any of a quantity."""
    checks.choice(of, "of", QUANTITIES)
    for row in checks.instance(cost, "cost", Cost).rows:
        if value := getattr(row, QUANTITIES[of]):
            yield row, value


def _branches(cost: Cost) -> set[str]:
    """Return the names of all layers and of all branches above them."""
    parts = [row.name.partition(":")[0].split(".") for row in cost.rows if "." in row.name or ":" not in row.name]
    return {".".join(names[: i + 1]) for names in parts for i in range(len(names))}


def _idle(row: Row) -> bool:
    """Say whether a row is an activation, dropout or identity, which computes nothing that is counted."""
    modules = (nn.modules.activation, nn.modules.dropout, nn.modules.linear)
    return row.operations == 0 and row.n_params == 0 and any(hasattr(m, row.kind) for m in modules)


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
