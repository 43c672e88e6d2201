"""Every scheme of chapters 6 and 7 in a plan for LeNet-5: exact at full rank, counted right, back from a file."""

import numpy as np
import pytest
import torch

from labkit.compress import compress, load_compressed, save_compressed
from labkit.datasets import mnist
from labkit.decomposition import (
    SCHEMES,
    ConvScheme,
    Cut,
    KConvScheme,
    KroneckerScheme,
    SeparableScheme,
    SharedGroupScheme,
)
from labkit.nets import VggSmall
from labkit.training import evaluate

CONV2, FC1 = (50, 20, 5, 5), (500, 800)
LEFT, RIGHT = (25, 4, 5, 1), (20, 25)
FULL = {
    **{scheme: {"conv2": ConvScheme(scheme, rank=Cut(CONV2, scheme).full_rank)} for scheme in SCHEMES},
    "separable": {"conv2": SeparableScheme(rank=100)},
    "kconv": {"conv2": KConvScheme(LEFT, rank=50)},
    "kronecker": {"fc1": KroneckerScheme(RIGHT, rank=500)},
}
SMALL = {
    **{scheme: {"conv2": ConvScheme(scheme, rank=4)} for scheme in SCHEMES},
    "first layer": {"conv1": ConvScheme("hx1_1xw", tol=0.3), "conv2": ConvScheme("dac", tol=0.3)},
    "separable": {"conv2": SeparableScheme(rank=20)},
    "kconv": {"conv2": KConvScheme(LEFT, rank=2)},
    "kronecker": {"fc1": KroneckerScheme(RIGHT, rank=9)},
    "shared": {"conv2": SharedGroupScheme(groups=10)},
    "all": {
        "conv1": ConvScheme("hx1_1xw", rank=3),
        "conv2": KConvScheme(LEFT, rank=2),
        "fc1": KroneckerScheme(RIGHT, rank=9),
    },
}


@pytest.mark.parametrize("name", FULL)
def test_full_rank_is_the_network_itself(name, lenet, x):
    small, _ = compress(lenet, FULL[name], example_inputs=x)
    torch.testing.assert_close(small(x), lenet(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_the_report_counts_what_is_there(name, lenet, x):
    small, report = compress(lenet, SMALL[name], example_inputs=x[:1])
    assert report.after.cost.n_params == sum(p.numel() for p in small.parameters()) < report.before.cost.n_params
    assert report.after.cost.uncounted == ()
    assert report.macs_ratio > 1
    assert report.bytes_ratio > 1
    assert [layer for layer, _ in report.layers] == list(SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_the_file_comes_back_exactly(name, lenet, x, tmp_path):
    small, _ = compress(lenet, SMALL[name], example_inputs=x[:1])
    save_compressed(small, tmp_path / "small.safetensors")
    back = load_compressed(tmp_path / "small.safetensors")
    assert torch.equal(back(x), small(x))
    assert [type(m) for m in back.modules()] == [type(m) for m in small.modules()]


def test_multiply_adds_of_the_second_layer_by_hand(lenet, x):
    """conv2 sees 12 x 12 pixels and makes 8 x 8; what runs before the window shrinks sees the larger picture."""
    pixels = {"hw_1x1": (64, 64), "1x1_hw": (144, 64), "hx1_1xw": (96, 64), "dac": (64, 64)}
    rest = compress(lenet, SMALL["dac"], example_inputs=x[:1])[1].before.cost.macs - 64 * int(np.prod(CONV2))
    for scheme, (first, second) in pixels.items():
        cut = Cut(CONV2, scheme)
        macs = cut.n_matrices * 4 * (first * cut.rows + second * cut.columns)
        assert compress(lenet, SMALL[scheme], example_inputs=x[:1])[1].after.cost.macs == rest + macs


def test_a_kronecker_layer_can_have_fewer_parameters_and_more_multiply_adds(lenet, x):
    """fc1 at rank 20: 20 (25 x 32 + 20 x 25) weights, but 20 x 32 x 20 x (25 + 25) multiply-adds; dense has 400,000."""
    report = compress(lenet, {"fc1": KroneckerScheme(RIGHT, rank=20)}, example_inputs=x[:1])[1]
    assert report.before.cost.n_params - report.after.cost.n_params == 400_000 - 26_000
    assert report.after.cost.macs - report.before.cost.macs == 640_000 - 400_000


def test_dac_loses_less_than_two_points_at_forty_percent_fewer_multiply_adds(lenet, x):
    """On 1,000 held-out digits, without data or training; one digit is a tenth of a point."""
    digits = mnist("test", source="offline")
    _, report = compress(lenet, SMALL["dac"], example_inputs=x[:1], evaluate=lambda net: evaluate(net, digits).error)
    assert report.after.cost.macs <= 0.6 * report.before.cost.macs
    assert report.after.error - report.before.error < 2


@pytest.mark.parametrize("scheme", [*SCHEMES, "kconv"])
def test_every_padded_layer_of_a_vgg_like_network(scheme, tmp_path):
    """3 x 3 layers with padding 1; at the full rank of each the outputs stay, at a low one the multiply-adds fall."""
    model = VggSmall(random_state=0).eval()
    convs = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels > 3}
    x = torch.rand(1, *model.input_shape, generator=torch.Generator().manual_seed(0))

    def plan(share):
        for name, layer in convs.items():
            m, c, h, w = shape = tuple(layer.weight.shape)
            full = min(h * c * 4, m * c * h * w // (h * c * 4)) if scheme == "kconv" else Cut(shape, scheme).full_rank
            rank = max(1, int(full * share))
            yield name, KConvScheme((4, c, h, 1), rank=rank) if scheme == "kconv" else ConvScheme(scheme, rank=rank)

    torch.testing.assert_close(compress(model, dict(plan(1)), example_inputs=x)[0](x), model(x), rtol=1e-3, atol=1e-4)
    small, report = compress(model, dict(plan(0.1)), example_inputs=x)
    assert report.macs_ratio > 2
    save_compressed(small, tmp_path / "small.safetensors")
    loaded = load_compressed(tmp_path / "small.safetensors", model=model)
    torch.testing.assert_close(loaded.state_dict(), small.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(loaded(x), small(x))  # the order of sums depends on where the weights lie in memory


def test_a_scheme_that_does_not_fit_names_the_layer(lenet, x):
    with pytest.raises(ValueError, match=r"plan\['conv2'\]: rank must be between 1 and 25"):
        compress(lenet, {"conv2": ConvScheme("dac", rank=26)}, example_inputs=x)
    with pytest.raises(TypeError, match=r"plan\['fc1'\]: layer must be Conv2d"):
        compress(lenet, {"fc1": ConvScheme("dac", rank=2)}, example_inputs=x)
    with pytest.raises(ValueError, match=r"plan\['fc1'\]: right must divide"):
        compress(lenet, {"fc1": KroneckerScheme((3, 3), rank=2)}, example_inputs=x)
