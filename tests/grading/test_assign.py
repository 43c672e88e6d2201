"""`assign`: what it refuses, what it takes out, and the gate."""

import json
from pathlib import Path

import pytest
import toy_lab
from toy_lab import CHECK, SOLUTION, edited, without

from labkit.grading import GateError, LabError, assign, read_lab
from labkit.grading.cli import gate_table
from labkit.grading.gate import variants
from labkit.grading.markers import regions
from labkit.grading.notebook import read_submission
from labkit.grading.release import release_cells

UNFINISHED = SOLUTION.replace("    ### END SOLUTION\n", "")
LONELY_END = SOLUTION.replace("    ### BEGIN SOLUTION\n", "")
NESTED = SOLUTION.replace("    return", "    ### BEGIN HIDDEN TESTS\n    return")
EMPTY = SOLUTION.replace("    return 2 * x\n", "")
MISSPELT = SOLUTION.replace("### BEGIN SOLUTION", "# Begin solution")
DANGLING = CHECK.replace('with check("double(3) is 6", points=1):\n        assert double(3) == 6', "")
REVEALING = CHECK.replace("== 6", "== reference.double(3)")

REFUSED = [
    (edited("double", source=UNFINISHED), "'double'.*has no ### END SOLUTION"),
    (edited("double", source=LONELY_END), "'double'.*has no ### BEGIN SOLUTION"),
    (edited("double", source=NESTED), "'double'.*begins HIDDEN TESTS inside the SOLUTION"),
    (edited("double", source=EMPTY), "'double'.*region of line 3 is empty"),
    (edited("double", source=MISSPELT), "'double'.*looks like a marker but is not"),
    (edited("double", source="def double(x):\n    return 2 * x"), "'double'.*needs a region"),
    (edited("double", source="### BEGIN SOLUTION\nprint(1)\n### END SOLUTION"), "'double'.*defines no name"),
    (edited("double", source="### BEGIN SOLUTION\ndef\n### END SOLUTION"), "'double'.*not valid Python"),
    (edited("use", source=SOLUTION), "'use'.*belongs in a solution or manual cell"),
    (edited("setup", source=CHECK), "'setup'.*hidden tests belong in a check cell"),
    (edited("tests", points=None), "'tests'.*needs points"),
    (edited("tests", points=0), "'tests'.*must be a positive number, got 0"),
    (edited("tests", points=True), "'tests'.*must be a positive number, got True"),
    (edited("tests", points="3"), "'tests'.*must be a positive number, got '3'"),
    (edited("why", points=None), "'why'.*needs points"),
    (edited("double", points=3), "'double'.*points belong on the check cell"),
    (edited("tests", role="tests"), "'tests'.*unknown role 'tests'"),
    (edited("tests", role=None), "'tests'.*needs a role"),
    (edited("tests", weight=3), "'tests'.*unknown metadata.*weight"),
    (edited("tests", question=None), "'tests'.*needs a question"),
    (edited("tests", question="q 1"), "'tests'.*got 'q 1'"),
    (edited("tests", question="q9"), "'(double|tests|text)'.*'q(1|9)'"),
    (without("tests"), "'text'.*'q1' has no check cell"),
    (without("double"), "'tests'.*check for the unknown question 'q1'"),
    ([*toy_lab.cells(), toy_lab.cells()[4] | {"id": "again"}], "two check functions of 'q1' are called '_'"),
    ([*toy_lab.cells(), toy_lab.cells()[3] | {"id": "again"}], "one solution cell and its checks"),
    ([*toy_lab.cells(), toy_lab.cells()[6] | {"id": "again"}], "or one manual cell"),
    (edited("tests", source="def helper():\n    return 6", points=None), "'q1' has no check cell"),
    ([*without("tests")[:3], toy_lab.cells()[4], toy_lab.cells()[3]], "'tests'.*stands before its solution"),
    (edited("tests", source=CHECK.replace("q1", "q2")), "'tests'.*must be @question"),
    (edited("tests", source="assert double(3) == 6"), "'tests'.*exactly one function"),
    (edited("tests", source=CHECK.replace("(check, rng, reference)", "(check, seed)")), "'tests'.*rng and reference"),
    (edited("tests", source=DANGLING), "'tests'.*not valid Python"),
    (edited("tests", source=REVEALING), "'tests'.*uses reference"),
    ([*toy_lab.cells(), toy_lab.cells()[0]], "two cells have the id 'title'"),
    (without("why")[:2], "no question"),
]


@pytest.mark.parametrize(("cells", "message"), REFUSED)
def test_a_lab_that_cannot_be_graded_is_refused_by_cell(tmp_path: Path, cells: list, message: str) -> None:
    folder = toy_lab.write(tmp_path / "toy", cells)
    with pytest.raises(LabError, match=message):
        assign(folder, gate=False)
    assert not (folder / "release.ipynb").exists()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("## q9 wrong: x\n```python\n1\n```", "unknown question 'q9'"),
        ("## q2 wrong: by hand\n```python\n1\n```", "unknown question 'q2'"),
        ("## q1 bad: x\n```python\n1\n```", "a heading reads"),
        ("## q1 wrong: x\nno code", "not followed by"),
        ("## q1 wrong: x\n\n## q1 right: y\n```python\n1\n```", "'## q1 wrong: x' is not followed by"),
        ("## q1 wrong: x\n```python\ndef\n```", "not valid Python"),
        ("## q1 wrong: x\n```python\n1\n```\n" * 2, "two samples have the heading"),
    ],
)
def test_bad_samples_are_refused(tmp_path: Path, answers: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        read_lab(toy_lab.write(tmp_path / "toy", answers=answers))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"cells": 1, "cells": 2}', '{"cells": [{"source": "x"}]}'])
def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "instructor.ipynb").write_text(content)
    with pytest.raises(LabError, match=r"instructor\.ipynb"):
        read_lab(tmp_path)


def test_a_missing_lab_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be read"):
        read_lab(tmp_path / "nowhere")


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    folder = toy_lab.write(tmp_path / "toy")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        assign(folder, workers=0)
    with pytest.raises(TypeError, match="workers must be an integer"):
        assign(folder, workers=1.5)


def test_the_release_holds_no_solution_and_no_hidden_test(tmp_path: Path) -> None:
    made = assign(toy_lab.write(tmp_path / "toy"), gate=False)
    text = made.release.read_text()
    for secret in ("return 2 * x", "any number", "rng.integers", "Because of the secret", "BEGIN", "END"):
        assert secret not in text
    by_id = {cell.id: cell for cell in read_submission(made.release)}
    assert list(by_id) == [cell["id"] for cell in toy_lab.cells()]
    assert by_id["double"].source.splitlines() == ["def double(x):", '    """Return 2 x."""', "    ..."]
    assert (by_id["tests"].role, by_id["tests"].question) == ("check", "q1")
    assert by_id["why"].source == "*Write your answer here.*"


def test_a_check_may_fill_several_cells(tmp_path: Path) -> None:
    """Helpers without points, a visible part, and a part that students do not get at all."""
    made = assign(toy_lab.write(tmp_path / "toy", toy_lab.split()))
    assert [(q.name, q.points) for q in made.lab.questions] == [("q1", 3), ("q2", 1)]
    (checks,) = (question["checks"] for question in json.loads(made.assignment.read_text())["questions"][:1])
    assert [(c["name"], c["hidden"]) for c in checks] == [("double(3) is 6", False), ("any number", True)]
    assert [cell.id for cell in read_submission(made.release)][4:6] == ["helper", "tests"]
    assert "any number" not in made.release.read_text()


def test_outputs_are_dropped_and_check_cells_cannot_be_deleted(tmp_path: Path) -> None:
    cells = toy_lab.cells()
    cells[1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "an old output"}]
    made = assign(toy_lab.write(tmp_path / "toy", cells), gate=False)
    raw = {cell["id"]: cell for cell in json.loads(made.release.read_text())["cells"]}
    assert raw["setup"]["outputs"] == []
    assert raw["tests"]["metadata"]["labkit"] == {"role": "check", "question": "q1", "points": 3}
    assert raw["tests"]["metadata"]["deletable"] is False
    assert "deletable" not in raw["double"]["metadata"]


@pytest.fixture(scope="module")
def assigned(tmp_path_factory: pytest.TempPathFactory):
    return assign(toy_lab.write(tmp_path_factory.mktemp("labs") / "toy"))


def test_the_gate_scores_every_variant(assigned) -> None:
    scores = {row.title: row.scores["q1"] for row in assigned.gate}
    assert scores == {"instructor": 3, "release": 0, "q1 wrong: fits the visible check": 1, "q1 right: a sum": 3}
    assert "q1 wrong: fits the visible check      1" in gate_table(assigned.lab, assigned.gate)


def test_assignment_json_describes_the_lab(assigned) -> None:
    content = json.loads(assigned.assignment.read_text())
    auto, manual = content["questions"]
    assert (auto["name"], auto["points"], auto["answers"], manual["manual"]) == ("q1", 3, ["double"], True)
    assert [(c["name"], c["points"], c["hidden"]) for c in auto["checks"]] == [
        ("double(3) is 6", 1, False),
        ("any number", 2, True),
    ]
    assert [cell["id"] for cell in content["cells"]] == [cell["id"] for cell in toy_lab.cells()]
    assert "2 * x" not in assigned.assignment.read_text()


def test_assign_writes_the_same_bytes_twice(assigned) -> None:
    before = assigned.release.read_bytes()
    assert assign(assigned.lab.folder, gate=False).release.read_bytes() == before


GATED = [
    (edited("tests", points=4), toy_lab.ANSWERS, "worth 3 points, the metadata says 4"),
    (edited("tests", source=CHECK.replace("== 6", "== 7")), None, "instructor: q1: 2 of 3 points, expected all"),
    (edited("tests", source=CHECK.replace("any number", "double(3) is 6")), None, "two checks are called"),
    (edited("setup", source="from labkit.grading import question\n1 / 0"), None, "raised ZeroDivisionError"),
    (toy_lab.cells(), toy_lab.ANSWERS.replace("wrong", "right"), "right: fits the visible check: q1: 1 of 3"),
    (toy_lab.cells(), toy_lab.ANSWERS.replace("right", "wrong"), "wrong: a sum: q1: 3 of 3 points, expected fewer"),
    (edited("tests", source=CHECK.replace("assert double(3) == 6", "pass")), None, "release: q1: 1 points, expected 0"),
]


@pytest.mark.parametrize(("cells", "answers", "message"), GATED)
def test_the_gate_refuses_checks_that_misjudge(tmp_path: Path, cells: list, answers: str, message: str) -> None:
    folder = toy_lab.write(tmp_path / "toy", cells, answers)
    with pytest.raises(GateError, match=message):
        assign(folder)
    assert not (folder / "release.ipynb").exists()


def test_a_sample_replaces_one_cell_only(tmp_path: Path) -> None:
    lab = read_lab(toy_lab.write(tmp_path / "toy"))
    wrong = next(v for v in variants(lab, release_cells(lab)) if "wrong" in v.title)
    changed = [new.id for new in wrong.cells if new not in lab.cells]
    assert changed == ["double"]


@pytest.mark.parametrize("kind", ["SOLUTION", "HIDDEN TESTS"])
def test_regions_are_found(kind: str) -> None:
    found = regions(f"a\n  ### BEGIN {kind}\n  b\n  ### END {kind}\nc")
    assert [(r.kind, r.indent, r.first, r.last) for r in found] == [(kind, "  ", 1, 3)]
