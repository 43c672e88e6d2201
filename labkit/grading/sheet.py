"""The `check` that a question's function receives: named sub-checks, each of which leaves a receipt."""

import functools
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from labkit import checks
from labkit.grading.errors import LabError, StudentError
from labkit.grading.model import Receipt

MAX_LINES = 6
MAX_TEXT = 600  # characters; a result that is quoted in a message may be long


class Sheet:
    """Collects the receipts of one question: `with check("the error identity", points=2): assert ...`.

    A block that raises has failed; the question's function goes on after it. The grader sets `hidden` while hidden
    tests run. From then on messages are private: what the student's code returns may repeat what it has seen.
    """

    def __init__(self, question: str, *, private: bool = False) -> None:
        self.question = question
        self.receipts: list[Receipt] = []
        self.private, self._hidden = private, False

    @property
    def hidden(self) -> bool:
        """Whether hidden tests are running."""
        return self._hidden

    @hidden.setter
    def hidden(self, value: bool) -> None:
        self._hidden = value
        self.private |= value

    @contextmanager
    def __call__(self, name: str, *, points: float = 1) -> Iterator[None]:
        """Run one named sub-check worth `points` (at least 0; 0 shows a result that carries no mark)."""
        points = checks.number(points, "points", low=0)
        if name in [receipt.check for receipt in self.receipts]:
            raise LabError(f"{self.question}: two checks are called {name!r}")
        message, passed = "", False
        try:
            yield
            passed = True
        except Exception as error:
            message = explain(error)
        self.receipts.append(Receipt(self.question, str(name), points, passed, message, self.hidden, self.private))


def run_question(
    functions: Sequence[Callable], question: str, *, seed: bytes, reference: Any, private: bool = False
) -> tuple[list[Receipt], str]:
    """Run a question's functions, each with those of check, rng and reference that it asks for.

    Returns the receipts, and what went wrong outside the named checks, if anything did. `private` says that the
    student's process has seen inputs of hidden checks before.
    """
    sheet, errors = Sheet(question, private=private), []
    for function in functions:
        arguments = {"check": sheet, "rng": generator(seed, question, function.__name__), "reference": reference}
        try:
            function(**{name: arguments[name] for name in inspect.signature(function).parameters})
        except Exception as error:
            errors.append(explain(error))
    return sheet.receipts, "\n".join(errors)


def hidden(function: Callable) -> Callable:
    """Return a question's function all of whose checks are hidden."""

    @functools.wraps(function)
    def wrapped(**arguments: Any) -> None:
        sheet = arguments["check"]
        sheet.hidden = True
        try:
            function(**arguments)
        finally:
            sheet.hidden = False

    return wrapped


def generator(seed: bytes, question: str, function: str = "_") -> np.random.Generator:
    """Return the generator of a question's function, the same for the same seed and names."""
    names = [question] if function == "_" else [question, function]
    return np.random.default_rng(list(b":".join([seed, *(name.encode() for name in names)])))


def explain(error: BaseException) -> str:
    """Return a short text for a failed check: the message, or else the line of the check that failed."""
    text = str(error).strip()
    if isinstance(error, StudentError):
        return text
    if not text and isinstance(error, AssertionError):
        text = f"this is not so: {_failing_line(error)}"
    elif not isinstance(error, AssertionError):
        text = f"{type(error).__name__}: {text} (at: {_failing_line(error)})"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:MAX_LINES])[:MAX_TEXT]


def _failing_line(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = last.line or linecache.getline(last.filename, last.lineno or 0)
    return line.strip().removeprefix("assert ")
