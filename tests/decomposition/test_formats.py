"""What the tensor formats share: counts, ranks, and the singular vectors of wide matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.decomposition import (
    CP,
    BlockTerm,
    ExtendedTT,
    TensorRing,
    TensorTrain,
    Tucker,
    relative_error,
    tensor_param_count,
)
from labkit.decomposition.formats import frobenius, gram, left_vectors, project, ranks


def example(name, d, n, r, P):
    """A tensor in the named format with all ranks r, filled with ones."""
    inner = [np.ones((r, n, r))] * (d - 2)
    tucker = Tucker(np.ones((r,) * d), (np.ones((n, r)),) * d)
    return {
        "cp": lambda: CP(np.ones(r), (np.ones((n, r)),) * d),
        "tucker": lambda: tucker,
        "tt": lambda: TensorTrain((np.ones((1, n, r)), *inner, np.ones((r, n, 1)))),
        "extended_tt": lambda: ExtendedTT(
            (np.ones((1, n, r)), *[np.ones((r, r, r))] * (d - 2), np.ones((r, n, 1))), (np.ones((n, r)),) * (d - 2)
        ),
        "tr": lambda: TensorRing((np.ones((r, n, r)),) * d),
        "bt": lambda: BlockTerm((tucker,) * P),
    }[name]()


@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
def test_counts_are_the_sizes_of_the_factors(d, n, r, P):
    for name in ("cp", "tucker", "tt", "extended_tt", "tr", "bt"):
        X = example(name, d, n, r, P)
        assert X.n_params == sum(f.size for f in X.factors) == tensor_param_count(name, d=d, n=n, rank=r, n_terms=P)
        assert X.shape == (n,) * d
        assert f"n_params={X.n_params}" in repr(X)


def test_counts_of_the_lecture():
    d, n, r = 7, 10, 3
    assert tensor_param_count("extended_tt", d=d, n=n, rank=r) == d * n * r + (d - 2) * r**3
    assert tensor_param_count("tt", d=d, n=n, rank=r) == (d - 2) * n * r**2 + 2 * n * r
    assert tensor_param_count("tucker", d=d, n=n, rank=r) == d * n * r + r**d
    assert tensor_param_count("cp", d=d, n=n, rank=r) == d * n * r


@pytest.mark.parametrize("shape", [(5, 300), (300, 5), (20, 20), (1, 7)])
@pytest.mark.parametrize("method", ["auto", "gram", "svd"])
def test_left_vectors_are_those_of_the_svd(shape, method, rng):
    C = rng.standard_normal(shape)
    k = max(1, min(shape) // 2)
    U, error = left_vectors(C, rank=k, method=method)
    s = np.linalg.svd(C, compute_uv=False)
    np.testing.assert_allclose(U.T @ U, np.eye(k), atol=1e-10)
    np.testing.assert_allclose(error, np.linalg.norm(s[k:]), atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(C - U @ (U.T @ C)), error, atol=1e-10)


def test_auto_turns_to_the_svd_where_squaring_would_lose_the_answer(rng):
    U, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    V, _ = np.linalg.qr(rng.standard_normal((200, 6)))
    C = (U * [1, 1e-1, 1e-2, 1e-10, 1e-11, 1e-12]) @ V.T
    kept, error = left_vectors(C, delta=5e-11)
    assert kept.shape == (6, 4)
    np.testing.assert_allclose(error, 1e-11, rtol=0.02)
    assert left_vectors(C, delta=5e-11, method="gram")[0].shape != (6, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocked_products_are_the_products(dtype, rng):
    C = rng.standard_normal((3, 40_000)).astype(dtype)
    U = rng.standard_normal((3, 2)).astype(dtype)
    exact = C.astype(float) @ C.T.astype(float)
    np.testing.assert_allclose(gram(C), exact, rtol=1e-5, atol=1e-2)
    np.testing.assert_allclose(project(U, C), U.T @ C, atol=1e-5)
    np.testing.assert_allclose(frobenius(C), np.sqrt(np.trace(exact)), rtol=1e-5)


def test_relative_error_of_zero():
    assert relative_error(np.zeros((2, 2)), np.zeros((2, 2))) == 0
    assert relative_error(np.zeros((2, 2)), np.ones((2, 2))) == 1
    assert relative_error(np.ones((2, 2)), np.zeros((2, 2))) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tensor_param_count("ttt", d=3, n=3, rank=1), "format must be one of"),
        (lambda: tensor_param_count("tt", d=1, n=3, rank=1), "d must be at least 2, got 1"),
        (lambda: tensor_param_count("tt", d=3, n=3, rank=1.0), "rank must be an integer"),
        (lambda: tensor_param_count("bt", d=3, n=3, rank=1, n_terms=0), "n_terms must be at least 1"),
        (lambda: ranks(3, (4, 2)), r"rank\[1\] must be between 1 and 2, got 3"),
        (lambda: ranks((3,), (4, 2)), "rank must be an int or 2 ints, got 1"),
        (lambda: ranks(True, (4, 2)), r"rank\[0\] must be an integer"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
