"""Show a function of the package on a page, in Python or in C, so that page and package cannot differ."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from labkit import checks


@dataclass(frozen=True)
class Source:
    """The source text of a function; displays as highlighted code in JupyterLab and on the site."""

    name: str
    text: str
    language: str = "python"

    def __repr__(self) -> str:
        return f"Source({self.name})"

    def _repr_markdown_(self) -> str:
        return f"```{self.language}\n{self.text}\n```"


def source(*functions: Callable, docstring: bool = False) -> Source:
    """Return the source of `functions`, without their docstrings unless `docstring` is True.

    Raises TypeError when an argument has no Python source.

    >>> from labkit import checks
    >>> print(source(checks.rank).text.splitlines()[0])
    def rank(value: Any, name: str = "rank", *, high: int) -> int:
    """
    if not functions:
        raise TypeError("functions must name at least one function, got none")
    texts = [_text(function) if docstring else _without_docstring(_text(function)) for function in functions]
    return Source(", ".join(f.__name__ for f in functions), "\n\n\n".join(texts))


def c_source(text: str, *functions: str) -> Source:
    """Return the C text as it is, or only its functions of these names, each from its first line to its last brace.

    Raises TypeError unless `text` is one, ValueError when a function is not there. A function ends with a brace at the
    start of a line.

    >>> c_source("int f(int x)\\n{\\n    return x;\\n}\\nint g;\\n", "f").text.splitlines()[0]
    'int f(int x)'
    """
    text = checks.instance(text, "text", str)
    parts = [_c_function(text, name) for name in functions] or [text.strip()]
    return Source(", ".join(functions) or "C", "\n\n".join(parts), "c")


def _c_function(text: str, name: str) -> str:
    found = re.search(rf"^\w[^;{{}}\n]*\b{re.escape(name)}\([^;{{}}]*\{{.*?^\}}", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"functions must be defined in the text, got {name!r}")
    return found.group()


def _text(function: Callable) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function))).rstrip()
    except (TypeError, OSError) as error:
        raise TypeError(f"functions must be Python functions or classes with source, got {function!r}") from error


def _without_docstring(text: str) -> str:
    definition = ast.parse(text).body[0]
    lines = text.splitlines()
    docstrings = [node.body[0] for node in ast.walk(definition) if _has_docstring(node)]  # type: ignore[attr-defined]
    for statement in sorted(docstrings, key=lambda s: s.lineno, reverse=True):
        del lines[statement.lineno - 1 : statement.end_lineno]
    return "\n".join(lines)


def _has_docstring(node: ast.AST) -> bool:
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(node, documented) and ast.get_docstring(node) is not None
