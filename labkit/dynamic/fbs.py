r"""Feature boosting and suppression: for each picture only the channels that it needs, the important ones amplified.

A small linear layer looks at the mean size of each input channel and predicts how salient each output channel will
be; the k most salient are computed, the others are zero:

.. math:: y = \bigl(\pi(x) \, (\operatorname{norm}(w * x) + \beta)\bigr)_+, \qquad
   \pi(x) = \operatorname{wta}_{\lceil dC \rceil}(g(x)), \qquad g(x) = (s(x) \Phi + \rho)_+.

Gao, Zhao, Dudziak, Mullins, Xu (2019), arXiv:1810.05331; lecture 003:3131-3174. Chapter 29.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.window import Pair, Window
from labkit.dynamic.skipping import (
    VECTOR,
    DynamicLayer,
    Tensor,
    bare,
    check_input,
    convolve_channels,
    convolve_each,
    dynamic_layers,
    layer_config,
    norm_settings,
    output_size,
    penalty,
    per_output,
    unbiased,
)


def subsample(x: Tensor) -> Tensor:
    r"""Return the mean absolute value of each channel, s(x) in (n, C) for x (n, C, H, W).

    Raises TypeError or ValueError for another kind of x.

    Formula: :math:`s(x)_c = \|x_c\|_1 / (HW)`. Gao et al. (2019), arXiv:1810.05331. Chapter 29.

    >>> subsample(torch.tensor([1.0, -3.0]).reshape(1, 1, 1, 2))
    tensor([[2.]])
    """
    return check_input(x).abs().mean((2, 3))


def n_winners(density: float, channels: int) -> int:
    r"""Return :math:`\lceil dC \rceil`, how many of C channels run at a density d.

    Parameters
    ----------
    density : above 0, at most 1
    channels : at least 1

    Raises
    ------
    TypeError, ValueError : a number outside its range.

    Chapter 29.

    >>> n_winners(0.3, 10), n_winners(0.31, 10), n_winners(0.001, 10)
    (3, 4, 1)
    """
    channels = checks.integer(channels, "channels", low=1)
    return max(1, math.ceil(_density(density) * channels - 1e-9))  # 0.07 * 100 is a little above 7


def winners(saliency: Tensor, k: int) -> Tensor:
    """Return a bool mask of the k largest entries of each row; among equals the first.

    Parameters
    ----------
    saliency : floating-point (n, C)
    k : how many, 1 to C

    Raises
    ------
    TypeError, ValueError : another dtype or shape, NaN, or a k out of its range.

    This is k-winners-take-all as Gao et al. (2019) use it. Chapter 29.

    >>> winners(torch.tensor([[0.1, 0.9, 0.5, 0.9]]), 2)
    tensor([[False,  True, False,  True]])
    """
    if checks.floating(saliency, "saliency").dim() != 2 or not saliency.numel():
        raise ValueError(f"saliency must be (n, C) and not empty, got {tuple(saliency.shape)}")
    if saliency.isnan().any():
        raise ValueError(f"saliency must not hold NaN, got {int(saliency.isnan().sum())} NaN entries")
    checks.integer(k, "k", low=1, high=saliency.shape[1])
    order = saliency.detach().argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(saliency, dtype=torch.bool).scatter_(1, order[:, :k], True)


class FBSConv2d(DynamicLayer):
    r"""A convolution, batch norm and ReLU that runs only the most salient channels of each picture.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation : as in `nn.Conv2d`
    density : d, the share of output channels that run, above 0 and at most 1; it can be set at any time
    boosting : multiply each channel that runs by its saliency; False only suppresses the others. The gradient is that
        of the boosted layer in both cases, otherwise the predictor could not learn
    norm : eps and momentum of the batch norm, as in `nn.BatchNorm2d`; None for those of torch
    random_state : int, Generator or None, for the initial weights

    Raises
    ------
    TypeError, ValueError : an argument out of its range; in a call an x of another shape.

    The batch norm has no scale of its own, the saliency takes its place; the shift :math:`\beta` stays. The predictor
    starts with Kaiming's weights :math:`\Phi` and offsets :math:`\rho = 1`. `execution` is "masked", "image" (gather
    the channels of each image alone), "group" (images with equal sets of channels together) or "batch" (all images in
    one grouped convolution). Gathered, a convolution reads only the input channels that are not zero and computes only
    the winners, so that two layers in a row save quadratically; in a batch every image reads as many channels as the
    one with the most. `penalty()` is the mean over the batch of the sum of saliencies.
    Formula: see the module. Gao et al. (2019), arXiv:1810.05331; lecture 003:3131-3174. Chapter 29.

    >>> layer = FBSConv2d(8, 16, 3, padding=1, density=0.25, random_state=0).eval()
    >>> layer(torch.ones(2, 8, 6, 6)).shape
    torch.Size([2, 16, 6, 6])
    >>> layer.chosen.sum(1)
    tensor([4, 4])
    """

    EXECUTIONS = ("masked", "image", "group", "batch")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        density: float = 1.0,
        boosting: bool = True,
        norm: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.density, self.boosting = density, checks.instance(boosting, "boosting", bool)
        with checks.seeded(random_state):
            self.conv = unbiased(in_channels, out_channels, Window(kernel_size, stride, padding, dilation))
            self.predictor = nn.Linear(in_channels, out_channels)
            nn.init.kaiming_normal_(self.predictor.weight), nn.init.ones_(self.predictor.bias)
        self.norm = nn.BatchNorm2d(out_channels, affine=False, **norm_settings(norm))
        self.beta = nn.Parameter(torch.zeros(out_channels))
        self.saliency = torch.zeros(0, out_channels)  # g(x) of the last call
        self.chosen = torch.zeros(0, out_channels, dtype=torch.bool)  # its winners

    @property
    def density(self) -> float:
        """The share of output channels that run."""
        return self._density

    @density.setter
    def density(self, value: float) -> None:
        self._density = _density(value)

    @property
    def n_active(self) -> int:
        """How many output channels run for each image."""
        return n_winners(self.density, self.conv.out_channels)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d | None = None,
        *,
        density: float = 1.0,
        boosting: bool = True,
        spread: float = 0.0,
        random_state: Any = None,
    ) -> "FBSConv2d":
        r"""Return a layer that starts as relu(norm(conv(x))).

        The scales of the batch norm become the offsets :math:`\rho` of the predictor (a channel with a negative scale
        has its filter negated), so that with `density=1` and `spread=0` nothing changes in evaluation mode, up to
        rounding. Without boosting the scales are lost, which a batch norm further on makes up for.

        Parameters
        ----------
        conv : one group, zeros as padding; a bias is allowed
        norm : the batch norm behind it, or None
        density, boosting, random_state : as for the class
        spread : at least 0; Kaiming's random weights of the predictor times this number

        Raises
        ------
        TypeError, ValueError : layers of another kind, or a number out of its range.

        >>> conv, x = nn.Conv2d(2, 4, 3), torch.randn(1, 2, 8, 8)
        >>> torch.allclose(FBSConv2d.from_conv(conv).eval()(x), conv(x).relu(), atol=1e-5)
        True
        """
        spread = checks.number(spread, "spread", low=0)
        plain, norm = bare(conv, norm)
        options = layer_config(plain, norm) | {"density": density, "boosting": boosting}
        made = cls(**options, random_state=random_state).to(plain.weight)
        made._take(plain, norm, spread)
        return made.train(conv.training)

    @torch.no_grad()
    def _take(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, spread: float) -> None:
        """Take the weights of a convolution and its batch norm: gamma z + b = |gamma| (sign(gamma) z + b / |gamma|)."""
        alive, sign = norm.weight != 0, norm.weight.sign()
        gain = torch.where(alive, norm.weight.abs(), 1)  # a channel of scale 0 is its shift: filter 0, gain 1
        mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        self.conv.weight.copy_(conv.weight * sign[:, None, None, None])
        cast(Tensor, self.norm.running_mean).copy_(mean * sign)
        cast(Tensor, self.norm.running_var).copy_(torch.where(alive, var, 1))
        self.beta.copy_(norm.bias / gain)
        self.predictor.bias.copy_(gain)
        self.predictor.weight.mul_(spread)

    def to_dense(self) -> nn.Sequential:
        r"""Return convolution, batch norm and ReLU as they are when the predictor says only :math:`\rho`.

        It undoes `from_conv`; what the predictor has learnt to tell apart is lost.

        >>> [type(layer).__name__ for layer in FBSConv2d(1, 2, 3).to_dense()]
        ['Conv2d', 'BatchNorm2d', 'ReLU']
        """
        conv, norm = bare(self.conv, None)
        norm.load_state_dict(self.norm.state_dict(), strict=False)
        norm.eps, norm.momentum = self.norm.eps, self.norm.momentum
        gain = self.predictor.bias.detach().relu() if self.boosting else torch.ones_like(self.beta)
        norm.weight.data.copy_(gain)
        norm.bias.data.copy_(gain * self.beta.detach())
        return nn.Sequential(conv, norm, nn.ReLU()).train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (n, K, H', W'), at most `n_active` channels of each image other than zero."""
        means = subsample(self.checked(x))  # (n, C)
        self.saliency = self.predictor(means).relu()  # (n, K)
        self.chosen = winners(self.saliency, self.n_active)
        gain = self._gain()
        y, work = self._whole(x, gain) if self.masked else self._gathered(x, means > 0, gain)
        self.ran = work + self.predictor.weight.numel()
        return y

    def _gain(self) -> Tensor:
        """Return pi(x), (n, K)."""
        if self.boosting:
            return torch.where(self.chosen, self.saliency, 0)
        through = 1 + (self.saliency - self.saliency.detach())  # 1, with the gradient of the saliency
        return torch.where(self.chosen, through, 0)

    def _whole(self, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the multiply-adds of each image when everything is computed."""
        work = self.predictor.weight.numel() * per_output(self.conv) * math.prod(output_size(self.conv, x))
        return self._activated(self.conv(x), gain), torch.full((len(x),), work)

    def _activated(self, z: Tensor, gain: Tensor) -> Tensor:
        return (gain[:, :, None, None] * (self.norm(z) + self.beta[:, None, None])).relu()

    def _gathered(self, x: Tensor, inputs: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same from the input channels that are not zero and the output channels that won."""
        if self.execution == "group":
            z, work = convolve_channels(x, self.conv, inputs=inputs, outputs=self.chosen)
            return self._activated(z, gain), work
        outputs, scale, shift = self.chosen.nonzero()[:, 1].reshape(len(x), -1), *self._folded(gain)
        size = 1 if self.execution == "image" else len(x)
        columns = zip(*(part.split(size) for part in (x, inputs, outputs, scale, shift)), strict=True)
        parts, works = zip(*(self._each(*part) for part in columns), strict=True)
        return torch.cat(parts) if len(parts) > 1 else parts[0], torch.tensor(works).repeat_interleave(size)

    def _folded(self, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Return by what to multiply a sum, and what to add to it, for batch norm, shift and boosting, both (n, K)."""
        mean, var = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        slope = (var + self.norm.eps).rsqrt()
        return gain * slope, gain * (self.beta - mean * slope)

    def _each(self, x: Tensor, inputs: Tensor, outputs: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, int]:
        """Compute images with one grouped convolution, for which each reads as many channels as the fullest one."""
        y, work = convolve_each(x, self.conv, inputs=_first(inputs, VECTOR), outputs=outputs, scale=scale, shift=shift)
        return y.relu_(), work

    def penalty(self) -> Tensor:
        """Return the sum of the saliencies of the last call, the mean over its images."""
        return self.saliency.sum(1).mean() if len(self.saliency) else self.saliency.sum()

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return layer_config(self.conv, self.norm) | {"density": self.density, "boosting": self.boosting}

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"density={self.density:g}, boosting={self.boosting}"


def set_density(model: nn.Module, density: float) -> None:
    """Set the density of every `FBSConv2d` of a model; ValueError if there is none or the number is out of range.

    >>> layer = FBSConv2d(4, 8, 3)
    >>> set_density(layer, 0.5)
    >>> layer.n_active
    4
    """
    for layer in dynamic_layers(model, FBSConv2d):
        layer.density = density


def set_boosting(model: nn.Module, boosting: bool) -> None:
    """Switch boosting on or off in every `FBSConv2d` of a model; raises as `set_density`, TypeError for no bool.

    >>> layer = FBSConv2d(4, 8, 3)
    >>> set_boosting(layer, False)
    >>> layer
    FBSConv2d(
      density=1, boosting=False
      ...
    """
    for layer in dynamic_layers(model, FBSConv2d):
        layer.boosting = checks.instance(boosting, "boosting", bool)


class DensityAnnealing:
    r"""An objective for training that lowers the density step by step and adds the L1 penalty on saliencies.

    Parameters
    ----------
    density : the last density, above 0 and at most 1
    n_steps : steps (batches) over which the density falls linearly from `start`, at least 1; then it stays
    start : the first density
    weight : at least 0, factor of the penalty; 1e-8 in the paper, whose networks are larger
    loss : called as loss(scores, y); cross-entropy by default

    Raises
    ------
    TypeError, ValueError : a number out of its range.

    Call it as objective(model, x, y); only calls in training mode are counted as steps.
    Formula: :math:`L(y, f(x)) + \lambda \sum_l \|g_l(x)\|_1`. Gao et al. (2019), arXiv:1810.05331. Chapter 29.

    >>> objective = DensityAnnealing(0.5, n_steps=2)
    >>> model = nn.Sequential(FBSConv2d(1, 4, 3), nn.Flatten())
    >>> for _ in range(3):
    ...     _ = objective(model, torch.ones(2, 1, 3, 3), torch.tensor([0, 1]))
    ...     print(model[0].density)
    1.0
    0.75
    0.5
    """

    def __init__(
        self,
        density: float,
        *,
        n_steps: int,
        start: float = 1.0,
        weight: float = 1e-8,
        loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    ) -> None:
        self.density, self.start = _density(density), _density(start, "start")
        self.n_steps = checks.integer(n_steps, "n_steps", low=1)
        self.weight, self.loss = checks.number(weight, "weight", low=0), checks.function(loss, "loss")
        self.steps = 0

    def at(self, step: int) -> float:
        """Return the density of a step, the first of which is 0."""
        share = min(1.0, checks.integer(step, "step", low=0) / self.n_steps)
        return self.start + share * (self.density - self.start)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch with its penalty, at the density of this step."""
        set_density(model, self.at(self.steps))
        self.steps += model.training
        return self.loss(model(x), y) + self.weight * penalty(model)


@torch.no_grad()
def skip_probabilities(
    model: nn.Module, x: Tensor, labels: Tensor, *, n_classes: int = 10, batch_size: int = 500
) -> dict[str, Tensor]:
    """Return how often each channel is skipped for pictures of each class: the heat map of the lecture.

    Parameters
    ----------
    model : a network with `FBSConv2d` layers
    x : (n, C, H, W)
    labels : int64 (n,), from 0 to n_classes - 1, every class at least once
    n_classes, batch_size : at least 1

    Returns
    -------
    {name of layer: (n_classes, K), shares from 0 to 1}

    Raises
    ------
    TypeError, ValueError : a tensor of another kind, a class without a picture, or no such layer.

    Gao et al. (2019), figure 3b; lecture 003:3146-3150. Chapter 29.

    >>> model = nn.Sequential(FBSConv2d(1, 4, 3, density=0.5, random_state=0))
    >>> skips = skip_probabilities(model, torch.rand(6, 1, 4, 4), torch.tensor([0, 1] * 3), n_classes=2)
    >>> skips["0"].sum(1)
    tensor([2., 2.])
    """
    check_input(x)
    _check_labels(labels, len(x), checks.integer(n_classes, "n_classes", low=1))
    dynamic_layers(model, FBSConv2d)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, FBSConv2d)}
    skipped: dict[str, list[Tensor]] = {name: [] for name in layers}
    with checks.evaluating(model):
        for part in x.split(checks.integer(batch_size, "batch_size", low=1)):
            model(part)
            for name, layer in layers.items():
                skipped[name].append(~layer.chosen)
    rows = functional.one_hot(labels, n_classes).float()  # (n, classes)
    return {name: rows.T @ torch.cat(parts).float() / rows.sum(0)[:, None] for name, parts in skipped.items()}


def _first(mask: Tensor, multiple: int = 1) -> Tensor:
    """Return, int64 (n, c), the places of the true entries of each row, filled up with others to the longest row.

    Of several rows: above `multiple`, c is rounded up to whole multiples, as far as there are places.
    """
    if len(mask) == 1 and mask.any():
        return mask.nonzero()[None, :, 1]  # one row fits itself
    longest = max(1, int(mask.sum(1).max()))
    if longest > multiple:
        longest = -(-longest // multiple) * multiple
    return mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]


def _check_labels(labels: Any, n: int, n_classes: int) -> None:
    if checks.instance(labels, "labels", Tensor).dtype != torch.int64:
        raise TypeError(f"labels must be int64, got dtype {labels.dtype}")
    if labels.shape != (n,):
        raise ValueError(f"labels must have one entry for each of {n} pictures, got shape {tuple(labels.shape)}")
    found = labels.unique().tolist()
    if len(found) != n_classes or found != list(range(n_classes)):
        raise ValueError(f"labels must hold each class from 0 to {n_classes - 1}, got {found}")


def _density(value: Any, name: str = "density") -> float:
    result = checks.number(value, name, low=0, high=1)
    if result == 0:
        raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
    return result
