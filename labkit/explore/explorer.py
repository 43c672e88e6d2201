"""The explorer: a pure function, controls for its arguments and views of its results.

In JupyterLab it is a widget whose controls are traitlets and which computes in the kernel. In a built page it is a
figure that works without a kernel. `README.md` beside this file shows how to write one.
"""

import hashlib
import html
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from labkit import checks
from labkit.explore import codec, theme
from labkit.explore.controls import Control, ControlTrait, Field, Slider
from labkit.explore.pages import STATIC, Browser, Grid
from labkit.explore.views import COLORMAPS, Readouts, View, format_number

MODULES = ("codec", "format", "dom", "controls", "plot", "graph", "views", "explorer")
BUDGET = 1_000_000  # bytes that one explorer may add to a page
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
FALLBACK = "<p><em>This explorer needs a running kernel: choose Run &rarr; Run All Cells.</em></p>"


def bundle() -> str:
    """Return the modules of `static/` as one ES module, for anywidget takes a single file."""
    text = "\n".join((STATIC / f"{module}.js").read_text(encoding="utf-8") for module in MODULES)
    text = re.sub(r'^import [^;]* from "\./\w+\.js";\n', "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)


def building_pages() -> bool:
    """Say whether notebooks now run for the static site (LABKIT_STATIC=1)."""
    return os.environ.get("LABKIT_STATIC") == "1"


class Explorer(anywidget.AnyWidget):
    """A function made explorable: move the controls, and the views show the result.

    Parameters
    ----------
    name : short name, unique in the book
    compute : function of the controls, by keyword, that returns {view name: data}; it must be pure
    controls : list of Slider, Choice, Toggle, Field, Steps
    views : list of Picture, Lines, Bars, Histogram, Heatmap, Treemap, Table, Readouts
    static : how it works without a kernel: Grid(), Browser(...), or None for a still picture only
    title : heading above the controls
    alt : text alternative of the still picture; "{rank}" stands for the value of the control `rank`
    caption : text below the figure on the page

    Raises TypeError or ValueError for a bad argument, and whatever `compute` raises at the start values: a broken
    explorer never gets on a page. Later errors are shown in the widget, kept in `error`, and raised to the code that
    set the control. Every control is a traitlet: `explorer.rank = 30` moves the slider.

    >>> from labkit.explore import Lines, Series
    >>> x = np.linspace(0, 1, 50)
    >>> wave = Explorer(
    ...     "wave",
    ...     lambda cycles: {"wave": Series(np.sin(2 * np.pi * cycles * x), x)},
    ...     controls=[Slider("cycles", 1, 10)],
    ...     views=[Lines("wave", x_label="time (s)")],
    ...     alt="A sine wave of {cycles} cycles",
    ... )
    >>> wave
    Explorer('wave': cycles)
    >>> wave.cycles = 11
    Traceback (most recent call last):
        ...
    ValueError: cycles must be between 1 and 10, got 11
    """

    _esm = bundle()
    _css = theme.css_variables() + (STATIC / "explorer.css").read_text(encoding="utf-8")
    _spec = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        name: str,
        compute: Callable[..., dict[str, Any]],
        *,
        controls: Sequence[Control],
        views: Sequence[View],
        alt: str,
        static: Grid | Browser | None = None,
        title: str = "",
        caption: str = "",
    ) -> None:
        self.name, self.title, self.alt, self.caption = name, title, alt, caption
        self.controls, self.views, self.static = list(controls), list(views), static
        self.error: Exception | None = None
        self._function, self._shown = compute, {}
        self._check_names()
        self._frame = self.frame({c.name: c.start for c in self.controls})
        self.add_traits(**{c.name: ControlTrait(c).tag(sync=True) for c in self.controls})
        super().__init__(_spec=self.spec())
        self._shown = self.values
        self.observe(self._refresh, names=[c.name for c in self.controls])
        self.on_msg(self._answer)

    def _check_names(self) -> None:
        if not self.controls or not self.views:
            raise ValueError(f"{self.name} must have controls and views, got {self.controls} and {self.views}")
        names = [c.name for c in self.controls]
        for kind, taken in (("control", names), ("view", [v.name for v in self.views])):
            if len(set(taken)) < len(taken):
                raise ValueError(f"{kind} names must be different, got {taken}")
        reserved = [name for name in names if hasattr(Explorer, name) or hasattr(self, name)]
        if reserved:
            raise ValueError(f"control names must not be attributes of an Explorer, got {reserved}")
        others = [n for c in self.controls for n in [*(c.when or {}), *_limiting(c)] if n not in names]
        if others:
            raise ValueError(f"`when` and `high_by` must name controls, got {others}; the controls are {names}")

    # ---- results

    @property
    def values(self) -> dict[str, Any]:
        """The values of all controls now."""
        return {c.name: getattr(self, c.name) for c in self.controls}

    def compute(self, **values: Any) -> dict[str, Any]:
        """Return the results for `values`; controls that are left out stand at their start. Nothing moves.

        Raises TypeError for an unknown control and TypeError or ValueError for a value that is not allowed.
        """
        known = {c.name: c for c in self.controls}
        for name in values:
            checks.choice(name, "control", known)
        full = {name: c.clean(values[name]) if name in values else c.start for name, c in known.items()}
        settled = {name: c.settle(full[name], full) for name, c in known.items()}
        beyond = [name for name in values if settled[name] != full[name]]
        if beyond:
            raise ValueError(f"{beyond[0]} must be at most {settled[beyond[0]]} here, got {full[beyond[0]]}")
        return self._function(**settled)

    def frame(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the views show for `values`, checked: every view is there, in shape and free of NaN."""
        try:
            data = self._function(**values)
            names = [view.name for view in self.views]
            if not isinstance(data, dict) or set(data) != set(names):
                raise ValueError(f"compute must return a dict with the views {names}, got {_brief(data)}")
            return {view.name: view.encode(data[view.name]) for view in self.views}
        except Exception as error:
            error.add_note(f"in explorer {self.name!r} at {values}")
            raise

    def check(self) -> None:
        """Move every control to its ends, its middle and its choices; raise if anything fails or nothing changes.

        Sliders also go to their quarters while the other controls stand at their start.

        Raises what `compute` raises, ValueError or TypeError for results that do not fit a view, and AssertionError
        for a control without effect.
        """
        seen: dict[str, str] = {}  # what the views show, by the settings: most settings are asked for several times
        start = {c.name: c.start for c in self.controls}
        for control in self.controls:
            here = [
                self._changes(control, base, seen) for base in self._bases(modes=True)
            ]  # all of them: any may raise
            if not any(here) and not any(self._changes(control, base, seen) for base in self._bases(modes=False)):
                raise AssertionError(f"explorer {self.name!r}: moving {control.name} changes nothing")
            for value in control.inner(start) if control.active(start) else ():
                self._look(start | {control.name: value}, seen)

    def _changes(self, control: Control, base: dict[str, Any], seen: dict[str, str]) -> bool:
        """Say whether moving `control` changes the views while the others stand at `base`."""
        if not control.active(base):
            return False
        return len({self._look(base | {control.name: value}, seen) for value in control.probes(base)}) > 1

    def _look(self, values: dict[str, Any], seen: dict[str, str]) -> str:
        """Return a digest of what the views show for `values`, and remember it."""
        settled = self._settled(values)
        key = repr(settled)
        if key not in seen:
            seen[key] = _digest(self.frame(settled))
        return seen[key]

    def _bases(self, *, modes: bool) -> Iterator[dict[str, Any]]:
        """Yield settings for the other controls: every choice, toggle and step in turn, or the rest in turn."""
        start = {c.name: c.start for c in self.controls}
        if modes:
            yield start
        for control in self.controls:
            if modes != isinstance(control, Slider | Field):
                yield from (self._settled(start | {control.name: value}) for value in control.probes(start))

    def _settled(self, values: dict[str, Any]) -> dict[str, Any]:
        return {c.name: c.settle(values[c.name], values) for c in self.controls}

    # ---- the widget

    def _refresh(self, _change: Any) -> None:
        """Compute and send the views after a control moved; the widget shows an error, the caller gets it raised."""
        if self.values == self._shown:
            return
        settled = self._settled(self.values)
        if settled != self.values:  # moving these controls calls us again
            for name, value in settled.items():
                setattr(self, name, value)
            return
        self._shown, self.error = settled, None
        try:
            self._frame = self.frame(settled)
        except Exception as error:
            self.error = error
            self._send_error()
            raise
        self._send_frame()

    def _answer(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """Send the latest views to a page that has just opened."""
        if content.get("kind") == "hello":
            self._send_frame()
            if self.error is not None:
                self._send_error()

    def _send_frame(self) -> None:
        tree, arrays = codec.pack(self._frame)
        self.send({"kind": "frame", "tree": tree}, [array.tobytes() for array in arrays])

    def _send_error(self) -> None:
        self.send({"kind": "error", "message": f"{type(self.error).__name__}: {self.error}"})

    def open(self) -> None:
        """Connect to the page, unless notebooks run for the static site: then no widget state is left behind."""
        if not building_pages():
            super().open()

    # ---- pages

    def spec(self, controls: list[dict[str, Any]] | None = None, note: str = "") -> dict[str, Any]:
        """Return the JSON description from which the page builds controls and views."""
        return {
            "name": self.name,
            "title": self.title,
            "note": note,
            "colormaps": COLORMAPS,
            "controls": controls or [c.spec() for c in self.controls],
            "views": [v.spec() for v in self.views],
        }

    def static_html(self) -> str:
        """Return the explorer as a figure that needs no kernel, and without scripts shows a still picture.

        Raises ValueError when it is larger than a page may carry.
        """
        from labkit.explore.snapshot import snapshot  # matplotlib is slow to import and only needed here

        alt, script = html.escape(self.alt_text()), self._script()
        still = f'<img class="labkit-still" alt="{alt}" src="{snapshot(self.views, self._frame, self.title)}">'
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        opening = f'<figure class="labkit-explorer" data-explorer="{html.escape(self.name)}">'
        page = f"{opening}{script}{still}{caption}</figure>"
        if len(page) > BUDGET:
            raise ValueError(f"explorer {self.name!r} must stay below {BUDGET:,} bytes on a page, got {len(page):,}")
        return page

    def _script(self) -> str:
        if self.static is None:
            return ""
        controls = self.static.controls(self.controls)
        results = self.static.data(self.controls, self.frame)
        text = codec.payload({"spec": self.spec(controls, self._note(controls)), "results": results})
        return f'<script type="application/json">{text}</script>'

    def _note(self, specs: list[dict[str, Any]]) -> str:
        """Return the sentence that says what this page leaves out."""
        parts = [_left_out(c, s) for c, s in zip(self.controls, specs, strict=True) if isinstance(c, Slider)]
        parts = [part for part in parts if part]
        return f"This page holds {' and '.join(parts)}; in JupyterLab every value works." if parts else ""

    def alt_text(self) -> str:
        """Return the text alternative at the start values: `alt` filled in, and the read-outs."""
        texts = [view.text(self._frame[view.name]) for view in self.views if isinstance(view, Readouts)]
        return ". ".join([self.alt.format(**self.values).rstrip("."), *texts]) + "."

    def __repr__(self) -> str:
        return f"Explorer({self.name!r}: {', '.join(c.name for c in self.controls)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if building_pages():
            return {"text/plain": repr(self), "text/html": self.static_html()}, {}
        data, metadata = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        return data | {"text/plain": repr(self), "text/html": FALLBACK}, metadata


def strip_widgets(notebook: Any) -> int:
    """Take the views and the state of widgets out of a notebook (a dict or NotebookNode); return how many views.

    What is left of an explorer is its text: without a kernel a view would say "Loading widget..." for ever.

    >>> strip_widgets({"metadata": {"widgets": {}}, "cells": [{"outputs": [{"data": {WIDGET_VIEW: {}}}]}]})
    1
    """
    notebook["metadata"].pop("widgets", None)
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return sum(output.get("data", {}).pop(WIDGET_VIEW, None) is not None for output in outputs)


# ---- registry


_factories: dict[str, Callable[[], Explorer]] = {}


def register(factory: Callable[[], Explorer]) -> Callable[[], Explorer]:
    """Add a function that makes an explorer of the book to the registry, so that the tests drive it.

    Raises ValueError when another function of the same name is there.
    """
    name = factory.__name__
    if name in _factories and _factories[name].__module__ != factory.__module__:
        raise ValueError(f"factory must have a new name, got {name!r} which {_factories[name].__module__} has")
    _factories[name] = factory
    return factory


def registered() -> dict[str, Callable[[], Explorer]]:
    """Return the factories registered so far, by name."""
    return dict(_factories)


def _limiting(control: Control) -> list[str]:
    return [control.high_by[0]] if isinstance(control, Slider) and control.high_by else []


def _left_out(slider: Slider, spec: dict[str, Any]) -> str:
    if spec["high"] < slider.high:
        return f"“{slider.label}” up to {format_number(spec['high'])} instead of {format_number(slider.high)}"
    held, all_of_them = spec["values"], len(slider.stops())
    return f"{len(held)} of {all_of_them} values of “{slider.label}”" if held and len(held) < all_of_them else ""


def _brief(data: Any) -> str:
    return f"the keys {list(data)}" if isinstance(data, dict) else type(data).__name__


def _digest(frame: dict[str, Any]) -> str:
    tree, arrays = codec.pack(frame)
    digest = hashlib.sha256(json.dumps(tree).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
