"""The student's side: friendly results that never raise, and the tolerant reader behind `python -m labkit check`."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import toy_lab

from labkit.__main__ import main
from labkit.grading import LabError, answered, assign, check, check_notebook, probe, question
from labkit.grading.notebook import read_submission
from labkit.grading.oracle import execute


def stub(x):
    """Explain."""
    ...


def test_a_stub_is_not_answered_and_everything_else_is() -> None:
    assert not answered(stub)
    assert not answered(max, ...)
    assert answered(lambda x: x, 0, None, len)


def test_an_unanswered_question_says_so(capsys: pytest.CaptureFixture) -> None:
    @question("q_open")
    def _(check):
        with check("stub(1) is 1"):
            assert stub(1) == 1

    assert capsys.readouterr().out == "q_open: not answered yet (stub to write).\n"


def test_a_question_with_several_functions_is_checked_as_one(capsys: pytest.CaptureFixture) -> None:
    for name in ("first", "second", "second"):  # the last cell runs twice, and counts once
        source = f"@question('q_split')\ndef {name}(check):\n    with check('{name}'):\n        pass"
        execute(source, "<cell>", {"question": question})
        assert f"  pass  {name}\n" in capsys.readouterr().out
    check("q_split")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["first", "second"]


FAILING = """
@question("q_fail")
def _(check):
    with check("plain"):
        assert 1 + 1 == 3
    with check("with a message"):
        assert 1 + 1 == 3, "expected 3, got 2"
    with check("an error"):
        {}["key"]
    with check("passes"):
        pass
"""


def test_each_failed_check_says_what_was_expected(capsys: pytest.CaptureFixture) -> None:
    execute(FAILING, "<cell>", {"question": question})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "q_fail: 1 of 4 checks pass here. Hidden checks run at grading."
    assert lines[1:] == [
        "  FAIL  plain",
        "        this is not so: 1 + 1 == 3",
        "  FAIL  with a message",
        "        expected 3, got 2",
        "  FAIL  an error",
        "        KeyError: 'key' (at: {}[\"key\"])",
        "  pass  passes",
    ]


def test_an_error_between_the_checks_is_shown_not_raised(capsys: pytest.CaptureFixture) -> None:
    @question("q_stop")
    def _(check, rng, reference):
        with check("first"):
            assert isinstance(rng, np.random.Generator)
            assert reference.answered is answered
        1 / 0  # noqa: B018

    out = capsys.readouterr().out
    assert "  pass  first" in out
    assert "the checks stopped: ZeroDivisionError" in out


def test_a_notebook_sees_the_same_inputs_every_time() -> None:
    seen: list[float] = []

    @question("q_same")
    def _(check, rng):
        seen.append(rng.uniform())

    check("q_same")
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check("q_nowhere"), ValueError, "question must be one of"),
        (lambda: question(1), TypeError, r'as in @question\("q1"\), got 1'),
        (lambda: question("q_bad")(lambda seed: None), TypeError, "takes check, rng and reference"),
        (lambda: probe(3), TypeError, "probe decorates a function, got int"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assign(toy_lab.write(tmp_path_factory.mktemp("labs") / "toy"), gate=False).release


def test_an_unfinished_release_runs_to_the_end(release: Path, capsys: pytest.CaptureFixture) -> None:
    before = release.read_bytes()
    assert main(["check", str(release)]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "q1: not answered yet (double to write)." in out
    assert "Visible checks only: 0 pass, 0 fail, 1 questions open." in out
    assert "raised" not in out
    assert release.read_bytes() == before


def test_the_visible_checks_of_an_answer(release: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.ipynb"
    answer.write_text(release.read_text().replace('"    ..."', '"    return 6"'))
    result = check_notebook(answer)
    assert (result.n_passed, result.n_failed, result.n_open, result.raised) == (1, 0, 0, ())
    assert result.passed
    assert check(answer) == result, "the function has the name of the command"


def test_a_release_is_checked_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = tmp_path / "other.ipynb"
    other.write_text(json.dumps({"cells": [{"cell_type": "code", "source": "1"}]}))
    assert main(["check", str(other)]) == 2
    assert "holds no check cells" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"cells": [{"cell_type": "code", "source": ["a = 1\\r\\n", "b = 2"]}]}',
        b'{"worksheets": [{"cells": [{"cell_type": "code", "input": "a = 1\\nb = 2"}]}], "nbformat": 3}',
        b'{"cells": [{"cell_type": "code", "source": "a = 1\\nb = 2", "id": 7, "metadata": [], "outputs": "?"}]}',
    ],
)
def test_honest_damage_is_tolerated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "old.ipynb"
    path.write_bytes(content)
    (cell,) = read_submission(path)
    assert (cell.id, cell.kind, cell.source) == ("cell-0", "code", "a = 1\nb = 2")


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "link.ipynb").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "huge.ipynb").write_bytes(b" " * 20_000_001)
    for path in [tmp_path / "link.ipynb", tmp_path / "pipe.ipynb", tmp_path / "huge.ipynb", tmp_path]:
        with pytest.raises(LabError, match=path.name):
            read_submission(path)
    for text in ("[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin1"), '{"cells": 3}'):
        (tmp_path / "bad.ipynb").write_text(text, encoding="latin1")
        with pytest.raises(LabError, match=r"bad\.ipynb is not a notebook"):
            read_submission(tmp_path / "bad.ipynb")
