"""The sparse formats: round trips, products, bytes, transposes, other libraries, and what each format promises."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.sparse import BCSR, COO, CSC, CSR, CSX, FORMATS, VBL, RelativeIndex, expected_padding, sparse_mask

SLIDE = np.array([[0, 0, 0, 0], [5, 8, 0, 0], [0, 0, 3, 0], [0, 6, 0, 0]])
KINDS = [
    *((kind, {}) for kind in FORMATS),
    (BCSR, {"block": (1, 1)}),
    (BCSR, {"block": (3, 2)}),
    (RelativeIndex, {"bits": 1}),
    (RelativeIndex, {"bits": 5}),
]
EACH = pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda value: getattr(value, "__name__", str(value)))


@st.composite
def matrices(draw):
    """Matrices of every pattern and density, without a number too."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    pattern, block = draw(st.sampled_from(["random", "banded", "block"])), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    mask = sparse_mask(shape, density=draw(st.floats(0, 1)), pattern=pattern, block=block, random_state=seed)
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values * mask).astype(draw(st.sampled_from([np.float32, np.float64])))


# --- what all formats have in common ----------------------------------------------------------------------------


@EACH
@given(W=matrices())
@settings(deadline=None, max_examples=40)
def test_laws_of_every_format(kind, options, W):
    S = kind.from_dense(W, **options)
    np.testing.assert_array_equal(S.to_dense(), W, strict=True)
    np.testing.assert_array_equal(S.T.to_dense(), W.T)
    np.testing.assert_array_equal(S.T.T.to_dense(), W)
    assert S.nnz == np.count_nonzero(W)
    assert S.density == np.count_nonzero(W) / W.size
    assert S.n_bytes == sum(S.bytes().values()) == S.index_bytes + next(iter(S.arrays.values())).nbytes
    X = np.random.default_rng(0).standard_normal((W.shape[1], 3))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if W.dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(S.matmul(X), W.astype(float) @ X, **tolerance)
    np.testing.assert_allclose(S.matvec(X[:, 0]), W.astype(float) @ X[:, 0], **tolerance)
    assert S.matmul(X).dtype == S.matvec(X[:, 0]).dtype == W.dtype


@EACH
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 5)])
@pytest.mark.parametrize("density", [0, 1])
def test_nothing_and_everything(kind, options, shape, density):
    W = np.full(shape, 2.5 * density)
    S = kind.from_dense(W, **options)
    np.testing.assert_array_equal(S.to_dense(), W)
    np.testing.assert_allclose(S.matvec(np.ones(shape[1])), W.sum(axis=1))


@EACH
def test_a_factor_may_have_no_columns(kind, options):
    product = kind.from_dense(np.eye(3, 5), **options).matmul(np.zeros((5, 0)))
    np.testing.assert_array_equal(product, np.zeros((3, 0)), strict=True)


@EACH
def test_other_libraries(kind, options):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((12, 18)) * (rng.random((12, 18)) < 0.3)
    S = kind.from_dense(W, **options)
    np.testing.assert_array_equal(S.to_scipy().toarray(), W)
    np.testing.assert_array_equal(S.to_torch().to_dense().numpy(), W)
    for layout in (sp.csr_array, sp.csc_array, sp.coo_matrix, sp.bsr_array, sp.lil_array):
        np.testing.assert_array_equal(kind.from_scipy(layout(W), **options).to_dense(), W)
    tensor = torch.from_numpy(W)
    for sparse in (tensor.to_sparse(), tensor.to_sparse_csr(), tensor.to_sparse_csc(), tensor.to_sparse_bsr((2, 3))):
        np.testing.assert_array_equal(kind.from_torch(sparse, **options).to_dense(), W)


def test_the_same_format_over_there():
    W = np.eye(6)
    found = [kind.from_dense(W) for kind in (COO, CSR, CSC, BCSR)]
    assert [S.to_scipy().format for S in found] == ["coo", "csr", "csc", "bsr"]
    layouts = [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr]
    assert [S.to_torch().layout for S in found] == layouts
    ragged = BCSR.from_dense(W, block=(4, 4))
    assert (ragged.to_scipy().format, ragged.to_torch().layout) == ("coo", torch.sparse_coo)


@EACH
def test_values_at_one_place_are_added_and_zeros_dropped(kind, options):
    S = kind.from_coordinates([1, 0, 1, 0], [2, 1, 2, 0], [1.0, 5.0, 2.0, 0.0], (2, 3), **options)
    np.testing.assert_array_equal(S.to_dense(), [[0, 5, 0], [0, 0, 3]])
    assert S.nnz == 2


@EACH
def test_bad_input_of_every_format(kind, options):
    for matrix, error, message in [
        (np.ones(3), ValueError, r"matrix must have 2 dimensions, got shape \(3,\)"),
        (np.ones((0, 3)), ValueError, "matrix must not be empty"),
        ([[np.nan]], ValueError, "matrix must be finite"),
        ([["a"]], TypeError, "matrix must hold real numbers"),
    ]:
        with pytest.raises(error, match=message):
            kind.from_dense(matrix, **options)
    for rows, columns, values, shape, error, message in [
        ([2], [0], [1.0], (2, 2), ValueError, "rows must lie between 0 and 1, got 2 to 2"),
        ([0], [-1], [1.0], (2, 2), ValueError, "columns must lie between 0 and 1, got -1"),
        ([0.0], [0], [1.0], (2, 2), TypeError, "rows must hold integers, got dtype float64"),
        ([0, 1], [0], [1.0], (2, 2), ValueError, "must have one shape"),
        ([0], [0], [np.inf], (2, 2), ValueError, "values must be finite"),
        ([0], [0], [1.0], (0, 2), ValueError, "shape must be between 1"),
        ([0], [0], [1.0], 4, ValueError, r"shape must be \(rows, columns\), got 4"),
        ([0], [0], [1.0], (2, 2.0), TypeError, "shape must be an integer"),
    ]:
        with pytest.raises(error, match=message):
            kind.from_coordinates(rows, columns, values, shape, **options)
    with pytest.raises(TypeError, match=r"matrix must be sparse, as scipy\.sparse makes it, got ndarray"):
        kind.from_scipy(np.eye(2), **options)
    with pytest.raises(TypeError, match="tensor must be Tensor, got ndarray"):
        kind.from_torch(np.eye(2), **options)
    with pytest.raises(ValueError, match=r"tensor must be sparse with 2 dimensions .*got torch\.strided"):
        kind.from_torch(torch.eye(2), **options)
    rows_of_numbers = torch.sparse_coo_tensor([[0, 1]], torch.eye(2), (2, 2), check_invariants=True)
    with pytest.raises(ValueError, match=r"tensor must be sparse with 2 dimensions .* 1 of it dense"):
        kind.from_torch(rows_of_numbers, **options)
    with pytest.raises(ValueError, match=r"tensor must .* hold numbers, got .* device meta"):
        kind.from_torch(torch.eye(2).to_sparse().to("meta"), **options)
    with pytest.raises(TypeError, match=r"tensor must be an array, .*BFloat16"):
        kind.from_torch(torch.eye(2, dtype=torch.bfloat16).to_sparse(), **options)


@EACH
def test_bad_factors(kind, options):
    S = kind.from_dense(np.eye(4, 3), **options)
    for x, error, message in [
        (np.ones(4), ValueError, r"x must have 3 rows, .* got \(4,\)"),
        (np.ones((3, 1)), ValueError, "x must have 1 dimensions"),
        ([np.nan] * 3, ValueError, "x must be finite"),
        (["a"] * 3, TypeError, "x must hold real numbers"),
    ]:
        with pytest.raises(error, match=message):
            S.matvec(x)
    with pytest.raises(ValueError, match="X must have 3 rows"):
        S.matmul(np.ones((2, 3)))
    with pytest.raises(ValueError, match="X must have 2 dimensions"):
        S.matmul(np.ones(3))


# --- CSR, CSC, COO ------------------------------------------------------------------------------------------------


def test_the_slide():
    csr = CSR.from_dense(SLIDE)
    assert csr.A.tolist() == [5, 8, 3, 6]
    assert csr.IA.tolist() == [0, 0, 2, 3, 4]
    assert csr.JA.tolist() == [0, 1, 2, 1]
    assert csr.matvec([1, 10, 100, 1000]).tolist() == [0, 85, 300, 60]


def test_compressed_rows_are_those_of_scipy():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((30, 20)) * (rng.random((30, 20)) < 0.2)
    for kind, layout in ((CSR, sp.csr_array), (CSC, sp.csc_array)):
        mine, theirs = kind.from_dense(W), layout(W)
        assert list(mine.arrays) == (["A", "IA", "JA"] if kind is CSR else ["A", "JA", "IA"])
        for array, other in zip(mine.arrays.values(), (theirs.data, theirs.indptr, theirs.indices), strict=True):
            np.testing.assert_array_equal(array, other)


def test_the_transpose_of_csr_is_csc_with_the_same_arrays():
    csr = CSR.from_dense(SLIDE)
    csc = csr.T
    assert isinstance(csc, CSC)
    assert csc.A is csr.A
    assert csc.JA is csr.IA
    assert isinstance(csc.T, CSR)
    assert COO.from_dense(SLIDE).T.rows.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_of_the_plain_formats(dtype):
    mask = sparse_mask((50, 30), density=0.2, random_state=0)
    W = mask.astype(dtype)
    b, N = W.itemsize, mask.sum()
    assert COO.from_dense(W).n_bytes == (b + 8) * N
    assert CSR.from_dense(W).n_bytes == (b + 4) * N + 4 * 51
    assert CSC.from_dense(W).n_bytes == (b + 4) * N + 4 * 31


def test_threads_change_nothing():
    csr, X = CSR.from_dense(sparse_mask((50, 30), density=0.3, random_state=0)), np.ones((30, 20))
    np.testing.assert_array_equal(csr.matmul(X, threads=2), csr.matmul(X))
    np.testing.assert_array_equal(csr.matvec(X[:, 0], threads=2), csr.matvec(X[:, 0]))


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_blocks_of_one_are_csr():
    W = sparse_mask((20, 30), density=0.3, random_state=0).astype(float)
    csr, blocks = CSR.from_dense(W), BCSR.from_dense(W, block=(1, 1))
    np.testing.assert_array_equal(blocks.A.ravel(), csr.A)
    np.testing.assert_array_equal(blocks.IA, csr.IA)
    np.testing.assert_array_equal(blocks.JA, csr.JA)
    assert blocks.fill_in == 0
    assert blocks.n_bytes == csr.n_bytes


@given(W=matrices(), r=st.integers(1, 6), c=st.integers(1, 6))
@settings(deadline=None)
def test_fill_in_and_bytes_of_blocks(W, r, c):
    blocks = BCSR.from_dense(W, block=(r, c))
    assert blocks.fill_in == blocks.n_blocks * r * c - np.count_nonzero(W) >= 0
    assert blocks.n_bytes == (W.itemsize * r * c + 4) * blocks.n_blocks + 4 * (-(-W.shape[0] // r) + 1)
    assert (blocks.A != 0).any(axis=(1, 2)).all()
    if W.shape[0] % r == W.shape[1] % c == 0:
        theirs = sp.bsr_array(W, blocksize=(r, c))
        theirs.sort_indices()
        np.testing.assert_array_equal(blocks.IA, theirs.indptr)
        np.testing.assert_array_equal(blocks.JA, theirs.indices)


def test_a_matrix_of_whole_blocks_has_no_fill_in():
    W = sparse_mask((24, 24), density=0.3, pattern="block", block=4, random_state=0).astype(float)
    assert BCSR.from_dense(W, block=(4, 4)).fill_in == 0
    assert BCSR.from_dense(W, block=(4, 4)).n_bytes < CSR.from_dense(W).n_bytes


@given(W=matrices())
@settings(deadline=None)
def test_pieces_of_rows(W):
    """As many blocks as there are zeros, or edges, before a number; five bytes of index each."""
    vbl = VBL.from_dense(W)
    before = np.pad(W != 0, ((0, 0), (1, 0)))[:, :-1]
    assert vbl.n_blocks == ((W != 0) & ~before).sum()
    assert vbl.n_bytes == W.itemsize * np.count_nonzero(W) + 5 * vbl.n_blocks + 4 * (len(W) + 1)


@pytest.mark.parametrize("length", [254, 255, 256, 510, 511, 1000])
def test_long_pieces_are_cut(length):
    vbl = VBL.from_dense(np.pad(np.ones((1, length)), ((0, 0), (3, 4))))
    assert vbl.lengths.tolist() == [255] * (length // 255) + [length % 255] * (length % 255 > 0)
    assert vbl.JA.tolist() == list(range(3, 3 + length, 255))


@pytest.mark.parametrize("pattern", ["banded", "block"])
def test_index_bytes_on_clustered_rows_are_at_most_those_of_csr(pattern):
    for density in (0.05, 0.2, 0.5):
        W = sparse_mask((64, 64), density=density, pattern=pattern, block=4, random_state=0).astype(float)
        assert VBL.from_dense(W).index_bytes <= CSR.from_dense(W).index_bytes


# --- relative indices ---------------------------------------------------------------------------------------------


def test_the_example_of_deep_compression():
    """Figure 2 of the paper: numbers at 1, 4 and 15 of 16, three bits, a padding zero at 12."""
    W = np.zeros((1, 16))
    W[0, [1, 4, 15]] = 3.4, 0.9, 1.7
    sparse = RelativeIndex.from_dense(W, bits=3)
    assert sparse.values.tolist() == [3.4, 0.9, 0, 1.7]
    assert (sparse.gaps + 1).tolist() == [2, 3, 8, 3]
    assert sparse.n_padding == 1


@given(W=matrices(), bits=st.integers(1, 16))
@settings(deadline=None)
def test_storage_of_relative_indices(W, bits):
    sparse = RelativeIndex.from_dense(W, bits=bits)
    gaps = np.diff(np.flatnonzero(W), prepend=-1) - 1
    assert sparse.n_padding == (gaps // 2**bits).sum()
    n_padded = np.count_nonzero(W) + sparse.n_padding
    assert len(sparse.values) == len(sparse.gaps) == n_padded
    assert sparse.n_bits == n_padded * (8 * W.itemsize + bits)
    assert sparse.storage_bits(5) == n_padded * (5 + bits)
    assert sparse.n_bytes == n_padded * W.itemsize + -(-n_padded * bits // 8)
    assert (sparse.gaps < 2**bits).all()


@pytest.mark.parametrize(("density", "bits"), [(0.04, 5), (0.1, 4), (0.02, 4), (0.3, 3)])
def test_expected_padding(density, bits):
    W = sparse_mask((500, 1000), density=density, random_state=0)
    measured = RelativeIndex.from_dense(W, bits=bits).n_padding / W.sum()
    assert expected_padding(density, bits=bits) == pytest.approx(measured, rel=0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("density", "bits", "error"),
    [(0, 4, ValueError), (1.1, 4, ValueError), ("a", 4, TypeError), (0.5, 0, ValueError), (0.5, 17, ValueError)],
)
def test_bad_input_of_expected_padding(density, bits, error):
    with pytest.raises(error):
        expected_padding(density, bits=bits)


# --- CSX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("W", "step"),
    [
        (np.eye(40), (1, 1)),
        (np.eye(40)[::-1], (1, -1)),
        (np.eye(40, 1) @ np.ones((1, 40)), (0, 1)),
        (np.ones((40, 1)) @ np.eye(1, 40), (1, 0)),
        (np.diag(np.tile([1.0, 0], 30)), (2, 2)),
        (np.tile([[1.0, 0, 0]], (1, 20)), (0, 3)),
    ],
    ids=["diagonal", "antidiagonal", "row", "column", "every second", "every third"],
)
def test_lines_in_every_direction_are_found(W, step):
    csx = CSX.from_dense(W)
    assert csx.steps.tolist() == [list(step)]
    assert len(list(csx.units())) == 1
    assert csx.index_bytes < 16 < CSR.from_dense(W).index_bytes


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_index_bytes_on_a_band_are_below_those_of_csr(density):
    W = sparse_mask((100, 100), density=density, pattern="banded").astype(float)
    assert CSX.from_dense(W).index_bytes < CSR.from_dense(W).index_bytes / 10


@given(W=matrices())
@settings(deadline=None)
def test_index_bytes_of_csx_are_never_above_those_of_csr(W):
    """A unit's head is at most four bytes here, a number one, and CSR spends four on each number and on each row."""
    assert CSX.from_dense(W).index_bytes <= CSR.from_dense(W).index_bytes


@pytest.mark.parametrize("gap", [1, 127, 128, 255, 256, 65535, 65536, 70000])
def test_wide_distances_and_jumps(gap):
    W = sp.coo_array(([1.0, 2.0, 3.0], ([0, 0, 2], [gap, 2 * gap, 3])), shape=(gap + 3, 2 * gap + 3))
    csx = CSX.from_scipy(W)
    rows, columns, values = csx.coordinates()
    assert list(zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True)) == [
        (0, gap, 1), (0, 2 * gap, 2), (2, 3, 3)]  # fmt: skip


def test_a_line_of_a_thousand_is_cut():
    csx = CSX.from_dense(np.eye(1000))
    assert [len(unit.rows) for unit in csx.units()] == [255, 255, 255, 235]


# --- arrays that do not fit together ------------------------------------------------------------------------------

A, I2, J = np.ones(2), np.array([0, 1, 2], np.int32), np.array([0, 1], np.int32)
U8 = np.array([1, 1], np.uint8)
NO_STEPS = np.zeros((0, 2), np.int32)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: COO(A, J, J, (1, 2)), ValueError, "rows must lie between 0 and 0"),
        (lambda: COO(A, J.astype(np.int64), J, (2, 2)), TypeError, "rows must be a one-dimensional array of int32"),
        (lambda: COO(A, J[:1], J, (2, 2)), ValueError, r"rows must have shape \(2,\)"),
        (lambda: COO([1.0], J, J, (2, 2)), TypeError, "values must be an array of float32 or float64 .*got list"),
        (lambda: CSR(A, I2[:2], J, (2, 2)), ValueError, "IA must be 3 numbers that ascend from 0 to 2"),
        (lambda: CSR(A, I2, J, (2, 1)), ValueError, "JA must lie between 0 and 0"),
        (lambda: CSR(A.astype(int), I2, J, (2, 2)), TypeError, "A must be an array of float32"),
        (lambda: CSR(A, I2, np.array([0], np.int32), (2, 2)), ValueError, r"JA must have shape \(2,\)"),
        (lambda: CSC(A, I2, J, (1, 2)), ValueError, "IA must lie between 0 and 0"),
        (lambda: CSC(A, I2, J[:1], (2, 2)), ValueError, r"IA must have shape \(2,\)"),
        (lambda: BCSR(A, I2, J, (2, 2)), TypeError, "A must be .* with 3 dimensions"),
        (lambda: BCSR(np.ones((2, 1, 1)), I2, J[:1], (2, 2)), ValueError, r"JA must have shape \(2,\)"),
        (lambda: BCSR(np.ones((2, 1, 0)), I2, J, (2, 2)), ValueError, "the sides of a block"),
        (lambda: BCSR(np.ones((1, 2, 2)), I2[:2], J[:1], (2, 1)), ValueError, "the columns of the numbers in A"),
        (lambda: BCSR(np.ones((1, 2, 2)), I2[:2], J[:1], (1, 2)), ValueError, "the rows of the numbers in A"),
        (lambda: BCSR.from_dense(np.eye(2), block=(0, 1)), ValueError, "block must be between 1 and 1024"),
        (lambda: BCSR.from_dense(np.eye(2), block=2), ValueError, r"block must be \(rows, columns\), got 2"),
        (lambda: BCSR.from_dense(np.eye(2), block=(1.0, 1)), TypeError, "block must be an integer"),
        (lambda: VBL(A, I2, J, U8 + np.uint8(1), (2, 3)), ValueError, "lengths must be 2 numbers .* with sum 2"),
        (lambda: VBL(A, I2, J, np.array([0, 2], np.uint8), (2, 3)), ValueError, "lengths must be"),
        (lambda: VBL(A, I2, J + np.int32(1), U8, (2, 2)), ValueError, "JA must lie"),
        (lambda: VBL(A, np.array([0, 1, 1], np.int32), np.array([1], np.int32), np.array([2], np.uint8), (2, 2)),
         ValueError, "the ends of the blocks must lie"),
        (lambda: RelativeIndex(A, U8, 8, (1, 3)), ValueError, "codes must end inside the matrix of 3 entries, got 4"),
        (lambda: RelativeIndex(A, U8, 3, (9, 9)), ValueError, "codes must hold 2 gaps of 3 bits, got 2 bytes"),
        (lambda: RelativeIndex.from_dense(np.eye(2), bits=0), ValueError, "bits must be between 1 and 16"),
        (lambda: RelativeIndex.from_dense(np.eye(2), bits=4.0), TypeError, "bits must be an integer"),
        (lambda: RelativeIndex.from_dense(np.eye(2)).storage_bits(0), ValueError, "value_bits must be at least 1"),
        (lambda: CSX(A, np.array([128, 1, 0], np.uint8), NO_STEPS, (2, 2)), ValueError, "ctl must place 2 numbers"),
        (lambda: CSX(A, np.array([128, 2, 0, 5], np.uint8), NO_STEPS, (2, 2)), ValueError, "the columns in ctl must"),
        (lambda: CSX(A, np.array([192, 2, 5, 0, 1], np.uint8), NO_STEPS, (2, 2)), ValueError, "the rows in ctl must"),
        (lambda: CSX(A, np.array([131, 2, 0], np.uint8), NO_STEPS, (2, 2)), ValueError, "a kind below 3"),
        (lambda: CSX(A, np.array([128, 0], np.uint8), NO_STEPS, (2, 2)), ValueError, "units with a count"),
        (lambda: CSX(A, np.array([128, 2, 0], np.uint8), NO_STEPS, (2, 2)), ValueError, "end inside a unit"),
        (lambda: CSX(A, np.array([128, 2, 200], np.uint8), NO_STEPS, (2, 2)), ValueError, "end inside a unit"),
        (lambda: CSX(A, np.array([128, 2, *[255] * 9, 1], np.uint8), NO_STEPS, (2, 2)), ValueError, "distances below"),
        (lambda: CSX(A, U8, np.zeros((1, 3), np.int32), (2, 2)), TypeError, r"steps must be int32 of shape \(k, 2\)"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "twice",
    [
        COO(A, J * np.int32(0), J * np.int32(0), (2, 2)),
        CSR(A, I2[[0, 2, 2]], J * np.int32(0), (2, 2)),
        CSC(A, I2[[0, 2, 2]], J * np.int32(0), (2, 2)),
        BCSR(A.reshape(2, 1, 1), I2[[0, 2, 2]], J * np.int32(0), (2, 2)),
        VBL(A, I2[[0, 2, 2]], J * np.int32(0), U8, (2, 2)),
        CSX(A, np.array([128, 1, 0, 0, 1, 0], np.uint8), NO_STEPS, (2, 2)),
    ],
    ids=lambda S: type(S).__name__,
)
def test_a_place_given_twice_is_added_everywhere(twice):
    expected = np.array([[2, 0], [0, 0]])
    for found in (twice.to_dense(), twice.matmul(np.eye(2)), twice.T.to_dense(), twice.to_scipy().toarray()):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(twice.to_torch().to_dense(), expected)


@EACH
def test_the_printed_form(kind, options):
    assert repr(kind.from_dense(np.eye(3), **options)).startswith(f"{kind.__name__}(shape=(3, 3), nnz=3, dtype=float64")
    assert kind.byte_formula
