"""The student's code as an oracle: it runs cells and answers calls with plain data, and knows nothing about marks."""

import ast
import contextlib
import io
import linecache
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from labkit.grading.errors import StudentError
from labkit.grading.wire import WireError, decode, encode


class Oracle(Protocol):
    """What the trusted side may ask of the process that runs a student's cells."""

    def run(self, cell_id: str, source: str) -> str:
        """Run a cell; return what it raised as text, or an empty text."""

    def value(self, name: str) -> Any:
        """Return a variable if it is plain data; raises StudentError if it is missing or not plain."""

    def call(self, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call a student's function; raises StudentError with the text of whatever it raised."""

    def probe(self, source: str, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Define the probe `name` with a copy of the student's names and call it."""

    def allot(self, account: str) -> None:
        """Charge the time of what follows to a question, or to the cells if the account is an empty text."""

    def alone(self, names: Iterable[str], setup: Iterable[tuple[str, str]]) -> AbstractContextManager["Oracle"]:
        """Return another oracle that has run a set-up, given as pairs (id, source), and what `names` need."""


class LocalOracle:
    """Runs the cells in this very process, for an instructor's own samples: no protection, the same plain data."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "display": print}

    def run(self, cell_id: str, source: str) -> str:
        """Run a cell, its output unseen."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                execute(source, f"<cell {cell_id}>", self.names)
        except Exception as error:
            return describe(error)
        return ""

    def value(self, name: str) -> Any:
        """Return a plain variable."""
        if name not in self.names:
            raise StudentError(f"{name} is not defined")
        return self._plain(lambda: self.names[name], name)

    def call(self, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call a student's function on copies of the arguments."""
        if not callable(self.names.get(name)):
            raise StudentError(f"{name} is not {'callable' if name in self.names else 'defined'}")
        return self._call(self.names[name], name, args, kwargs)

    def probe(self, source: str, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Call a probe beside the student's code."""
        names = dict(self.names)
        execute(source, f"<probe {name}>", names)
        return self._call(names[name], name, args, kwargs)

    def allot(self, account: str) -> None:
        """Do nothing: an instructor's samples have no time limit."""

    def alone(self, names: Iterable[str], setup: Iterable[tuple[str, str]]) -> AbstractContextManager["LocalOracle"]:
        """Return this oracle: an instructor's samples break nothing."""
        return contextlib.nullcontext(self)

    def _call(self, function: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        args, kwargs = decode(encode((args, kwargs)))
        return self._plain(lambda: function(*args, **kwargs), name)

    @staticmethod
    def _plain(compute: Any, name: str) -> Any:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return decode(encode(compute()))
        except WireError as error:
            raise StudentError(f"{name}: {error}") from None
        except Exception as error:
            raise StudentError(describe(error)) from None


def execute(source: str, filename: str, names: dict[str, Any]) -> None:
    """Run source text; its lines show up in tracebacks and can be read by `inspect.getsource`."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(ast.parse(source, filename), filename, "exec"), names)


def describe(error: BaseException) -> str:
    """Return an exception as one short text, with the place in the student's cell where it was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<cell")]
    place = f" (line {frames[-1].lineno} of {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"[:500]
