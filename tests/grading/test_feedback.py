"""The pages: everything is escaped, nothing runs, hidden checks stay hidden, and what matters is there."""

import re
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import toy_lab
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.grading import read_lab
from labkit.grading.feedback import feedback_body, feedback_name, question_titles, write_feedback
from labkit.grading.gradebook import Grade
from labkit.grading.late import Late
from labkit.grading.model import Receipt
from labkit.grading.page import bar, el, histogram, page, ring, text
from labkit.grading.results import Flag, Pending, Result
from labkit.grading.review import review_body

EVIL = (
    "</pre></title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'>"
    "<a href=javascript:alert(1)>&lt;\u202e\x00"
)
TAGS = """
html head meta title style body main header footer section nav div h1 h2 h3 p a b bdi span strong code pre mark ul li
table thead tbody tr th td svg circle rect text q
"""
ADA = Result(
    "ada.ipynb",
    "1",
    "Ada King",
    "0f" * 32,
    "1e" * 32,
    "2d" * 32,
    "graded",
    {"q1": 3.0, "q2": 2.0},
    {"q1": 1.0},
    (
        Receipt("q1", "the shapes", 1.0, True, "message of a passed check"),
        Receipt("q1", "the values", 1.0, False, "expected 3, got 4"),
        Receipt("q1", "another case", 1.0, False, "the secret input 4711", True),
    ),
    [Flag("several-files", None, "for the instructor"), Flag("moved", "q1", "found elsewhere")],
    (Pending("q2", 2.0, "Because it is so."),),
    submitted="2026-11-20T23:58:00",
    rung="bubblewrap",
)


class Reader(HTMLParser):
    """Refuses every tag and attribute that our pages do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS.split()
        self.tags[tag] += 1
        for key, value in attrs:
            assert not key.startswith("on")
            assert key not in ("style", "src")
            assert key != "href" or str(value).startswith("#")

    def handle_data(self, data: str) -> None:
        self.text += data


def read(body: list, title: str = "T") -> Reader:
    reader = Reader()
    reader.feed(page(title, body))
    reader.close()
    assert (reader.tags["style"], reader.tags["title"] >= 1) == (1, True)
    return reader


def evil(result: Result) -> Result:
    return replace(
        result,
        submission=EVIL,
        student=EVIL,
        name=EVIL,
        points={EVIL: 3.0, "q2": 2.0},
        scores={EVIL: 1.0},
        receipts=(Receipt(EVIL, EVIL, 1.0, False, EVIL), Receipt(EVIL, EVIL, 1.0, False, EVIL, True)),
        flags=[Flag(EVIL, EVIL, EVIL), Flag("several-files", None, EVIL)],
        pending=(Pending("q2", 2.0, EVIL),),
        submitted=EVIL,
        rung=EVIL,
    )


def test_the_policy_admits_our_style_sheet_only() -> None:
    content = page("T", ["x"])
    policy = unescape(re.search(r'Policy" content="(.*?)"', content)[1])  # type: ignore[index]
    assert "script" not in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert content.count("<style>") == 1


def test_feedback_says_what_matters() -> None:
    found = read(feedback_body(Grade(ADA, Late(1, 0.5, "Handed in 1 day late: 0.5 points less.")), title="Lab 5"))
    for words in ("0.5 of 5 points", "1 earned. Handed in 1 day late", "Ada King", "the shapes", "expected 3, got 4"):
        assert words in found.text
    for words in (
        "another case",
        "hidden",
        "Your answer is there (4 words)",
        "2 more can come",
    ):
        assert words in found.text
    assert "You handed in several files." in found.text


def test_feedback_keeps_secrets() -> None:
    found = read(feedback_body(Grade(ADA), title="Lab 5"))
    for words in ("4711", "for the instructor", "found elsewhere", "bubblewrap", "message of a passed check"):
        assert words not in found.text


def test_feedback_of_a_file_that_cannot_be_read() -> None:
    unreadable = replace(ADA, status="unreadable", scores={}, receipts=(), pending=(), flags=[])
    found = read(feedback_body(Grade(unreadable), title="Lab 5"))
    assert "could not be read as a notebook" in found.text
    assert found.text.count("No check ran.") == 2


def test_marked_answers_show_their_points() -> None:
    marked = replace(ADA, scores={"q1": 1.0, "q2": 1.5}, pending=())
    marked = replace(marked, receipts=(*ADA.receipts, Receipt("q2", "marked by a person", 1.5, True)))
    found = read(feedback_body(Grade(marked), title="Lab 5"))
    assert "marked by a person" in found.text
    assert "2.5 of 5 points" in found.text


def test_markup_is_text_everywhere(tmp_path: Path) -> None:
    result, late = evil(ADA), evil(replace(ADA, status="timeout"))
    for body in (
        feedback_body(Grade(result, Late(1, 0.5, EVIL)), title=EVIL, titles={"q2": EVIL}),
        review_body([result, late], title=EVIL, titles={"q2": EVIL}, late={EVIL: Late(1, 1.0, EVIL)}),
    ):
        found = read(body, EVIL)
        assert "<script>alert(1)</script>" in found.text
        assert "\u202e" not in found.text
        assert "\x00" not in found.text


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_text(name: str, message: str) -> None:
    receipt = Receipt("q1", name, 1.0, False, message)
    found = read(feedback_body(Grade(replace(ADA, name=name, receipts=(receipt,))), title=name), name)
    assert found.tags["pre"] == bool(message.strip())
    page(name, [name]).encode("utf-8")


def test_files_have_different_names_and_the_paths_are_returned(tmp_path: Path) -> None:
    names = ["../../evil", "a/b", "A", "a", "CON", "x" * 500, "é", "\ud800", EVIL]
    results = [replace(ADA, submission=name, student=name) for name in names]
    written = write_feedback(tmp_path, results, title="Lab 5")
    paths = [result.feedback_path for result in written]
    assert len({path.casefold() for path in paths}) == len(names)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.html")) == sorted(paths)
    assert all(re.fullmatch(r"feedback/[A-Za-z0-9-]{8,60}\.html", path) for path in paths)
    before = (tmp_path / paths[0]).read_bytes()
    write_feedback(tmp_path, [replace(results[0], seconds=99.0)], title="Lab 5")
    assert (tmp_path / paths[0]).read_bytes() == before, "seconds do not show"
    one, two = replace(ADA, student="a", submission="b-c"), replace(ADA, student="a-b", submission="c")
    assert feedback_name(one) != feedback_name(two)


def test_titles_come_from_the_lab(tmp_path: Path) -> None:
    cells = toy_lab.edited("text", source="## Question 1. Double (of all) (3 points)\n\nWrite `double`.")
    lab = read_lab(toy_lab.write(tmp_path / "toy", cells))
    assert question_titles(lab) == {"q1": "Question 1. Double (of all)", "q2": "q2"}


def test_review_shows_queue_flags_statistics_and_rung() -> None:
    bob = replace(ADA, submission="bob.ipynb", student="2", name="Bob Roe", scores={"q1": 3.0}, status="timeout")
    late = {"bob.ipynb": Late(2, 1.0, "Late.")}
    found = read(review_body([ADA, bob], title="Lab 5", titles={"q1": "Question one"}, late=late))
    for words in ("bubblewrap", "Question one", "Because it is so.", "found elsewhere", "timeout", "Late."):
        assert words in found.text
    assert "byte for byte the file of Bob Roe" in found.text, "the same hash, two students"
    assert "2.00" in found.text, "the mean of 1 and 3"


def test_review_of_an_empty_class() -> None:
    assert "None." in read(review_body([], title="Lab 5", late={})).text


def test_a_private_message_is_not_shown() -> None:
    private = replace(ADA, receipts=(Receipt("q1", "the values", 1.0, False, "I saw 4711", False, True),))
    found = read(feedback_body(Grade(private), title="Lab 5"))
    assert "4711" not in found.text
    assert "Run this check in your notebook" in found.text


def test_cells_that_stopped_are_named_without_their_words() -> None:
    texts = ["cell 3:abc raised: ValueError: 4711", "cell 5:cell 9: raised: 4711", "cell setup-0 raised: 4711"]
    flags = [Flag("raised", None, text) for text in texts]
    found = read(feedback_body(Grade(replace(ADA, flags=flags)), title="Lab 5"))
    assert "cells 3 and 5 stopped with an error" in found.text
    assert "4711" not in found.text


def test_pictures() -> None:
    assert "0, 1, 0, 0, 2" in histogram([1.0, 4.0, 3.9], 4.0, bins=5)
    assert histogram([], 0.0).count("<rect") == 10
    assert 'width="500"' in bar(0.5)
    assert "50%" in ring(0.5, 0.2)


def test_only_markup_is_not_escaped() -> None:
    glued = el("b", "x") + "<i>"  # an ordinary text again
    assert el("p", glued) == "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"
    assert text('"') == "&quot;"
    with pytest.raises(TypeError, match="grade must be Grade"):
        feedback_body(ADA, title="Lab 5")  # type: ignore[arg-type]
