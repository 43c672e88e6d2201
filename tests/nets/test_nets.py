"""The networks and their checkpoints."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from labkit import nets, paths
from labkit.datasets import CHECKSUMS, mnist
from labkit.nets import LeNet5, LeNet300, load, provenance, save
from labkit.training import evaluate

FULL = all((paths.CACHE / "mnist" / name).exists() for name in CHECKSUMS if name.startswith("t10k"))
PARAMETERS = {"lenet-300-100": 266_610, "lenet-5": 431_080}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("net", [LeNet300, LeNet5])
def test_output_shape_and_seed(net):
    x = torch.rand(3, 1, 28, 28)
    assert net()(x).shape == (3, 10)
    first, same, other = (net(random_state=seed)(x) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("net", [LeNet300, LeNet5])
def test_global_seed_is_untouched(net):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    net(random_state=0)
    net()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [-1, 1.0, "0"])
def test_bad_seed(seed):
    with pytest.raises((TypeError, ValueError), match="random_state must be"):
        LeNet300(random_state=seed)


def test_lenet5_is_caffes():
    """The same function written with torch.nn.functional, with the only ReLU behind fc1."""
    from torch.nn import functional

    net, x = LeNet5(random_state=0), torch.rand(2, 1, 28, 28)
    h = functional.max_pool2d(functional.conv2d(x, net.conv1.weight, net.conv1.bias), 2)
    h = functional.max_pool2d(functional.conv2d(h, net.conv2.weight, net.conv2.bias), 2)
    h = functional.relu(functional.linear(h.flatten(1), net.fc1.weight, net.fc1.bias))
    assert torch.allclose(net(x), functional.linear(h, net.fc2.weight, net.fc2.bias), atol=1e-6)


@pytest.mark.parametrize("name", PARAMETERS)
def test_checkpoint_has_the_accuracy_of_its_header(name):
    model, header = load(name), provenance(name)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    measured = evaluate(model, mnist("heldout", source="offline"))
    assert measured.accuracy == pytest.approx(header["heldout_accuracy"], abs=0.1)
    assert {"seed", "epochs", "split", "command", "torch", "date", "error", "learning_rate"} <= header.keys()


@pytest.mark.skipif(not FULL, reason=f"the MNIST test files are not in {paths.CACHE / 'mnist'}")
@pytest.mark.parametrize("name", PARAMETERS)
def test_checkpoint_has_the_test_error_of_its_header(name):
    assert evaluate(load(name), mnist("test", source="cache")).error == pytest.approx(
        provenance(name)["error"], abs=0.1
    )


@pytest.mark.parametrize(("name", "error"), [("lenet-300-100", 2.2), ("lenet-5", 1.1)])
def test_checkpoint_is_as_good_as_the_literature(name, error):
    assert provenance(name)["error"] < error


@pytest.mark.parametrize("name", PARAMETERS)
def test_half_precision_costs_at_most_two_digits_in_ten_thousand(name):
    header = provenance(name)
    assert abs(header["error"] - header["test_error_float32"]) <= 0.02
    assert abs(header["heldout_error"] - header["heldout_error_float32"]) <= 0.04


def test_save_and_load_round_trip_is_exact(data):
    model = LeNet300(random_state=4)
    save(model, data / "lenet-300-100.safetensors", header={"seed": 4, "note": "ä"})
    back = load("lenet-300-100")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), back.parameters(), strict=True))
    assert provenance("lenet-300-100") == {"seed": 4, "note": "ä"}
    assert [path.name for path in data.iterdir()] == ["lenet-300-100.safetensors"]


def test_save_in_half_precision(data):
    path = data / "net.safetensors"
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    save(model, path, header={}, dtype=torch.float16)
    with safe_open(path, framework="np") as file:
        assert file.get_tensor("0.weight").dtype == np.float16
        assert file.get_tensor("1.num_batches_tracked").dtype == np.int64
        assert json.loads(file.metadata()["labkit"]) == {}


def test_a_failed_save_keeps_the_old_file(data):
    path = data / "net.safetensors"
    save(nn.Linear(2, 2), path, header={"version": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        save(nn.Linear(2, 2), path, header={"bad": {1, 2}})
    assert path.read_bytes() == before
    assert list(data.iterdir()) == [path]


def test_save_refuses_bad_input(data):
    with pytest.raises(TypeError, match="model must be Module"):
        save({}, data / "net.safetensors", header={})
    with pytest.raises(ValueError, match=r"path must end in \.safetensors"):
        save(nn.Linear(2, 2), data / "net.pt", header={})
    broken = nn.Linear(2, 2)
    broken.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="weight must be finite"):
        save(broken, data / "net.safetensors", header={})


@pytest.mark.parametrize("function", [load, provenance])
def test_unknown_and_missing_checkpoints(function, data):
    with pytest.raises(ValueError, match="did you mean 'lenet-5'"):
        function("lenet5")
    with pytest.raises(FileNotFoundError, match=r"lenet-5\.safetensors is not there"):
        function("lenet-5")


@pytest.mark.parametrize("function", [load, provenance])
def test_damaged_checkpoints_are_refused_by_name(function, data):
    path = data / "lenet-300-100.safetensors"
    save(LeNet300(), path, header={})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"lenet-300-100\.safetensors is not a whole checkpoint"):
        function("lenet-300-100")


def test_another_networks_weights_are_refused(data):
    save(LeNet5(), data / "lenet-300-100.safetensors", header={})
    with pytest.raises(ValueError, match="does not hold a lenet-300-100"):
        load("lenet-300-100")


def test_every_net_has_its_checkpoint():
    assert {path.stem for path in (paths.DATA / "checkpoints").glob("*.safetensors")} >= set(nets.NETS)
