"""Explorers: a function, controls for its arguments and views of its results, in JupyterLab and on a static page."""

import importlib
import pkgutil
from collections.abc import Callable

from labkit.explore.controls import Choice, Field, Slider, Steps, Toggle
from labkit.explore.explorer import Explorer, register, registered, strip_widgets
from labkit.explore.listing import c_source, source
from labkit.explore.pages import Browser, Grid
from labkit.explore.results import results
from labkit.explore.views import (
    Bars,
    Cells,
    Cut,
    Groups,
    Heatmap,
    Histogram,
    Lines,
    Picture,
    Pixels,
    Readouts,
    Rows,
    Sample,
    Series,
    Table,
    Treemap,
)

__all__ = [
    "Bars", "Browser", "Cells", "Choice", "Cut", "Explorer", "Field", "Grid", "Groups", "Heatmap", "Histogram", "Lines",
    "Picture", "Pixels", "Readouts", "Rows", "Sample", "Series", "Slider", "Steps", "Table", "Toggle", "Treemap",
    "all_explorers", "c_source", "register", "results", "source", "strip_widgets",
]  # fmt: skip


def all_explorers() -> dict[str, Callable[[], Explorer]]:
    """Return the functions that make the explorers of the book, by name; every module here is searched for them."""
    for module in pkgutil.iter_modules(__path__):
        if module.name != "site":  # needs Sphinx and holds no explorer
            importlib.import_module(f"{__name__}.{module.name}")
    return registered()
