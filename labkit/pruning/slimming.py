r"""Network slimming: an L1 penalty on the scales of batch norms; then the channels of small scale are removed.

.. math:: L = \sum_{(x, y)} l(y, f(x)) + \lambda \sum_{\gamma} |\gamma|, \qquad
   \text{kept} = \{ c : |\gamma_c| > \text{the q-quantile of all scales} \}.

What remains is a smaller dense network, fast with any library. Liu, Li, Shen, Huang, Yan, Zhang (2017),
arXiv:1708.06519; lecture 003:3144-3172. Chapters 12 and 29.
"""

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labkit import checks

Tensor = torch.Tensor
Kept = Mapping[str, Sequence[int]]
Build = Callable[[tuple[int, ...]], nn.Module]


@dataclass(frozen=True)
class SlimmingRecipe:
    """What is left of a network: for each batch norm, by name and in the order of the layers, the channels kept.

    A smaller network cannot be loaded without knowing its widths; this says them, and where each channel came from.
    Raises ValueError if it keeps nothing, or a list is not a set of channels in rising order.

    >>> SlimmingRecipe({"norm1": (0, 3), "norm2": (1,)}).widths
    (2, 1)
    """

    kept: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        if not checks.instance(self.kept, "kept", Mapping):
            raise ValueError("kept must name at least one batch norm, got none")
        for name, channels in self.kept.items():
            checks.instance(name, "kept", str), checks.instance(channels, f"kept[{name!r}]", Sequence)
            cleaned = tuple(checks.integer(c, f"kept[{name!r}]", low=0) for c in channels)
            if not cleaned or list(cleaned) != sorted(set(cleaned)):
                raise ValueError(f"kept[{name!r}] must hold channels in rising order, at least one, got {channels}")
        object.__setattr__(self, "kept", {name: tuple(map(int, channels)) for name, channels in self.kept.items()})

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of channels of each layer."""
        return tuple(len(channels) for channels in self.kept.values())

    def to_json(self) -> str:
        """Return the recipe as text, for the header of a file.

        >>> SlimmingRecipe({"norm": (0, 2)}).to_json()
        '{"norm": [0, 2]}'
        """
        return json.dumps({name: list(channels) for name, channels in self.kept.items()})

    @classmethod
    def from_json(cls, text: str) -> "SlimmingRecipe":
        """Return the recipe that `to_json` wrote; ValueError if it did not.

        >>> SlimmingRecipe.from_json('{"norm": [0, 2]}').widths
        (2,)
        """
        try:
            return cls({name: tuple(channels) for name, channels in json.loads(text).items()})
        except (AttributeError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"text must be a recipe in JSON, got {text!r}: {error}") from error


def scale_penalty(weight: float) -> Callable[[nn.Module], Tensor]:
    r"""Return a regularizer for training: the sum of the absolute scales of all batch norms, times a weight.

    Parameters
    ----------
    weight : :math:`\lambda`, at least 0; 1e-4 and 1e-5 in the paper

    Raises
    ------
    TypeError, ValueError : a number out of its range; later, a model without batch norms.

    Formula: :math:`\lambda \sum |\gamma|`, with the gradient :math:`\lambda \operatorname{sign} \gamma` (0 at 0).
    Liu et al. (2017), equation (1). Chapters 12 and 29.

    >>> scale_penalty(0.5)(nn.BatchNorm2d(4)).item()
    2.0
    """
    weight = checks.number(weight, "weight", low=0)

    def regularizer(model: nn.Module) -> Tensor:
        return weight * torch.cat([norm.weight.abs() for norm in batch_norms(model).values()]).sum()

    return regularizer


def batch_norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the batch norms of a model that have scales, by name; TypeError for no module, ValueError for none.

    >>> list(batch_norms(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))))
    ['1']
    """
    modules = checks.instance(model, "model", nn.Module).named_modules()
    found = {name: m for name, m in modules if isinstance(m, nn.BatchNorm2d) and m.weight is not None}
    if not found:
        raise ValueError(f"model must have batch norms with scales, got a {type(model).__name__} without any")
    return found


def select_channels(model: nn.Module, *, sparsity: float, min_channels: int = 1) -> SlimmingRecipe:
    """Choose the channels with the largest scales among all layers together.

    Parameters
    ----------
    model : a network with batch norms
    sparsity : the share of all channels to remove, from 0 to below 1, rounded down to whole channels
    min_channels : the best of each layer that stay in any case, at least 1; they may leave more than was asked for

    Raises
    ------
    TypeError, ValueError : no module, no batch norms, scales that are not finite, or a number out of its range.

    Among equal scales those of earlier channels stay. Liu et al. (2017): one threshold for the whole
    network. Chapters 12 and 29.

    >>> norm = nn.BatchNorm2d(4)
    >>> norm.weight.data = torch.tensor([0.1, -0.9, 0.5, 0.2])
    >>> select_channels(norm, sparsity=0.5).kept
    {'': (1, 2)}
    """
    share = checks.number(sparsity, "sparsity", low=0)
    if share >= 1:
        raise ValueError(f"sparsity must be below 1, got {sparsity}")
    checks.integer(min_channels, "min_channels", low=1)
    scales = {name: norm.weight.detach().abs() for name, norm in batch_norms(model).items()}
    every = torch.cat(list(scales.values()))
    if not every.isfinite().all():
        raise ValueError("model must have finite scales, got NaN or infinity")
    kept = torch.zeros(len(every), dtype=torch.bool)
    kept[every.argsort(descending=True, stable=True)[: len(every) - int(share * len(every) + 1e-9)]] = True
    parts = zip(scales.items(), kept.split([len(s) for s in scales.values()]), strict=True)
    return SlimmingRecipe({name: _at_least(scale, part, min_channels) for (name, scale), part in parts})


def mask_channels(model: nn.Module, recipe: SlimmingRecipe) -> nn.Module:
    """Return a copy of a model in which the removed channels are zero behind their batch norm: scale and shift are 0.

    It computes what the slimmed network does, at the cost of the whole one. Raises TypeError or ValueError if the
    recipe does not fit the model. Chapters 12 and 29.

    >>> masked = mask_channels(nn.Sequential(nn.BatchNorm2d(3)), SlimmingRecipe({"0": (1,)}))
    >>> masked[0].weight.tolist()
    [0.0, 1.0, 0.0]
    """
    _check_recipe(model, recipe)
    model = copy.deepcopy(model)
    for name, norm in batch_norms(model).items():
        removed = torch.ones(norm.num_features, dtype=torch.bool)
        removed[list(recipe.kept.get(name, range(norm.num_features)))] = False
        norm.weight.data[removed] = 0
        norm.bias.data[removed] = 0
    return model


def slim(
    model: nn.Module, recipe: SlimmingRecipe, *, chain: Iterable[tuple[str, str]], last: str, build: Build
) -> nn.Module:
    """Return a smaller network that holds only the channels kept, in the model's mode.

    Parameters
    ----------
    model : a chain of convolutions, each with a batch norm and a ReLU, and a linear layer at the end; whatever lies
        between must keep zero channels zero and not mix channels (pooling does)
    recipe : from `select_channels`
    chain : the names of (convolution, batch norm) in the order in which they run
    last : the name of the linear layer; each channel before it may have become several of its inputs, side by side
    build : called as build(widths), returns a network of these widths with the same names

    Raises
    ------
    TypeError, ValueError : names or widths that do not fit.

    A shift of a removed channel is lost, which further training makes up for. Liu et al. (2017). Chapters 12 and 29.

    >>> def build(widths):
    ...     (c,) = widths
    ...     head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 2)]
    ...     return nn.Sequential(nn.Conv2d(1, c, 3), nn.BatchNorm2d(c), nn.ReLU(), *head)
    >>> model = build((4,))
    >>> small = slim(model, SlimmingRecipe({"1": (0, 3)}), chain=[("0", "1")], last="5", build=build)
    >>> small[0].weight.shape, torch.equal(small[0].weight, model[0].weight[[0, 3]])
    (torch.Size([2, 1, 3, 3]), True)
    """
    _check_recipe(model, recipe)
    state, before = dict(model.state_dict()), None
    pairs = _pairs(chain)
    if [norm for _, norm in pairs] != list(recipe.kept):
        raise ValueError(f"chain must hold the batch norms {list(recipe.kept)} in this order, got {pairs}")
    for conv, norm in pairs:
        _check_conv(model, conv)
        kept = torch.tensor(recipe.kept[norm])
        for key in _own(state, conv, norm):
            state[key] = state[key][kept]
        if before is not None:
            state[f"{conv}.weight"] = state[f"{conv}.weight"][:, before]
        before, channels = kept, batch_norms(model)[norm].num_features
    weight = state.get(f"{last}.weight", torch.zeros(0))
    if weight.dim() != 2 or weight.shape[1] % channels:
        raise ValueError(f"last must be the name of a linear layer behind {channels} channels, got {last!r}")
    state[f"{last}.weight"] = weight.reshape(len(weight), channels, -1)[:, before].flatten(1)
    return rebuild(recipe, state, build=build).train(model.training)


def rebuild(recipe: SlimmingRecipe, state: Mapping[str, Tensor], *, build: Build) -> nn.Module:
    """Return the slimmed network of a recipe with its weights, which must fit without exception.

    Parameters
    ----------
    recipe : says the widths
    state : the state of the slimmed network
    build : called as build(widths)

    Raises
    ------
    TypeError, ValueError : no recipe, or a state that does not fit the network of these widths.

    >>> build = lambda widths: nn.BatchNorm2d(*widths)
    >>> small = rebuild(SlimmingRecipe({"": (0, 4)}), nn.BatchNorm2d(2).state_dict(), build=build)
    >>> small.num_features
    2
    """
    checks.instance(recipe, "recipe", SlimmingRecipe), checks.instance(state, "state", Mapping)
    model = checks.instance(checks.function(build, "build")(recipe.widths), "build(widths)", nn.Module)
    try:
        model.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise ValueError(f"state must fit a network of the widths {recipe.widths}: {error}") from error
    return model


def _at_least(scale: Tensor, kept: Tensor, n: int) -> tuple[int, ...]:
    kept = kept.clone()
    kept[scale.argsort(descending=True, stable=True)[:n]] = True
    return tuple(kept.nonzero().flatten().tolist())


def _pairs(chain: Any) -> list[tuple[str, str]]:
    """Return the chain as a list of pairs."""
    pairs = list(checks.instance(chain, "chain", Iterable))
    if not all(isinstance(part, tuple | list) and len(part) == 2 for part in pairs):
        raise TypeError(f"chain must hold pairs of names (convolution, batch norm), got {pairs}")
    return [(conv, norm) for conv, norm in pairs]


def _check_conv(model: nn.Module, name: str) -> None:
    layer = dict(model.named_modules()).get(name)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"chain must hold names of convolutions, got {name!r}")
    if layer.groups != 1:
        raise ValueError(f"chain must hold convolutions of one group, got {name!r} with {layer.groups}")


def _own(state: Mapping[str, Tensor], conv: str, norm: str) -> list[str]:
    """Return the keys of what has one entry for each output channel."""
    names = [f"{conv}.weight", f"{conv}.bias", *(f"{norm}.{key}" for key in ("weight", "bias"))]
    return [key for key in (*names, f"{norm}.running_mean", f"{norm}.running_var") if key in state]


def _check_recipe(model: nn.Module, recipe: Any) -> None:
    norms = batch_norms(model)
    for name, channels in checks.instance(recipe, "recipe", SlimmingRecipe).kept.items():
        if name not in norms:
            raise ValueError(f"recipe must name batch norms of the model, {list(norms)}, got {name!r}")
        if channels[-1] >= norms[name].num_features:
            raise ValueError(f"recipe must keep channels below {norms[name].num_features}, got {channels[-1]}")
