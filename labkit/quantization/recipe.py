r"""How to train a binary network well: a low learning rate, PReLU, a pull towards plus and minus 1, a last scale.

Tang, Hua, Wang (2017), AAAI; lecture 003:1451-1565. Chapter 19.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from labkit import checks
from labkit.decomposition.response import find_layers
from labkit.quantization.parametrized import float_weight

LEARNING_RATE = 1e-4  # where a network with float weights starts at 0.01 or 0.05
LAST_SCALE = 1e-3
PULL = 5e-7  # lambda


def bipolar_penalty(layers: Iterable[str], *, weight: float = PULL) -> Callable[[nn.Module], torch.Tensor]:
    r"""Return the regulariser that draws weights in [-1, 1] to the ends, for `labkit.training.fit`.

    .. math:: J = L + \lambda \sum (1 - W^2), \quad \partial J / \partial W = \partial L / \partial W - 2 \lambda W

    It takes the float weights, behind a quantizer too. Clip them to [-1, 1] (`clipped`), or they run away.

    Parameters
    ----------
    layers : names of linear or convolutional layers
    weight : lambda, at least 0

    Raises TypeError or ValueError for bad arguments, or when it is called with a model without these layers.
    Tang, Hua, Wang (2017), AAAI; lecture 003:1458-1466. Chapter 19.

    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 0.5]]))
    >>> bipolar_penalty(["0"], weight=2.0)(model).item()
    1.5
    """
    strength = checks.number(weight, "weight", low=0)
    names = checks.names(layers, "layers")

    def penalty(model: nn.Module) -> torch.Tensor:
        found = find_layers(model, names, argument="layers")
        return strength * torch.stack([(1 - float_weight(found[name]) ** 2).sum() for name in names]).sum()

    return penalty


class ScaleLayer(nn.Module):
    """One learned number that multiplies everything: the scale layer behind a binary last layer.

    The sums of a binary layer with n inputs reach n in size, and a softmax of such scores is blind: its gradient
    vanishes. A small start makes the scores comparable.

    Parameters
    ----------
    start : value to start from, 0.001 in the paper

    Raises TypeError or ValueError unless it is a finite number. Tang, Hua, Wang (2017), AAAI; lecture 003:1471-1476.
    Chapter 19.

    >>> ScaleLayer()(torch.tensor([500.0, -500.0])).tolist()
    [0.5, -0.5]
    """

    def __init__(self, start: float = LAST_SCALE) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(checks.number(start, "start", low=-float("inf"))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled input."""
        return self.scale * x
