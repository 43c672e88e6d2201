"""VGG: nothing but 3 x 3 convolutions, 2 x 2 pooling and three linear layers; and a small one for digits.

Simonyan, Zisserman (2015), arXiv:1409.1556, table 1. Chapter 4; lecture 001:20-26, 003:260.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.network import Network

CHANNELS = (64, 128, 256, 512, 512)  # of the five stages; a pooling ends each
LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Network):
    """VGG with 11, 13, 16 or 19 layers that have weights (the paper's A, B, D and E).

    | stage of VGG-16   | output          | parameters  | multiply-adds  |
    |-------------------|-----------------|-------------|----------------|
    | conv1_1, conv1_2  |  64 x 224 x 224 |      38,720 |  1,936,392,192 |
    | conv2_1, conv2_2  | 128 x 112 x 112 |     221,440 |  2,774,532,096 |
    | conv3_1 - conv3_3 | 256 x 56 x 56   |   1,475,328 |  4,624,220,160 |
    | conv4_1 - conv4_3 | 512 x 28 x 28   |   5,899,776 |  4,624,220,160 |
    | conv5_1 - conv5_3 | 512 x 14 x 14   |   7,079,424 |  1,387,266,048 |
    | fc6               | 4096            | 102,764,544 |    102,760,448 |
    | fc7               | 4096            |  16,781,312 |     16,777,216 |
    | fc8               | 1000            |   4,097,000 |      4,096,000 |
    | all               |                 | 138,357,544 | 15,470,264,320 |

    The input is (n, 3, 224, 224), the output (n, n_classes) scores before the softmax. `image_size` (at least 32)
    changes fc6; `width` and `n_classes` as in `Network`; `random_state` seeds the initial weights. Raises TypeError
    or ValueError for bad arguments, another depth, or a batch of another shape.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in VGG(16).parameters())
    138357544
    """

    def __init__(
        self,
        depth: int = 16,
        *,
        image_size: int = 224,
        width: float = 1.0,
        n_classes: int = 1000,
        random_state: Any = None,
    ) -> None:
        super().__init__(channels=3, image_size=image_size, smallest=32, width=width, n_classes=n_classes)
        if checks.integer(depth, "depth", low=1) not in LAYERS:
            raise ValueError(f"depth must be one of {list(LAYERS)}, got {depth!r}")
        hidden, side = self.scaled(4096), image_size // 32
        with checks.seeded(random_state):
            self.features = stages(3, [self.scaled(c) for c in CHANNELS], LAYERS[depth])
            self.fc6 = nn.Linear(self.scaled(CHANNELS[-1]) * side**2, hidden)
            self.fc7 = nn.Linear(hidden, hidden)
            self.fc8 = nn.Linear(hidden, n_classes)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.features(self.checked(x))  # (n, 512, 7, 7)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))  # (n, 4096)
        x = self.dropout(self.relu(self.fc7(x)))  # (n, 4096)
        return self.fc8(x)  # (n, 1000)


class VggSmall(Network):
    """A VGG-like network for MNIST, small enough to train and compress on a laptop: three stages of two convolutions.

    | layer            | output       | parameters | multiply-adds |
    |------------------|--------------|------------|---------------|
    | conv1_1, conv1_2 | 16 x 28 x 28 |      2,448 |     1,919,232 |
    | conv2_1, conv2_2 | 32 x 14 x 14 |     13,824 |     2,709,504 |
    | conv3_1, conv3_2 | 64 x 7 x 7   |     55,296 |     2,709,504 |
    | normalisations   |              |        448 |               |
    | fc1              | 128          |     73,856 |        73,728 |
    | fc2              | 10           |      1,290 |         1,280 |
    | all              |              |    147,162 |     7,413,248 |

    Batch normalisation, which channel pruning and quantization work with, takes the place of the convolutions'
    biases; `batch_norm=False` leaves it out and puts the biases back. The input is (n, 1, 28, 28), the output
    (n, n_classes) scores before the softmax. `image_size` (at least 8), `width`, `n_classes` as in `Network`;
    `random_state` seeds the initial weights. Raises TypeError or ValueError for bad arguments or a batch of another
    shape. Chapters 12 to 20.

    >>> sum(p.numel() for p in VggSmall().parameters())
    147162
    """

    def __init__(
        self,
        *,
        batch_norm: bool = True,
        image_size: int = 28,
        width: float = 1.0,
        n_classes: int = 10,
        random_state: Any = None,
    ) -> None:
        super().__init__(channels=1, image_size=image_size, smallest=8, width=width, n_classes=n_classes)
        channels = [self.scaled(c) for c in (16, 32, 64)]
        hidden, side = self.scaled(128), image_size // 8
        with checks.seeded(random_state):
            self.features = stages(1, channels, (2, 2, 2), batch_norm=checks.instance(batch_norm, "batch_norm", bool))
            self.fc1 = nn.Linear(channels[-1] * side**2, hidden)
            self.fc2 = nn.Linear(hidden, n_classes)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.features(self.checked(x))  # (n, 64, 3, 3)
        x = self.relu(self.fc1(x.flatten(1)))  # (n, 128)
        return self.fc2(x)  # (n, 10)


def stages(c_in: int, channels: list[int], layers: tuple[int, ...], *, batch_norm: bool = False) -> nn.Sequential:
    """Return 3 x 3 convolutions conv1_1, conv1_2, ..., each with its ReLU; a 2 x 2 max pooling ends every stage."""
    modules: dict[str, nn.Module] = {}
    for s, (c_out, n) in enumerate(zip(channels, layers, strict=True), 1):
        for k in range(1, n + 1):
            modules[f"conv{s}_{k}"] = nn.Conv2d(c_in, c_out, 3, padding=1, bias=not batch_norm)
            modules |= {f"norm{s}_{k}": nn.BatchNorm2d(c_out)} if batch_norm else {}
            modules[f"relu{s}_{k}"] = nn.ReLU()
            c_in = c_out
        modules[f"pool{s}"] = nn.MaxPool2d(2)
    net = nn.Sequential()
    for name, module in modules.items():
        net.add_module(name, module)
    return net
