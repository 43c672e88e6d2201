"""Response-aware factorisation: optimal for the data it saw, and better than the weight's SVD there."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from labkit.datasets import mnist
from labkit.decomposition import (
    LowRankConv2d,
    LowRankLinear,
    factorize_conv,
    factorize_linear,
    layer_inputs,
    response_pca,
    response_spectrum,
)
from labkit.nets import load


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def digits():
    return mnist("test", source="offline").tensors()[0]


def layer_and_data(kind):
    """A layer and correlated inputs with a mean, more of them than one part of the computation takes."""
    if kind == "linear":
        return nn.Linear(20, 12), torch.randn(1200, 20) @ torch.randn(20, 20) + 3
    return nn.Conv2d(3, 12, 3, padding=1, stride=2), torch.rand(600, 3, 8, 8).cumsum(2) + 1


def rows(y):
    return y.detach().movedim(1, -1).flatten(0, -2).double().numpy() if y.dim() == 4 else y.detach().double().numpy()


def error(layer, small, data):
    with torch.no_grad():
        return float((small(data).double() - layer(data).double()).square().mean())


KINDS = ["linear", "conv"]


@pytest.mark.parametrize("net", ["lenet-300-100", "lenet-5"])
@pytest.mark.parametrize("rank", [2, 8, 16])
def test_lower_output_error_than_weight_svd_on_mnist_activations(net, rank, digits):
    model = load(net)
    fitted, fresh = layer_inputs(model, digits[:500]), layer_inputs(model, digits[500:])
    for name, data in fitted.items():
        layer = model.get_submodule(name)
        if rank < min(len(layer.weight), layer.weight[0].numel()):
            plain = (factorize_conv if isinstance(layer, nn.Conv2d) else factorize_linear)(layer, rank=rank)
            aware = response_pca(layer, data, rank=rank)
            assert error(layer, aware, data) < error(layer, plain, data)
            assert error(layer, aware, fresh[name]) < error(layer, plain, fresh[name])


@pytest.mark.parametrize("kind", KINDS)
def test_error_is_the_tail_of_the_response_spectrum(kind):
    layer, data = layer_and_data(kind)
    spectrum = response_spectrum(layer, data)
    for rank in (1, 5, 11):
        expected = (spectrum[rank:] ** 2).sum() / 12
        assert error(layer, response_pca(layer, data, rank=rank), data) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_sklearn_pca(kind):
    layer, data = layer_and_data(kind)
    Y = rows(layer(data))
    pca = PCA(4, svd_solver="full").fit(Y)
    np.testing.assert_allclose(response_spectrum(layer, data)[:4] ** 2 * len(Y) / (len(Y) - 1), pca.explained_variance_)
    ours = rows(response_pca(layer, data, rank=4)(data))
    np.testing.assert_allclose(ours, pca.inverse_transform(pca.transform(Y)), atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_full_rank_reproduces_outputs_and_spectrum_descends(kind):
    layer, data = layer_and_data(kind)
    torch.testing.assert_close(response_pca(layer, data, rank=12)(data), layer(data), rtol=1e-4, atol=1e-4)
    assert (np.diff(response_spectrum(layer, data)) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_random_change_of_the_layer_does_better(kind):
    layer, data = layer_and_data(kind)
    small = response_pca(layer, data, rank=3).double()
    layer, data = layer.double(), data.double()
    best = error(layer, small, data)
    for _ in range(30):
        other = response_pca(layer, data, rank=3).double()
        for p in other.parameters():
            p.data += 1e-2 * torch.randn_like(p)
        assert error(layer, other, data) >= best


def test_mean_is_kept_in_the_bias_even_of_a_layer_without_one():
    layer, data = nn.Linear(6, 4, bias=False), torch.randn(200, 6) + 5
    small = response_pca(layer, data, rank=1)
    assert small.second.bias is not None
    torch.testing.assert_close(small(data).mean(0), layer(data).mean(0), rtol=1e-4, atol=1e-4)


def test_kind_and_number_type_are_those_of_the_layer():
    for layer, data, kind in (
        (nn.Linear(6, 4).half(), torch.randn(50, 6), LowRankLinear),
        (nn.Conv2d(2, 4, 3, dilation=2, padding="same").double().eval(), torch.randn(3, 2, 9, 9), LowRankConv2d),
    ):
        small = response_pca(layer, data, rank=2)
        assert isinstance(small, kind)
        assert small.second.weight.dtype == layer.weight.dtype
        assert small.training is layer.training


def test_inputs_with_several_batch_dimensions():
    layer, data = nn.Linear(6, 4), torch.randn(10, 7, 6)
    one, two = response_pca(layer, data, rank=2), response_pca(layer, data.flatten(0, 1), rank=2)
    torch.testing.assert_close(one(data), two(data))


def test_layer_inputs_are_what_the_layers_got_and_the_model_is_untouched(digits):
    model = load("lenet-5").train()
    seen = layer_inputs(model, digits[:4])
    assert {name: tuple(x.shape) for name, x in seen.items()} == {
        "conv1": (4, 1, 28, 28),
        "conv2": (4, 20, 12, 12),
        "fc1": (4, 800),
        "fc2": (4, 500),
    }
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    torch.testing.assert_close(model.fc2(seen["fc2"]), model(digits[:4]))
    assert list(layer_inputs(model, digits[:4], names=["fc1"])) == ["fc1"]


def test_layer_inputs_takes_its_hooks_off_after_an_error():
    model = load("lenet-5")
    with pytest.raises(RuntimeError):
        layer_inputs(model, torch.zeros(2, 3))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("layer", "data", "rank", "message"),
    [
        (nn.ReLU(), torch.ones(9, 6), 2, "layer must be"),
        (nn.Conv2d(4, 4, 3, groups=2), torch.ones(9, 4, 5, 5), 2, "groups=2"),
        (nn.Linear(6, 4), np.ones((9, 6)), 2, "data must be Tensor"),
        (nn.Linear(6, 4), torch.ones(9, 5), 2, "data must have shape"),
        (nn.Linear(6, 4), torch.ones(6), 2, "data must have shape"),
        (nn.Conv2d(4, 4, 3), torch.ones(9, 3, 5, 5), 2, "data must have shape"),
        (nn.Conv2d(4, 4, 3), torch.ones(4, 5, 5), 2, "data must have shape"),
        (nn.Linear(6, 4), torch.ones(0, 6), 2, "data must not be empty"),
        (nn.Linear(6, 4), torch.full((9, 6), torch.nan), 2, "data must be finite"),
        (nn.Linear(6, 4), torch.ones(2, 6), 2, "data must give more than rank=2 responses, got 2"),
        (nn.Linear(6, 4), torch.ones(9, 6), 5, "rank must be between 1 and 4, got 5"),
        (nn.Linear(6, 4), torch.ones(9, 6), 0, "rank must be between 1 and 4, got 0"),
        (nn.Linear(6, 4), torch.ones(9, 6), 2.0, "rank must be an integer"),
    ],
)
def test_bad_input_is_refused(layer, data, rank, message):
    with pytest.raises((TypeError, ValueError), match=message):
        response_pca(layer, data, rank=rank)
    if "rank" not in message:
        with pytest.raises((TypeError, ValueError), match=message):
            response_spectrum(layer, data)


@pytest.mark.parametrize(
    ("names", "message"), [(["fc9"], "did you mean"), (["relu"], "names must be"), ("fc1", "list of layer names")]
)
def test_layer_inputs_refuses(names, message):
    with pytest.raises((TypeError, ValueError), match=message):
        layer_inputs(load("lenet-300-100"), torch.zeros(1, 784), names=names)
    with pytest.raises(TypeError, match="model must be Module"):
        layer_inputs("lenet", torch.zeros(1, 784))
