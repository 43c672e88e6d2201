"""Similarity: what renaming does not hide, what is not held against anybody, and code that is no Python."""

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.grading.errors import LabError
from labkit.grading.likeness import W, parts, similar, similar_body, tokens, winnow, write_similar
from labkit.grading.results import Result, write_results

OWN = '''
def powers(matrix, count):
    """Return the strongest terms."""
    rest, found = matrix.copy(), []
    for step in range(count):  # one after the other
        vector = start(rest)
        while change(vector, rest) > 1e-9:
            vector = rest.T @ (rest @ vector)
            vector = vector / norm(vector)
        found.append((rest @ vector, vector))
        rest = rest - outer(rest @ vector, vector)
    return [pair for pair in found if norm(pair[0]) > 0]
'''
RENAMED = '''
def f(a: int, n) -> list:
    b, out = a.copy(), []
    for i in range(n):
        """Words."""
        v = begin(b)
        while delta(v, b) > 0.25:
            v = b.T @ (b @ v)
            v = v / size(v)
        out.append((b @ v, v))
        b = b - prod(b @ v, v)
    return [p for p in out if size(p[0]) > 1]
'''
OTHER = """
def powers(matrix, count):
    values, vectors = eigen(matrix.T @ matrix)
    order = sorted(range(len(values)), key=lambda i: -values[i])
    chosen = {i: vectors[i] for i in order[:count]}
    if not chosen:
        raise ValueError("nothing")
    return [dict(value=values[i], vector=chosen[i]) for i in chosen]
"""


def hand_in(student: str, *code: str) -> Result:
    return Result(f"{student}.ipynb", student, student.title(), student, "", "", "graded", {}, code=code)


def test_renaming_does_not_hide_a_copy() -> None:
    (pair,) = similar([hand_in("ada", OWN), hand_in("bob", OTHER), hand_in("cy", "x = 1", RENAMED)])
    assert (pair.left.student, pair.right.student) == ("ada", "cy")
    assert pair.score > 0.95
    assert (pair.matches[0].left.title, pair.matches[0].right.title) == ("powers", "f")


def test_order_does_not_matter() -> None:
    scores = {similar([hand_in("a", *one), hand_in("b", *two)])[0].score for one, two in [
        ((OWN, OTHER), (RENAMED,)), ((RENAMED,), (OTHER, OWN))]}  # fmt: skip
    assert scores == {1.0}


def test_the_release_does_not_count() -> None:
    assert similar([hand_in("ada", OWN), hand_in("bob", RENAMED)], release=[OWN]) == []
    assert similar([hand_in("ada", OWN), hand_in("bob", RENAMED)], release=[OTHER]) != []


def test_what_most_of_the_class_wrote_counts_little() -> None:
    many = [hand_in(f"s{i}", OWN) for i in range(8)]
    assert similar(many) == [], "all wrote it"
    two = [hand_in(f"t{i}", OWN, OTHER) for i in range(2)]
    (pair,) = similar([*many, *two])
    assert {pair.left.student, pair.right.student} == {"t0", "t1"}
    assert pair.matches[0].left.source.lstrip().startswith("def powers(matrix, count):\n    values")


def test_files_of_one_student_are_not_compared() -> None:
    assert similar([hand_in("ada", OWN), replace(hand_in("ada", RENAMED), submission="2.ipynb")]) == []


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 8))
def test_winnowing_guarantee(hashes: list[int], window: int) -> None:
    kept = winnow(hashes, window)
    assert kept == sorted(set(kept))
    for i in range(len(hashes) - window + 1):
        assert min(hashes[i : i + window]) in [hashes[j] for j in kept if i <= j < i + window]


def test_short_lists_and_bad_windows() -> None:
    assert winnow([]) == []
    assert winnow([5, 3, 4]) == [1]
    with pytest.raises(ValueError, match="window must be at least 1"):
        winnow([1], 0)
    assert W > 1


def test_names_numbers_and_comments_leave_no_trace() -> None:
    def kinds(source: str) -> list[str]:
        return [kind for kind, _ in tokens(ast.parse(source).body)]

    assert kinds("def f(x: int) -> str:\n    'Text.'\n    return x + 1  # yes") == kinds(
        "def g(yy):\n    return yy + 22"
    )
    assert kinds("x + 1") != kinds("x - 1")
    assert kinds("x + 1") != kinds("x + '1'")


def test_code_that_is_no_python() -> None:
    assert [part.title for part in parts("%matplotlib inline\n!ls\ndef f(x):\n    return x\n)))(\ny = 1")] == [
        "f",
        "other code",
    ]
    assert parts("") == []
    assert parts("\0") == []
    assert parts("((((" * 1000) == []
    for nasty in (
        "(" * 5000 + ")" * 5000,
        "-" * 50_000 + "1",
        "+".join("1" * 20_000),
        "[" * 90 + "]" * 90,
        "\ud800 = 1",
    ):
        assert isinstance(parts(nasty), list)
    broken = hand_in("bob", RENAMED + "\nreturn = )\n", "this is not code")
    assert similar([hand_in("ada", OWN), broken])[0].score > 0.95


def test_huge_submissions_are_cut() -> None:
    big = hand_in("ada", *["x = 1\n" * 20_000] * 10)
    assert similar([big, replace(big, student="bob")]) == []


def test_methods_are_parts() -> None:
    found = parts("@deco\nclass A:\n    @prop\n    def f(self):\n        return 1\n\n    async def g(self): ...\n")
    assert [part.title for part in found] == ["f", "g"]
    assert found[0].source == "    @prop\n    def f(self):\n        return 1"


def test_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    one = replace(hand_in("ada", OWN + f"\nname = '{evil}'\n"), name=evil)
    pairs = similar([one, hand_in("bob", RENAMED)])
    content = write_similar(tmp_path, pairs, title="Lab").read_text("utf-8")
    assert "not a proof" in content
    assert "<script" not in content
    assert "<mark>    for step in range(count):  # one after the other</mark>" in content
    assert "No two answers are alike." in "".join(similar_body([], title="Lab"))


@pytest.mark.parametrize(("option", "value"), [("threshold", 2.0), ("threshold", "much"), ("most", 0)])
def test_bad_options(option: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=option):
        similar([], **{option: value})


def test_a_folder_of_results(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"holds no results\.jsonl"):
        similar(tmp_path)
    write_results(tmp_path / "results.jsonl", [hand_in("ada", OWN), hand_in("bob", OWN)])
    with pytest.raises(LabError, match=r"holds no release\.ipynb: name the released"):
        similar(tmp_path)
    cell = {"cell_type": "code", "source": OWN}
    (tmp_path / "release.ipynb").write_text(json.dumps({"cells": [cell]}), "utf-8")
    assert similar(tmp_path) == [], "all of it was released"
    assert len(similar(str(tmp_path), release=[])) == 1
