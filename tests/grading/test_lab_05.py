"""Lab 5: its gate, and that the committed release is the one its instructor's notebook makes."""

import hashlib
import json
from dataclasses import replace

import pytest

from labkit.grading import check_notebook, read_lab
from labkit.grading.gate import Row, run_gate
from labkit.grading.notebook import read_submission
from labkit.grading.release import release_cells
from labkit.paths import ROOT

FOLDER = ROOT / "labs" / "05-svd"


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    lab = read_lab(FOLDER)
    return {row.title: row for row in run_gate(lab, release_cells(lab))}


def test_instructor_full_release_nothing(rows: dict[str, Row]) -> None:
    assert rows["instructor"].scores == {"q1": 3, "q2": 2, "q3": 3, "q4": 4}
    assert set(rows["release"].scores.values()) == {0}


def test_every_sample_is_judged_as_listed(rows: dict[str, Row]) -> None:
    assert {title: row.problems for title, row in rows.items() if row.problems} == {}
    full = rows["instructor"].scores
    for title, row in rows.items():
        name, *_ = title.split()
        lost = [question for question in full if row.scores[question] < full[question]]
        assert title == "release" or lost == ([name] if "wrong" in title else [])


def test_each_question_has_wrong_and_right_samples() -> None:
    lab = read_lab(FOLDER)
    for question in lab.automatic:
        kinds = [sample.right for sample in lab.samples if sample.question == question.name]
        assert kinds.count(False) >= 2
        assert kinds.count(True) >= 1


def test_the_committed_release_is_up_to_date() -> None:
    lab = read_lab(FOLDER)
    made = [(cell.id, cell.kind, cell.source.rstrip("\n")) for cell in release_cells(lab)]
    assert [
        (cell.id, cell.kind, cell.source.rstrip("\n")) for cell in read_submission(FOLDER / "release.ipynb")
    ] == made
    assignment = json.loads((FOLDER / "assignment.json").read_text())
    assert assignment["instructor"] == hashlib.sha256((FOLDER / "instructor.ipynb").read_bytes()).hexdigest()
    assert sum(question["points"] for question in assignment["questions"]) == 14


def test_the_release_runs_to_the_end_unanswered() -> None:
    result = check_notebook(FOLDER / "release.ipynb")
    assert replace(result, text="") == type(result)(text="", n_passed=0, n_failed=0, n_open=4, raised=())
