"""The network for street-view house numbers that the lecture counts layer by layer (lecture 000:144-148, 181-217).

The tables are `labkit.lectures.table("svhn_model_params")` and `("svhn_model_ops")`; the layers bear the names used
there. The lecture does not show the activations: a ReLU follows each layer but the last. Chapters 2 and 4.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.nets.network import Network


class Scale(nn.Identity):
    """The lecture's ElemLinearTrans y = k x + b with two fixed numbers; it has no parameters.

    An nn.Identity for whoever counts: the lecture's table gives it no operation, for k can be moved into the
    weights of the next layer. Chapter 2; lecture 000:144.

    >>> Scale(k=1 / 255)(torch.tensor([0.0, 255.0]))
    tensor([0., 1.])
    """

    def __init__(self, *, k: float = 1.0, b: float = 0.0) -> None:
        super().__init__()
        self.k = checks.number(k, "k", low=-1e6, high=1e6)
        self.b = checks.number(b, "b", low=-1e6, high=1e6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return k x + b."""
        return self.k * x + self.b

    def extra_repr(self) -> str:
        """Return the two numbers."""
        return f"k={self.k:.12g}, b={self.b:g}"


class SvhnNet(Network):
    """The lecture's AlexNet-like network: four unpadded convolutions, two linear layers.

    | layer | weight          | output       | parameters | operations |
    |-------|-----------------|--------------|------------|------------|
    | conv0 | 24 x 3 x 5 x 5  | 24 x 36 x 36 |      1,824 |  2,332,800 |
    | conv1 | 32 x 24 x 3 x 3 | 32 x 16 x 16 |      6,944 |  1,769,472 |
    | conv2 | 32 x 32 x 3 x 3 | 32 x 14 x 14 |      9,248 |  1,806,336 |
    | conv3 | 64 x 32 x 3 x 3 | 64 x 5 x 5   |     18,496 |    460,800 |
    | fc0   | 512 x 1600      | 512          |    819,712 |    819,712 |
    | fct   | 10 x 512        | 10           |      5,130 |      5,130 |
    | all   |                 |              |    861,354 |  7,194,250 |

    The lecture counts multiply-adds, with the bias of the linear layers and without that of the convolutions.
    The input is (n, 3, 40, 40) with values from 0 to 255, which `tinp` divides by 255; the output (n, 10) holds the
    scores before the softmax. `image_size` (at least 24), `width`, `n_classes` as in `Network`; `random_state` seeds
    the initial weights. Raises TypeError or ValueError for bad arguments or a batch of another shape.

    >>> sum(p.numel() for p in SvhnNet().parameters())
    861354
    """

    def __init__(
        self, *, image_size: int = 40, width: float = 1.0, n_classes: int = 10, random_state: Any = None
    ) -> None:
        super().__init__(channels=3, image_size=image_size, smallest=24, width=width, n_classes=n_classes)
        side = ((image_size - 4) // 2 - 4) // 2 - 2  # behind conv3
        c0, c1, c3, hidden = (self.scaled(c) for c in (24, 32, 64, 512))
        self.tinp = Scale(k=1 / 255)
        with checks.seeded(random_state):
            self.conv0, self.mxpool0 = nn.Conv2d(3, c0, 5), nn.MaxPool2d(2)
            self.conv1 = nn.Conv2d(c0, c1, 3)
            self.conv2, self.mxpool1 = nn.Conv2d(c1, c1, 3), nn.MaxPool2d(2)
            self.conv3 = nn.Conv2d(c1, c3, 3)
            self.fc0 = nn.Linear(c3 * side**2, hidden)
            self.fct = nn.Linear(hidden, n_classes)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.tinp(self.checked(x))  # (n, 3, 40, 40)
        x = self.mxpool0(self.relu(self.conv0(x)))  # (n, 24, 18, 18)
        x = self.relu(self.conv1(x))  # (n, 32, 16, 16)
        x = self.mxpool1(self.relu(self.conv2(x)))  # (n, 32, 7, 7)
        x = self.relu(self.conv3(x))  # (n, 64, 5, 5)
        x = self.relu(self.fc0(x.flatten(1)))  # (n, 512)
        return self.fct(x)  # (n, 10)
