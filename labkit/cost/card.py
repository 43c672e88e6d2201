"""A report card: what compression is for, on five axes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from labkit import checks, html
from labkit.cost.count import count
from labkit.cost.energy import network_energy
from labkit.cost.measure import latency
from labkit.cost.memory import file_bytes

_HEADER = ("axis", "value", "unit")


@dataclass(frozen=True, repr=False)
class ReportCard:
    """A network on five axes: bytes on disk, multiply-adds, seconds, joules (estimated), accuracy in percent.

    Multiply-adds and joules are for one example, seconds for one call on the example inputs. `uncounted` names the
    layers that are missing from the multiply-adds. `str` shows all figures; the repr leaves the time out, since it is
    never twice the same.
    """

    n_bytes: int
    macs: int
    latency: float
    energy: float
    accuracy: float
    uncounted: tuple[str, ...]

    def __repr__(self) -> str:
        return f"ReportCard(n_bytes={self.n_bytes:,}, macs={self.macs:,}, accuracy={self.accuracy:.2f} %)"

    def __str__(self) -> str:
        return "\n".join(f"{axis}: {value} {unit}" for axis, value, unit in self._cells())

    def _repr_html_(self) -> str:
        missing = f"Not counted: {', '.join(self.uncounted)}." if self.uncounted else ""
        return html.table(_HEADER, self._cells(), caption="Report card", note=missing, numeric=(False, True, False))

    def _cells(self) -> list[tuple[str, str, str]]:
        return [
            ("bytes on disk", f"{self.n_bytes:,}", "B"),
            ("multiply-adds", f"{self.macs:,}", ""),
            ("latency, one thread", f"{1e3 * self.latency:.3g}", "ms"),
            ("energy, estimated", f"{1e6 * self.energy:.3g}", "µJ"),
            ("accuracy", f"{self.accuracy:.2f}", "%"),
        ]


def report_card(
    model: nn.Module, example_inputs: Any, *, evaluate: Callable[[nn.Module], float], rounds: int = 7
) -> ReportCard:
    """Measure a network on five axes: size, work, time, energy and accuracy.

    Parameters
    ----------
    model : any network; it is left as it is
    example_inputs : as for `count`
    evaluate : called with the network; returns its accuracy in percent, 0 to 100
    rounds : calls for the latency, at least 7

    Raises
    ------
    TypeError, ValueError : as `count`, or an `evaluate` that does not return a percentage.

    Chapter 1; lecture 000:12-23.

    >>> import torch
    >>> report_card(nn.Linear(4, 2), torch.zeros(1, 4), evaluate=lambda model: 50.0)
    ReportCard(n_bytes=168, macs=8, accuracy=50.00 %)
    """
    cost = count(model, example_inputs)
    if not callable(evaluate):
        raise TypeError(f"evaluate must be callable with the model, got {type(evaluate).__name__}")
    with checks.evaluating(model):
        seconds = latency(lambda: _call(model, example_inputs), rounds=rounds).median
    accuracy = checks.number(evaluate(model), "evaluate(model)", low=0, high=100)
    return ReportCard(file_bytes(model), cost.macs, seconds, network_energy(cost), accuracy, cost.uncounted)


def _call(model: nn.Module, example_inputs: Any) -> Any:
    if isinstance(example_inputs, dict):
        return model(**example_inputs)
    return model(*example_inputs) if isinstance(example_inputs, tuple) else model(example_inputs)
