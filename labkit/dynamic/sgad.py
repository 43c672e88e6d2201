r"""SGAD: a residual network that decides for every picture which of its blocks to run.

Two small networks look at the activations z after the first convolution. The **soft guidance network** (SGNet) guesses
the class, and how sure its guess is says how easy the picture is; it serves in training only. The **block mask
network** (BMNet) writes a 0 or 1 for each block. A regulariser asks for more zeros where the picture is easy.

Wang, Sun, Lin, Wang, Yuan (2018), SGAD: Soft-Guided Adaptively-Dropped Neural Network, arXiv:1807.01430; lecture
003:3078-3129. Chapter 29.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.dynamic.skipping import check_input

Tensor = torch.Tensor
READINGS = ("mended", "printed")
FIELDS = 4  # along a side of the picture, whose means the small networks look at


# ---- how easy a picture is, and how much of the network it may do without


def softmax_variance(scores: Tensor) -> Tensor:
    r"""Return the variance of each row of softmax probabilities: (N,), large where the network is sure.

    `scores` (N, M) are a classifier's scores before the softmax, M at least 2. Raises TypeError or ValueError for
    another shape or dtype, or scores that are not finite.

    Formula: :math:`var^n = \frac1M \sum_i (p_i^n - \frac1M)^2 \in [0, \frac{M-1}{M^2}]`: 0 where all classes are
    alike, :math:`(M-1)/M^2` where one has all of the probability. The slide prints the upper end as 1/M (erratum E14).
    arXiv:1807.01430; lecture 003:3084-3088. Chapter 29.

    >>> softmax_variance(torch.tensor([[0.0, 0.0, 0.0, 0.0], [99.0, 0.0, 0.0, 0.0]]))
    tensor([0.0000, 0.1875])
    """
    _floats(scores, "scores")
    if scores.dim() != 2 or scores.shape[1] < 2 or scores.shape[0] == 0:
        raise ValueError(f"scores must be (N, M) with M of at least 2, got shape {tuple(scores.shape)}")
    p = scores.softmax(1)
    return (p - 1 / scores.shape[1]).square().mean(1)


def expected_drop_ratio(variance: Tensor, *, n_classes: int, s_max: float, reading: str = "mended") -> Tensor:
    r"""Return the share of blocks that a picture of this variance should do without: 0 for the hardest, rising.

    Parameters
    ----------
    variance : floating-point tensor of any shape, between 0 and (M - 1) / M^2, as `softmax_variance` returns it
    n_classes : M, at least 2
    s_max : above 0 and below 1; "mended": the largest share, "printed": one minus it
    reading : "mended" or "printed"

    Raises
    ------
    TypeError, ValueError : an argument outside these ranges.

    Formula: :math:`rat = 1 - L^{1 - scale\,var} / L = 1 - L^{-scale\,var}` with
    :math:`scale = -M \ln(1 - s_{max}) / \ln L`, so :math:`rat = 1 - (1 - s_{max})^{M\,var}`: the number L of blocks
    cancels. At var = 1/M this is s_max; the largest variance that occurs, (M - 1) / M^2, stays a little below. The
    slide prints :math:`\ln(s_{max})`, which gives 1 - s_max there: 0.8 where at most 0.2 was meant (erratum E13).
    arXiv:1807.01430; lecture 003:3099-3104. Chapter 29.

    >>> var = torch.tensor([0.0, 0.1])
    >>> expected_drop_ratio(var, n_classes=10, s_max=0.2)
    tensor([0.0000, 0.2000])
    >>> expected_drop_ratio(var, n_classes=10, s_max=0.2, reading="printed")
    tensor([0.0000, 0.8000])
    """
    M = checks.integer(n_classes, "n_classes", low=2)
    kept = kept_at_most_sure(s_max, reading=reading)
    if not _floats(variance, "variance").numel():
        raise ValueError("variance must hold at least one number, got none")
    low, high = float(variance.min()), float(variance.max())
    if low < 0 or high > 1 / M + 1e-6:
        raise ValueError(f"variance must lie between 0 and 1/{M}, got {low} to {high}")
    return -torch.expm1(M * math.log(kept) * variance)


def kept_at_most_sure(s_max: float, *, reading: str = "mended") -> float:
    """Return the share of blocks kept at the variance 1/M: 1 - s_max, or s_max as printed (erratum E13).

    Raises TypeError or ValueError unless 0 < s_max < 1 and the reading is one of the two. Chapter 29.

    >>> kept_at_most_sure(0.25), kept_at_most_sure(0.25, reading="printed")
    (0.75, 0.25)
    """
    s = checks.number(s_max, "s_max", low=0, high=1)
    if not 0 < s < 1:
        raise ValueError(f"s_max must be above 0 and below 1, got {s_max}")
    return 1 - s if checks.choice(reading, "reading", READINGS) == "mended" else s


def drop_ratio_loss(masks: Tensor, expected: Tensor) -> Tensor:
    r"""Return how far the shares of dropped blocks are from the expected ones, a scalar between 0 and 1.

    Parameters
    ----------
    masks : (N, L), 1 for a block that runs and 0 for one that does not; entries between are allowed
    expected : (N,), shares between 0 and 1

    Raises
    ------
    TypeError, ValueError : other shapes, or entries outside [0, 1].

    Formula: :math:`R^m = \frac1N \sum_n | rat^n - (1 - \frac1L \sum_j m_j^n) |`. It is 0 only if every picture drops
    its share, and no mask makes it larger than the mean of :math:`\max(rat^n, 1 - rat^n)`. arXiv:1807.01430; lecture
    003:3092-3097. Chapter 29.

    >>> drop_ratio_loss(torch.tensor([[1.0, 1.0, 0.0, 1.0]]), torch.tensor([0.75]))
    tensor(0.5000)
    """
    for value, name in ((masks, "masks"), (expected, "expected")):
        _floats(value, name)
        if value.numel() and (value.min() < 0 or value.max() > 1):
            raise ValueError(f"{name} must lie between 0 and 1, got {float(value.min())} to {float(value.max())}")
    if masks.dim() != 2 or masks.numel() == 0 or expected.shape != masks.shape[:1]:
        raise ValueError(f"masks must be (N, L) and expected (N,), got {tuple(masks.shape)}, {tuple(expected.shape)}")
    return (expected - (1 - masks.mean(1))).abs().mean()


# ---- rounding to 0 or 1 with a gradient


def sinc_round(x: Tensor, *, bandwidth: float = 2.0) -> Tensor:
    r"""Return 1 where x >= 1/2 and 0 elsewhere; backwards a sinc pulse around 1/2 takes the derivative's place.

    Parameters
    ----------
    x : floating-point tensor of any shape, usually the output of a sigmoid
    bandwidth : w, above 0. The larger, the narrower the pulse; up to 2 it is nowhere negative on [0, 1]

    Raises
    ------
    TypeError, ValueError : x is not a floating-point tensor or not finite, or a bandwidth of 0 or less.

    The derivative of a step is Dirac's pulse, infinite at 1/2 and 0 elsewhere. Dirac's pulse is the limit of

    .. math:: \delta_w(x) = \frac{\sin(\pi w (x - 1/2))}{\pi (x - 1/2)}, \qquad \delta_w(1/2) = w,

    for large w, and at a finite w it is bounded by w: :math:`g_x = g_q \, \delta_w(x)`. The lecture names a sinc
    function and prints no formula; the bandwidth is our reading. arXiv:1807.01430; lecture 003:3083. Chapter 29.

    >>> x = torch.tensor([0.0, 0.25, 0.5, 0.9], requires_grad=True)
    >>> sinc_round(x).tolist()
    [0.0, 0.0, 1.0, 1.0]
    >>> sinc_round(x).sum().backward()
    >>> [round(abs(g), 3) for g in x.grad.tolist()]
    [0.0, 1.273, 2.0, 0.468]
    """
    return _SincRound.apply(_floats(x, "x"), checks.positive(bandwidth, "bandwidth"))


class SincRound(nn.Module):
    """`sinc_round` as a layer; `bandwidth` as there.

    >>> SincRound()(torch.tensor([0.4, 0.6]))
    tensor([0., 1.])
    """

    def __init__(self, bandwidth: float = 2.0) -> None:
        super().__init__()
        self.bandwidth = checks.positive(bandwidth, "bandwidth")

    def forward(self, x: Tensor) -> Tensor:
        """Return x rounded to 0 or 1, with a gradient."""
        return sinc_round(x, bandwidth=self.bandwidth)


class _SincRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bandwidth = bandwidth
        return (x >= 0.5).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * ctx.bandwidth * torch.sinc(ctx.bandwidth * (x - 0.5)), None


# ---- the networks


def guidance_net(channels: int, n_classes: int, *, hidden: int = 16) -> nn.Sequential:
    """Return a soft guidance network: activations z (N, channels, H, W) to scores (N, n_classes).

    Two 3 x 3 convolutions to `hidden` channels, the first with stride 2, each with batch normalisation and ReLU; means
    over 4 x 4 fields of the picture; one linear layer. Raises TypeError or ValueError unless all are integers of at
    least 1 (two classes). Chapter 29; lecture 003:3080-3088.

    >>> guidance_net(4, 10)(torch.zeros(2, 4, 8, 8)).shape
    torch.Size([2, 10])
    """
    return _summary(channels, checks.integer(n_classes, "n_classes", low=2), hidden, n_convs=2)


def mask_net(channels: int, n_blocks: int, *, hidden: int = 8, bandwidth: float = 2.0) -> nn.Sequential:
    """Return a block mask network: activations z (N, channels, H, W) to masks (N, n_blocks) of zeros and ones.

    As `guidance_net` with one convolution, then a sigmoid and `SincRound`. It begins with every block running: the
    last weights are 0, the last biases 1. Raises as `guidance_net`. Chapter 29; lecture 003:3083, 3090.

    >>> mask_net(4, 3)(torch.zeros(2, 4, 8, 8))
    tensor([[1., 1., 1.],
            [1., 1., 1.]], grad_fn=<_SincRoundBackward>)
    """
    net = _summary(channels, checks.integer(n_blocks, "n_blocks", low=1), hidden, n_convs=1)
    last: Any = net[-1]
    nn.init.zeros_(last.weight)
    nn.init.ones_(last.bias)
    return net.append(nn.Sigmoid()).append(SincRound(bandwidth))


def _summary(channels: int, outputs: int, hidden: int, *, n_convs: int) -> nn.Sequential:
    c, h = checks.integer(channels, "channels", low=1), checks.integer(hidden, "hidden", low=1)
    net = nn.Sequential()
    for k in range(n_convs):
        conv = nn.Conv2d(h if k else c, h, 3, stride=1 if k else 2, padding=1, bias=False)
        net.extend([conv, nn.BatchNorm2d(h), nn.ReLU()])
    return net.extend([nn.AdaptiveAvgPool2d(FIELDS), nn.Flatten(), nn.Linear(h * FIELDS**2, outputs)])


@dataclass(frozen=True, eq=False)
class Run:
    """What one pass did: scores (N, M), masks (N, L) with 1 for a block that ran, and z (N, C, H, W), the mask's input.

    `dropped` (N,) is the share of blocks that each picture did without.
    """

    scores: Tensor
    masks: Tensor
    z: Tensor

    @property
    def dropped(self) -> Tensor:
        """The share of blocks that did not run, for each picture."""
        return 1 - self.masks.mean(1)


class SGAD(nn.Module):
    """A residual network with a block mask network before its blocks, and a soft guidance network for training.

    Parameters
    ----------
    network : a module with `stem`, `blocks` (an `nn.ModuleList` or `nn.Sequential`) and `head`. A block has
        `branch(x)`, which may be dropped, and `shortcut(x)`, which always runs; its output is relu(branch + shortcut).
        `labkit.nets.SmallResNet` is one. The parts are shared, not copied
    channels : channels of the stem's output
    n_classes : scores of the head
    hidden : channels of the block mask network
    guide_hidden : channels of the soft guidance network; by default twice as many
    bandwidth : of `sinc_round`
    random_state : an int, a NumPy Generator or None, seeds the two small networks

    Raises
    ------
    TypeError, ValueError : the network has no such parts or no blocks, or a number out of its range.

    In training every branch runs and is multiplied by its mask, so that the mask gets a gradient. In evaluation a
    branch runs only for the pictures whose mask is 1, gathered along the batch; with no such picture it does not run
    at all. Both give the same scores to rounding, batch normalisation aside. arXiv:1807.01430; lecture 003:3078-3107.
    Chapter 29.

    >>> from labkit.nets import SmallResNet
    >>> model = SGAD(SmallResNet(random_state=0), channels=8, n_classes=10, random_state=0).eval()
    >>> run = model.run(torch.zeros(2, 1, 28, 28))
    >>> run.scores.shape, run.dropped.tolist()
    (torch.Size([2, 10]), [0.0, 0.0])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        channels: int,
        n_classes: int,
        hidden: int = 8,
        guide_hidden: int | None = None,
        bandwidth: float = 2.0,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.network, blocks = network, _blocks(network)
        self.n_classes = checks.integer(n_classes, "n_classes", low=2)
        with checks.seeded(random_state):
            self.mask_net = mask_net(channels, len(blocks), hidden=hidden, bandwidth=bandwidth)
            width = 2 * hidden if guide_hidden is None else checks.integer(guide_hidden, "guide_hidden", low=1)
            self.guide = guidance_net(channels, n_classes, hidden=width)

    @property
    def n_blocks(self) -> int:
        """L, the blocks that a mask speaks of."""
        return len(_blocks(self.network))

    def to_dense(self) -> nn.Module:
        """Return the network without masks: every block runs."""
        return self.network

    def forward(self, x: Tensor) -> Tensor:
        """Return the class scores (N, M)."""
        return self.run(x).scores

    def run(self, x: Tensor, *, masks: Tensor | None = None) -> Run:
        """Return scores and masks of a batch; `masks` (N, L) of zeros and ones takes the place of the mask network.

        Raises TypeError or ValueError for x that is no (N, C, H, W) of floating-point numbers, or other masks.
        """
        net: Any = self.network
        z = net.stem(check_input(x, getattr(net, "input_shape", (None,))[0]))  # (N, C, H, W)
        masks = self.mask_net(z) if masks is None else self._checked(masks, len(z))
        y = z
        for block, mask in zip(net.blocks, masks.unbind(1), strict=True):
            y = _weighted(block, y, mask) if self.training else _skipped(block, y, mask)
        return Run(net.head(y), masks, z)

    def _checked(self, masks: Any, n: int) -> Tensor:
        if _floats(masks, "masks").shape != (n, self.n_blocks) or not ((masks == 0) | (masks == 1)).all():
            raise ValueError(f"masks must be ({n}, {self.n_blocks}) of zeros and ones, got {tuple(masks.shape)}")
        return masks


def sgad_objective(
    *, s_max: float, weight: float = 1.0, guide_weight: float = 1.0, reading: str = "mended"
) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    r"""Return the objective of SGAD for `labkit.training.fit`: called with the model, x (N, ...) and labels y (N,).

    Parameters
    ----------
    s_max, reading : as for `expected_drop_ratio`
    weight, guide_weight : of the drop-ratio regulariser and of the guidance network's loss, at least 0

    Raises
    ------
    TypeError, ValueError : a number out of its range; the objective raises for a model that is no `SGAD`.

    Formula: :math:`H(y, scores) + \gamma H(y, guide(z)) + \lambda R^m`, H the mean cross-entropy in nats. The expected
    ratio is a target: no gradient reaches the guidance network through it. arXiv:1807.01430; lecture 003:3090-3104.
    Chapter 29.

    >>> from labkit.nets import SmallResNet
    >>> model = SGAD(SmallResNet(random_state=0), channels=8, n_classes=10, random_state=0)
    >>> bool(sgad_objective(s_max=0.5)(model, torch.zeros(4, 1, 28, 28), torch.arange(4)) > 0)
    True
    """
    kept_at_most_sure(s_max, reading=reading)
    checks.number(weight, "weight", low=0)
    checks.number(guide_weight, "guide_weight", low=0)

    def objective(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        sgad: SGAD = checks.instance(model, "model", SGAD)
        run = sgad.run(x)
        guess = sgad.guide(run.z)
        variance = softmax_variance(guess.detach())
        expected = expected_drop_ratio(variance, n_classes=sgad.n_classes, s_max=s_max, reading=reading)
        losses = functional.cross_entropy(run.scores, y), functional.cross_entropy(guess, y)
        return losses[0] + guide_weight * losses[1] + weight * drop_ratio_loss(run.masks, expected)

    return objective


def _weighted(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Run the branch for every picture and multiply it by the mask: relu(m branch + shortcut)."""
    return functional.relu(mask[:, None, None, None] * block.branch(x) + block.shortcut(x))


def _skipped(block: Any, x: Tensor, mask: Tensor) -> Tensor:
    """Run the branch for the pictures whose mask is 1, and not at all if there is none."""
    running = mask.nonzero()[:, 0]
    y = block.shortcut(x)
    if len(running) == len(x):
        y = y + block.branch(x)
    elif len(running):
        y = y.index_add(0, running, block.branch(x[running]))
    return functional.relu(y)


def _blocks(network: Any) -> Any:
    """Return the network's blocks; an error unless it has stem, blocks and head, and each block its two parts."""
    checks.instance(network, "network", nn.Module)
    missing = [part for part in ("stem", "blocks", "head") if not hasattr(network, part)]
    if missing:
        raise ValueError(f"network must have stem, blocks and head, {type(network).__name__} lacks {missing}")
    whole = [hasattr(block, "branch") and hasattr(block, "shortcut") for block in network.blocks]
    if not whole or not all(whole):
        raise ValueError(f"network must have blocks, each with branch and shortcut, got {len(whole)} blocks")
    return network.blocks


def _floats(value: Any, name: str) -> Tensor:
    """Return value if it is a finite floating-point tensor."""
    if not checks.floating(value, name).isfinite().all():
        raise ValueError(f"{name} must be finite, got {int((~value.isfinite()).sum())} NaN or infinite entries")
    return value
