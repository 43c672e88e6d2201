"""From what the engine found to a `Result`: scores, flags and status."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from labkit.grading.engine import Outcome
from labkit.grading.feedback import feedback_name
from labkit.grading.match import Matched
from labkit.grading.model import Lab, Receipt
from labkit.grading.results import Flag, Pending, Result
from labkit.grading.text import visible
from labkit.grading.trusted import earned

ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")  # differs from run to run
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # pytest and IPython colour what they print
MOST_CODE = 400_000  # characters of a student's code that are kept for the comparison
TEXT = 300
NOTES = {"killed": "ended the process", "slow-cell": "took too long", "raised": "raised", "flood": "printed very much"}


def conclude(blank: Result, lab: Lab, matched: Matched, outcome: Outcome) -> Result:
    """Return the result of a submission that has run; `blank` is its result from before."""
    receipts = {message["question"]: _receipts(message["receipts"]) for message in outcome.get("question")}
    found = [receipts.get(question.name, ()) for question in lab.automatic]
    scores = {q.name: min(earned(each), q.points) for q, each in zip(lab.automatic, found, strict=True)}
    pending = tuple(Pending(q.name, q.points, _shown(matched.answers[q.name])) for q in lab.questions if q.manual)
    result = replace(
        blank,
        status=_status(outcome),
        scores=scores,
        receipts=tuple(receipt for each in found for receipt in each),
        flags=[*blank.flags, *matched.flags, *_flags(outcome, matched)],
        pending=pending,
        code=_capped(matched.code),
        seconds=round(outcome.seconds, 3),
    )
    return replace(result, feedback_path=feedback_name(result))


def _receipts(raw: list[dict[str, Any]]) -> tuple[Receipt, ...]:
    return tuple(Receipt(**one | {"message": steady(one["message"])}) for one in raw)


def steady(text: str) -> str:
    """Return text without the addresses of objects, which differ from run to run.

    >>> steady("<object at 0x7f2b1c0d5e80>")
    '<object at 0x…>'
    """
    return ADDRESS.sub("0x…", text)


def _status(outcome: Outcome) -> str:
    """Return how far the grader came: "error" is its own fault, so that the file is graded again the next time."""
    last = outcome.get("notes")
    if outcome.problems or not last:
        return "error"
    if last[0]["out_of_time"]:
        return "timeout"
    return "crashed" if last[0]["restarts"] else "graded"


def _flags(outcome: Outcome, matched: Matched) -> Iterator[Flag]:
    question_of = {cell.id: cell.question for cell in matched.cells}
    for last in outcome.get("notes"):
        for note in last["notes"]:
            text = f"cell {note['id']} {NOTES[note['kind']]}: {note['error']}"
            yield Flag(note["kind"], question_of.get(note["id"]), steady(visible(text, limit=TEXT)))
        for account in last["out_of_time"]:
            what = f"the checks of {account}" if account else "the cells"
            yield Flag("timeout", account or None, f"{what} used up their time")
        if not last["clean"]:
            yield Flag("left-behind", None, "a process of the student's could not be ended")
    for problem in outcome.problems:
        yield Flag("engine", None, steady(visible(COLOURS.sub("", problem).strip(), keep="\n", limit=TEXT)))


def _shown(answer: str) -> str:
    return visible(answer, keep="\n\t", limit=20_000)


def _capped(code: tuple[str, ...]) -> tuple[str, ...]:
    left, kept = MOST_CODE, []
    for cell in code:
        kept.append(cell[:left])
        left -= len(kept[-1])
    return tuple(kept)
