"""Patterns, the bits of structured masks, and the break-even of bytes against the formats themselves."""

import numpy as np
import pytest

from labkit.sparse import CSR, GRANULARITY, PATTERNS, RelativeIndex, index_bits, sparse_mask, storage_break_even

SHAPE = (16, 16, 3, 3)


def structured(granularity, density=0.25, random_state=0):
    """A mask that keeps whole units at random."""
    axes = GRANULARITY[granularity]
    units = tuple(1 if axis in axes else size for axis, size in enumerate(SHAPE))
    flat = sparse_mask((1, int(np.prod(units))), density=density, random_state=random_state)
    return np.broadcast_to(flat.reshape(units), SHAPE).copy()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
def test_density_of_patterns(pattern, density):
    mask = sparse_mask((64, 64), density=density, pattern=pattern, block=4, random_state=0)
    assert mask.dtype == bool
    assert mask.mean() == pytest.approx(density, abs=0.02)


def test_patterns_look_as_they_should():
    block = sparse_mask((32, 32), density=0.3, pattern="block", block=4, random_state=0)
    small = block.reshape(8, 4, 8, 4).sum(axis=(1, 3))
    assert set(small.ravel().tolist()) == {0, 16}
    band = sparse_mask((32, 32), density=0.3, pattern="banded")
    width = np.abs(np.subtract.outer(np.arange(32), np.arange(32)))
    assert band[width <= 4].all()
    assert not band[width > 5].any()
    assert sparse_mask((5, 7), density=0.5, pattern="block", block=3, random_state=0).shape == (5, 7)


def test_the_same_seed_gives_the_same_pattern():
    first, again = (sparse_mask((9, 9), density=0.4, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_coarser_units_need_fewer_bits_at_equal_density(bits):
    found = [index_bits(structured(unit), granularity=unit, bits=bits) for unit in GRANULARITY]
    assert list(GRANULARITY) == ["fine", "vector", "kernel", "filter"]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 4


def test_index_bits_are_units_times_bits():
    mask = structured("vector")
    assert index_bits(mask, granularity="vector") == (mask.sum() // 3) * 10  # 768 places for a vector
    flat = mask.reshape(1, -1).astype(float)
    assert index_bits(mask, bits=4) == 4 * len(RelativeIndex.from_dense(flat, bits=4).values)
    assert index_bits(mask, granularity="fine") > index_bits(mask, granularity="vector")


def test_a_vector_is_a_row_of_a_window():
    mask = np.zeros((1, 1, 3, 3), bool)
    mask[0, 0, 1] = True
    assert index_bits(mask, granularity="vector") == 2  # one of three rows
    with pytest.raises(ValueError, match="whole units at granularity 'vector'"):
        index_bits(mask.swapaxes(2, 3), granularity="vector")


@pytest.mark.parametrize(
    ("mask", "options", "error", "message"),
    [
        (np.ones(SHAPE), {}, TypeError, "mask must hold bools, got dtype float64"),
        (np.ones((2, 2), bool), {}, ValueError, r"mask must have shape \(out, in, h, w\)"),
        (np.ones((0, 2, 3, 3), bool), {}, ValueError, "mask must have shape"),
        (structured("fine"), {"granularity": "kernel"}, ValueError, "whole units at granularity 'kernel'"),
        (structured("fine"), {"granularity": "kernels"}, ValueError, "granularity must be one of"),
        (structured("fine"), {"bits": 0}, ValueError, "bits must be between 1 and 16"),
    ],
)
def test_bad_input_of_index_bits(mask, options, error, message):
    with pytest.raises(error, match=message):
        index_bits(mask, **options)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"density": 1.5}, ValueError, "density must be between 0 and 1"),
        ({"density": "a"}, TypeError, "density must be a number"),
        ({"pattern": "band"}, ValueError, "pattern must be one of .*banded"),
        ({"pattern": "block", "block": 0}, ValueError, "block must be between 1 and 1024"),
        ({"random_state": -1}, ValueError, "random_state"),
        ({"shape": (3,)}, ValueError, r"shape must be \(rows, columns\)"),
    ],
)
def test_bad_input_of_sparse_mask(changes, error, message):
    arguments = {"shape": (4, 4), "density": 0.5} | changes
    with pytest.raises(error, match=message):
        sparse_mask(arguments.pop("shape"), **arguments)


# --- the break-even of bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10, 10), (100, 100), (1000, 30), (30, 1000)])
def test_break_even_of_bytes_is_where_csr_becomes_smaller(shape):
    """Half the entries, less the share of IA."""
    m, n = shape
    sparsity = storage_break_even(shape)
    assert sparsity == pytest.approx(0.5 + 0.5 * (m + 1) / (m * n))
    kept = int((1 - sparsity) * m * n)
    for count, smaller in ((kept - 1, True), (kept + 1, False)):
        W = np.zeros(m * n, np.float32)
        W[:count] = 1
        assert (CSR.from_dense(W.reshape(shape)).n_bytes < 4 * m * n) is smaller


def test_break_even_of_other_widths():
    assert storage_break_even((10**6, 10**6), index_bits=16) == pytest.approx(1 / 3, abs=1e-5)
    assert storage_break_even((10**6, 10**6), value_bits=4, index_bits=4) == pytest.approx(1 / 2, abs=1e-5)
    assert storage_break_even((1, 1)) > 1


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 1), {}, "shape must be between 1 and"),
        (None, {}, r"shape must be \(rows, columns\), got None"),
        ((1, 2, 3), {}, r"shape must be \(rows, columns\)"),
        ((1, 1), {"value_bits": 0}, "value_bits must be at least 1"),
        ((1, 1), {"index_bits": 0}, "index_bits must be at least 1"),
    ],
)
def test_bad_input_of_storage_break_even(shape, options, message):
    with pytest.raises(ValueError, match=message):
        storage_break_even(shape, **options)
