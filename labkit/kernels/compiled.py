"""C from a string: compile it once, load it through cffi, and say plainly where no compiler is.

cffi serves in its ABI mode here: the C compiler makes an ordinary shared library, cffi opens it and calls what `cdef`
declares. Neither Python's headers nor setuptools are needed, and a call releases the GIL. The package's own kernels are
built beforehand instead, see `_build.py`.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cffi

from labkit import checks, paths

SHARED = ("-shared", "-fPIC", "-std=gnu11", "-fno-math-errno")


class NoCompilerError(RuntimeError):
    """This machine has no C compiler that works."""


class CompileError(RuntimeError):
    """The compiler refused the source; the message is the compiler's own."""


def compile_c(source: str, cdef: str, *, flags: Sequence[str] = ("-O3",)) -> Any:
    """Compile C code and return it as a library whose functions Python can call.

    The file is kept in `labkit.paths.CACHE`, by a fingerprint of source, flags and compiler, so the compiler works only
    once; where nothing can be written there, it is kept until Python ends. The library stays open until then. Pass
    arrays as `labkit.kernels.dispatch.pointer` gives them; cffi cannot check that they are long enough.

    Parameters
    ----------
    source : C code with the functions, and `#include`s where they are needed
    cdef : their declarations, as in a header; cffi reads these and knows no preprocessor
    flags : options for the compiler

    Raises
    ------
    NoCompilerError where there is no C compiler, CompileError with the compiler's words where it refuses the source,
    TypeError for another type, ValueError for empty text or a declaration of what the source does not define.

    Chapter: Bit kernels and hardware.

    >>> if find_compiler():
    ...     lib = compile_c("int twice(int x) { return 2 * x; }", "int twice(int x);")
    ...     assert lib.twice(21) == 42
    """
    for name, text in {"source": source, "cdef": cdef}.items():
        if not checks.instance(text, name, str).strip():
            raise ValueError(f"{name} must not be empty, got {text!r}")
    library = _library(source, _strings(flags))
    try:
        return _load(library, cdef)
    except OSError:  # it was damaged after it was kept
        library.unlink(missing_ok=True)
        return _load(_library(source, _strings(flags)), cdef)


def find_compiler() -> list[str] | None:
    """Return the command of the C compiler, or None: that of the variable CC, else Python's own, else cc, gcc, clang.

    >>> find_compiler() is None or shutil.which(find_compiler()[0]) is not None
    True
    """
    named = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]
    commands = [shlex.split(name) for name in named if name]
    return next((command for command in commands if command and shutil.which(command[0])), None)


def accepts(flags: Sequence[str]) -> bool:
    """Say whether there is a compiler that takes these options, a list of strings; raises TypeError for anything else.

    >>> accepts(["-a-flag-that-is-none"])
    False
    """
    options = _strings(flags)
    try:
        _library("int labkit_nothing;", options)
    except (NoCompilerError, CompileError):
        return False
    return True


def _strings(flags: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(flags, list | tuple) or not all(isinstance(flag, str) for flag in flags):
        raise TypeError(f"flags must be a list of strings, got {flags!r}")
    return tuple(flags)


def _library(source: str, flags: tuple[str, ...]) -> Path:
    """Return the shared library made of `source`, compiling it if the cache has none."""
    command = find_compiler()
    if command is None:
        raise NoCompilerError("no C compiler was found: install gcc or clang, or name one in the variable CC")
    parts = [source, *flags, *command, _version(tuple(command)), platform.machine(), _processor_of(flags)]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    kept = paths.CACHE / "compiled"
    if not os.path.exists(kept / f"{name}.so"):  # unlike Path.exists, False also where one may not look
        kept = kept if _can_write(kept) else Path(_until_the_end().name)
    target = kept / f"{name}.so"
    if not target.exists():
        with paths.replacing(target) as temporary:
            _run([*command, *flags, *SHARED, "-x", "c", "-", "-o", str(temporary)], source)
    return target


def _can_write(folder: Path) -> bool:
    """Say whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@cache
def _until_the_end() -> tempfile.TemporaryDirectory:
    """Return a folder of this process, which takes it along when it ends: for homes that cannot be written."""
    return tempfile.TemporaryDirectory(prefix="labkit-")


@cache
def _version(command: tuple[str, ...]) -> str:
    return _run([*command, "--version"], "")


def _processor_of(flags: tuple[str, ...]) -> str:
    """Return this processor's features where an option makes the library depend on them: caches can be shared."""
    cpuinfo = Path("/proc/cpuinfo")
    if not any(flag.endswith("=native") for flag in flags) or not cpuinfo.exists():
        return ""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")


def _run(command: list[str], text: str) -> str:
    """Run the compiler with `text` as its input and return what it printed."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoCompilerError(f"the C compiler {command[0]!r} cannot be started: {error}") from error
    if done.returncode:
        raise CompileError(f"{command[0]} refused the source:\n{done.stderr.strip()}")
    return done.stdout


@cache
def _load(library: Path, cdef: str) -> Any:
    """Open a library for good: cffi would close one that is no longer named, while its functions are still held."""
    ffi = cffi.FFI()
    try:
        ffi.cdef(cdef)
    except (cffi.CDefError, cffi.FFIError) as error:
        raise ValueError(f"cdef must hold C declarations, got {cdef!r}: {error}") from error
    lib = ffi.dlopen(str(library))
    for name in dir(lib):
        if not hasattr(lib, name):
            raise ValueError(f"cdef declares {name}, which source does not define")
    return lib
