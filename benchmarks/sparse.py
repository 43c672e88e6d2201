"""Sparse products: CSR against SciPy, torch and the best dense product; generated code against CSR; the break-even.

    python -m benchmarks.sparse

takes about a minute on one thread, and the first time the minute that the compiler needs for the generated code.
`python -m benchmarks.kernels` shows the same rows among the others.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.common import processor, restart_clean, table

SIZE, SPARSITY = 1024, 0.9
WIDTHS = (1, 64, 128, 256)
CODE_SIZE, CODE_WIDTHS = 256, (16, 32, 64)
HEADER = ("sparse products", "peer", "ratio", "")
Row = tuple[str, str, str, str]


def random_csr(size: int, sparsity: float) -> Any:
    """Return a CSR matrix of float32 with numbers at random places."""
    import numpy as np

    from labkit.sparse import CSR, sparse_mask

    rng = np.random.default_rng(0)
    mask = sparse_mask((size, size), density=1 - sparsity, random_state=rng)
    return CSR.from_dense(rng.standard_normal(mask.shape, dtype=np.float32) * mask)


def peers(csr: Any, X: Any) -> dict[str, Callable[[], Any]]:
    """Return the products of the other libraries, sparse by sparse format and dense by way."""
    import torch

    from labkit.cost.break_even import dense_products

    x = X[:, 0].copy() if X.shape[1] == 1 else X
    theirs, tensor, xt = csr.to_scipy(), csr.to_torch(), torch.from_numpy(x)
    sparse = {"scipy.sparse": lambda: theirs @ x, "torch.sparse_csr": lambda: tensor @ xt}
    return sparse | {f"dense {name}": way for name, way in dense_products(csr.to_dense(), X).items()}


def product_rows(rounds: int = 9) -> Iterator[Row]:
    """Yield the rows of A X at 90 % zeros: against the best sparse library and against the best dense product."""
    import numpy as np

    from labkit.cost import cpu_times
    from labkit.cost.break_even import sparse_product

    csr = random_csr(SIZE, SPARSITY)
    for n in WIDTHS:
        X = np.random.default_rng(1).standard_normal((SIZE, n), dtype=np.float32)
        seconds = cpu_times({"ours": sparse_product(csr, X), **peers(csr, X)}, rounds=rounds)
        for dense in (False, True):
            named = [name for name in seconds if name != "ours" and name.startswith("dense") == dense]
            best = min(named, key=lambda name: seconds[name])
            others = ", ".join(f"{name} {seconds[name] / seconds['ours']:.1f}x" for name in named if name != best)
            yield f"CSR {SIZE} x {SIZE}, n = {n}", best, f"{seconds[best] / seconds['ours']:.1f}x", others


def code_rows(rounds: int = 9) -> Iterator[Row]:
    """Yield the rows of generated code against our CSR: C function against C function, on the same X in memory."""
    import numpy as np

    from labkit.cost import cpu_times
    from labkit.kernels.compiled import find_compiler
    from labkit.sparse import codegen

    for sparsity in (0.9, 0.95) if find_compiler() else ():
        csr = random_csr(CODE_SIZE, sparsity)
        code = codegen(csr.to_dense().T).compile()
        for n in CODE_WIDTHS:
            X = np.random.default_rng(1).standard_normal((CODE_SIZE, n), dtype=np.float32)
            seconds = cpu_times({"code": code_call(code, X), "CSR": csr_call(csr, X)}, rounds=rounds)
            name = f"code {CODE_SIZE} x {CODE_SIZE}, n = {n}"
            yield name, "our CSR", f"{seconds['CSR'] / seconds['code']:.2f}x", f"{sparsity:.0%} zeros"


def code_call(code: Any, X: Any) -> Callable[[], Any]:
    """Return a call of the generated C code with its memory laid out."""
    from labkit.sparse.codegen import pointer

    a, c = code.panels(X)
    function, views = code.function, (pointer(a), pointer(c))
    return lambda: function(*views, X.shape[1])


def csr_call(csr: Any, X: Any) -> Callable[[], Any]:
    """Return a call of the C kernel without the checks before it."""
    import numpy as np

    from labkit.kernels import dispatch

    Y = np.empty((csr.shape[0], X.shape[1]), np.float32)
    types = ("float[]", "int32_t[]", "int32_t[]", "float[]", "float[]")
    views = [dispatch.pointer(x, kind) for x, kind in zip((csr.A, csr.IA, csr.JA, X, Y), types, strict=True)]
    sizes = 0, csr.shape[0], X.shape[1], csr.shape[1]
    return lambda: dispatch.lib.labkit_csr_matmul_f32(dispatch.index(), *views, *sizes)


def break_even_rows(rounds: int = 9) -> Iterator[Row]:
    """Yield the share of zeros from which on CSR beats the best dense product."""
    from labkit.cost import breakeven

    for n in (1, 64, 128):
        found = breakeven(SIZE, columns=n, rounds=rounds, random_state=0)
        share = "never" if found.sparsity is None else f"{found.sparsity:.0%}"
        yield f"break-even {SIZE} x {SIZE}, n = {n}", f"dense {found.dense}", share, "zeros; the lecture says 70%"


def rows(rounds: int = 9) -> list[Row]:
    """Return all rows; every ratio is the peer's time over ours."""
    return [*product_rows(rounds), *code_rows(rounds), *break_even_rows(rounds)]


def main() -> int:
    """Measure, print the table and return the exit status."""
    import numpy as np
    import scipy
    import torch

    from labkit.kernels import backend

    print(table(HEADER, rows()))
    print(f"Time of the peer / our time, median of interleaved rounds, CPU time of one thread; {SPARSITY:.0%} zeros.")
    print(f"{processor()}, {backend()}")
    print(f"NumPy {np.__version__}, SciPy {scipy.__version__}, torch {torch.__version__}, OPENBLAS_CORETYPE not set")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.sparse")
    sys.exit(main())
