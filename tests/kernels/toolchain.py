"""The C compiler of this machine, and what it can do."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "labkit" / "kernels" / "csrc"


def _compiler() -> list[str] | None:
    """The command that setuptools would use, if it exists."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return command if shutil.which(command[0]) else None


COMPILER = _compiler()


def compile_c(sources: list[Path], program: Path, *options: str) -> subprocess.CompletedProcess:
    """Compile and link C files."""
    command = [*COMPILER, *options, f"-I{CSRC}", *map(str, sources), "-o", str(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
