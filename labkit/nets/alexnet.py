"""AlexNet in the two forms that both go by this name and do not cost the same.

Krizhevsky, Sutskever, Hinton (2012), "ImageNet classification with deep convolutional neural networks", split three
layers over two GPUs; Krizhevsky (2014), arXiv:1404.5997, has one tower with fewer channels. Chapter 4;
lecture 002:16-35, 003:271-284.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.network import Network


class AlexNet(Network):
    """AlexNet of 2012: conv2, conv4 and conv5 in two groups, local response normalisation behind conv1 and conv2.

    | layer | weight          | groups | output       | parameters | multiply-adds |
    |-------|-----------------|--------|--------------|------------|---------------|
    | conv1 | 96 x 3 x 11 x 11|      1 | 96 x 55 x 55 |     34,944 |   105,415,200 |
    | conv2 | 256 x 48 x 5 x 5|      2 | 256 x 27 x 27|    307,456 |   223,948,800 |
    | conv3 |384 x 256 x 3 x 3|      1 | 384 x 13 x 13|    885,120 |   149,520,384 |
    | conv4 |384 x 192 x 3 x 3|      2 | 384 x 13 x 13|    663,936 |   112,140,288 |
    | conv5 |256 x 192 x 3 x 3|      2 | 256 x 13 x 13|    442,624 |    74,760,192 |
    | fc1   | 4096 x 9216     |        | 4096         | 37,752,832 |    37,748,736 |
    | fc2   | 4096 x 4096     |        | 4096         | 16,781,312 |    16,777,216 |
    | fc3   | 1000 x 4096     |        | 1000         |  4,097,000 |     4,096,000 |
    | all   |                 |        |              | 60,965,224 |   724,406,816 |

    `groups=1` joins the two halves: conv4 then has 1,327,104 weights. The slide prints 1.3M for it beside the 112M
    multiply-adds of the grouped layer, which has 663,552 (erratum E07).

    The input is (n, 3, 224, 224), the output (n, n_classes) scores before the softmax. `image_size` (at least 63)
    changes fc1; `width` and `n_classes` as in `Network`; `random_state` seeds the initial weights. Raises TypeError
    or ValueError for bad arguments, groups other than 1 and 2, or a batch of another shape.

    >>> with torch.device("meta"):
    ...     net, joined = AlexNet(), AlexNet(groups=1)
    >>> sum(p.numel() for p in net.parameters()), net.conv4.weight.numel(), joined.conv4.weight.numel()
    (60965224, 663552, 1327104)
    """

    channels = (96, 256, 384, 384, 256)  # of the five convolutions

    def __init__(
        self,
        *,
        groups: int = 2,
        image_size: int = 224,
        width: float = 1.0,
        n_classes: int = 1000,
        random_state: Any = None,
    ) -> None:
        super().__init__(channels=3, image_size=image_size, smallest=63, width=width, n_classes=n_classes)
        groups = checks.integer(groups, "groups", low=1, high=2)
        with checks.seeded(random_state):
            self._build(groups)
        self.relu, self.pool, self.dropout = nn.ReLU(), nn.MaxPool2d(3, stride=2), nn.Dropout()
        self.norm: nn.Module = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # torch divides alpha by 5

    def _build(self, groups: int) -> None:
        c1, c2, c3, c4, c5 = (self.scaled(c, multiple=groups) for c in self.channels)
        hidden, side = self.scaled(4096), _side(self.input_shape[1])
        self.conv1 = nn.Conv2d(3, c1, 11, stride=4, padding=2)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(c4, c5, 3, padding=1, groups=groups)
        self.fc1 = nn.Linear(c5 * side**2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, self.n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.pool(self.norm(self.relu(self.conv1(self.checked(x)))))  # (n, 96, 27, 27)
        x = self.pool(self.norm(self.relu(self.conv2(x))))  # (n, 256, 13, 13)
        x = self.relu(self.conv4(self.relu(self.conv3(x))))  # (n, 384, 13, 13)
        x = self.pool(self.relu(self.conv5(x)))  # (n, 256, 6, 6)
        x = self.relu(self.fc1(self.dropout(x.flatten(1))))  # (n, 4096)
        x = self.relu(self.fc2(self.dropout(x)))  # (n, 4096)
        return self.fc3(x)  # (n, 1000)


class AlexNetOneTower(AlexNet):
    """AlexNet of 2014, the form most libraries ship: one tower, no groups, no response normalisation.

    | layer | weight          | parameters | multiply-adds |
    |-------|-----------------|------------|---------------|
    | conv1 | 64 x 3 x 11 x 11|     23,296 |    70,276,800 |
    | conv2 | 192 x 64 x 5 x 5|    307,392 |   223,948,800 |
    | conv3 |384 x 192 x 3 x 3|    663,936 |   112,140,288 |
    | conv4 |256 x 384 x 3 x 3|    884,992 |   149,520,384 |
    | conv5 |256 x 256 x 3 x 3|    590,080 |    99,680,256 |
    | fc1-3 | as in 2012      | 58,631,144 |    58,621,952 |
    | all   |                 | 61,100,840 |   714,188,480 |

    Arguments, input and errors as in `AlexNet`, without `groups`. Chapter 4.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in AlexNetOneTower().parameters())
    61100840
    """

    channels = (64, 192, 384, 256, 256)

    def __init__(
        self, *, image_size: int = 224, width: float = 1.0, n_classes: int = 1000, random_state: Any = None
    ) -> None:
        sizes = {"image_size": image_size, "n_classes": n_classes}
        super().__init__(groups=1, width=width, random_state=random_state, **sizes)
        self.norm = nn.Identity()


def _side(image_size: int) -> int:
    """Return the height of the last pooling: 6 for pictures of 224 pixels."""
    side = (image_size - 7) // 4 + 1  # conv1: kernel 11, stride 4, padding 2
    for _ in range(3):
        side = (side - 3) // 2 + 1  # pooling 3, stride 2; the other convolutions keep the size
    return side
