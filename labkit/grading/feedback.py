"""The page that a student gets: points, what each named check found, and of hidden checks their names only."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from labkit import checks
from labkit.grading.gradebook import Grade
from labkit.grading.late import Late
from labkit.grading.model import Lab, Receipt
from labkit.grading.page import bar, el, join, name, ring, write_page
from labkit.grading.results import PERSON, Pending, Result
from labkit.grading.text import slug
from labkit.html import Markup

FOLDER = "feedback"

# What a flag or a status says to the student. Flags of other kinds are for the instructor alone.
SENTENCES = {
    "unreadable": "The file could not be read as a notebook, so nothing in it could be graded. Please open it in "
    "JupyterLab, save it and ask your instructor whether you may hand it in again.",
    "timeout": "Your notebook needed more time than one submission has. What was finished by then counts.",
    "crashed": "Your code stopped the program that ran it. What was finished before counts.",
    "error": "The grader could not grade this file. This is not your fault; your instructor knows.",
    "too-large": "The file is too large to be read.",
    "archive": "The file is an archive. Please hand in the notebook itself.",
    "encrypted": "The file is encrypted, so it could not be read.",
    "special": "What was handed in is not an ordinary file.",
    "not-ipynb": "The name of the file does not end in .ipynb. It was read nevertheless.",
    "several-files": "You handed in several files. The one that is worth most counts.",
}
STOPPED = {
    "raised": "stopped with an error",
    "slow-cell": "took too long",
    "killed": "ended the program that ran it",
}
_PLACE = re.compile(r"cell (\d+):")  # as `match` counts them
NOTHING: Mapping[str, str] = {}


def feedback_name(result: Result) -> str:
    """Return the path of the page below the folder of the results: readable, and different for every file.

    >>> feedback_name(Result("a.ipynb", "ada", "Ada", "", "", "", "graded", {}))
    'feedback/ada-a-ipynb-008eb76c.html'
    """
    return f"{FOLDER}/{slug(chr(0).join((result.student, result.submission)))}.html"


def write_feedback(
    folder: str | Path,
    results: Iterable[Result],
    *,
    title: str,
    titles: Mapping[str, str] = NOTHING,
    late: Mapping[str, Late] | None = None,
) -> list[Result]:
    """Write a page for each result below `folder`, and return the results with the paths of their pages.

    title : the lab's name; titles : what to call each question, see `question_titles`
    late : what each file loses, from `labkit.grading.late.apply`
    """
    written = []
    for result in results:
        grade = Grade(result, (late or {}).get(result.submission, Late()))
        path = feedback_name(result)
        write_page(Path(folder) / path, f"{title}: {result.name}", feedback_body(grade, title=title, titles=titles))
        written.append(replace(result, feedback_path=path))
    return written


def question_titles(lab: Lab) -> dict[str, str]:
    """Return the headings of a lab's questions, by their names; a note about points at the end is left out."""
    cells = {cell.question: cell for cell in lab.cells if cell.role == "description" and cell.question}
    first = {name: cell.source.strip().split("\n")[0].lstrip("# ") for name, cell in cells.items()}
    headings = {name: re.sub(r"\s*\([^()]*points?\b[^()]*\)$", "", line) for name, line in first.items()}
    return {question.name: headings.get(question.name, question.name) for question in lab.questions}


def feedback_body(grade: Grade, *, title: str, titles: Mapping[str, str] = NOTHING) -> list[Markup]:
    """Return the content of a student's page."""
    result = checks.instance(grade, "grade", Grade).result
    pending = {item.question: item for item in result.pending}
    receipts = {question: [r for r in result.receipts if r.question == question] for question in result.points}
    cards = [
        _manual(pending[question], titles.get(question, question))
        if question in pending
        else _question(result, question, receipts[question], titles.get(question, question))
        for question in result.points
    ]
    return [_header(result, title), _total(grade), *_notes(result), *cards, _footer(result)]


def _header(result: Result, title: str) -> Markup:
    when = f", changed last {_readable(result.submitted)}" if result.submitted else ""
    who = el("p", name(result.name), f" ({result.student})", class_="who")
    return el("header", el("h1", title), who, el("p", el("bdi", result.submission), when, class_="who small"))


def _total(grade: Grade) -> Markup:
    result = grade.result
    open_points = sum(item.points for item in result.pending)
    lines = [el("p", f"{grade.total:g} of {result.maximum:g} points", class_="big")]
    if result.pending:
        lines.append(el("p", f"{open_points:g} more can come from answers that a person reads.", class_="soft"))
    if grade.late.points:
        lines.append(el("p", f"{result.total:g} earned. {grade.late.text}", class_="soft"))
    elif grade.late.text:
        lines.append(el("p", grade.late.text, class_="soft"))
    full = max(result.maximum, grade.total, 1e-9)
    return el("div", ring(grade.total / full, open_points / full), el("div", *lines), class_="card total")


def _notes(result: Result) -> list[Markup]:
    """Return what concerns the student, each sentence once."""
    kinds = [result.status, *(flag.kind for flag in result.flags)]
    sentences = dict.fromkeys([*(SENTENCES[kind] for kind in kinds if kind in SENTENCES), *_stopped(result)])
    return [el("div", *(el("p", sentence) for sentence in sentences), class_="card note")] if sentences else []


def _stopped(result: Result) -> Iterator[str]:
    """Yield which cells did not run to their end: their places only, what they raised may repeat a hidden input."""
    groups = []
    for kind, words in STOPPED.items():
        found = [match[1] for flag in result.flags if flag.kind == kind and (match := _PLACE.match(flag.text))]
        if found:
            cells = f"cell {found[0]}" if len(found) == 1 else f"cells {', '.join(found[:-1])} and {found[-1]}"
            groups.append(f"{cells} {words}")
    if groups:
        how = "Restart the kernel and run all cells to see it; cells of text count, too."
        yield f"When your notebook ran from top to bottom, {'; '.join(groups)}. {how}"


def _question(result: Result, question: str, receipts: list[Receipt], title: str) -> Markup:
    points, score = result.points[question], result.scores.get(question, 0.0)
    head = el("div", el("h2", title), el("span", f"{score:g} of {points:g}", class_="points"), class_="head")
    if not receipts:
        found = el("p", "No check ran.", class_="soft small")
        return el("section", head, bar(score / points if points else 0.0), found, class_="card")
    lines = el("ul", *(_check(receipt) for receipt in receipts), class_="checks")
    return el("section", head, bar(score / points if points else 0.0), lines, class_="card")


def _check(receipt: Receipt) -> Markup:
    """Return one named check; a message that could give hidden inputs away stays out."""
    mark, word = ("✓", "passed") if receipt.passed else ("✗", "not passed")
    badge = el("span", mark, class_="badge", role="img", aria_label=word)
    label = el("span", receipt.check, *([el("span", "hidden", class_="tag")] if receipt.hidden else []))
    worth = f"{receipt.earned:g} of {receipt.points:g}" if receipt.points else ""
    points = el("span", worth, class_="points small soft")
    return el("li", badge, label, points, *_more(receipt), class_="pass" if receipt.passed else "fail")


def _more(receipt: Receipt) -> list[Markup]:
    """Return what a person wrote, or what a failed check found."""
    shown = receipt.shown.strip()
    if receipt.check == PERSON:
        return [el("div", el("p", el("q", shown)), class_="more")] if shown else []
    if receipt.passed or receipt.hidden:
        return []
    again = el("p", "Run this check in your notebook to see what it finds.", class_="soft small")
    return [el("div", el("pre", shown) if shown else again, class_="more")]


def _manual(item: Pending, title: str) -> Markup:
    head = el("div", el("h2", title), el("span", f"of {item.points:g}", class_="points"), class_="head")
    words = len(item.answer.split())
    there = f"Your answer is there ({words} words)." if words else "There is no answer."
    return el("section", head, el("p", f"To be read by a person. {there}", class_="soft small"), class_="card")


def _footer(result: Result) -> Markup:
    prints = (("file", result.sha256), ("checks", result.assignment), ("software", result.environment))
    parts = join(el("span", f"{label} ", el("code", value[:12]), " ") for label, value in prints if value)
    hidden = any(receipt.hidden for receipt in result.receipts)
    about = "Hidden checks test more cases of the same question; only their names are shown. " if hidden else ""
    return el("footer", el("p", about, "The same file, graded again, gets the same points: ", parts))


def _readable(when: str) -> str:
    try:
        return f"{datetime.fromisoformat(when):%d %B %Y, %H:%M %Z}".strip()
    except ValueError:
        return when
