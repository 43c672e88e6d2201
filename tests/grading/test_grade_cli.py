"""The commands: what they print, the exit codes, and that an interrupted run goes on where it stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import corpus_lab
import pytest

from labkit.__main__ import COMMANDS, main
from labkit.grading import cluster, isolation, scratch
from labkit.grading.batch import grade
from labkit.grading.errors import LabError
from labkit.grading.results import read_results
from labkit.paths import ROOT

pytestmark = pytest.mark.skipif(not isolation.probe().for_strangers, reason="the isolation here is for trusted work")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    corpus_lab.write(tmp_path / "lab")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ada.ipynb").write_bytes(corpus_lab.as_file(corpus_lab.solved()))
    (tmp_path / "class" / "bob.ipynb").write_bytes(b"")
    return tmp_path


def words(place: Path, *more: str) -> list[str]:
    return ["grade", str(place / "lab"), str(place / "class"), "--out", str(place / "out"), *more]


def test_a_class_in_one_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place)) == 0
    out, err = capsys.readouterr()
    assert out.startswith("isolation: ")
    assert "2 files of 2 students: 1 graded, 1 unreadable\nmean 4.5 of 10 points, 1 answers to read" in out
    assert "grading: 100%" in err
    assert main(["similar", str(place / "out")]) == 0
    assert "0 pairs are alike" in capsys.readouterr().out
    assert main(words(place)) == 0
    assert "1 results are those of an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "0"], "workers must be at least 1"),
        (["--workers", "many"], "workers must be a number or 'dask://HOST:PORT', got 'many'"),
        (["--roster", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["--late", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_bad_options(place: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert main(words(place, *more)) == 2
    assert message in capsys.readouterr().err


def test_weak_isolation_needs_a_word(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "probe", lambda: isolation.LIMITS_ONLY)
    assert main(words(place)) == 2
    assert "--trust-students" in capsys.readouterr().err


def test_every_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"assign", "check", "grade", "similar", "demo-class"} <= set(COMMANDS)
    for name in ("grade", "similar", "demo-class"):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        assert f"python -m labkit {name}" in capsys.readouterr().out


def started(place: Path) -> subprocess.Popen:
    """Start to grade a class with an endless notebook in it, and return when the first results are there."""
    endless = corpus_lab.as_file([*corpus_lab.solved(), corpus_lab.code("while True:\n    pass")])
    (place / "class" / "cy.ipynb").write_bytes(endless)
    lines = ["import signal, sys", "from labkit.__main__ import main"]
    lines += ["signal.signal(signal.SIGINT, signal.default_int_handler)", "sys.exit(main(sys.argv[1:]))"]
    command = [sys.executable, "-c", "\n".join(lines), *words(place)]
    env = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    done = place / "out" / "results.jsonl"
    while run.poll() is None and not (done.exists() and "ada.ipynb" in done.read_text("utf-8")):
        time.sleep(0.1)
    return run


def still_there(place: Path) -> list[str]:
    """Return the command lines of processes that name the folder of a run, after giving them time to end."""
    for _ in range(100):
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
        if not (found := [line for line in lines if str(place / "labkit-grading-") in line]):
            return []
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on(place: Path, number: int) -> None:
    """What is done is kept, no process stays behind, and the next run grades the rest only."""
    run = started(place)
    run.send_signal(number)
    output = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 130, output
    assert "the same command goes on" in output
    assert not list(place.glob("labkit-grading-*")), "the private folder of the engine is gone"
    assert still_there(place) == []
    done = place / "out" / "results.jsonl"
    assert {result.submission for result in read_results(done)} == {"ada.ipynb", "bob.ipynb"}
    (place / "class" / "cy.ipynb").unlink()
    again = subprocess.run([sys.executable, "-m", "labkit", *words(place)], cwd=ROOT, capture_output=True, check=True)
    assert "1 results are those of an earlier run" in again.stdout.decode()
    assert {result.status for result in read_results(done)} == {"graded", "unreadable"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_run_leaves_no_process(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = started(place)
    run.kill()
    run.communicate(timeout=60)
    assert still_there(place) == []
    (folder,) = place.glob("labkit-grading-*")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    scratch.remove_stale()
    assert folder.exists(), "it is too young to be sure"
    os.utime(folder, (0, 0))
    scratch.remove_stale()
    assert not folder.exists()


def test_the_folder_of_a_run_is_not_removed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = scratch.Scratch()
    (tmp_path / "labkit-grading-link").symlink_to(tmp_path)
    (tmp_path / "labkit-grading-without").mkdir()
    for folder in tmp_path.iterdir():
        os.utime(folder, (0, 0), follow_symlinks=False)
    scratch.remove_stale()
    assert len(list(tmp_path.iterdir())) == 3
    mine.remove()
    assert not mine.path.exists()


def test_a_cluster_needs_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LabError, match=r"pip install 'compression-labkit\[cluster\]'"):
        cluster.connect("127.0.0.1:1")


def test_a_local_cluster(place: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (the optional extra 'cluster')")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as machines:
        workers = machines.scheduler_address.replace("tcp://", "dask://")
        graded = grade(place / "lab", place / "class", out=place / "out", workers=workers, progress=False)
    assert graded.result("ada.ipynb").total == 9
    assert graded.result("bob.ipynb").status == "unreadable"
    with pytest.raises(LabError, match="no Dask scheduler answers"):
        cluster.connect(workers.removeprefix("dask://"))


def test_demo_class_and_grade_fit(tmp_path: Path) -> None:
    lab = corpus_lab.write(tmp_path / "lab")
    assert main(["demo-class", str(lab), "--students", "4", "--out", str(tmp_path / "demo")]) == 0
    expected = json.loads((tmp_path / "demo" / "expected.json").read_text("utf-8"))
    options = {"roster": tmp_path / "demo" / "roster.csv", "late": tmp_path / "demo" / "policy.toml"}
    graded = grade(lab, tmp_path / "demo" / "submissions.zip", out=tmp_path / "out", progress=False, **options)
    assert len(graded.results) == 4
    for result in graded.results:
        for question, (low, high) in expected[result.submission]["scores"].items():
            assert low <= result.scores[question] <= high
