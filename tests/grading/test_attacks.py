"""Every submission of the corpus earns what it should, and none of them reads, changes or leaves anything outside.

Files, odd notebooks and what concerns the machine are graded as one class by `grade`; the rest is scored in the same
sandbox without nbval, which is faster. `LABKIT_CORPUS=all` grades everything as a class, on every isolation for
untrusted work that the machine offers:

    LABKIT_CORPUS=all python -m pytest tests/grading/test_attacks.py
"""

import contextlib
import csv
import hashlib
import multiprocessing
import os
import re
import socket
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus_blocks
import corpus_files
import corpus_honest
import corpus_lab
import pytest
from corpus import ENTRIES, Entry, write_all

from labkit import paths
from labkit.grading import Graded, Options, Result, grade, grade_file, isolation
from labkit.grading.assignment import Assignment
from labkit.grading.intake import single
from labkit.grading.isolation import LIMITS_ONLY, NAMESPACES, OTHER_USER, RUNGS, Rung
from labkit.grading.proxy import Times
from labkit.grading.trusted import earned, score

CHAPTERS = (corpus_honest, corpus_files, corpus_blocks)  # their import fills the corpus
EVERYTHING = os.environ.get("LABKIT_CORPUS") == "all"
QUICK = Options(times=Times(cell=2, call=1, cells=20, question=10, grace=0.5), batch=8)
PATIENT = Options(times=Times(cell=10, call=6, grace=2))  # time enough for honest work that takes three seconds
BEST = isolation.probe()
STRANGERS = [rung for rung in RUNGS if rung.for_strangers and not isolation.why_not(rung)]
WHOLE = [name for name, entry in ENTRIES.items() if entry.whole or EVERYTHING]
SCORED = [name for name in ENTRIES if name not in WHOLE]

# On the rungs below the best: what decides marks, limits, crowds of processes, and theft where theft is promised away.
MARKS = ["numpy.testing", "AST transformer", "the grader's own modules", "number equal to everything", "lying array"]
MARKS += ["_exit", "exits in a call", "endless call", "forged frames with every number", "patches the probe"]
LIMITS = ["memory", "disk", "shared memory", "open files", "flood of text", "every descriptor closed"]
CROWDS = ["fork bomb", "daemon", "programs left behind", "kills all", "memory of children"]
CLOSED = [entry.name for entry in ENTRIES.values() if entry.chapter == "What must not be read"]
PARTS = {NAMESPACES: (MARKS, LIMITS, CROWDS), OTHER_USER: (MARKS, LIMITS, CROWDS), LIMITS_ONLY: (MARKS,)}
ELSEWHERE = [(rung, f"attack: {name}") for rung in PARTS for part in PARTS[rung] for name in part if rung != BEST]
ELSEWHERE += [(NAMESPACES, name) for name in CLOSED if BEST != NAMESPACES]

SECRET = {"COURSE_KEY": "attack-marker", "GRADER_TOKEN": "attack-marker"}  # of whoever grades
pytestmark = pytest.mark.skipif(not STRANGERS, reason=f"no untrusted code is run here: the best is {BEST.name}")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Return a folder with the lab and the submissions, on a machine with secrets and services."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attacked-")))
        for name, value in SECRET.items():
            patch.setenv(name, value)
        for address in ("\0attack-marker", str(place / "socket")):
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(OSError):  # another run of these tests listens there
                server.bind(address)
                server.listen()
        corpus_lab.write(place / "lab")
        with contextlib.chdir(place):  # `listen` of the corpus leaves the folder
            write_all(place / "class")
        yield place
        assert not leftovers(place)


def leftovers(place: Path) -> list[str]:
    """Return what submissions left outside of their sandboxes: marked files, and processes."""
    folders = ["/tmp", "/var/tmp", "/dev/shm", "/run", str(Path.home()), str(place), os.getcwd(), "/", "/etc"]
    names = [f"{folder}/{name}" for folder in {*folders, *map(str, packages())} for name in listed(folder)]
    files = [name for name in names if "attack-marker" in name or name.endswith("/escape.ipynb")]
    commands = [Path(f"/proc/{pid}/cmdline") for pid in isolation.all_processes()]
    return files + [str(path) for path in commands if b"sleep\x0086399" in content(path)]


def packages() -> list[Path]:
    return [paths.ROOT / "labkit", paths.ROOT / "labkit" / "grading"]


def listed(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def content(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def state(folder: Path) -> dict[str, Any]:
    """Return everything about the files of a folder that a submission might change."""
    facts = {path: path.lstat() for path in folder.rglob("*")}
    small = {path: stat.S_ISREG(fact.st_mode) and fact.st_size < 1 << 20 for path, fact in facts.items()}
    found = {path: hashlib.sha256(path.read_bytes()).hexdigest() if small[path] else "" for path in facts}
    return {str(path): (fact.st_mode, fact.st_size, fact.st_mtime, found[path]) for path, fact in facts.items()}


# what each submission earns


@pytest.fixture(scope="module", params=STRANGERS if EVERYTHING else STRANGERS[:1], ids=lambda rung: rung.name)
def graded(place: Path, request: pytest.FixtureRequest) -> Graded:
    """Return the class, graded with two workers."""
    before = {name: state(place / name) for name in ("lab", "class")}
    options = replace(QUICK, rung=request.param)
    out = place / f"results {request.param.name}"
    graded = grade(place / "lab", place / "class", out=out, workers=2, options=options, progress=False)
    assert {name: state(place / name) for name in before} == before
    return graded


@pytest.mark.parametrize("name", WHOLE)
def test_what_a_file_earns_in_a_class(graded: Graded, place: Path, name: str) -> None:
    entry = ENTRIES[name]
    result = graded.result(shown(entry.file))
    if too_few(automatic(result), entry):
        result = grade_file(place / "class" / entry.file, place / "lab", options=PATIENT)
    assert automatic(result) == entry.scores, result.receipts
    assert entry.flags <= {flag.kind for flag in result.flags}
    assert result.status == entry.status or (not entry.status and result.status in ("graded", "timeout", "crashed"))
    assert not {"engine", "left-behind"} & {flag.kind for flag in result.flags}


def shown(file: str) -> str:
    """Return the name of a file as results give it."""
    return single(Path(file)).file


def automatic(result: Result) -> dict[str, float]:
    return {question: result.scores[question] for question in corpus_lab.FULL}


def too_few(scores: dict[str, float], entry: Entry) -> bool:
    """Tell whether a busy machine may be at fault, so that a second try with time enough is fair.

    Points that are not earned have no such excuse.
    """
    return scores != entry.scores and all(scores[question] <= entry.scores[question] for question in scores)


def scored(folder: Path, lab: Path, entry: Entry, options: Options) -> dict[str, float]:
    """Write a submission, score it as the trusted kernel does, and return its points."""
    entry.write(folder)
    job, _ = Assignment(lab, options).prepare(single(folder / entry.file))
    with job.oracle() as oracle:
        receipts = score(job.lab, job.cells, oracle, seed=job.seed)
        oracle.close()
        assert oracle.clean, "a process was left behind"
    return {question: earned(receipts[question]) for question in corpus_lab.FULL}


def start(folder: str, lab: Path, rung: Rung, name: str) -> dict[str, float]:
    options = QUICK if ENTRIES[name].chapter else PATIENT
    return scored(Path(folder), lab, ENTRIES[name], replace(options, rung=rung, trust_students=True))


@pytest.fixture(scope="module")
def scores(place: Path, request: pytest.FixtureRequest) -> Iterator[dict[tuple[Rung, str], Future]]:
    """Return the points of the other submissions that were asked for; two are scored at the same time."""
    items = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    items = [item for item in items if "scores" in item.fixturenames]
    asked = [(item.callspec.params.get("rung", BEST), item.callspec.params["name"]) for item in items]
    cases = [(rung, name) for rung, name in asked if not isolation.why_not(rung)]
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, spawn) as pool:
        yield {case: pool.submit(start, folder, place / "lab", *case) for case in cases}


@pytest.mark.parametrize("name", SCORED)
def test_what_a_submission_earns(scores: dict, place: Path, tmp_path: Path, name: str) -> None:
    entry = ENTRIES[name]
    found = scores[BEST, name].result()
    if too_few(found, entry):
        found = scored(tmp_path, place / "lab", entry, PATIENT)
    assert found == entry.scores


@pytest.mark.parametrize(("rung", "name"), ELSEWHERE, ids=[f"{rung.name}-{name}" for rung, name in ELSEWHERE])
def test_the_other_rungs(scores: dict, place: Path, tmp_path: Path, rung: Rung, name: str) -> None:
    if problem := isolation.why_not(rung):
        pytest.skip(f"no {rung.name} on this machine: {problem}")
    entry = ENTRIES[name]
    found = scores[rung, name].result()
    if too_few(found, entry):
        found = scored(tmp_path, place / "lab", entry, replace(PATIENT, rung=rung, trust_students=True))
    assert found == entry.scores


# what the reports tell


def pages(graded: Graded) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in graded.folder.rglob("*.html")}


def test_students_are_not_told_what_is_hidden(graded: Graded) -> None:
    """Not even if their own code prints, raises or returns the inputs of the hidden checks."""
    told = {name: page for name, page in pages(graded).items() if name != "review.html"}
    assert len(told) == len(graded.results)
    hidden = re.compile(r"seen \d{2}|reference\.|99_999|HIDDEN TESTS|attack-marker:|COURSE_KEY")
    assert [name for name, page in told.items() if hidden.search(page)] == []
    assert [name for name, page in told.items() if "any number" in page], "names of hidden checks are shown"


def test_no_page_runs_what_a_student_wrote(graded: Graded) -> None:
    for name, page in pages(graded).items():
        assert "Content-Security-Policy" in page, name
        assert not re.search(r"<script|<img src=x|javascript:|<!--<", page, re.IGNORECASE), name
        assert page.isprintable() or not re.search(r"[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", page), name


def test_no_cell_of_the_gradebook_is_a_formula(graded: Graded) -> None:
    with (graded.folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + len(graded.results)
    assert len({len(row) for row in rows}) == 1
    assert [cell for row in rows for cell in row if re.match(r"[=@+\t\r]|-\D", cell)] == []


@pytest.mark.parametrize("name", ["the passwords", "the command lines of other processes", "an abstract socket"])
def test_the_thieves_find_what_is_not_closed(place: Path, tmp_path: Path, name: str) -> None:
    """Where student code has the rights of whoever grades, the same thefts succeed: the tests above can fail."""
    options = replace(PATIENT, rung=LIMITS_ONLY, trust_students=True)
    assert scored(tmp_path, place / "lab", ENTRIES[f"attack: {name}"], options) == corpus_lab.FULL
