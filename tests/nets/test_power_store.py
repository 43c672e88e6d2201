"""Checkpoints whose weights are powers of two: what comes back, what it takes, damaged files, the shipped ones."""

import pytest
import torch
from torch import nn

from labkit import paths
from labkit.experiments.ternary import rounded
from labkit.nets import LeNet5, checkpoint_bytes, load_powers, powers_provenance, save, save_powers
from labkit.nets.power_store import POWERS
from labkit.nets.store import read, write
from labkit.quantization import power_levels

LAYERS = ["conv1", "conv2", "fc1", "fc2"]
X = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(("name", "bits"), [("inq-lenet-5bit", 5), ("inq-lenet-3bit", 3)])
def test_a_network_comes_back_exactly(name, bits, folder):
    model = rounded(LeNet5(random_state=1), bits).eval()
    save_powers(model, folder / f"{name}.safetensors", layers=LAYERS, bits=bits, header={"seed": 1})
    back = load_powers(name)
    assert not back.training
    assert torch.equal(back(X), model(X))
    for key, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    weights = sum(model.get_submodule(layer).weight.numel() for layer in LAYERS)
    assert 0 < checkpoint_bytes(name) - weights * bits / 8 < 5_000
    assert powers_provenance(name) == {"seed": 1}


def test_weights_that_are_no_powers_are_refused(folder):
    model = LeNet5(random_state=0)
    with pytest.raises(ValueError, match="W must hold 0 and powers of two with 5 bits"):
        save_powers(model, folder / "a.safetensors", layers=["fc1"], bits=5, header={})
    with pytest.raises(ValueError, match="W must hold 0 and powers of two with 3 bits"):
        save_powers(rounded(model, 5), folder / "a.safetensors", layers=["fc1"], bits=3, header={})
    with pytest.raises(ValueError, match="layers must be one of"):
        save_powers(model, folder / "a.safetensors", layers=["fc7"], bits=5, header={})
    with pytest.raises(ValueError, match="bits must be between 2 and 8"):
        save_powers(rounded(model, 5), folder / "a.safetensors", layers=["fc1"], bits=1, header={})
    with pytest.raises(ValueError, match="path must end in"):
        save_powers(rounded(model, 5), folder / "a.pt", layers=["fc1"], bits=5, header={})
    with pytest.raises(TypeError, match="model must be"):
        save_powers("model", folder / "a.safetensors", layers=["fc1"], bits=5, header={})


def test_damaged_or_foreign_files_are_named(folder):
    with pytest.raises(ValueError, match="name must be one of 2 names"):
        load_powers("inq-lenet")
    with pytest.raises(FileNotFoundError, match="restore it"):
        load_powers("inq-lenet-5bit")
    path = folder / "inq-lenet-5bit.safetensors"
    save(nn.Linear(2, 2), path, header={})
    with pytest.raises(ValueError, match="does not hold inq-lenet-5bit"):
        load_powers("inq-lenet-5bit")
    save_powers(rounded(LeNet5(random_state=0), 5), path, layers=LAYERS, bits=5, header={})
    state = read(path)[0]
    for damage, words in (
        ({"fc1.codes": state["fc1.codes"][:-1]}, "must be 250000 bytes"),
        ({"fc1.powers": torch.tensor([4, 0])}, "must be 200000 bytes"),
        ({"fc1.powers": torch.tensor([5])}, "not enough values"),
        ({"fc1.codes": torch.full_like(state["fc1.codes"], 0b00100001)}, "codes must be 0 or between 16 and 31"),
    ):
        write(state | damage, path, header={})
        with pytest.raises(ValueError, match=rf"does not hold inq-lenet-5bit.*{words}"):
            load_powers("inq-lenet-5bit")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        load_powers("inq-lenet-5bit")


@pytest.mark.parametrize("name", POWERS)
def test_the_shipped_networks_hold_the_levels_of_their_bits(name):
    model, made = load_powers(name), powers_provenance(name)
    for layer in LAYERS:
        values = model.get_submodule(layer).weight.detach().unique()
        levels = power_levels(float(values.abs().max()), bits=made["bits"])
        assert set(values.tolist()) <= set(levels.tolist())
    assert made["command"] == "python -m labkit.experiments inq-lenet"
    assert made["test_error"] < 2
    assert checkpoint_bytes(name) < 300_000


def test_a_checkpoint_that_is_not_there_has_no_size():
    with pytest.raises(ValueError, match="name must be one of"):
        checkpoint_bytes("inq-lenet-9bit")
