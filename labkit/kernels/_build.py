"""The cffi build: `setup.py` names this file, setuptools runs it.

Out of line and in API mode: cffi writes a small C file from `csrc/kernels.h`, the compiler checks it against the real
declarations, and a call costs no parsing at run time. No option names a processor; `csrc/level.h` tells why.
"""

import os
from pathlib import Path

import cffi

CSRC = Path(__file__).parent / "csrc"  # relative during a build, which setuptools asks of sources
LEVELS = ["portable", "popcnt", "avx2", "avx512", "vpopcntdq", "neon"]
SOURCES = [CSRC / f"{name}.c" for name in ["dispatch", "huffman", *LEVELS]]  # the other .c files are included by these

ffibuilder = cffi.FFI()
ffibuilder.cdef((CSRC / "kernels.h").read_text(encoding="utf-8"))
ffibuilder.set_source(
    "labkit.kernels._native",
    '#include <stdint.h>\n#include "kernels.h"\n',
    sources=[path.as_posix() for path in SOURCES],
    include_dirs=[CSRC.as_posix()],
    depends=[path.as_posix() for path in sorted(CSRC.iterdir())],  # a change in any of them compiles anew
    # products and sums are not fused: the twins round after each of them
    extra_compile_args=["/O2"] if os.name == "nt" else ["-O3", "-ffp-contract=off"],
)
