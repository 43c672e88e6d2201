"""The skeleton of the low-bit LeNets and the packed ternary checkpoints."""

import pytest
import torch
from torch import nn

from labkit import paths
from labkit.nets.low_bit_lenet import GXNOR_WIDTHS, TERNARY, LowBitLeNet, load_ternary, save_ternary, ternary_provenance
from labkit.nets.store import read, write
from labkit.quantization import (
    ScaleLayer,
    SignActivation,
    TernaryActivation,
    TernaryWeight,
    TrainedTernaryWeight,
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


INNER = ["conv2", "fc1"]


def networks():
    twn, ttq = LowBitLeNet(random_state=0), LowBitLeNet(random_state=1)
    quantize_weights(twn, INNER, TernaryWeight)
    for quantizer in quantize_weights(ttq, INNER, TrainedTernaryWeight).values():
        quantizer.Wp.data *= 1.7
    gxnor = TERNARY["gxnor-lenet"](random_state=0)
    start_discrete(gxnor, random_state=0)
    made = {"twn-lenet": (finalize(twn), INNER), "ttq-lenet": (finalize(ttq), INNER)}
    return made | {"gxnor-lenet": (gxnor, ["conv1", *INNER, "fc2"])}


@pytest.mark.parametrize("name", TERNARY)
def test_a_packed_network_comes_back_exactly(name, data):
    model, layers = networks()[name]
    model(X)  # moves the running means away from their start
    save_ternary(model, data / f"{name}.safetensors", layers=layers, header={"seed": 0})
    back = load_ternary(name)
    assert not back.training
    for key, value in model.eval().state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    assert torch.equal(back(X), model(X))
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
    with pytest.raises(ValueError, match="does not hold a gxnor-lenet: packed must be"):
        load_ternary("gxnor-lenet")
    path = data / "gxnor-lenet.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        load_ternary("gxnor-lenet")
    state = {"fc1.codes": torch.full((100_000,), 255, dtype=torch.uint8), "fc1.scale": torch.ones(())}
    write(state, data / "ttq-lenet.safetensors", header={})
    with pytest.raises(ValueError, match=r"ttq-lenet.*got a fourth"):
        load_ternary("ttq-lenet")
    write(state | {"fc1.scale": torch.ones(3)}, data / "ttq-lenet.safetensors", header={})
    with pytest.raises(ValueError, match="does not hold a ttq-lenet"):
        load_ternary("ttq-lenet")


def test_one_scale_or_two(data):
    """Wp = 2 and Wn = 0.5; a layer without negative weights has Wn = 0."""
    for values, scales in (([2.0, -0.5, 0.0], [2.0, 0.5]), ([2.0, 0.0, 0.0], [2.0, 0.0]), ([1.0, -1.0, 0.0], 1.0)):
        model = nn.Sequential(nn.Linear(3, 1, bias=False))
        model[0].weight.data = torch.tensor([values])
        save_ternary(model, data / "net.safetensors", layers=["0"], header={})
        assert read(data / "net.safetensors")[0]["0.scale"].tolist() == scales


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
    layers = ["conv1", *INNER, "fc2"] if name == "gxnor-lenet" else INNER
    for layer in layers:
        values = model.get_submodule(layer).weight.detach().unique().numpy()
        assert len(values) == 3
        assert values[1] == 0
        assert (values[0] == -values[2]) == (name != "ttq-lenet")
        assert name != "gxnor-lenet" or values[2] == 1
    made = ternary_provenance(name)
    assert made["command"] == f"python -m labkit.experiments {'gxnor' if name == 'gxnor-lenet' else 'ternary'}-lenet"
    assert made["test_error"] < 2
    assert made["split"]
