"""Which answers have the same structure: winnowing over normalised syntax trees.

Each function becomes the sequence of the node types of its syntax tree; names, numbers, texts, docstrings, comments and
annotations are gone. Of every K nodes in a row a hash is taken, and of every W hashes in a row the smallest one is
kept (Schleimer, Wilkerson and Aiken, "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003), so that a
passage of K + W - 1 nodes that two students share always shows. What the release already holds does not count, and
what most of the class wrote counts little.
"""

import ast
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from labkit import checks
from labkit.grading.errors import LabError
from labkit.grading.notebook import read_submission
from labkit.grading.page import el, join, name, table, write_page
from labkit.grading.release import RELEASE
from labkit.grading.results import RESULTS, Result, read_results
from labkit.grading.source import MOST, quietly
from labkit.grading.text import slug
from labkit.html import Markup

SIMILAR = "similarity.html"
K, W = 10, 6
MAX_CHARACTERS = 200_000  # of code in one submission
MIN_SHARED = 3.0  # weight of the fingerprints two students must share to be listed
_DROPPED = (ast.expr_context, ast.Pass, ast.alias)
_REPAIRS = 40

Lines = frozenset[int]


@dataclass(frozen=True)
class Part:
    """A function, or what a cell holds beside its functions: its text, and the lines of each of its fingerprints."""

    title: str
    source: str
    prints: Mapping[int, Lines]


@dataclass(frozen=True)
class Match:
    """Two functions that share fingerprints worth `weight`."""

    left: Part
    right: Part
    weight: float


@dataclass(frozen=True)
class Pair:
    """Two students: `score` is the share of the smaller submission that the other one has, too.

    What comes from the release is left out on both sides; what others wrote as well counts little in the share.
    """

    left: Result
    right: Result
    score: float
    weight: float
    matches: tuple[Match, ...]


def similar(
    results: str | Path | Sequence[Result],
    *,
    release: str | Path | Iterable[str] | None = None,
    threshold: float = 0.3,
    most: int = 100,
) -> list[Pair]:
    """Return the pairs of students whose code is alike, the most alike first. This is no proof of anything.

    Parameters
    ----------
    results : the folder that `grade` wrote, or its results; two files of the same student are not compared
    release : the released notebook or its code cells, whose fingerprints do not count; by default the one in the folder
    threshold : the least score to be listed, between 0 and 1
    most : the longest list

    Raises LabError if the folder or the release cannot be used.

    >>> code = "def f(a):\\n    s = 0\\n    for x in a:\\n        if x > 0:\\n            s += x * x\\n    return s"
    >>> one, two = (Result(n, n, n, n, "", "", "graded", {}, code=(code.replace("s", n),)) for n in "pq")
    >>> [pair.score for pair in similar([one, two])]
    [1.0]
    """
    threshold = checks.number(threshold, "threshold", low=0, high=1)
    most = checks.integer(most, "most", low=1)
    results, cells = open_results(results, release)
    known = {value for cell in cells for part in parts(cell) for value in _hashes(part.source)}
    own = [_own(result, known) for result in results]
    weights = _weights([set().union(*(part.prints for part in each)) for each in own])
    found = [
        _pair(results[i], results[j], own[i], own[j], weights)
        for i, j in _candidates(own, weights)
        if results[i].student != results[j].student
    ]
    listed = [pair for pair in found if pair.score >= threshold and pair.weight >= MIN_SHARED]
    return sorted(listed, key=lambda p: (-p.score, -p.weight, p.left.submission, p.right.submission))[:most]


def open_results(
    results: str | Path | Sequence[Result], release: str | Path | Iterable[str] | None
) -> tuple[Sequence[Result], list[str]]:
    """Return the results and the released code cells, read from files where their names are given."""
    if isinstance(results, str | Path):
        folder = Path(results)
        results = read_results(folder / RESULTS)
        if not results:
            raise LabError(f"{folder} holds no {RESULTS} with results; give the folder that `grade` wrote")
        if release is None and not (release := folder / RELEASE).exists():
            raise LabError(f"{folder} holds no {RELEASE}: name the released notebook with --release")
    if isinstance(release, str | Path):
        return results, [cell.source for cell in read_submission(release) if cell.kind == "code"]
    return results, list(release or ())


def parts(cell: str) -> list[Part]:
    """Return the functions of a cell and, as one more part, the rest of it; lines that are not Python are left out.

    >>> [part.title for part in parts("x = 1\\n%matplotlib inline\\ndef f():\\n    return 2")]
    ['f', 'other code']
    """
    tree, lines = _parse(cell)
    functions = list(_functions(tree))
    inside = {id(node) for node in functions}
    rest = [node for node in tree.body if id(node) not in inside and not isinstance(node, ast.ClassDef)]
    found = [_part(node.name, [node], lines) for node in functions]
    return [*found, _part("other code", rest, lines)] if rest else found


def tokens(nodes: Sequence[ast.AST]) -> list[tuple[str, int]]:
    """Return the node types of syntax trees in the order of the text, each with its line.

    >>> tokens(ast.parse("y = x + 1").body)
    [('Assign', 1), ('Name', 1), ('BinOp', 1), ('Name', 1), ('Add', 1), ('int', 1)]
    """
    found, stack = [], [(node, 1) for node in reversed(nodes)]
    while stack:  # not recursive: a tree may be deeper than Python's stack
        node, line = stack.pop()
        line = getattr(node, "lineno", line)
        if not isinstance(node, _DROPPED):
            found.append((type(node.value).__name__ if isinstance(node, ast.Constant) else type(node).__name__, line))
        stack.extend((child, line) for child in reversed(list(_children(node))))
    return found


def winnow(hashes: Sequence[int], window: int = W) -> list[int]:
    """Return the places of the hashes to keep: in each window the smallest one, the last of equals.

    The example is that of the paper, with a window of 4.

    >>> hashes = [77, 74, 42, 17, 98, 50, 17, 98, 8, 88, 67, 39, 77, 74, 42, 17, 98]
    >>> [hashes[i] for i in winnow(hashes, 4)]
    [17, 17, 8, 39, 17]
    """
    window = min(checks.integer(window, "window", low=1), len(hashes))
    starts = range(len(hashes) - window + 1 if hashes else 0)
    kept = (min(range(i, i + window), key=lambda j: (hashes[j], -j)) for i in starts)
    return sorted(set(kept))


def write_similar(folder: str | Path, pairs: Sequence[Pair], *, title: str) -> Path:
    """Write similarity.html into a folder: every pair, and the functions that match side by side."""
    path = Path(folder) / SIMILAR
    write_page(path, f"{title}: similar answers", similar_body(pairs, title=title), wide=True)
    return path


def similar_body(pairs: Sequence[Pair], *, title: str) -> list[Markup]:
    """Return the content of the page about similar answers."""
    rows = []
    for pair in pairs:
        functions = ", ".join(dict.fromkeys(match.left.title for match in pair.matches))
        link = el("a", f"{100 * pair.score:.0f} %", href=f"#{_anchor(pair)}")
        rows.append([link, name(pair.left.name), name(pair.right.name), functions])
    header = ["alike", "student", "student", "functions"]
    listing = table(header, rows, caption="Pairs", numeric=[0]) if rows else el("p", "No two answers are alike.")
    about = (
        "This is not a proof. Two students who think alike, who read the same page or who worked together as they were "
        "allowed to write alike, too; short answers have little room to differ. Read both before you ask anybody."
    )
    head = el("header", el("h1", f"{title}: similar answers"), el("div", el("p", about), class_="card note"))
    return [head, listing, *(_pair_section(pair) for pair in pairs)]


def _pair_section(pair: Pair) -> Markup:
    heading = el("h2", name(pair.left.name), " and ", name(pair.right.name), f": {100 * pair.score:.0f} %")
    return el("section", heading, *(_side_by_side(match) for match in pair.matches), id=_anchor(pair))


def _side_by_side(match: Match) -> Markup:
    shared = match.left.prints.keys() & match.right.prints.keys()
    halves = [
        el("div", el("p", el("code", part.title), class_="soft"), el("pre", _marked(part, shared)))
        for part in (match.left, match.right)
    ]
    return el("div", *halves, class_="pair card")


def _marked(part: Part, shared: Iterable[int]) -> Markup:
    marked = frozenset[int]().union(*(part.prints[value] for value in shared))
    lines = part.source.split("\n")
    return join(join([el("mark", line) if i in marked else line, "\n"]) for i, line in enumerate(lines, 1))


def _anchor(pair: Pair) -> str:
    return slug(f"{pair.left.submission}{chr(0)}{pair.right.submission}")


def _own(result: Result, known: set[int]) -> list[Part]:
    """Return the parts of a submission without the fingerprints of the release."""
    room, found = MAX_CHARACTERS, []
    for cell in result.code:
        room -= len(cell)
        if room >= 0:
            found += parts(cell)
    new = [Part(p.title, p.source, {v: lines for v, lines in p.prints.items() if v not in known}) for p in found]
    return [part for part in new if part.prints]


def _weights(prints: Sequence[set[int]]) -> dict[int, float]:
    """Return what each fingerprint counts: 1 if two students have it, 0 if all have, falling with the logarithm."""
    n, count = len(prints), Counter(value for each in prints for value in each)
    if n < 4:  # too few to know what is common
        return dict.fromkeys(count, 1.0)
    return {value: min(1.0, math.log(n / k) / math.log(n / 2)) for value, k in count.items()}


def _candidates(own: Sequence[list[Part]], weights: Mapping[int, float]) -> list[tuple[int, int]]:
    """Return the pairs that share enough; fingerprints without weight are not looked up."""
    holders: dict[int, list[int]] = defaultdict(list)
    for i, each in enumerate(own):
        for value in set().union(*(part.prints for part in each)):
            if weights[value] > 0:
                holders[value].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for value, places in holders.items():
        for pair in combinations(places, 2):
            shared[pair] += weights[value]  # type: ignore[assignment]
    return sorted(pair for pair, weight in shared.items() if weight >= MIN_SHARED)


def _pair(a: Result, b: Result, left: list[Part], right: list[Part], weights: Mapping[int, float]) -> Pair:
    def worth(values: Iterable[int]) -> float:
        return math.fsum(weights[value] for value in values)

    ours, theirs = (set().union(*(part.prints for part in each)) for each in (left, right))
    common, smaller = worth(ours & theirs), min(len(ours), len(theirs))
    matches = []
    for part in left:
        other = max(right, key=lambda other: worth(part.prints.keys() & other.prints.keys()))
        matches.append(Match(part, other, worth(part.prints.keys() & other.prints.keys())))
    kept = sorted((match for match in matches if match.weight >= 1), key=lambda match: -match.weight)
    return Pair(a, b, common / smaller, common, tuple(kept))


def _part(title: str, nodes: Sequence[ast.stmt], lines: Sequence[str]) -> Part:
    """Return the fingerprints of some statements, their lines counted within the text that is shown."""
    first = min(_first_line(node) for node in nodes)
    last = max(node.end_lineno or node.lineno for node in nodes)
    source = "\n".join(lines[first - 1 : last])
    return Part(title, source, _prints(tokens(nodes), first))


def _prints(found: Sequence[tuple[str, int]], first: int) -> dict[int, Lines]:
    hashes = _grams(found)
    prints: dict[int, Lines] = {}
    for i in winnow(hashes):
        lines = frozenset(line - first + 1 for _, line in found[i : i + K])
        prints[hashes[i]] = prints.get(hashes[i], frozenset()) | lines
    return prints


def _hashes(source: str) -> list[int]:
    return _grams(tokens(_parse(source)[0].body))


def _grams(found: Sequence[tuple[str, int]]) -> list[int]:
    """Return a hash of every K types in a row, of all of them if there are fewer."""
    kinds = [kind for kind, _ in found]
    return [_hash(kinds[i : i + K]) for i in range(max(len(kinds) - K, 0) + 1)] if kinds else []


def _hash(kinds: Sequence[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(kinds).encode(), digest_size=8).digest(), "big")


def _parse(cell: str) -> tuple[ast.Module, list[str]]:
    """Return the tree and the lines of a cell; lines that stop the parser are blanked.

    A cell that stays hopeless, or is too long for anybody to have written it, is empty.
    """
    lines = [("" if line.lstrip().startswith(("%", "!", "?")) else line) for line in cell.split("\n")]
    for _ in range(min(_REPAIRS, MOST // max(len(cell), 1))):
        try:
            return quietly("\n".join(lines)), cell.split("\n")
        except SyntaxError as error:
            place = min(error.lineno or 1, len(lines)) - 1
            if not lines[place].strip():
                break
            lines[place] = ""
        except (ValueError, RecursionError, MemoryError):
            break
    return ast.Module([], []), []


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions of a cell and the methods of its classes."""
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inner


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node that say something: no docstrings, annotations or decorators."""
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list", "type_comment"):
            items = value if isinstance(value, list) else [value]
            yield from (item for item in items if isinstance(item, ast.AST) and not _is_text(item))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
