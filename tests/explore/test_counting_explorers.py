"""The explorers and the figure of Chapter 4: what they show is what the library counts, and their twins agree."""

import json

import numpy as np
import pytest

from labkit.cost import Machine, count, layer_points, memory_access_bound, pointwise_point, share_by_type
from labkit.explore import figures
from labkit.explore.balls import label_sides
from labkit.explore.layer_cost import NETWORKS, SIZES, WIDTHS, layer_cost_explorer, network_layers
from labkit.explore.roofline import MACHINES, MEASURED, roofline_explorer
from labkit.explore.stills import still
from labkit.explore.trade_offs import imagenet_models
from labkit.nets import skeleton

TWINS = {"layer_cost.js": layer_cost_explorer, "roofline.js": roofline_explorer}


@pytest.mark.parametrize("module", list(TWINS))
def test_the_twin_on_the_page_shows_the_same(assert_twin, module):
    assert_twin(TWINS[module](), module, n=40, random_state=4, rtol=1e-9)


@pytest.mark.parametrize("network", list(NETWORKS))
@pytest.mark.parametrize(("size", "width"), [(0.625, 0.25), (1.0, 1.0), (1.375, 1.875)])
def test_layer_cost_is_what_count_counts(network, size, width):
    views = layer_cost_explorer().compute(network=network, size=size, width=width)
    side = network_layers(network, size).side
    cost = count(*skeleton(network, image_size=side, width=width))
    numbers = views["numbers"]
    assert (numbers["Parameters"], numbers["Multiply-adds"]) == (cost.n_params, cost.macs)
    assert sum(views["layers"].values()) == cost.n_params
    outputs = sum(row.n_outputs for row in cost.rows if row.kind in ("Conv2d", "Linear"))
    assert numbers["Activations, 32 bits"] == pytest.approx(4e-6 * outputs)
    shares = dict(zip(views["kinds"].categories, views["kinds"].values["linear layers"], strict=True))
    assert shares["Multiply-adds"] == pytest.approx(100 * share_by_type(cost, of="macs")["Linear"])
    assert numbers["Picture"] == f"{side} × {side}"


def test_areas_follow_the_switch():
    compute = layer_cost_explorer().compute
    for area, number in (("macs", "Multiply-adds"), ("parameters", "Parameters")):
        views = compute(network="resnet-50", area=area)
        assert sum(views["layers"].values()) == views["numbers"][number]
        assert len(views["layers"]) == 18  # 16 blocks, one convolution before and a classifier behind


def test_numbers_of_pixels_and_channels_stay_whole():
    assert all(network_layers(name).side * size == int(network_layers(name).side * size) for name in NETWORKS
               for size in SIZES)  # fmt: skip
    assert all(8 * width == int(8 * width) for width in WIDTHS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("vgg", 1.0), ValueError, "name must be one of"),
        (("vgg-16", 3.0), ValueError, "size must be between 0.625 and 2"),
        (("vgg-16", 0.7), ValueError, "size must be a multiple of 1/8, got 0.7"),
        (("vgg-16", "large"), TypeError, "size must be a number"),
        (("lenet-5", 1.0), TypeError, "width"),
    ],
)
def test_network_layers_refuses_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        network_layers(*arguments)


@pytest.mark.parametrize("machine", list(MACHINES))
def test_roofline_shows_the_library_s_point(machine):
    values = {"machine": machine, "c1": 128, "c2": 512, "side": 14, "batch": 8}
    views = roofline_explorer().compute(**values)
    point = pointwise_point(128, 512, MACHINES[machine], h=14, w=14, batch=8)
    numbers = views["numbers"]
    assert numbers["FLOP per byte"] == point.intensity
    assert numbers["GFLOP/s in reach"] == point.attainable / 1e9
    assert numbers["Limit"] == {"compute": "arithmetic", "memory": "memory"}[point.bound]
    assert numbers["Least time"] == pytest.approx(max(views["times"].values()))
    assert numbers["Multiply-adds"] == point.operations / 2


def test_roofline_of_a_linear_layer_and_of_equal_channels():
    compute = roofline_explorer().compute
    for machine in MACHINES:  # each weight is used once: half an operation per byte, whatever the layer
        numbers = compute(machine=machine, c1=4096, c2=4096, side=1, batch=1)["numbers"]
        assert (numbers["Limit"], numbers["FLOP per byte"]) == ("memory", pytest.approx(0.5, rel=1e-3))
    equal, unequal = (compute(c1=a, c2=b)["numbers"] for a, b in ((64, 64), (16, 256)))
    assert equal["Multiply-adds"] == unequal["Multiply-adds"]
    assert equal["Memory access, against its bound"] == pytest.approx(1)
    assert unequal["Memory access, against its bound"] > 1.5
    assert memory_access_bound(equal["Multiply-adds"], h=28, w=28) == equal["Numbers moved"] < unequal["Numbers moved"]


def test_roofline_takes_a_measured_machine():
    explorer = roofline_explorer(Machine(peak=1e9, bandwidth=1e9, name="toy"))
    assert explorer.compute(machine=MEASURED)["numbers"]["GFLOP/s in reach"] == 1
    explorer.check()
    limits = explorer.static.data(explorer.controls, explorer.frame)["data"]["machines"][MEASURED]
    assert limits.values.tolist() == [1e9, 1e9]
    with pytest.raises(ValueError, match="machine must be one of"):
        roofline_explorer().compute(machine=MEASURED)
    with pytest.raises(TypeError, match="measured must be Machine"):
        roofline_explorer(1e9)


def test_equal_work_can_differ_in_least_time_by_more_than_a_third():
    """The four layers that the chapter and the lab measure: exactly as many multiply-adds, not as many bytes."""
    seconds = []
    for side, c1, c2 in ((56, 128, 128), (14, 512, 512), (1, 7168, 7168)):
        point = pointwise_point(c1, c2, MACHINES["core"], h=side, w=side)
        assert point.operations == 2 * 7168**2
        seconds.append(point.seconds)
    assert max(seconds) / min(seconds) > 1.3


def test_larger_batches_help_linear_layers_most():
    cost = count(*skeleton("alexnet"))
    alone, many = (layer_points(cost, MACHINES["v100"], batch=n) for n in (1, 64))
    gains = {a.name: b.intensity / a.intensity for a, b in zip(alone, many, strict=True)}
    assert min(gains["fc1"], gains["fc2"], gains["fc3"]) > 20 > 2 > gains["conv1"]


# ---- the ball chart

WORDS = {"alt": "a", "caption": "c", "x_title": "x", "y_title": "y", "size_title": "s"}


def test_the_ball_chart_of_the_lectures_tables_shows_at_least_twelve_networks():
    models = imagenet_models()
    assert len({model.name for model in models}) == len(models) >= 12
    figure = figures.ball_chart(
        {model.name: model.ball for model in models}, groups={model.name: model.family for model in models}, **WORDS
    )
    drawn = [name for trace in figure.data for name in trace.text]
    assert sorted(drawn) == sorted(model.name for model in models)
    assert len(figure.data) == 3
    assert figure.layout.xaxis.type == "log"
    text = still(json.loads(figure.to_json()))
    assert all(name in text for name in drawn)


@pytest.mark.parametrize(
    ("name", "ball", "lines"),
    [
        ("VGG 16", (15300, 71.5, 138), "lecture 003:2201-2203"),
        ("SqueezeNet", (850, 57.5, 1.25), "lecture 003:2208-2210"),  # 1700 on the slide, erratum E35
        ("MobileNetV2 (1.4)", (585, 74.7, 6.9), "lecture 003:2585-2590"),
        ("V3-Small 1.0", (66, 67.4, 2.9), "lecture 003:2930-2938"),
        ("ResNet-50", (4000, 76.15, 25.5), "lecture 003:320-335;343-381"),  # 8G on the slide, two per multiply-add
    ],
)
def test_networks_are_those_of_the_tables(name, ball, lines):
    (model,) = (model for model in imagenet_models() if model.name == name)
    assert model.ball == pytest.approx(ball)
    assert model.lines == lines


@pytest.mark.parametrize(
    ("name", "printed"), [("alexnet", "AlexNet"), ("vgg-16", "VGG 16"), ("resnet-50", "ResNet-50")]
)
def test_networks_cost_what_we_count(name, printed):
    (model,) = (model for model in imagenet_models() if model.name == printed)
    cost = count(*skeleton(name))
    assert (cost.macs / 1e6, cost.n_params / 1e6) == (
        pytest.approx(model.macs, rel=0.03),
        pytest.approx(model.params, rel=0.02),
    )


def test_areas_of_balls_are_in_proportion_and_each_group_has_a_colour():
    figure = figures.ball_chart({"a": (1, 1, 4), "b": (10, 2, 1)}, groups={"a": "one", "b": "two"}, **WORDS)
    big, small = (trace.marker.size[0] for trace in figure.data)
    assert (big / small) ** 2 == pytest.approx(4)
    assert figure.data[0].marker.color != figure.data[1].marker.color


def test_names_of_balls_avoid_each_other():
    x, y = np.array([0.0, 0.02, 0.5, 1.0]), np.array([0.0, 0.0, 0.5, 1.0])
    sides = label_sides(x, y, np.full(4, 10.0), ["a long name", "another name", "c", "d"])
    assert sides[0] != sides[1]
    assert label_sides(np.zeros(1), np.zeros(1), np.ones(1), ["a"])[0] in ("top center", "bottom center")


@pytest.mark.parametrize(
    ("points", "changes", "error", "message"),
    [
        ({"a": (1, 2)}, {}, ValueError, "point 'a' must have 3 values"),
        ({"a": (0, 2, 3)}, {}, ValueError, "x must be above 0"),
        ({"a": (1, 2, 0)}, {}, ValueError, "size must be above 0"),
        ({"a": (1, 2, -1)}, {}, ValueError, "size must be"),
        ({"a": (1, float("nan"), 1)}, {}, ValueError, "point 'a'"),
        ({}, {}, ValueError, "points must hold at least one entry"),
        ({"a": (1, 2, 3)}, {"groups": {}}, ValueError, "groups must be one of"),
        ({"a": (1, 2, 3)}, {"size_title": ""}, ValueError, "size_title must not be empty"),
    ],
)
def test_ball_chart_refuses_bad_input(points, changes, error, message):
    with pytest.raises(error, match=message):
        figures.ball_chart(points, **(WORDS | changes))
