"""Every step of the ladder gives the integers of NumPy, and the lecture's listing gives others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS

from labkit.kernels import compiled, ladder, pack_bits, xnor_matmul
from labkit.kernels.bitwise import tail_mask
from labkit.kernels.compiled import NoCompilerError, find_compiler
from labkit.kernels.ladder import STEPS, bitserial, listing, run_listing, step

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler on this machine")
SIZES = [(1, 1, 1), (7, 9, 63), (6, 32, 64), (7, 33, 65), (13, 70, 200), (3, 5, 64 * 64 + 1), (2, 800, 64 * 3)]


@pytest.fixture(scope="module", params=STEPS, ids=lambda s: s.name)
def rung(request):
    if not request.param.available:
        pytest.skip(f"the compiler does not take {request.param.flags}")
    return request.param


def signs(seed, m, p, n):
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (m, n)), rng.choice([-1, 1], (p, n))


@pytest.mark.parametrize(("m", "p", "n"), SIZES)
def test_every_step_is_exact(rung, m, p, n):
    A, B = signs(n, m, p, n)
    product = rung.compile()(rung.operand(A), rung.operand(B), n=n)
    assert product.dtype == np.int32
    assert np.array_equal(product, A @ B.T)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 80), st.integers(1, 300))
def test_every_step_equals_the_kernel_of_the_package(seed, m, p, n):
    A, B = signs(seed, m, p, n)
    expected = xnor_matmul(pack_bits(A), pack_bits(B), n=n)
    for rung in STEPS:
        if rung.available:
            assert np.array_equal(rung.compile()(rung.operand(A), rung.operand(B), n=n), expected), rung.name


@pytest.mark.parametrize(("m", "p", "n"), [(2, 3, 0), (0, 3, 65), (2, 0, 65), (0, 0, 0)])
def test_a_size_may_be_zero(rung, m, p, n):
    """No step divides by the number of words: that would end the process."""
    kind, width = (np.float32, n) if rung.name == "signs" else (np.uint64, -(-n // 64))
    product = rung.compile()(np.zeros((m, width), kind), np.zeros((p, width), kind), n=n)
    assert np.array_equal(product, np.full((m, p), n))


def test_steps_refuse_what_c_would_misread(rung):
    a = rung.operand(np.ones((2, 100)))
    product = rung.compile()
    strided, misaligned = np.asfortranarray(np.tile(a, (2, 1)))[::2], LAYOUTS["misaligned"](a)
    for wrong in (a[:, :1], a.astype(np.float64), strided, misaligned, [[1]]):
        with pytest.raises(ValueError, match="must be contiguous and aligned, with"):
            product(wrong, a, n=100)
        with pytest.raises(ValueError, match="must be contiguous and aligned, with"):
            product(a, wrong, n=100)
    with pytest.raises(ValueError, match="NaN or infinite"):
        rung.operand(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="2 dimensions"):
        rung.operand(np.ones(3))


def test_steps_by_name():
    assert [step(s.name) for s in STEPS] == list(STEPS)
    with pytest.raises(ValueError, match="did you mean 'tile'"):
        step("tiles")


def test_without_a_compiler_a_step_is_not_available(monkeypatch):
    monkeypatch.setattr(compiled, "find_compiler", lambda: None)
    assert not step("tile").available
    with pytest.raises(NoCompilerError, match="no C compiler was found"):
        step("tile").compile()


# ---- the lecture's listing (erratum E01)


def test_the_printed_kernel_is_wrong_and_the_mended_one_right():
    n = 128
    A, B = signs(0, 5, 7, n)
    a, b = pack_bits(A), pack_bits(B).T
    agree = (A[:, None] == B).sum(axis=2)  # (5, 7): places where two rows agree
    mended = run_listing(a, b, operator="^")
    printed = run_listing(a, b, operator="&")
    assert np.array_equal(mended, agree)
    assert np.array_equal(2 * mended - n, A @ B.T)
    both_negative = ((A[:, None] < 0) & (B < 0)).sum(axis=2)
    assert np.array_equal(printed, n - both_negative)  # NAND counts all but the pairs of two ones
    assert (printed != agree).all()


def test_padding_counts_as_agreement_unless_it_is_masked():
    A, B = signs(1, 1, 1, 100)
    a, b = pack_bits(A), pack_bits(B).T
    assert 2 * run_listing(a, b, operator="^")[0, 0] - 100 == (A @ B.T)[0, 0] + 2 * 28  # 128 - 100 bits too many
    flipped = ~tail_mask(100)[:, None] ^ b  # padding of b that never agrees with that of a
    assert 2 * run_listing(a, flipped, operator="^")[0, 0] - 100 == (A @ B.T)[0, 0]


def test_the_listing_reads_as_printed():
    assert "popcountl(~(A_PART & B[k*ldb+n]))" in listing()
    assert listing("^") == listing().replace("&", "^")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: listing("|"), ValueError, "operator must be one of"),
        (lambda: run_listing(np.zeros((1, 2)), np.zeros((2, 1), np.uint64)), TypeError, "a must be a matrix of uint64"),
        (lambda: run_listing(np.zeros((1, 2), np.uint64), [1]), TypeError, "b must be a matrix of uint64"),
        (lambda: run_listing(*np.zeros((2, 3, 2), np.uint64)), ValueError, "b must have 2 rows"),
        (lambda: bitserial("planes.h", 64), ValueError, "file must be one of"),
        (lambda: bitserial(["planes.c"], 64), ValueError, "file must be one of"),
        (lambda: bitserial("planes.c", 16), ValueError, "word must be 32 or 64, got 16"),
        (lambda: bitserial("planes.c", "64"), TypeError, "word must be an integer"),
        (lambda: bitserial("planes.c", 64)(*np.zeros((2, 1, 2, 1), np.uint32)), TypeError, "a must be planes"),
        (lambda: bitserial("planes.c", 64)(*np.zeros((2, 2, 1), np.uint64)), TypeError, "a must be planes"),
        (lambda: bitserial("planes.c", 64)(np.zeros((1, 2, 1), np.uint64), None), TypeError, "b .* got NoneType"),
        (
            lambda: bitserial("planes.c", 64)(np.zeros((1, 2, 1), np.uint64), np.zeros((1, 2, 2), np.uint64)),
            ValueError,
            "b must have rows of 1 words",
        ),
        (lambda: ladder.planes([[1.5]], bits=2), TypeError, "numbers must hold integers"),
        (lambda: ladder.planes([[4]], bits=2), ValueError, r"numbers must lie in \[0, 3\]"),
        (lambda: ladder.planes([[1]], bits=2, word=16), ValueError, "word must be 32 or 64"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- bit planes


@pytest.mark.parametrize("word", [32, 64])
@pytest.mark.parametrize("file", ["planes.c", "planes_tile.c"])
@pytest.mark.parametrize(("m", "p", "n", "M", "K"), [(1, 1, 1, 1, 1), (5, 7, 130, 3, 2), (2, 4, 64, 8, 8)])
def test_planes_give_the_integer_product(word, file, m, p, n, M, K):
    rng = np.random.default_rng(n)
    X, Y = rng.integers(0, 2**M, (m, n)), rng.integers(0, 2**K, (p, n))
    a, b = (ladder.planes(Z, bits=bits, word=word) for Z, bits in ((X, M), (Y, K)))
    assert np.array_equal(bitserial(file, word)(a, b), X @ Y.T)
