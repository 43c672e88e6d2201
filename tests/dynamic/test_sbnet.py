"""SBNet: equal to the dense convolution inside every mask, with the work of the listed tiles and no other."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.convolution.window import Window
from labkit.cost import TileTime, tile_break_even, tile_times
from labkit.dynamic import SBConv2d, Tiling, gather, macs_ran, road_distance, road_mask, scatter, tile_indices
from labkit.dynamic.scene import SCENES

CONV = nn.Conv2d(2, 3, 3, padding=1)
X = torch.zeros(1, 2, 8, 8)
MASK = torch.ones(8, 8, dtype=torch.bool)
TILING = Tiling(Window(3, padding=1), 4)


@st.composite
def layers(draw):
    """A small convolution of any kind, pictures for it, a block size and a mask of any density."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation, padding = draw(pair), draw(pair), draw(pair), draw(st.tuples(*[st.integers(0, 2)] * 2))
    groups = draw(st.sampled_from([1, 2]))
    shape = [d * (k - 1) + draw(st.integers(1, 9)) for k, d in zip(kernel, dilation, strict=True)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())).double()
    x = torch.randn(2, 2, *shape, generator=generator, dtype=torch.float64)
    dense = conv(x)
    mask = torch.rand(2, *dense.shape[2:], generator=generator) < draw(st.sampled_from([0, 0.05, 0.4, 1.1]))
    return conv, x, dense, mask, draw(pair) if draw(st.booleans()) else draw(st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(layers())
def test_inside_the_mask_it_is_the_dense_convolution_and_outside_of_the_tiles_zero(case):
    conv, x, dense, mask, block_size = case
    layer = SBConv2d.from_conv(conv, block_size=block_size)
    y, macs = macs_ran(layer, x, mask)
    assert y.shape == dense.shape
    wanted = mask[:, None].expand_as(y)
    torch.testing.assert_close(y[wanted], dense[wanted], atol=1e-10, rtol=1e-10)
    indices, tile = tile_indices(mask, block_size=block_size), layer.tiling.block_size
    computed = scatter(torch.ones(len(indices), 1, *tile), indices, tuple(mask.shape))
    assert (y[(computed == 0).expand_as(y)] == 0).all()
    inside = (computed == 1).expand_as(y)
    torch.testing.assert_close(y[inside], dense[inside], atol=1e-10, rtol=1e-10)
    assert macs == layer.macs(mask) == int(layer.ran.sum()) == len(indices) * math.prod(tile) * conv.weight.numel()


@settings(max_examples=40, deadline=None)
@given(layers())
def test_a_tile_is_listed_if_and_only_if_the_mask_is_true_in_it(case):
    _, _, _, mask, block_size = case
    mh, mw = block_size if isinstance(block_size, tuple) else (block_size, block_size)
    expected = sorted({(n, i // mh, j // mw) for n, i, j in mask.nonzero().tolist()})
    assert [tuple(row) for row in tile_indices(mask, block_size=block_size).tolist()] == expected


@settings(max_examples=40, deadline=None)
@given(layers())
def test_gather_then_scatter_of_a_pointwise_window_gives_the_picture_back(case):
    _, x, _, _, block_size = case
    tiling = Tiling(Window(1), block_size)
    indices = tile_indices(torch.ones(2, *x.shape[2:], dtype=torch.bool), block_size=block_size)
    assert torch.equal(scatter(gather(x, indices, tiling), indices, (2, *x.shape[2:])), x)


def test_the_gathered_tiles_are_cut_out_of_the_padded_picture():
    x = torch.randn(2, 3, 7, 9)
    tiling = Tiling(Window((3, 5), stride=(2, 1), padding=(1, 2)), (2, 3))
    assert (tiling.block, tiling.step, tiling.overlap) == ((5, 7), (4, 3), (1, 4))
    padded = nn.functional.pad(x, (2, 9, 1, 9))
    for n, i, j in [(0, 0, 0), (1, 1, 2)]:
        tile = gather(x, torch.tensor([[n, i, j]]), tiling)[0]
        assert torch.equal(tile, padded[n, :, 4 * i : 4 * i + 5, 3 * j : 3 * j + 7])


def test_neighbouring_tiles_overlap_by_kernel_minus_stride():
    assert TILING.overlap == (2, 2)
    assert Tiling(Window(3, stride=2, padding=1), 4).overlap == (1, 1)
    assert Tiling(Window(1, stride=2), 4).overlap == (-1, -1)
    assert Tiling(Window(3, dilation=2), 4).overlap == (4, 4)
    assert Tiling(Window(3), (4, 3)).grid((8, 8)) == (2, 3)


def test_work_is_in_proportion_to_the_tiles():
    layer = SBConv2d.from_conv(CONV, block_size=4)
    whole = macs_ran(CONV, X)[1]
    for n in range(5):
        mask = torch.zeros(8, 8, dtype=torch.bool)
        for tile in range(n):
            mask[4 * (tile // 2), 4 * (tile % 2)] = True
        assert macs_ran(layer, X, mask)[1] == whole * n // 4


def test_the_gradients_are_those_of_the_masked_dense_convolution():
    conv, x = nn.Conv2d(2, 3, 3, padding=1).double(), torch.randn(2, 2, 7, 7, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0)) < 0.3
    grads = []
    for y in (SBConv2d(conv, block_size=3)(x, mask), conv(x)):
        loss = (y * mask[:, None]).square().sum()
        grads.append(torch.autograd.grad(loss, [x, conv.weight, conv.bias]))
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_stands_outside_of_the_tiles_can_be_given_and_is_not_changed():
    base = torch.randn(1, 3, 8, 8)
    kept, mask = base.clone(), torch.zeros(8, 8, dtype=torch.bool)
    mask[0, 0] = True
    y = SBConv2d(CONV, block_size=4)(X, mask, base)
    assert torch.equal(base, kept)
    assert torch.equal(y[..., 4:], base[..., 4:])
    torch.testing.assert_close(y[..., :4, :4], CONV(X)[..., :4, :4])


def test_the_state_is_that_of_the_convolution():
    first, second = SBConv2d(CONV, block_size=4), SBConv2d(nn.Conv2d(2, 3, 3, padding=1), block_size=2)
    second.load_state_dict(first.state_dict())
    assert first.to_dense() is CONV
    assert torch.equal(second.to_dense().weight, CONV.weight)


# ---- the street, and the measurement


@pytest.mark.parametrize("scene", SCENES)
def test_a_wider_road_contains_a_narrower_one(scene):
    masks = [road_mask((40, 60), width=w, scene=scene, random_state=3) for w in (0, 3, 10, 25, 500)]
    assert all(bool((wide | ~narrow).all()) for narrow, wide in itertools.pairwise(masks))
    assert masks[-1].all()
    assert 0 < masks[1].float().mean() < 0.25


def test_equal_seeds_give_equal_streets():
    first, again, other = (road_distance((20, 30), random_state=s) for s in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()
    assert road_distance((1, 1), random_state=0).shape == (1, 1)


def test_smaller_tiles_fit_a_mask_closer():
    mask = road_mask((96, 96), width=12, random_state=0)
    macs = [SBConv2d(CONV, block_size=m).macs(mask) for m in (1, 2, 4, 8, 16, 32)]
    assert macs == sorted(macs)
    assert macs[0] == int(mask.sum()) * CONV.weight.numel()


def test_the_measurement_counts_what_the_layer_counts():
    masks = [MASK & (torch.arange(8) < n) for n in (1, 4, 8)]
    times = tile_times(CONV, X, masks, block_size=4)
    assert [(t.wanted, t.macs) for t in times] == [(0.125, 0.5), (0.5, 0.5), (1.0, 1.0)]
    assert all(t.speedup > 0 for t in times)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0.2, 2.0), (0.6, 0.5)], 0.2 + 0.4 * 2 / 3),
        ([(0.6, 0.5), (0.2, 2.0)], 0.2 + 0.4 * 2 / 3),
        ([(0.2, 0.9), (0.6, 0.5)], None),
        ([(0.2, 9.0), (0.6, 1.5)], 0.6),
    ],
)
def test_where_the_times_cross(rows, expected):
    assert tile_break_even([TileTime(m, m, r) for m, r in rows]) == pytest.approx(expected)


# ---- bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Tiling("3", 4), TypeError, "window must be Window"),
        (lambda: Tiling(Window(3), 0), ValueError, "block_size must be at least 1, got 0"),
        (lambda: Tiling(Window(3), 2.0), TypeError, "block_size must be an integer"),
        (lambda: TILING.grid((0, 4)), ValueError, "shape must be at least 1"),
        (lambda: tile_indices(MASK[None].float(), block_size=2), TypeError, "bool tensor, got dtype torch.float32"),
        (lambda: tile_indices(MASK.numpy(), block_size=2), TypeError, "mask must be Tensor"),
        (lambda: tile_indices(MASK, block_size=2), ValueError, r"mask must be \(N, H', W'\)"),
        (lambda: tile_indices(MASK[None, :0], block_size=2), ValueError, "not empty"),
        (lambda: tile_indices(MASK[None], block_size=(1, 2, 3)), ValueError, "block_size must be an integer or a pair"),
        (lambda: gather(X[0], torch.zeros(1, 3, dtype=torch.int64), TILING), ValueError, r"x must be \(N, C, H, W\)"),
        (lambda: gather(X, torch.zeros(1, 2, dtype=torch.int64), TILING), ValueError, r"indices must be \(T, 3\)"),
        (lambda: gather(X, torch.zeros(1, 3), TILING), ValueError, "int64, got"),
        (lambda: gather(X, torch.tensor([[0, 2, 0]]), TILING), ValueError, r"below \(1, 2, 2\)"),
        (lambda: gather(X, torch.tensor([[0, -1, 0]]), TILING), ValueError, "at least 0"),
        (lambda: scatter(X[0], torch.tensor([[0, 0, 0]]), (1, 8, 8)), ValueError, r"tiles must be \(T, K, mh, mw\)"),
        (lambda: scatter(X, torch.tensor([[0, 0, 0]] * 2), (1, 8, 8)), ValueError, "as many as indices, 2, got 1"),
        (lambda: scatter(X, torch.tensor([[0, 1, 0]]), (1, 8, 8)), ValueError, r"below \(1, 1, 1\)"),
        (lambda: scatter(X, torch.tensor([[0, 0, 0]]), (1, 0, 8)), ValueError, "shape must be at least 1"),
        (lambda: scatter(X, torch.tensor([[0, 0, 0]]), (1, 8, 8), X[0]), ValueError, "base must have the output's"),
        (lambda: scatter(X, torch.tensor([[0, 0, 0]]), (8, 8)), ValueError, r"shape must be \(N, H', W'\)"),
        (lambda: gather(X, torch.tensor([[0, 0, 0]]), Window(3)), TypeError, "tiling must be Tiling, got Window"),
        (lambda: SBConv2d(CONV, block_size=4)(X.long(), MASK), TypeError, "x must be a floating-point tensor"),
        (lambda: road_mask(8.5, width=3), TypeError, "shape must be an integer"),
        (lambda: road_mask((8, 8, 8), width=3), ValueError, "shape must be an integer or a pair"),
        (lambda: SBConv2d(nn.Linear(2, 2), block_size=2), TypeError, "conv must be Conv2d"),
        (lambda: SBConv2d(nn.Conv2d(1, 1, 3, padding="same"), block_size=2), ValueError, "numeric zero padding"),
        (lambda: SBConv2d(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), block_size=2), ValueError, "reflect"),
        (lambda: SBConv2d.from_conv(CONV, block_size=-1), ValueError, "block_size must be at least 1"),
        (lambda: SBConv2d(CONV, block_size=2)(X[:, :1], MASK), ValueError, r"x must be \(n, 2, H, W\)"),
        (lambda: SBConv2d(CONV, block_size=2)(X, MASK[:4]), ValueError, "mask must be"),
        (lambda: SBConv2d(CONV, block_size=2)(X, MASK, X), ValueError, "base must have the output's shape"),
        (lambda: SBConv2d(CONV, block_size=2)(X, None), TypeError, "mask must be Tensor"),
        (lambda: SBConv2d(CONV, block_size=2).macs(MASK.int()), TypeError, "mask must be a bool tensor"),
        (lambda: road_mask((4, 4), width=-1), ValueError, "width must be at least 0"),
        (lambda: road_mask((4, 4), width=float("nan")), ValueError, "width must be"),
        (lambda: road_distance((0, 4)), ValueError, "shape must be at least 1"),
        (lambda: road_distance((4, 4), scene="bend"), ValueError, "scene must be one of 3 names"),
        (lambda: tile_times(CONV, X, [], block_size=2), ValueError, "at least one mask"),
        (lambda: tile_times(CONV, X, [MASK], block_size=2, rounds=3), ValueError, "rounds must be at least 7"),
        (lambda: tile_break_even([]), ValueError, "at least one TileTime"),
        (lambda: tile_break_even([0.5]), TypeError, "times must be TileTime"),
    ],
)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
