r"""Gated XNOR networks (GXNOR): ternary weights and activations, trained without a float copy of the weights.

A weight is one of the 2^N + 1 states of Z_N, evenly spaced in [-1, 1]; N = 1 gives {-1, 0, 1}. A step of the
optimizer is a wish: it moves the weight by whole states, and by one more with a probability. A product with a zero
weight or a zero activation needs no XNOR at all, which is the gate in the name. The slide calls the gradient binary;
it is not, what is discrete is the weight during the training.
Deng, Jiao, Pei, Wu, Li (2018), arXiv:1705.09283; lecture 003:1346-1364. Chapter 19.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.response import find_layers
from labkit.quantization.estimators import straight_through
from labkit.quantization.parametrized import checked_weight

STEEPNESS = 3.0  # m of the paper and of its program


def discrete_states(n: int = 1) -> np.ndarray:
    """Return Z_n, the 2^n + 1 values that a weight may take.

    `n` is an int between 0 (binary) and 12. Raises TypeError or ValueError otherwise. Deng et al. (2018),
    arXiv:1705.09283. Chapter 19.

    >>> discrete_states(1).tolist(), discrete_states(2).tolist()
    ([-1.0, 0.0, 1.0], [-1.0, -0.5, 0.0, 0.5, 1.0])
    """
    return np.linspace(-1, 1, 2 ** checks.integer(n, "n", low=0, high=12) + 1)


def transition_probability(remainder: Any, *, n: int = 1, m: float = STEEPNESS) -> np.ndarray:
    r"""Return the probability of one more state: tanh(m abs(remainder) / step), with step = 2^(1-n).

    Parameters
    ----------
    remainder : what is left of the wanted changes after whole states, of any shape
    n : number of the space Z_n
    m : steepness, above 0

    Raises TypeError or ValueError for other arguments. Deng et al. (2018), arXiv:1705.09283. Chapter 19.

    >>> transition_probability([0.0, 0.5]).round(4).tolist()
    [0.0, 0.9051]
    """
    step = 2.0 ** (1 - checks.integer(n, "n", low=0, high=12))
    return np.tanh(checks.positive(m, "m") * np.abs(checks.array(remainder, "remainder")) / step)


def state_transition(
    weight: torch.Tensor, change: torch.Tensor, *, n: int = 1, m: float = STEEPNESS, random_state: Any = None
) -> torch.Tensor:
    r"""Return the discrete state transition of weights in Z_n for the change that an optimizer wants.

    The change is first held in [-1 - w, 1 - w]. With step :math:`\Delta z`, :math:`\kappa` whole states in it and the
    remainder :math:`\nu`, the new weight is

    .. math:: w + (\kappa + \operatorname{sign}(\rho)\, b) \Delta z, \quad
       P(b = 1) = \tanh(m |\nu| / \Delta z), \quad \rho = \kappa \Delta z + \nu.

    Parameters
    ----------
    weight : tensor with values in Z_n
    change : tensor of the same shape
    n, m : as for `transition_probability`
    random_state : an int or a NumPy Generator; None draws from torch's own stream, which
        `labkit.training.fit(random_state=...)` fixes

    Raises
    ------
    TypeError, ValueError : shapes that differ, weights outside of Z_n, NaN, or an argument outside its range.

    Deng et al. (2018), arXiv:1705.09283; lecture 003:1346-1364. Chapter 19.

    >>> w = torch.tensor([-1.0, 0.0, 1.0, 0.0])
    >>> state_transition(w, torch.tensor([2.0, -5.0, 3.0, 0.0]))
    tensor([ 1., -1.,  1.,  0.])
    """
    _check_states(weight, change, n)
    step, steepness = 2.0 ** (1 - n), checks.positive(m, "m")
    wanted = torch.minimum(torch.maximum(change, -1 - weight), 1 - weight)  # rho
    whole = (wanted / step).trunc()  # kappa
    chance = torch.tanh(steepness * (wanted / step - whole).abs())
    more = _uniform(weight, random_state) < chance
    return weight + (whole + wanted.sign() * more) * step


class TernaryActivation(nn.Module):
    r"""Activations in {-1, 0, 1} with a derivative of two windows.

    .. math:: \varphi(x) = \operatorname{sign}(x) 1_{|x| > r}, \quad
       \varphi'(x) \approx \tfrac{1}{2a} 1_{r - a \le |x| \le r + a}.

    Parameters
    ----------
    r : half the width of the zero window, at least 0; the larger, the more zeros
    a : half the width of each window of the derivative, above 0

    Raises TypeError or ValueError for other arguments. Deng et al. (2018), arXiv:1705.09283;
    lecture 003:1346-1364. Chapter 19.

    >>> x = torch.tensor([-2.0, -0.6, 0.3, 0.9], requires_grad=True)
    >>> y = TernaryActivation(r=0.5, a=0.25)(x)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([-1.0, -1.0, 0.0, 1.0], [0.0, 2.0, 2.0, 0.0])
    """

    def __init__(self, *, r: float = 0.5, a: float = 0.5) -> None:
        super().__init__()
        self.r, self.a = checks.number(r, "r", low=0), checks.positive(a, "a")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the ternary activations."""
        value = x.detach()
        slope = ((value.abs() - self.r).abs() <= self.a) / (2 * self.a)
        return straight_through(slope * x, value.sign() * (value.abs() > self.r))

    def extra_repr(self) -> str:
        """Return what print(model) shows."""
        return f"r={self.r}, a={self.a}"


@torch.no_grad()
def start_discrete(
    model: nn.Module, layers: Iterable[str] | None = None, *, n: int = 1, random_state: Any = None
) -> list[nn.Parameter]:
    """Give the layers' weights independent states, each state of Z_n equally likely; return these parameters.

    A start from small float weights, rounded, would be almost all zeros and would stay so.

    Parameters
    ----------
    model : the network, changed in place
    layers : names of linear or convolutional layers; None for all
    n : number of the space Z_n
    random_state : an int, a NumPy Generator or None

    Raises
    ------
    TypeError, ValueError : a layer that the model does not have, or an argument outside its range.

    Deng et al. (2018), arXiv:1705.09283. Chapter 19.

    >>> model = nn.Sequential(nn.Linear(20, 10))
    >>> [weight] = start_discrete(model, random_state=0)
    >>> weight.unique().tolist()
    [-1.0, 0.0, 1.0]
    """
    states, generator = discrete_states(n), checks.generator(random_state)
    found = find_layers(model, None if layers is None else checks.names(layers, "layers"), argument="layers")
    if not found:
        raise ValueError("model must hold at least one layer with a weight, got none")
    for layer in found.values():
        layer.weight.copy_(torch.from_numpy(generator.choice(states, tuple(layer.weight.shape))))
    return [layer.weight for layer in found.values()]


class DiscreteAdam(torch.optim.Adam):
    """Adam whose steps move the discrete weights by state transitions; all other parameters move as usual.

    Between two steps nothing but the states is kept of the weights. Adam's two moments are floats, as in the
    published program: what needs no full precision is the weights, not the optimizer.

    Parameters
    ----------
    params : all parameters
    discrete : those that `start_discrete` returned, in Z_n
    n, m : as for `state_transition`
    lr, betas, ... : as for Adam; a step of size lr moves a weight with probability of about m lr / step

    Raises TypeError or ValueError for a bad argument. `functools.partial(DiscreteAdam, discrete=...)` is an
    `optimizer` for `labkit.training.fit`. Deng et al. (2018), arXiv:1705.09283. Chapter 19.

    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> steps = DiscreteAdam(model.parameters(), discrete=start_discrete(model, random_state=0), lr=0.5)
    >>> model(torch.eye(3)).sum().backward()
    >>> steps.step()
    >>> set(model[0].weight.flatten().tolist()) <= {-1.0, 0.0, 1.0}
    True
    """

    def __init__(
        self, params: Any, *, discrete: Sequence[nn.Parameter], n: int = 1, m: float = STEEPNESS, **settings: Any
    ) -> None:
        super().__init__(params, **settings)
        self.discrete, self.n, self.m = _parameters(discrete), n, checks.positive(m, "m")
        for weight in self.discrete:
            _check_states(weight, weight, n)
        self._before: list[torch.Tensor] = []  # filled during a step only
        self.register_step_pre_hook(lambda *_: self._remember())
        self.register_step_post_hook(lambda *_: self._transit())

    @torch.no_grad()
    def _remember(self) -> None:
        self._before = [weight.clone() for weight in self.discrete]

    @torch.no_grad()
    def _transit(self) -> None:
        for weight, old in zip(self.discrete, self._before, strict=True):
            weight.copy_(state_transition(old, weight - old, n=self.n, m=self.m))
        self._before = []


def gated_share(weight: Any, activation: Any) -> float:
    """Return the fraction of the products of weights with activations that are 0 and need no XNOR, both as drawn.

    With independent zeros it is 1 - (1 - zeros of the weights)(1 - zeros of the activations).
    Raises TypeError or ValueError unless both are finite real arrays. Deng et al. (2018), arXiv:1705.09283. Chapter 19.

    >>> gated_share([-1, 0, 1], [1, 0])
    0.6666666666666667
    """
    busy = [float(np.mean(checks.array(v, name) != 0)) for v, name in ((weight, "weight"), (activation, "activation"))]
    return 1 - busy[0] * busy[1]


def _parameters(discrete: Any) -> list[torch.Tensor]:
    made = discrete if isinstance(discrete, list | tuple) else []
    if not made or not all(isinstance(weight, torch.Tensor) for weight in made):
        raise TypeError(f"discrete must be the list of parameters of start_discrete, got {type(discrete).__name__}")
    return list(made)


def _check_states(weight: torch.Tensor, change: torch.Tensor, n: int) -> None:
    checked_weight(weight), checked_weight(change, "change")
    if weight.shape != change.shape:
        raise ValueError(f"change must have the shape {tuple(weight.shape)} of weight, got {tuple(change.shape)}")
    place = (weight.detach() + 1) * 2.0 ** (checks.integer(n, "n", low=0, high=12) - 1)
    if not ((place == place.round()) & (place >= 0) & (place <= 2**n)).all():
        raise ValueError(f"weight must hold only the {2**n + 1} states of Z_{n}, got others; see start_discrete")


def _uniform(x: torch.Tensor, random_state: Any) -> torch.Tensor:
    if random_state is None:
        return torch.rand_like(x, requires_grad=False)
    return torch.from_numpy(checks.generator(random_state).random(tuple(x.shape))).to(x)
