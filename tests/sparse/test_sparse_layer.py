"""The sparse layer: gradients, the mask that stays, round trips, and its place in a compressed network."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.compress import compress, load_compressed, save_compressed
from labkit.sparse import SparseLinear, SparseScheme, sparse_mask


@pytest.fixture
def mask():
    return sparse_mask((7, 11), density=0.3, random_state=0)


@pytest.fixture
def layer(mask):
    torch.manual_seed(0)
    return SparseLinear.from_linear(nn.Linear(11, 7), mask)


def test_it_is_the_masked_layer(mask):
    torch.manual_seed(0)
    dense = nn.Linear(11, 7)
    sparse = SparseLinear.from_linear(dense, mask)
    x = torch.randn(3, 4, 11)
    expected = x @ (dense.weight * torch.from_numpy(mask)).T + dense.bias
    torch.testing.assert_close(sparse(x), expected)
    torch.testing.assert_close(sparse.to_dense()(x), expected)
    np.testing.assert_array_equal(sparse.weight().to_dense() != 0, mask)
    assert sparse.nnz == mask.sum()


@pytest.mark.parametrize("bias", [True, False])
def test_gradients(mask, bias):
    layer = SparseLinear.from_linear(nn.Linear(11, 7, bias=bias).double(), mask)
    x = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())

    def call(x, *values):
        named = dict(zip(dict(layer.named_parameters()), values, strict=True))
        return torch.func.functional_call(layer, named, (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters))


def test_gradients_are_those_of_the_dense_layer_on_the_mask(layer, mask):
    x = torch.randn(6, 11, requires_grad=True)
    dense = layer.to_dense()
    for module in (layer, dense):
        module(x).square().sum().backward()
    torch.testing.assert_close(layer.values.grad, dense.weight.grad[torch.from_numpy(mask)])
    torch.testing.assert_close(layer.bias.grad, dense.bias.grad)


def test_training_moves_the_values_and_not_the_mask(layer, mask):
    before = layer.values.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(torch.ones(4, 11)) - 1).square().mean().backward()
        optimizer.step()
    assert not torch.equal(layer.values, before)
    np.testing.assert_array_equal(np.abs(layer.weight().to_dense()) > 0, mask)
    assert {name for name, _ in layer.named_parameters()} == {"values", "bias"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(mask, dtype):
    layer = SparseLinear.from_linear(nn.Linear(11, 7).to(dtype), mask)
    x = torch.randn(2, 11).to(dtype)
    torch.testing.assert_close(layer(x), layer.to_dense()(x), rtol=2e-2, atol=2e-2)


def test_the_way_of_torch_gives_the_same(layer):
    x = torch.randn(3, 11)
    torch.testing.assert_close(layer._by_torch(x) + layer.bias, layer(x))


def test_no_batch_and_an_empty_one(layer):
    assert layer(torch.ones(11)).shape == (7,)
    assert layer(torch.ones(0, 11)).shape == (0, 7)


def test_state_dict_round_trip(layer):
    other = SparseLinear(**layer.config())
    other.load_state_dict(layer.state_dict(), strict=True)
    x = torch.randn(3, 11)
    assert torch.equal(other(x), layer(x))


def test_the_largest_weights_stay():
    dense = nn.Linear(20, 10)
    sparse = SparseLinear.from_linear(dense, sparsity=0.75)
    kept = sparse.weight().to_dense() != 0
    size = dense.weight.detach().abs().numpy()
    assert kept.sum() == 50
    assert size[kept].min() >= size[~kept].max()


def test_in_a_network(tmp_path):
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5))
    small, report = compress(model, {"0": SparseScheme(sparsity=0.9)}, example_inputs=torch.zeros(1, 30))
    assert isinstance(small[0], SparseLinear)
    assert report.after.cost.macs == 60 + 100
    path = tmp_path / "small.safetensors"
    save_compressed(small, path)
    again = load_compressed(path, model=model)
    x = torch.randn(4, 30)
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SparseLinear.from_mask(np.ones((2, 2))), TypeError, "mask must hold bools, got dtype float64"),
        (lambda: SparseLinear.from_mask(np.ones(2, bool)), ValueError, r"mask must have shape \(out, in\)"),
        (lambda: SparseLinear.from_mask(np.zeros((2, 2), bool)), ValueError, "keep a weight"),
        (lambda: SparseLinear(3, 2, nnz=7), ValueError, "nnz must be between 1 and 6, got 7"),
        (lambda: SparseLinear(3, 2, nnz=1.0), TypeError, "nnz must be an integer"),
        (lambda: SparseLinear(0, 2, nnz=1), ValueError, "in_features must be"),
        (lambda: SparseLinear.from_linear(nn.ReLU(), sparsity=0.5), TypeError, "layer must be Linear, got ReLU"),
        (lambda: SparseLinear.from_linear(nn.Linear(2, 2)), ValueError, "one of mask and sparsity must be given"),
        (lambda: SparseLinear.from_linear(nn.Linear(2, 2), np.ones((2, 2), bool), sparsity=0.5), ValueError, "one of"),
        (lambda: SparseLinear.from_linear(nn.Linear(2, 2), np.ones((2, 3), bool)), ValueError, "mask must have the"),
        (lambda: SparseLinear.from_linear(nn.Linear(2, 2), sparsity=1.0), ValueError, "keep a weight"),
        (lambda: SparseLinear.from_linear(nn.Linear(2, 2), sparsity=1.5), ValueError, "sparsity must be between 0"),
        (lambda: SparseScheme(sparsity="a").apply(nn.Linear(2, 2)), TypeError, "sparsity must be a number"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
