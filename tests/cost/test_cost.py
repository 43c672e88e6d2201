"""Counted and measured costs, against numbers worked out by hand and against torch's own counter."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from labkit.cost import count, cpu_times, file_bytes, time_ratio
from labkit.nets import LeNet5, LeNet300, save

DIGIT = torch.zeros(1, 1, 28, 28)


def macs(layer, *shape):
    return count(layer, torch.zeros(shape)).macs


def test_lenet_300_100_by_hand():
    cost = count(LeNet300(), DIGIT)
    assert cost.n_params == 785 * 300 + 301 * 100 + 101 * 10 == 266_610
    assert cost.macs == 784 * 300 + 300 * 100 + 100 * 10 == 266_200
    assert cost.uncounted == ()


def test_lenet_5_by_hand():
    cost = count(LeNet5(), DIGIT)
    by_layer = {row.name: (row.shape, row.n_params, row.macs) for row in cost.rows}
    assert by_layer["conv1"] == ((20, 24, 24), 520, 20 * 24 * 24 * 25)
    assert by_layer["conv2"] == ((50, 8, 8), 25_050, 50 * 8 * 8 * 20 * 25)
    assert by_layer["fc1"] == ((500,), 400_500, 800 * 500)
    assert by_layer["fc2"] == ((10,), 5_010, 5_000)
    assert (cost.n_params, cost.macs) == (431_080, 2_293_000)


def test_conventions():
    one = nn.Linear(7, 3)
    expected = {("mac", False): 21, ("mac", True): 24, ("flop", False): 42, ("flop", True): 45}
    for (convention, bias), operations in expected.items():
        cost = count(one, torch.zeros(1, 7), convention=convention, bias=bias)
        assert (cost.operations, cost.macs) == (operations, 21)


def test_alexnet_first_layer_in_macs_and_flops():
    layer, x = nn.Conv2d(3, 96, 11, stride=4), torch.zeros(1, 3, 227, 227)
    assert count(layer, x).operations == 105_415_200  # lecture 002:35 prints 105M
    assert count(layer, x, convention="flop").operations == 210_830_400  # lecture 003:276 prints 211M


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Conv2d(4, 6, 3), (1, 4, 10, 10), 6 * 8 * 8 * 4 * 9),
        (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 10, 10), 6 * 8 * 8 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), (1, 4, 10, 10), 4 * 10 * 10 * 9),
        (nn.Conv2d(4, 6, 3, dilation=2), (1, 4, 10, 10), 6 * 6 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, (1, 5), stride=2), (1, 4, 11, 11), 6 * 6 * 4 * 4 * 5),
        (nn.Conv1d(2, 3, 4), (1, 2, 9), 3 * 6 * 2 * 4),
        (nn.Conv3d(1, 2, 2), (1, 1, 3, 3, 3), 2 * 8 * 8),
        (nn.ConvTranspose2d(3, 5, 4, stride=2), (1, 3, 6, 6), 3 * 6 * 6 * 5 * 16),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 6, 6), 4 * 6 * 6 * 3 * 9),
        (nn.Linear(5, 2), (1, 3, 5), 3 * 2 * 5),
        (nn.BatchNorm2d(3), (1, 3, 4, 4), 48),
        (nn.MaxPool2d(2), (1, 3, 8, 8), 0),
        (nn.ReLU(), (1, 3), 0),
    ],
)
def test_one_layer_by_hand(layer, shape, expected):
    cost = count(layer, torch.zeros(shape))
    assert cost.macs == expected
    assert cost.n_params == sum(p.numel() for p in layer.parameters())
    assert cost.uncounted == ()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LeNet300(), (2, 1, 28, 28)),
        (LeNet5(), (3, 1, 28, 28)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, dilation=2), nn.ReLU(), nn.Conv2d(8, 4, 1)), (2, 4, 9, 9)),
        (nn.Sequential(nn.Linear(6, 2, bias=False), nn.Linear(2, 9)), (5, 6)),
    ],
)
def test_against_torchs_own_counter(model, shape):
    x = torch.zeros(shape)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert count(model, x, convention="flop").operations * shape[0] == counter.get_total_flops()


def test_counts_are_for_one_example():
    assert count(LeNet5(), torch.zeros(7, 1, 28, 28)) == count(LeNet5(), DIGIT)


def test_a_layer_that_is_called_twice_has_its_parameters_once():
    shared = nn.Linear(4, 4)
    cost = count(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4))
    assert (cost.macs, cost.n_params) == (32, 20)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert count(tied, torch.zeros(1, 4)).n_params == 16 + 4 + 4


def test_rows_are_in_the_order_of_the_calls():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(2, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.first(x))

    assert [row.name for row in count(Backwards(), torch.zeros(1, 4)).rows] == ["first", "last"]


def test_parametrised_layers_are_counted():
    layer = parametrizations.orthogonal(nn.Linear(4, 4))
    cost = count(nn.Sequential(layer), torch.zeros(1, 4))
    assert (cost.macs, cost.n_params, cost.uncounted) == (16, 20, ())


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[1].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    count(model, torch.rand(8, 4))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_gone_after_a_failed_run():
    model = nn.Sequential(nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"of shape \(1, 5\) cannot be run: '0' \(Linear\) raised RuntimeError: mat1"):
        count(model, torch.zeros(1, 5))
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
    assert model.training


def test_text_and_html():
    cost = count(nn.Sequential(nn.Linear(1000, 3)), torch.zeros(1, 1000), bias=True)
    assert repr(cost) == "Cost(1 layer, 3,003 parameters, 3,000 multiply-adds)"
    assert str(cost).splitlines() == [
        "layer  type    output  parameters  multiply-adds  operations",
        "0      Linear  3            3,003          3,000       3,003",
        "all                         3,003          3,000       3,003",
        "For one example; one operation is a product that is added to a sum (a multiply-add); biases counted.",
    ]
    html = cost._repr_html_()
    assert html.count("<tr>") == 3
    assert "<th scope='row'>0</th><td>Linear</td><td>3</td><td class='n'>3,003</td>" in html
    assert "biases counted" in html


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LeNet300, DIGIT, {}), TypeError, "model must be Module"),
        ((LeNet300(), None, {}), ValueError, "example_inputs must be"),
        ((LeNet300(), (), {}), ValueError, "example_inputs must be"),
        ((LeNet300(), torch.zeros(0, 784), {}), ValueError, "example_inputs must be"),
        ((LeNet300(), torch.tensor(1.0), {}), ValueError, "example_inputs must be"),
        ((LeNet300(), torch.zeros(1, 783), {}), ValueError, "'fc1' .Linear. raised RuntimeError"),
        ((LeNet300(), {}, {}), ValueError, "example_inputs must be"),
        ((LeNet300(), [DIGIT], {}), ValueError, "got list; give batch_size"),
        ((LeNet300(), DIGIT, {"convention": "flops"}), ValueError, "did you mean 'flop'"),
        ((LeNet300(), DIGIT, {"batch_norm": "fold"}), ValueError, "did you mean 'folded'"),
        ((LeNet300(), DIGIT, {"bias": "conv"}), ValueError, "bias must be True, False or 'linear'"),
        ((LeNet300(), DIGIT, {"bias": 1}), ValueError, "bias must be True, False or 'linear'"),
        ((LeNet300(), DIGIT, {"elementwise": 1}), TypeError, "elementwise must be bool"),
        ((LeNet300(), DIGIT, {"batch_size": 0}), ValueError, "batch_size must be at least 1"),
    ],
)
def test_count_refuses_bad_input(arguments, error, message):
    model, inputs, settings = arguments
    with pytest.raises(error, match=message):
        count(model, inputs, **settings)


def test_file_bytes_is_the_size_of_the_file(tmp_path):
    from safetensors.torch import save_file

    model = LeNet300()
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    assert file_bytes(model) == (tmp_path / "plain.safetensors").stat().st_size
    save(model, tmp_path / "net.safetensors", header={"a": 1})
    assert 0 < (tmp_path / "net.safetensors").stat().st_size - file_bytes(model) < 100
    assert file_bytes(model.half()) == pytest.approx(2 * 266_610, rel=1e-3)


def test_file_bytes_takes_shared_and_strided_tensors():
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    tied.register_buffer("turned", torch.zeros(3, 5).T)
    assert file_bytes(tied) > 4 * (16 + 16 + 15)


def test_file_bytes_refuses_other_things():
    with pytest.raises(TypeError, match="model must be Module"):
        file_bytes(LeNet300().state_dict())


class Clock:
    """Stands in for the thread's clock: each call of a function takes as long as the function says."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("labkit.cost.measure.time.thread_time", lambda: self.now)

    def lasting(self, *seconds):
        durations = list(seconds)

        def function():
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]

        return function


def test_time_ratio_is_before_over_after(monkeypatch):
    clock = Clock(monkeypatch)
    assert time_ratio(clock.lasting(0.3), clock.lasting(0.1)) == pytest.approx(3)


def test_time_ratio_is_a_median_without_the_warm_up(monkeypatch):
    clock = Clock(monkeypatch)
    before = clock.lasting(9, 9, 0.2, 0.2, 50, 0.2, 0.2, 90, 0.2)
    assert time_ratio(before, clock.lasting(0.1)) == pytest.approx(2)


def test_time_ratio_alternates_and_restores_the_threads():
    calls, threads = [], torch.get_num_threads()
    time_ratio(lambda: calls.append("b"), lambda: calls.append("a"), rounds=9, round_seconds=0)
    assert "".join(calls) == "bbaa" + 9 * "ba"
    with pytest.raises(ZeroDivisionError):
        time_ratio(lambda: 1 / 0, lambda: None)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("model", len, {}), TypeError, "before must be callable"),
        ((len, None, {}), TypeError, "after must be callable"),
        ((len, len, {"rounds": 6}), ValueError, "rounds must be at least 7"),
        ((len, len, {"rounds": 7.0}), TypeError, "rounds must be an integer"),
        ((len, len, {"round_seconds": -1}), ValueError, "round_seconds must be"),
    ],
)
def test_time_ratio_refuses_bad_input(arguments, error, message):
    before, after, settings = arguments
    with pytest.raises(error, match=message):
        time_ratio(before, after, **settings)


def test_cpu_times_are_medians_without_the_warm_up(monkeypatch):
    clock = Clock(monkeypatch)
    slow, fast = clock.lasting(9, 0.2, 0.2, 0.2, 50, 0.2, 0.2, 90, 0.2), clock.lasting(0.1)
    assert cpu_times({"slow": slow, "fast": fast}) == pytest.approx({"slow": 0.2, "fast": 0.1})


def test_preparation_does_not_decide_how_often_a_short_function_runs(monkeypatch):
    """The first call may compile, the next ones fill caches; ten short calls fit a round all the same."""
    clock, calls = Clock(monkeypatch), []
    function = clock.lasting(3, 0.004, 0.001)
    assert cpu_times({"f": lambda: (function(), calls.append(1))})["f"] == pytest.approx(0.001)
    assert len(calls) >= 2 + 6 + 7 * 10


def test_cpu_times_take_turns_and_restore_the_threads():
    calls, threads = [], torch.get_num_threads()
    cpu_times({name: lambda name=name: calls.append(name) for name in "abc"}, round_seconds=0)
    assert "".join(calls) == "aabbcc" + 7 * "abc"
    with pytest.raises(ZeroDivisionError):
        cpu_times({"f": lambda: 1 / 0})
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("functions", "settings", "error", "message"),
    [
        ({}, {}, ValueError, "at least one function"),
        (len, {}, TypeError, "functions must be Mapping"),
        ({"f": 3}, {}, TypeError, "f must be callable"),
        ({"f": len}, {"rounds": 6}, ValueError, "rounds must be at least 7"),
        ({"f": len}, {"round_seconds": -1}, ValueError, "round_seconds must be"),
    ],
)
def test_cpu_times_refuse_bad_input(functions, settings, error, message):
    with pytest.raises(error, match=message):
        cpu_times(functions, **settings)
