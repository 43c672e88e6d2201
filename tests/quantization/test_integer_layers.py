"""Integer layers: exact products, multipliers that never tie, and layers that equal their float twins bit for bit."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.quantization import (
    Levels,
    QConv2d,
    QLayer,
    QLinear,
    int_matmul,
    integer,
    multiplier_and_shift,
    pack_integers,
    quantize_to,
    requantize,
    symmetric,
    unpack_integers,
)


def integers(*shape, dtype=torch.int8, seed=0):
    low, high = (0, 256) if dtype == torch.uint8 else (-128, 128)
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(a, b):
    return torch.from_numpy(a.numpy().astype(np.int64) @ b.numpy().astype(np.int64)).to(torch.int32)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 25, 20), (17, 500, 50), (64, 33, 7)])
def test_the_product_is_exact(dtype, shape, fast, monkeypatch):
    m, k, n = shape
    monkeypatch.setattr(integer, "_fast_product", lambda: fast)
    a, b = integers(m, k, dtype=dtype), integers(k, n, seed=1)
    assert torch.equal(int_matmul(a, b), exact(a, b))
    assert torch.equal(int_matmul(a, b.T.contiguous().T), exact(a, b))


def test_extreme_products_do_not_saturate():
    for low, high in itertools.product((-128, 127), repeat=2):
        a, b = torch.full((4, 900), low, dtype=torch.int8), torch.full((900, 3), high, dtype=torch.int8)
        assert (int_matmul(a, b) == 900 * low * high).all()
    a = torch.full((4, 900), 255, dtype=torch.uint8)
    assert (int_matmul(a, b) == 900 * 255 * 127).all()


@settings(max_examples=300, deadline=None)
@given(st.floats(2.0**-39, 2.0**20), st.integers(-(2**31), 2**31 - 1))
def test_an_odd_multiplier_never_meets_a_tie(ratio, total):
    M, n = multiplier_and_shift(ratio)
    assert abs(M / 2**n / ratio - 1) <= 2**-21
    assert M.bit_length() <= 23
    if M % 2:
        tie = (2 * total * M) % 2**n == 0 and ((2 * total * M) >> n) % 2 == 1
        assert not tie or abs(total * M / 2**n) > 2**19


@pytest.mark.parametrize("exponent", [-30, -9, 0, 5])
def test_a_power_of_two_stays_one(exponent):
    M, n = multiplier_and_shift(2.0**exponent)
    assert M / 2**n == 2.0**exponent


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-6, 10), st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=20))
def test_requantization_is_rounding(ratio, totals):
    M, n = multiplier_and_shift(ratio)
    to = Levels(1.0, 3, 8, signed=True)
    found = requantize(torch.tensor(totals, dtype=torch.int32), torch.tensor(M), torch.tensor(n), to=to)
    expected = np.clip(np.floor(np.array(totals) * (M / 2**n) + 0.5) + 3, -128, 127)
    assert found.dtype == torch.int8
    assert found.tolist() == expected.tolist()


LEVELS = {
    "signed": Levels(0.03, 0, 8, signed=True),
    "unsigned": Levels(0.02, 0, 8, signed=False),
    "affine": Levels(0.03, -17, 8, signed=True),
    "shifted": Levels(0.03, 90, 8, signed=False),
    "three bits": Levels(0.6, 0, 3, signed=True),
}
LEVEL = pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)


def linear(seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Linear(40, 7, bias=bias)


CONVS = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": (3, 5), "padding": (1, 2)},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    "dilated": {"kernel_size": 3, "dilation": 2, "padding": (2, 0)},
}


@LEVEL
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weight_bits", [2, 4, 8])
def test_a_linear_layer_equals_its_twin(levels, bias, weight_bits):
    layer = QLinear.from_linear(linear(bias=bias), input_levels=levels, weight_bits=weight_bits)
    x = 2 * torch.randn(30, 40, dtype=torch.float64)
    check(layer, x)
    assert layer(x.reshape(5, 6, 40)).shape == (5, 6, 7)
    assert torch.equal(layer(x.reshape(5, 6, 40)).reshape(30, 7), layer(x))


@LEVEL
@pytest.mark.parametrize("made", CONVS.values(), ids=CONVS)
def test_a_convolution_equals_its_twin(levels, made):
    torch.manual_seed(1)
    layer = QConv2d.from_conv(nn.Conv2d(3, 6, **made), input_levels=levels)
    check(layer, 2 * torch.randn(4, 3, 11, 9, dtype=torch.float64))


def check(layer, x):
    """The int32 sums are those of exact real arithmetic on the rounded numbers."""
    q = quantize_to(x, layer.input_levels)
    total = layer.accumulate(q)
    assert total.dtype == torch.int32
    sums = layer.fake(x) / layer._spread(layer.output_scale)
    assert torch.equal(total, torch.round(sums).to(torch.int32))
    assert (sums - torch.round(sums)).abs().max() < 1e-5
    torch.testing.assert_close(layer(x), layer.fake(x), rtol=1e-12, atol=1e-10)
    assert layer(x.float()).dtype == torch.float32


def test_weights_are_those_of_symmetric_quantization():
    dense = linear()
    layer = QLinear.from_linear(dense, input_levels=Levels(0.1))
    expected = symmetric(dense.weight, axis=0)
    assert np.array_equal(layer.weight.numpy(), expected.integers)
    np.testing.assert_allclose(layer.to_dense().weight.detach(), expected.to_tensor(), atol=1e-12)
    whole = QLinear.from_linear(dense, input_levels=Levels(0.1), per_channel=False)
    assert len(whole.weight_scale.unique()) == 1
    assert np.array_equal(whole.weight.numpy(), symmetric(dense.weight).integers)


def test_eight_bits_are_close_to_the_dense_layer():
    dense, x = linear(), torch.rand(50, 40)
    made = QLinear.from_linear(dense, input_levels=Levels(1 / 255, signed=False))
    error = (made(x) - dense(x)).abs().max() / dense(x).abs().max()
    assert error < 0.01


def test_config_and_state_rebuild_the_layer():
    for layer in (
        QLinear.from_linear(linear(), input_levels=LEVELS["affine"], weight_bits=4),
        QConv2d.from_conv(nn.Conv2d(2, 3, 3, padding=1), input_levels=LEVELS["unsigned"]),
    ):
        again = type(layer)(**layer.config())
        again.load_state_dict(layer.state_dict())
        x = torch.randn(2, 40) if isinstance(layer, QLinear) else torch.randn(2, 2, 6, 6)
        assert torch.equal(again(x), layer(x))
        assert repr(again) == repr(layer)
        assert again.config() == layer.config()
        assert (again.weight.dtype, again.bias.dtype) == (torch.int8, torch.int32)
        assert torch.equal(again.weight, layer.weight)


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_file_holds_the_bits_of_the_weights_and_no_more(bits):
    layer = QLinear.from_linear(linear(), input_levels=LEVELS["affine"], weight_bits=bits)
    stored = layer.state_dict()["weight"]
    assert stored.numel() == -(-layer.weight.numel() * bits // 8)
    again = nn.Sequential(QLinear(**layer.config()))
    again.load_state_dict(nn.Sequential(layer).state_dict())
    assert torch.equal(again[0].weight, layer.weight)


def test_packed_weights_that_do_not_fit_are_refused_by_name():
    layer = QLinear.from_linear(linear(), input_levels=LEVELS["affine"], weight_bits=4)
    state = layer.state_dict()
    with pytest.raises(RuntimeError, match="weight: packed must be"):
        layer.load_state_dict(state | {"weight": state["weight"][:-1]})
    with pytest.raises(RuntimeError, match="weight: packed must be"):
        layer.load_state_dict(state | {"weight": layer.weight})
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict({key: value for key, value in state.items() if key != "weight"})


@given(st.integers(2, 8), st.data())
def test_packed_integers_come_back(bits, data):
    half = 2 ** (bits - 1)
    values = data.draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=40))
    q = torch.tensor(values, dtype=torch.int8)
    packed = pack_integers(q, bits=bits)
    assert packed.numel() == -(-len(values) * bits // 8)
    assert unpack_integers(packed, bits=bits, shape=(len(values),)).tolist() == values


def test_nothing_can_be_trained():
    layer = QLinear.from_linear(linear(), input_levels=Levels(0.1))
    assert not any(p.requires_grad for p in layer.parameters())
    assert copy.deepcopy(layer).weight.dtype == torch.int8


def test_a_channel_of_zeros():
    dense = linear()
    with torch.no_grad():
        dense.weight[2] = 0
    check(QLinear.from_linear(dense, input_levels=Levels(0.1)), torch.randn(5, 40, dtype=torch.float64))


def test_levels():
    assert Levels(0.5, 0, 8, signed=False).range == (0, 255)
    assert Levels(0.5, 0, 8).range == (-127, 127)
    assert Levels(0.5, 3, 8).range == (-128, 127)
    assert quantize_to(torch.tensor([0.25, -0.25]), Levels(0.5)).tolist() == [1, 0]


GROUPED = nn.Conv2d(4, 4, 3, groups=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Levels(0.0), "scale must be above 0"),
        (lambda: Levels(1.0, 300), "zero_point must be between"),
        (lambda: Levels(1.0, 0.5), "zero_point must be an integer"),
        (lambda: Levels(1.0, bits=9), "bits must be between"),
        (lambda: Levels(1.0, bits=1), "bits must be between 2"),
        (lambda: multiplier_and_shift(0.0), "ratio must be between"),
        (lambda: pack_integers(integers(2, 2), bits=9), "bits must be between 2 and 8"),
        (lambda: pack_integers(torch.ones(2), bits=4), "q must be int8"),
        (lambda: pack_integers(torch.full((2,), 8, dtype=torch.int8), bits=4), "q must lie between -8 and 7"),
        (lambda: unpack_integers(integers(2), bits=4, shape=(4,)), "packed must be 2 bytes"),
        (lambda: unpack_integers(torch.ones(1, dtype=torch.uint8), bits=4, shape=(4,)), "packed must be 2 bytes"),
        (lambda: multiplier_and_shift(float("nan")), "ratio must be between"),
        (lambda: multiplier_and_shift("1"), "ratio must be a number"),
        (lambda: requantize(torch.ones(2), torch.tensor(1), torch.tensor(1), to=Levels(1.0)), "total must be int32"),
        (lambda: requantize([1], torch.tensor(1), torch.tensor(1), to=Levels(1.0)), "total must be Tensor"),
        (lambda: quantize_to(torch.ones(2, dtype=torch.int8), Levels(1.0)), "x must be a floating-point"),
        (lambda: quantize_to([1.0], Levels(1.0)), "x must be Tensor"),
        (lambda: quantize_to(torch.tensor([float("nan")]), Levels(1.0)), "x must not hold NaN"),
        (lambda: int_matmul(torch.ones(2, 2), integers(2, 2)), "a must be int8 or uint8"),
        (lambda: int_matmul(integers(1, 70_000), integers(70_000, 1)), "b must have fewer"),
        (lambda: QLinear(0, 3), "in_features must be between 1"),
        (lambda: QLinear(2, 3, weight_bits=1), "weight_bits must be between 2"),
        (lambda: QLinear(2, 3, input_bits=9), "input_bits must be between"),
        (lambda: QLinear(2, 3, input_signed=1), "input_signed must be True or False"),
        (lambda: QConv2d(1, 2, 3, padding="same"), "padding must be an integer"),
        (lambda: QLinear.from_linear(nn.Conv2d(1, 2, 3), input_levels=Levels(1.0)), "layer must be Linear"),
        (lambda: QLinear.from_linear(linear(), input_levels=1.0), "input_levels must be Levels"),
        (lambda: QLinear.from_linear(linear(), input_levels=Levels(1.0), weight_scale=0), "weight_scale must be above"),
        (lambda: QConv2d.from_conv(linear(), input_levels=Levels(1.0)), "layer must be Conv2d"),
        (lambda: QConv2d.from_conv(GROUPED, input_levels=Levels(1.0)), "layer must have groups=1"),
        (lambda: QLinear(2, 3).multipliers(), "next_levels must be set"),
        (lambda: QLinear(2, 3).hand_on(0.1), "levels must be Levels"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_nan_in_a_weight():
    dense = linear()
    with torch.no_grad():
        dense.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer\.weight must be finite"):
        QLinear.from_linear(dense, input_levels=Levels(0.1))


def test_the_base_class_computes_nothing():
    layer = QLayer((2, 3), bias=False, weight_bits=8, input_bits=8, input_signed=True, device=None)
    for call in (lambda: layer.accumulate(torch.ones(1, 3, dtype=torch.int8)), layer.to_dense):
        with pytest.raises(NotImplementedError):
            call()
