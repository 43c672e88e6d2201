"""SGAD: difficulty, expected and real drop ratios, rounding with a gradient, and blocks that really do not run."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from labkit.cost import count
from labkit.dynamic import (
    SGAD,
    SincRound,
    drop_ratio_loss,
    expected_drop_ratio,
    guidance_net,
    kept_at_most_sure,
    macs_ran,
    mask_net,
    sgad_objective,
    sinc_round,
    softmax_variance,
)
from labkit.lectures import erratum
from labkit.nets import ResNet, SmallResNet, sgad_net
from labkit.training import fit

ONE = torch.ones(1, 2)


@pytest.fixture(scope="module")
def model():
    return SGAD(SmallResNet(random_state=0), channels=8, n_classes=10, random_state=0).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


# ---- difficulty


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 10.0, 1000.0]))
def test_the_variance_lies_between_0_and_its_tight_bound(M, seed, scale):
    scores = scale * torch.randn(8, M, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    variance = softmax_variance(scores)
    assert (variance >= 0).all()
    assert (variance <= (M - 1) / M**2 + 1e-12).all()
    torch.testing.assert_close(variance, scores.softmax(1).var(1, correction=0))
    e = (scores - scores.amax(1, keepdim=True)).exp()
    second_form = e.square().sum(1) / (M * e.sum(1) ** 2) - 1 / M**2  # as the slide prints it
    torch.testing.assert_close(variance, second_form, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("M", [2, 10, 100])
def test_both_ends_of_the_variance_are_reached(M):
    sure = torch.full((1, M), -1e4, dtype=torch.float64)
    sure[0, 1] = 0
    assert float(softmax_variance(sure)) == pytest.approx((M - 1) / M**2)
    assert (M - 1) / M**2 < 1 / M
    assert float(softmax_variance(torch.zeros(1, M))) == 0


# ---- the expected drop ratio


@pytest.mark.parametrize("L", [6, 15, 54])
@pytest.mark.parametrize("s_max", [0.2, 0.5, 0.8])
def test_it_is_the_slides_formula_with_either_scale(L, s_max):
    M, variance = 10, torch.linspace(0, 0.1, 11, dtype=torch.float64)
    for reading, kept in (("printed", s_max), ("mended", 1 - s_max)):
        scale = -M * math.log(kept) / math.log(L)
        expected = 1 - L ** (1 - scale * variance) / L
        got = expected_drop_ratio(variance, n_classes=M, s_max=s_max, reading=reading)
        torch.testing.assert_close(got, expected)
        assert kept_at_most_sure(s_max, reading=reading) == kept


@settings(deadline=None)
@given(st.integers(2, 100), st.floats(0.01, 0.99))
def test_its_bounds_as_printed_and_mended(M, s_max):
    variance = torch.tensor([0.0, (M - 1) / M**2, 1 / M], dtype=torch.float64)
    mended = expected_drop_ratio(variance, n_classes=M, s_max=s_max).tolist()
    printed = expected_drop_ratio(variance, n_classes=M, s_max=s_max, reading="printed").tolist()
    assert mended[0] == printed[0] == 0
    assert mended == sorted(mended)
    assert mended[2] == pytest.approx(s_max)
    assert printed[2] == pytest.approx(1 - s_max)
    assert mended[1] == pytest.approx(1 - (1 - s_max) ** ((M - 1) / M))
    assert mended[1] < s_max


def test_the_erratum_is_the_one_of_the_register():
    as_printed = expected_drop_ratio(torch.tensor([0.1]), n_classes=10, s_max=0.2, reading="printed")
    assert float(as_printed) == pytest.approx(0.8)
    assert "0.8 for s_max=0.2" in erratum("E13").correct
    assert "(M-1)/M^2" in erratum("E14").correct


# ---- the regulariser


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_the_regulariser_is_bounded_and_0_only_at_the_share(N, L, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 2, (N, L), generator=generator).double()
    expected = torch.rand(N, generator=generator, dtype=torch.float64)
    loss = float(drop_ratio_loss(masks, expected))
    assert 0 <= loss <= float(torch.maximum(expected, 1 - expected).mean()) + 1e-12 <= 1 + 1e-12
    assert float(drop_ratio_loss(masks, 1 - masks.mean(1))) == pytest.approx(0, abs=1e-12)
    assert loss == pytest.approx(sum(abs(expected[n] - (1 - masks[n].mean())).item() for n in range(N)) / N)


def test_its_gradient_pushes_every_mask_towards_the_share():
    masks = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    drop_ratio_loss(masks, torch.tensor([0.5, 0.5])).backward()
    assert masks.grad.tolist() == [[0.125] * 4, [-0.125] * 4]  # 1 / (N L)


# ---- rounding


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.1, 50))
def test_the_forward_pass_rounds_and_the_backward_pass_is_finite(values, bandwidth):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    q = sinc_round(x, bandwidth=bandwidth)
    off = x != 0.5  # torch.round takes a half to the even neighbour, 0
    assert torch.equal(q[off], x.detach().round()[off])
    assert (q[~off] == 1).all()
    q.sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad.abs() <= bandwidth + 1e-12).all()


def test_the_pulse_is_a_sinc_of_area_1_around_the_step():
    x = torch.linspace(-40, 41, 200_001, dtype=torch.float64, requires_grad=True)
    sinc_round(x, bandwidth=2.0).sum().backward()
    assert torch.trapezoid(x.grad, x.detach()) == pytest.approx(1, abs=0.01)
    u = 0.3
    at = torch.tensor([0.5, 0.5 + u, 0.5 - u, 1.0], dtype=torch.float64, requires_grad=True)
    sinc_round(at, bandwidth=2.0).sum().backward()
    side = math.sin(2 * math.pi * u) / (math.pi * u)
    assert at.grad.tolist() == pytest.approx([2, side, side, 0], abs=1e-12)


def test_up_to_a_bandwidth_of_2_the_gradient_keeps_its_sign_on_the_unit_interval():
    for bandwidth, keeps in ((1.0, True), (2.0, True), (3.0, False)):
        x = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
        sinc_round(x, bandwidth=bandwidth).sum().backward()
        assert bool((x.grad >= -1e-12).all()) is keeps


# ---- the network


def masks_for(n, L, density, seed=0):
    return (torch.rand(n, L, generator=torch.Generator().manual_seed(seed)) < density).float()


@pytest.mark.parametrize("density", [0.0, 0.3, 0.7, 1.0])
def test_skipping_gives_the_scores_of_multiplying_by_the_mask(model, x, density):
    masks = masks_for(5, model.n_blocks, density)
    skipped = model.run(x, masks=masks).scores
    y = model.network.stem(x)
    for block, mask in zip(model.network.blocks, masks.T, strict=True):
        y = functional.relu(mask[:, None, None, None] * block.branch(y) + block.shortcut(y))
    torch.testing.assert_close(skipped, model.network.head(y), atol=1e-5, rtol=1e-5)


def test_with_every_block_it_is_the_residual_network(model, x):
    torch.testing.assert_close(model.run(x, masks=torch.ones(5, model.n_blocks)).scores, model.to_dense()(x))


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_a_dropped_block_is_not_executed_for_that_picture(model, x, density):
    masks, ran = masks_for(5, model.n_blocks, density), []
    copied = copy.deepcopy(model)
    for block in copied.network.blocks:
        block.conv1.register_forward_hook(lambda _module, inputs, _output: ran.append(len(inputs[0])))
    _, macs = macs_ran(lambda: copied.run(x, masks=masks))
    assert ran == [n for n in masks.sum(0).int().tolist() if n]
    whole = count(model.to_dense(), x[:1])
    branch = {row.name: row.macs for row in whole.rows if ".conv" in row.name}
    saved = sum(
        int((1 - masks[:, j]).sum()) * sum(m for name, m in branch.items() if name.startswith(f"blocks.{j}."))
        for j in range(model.n_blocks)
    )
    assert macs == 5 * whole.macs - saved


def test_each_picture_of_a_batch_gets_its_own_blocks(model, x):
    masks = masks_for(5, model.n_blocks, 0.5, seed=2)
    together = model.run(x, masks=masks)
    alone = torch.cat([model.run(x[i : i + 1], masks=masks[i : i + 1]).scores for i in range(5)])
    torch.testing.assert_close(together.scores, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.dropped, 1 - masks.mean(1))


def test_training_gives_gradients_to_all_three_networks(x):
    model = SGAD(SmallResNet(random_state=0), channels=8, n_classes=10, random_state=0).train()
    sgad_objective(s_max=0.5)(model, x, torch.arange(5)).backward()
    for part in (model.network, model.mask_net, model.guide):
        assert any(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())


def test_the_target_is_no_way_to_the_guidance_network(x):
    grads = []
    for weight in (0.0, 5.0):
        model = SGAD(SmallResNet(random_state=0), channels=8, n_classes=10, random_state=0).train()
        sgad_objective(s_max=0.5, weight=weight)(model, x, torch.arange(5)).backward()
        grads.append(model.guide[-1].weight.grad)
    assert torch.equal(*grads)


def test_a_strong_regulariser_brings_the_dropped_share_to_the_expected_one():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(64) % 2
    x = 0.1 * torch.randn(64, 1, 8, 8, generator=generator) + y[:, None, None, None]
    net = SmallResNet(n=1, channels=(2, 2, 2), n_classes=2, random_state=0)
    model = SGAD(net, channels=2, n_classes=2, random_state=0)
    before = float(model.eval().run(x).dropped.detach().mean())
    fit(model, (x, y), epochs=30, batch_size=32, learning_rate=0.02, objective=sgad_objective(s_max=0.6, weight=5.0),
        random_state=0, progress=False)  # fmt: skip
    after = float(model.eval().run(x).dropped.detach().mean())
    assert before == 0 < after < 0.9


def test_equal_seeds_give_equal_networks_and_the_state_makes_the_round_trip(x):
    first, again, other = (
        SGAD(SmallResNet(random_state=s), channels=8, n_classes=10, random_state=s).eval() for s in (1, 1, 2)
    )
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x), other(x))


def test_any_network_of_stem_blocks_and_head_will_do():
    big = ResNet(18, image_size=32, width=0.1, n_classes=5, random_state=0)
    parts = nn.Module()
    parts.stem = nn.Sequential(big.conv1, big.bn1, big.relu, big.maxpool)
    parts.blocks = nn.Sequential(*[block for s in range(1, 5) for block in big.get_submodule(f"layer{s}")])
    parts.head = nn.Sequential(big.avgpool, nn.Flatten(), big.fc)
    sgad = SGAD(parts, channels=6, n_classes=5, random_state=0).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(sgad.run(x, masks=torch.ones(2, 8)).scores, big.eval()(x))


# ---- the small residual network


@pytest.mark.parametrize(("n", "layers"), [(1, 8), (5, 32), (18, 110)])
def test_the_small_network_has_the_papers_layers(n, layers):
    with torch.device("meta"):
        net = SmallResNet(n=n, channels=(16, 32, 64), in_channels=3)
    convs = [m for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name]
    assert len(convs) + 1 == layers
    assert len(net.blocks) == 3 * n


# ---- bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: softmax_variance(torch.ones(2, 2).int()), TypeError, "floating-point tensor"),
        (lambda: softmax_variance(ONE[0]), ValueError, r"scores must be \(N, M\)"),
        (lambda: softmax_variance(torch.ones(2, 1)), ValueError, "M of at least 2"),
        (lambda: softmax_variance(torch.ones(0, 3)), ValueError, "scores must be"),
        (lambda: softmax_variance(ONE * float("nan")), ValueError, "scores must be finite"),
        (lambda: softmax_variance([[1.0, 2.0]]), TypeError, "scores must be Tensor"),
        (lambda: expected_drop_ratio(ONE * 0.6, n_classes=2, s_max=0.5), ValueError, "variance must lie between"),
        (lambda: expected_drop_ratio(-ONE, n_classes=2, s_max=0.5), ValueError, "variance must lie between"),
        (lambda: expected_drop_ratio(ONE * 0, n_classes=1, s_max=0.5), ValueError, "n_classes must be at least 2"),
        (lambda: expected_drop_ratio(ONE * 0, n_classes=2, s_max=1.0), ValueError, "s_max must be above 0 and below 1"),
        (lambda: expected_drop_ratio(ONE * 0, n_classes=2, s_max=0), ValueError, "s_max must be above 0 and below 1"),
        (lambda: expected_drop_ratio(ONE * 0, n_classes=2, s_max=0.5, reading="?"), ValueError, "reading must be one"),
        (lambda: expected_drop_ratio(torch.ones(0), n_classes=2, s_max=0.5), ValueError, "at least one number"),
        (lambda: drop_ratio_loss(ONE, torch.ones(2)), ValueError, r"masks must be \(N, L\)"),
        (lambda: drop_ratio_loss(2 * ONE, torch.ones(1)), ValueError, "masks must lie between 0 and 1"),
        (lambda: drop_ratio_loss(ONE, -torch.ones(1)), ValueError, "expected must lie between 0 and 1"),
        (lambda: drop_ratio_loss(ONE.int(), torch.ones(1)), TypeError, "masks must be a floating-point tensor"),
        (lambda: sinc_round(ONE.int()), TypeError, "x must be a floating-point tensor"),
        (lambda: sinc_round(ONE / 0), ValueError, "x must be finite"),
        (lambda: sinc_round(ONE, bandwidth=0), ValueError, "bandwidth must be above 0"),
        (lambda: SincRound(-1.0), ValueError, "bandwidth must be at least 0"),
        (lambda: guidance_net(0, 10), ValueError, "channels must be at least 1"),
        (lambda: guidance_net(4, 1), ValueError, "n_classes must be at least 2"),
        (lambda: mask_net(4, 0), ValueError, "n_blocks must be at least 1"),
        (lambda: mask_net(4, 2, hidden=1.5), TypeError, "hidden must be an integer"),
        (lambda: SGAD(nn.ReLU(), channels=8, n_classes=10), ValueError, "ReLU lacks"),
        (lambda: SGAD(3, channels=8, n_classes=10), TypeError, "network must be Module"),
        (lambda: SGAD(SmallResNet(), channels=8, n_classes=1), ValueError, "n_classes must be at least 2"),
        (lambda: SGAD(SmallResNet(), channels=8, n_classes=10, guide_hidden=0), ValueError, "guide_hidden must be"),
        (lambda: sgad_net(nn.ReLU()), TypeError, "network must be SmallResNet"),
        (lambda: sgad_net(SmallResNet())(torch.zeros(1, 3, 8, 8)), ValueError, r"x must be \(n, 1, H, W\)"),
        (lambda: sgad_net(SmallResNet()).run(torch.zeros(1, 8, 8)), ValueError, r"x must be \(n, 1, H, W\)"),
        (lambda: SmallResNet()(torch.zeros(1, 1, 8, 8).int()), TypeError, "x must be a floating-point tensor"),
        (lambda: SmallResNet()([[1.0]]), TypeError, "x must be Tensor"),
        (lambda: sgad_objective(s_max=2), ValueError, "s_max must be between 0 and 1"),
        (lambda: sgad_objective(s_max=0.5, weight=-1), ValueError, "weight must be at least 0"),
        (lambda: sgad_objective(s_max=0.5, guide_weight="1"), TypeError, "guide_weight must be a number"),
        (lambda: sgad_objective(s_max=0.5)(nn.ReLU(), ONE, ONE), TypeError, "model must be SGAD"),
        (lambda: SmallResNet(n=0), ValueError, "n must be at least 1"),
        (lambda: SmallResNet(channels=(8, 16)), ValueError, "channels must be three integers"),
        (lambda: SmallResNet(stride=0), ValueError, "stride must be at least 1"),
        (lambda: SmallResNet(in_channels=0), ValueError, "in_channels must be at least 1"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("masks", [torch.ones(5, 2), torch.full((5, 6), 0.5), torch.ones(4, 6)])
def test_masks_of_another_kind_are_refused(model, x, masks):
    with pytest.raises(ValueError, match=r"masks must be \(5, 6\) of zeros and ones"):
        model.run(x, masks=masks)


def test_a_network_without_whole_blocks_is_refused():
    net = SmallResNet()
    net.blocks = nn.ModuleList([nn.ReLU()])
    with pytest.raises(ValueError, match="blocks, each with branch and shortcut"):
        SGAD(net, channels=8, n_classes=10)
