"""Matching: whatever became of the cells, honest answers keep their marks, and every deviation is a flag."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import corpus_lab
import pytest
import toy_lab

from labkit.grading import LabError, read_lab
from labkit.grading.markers import as_released, released
from labkit.grading.match import Matched, match
from labkit.grading.model import Cell, Lab
from labkit.grading.notebook import parse_submission
from labkit.grading.oracle import LocalOracle
from labkit.grading.trusted import earned, score

ANSWERS, FULL = corpus_lab.ANSWERS, corpus_lab.FULL
Cells = list[Cell]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return read_lab(corpus_lab.write(tmp_path_factory.mktemp("match") / "lab"))


def solved(lab: Lab, **changes: str) -> Cells:
    """Return the released cells with every question answered, the manual one included."""
    answers = ANSWERS | changes
    cells = []
    for cell in map(as_released, lab.cells):
        text = answers.get(cell.question or "", cell.source) if cell.role == "solution" else cell.source
        cells.append(cell.with_source("I would ask first." if cell.role == "manual" else text))
    return cells


def code(source: str, name: str = "") -> Cell:
    return Cell(name, "code", source)


def kinds(matched: Matched) -> set[str]:
    return {flag.kind for flag in matched.flags}


def points(matched: Matched, lab: Lab) -> dict[str, float]:
    receipts = score(lab, matched.cells, LocalOracle(), seed=b"match")
    return {question: earned(found) for question, found in receipts.items()}


def without(cells: Cells, *roles: str) -> Cells:
    return [cell for cell in cells if cell.role not in roles]


def only(cells: Cells, role: str) -> Cells:
    return [cell for cell in cells if cell.role == role]


def plain(cells: Cells) -> Cells:
    return [Cell(f"cell-{i}", cell.kind, cell.source) for i, cell in enumerate(cells)]


def edited(role: str, change: Callable[[str], str]) -> Callable[[Cells], Cells]:
    return lambda cells: [cell.with_source(change(cell.source)) if cell.role == role else cell for cell in cells]


def retyped(kind: str, *names: str) -> Callable[[Cells], Cells]:
    return lambda cells: [replace(cell, kind=kind) if cell.id in names else cell for cell in cells]


def fenced(cell: Cell) -> Cell:
    return replace(cell, kind="markdown", source=f"```python\n{cell.source}\n```")


def merged(cells: Cells) -> Cells:
    everything = code("\n\n".join(ANSWERS.values()), "q1-answer")
    return [*without(cells, "solution")[:2], everything, *without(cells, "solution")[2:]]


def swapped_ids(cells: Cells) -> Cells:
    new = {"q1-answer": "q2-answer", "q2-answer": "q1-answer"}
    return [replace(cell, id=new.get(cell.id, cell.id), role=None, question=None) for cell in cells]


HONEST: dict[str, tuple[Callable[[Cells], Cells], set[str]]] = {
    "as released": (lambda cells: cells, set()),
    "merged": (merged, {"merged-cells", "missing-cell", "moved-cells"}),
    "moved": (lambda c: [*without(c, "solution"), *only(c, "solution")], {"moved-cells"}),
    "above the setup": (lambda c: [*only(c, "solution"), *without(c, "solution")], {"moved-cells"}),
    "new ids": (lambda c: [replace(x, id=f"n{i}") for i, x in enumerate(c)], {"found-by-label"}),
    "no labels": (lambda c: [replace(x, role=None, question=None) for x in c], set()),
    "no ids, no labels": (plain, {"found-by-names", "found-by-text", "missing-cell", "extra-cells"}),
    "ids exchanged": (swapped_ids, {"found-by-names"}),
    "no checks": (lambda c: without(c, "check"), {"missing-cell"}),
    "no setup": (lambda c: without(c, "setup"), {"missing-cell"}),
    "no text": (lambda c: without(c, "description"), {"missing-cell"}),
    "setup edited": (edited("setup", lambda source: "import os\n" + source), {"changed-cell"}),
    "checks edited": (edited("check", lambda source: "1"), {"changed-cell"}),
    "twice": (lambda c: [x for cell in c for x in (cell, cell)], {"copied-cell", "several-attempts", "extra-cells"}),
    "a wrong try first": (lambda c: [code("def double(x):\n    return x"), *c], {"several-attempts", "extra-cells"}),
    "a wrong try last": (lambda c: [*c, code("def double(x):\n    return x")], {"several-attempts", "extra-cells"}),
    "markdown for code": (retyped("markdown", "q1-answer", "q3-answer"), {"retyped-cell"}),
    "raw for code": (retyped("raw", "q2-answer"), {"retyped-cell"}),
    "in a fence": (lambda c: [fenced(x) if x.id == "q2-answer" else x for x in c], {"retyped-cell"}),
    "a new line at the end": (edited("check", lambda source: source + "\n\n  "), set()),
    "a comment at the end": (edited("check", lambda source: source + "\n# done"), {"changed-cell"}),
}


@pytest.mark.parametrize("shape", HONEST)
def test_honest_work_keeps_its_marks(lab: Lab, shape: str) -> None:
    change, flags = HONEST[shape]
    matched = match(change(solved(lab)), lab)
    assert points(matched, lab) == FULL
    assert kinds(matched) == flags


def test_the_release_earns_nothing_and_has_no_flag(lab: Lab) -> None:
    matched = match([as_released(cell) for cell in lab.cells], lab)
    assert points(matched, lab) == dict.fromkeys(FULL, 0.0)
    assert matched.flags == ()
    assert matched.answers == {"q5": ""}


def test_a_release_whose_hidden_cells_are_left_out_has_no_flag(tmp_path: Path) -> None:
    split = read_lab(toy_lab.write(tmp_path / "toy", toy_lab.split()))
    matched = match(released(split.cells), split)
    assert matched.flags == ()
    assert [cell.id for cell in matched.cells if cell.role == "check"] == ["check q1"]


def test_answers_beside_the_untouched_stubs(lab: Lab) -> None:
    released = [as_released(cell) for cell in lab.cells]
    new = [code(source) for source in ANSWERS.values()]
    for cells in ([*new, *released], [*released, *new]):
        assert points(match(cells, lab), lab) == FULL, "a stub must not undo an answer in another cell"


def test_an_error_in_a_merged_cell_costs_one_question(lab: Lab) -> None:
    for broken in ("def double(x:\n    return 2 * x", "@undefined\ndef double(x):\n    return 2 * x"):
        text = "\n".join(["1 / 0", *(ANSWERS | {"q1": broken}).values()])
        cells = [cell.with_source(text) if cell.id == "q1-answer" else cell for cell in solved(lab)]
        cells = [cell for cell in cells if cell.role != "solution" or cell.id == "q1-answer"]
        assert points(match(cells, lab), lab) == FULL | {"q1": 0.0}


def test_where_the_checks_are(lab: Lab) -> None:
    def order(cells: Cells) -> list[str]:
        return [cell.id.split(":")[-1] for cell in match(cells, lab).cells if cell.role in ("solution", "check")]

    expected = [step for q in FULL for step in (f"{q}-answer", f"check {q}")]
    assert order(solved(lab)) == expected
    assert order(without(solved(lab), "check")) == expected
    checks_first = [*only(solved(lab), "check"), *without(solved(lab), "check")]
    assert order(checks_first) == expected, "a check above its answer would find nothing"
    assert match([], lab).cells == tuple(cell for cell in match(solved(lab), lab).cells if cell.id.startswith("setup"))


def test_no_text_of_the_instructor_is_needed_from_the_student(lab: Lab) -> None:
    first = match([code(source) for source in ANSWERS.values()], lab)
    assert first.cells[0].source == next(cell.source for cell in lab.cells if cell.role == "setup")
    assert points(first, lab) == FULL


UNTOUCHED = Cell("why", "markdown", "*Write your answer here.*")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([Cell("why", "markdown", "Mine.", "manual", "q5")], "Mine."),
        ([Cell("x", "markdown", "Mine.", "manual", "q5")], "Mine."),
        ([Cell("why", "code", "Mine.", "manual", "q5")], "Mine."),
        ([UNTOUCHED, Cell("n", "markdown", "Mine.")], "Mine."),
        ([UNTOUCHED, Cell("n", "code", "1"), Cell("m", "raw", "Mine.")], "Mine."),
        ([UNTOUCHED], ""),
        ([], ""),
    ],
)
def test_the_text_that_a_person_reads(lab: Lab, cells: Cells, expected: str) -> None:
    assert match([*without(solved(lab), "manual"), *cells], lab).answers == {"q5": expected}


def test_the_code_is_kept_as_handed_in(lab: Lab) -> None:
    cells = solved(lab)
    assert match(cells, lab).code == tuple(cell.source for cell in cells if cell.kind == "code")


def test_ids_of_steps_are_unique_and_printable(lab: Lab) -> None:
    cells = [code("x = 1", "same"), code("x = 2", "same"), code("x = 3", "\ud800\n"), *merged(solved(lab))]
    ids = [cell.id for cell in match(cells, lab).cells]
    assert len(set(ids)) == len(ids)
    assert all(name.isprintable() for name in ids)


def test_files_in_other_encodings() -> None:
    content = corpus_lab.as_file(corpus_lab.solved())
    cells = parse_submission(content, Path("x"))
    assert parse_submission(b"\xef\xbb\xbf" + content, Path("x")) == cells
    assert parse_submission(content.decode().encode("utf-16"), Path("x")) == cells
    with pytest.raises(LabError, match="x is not a notebook"):
        parse_submission(content.decode().encode("utf-16")[:-1], Path("x"))
