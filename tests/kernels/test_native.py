"""The C code under the address and undefined-behaviour sanitizers, and the build with and without a compiler."""

import os
import shutil
import subprocess
import sys

import pytest
from toolchain import COMPILER, ROOT, run_driver, run_on_arm, sanitized

from labkit.kernels import dispatch

DRIVERS = ["driver.c", "driver_csr.c", "driver_winograd.c"]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="this machine has no C compiler")


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request, tmp_path_factory):
    """A C driver with every kernel, sanitized."""
    return sanitized(request.param, tmp_path_factory.mktemp("driver"))


def test_every_level_is_correct_and_stays_in_its_memory(driver):
    result = run_driver(driver)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == dispatch.levels()[1:]


def test_the_sanitizer_sees_a_read_past_the_end(driver):
    result = run_driver(driver, "overrun")
    assert result.returncode != 0
    assert "heap-buffer-overflow" in result.stderr


@pytest.mark.parametrize("name", DRIVERS)
def test_neon_is_correct_in_an_emulator(name, tmp_path):
    result = run_on_arm(name, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["portable", "neon"]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the build reads."""
    for name in ["setup.py", "pyproject.toml"]:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").touch()
    ignore = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(ROOT / "labkit" / "kernels", tmp_path / "labkit" / "kernels", ignore=ignore)
    (tmp_path / "labkit" / "__init__.py").touch()
    return tmp_path


def build(checkout, **environment):
    """Run the build; return the compiled modules and what was printed."""
    pytest.importorskip("setuptools")
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    result = subprocess.run(
        command, cwd=checkout, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return list((checkout / "labkit" / "kernels").glob("_native.*")), result.stderr


def test_a_changed_header_is_compiled_anew(checkout):
    (module,), _ = build(checkout)
    before = module.read_bytes()
    assert b"portable" in before
    source = checkout / "labkit" / "kernels" / "csrc" / "families.h"
    source.write_text(source.read_text().replace(".name = LEVEL_NAME", '.name = "changed " LEVEL_NAME'))
    later = module.stat().st_mtime + 10  # a file system may count whole seconds
    os.utime(source, (later, later))
    (module,), _ = build(checkout)
    assert b"changed portable" in module.read_bytes()
    assert b"changed portable" not in before


@pytest.mark.parametrize("compiler", ["false", "a-compiler-that-is-not-there"])
def test_without_a_compiler_the_build_succeeds_and_leaves_no_old_kernels(checkout, compiler):
    old = checkout / "labkit" / "kernels" / "_native.abi3.so"
    old.write_bytes(b"kernels of an older source")
    modules, printed = build(checkout, CC=compiler)
    assert modules == []
    assert "NumPy will serve" in printed
