r"""Runtime neural pruning: an agent looks at each picture and chooses how many groups of channels each layer runs.

Running layer after layer is a chain of decisions. The state is what enters the layer, averaged over its places; the
action a in 1..G is how many of its G groups of output channels run, the first ones first; running costs, and the
last reward is how well the picture is classified. The agent learns the values Q(state, action):

.. math:: r_t = -\alpha \, \frac{\text{multiply-adds that layer } t \text{ ran}}{\text{those of the whole network}},
   \qquad Q(s_t, a_t) \leftarrow r_t + \max_a Q(s_{t+1}, a), \qquad Q(s_T, a_T) \leftarrow r_T - L(y, f(x)).

Lin, Rao, Lu, Zhou (2017), Runtime neural pruning, NeurIPS 2017; lecture 003:3168. Chapter 29.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.dynamic.fbs import n_winners, subsample
from labkit.dynamic.skipping import DynamicLayer, Tensor, bare, check_input, convolve_channels, output_size, per_output


@dataclass(frozen=True)
class Episode:
    """What happened to n pictures in T layers: the scores (n, classes) at the end and, each step of each picture,

    `q` (n, T, G) the values of the actions, `actions` int64 (n, T) from 0 (one group) to G - 1 (all), `costs` (n, T)
    the multiply-adds that ran as shares of the whole network's, and `ran` int64 (n,) their number in all.
    """

    scores: Tensor
    q: Tensor
    actions: Tensor
    costs: Tensor
    ran: Tensor

    def targets(self, losses: Tensor, budget_penalty: float) -> Tensor:
        """Return what Q should have been, (n, T), for the losses (n,) at the end: the right sides of the formula."""
        following = torch.cat([self.q.detach().max(2).values[:, 1:], -losses.detach()[:, None]], 1)
        return following - budget_penalty * self.costs


class RuntimePruning(DynamicLayer):
    """A chain of convolutions with an agent that chooses, for each picture, how many channel groups each one runs.

    Parameters
    ----------
    layers : pairs (convolution, batch norm) in the order in which they run; a ReLU follows each. They are copied
    head : what turns the last output into scores, for instance a pooling and a linear layer
    n_groups : G, the groups into which the channels of each layer are divided, at least 2
    hidden : units of the agent's recurrent cell, at least 1
    random_state : int, Generator or None, for the agent's initial weights

    Raises
    ------
    TypeError, ValueError : no layers, layers that do not fit together, or a number out of its range.

    A call runs the greedy actions. `execution` is "masked" or "gathered": pictures for which the agent chose the same
    groups go through a layer together. `actions` int64 (n, T) and `ran` int64 (n,), the agent's own multiply-adds
    included, are those of the last call. Formula: see the module. Chapter 29.

    >>> layers = [(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)), (nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))]
    >>> head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    >>> model = RuntimePruning(layers, head, random_state=0).eval()
    >>> model(torch.rand(5, 1, 8, 8)).shape, model.actions.shape
    (torch.Size([5, 10]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        layers: Iterable[tuple[nn.Conv2d, nn.BatchNorm2d]],
        head: nn.Module,
        *,
        n_groups: int = 4,
        hidden: int = 32,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        pairs = [bare(conv, norm) for conv, norm in _pairs(layers)]
        _check_chain([conv for conv, _ in pairs])
        self.n_groups = checks.integer(n_groups, "n_groups", low=2)
        self.hidden = checks.integer(hidden, "hidden", low=1)
        self.convs, self.norms = (nn.ModuleList(part) for part in zip(*pairs, strict=True))
        self.head = checks.instance(head, "head", nn.Module)
        with checks.seeded(random_state):
            self.encoders = nn.ModuleList(nn.Linear(conv.in_channels, hidden) for conv, _ in pairs)
            self.cell, self.values = nn.GRUCell(hidden, hidden), nn.Linear(hidden, n_groups)
        self.conv = pairs[0][0]
        self.actions = torch.zeros(0, len(pairs), dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores after greedy actions."""
        return self.episode(x).scores

    def episode(self, x: Tensor, *, exploration: float = 0.0, actions: Tensor | None = None) -> Episode:
        """Run pictures through the layers and return all that the agent saw and did.

        Parameters
        ----------
        x : (n, C, H, W)
        exploration : from 0 to 1, the probability of a random action instead of the greedy one, drawn from torch's
            own stream
        actions : int64 (n, T), to be taken instead

        Raises
        ------
        TypeError, ValueError : x or the actions of another kind, or a number out of its range.

        >>> model = RuntimePruning([(nn.Conv2d(1, 8, 3), None)], nn.Flatten())
        >>> episode = model.episode(torch.rand(2, 1, 3, 3), actions=torch.tensor([[0], [3]]))
        >>> (episode.scores != 0).sum(1) <= torch.tensor([2, 8])
        tensor([True, True])
        """
        x = check_input(x, self.conv.in_channels)
        checks.number(exploration, "exploration", low=0, high=1)
        if actions is not None:
            _check_actions(actions, (len(x), len(self.convs)), self.n_groups)
        runs = torch.ones(len(x), x.shape[1], dtype=torch.bool)  # the channels that hold something
        memory, steps = x.new_zeros(len(x), self.hidden), list[tuple[Tensor, ...]]()
        for t, norm in enumerate(self.norms):
            memory = self.cell(self.encoders[t](subsample(x)).relu(), memory)
            q = self.values(memory)
            action = self._act(q, exploration) if actions is None else actions[:, t]
            outputs = self.running(t, action)
            z, ran, whole = self._convolved(t, x, runs, outputs)
            x, runs = (norm(z) * outputs[:, :, None, None]).relu(), outputs
            steps.append((q, action, ran, torch.full_like(ran, whole)))
        return self._finished(x, steps)

    def running(self, t: int, action: Tensor) -> Tensor:
        """Return, bool (n, K), the output channels of layer t that run after actions int64 (n,).

        Raises TypeError or ValueError for a layer that is not there, or actions of another kind.
        """
        checks.integer(t, "t", low=0, high=len(self.convs) - 1)
        n = checks.instance(action, "action", Tensor).numel()
        _check_actions(action, (n,), self.n_groups, "action")
        channels = cast(nn.Conv2d, self.convs[t]).out_channels
        counts = torch.tensor([n_winners((a + 1) / self.n_groups, channels) for a in range(self.n_groups)])
        return torch.arange(channels) < counts[action][:, None]

    def objective(
        self, *, budget_penalty: float, exploration: float = 0.2, loss: Callable = functional.cross_entropy
    ) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
        r"""Return an objective for training: the squared error of Q plus the loss of the classifier.

        Parameters
        ----------
        budget_penalty : :math:`\alpha`, at least 0: what running everything would cost
        exploration : from 0 to 1, the share of random actions in training
        loss : called as loss(scores, y, reduction="none")

        Raises
        ------
        TypeError, ValueError : a number out of its range.

        The layers learn together with the agent, so they learn to work with some of their channels.

        >>> model = RuntimePruning([(nn.Conv2d(1, 8, 3), None)], nn.Flatten())
        >>> objective = model.objective(budget_penalty=0.5)
        >>> objective(model, torch.rand(2, 1, 3, 3), torch.tensor([0, 1])).shape
        torch.Size([])
        """
        budget_penalty = checks.number(budget_penalty, "budget_penalty", low=0)
        checks.number(exploration, "exploration", low=0, high=1), checks.function(loss, "loss")

        def objective(model: Any, x: Tensor, y: Tensor) -> Tensor:
            episode = model.episode(x, exploration=exploration if model.training else 0.0)
            losses = loss(episode.scores, y, reduction="none")
            taken = episode.q.gather(2, episode.actions[:, :, None]).squeeze(2)
            return (taken - episode.targets(losses, budget_penalty)).square().mean() + losses.mean()

        return objective

    def _act(self, q: Tensor, exploration: float) -> Tensor:
        greedy = q.detach().argmax(1)
        if not exploration:
            return greedy
        return torch.where(torch.rand(len(q)) < exploration, torch.randint(self.n_groups, (len(q),)), greedy)

    def _convolved(self, t: int, x: Tensor, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor, int]:
        """Return the sums, the multiply-adds that the actions ask for (n,), and those of the whole layer."""
        conv = cast(nn.Conv2d, self.convs[t])
        each = per_output(conv) * math.prod(output_size(conv, x))
        asked, whole = inputs.sum(1) * outputs.sum(1) * each, conv.in_channels * conv.out_channels * each
        if self.masked:
            return conv(x), asked, whole
        return *convolve_channels(x, conv, inputs=inputs, outputs=outputs), whole

    def _finished(self, x: Tensor, steps: list[tuple[Tensor, ...]]) -> Episode:
        q, actions, ran, whole = (torch.stack(part, 1) for part in zip(*steps, strict=True))
        self.actions = actions
        self.ran = (whole if self.masked else ran).sum(1) + self.agent_multiply_adds
        return Episode(self.head(x), q, actions, ran / whole.sum(1, keepdim=True), ran.sum(1))

    @property
    def agent_multiply_adds(self) -> int:
        """Multiply-adds of all the agent's decisions about one picture."""
        encoders = sum(encoder.weight.numel() for encoder in cast(Iterable[nn.Linear], self.encoders))
        step = self.cell.weight_ih.numel() + self.cell.weight_hh.numel() + self.values.weight.numel()
        return encoders + len(self.convs) * step

    def multiply_adds(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-adds that ran in the last call: layers, agent, and a linear head."""
        head = sum(m.weight.numel() for m in self.head.modules() if isinstance(m, nn.Linear))
        return int(self.ran.sum()) + head * len(self.ran)


def _pairs(layers: Any) -> list[tuple[Any, Any]]:
    """Return the layers as a list of pairs."""
    pairs = list(checks.instance(layers, "layers", Iterable))
    if not all(isinstance(part, tuple | list) and len(part) == 2 for part in pairs):
        raise TypeError(
            f"layers must be pairs (convolution, batch norm), got {[type(part).__name__ for part in pairs]}"
        )
    return [(conv, norm) for conv, norm in pairs]


def _check_chain(convs: list[nn.Conv2d]) -> None:
    if not convs:
        raise ValueError("layers must hold at least one pair of a convolution and a batch norm, got none")
    for first, second in itertools.pairwise(convs):
        if first.out_channels != second.in_channels:
            raise ValueError(f"layers must fit together, got {first.out_channels} channels into {second.in_channels}")


def _check_actions(actions: Any, shape: tuple[int, ...], n_groups: int, name: str = "actions") -> None:
    if checks.instance(actions, name, Tensor).dtype != torch.int64:
        raise TypeError(f"{name} must be int64, got dtype {actions.dtype}")
    if actions.shape != shape or not 0 <= int(actions.min()) <= int(actions.max()) < n_groups:
        raise ValueError(f"{name} must be {shape} with entries from 0 to {n_groups - 1}, got {tuple(actions.shape)}")
