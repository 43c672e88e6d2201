"""LeNet-300-100 and LeNet-5, the two small networks that most papers on pruning and factorisation start from.

LeCun, Bottou, Bengio, Haffner (1998), doi:10.1109/5.726791; LeNet-5 in the form of the Caffe library's MNIST
example, which Han, Mao, Dally (2016), arXiv:1510.00149, compress. Chapter 5.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks


class LeNet300(nn.Module):
    """LeNet-300-100: three fully connected layers, ReLU between them.

    | layer | weight    | parameters |
    |-------|-----------|------------|
    | fc1   | 300 x 784 |    235,500 |
    | fc2   | 100 x 300 |     30,100 |
    | fc3   |  10 x 100 |      1,010 |
    | all   |           |    266,610 |

    `random_state` (an int, a NumPy Generator or None) seeds the initial weights. The input is (n, 1, 28, 28) or
    (n, 784), the output (n, 10) scores before the softmax.

    >>> sum(p.numel() for p in LeNet300().parameters())
    266610
    """

    input_shape = (1, 28, 28)

    def __init__(self, *, random_state: Any = None) -> None:
        super().__init__()
        with checks.seeded(random_state):
            self.fc1 = nn.Linear(784, 300)
            self.fc2 = nn.Linear(300, 100)
            self.fc3 = nn.Linear(100, 10)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = x.flatten(1)  # (n, 784)
        x = self.relu(self.fc1(x))  # (n, 300)
        x = self.relu(self.fc2(x))  # (n, 100)
        return self.fc3(x)  # (n, 10)


class LeNet5(nn.Module):
    """LeNet-5 with 20 and 50 filters: two unpadded 5 x 5 convolutions with 2 x 2 max pooling, two linear layers.

    | layer | weight          | parameters |
    |-------|-----------------|------------|
    | conv1 | 20 x 1 x 5 x 5  |        520 |
    | conv2 | 50 x 20 x 5 x 5 |     25,050 |
    | fc1   | 500 x 800       |    400,500 |
    | fc2   | 10 x 500        |      5,010 |
    | all   |                 |    431,080 |

    As in Caffe the only ReLU follows fc1. `random_state` (an int, a NumPy Generator or None) seeds the initial
    weights. The input is (n, 1, 28, 28), the output (n, 10) scores before the softmax.

    >>> sum(p.numel() for p in LeNet5().parameters())
    431080
    """

    input_shape = (1, 28, 28)

    def __init__(self, *, random_state: Any = None) -> None:
        super().__init__()
        with checks.seeded(random_state):
            self.conv1 = nn.Conv2d(1, 20, 5)
            self.conv2 = nn.Conv2d(20, 50, 5)
            self.fc1 = nn.Linear(800, 500)
            self.fc2 = nn.Linear(500, 10)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.pool(self.conv1(x))  # (n, 20, 12, 12)
        x = self.pool(self.conv2(x))  # (n, 50, 4, 4)
        x = self.relu(self.fc1(x.flatten(1)))  # (n, 500)
        return self.fc2(x)  # (n, 10)
