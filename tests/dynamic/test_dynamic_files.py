"""Dynamic layers and slimmed networks survive a file: the same outputs, choices and multiply-adds afterwards."""

import copy
import json
import math

import pytest
import torch
from safetensors import safe_open
from torch import nn

from labkit.compress import MODULES, load_compressed, load_recipe, save_compressed
from labkit.dynamic import LCCL, ChannelGate, FBSConv2d, RuntimePruning, SBConv2d, macs_ran, set_execution
from labkit.nets import CifarNet
from labkit.pruning import select_channels, slim

WIDTHS = (4, 4, 6, 6, 6, 8, 8, 8)
MAKERS = {
    "FBSConv2d": lambda conv, norm: FBSConv2d.from_conv(conv, norm, density=0.5, spread=0.3, random_state=0),
    "unboosted": lambda conv, norm: FBSConv2d.from_conv(conv, norm, density=0.3, boosting=False, random_state=0),
    "ChannelGate": lambda conv, norm: ChannelGate.from_conv(conv, norm, base=1, threshold=0.2, target=2, steepness=3),
    "LCCL": lambda conv, norm: LCCL.from_conv(conv, norm, random_state=0),
}
EACH = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def trained(model):
    """Give every parameter and statistic a value of its own, with a batch norm that is not torch's default."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.05
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.02, 0.05)  # small, so that signals last through eight layers
                nn.init.uniform_(module.weight, 0.5, 1)
                nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def pictures(n=3):
    return torch.randn(n, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def plain_norms(model):
    """Use torch's settings of batch norms: a plain network is rebuilt by its own class, which has these."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-5, 0.1
    return model


def dynamic_net(make, widths=WIDTHS):
    model = trained(CifarNet(widths=widths, image_size=12, random_state=0)).replaced(make, first=1).eval()
    plain_norms(model.blocks[0])
    return model


@EACH
def test_a_network_of_dynamic_layers_comes_back(make, tmp_path):
    model, skeleton = dynamic_net(make), CifarNet(widths=WIDTHS, image_size=12, random_state=9)
    save_compressed(model, tmp_path / "net.safetensors")
    state = copy.deepcopy(skeleton.state_dict())
    again = load_compressed(tmp_path / "net.safetensors", model=skeleton)
    assert not again.training
    assert [type(block) for block in again.blocks] == [type(block) for block in model.blocks]
    y = again(pictures())
    assert torch.equal(y, model(pictures()))
    assert (y - y[0]).abs().max() > 1e-3  # the pictures reach the end
    assert {key: value.dtype for key, value in again.state_dict().items()} == {
        key: value.dtype for key, value in model.state_dict().items()
    }
    assert all(torch.equal(value, state[key]) for key, value in skeleton.state_dict().items())


@EACH
def test_it_computes_as_little_and_trains_on(make, tmp_path):
    model = dynamic_net(make)
    save_compressed(model, tmp_path / "net.safetensors")
    again = load_compressed(tmp_path / "net.safetensors", model=CifarNet(widths=WIDTHS, image_size=12))
    for net in (model, again):
        set_execution(net, type(net.blocks[1]).EXECUTIONS[-1])
    (found, macs), (expected, before) = macs_ran(again, pictures()), macs_ran(model, pictures())
    assert torch.allclose(found, expected, atol=1e-5)
    assert macs == before
    again.train()(pictures()).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in again.parameters() if parameter.grad is not None)


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_number_types_stay(make, dtype, tmp_path):
    model = nn.Sequential(make(nn.Conv2d(3, 4, 3, padding=1), None)).to(dtype)
    save_compressed(model, tmp_path / "net.safetensors")
    again = load_compressed(tmp_path / "net.safetensors", model=nn.Sequential(nn.Identity()))
    pairs = zip(model.state_dict().items(), again.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) and x.dtype == y.dtype for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    "layer",
    [
        FBSConv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(2, 1), density=0.4, boosting=False),
        FBSConv2d(4, 6, 3, norm={"eps": 0.1, "momentum": None}),
        ChannelGate(4, 6, (1, 3), base=3, stride=2, padding=(0, 1), threshold=-2.5, target=-1, steepness=9),
        LCCL(4, 6, 5, stride=2, norm={"eps": 0.01}),
        SBConv2d(nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=False), block_size=(3, 4)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_config_builds_the_like_also_after_json(layer):
    kind, config = type(layer), json.loads(json.dumps(layer.config()))
    assert MODULES[kind.__name__] is kind
    again = getattr(kind, "from_config", kind)(**config)
    again.load_state_dict(layer.state_dict(), strict=True)
    assert again.config() == layer.config()
    assert repr(again) == repr(layer)
    x = torch.randn(2, 4, 11, 13)
    extra = (torch.rand(2, *layer.tiling.window.output((11, 13))) < 0.2,) if kind is SBConv2d else ()
    assert torch.equal(again.eval()(x, *extra), layer.eval()(x, *extra))


def test_a_convolution_by_blocks_inside_a_network(tmp_path):
    class Road(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x, mask):
            return self.conv(x, mask)

    model = Road(SBConv2d(nn.Conv2d(2, 3, 3, padding=1), block_size=(2, 4)))
    save_compressed(model, tmp_path / "road.safetensors")
    again = load_compressed(tmp_path / "road.safetensors", model=Road(nn.Conv2d(2, 3, 3, padding=1)))
    x, mask = torch.randn(2, 2, 8, 8), torch.rand(2, 8, 8) < 0.1
    assert torch.equal(again(x, mask), model(x, mask))
    assert again.conv.macs(mask) == model.conv.macs(mask)


def test_an_agent_comes_back_into_a_network_of_its_kind(tmp_path):
    def agent(seed):
        layers = [(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), (nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))]
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        return RuntimePruning(layers, head, random_state=seed).eval()

    model = agent(1)
    save_compressed(model, tmp_path / "agent.safetensors")
    again = load_compressed(tmp_path / "agent.safetensors", model=agent(2))
    assert torch.equal(again(pictures()), model(pictures()))
    assert torch.equal(again.actions, model.actions)


def test_a_threshold_of_minus_infinity_is_refused_by_name(tmp_path):
    model = nn.Sequential(ChannelGate(2, 3, 3, base=1, threshold=-math.inf))
    with pytest.raises(ValueError, match=r"0\.threshold must be finite"):
        save_compressed(model, tmp_path / "gate.safetensors")
    save_compressed(nn.Sequential(model[0].to_dense()), tmp_path / "gate.safetensors")


# ---- slimmed networks


def slimmed(sparsity=0.4):
    dense = trained(CifarNet(widths=WIDTHS, image_size=12, random_state=0))
    recipe = select_channels(dense, sparsity=sparsity)
    return slim(dense, recipe, chain=dense.chain, last="fc", build=dense.like), recipe


def test_a_slimmed_network_comes_back_with_its_recipe(tmp_path):
    small, recipe = slimmed()
    save_compressed(plain_norms(small), tmp_path / "slim.safetensors", recipe=recipe)
    again = load_compressed(tmp_path / "slim.safetensors", model=CifarNet(image_size=12))
    assert again.widths == recipe.widths
    assert torch.equal(again(pictures()), small(pictures()))
    assert load_recipe(tmp_path / "slim.safetensors") == recipe


@EACH
def test_a_slimmed_network_with_dynamic_layers_comes_back(make, tmp_path):
    small, recipe = slimmed()
    model = plain_norms(small).replaced(make, first=1)
    save_compressed(model, tmp_path / "both.safetensors", recipe=recipe)
    again = load_compressed(tmp_path / "both.safetensors", model=CifarNet(image_size=12))
    assert torch.equal(again(pictures()), model.eval()(pictures()))


def test_a_network_that_was_not_slimmed_has_no_recipe(tmp_path):
    model = nn.Sequential(LCCL(2, 3, 3))
    save_compressed(model, tmp_path / "lccl.safetensors")
    assert load_recipe(tmp_path / "lccl.safetensors") is None


def test_what_does_not_fit_is_refused(tmp_path):
    small, recipe = slimmed()
    path = tmp_path / "slim.safetensors"
    with pytest.raises(TypeError, match="recipe must be SlimmingRecipe, got dict"):
        save_compressed(small, path, recipe={})
    save_compressed(small, path, recipe=recipe)
    with pytest.raises(ValueError, match=r"does not hold a compressed network that fits: .*like"):
        load_compressed(path, model=nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="model must be given"):
        load_compressed(path)
    with pytest.raises(FileNotFoundError):
        load_recipe(tmp_path / "none.safetensors")


def test_the_header_names_layers_and_recipe(tmp_path):
    small, recipe = slimmed()
    save_compressed(small.replaced(MAKERS["LCCL"], first=7), tmp_path / "net.safetensors", recipe=recipe)
    with safe_open(tmp_path / "net.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["labkit"])
    assert header["recipe"] == recipe.to_json()
    assert {name: module["kind"] for name, module in header["modules"].items()} == {"blocks.7": "LCCL"}
