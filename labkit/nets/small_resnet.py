"""A residual network for small pictures, in three parts: stem, blocks and head.

He, Zhang, Ren, Sun (2016), arXiv:1512.03385, section 4.2, with fewer channels. Chapter 29.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks, paths
from labkit.dynamic import SGAD
from labkit.dynamic.skipping import check_input
from labkit.nets.resnet import Residual
from labkit.nets.store import read


class SmallResNet(nn.Module):
    """The residual network of 6 n + 2 layers: a 3 x 3 convolution, three stages of n basic blocks, one linear layer.

    Parameters
    ----------
    n : blocks in each stage; 5 gives the paper's 32 layers, 18 its 110
    channels : of the three stages; (16, 32, 64) in the paper. The second and third stage halve height and width
    in_channels : colours of a picture
    n_classes : scores in the output
    stride : of the first convolution; 2 makes the network four times cheaper
    random_state : an int, a NumPy Generator or None, seeds the initial weights

    Raises
    ------
    TypeError, ValueError : not integers, too small, or not three channels.

    The input is (N, in_channels, h, w) with sides of at least 4, the output (N, n_classes) scores before the softmax.
    arXiv:1512.03385, section 4.2. Chapter 29; lecture 003:3109-3112.

    >>> net = SmallResNet(n=5, channels=(16, 32, 64), in_channels=3)
    >>> len(net.blocks), net(torch.zeros(2, 3, 32, 32)).shape
    (15, torch.Size([2, 10]))
    """

    def __init__(
        self,
        *,
        n: int = 2,
        channels: tuple[int, int, int] = (8, 16, 32),
        in_channels: int = 1,
        n_classes: int = 10,
        stride: int = 1,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        checks.integer(n, "n", low=1)
        if not isinstance(channels, tuple | list) or len(channels) != 3:
            raise ValueError(f"channels must be three integers, got {channels!r}")
        sides = [checks.integer(c, "channels", low=1) for c in channels]
        inputs, outputs = (
            checks.integer(v, k, low=1) for k, v in {"in_channels": in_channels, "n_classes": n_classes}.items()
        )
        step = checks.integer(stride, "stride", low=1)
        self.input_shape = (inputs, 28, 28) if inputs == 1 else (inputs, 32, 32)
        with checks.seeded(random_state):
            first = nn.Conv2d(inputs, sides[0], 3, stride=step, padding=1, bias=False)
            self.stem = nn.Sequential(first, nn.BatchNorm2d(sides[0]), nn.ReLU())
            self.blocks = nn.ModuleList(_blocks(n, sides))
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sides[-1], outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores; TypeError or ValueError for x of another kind."""
        x = self.stem(check_input(x, self.input_shape[0]))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _blocks(n: int, sides: list[int]) -> list[Residual]:
    blocks, c_in = [], sides[0]
    for stage, channels in enumerate(sides):
        for k in range(n):
            stride = 2 if stage > 0 and k == 0 else 1
            blocks.append(Residual(c_in, channels, kernels=(3, 3), strided=0, stride=stride))
            c_in = channels
    return blocks


def sgad_net(network: SmallResNet, *, random_state: Any = None) -> SGAD:
    """Return the book's SGAD around a network for digits: a guidance network of two channels, so that it has doubts.

    Raises TypeError if the network is no `SmallResNet`. Chapter 29; lecture 003:3078-3107.

    >>> sgad_net(SmallResNet(), random_state=0).guide[0]
    Conv2d(8, 2, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    """
    parts: Any = checks.instance(network, "network", SmallResNet)
    channels, n_classes = parts.stem[0].out_channels, parts.head[-1].out_features
    return SGAD(network, channels=channels, n_classes=n_classes, guide_hidden=2, random_state=random_state)


def load_sgad() -> SGAD:
    """Return the network that `python -m labkit.experiments sgad` trained, in evaluation mode.

    Raises FileNotFoundError or ValueError if the file is not there or damaged. Chapter 29.

    >>> load_sgad().n_blocks
    9
    """
    path = paths.DATA / "checkpoints" / "sgad-net.safetensors"
    model = sgad_net(SmallResNet(n=3, stride=2))
    try:
        model.load_state_dict(read(path)[0])
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold this network: {error}") from error
    return model.eval()
