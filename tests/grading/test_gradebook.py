"""The gradebook: what counts, what a spreadsheet may see, and the files for Canvas and Moodle."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.grading.errors import LabError
from labkit.grading.gradebook import Grade, cell, counted, write_csv, write_grades
from labkit.grading.late import Late
from labkit.grading.results import Flag, Pending, Result
from labkit.grading.roster import Roster, Student

ADA = Result(
    "ada.ipynb",
    "1",
    "Ada King",
    "0f",
    "1e",
    "2d",
    "graded",
    {"q1": 3.0, "q2": 2.0},
    {"q1": 2.5},
    flags=[Flag("odd-name", None, "x")],
    pending=(Pending("q2", 2.0, "Yes."),),
    submitted="2026-11-20T23:58:00",
)
EVE = replace(ADA, submission="eve.ipynb", student="=1+1", name="@SUM(A1)", scores={"q1": 1.0}, pending=(), flags=[])
CLASS = Roster((Student("1", "Ada King", "ada@x.org", "aking"), Student("2", "Bob Roe", "bob@x.org", "broe")))
CANVAS = "Student,ID,SIS User ID,SIS Login ID,Section,Lab 5 (99),Lab 6 (100)\nPoints Possible,,,,,5,5\n"


def rows(path: Path) -> list[list[str]]:
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_plain(tmp_path: Path) -> None:
    path = tmp_path / "grades.csv"
    late = {"ada.ipynb": Late(1, 0.5, "late")}
    assert write_grades(path, [EVE, ADA], late=late, roster=CLASS) == []
    header, *lines = rows(path)
    ada, eve, bob = (dict(zip(header, line, strict=True)) for line in lines)
    assert (ada["student"], ada["email"], ada["q1"], ada["q2"], ada["late"], ada["total"]) == (
        ("1", "ada@x.org", "2.5", "", "-0.5", "2")
    )
    assert (ada["pending"], ada["flags"], ada["counts"]) == ("q2 (2)", "odd-name", "yes")
    assert (eve["student"], eve["name"], eve["late"]) == ("'=1+1", "'@SUM(A1)", "0")
    assert (bob["student"], bob["status"], bob["total"]) == ("2", "missing", "")
    write_grades(tmp_path / "again.csv", [ADA, EVE], late=late, roster=CLASS)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes(), "the order of the results does not matter"


def test_the_best_file_counts_after_the_deduction() -> None:
    early = replace(ADA, submission="1.ipynb", scores={"q1": 2.0})
    better_but_late = replace(ADA, submission="2.ipynb", scores={"q1": 3.0})
    late = {"2.ipynb": Late(1, 1.5, "late")}
    assert counted([better_but_late, early], late)["1"].result == early
    assert counted([better_but_late, early])["1"].result == better_but_late
    assert Grade(early, Late(1, 5.0)).total == 0.0


def test_canvas_and_moodle_without_template(tmp_path: Path) -> None:
    write_grades(tmp_path / "c.csv", [EVE, ADA], roster=CLASS, format="canvas", title="Lab 5")
    assert rows(tmp_path / "c.csv") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Lab 5"],
        ["Ada King", "1", "", "aking", "", "2.5"],
        ["Bob Roe", "2", "", "broe", "", ""],
        ["'@SUM(A1)", "", "", "'=1+1", "", "1"],
    ]
    write_grades(tmp_path / "m.csv", [ADA], roster=CLASS, format="moodle")
    assert rows(tmp_path / "m.csv")[1:] == [
        ["Participant 1", "Ada King", "ada@x.org", "2.5", ""],
        ["Participant 2", "Bob Roe", "bob@x.org", "", ""],
    ]


def test_canvas_template_keeps_its_columns(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(CANVAS + '"King, Ada",1,s1,aking,A,,4\n"Roe, Bob",2,s2,broe,-,,\n', "utf-8")
    make = {"format": "canvas", "title": "Lab 5", "template": tmp_path / "export.csv"}
    left = write_grades(tmp_path / "c.csv", [ADA, EVE], **make)
    assert left == ["=1+1"]
    assert rows(tmp_path / "c.csv")[1:] == [
        ["Points Possible", "", "", "", "", "5", "5"],
        ["King, Ada", "1", "s1", "aking", "A", "2.5", "4"],
        ["Roe, Bob", "2", "s2", "broe", "-", "", ""],
    ]


def test_moodle_template(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text(
        "Identifier,Full name,Grade,Maximum grade\nParticipant 1,Ada King,-,5\n", "utf-8"
    )
    write_grades(tmp_path / "m.csv", [ADA], format="moodle", template=tmp_path / "sheet.csv")
    assert rows(tmp_path / "m.csv")[1] == ["Participant 1", "Ada King", "2.5", "5"]


def test_template_without_the_column(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(CANVAS, "utf-8")
    make = {"format": "canvas", "template": tmp_path / "export.csv"}
    with pytest.raises(LabError, match="no column for 'Lab 7'; name one of 'Student'"):
        write_grades(tmp_path / "c.csv", [ADA], title="Lab 7", **make)
    with pytest.raises(LabError, match="several columns for 'Lab'"):
        write_grades(tmp_path / "c.csv", [ADA], title="Lab", **make)
    write_grades(tmp_path / "c.csv", [ADA], column="Lab 6 (100)", **make)
    with pytest.raises(ValueError, match="format must be one of"):
        write_grades(tmp_path / "c.csv", [ADA], format="xlsx")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "＝1", "－2+3"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")


@given(st.text(st.characters()))
def test_any_text_comes_back_as_one_cell(text: str) -> None:
    assert not cell(text).strip().startswith(("=", "+", "@", "\t", "\r"))
    assert "\0" not in cell(text)
    cell(text).encode("utf-8")


def test_csv_survives_quotes_lines_and_surrogates(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [['a "b", c', "one\ntwo", "\ud800"], [1, 0.1, True]])
    assert rows(tmp_path / "a.csv") == [['a "b", c', "one\ntwo", "\\ud800"], ["1", "0.1", "True"]]
