"""Every lab of the book: its gate holds, and the committed release is the one its instructor's notebook makes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.grading import check_notebook, read_lab
from labkit.grading.gate import Row, run_gate
from labkit.grading.notebook import read_submission
from labkit.grading.release import release_cells
from labkit.paths import ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "labs").glob("*/instructor.ipynb"))


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Row]:
    lab = read_lab(folder)
    return {row.title: row for row in run_gate(lab, release_cells(lab))}


def test_instructor_full_release_nothing(folder: Path, rows: dict[str, Row]) -> None:
    assert rows["instructor"].scores == {question.name: question.points for question in read_lab(folder).automatic}
    assert set(rows["release"].scores.values()) == {0}


def test_every_sample_is_judged_as_listed(rows: dict[str, Row]) -> None:
    assert {title: row.problems for title, row in rows.items() if row.problems} == {}
    full = rows["instructor"].scores
    for title, row in rows.items():
        name, *_ = title.split()
        lost = [question for question in full if row.scores[question] < full[question]]
        assert title == "release" or lost == ([name] if " wrong: " in title else [])


def test_each_question_has_wrong_and_right_samples(folder: Path) -> None:
    lab = read_lab(folder)
    for question in lab.automatic:
        kinds = [sample.right for sample in lab.samples if sample.question == question.name]
        assert kinds.count(False) >= 2
        assert kinds.count(True) >= 1


def test_the_committed_release_is_up_to_date(folder: Path) -> None:
    lab = read_lab(folder)
    made = [(cell.id, cell.kind, cell.source.rstrip("\n")) for cell in release_cells(lab)]
    released = read_submission(folder / "release.ipynb")
    assert [(cell.id, cell.kind, cell.source.rstrip("\n")) for cell in released] == made
    assignment = json.loads((folder / "assignment.json").read_text(encoding="utf-8"))
    assert assignment["instructor"] == hashlib.sha256((folder / "instructor.ipynb").read_bytes()).hexdigest()
    assert {q["name"]: q["points"] for q in assignment["questions"]} == {q.name: q.points for q in lab.questions}


def test_the_release_runs_to_the_end_unanswered(folder: Path) -> None:
    n_open = len(read_lab(folder).automatic)
    result = check_notebook(folder / "release.ipynb")
    assert replace(result, text="") == type(result)(text="", n_passed=0, n_failed=0, n_open=n_open, raised=())


def test_the_book_lists_every_lab() -> None:
    page = (ROOT / "book" / "labs.md").read_text(encoding="utf-8")
    assert [folder.name for folder in FOLDERS if f"<../labs/{folder.name}/release.ipynb>" not in page] == []
