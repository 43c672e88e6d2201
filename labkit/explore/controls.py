"""The controls of an explorer: each holds its allowed values, checks them and describes itself to the page.

A control is declared once and becomes a traitlet in JupyterLab and an element of the page on the static site.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import traitlets

from labkit import checks

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Control:
    """What all controls share.

    `name` is the argument of `compute`; `label` is what the reader sees (default: the name in words).
    `when={"format": ["posit"]}` leaves the control active only while the control "format" has one of these values.
    """

    name: str
    label: str = field(default="", kw_only=True)
    when: Mapping[str, Sequence[Any]] | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"name must be a Python identifier, got {self.name!r}")
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " ").capitalize())

    @property
    def start(self) -> Any:
        """The value before anyone moves the control."""
        raise NotImplementedError

    def clean(self, value: Any) -> Any:
        """Return `value` in the control's own type, or raise a TypeError or ValueError."""
        raise NotImplementedError

    def probes(self, values: Values) -> list[Any]:
        """Return the values that a test tries: the ends, the middle, every choice."""
        raise NotImplementedError

    def inner(self, values: Values) -> list[Any]:
        """Return further values that a test tries once, between those of `probes`."""
        return []

    def settle(self, value: Any, values: Values) -> Any:
        """Return the nearest value that the other controls, at `values`, allow."""
        return value

    def spec(self) -> dict[str, Any]:
        """Return the JSON description that the page builds the control from."""
        when = {name: list(allowed) for name, allowed in (self.when or {}).items()}
        return {"kind": self.kind, "name": self.name, "label": self.label, "start": self.start, "when": when}

    def active(self, values: Values) -> bool:
        """Say whether the control has an effect while the others are at `values`."""
        return all(values[name] in allowed for name, allowed in (self.when or {}).items())


@dataclass(frozen=True)
class Slider(Control):
    """A number between `low` and `high` in steps of `step`; all three ints make it an integer slider.

    `scale="log"` spaces `positions` values evenly in the logarithm; `values=[2, 4, 6]` names them one by one, and
    then low and high are left out. `unit` follows the number on the page.
    `high_by=("subject", {"fc1": 300})` lowers `high` while the control "subject" has the value "fc1".
    Raises ValueError when no value is left or the default is not allowed.

    >>> Slider("rank", 1, 427, default=20).probes({})
    [1, 214, 427]
    >>> Slider("rank", 1, 427).clean(20.0)
    Traceback (most recent call last):
        ...
    TypeError: rank must be an integer, got 20.0 of type float
    """

    low: float | None = None
    high: float | None = None
    step: float | None = None
    default: float | None = field(default=None, kw_only=True)
    scale: str = field(default="linear", kw_only=True)
    positions: int = field(default=61, kw_only=True)
    values: Sequence[float] | None = field(default=None, kw_only=True)
    unit: str = field(default="", kw_only=True)
    high_by: tuple[str, Mapping[Any, float]] | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = "slider"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice(self.scale, "scale", ("linear", "log"))
        stops = self._named()
        if stops is not None:
            object.__setattr__(self, "values", stops)
            object.__setattr__(self, "low", stops[0])
            object.__setattr__(self, "high", stops[-1])
        if self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"{self.name} must have low < high or a list of values, got low={self.low}, {self.high=}")
        if self.step is None:
            object.__setattr__(self, "step", 1 if self.whole else (self.high - self.low) / 100)
        self.clean(self.start)

    def _named(self) -> list[float] | None:
        """Return the values given one by one or by a log scale; None for even steps."""
        if self.values is not None:
            return sorted(set(self.values))
        if self.scale == "linear" or self.low is None or self.high is None:
            return None
        low, n = checks.number(self.low, "low", low=1e-300), checks.integer(self.positions, "positions", low=2)
        points = {float(f"{x:.3g}") for x in np.geomspace(low, self.high, n)} | {self.start}
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return sorted({int(x) for x in points} if whole else points)

    def stops(self) -> list[float]:
        """Return all values at which the slider stops."""
        if self.values is not None:
            return list(self.values)
        n = math.floor((self.high - self.low) / self.step + 1e-9) + 1  # type: ignore[operator]
        return [self.low + i * self.step for i in range(n)]  # type: ignore[operator]

    @property
    def whole(self) -> bool:
        """Whether the slider gives ints."""
        numbers = (
            self.values if self.values is not None else (self.low, self.high, 1 if self.step is None else self.step)
        )
        return all(isinstance(x, int) for x in numbers)

    @property
    def start(self) -> float:
        return self.low if self.default is None else self.default  # type: ignore[return-value]

    def limit(self, values: Values) -> float:
        """Return the largest value allowed while the other controls are at `values`."""
        if self.high_by is None:
            return self.high  # type: ignore[return-value]
        other, highs = self.high_by
        return min(self.high, highs.get(values.get(other), self.high))  # type: ignore[type-var, return-value]

    def clean(self, value: Any) -> float:
        if self.whole:
            value = checks.integer(value, self.name, low=int(self.low), high=int(self.high))  # type: ignore[arg-type]
        else:
            value = checks.number(value, self.name, low=self.low, high=self.high)  # type: ignore[arg-type]
        if self.values is not None and self.scale == "linear" and value not in self.values:
            raise ValueError(f"{self.name} must be one of {list(self.values)}, got {value}")
        return value

    def settle(self, value: float, values: Values) -> float:
        return min(value, self.limit(values))

    def probes(self, values: Values) -> list[float]:
        return self._at((0, 2, 4), values)

    def inner(self, values: Values) -> list[float]:
        """Return the stops at one and three quarters of the way.

        >>> Slider("rank", 0, 10, 2).probes({}), Slider("rank", 0, 10, 2).inner({})
        ([0, 6, 10], [2, 8])
        """
        return self._at((1, 3), values)

    def _at(self, quarters: Sequence[int], values: Values) -> list[float]:
        """Return the stops that lie so many quarters of the way from the low end to the high end."""
        stops = [x for x in self.stops() if x <= self.limit(values)]
        return sorted({stops[min(quarter * len(stops) // 4, len(stops) - 1)] for quarter in quarters})

    def spec(self) -> dict[str, Any]:
        high_by = {"name": self.high_by[0], "highs": dict(self.high_by[1])} if self.high_by else None
        own = {"low": self.low, "high": self.high, "step": self.step, "values": self.values, "unit": self.unit}
        return super().spec() | own | {"whole": self.whole, "highBy": high_by}


@dataclass(frozen=True)
class Choice(Control):
    """One of `options`: a list of values, or a mapping from value to label. `style` is "select" or "radio".

    Raises ValueError when there is no option or the default is not one of them.

    >>> Choice("bits", [32, 16, 8], default=8).start
    8
    """

    options: Sequence[Any] | Mapping[Any, str] = ()
    default: Any = field(default=None, kw_only=True)
    style: str = field(default="select", kw_only=True)

    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.options:
            raise ValueError(f"{self.name} must have at least one option, got {self.options!r}")
        checks.choice(self.style, "style", ("select", "radio"))
        self.clean(self.start)

    @property
    def start(self) -> Any:
        return next(iter(self.options)) if self.default is None else self.default

    def clean(self, value: Any) -> Any:
        for option in self.options if np.isscalar(value) else ():  # 8 == 8.0 == True, so compare types too
            if option == value and isinstance(value, bool) == isinstance(option, bool):
                return option
        raise ValueError(f"{self.name} must be one of {list(self.options)}, got {value!r}")

    def probes(self, values: Values) -> list[Any]:
        return list(self.options)

    def spec(self) -> dict[str, Any]:
        labels = self.options if isinstance(self.options, Mapping) else {option: str(option) for option in self.options}
        options = [{"value": value, "label": label} for value, label in labels.items()]
        return super().spec() | {"options": options, "style": self.style}


@dataclass(frozen=True)
class Toggle(Control):
    """On or off.

    >>> Toggle("saturate", default=True).probes({})
    [False, True]
    """

    default: bool = field(default=False, kw_only=True)

    kind: ClassVar[str] = "toggle"

    @property
    def start(self) -> bool:
        return self.default

    def clean(self, value: Any) -> bool:
        return checks.instance(value, self.name, bool)

    def probes(self, values: Values) -> list[bool]:
        return [False, True]


@dataclass(frozen=True)
class Field(Control):
    """A list of numbers that the reader types, such as the taps of a filter; `length` fixes how many.

    `low` and `high` bound each number; `examples` are further lists that a test tries.
    Raises ValueError when the default breaks these rules.

    >>> Field("f", [1, 2, 3, 4], length=4).clean((4, 3, 2, 1))
    [4.0, 3.0, 2.0, 1.0]
    """

    default: Sequence[float] = ()
    length: int | None = field(default=None, kw_only=True)
    low: float = field(default=-1e6, kw_only=True)
    high: float = field(default=1e6, kw_only=True)
    examples: Sequence[Sequence[float]] = field(default=(), kw_only=True)

    kind: ClassVar[str] = "field"

    def __post_init__(self) -> None:
        super().__post_init__()
        for numbers in (self.default, *self.examples):
            self.clean(numbers)

    @property
    def start(self) -> list[float]:
        return self.clean(self.default)

    def clean(self, value: Any) -> list[float]:
        numbers = [
            checks.number(x, self.name, low=self.low, high=self.high)
            for x in checks.instance(value, self.name, (list, tuple))
        ]
        if not numbers or self.length not in (None, len(numbers)):
            raise ValueError(f"{self.name} must hold {self.length or 'at least one'} number(s), got {len(numbers)}")
        return numbers

    def probes(self, values: Values) -> list[list[float]]:
        doubled = [min(2 * x + 1, self.high) for x in self.start]
        return [self.start, doubled, *(self.clean(numbers) for numbers in self.examples)]

    def spec(self) -> dict[str, Any]:
        return super().spec() | {"length": self.length, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Steps(Control):
    """A player that steps through `labels` with back, next and play; `compute` gets the step's number from 0.

    `interval` is the time between steps while it plays, in milliseconds.

    >>> Steps("step", ["transform f", "transform g", "multiply"]).probes({})
    [0, 1, 2]
    """

    labels: Sequence[str] = ()
    default: int = field(default=0, kw_only=True)
    interval: int = field(default=900, kw_only=True)

    kind: ClassVar[str] = "steps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.labels) < 2:
            raise ValueError(f"{self.name} must have at least two labels, got {list(self.labels)}")
        self.clean(self.default)

    @property
    def start(self) -> int:
        return self.default

    def clean(self, value: Any) -> int:
        return checks.integer(value, self.name, low=0, high=len(self.labels) - 1)

    def probes(self, values: Values) -> list[int]:
        return list(range(len(self.labels)))

    def spec(self) -> dict[str, Any]:
        return super().spec() | {"labels": list(self.labels), "interval": self.interval}


class ControlTrait(traitlets.TraitType):
    """The traitlet of a control: `explorer.rank = 30` is checked by the control itself."""

    def __init__(self, control: Control) -> None:
        super().__init__(default_value=control.start)
        self.control = control

    def validate(self, obj: Any, value: Any) -> Any:
        return self.control.clean(value)
