"""Threads change nothing in a result, and a kernel lets other Python threads run while it works."""

import itertools
import sys
import threading

import numpy as np
import pytest

from labkit import kernels
from labkit.kernels import dispatch
from labkit.kernels.threads import split

ALL = range(1, 6)


@pytest.mark.parametrize("count", [0, 1, 5, 64, 1000])
@pytest.mark.parametrize("multiple", [1, 64])
def test_parts_follow_one_another(count, multiple):
    for threads in ALL:
        parts = split(lambda first, last: (first, last), count, threads, multiple=multiple)
        assert parts[0][0] == 0
        assert parts[-1][1] == count
        assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(parts))
        assert all(first % multiple == 0 for first, _ in parts)
        assert 1 <= len(parts) <= threads


def test_the_first_error_is_raised():
    def fail(first, last):
        raise ValueError(f"part from {first}")

    with pytest.raises(ValueError, match="part from 0"):
        split(fail, 10, 3)


def test_threads_change_no_bit(level):
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((130, 200)), rng.standard_normal((70, 200))
    x, w = rng.standard_normal((3, 65, 9, 9)), rng.standard_normal((5, 65, 3, 3))
    a, b = kernels.pack_bits(A), kernels.pack_bits(B)
    p = kernels.pack_planes(rng.integers(0, 4, (130, 200)), bits=2)
    calls = {
        "pack": lambda threads: kernels.pack_bits(A, threads=threads),
        "pack nchw": lambda threads: kernels.pack_bits_nchw(x, threads=threads),
        "tall": lambda threads: kernels.xnor_matmul(a, b, n=200, threads=threads),
        "wide": lambda threads: kernels.xnor_matmul(b, a, n=200, threads=threads),
        "one row": lambda threads: kernels.xnor_matmul(a[:1], b, n=200, threads=threads),
        "planes": lambda threads: kernels.bitserial_matmul(p, p, n=200, threads=threads),
        "images": lambda threads: kernels.binary_conv2d(x, w, padding=1, threads=threads),
        "one image": lambda threads: kernels.binary_conv2d(x[:1], w, padding=1, threads=threads),
    }
    for name, call in calls.items():
        for threads in ALL[1:]:
            np.testing.assert_array_equal(call(threads), call(1), err_msg=name, strict=True)


def test_a_nan_in_any_part_is_found(level):
    for row in (0, 50, 99):
        x = np.ones((100, 3), np.float32)
        x[row, 1] = np.nan
        with pytest.raises(ValueError, match="got 1 NaN"):
            kernels.pack_bits(x, threads=3)


@pytest.mark.parametrize(
    ("threads", "error"), [(0, ValueError), (1025, ValueError), (1.0, TypeError), (True, TypeError)]
)
def test_bad_threads(level, threads, error):
    words = np.zeros((1, 1), np.uint64)
    for call in (
        lambda: kernels.pack_bits([[1.0]], threads=threads),
        lambda: kernels.pack_bits_nchw([[[[1.0]]]], threads=threads),
        lambda: kernels.xnor_matmul(words, words, n=64, threads=threads),
        lambda: kernels.bitserial_matmul(words[None], words[None], n=64, threads=threads),
    ):
        with pytest.raises(error, match="threads must be"):
            call()


@pytest.mark.skipif(len(dispatch.levels()) == 1, reason="there are no compiled kernels")
def test_a_kernel_releases_the_gil():
    """This thread gets a turn while the other is inside the kernel.

    With a switch interval of an hour no thread is made to give up the GIL: the worker does between its two notes only
    if the kernel releases it. An overloaded machine may be too slow to wake this thread in time, hence some attempts.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    try:
        assert any(notes_of_two_threads() == ["begin", "meanwhile", "end"] for _ in range(10))
    finally:
        sys.setswitchinterval(interval)


def notes_of_two_threads():
    words, result, notes = np.zeros((2048, 256), np.uint64), np.empty((16, 2048), np.int32), []
    views = [dispatch.pointer(words, "uint64_t[]")] * 2 + [dispatch.pointer(result, "int32_t[]")]
    kernel, arguments = dispatch.lib.labkit_xnor_dots, (0, *views, 16, 2048, 256, 64 * 256, 2048)

    def work():
        notes.append("begin")
        kernel(*arguments)  # nothing but the C function: NumPy may release the GIL too
        notes.append("end")

    worker = threading.Thread(target=work)
    worker.start()  # waits until the worker runs, so it gives the GIL away
    notes.append("meanwhile")
    worker.join()
    return notes
