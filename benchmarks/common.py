"""What the benchmarks share: a clean environment, and a table that names the machine."""

import os
import sys
from collections.abc import Iterable, Sequence

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def restart_clean(module: str) -> None:
    """Start this program again with one thread and without OPENBLAS_CORETYPE; do nothing if that is so already.

    OPENBLAS_CORETYPE may pin NumPy to kernels for another processor. The libraries read it while they load, so this
    must come before NumPy is imported. `module` is the name given to `python -m`.
    """
    if "OPENBLAS_CORETYPE" not in os.environ and all(os.environ.get(k) == v for k, v in ONE_THREAD.items()):
        return
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"} | ONE_THREAD
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)


def processor() -> str:
    """Return the processor's name."""
    from labkit.cost import processor as name  # it loads NumPy, which must wait for `restart_clean`

    return name()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of text as columns, the first to the left and the others to the right.

    >>> print(table(("", "ratio"), [("TT layer", "50x")]))
              ratio
    TT layer    50x
    """
    cells = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in cells
    )
