"""Network slimming: the penalty, the choice of channels, and the smaller network against the masked one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.cost import count
from labkit.dynamic import FBSConv2d, set_execution
from labkit.nets import CifarNet
from labkit.pruning import SlimmingRecipe, mask_channels, rebuild, scale_penalty, select_channels, slim
from labkit.pruning.slimming import batch_norms
from labkit.training import fit

WIDTHS = (4, 6, 5, 4, 6, 8, 4, 6)


def model(seed=0, widths=WIDTHS, image_size=8):
    """A network whose batch norms have scales, shifts and statistics of all kinds."""
    made = CifarNet(widths=widths, image_size=image_size, random_state=seed)
    generator = torch.Generator().manual_seed(seed)
    for norm in batch_norms(made).values():
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
    return made.eval()


def slimmed(made, recipe):
    return slim(made, recipe, chain=made.chain, last="fc", build=made.like)


def pictures(n=3, side=8):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 99), st.floats(0, 0.95), st.integers(1, 3))
def test_the_slimmed_network_is_the_masked_one(seed, sparsity, min_channels):
    made = model(seed)
    recipe = select_channels(made, sparsity=sparsity, min_channels=min_channels)
    small, x = slimmed(made, recipe), pictures()
    assert torch.allclose(small(x), mask_channels(made, recipe)(x), atol=1e-4)
    assert small.widths == recipe.widths
    assert not small.training


def test_nothing_removed_changes_nothing():
    made = model()
    small = slimmed(made, select_channels(made, sparsity=0))
    assert torch.equal(small(pictures()), made(pictures()))


@settings(deadline=None)
@given(st.floats(0, 0.999), st.integers(0, 9))
def test_the_share_of_channels(sparsity, seed):
    made = model(seed)
    recipe = select_channels(made, sparsity=sparsity)
    total, kept = sum(WIDTHS), sum(recipe.widths)
    wanted = total - math.floor(sparsity * total + 1e-9)
    assert wanted <= kept <= wanted + len(WIDTHS) - 1  # every layer keeps at least one
    scales = {name: norm.weight.detach().abs() for name, norm in batch_norms(made).items()}
    if kept == wanted:
        small = [scales[n][i] for n in scales for i in range(len(scales[n])) if i not in recipe.kept[n]]
        assert not small or max(small) <= min(scales[n][i] for n in scales for i in recipe.kept[n])


def test_every_layer_keeps_its_best():
    made = model()
    batch_norms(made)["blocks.2.norm"].weight.data.mul_(1e-6)
    recipe = select_channels(made, sparsity=0.5, min_channels=2)
    best = batch_norms(made)["blocks.2.norm"].weight.detach().abs().argsort(descending=True)[:2]
    assert recipe.kept["blocks.2.norm"] == tuple(sorted(best.tolist()))


def test_a_head_that_sees_places():
    def build(widths):
        (c,) = widths
        return nn.Sequential(nn.Conv2d(1, c, 3), nn.BatchNorm2d(c), nn.ReLU(), nn.Flatten(), nn.Linear(c * 36, 3))

    made = build((5,)).eval()
    recipe = SlimmingRecipe({"1": (0, 2, 3)})
    small = slim(made, recipe, chain=[("0", "1")], last="4", build=build)
    masked = mask_channels(made, recipe)
    assert torch.allclose(small(pictures()), masked(pictures()), atol=1e-5)


def test_a_network_comes_back_from_its_recipe():
    made = model()
    recipe = select_channels(made, sparsity=0.4)
    small = slimmed(made, recipe)
    again = rebuild(SlimmingRecipe.from_json(recipe.to_json()), small.state_dict(), build=made.like).eval()
    assert torch.equal(again(pictures()), small(pictures()))


def test_the_penalty():
    made, regularizer = model(), scale_penalty(0.25)
    expected = 0.25 * sum(norm.weight.detach().abs().sum().item() for norm in batch_norms(made).values())
    assert regularizer(made).item() == pytest.approx(expected, rel=1e-5)
    regularizer(made).backward()
    norm = batch_norms(made)["blocks.0.norm"]
    assert torch.equal(norm.weight.grad, 0.25 * norm.weight.detach().sign())
    assert norm.bias.grad is None


def test_training_with_it_shrinks_scales():
    x, y = pictures(64), torch.arange(64) % 2
    sizes = []
    for weight in (0.0, 0.2):
        made = CifarNet(widths=(4,) * 8, image_size=8, random_state=0)
        fit(
            made,
            (x, y),
            epochs=4,
            batch_size=16,
            learning_rate=1e-2,
            regularizer=scale_penalty(weight),
            random_state=0,
            progress=False,
        )
        sizes.append(scale_penalty(1.0)(made).item())
    assert sizes[1] < 0.95 * sizes[0]


def test_slimming_and_fbs_multiply():
    """What both save together is the product of what each saves, within five percent."""
    x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    made = CifarNet(widths=(32,) * 8, image_size=16, random_state=0).eval()
    for norm in batch_norms(made).values():
        norm.bias.data.fill_(3)  # no channel is zero by itself
    whole = count(made, x).macs
    recipe = SlimmingRecipe({norm: tuple(range(0, 32, 2)) for _, norm in made.chain})  # half of each layer

    def savings(network):
        options = {"density": 0.5, "spread": 0.1, "random_state": 0}  # all saliencies stay above 0
        fbs = network.replaced(lambda conv, norm: FBSConv2d.from_conv(conv, norm, **options)).eval()
        set_execution(fbs, "image")
        predictors = sum(block.predictor.weight.numel() for block in fbs.blocks)
        return whole / (count(fbs, x).macs - predictors)

    small = slimmed(made, recipe)
    assert savings(small) == pytest.approx(savings(made) * whole / count(small, x).macs, rel=0.05)


# --- bad input ----------------------------------------------------------------------------------------------------


def infinite():
    made = model()
    made.blocks[0].norm.weight.data[0] = math.nan
    return made


RECIPE = SlimmingRecipe({"blocks.0.norm": (0, 1)})
BAD = [
    (lambda: scale_penalty(-1), ValueError, "weight must be at least 0"),
    (lambda: scale_penalty(1.0)(nn.Linear(2, 2)), ValueError, "model must have batch norms"),
    (lambda: select_channels(model(), sparsity=1.0), ValueError, "sparsity must be below 1"),
    (lambda: select_channels(model(), sparsity=-0.1), ValueError, "sparsity must be at least 0"),
    (lambda: select_channels(model(), sparsity="0"), TypeError, "sparsity must be a number"),
    (lambda: select_channels(model(), sparsity=0.1, min_channels=0), ValueError, "min_channels must be at least 1"),
    (lambda: select_channels(infinite(), sparsity=0.1), ValueError, "finite scales"),
    (lambda: select_channels([], sparsity=0.1), TypeError, "model must be Module"),
    (lambda: SlimmingRecipe({}), ValueError, "at least one batch norm"),
    (lambda: SlimmingRecipe([1]), TypeError, "kept must be Mapping"),
    (lambda: SlimmingRecipe({"a": ()}), ValueError, "at least one, got"),
    (lambda: SlimmingRecipe({"a": (1, 0)}), ValueError, "rising order"),
    (lambda: SlimmingRecipe({"a": (0.5,)}), TypeError, "must be an integer"),
    (lambda: SlimmingRecipe({"a": 3}), TypeError, r"kept\['a'\] must be Sequence, got int"),
    (lambda: SlimmingRecipe({1: (0,)}), TypeError, "kept must be str, got int"),
    (lambda: SlimmingRecipe.from_json("[1]"), ValueError, "text must be a recipe"),
    (lambda: SlimmingRecipe.from_json("no"), ValueError, "text must be a recipe"),
    (lambda: mask_channels(model(), SlimmingRecipe({"norm": (0,)})), ValueError, "must name batch norms"),
    (lambda: mask_channels(model(), SlimmingRecipe({"blocks.0.norm": (4,)})), ValueError, "channels below 4, got 4"),
    (lambda: mask_channels(model(), {}), TypeError, "recipe must be SlimmingRecipe"),
    (lambda: slimmed(model(), RECIPE), ValueError, "chain must hold the batch norms"),
    (lambda: rebuild({}, {}, build=model().like), TypeError, "recipe must be SlimmingRecipe"),
    (lambda: rebuild(RECIPE, None, build=model().like), TypeError, "state must be Mapping"),
    (lambda: rebuild(RECIPE, {}, build=None), TypeError, "build must be a function"),
    (lambda: rebuild(RECIPE, {}, build=str), TypeError, r"build\(widths\) must be Module, got str"),
    (lambda: rebuild(RECIPE, {}, build=lambda w: nn.BatchNorm2d(*w)), ValueError, "state must fit a network"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_names_that_are_not_there():
    made = model()
    recipe = select_channels(made, sparsity=0.3)
    with pytest.raises(ValueError, match=r"last must be the name of a linear layer behind .* channels, got 'head'"):
        slim(made, recipe, chain=made.chain, last="head", build=made.like)
    with pytest.raises(ValueError, match="chain must hold names of convolutions, got 'conv'"):
        slim(made, recipe, chain=[("conv", norm) for _, norm in made.chain], last="fc", build=made.like)


def test_other_kinds_of_chains_and_heads():
    made = model()
    recipe = select_channels(made, sparsity=0.3)
    for chain, error, message in (
        (None, TypeError, "chain must be Iterable"),
        (["blocks.0.conv"], TypeError, "chain must hold pairs of names"),
        (made.chain[:3], ValueError, "chain must hold the batch norms"),
    ):
        with pytest.raises(error, match=message):
            slim(made, recipe, chain=chain, last="fc", build=made.like)
    with pytest.raises(ValueError, match=r"last must be the name of a linear layer behind \d+ channels, got 'blocks"):
        slim(made, recipe, chain=made.chain, last="blocks.0.conv", build=made.like)
    grouped = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="convolutions of one group, got '0' with 2"):
        slim(grouped, SlimmingRecipe({"1": (0,)}), chain=[("0", "1")], last="3", build=nn.Linear)
