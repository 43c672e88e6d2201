"""How an explorer lives on a page without a kernel: a grid of results, or a computation in the browser."""

import base64
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labkit import checks
from labkit.explore.controls import Choice, Control, Field, Slider, Steps, Toggle

STATIC = Path(__file__).parent / "static"
MODES = (Choice, Toggle, Steps)


@dataclass(frozen=True)
class Grid:
    """Results for a grid of control values, computed while the page is built.

    `values` names the values kept for a slider or field: `Grid(rank=...)` is written `Grid({"rank": [1, 2, 5]})`.
    Choices, toggles and steps keep all their values, and so does a slider with at most `positions` of them; a longer
    slider keeps `positions` values, evenly spaced. Fields without values stay as they are.
    Large pictures become WebP of the given `quality`.
    """

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    positions: int = field(default=25, kw_only=True)
    quality: int = field(default=75, kw_only=True)

    def kept(self, control: Control) -> list[Any]:
        """Return the values of `control` that the page holds."""
        if control.name in self.values:
            return [control.clean(value) for value in self.values[control.name]]
        if isinstance(control, MODES):
            return control.probes({})
        return _spaced(control, self.positions) if isinstance(control, Slider) else [control.start]

    def controls(self, controls: Sequence[Control]) -> list[dict[str, Any]]:
        """Return the specs of the controls, reduced to the values that the page holds."""
        return [control.spec() | self._reduced(control) for control in controls]

    def _reduced(self, control: Control) -> dict[str, Any]:
        kept = self.kept(control)
        if isinstance(control, Slider):
            start = min(kept, key=lambda value: abs(value - control.start))
            return {"values": kept, "low": kept[0], "high": kept[-1], "start": start}
        return {"fixed": True} if isinstance(control, Field) and len(kept) == 1 else {}

    def data(self, controls: Sequence[Control], frame: Any) -> dict[str, Any]:
        """Return the results: `frame(values)` gives the encoded views for one point of the grid."""
        names, kept = [c.name for c in controls], [self.kept(c) for c in controls]
        points = (dict(zip(names, point, strict=True)) for point in itertools.product(*kept))
        frames = [self._compact(frame(self._settled(controls, values))) for values in points]
        return {"axes": [{"name": n, "values": v} for n, v in zip(names, kept, strict=True)], "frames": frames}

    def _settled(self, controls: Sequence[Control], values: dict[str, Any]) -> dict[str, Any]:
        return {c.name: c.settle(values[c.name], values) for c in controls}

    def _compact(self, views: Any) -> Any:
        if not isinstance(views, dict):
            return [self._compact(v) for v in views] if isinstance(views, list) else views
        if "levels" in views and views["levels"].size > 4096:
            return views | {"levels": {"image": webp(views["levels"], self.quality)}}
        return {key: self._compact(value) for key, value in views.items()}


@dataclass(frozen=True)
class Browser:
    """A computation in the browser: `module` is a file in `static/` whose default export is `setup(data)`.

    `setup` gets `data` (nested dicts of arrays and numbers) and returns `compute(values)`, which returns the encoded
    views, as Python's `encode` would. `limits={"rank": 100}` lowers the top of a slider on the page.
    """

    module: str
    data_of: Any = field(repr=False)
    limits: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if not (STATIC / self.module).is_file():
            raise ValueError(f"module must be a file in {STATIC.name}/, got {self.module!r}")

    def controls(self, controls: Sequence[Control]) -> list[dict[str, Any]]:
        """Return the specs of the controls, within the limits of the page."""
        specs = [control.spec() for control in controls]
        for spec in specs:
            spec["high"] = self.limits.get(spec["name"], spec.get("high"))
        return specs

    def data(self, controls: Sequence[Control], frame: Any) -> dict[str, Any]:
        """Return the compact data of the module; `data_of` may be a function, called only when a page is built."""
        return {"module": self.module, "data": self.data_of() if callable(self.data_of) else self.data_of}


def webp(levels: np.ndarray, quality: int = 75) -> str:
    """Return uint8 pixels (h, w) or (h, w, 3) as a data URL of a WebP picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels).save(file, "WEBP", quality=checks.integer(quality, "quality", low=1, high=100), method=6)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _spaced(slider: Slider, n: int) -> list[float]:
    """Return at most `n` of the slider's values, evenly spaced, the start among them."""
    stops = slider.stops()
    chosen = np.unique(np.linspace(0, len(stops) - 1, min(n, len(stops))).round().astype(int))
    return sorted({stops[i] for i in chosen} | {slider.start})
