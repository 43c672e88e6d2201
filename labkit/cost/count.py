"""Count parameters and operations layer by layer, by a convention that is always stated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit import checks, html
from labkit.cost.text import aligned
from labkit.cost.trace import Tracer, Unit

CONVENTIONS = {
    "mac": "one operation is a product that is added to a sum (a multiply-add)",
    "flop": "a multiply-add is two operations, a product and a sum",
}
BATCH_NORMS = {"folded": "a batch norm after a layer folded into it", "counted": "batch norms counted"}
BIASES: dict[bool | str, str] = {
    False: "biases not counted",
    True: "biases counted",
    "linear": "biases of linear layers counted",
}
_HEADINGS = ("layer", "type", "output", "parameters", "multiply-adds", "operations")
_NUMERIC = (False, False, False, True, True, True)


@dataclass(frozen=True)
class Row:
    """The cost of one layer for one example.

    `input_shape` and `shape` are those of the first input and the output, without the batch; `n_inputs` and
    `n_outputs` are the elements of all inputs and outputs of all `calls`. `biases` are additions of a bias,
    `elementwise` other operations, one per element; `operations` counts by the convention of the whole `Cost`.
    `unknown` names operations that could not be counted.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    n_params: int
    macs: int
    biases: int
    elementwise: int
    operations: int
    n_inputs: int
    n_outputs: int
    calls: int
    unknown: tuple[str, ...]

    @property
    def memory_access(self) -> int:
        """Numbers read and written for one example: inputs, parameters and outputs, each once a call."""
        return self.n_inputs + self.n_params * max(1, self.calls) + self.n_outputs


@dataclass(frozen=True)
class Cost:
    """The cost of a network for one example: one `Row` per layer, in the order of the calls.

    Operations of a `forward` outside of any layer have rows too, named after the module that does them:
    `block:bmm`. `uncounted` names the rows with operations whose cost is not known: their parameters are counted,
    the operations are missing from every total.
    """

    rows: tuple[Row, ...]
    convention: str
    bias: bool | str
    batch_norm: str
    elementwise: bool

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
        """Operations by the convention."""
        return sum(row.operations for row in self.rows)

    @property
    def activations(self) -> int:
        """Numbers in the outputs of all layers, for one example."""
        return sum(row.n_outputs for row in self.rows)

    @property
    def peak_activations(self) -> int:
        """Inputs and outputs of the layer that has most of them: what a chain of layers must hold at once."""
        return max((row.n_inputs + row.n_outputs for row in self.rows), default=0)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of the rows with operations that could not be counted."""
        return tuple(row.name for row in self.rows if row.unknown)

    @property
    def note(self) -> str:
        """One sentence that states the convention and what is missing."""
        parts = [CONVENTIONS[self.convention], BIASES[self.bias]]
        parts += [BATCH_NORMS[self.batch_norm]] if any("BatchNorm" in row.kind for row in self.rows) else []
        parts += ["normalisations and averages counted, one per element"] if self.elementwise else []
        missing = [f"{row.name} ({', '.join(row.unknown)})" for row in self.rows if row.unknown]
        return f"For one example; {'; '.join(parts)}." + (f" Not counted: {', '.join(missing)}." if missing else "")

    def __repr__(self) -> str:
        tail = f", uncounted: {', '.join(self.uncounted)}" if self.uncounted else ""
        layers = f"{len(self.rows)} layer{'s' if len(self.rows) != 1 else ''}"
        return f"Cost({layers}, {self.n_params:,} parameters, {self.macs:,} multiply-adds{tail})"

    def __str__(self) -> str:
        return aligned([_HEADINGS, *self._cells()], _NUMERIC) + "\n" + self.note

    def _repr_html_(self) -> str:
        return html.table(_HEADINGS, self._cells(), caption="Cost by layer", note=self.note, numeric=_NUMERIC)

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            doubt = "?" if row.unknown else ""
            macs, operations = (f"{n:,}{doubt}" if n or not doubt else "?" for n in (row.macs, row.operations))
            yield row.name, row.kind, " x ".join(map(str, row.shape)), f"{row.n_params:,}", macs, operations
        yield "all", "", "", f"{self.n_params:,}", f"{self.macs:,}", f"{self.operations:,}"


def count(
    model: nn.Module,
    example_inputs: Any,
    *,
    convention: str = "mac",
    bias: bool | str = False,
    batch_norm: str = "folded",
    elementwise: bool = False,
    batch_size: int | None = None,
) -> Cost:
    """Count a network's parameters and operations for one example by running it once.

    Parameters
    ----------
    model : any network; its mode and weights stay as they are. On the device "meta" nothing is computed
    example_inputs : a tensor whose first dimension is the batch, a tuple of arguments, or a dict of keyword arguments
    convention : "mac" (one multiply-add is one operation) or "flop" (it is two)
    bias : True counts the addition of a bias, one operation for each output of a layer that has one; "linear" does
        so for linear layers only, as lecture 000:202-217 does
    batch_norm : "folded" (a batch normalisation right after a convolution or linear layer costs a bias, since it can
        be folded into that layer's weights) or "counted" (one multiply-add per element)
    elementwise : True adds one operation for each element that another normalisation or an average reads
    batch_size : examples in `example_inputs`, by which the counts are divided (rounded down); by default the length
        of the first tensor

    Returns
    -------
    Cost with one row per layer. Multiply-adds are those of linear layers, convolutions (grouped, dilated,
    transposed), recurrent layers, attention, and every matrix product that a `forward` does by itself, such as
    `torch.matmul` or `F.linear`. Activations, max pooling, residual sums and copies take none. A layer with a method
    `multiply_adds(x, y)` is asked. What cannot be counted (a Fourier transform, code outside of torch) is named in
    `.uncounted`.

    Raises
    ------
    TypeError, ValueError : not a module, no inputs, an unknown convention, or inputs that the model cannot take (the
        error names the layer).

    Defaults: multiply-adds without biases, batch norm folded, as most papers and lecture 003 count. Chapter 4.

    >>> from labkit.nets import LeNet300
    >>> count(LeNet300(), torch.zeros(1, 1, 28, 28))
    Cost(4 layers, 266,610 parameters, 266,200 multiply-adds)
    >>> count(LeNet300(), torch.zeros(1, 1, 28, 28), convention="flop", bias=True).operations
    532810
    """
    checks.instance(model, "model", nn.Module)
    checks.choice(convention, "convention", CONVENTIONS)
    checks.choice(batch_norm, "batch_norm", BATCH_NORMS)
    checks.instance(elementwise, "elementwise", bool)
    if not isinstance(bias, bool) and bias != "linear":
        raise ValueError(f"bias must be True, False or 'linear', got {bias!r}")
    args, kwargs = _arguments(example_inputs)
    batch = _batch(args, kwargs) if batch_size is None else checks.integer(batch_size, "batch_size", low=1)
    tracer = Tracer(model, fold=batch_norm == "folded")
    tracer.run(args, kwargs)
    shell = Cost((), convention, bias, batch_norm, elementwise)
    return Cost(tuple(_rows(tracer.units, batch, shell)), convention, bias, batch_norm, elementwise)


def _arguments(example_inputs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return positional and keyword arguments."""
    if isinstance(example_inputs, Mapping):
        return (), example_inputs
    return (example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)), {}


def _batch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    first = next(iter([*args, *kwargs.values()]), None)
    if not isinstance(first, torch.Tensor) or first.dim() == 0 or len(first) == 0:
        shape = f" of shape {tuple(first.shape)}" if isinstance(first, torch.Tensor) else ""
        raise ValueError(
            f"example_inputs must be or begin with a tensor that has a non-empty batch, got {type(first).__name__}"
            f"{shape}; give batch_size for other inputs"
        )
    return len(first)


def _rows(units: list[Unit], batch: int, cost: Cost) -> Iterator[Row]:
    seen: set[int] = set()
    per_mac = {"mac": 1, "flop": 2}[cost.convention]
    for unit in units:
        fresh = {id(p): p.numel() for p in unit.parameters() if id(p) not in seen}
        seen.update(fresh)
        macs, biases, elementwise = (n // batch for n in (unit.macs, unit.biases, unit.elementwise))
        add = cost.bias is True or (cost.bias == "linear" and isinstance(unit.module, nn.Linear))
        yield Row(
            unit.name,
            unit.kind,
            unit.input_shape,
            unit.shape,
            sum(fresh.values()),
            macs,
            biases,
            elementwise,
            operations=per_mac * macs + add * biases + cost.elementwise * elementwise,
            n_inputs=unit.n_inputs // batch,
            n_outputs=unit.n_outputs // batch,
            calls=unit.calls,
            unknown=tuple(unit.unknown),
        )
