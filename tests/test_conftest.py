"""The rules of the root conftest: what CI refuses, and what the kernels of validated notebooks inherit."""

import os
import subprocess
import sys

import pytest

from labkit.paths import ROOT

SKIPS = """
import pytest
def test_body(): pytest.skip("no Chromium on this machine")
@pytest.fixture
def page(): pytest.skip("the browser tests need Chromium")
def test_fixture(page): pass
def test_other(): pytest.skip("this processor has no AVX-512")
"""


@pytest.mark.parametrize(("ci", "closing"), [("", "3 skipped"), ("true", "1 failed, 1 skipped, 1 error")])
def test_ci_refuses_skipped_browser_tests_only(tmp_path, ci, closing):
    (tmp_path / "test_skips.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"CI": ci}, timeout=120)
    assert done.stdout.splitlines()[-1].startswith(closing), done.stdout


def test_kernels_run_on_one_thread_and_live():
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert "LABKIT_STATIC" not in os.environ
