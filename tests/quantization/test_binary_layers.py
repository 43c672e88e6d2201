"""Binary layers: what flows forwards and backwards, conversion of models, clipping, training."""

import pytest
import torch
from torch import nn

from labkit.datasets import mnist
from labkit.nets import BinaryLeNet, LeNet, LeNet300
from labkit.quantization import (
    BinaryConnectConv2d,
    BinaryConnectLinear,
    BinaryConv2d,
    BinaryLinear,
    BWNConv2d,
    BWNLinear,
    SignActivation,
    XNORConv2d,
    XNORLinear,
    binarize_model,
    binary_layers,
    clip_weights,
    clipped,
    sign,
    start_uniform,
)
from labkit.training import evaluate, fit

LINEAR = (BinaryConnectLinear, BinaryLinear, BWNLinear, XNORLinear)
CONV = (BinaryConnectConv2d, BinaryConv2d, BWNConv2d, XNORConv2d)


@pytest.fixture
def x():
    return torch.randn(3, 4, 7, 7, generator=torch.Generator().manual_seed(1))


def reference(layer, x):
    """Compute a binary convolution by its definition, with the input padded by +1 where it is binary."""
    p = layer.padding[0]
    padded = nn.functional.pad(x, (p, p, p, p))
    inputs = sign(padded) if layer.binary_input else padded
    scale = layer.weight.abs().mean((1, 2, 3)) if layer.scaled else torch.ones(len(layer.weight))
    y = nn.functional.conv2d(inputs, sign(layer.weight), None, layer.stride, 0, layer.dilation, layer.groups)
    return y * scale[:, None, None] + (0 if layer.bias is None else layer.bias[:, None, None])


@pytest.mark.parametrize("kind", CONV)
@pytest.mark.parametrize("geometry", [{}, {"padding": 1}, {"stride": 2, "dilation": 2, "padding": 2}, {"groups": 2}])
def test_a_convolution_is_its_definition(kind, geometry, x):
    layer = kind(4, 6, 3, bias=True, **geometry)
    assert torch.allclose(layer(x), reference(layer, x), atol=1e-5)


@pytest.mark.parametrize("kind", LINEAR)
def test_a_linear_layer_is_its_definition(kind, x):
    layer, x = kind(49, 5, bias=True), x.flatten(2)
    inputs = sign(x) if layer.binary_input else x
    scale = layer.weight.abs().mean(1) if layer.scaled else 1
    assert torch.allclose(layer(x), (inputs @ sign(layer.weight).T) * scale + layer.bias, atol=1e-5)


@pytest.mark.parametrize("kind", [BinaryLinear, XNORLinear, BinaryConv2d, XNORConv2d])
def test_the_forward_pass_multiplies_plus_and_minus_one_only(kind, x):
    """Real weights and inputs of any size give the same sums as their signs, which are integers."""
    layer = kind(49, 5) if issubclass(kind, nn.Linear) else kind(4, 5, 3, padding=1)
    x = x.flatten(2) if issubclass(kind, nn.Linear) else x
    sums = layer(x) / layer.scale().reshape((-1,) + (1,) * (0 if issubclass(kind, nn.Linear) else 2))
    assert torch.allclose(sums, sums.round(), atol=1e-4)
    assert set(layer.signs().unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(layer(x), layer(17 * x))


def test_xnor_has_no_input_scale_by_default_and_the_papers_on_request(x):
    plain, scaled = XNORConv2d(4, 6, 3), XNORConv2d(4, 6, 3, act_scale=True)
    scaled.load_state_dict(plain.state_dict())
    assert not plain.act_scale
    K = nn.functional.avg_pool2d(x.abs().mean(1, keepdim=True), 3, stride=1)
    assert torch.allclose(scaled(x), plain(x) * K, atol=1e-5)
    linear, wide = XNORLinear(7, 2), XNORLinear(7, 2, act_scale=True)
    wide.load_state_dict(linear.state_dict())
    assert torch.allclose(wide(x), linear(x) * x.abs().mean(-1, keepdim=True), atol=1e-5)


def test_the_gradient_of_a_bnn_weight_is_the_one_of_its_sign():
    layer, x = BinaryLinear(6, 3), torch.randn(5, 6)
    nn.init.uniform_(layer.weight, -3, 3)
    layer(x).square().sum().backward()
    signs = sign(layer.weight).requires_grad_()
    (sign(x) @ signs.T).square().sum().backward()
    assert torch.allclose(layer.weight.grad, signs.grad)  # also where abs(W) > 1: clipping is the optimizer's part


def test_the_gradient_of_an_input_stops_outside_the_window():
    x = torch.tensor([[-2.0, -0.5, 0.5, 1.5]], requires_grad=True)
    layer = BinaryLinear(4, 3)
    nn.init.ones_(layer.weight)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[0, 3, 3, 0]]


def test_the_scale_takes_part_in_the_gradient():
    layer = BWNLinear(4, 1)
    nn.init.constant_(layer.weight, 0.5)
    layer(torch.ones(1, 4)).sum().backward()  # y = alpha sum B = 4 mean|W|: 1 from alpha, alpha from each sign
    assert torch.allclose(layer.weight.grad, torch.tensor([[1.5, 1.5, 1.5, 1.5]]))


def test_stochastic_weights_are_drawn_in_training_only():
    layer = BinaryConnectLinear(50, 50, stochastic=True).train()
    nn.init.zeros_(layer.weight)
    x = torch.ones(1, 50)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), torch.full((1, 50), 50.0))


@pytest.mark.parametrize("kind", [*LINEAR, *CONV])
def test_a_layer_can_be_saved_converted_and_made_dense(kind, x):
    linear = issubclass(kind, nn.Linear)
    dense = nn.Linear(49, 5) if linear else nn.Conv2d(4, 5, 3, stride=2)
    x = sign(x.flatten(2)) if linear else sign(x)
    layer = kind.from_linear(dense) if linear else kind.from_conv(dense)
    assert torch.equal(layer.weight, dense.weight)
    assert layer.training is dense.training
    assert torch.allclose(layer.to_dense()(x), layer(x), atol=1e-4)
    again = kind(49, 5, bias=True) if linear else kind(4, 5, 3, stride=2, bias=True)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), layer(x))


@pytest.mark.parametrize("method", ["binary-connect", "bnn", "bwn", "xnor"])
def test_first_and_last_layer_stay_real(method):
    model = LeNet(random_state=0)
    made = binarize_model(model, method)
    assert list(binary_layers(made)) == ["conv2", "fc1"]
    assert not binary_layers(model)  # a copy
    assert torch.equal(made.conv2.weight, model.conv2.weight)
    every = binarize_model(model, method, skip_first_last=False)
    assert list(binary_layers(every)) == ["conv1", "conv2", "fc1", "fc2"]
    assert list(binary_layers(binarize_model(model, method, last_layer="binary"))) == ["conv2", "fc1", "fc2"]
    assert list(binary_layers(binarize_model(model, method, skip_first_last=False, last_layer="float")))[-1] == "fc1"


def test_clipping_follows_every_step():
    model = binarize_model(LeNet300(random_state=0))
    data = mnist("train", source="offline")[:256]
    fit(
        model,
        data,
        epochs=1,
        batch_size=32,
        learning_rate=0.5,
        optimizer=clipped(model),
        random_state=0,
        progress=False,
    )
    assert model.fc2.weight.abs().max() == 1
    assert model.fc1.weight.abs().max() > 1  # not binary, not clipped


def test_clip_weights_touches_binary_layers_only():
    model = nn.Sequential(nn.Linear(2, 2), BinaryLinear(2, 2))
    for layer in model:
        nn.init.constant_(layer.weight, -4.0)
    clip_weights(model)
    assert (model[0].weight.unique().item(), model[1].weight.unique().item()) == (-4, -1)


def test_a_uniform_start_is_for_binary_layers_and_follows_its_seed():
    model, other = (nn.Sequential(nn.Linear(50, 50), BinaryLinear(50, 50)) for _ in range(2))
    real = model[0].weight.clone()
    start_uniform(model, random_state=3)
    start_uniform(other, random_state=3)
    assert torch.equal(model[1].weight, other[1].weight)
    assert 0.45 < model[1].weight.abs().mean() < 0.55
    assert torch.equal(model[0].weight, real)


@pytest.mark.parametrize("make", [BinaryLeNet, lambda **kw: binarize_model(LeNet(**kw), "bwn")])
def test_binary_networks_learn(make):
    model = make(random_state=0)
    fit(model, mnist("train", source="offline")[:1500], epochs=2, learning_rate=5e-3, optimizer=clipped(model),
        random_state=0, progress=False)  # fmt: skip
    assert evaluate(model, mnist("test", source="offline")[:500]).accuracy > 80


def test_sign_activation_is_idempotent():
    x = torch.randn(9)
    assert torch.equal(SignActivation()(SignActivation()(x)), sign(x))


@pytest.mark.parametrize("method", ["bnn", "bwn", "binary-connect"])
def test_only_xnor_scales_inputs(method):
    with pytest.raises(ValueError, match="act_scale must be False for"):
        binarize_model(LeNet300(), method, act_scale=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: binarize_model(LeNet300(), "bnm"), ValueError, "method must be one of 4 names, got 'bnm'"),
        (lambda: binarize_model("net"), TypeError, "model must be Module"),
        (lambda: binarize_model(nn.Sequential(nn.Linear(2, 2))), ValueError, "model must have a layer to binarise"),
        (lambda: binarize_model(nn.Linear(2, 2), skip_first_last=False), ValueError, "a layer to binarise"),
        (lambda: binarize_model(LeNet300(), last_layer="int8"), ValueError, "last_layer must be one of 2 names"),
        (lambda: BinaryLinear(2, 2, stochastic=1), TypeError, "stochastic must be True or False"),
        (lambda: BinaryConv2d(2, 2, 3, padding="same"), TypeError, "padding must be an integer"),
        (lambda: BinaryConv2d(2, 2, 3, padding=1, padding_mode="reflect"), ValueError, "padding_mode must be 'zeros'"),
        (lambda: BinaryLinear.from_linear(nn.Conv2d(1, 1, 1)), TypeError, "layer must be Linear"),
        (lambda: BinaryConv2d.from_conv(nn.Linear(1, 1)), TypeError, "conv must be Conv2d"),
        (lambda: BinaryLinear(2, 2)(torch.tensor([[0.0, float("nan")]])), ValueError, "x must not hold NaN"),
        (lambda: binary_layers(3), TypeError, "model must be Module"),
        (lambda: clipped(3), TypeError, "model must be Module"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
