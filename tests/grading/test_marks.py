"""What a person gives: nothing of it is lost, nothing goes to the wrong answer, and new answers get a line."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.grading import LabError
from labkit.grading.feedback import feedback_body
from labkit.grading.gradebook import Grade
from labkit.grading.marks import MARKS, apply_marks, extend_marks, read_marks
from labkit.grading.results import Mark, Pending, Result

WORTH = {"q1": 3.0, "q2": 2.0}
OPEN = (Pending("q2", 2.0, "So."),)
ADA = Result("ada.ipynb", "1", "Ada", "0f", "1e", "2d", "graded", WORTH, {"q1": 2.5}, pending=OPEN)
EVE = replace(ADA, submission="=2+2.ipynb", student="=1+1", name="@Eve")
AGAIN = replace(ADA, submission="ada-2.ipynb")


def table(folder: Path, text: str) -> Path:
    (folder / MARKS).write_text(text, "utf-8")
    return folder / MARKS


def test_marks_and_a_comment(tmp_path: Path) -> None:
    marks = read_marks(table(tmp_path, 'student,question,points,comment\n1,q2,"1,5",Show why.\n2,q2,,\n'))
    assert marks == {("1", "q2", "", ""): Mark(1.5, "Show why.")}
    (ada, eve), unused = apply_marks([ADA, EVE], marks)
    assert (ada.total, ada.pending, eve, unused) == (4.0, (), EVE, [])
    page = "".join(feedback_body(Grade(ada), title="Lab"))
    assert "Show why." in page
    assert "1.5 of 2" in page


def test_a_file_has_marks_of_its_own(tmp_path: Path) -> None:
    marks = read_marks(table(tmp_path, "student;question;points;file\n1;q2;1;\n1;q2;2;ada-2.ipynb\n1;q1;1;\n7;q2;0;\n"))
    (ada, again), unused = apply_marks([ADA, AGAIN], marks)
    assert (ada.scores["q2"], again.scores["q2"]) == (1.0, 2.0)
    assert unused == [("1", "q1", "", ""), ("7", "q2", "", "")], "an automatic question, and nobody"


def test_every_answer_gets_a_line_and_none_is_changed(tmp_path: Path) -> None:
    path = tmp_path / MARKS
    extend_marks(path, [replace(ADA, pending=())])
    assert not path.exists()
    extend_marks(path, [ADA])
    header, line = path.read_text("utf-8").splitlines()
    assert header == "student,question,points,comment,name,file,answer"
    assert re.fullmatch(r"1,q2,,,Ada,ada.ipynb,a[0-9a-f]{12}", line)
    path.write_text("question;student;points;mine\r\nq2;1;2;x", "utf-8")
    extend_marks(path, [ADA, EVE])
    extend_marks(path, [ADA, EVE])
    assert path.read_bytes() == b"question;student;points;mine\r\nq2;1;2;x\nq2;'=1+1;;\n"


def test_a_name_that_is_a_formula_keeps_its_marks(tmp_path: Path) -> None:
    path = tmp_path / MARKS
    extend_marks(path, [EVE])
    path.write_text(path.read_text("utf-8").replace("q2,,", "q2,2,"), "utf-8")
    (eve,), unused = apply_marks([EVE], read_marks(path))
    assert (eve.scores["q2"], unused) == (2.0, [])


def test_other_words_under_the_same_name_wait_again(tmp_path: Path) -> None:
    path = tmp_path / MARKS
    extend_marks(path, [ADA])
    path.write_text(path.read_text("utf-8").replace("q2,,", "q2,2,"), "utf-8")
    later = replace(ADA, sha256="1f", pending=(Pending("q2", 2.0, "No!"),))
    (later_marked,), unused = apply_marks([later], read_marks(path))
    assert (later_marked.scores, later_marked.pending, len(unused)) == (later.scores, later.pending, 1)
    extend_marks(path, [later])
    assert len(path.read_text("utf-8").splitlines()) == 3
    (ada,), _ = apply_marks([replace(ADA, sha256="1f")], read_marks(path))
    assert ada.scores["q2"] == 2.0, "the same words in another file of that name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student,points\n", "needs the columns student, question and points"),
        ("student,question,points\n1,q2,many\n", "row 2: points must be a number of at least 0, got 'many'"),
        ("student,question,points\n1,q2,-1\n", "row 2: points must be"),
        ("student,question,points\n1,q2,nan\n", "row 2: points must be"),
    ],
)
def test_bad_marks(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        read_marks(table(tmp_path, text))


def test_marks_that_do_not_fit() -> None:
    with pytest.raises(LabError, match=r"the marks of '1'.*between 0 and 2"):
        apply_marks([ADA], {("1", "q2", "", ""): Mark(3.0)})
