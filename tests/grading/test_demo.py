"""The made-up class: repeatable, complete, understandable; its expectations hold for work that is safe to run."""

import json
import zipfile
from pathlib import Path

import pytest
import toy_lab

from labkit.__main__ import grader
from labkit.grading import LabError, read_lab
from labkit.grading.demo import EXPECTED, POLICY, README, ROSTER, Demo, demo_class
from labkit.grading.intake import collect
from labkit.grading.late import read_policy
from labkit.grading.notebook import read_submission
from labkit.grading.oracle import LocalOracle
from labkit.grading.results import RESULTS, Result, append_result
from labkit.grading.roster import read_roster
from labkit.grading.specimens import KINDS
from labkit.grading.trusted import earned, score
from labkit.paths import ROOT

LAB = ROOT / "labs" / "05-svd"
SAFE = ("full", "one wrong", "half done", "untouched", "copied", "original", "stale outputs", "moved cells")
UNREADABLE = ("broken file", "not a notebook", "two keys", "empty file")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demo_class(LAB, tmp_path_factory.mktemp("demo") / "class", students=len(KINDS) + 3)


def test_every_kind_is_there_once(demo: Demo) -> None:
    kinds = [work.kind for work in demo.works.values()]
    assert kinds[: len(KINDS)] == list(KINDS)
    assert kinds[len(KINDS) :] == ["mixed"] * 3
    assert sum(work.about.startswith("hostile") for work in demo.works.values()) >= 12


def test_intake_knows_everybody(demo: Demo) -> None:
    roster = read_roster(demo.folder / ROSTER)
    found = collect(demo.submissions, roster=roster)
    assert {s.file for s in found} == set(demo.works)
    assert {s.student for s in found} == {student.id for student in roster.students}
    assert not [s for s in found for flag in s.flags if flag.kind in ("unmatched", "matched-by-name")]
    late = {s.file for s in found if s.marked_late}
    assert late == {file for file, work in demo.works.items() if work.hours_late}
    assert len(read_policy(demo.folder / POLICY).exceptions) == 1


def test_readable_or_not(demo: Demo, tmp_path: Path) -> None:
    for submission in collect(demo.submissions):
        (tmp_path / "x.ipynb").write_bytes(submission.read())
        if demo.works[submission.file].kind in UNREADABLE:
            with pytest.raises(LabError, match="not a notebook"):
                read_submission(tmp_path / "x.ipynb")
        else:
            assert read_submission(tmp_path / "x.ipynb")


def test_readme_and_expectations_name_everybody(demo: Demo) -> None:
    readme = (demo.folder / README).read_text("utf-8")
    expected = json.loads((demo.folder / EXPECTED).read_text("utf-8"))
    assert set(expected) == set(demo.works)
    for file, work in demo.works.items():
        assert f"| {work.kind} | {work.about} |" in readme
        assert expected[file]["scores"] == {question: list(value) for question, value in work.expected.items()}
    assert "python -m labkit grade" in readme


@pytest.mark.parametrize("kind", SAFE)
def test_expectations_hold(demo: Demo, tmp_path: Path, kind: str) -> None:
    lab = read_lab(LAB)
    work = next(work for work in demo.works.values() if work.kind == kind)
    (tmp_path / "x.ipynb").write_bytes(work.content)
    receipts = score(lab, read_submission(tmp_path / "x.ipynb"), LocalOracle(), seed=b"demo")
    for question, (low, high) in work.expected.items():
        assert low <= earned(receipts[question]) <= high, question


def test_the_same_seed_gives_the_same_class(tmp_path: Path) -> None:
    lab = toy_lab.write(tmp_path / "toy")
    one, two, three = (
        demo_class(lab, tmp_path / name, random_state=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    contents = [
        {file.filename: archive.read(file) for file in archive.infolist()}
        for archive in (zipfile.ZipFile(demo.submissions) for demo in (one, two, three))
    ]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert one.submissions.read_bytes() == two.submissions.read_bytes()
    assert len(one.works) == 40


def test_a_large_class_has_different_names(tmp_path: Path) -> None:
    demo = demo_class(toy_lab.write(tmp_path / "toy", answers=None), tmp_path / "out", students=300)
    roster = read_roster(demo.folder / ROSTER)
    assert len({student.name for student in roster.students}) == len(demo.works) == 300


def test_what_is_refused(tmp_path: Path) -> None:
    lab = toy_lab.write(tmp_path / "toy")
    with pytest.raises(LabError, match="is there already; name a new folder"):
        demo_class(lab, lab)
    with pytest.raises(ValueError, match="students must be between 1 and 2000"):
        demo_class(lab, tmp_path / "x", students=0)
    with pytest.raises(LabError, match="cannot be read"):
        demo_class(tmp_path / "nowhere", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab, out = toy_lab.write(tmp_path / "toy"), tmp_path / "class"
    assert grader(["demo-class", str(lab), "--students", "3", "--out", str(out)]) == 0
    assert "3 submissions of made-up students" in capsys.readouterr().out
    assert grader(["demo-class", str(lab), "--students", "0"]) == 2
    assert "students must be between 1 and 2000, got 0" in capsys.readouterr().err
    assert grader(["similar", str(out)]) == 2
    assert "holds no results.jsonl" in capsys.readouterr().err
    append_result(out / RESULTS, Result("a", "a", "A", "", "", "", "graded", {}))
    assert grader(["similar", str(out)]) == 2
    assert "name the released notebook with --release" in capsys.readouterr().err
    assert grader(["similar", str(out), "--release", str(lab / "instructor.ipynb")]) == 0
    assert "0 pairs" in capsys.readouterr().out
    assert (out / "similarity.html").exists()
