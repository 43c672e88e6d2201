"""Packed networks: equal to the float simulation bit for bit, with ties, falling and constant channels; files."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from labkit.datasets import mnist
from labkit.kernels import dispatch
from labkit.nets import BMXNET, BinaryLeNet, LeNet
from labkit.nets.binary_store import BINARY_NETS, load_binary
from labkit.quantization import (
    BinaryConv2d,
    BinaryLinear,
    BWNLinear,
    SignActivation,
    XNORConv2d,
    XNORLinear,
    binarize_model,
    fold_thresholds,
    load_packed,
    pack,
    save_packed,
)
from labkit.training import evaluate


def shaken(model, seed):
    """Give every batch norm random statistics and weights of both signs, and some of exactly 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            n = module.num_features
            module.running_mean.copy_(torch.randint(-4, 5, (n,), generator=generator))
            module.running_var.copy_(torch.rand(n, generator=generator) * 20 + 0.1)
            module.weight.data.copy_(torch.randint(-1, 2, (n,), generator=generator))
            module.bias.data.copy_(torch.randint(-1, 2, (n,), generator=generator) * 0.5)
    return model.eval()


def network(kind, seed):
    """Return a chain of one kind whose inner part must become integers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linear, conv = (XNORLinear, XNORConv2d) if kind.startswith("xnor") else (BinaryLinear, BinaryConv2d)
        pool, norm = nn.MaxPool2d(2), nn.BatchNorm2d(70)
        middle = {"pool last": [norm, pool, nn.Tanh()], "pool first": [pool, norm, nn.Hardtanh()], "plain": [norm]}
        inner = middle[kind.removeprefix("xnor ")]
        after = nn.Sequential(*inner, nn.Flatten(), nn.Dropout(), SignActivation())
        n = 70 * (9 if len(inner) > 1 else 36)
        last = [nn.BatchNorm1d(9), nn.Linear(9, 4)]
        layers = [conv(3, 70, 3, padding=1, bias=kind == "plain"), after, linear(n, 65), nn.BatchNorm1d(65)]
        return shaken(nn.Sequential(nn.BatchNorm2d(3), *layers, nn.Identity(), linear(65, 9), *last), seed)


KINDS = ["plain", "pool last", "pool first", "xnor plain", "xnor pool last", "xnor pool first"]


@pytest.mark.parametrize("level", dispatch.levels())
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_network_is_the_float_network_bit_for_bit(kind, level):
    x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    for seed in range(4):
        model = network(kind, seed)
        with torch.no_grad(), dispatch.forced(level):
            assert torch.allclose(pack(model)(x), model(x), rtol=1e-6, atol=1e-6)
            assert torch.equal(pack(model)(x).argmax(1), model(x).argmax(1))


def test_falling_channels_get_a_direction_and_constant_ones_no_doubt():
    norm = nn.BatchNorm1d(4).eval()
    norm.weight.data.copy_(torch.tensor([1.0, -1.0, 0.0, 0.0]))
    norm.bias.data.copy_(torch.tensor([0.0, 0.0, 0.5, -0.5]))
    norm.running_mean.fill_(2)
    direction, limit = fold_thresholds(norm, BinaryLinear(6, 4))
    assert direction.tolist() == [1, -1, 1, 1]
    assert limit.tolist() == [2, -2, -6, 8]  # s = 2 is a tie: sign(0) = +1 both ways; never below -6, always below 8


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    weight=st.floats(-2, 2),
    bias=st.floats(-3, 3),
    mean=st.integers(-40, 40) | st.floats(-40, 40),
    var=st.floats(0.01, 100),
)
def test_a_threshold_decides_as_batch_norm_does_for_every_integer(n, weight, bias, mean, var):
    layer, norm = BinaryLinear(n, 1), nn.BatchNorm1d(1).eval()
    with torch.no_grad():
        for tensor, value in (
            (norm.weight, weight),
            (norm.bias, bias),
            (norm.running_mean, mean),
            (norm.running_var, var),
        ):
            tensor.fill_(value)
        direction, limit = fold_thresholds(norm, layer)
        s = torch.arange(-n, n + 1, 2.0)[:, None]
        assert torch.equal(direction * s < limit, norm(s) < 0)


def test_what_is_not_monotone_is_refused():
    class Bump(nn.Module):
        def forward(self, x):
            return 1 - x.abs()

    with pytest.raises(ValueError, match="tail must be monotone"):
        fold_thresholds(Bump(), BinaryLinear(6, 1))


def test_binary_weights_with_real_inputs_are_stored_as_bits():
    model = shaken(binarize_model(LeNet(channels=(3, 5), hidden=20, random_state=0), "bwn"), 0)
    packed, x = pack(model), torch.rand(4, 1, 28, 28)
    assert torch.allclose(packed(x), model(x), atol=1e-5)
    assert {"PackedConv2d", "PackedLinear"} <= {type(layer).__name__ for layer in packed}
    assert packed.n_bytes < 0.35 * sum(4 * p.numel() for p in model.parameters())


def test_between_layers_that_no_threshold_joins_numbers_stay_real():
    model = nn.Sequential(BinaryConv2d(2, 3, 3), nn.AvgPool2d(2), BinaryConv2d(3, 2, 2), nn.Flatten()).eval()
    x = torch.randn(4, 2, 8, 8)
    packed = pack(model)
    assert "Threshold" not in [type(layer).__name__ for layer in packed]
    assert torch.equal(packed(x), model(x))


def test_two_batch_norms_in_a_row_stay_real():
    model = nn.Sequential(BinaryLinear(8, 6), nn.BatchNorm1d(6), nn.BatchNorm1d(6), BinaryLinear(6, 3))
    model = shaken(model, 3)
    x = torch.randn(50, 8)
    assert torch.equal(pack(model)(x), model(x))


# --- the shipped networks -------------------------------------------------------------------------------------------


CHAINS = [name for name in BINARY_NETS if name.startswith("lenet")]


@pytest.mark.parametrize("name", BINARY_NETS)
def test_a_shipped_network_predicts_alike_packed_on_every_held_out_digit(name):
    model = load_binary(name)
    if name not in CHAINS:
        model = model.members[1].chain()
    packed = pack(model)
    digits = mnist("heldout", source="offline")
    x = digits.tensors()[0]
    with torch.no_grad():
        mine, theirs = (torch.cat([net(part) for part in x.split(500)]) for net in (packed, model))
    assert torch.equal(mine.argmax(1), theirs.argmax(1))
    assert torch.allclose(mine, theirs, atol=1e-4)
    assert evaluate(packed, digits[:1000]).error < (2 if name in CHAINS else 20)


@pytest.mark.parametrize("name", CHAINS)
def test_a_packed_file_is_small_and_comes_back(name, tmp_path):
    packed, path = pack(load_binary(name)), tmp_path / "net.safetensors"
    save_packed(packed, path, header={"name": name})
    again, header = load_packed(path)
    assert header == {"name": name}
    assert path.stat().st_size <= (90_000 if name == "lenet-bwn" else 85_000)
    assert repr(again) == repr(packed)
    x = mnist("heldout", source="offline")[:50].tensors()[0]
    assert torch.equal(again(x), packed(x))
    again.load_state_dict(pack(BINARY_NETS[name]().eval()).state_dict())  # the words follow new bits
    assert not torch.equal(again(x), packed(x))


def test_the_sizes_of_bmxnets_code_give_the_lectures_206_kilobytes(tmp_path):
    save_packed(pack(BinaryLeNet(**BMXNET).eval()), tmp_path / "net.safetensors")
    assert 190_000 < (tmp_path / "net.safetensors").stat().st_size < 206_000  # they also keep four numbers a channel


def test_a_packed_network_is_not_trained():
    packed = pack(BinaryLeNet().eval())
    assert not any(p.requires_grad for p in packed.parameters())
    assert not packed(torch.zeros(1, 1, 28, 28)).requires_grad


# --- bad input ------------------------------------------------------------------------------------------------------


class Custom(nn.Module):
    pass


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (nn.Linear(2, 2), TypeError, "model must be Sequential"),
        (nn.Sequential(nn.Linear(2, 2)), ValueError, "model must have a binary layer"),
        (nn.Sequential(BinaryLinear(2, 2), Custom()), TypeError, "layers that can be packed, got Custom"),
        (nn.Sequential(XNORLinear(2, 2, act_scale=True)), ValueError, "act_scale must be False"),
        (nn.Sequential(BinaryConv2d(2, 2, 1, groups=2)), ValueError, "groups must be 1"),
    ],
)
def test_what_cannot_be_packed_is_named(model, error, message):
    with pytest.raises(error, match=message):
        pack(model)


def test_bad_files_are_named(tmp_path):
    packed, path = pack(nn.Sequential(BWNLinear(9, 2))), tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match=r"path must end in .safetensors, got 'net.bin'"):
        save_packed(packed, "net.bin")
    with pytest.raises(TypeError, match="network must be PackedNetwork"):
        save_packed(nn.Sequential(), path)
    with pytest.raises(FileNotFoundError):
        load_packed(path)
    save_file({"x": torch.zeros(1)}, path, {"packed": json.dumps({"layers": [["Evil", {}]], "header": {}})})
    with pytest.raises(ValueError, match="is not a whole packed network: layer must be one of"):
        load_packed(path)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="is not a whole packed network"):
        load_packed(path)


def test_the_words_of_a_picture_need_no_new_order():
    """A linear layer behind a convolution reads the words channel by channel, padding bits and all."""
    model = nn.Sequential(BinaryConv2d(1, 3, 3), nn.Flatten(), BinaryLinear(3 * 16, 2)).eval()
    x = torch.randn(6, 1, 6, 6)
    assert torch.equal(pack(model)(x), model(x))
    assert np.array_equal(pack(model)[2].words.shape, (2, 16))
