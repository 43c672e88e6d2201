"""The skeleton of the low-bit LeNets and the packed ternary checkpoints."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit import paths
from labkit.nets.low_bit_lenet import GXNOR_WIDTHS, TERNARY, LowBitLeNet, load_ternary, save_ternary, ternary_provenance
from labkit.quantization import (
    ScaleLayer,
    SignActivation,
    TernaryActivation,
    TernaryWeight,
    finalize,
    quantize_weights,
    start_discrete,
)

X = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("last", ["none", "norm", "scale"])
@pytest.mark.parametrize("activation", [nn.ReLU, SignActivation, TernaryActivation])
@pytest.mark.parametrize("prelu", [False, True])
def test_every_form_maps_digits_to_ten_scores_and_back(last, activation, prelu):
    model = LowBitLeNet(activation=activation, last=last, prelu=prelu, random_state=0)
    scores = model(X)
    assert scores.shape == (3, 10)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_sizes_are_those_of_lenet5_and_of_the_papers():
    shapes = {n: tuple(p.shape) for n, p in LowBitLeNet(widths=GXNOR_WIDTHS).named_parameters() if "weight" in n}
    assert shapes["conv2.weight"] == (64, 32, 5, 5)
    assert shapes["fc1.weight"] == (512, 1024)
    assert LowBitLeNet().conv2.weight.numel() + LowBitLeNet().fc1.weight.numel() == 425_000
    assert isinstance(LowBitLeNet(last="scale").end, ScaleLayer)


def test_the_seed_fixes_the_weights():
    assert torch.equal(LowBitLeNet(random_state=3)(X), LowBitLeNet(random_state=3)(X))
    assert not torch.equal(LowBitLeNet(random_state=3)(X), LowBitLeNet(random_state=4)(X))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    return tmp_path / "checkpoints"


def networks():
    twn = LowBitLeNet(random_state=0)
    quantize_weights(twn, ["conv2", "fc1"], TernaryWeight)
    gxnor = TERNARY["gxnor-lenet"](random_state=0)
    start_discrete(gxnor, random_state=0)
    return {"twn-lenet": (finalize(twn), ["conv2", "fc1"]), "gxnor-lenet": (gxnor, ["conv1", "conv2", "fc1", "fc2"])}


@pytest.mark.parametrize("name", TERNARY)
def test_a_packed_network_comes_back_exactly(name, data):
    model, layers = networks()[name]
    model(X)  # moves the running means away from their start
    save_ternary(model, data / f"{name}.safetensors", layers=layers, header={"seed": 0})
    back = load_ternary(name)
    assert not back.training
    for key, value in model.eval().state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    packed = sum(model.get_submodule(layer).weight.numel() for layer in layers) / 4
    assert (data / f"{name}.safetensors").stat().st_size < packed + 40_000


def test_damaged_or_foreign_files_are_refused(data):
    model, layers = networks()["twn-lenet"]
    with pytest.raises(ValueError, match="layers must be ternary, got other weights in 'fc2'"):
        save_ternary(model, data / "a.safetensors", layers=["fc2"], header={})
    with pytest.raises(ValueError, match="must be one of"):
        save_ternary(model, data / "a.safetensors", layers=["fc7"], header={})
    with pytest.raises(ValueError, match="path must end in"):
        save_ternary(model, data / "a.pt", layers=layers, header={})
    with pytest.raises(FileNotFoundError, match="restore it"):
        load_ternary("twn-lenet")
    save_ternary(model, data / "gxnor-lenet.safetensors", layers=layers, header={})
    with pytest.raises(ValueError, match=r"gxnor-lenet|packed must be"):
        load_ternary("gxnor-lenet")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LowBitLeNet(widths=(0, 1, 1)), "widths must be at least 1"),
        (lambda: LowBitLeNet(widths=(1.5, 1, 1)), "widths must be an integer"),
        (lambda: LowBitLeNet(last="softmax"), "last must be one of"),
        (lambda: load_ternary("lenet"), "name must be one of"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("name", TERNARY)
def test_the_shipped_networks_are_ternary(name):
    model = load_ternary(name)
    layers = ["conv2", "fc1"] if name == "twn-lenet" else ["conv1", "conv2", "fc1", "fc2"]
    for layer in layers:
        values = model.get_submodule(layer).weight.detach().unique().numpy()
        assert len(values) == 3
        np.testing.assert_array_equal(values, [-values[2], 0, values[2]])
        assert name == "twn-lenet" or values[2] == 1
    made = ternary_provenance(name)
    assert made["command"] == f"python -m labkit.experiments {'ternary' if name == 'twn-lenet' else 'gxnor'}-lenet"
    assert made["test_error"] < 2
    assert made["split"]
