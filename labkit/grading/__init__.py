"""Labs that grade themselves: an instructor's notebook becomes a release, and checks that students cannot reach decide.

The author's guide is README.md in this folder.
"""

from labkit.grading.errors import GateError, LabError
from labkit.grading.lab import read_lab
from labkit.grading.release import Assigned, assign
from labkit.grading.student import answered, check, probe, question
from labkit.grading.visible import Visible, check_notebook

__all__ = [
    "Assigned",
    "GateError",
    "LabError",
    "Visible",
    "answered",
    "assign",
    "check",
    "check_notebook",
    "probe",
    "question",
    "read_lab",
]
