"""CP and Tucker convolutions replace any nn.Conv2d without groups: same outputs, same files, clear refusals."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from labkit.compress import compress, load_compressed, save_compressed
from labkit.cost import count
from labkit.decomposition import (
    BTScheme,
    CPConv2d,
    CPScheme,
    TRScheme,
    TTScheme,
    TuckerConv2d,
    TuckerScheme,
    cp_als,
    hooi,
    hosvd,
    relative_error,
)
from labkit.nets import VggSmall
from tests.decomposition import windows
from tests.decomposition.windows import X

WINDOWS = {name: window for name, window in windows.WINDOWS.items() if name != "groups"}
conv = partial(windows.conv, out_channels=6)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def kernel(layer):
    return layer.weight.detach().numpy()


# ---- exact at full rank, for every window


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("separable", "rank"), [(True, 24), (False, 24)])
def test_cp_at_the_largest_rank_is_every_convolution(separable, rank, window):
    layer = conv(**WINDOWS[window])
    close(CPConv2d.from_conv(layer, rank=rank, separable=separable)(X), layer(X))


@pytest.mark.parametrize("window", WINDOWS)
def test_tucker_at_full_rank_is_every_convolution(window):
    layer = conv(**WINDOWS[window])
    close(TuckerConv2d.from_conv(layer, rank=(6, 4))(X), layer(X))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    "make",
    [
        lambda layer: CPConv2d.from_conv(layer, rank=3, n_iter_max=5),
        lambda layer: CPConv2d.from_conv(layer, rank=3, separable=False, n_iter_max=5),
        lambda layer: TuckerConv2d.from_conv(layer, rank=(3, 2)),
    ],
)
def test_to_dense_is_the_same_map_at_any_rank(make, window):
    layer = conv(**WINDOWS[window])
    small = make(layer)
    close(small.to_dense()(X), small(X))
    assert str(small.to_dense()) == str(layer)


def test_the_stack_is_the_convolution_of_its_factors():
    """1 x 1, h x 1, 1 x w, 1 x 1 with the factors of a CP decomposition: the convolution with their sum."""
    layer = conv(padding=1)
    cp = cp_als(kernel(layer), rank=5, random_state=0)
    small = CPConv2d.from_conv(layer, rank=5, n_iter_max=500)
    close(small.to_dense().weight, torch.from_numpy(cp.to_tensor()))
    assert [tuple(m.weight.shape) for m in small.modules() if isinstance(m, nn.Conv2d)] == [
        (5, 4, 1, 1), (5, 1, 3, 1), (5, 1, 1, 2), (6, 5, 1, 1),
    ]  # fmt: skip


def test_the_tucker_stack_has_the_core_in_the_middle():
    layer = conv()
    small, parts = TuckerConv2d.from_conv(layer, rank=(3, 2)), hooi(kernel(layer), rank=(3, 2), modes=(0, 1))
    close(small.to_dense().weight, torch.from_numpy(parts.to_tensor()))
    assert [tuple(m.weight.shape) for m in (small.first, small.middle, small.last)] == [
        (2, 4, 1, 1), (3, 2, 3, 2), (6, 3, 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("tol", [0.8, 0.4, 0.1])
def test_a_tolerance_sets_the_ranks_of_tucker(tol):
    layer = conv()
    small = TuckerConv2d.from_conv(layer, tol=tol)
    assert small.rank == hosvd(kernel(layer), tol=tol, modes=(0, 1)).rank[:2]
    assert relative_error(kernel(layer), small.to_dense().weight.detach().numpy()) <= tol


def test_more_outputs_than_the_inputs_can_feed_are_kept():
    layer = nn.Conv2d(4, 6, 1)
    assert TuckerConv2d.from_conv(layer, rank=(4, 2)).rank == (4, 2)


# ---- what it costs


@pytest.mark.parametrize("separable", [True, False])
def test_weights_and_multiply_adds_of_cp(separable):
    layer = CPConv2d(20, 50, 5, rank=7, separable=separable, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 7 * (20 + (10 if separable else 25) + 50)
    macs = count(layer, torch.zeros(1, 20, 12, 12)).macs
    middle = 5 * 8 * 12 + 5 * 8 * 8 if separable else 25 * 64  # h x 1 first makes 8 of 12 rows
    assert macs == 7 * (20 * 144 + middle + 50 * 64)


def test_weights_of_tucker():
    layer = TuckerConv2d(20, 50, 5, rank=(16, 8), bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 20 * 8 + 8 * 16 * 25 + 16 * 50


def test_three_layers_are_a_depthwise_separable_convolution_after_a_1x1():
    small = CPConv2d.from_conv(conv(padding=1), rank=4, separable=False, n_iter_max=5)
    assert small.middle[0].groups == 4
    assert small.first.kernel_size == small.last.kernel_size == (1, 1)


@pytest.mark.parametrize("make", [CPConv2d, TuckerConv2d])
def test_state_and_config_rebuild_the_layer(make):
    small = make.from_conv(conv(stride=2, padding=1), rank=3).float()
    other = make(**small.config())
    other.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(other(X.float()), small(X.float()))
    assert other.config() == small.config()


@pytest.mark.parametrize("make", [CPConv2d, TuckerConv2d])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_type_mode_and_gradient(make, dtype):
    small = make.from_conv(conv().to(dtype).eval(), rank=3)
    assert {p.dtype for p in small.parameters()} == {p.dtype for p in small.to_dense().parameters()} == {dtype}
    assert not small.training
    small(X.to(dtype)).float().square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in small.parameters())


# ---- in a network

MODES = {"in_modes": (5, 10, 4, 4), "out_modes": (5, 5, 5, 4)}
FULL = {
    "cp": {"conv2": CPScheme(rank=500)},
    "cp, three layers": {"conv2": CPScheme(rank=500, separable=False)},
    "tucker": {"conv2": TuckerScheme(rank=(50, 20))},
    "tt": {"fc1": TTScheme(**MODES, tol=1e-7)},
    "tr": {"fc1": TRScheme(in_modes=(800,), out_modes=(500,), rank=(500, 1))},
    "bt": {"fc2": BTScheme(in_modes=(20, 25), out_modes=(2, 5), rank=(40, 40), n_terms=1)},
}
SMALL = {
    "cp": {"conv2": CPScheme(rank=8)},
    "cp, ridge": {"conv2": CPScheme(rank=8, ridge=1e-3)},
    "cp, three layers": {"conv2": CPScheme(rank=8, separable=False)},
    "tucker": {"conv2": TuckerScheme(rank=(16, 8))},
    "tucker, tol": {"conv2": TuckerScheme(tol=0.7)},
    "tt": {"fc1": TTScheme(**MODES, rank=4)},
    "tr": {"fc1": TRScheme(in_modes=(50, 16), out_modes=(20, 25), rank=4)},
    "bt": {"fc2": BTScheme(in_modes=(20, 25), out_modes=(2, 5), rank=3, n_terms=2)},
    "all": {"conv2": TuckerScheme(rank=(16, 8)), "fc1": TTScheme(**MODES, rank=4)},
}


@pytest.mark.parametrize("name", FULL)
def test_at_full_rank_lenet_is_itself(name, lenet, x):
    small, _ = compress(lenet, FULL[name], example_inputs=x)
    torch.testing.assert_close(small(x), lenet(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_the_report_counts_and_the_file_comes_back(name, lenet, x, tmp_path):
    small, report = compress(lenet, SMALL[name], example_inputs=x[:1])
    assert report.after.cost.n_params == sum(p.numel() for p in small.parameters()) < report.before.cost.n_params
    assert report.after.cost.uncounted == ()
    assert report.bytes_ratio > 1
    assert [layer for layer, _ in report.layers] == list(SMALL[name])
    save_compressed(small, tmp_path / "small.safetensors")
    back = load_compressed(tmp_path / "small.safetensors")
    assert torch.equal(back(x), small(x))
    assert [type(m) for m in back.modules()] == [type(m) for m in small.modules()]


@pytest.mark.parametrize("scheme", [CPScheme(rank=6, random_state=1), TuckerScheme(rank=(4, 3))])
def test_every_padded_layer_of_a_vgg_like_network(scheme, tmp_path):
    model = VggSmall(random_state=0, width=0.25).eval()
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3]
    x = torch.rand(1, *model.input_shape, generator=torch.Generator().manual_seed(0))
    small, report = compress(model, dict.fromkeys(names, scheme), example_inputs=x)
    assert report.macs_ratio > 1
    save_compressed(small, tmp_path / "small.safetensors")
    assert torch.equal(load_compressed(tmp_path / "small.safetensors", model=model)(x), small(x))


# ---- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CPConv2d(4, 6, 3, rank=0), "rank must be between 1 and 36, got 0"),
        (lambda: CPConv2d(4, 6, 3, rank=37), "rank must be between 1 and 36, got 37"),
        (lambda: CPConv2d(4, 6, 3, rank=2.0), "rank must be an integer"),
        (lambda: CPConv2d(0, 6, 3, rank=1), "in_channels must be at least 1"),
        (lambda: CPConv2d(4, 6, 3, rank=1, separable=1), "separable must be"),
        (lambda: CPConv2d(4, 6, 3, rank=1, groups=2), "argument must be one of"),
        (lambda: CPConv2d.from_conv(conv(groups=2), rank=1), "layer must be a convolution with groups=1"),
        (lambda: CPConv2d.from_conv(nn.Linear(3, 3), rank=1), "layer must be Conv2d"),
        (lambda: CPConv2d.from_conv(conv(), rank=1, ridge=-1), "ridge must be at least 0"),
        (lambda: TuckerConv2d(4, 6, 3, rank=5), r"rank\[1\] must be between 1 and 4, got 5"),
        (lambda: TuckerConv2d(4, 6, 3, rank=(1, 1, 1)), "rank must be an int or 2 ints"),
        (lambda: TuckerConv2d.from_conv(conv()), "give exactly one of rank and tol"),
        (lambda: TuckerConv2d.from_conv(conv(groups=2), rank=1), "layer must be a convolution with groups=1"),
        (lambda: TuckerScheme(), "give exactly one of rank and tol"),
        (lambda: TTScheme((2, 2), (2, 2)), "give exactly one of rank and tol"),
        (lambda: TTScheme((2, 2), (2, 2), rank=1).apply(nn.ReLU()), "layer must be Linear"),
        (lambda: TRScheme((2, 2), (2, 2), rank=1).apply(nn.ReLU()), "layer must be Linear"),
        (lambda: BTScheme((2, 2), (2, 2), rank=1, n_terms=1).apply(nn.ReLU()), "layer must be Linear"),
        (lambda: CPScheme(rank=1).apply(nn.Linear(2, 2)), "layer must be Conv2d"),
        (lambda: TuckerScheme(rank=1).apply(nn.Linear(2, 2)), "layer must be Conv2d"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_kernel_that_is_not_finite_is_refused():
    broken = conv()
    broken.weight.data[0, 0, 0, 0] = np.inf
    for make in (CPConv2d, TuckerConv2d):
        with pytest.raises(ValueError, match="finite"):
            make.from_conv(broken, rank=1)


def test_a_scheme_that_does_not_fit_names_the_layer(lenet, x):
    with pytest.raises(ValueError, match=r"plan\['fc1'\]: in_modes must have the product 800"):
        compress(lenet, {"fc1": TTScheme((5, 10), (20, 25), rank=1)}, example_inputs=x)
