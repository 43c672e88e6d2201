"""Labs that grade themselves: an instructor's notebook becomes a release, and checks that students cannot reach decide.

The guide is README.md in this folder. A lab notebook needs only the first four names, so the others are imported when
they are asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from labkit.grading.student import answered, check, probe, question

if TYPE_CHECKING:
    from labkit.grading.batch import Graded, Options, grade, grade_file
    from labkit.grading.demo import demo_class
    from labkit.grading.errors import GateError, LabError
    from labkit.grading.lab import read_lab
    from labkit.grading.likeness import similar
    from labkit.grading.release import Assigned, assign
    from labkit.grading.results import Flag, Result
    from labkit.grading.visible import Visible, check_notebook

_LATER = {
    "Assigned": "release",
    "Flag": "results",
    "GateError": "errors",
    "Graded": "batch",
    "LabError": "errors",
    "Options": "batch",
    "Result": "results",
    "Visible": "visible",
    "assign": "release",
    "check_notebook": "visible",
    "demo_class": "demo",
    "grade": "batch",
    "grade_file": "batch",
    "read_lab": "lab",
    "similar": "likeness",
}

__all__ = [
    "Assigned",
    "Flag",
    "GateError",
    "Graded",
    "LabError",
    "Options",
    "Result",
    "Visible",
    "answered",
    "assign",
    "check",
    "check_notebook",
    "demo_class",
    "grade",
    "grade_file",
    "probe",
    "question",
    "read_lab",
    "similar",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
