"""`python -m labkit`: the dispatch, the doctor's report and the download command."""

import sys

import pytest

from labkit import __main__ as cli
from labkit import datasets, doctor, fetch, paths


def test_help_lists_every_command(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cli.COMMANDS)


def test_unknown_command_is_refused_by_name(capsys):
    assert cli.main(["docter"]) == 2
    assert "There is no command 'docter'" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_unknown_option_is_a_usage_error(command, capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main([command, "--wat"])
    assert refused.value.code == 2
    assert f"usage: python -m labkit {command}" in capsys.readouterr().err


def test_missing_lab_is_an_error_of_one_line(tmp_path, capsys):
    assert cli.main(["assign", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_doctor_prints_one_line_per_check(capsys):
    cli.main(["doctor"])
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len(lines) == len(doctor.CHECKS)
    assert all(line[:4] in doctor.MARKS.values() for line in lines)


def test_a_raising_check_is_reported_and_fails(monkeypatch, capsys):
    def volcano():
        raise RuntimeError("lava")

    monkeypatch.setattr(doctor, "CHECKS", (doctor.python, volcano))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "FAIL  Volcano    RuntimeError: lava" in printed
    assert "1 of 2 checks failed" in printed


def test_notes_do_not_fail(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: doctor.Finding("Sandbox", "none", "note"),))
    assert doctor.main([]) == 0
    assert "Everything that the book needs works." in capsys.readouterr().out


@pytest.mark.parametrize("version", [(3, 10, 1), (3, 14, 0)])
def test_unsupported_python_is_broken(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor.python().state == "broken"


def test_pins_are_compared(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(
        "# comment\npytest==0.0.1\nno-such-package-here==1\ncolorama==1 ; sys_platform == 'win32'\n"
    )
    assert doctor.read_pins(requirements) == {"pytest": "0.0.1", "no-such-package-here": "1"}
    assert "missing: no-such-package-here;" in doctor.packages().text
    requirements.write_text("".join(f"no-such-package-{i}==1\n" for i in range(9)))
    assert "no-such-package-4 and 4 more; activate .venv" in doctor.packages().text
    requirements.write_text("pytest==0.0.1\n")
    assert f"pytest {pytest.__version__} (pinned: 0.0.1)" in doctor.packages().text
    requirements.write_text(f"pytest=={pytest.__version__}\n")
    assert doctor.packages() == doctor.Finding("Packages", "all 1 as pinned in requirements.txt")


@pytest.mark.parametrize(("check", "name"), [(doctor.browser, "chromium"), (doctor.sandbox, "bubblewrap")])
def test_missing_programs_are_notes_that_say_how_to_get_them(monkeypatch, check, name):
    monkeypatch.delenv("LABKIT_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    assert check().state == "note"
    assert f"apt install {name}" in check().text


def test_missing_checkpoints_are_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert doctor.examine(doctor.checkpoints).state == "broken"


def test_data_says_what_went_wrong(monkeypatch, capsys):
    def offline(split, *, source):
        raise ConnectionError("no route to the mirrors")

    monkeypatch.setattr(datasets, "mnist", offline)
    assert fetch.main([]) == 1
    assert "no route to the mirrors" in capsys.readouterr().err


def test_data_reports_what_it_downloaded(monkeypatch, capsys):
    monkeypatch.setattr(datasets, "mnist", lambda split, *, source: range(7))
    assert fetch.main([]) == 0
    assert "7 train, 7 heldout, 7 test digits" in capsys.readouterr().out
