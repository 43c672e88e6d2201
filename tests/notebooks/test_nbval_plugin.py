"""nbval with the plugin fails where the kernel failed; the same notebooks without it show the holes it closes."""

import itertools
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from labkit.paths import ROOT

UNPRINTABLE = r"assert False, '\ud800'"
BROKEN_FORMATTER = """\
import traceback
def broken(*args, **kwargs): raise SystemExit
get_ipython().showtraceback = broken
get_ipython()._showtraceback = broken"""
DEATH = "import os; os._exit(1)"
SWALLOWED = """\
import time
try: time.sleep(60)
except KeyboardInterrupt: pass"""


def validate(folder: Path, *sources: str, plugin: bool = True, timeout: int = 60) -> tuple[dict[str, int], str]:
    """Run nbval on a notebook with these cells, none of which has outputs; return (outcomes, report)."""
    cells = [nbformat.v4.new_code_cell(source, execution_count=number) for number, source in enumerate(sources, 1)]
    for cell in cells:
        cell.metadata.tags = ["raises-exception"] if cell.source.startswith("# expected") else []
    path = folder / "sample.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    options = ["-p", "labkit.nbval_plugin"] if plugin else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", *options]
    command += ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={timeout}", f"--rootdir={folder}", str(path)]
    report = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120).stdout
    words = report.strip().splitlines()[-1].replace(",", "").split()
    return {word: int(count) for count, word in itertools.pairwise(words) if count.isdigit()}, report


def test_good_cells_pass(tmp_path):
    outcomes, report = validate(tmp_path, "x = 1", "assert x == 1")
    assert outcomes == {"passed": 2}, report


def test_false_assert_fails_with_and_without_the_plugin(tmp_path):
    for plugin in (True, False):
        outcomes, report = validate(tmp_path, "assert False, 'plain'", plugin=plugin)
        assert outcomes == {"failed": 1}, report


def test_unpublished_error_passes_plain_nbval(tmp_path):
    """The hole: when nbval closes it itself, this test fails and the plugin can shrink."""
    outcomes, report = validate(tmp_path, UNPRINTABLE, plugin=False)
    assert outcomes == {"passed": 1}, report


@pytest.mark.parametrize("failure", [UNPRINTABLE, BROKEN_FORMATTER + "\nassert False"])
def test_unpublished_error_fails_with_the_plugin(tmp_path, failure):
    outcomes, report = validate(tmp_path, failure, "x = 1")
    assert outcomes == {"failed": 1, "passed": 1}, report
    assert "The kernel reported a failure that it did not publish" in report


def test_announced_exception_is_allowed(tmp_path):
    """The stored notebook holds no error output, so nbval still reports the difference, but not our message."""
    _, report = validate(tmp_path, "# expected\nraise ValueError")
    assert "did not publish" not in report


def test_dead_kernel_fails_at_once_and_fails_the_cells_after_it(tmp_path):
    outcomes, report = validate(tmp_path, DEATH, "x = 1", timeout=100)
    assert outcomes == {"failed": 2}, report
    assert "the kernel died while it ran this cell" in report


def test_swallowed_interrupt_fails(tmp_path):
    outcomes, report = validate(tmp_path, SWALLOWED, timeout=2)
    assert outcomes == {"failed": 1}, report
    assert "ran longer than 2 seconds" in report
