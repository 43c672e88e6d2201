"""Grading a class from end to end: one batch through nbval and the best isolation of this machine."""

import csv
import json
import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import corpus_lab
import pytest

from labkit.grading import Graded, LabError, Options, Result, grade, grade_file, isolation
from labkit.grading.assignment import Assignment
from labkit.grading.batch import taken_over
from labkit.grading.engine import Batch, Outcome, command, environment, grading_cells
from labkit.grading.intake import single
from labkit.grading.job import read_job, write_job
from labkit.grading.pool import Pool, run_all
from labkit.grading.proxy import Times
from labkit.grading.results import read_results, to_line

FULL = corpus_lab.FULL
NOTHING = dict.fromkeys(FULL, 0.0)
QUICK = Options(times=Times(cell=3, call=2, cells=20, question=20))
BEST = isolation.probe()
pytestmark = pytest.mark.skipif(not BEST.for_strangers, reason=f"the best isolation here is {BEST.name}")

KILLER = corpus_lab.ANSWERS["q2"] + "\n\n\nimport os\n\nif not os.path.exists('/proc/self/nothing'):\n    os._exit(0)"
FILES: dict[str, bytes] = {
    "ada.ipynb": corpus_lab.as_file(corpus_lab.solved()),
    "bob.ipynb": corpus_lab.as_file(corpus_lab.solved(q1="def double(x):\n    return 6")),
    "cy.ipynb": corpus_lab.as_file(corpus_lab.solved(q2=KILLER)),
    "dora.ipynb": b"\x89PNG",
    "eve.ipynb": corpus_lab.as_file(corpus_lab.solved(q1="import numpy as np\nnp.linalg.norm = lambda a: 1.0")),
    "fay.ipynb": b"",
    "gus.txt": corpus_lab.as_file(corpus_lab.solved()),
    "hal.ipynb": corpus_lab.as_file(corpus_lab.solved(q1="def double(x):\n    raise ValueError(str(object()))")),
}


def hand_in(folder: Path) -> Path:
    """Write a class's files into a new folder; one of them is a link."""
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "ivy.ipynb").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the lab, the submissions, a class list and a late policy."""
    place = tmp_path_factory.mktemp("grade")
    corpus_lab.write(place / "lab")
    hand_in(place / "class")
    (place / "roster.csv").write_text("id,name\nada,Ada King\nbob,=1+1\nzoe,Zoë\n", encoding="utf-8")
    (place / "policy.toml").write_text("deadline = 2020-01-01T00:00:00\ndeduction = 5\ncap = 10\n")
    return place


@pytest.fixture(scope="module")
def graded(place: Path) -> Graded:
    """Return the class, graded once for all tests; ada's answer has been read by a person."""
    out = place / "results"
    out.mkdir()
    (out / "marks.csv").write_text("student,question,points\nada,q5,0.5\nbob,q5,\nnobody,q5,1\n")
    options = {"roster": place / "roster.csv", "late": place / "policy.toml", "format": "canvas"}
    return grade(place / "lab", place / "class", out=out, workers=2, progress=False, options=QUICK, **options)


def automatic(result: Result) -> dict[str, float]:
    return {question: result.scores[question] for question in FULL}


def kinds(result: Result) -> set[str]:
    return {flag.kind for flag in result.flags}


@pytest.mark.parametrize(
    ("file", "scores", "status", "flags"),
    [
        ("ada.ipynb", FULL, "graded", set()),
        ("bob.ipynb", FULL | {"q1": 1.0}, "graded", set()),
        ("cy.ipynb", FULL | {"q2": 0.0}, "crashed", {"killed"}),
        ("dora.ipynb", NOTHING, "unreadable", {"unreadable"}),
        ("eve.ipynb", FULL | {"q1": 0.0}, "graded", set()),
        ("fay.ipynb", NOTHING, "unreadable", {"unreadable"}),
        ("gus.txt", FULL, "graded", {"not-ipynb"}),
        ("hal.ipynb", FULL | {"q1": 0.0}, "graded", set()),
        ("ivy.ipynb", NOTHING, "unreadable", {"special"}),
    ],
)
def test_what_each_file_earns(graded: Graded, file: str, scores: dict, status: str, flags: set[str]) -> None:
    result = graded.result(file)
    assert (automatic(result), result.status) == (scores, status)
    assert flags <= kinds(result)
    assert not kinds(result) & {"engine", "left-behind"}


def test_a_receipt_for_every_mark(graded: Graded) -> None:
    for result in graded.results:
        for question, score in automatic(result).items():
            assert score == sum(receipt.earned for receipt in result.receipts if receipt.question == question)
    hidden = {receipt.check for receipt in graded.result("ada.ipynb").receipts if receipt.hidden}
    assert "any number" in hidden


def test_one_row_a_file_and_every_report(graded: Graded) -> None:
    assert [result.submission for result in graded.results] == sorted([*FILES, "ivy.ipynb"])
    with (graded.folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == {*FILES, "ivy.ipynb", ""}
    assert (rows[""]["student"], rows[""]["status"]) == ("zoe", "missing")
    assert (rows["bob.ipynb"]["name"], rows["bob.ipynb"]["q1"]) == ("'=1+1", "1")
    assert (graded.folder / "grades-canvas.csv").read_text("utf-8").startswith("Student,ID,")
    assert "Ada King" in (graded.folder / "review.html").read_text("utf-8")
    assert len(read_results(graded.folder / "results.jsonl")) == len(graded.results)
    for result in graded.results:
        page = (graded.folder / result.feedback_path).read_text("utf-8")
        assert result.name in page
    release = json.loads((graded.folder / "release.ipynb").read_text("utf-8"))
    assert "HIDDEN" not in json.dumps(release)
    assert "np.linalg.norm(A)" not in "".join(release["cells"][6]["source"])


def test_the_reports_keep_what_is_hidden(graded: Graded) -> None:
    pages = [path.read_text("utf-8") for path in (graded.folder / "feedback").iterdir()]
    assert not [page for page in pages if "reference.double" in page or "99_999" in page]


def test_a_persons_marks_and_lateness(graded: Graded) -> None:
    ada = graded.result("ada.ipynb")
    assert (ada.scores["q5"], ada.pending) == (0.5, ())
    assert graded.late["ada.ipynb"].points == pytest.approx(1.0), "ten per cent of the full points at most"
    bob = graded.result("bob.ipynb")
    assert [pending.question for pending in bob.pending] == ["q5"]
    assert all(not result.scores.get("q5") for result in read_results(graded.folder / "results.jsonl"))


def test_a_summary(graded: Graded) -> None:
    lines = str(graded).splitlines()
    assert lines[0] == "9 files of 9 students: 5 graded, 3 unreadable, 1 crashed"
    assert "of 10 points" in lines[1]
    assert str(graded.folder / "review.html") in lines[-1]
    with pytest.raises(ValueError, match="file must be one of"):
        graded.result("nobody.ipynb")


def test_an_unchanged_file_is_not_graded_twice(graded: Graded, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the engine must not start")

    monkeypatch.setattr("labkit.grading.pool.Batch", never)
    before = (graded.folder / "results.jsonl").read_bytes()
    options = {"options": QUICK, "roster": place / "roster.csv", "progress": False}
    again = grade(place / "lab", place / "class", out=graded.folder, **options)
    assert again.n_reused == 6
    assert (graded.folder / "results.jsonl").read_bytes() == before


def test_the_same_again_elsewhere(graded: Graded, place: Path) -> None:
    """A file alone, in another folder, without the cache of earlier results: the same marks and texts."""
    for name in ("hal.ipynb", "eve.ipynb"):
        alone, first = grade_file(place / "class" / name, place / "lab", options=QUICK), graded.result(name)
        about = {"name": first.name, "student": first.student, "flags": first.flags, "seconds": 0.0}
        about |= {"feedback_path": "", "submitted": first.submitted}
        assert to_line(replace(alone, **about)) == to_line(replace(first, seconds=0.0, feedback_path=""))


def test_equal_files_are_graded_once(graded: Graded) -> None:
    ada, gus = graded.result("ada.ipynb"), graded.result("gus.txt")
    assert (ada.sha256, ada.key, ada.seconds) == (gus.sha256, gus.key, gus.seconds)
    assert ada.feedback_path != gus.feedback_path
    assert "not-ipynb" not in kinds(ada)


def test_results_are_taken_over_without_what_concerns_the_file(graded: Graded) -> None:
    old, blank = graded.result("gus.txt"), replace(graded.result("dora.ipynb"), flags=[])
    new = taken_over(old, blank)
    assert (new.submission, new.student, new.scores) == ("dora.ipynb", blank.student, old.scores)
    assert "not-ipynb" not in kinds(new)


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "no\0name", "long" * 100, "half \ud800", "x/" * 3000])
def test_one_file_never_raises(place: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / (f"{kind}.ipynb" if len(kind) > 7 else "x.ipynb")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(place / "class" / "ada.ipynb")
    result = grade_file(path, place / "lab", options=replace(QUICK, out=tmp_path / "out"))
    assert (result.status, automatic(result)) == ("unreadable", NOTHING)
    assert (tmp_path / "out" / result.feedback_path).exists()


def test_an_endless_notebook_ends(place: Path, tmp_path: Path) -> None:
    cells = corpus_lab.solved(q3="while True:\n    pass")
    endless = [corpus_lab.code(f"while True: {i}") for i in range(20)]
    (tmp_path / "x.ipynb").write_bytes(corpus_lab.as_file([*endless, *cells]))
    options = Options(times=Times(cell=0.5, call=0.5, cells=4, question=8))
    result = grade_file(tmp_path / "x.ipynb", place / "lab", options=options)
    assert result.status == "timeout"
    assert {"slow-cell", "timeout"} <= kinds(result)


def test_what_is_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(LabError, match="does not exist"):
        grade(place / "lab", tmp_path / "nothing", out=out)
    with pytest.raises(LabError, match="cannot be read"):
        grade(tmp_path, place / "class", out=out)
    with pytest.raises(ValueError, match="workers must be a number or 'dask://HOST:PORT', got 'two'"):
        grade(place / "lab", place / "class", out=out, workers="two", progress=False)
    with pytest.raises(ValueError, match="format must be one of"):
        grade(place / "lab", place / "class", out=out, format="excel")
    with pytest.raises(ValueError, match="batch must be"):
        Options(batch=0)
    with pytest.raises(ValueError, match=r"times\.call must be"):
        Options(times=Times(call=-1))
    with pytest.raises(TypeError, match="options must be"):
        grade_file(place / "class" / "ada.ipynb", place / "lab", options=3)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="Use it for work that you trust"):
        grade(place / "lab", place / "class", out=out, options=Options(rung=isolation.LIMITS_ONLY))
    assert not (out / "results.jsonl").exists()


@pytest.mark.parametrize("rung", isolation.RUNGS, ids=lambda rung: rung.name)
def test_every_rung_of_this_machine(place: Path, rung: isolation.Rung) -> None:
    if problem := isolation.why_not(rung):
        pytest.skip(f"no {rung.name} on this machine: {problem}")
    options = replace(QUICK, rung=rung, trust_students=True)
    result = grade_file(place / "class" / "bob.ipynb", place / "lab", options=options)
    assert (automatic(result), result.rung) == (FULL | {"q1": 1.0}, rung.name)


# the engine


def test_a_grading_notebook_holds_no_text_of_the_students(place: Path, tmp_path: Path) -> None:
    job, _ = Assignment(place / "lab", QUICK).prepare(single(place / "class" / "cy.ipynb"))
    text = "\n".join(grading_cells(job, "0.json"))
    assert text.splitlines()[-1] == "session.close()"
    assert "os._exit" not in text
    assert text.count("session.check(") == text.count("session.again(") == len(FULL)
    write_job(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json") == replace(job, lab=replace(job.lab, samples=()))


def test_the_engines_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PYTHONSTARTUP", "PYTEST_ADDOPTS", "SECRET", "JUPYTER_PATH"):
        monkeypatch.setenv(name, "x")
    found = environment(tmp_path)
    assert not {"PYTHONSTARTUP", "PYTEST_ADDOPTS", "SECRET", "JUPYTER_PATH"} & set(found)
    assert found["HOME"] == str(tmp_path)
    assert {"--nbval-lax", "--nbval-current-env", "--noconftest"} <= set(command(tmp_path, 1, 9, 3))


def test_a_failed_cell_publishes_nothing(place: Path) -> None:
    """Were a check cell to fail in the kernel, its receipts would not count."""
    job, matched = Assignment(place / "lab", QUICK).prepare(single(place / "class" / "ada.ipynb"))
    spoilt = replace(job, rung="no such isolation")
    batch = Batch([spoilt])
    try:
        ((_, outcome),) = list(batch)
    finally:
        batch.close()
    assert outcome.published == []
    assert "StopIteration" in "".join(outcome.problems)
    blank = Assignment(place / "lab", QUICK).blank(single(place / "class" / "ada.ipynb"))
    result = Assignment(place / "lab", QUICK).conclude(blank, matched, outcome)
    assert (result.status, automatic(result)) == ("error", NOTHING)
    assert "engine" in kinds(result)


def test_a_dead_engine_is_reported(place: Path) -> None:
    job, _ = Assignment(place / "lab", QUICK).prepare(single(place / "class" / "ada.ipynb"))
    batch = Batch([job])
    os.kill(batch.popen.pid, 9)
    ((_, outcome),) = list(batch)
    batch.close()
    assert "the engine stopped" in outcome.problems[0]
    assert not batch.folder.exists()


def test_what_the_engine_did_not_finish_runs_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[int]] = []

    class Flaky:
        def __init__(self, jobs: list[int]) -> None:
            self.jobs = jobs
            tried.append(jobs)

        def __iter__(self) -> object:
            done = {"notes": []}
            return iter([(i, Outcome([done] if job != 2 else [])) for i, job in enumerate(self.jobs)])

        def close(self) -> None:
            pass

    monkeypatch.setattr("labkit.grading.pool.Batch", Flaky)
    outcomes = dict(run_all([1, 2, 3, 4], workers=1, batch=4))  # type: ignore[list-item]
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert tried == [[1, 2], [3, 4], [2]]
    assert outcomes[1].get("notes") == []


def test_stopping_leaves_nothing_behind(place: Path) -> None:
    cells = [corpus_lab.code("while True: pass"), *corpus_lab.solved()]
    path = place / "endless.ipynb"
    path.write_bytes(corpus_lab.as_file(cells))
    job, _ = Assignment(place / "lab", Options()).prepare(single(path))
    pool = Pool([job])
    runs = pool.run(1, 1)
    started: list[Batch] = []
    thread = threading.Timer(4, lambda: (started.extend(pool.live), pool.stop()))
    thread.start()
    assert list(runs) == []
    assert not pool.live
    assert [batch.popen.poll() for batch in started] == [-signal.SIGKILL]
    assert not [line for line in arguments_of_all() if str(started[0].folder) in line]
    assert not started[0].folder.exists()


def arguments_of_all() -> list[str]:
    """Return the command lines of every process."""
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
