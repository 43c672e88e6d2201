"""GoogLeNet (Inception v1), without the two auxiliary classifiers that only training uses.

Szegedy et al. (2015), arXiv:1409.4842, table 1. Chapter 4; lecture 001:24, 003:262.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.network import Network

# channels of the branches: 1x1 | 1x1 -> 3x3 | 1x1 -> 5x5 | pooling -> 1x1
BRANCHES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class Unit(nn.Sequential):
    """Convolution and ReLU, with batch normalisation between them in place of a bias unless `batch_norm` is False.

    Raises nothing of its own. Chapter 4.

    >>> Unit(3, 8, 3)(torch.zeros(1, 3, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, batch_norm: bool = True) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=not batch_norm)
        norm = [nn.BatchNorm2d(c_out, eps=0.001)] if batch_norm else []
        super().__init__(conv, *norm, nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side, joined along the channels: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1.

    `channels` are the six numbers of `BRANCHES`, `kernel` the size of the larger window. (n, c_in, h, w) becomes
    (n, c_out, h, w), where c_out adds up the branches. Chapter 4.

    >>> Inception(192, BRANCHES["3a"])(torch.zeros(1, 192, 8, 8)).shape
    torch.Size([1, 256, 8, 8])
    """

    def __init__(self, c_in: int, channels: tuple[int, ...], *, kernel: int = 3, batch_norm: bool = True) -> None:
        super().__init__()
        c1, r3, c3, r5, c5, cp = channels
        same = {"batch_norm": batch_norm}
        self.branch1 = Unit(c_in, c1, 1, **same)
        self.branch2 = nn.Sequential(Unit(c_in, r3, 1, **same), Unit(r3, c3, 3, **same))
        self.branch3 = nn.Sequential(Unit(c_in, r5, 1, **same), Unit(r5, c5, kernel, **same))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), Unit(c_in, cp, 1, **same))
        self.c_out = c1 + c3 + c5 + cp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branches' outputs, joined."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNet(Network):
    """GoogLeNet as libraries ship and count it, or the paper's own with `original=True`.

    | layers        | output          | parameters | multiply-adds |
    |---------------|-----------------|------------|---------------|
    | conv1         |  64 x 112 x 112 |      9,536 |   118,013,952 |
    | conv2, conv3  | 192 x 56 x 56   |    115,200 |   359,661,568 |
    | inception3a-b | 480 x 28 x 28   |    496,096 |   387,358,720 |
    | inception4a-e | 832 x 14 x 14   |  2,653,088 |   518,568,960 |
    | inception5a-b | 1024 x 7 x 7    |  2,325,984 |   113,748,992 |
    | fc            | 1000            |  1,025,000 |     1,024,000 |
    | all           |                 |  6,624,904 | 1,498,376,192 |

    This form has batch normalisation and a 3 x 3 window in the third branch of a block. The paper's has a 5 x 5
    window there, biases and response normalisation: 6,998,552 parameters, the 7.0M of the lecture's tables.
    Multiply-adds are those of convolutions and the linear layer.

    The input is (n, 3, h, w) with sides of at least 32, the output (n, n_classes) scores before the softmax.
    `image_size` only sets `input_shape`; `width`, `n_classes` as in `Network`; `random_state` seeds the initial
    weights. Raises TypeError or ValueError for bad arguments or a batch of another shape.

    >>> with torch.device("meta"):
    ...     [sum(p.numel() for p in GoogLeNet(original=form).parameters()) for form in (False, True)]
    [6624904, 6998552]
    """

    def __init__(
        self,
        *,
        original: bool = False,
        image_size: int = 224,
        width: float = 1.0,
        n_classes: int = 1000,
        random_state: Any = None,
    ) -> None:
        sizes = {"image_size": image_size, "smallest": 32, "n_classes": n_classes}
        super().__init__(channels=3, width=width, any_size=True, **sizes)
        original = checks.instance(original, "original", bool)
        with checks.seeded(random_state):
            self._build(kernel=5 if original else 3, batch_norm=not original)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75) if original else nn.Identity()
        self.average, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.4 if original else 0.2)

    def _build(self, *, kernel: int, batch_norm: bool) -> None:
        c1, c3 = self.scaled(64), self.scaled(192)
        self.conv1 = Unit(3, c1, 7, stride=2, batch_norm=batch_norm)
        self.conv2 = Unit(c1, c1, 1, batch_norm=batch_norm)
        self.conv3 = Unit(c1, c3, 3, batch_norm=batch_norm)
        c_in = c3
        for name, channels in BRANCHES.items():
            block = Inception(c_in, tuple(self.scaled(c) for c in channels), kernel=kernel, batch_norm=batch_norm)
            self.add_module(f"inception{name}", block)
            c_in = block.c_out
        self.fc = nn.Linear(c_in, self.n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.norm(self.pool(self.conv1(self.checked(x))))  # (n, 64, 56, 56)
        x = self.pool(self.norm(self.conv3(self.conv2(x))))  # (n, 192, 28, 28)
        for name in BRANCHES:
            x = self.pool(x) if name in ("4a", "5a") else x
            x = self.get_submodule(f"inception{name}")(x)  # (n, 480, 28, 28), (n, 832, 14, 14), (n, 1024, 7, 7)
        return self.fc(self.dropout(self.average(x).flatten(1)))  # (n, 1000)
