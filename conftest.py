"""What every test run of this repository shares: strict notebooks, one thread, the live (not the static) explorers."""

import os
import re
from collections.abc import Generator

import pytest

pytest_plugins = ["labkit.nbval_plugin"]

collect_ignore = ["_build", "run.py"]
collect_ignore_glob = ["labs/*/release.ipynb", ".venv*"]  # a release is unsolved by design; its gate tests it

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Their bytes differ between BLAS kernels, thread counts and runs. Every number that matters is also printed
# rounded (compared as text) and asserted with a tolerance in the cell itself.
NOT_COMPARED = (
    "text/html",
    "application/vnd.plotly.v1+json",
    "application/javascript",
    "application/vnd.jupyter.widget-view+json",
    "image/svg+xml",
    "stderr",
)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the variables that the kernels of validated notebooks inherit."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    os.environ.pop("LABKIT_STATIC", None)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Tell nbval which outputs not to compare."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI the browser is always there, so a test that was skipped for want of one is a failure."""
    report = yield
    if os.environ.get("CI") and report.skipped and re.search("chromium|browser", str(report.longrepr), re.IGNORECASE):
        report.outcome = "failed"
        report.longrepr = f"CI must run the browser tests, but this one was skipped: {report.longrepr}"
    return report
