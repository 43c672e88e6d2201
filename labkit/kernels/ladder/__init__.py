"""The kernel built up step by step: the product of two sign matrices in C, from the definition to vectors and threads.

Each step changes one thing in the step before it and gives the same integers. The C lies beside this file, is compiled
by `labkit.kernels.compiled` when it is asked for, and is meant to be read; the package's own kernel is `xnor_matmul`.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels.bits import N_MAX, pack_bits
from labkit.kernels.compiled import accepts, compile_c
from labkit.kernels.dispatch import pointer
from labkit.kernels.planes import check_integers, pack_planes

FOLDER = Path(__file__).parent
X86 = platform.machine().lower() in {"x86_64", "amd64"}
POPCNT = ("-O3", "-mpopcnt") if X86 else ("-O3",)  # on ARM every processor counts bits
NATIVE = ("-O3", "-march=native", "-mprefer-vector-width=512") if X86 else ("-O3", "-mcpu=native")
THREADS = min(os.cpu_count() or 1, 4)
CDEF = "void xnor_gemm(const {0} *a, const {0} *b, int32_t *c, int64_t m, int64_t p, int64_t n);"
PLANES_CDEF = (
    "void bitserial(const {0} *a, const {0} *b, int64_t *c, int64_t m, int64_t p, int64_t words, int64_t M, int64_t K);"
)


@dataclass(frozen=True)
class Step:
    """One rung: its name, the C file, the compiler's options, and in a few words what is new."""

    name: str
    file: str
    flags: tuple[str, ...]
    new: str

    @property
    def source(self) -> str:
        """The text of the C file."""
        return (FOLDER / self.file).read_text(encoding="utf-8")

    @property
    def available(self) -> bool:
        """Whether a compiler is there that takes the step's options."""
        return accepts(self.flags)

    def operand(self, signs: np.ndarray) -> np.ndarray:
        """Return a matrix as the step reads it: float32 signs for the first step, packed words for the others."""
        signs = np.where(checks.matrix(signs, "signs") < 0, -1, 1)
        return signs.astype(np.float32) if self.name == "signs" else pack_bits(signs)

    def compile(self) -> Callable[..., np.ndarray]:
        """Return the compiled step as a function of two operands and n, which gives their products as int32 (m, p).

        Raises NoCompilerError or CompileError where it cannot be compiled; see `available`.
        """
        ctype = "float" if self.name == "signs" else "uint64_t"
        function = compile_c(self.source, CDEF.format(ctype), flags=self.flags).xnor_gemm

        def product(a: np.ndarray, b: np.ndarray, *, n: int) -> np.ndarray:
            _check_operands(a, b, n, ctype)
            c = np.empty((len(a), len(b)), np.int32)
            views = pointer(a, f"{ctype}[]"), pointer(b, f"{ctype}[]"), pointer(c, "int32_t[]")
            function(*views, len(a), len(b), n)
            return c

        return product


STEPS = (
    Step("signs", "signs.c", ("-O3",), "a float for every sign"),
    Step("words", "words.c", ("-O3",), "64 signs in a word"),
    Step("popcount", "popcount.c", POPCNT, "an instruction that counts bits"),
    Step("blocks", "blocks.c", POPCNT, "rows of B wait in the cache"),
    Step("tile", "tile.c", POPCNT, "eight sums in registers"),
    Step("vectors", "vectors.c", NATIVE, "a column of the result in each lane"),
    Step("threads", "vectors.c", (*NATIVE, "-fopenmp", f"-DTHREADS={THREADS}"), f"{THREADS} threads"),
)


def step(name: str) -> Step:
    """Return the step of that name; raises ValueError for another.

    >>> step("tile").new
    'eight sums in registers'
    """
    return {s.name: s for s in STEPS}[checks.choice(name, "name", [s.name for s in STEPS])]


def listing(operator: str = "&") -> str:
    """Return the kernel of lecture 003:1324-1340 with `operator` between the words: "&" as printed, "^" as it must be.

    >>> "~(A_PART ^ B[" in listing("^")
    True
    """
    text = (FOLDER / "listing.c").read_text(encoding="utf-8")
    return text.replace("&", checks.choice(operator, "operator", ["&", "^"]))


def run_listing(a: np.ndarray, b: np.ndarray, *, operator: str = "&") -> np.ndarray:
    """Compile the lecture's kernel, run it, and return what it counts, as float32 (m, p).

    a : uint64 array (m, words); b : uint64 array (words, p), so B lies as the kernel reads it; `operator` as in
    `listing`. Raises TypeError or ValueError for other arrays, NoCompilerError where there is no compiler.
    """
    for name, words in {"a": a, "b": b}.items():
        if not isinstance(words, np.ndarray) or words.dtype != np.uint64 or words.ndim != 2:
            raise TypeError(f"{name} must be a matrix of uint64 words, got {_kind(words)}")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"b must have {a.shape[1]} rows, a word of each row of a, got shape {b.shape}")
    head = "#include <stdint.h>\ntypedef uint64_t BINARY_WORD;\n"
    arguments = "int M, int N, int K, uint64_t *A, int lda, uint64_t *B, int ldb, float *C, int ldc"
    lib = compile_c(head + listing(operator), f"void xnor_gemm_baseline_no_omp({arguments});", flags=POPCNT)
    a, b, c = (
        np.require(a, requirements=["C", "A"]),
        np.require(b, requirements=["C", "A"]),
        np.zeros((len(a), b.shape[1]), "f4"),
    )
    views = [pointer(x, ctype) for x, ctype in ((a, "uint64_t[]"), (b, "uint64_t[]"), (c, "float[]"))]
    (m, words), p = a.shape, b.shape[1]
    lib.xnor_gemm_baseline_no_omp(m, p, words, views[0], words, views[1], p, views[2], p)
    return c


def bitserial(file: str, word: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return planes.c or planes_tile.c, compiled for words of 32 or 64 bits, as a function of two arrays of planes.

    The function takes unsigned words (M, m, w) and (K, p, w), w words to a row, and gives the products as int64 (m, p).
    Raises NoCompilerError where there is no compiler, TypeError or ValueError for another file or word, or for arrays
    that are no planes.
    """
    return _bitserial(checks.choice(file, "file", ["planes.c", "planes_tile.c"]), _word(word))


@cache
def _bitserial(file: str, word: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    ctype = f"uint{word}_t"
    source = (FOLDER / file).read_text(encoding="utf-8")
    function = compile_c(source, PLANES_CDEF.format(ctype), flags=(*POPCNT, f"-DWORD={ctype}")).bitserial

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        for name, x in {"a": a, "b": b}.items():
            if not isinstance(x, np.ndarray) or x.dtype != np.dtype(ctype[:-2]) or x.ndim != 3:
                raise TypeError(f"{name} must be planes (bits, rows, words) of {ctype}, got {_kind(x)}")
        if a.shape[2] != b.shape[2]:
            raise ValueError(f"b must have rows of {a.shape[2]} words, as a has, got shape {b.shape}")
        a, b = np.require(a, requirements=["C", "A"]), np.require(b, requirements=["C", "A"])
        c = np.empty((a.shape[1], b.shape[1]), np.int64)
        views = pointer(a, f"{ctype}[]"), pointer(b, f"{ctype}[]"), pointer(c, "int64_t[]")
        function(*views, a.shape[1], b.shape[1], a.shape[2], a.shape[0], b.shape[0])
        return c

    return product


def planes(numbers: np.ndarray, *, bits: int, word: int = 64) -> np.ndarray:
    """Return the bit planes of a matrix (m, n) of unsigned integers as words (bits, m, w) of 32 or 64 bits.

    Raises TypeError or ValueError as `pack_planes` does, and for another word.

    >>> planes(np.array([[1, 2, 3]]), bits=2).tolist()
    [[[5]], [[6]]]
    """
    word = _word(word)
    numbers = check_integers(numbers, "numbers", bits=bits)
    packed = pack_planes(numbers, bits=bits)  # (bits, m, words of 64)
    narrow = packed.astype("<u8").view(f"<u{word // 8}")[:, :, : -(-numbers.shape[1] // word)]
    return np.ascontiguousarray(narrow.astype(f"u{word // 8}"))


def _word(word: Any) -> int:
    if checks.integer(word, "word", low=1) not in (32, 64):
        raise ValueError(f"word must be 32 or 64, got {word}")
    return int(word)


def _kind(x: Any) -> str:
    """Return what an error says of an argument that should be an array."""
    return f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__


def _check_operands(a: Any, b: Any, n: int, ctype: str) -> None:
    """Refuse what C would read past the end of, or read wrongly."""
    n = checks.integer(n, "n", low=0, high=N_MAX)
    width, dtype = (n, np.float32) if ctype == "float" else (-(-n // 64), np.uint64)
    for name, x in {"a": a, "b": b}.items():
        fits = isinstance(x, np.ndarray) and x.dtype == dtype and x.ndim == 2 and x.shape[1] == width
        if not fits or not (x.flags.c_contiguous and x.flags.aligned):
            wanted = f"contiguous and aligned, with {width} {dtype.__name__} to a row"
            raise ValueError(f"{name} must be {wanted}, got {_kind(x)}")
