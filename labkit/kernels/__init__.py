"""The kernels: the few inner loops in C, each with a NumPy twin that gives the same result.

`csrc/` holds one readable C file per family, compiled once for each level of processor; the fastest level that the
machine offers is chosen at run time. Without a C compiler the package installs too, and the twins serve.

Bits and sparse matrices are the chapters' subject: `bits` packs signs and multiplies them, `planes` does so for small
integers, `images` packs images and `conv` convolves them, `huffman` codes, `machine` measures the processor's limits.
`dispatch` chooses the level, `threads` shares work among Python threads.

A new kernel takes six steps: its C in a family file of `csrc/` (a new family joins `families.h`), a line in `struct
level`, its declaration in `kernels.h`, its call in `dispatch.c`, its twin in `twin.py`, and a Python function that
checks the arguments. A new level is one more file like `avx2.c`, named in `level.h`, `dispatch.c` and `_build.py`.
"""

from labkit.kernels.bits import pack_bits, unpack_bits, xnor_matmul
from labkit.kernels.bitwise import bitserial_dot, xnor_dot
from labkit.kernels.conv import binary_conv2d
from labkit.kernels.dispatch import backend, levels
from labkit.kernels.huffman import huffman_codes, huffman_decode, huffman_encode, huffman_lengths
from labkit.kernels.images import pack_bits_nchw, unpack_bits_nchw
from labkit.kernels.lut import LUT, synth_xnor_popcount, synthesize
from labkit.kernels.machine import Limits, limits
from labkit.kernels.planes import bitserial_matmul, pack_planes, unpack_planes
from labkit.kernels.sparse import csr_matmul, csr_matvec
from labkit.kernels.winograd import winograd_conv2d, winograd_kernel

__all__ = [
    "LUT",
    "Limits",
    "backend",
    "binary_conv2d",
    "bitserial_dot",
    "bitserial_matmul",
    "csr_matmul",
    "csr_matvec",
    "huffman_codes",
    "huffman_decode",
    "huffman_encode",
    "huffman_lengths",
    "levels",
    "limits",
    "pack_bits",
    "pack_bits_nchw",
    "pack_planes",
    "synth_xnor_popcount",
    "synthesize",
    "unpack_bits",
    "unpack_bits_nchw",
    "unpack_planes",
    "winograd_conv2d",
    "winograd_kernel",
    "xnor_dot",
    "xnor_matmul",
]
