"""Results: an exact round trip, files that were cut off, and what counts as done."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.grading.errors import LabError
from labkit.grading.model import Receipt
from labkit.grading.results import (
    Flag,
    Mark,
    Pending,
    Result,
    append_result,
    finished,
    from_line,
    read_results,
    to_line,
    with_marks,
    write_results,
)

RESULT = Result(
    "a.ipynb",
    "ada",
    "Ada King",
    "0f",
    "1e",
    "2d",
    "graded",
    {"q1": 3.0, "q2": 2.0},
    {"q1": 1.5},
    (Receipt("q1", "shapes", 1.5, True), Receipt("q1", "values", 1.5, False, "expected 3\ngot \ud800", True)),
    [Flag("moved", "q1", "found elsewhere"), Flag("odd-name", None, "\u202e")],
    (Pending("q2", 2.0, "<b>Yes</b>\n\x00"),),
    ("import numpy\n",),
    "2026-11-20T23:58:00",
    True,
    0.1 + 0.2,
    "feedback/ada.html",
    "bubblewrap",
)
TEXT = st.text(st.characters())


def test_round_trip_is_exact() -> None:
    line = to_line(RESULT)
    assert from_line(line) == RESULT
    assert to_line(from_line(line)) == line
    assert "\n" not in line
    assert line.isascii()


@given(TEXT, TEXT, st.floats(0, 3), st.lists(st.tuples(TEXT, st.none() | TEXT, TEXT)), st.none() | st.booleans())
def test_round_trip_of_anything(file: str, name: str, score: float, flags: list, late: bool | None) -> None:
    flags = [Flag(*flag) for flag in flags]
    result = replace(RESULT, submission=file, name=name, scores={"q1": score}, flags=flags, marked_late=late)
    assert from_line(to_line(result)) == result


def test_file_and_cut_off_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    assert read_results(path) == []
    second = replace(RESULT, submission="b.ipynb")
    append_result(path, RESULT)
    append_result(path, second)
    whole = path.read_bytes()
    for cut in range(len(whole) // 2 + 1, len(whole), 37):
        path.write_bytes(whole[:cut])
        assert read_results(path) == [RESULT]
        append_result(path, second)
        assert path.read_bytes() == whole


def test_a_bad_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("{}\n" + to_line(RESULT) + "\n")
    with pytest.raises(LabError, match=r"results\.jsonl, line 1: not a result"):
        read_results(path)


@pytest.mark.parametrize(
    "line", ["", "null", "[]", "3", '{"a": 1}', "{", "[" * 100_000, to_line(RESULT).replace("graded", "good")]
)
def test_lines_that_are_no_result(line: str) -> None:
    with pytest.raises(LabError, match="not a result"):
        from_line(line)


def test_written_in_the_order_of_files(tmp_path: Path) -> None:
    others = [replace(RESULT, submission=name) for name in ("c", "a", "b")]
    write_results(tmp_path / "one", others)
    write_results(tmp_path / "two", others[::-1])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert [r.submission for r in read_results(tmp_path / "one")] == ["a", "b", "c"]


def test_the_same_key_is_graded_once() -> None:
    failed = replace(RESULT, sha256="ff", status="error")
    unread = replace(RESULT, sha256="ee", status="unreadable")  # all of them have the hash of nothing
    assert finished([RESULT, failed, unread]) == {("0f", "1e", "2d"): RESULT}
    assert replace(RESULT, student="bob", seconds=9.0).key == RESULT.key
    assert (
        len({RESULT.key, *(replace(RESULT, **{name: "x"}).key for name in ("sha256", "assignment", "environment"))})
        == 4
    )


def test_totals_and_marks() -> None:
    assert (RESULT.total, RESULT.maximum) == (1.5, 5.0)
    marked = with_marks(RESULT, {"q2": Mark(1.0, "Good.")})
    assert (marked.total, marked.pending) == (2.5, ())
    assert marked.receipts[-1] == Receipt("q2", "marked by a person", 1.0, True, "Good.")
    assert with_marks(RESULT, {}) == RESULT
    with pytest.raises(ValueError, match="question marked must be one of"):
        with_marks(RESULT, {"q1": Mark(1.0)})
    with pytest.raises(ValueError, match="between 0 and 2"):
        with_marks(RESULT, {"q2": Mark(3.0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "fine"}, "status must be one of"),
        ({"scores": {"q9": 1.0}}, "key of scores must be one of"),
        ({"scores": {"q1": 3.5}}, "between 0 and 3"),
        ({"scores": {"q1": float("nan")}}, "between 0 and 3"),
        ({"points": {"q1": -1.0}, "scores": {}}, "at least 0"),
    ],
)
def test_impossible_results(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RESULT, **changes)
    with pytest.raises(TypeError, match="result must be Result"):
        to_line("a line")
