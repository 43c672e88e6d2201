"""Plans, reports, and compressed networks that survive a file."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from labkit.compress import Report, compress, load_compressed, save_compressed
from labkit.cost import count, file_bytes
from labkit.datasets import mnist
from labkit.decomposition import LowRankConv2d, LowRankLinear, LowRankScheme, response_plan, select_ranks
from labkit.nets import LeNet5, LeNet300, load
from labkit.training import evaluate

X = torch.zeros(2, 784)
IMAGES = torch.zeros(2, 1, 28, 28)
PLAN = {"fc1": LowRankScheme(rank=16)}


@pytest.fixture
def dense():
    return LeNet300(random_state=0).eval()


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def report_with(report, ratio):
    return dataclasses.replace(report, time_ratio=ratio)


def test_the_report_counts_both_sides_and_the_model_stays(dense):
    state = copy.deepcopy(dense.state_dict())
    small, report = compress(dense, PLAN, example_inputs=X)
    assert isinstance(small.fc1, LowRankLinear)
    assert isinstance(dense.fc1, nn.Linear)
    assert all(torch.equal(value, state[key]) for key, value in dense.state_dict().items())
    assert report.before.cost == count(dense, X)
    assert report.after.cost.n_params == 266_610 - 784 * 300 + 16 * (784 + 300)
    assert report.after.cost.macs == 266_200 - 784 * 300 + 16 * (784 + 300)
    assert (report.before.n_bytes, report.after.n_bytes) == (file_bytes(dense), file_bytes(small))
    assert report.time_ratio > 0
    assert report.layers == (("fc1", "LowRankScheme(rank=16, tol=None)"),)
    assert report.parameters_ratio == report.before.cost.n_params / report.after.cost.n_params
    assert report.macs_ratio > 5
    assert report.bytes_ratio > 5


def test_full_rank_gives_the_same_outputs_and_is_reported_as_larger(dense):
    x = torch.randn(5, 784)
    small, report = compress(dense, {"fc1": LowRankScheme(rank=300)}, example_inputs=x)
    torch.testing.assert_close(small(x), dense(x), rtol=0, atol=1e-5)
    assert report.parameters_ratio < 1


def test_a_whole_lenet5_with_selected_ranks_keeps_its_accuracy():
    model, digits = load("lenet-5"), mnist("test", source="offline")
    x = mnist("train", source="offline").tensors()[0][:600]
    plan = response_plan(model, select_ranks(model, budget=1_000_000, example_inputs=x), x)
    small, report = compress(model, plan, example_inputs=x[:1], evaluate=lambda net: evaluate(net, digits).error)
    assert report.after.cost.macs <= 1_000_000
    assert isinstance(small.conv2, LowRankConv2d)
    assert report.before.error == evaluate(model, digits).error
    assert report.after.error == evaluate(small, digits).error <= report.before.error + 1


def test_the_report_says_when_the_result_is_slower(dense):
    report = report_with(compress(dense, PLAN, example_inputs=X)[1], 0.5)
    assert report.slower
    for text in (repr(report), str(report), report._repr_html_()):
        assert "SLOWER" in text
    assert "2.00 times the time" in str(report)
    assert "2.00 times the time" in report._repr_html_()


def test_the_report_says_when_the_result_is_faster(dense):
    report = report_with(compress(dense, PLAN, example_inputs=X)[1], 3.0)
    assert not report.slower
    assert repr(report) == repr(report_with(report, 4.0))
    for text in (repr(report), str(report), report._repr_html_()):
        assert "SLOWER" not in text
    assert "3.00 times the speed" in str(report)
    assert repr(report).startswith("Report(parameters 266,610 -> 48,754, multiply-adds 266,200 -> 48,344, bytes ")


def test_errors_are_shown_where_they_were_measured(dense):
    errors = iter([1.5, 2.25])
    report = compress(dense, PLAN, example_inputs=X, evaluate=lambda _: next(errors))[1]
    assert (report.before.error, report.after.error) == (1.5, 2.25)
    assert "error: 1.50 % -> 2.25 %  (+0.75 points)" in str(report)
    assert "error" not in str(compress(dense, PLAN, example_inputs=X)[1])


def test_modules_without_a_count_are_named_in_the_report():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return torch.fft.fft(x).real * self.weight

    report = compress(
        nn.Sequential(nn.Linear(6, 4), Odd()), {"0": LowRankScheme(rank=1)}, example_inputs=torch.ones(1, 6)
    )[1]
    assert "not counted: 1" in str(report)
    assert "not counted: 1" in report._repr_html_()


def test_a_report_cannot_be_changed(dense):
    report = compress(dense, PLAN, example_inputs=X)[1]
    assert isinstance(report, Report)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.time_ratio = 9


def test_nested_and_shared_layers_are_replaced_everywhere():
    shared = nn.Linear(8, 8)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared))
    small, report = compress(model, {"1.1": LowRankScheme(rank=2)}, example_inputs=torch.ones(1, 8))
    assert small[0] is small[1][1]
    assert isinstance(small[0], LowRankLinear)
    assert report.after.cost.n_params == 2 * 16 + 8


def test_several_arguments_and_modes_are_respected():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 5)
            self.drop = nn.Dropout()

        def forward(self, x, y):
            return self.drop(self.fc(x)) + y

    model = Two().train()
    small, _ = compress(model, {"fc": LowRankScheme(rank=1)}, example_inputs=(torch.ones(3, 6), torch.ones(3, 5)))
    assert model.training
    assert small.training
    assert small.drop.training


@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        ({}, ValueError, "plan must name at least one layer"),
        (["fc1"], TypeError, "plan must be Mapping"),
        ({"fc4": LowRankScheme(rank=1)}, ValueError, "plan must be one of .* got 'fc4'; did you mean 'fc"),
        ({"": LowRankScheme(rank=1)}, ValueError, "plan must be one of"),
        ({"relu": LowRankScheme(rank=1)}, TypeError, r"plan\['relu'\]: layer must be Linear, got ReLU"),
        ({"fc1": LowRankScheme(rank=301)}, ValueError, r"plan\['fc1'\]: rank must be between 1 and 300, got 301"),
        ({"fc1": 16}, TypeError, r"plan\['fc1'\] must be a scheme with an apply method, got int"),
    ],
)
def test_bad_plans_are_refused(dense, plan, error, message):
    with pytest.raises(error, match=message):
        compress(dense, plan, example_inputs=X)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "lenet"},
        {"example_inputs": None},
        {"example_inputs": torch.zeros(0, 784)},
        {"example_inputs": ()},
        {"rounds": 3},
        {"evaluate": lambda model: float("nan")},
        {"evaluate": lambda model: "good"},
    ],
)
def test_bad_arguments_are_refused(dense, arguments):
    arguments = {"model": dense, "plan": PLAN, "example_inputs": X} | arguments
    with pytest.raises((TypeError, ValueError), match="must be"):
        compress(**arguments)


# files


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_compressed_network_comes_back_exactly(tmp_path, dtype):
    plan = {"conv2": LowRankScheme(rank=9), "fc1": LowRankScheme(rank=20)}
    small, _ = compress(LeNet5(random_state=0).eval(), plan, example_inputs=IMAGES)
    small.to(dtype)
    save_compressed(small, tmp_path / "small.safetensors")
    again = load_compressed(tmp_path / "small.safetensors")
    assert isinstance(again, LeNet5)
    assert not again.training
    assert again.state_dict().keys() == small.state_dict().keys()
    for key, value in small.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
        assert again.state_dict()[key].dtype == dtype
    x = torch.randn(3, 1, 28, 28, dtype=dtype)
    assert torch.equal(again(x), small(x))


def test_any_architecture_comes_back_into_a_dense_copy(tmp_path):
    def build():
        return nn.Sequential(nn.Conv2d(3, 8, (3, 2), stride=2, padding=(1, 0), bias=False), nn.BatchNorm2d(8))

    x = torch.randn(4, 3, 9, 9)
    small, _ = compress(build().eval(), {"0": LowRankScheme(rank=3)}, example_inputs=x)
    small[1].running_mean += 1
    save_compressed(small, tmp_path / "small.safetensors")
    dense = build()
    again = load_compressed(tmp_path / "small.safetensors", model=dense)
    assert torch.equal(again(x), small(x))
    assert isinstance(dense[0], nn.Conv2d)
    with pytest.raises(ValueError, match="model must be given"):
        load_compressed(tmp_path / "small.safetensors")


def test_the_file_is_as_small_as_the_report_says(tmp_path, dense):
    small, report = compress(dense, PLAN, example_inputs=X)
    path = tmp_path / "small.safetensors"
    save_compressed(small, path)
    assert 0 <= path.stat().st_size - report.after.n_bytes < 600  # the recipe
    assert list(tmp_path.iterdir()) == [path]


def test_loading_refuses_a_file_that_does_not_fit(tmp_path, dense):
    path = tmp_path / "small.safetensors"
    save_compressed(compress(dense, PLAN, example_inputs=X)[0], path)
    with pytest.raises(ValueError, match="does not hold a compressed network that fits"):
        load_compressed(path, model=nn.Sequential(nn.Linear(784, 300)))
    with pytest.raises(TypeError, match="model must be Module"):
        load_compressed(path, model="lenet-5")
    with pytest.raises(FileNotFoundError, match="missing"):
        load_compressed(tmp_path / "missing.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is not a whole"):
        load_compressed(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["modules"]["fc1"].update(kind="Linear"), "kind must be one of"),
        (lambda header: header["modules"]["fc1"].update(kind="os.system"), "kind must be one of"),
        (lambda header: header["modules"]["fc1"]["config"].update(rank=15), "size mismatch"),
        (lambda header: header["modules"]["fc1"]["config"].update(rank=0), "rank must be"),
        (lambda header: header["modules"]["fc1"]["config"].update(seed=0), "unexpected keyword"),
        (lambda header: header["modules"].update(fc9=header["modules"]["fc1"]), "fc9"),
        (lambda header: header["modules"].clear(), "Missing key|Unexpected key"),
        (lambda header: header.update(net="lenet-4"), "net must be one of"),
        (lambda header: header.pop("modules"), "modules"),
    ],
)
def test_loading_refuses_a_changed_recipe(tmp_path, dense, change, message):
    path = tmp_path / "small.safetensors"
    small = compress(dense, PLAN, example_inputs=X)[0]
    save_compressed(small, path)
    header = {
        "net": "lenet-300-100",
        "modules": {"fc1": {"kind": "LowRankLinear", "config": small.fc1.config()}},
    }
    change(header)
    save_file(load_file(path), path, {"labkit": json.dumps(header)})
    with pytest.raises((ValueError, TypeError), match=message):
        load_compressed(path)


def test_saving_refuses(tmp_path, dense):
    with pytest.raises(TypeError, match="model must be Module"):
        save_compressed("lenet", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="path must end in"):
        save_compressed(dense, tmp_path / "a.pt")
    dense.fc1.weight.data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"fc1\.weight must be finite"):
        save_compressed(dense, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
