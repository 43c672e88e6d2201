"""The LeNet and the binary LeNet of BMXNet, layer for layer as the lecture lists them (003:1267-1322). Chapter 19.

Yang, Fritzsche, Bartz, Meinel (2017), arXiv:1705.09864, Listings 1 and 2. The paper leaves the sizes open; its released
code has 64 and 64 filters and 1,000 hidden units, which gives its 4.6 MB. The default here is the size of `LeNet5`.
"""

from collections import OrderedDict
from typing import Any

from torch import nn

from labkit import checks
from labkit.quantization.binary import METHODS, SignActivation

BMXNET = {"channels": (64, 64), "hidden": 1000}  # the sizes of BMXNet's released example


class LeNet(nn.Sequential):
    """BMXNet's Listing 1: two 5 x 5 convolutions and two linear layers, with tanh and batch normalisation.

    Parameters
    ----------
    channels : filters of the two convolutions; (64, 64) in BMXNet's code
    hidden : units of the first linear layer; 1,000 in BMXNet's code
    random_state : an int, a NumPy Generator or None, seeds the initial weights

    The input is (n, 1, 28, 28), the output (n, 10) scores before the softmax.

    >>> " ".join(name for name, _ in LeNet().named_children())
    'conv1 tanh1 pool1 bn1 conv2 bn2 tanh2 pool2 flatten fc1 bn3 tanh3 fc2'
    """

    input_shape = (1, 28, 28)

    def __init__(self, *, channels: tuple[int, int] = (20, 50), hidden: int = 500, random_state: Any = None) -> None:
        first, second, hidden = _sizes(channels, hidden)
        with checks.seeded(random_state):
            super().__init__(_first(first))
            self.conv2 = nn.Conv2d(first, second, 5)  # (n, second, 8, 8)
            self.bn2, self.tanh2, self.pool2 = nn.BatchNorm2d(second), nn.Tanh(), nn.MaxPool2d(2)
            self.flatten = nn.Flatten()  # (n, 16 second)
            self.fc1 = nn.Linear(16 * second, hidden)
            self.bn3, self.tanh3 = nn.BatchNorm1d(hidden), nn.Tanh()
            self.fc2 = nn.Linear(hidden, 10)


class BinaryLeNet(nn.Sequential):
    """BMXNet's Listing 2: the second convolution and the first linear layer are binary, their inputs signs.

    Parameters
    ----------
    method : "bnn" or "xnor", the kind of the binary layers
    channels, hidden, random_state : as for `LeNet`

    >>> " ".join(name for name, _ in BinaryLeNet().named_children())
    'conv1 tanh1 pool1 bn1 ba1 conv2 bn2 pool2 flatten ba2 fc1 bn3 tanh3 fc2'
    """

    input_shape = (1, 28, 28)

    def __init__(
        self,
        method: str = "bnn",
        *,
        channels: tuple[int, int] = (20, 50),
        hidden: int = 500,
        random_state: Any = None,
    ) -> None:
        linear, conv = METHODS[checks.choice(method, "method", ("bnn", "xnor"))]
        first, second, hidden = _sizes(channels, hidden)
        with checks.seeded(random_state):
            super().__init__(_first(first))
            self.ba1, self.conv2 = SignActivation(), conv(first, second, 5)
            self.bn2, self.pool2, self.flatten = nn.BatchNorm2d(second), nn.MaxPool2d(2), nn.Flatten()
            self.ba2, self.fc1 = SignActivation(), linear(16 * second, hidden)
            self.bn3, self.tanh3 = nn.BatchNorm1d(hidden), nn.Tanh()
            self.fc2 = nn.Linear(hidden, 10)


def _first(channels: int) -> "OrderedDict[str, nn.Module]":
    """Return the layers that both networks begin with: (n, 1, 28, 28) -> (n, channels, 12, 12)."""
    layers = nn.Conv2d(1, channels, 5), nn.Tanh(), nn.MaxPool2d(2), nn.BatchNorm2d(channels)
    return OrderedDict(zip(("conv1", "tanh1", "pool1", "bn1"), layers, strict=True))


def _sizes(channels: Any, hidden: Any) -> tuple[int, int, int]:
    if not isinstance(channels, tuple | list) or len(channels) != 2:
        raise TypeError(f"channels must be two integers, got {channels!r}")
    first, second = (checks.integer(c, "channels", low=1) for c in channels)
    return first, second, checks.integer(hidden, "hidden", low=1)
