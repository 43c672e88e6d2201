"""The C compiler of this machine, and what it can do."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from labkit.kernels._build import SOURCES

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "labkit" / "kernels" / "csrc"


def _compiler() -> list[str] | None:
    """The command that setuptools would use, if it exists."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return command if shutil.which(command[0]) else None


COMPILER = _compiler()


ARM = ("aarch64-linux-gnu-gcc", "qemu-aarch64")  # a compiler for another machine, and that machine


def compile_c(sources: list[Path], program: Path, *options: str) -> subprocess.CompletedProcess:
    """Compile and link C files."""
    command = [*COMPILER, *options, f"-I{CSRC}", *map(str, sources), "-o", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


SANITIZE = ["-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def sanitized(driver: str, folder: Path) -> Path:
    """Build a C driver of this folder with all kernels under the sanitizers; skip the test where there are none."""
    if COMPILER is None:
        pytest.skip("this machine has no C compiler")
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    if compile_c([folder / "empty.c"], folder / "empty", *SANITIZE).returncode:
        pytest.skip("this compiler has no address and undefined-behaviour sanitizers")
    result = compile_c(_sources(driver), folder / "driver", *SANITIZE, "-ffp-contract=off")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    return folder / "driver"


def _sources(driver: str) -> list[Path]:
    return [Path(__file__).with_name(driver), *(CSRC / path.name for path in SOURCES)]


def run_on_arm(driver: str, folder: Path) -> subprocess.CompletedProcess:
    """Build a C driver for 64-bit ARM and run it in an emulator; skip the test where there are none."""
    if not all(map(shutil.which, ARM)):
        pytest.skip(f"this machine has no {' or no '.join(ARM)}")
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-static", f"-I{CSRC}"]
    command = [ARM[0], *options, *map(str, _sources(driver)), "-lm", "-o", str(folder / "driver")]
    subprocess.run(command, check=True)
    return subprocess.run([ARM[1], folder / "driver"], capture_output=True, text=True, check=False)


def run_driver(driver: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run it without the leak check, which needs ptrace, and containers forbid that."""
    quiet = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([driver, *arguments], env=quiet, capture_output=True, text=True, check=False)
