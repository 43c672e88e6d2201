"""The kernels: the few inner loops in C, each with a NumPy twin that gives the same result.

`csrc/` holds one readable C file per family, compiled once for each level of processor; the fastest level that the
machine offers is chosen at run time. Without a C compiler the package installs too, and the twins serve.

A new kernel takes six steps: its C in a family file of `csrc/` (a new family joins `families.h`), a line in `struct
level`, its declaration in `kernels.h`, its call in `dispatch.c`, its twin in `twin.py`, and a Python function that
checks the arguments. A new level is one more file like `avx2.c`, named in `level.h`, `dispatch.c` and `_build.py`.
"""

from labkit.kernels.bits import pack_bits, unpack_bits, xnor_matmul
from labkit.kernels.dispatch import backend, levels

__all__ = ["backend", "levels", "pack_bits", "unpack_bits", "xnor_matmul"]
