"""A pytest plugin for grading notebooks: reports how nbval judged each cell, and what the cell published.

One line of JSON for each cell goes to the descriptor that `--labkit-report` names. The run ends with the process that
started it, and nobody else on the machine can listen to its kernels.
"""

import ctypes
import functools
import json
import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import nbval.kernel
import pytest
from jupyter_client.manager import KernelManager
from nbval.plugin import IPyNbCell

MIME = "application/vnd.labkit.grading+json"  # as in session.py, which this process has no need to import


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that name the descriptor and the process that started the run."""
    parser.addoption("--labkit-report", type=int, default=2, help="the descriptor that gets a line for each cell")
    parser.addoption("--labkit-parent", type=int, help="the process with which the run ends")


def pytest_configure(config: pytest.Config) -> None:
    """End with the parent, and encrypt what goes to and from the kernels."""
    parent = config.getoption("--labkit-parent")
    if parent is not None:
        end_with(parent)
    if hasattr(KernelManager, "transport_encryption"):
        start = functools.partial(nbval.kernel.start_new_kernel, transport_encryption="auto")
        nbval.kernel.start_new_kernel = start


def end_with(parent: int) -> None:
    """Let the system kill this process when its parent ends, in whatever way; kernels watch theirs by themselves."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before
        os._exit(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send a line when a cell has run, or could not run."""
    report = yield
    if isinstance(item, IPyNbCell) and (report.when == "call" or report.failed):
        send(item.config.getoption("--labkit-report"), line(item, report))
    return report


def line(cell: IPyNbCell, report: pytest.TestReport) -> dict[str, Any]:
    """Return what the engine needs to know; what a cell published counts only if nbval passed it."""
    outputs = [output.get("data", {}) for output in cell.test_outputs or []]
    found = [data[MIME] for data in outputs if MIME in data] if report.passed else []
    problem = "" if report.passed else report.longreprtext[-1000:]
    return {"notebook": cell.path.stem, "cell": cell.cell_num, "problem": problem, "published": found}


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write a line, all of it."""
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(descriptor, data) :]
