"""The kernels of Chapters 11 and 21: bits and sparse matrices against the best of PyTorch, NumPy and other libraries.

    python -m benchmarks.kernels [gemm peers gemv planes conv huffman packing sparse]

prints the tables named, or all of them in about two minutes on one thread. Every ratio is the peer's time over ours:
both in this process, CPU time of one thread, median of seven interleaved rounds. What is compared with float32 meets
the fastest of several products, which the table names. numba, faiss and dahuffman are optional; CONTRIBUTING.md says
how to install them, and without them their rows are left out.
"""

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.common import processor, restart_clean, table

Row = tuple[str, str, str, str]
Ways = dict[str, Callable[[], Any]]
GOALS = {"avx512-vpopcntdq": 18.0, "avx2": 3.5, "popcnt": 2.3}  # times the fastest float32 product at 4096
WINDOWS = {3: (12.0, 3.0), 1: (None, None)}  # pixels of a window a side: the goals against float32 and int8
LAYERS = ((64, 56), (128, 28), (256, 14), (512, 7), (256, 28), (256, 56))  # channels in and out, pixels a side
SYMBOLS = 1_000_000
PEERS = ("numba", "faiss", "dahuffman")
ROUNDS = 7


def optional(name: str) -> Any:
    """Return the module of a peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def named(peer: str) -> str:
    """Return the name of a peer and, if it tells, its version."""
    return f"{peer} {getattr(optional(peer), '__version__', '')}".strip()


def versioned(way: str) -> str:
    """Return the name of a way with the version of its library, if that is one of the peers: they grow faster too."""
    library = way.split()[0]
    return way.replace(library, named(library)) if library in PEERS else way


def ratio(seconds: dict[str, float], peer: str, ours: str = "ours", goal: float | None = None) -> str:
    """Return how many times faster we are, and the goal where there is one."""
    return f"{seconds[peer] / seconds[ours]:.1f}x" + (f" (goal {goal:g}x)" if goal else "")


def fastest(seconds: dict[str, float], names: Ways) -> str:
    """Return the fastest of the named ways."""
    return min(names, key=lambda name: seconds[name])


def float32_products(m: int, p: int, n: int) -> Ways:
    """Return the ways to multiply m x n by n x p in float32 that this process has."""
    import numpy as np
    import torch
    from torch.utils import mkldnn

    A, B = torch.randn(m, n), torch.randn(p, n)
    X, Y = A.numpy(), B.numpy().T
    out, product = torch.empty(m, p), np.empty((m, p), np.float32)
    image, window = A.T.reshape(1, n, m, 1), B.reshape(p, n, 1, 1)  # a product is a convolution of one pixel
    last = image.contiguous(memory_format=torch.channels_last)
    ways: Ways = {
        "torch.mm": lambda: torch.mm(A, B.T, out=out),
        "NumPy": lambda: np.matmul(X, Y, out=product),
        "oneDNN (conv2d)": lambda: torch.nn.functional.conv2d(last, window),
    }
    if torch.backends.mkldnn.is_available():
        layer = mkldnn.to_mkldnn(torch.nn.Linear(n, p, bias=False).eval())
        blocked = A.to_mkldnn()
        ways["oneDNN (Linear)"] = lambda: layer(blocked)
    return ways


def packed_pair(m: int, p: int, n: int) -> tuple[Any, Any]:
    """Return the packed signs of two random matrices."""
    import numpy as np

    from labkit import kernels

    rng = np.random.default_rng(0)
    a, b = (kernels.pack_bits(rng.standard_normal((rows, n), dtype=np.float32)) for rows in (m, p))
    return a, b


def at(level: str, function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that runs another at a level of the kernels."""
    from labkit.kernels import dispatch

    def forced() -> Any:
        with dispatch.forced(level):
            return function()

    return forced


def limit(level: str) -> tuple[int, Callable[[], Any]]:
    """Return how many 64-bit words a run of the measurement counts, and the run."""
    from labkit.kernels import dispatch

    with dispatch.forced(level):
        index = dispatch.index()
    run = partial(dispatch.lib.labkit_limit_counts, index)
    rounds = 200_000
    return run(rounds, dispatch.ffi.new("uint64_t *")), lambda: run(rounds, dispatch.ffi.new("uint64_t *"))


def gemm_rows(n: int = 4096) -> Iterator[Row]:
    """Yield a row for each level: the binary product against the fastest float32 product and the processor's limit."""
    import numpy as np

    from labkit import kernels
    from labkit.cost import cpu_times

    a, b = packed_pair(n, n, n)
    out = np.empty((n, n), np.int32)
    levels = [level for level in kernels.levels() if level not in ("numpy", "portable")]
    product = partial(kernels.xnor_matmul, a, b, n=n, out=out)
    limits = {level: limit(level) for level in levels}
    ours: Ways = {level: at(level, product) for level in levels}
    ours |= {f"limit {level}": run for level, (_, run) in limits.items()}
    theirs = float32_products(n, n, n)
    seconds = cpu_times(ours | theirs, rounds=ROUNDS)
    best = fastest(seconds, theirs)
    yield f"float32 {n}^3", best, f"{2 * n**3 / seconds[best] / 1e9:.0f} Gflop/s", others(seconds, theirs, best, n)
    for level in levels:
        top = 128 * limits[level][0] / seconds[f"limit {level}"]
        fraction = 2 * n**3 / seconds[level] / top
        note = f"{2 * n**3 / seconds[level] / 1e9:.0f} Gop/s, {fraction:.2f} of the limit of XOR, count and add"
        yield f"signs {n}^3, {level}", best, ratio(seconds, best, level, GOALS.get(level)), note


def others(seconds: dict[str, float], names: Ways, best: str, n: int) -> str:
    """Return the speeds of the products that were not the fastest."""
    return ", ".join(f"{name} {2 * n**3 / seconds[name] / 1e9:.0f}" for name in names if name != best)


def peer_products(a: Any, b: Any, n: int) -> Ways:
    """Return the products of signs, or of int8, of other libraries."""
    import numpy as np
    import torch

    A, B = (torch.randint(-1, 2, (len(words), n), dtype=torch.int8) for words in (a, b))
    Bt = B.T.contiguous()
    ways: Ways = {
        "torch int8 (_int_mm)": lambda: torch._int_mm(A, Bt),
        "numpy.bitwise_count": lambda: [n - 2 * np.bitwise_count(row ^ b).sum(axis=1, dtype=np.int32) for row in a],
    }
    if (faiss := optional("faiss")) is not None:
        ways |= faiss_products(faiss, a, b)
    if (numba := optional("numba")) is not None:
        ways["numba"] = partial(numba_product(numba), a, b, n, np.empty((len(a), len(b)), np.int32))
    return ways


def faiss_products(faiss: Any, a: Any, b: Any) -> Ways:
    """Return two ways of faiss on one thread: its search, which keeps the nearest row only, and all Hamming distances.

    The search is what faiss offers its users and what the goal was set against; `hammings` is an inner function, but
    it writes the same matrix as we do.
    """
    import numpy as np

    faiss.omp_set_num_threads(1)
    rows, others = (words.view(np.uint8) for words in (a, b))
    index = faiss.IndexBinaryFlat(8 * others.shape[1])
    index.add(others)
    distances = np.empty((len(a), len(b)), np.int32)
    views = [faiss.swig_ptr(bytes_) for bytes_ in (rows, others)]
    return {
        "faiss (IndexBinaryFlat.search)": lambda: index.search(rows, 1),
        "faiss (hammings)": lambda: faiss.hammings(*views, len(a), len(b), rows.shape[1], faiss.swig_ptr(distances)),
    }


def numba_product(numba: Any) -> Callable:
    """Return the three plain loops, compiled by numba with the compiler's own popcount."""
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def popcount(context: Any, word: Any) -> Any:
        return types.uint64(types.uint64), lambda _, builder, __, arguments: builder.ctpop(arguments[0])

    @numba.njit(fastmath=True)
    def product(a: Any, b: Any, n: int, out: Any) -> Any:
        for i in range(a.shape[0]):
            for j in range(b.shape[0]):
                differ = numba.uint64(0)
                for k in range(a.shape[1]):
                    differ += popcount(a[i, k] ^ b[j, k])
                out[i, j] = n - 2 * numba.int64(differ)
        return out

    return product


def peers_rows(n: int = 1024) -> Iterator[Row]:
    """Yield a row for each library at 1024^3, with the ratio that this processor's limit would give."""
    import numpy as np

    from labkit import kernels
    from labkit.cost import cpu_times
    from labkit.kernels import dispatch

    a, b = packed_pair(n, n, n)
    out = np.empty((n, n), np.int32)
    search = "faiss (IndexBinaryFlat.search)"
    goals = {"torch int8 (_int_mm)": 4.0, search: 5.0, "numba": 3.0, "numpy.bitwise_count": 30.0}
    theirs, floats = peer_products(a, b, n), float32_products(n, n, n)
    words, run = limit(dispatch.current())
    ours: Ways = {"ours": partial(kernels.xnor_matmul, a, b, n=n, out=out), "limit": run}
    seconds = cpu_times(ours | theirs | floats, rounds=ROUNDS)
    top = 128 * words / seconds["limit"]
    for name in (fastest(seconds, floats), *theirs):
        speed = 2 * n**3 / seconds[name]
        speeds = f"{speed / 1e9:.0f} against {2 * n**3 / seconds['ours'] / 1e9:.0f} Gop/s"
        text = ratio(seconds, name, goal=goals.get(name))
        yield f"signs {n}^3", versioned(name), text, f"{speeds}; at the limit {top / speed:.1f}x"


def gemv_rows(n: int = 4096) -> Iterator[Row]:
    """Yield the rows of one vector times a matrix."""
    import numpy as np

    from labkit import kernels
    from labkit.cost import cpu_times

    a, b = packed_pair(1, n, n)
    theirs, floats = peer_products(a, b, n), float32_products(1, n, n)
    theirs.pop("torch int8 (_int_mm)")  # not made for one row
    ours: Ways = {"ours": partial(kernels.xnor_matmul, a, b, n=n, out=np.empty((1, n), np.int32))}
    seconds = cpu_times(floats | theirs | ours, rounds=ROUNDS)  # the floats empty the cache, so they go first
    for name in (fastest(seconds, floats), *theirs):
        yield f"signs, 1 x {n} x {n}", versioned(name), ratio(seconds, name, goal=1.0 if name == "numba" else None), ""


def planes_rows(n: int = 1024) -> Iterator[Row]:
    """Yield a row for each pair of bit-widths against float32, and one against int8."""
    import numpy as np
    import torch

    from labkit import kernels
    from labkit.cost import cpu_times

    rng = np.random.default_rng(0)
    planes = {bits: kernels.pack_planes(rng.integers(0, 2**bits, (n, n)), bits=bits) for bits in (1, 2, 4)}
    pairs = ((1, 1), (1, 2), (2, 2), (1, 4), (2, 4), (4, 4))
    A = torch.randint(0, 4, (n, n), dtype=torch.int8)
    ours: Ways = {f"{x} x {y}": partial(kernels.bitserial_matmul, planes[x], planes[y], n=n) for x, y in pairs}
    floats = float32_products(n, n, n)
    seconds = cpu_times(ours | floats | {"torch int8": lambda: torch._int_mm(A, A)}, rounds=ROUNDS)
    best = fastest(seconds, floats)
    for name in ours:
        note = f"{ratio(seconds, 'torch int8', name, 1.2 if name == '2 x 2' else None)} against torch int8"
        yield f"{name} bits, {n}^3", best, ratio(seconds, best, name, 5.0 if name == "2 x 2" else None), note


def conv_ways(c: int, side: int, window: int = 3) -> Ways:
    """Return the ways to compute a convolution with c channels in and out, and of that in one process."""
    import torch
    from torch.nn.functional import conv2d

    from labkit import kernels

    x, w, padding = torch.randn(1, c, side, side), torch.randn(c, c, window, window), window // 2
    last = [value.contiguous(memory_format=torch.channels_last) for value in (x, w)]
    weight, image = kernels.pack_bits_nchw(w), x.numpy()
    words = kernels.pack_bits_nchw(image)
    return {
        "ours": partial(kernels.binary_conv2d, image, weight, padding=padding),
        "words": partial(kernels.binary_conv2d, words, weight, channels=c, padding=padding),
        "float32": partial(conv2d, x, w, padding=padding),
        "float32, channels last": partial(conv2d, *last, padding=padding),
        "int8": int8_conv(last[0], w),
    }


def int8_conv(x: Any, w: Any) -> Callable[[], Any]:
    """Return torch's quantized convolution of quantized images with a weight packed beforehand."""
    import torch

    q = torch.quantize_per_tensor(x, 0.05, 64, torch.quint8)
    layer = torch.ao.nn.quantized.Conv2d(w.shape[1], w.shape[0], w.shape[2], padding=w.shape[2] // 2)
    layer.set_weight_bias(torch.quantize_per_tensor(w, 0.05, 0, torch.qint8), None)
    return lambda: layer(q)


def conv_rows() -> Iterator[Row]:
    """Yield a row for each window and layer: from float32 images to int32 results, and from packed images."""
    import torch

    from labkit.cost import cpu_times

    for (window, (goal, goal8)), (c, side) in itertools.product(WINDOWS.items(), LAYERS):
        with torch.no_grad():
            seconds = cpu_times(conv_ways(c, side, window), rounds=ROUNDS)
        best = min("float32", "float32, channels last", key=lambda name: seconds[name])
        int8 = ratio(seconds, "int8", goal=goal8)
        note = f"{int8} against int8; from packed images {ratio(seconds, best, 'words')}"
        name = f"{window} x {window}, {c} channels, {side} x {side}"
        yield name, f"torch {best}", ratio(seconds, best, goal=goal), note


def huffman_rows() -> Iterator[Row]:
    """Yield the rows of a million symbols."""
    import numpy as np

    from labkit import kernels
    from labkit.cost import cpu_times

    dahuffman = optional("dahuffman")
    if dahuffman is None:
        return
    x = np.random.default_rng(0).standard_normal(SYMBOLS) * 6
    symbols = np.clip(np.abs(np.round(x)), 0, 255).astype(np.uint8)
    lengths = kernels.huffman_lengths(np.bincount(symbols, minlength=256))
    data = kernels.huffman_encode(symbols, lengths)
    codec, plain = dahuffman.HuffmanCodec.from_data(symbols.tobytes()), symbols.tobytes()
    coded = codec.encode(plain)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "encode": (partial(codec.encode, plain), partial(kernels.huffman_encode, symbols, lengths)),
        "decode": (partial(codec.decode, coded), partial(kernels.huffman_decode, data, lengths, n=SYMBOLS)),
    }
    for name, (theirs, ours) in pairs.items():
        seconds = cpu_times({"dahuffman": theirs, "ours": ours}, rounds=ROUNDS)
        note = f"{SYMBOLS / seconds['ours'] / 1e6:.0f} million symbols/s"
        yield f"Huffman, {name} {SYMBOLS:,}", "dahuffman", ratio(seconds, "dahuffman", goal=50.0), note


def numpy_pack(x: Any) -> Any:
    """Return the signs of a matrix as NumPy packs them."""
    import numpy as np

    return np.packbits(x < 0, axis=1, bitorder="little")


def packing_rows() -> Iterator[Row]:
    """Yield what packing costs: against NumPy, and beside the product that it is for."""
    import numpy as np

    from labkit import kernels
    from labkit.cost import cpu_times

    for n in (1024, 4096):
        x = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
        a, out = kernels.pack_bits(x), np.empty((n, n), np.int32)
        ways: Ways = {
            "ours": partial(kernels.pack_bits, x),
            "numpy.packbits": partial(numpy_pack, x),
            "product": partial(kernels.xnor_matmul, a, a, n=n, out=out),
        }
        seconds = cpu_times(ways, rounds=ROUNDS)
        note = f"{100 * seconds['ours'] / seconds['product']:.0f} % of the time of the product"
        yield f"packing {n} x {n}", "numpy.packbits(x < 0)", ratio(seconds, "numpy.packbits"), note


def sparse_rows() -> Iterator[Row]:
    """Yield the rows of the sparse products; `python -m benchmarks.sparse` shows more."""
    from benchmarks.sparse import product_rows

    yield from product_rows()


TABLES = {
    "gemm": gemm_rows,
    "peers": peers_rows,
    "gemv": gemv_rows,
    "planes": planes_rows,
    "conv": conv_rows,
    "huffman": huffman_rows,
    "packing": packing_rows,
    "sparse": sparse_rows,
}


def main(names: list[str]) -> int:
    """Measure, print the tables and return the exit status."""
    import numpy as np
    import torch

    from labkit import kernels

    if unknown := set(names) - set(TABLES):
        print(f"unknown: {', '.join(sorted(unknown))}; allowed: {', '.join(TABLES)}", file=sys.stderr)
        return 2
    for name in names or TABLES:
        print(table((name, "peer", "ratio", ""), TABLES[name]()), end="\n\n", flush=True)
    missing = [peer for peer in PEERS if optional(peer) is None]
    if missing:
        print(f"Left out, because not installed: {', '.join(missing)}. CONTRIBUTING.md says how to install them.")
    present = [named(peer) for peer in PEERS if optional(peer) is not None]
    limits = kernels.limits()
    print(f"{processor()}, level {limits.level}; limits: signs {limits.binary_ops / 1e9:.0f} Gop/s,")
    print(f"float32 {limits.flops / 1e9:.0f} Gflop/s, ratio {limits.ratio:.1f}. NumPy {np.__version__}, torch", end=" ")
    print(", ".join([torch.__version__, *present]), end=". ")
    print(f"OPENBLAS_CORETYPE not set; peer's time / ours, median of {ROUNDS} interleaved rounds.")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.kernels")
    sys.exit(main(sys.argv[1:]))
