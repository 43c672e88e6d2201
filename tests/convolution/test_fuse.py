"""Two convolutions become one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.convolution import conv2d_gemm, conv_matrix, fuse_1x1, fuse_layers

GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": (1, 5), "stride": 2, "padding": (0, 2)},
    {"kernel_size": 3, "dilation": 2, "padding": "same"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
]


@given(sides=st.tuples(*[st.integers(1, 4)] * 5), seed=st.integers(0, 2**32 - 1))
def test_fused_weights_are_the_composition(sides, seed):
    K, M, C, kh, kw = sides
    rng = np.random.default_rng(seed)
    F, W1, W2 = (rng.standard_normal(s) for s in ((2, C, 5, 6), (K, M, 1, 1), (M, C, kh, kw)))
    expected = conv2d_gemm(conv2d_gemm(F, W2, padding=1), W1)
    np.testing.assert_allclose(conv2d_gemm(F, fuse_1x1(W1, W2), padding=1), expected, rtol=0, atol=1e-11)


def test_fusion_is_the_product_of_the_matrices():
    rng = np.random.default_rng(0)
    W1, W2 = rng.standard_normal((3, 4, 1, 1)), rng.standard_normal((4, 2, 3, 3))
    product = conv_matrix(W1, (4, 5)) @ conv_matrix(W2, (6, 7))
    np.testing.assert_allclose(product.toarray(), conv_matrix(fuse_1x1(W1, W2), (6, 7)).toarray(), atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("bias", [True, False])
def test_fused_layer_is_both_layers(geometry, bias):
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 8, **geometry), nn.Conv2d(8, 4, 1, bias=bias)
    fused, x = fuse_layers(first, second), torch.randn(2, 3, 9, 10)
    torch.testing.assert_close(fused(x), second(first(x)), rtol=0, atol=1e-5)
    assert (fused.bias is None) == (first.bias is None and second.bias is None)
    assert all(p.requires_grad and p.device.type == "cpu" for p in fused.parameters())


def test_fusing_keeps_both_layers_their_type_and_the_seed():
    first, second = nn.Conv2d(3, 8, 3).double().eval(), nn.Conv2d(8, 4, 1).double()
    before, state = second.weight.clone(), torch.get_rng_state()
    fused = fuse_layers(first, second)
    fused.weight.data.zero_()
    assert torch.equal(second.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert fused.weight.dtype == torch.float64
    assert not fused.training


def test_a_1x1_in_front_cannot_be_fused_because_padding_comes_between():
    torch.manual_seed(0)
    first, second, x = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3, padding=1), torch.randn(1, 3, 5, 5)
    wrong = nn.functional.conv2d(x, torch.einsum("kmij,mc->kcij", second.weight, first.weight[:, :, 0, 0]), padding=1)
    y = second(first(x)) - second(first(torch.zeros_like(x)))
    torch.testing.assert_close(wrong, y, rtol=0, atol=1e-5)  # alike only once the bias is taken away
    assert (
        second(first(torch.zeros_like(x)))[..., 0, 0] - second(first(torch.zeros_like(x)))[..., 2, 2]
    ).abs().max() > 0.01
    with pytest.raises(ValueError, match="second must be 1 x 1"):
        fuse_layers(first, second)


BAD = [
    (lambda: fuse_1x1(np.ones((2, 3, 1)), np.ones((3, 2, 1, 1))), ValueError, "W1 must have 4 dimensions"),
    (lambda: fuse_1x1(np.ones((2, 3, 3, 3)), np.ones((3, 2, 1, 1))), ValueError, r"W1 must have shape \(K, 3, 1, 1\)"),
    (lambda: fuse_1x1(np.ones((2, 4, 1, 1)), np.ones((3, 2, 1, 1))), ValueError, r"W1 must have shape \(K, 3, 1, 1\)"),
    (lambda: fuse_1x1(np.ones((2, 3, 1, 1)), np.full((3, 2, 1, 1), np.inf)), ValueError, "W2 must be finite"),
    (lambda: fuse_layers(nn.Linear(2, 2), nn.Conv2d(2, 2, 1)), TypeError, "first must be Conv2d"),
    (lambda: fuse_layers(nn.Conv2d(2, 2, 1), None), TypeError, "second must be Conv2d"),
    (lambda: fuse_layers(nn.Conv2d(2, 2, 1, groups=2), nn.Conv2d(2, 2, 1)), ValueError, "first must have one group"),
    (lambda: fuse_layers(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, stride=2)), ValueError, "second must be 1 x 1"),
    (lambda: fuse_layers(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, padding=1)), ValueError, "second must be 1 x 1"),
    (lambda: fuse_layers(nn.Conv2d(2, 3, 1), nn.Conv2d(2, 2, 1)), ValueError, "second must take 3 channels"),
    (lambda: fuse_layers(nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1).double()), TypeError, "second must hold torch.float32"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
