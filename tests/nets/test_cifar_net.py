"""M-CifarNet's layout: its size, its blocks, and networks with other blocks or widths."""

import pytest
import torch

from labkit.cost import count
from labkit.dynamic import FBSConv2d
from labkit.nets import CifarNet, ConvBlock


def test_the_layout_of_m_cifarnet():
    wide = CifarNet(widths=(64, 64, 128, 128, 128, 192, 192, 192), channels=3, image_size=32)
    assert sum(p.numel() for p in wide.parameters()) == pytest.approx(1.3e6, rel=0.02)
    assert [block.conv.stride[0] for block in wide.blocks] == [1, 1, 2, 1, 1, 2, 1, 1]


def test_multiply_adds_by_hand():
    sizes = zip((1, 16, 16, 32, 32, 32, 48, 48), CifarNet().widths, (28, 28, 14, 14, 14, 7, 7, 7), strict=True)
    assert count(CifarNet(), torch.zeros(1, 1, 28, 28)).macs == sum(9 * c * k * s * s for c, k, s in sizes) + 480


def test_seeds_fix_the_weights():
    first, second, third = (CifarNet(random_state=seed).fc.weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_like_keeps_everything_but_the_widths():
    made = CifarNet(channels=3, image_size=12, n_classes=4).like((2,) * 8)
    assert (made.input_shape, made.n_classes, made.widths) == ((3, 12, 12), 4, (2,) * 8)


def test_replaced_blocks_leave_the_network_as_it_was():
    made, x = CifarNet(image_size=8, random_state=0).eval(), torch.rand(3, 1, 8, 8)
    dynamic = made.replaced(FBSConv2d.from_conv, first=2).eval()
    assert torch.allclose(dynamic(x), made(x), atol=1e-5)
    assert [type(block) for block in dynamic.blocks] == [ConvBlock] * 2 + [FBSConv2d] * 6
    assert all(isinstance(block, ConvBlock) for block in made.blocks)


BAD = [
    (lambda: CifarNet(widths=(4,)), "widths must have 8 entries, got 1"),
    (lambda: CifarNet(widths=(0,) * 8), "widths must be at least 1"),
    (lambda: CifarNet(channels=0), "channels must be at least 1"),
    (lambda: CifarNet(image_size=3), "image_size must be at least 4"),
    (lambda: CifarNet()(torch.zeros(1, 1, 8, 8)), r"x must be \(n, 1, 28, 28\)"),
    (lambda: CifarNet().replaced(FBSConv2d.from_conv, first=8), "first must be between 0 and 7"),
    (lambda: CifarNet().replaced(FBSConv2d.from_conv).replaced(FBSConv2d.from_conv), "plain ones"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


KINDS = [
    (lambda: CifarNet(widths=4), "widths must be Sequence, got int"),
    (lambda: CifarNet().replaced(None), "make must be a function, got None"),
    (lambda: CifarNet().replaced(lambda conv, norm: 3), r"make\(conv, norm\) must be Module, got int"),
    (lambda: ConvBlock(1, 2, stride="1"), "stride must be an integer"),
    (lambda: ConvBlock(True, 2), "in_channels must be an integer"),
]


@pytest.mark.parametrize(("call", "message"), KINDS)
def test_the_wrong_kind_of_input(call, message):
    with pytest.raises(TypeError, match=message):
        call()
