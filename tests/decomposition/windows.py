"""The convolutions that every test of a layer in place of nn.Conv2d goes through."""

import torch
from torch import nn

WINDOWS = {
    "plain": {},
    "stride": {"stride": 2},
    "two strides": {"stride": (1, 3)},
    "padding": {"padding": 2},
    "two paddings": {"padding": (1, 0)},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid"},
    "dilation": {"dilation": (2, 1), "padding": 1},
    "everything": {"stride": (2, 1), "padding": (3, 1), "dilation": (1, 2)},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "replicate": {"padding": (2, 1), "padding_mode": "replicate", "stride": 2},
    "circular": {"padding": (1, 2), "padding_mode": "circular"},
    "no bias": {"bias": False},
    "groups": {"groups": 2, "padding": 1, "stride": 2},
}
X = torch.randn(2, 4, 9, 10, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def conv(kernel=(3, 2), *, out_channels=8, **arguments):
    """Return a convolution of 4 channels, always with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv2d(4, out_channels, kernel, **arguments).double()
