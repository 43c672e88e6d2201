"""The network families: their published counts, the lecture's tables, their shapes, and every wrong argument."""

import inspect
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from labkit.cost import count
from labkit.lectures import table
from labkit.nets import (
    ARCHITECTURES,
    VGG,
    AlexNet,
    AlexNetOneTower,
    GoogLeNet,
    LeNet5,
    LeNet300,
    Network,
    ResNet,
    Scale,
    SvhnNet,
    VggSmall,
    skeleton,
)

WEIGHTED = ("Conv2d", "Linear")
COUNTS = {  # parameters, multiply-adds of convolutions and linear layers
    "lenet-300-100": (266_610, 266_200),
    "lenet-5": (431_080, 2_293_000),
    "svhn": (861_354, 7_193_728),
    "vgg-small": (147_162, 7_413_248),
    "alexnet": (60_965_224, 724_406_816),
    "alexnet-one-tower": (61_100_840, 714_188_480),
    "vgg-11": (132_863_336, 7_609_090_048),
    "vgg-16": (138_357_544, 15_470_264_320),
    "vgg-19": (143_667_240, 19_632_062_464),
    "googlenet": (6_624_904, 1_498_376_192),
    "resnet-18": (11_689_512, 1_814_073_344),
    "resnet-34": (21_797_672, 3_663_761_408),
    "resnet-50": (25_557_032, 4_089_184_256),
    "resnet-101": (44_549_160, 7_801_405_440),
    "resnet-152": (60_192_808, 11_513_626_624),
}
SIZED = [name for name in ARCHITECTURES if "lenet-" not in name]
DOCUMENTED = {  # class -> architecture of its table, or None for a table with a row per depth
    LeNet300: None,
    LeNet5: None,
    SvhnNet: "svhn",
    VggSmall: "vgg-small",
    AlexNet: "alexnet",
    AlexNetOneTower: "alexnet-one-tower",
    VGG: "vgg-16",
    GoogLeNet: "googlenet",
}


def macs(cost):
    return sum(row.macs for row in cost.rows if row.kind in WEIGHTED)


def rows_by_name(cost):
    return {row.name: row for row in cost.rows}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_counts(name):
    cost = count(*skeleton(name))
    assert (cost.n_params, macs(cost)) == COUNTS[name]


def test_every_architecture_has_published_counts():
    assert set(COUNTS) == set(ARCHITECTURES)


# ---- the lecture's tables


def shape(text):
    return tuple(int(n) for n in re.findall(r"\d+", text))


def test_svhn_parameters_are_the_lectures_table():
    state = {key.replace(".weight", "_W").replace(".bias", "_b"): v for key, v in SvhnNet().state_dict().items()}
    rows = [row for row in table("svhn_model_params").rows if row["shape"]]
    assert [row["param_name"] for row in rows] == list(state)
    for row in rows:
        parameter = state[row["param_name"]]
        parameter = parameter.T if row["param_name"] in ("fc0_W", "fct_W") else parameter  # torch keeps (out, in)
        assert tuple(parameter.shape) == row["shape"]
        assert parameter.numel() == row["n_floats"]


def test_svhn_feature_maps_and_operations_are_the_lectures_table():
    cost = rows_by_name(count(*skeleton("svhn")))
    rows = table("svhn_model_ops").rows
    operations = {name: row.macs + row.biases * (row.kind == "Linear") for name, row in cost.items()}
    for row in rows[:-2]:  # the last two are the output, which is no layer, and the total
        name, space = row["layer_name"], row["ospace"]
        assert cost[name].shape == (space[:1] if name.startswith("fc") else space)
        assert math.prod(cost[name].shape) == row["osize"]
        assert operations[name] == row["ops"]
    assert sum(operations.values()) == rows[-1]["ops"] == 7_194_250


def test_svhn_input_is_divided_by_255():
    net, x = SvhnNet(random_state=0), torch.randint(0, 256, (2, 3, 40, 40)).float()
    assert net.tinp.k == pytest.approx(0.00392156862745, abs=1e-13)
    h = functional.max_pool2d(functional.relu(functional.conv2d(x / 255, net.conv0.weight, net.conv0.bias)), 2)
    h = functional.relu(net.conv1(h))
    h = functional.max_pool2d(functional.relu(net.conv2(h)), 2)
    h = functional.relu(net.fc0(functional.relu(net.conv3(h)).flatten(1)))
    torch.testing.assert_close(net(x), net.fct(h), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("groups", "wrong"), [(2, "params"), (1, "macs")])
def test_alexnet_conv4_of_the_slide_is_half_grouped(groups, wrong):
    """The slide's 1.3M weights are those of the joined layer, its 112M multiply-adds those of the grouped one."""
    conv4 = rows_by_name(count(*skeleton("alexnet", groups=groups)))["conv4"]
    ours = {"params": conv4.n_params - 384, "macs": conv4.macs}  # without the biases
    assert ours == {2: {"params": 663_552, "macs": 112_140_288}, 1: {"params": 1_327_104, "macs": 224_280_576}}[groups]
    (slide,) = (row for row in table("alexnet_layers").rows if row["macs"] == 112e6)
    for column, value in ours.items():
        assert (value == pytest.approx(slide[column], rel=0.03)) == (column != wrong)


def test_alexnet_counts_are_those_of_the_slide():
    cost = rows_by_name(count(*skeleton("alexnet")))
    slide = [row for row in table("alexnet_layers").rows if row["macs"] > 0][::-1]
    names = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3"]
    for name, row in zip(names, slide, strict=True):
        assert cost[name].macs == pytest.approx(row["macs"], rel=0.05)  # 16.8 is cut to 16
        assert name == "conv4" or cost[name].n_params == pytest.approx(row["params"], rel=0.05)


def test_original_forms_are_those_of_the_papers():
    googlenet = count(*skeleton("googlenet", original=True))
    assert googlenet.n_params == 6_998_552
    assert macs(googlenet) == 1_582_671_872
    for depth, billions in ((18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)):
        original, common = (count(*skeleton(f"resnet-{depth}", original=form)) for form in (True, False))
        assert original.n_params == common.n_params
        assert macs(original) == pytest.approx(billions * 1e9, rel=0.02)
        assert (macs(original) < macs(common)) == (depth >= 50)


# ---- the tables in the docstrings


def table_rows(text):
    """Yield the cells of the rows of a docstring's table, whatever its columns are called."""
    lines = [line.strip() for line in inspect.cleandoc(text).splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def number(text):
    return int(text.replace(",", "")) if text else 0


@pytest.mark.parametrize("net", [net for net in DOCUMENTED if issubclass(net, Network)])
def test_tables_in_the_docstrings_add_up_to_the_counts(net):
    *rows, last = table_rows(net.__doc__)
    assert next(iter(last.values())) == "all"
    cost = count(*skeleton(DOCUMENTED[net]))
    operations = next(head for head in last if head in ("multiply-adds", "operations"))
    expected = macs(cost) if operations == "multiply-adds" else 7_194_250
    assert (number(last["parameters"]), number(last[operations])) == (cost.n_params, expected)
    for column in ("parameters", operations):
        assert sum(number(row[column]) for row in rows) == number(last[column])


@pytest.mark.parametrize("net", DOCUMENTED)
def test_rows_of_the_docstrings_are_the_layers(net):
    cost = rows_by_name(count(net(), torch.zeros(1, *net().input_shape))) if net in (LeNet300, LeNet5) else None
    cost = cost or rows_by_name(count(*skeleton(DOCUMENTED[net])))
    for row in table_rows(net.__doc__)[:-1]:
        name = next(iter(row.values()))
        if name in cost:
            assert number(row["parameters"]) == cost[name].n_params
            assert "output" not in row or shape(row["output"]) == cost[name].shape


def test_table_of_the_resnets():
    for row in table_rows(ResNet.__doc__):
        depth = int(row["depth"])
        common, original = (macs(count(*skeleton(f"resnet-{depth}", original=form))) for form in (False, True))
        assert COUNTS[f"resnet-{depth}"] == (number(row["parameters"]), number(row["multiply-adds"]))
        assert (common, original) == (number(row["multiply-adds"]), number(row["with `original=True`"]))


# ---- options


@pytest.mark.parametrize("name", SIZED)
def test_options_give_the_output_they_promise(name):
    model, x = skeleton(name, image_size=96, width=0.25, n_classes=7)
    assert model(x).shape == (1, 7)
    assert x.shape == (1, *model.input_shape)
    assert model.input_shape[1:] == (96, 96)


@pytest.mark.parametrize("name", SIZED)
def test_width_scales_parameters_nearly_quadratically(name):
    full, half = (sum(p.numel() for p in skeleton(name, width=width)[0].parameters()) for width in (1.0, 0.5))
    assert 0.24 < half / full < 0.36


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("image_size", [63, 64, 100, 225])
def test_any_image_size_from_the_smallest_runs(name, image_size):
    model, x = skeleton(name, image_size=image_size, width=0.1)
    assert model(x).shape == (1, model.n_classes)


@pytest.mark.parametrize(
    ("name", "smallest"), [("svhn", 24), ("alexnet", 63), ("vgg-16", 32), ("googlenet", 32), ("resnet-50", 32)]
)
def test_smallest_image(name, smallest):
    model, x = skeleton(name, image_size=smallest)
    assert model(x).shape[0] == 1
    with pytest.raises(ValueError, match=f"image_size must be at least {smallest}, got {smallest - 1}"):
        skeleton(name, image_size=smallest - 1)


@pytest.mark.parametrize("net", [SvhnNet, VggSmall])
def test_seed_decides_the_weights(net):
    first, same, other = (net(random_state=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("net", [AlexNet, AlexNetOneTower, GoogLeNet, ResNet, VGG])
def test_large_networks_compute_the_same_with_the_same_seed(net):
    side = 63 if "AlexNet" in net.__name__ else 32
    make, x = (
        (lambda: net(random_state=3, width=0.1, image_size=side, n_classes=5).eval()),
        torch.rand(2, 3, side, side),
    )
    y = make()(x)
    assert y.shape == (2, 5)
    assert torch.equal(y, make()(x))
    assert torch.isfinite(y).all()


def test_batch_norm_takes_the_place_of_biases():
    with_norm, without = VggSmall(), VggSmall(batch_norm=False)
    kinds = {type(module) for module in without.modules()}
    assert nn.BatchNorm2d not in kinds
    convolutions = [m for m in with_norm.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.bias is None for conv in convolutions)
    assert sum(p.numel() for p in without.parameters()) == 146_938


def test_small_vgg_can_learn():
    net, x = VggSmall(random_state=0), torch.rand(8, 1, 28, 28)
    functional.cross_entropy(net(x), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_grouped_alexnet_is_two_towers():
    """A change of the first half of conv4's input leaves the second half of its output alone."""
    net, x = AlexNet(width=0.1, image_size=63, random_state=0), torch.rand(1, 38, 3, 3)
    changed = x.clone()
    changed[:, :19] += 1
    difference = (net.conv4(changed) - net.conv4(x)).abs().amax(dim=(0, 2, 3))
    assert difference[:19].min() > 0
    assert difference[19:].max() == 0


def test_residual_block_adds_its_input():
    block = ResNet(18, width=0.1, random_state=0).eval().get_submodule("layer1.0")
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(block(x), functional.relu(x))


def test_skeleton_has_no_weights():
    model, x = skeleton("vgg-16")
    assert {p.device.type for p in model.parameters()} == {x.device.type} == {"meta"}
    assert not model.training
    assert torch.empty(1).device.type == "cpu"


# ---- bad input


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"image_size": 7}, ValueError),
        ({"image_size": 224.0}, TypeError),
        ({"width": 0}, ValueError),
        ({"width": float("nan")}, ValueError),
        ({"width": "1"}, TypeError),
        ({"n_classes": 0}, ValueError),
        ({"n_classes": True}, TypeError),
        ({"random_state": -1}, ValueError),
    ],
)
def test_bad_options_are_named(name, options, error):
    (option,) = options
    with pytest.raises(error, match=f"{option} must be"):
        skeleton(name, **options)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: AlexNet(groups=3), "groups must be between 1 and 2, got 3"),
        (lambda: VGG(17), r"depth must be one of \[11, 13, 16, 19\], got 17"),
        (lambda: ResNet(20), r"depth must be one of \[18, 34, 50, 101, 152\], got 20"),
        (lambda: skeleton("resnet"), "name must be one of"),
    ],
)
def test_bad_forms_are_named(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: AlexNet(groups=1.0), "groups must be an integer"),
        (lambda: VGG(16.0), "depth must be an integer"),
        (lambda: ResNet("50"), "depth must be an integer"),
        (lambda: ResNet(18, original=1), "original must be bool"),
        (lambda: GoogLeNet(original="yes"), "original must be bool"),
        (lambda: VggSmall(batch_norm=0), "batch_norm must be bool"),
        (lambda: Scale(k="1"), "k must be a number"),
        (lambda: AlexNetOneTower(groups=2), "groups"),
        (lambda: SvhnNet(image_width=3), "image_width"),
    ],
)
def test_bad_types_are_named(build, words):
    with pytest.raises(TypeError, match=words):
        build()


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 2, 224, 224), (1, 3, 20, 20), (1, 3, 224, 20), (1, 4, 28, 28)])
def test_input_of_the_wrong_shape_is_named(name, shape):
    model, _ = skeleton(name)
    with pytest.raises(ValueError, match=r"x must be \(n, \d.*got \("):
        model(torch.empty(shape, device="meta"))


def test_input_of_the_wrong_type_is_named():
    with pytest.raises(TypeError, match="x must be Tensor, got ndarray"):
        SvhnNet()(torch.zeros(1, 3, 40, 40).numpy())
