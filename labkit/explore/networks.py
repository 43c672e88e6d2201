"""Tensor networks as graphs: a node for each factor, a line for each index that is summed over, a leg for each mode.

Chapter 8; lecture 000:508-541.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from labkit import checks

Point = tuple[float, float]
FORMATS = {
    "svd": "SVD",
    "cp": "CP",
    "tucker": "Tucker",
    "tt": "tensor train",
    "extended_tt": "extended train",
    "tr": "tensor ring",
    "tt_matrix": "matrix as a train",
}
LEG, ROOM, LINE, HEAD = 0.75, 1.6, 3.7, 1.9  # length of a leg; room between panels; height of a panel, of its title


@dataclass(frozen=True)
class Network:
    """A graph on a grid: `nodes` (name -> place), `bonds` (paths), `legs` (name of the mode -> path).

    `dots` are places where one index joins several nodes, as the term number of CP does: they hold no numbers.
    """

    nodes: dict[str, Point]
    bonds: tuple[tuple[Point, ...], ...]
    legs: dict[str, tuple[Point, Point]]
    dots: tuple[Point, ...] = ()


def tensor_graph(format: str, d: int = 4) -> Network:
    """Return the graph of a format for d modes; the SVD always has two.

    Raises TypeError or ValueError for an unknown format, or d that is not an integer from 2 (from 3 for the extended
    train and the ring) to 8. Chapter 8; lecture 000:508-541.

    >>> graph = tensor_graph("tucker", d=3)
    >>> list(graph.nodes), list(graph.legs), len(graph.bonds)
    (['G', 'Q1', 'Q2', 'Q3'], ['i1', 'i2', 'i3'], 3)
    """
    checks.choice(format, "format", FORMATS)
    d = checks.integer(d, "d", low=3 if format in ("extended_tt", "tr") else 2, high=8)
    return {"svd": _svd, "cp": _cp, "tucker": _tucker, "extended_tt": _extended, "tr": _ring, "tt_matrix": _matrix}.get(
        format, _train
    )(d)


def network_traces(graphs: dict[str, Network], columns: int) -> list[dict[str, Any]]:
    """Return plotly traces that draw graphs with their titles in panels, `columns` of them in a row."""
    places = _panels(list(graphs.values()), columns)
    shifted = [_shift(graph, place) for graph, place in zip(graphs.values(), places, strict=True)]
    nodes = {(name, i): p for i, g in enumerate(shifted) for name, p in g.nodes.items()}
    ends = {(name, i): leg[1] for i, g in enumerate(shifted) for name, leg in g.legs.items()}
    heads = {(title, i): (x - 0.2, y + HEAD) for i, (title, (x, y)) in enumerate(zip(graphs, places, strict=True))}
    return [
        _path([path for g in shifted for path in g.bonds], "summed index"),
        _path([leg for g in shifted for leg in g.legs.values()], "open leg, a mode of the tensor"),
        _texts(nodes, "factor", 16, [_side(name) for name, _ in nodes]),
        _texts({("", i): p for i, g in enumerate(shifted) for p in g.dots}, "same index everywhere", 6, None),
        _texts(ends, "", 1, ["top center" if name[0] == "j" else "bottom center" for name, _ in ends]),
        _texts(heads, "", 1, ["middle right"] * len(heads)),
    ]


def _side(name: str) -> str:
    """Return where the name of a node is free of lines: beside the factors with lines above, above the others."""
    return "middle right" if name[0] in "UQ" and len(name) > 1 else "top right"


def _row(d: int, y: float = 0.0) -> list[Point]:
    return [(float(k), y) for k in range(d)]


def _legs(places: Sequence[Point]) -> dict[str, tuple[Point, Point]]:
    return {f"i{k + 1}": ((x, y), (x, y - LEG)) for k, (x, y) in enumerate(places)}


def _chain(places: Sequence[Point]) -> tuple[tuple[Point, ...], ...]:
    return tuple(pairwise(places))


def _svd(d: int) -> Network:
    row = _row(3)
    return Network(dict(zip("USV", row, strict=True)), _chain(row), _legs([row[0], row[2]]))


def _train(d: int) -> Network:
    row = _row(d)
    return Network({f"G{k + 1}": p for k, p in enumerate(row)}, _chain(row), _legs(row))


def _matrix(d: int) -> Network:
    train = _train(d)
    up = {f"j{k + 1}": ((x, y), (x, y + LEG)) for k, (x, y) in enumerate(train.nodes.values())}
    return Network(train.nodes, train.bonds, train.legs | up)


def _ring(d: int) -> Network:
    train = _train(d)
    back = ((0.0, 0.0), (0.0, 0.8), (d - 1.0, 0.8), (d - 1.0, 0.0))
    return Network(train.nodes, (*train.bonds, back), train.legs)


def _extended(d: int) -> Network:
    row, bases = _row(d, 1.0), _row(d)[1:-1]
    nodes = {f"{'G' if k in (0, d - 1) else 'H'}{k + 1}": p for k, p in enumerate(row)}
    nodes |= {f"Q{k + 2}": p for k, p in enumerate(bases)}
    return Network(nodes, (*_chain(row), *zip(row[1:-1], bases, strict=True)), _legs([row[0], *bases, row[-1]]))


def _tucker(d: int) -> Network:
    row, core = _row(d), ((d - 1) / 2, 1.2)
    return Network({"G": core} | _factors("Q", row), tuple((core, p) for p in row), _legs(row))


def _cp(d: int) -> Network:
    row, dot = _row(d), ((d - 1) / 2, 1.2)
    return Network(_factors("U", row), tuple((dot, p) for p in row), _legs(row), (dot,))


def _factors(letter: str, places: Sequence[Point]) -> dict[str, Point]:
    return {f"{letter}{k + 1}": p for k, p in enumerate(places)}


def _panels(graphs: Sequence[Network], columns: int) -> list[Point]:
    """Return the place of each panel: its lower left node, the first panel at the top."""
    width = ROOM + max(x for graph in graphs for x, _ in graph.nodes.values())
    return [(i % columns * width, -(i // columns) * LINE) for i in range(len(graphs))]


def _shift(graph: Network, by: Point) -> Network:
    def move(path: Sequence[Point]) -> Any:
        return tuple((x + by[0], y + by[1]) for x, y in path)

    nodes = dict(zip(graph.nodes, move(list(graph.nodes.values())), strict=True))
    legs = {name: move(path) for name, path in graph.legs.items()}
    return Network(nodes, tuple(move(path) for path in graph.bonds), legs, move(graph.dots))


def _path(paths: Sequence[Sequence[Point]], name: str) -> dict[str, Any]:
    """Return one trace of many lines: None lifts the pen."""
    x, y = ([v for path in paths for v in (*(p[axis] for p in path), None)] for axis in (0, 1))
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y, "hoverinfo": "skip"}


def _texts(places: dict[tuple[str, int], Point], name: str, size: int, sides: list[str] | None) -> dict[str, Any]:
    """Return one trace of balls with their names; a ball of size 1 is as good as none."""
    texts = [text for text, _ in places]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [x for x, _ in places.values()],
        "y": [y for _, y in places.values()],
        "text": texts,
        "textposition": sides or ["top center"] * len(texts),
        "marker": {"size": [size] * len(texts), "opacity": 1.0},
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
