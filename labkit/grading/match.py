"""Finds the answers in a student's notebook, whatever became of its cells. Every deviation is a flag, never a mark.

All code of the student's runs, in the student's order, so what is found here decides only where each check runs, which
text a person reads, and what is flagged. A cell is recognised by its id, its label, its unchanged text, or the names
that it defines, in this order; ids and labels are hints, which a cell that answers another question overrules.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from labkit.grading.markers import released
from labkit.grading.model import Cell, Lab
from labkit.grading.results import Flag
from labkit.grading.source import pieces, unfenced, written
from labkit.grading.text import visible

ANSWERS = ("solution", "manual")
MOST = 300_000  # characters of code in which answers are found by their names, too
_CHECKS = re.compile(r"^@question\(\s*['\"](\w+)", re.MULTILINE)
Key = Callable[[Cell], object]


@dataclass(frozen=True)
class Matched:
    """A submission ready to be scored.

    cells : what to run in order; a cell with the role "check" stands where its question is checked
    answers : the texts that a person reads, by question; code : the student's code cells
    """

    cells: tuple[Cell, ...]
    flags: tuple[Flag, ...]
    answers: dict[str, str]
    code: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A student's cell: the cell of the release it stands for, how that was seen, and the answers written in it."""

    cell: Cell
    twin: Cell | None = None
    how: str = ""
    writes: frozenset[str] = frozenset()

    @property
    def changed(self) -> bool:
        """Whether it stands for a cell of the release and has another text."""
        return self.twin is not None and _plain(self.cell) != _plain(self.twin)

    def is_for(self, role: str, question: str) -> bool:
        """Whether it stands for this cell of the release."""
        return self.twin is not None and (self.twin.role, self.twin.question) == (role, question)


def match(cells: Sequence[Cell], lab: Lab) -> Matched:
    """Return what to run of a student's cells, and everything in them that is not as released."""
    question_of = _names(lab) if sum(len(cell.source) for cell in cells if cell.kind == "code") <= MOST else {}
    release = released(lab.cells)
    found = _find(_as_code(cells, question_of), release, question_of)
    order = _places(found, lab)
    steps = [step for i in range(len(found)) for step in (*_run(i, found, question_of), *order.get(i, ()))]
    setup = [replace(cell, id=f"setup-{i}") for i, cell in enumerate(lab.cells) if cell.role == "setup"]
    answers = {q.name: _text(found, q.name) for q in lab.questions if q.manual}
    code = tuple(cell.source for cell in cells if cell.kind == "code")
    return Matched((*setup, *steps), tuple(_flags(cells, found, release, lab)), answers, code)


# which cell is which


def _names(lab: Lab) -> dict[str, str]:
    """Return the question of each name that an answer defines."""
    return {name: question.name for question in lab.automatic for name in question.answers}


def _find(cells: Sequence[Cell], release: Sequence[Cell], question_of: dict[str, str]) -> list[Found]:
    """Return each student's cell with its counterpart; no cell of the release has two."""
    found = [Found(cell, writes=_writes(cell, question_of)) for cell in cells]
    keys: dict[str, Key] = {"id": lambda c: c.id, "label": _label, "text": _plain}
    taken: set[str] = set()
    for how, key in keys.items():
        twins = {key(cell): cell for cell in reversed(release)}
        for i, one in enumerate(found):
            twin = twins.get(key(one.cell))
            if not one.twin and twin and twin.id not in taken and _plausible(one, twin, question_of):
                found[i] = replace(one, twin=twin, how=how)
                taken.add(twin.id)
    for i, one in enumerate(found):
        twin = next((c for c in release if c.role == "solution" and c.question in _questions(one, question_of)), None)
        if not one.twin and twin and twin.id not in taken:
            found[i] = replace(one, twin=twin, how="names")
            taken.add(twin.id)
    return found


def _plausible(one: Found, twin: Cell, question_of: dict[str, str]) -> bool:
    """Tell whether a cell may be what its id or label says: not if it plainly belongs to another question."""
    if twin.role in ("setup", "solution", "check") and one.cell.kind != "code":
        return False
    other_checks = set(_CHECKS.findall(one.cell.source)) - {twin.question}
    if twin.role == "check":
        return not other_checks
    questions = _questions(one, question_of)
    return twin.role != "solution" or not (questions and twin.question not in questions)


def _questions(one: Found, question_of: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(question_of[name] for name in sorted(one.writes)))


def _writes(cell: Cell, question_of: dict[str, str]) -> frozenset[str]:
    return frozenset(written(cell.source, question_of)) if cell.kind == "code" else frozenset()


def _as_code(cells: Sequence[Cell], question_of: dict[str, str]) -> list[Cell]:
    """Return the cells; text that is the code of an answer given in no code cell becomes code again."""
    done = {name for cell in cells for name in _writes(cell, question_of)}
    result = []
    for cell in cells:
        code = replace(cell, kind="code", source=unfenced(cell.source))
        new = cell.kind != "code" and _writes(code, question_of) - done
        result.append(code if new else cell)
    return result


def _label(cell: Cell) -> object:
    """Return what the label says; cells without a question are told apart by their ids or texts alone."""
    return (cell.role, cell.question) if cell.role and cell.question else object()


def _plain(cell: Cell) -> str:
    """Return the text of a cell without what editors change by themselves."""
    text = "\n".join(line.rstrip() for line in cell.source.strip().splitlines())
    return text or cell.id


# what runs, and where the checks are


def _run(i: int, found: Sequence[Found], question_of: dict[str, str]) -> Iterator[Cell]:
    """Yield a student's cell as it runs: in pieces if it answers several questions, and never a spare stub."""
    one = found[i]
    if one.cell.kind != "code" or _is_spare(one, found, question_of):
        return
    for j, piece in enumerate(pieces(one.cell.source, question_of)):
        questions = _questions(Found(one.cell, writes=frozenset(written(piece, question_of))), question_of)
        role, question = ("solution", questions[0]) if questions else (None, None)
        name = visible(one.cell.id, limit=60) + (f"-{j}" if j else "")
        yield Cell(f"{i + 1}:{name}", "code", piece, role, question)


def _is_spare(one: Found, found: Sequence[Found], question_of: dict[str, str]) -> bool:
    """Tell whether a cell is a released stub whose answer stands in another cell, which it would undo."""
    if one.writes or one.changed or not (one.twin and one.twin.role == "solution"):
        return False
    names = {name for name, question in question_of.items() if question == one.twin.question}
    return any(names & other.writes for other in found)


def _places(found: Sequence[Found], lab: Lab) -> dict[int, list[Cell]]:
    """Return the checks by the number of the cell after which they run."""
    places: dict[int, list[Cell]] = {}
    for question in lab.automatic:
        place = _place(found, question.name, question.answers)
        if place is not None:
            check = Cell(f"check {question.name}", "code", "", "check", question.name)
            places.setdefault(place, []).append(check)
    return places


def _place(found: Sequence[Found], question: str, answers: Sequence[str]) -> int | None:
    """Return where a question is checked: at its check cell if an answer stands above it, else below the answer."""
    check = next((i for i, one in enumerate(found) if one.is_for("check", question)), None)
    first = [next((i for i, one in enumerate(found) if name in one.writes), None) for name in answers]
    written_at = [i for i in first if i is not None]
    if check is not None and (not written_at or check >= min(written_at)):
        return check
    return max(written_at, default=None)


# texts for a person


def _text(found: Sequence[Found], question: str) -> str:
    """Return the answer to a question that a person marks; an untouched cell gives way to new text below it."""
    places = [i for i, one in enumerate(found) if one.is_for("manual", question)]
    if places and found[places[0]].changed:
        return found[places[0]].cell.source
    asked = [i for i, one in enumerate(found) if one.is_for("description", question)]
    below: list[str] = []
    for one in found[min([*places, *asked], default=len(found) - 1) + 1 :]:
        if one.twin is not None and not one.is_for("manual", question):
            break
        below += [one.cell.source] if one.twin is None and one.cell.kind != "code" else []
    return "\n\n".join(below)


# flags


def _flags(cells: Sequence[Cell], found: Sequence[Found], release: Sequence[Cell], lab: Lab) -> Iterator[Flag]:
    for cell, one in zip(cells, found, strict=True):
        yield from _cell_flags(cell, one)
    yield from _duplicates(found, release)
    yield from _missing(found, release, lab)
    yield from _answer_flags(found, lab)
    order = [release.index(one.twin) for one in found if one.twin]
    if order != sorted(order):
        yield Flag("moved-cells", None, "the cells are not in the order of the release")
    extra = sum(one.twin is None for one in found)
    if extra:
        yield Flag("extra-cells", None, f"{extra} cells that the release does not have")


def _cell_flags(cell: Cell, one: Found) -> Iterator[Flag]:
    twin = one.twin
    if cell.kind != one.cell.kind:
        yield Flag("retyped-cell", twin.question if twin else None, f"an answer in a {cell.kind} cell; it runs as code")
    if twin is None or twin.role is None:
        return
    if one.how != "id" and twin.role in (*ANSWERS, "check"):
        yield Flag("found-by-" + one.how, twin.question, f"the {twin.role} cell was recognised by its {one.how}")
    if twin.role in ("setup", "check", "description") and one.changed:
        yield Flag("changed-cell", twin.question, f"the {twin.role} cell was edited; the grader uses its own")


def _duplicates(found: Sequence[Found], release: Sequence[Cell]) -> Iterator[Flag]:
    known = {key for cell in release if cell.role for key in (cell.id, _label(cell), _plain(cell))}
    for one in found:
        copied = {one.cell.id, _label(one.cell), _plain(one.cell)} & known
        if one.twin is None and copied:
            yield Flag("copied-cell", one.cell.question, f"a second {visible(str(one.cell), limit=80)}")


def _missing(found: Sequence[Found], release: Sequence[Cell], lab: Lab) -> Iterator[Flag]:
    there = {one.twin.id for one in found if one.twin}
    gone = [cell for cell in release if cell.id not in there]
    for cell in gone:
        if cell.role not in (None, "description"):
            yield Flag("missing-cell", cell.question, f"the {cell.role} cell is gone")
    others = sum(cell.role in (None, "description") for cell in gone)
    if others:
        yield Flag("missing-cell", None, f"{others} cells of text or experiments are gone")


def _answer_flags(found: Sequence[Found], lab: Lab) -> Iterator[Flag]:
    question_of = _names(lab)
    for one in found:
        if len(questions := _questions(one, question_of)) > 1:
            yield Flag("merged-cells", None, f"one cell answers {', '.join(questions)}")
    count = Counter(name for one in found for name in one.writes)
    for question in lab.automatic:
        places = [one for one in found if one.writes & set(question.answers)]
        if any(count[name] > 1 for name in question.answers):
            yield Flag("several-attempts", question.name, f"{len(places)} cells define an answer")
        elif len(places) > 1:
            yield Flag("split-cell", question.name, f"the answer stands in {len(places)} cells")
