"""What can be said about a student's cell without running it: for matching, never for marks."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

MOST = 100_000  # characters of a cell that are analysed: no answer is longer, and trees take time
RUN_BODY = ("time", "timeit", "capture", "prun")  # cell magics whose body is ordinary code
_FENCE = re.compile(r"\s*```\w*[ \t]*\n(?P<code>.*?)\n?```\s*", re.DOTALL)
_DEFINES = re.compile(r"^(?:(?:async\s+)?def|class)\s+(\w+)|^(\w+)\s*(?::[^=]*)?=(?!=)")
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_CONTINUES = re.compile(r"[\s)\]}#]|(?:else|elif|except|finally|case)\b")


def parse(source: str) -> ast.Module | None:
    """Return the syntax tree of a cell without its IPython lines, or None if it is not Python.

    >>> parse("%matplotlib inline\\nx = 1") is None, parse("x = ") is None
    (False, True)
    """
    try:
        return quietly(_python(source)) if len(source) <= MOST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def quietly(source: str) -> ast.Module:
    """Return the syntax tree of Python text without a word: warnings about a student's code are not the instructor's.

    >>> ast.unparse(quietly("x = 1if 1else 2"))
    'x = 1 if 1 else 2'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def bound(source: str) -> set[str]:
    """Return the names that a cell binds at its top level, imports included.

    >>> sorted(bound("import numpy as np\\ndef f(x):\\n    y = x\\nfor i in []:\\n    z = i"))
    ['f', 'i', 'np', 'z']
    """
    tree = parse(source)
    return {name for node in _outer(tree) for name in _bound_by(node)}


def used(source: str) -> set[str]:
    """Return the names that a cell reads anywhere, local ones included."""
    tree = parse(source)
    nodes = ast.walk(tree) if tree else ()
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def written(source: str, names: Iterable[str]) -> set[str]:
    """Return those of some names to which a cell gives more than the release did, which is `...`.

    >>> sorted(written("def f():\\n    'Text.'\\n    ...\\ndef g(): return 1\\nx = ...\\ny = 2", ["f", "g", "x", "y"]))
    ['g', 'y']
    """
    wanted = {name for name in names if name in source}  # most cells hold none, and need no tree
    tree = parse(source) if wanted else None
    return {name for node in _outer(tree, stubs=False) for name in _bound_by(node)} & wanted


def unfenced(text: str) -> str:
    """Return the code in a text cell that holds nothing but code, with or without a fence around it."""
    match = _FENCE.fullmatch(text)
    return match["code"] if match else text


def pieces(source: str, question_of: Mapping[str, str]) -> list[str]:
    """Cut a cell that answers several questions into pieces, so that an error in one answer costs no other.

    `question_of` holds the question of each name that an answer defines. Any other cell stays whole.

    >>> pieces("x = 1\\ndef f():\\n    return (\\ndef g():\\n    return 2", {"f": "q1", "g": "q2"})
    ['x = 1', 'def f():\\n    return (', 'def g():\\n    return 2']
    """
    named = {question for name, question in question_of.items() if name in source}
    whole = len(named) < 2 or len(source) > MOST or source.startswith("%%")
    blocks = [] if whole else list(_blocks(source))
    labels = [next((question_of[name] for name in _names(block) if name in question_of), None) for block in blocks]
    if len(set(labels) - {None}) < 2:
        return [source]
    joined: list[tuple[str | None, list[str]]] = []
    for label, block in zip(labels, blocks, strict=True):
        if not joined or joined[-1][0] != label:
            joined.append((label, []))
        joined[-1][1].append(block)
    return ["\n".join(part) for _, part in joined]


def _python(source: str) -> str:
    lines = source.split("\n")
    if lines[0].startswith("%%"):
        runs = lines[0][2:].split()[:1] in [[name] for name in RUN_BODY]
        lines = ["", *lines[1:]] if runs else []
    return "\n".join("" if line.startswith(("%", "!", "?")) else line for line in lines)


def _outer(tree: ast.AST | None, *, stubs: bool = True) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, but not those inside functions and classes; without stubs if that is asked for."""
    todo = list(ast.iter_child_nodes(tree)) if tree else []
    while todo:
        node = todo.pop()
        if stubs or not _is_stub(node):
            yield node
            if not isinstance(node, _INNER):
                todo += ast.iter_child_nodes(node)


def _bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.alias):
        return [(node.asname or node.name).partition(".")[0]]
    return [node.id] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else []


def _is_stub(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return all(isinstance(line, ast.Pass) or _is_text_or_dots(line) for line in node.body)
    return isinstance(node, ast.Assign | ast.AnnAssign) and _constant(node.value) is ...


def _is_text_or_dots(node: ast.stmt) -> bool:
    value = _constant(node.value) if isinstance(node, ast.Expr) else None
    return value is ... or isinstance(value, str)


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _blocks(source: str) -> Iterator[str]:
    """Yield the top-level statements of a cell; if it is not Python, cut it where a line begins at the margin."""
    lines = source.split("\n")
    tree = parse(source)
    starts = _starts(tree) if tree else list(_margins(lines))
    for first, last in zip([0, *starts[1:]], [*starts[1:], len(lines)], strict=True):
        yield "\n".join(lines[first:last]).strip("\n")


def _starts(tree: ast.Module) -> list[int]:
    first = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1 for node in tree.body]
    return sorted(set(first)) or [0]


def _margins(lines: list[str]) -> Iterator[int]:
    decorated = False
    yield 0
    for i, line in enumerate(lines[1:], start=1):
        if line and not _CONTINUES.match(line) and not decorated:
            yield i
        decorated = line.startswith("@")


def _names(block: str) -> set[str]:
    if parse(block) is not None:
        return bound(block)
    return {name for line in block.split("\n") if (m := _DEFINES.match(line)) for name in m.groups() if name}
