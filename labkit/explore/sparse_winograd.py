"""The explorer of Chapter 24: what zeros save, directly and in the Winograd domain."""

from typing import Any

from labkit.convolution import cook_toom, expected_density, n_mults
from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Groups, Readouts

TILES = (2, 4)
WAYS = ("direct", "sparse", "Winograd", "zeros lost", "zeros kept")
UNITS = {"Saving, sparse": "×", "Saving, zeros lost": "×", "Saving, zeros kept": "×"}


@register
def sparse_winograd_explorer() -> Explorer:
    """Return the explorer of sparse Winograd: density of weights and of activations, and the tile.

    Chapter 24; lecture 003:1917-1972.

    >>> numbers = sparse_winograd_explorer().compute(weights=0.4, activations=0.5, m=2)["numbers"]
    >>> round(numbers["Saving, zeros kept"], 2), round(numbers["Saving, zeros lost"], 2)
    (11.25, 3.25)
    """
    return Explorer(
        "sparse-winograd",
        _views,
        title="Zeros before and after the transform",
        controls=[
            Slider("weights", 0.05, 1.0, 0.01, default=0.4, label="Density of the weights"),
            Slider("activations", 0.05, 1.0, 0.01, default=0.44, label="Density of the activations"),
            Slider("m", values=TILES, default=2, label="Outputs m of F(m × m, 3 × 3)"),
        ],
        views=[
            Bars("products", "Multiplications for a tile and a pair of channels", y_label="multiplications", wide=True),
            Bars("densities", "Density", y_label="share that is not zero", y_range=(0, 1)),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("sparse_winograd.js", page_data),
        alt="Multiplications in five ways and densities before and after the transform, for weights of density "
        "{weights}, activations of density {activations} and tiles of {m} × {m}",
        caption="Zeros are taken as random and independent. Sparse: the direct way. Zeros lost: sparse before the "
        "transform. Zeros kept: pruned, and the ReLU applied, behind it.",
    )


def _views(weights: float, activations: float, m: int) -> dict[str, Any]:
    after = expected_density(weights, m=m), expected_density(activations, m=m, of="activations")
    direct, dense = 9 * m**2, n_mults((m, m), (3, 3))
    sparse = weights * activations
    counts = direct, direct * sparse, dense, dense * after[0] * after[1], dense * sparse
    names = ["weights", "activations"]
    return {
        "products": dict(zip(WAYS, counts, strict=True)),
        "densities": Groups(names, {"before": [weights, activations], "after the transform": list(after)}),
        "numbers": {
            "Weights after the transform": after[0],
            "Activations after the transform": after[1],
            **{f"Saving, {way}": direct / counts[WAYS.index(way)] for way in (WAYS[1], WAYS[3], WAYS[4])},
        },
    }


def page_data() -> dict[str, Any]:
    """Return what `static/sparse_winograd.js` needs: how many numbers each row of G and of B^T adds up."""
    rows = {m: cook_toom(m, 3) for m in TILES}
    return {
        "ways": WAYS,
        "terms": {str(m): {"weights": _terms(one.G), "activations": _terms(one.BT)} for m, one in rows.items()},
    }


def _terms(matrix: Any) -> list[int]:
    return [sum(x != 0 for x in row) for row in matrix]
