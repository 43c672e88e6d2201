"""The instructor's page review.html: what a person has to read, everything that was flagged, and how the class did."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from labkit.grading.gradebook import Grade, counted
from labkit.grading.late import Late
from labkit.grading.marks import MARKS, extend_marks
from labkit.grading.page import el, histogram, join, name, table, write_page
from labkit.grading.results import Flag, Pending, Result
from labkit.grading.text import slug
from labkit.html import Markup

REVIEW = "review.html"
SECTIONS = {
    "questions": "Questions",
    "flags": "Flags",
    "status": "Not graded to the end",
    "late": "Late",
    "checks": "Checks",
    "queue": "Answers to read",
}
NOTHING: Mapping[str, str] = {}


def write_review(
    folder: str | Path,
    results: Sequence[Result],
    *,
    title: str,
    titles: Mapping[str, str] = NOTHING,
    late: Mapping[str, Late] | None = None,
) -> Path:
    """Write review.html into a folder, and into marks.csv a line for each answer that a person has to read.

    title : the lab's name; titles : what to call each question; late : what each file loses
    """
    path = Path(folder) / REVIEW
    write_page(path, f"{title}: review", review_body(results, title=title, titles=titles, late=late or {}), wide=True)
    extend_marks(Path(folder) / MARKS, results)
    return path


def review_body(
    results: Sequence[Result], *, title: str, titles: Mapping[str, str] = NOTHING, late: Mapping[str, Late]
) -> list[Markup]:
    """Return the content of the instructor's page."""
    flags = [(result, flag) for result in results for flag in (*result.flags, *_shared(result, results))]
    grades = list(counted(results, late).values())
    content = {
        "questions": [_questions(grades, titles)] if grades else [],
        "queue": _manual(results, titles),
        "flags": _flags(flags),
        "status": _unfinished(results),
        "late": _late(results, late),
        "checks": _checks(grades),
    }
    sections = [_section(anchor, heading, content[anchor]) for anchor, heading in SECTIONS.items()]
    return [_header(results, grades, title, len(flags)), *sections]


def _header(results: Sequence[Result], grades: Sequence[Grade], title: str, n_flags: int) -> Markup:
    totals, maximum = [grade.total for grade in grades], max((r.maximum for r in results), default=0.0)
    status = Counter(result.status for result in results)
    tiles = {
        "students": len(grades),
        "files": len(results),
        "graded to the end": status["graded"],
        f"mean of {maximum:g} points": f"{fmean(totals):.1f}" if totals else "-",
        "answers to read": len(list(_queue(results))),
        "flags": n_flags,
    }
    links = [el("a", label, href=f"#{anchor}") for anchor, label in SECTIONS.items()]
    rungs = ", ".join(sorted({result.rung for result in results if result.rung})) or "not recorded"
    about = el("p", "Isolation in force: ", el("strong", rungs), ". Flags never change a mark.", class_="who")
    boxes = (el("div", el("b", str(value)), el("span", label, class_="soft small")) for label, value in tiles.items())
    return el("header", el("h1", f"{title}: review"), about, el("nav", *links), el("div", *boxes, class_="tiles"))


def _section(anchor: str, heading: str, parts: Sequence[Markup]) -> Markup:
    return el("section", el("h2", heading), *(parts or [el("p", "None.", class_="soft")]), id=anchor)


def _questions(grades: Sequence[Grade], titles: Mapping[str, str]) -> Markup:
    worth = {question: points for grade in grades for question, points in grade.result.points.items()}
    rows = []
    for question, points in worth.items():
        scores = [grade.result.scores[question] for grade in grades if question in grade.result.scores]
        rows.append(_statistics(titles.get(question, question), points, scores))
    totals = [grade.total for grade in grades]
    rows.append(_statistics("Total, late deduction included", sum(worth.values()), totals))
    header = ["question", "points", "mean", "full marks", "no points", "from 0 to full marks"]
    return table(header, rows, caption="Questions", numeric=(1, 2, 3, 4))


def _statistics(title: str, points: float, scores: Sequence[float]) -> list[str]:
    if not scores:
        return [title, f"{points:g}", "-", "-", "-", el("span", "to be read by a person", class_="soft small")]
    full, none = sum(score >= points for score in scores), sum(score == 0 for score in scores)
    return [
        title,
        f"{points:g}",
        f"{fmean(scores):.2f}",
        _share(full, scores),
        _share(none, scores),
        histogram(scores, points),
    ]


def _share(n: int, of: Sequence[float]) -> str:
    return f"{100 * n / len(of):.0f} %"


def _queue(results: Iterable[Result]) -> Iterator[tuple[Result, Pending]]:
    return ((result, pending) for result in results for pending in result.pending)


def _manual(results: Sequence[Result], titles: Mapping[str, str]) -> list[Markup]:
    groups: dict[str, list[Markup]] = defaultdict(list)
    for result, pending in _queue(results):
        answer = el("pre", pending.answer) if pending.answer.strip() else el("p", "No answer.", class_="soft")
        who = el("span", el("strong", name(result.name)), f" ({result.student})")
        head = el("div", who, el("span", f"of {pending.points:g}", class_="points soft"), class_="head")
        groups[pending.question].append(el("div", head, answer, class_="card", id=f"answer-{slug(result.submission)}"))
    how = f"Write the points into {MARKS}, with a comment for the student if you like; the next run adds them."
    parts = [
        join([el("h3", titles.get(question, question)), el("div", *cards, class_="answers")])
        for question, cards in groups.items()
    ]
    return [el("p", how, class_="soft"), *parts] if parts else []


def _flags(flags: Sequence[tuple[Result, Flag]]) -> list[Markup]:
    kinds: dict[str, list[list[str]]] = defaultdict(list)
    for result, flag in flags:
        kinds[flag.kind].append([name(result.name), name(result.submission), flag.question or "", flag.text])
    header = ["student", "file", "question", "what was seen"]
    groups = ((el("h3", f"{kind} ({len(kinds[kind])})"), kind) for kind in sorted(kinds))
    return [join([head, table(header, kinds[kind], caption=kind)]) for head, kind in groups]


def _shared(result: Result, results: Sequence[Result]) -> list[Flag]:
    """Return a flag if another student handed in the very same file."""
    if result.status == "unreadable":
        return []
    others = sorted({r.name for r in results if r.sha256 == result.sha256 and r.student != result.student})
    return [Flag("same-file", None, f"byte for byte the file of {', '.join(others)}")] if others else []


def _unfinished(results: Sequence[Result]) -> list[Markup]:
    rows = [[name(r.name), name(r.submission), r.status] for r in results if r.status != "graded"]
    return [table(["student", "file", "status"], rows, caption="Not graded")] if rows else []


def _late(results: Sequence[Result], late: Mapping[str, Late]) -> list[Markup]:
    found = [(result, late[result.submission]) for result in results if late.get(result.submission, Late()).text]
    rows = [[name(r.name), name(r.submission), r.submitted or "", f"{cost.points:g}", cost.text] for r, cost in found]
    return [table(["student", "file", "changed last", "points", ""], rows, caption="Late", numeric=[3])] if rows else []


def _checks(grades: Sequence[Grade]) -> list[Markup]:
    """Return how often each check passed: one that all fail is a check to look at."""
    found: dict[tuple[str, str, bool], list[bool]] = defaultdict(list)
    for grade in grades:
        for receipt in grade.result.receipts:
            found[receipt.question, receipt.check, receipt.hidden].append(receipt.passed)
    rows = []
    for (question, check, hidden), passed in sorted(found.items()):
        label = join([check, el("span", "hidden", class_="tag")]) if hidden else check
        rows.append([question, label, str(len(passed)), f"{100 * sum(passed) / len(passed):.0f} %"])
    header = ["question", "check", "ran for", "passed"]
    return [table(header, rows, caption="Checks", numeric=(2, 3))] if rows else []
