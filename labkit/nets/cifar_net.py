"""A chain of eight 3 x 3 convolutions: M-CifarNet, on which feature boosting and suppression was first measured.

The layout (eight convolutions with batch norm, the third and the sixth with stride 2, an average over all places, one
linear layer) is that of Gao et al. (2019), arXiv:1810.05331; the widths are theirs divided by four, for digits.
Chapter 29; lecture 003:3140-3150.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from labkit import checks, paths
from labkit.convolution.window import Window
from labkit.dynamic import FBSConv2d, set_density
from labkit.dynamic.skipping import unbiased
from labkit.nets.network import Network
from labkit.nets.store import read

WIDTHS = (16, 16, 32, 32, 32, 48, 48, 48)
STRIDES = (1, 1, 2, 1, 1, 2, 1, 1)


class ConvBlock(nn.Module):
    """A 3 x 3 convolution without bias, a batch norm and a ReLU; padding keeps the size but for the stride.

    Raises TypeError or ValueError unless channels and stride are integers of at least 1.

    >>> ConvBlock(2, 4, stride=2)(torch.zeros(1, 2, 8, 8)).shape
    torch.Size([1, 4, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = unbiased(in_channels, out_channels, Window(3, stride, 1))
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(norm(conv(x)))."""
        return self.norm(self.conv(x)).relu()


class CifarNet(Network):
    """Eight `blocks` of convolution, batch norm and ReLU, then `fc` on the mean of each channel.

    Parameters
    ----------
    widths : output channels of the eight convolutions, each at least 1
    channels, image_size : of a picture; image_size at least 4
    n_classes : scores in the output
    random_state : int, Generator or None, for the initial weights

    Raises
    ------
    TypeError, ValueError : arguments out of their ranges; in a call a batch of another shape.

    The input is (n, channels, image_size, image_size), the output (n, n_classes) scores before the softmax.

    >>> model = CifarNet(random_state=0)
    >>> sum(p.numel() for p in model.parameters()), model(torch.zeros(2, 1, 28, 28)).shape
    (81818, torch.Size([2, 10]))
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = WIDTHS,
        channels: int = 1,
        image_size: int = 28,
        n_classes: int = 10,
        random_state: Any = None,
    ) -> None:
        checks.integer(channels, "channels", low=1)
        super().__init__(channels=channels, image_size=image_size, smallest=4, width=1.0, n_classes=n_classes)
        self.widths = tuple(checks.integer(w, "widths", low=1) for w in checks.instance(widths, "widths", Sequence))
        if len(self.widths) != len(STRIDES):
            raise ValueError(f"widths must have {len(STRIDES)} entries, got {len(self.widths)}")
        sizes = zip((channels, *self.widths), self.widths, STRIDES, strict=False)
        with checks.seeded(random_state):
            self.blocks = nn.ModuleList(ConvBlock(c, k, stride=stride) for c, k, stride in sizes)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(self.widths[-1], n_classes)

    @property
    def chain(self) -> tuple[tuple[str, str], ...]:
        """The names of (convolution, batch norm) in the order in which they run, for `labkit.pruning.slim`."""
        return tuple((f"blocks.{i}.conv", f"blocks.{i}.norm") for i in range(len(self.blocks)))

    def like(self, widths: tuple[int, ...]) -> "CifarNet":
        """Return an untrained network of other widths for the same pictures.

        >>> CifarNet().like((4,) * 8).widths
        (4, 4, 4, 4, 4, 4, 4, 4)
        """
        channels, side, _ = self.input_shape
        return CifarNet(widths=widths, channels=channels, image_size=side, n_classes=self.n_classes, random_state=0)

    def replaced(self, make: Callable[[nn.Conv2d, nn.BatchNorm2d], nn.Module], *, first: int = 0) -> "CifarNet":
        """Return a copy whose blocks from `first` on are make(conv, norm): the same network with dynamic layers.

        Parameters
        ----------
        make : for instance `FBSConv2d.from_conv`
        first : the first block to replace, from 0 to 7

        Raises
        ------
        TypeError, ValueError : a number out of its range, or blocks that were replaced already.

        >>> CifarNet().replaced(lambda conv, norm: nn.Sequential(conv, norm), first=7).blocks[7][0].stride
        (1, 1)
        """
        first = checks.integer(first, "first", low=0, high=len(self.blocks) - 1)
        checks.function(make, "make")
        made = copy.deepcopy(self)
        for i, (conv, norm) in enumerate(made.layers()):
            if i >= first:
                made.blocks[i] = checks.instance(make(conv, norm), "make(conv, norm)", nn.Module)
        return made

    def layers(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Yield the convolution and the batch norm of each block; ValueError for a block that was replaced.

        >>> len(list(CifarNet().layers()))
        8
        """
        for i, block in enumerate(self.blocks):
            if not isinstance(block, ConvBlock):
                raise ValueError(f"blocks must all be plain ones, got a {type(block).__name__} at {i}")
            yield block.conv, block.norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.checked(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.pool(x).flatten(1))


def load_fbs() -> CifarNet:
    """Return the trained network with feature boosting and suppression, at its density, in evaluation mode.

    Raises FileNotFoundError or ValueError if the file is not there or damaged. Made by
    `python -m labkit.experiments dynamic`. Chapter 29.

    >>> load_fbs().blocks[1].density
    0.5
    """
    path = paths.DATA / "checkpoints" / "fbs-net.safetensors"
    state, header = read(path)
    model = CifarNet(random_state=0).replaced(FBSConv2d.from_conv, first=1)
    try:
        model.load_state_dict(state)
        set_density(model, header["density"])
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold this network: {error}") from error
    return model.eval()
