"""A small network of 3 x 3 convolutions, in three forms: direct, by Winograd, and with the ReLU in the Winograd domain.

After X. Liu, J. Pool, S. Han, W. J. Dally, Efficient sparse-Winograd convolutional neural networks, ICLR 2018, whose
networks are larger. Chapter 24.
"""

from typing import Any

import torch
from torch import nn

from labkit import checks, paths
from labkit.convolution import SparseWinogradConv2d
from labkit.nets.store import read

FORMS = ("direct", "winograd", "winograd relu")


class WinogradNet(nn.Module):
    """Three 3 x 3 convolutions with padding, 2 x 2 max pooling after the first two, one linear layer.

    Parameters
    ----------
    form : "direct" (plain convolutions), "winograd" (conv2 and conv3 hold transformed weights, F(2 x 2, 3 x 3)) or
        "winograd relu" (their ReLU acts on the transformed inputs too)
    random_state : int, Generator or None, for the initial weights

    | layer | weights, direct | weights, Winograd |
    |-------|-----------------|-------------------|
    | conv1 | 16 x 1 x 3 x 3  | the same          |
    | conv2 | 32 x 16 x 3 x 3 | 32 x 16 x 4 x 4   |
    | conv3 | 32 x 32 x 3 x 3 | 32 x 32 x 4 x 4   |
    | fc    | 10 x 1568       | the same          |

    The input is (n, 1, 28, 28), the output (n, 10) scores before the softmax. Raises ValueError for another form.

    >>> WinogradNet("winograd relu", random_state=0)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    input_shape = (1, 28, 28)
    sparse_layers = ("conv2", "conv3")

    def __init__(self, form: str = "winograd relu", *, random_state: Any = None) -> None:
        super().__init__()
        self.form = checks.choice(form, "form", FORMS)
        with checks.seeded(random_state):
            self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
            self.conv2, self.conv3 = (self._layer(*sizes) for sizes in ((16, 32), (32, 32)))
            self.fc = nn.Linear(1568, 10)
        self.pool, self.relu = nn.MaxPool2d(2), nn.ReLU()
        self.between = nn.Identity() if form == "winograd relu" else nn.ReLU()

    def _layer(self, c_in: int, c_out: int) -> nn.Module:
        plain = nn.Conv2d(c_in, c_out, 3, padding=1)
        if self.form == "direct":
            return plain
        return SparseWinogradConv2d.from_conv(plain, m=2, relu=self.form == "winograd relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores."""
        x = self.conv2(self.between(self.pool(self.conv1(x))))  # (n, 32, 14, 14)
        x = self.conv3(self.between(self.pool(x)))  # (n, 32, 7, 7)
        return self.fc(self.relu(x).flatten(1))  # (n, 10)

    def prune(self, sparsity: float) -> None:
        """Prune conv2 and conv3; raises ValueError if the form is direct, and as `SparseWinogradConv2d.prune`."""
        layers = [getattr(self, name) for name in self.sparse_layers]
        if self.form == "direct":
            raise ValueError("form must be one with transformed weights to prune them, got 'direct'")
        for layer in layers:
            layer.prune(sparsity)


def load_winograd() -> WinogradNet:
    """Return the network that `python -m labkit.experiments sparse-winograd` trained and pruned, in evaluation mode.

    Raises FileNotFoundError or ValueError if the file is not there or damaged. Chapter 24.

    >>> round(load_winograd().conv2.density, 2)
    0.4
    """
    path = paths.DATA / "checkpoints" / "sparse-winograd.safetensors"
    model = WinogradNet("winograd relu")
    try:
        model.load_state_dict(read(path)[0])
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold this network: {error}") from error
    return model.eval()
