"""Scoring: marks come from receipts of the instructor's checks, and the student's side sends plain data only."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import toy_lab

from labkit.grading import LabError, read_lab
from labkit.grading.model import Cell, Lab, Receipt
from labkit.grading.oracle import LocalOracle
from labkit.grading.sheet import Sheet, generator
from labkit.grading.trusted import Scoring, earned, score, seed_for

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


def test_a_check_in_several_cells_scores_as_one(tmp_path: Path) -> None:
    lab = read_lab(toy_lab.write(tmp_path / "toy", toy_lab.split()))
    assert points(lab, ["def double(x): return 2 * x"]) == 3
    assert points(lab, ["def double(x): return 6"]) == 1
    receipts = score(lab, [Cell("c", "code", "def double(x): return 7")], LocalOracle(), seed=b"s")["q1"]
    assert [(r.check, r.passed, r.hidden, bool(r.shown)) for r in receipts] == [
        ("double(3) is 6", False, False, True),
        ("any number", False, True, False),
    ]


def test_each_function_of_a_question_draws_its_own_numbers() -> None:
    draws = [generator(b"s", *names).random() for names in (("q1",), ("q1", "_"), ("q1", "_hidden"), ("q2", "_"))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_a_probe_runs_beside_the_student(tmp_path: Path) -> None:
    lab = read_lab(toy_lab.write(tmp_path / "toy", toy_lab.edited("tests", source=PROBED), answers=None))
    assert earned(score(lab, lab.cells, LocalOracle(), seed=b"s")["q1"]) == 3


def test_the_seed_depends_on_key_and_submission() -> None:
    seeds = {seed_for(key, work) for key in (b"k1", b"k2") for work in (b"a", b"b")}
    assert len(seeds) == 4
    assert seed_for(b"k1", b"a") == seed_for(b"k1", b"a")
    with pytest.raises(LabError, match="must not be empty"):
        seed_for(b"", b"a")


LEAKY = """seen = []
def double(x):
    seen.append(x)
    if 3 in seen[:-1]:
        raise ValueError(f"seen: {seen}")
    return None
"""


def test_what_students_code_saw_of_hidden_checks_is_not_told(lab: Lab) -> None:
    """The visible check fails at once, and again after the hidden one: its second message repeats a hidden input."""
    scoring = Scoring(lab, LocalOracle(), seed=b"secret")
    scoring.step(Cell("c", "code", LEAKY, "solution", "q1"))
    first = scoring.grader.check("q1")
    assert scoring.grader.exposed
    second = scoring.grader.check("q1")
    assert "seen: [3, " in second[0].message
    assert [receipt.private for receipt in (first[0], second[0])] == [False, True]
    scoring._keep("q1", second)
    assert scoring.receipts["q1"][0].shown == ""
    scoring._keep("q1", first)
    scoring._keep("q1", [*second, Receipt("q1", "one more", 1, True)])
    assert scoring.receipts["q1"][0].shown == first[0].message != ""


def test_messages_after_a_hidden_check_are_private() -> None:
    sheet = Sheet("q1")
    for name, hidden in (("before", False), ("hidden", True), ("after", False)):
        sheet.hidden = hidden
        with sheet(name):
            raise ValueError(name)
    assert [receipt.shown for receipt in sheet.receipts] == [sheet.receipts[0].message, "", ""]
    assert "before" in sheet.receipts[0].shown


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def double(x:", "no cell that can be read defines double"),
        ("def double(x): return 0", "assert double(3) == 6"),
    ],
)
def test_a_failed_visible_check_has_a_message_all_the_same(lab: Lab, source: str, told: str) -> None:
    """An earlier question's hidden checks have run: the message comes from a process of its own, or from us."""
    role = "solution" if "return" in source else None
    scoring = Scoring(lab, LocalOracle(), seed=b"secret")
    scoring.step(Cell("c", "code", source, role, "q1"))
    scoring.grader.exposed = True
    scoring.again("q1")
    (visible,) = (receipt for receipt in scoring.receipts["q1"] if receipt.check == "double(3) is 6")
    assert (visible.passed, visible.private) == (False, False)
    assert told.removeprefix("assert ") in visible.shown
