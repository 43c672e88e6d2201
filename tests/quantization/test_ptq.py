"""Post-training quantization: integers all the way, equal to the float twin bit for bit, on every held-out digit."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import fx, nn

from labkit import nets
from labkit.compress import compress, load_compressed, save_compressed
from labkit.cost import count
from labkit.datasets import mnist
from labkit.experiments.calibration import small_batch_norm_net
from labkit.quantization import (
    CalibrationWarning,
    IntegerReLU,
    IntegerScheme,
    Levels,
    QConv2d,
    QLinear,
    calibrate,
    collect,
    collect_inputs,
    fake_quantized,
    fold_requantize,
    kl_calibrate,
    levels_of,
    links,
    max_calibrate,
    ptq,
    ptq_plan,
    with_levels,
)
from labkit.training import evaluate


@pytest.fixture(scope="module")
def lenet():
    return nets.load("lenet-5")


@pytest.fixture(scope="module")
def batches():
    return mnist("train", source="offline")[:250].tensors()[0].split(25)


@pytest.fixture(scope="module")
def test_digits():
    return mnist("test", source="offline")


@pytest.fixture(scope="module")
def int8(lenet, batches):
    return ptq(lenet, batches, rule="mse")


# --- the whole network ---------------------------------------------------------------------------------------------


def test_int8_keeps_the_accuracy(lenet, int8, test_digits):
    """Of 1,000 digits at most one more is wrong: within 0.1 points. All 10,000 are in the record of the experiment."""
    assert evaluate(int8, test_digits).error <= evaluate(lenet, test_digits).error + 0.1


def test_integers_equal_the_float_twin_on_every_digit(int8):
    """Every output of 1,000 held-out digits, bit for bit: folded integers, unfolded layers, and predictions."""
    x = mnist("test", source="offline").tensors()[0]
    folded, twin = fold_requantize(int8), fake_quantized(int8)
    for part in x.split(250):
        integers = folded(part)
        assert torch.equal(integers, int8(part.double()))
        torch.testing.assert_close(integers, twin(part), rtol=1e-12, atol=1e-11)
        assert torch.equal(integers.argmax(1), twin(part).argmax(1))


def test_every_integer_inside_equals_that_of_the_twin(int8, test_digits):
    """The twin's real numbers, rounded to the levels of the next layer, are the integers that were handed on."""
    x = test_digits[:200].tensors()[0]
    folded = fold_requantize(int8)
    seen = {}
    hooks = [
        folded.get_submodule(n).register_forward_pre_hook(lambda m, a, n=n: seen.update({n: a[0]}))
        for n in ("conv2", "fc1", "fc2")
    ]
    folded(x)
    for hook in hooks:
        hook.remove()
    reals = {}
    twin = fake_quantized(int8)
    for n in seen:
        twin.get_submodule(n).register_forward_pre_hook(lambda m, a, n=n: reals.update({n: a[0]}))
    twin(x)
    for name, q in seen.items():
        levels = int8.get_submodule(name).input_levels
        assert q.dtype == (torch.int8 if levels.signed else torch.uint8)
        rounded = torch.floor(reals[name] / levels.scale + 0.5) + levels.zero_point
        assert torch.equal(q.double(), rounded.clamp(*levels.range))


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize(
    ("bits", "weight_bits", "per_channel"), [(8, 8, False), (4, 8, True), (8, 4, True), (3, 3, True)]
)
def test_other_settings_fold_exactly_too(lenet, batches, test_digits, scheme, bits, weight_bits, per_channel):
    made = ptq(
        lenet, batches, bits=bits, weight_bits=weight_bits, rule="percentile", per_channel=per_channel, scheme=scheme
    )
    x = test_digits[:100].tensors()[0]
    assert torch.equal(fold_requantize(made)(x), made(x.double()))
    torch.testing.assert_close(fake_quantized(made)(x), made(x.double()), rtol=1e-12, atol=1e-11)


def test_the_folded_network_keeps_integers_between_layers(int8):
    folded = fold_requantize(int8)
    assert isinstance(folded, fx.GraphModule)
    assert isinstance(folded.fc2_relu, IntegerReLU)
    assert [folded.get_submodule(n).integer_input for n in ("conv1", "conv2", "fc1", "fc2")] == [
        False,
        True,
        True,
        True,
    ]
    assert folded.fc2.next_levels is None
    assert not any(m.integer_input for m in int8.modules() if isinstance(m, QLinear | QConv2d))


def test_at_three_bits_kl_beats_the_maximum(lenet, batches, test_digits):
    with pytest.warns(CalibrationWarning):
        kl = ptq(lenet, batches, bits=3, weight_bits=8, rule="kl")
    top = ptq(lenet, batches, bits=3, weight_bits=8, rule="max")
    assert evaluate(kl, test_digits).error <= evaluate(top, test_digits).error - 0.4


def test_ptq_never_calls_backward_and_needs_no_gradient(lenet, batches, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("backward was called")

    monkeypatch.setattr(torch.Tensor, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "backward", forbidden)
    monkeypatch.setattr(torch.autograd, "grad", forbidden)
    before = copy.deepcopy(lenet.state_dict())
    graded = []
    hook = lenet.fc2.register_forward_hook(lambda m, a, y: graded.append(y.requires_grad))
    ptq(lenet, batches[:2], rule="max")
    hook.remove()
    assert graded == [False, False]
    assert all(torch.equal(before[k], v) for k, v in lenet.state_dict().items())


def test_more_batches_change_nothing_but_the_histogram(lenet, batches):
    """The statistics do not depend on how the digits were cut into batches."""
    whole, parts = collect_inputs(lenet, torch.cat(batches)), collect_inputs(lenet, iter(batches))
    for name, hist in parts.items():
        if name == "conv1":
            assert np.array_equal(hist.counts, whole[name].counts)
        assert hist.total == whole[name].total


# --- the small network with batch norm -----------------------------------------------------------------------------


def test_the_literal_rule_breaks_on_a_small_batch_norm_network_and_the_guard_helps():
    train, test = mnist("train", source="offline"), mnist("test", source="offline")
    model = small_batch_norm_net(train)
    data = train[:250].tensors()[0]
    hist = collect_inputs(model, data)["2"]
    literal = kl_calibrate(hist, zero_bin="keep", guard=False)
    assert literal.clipped * hist.total / (hist.total - hist.zeros) > 0.05
    error = evaluate(model, test).error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        guarded = ptq(model, data, bits=4, weight_bits=8)
    broken = ptq(model, data, bits=4, weight_bits=8, zero_bin="keep", guard=False)
    assert evaluate(broken, test).error > error + 10
    assert evaluate(guarded, test).error < error + 3


# --- plans, files, costs -------------------------------------------------------------------------------------------


def test_compress_reports_four_times_fewer_bytes_and_the_file_holds_int8(lenet, batches, tmp_path):
    x = batches[0]
    small, report = compress(lenet, ptq_plan(lenet, batches, rule="max"), example_inputs=x[:1])
    assert 3.9 < report.bytes_ratio < 4
    assert report.after.cost.macs == report.before.cost.macs
    assert report.after.cost.n_params == report.before.cost.n_params
    path = tmp_path / "int8.safetensors"
    save_compressed(small, path)
    assert path.stat().st_size < 450_000
    again = load_compressed(path)
    assert again.fc1.weight.dtype == torch.int8
    assert torch.equal(again(x), small(x))
    assert torch.equal(small(x), ptq(lenet, batches, rule="max")(x))


def test_four_bits_take_half_the_bytes_of_eight_in_the_report_and_in_the_file(lenet, batches, tmp_path):
    plan = ptq_plan(lenet, batches, weight_bits=4, rule="max")
    small, report = compress(lenet, plan, example_inputs=batches[0][:1])
    assert 7.6 < report.bytes_ratio < 8
    path = tmp_path / "int4.safetensors"
    save_compressed(small, path)
    assert path.stat().st_size < 230_000
    again = load_compressed(path)
    assert torch.equal(again.fc1.weight, small.fc1.weight)
    assert torch.equal(again(batches[0]), small(batches[0]))


def test_multiply_adds_are_counted(int8, lenet):
    x = torch.zeros(1, 1, 28, 28)
    assert count(int8, x).macs == count(lenet, x).macs
    assert count(int8, x).uncounted == ()


def test_one_layer_alone(lenet, batches):
    made = ptq(lenet, batches, rule="max", names=["fc1"])
    assert isinstance(made.fc1, QLinear)
    assert isinstance(made.conv1, nn.Conv2d)
    assert made(batches[0]).dtype == torch.float32


def test_levels_follow_the_sign_of_the_data():
    positive, both = collect([0.0, 2.0]), collect([-1.0, 2.0])
    assert levels_of(positive, max_calibrate(positive)) == Levels(2 / 255, 0, 8, signed=False)
    assert levels_of(both, max_calibrate(both)) == Levels(2 / 127, 0, 8, signed=True)
    affine = levels_of(both, max_calibrate(both), scheme="affine")
    assert affine.scale == 3 / 255
    assert affine.zero_point == -128 + 85
    assert levels_of(positive, max_calibrate(positive), scheme="affine").zero_point == 0


# --- networks of other shapes --------------------------------------------------------------------------------------


class Branches(nn.Module):
    """A layer with two readers, and one that is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.left, self.right, self.again = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x):
        y = self.first(x)
        return self.again(self.again(self.left(y) + torch.relu(self.right(y))))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


def test_branches_and_layers_called_twice_are_not_folded():
    torch.manual_seed(0)
    model, x = Branches(), torch.randn(200, 6)
    assert links(model, names=["first", "left", "right", "again"]) == []
    made = ptq(model, x, rule="max")
    assert torch.equal(fold_requantize(made)(x.double()), made(x.double()))


def test_a_chain_with_every_transparent_step_folds():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2), nn.Flatten(), nn.Identity(),
        nn.Linear(48, 5), nn.ReLU(inplace=True), nn.Linear(5, 2),
    ).eval()  # fmt: skip
    x = torch.randn(40, 2, 8, 8)
    made = ptq(model, x, rule="max", scheme="affine")
    assert len(links(model, names=["0", "6", "8"])) == 2
    assert torch.equal(fold_requantize(made)(x), made(x.double()))


def test_what_mixes_values_stops_the_fold():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    assert links(model, names=["0", "2"]) == []


def test_a_network_that_cannot_be_traced_is_quantized_but_not_folded():
    model, x = Untraceable(), torch.rand(50, 6)
    made = ptq(model, x, rule="max")
    assert isinstance(made.layer, QLinear)
    with pytest.raises(ValueError, match=r"model cannot be traced by torch\.fx"):
        fold_requantize(made)


def test_modes_are_kept():
    model = nn.Sequential(nn.Linear(6, 6)).train()
    made = ptq(model, torch.rand(50, 6), rule="max")
    assert made.training
    assert fold_requantize(made).training


NET, X = nn.Sequential(nn.Linear(6, 4)), torch.rand(500, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ptq("net", X), "model must be Module"),
        (lambda: ptq(nn.ReLU(), X), "model must hold a linear"),
        (lambda: ptq(NET, X, bits=9, rule="max"), "bits must be between"),
        (lambda: ptq(NET, X, bits=0), "bits must be between"),
        (lambda: ptq(NET, X, weight_bits=1, rule="max"), "weight_bits must be between 2"),
        (lambda: ptq(NET, X, rule="entropy"), "rule must be one of"),
        (lambda: ptq(NET, X, rule="max", names=["1"]), "names must be one of"),
        (lambda: ptq(NET, X, rule="max", scheme="log"), "scheme must be one of"),
        (lambda: ptq(NET, []), "data must hold at least one batch"),
        (lambda: ptq(NET, torch.full((1, 6), float("nan"))), "data must be finite"),
        (lambda: levels_of(None, calibrate(collect(X), rule="max")), "hist must be Histogram"),
        (lambda: levels_of(collect(X), 1.0), "calibration must be Calibration"),
        (lambda: with_levels(NET, {"0": 1.0}), "input_levels must be Levels"),
        (lambda: IntegerScheme(Levels(1.0)).apply(nn.ReLU()), "layer must be Linear"),
        (lambda: fold_requantize(NET), "model must hold an integer layer"),
        (lambda: fold_requantize(None), "model must be Module"),
        (lambda: fake_quantized(None), "model must be Module"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_single_layers_have_twins_too():
    layer = QLinear.from_linear(NET[0], input_levels=Levels(0.01))
    torch.testing.assert_close(fake_quantized(layer)(X), layer(X.double()))
