"""Show a function of the package on a page, so that page and package cannot differ."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """The source text of a function; displays as highlighted code in JupyterLab and on the site."""

    name: str
    text: str

    def __repr__(self) -> str:
        return f"Source({self.name})"

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


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
