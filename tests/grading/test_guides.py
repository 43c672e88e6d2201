"""The guides tell the truth: their commands exist, their limits are those of the grader, their counts are reached."""

import argparse
import re
import shlex

import corpus_blocks
import corpus_files
import corpus_honest
import pytest
from corpus import ENTRIES

from labkit import paths
from labkit.grading import cli, isolation, results
from labkit.grading.isolation import Resources
from labkit.grading.proxy import Times

CHAPTERS = (corpus_honest, corpus_files, corpus_blocks)  # their import fills the corpus
GUIDES = {path.stem: path.read_text("utf-8") for path in (paths.ROOT / "book" / "grading").glob("*.md")}
INSTRUCTORS, STUDENTS = GUIDES["instructor-guide"], GUIDES["how-your-work-is-graded"]


def commands() -> list[str]:
    text = "\n".join(GUIDES.values()).replace("\\\n", " ")
    return re.findall(r"^ {4}python -m labkit (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("command", commands())
def test_every_command_can_be_given(command: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    cli.add_parsers(parser.add_subparsers(required=True))
    assert parser.parse_args(shlex.split(command)).run


def test_every_command_is_shown() -> None:
    assert {command.split()[0] for command in commands()} == {"assign", "check", "grade", "similar", "demo-class"}


def test_the_limits_are_those_of_the_grader() -> None:
    rows = dict(re.findall(r"^\| (.*?) \| (\d.*?) \|$", STUDENTS, re.MULTILINE))
    times, most = Times(), Resources()
    assert rows == {
        "one cell": f"{times.cell:g} seconds",
        "one call of your function by a check": f"{times.call:g} seconds",
        "all cells together": f"{times.cells / 60:g} minutes",
        "all checks of one question": f"{times.question / 60:g} minutes",
        "memory": f"{most.memory >> 30} GB",
        "files in `/tmp`": f"{most.disk >> 20} MB",
    }


def test_the_counts_are_reached() -> None:
    whole, hostile = map(int, re.findall(r"more than (\d+) (?:submissions|of them hostile)", INSTRUCTORS))
    assert len(ENTRIES) > whole
    assert sum(bool(entry.chapter) for entry in ENTRIES.values()) > hostile


def test_every_isolation_is_described() -> None:
    for rung in isolation.RUNGS:
        assert f"| {rung.name} |" in INSTRUCTORS


def test_the_files_of_the_results_are_named() -> None:
    for name in (results.RESULTS, "review.html", "marks.csv", "grades.csv", "feedback/"):
        assert name in INSTRUCTORS
