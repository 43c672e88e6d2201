"""The second explorer of Chapter 8: what a tensor-train layer costs, for any modes and rank."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit import checks
from labkit.decomposition import tt_ranks
from labkit.decomposition.tt_matrix import pair_modes
from labkit.explore.controls import Field, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Groups, Readouts, Table

IN_MODES, OUT_MODES = (2, 7, 8, 8, 7, 4), (4, 4, 4, 4, 4, 4)
OTHERS = {"in": (4, 4, 5, 10, 1, 1), "out": (5, 5, 5, 4, 1, 1)}  # fc1 of LeNet-5, 800 x 500
UNITS = {
    "Smaller": "×",
    "Weights, dense": "MiB",
    "Weights, train": "KiB",
    "Largest state, from the first core": "MiB",
    "Largest state, from the last core": "MiB",
    "Fewer multiply-adds, at best": "×",
}
MIB = 2**20 / 4  # numbers of 32 bits


@dataclass(frozen=True)
class TTCost:
    """The cores (r_{k-1}, m_k, n_k, r_k) of a layer, and what one input costs from either end.

    `forward` and `backward` hold the numbers in the state after each core in the order of use; `macs` the
    multiply-adds of both ways.
    """

    cores: tuple[tuple[int, int, int, int], ...]
    forward: tuple[int, ...]
    backward: tuple[int, ...]
    macs: tuple[int, int]

    @property
    def n_params(self) -> int:
        """Numbers in all cores."""
        return sum(math.prod(core) for core in self.cores)


def tt_layer_cost(in_modes: Sequence[int], out_modes: Sequence[int], *, rank: int) -> TTCost:
    """Return the cores of a `TTLinear` without making it, and its cost for one input from either end.

    `in_modes` and `out_modes` hold d >= 2 positive ints each; a rank above what a bond can have is lowered to that, as
    `tt_ranks` does. Raises TypeError or ValueError otherwise. Chapter 8; lecture 000:495-503.

    >>> cost = tt_layer_cost((2, 7, 8, 8, 7, 4), (4,) * 6, rank=4)
    >>> cost.n_params, round(max(cost.forward) * 4 / 2**20, 3)
    (2016, 0.766)
    """
    pairs = pair_modes(out_modes, in_modes)
    bonds = (1, *tt_ranks(pairs, rank=checks.integer(rank, "rank", low=1)), 1)
    cores = tuple(zip(bonds[:-1], out_modes, in_modes, bonds[1:], strict=True))
    turned = [(s, m, n, r) for r, m, n, s in cores[::-1]]
    (forward, ahead), (backward, back) = _states(cores), _states(turned)
    return TTCost(cores, forward, backward, (ahead, back))


def _states(way: Sequence[tuple[int, int, int, int]]) -> tuple[tuple[int, ...], int]:
    """Return the size of the state after each core, and the multiply-adds."""
    size, macs, sizes = math.prod(n for _, _, n, _ in way), 0, []
    for r, m, n, s in way:
        macs += size * m * s
        size = size // (r * n) * m * s
        sizes.append(size)
    return tuple(sizes), macs


@register
def tt_layer_explorer() -> Explorer:
    """Return the calculator of the tensor-train layer: type the modes, drag the rank.

    Six modes each; ones at the end stand for fewer. It starts at the lecture's layer, 25,088 x 4,096 at rank 4.
    Chapter 8; lecture 000:495-503.

    >>> numbers = tt_layer_explorer().compute()["numbers"]
    >>> numbers["Weights of the train"], round(numbers["Smaller"])
    (2016, 50972)
    """
    return Explorer(
        "tt-layer",
        lambda in_modes, out_modes, rank: _views(_whole(in_modes, "inputs"), _whole(out_modes, "outputs"), rank),
        title="Tensor-train layer: modes, rank and what they cost",
        controls=[
            Field("in_modes", IN_MODES, length=6, low=1, high=64, label="Input modes", examples=[OTHERS["in"]]),
            Field("out_modes", OUT_MODES, length=6, low=1, high=64, label="Output modes", examples=[OTHERS["out"]]),
            Slider("rank", 1, 32, default=4, label="Rank of every bond"),
        ],
        views=[
            Table("cores", "Cores", wide=True),
            Bars("states", "State after each core, one input", y_label="numbers", y_scale="log", wide=True),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("tt_layer.js", {}),
        alt="Cores and states of a tensor-train layer with all ranks {rank}, and its cost against a dense layer",
        caption="A mode of 1 is none. Ranks are lowered where a bond cannot have as many. 1 MiB is 2²⁰ bytes.",
    )


def _whole(values: Sequence[float], name: str) -> tuple[int, ...]:
    if any(value != int(value) for value in values):
        raise ValueError(f"modes of the {name} must be whole numbers, got {list(values)}")
    return tuple(int(value) for value in values)


def _views(in_modes: tuple[int, ...], out_modes: tuple[int, ...], rank: int) -> dict[str, Any]:
    cost = tt_layer_cost(in_modes, out_modes, rank=rank)
    rows = [
        {"core": k + 1, "r, m, n, r": " × ".join(map(str, core)), "weights": math.prod(core)}
        for k, core in enumerate(cost.cores)
    ]
    steps = [f"{k + 1}." for k in range(len(cost.cores))]
    states = {"from the first core": cost.forward, "from the last core": cost.backward}
    return {"cores": rows, "states": Groups(steps, states), "numbers": _numbers(in_modes, out_modes, cost)}


def _numbers(in_modes: tuple[int, ...], out_modes: tuple[int, ...], cost: TTCost) -> dict[str, Any]:
    n, m = math.prod(in_modes), math.prod(out_modes)
    return {
        "Layer": f"{n:,} × {m:,}",
        "Weights of the train": cost.n_params,
        "Smaller": m * n / cost.n_params,
        "Weights, dense": m * n / MIB,
        "Weights, train": 1024 * cost.n_params / MIB,
        "Largest state, from the first core": max(cost.forward) / MIB,
        "Largest state, from the last core": max(cost.backward) / MIB,
        "Multiply-adds, dense": m * n,
        "Multiply-adds, from the first core": cost.macs[0],
        "Multiply-adds, from the last core": cost.macs[1],
        "Fewer multiply-adds, at best": m * n / min(cost.macs),
    }
