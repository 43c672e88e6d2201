"""The benchmark of the kernels runs, at sizes that say nothing, and every way computes the same."""

import numpy as np
import pytest
import torch

from benchmarks import kernels as benchmark
from labkit import kernels
from labkit.kernels import dispatch

pytestmark = [
    pytest.mark.skipif(len(dispatch.levels()) == 1, reason="there are no compiled kernels"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
]


def test_rows_name_the_peer_and_the_ratio(monkeypatch):
    monkeypatch.setattr(benchmark, "LAYERS", ((3, 6),))
    monkeypatch.setattr(benchmark, "limit", lambda level: (1, lambda: None))
    rows = [*benchmark.gemm_rows(32), *benchmark.peers_rows(32), *benchmark.gemv_rows(64), *benchmark.planes_rows(32)]
    rows += benchmark.conv_rows()
    assert {len(row) for row in rows} == {4}
    assert all("x" in row[2] or row[2].endswith("Gflop/s") for row in rows)
    named = " ".join(row[0] for row in rows)
    assert all(level in named for level in dispatch.levels()[2:])


def test_every_float32_product_is_the_same():
    products = benchmark.float32_products(5, 7, 9)
    first = np.asarray(products["torch.mm"]())
    for name, product in products.items():
        made = product()
        dense = made.to_dense() if getattr(made, "is_mkldnn", False) else torch.as_tensor(made)
        if name == "oneDNN (conv2d)":  # (1, p, m, 1)
            dense = dense[0, :, :, 0].T
        if name != "oneDNN (Linear)":  # it has a weight of its own
            np.testing.assert_allclose(dense.detach().numpy(), first, atol=1e-4, err_msg=name)
        assert dense.shape == (5, 7)


def test_the_peers_count_the_same_bits():
    a, b = benchmark.packed_pair(5, 9, 128)
    expected = kernels.xnor_matmul(a, b, n=128)
    products = benchmark.peer_products(a, b, 128)
    np.testing.assert_array_equal(products["numpy.bitwise_count"](), expected)
    if "numba" in products:
        np.testing.assert_array_equal(products["numba"](), expected)
    if "faiss (hammings)" in products:
        nearest, _ = products["faiss (IndexBinaryFlat.search)"]()
        np.testing.assert_array_equal(128 - 2 * nearest[:, 0], expected.max(axis=1))


def test_the_convolutions_have_one_shape():
    ways = benchmark.conv_ways(4, 5)
    np.testing.assert_array_equal(ways["ours"](), ways["words"]())
    assert {tuple(way().shape) for way in ways.values()} == {(1, 4, 5, 5)}


def test_an_unknown_table_is_refused(capsys):
    assert benchmark.main(["gem"]) == 2
    assert "unknown: gem; allowed: gemm, peers" in capsys.readouterr().err
