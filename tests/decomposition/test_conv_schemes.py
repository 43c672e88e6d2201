"""Kernels as two kernels in a row: exact at full rank, the error of the SVD below, for every scheme and group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.decomposition import (
    SCHEMES,
    Cut,
    KernelFactors,
    factorize_kernel,
    kernel_spectrum,
    rank_for_energy,
    separable_kernel,
    speedup_bound,
    thin_svd,
)

SOBEL = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
LAPLACIAN = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])


def kernel(shape=(6, 4, 3, 2), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_full_rank_is_exact(scheme, groups):
    W = kernel()
    parts = factorize_kernel(W, scheme=scheme, rank=Cut(W.shape, scheme, groups).full_rank, groups=groups)
    np.testing.assert_allclose(parts.to_tensor(), W, atol=1e-12)
    assert parts.error_bound == 0


@given(
    st.sampled_from(sorted(SCHEMES)),
    st.integers(1, 3),
    st.tuples(*[st.integers(1, 4)] * 4),
    st.integers(0, 1000),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_the_error_is_the_tail_of_the_spectrum(scheme, groups, sides, seed, data):
    m, c, h, w = sides
    W = kernel((groups * m, c, h, w), seed)
    s = kernel_spectrum(W, scheme=scheme, groups=groups)
    k = data.draw(st.integers(1, len(s)))
    parts = factorize_kernel(W, scheme=scheme, rank=k, groups=groups)
    error = np.linalg.norm(W - parts.to_tensor())
    np.testing.assert_allclose([error, parts.error_bound], np.linalg.norm(s[k:]), atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(s), np.linalg.norm(W))
    assert parts.rank == k
    assert parts.n_params == parts.cut.n_params(k) == sum(part.size for part in parts.factors)
    assert (parts.n_params < W.size) == (k <= parts.cut.break_even_rank)


def test_matrices_of_the_lecture():
    """(CHW, K), (C, HW K), (CH, WK): reshapes of the kernel with its channels first and its filters last."""
    W = kernel()
    lecture = W.transpose(1, 2, 3, 0)  # (C, H, W, K)
    for scheme, shape in {"hw_1x1": (24, 6), "1x1_hw": (4, 36), "hx1_1xw": (12, 12)}.items():
        expected = thin_svd(lecture.reshape(shape)).s
        np.testing.assert_allclose(kernel_spectrum(W, scheme=scheme), expected, atol=1e-12)


def test_dac_cuts_every_channel_by_itself():
    W = kernel()
    s = np.stack([thin_svd(W[:, c].reshape(6, 6)).s for c in range(4)])
    np.testing.assert_allclose(kernel_spectrum(W, scheme="dac"), np.linalg.norm(s, axis=0), atol=1e-12)


def test_groups_are_factorised_one_by_one():
    W = kernel()
    for scheme in SCHEMES:
        parts = factorize_kernel(W, scheme=scheme, rank=2, groups=2)
        alone = [factorize_kernel(half, scheme=scheme, rank=2) for half in (W[:3], W[3:])]
        dense = np.concatenate([part.to_tensor() for part in alone])
        np.testing.assert_allclose(parts.to_tensor(), dense, atol=1e-12)
        np.testing.assert_allclose(parts.error_bound, np.hypot(*(part.error_bound for part in alone)))


@pytest.mark.parametrize(("image", "rank"), [(SOBEL, 1), (LAPLACIAN, 2)])
def test_separable_rank_of_known_filters(image, rank):
    assert factorize_kernel(image.reshape(1, 1, 3, 3), scheme="hx1_1xw", tol=1e-9).rank == rank
    assert separable_kernel(image.reshape(1, 1, 3, 3), tol=1e-9).rank == (rank,)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_matmul_is_the_dense_product_with_patches(scheme, groups):
    W, x = kernel(), np.random.default_rng(1).standard_normal((groups * 24, 5))
    parts = factorize_kernel(W, scheme=scheme, rank=2, groups=groups)
    dense = parts.to_tensor().reshape(groups, 6 // groups, 24)
    expected = np.einsum("gmn,gnp->gmp", dense, x.reshape(groups, 24, 5)).reshape(6, 5)
    np.testing.assert_allclose(parts.matmul(x), expected, atol=1e-12)
    np.testing.assert_allclose(parts.matmul(x[:, 0]), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tol_is_kept_with_the_smallest_rank(scheme):
    W = kernel((8, 6, 3, 3))
    parts = factorize_kernel(W, scheme=scheme, tol=0.5)
    assert np.linalg.norm(W - parts.to_tensor()) <= 0.5 * np.linalg.norm(W)
    assert parts.rank > 1
    assert factorize_kernel(W, scheme=scheme, rank=parts.rank - 1).error_bound > 0.5 * np.linalg.norm(W)


def test_counts_of_lenets_second_layer():
    sizes = {scheme: Cut((50, 20, 5, 5), scheme) for scheme in SCHEMES}
    assert {s: cut.full_rank for s, cut in sizes.items()} == {"hw_1x1": 50, "1x1_hw": 20, "hx1_1xw": 100, "dac": 25}
    assert {s: cut.n_params(2) for s, cut in sizes.items()} == {
        "hw_1x1": 2 * (500 + 50),
        "1x1_hw": 2 * (20 + 1250),
        "hx1_1xw": 2 * (100 + 250),
        "dac": 20 * 2 * (25 + 50),
    }
    assert sizes["dac"].break_even_rank == 16


def test_pointwise_and_depthwise_kernels_rarely_pay():
    """A square 1 x 1 kernel breaks even at half of its rank; a depthwise one is its own factorisation."""
    assert Cut((64, 64, 1, 1), "hw_1x1").break_even_rank == 31
    assert Cut((64, 64, 3, 3), "hw_1x1").break_even_rank == 57
    assert Cut((64, 1, 3, 3), "hw_1x1", groups=64).break_even_rank == 0
    assert Cut((64, 1, 3, 3), "hx1_1xw", groups=64).break_even_rank == 1


def test_speedup_bound_orders_the_kinds_of_layers():
    rng = np.random.default_rng(0)

    def smooth(m, n):
        U, s, Vt = thin_svd(rng.standard_normal((m, n)))
        return (U * 0.9 ** np.arange(len(s))) @ Vt

    wide = speedup_bound(smooth(64, 576).reshape(64, 64, 3, 3))
    pointwise = speedup_bound(smooth(64, 64).reshape(64, 64, 1, 1))
    depthwise = speedup_bound(rng.standard_normal((64, 1, 3, 3)), groups=64)
    assert wide > pointwise > depthwise
    W = kernel((8, 6, 3, 3))
    k = rank_for_energy(kernel_spectrum(W, scheme="1x1_hw"), energy=0.9)
    assert speedup_bound(W, scheme="1x1_hw", energy=0.9) == W.size / (k * (6 + 9 * 8))


def test_a_kernel_of_zeros():
    for scheme in SCHEMES:
        assert factorize_kernel(np.zeros((4, 2, 3, 3)), scheme=scheme, tol=0.1).rank == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: factorize_kernel(kernel(), scheme="1x1", rank=1), "scheme must be one of 4 names"),
        (lambda: factorize_kernel(kernel(), scheme="dac"), "exactly one of rank and tol"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=1, tol=0.1), "exactly one of rank and tol"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=7), "rank must be between 1 and 6"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=0), "rank must be between 1 and 6"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=1.0), "rank must be an integer"),
        (lambda: factorize_kernel(kernel(), scheme="dac", tol=1.5), "tol must be between 0 and 1"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=1, groups=4), "groups must divide the 6 filters"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=1, groups=0), "groups must be at least 1"),
        (lambda: factorize_kernel(np.ones((3, 3)), scheme="dac", rank=1), "W must have 4 dimensions"),
        (lambda: factorize_kernel(np.ones((0, 1, 3, 3)), scheme="dac", rank=1), "W must not be empty"),
        (lambda: factorize_kernel(np.full((1, 1, 3, 3), np.nan), scheme="dac", rank=1), "W must be finite"),
        (lambda: factorize_kernel(kernel() * 1j, scheme="dac", rank=1), "W must hold real numbers"),
        (lambda: kernel_spectrum(kernel(), scheme="svd"), "scheme must be one of"),
        (lambda: speedup_bound(kernel(), energy=2), "energy must be between 0 and 1"),
        (lambda: speedup_bound(np.ones(3)), "shape must be four integers"),
        (lambda: Cut((4, 2, 3), "dac"), "shape must be four integers"),
        (lambda: Cut((4, 2, 3, 0), "dac"), r"shape\[3\] must be at least 1"),
        (lambda: Cut((4, 2, 3, 3), "dac").n_params(5), "rank must be between 1 and 4"),
        (lambda: KernelFactors(np.ones((2, 4, 1, 1)), np.ones((6, 3, 3, 2)), Cut((6, 4, 3, 2), "1x1_hw")), "first and"),
        (lambda: KernelFactors(np.ones(()), np.ones((6, 3, 3, 2)), Cut((6, 4, 3, 2), "1x1_hw")), "first and second"),
        (lambda: factorize_kernel(kernel(), scheme="dac", rank=1).matmul(np.ones(5)), r"x must have shape \(24,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
