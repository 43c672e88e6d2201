"""The view of a graph: boxes in columns, joined by curves from left to right, as a circuit is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labkit import checks
from labkit.explore.views import View

KINDS = ("input", "cell", "output")


@dataclass(frozen=True)
class Node:
    """A box: its label, the column it stands in (0 is the leftmost), its kind, and a note for who points at it."""

    label: str
    column: int
    kind: str = "cell"
    note: str = ""


@dataclass(frozen=True)
class Wiring:
    """Nodes, and edges as pairs of their numbers; an edge leads to a column further right."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Graph(View):
    """A graph in columns: data is a `Wiring`. The nodes of a column stand in their order, evenly spread.

    >>> Graph("net").encode(Wiring([Node("x", 0, "input"), Node("f", 1)], [(0, 1)]))["edges"].tolist()
    [[0, 1]]
    """

    kind: ClassVar[str] = "graph"

    def encode(self, data: Any) -> dict[str, Any]:
        nodes = checks.instance(data, self.name, Wiring).nodes
        if not nodes:
            raise ValueError(f"{self.name} must have at least one node, got none")
        columns = [checks.integer(node.column, f"{self.name}: column", low=0) for node in nodes]
        edges = np.array([self._edge(edge, columns) for edge in data.edges], dtype=np.int32).reshape(-1, 2)
        return {
            "labels": [node.label for node in nodes],
            "kinds": [checks.choice(node.kind, f"{self.name}: kind", KINDS) for node in nodes],
            "notes": [node.note for node in nodes],
            "places": places(columns),
            "edges": edges,
        }

    def _edge(self, edge: tuple[int, int], columns: Sequence[int]) -> tuple[int, int]:
        start, end = (checks.integer(i, f"{self.name}: edge", low=0, high=len(columns) - 1) for i in edge)
        if columns[start] >= columns[end]:
            raise ValueError(f"{self.name}: an edge must lead to the right, got {edge}")
        return start, end


def places(columns: Sequence[int]) -> np.ndarray:
    """Return where the nodes stand, (n, 2) in the unit square: x by the column, y by the order in it.

    >>> places([0, 0, 1]).tolist()
    [[0.0, 0.25], [0.0, 0.75], [1.0, 0.5]]
    """
    last, seen = max([*columns, 1]), dict.fromkeys(columns, 0)
    found = []
    for column in columns:
        found.append((column / last, (seen[column] + 0.5) / columns.count(column)))
        seen[column] += 1
    return np.array(found)
