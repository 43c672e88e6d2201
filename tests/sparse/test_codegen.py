"""Generated code: the slide's statements, the product, and every way in which a matrix can be odd."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import paths
from labkit.kernels import compiled, dispatch
from labkit.kernels.compiled import NoCompilerError, find_compiler
from labkit.lectures import table
from labkit.sparse import CSR, VBL, codegen, sparse_mask

NEEDS_COMPILER = pytest.mark.skipif(find_compiler() is None, reason="this machine has no C compiler")


def slide_matrix(random_state=0):
    """The 12 x 8 matrix of the slide, with random numbers at its ten places."""
    printed = table("codegen_sparse_b_nonzeros")
    B = np.zeros((12, 8))
    places = np.array([printed.column("b_row"), printed.column("b_col")]) - 1
    B[tuple(places)] = np.random.default_rng(random_state).uniform(1, 2, len(places.T))
    return B


def slide_statements():
    rows = table("codegen_sparse_b_nonzeros").rows
    return tuple(f"c{r['c_index']} += a{r['a_index']} * b{r['b_row']}_{r['b_col']}" for r in rows)


def test_the_ten_statements_of_the_slide():
    code = codegen(slide_matrix())
    assert len(slide_statements()) == 10
    assert code.statements == slide_statements()
    assert str(code).splitlines() == list(slide_statements())
    for source in (code.c, code.python):  # the C code has them by columns of C
        found = re.findall(r"c\d+ \+= a\d+ \* b\d+_\d+", source)
        assert sorted(found) == sorted(slide_statements())


def test_the_python_code_multiplies():
    B, A = slide_matrix(), np.random.default_rng(1).standard_normal((8, 12))
    np.testing.assert_allclose(codegen(B).run_python(A), A @ B, rtol=1e-6, atol=1e-6)


@NEEDS_COMPILER
@pytest.mark.parametrize("level", dispatch.levels())
@pytest.mark.parametrize("rows", [1, 8, 15, 16, 17, 64])
def test_the_c_code_multiplies_at_every_level(level, rows):
    B, A = slide_matrix(), np.random.default_rng(1).standard_normal((rows, 12))
    code = codegen(B)
    with dispatch.forced(level):
        np.testing.assert_allclose(code.matmul(A), A @ B, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(code.matmul_columns(A.T), (A @ B).T, rtol=1e-6, atol=1e-6)


@NEEDS_COMPILER
def test_the_c_code_gives_the_bits_of_csr():
    """The same sums in the same order, and nothing fused: vectors have no other multiply-add without the option fma."""
    rng = np.random.default_rng(0)
    B = (rng.standard_normal((30, 20)) * (rng.random((30, 20)) < 0.3)).astype(np.float32)
    X = rng.standard_normal((30, 33)).astype(np.float32)
    with dispatch.forced("portable" if "portable" in dispatch.levels() else "numpy"):
        np.testing.assert_array_equal(codegen(B).matmul_columns(X), CSR.from_dense(B.T).matmul(X))


@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), density=st.floats(0, 1), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_python_code_of_any_matrix(shape, density, seed):
    rng = np.random.default_rng(seed)
    B = rng.standard_normal(shape) * sparse_mask(shape, density=density, random_state=rng)
    A = rng.standard_normal((3, shape[0]))
    code = codegen(B)
    assert len(code.statements) == np.count_nonzero(B)
    np.testing.assert_allclose(code.run_python(A), A @ B, rtol=1e-4, atol=1e-4)


@NEEDS_COMPILER
@pytest.mark.parametrize("B", [np.zeros((3, 2)), np.eye(1), -1e-30 * np.ones((2, 2)), 3e38 * np.eye(3)])
def test_odd_matrices_compile(B):
    A = np.ones((5, len(B)))
    np.testing.assert_allclose(codegen(B).matmul(A), (A @ B).astype(np.float32), rtol=1e-6)


def test_a_sparse_format_is_taken():
    B = slide_matrix()
    assert codegen(VBL.from_dense(B)).statements == codegen(B).statements


@NEEDS_COMPILER
def test_the_library_is_kept_on_disk_and_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    codegen(slide_matrix()).compile()
    kept = list((tmp_path / "compiled").glob("*.so"))
    assert len(kept) == 1
    monkeypatch.setattr(compiled, "_run", lambda command, text: "" if "--version" in command else pytest.fail("again"))
    codegen(slide_matrix()).compile()
    assert codegen(slide_matrix(1)).c != codegen(slide_matrix()).c


def test_without_a_compiler_python_serves(monkeypatch):
    monkeypatch.setattr(compiled, "find_compiler", lambda: None)
    code = codegen(slide_matrix(2))
    with pytest.raises(NoCompilerError, match="no C compiler was found"):
        code.matmul(np.ones((1, 12)))
    assert code.run_python(np.ones((1, 12))).shape == (1, 8)


@pytest.mark.parametrize(
    ("B", "error", "message"),
    [
        (np.ones(3), ValueError, "B must have 2 dimensions"),
        ([[np.nan]], ValueError, "B must be finite"),
        ([["a"]], TypeError, "B must hold real numbers"),
        (np.ones((300, 200)), ValueError, "B must have at most 50000 numbers .*got 60000"),
        ([[1e300]], ValueError, "B must fit float32"),
    ],
)
def test_bad_matrices(B, error, message):
    with pytest.raises(error, match=message):
        codegen(B)


def test_bad_factors():
    code = codegen(slide_matrix())
    for product in (code.matmul, code.run_python):
        with pytest.raises(ValueError, match=r"A must have 12 columns, as B has rows, got shape \(2, 8\)"):
            product(np.ones((2, 8)))
        with pytest.raises(ValueError, match="A must have 2 dimensions"):
            product(np.ones(12))
    with pytest.raises(ValueError, match="X must have 12 rows"):
        code.matmul_columns(np.ones((8, 12)))
