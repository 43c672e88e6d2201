"""Sparse Winograd layers: the accounting, where zeros go, what pruning keeps, and products that are really skipped."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.convolution import (
    SAVINGS,
    SparseWinograd,
    SparseWinogradConv2d,
    density,
    density_after_transform,
    expected_density,
    input_density_after_transform,
    savings,
)


def layer(**others) -> SparseWinogradConv2d:
    return SparseWinogradConv2d(6, 8, **({"m": 2, "padding": 1, "random_state": 0} | others))


def test_the_lectures_accounting() -> None:
    assert {mode: savings(mode).total for mode in SAVINGS} == {
        "direct": 1,
        "sparse": 9,
        "winograd": 2.25,
        "sparse winograd": 12.65625,
    }
    assert savings("winograd", m=4).total == 4
    assert savings("sparse winograd", weights=0.5, activations=0.25, m=4).total == 4 * 2 * 4


def test_one_number_of_a_kernel_fills_its_place_alone_in_a_corner_and_four_places_in_the_middle() -> None:
    places = [density_after_transform(np.eye(9)[k].reshape(3, 3)) for k in range(9)]
    assert np.array(places).reshape(3, 3).tolist() == [
        [9 / 16, 6 / 16, 9 / 16],
        [6 / 16, 4 / 16, 6 / 16],
        [9 / 16, 6 / 16, 9 / 16],
    ]


@pytest.mark.parametrize("m", [2, 4])
def test_random_zeros_vanish(m: int) -> None:
    """At density p an entry of G w G^T is zero only if all the numbers that it is a sum of are."""
    random = np.random.default_rng(0)
    w = random.normal(size=(4000, 3, 3)) * (random.random((4000, 3, 3)) < 0.32)
    after = density_after_transform(w, m=m)
    assert abs(density(w) - 0.32) < 0.01
    assert abs(after - expected_density(0.32, m=m)) < 0.01
    assert after > 2 * density(w)


def test_expected_density_of_the_lectures_tile() -> None:
    """Four corners hold one number, eight edges three, four places in the middle all nine."""
    p = 0.3
    by_hand = (4 * p + 8 * (1 - 0.7**3) + 4 * (1 - 0.7**9)) / 16
    assert expected_density(p) == pytest.approx(by_hand)
    assert expected_density(p, of="activations") == pytest.approx(1 - 0.7**4)
    assert (expected_density(0), expected_density(1, m=4)) == (0, 1)


def test_zeros_of_the_inputs_vanish_too() -> None:
    random = np.random.default_rng(0)
    x = random.random((8, 22, 22)) * (random.random((8, 22, 22)) < 0.369)
    assert input_density_after_transform(x, m=2) > 0.75 > 2 * density(x)
    assert input_density_after_transform(np.zeros((4, 4)) + np.eye(4), m=2) == 0.75


@pytest.mark.parametrize("m", [2, 4])
def test_unpruned_and_without_relu_it_is_the_plain_layer(m: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 8, 3, padding=1).double()
    made, x = SparseWinogradConv2d.from_conv(plain, m=m), torch.randn(2, 6, 9, 7).double()
    torch.testing.assert_close(made(x), plain(x))
    assert made.weight.dtype == torch.float64


def test_the_relu_acts_on_transformed_inputs() -> None:
    one, x = layer(), torch.randn(2, 6, 8, 8)
    assert (one.transformed(x) >= 0).all()
    plain = layer(relu=False)
    plain.load_state_dict(one.state_dict())
    assert not torch.allclose(one(x), plain(x))
    torch.testing.assert_close(one.transformed(x), plain.transformed(x).relu())


@settings(deadline=None, max_examples=20)
@given(sparsity=st.floats(0, 0.95), more=st.floats(0, 0.95))
def test_pruning_leaves_the_largest_of_every_place_and_never_grows_back(sparsity: float, more: float) -> None:
    one = layer()
    before = one.weight.detach().clone()
    one.prune(sparsity)
    first = one.mask.clone()
    assert one.density == pytest.approx(1 - sparsity, abs=1 / 48)
    for place in range(16):
        sizes, kept = before.flatten(2)[..., place].abs(), first.flatten(2)[..., place]
        if kept.any() and not kept.all():
            assert sizes[~kept].max() <= sizes[kept].min()
    one.prune(more)
    assert (first | ~one.mask).all()


def test_a_pruned_weight_gets_no_gradient_and_stays_zero() -> None:
    one = layer()
    one.prune(0.6)
    step = torch.optim.Adam(one.parameters(), lr=0.1)
    for _ in range(3):
        step.zero_grad()
        one(torch.randn(2, 6, 8, 8)).square().sum().backward()
        step.step()
    assert not one.weight[~one.mask].any()
    assert one.weight[one.mask].all()


def test_state_round_trip() -> None:
    one, other, x = layer(), layer(random_state=1), torch.randn(1, 6, 5, 5)
    one.prune(0.5)
    other.load_state_dict(one.state_dict(), strict=True)
    assert torch.equal(one(x), other(x))
    assert other.density == 0.5


def test_products_are_counted_one_by_one() -> None:
    one, x = layer(), torch.randn(2, 6, 7, 7)
    one.prune(0.6)
    found = one.count(x)
    V, U = one.transformed(x), one.weight * one.mask
    pairs = torch.einsum("ncabij,kcij->", (V != 0).double(), (U != 0).double())
    assert found.nonzero == int(pairs)
    assert (found.direct, found.dense) == (9 * 2 * 49 * 48, 16 * 2 * 16 * 48)
    assert found.saving == found.direct / found.nonzero
    assert found.weights == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("skip", SparseWinograd.SKIPS)
@pytest.mark.parametrize("bias", [True, False])
def test_skipping_changes_no_result(skip: str, bias: bool) -> None:
    one, x = layer(bias=bias), torch.randn(3, 6, 7, 9)
    one.prune(0.7)
    torch.testing.assert_close(SparseWinograd(one)(x, skip=skip), one(x).detach(), atol=1e-5, rtol=1e-5)


def test_only_what_is_left_is_stored() -> None:
    one = layer()
    one.prune(0.75)
    assert sum(place.nnz for place in SparseWinograd(one).rows) == int(one.mask.sum())


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: savings("fast"), ValueError, "mode must be one of"),
        (lambda: savings("winograd", weights=0.5), ValueError, "must be None where nothing is sparse"),
        (lambda: savings("sparse", weights=0), ValueError, "weights must be above 0"),
        (lambda: savings("sparse", activations=1.5), ValueError, "activations must be"),
        (lambda: density([]), ValueError, "x must not be empty"),
        (lambda: density_after_transform(np.ones((3, 2))), ValueError, "w must hold square kernels"),
        (lambda: density_after_transform(np.ones((3, 3)), m=0), ValueError, "m must be"),
        (lambda: input_density_after_transform(np.ones((3, 9))), ValueError, "x must hold maps of at least 4 x 4"),
        (lambda: expected_density(1.1), ValueError, "p must be"),
        (lambda: expected_density(0.5, of="bias"), ValueError, "of must be one of"),
        (lambda: SparseWinogradConv2d(0, 3), ValueError, "in_channels must be"),
        (lambda: SparseWinogradConv2d(3, 2.5), TypeError, "out_channels must be an integer"),
        (lambda: layer(m=0), ValueError, "m must be"),
        (lambda: layer(padding=-1), ValueError, "padding must be"),
        (lambda: layer().prune(1), ValueError, "sparsity must be below 1"),
        (lambda: layer().prune(-0.1), ValueError, "sparsity must be"),
        (lambda: SparseWinogradConv2d.from_conv(nn.Conv2d(2, 2, 5)), ValueError, "3 x 3 in one group"),
        (lambda: SparseWinogradConv2d.from_conv(nn.Conv2d(2, 2, 3, groups=2)), ValueError, "3 x 3 in one group"),
        (lambda: SparseWinogradConv2d.from_conv(nn.Linear(2, 2)), TypeError, "layer must be"),
        (lambda: SparseWinograd(nn.Linear(2, 2)), TypeError, "layer must be"),
        (lambda: SparseWinograd(layer())(torch.ones(1, 6, 5, 5), skip="all"), ValueError, "skip must be one of"),
    ],
)
def test_bad_input(call, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
