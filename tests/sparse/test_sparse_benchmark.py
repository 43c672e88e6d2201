"""The benchmark of sparse products runs, at a size that says nothing, and every way computes the same."""

import numpy as np
import pytest

from benchmarks import sparse
from labkit.kernels import dispatch
from labkit.kernels.compiled import find_compiler
from labkit.sparse import codegen


@pytest.fixture(autouse=True)
def small(monkeypatch):
    changes = {"SIZE": 32, "WIDTHS": (1, 3), "CODE_SIZE": 16, "CODE_WIDTHS": (16,)}
    for name, value in changes.items():
        monkeypatch.setattr(sparse, name, value)


def test_rows_name_the_product_the_peer_and_the_ratio():
    rows = [*sparse.product_rows(rounds=7), *sparse.code_rows(rounds=7), *sparse.break_even_rows(rounds=7)]
    n_code = 2 if find_compiler() else 0
    assert len(rows) == 2 * 2 + n_code + 3
    assert all(len(row) == len(sparse.HEADER) for row in rows)
    assert all(row[2].endswith(("x", "%")) or row[2] == "never" for row in rows)


@pytest.mark.parametrize("n", [1, 5])
def test_the_peers_compute_the_same_product(n):
    csr = sparse.random_csr(20, 0.5)
    X = np.random.default_rng(0).standard_normal((20, n), dtype=np.float32)
    for name, product in sparse.peers(csr, X).items():
        made = product()
        made = made.to_dense().detach().T if getattr(made, "is_mkldnn", False) else made
        np.testing.assert_allclose(np.asarray(made).reshape(20, n), csr.matmul(X), atol=1e-4, err_msg=name)


@pytest.mark.skipif(find_compiler() is None or len(dispatch.levels()) == 1, reason="this machine has no C compiler")
def test_the_bare_calls_run():
    csr = sparse.random_csr(16, 0.5)
    X = np.ones((16, 16), np.float32)
    sparse.csr_call(csr, X)()
    sparse.code_call(codegen(csr.to_dense().T), X)()
