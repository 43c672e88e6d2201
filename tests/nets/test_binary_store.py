"""Checkpoints of binary networks: what is kept, what comes back, bad files."""

import pytest
import torch
from torch import nn

from labkit import paths
from labkit.nets import BinaryLeNet, save
from labkit.nets.binary_store import BINARY_NETS, benn_lenet, binary_provenance, load_binary, save_binary
from labkit.quantization import Ensemble, binary_layers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("name", BINARY_NETS)
def test_a_network_comes_back_with_its_signs_and_scales(name, folder):
    model = BINARY_NETS[name]().eval()
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        norm.running_mean.normal_()
    save_binary(model, folder / f"{name}.safetensors", header={"seed": 7})
    again, x = load_binary(name), torch.rand(3, 1, 28, 28)
    assert torch.allclose(again(x), model(x), atol=1e-4)
    assert binary_provenance(name) == {"seed": 7}
    for layer in binary_layers(again).values():
        assert len(layer.weight[0].abs().unique()) == 1
    assert (folder / f"{name}.safetensors").stat().st_size < 92_000 * (len(model.members) if "benn" in name else 1)


@pytest.mark.parametrize("name", BINARY_NETS)
def test_the_shipped_ones_reach_the_lectures(name):
    made = binary_provenance(name)
    assert made["test_error"] <= {"lenet-bnn": 1.3, "lenet-xnor": 1.4, "lenet-bwn": 1.1}.get(name, 4)
    assert made["n_train"] == (6_000 if "benn" in name else 55_000)
    assert {"seed", "epochs", "split", "command", "torch", "date"} <= set(made)


def test_an_ensemble_keeps_its_votes(folder):
    model = Ensemble(benn_lenet().members, votes=[1.0, 2.0, 5.0]).eval()
    save_binary(model, folder / "benn-boosting.safetensors", header={})
    assert torch.equal(load_binary("benn-boosting").votes, model.votes)
    save_binary(benn_lenet(2), folder / "benn-boosting.safetensors", header={})
    with pytest.raises(ValueError, match="does not hold a benn-boosting"):
        load_binary("benn-boosting")
    with pytest.raises(ValueError, match="n_members must be at least 1"):
        benn_lenet(0)


def test_bad_files_are_named(folder):
    with pytest.raises(ValueError, match="name must be one of 5 names, got 'lenet-bmm'"):
        load_binary("lenet-bmm")
    with pytest.raises(FileNotFoundError):
        load_binary("lenet-bnn")
    folder.mkdir()
    (folder / "lenet-bnn.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        load_binary("lenet-bnn")
    save(nn.Linear(2, 2), folder / "lenet-bnn.safetensors", header={})
    with pytest.raises(ValueError, match="does not hold a lenet-bnn"):
        load_binary("lenet-bnn")


def test_bad_arguments_are_named(folder):
    with pytest.raises(ValueError, match="model must have binary layers"):
        save_binary(nn.Linear(2, 2), folder / "net.safetensors", header={})
    with pytest.raises(ValueError, match="path must end in"):
        save_binary(BinaryLeNet(), folder / "net.bin", header={})
