"""Scoring: marks come from receipts of the instructor's checks, and the student's side sends plain data only."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_lab

from labkit.grading import LabError, read_lab
from labkit.grading.model import Cell, Lab
from labkit.grading.oracle import LocalOracle
from labkit.grading.trusted import earned, score, seed_for

PROBED = """@probe
def look(n):
    return {"double": double(n), "names": sorted(k for k in globals() if k in ("double", "reference", "check"))}


@question("q1")
def _(check, reference):
    with check("double(3) is 6", points=1):
        assert look(3)["double"] == 6
    ### BEGIN HIDDEN TESTS
    with check("a probe sees the student's names only", points=2):
        assert look(4)["names"] == ["double"]
    ### END HIDDEN TESTS
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return read_lab(toy_lab.write(tmp_path / "toy"))


def points(lab: Lab, sources: Sequence[str], seed: bytes = b"secret") -> float:
    """Return the points of a submission that holds only these cells."""
    cells = [Cell(f"c{i}", "code", source) for i, source in enumerate(sources)]
    return earned(score(lab, cells, LocalOracle(), seed=seed)["q1"])


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["def double(x): return 2 * x"], 3),
        (["double = lambda x: x + x"], 3),
        (["class Doubler:\n    def __call__(self, x): return x * 2", "double = Doubler()"], 3),
        (["def double(x):\n    print('noise')\n    return x * 2"], 3),
        (["1 / 0", "def double(x): return 2 * x"], 3),
        (["def double(x): return 6"], 1),
        (["def double(x): return object()"], 0),
        (["class Liar(int):\n    def __eq__(self, other): return True\ndef double(x): return Liar(0)"], 0),
        (["def double(x): raise ValueError('no')"], 0),
        (["double = 6"], 0),
        ([], 0),
        (["def double(x):"], 0),
    ],
)
def test_what_an_answer_earns(lab: Lab, sources: list[str], expected: float) -> None:
    assert points(lab, sources) == expected


def test_the_students_own_check_cells_decide_nothing(lab: Lab) -> None:
    forged = 'from labkit.grading import question\n@question("q1")\ndef _(check):\n    with check("x", points=9): pass'
    assert points(lab, [forged]) == 0


def test_an_answer_below_its_check_still_counts(lab: Lab) -> None:
    checks = lab.cell("check", "q1")
    cells = [Cell("a", "code", "def double(x): return 1"), checks, Cell("b", "code", "def double(x): return 2 * x")]
    assert earned(score(lab, cells, LocalOracle(), seed=b"s")["q1"]) == 3


def test_a_name_spoilt_below_its_check_costs_nothing(lab: Lab) -> None:
    cells = [Cell("a", "code", "def double(x): return 2 * x"), lab.cell("check", "q1"), Cell("b", "code", "double = 1")]
    assert earned(score(lab, cells, LocalOracle(), seed=b"s")["q1"]) == 3


def test_receipts_know_which_checks_are_hidden(lab: Lab) -> None:
    receipts = score(lab, lab.cells, LocalOracle(), seed=b"s")["q1"]
    assert [(r.check, r.hidden) for r in receipts] == [("double(3) is 6", False), ("any number", True)]


def test_a_probe_runs_beside_the_student(tmp_path: Path) -> None:
    lab = read_lab(toy_lab.write(tmp_path / "toy", toy_lab.edited("tests", source=PROBED), answers=None))
    assert earned(score(lab, lab.cells, LocalOracle(), seed=b"s")["q1"]) == 3


def test_the_seed_depends_on_key_and_submission() -> None:
    seeds = {seed_for(key, work) for key in (b"k1", b"k2") for work in (b"a", b"b")}
    assert len(seeds) == 4
    assert seed_for(b"k1", b"a") == seed_for(b"k1", b"a")
    with pytest.raises(LabError, match="must not be empty"):
        seed_for(b"", b"a")
