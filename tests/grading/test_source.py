"""What is said about cells without running them; whatever the text is, nothing raises."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.grading.likeness import parts
from labkit.grading.source import MOST, bound, parse, pieces, unfenced, used, written

DEEP = ["not " * 100_000 + "1", "1+" * 100_000 + "1", "a" + ".b" * 100_000, "(" * 5000]
HOSTILE = [*DEEP, "\0", "\ud800 = 1", "x = '\ud800'"]


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: ascii(source[:8]))
def test_hostile_text_is_read_without_harm(source: str) -> None:
    parse(source)
    assert written(source, ["f"]) == set()
    assert "".join(pieces(source, {"f": "q1", "g": "q2"})) == source


@given(st.text(alphabet="def clas\n():=,%@'\"#[]fgx12 ", max_size=60))
def test_any_text(source: str) -> None:
    bound(source), used(source), unfenced(source), written(source, ["f"])
    assert "".join("".join(pieces(source, {"f": "q1", "g": "q2"})).split()) == "".join(source.split())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x): return x", {"f"}),
        ("async def f(x): return x", {"f"}),
        ("def f(x):\n    'Doc.'\n    ...", set()),
        ("def f(x):\n    pass", set()),
        ("class f: ...", set()),
        ("f = ...", set()),
        ("f: int = ...", set()),
        ("f = g = lambda x: x", {"f", "g"}),
        ("from a import f", {"f"}),
        ("import a as f", {"f"}),
        ("if True:\n    def f(): return 1", {"f"}),
        ("def g():\n    f = 1\n    return f", {"g"}),
        ("def g():\n    ...\nf = 2", {"f"}),
        ("%%time\nf = 2", {"f"}),
        ("%%bash\nf=2", set()),
        ("%matplotlib inline\nf = 2", {"f"}),
        ("f(1)", set()),
        ("def f(:", set()),
    ],
)
def test_what_is_written(source: str, expected: set[str]) -> None:
    assert written(source, ["f", "g"]) == expected


def test_names_used_and_bound() -> None:
    source = "import os.path\nfrom a import b as c\nfor i in range(n):\n    y = [z for z in c]\nwith w as v: pass"
    assert bound(source) == {"os", "c", "i", "y", "z", "v"}
    assert used(source) == {"range", "n", "z", "c", "w"}


def test_a_fence_around_code_is_taken_off() -> None:
    assert unfenced("```python\nx = 1\n```") == "x = 1"
    assert unfenced("Look:\n```python\nx = 1\n```").startswith("Look")


TWO = {"f": "q1", "g": "q2"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): return 1\ndef f2(): return 2", ["def f(): return 1\ndef f2(): return 2"]),
        (
            "def f():\n    return 1\n\n\n@a\ndef g():\n    return 2",
            ["def f():\n    return 1", "@a\ndef g():\n    return 2"],
        ),
        ("import os\nf = 1\nh = 2\ng = 3", ["import os", "f = 1", "h = 2", "g = 3"]),
        ("def f(:\n    return 1\n@a\ndef g():\n    return 2", ["def f(:\n    return 1", "@a\ndef g():\n    return 2"]),
        ("f = 1\nif f:\n    x = 1\nelse:\n    x = )\ng = 2", ["f = 1", "if f:\n    x = 1\nelse:\n    x = )", "g = 2"]),
        ("%%time\nf = 1\ng = 2", ["%%time\nf = 1\ng = 2"]),
    ],
)
def test_pieces(source: str, expected: list[str]) -> None:
    assert pieces(source, TWO) == expected


def test_code_too_long_for_anybody_to_have_written_is_not_analysed() -> None:
    long = "def f(): return 1\ndef g(): return 2\n" * (MOST // 30)
    assert parse(long) is None
    assert written(long, ["f"]) == set()
    assert pieces(long, {"f": "q1", "g": "q2"}) == [long]
    assert written(long[: MOST // 3], ["f"]) == {"f"}


def test_warnings_about_a_students_code_stay_away() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse("x = 1if 1else 2; y = '\\d'; z = 1 is 1") is not None
        assert parts("x = 1if 1else 2; y = '\\d'; z = 1 is 1")
