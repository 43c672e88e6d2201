"""When a convolution by tiles is faster than one of the whole picture, measured. Chapter 29; lecture 003:3066-3076."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from labkit import checks
from labkit.cost.break_even import crossing
from labkit.cost.measure import cpu_times
from labkit.dynamic import SBConv2d
from labkit.dynamic.sbnet import Pair


@dataclass(frozen=True)
class TileTime:
    """One mask: how much of the picture it wants, how much its tiles cover, and what that did to the time.

    `wanted` is the share of the outputs in the mask, `macs` the multiply-adds of the tiles over those of the dense
    convolution (above 1 if tiles stick out). `speedup`, the time of the dense one over that of the tiles, is left out
    of the repr and of comparisons, since it is never twice the same.
    """

    wanted: float
    macs: float
    speedup: float = field(repr=False, compare=False)


def tile_times(
    conv: nn.Conv2d, x: torch.Tensor, masks: Sequence[torch.Tensor], *, block_size: Pair, rounds: int = 7
) -> tuple[TileTime, ...]:
    """Measure `SBConv2d` against the dense convolution for each of some masks, on this machine.

    Parameters
    ----------
    conv : the convolution
    x : pictures (N, C, H, W)
    masks : bool tensors (H', W') or (N, H', W') of wanted outputs, at least one
    block_size : outputs of a tile, an int or a pair
    rounds : at least 7; both take turns, and the median round counts

    Returns
    -------
    One TileTime per mask. Measured is the CPU time of one thread, tile list, gather and scatter included. Dense and
    tiles each get the picture in the memory layout that suits them better, channels first or last.

    Raises
    ------
    TypeError, ValueError : as `SBConv2d` and `cpu_times`, or no mask.

    arXiv:1801.02108, figure 5. Chapter 29.

    >>> masks = [torch.arange(16).expand(16, 16) < n for n in (4, 16)]
    >>> tile_times(nn.Conv2d(2, 2, 3, padding=1), torch.zeros(1, 2, 16, 16), masks, block_size=4)
    (TileTime(wanted=0.25, macs=0.25), TileTime(wanted=1.0, macs=1.0))
    """
    if not isinstance(masks, Sequence) or not masks:
        raise ValueError(f"masks must be a sequence of at least one mask, got {type(masks).__name__}")
    layer = SBConv2d.from_conv(conv, block_size=block_size)
    outputs = [layer(x, mask)[:, 0].numel() for mask in masks]  # raises before anything is measured
    rows = []
    for mask, n in zip(masks, outputs, strict=True):
        full = mask.expand(len(x), *mask.shape) if mask.dim() == 2 else mask
        share = layer.macs(full) / (conv.weight.numel() * n)
        rows.append(TileTime(float(full.float().mean()), share, _speedup(conv, layer, x, full, rounds)))
    return tuple(rows)


def _speedup(conv: nn.Conv2d, layer: SBConv2d, x: torch.Tensor, mask: torch.Tensor, rounds: int) -> float:
    """Return the time of the dense layer over that of the tiles, each in the memory layout that it is faster in."""
    functions: dict[str, Callable[[], Any]] = {}
    for name, own in (("", x.contiguous()), ("last", x.contiguous(memory_format=torch.channels_last))):
        functions |= {f"dense {name}": partial(conv, own), f"tiles {name}": partial(layer, own, mask)}
    seconds = cpu_times(functions, rounds=rounds)
    dense, tiles = (min(t for name, t in seconds.items() if name.startswith(kind)) for kind in ("dense", "tiles"))
    return dense / tiles


def tile_break_even(times: Sequence[TileTime]) -> float | None:
    """Return the share of multiply-adds below which tiles are faster, between two measured ones; None if never.

    `times` come from `tile_times`, in any order; TypeError or ValueError for other things, or an empty sequence.
    Chapter 29.

    >>> tile_break_even([TileTime(0.2, 0.25, 3.0), TileTime(0.4, 0.5, 1.5), TileTime(0.8, 0.75, 0.5)])
    0.625
    """
    if not isinstance(times, Sequence) or not times:
        raise ValueError(f"times must be a sequence of at least one TileTime, got {type(times).__name__}")
    ordered = sorted((checks.instance(t, "times", TileTime) for t in times), key=lambda t: -t.macs)
    saved = crossing([-t.macs for t in ordered], [t.speedup for t in ordered])  # ascending: fewer and fewer tiles
    return None if saved is None else -saved
