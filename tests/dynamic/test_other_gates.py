"""Channel gating, low-cost collaborative layers, runtime pruning, and the convolutions that they skip with."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.cost import count
from labkit.dynamic import (
    LCCL,
    ChannelGate,
    RuntimePruning,
    active_channels,
    convolve_channels,
    convolve_each,
    convolve_positions,
    dynamic_layers,
    macs_ran,
    multiply_adds_per_image,
    penalty,
    set_execution,
)
from labkit.training import fit


def norm(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = nn.BatchNorm2d(channels)
    for tensor in (made.weight.data, made.bias.data, made.running_mean):
        tensor.copy_(torch.randn(channels, generator=generator))
    return made.eval()


def pictures(n=3, channels=6, side=7, seed=0):
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


# --- parts of a convolution ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_chosen_channels(seed, stride, padding, dilation, group):
    generator = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(6, 5, 3, stride, padding, dilation, bias=False)
    inputs, outputs = (torch.rand(4, c, generator=generator) < 0.5 for c in (6, 5))
    x = pictures(4, seed=seed) * inputs[:, :, None, None]
    (y, macs), ran = macs_ran(lambda: convolve_channels(x, conv, inputs=inputs, outputs=outputs, group=group))
    assert torch.allclose(y, conv(x) * outputs[:, :, None, None], atol=1e-5)
    assert macs.sum() == ran


def test_equal_sets_go_together():
    conv, inputs = nn.Conv2d(6, 5, 3, bias=False), torch.ones(8, 6, dtype=torch.bool)
    outputs = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 1, 0, 0]] * 4, dtype=torch.bool)
    seen = []
    original = torch.nn.functional.conv2d
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.nn.functional.conv2d", lambda x, *rest: seen.append(len(x)) or original(x, *rest))
        convolve_channels(pictures(8), conv, inputs=inputs, outputs=outputs)
    assert seen == [4, 4]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.integers(0, 5))
def test_chosen_positions(seed, stride, padding, dilation, first):
    conv = nn.Conv2d(6, 5, 3, stride, padding, dilation, bias=False)
    x = pictures(seed=seed)
    rest = nn.functional.conv2d(x[:, first:], conv.weight[:, first:], None, stride, padding, dilation)
    where = torch.rand(rest.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    y, macs = convolve_positions(x, conv, where, first=first)
    assert torch.allclose(y, torch.where(where, rest, 0), atol=1e-5)
    assert macs.tolist() == [int(part.sum()) * 9 * (6 - first) for part in where]


def test_active_channels():
    x = torch.zeros(2, 3, 4, 4)
    x[0, 1, 2, 3], x[1, 2, 0, 0] = 1, -1
    assert active_channels(x).tolist() == [[False, True, False], [False, False, True]]


# --- channel gating -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_without_a_threshold_it_is_exactly_dense(training):
    conv = nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=False)
    gated = ChannelGate.from_conv(conv, norm(5), base=2, threshold=-math.inf).train(training)
    dense = gated.to_dense()
    x = pictures()
    assert torch.equal(gated(x), dense(x))
    assert gated.open_share == 1


def test_an_infinite_threshold_never_adds_the_rest():
    gated = ChannelGate.from_conv(nn.Conv2d(6, 5, 3), norm(5), base=2, threshold=1e6).eval()
    x = pictures()
    changed = torch.cat([x[:, :2], torch.randn_like(x[:, 2:])], 1)
    assert torch.equal(gated(x), gated(changed))
    gated.execution = "gathered"
    gated(x)
    assert gated.ran.tolist() == [2 * 5 * 9 * 25] * 3


@pytest.mark.parametrize("threshold", [-math.inf, -0.5, 0.0, 0.7, 1e6])
@pytest.mark.parametrize("bias", [True, False])
def test_gated_sums_are_added_only_where_the_gate_is_open(threshold, bias):
    conv = nn.Conv2d(6, 5, 3, stride=2, padding=1, bias=bias)
    gated = ChannelGate.from_conv(conv, norm(5), base=2, threshold=threshold).eval()
    x = pictures()
    expected = gated(x)
    gated.execution = "gathered"
    y, ran = macs_ran(gated, x)
    assert torch.allclose(y, expected, atol=1e-5)
    opened = gated.gate.sum((1, 2, 3)).tolist()
    assert gated.ran.tolist() == [5 * 2 * 9 * 16 + n * 4 * 9 for n in opened]
    assert gated.ran.sum() == ran
    assert count(gated, x).macs == ran // 3


def test_thresholds_learn():
    gated = ChannelGate(6, 5, 3, base=2, threshold=0.3, target=1.0, random_state=0).train()
    gated(pictures()).sum().backward()
    assert gated.threshold.grad.abs().sum() > 0
    assert torch.allclose(penalty(gated), torch.tensor(0.7**2))


# --- low-cost collaborative layers --------------------------------------------------------------------------------


def test_it_starts_as_the_plain_layer():
    conv, x = nn.Conv2d(6, 5, 3, stride=2, padding=1), pictures()
    made = LCCL.from_conv(conv, norm(5)).eval()
    assert torch.allclose(made(x), norm(5)(conv(x)).relu(), atol=1e-5)
    assert torch.allclose(made.to_dense()(x), norm(5)(conv(x)).relu(), atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(1, 2), st.sampled_from([1, 3, 5]))
def test_exactly_the_predicted_zeros_are_skipped(seed, stride, kernel_size):
    made = LCCL(6, 5, kernel_size, stride=stride, random_state=seed)
    made.norm, made.cheap_norm = norm(5, seed), norm(5, seed + 1)
    made.eval()
    x = pictures(seed=seed)
    expected = made(x)
    assert torch.allclose(expected, made.norm(made.conv(x)).relu() * made.u, atol=1e-6)
    made.execution = "gathered"
    y, ran = macs_ran(made, x)
    assert torch.allclose(y, expected, atol=1e-5)
    assert not y[made.u == 0].any()
    assert made.ran.tolist() == [int((u > 0).sum()) * 6 * kernel_size**2 + 6 * u.numel() for u in made.u]
    assert made.ran.sum() == ran


def test_it_can_be_copied_after_a_step_of_training():
    made = LCCL(6, 5, 3, random_state=0).train()
    made(pictures()).sum().backward()
    assert torch.equal(copy.deepcopy(made).eval()(pictures()), made.eval()(pictures()))


def test_its_penalty_is_the_mean_of_the_cheap_outputs():
    made = LCCL(6, 5, 3, random_state=0).eval()
    assert float(penalty(made)) == 0
    made(pictures())
    assert torch.equal(penalty(made), made.u.mean())
    assert made.zero_share == pytest.approx(float((made.u == 0).float().mean()))


# --- runtime pruning ----------------------------------------------------------------------------------------------


def agent(n_groups=4, seed=0):
    layers = [(nn.Conv2d(1, 8, 3, padding=1), norm(8)), (nn.Conv2d(8, 12, 3, stride=2), norm(12))]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2))
    return RuntimePruning(layers, head, n_groups=n_groups, random_state=seed).eval()


def test_all_groups_are_the_plain_network():
    model, x = agent(), pictures(4, 1, 8)
    every = torch.full((4, 2), 3)
    plain = x
    for conv, batch_norm in zip(model.convs, model.norms, strict=True):
        plain = batch_norm(conv(plain)).relu()
    assert torch.allclose(model.episode(x, actions=every).scores, model.head(plain), atol=1e-5)
    assert torch.allclose(model.episode(x, actions=every).costs.sum(1), torch.ones(4))


@pytest.mark.parametrize("n_groups", [2, 3, 4])
def test_gathered_runs_only_the_chosen_groups(n_groups):
    model, x = agent(n_groups), pictures(9, 1, 8)
    actions = torch.randint(n_groups, (9, 2), generator=torch.Generator().manual_seed(0))
    expected = model.episode(x, actions=actions)
    model.execution = "gathered"
    episode = model.episode(x, actions=actions)
    assert torch.allclose(episode.scores, expected.scores, atol=1e-5)
    assert torch.equal(episode.ran, expected.ran)
    first, second = (-(-(actions[:, t] + 1) * c // n_groups) for t, c in enumerate((8, 12)))
    assert episode.ran.tolist() == (first * 9 * 64 + first * second * 9 * 9).tolist()


@pytest.mark.parametrize("execution", ["masked", "gathered"])
def test_its_count_is_that_of_the_operations_that_ran(execution):
    model, x = agent(), pictures(9, 1, 8)
    model.execution = execution
    _, ran = macs_ran(model, x)
    assert count(model, x).macs == ran // 9
    assert model.ran.sum() + 9 * 24 == ran


def test_greedy_actions_have_the_largest_values():
    model = agent()
    episode = model.episode(pictures(20, 1, 8))
    assert torch.equal(episode.actions, episode.q.argmax(2))


def test_exploration_is_random_and_only_in_training():
    model, x = agent(), pictures(200, 1, 8)
    torch.manual_seed(0)
    drawn = model.episode(x, exploration=1.0).actions
    assert sorted(drawn.unique().tolist()) == [0, 1, 2, 3]
    assert torch.equal(model(x), model(x))


def test_the_targets_are_those_of_q_learning():
    episode = agent().episode(pictures(3, 1, 8))
    losses = torch.tensor([0.5, 1.0, 2.0])
    targets = episode.targets(losses, 0.3)
    for i in range(3):
        first = -0.3 * episode.costs[i, 0] + episode.q[i, 1].max()
        assert torch.allclose(targets[i], torch.stack([first, -0.3 * episode.costs[i, 1] - losses[i]]))


def test_a_dearer_budget_gives_fewer_multiply_adds():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (256,), generator=generator)
    x = torch.rand(256, 1, 8, 8, generator=generator) + y[:, None, None, None]  # bright or dark
    costs = []
    for budget_penalty in (0.0, 0.3, 3.0):
        model = agent()
        objective = model.objective(budget_penalty=budget_penalty)
        fit(
            model,
            (x, y),
            epochs=8,
            batch_size=32,
            learning_rate=5e-3,
            objective=objective,
            random_state=0,
            progress=False,
        )
        episode = model.episode(x)
        costs.append(float(episode.costs.sum(1).mean()))
        assert (episode.scores.argmax(1) == y).float().mean() > 0.9 or budget_penalty == 3.0
    assert costs[0] >= costs[1] >= costs[2]
    assert costs[2] < 0.2


def test_the_state_goes_round():
    model, other = agent(), agent(seed=1)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(model(pictures(2, 1, 8)), other(pictures(2, 1, 8)))


# --- bad input ----------------------------------------------------------------------------------------------------

CONV = nn.Conv2d(6, 5, 3, bias=False)
MASK = {"inputs": torch.ones(3, 6, dtype=torch.bool), "outputs": torch.ones(3, 5, dtype=torch.bool)}
EACH = {
    "inputs": torch.zeros(3, 2, dtype=torch.int64),
    "outputs": torch.zeros(3, 2, dtype=torch.int64),
    "scale": torch.ones(3, 5),
    "shift": torch.ones(3, 5),
}
WHERE = torch.ones(3, 5, 5, 5, dtype=torch.bool)
BAD = [
    (lambda: convolve_channels(pictures(), CONV, **MASK | {"inputs": torch.ones(3, 6)}), TypeError, "inputs must be a"),
    (lambda: convolve_channels(pictures(2), CONV, **MASK), ValueError, r"inputs must have shape \(2, 6\)"),
    (lambda: convolve_channels(pictures(), nn.Conv2d(6, 5, 3), **MASK), ValueError, "no bias"),
    (lambda: convolve_channels(pictures(side=2), CONV, **MASK), ValueError, "at least as large as the kernel"),
    (lambda: convolve_each(pictures(), CONV, **EACH | {"inputs": EACH["scale"]}), TypeError, "inputs must be int64"),
    (lambda: convolve_each(pictures(2), CONV, **EACH), ValueError, r"inputs must be \(2, 1 to 6\)"),
    (lambda: convolve_each(pictures(), CONV, **EACH | {"outputs": EACH["outputs"] + 5}), ValueError, "from 0 to 4"),
    (lambda: convolve_each(pictures(), CONV, **EACH | {"shift": torch.ones(5)}), ValueError, "shift must have shape"),
    (lambda: convolve_positions(pictures(), CONV, WHERE[:, :4]), ValueError, "where must have shape"),
    (lambda: convolve_positions(pictures(), CONV, WHERE.float()), TypeError, "where must be a bool tensor"),
    (lambda: convolve_positions(pictures(), CONV, WHERE, first=6), ValueError, "first must be between 0 and 5"),
    (lambda: active_channels(torch.ones(3)), ValueError, r"x must be \(n, C, H, W\)"),
    (lambda: set_execution(agent(), "image"), ValueError, "execution must be one of 2 names"),
    (lambda: dynamic_layers("model"), TypeError, "model must be Module"),
    (lambda: penalty(None), TypeError, "model must be Module"),
    (lambda: multiply_adds_per_image(LCCL(1, 2, 3)), ValueError, "must have been called once"),
    (lambda: ChannelGate(6, 5, 3, base=6), ValueError, "base must be between 1 and 5, got 6"),
    (lambda: ChannelGate(6, 5, 3, base=1.5), TypeError, "base must be an integer"),
    (lambda: ChannelGate(1, 5, 3, base=1), ValueError, "in_channels must be at least 2"),
    (lambda: ChannelGate(6, 5, 3, base=2, threshold=math.nan), ValueError, "threshold must be"),
    (lambda: ChannelGate(6, 5, 3, base=2, steepness=0), ValueError, "steepness must be above 0"),
    (lambda: ChannelGate.from_conv(nn.Conv2d(6, 5, 3, dilation=2), base=2), ValueError, r"dilation \(1, 1\)"),
    (lambda: ChannelGate(6, 5, 3, base=2)(torch.ones(2, 5, 4, 4)), ValueError, r"x must be \(n, 6, H, W\)"),
    (lambda: LCCL(6, 5, 2), ValueError, "kernel_size must be odd, got 2"),
    (lambda: LCCL(6, 5, 3, stride=0), ValueError, "stride must be at least 1"),
    (lambda: LCCL.from_conv(nn.Conv2d(6, 5, 3)), ValueError, r"conv must have padding \(1, 1\), got \(0, 0\)"),
    (lambda: LCCL.from_conv(nn.Conv2d(6, 5, (3, 1))), ValueError, "conv must have kernel_size"),
    (lambda: convolve_channels(pictures(), CONV, **MASK, group=1), TypeError, "group must be True or False"),
    (lambda: convolve_each(pictures(), CONV, **EACH | {"scale": EACH["inputs"]}), TypeError, "scale must be a float"),
    (lambda: convolve_each(pictures(side=2), CONV, **EACH), ValueError, "x must be at least as large as the kernel"),
    (lambda: dynamic_layers(LCCL(1, 2, 3), "LCCL"), TypeError, "kind must be type, got str"),
    (lambda: ChannelGate(6, 5, 3, base=2)(torch.ones(2, 6, 2, 2)), ValueError, "x must be at least as large"),
    (lambda: ChannelGate(6, 5, 0, base=2), ValueError, "kernel_size must be at least 1"),
    (lambda: ChannelGate(6, 5, 3, base=2, padding="same"), TypeError, "padding must be an integer"),
    (lambda: ChannelGate(6, 5, 3, base=2, norm={"eps": 0}), ValueError, r"norm\['eps'\] must be above 0"),
    (lambda: LCCL(6, 5, 3, norm={"affine": False}), ValueError, "norm must be one of 2 names, got 'affine'"),
    (lambda: LCCL(6, 5, 3, norm={"momentum": 2}), ValueError, r"norm\['momentum'\] must be between 0 and 1"),
    (lambda: LCCL(6, 5, 3, norm=[1]), TypeError, "norm must be Mapping, got list"),
    (lambda: RuntimePruning(None, nn.Flatten()), TypeError, "layers must be Iterable, got NoneType"),
    (lambda: RuntimePruning([CONV], nn.Flatten()), TypeError, "layers must be pairs"),
    (lambda: agent().running(2, torch.tensor([0])), ValueError, "t must be between 0 and 1"),
    (lambda: agent().running(0, torch.tensor([4])), ValueError, "action must be .* entries from 0 to 3"),
    (lambda: agent().running(0, torch.tensor(0.5)), TypeError, "action must be int64"),
    (lambda: agent().objective(budget_penalty=1, loss=3), TypeError, "loss must be a function, got 3"),
    (lambda: RuntimePruning([], nn.Flatten()), ValueError, "layers must hold at least one pair"),
    (lambda: RuntimePruning([(CONV, None), (CONV, None)], nn.Flatten()), ValueError, "5 channels into 6"),
    (lambda: RuntimePruning([(CONV, None)], nn.Flatten(), n_groups=1), ValueError, "n_groups must be at least 2"),
    (lambda: RuntimePruning([(CONV, None)], None), TypeError, "head must be Module"),
    (lambda: agent()(torch.ones(2, 3, 8, 8)), ValueError, r"x must be \(n, 1, H, W\)"),
    (lambda: agent().episode(pictures(2, 1, 8), exploration=2), ValueError, "exploration must be between 0 and 1"),
    (lambda: agent().episode(pictures(2, 1, 8), actions=torch.full((2, 2), 4)), ValueError, "entries from 0 to 3"),
    (lambda: agent().episode(pictures(2, 1, 8), actions=torch.zeros(2, 2)), TypeError, "actions must be int64"),
    (lambda: agent().objective(budget_penalty=-1), ValueError, "budget_penalty must be at least 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
