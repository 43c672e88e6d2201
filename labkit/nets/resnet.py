"""ResNet: blocks that add what they compute to their input.

He, Zhang, Ren, Sun (2016), arXiv:1512.03385, table 1. Chapter 4; lecture 001:26, 003:265, 320-380.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.network import Network

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CHANNELS = (64, 128, 256, 512)


class Residual(nn.Module):
    """A residual block: the convolutions `kernels` on one side, the input on the other, their sum through a ReLU.

    `kernels` is (3, 3), the basic block, or (1, 3, 1), the bottleneck, whose last convolution widens 4 times;
    `strided` is the number of the convolution that has the stride. Where the shape changes, a 1 x 1 convolution
    brings the input to it. (n, c_in, h, w) becomes (n, c_out, h / stride, w / stride). Chapter 4.

    >>> Residual(64, 64, kernels=(1, 3, 1), strided=1, stride=2)(torch.zeros(1, 64, 8, 8)).shape
    torch.Size([1, 256, 4, 4])
    """

    def __init__(self, c_in: int, channels: int, *, kernels: tuple[int, ...], strided: int, stride: int) -> None:
        super().__init__()
        c_out = channels * (4 if len(kernels) == 3 else 1)
        sides = [c_in, *[channels] * (len(kernels) - 1), c_out]
        self.relu, self.depth = nn.ReLU(), len(kernels)
        for i, kernel in enumerate(kernels):
            step = stride if i == strided else 1
            conv = nn.Conv2d(sides[i], sides[i + 1], kernel, stride=step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(sides[i + 1]))
        self.downsample: nn.Module | None = None
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(f(x) + x)."""
        return self.relu(self.branch(x) + self.shortcut(x))

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """Return f(x), what the convolutions compute."""
        y = x
        for i in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = self.relu(y) if i < self.depth else y
        return y

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, brought to the shape of the output where that differs."""
        return x if self.downsample is None else self.downsample(x)


class ResNet(Network):
    """ResNet with 18, 34, 50, 101 or 152 layers; from 50 on the blocks are bottlenecks.

    | depth | blocks         | parameters | multiply-adds  | with `original=True` |
    |-------|----------------|------------|----------------|----------------------|
    |    18 | 2, 2, 2, 2     | 11,689,512 |  1,814,073,344 |        1,814,073,344 |
    |    34 | 3, 4, 6, 3     | 21,797,672 |  3,663,761,408 |        3,663,761,408 |
    |    50 | 3, 4, 6, 3     | 25,557,032 |  4,089,184,256 |        3,857,973,248 |
    |   101 | 3, 4, 23, 3    | 44,549,160 |  7,801,405,440 |        7,570,194,432 |
    |   152 | 3, 8, 36, 3    | 60,192,808 | 11,513,626,624 |       11,282,415,616 |

    Multiply-adds are those of convolutions and the linear layer. Libraries give the stride of a bottleneck to its
    3 x 3 convolution; the paper, whose table says 3.8 and 11.3 billion for 50 and 152 layers, to its first 1 x 1
    (`original=True`). Slide 001:26 prints 19.4M parameters for ResNet-152 (erratum E25).

    The input is (n, 3, h, w) with sides of at least 32, the output (n, n_classes) scores before the softmax.
    `image_size` only sets `input_shape`; `width`, `n_classes` as in `Network`; `random_state` seeds the initial
    weights. Raises TypeError or ValueError for bad arguments, another depth, or a batch of another shape.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in ResNet(152).parameters())
    60192808
    """

    def __init__(
        self,
        depth: int = 18,
        *,
        original: bool = False,
        image_size: int = 224,
        width: float = 1.0,
        n_classes: int = 1000,
        random_state: Any = None,
    ) -> None:
        sizes = {"image_size": image_size, "smallest": 32, "n_classes": n_classes}
        super().__init__(channels=3, width=width, any_size=True, **sizes)
        if checks.integer(depth, "depth", low=1) not in BLOCKS:
            raise ValueError(f"depth must be one of {list(BLOCKS)}, got {depth!r}")
        kernels = (3, 3) if depth < 50 else (1, 3, 1)
        strided = 0 if checks.instance(original, "original", bool) or depth < 50 else 1
        with checks.seeded(random_state):
            self._build(BLOCKS[depth], kernels, strided)
        self.relu, self.maxpool, self.avgpool = nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.AdaptiveAvgPool2d(1)

    def _build(self, blocks: tuple[int, ...], kernels: tuple[int, ...], strided: int) -> None:
        c_in = self.scaled(CHANNELS[0])
        self.conv1 = nn.Conv2d(3, c_in, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        for s, (n, channels) in enumerate(zip(blocks, map(self.scaled, CHANNELS), strict=True), 1):
            layer = nn.Sequential()
            for k in range(n):
                stride = 2 if k == 0 and s > 1 else 1
                layer.append(Residual(c_in, channels, kernels=kernels, strided=strided, stride=stride))
                c_in = channels * (4 if len(kernels) == 3 else 1)
            self.add_module(f"layer{s}", layer)
        self.fc = nn.Linear(c_in, self.n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.checked(x)))))  # (n, 64, 56, 56)
        for s in range(1, 5):
            x = self.get_submodule(f"layer{s}")(x)  # (n, 512, 7, 7) at the end, 2048 channels from depth 50 on
        return self.fc(self.avgpool(x).flatten(1))  # (n, 1000)
