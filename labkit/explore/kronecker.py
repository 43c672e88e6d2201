"""The explorer of Chapter 6: a photograph by SVD and by Kronecker products, at equally many numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from labkit.datasets import photograph
from labkit.decomposition import KroneckerSum, kpsvd, param_count
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Lines, Picture, Readouts, Series

SIZE = (320, 480)  # the lecture's photograph is 480 wide and 320 high
PLAIN = (1, 480)  # the outer product u v^T of the SVD, seen as a Kronecker product
BLOCKS = {"8 × 10": (8, 10), "16 × 20": (16, 20), "20 × 24": (20, 24), "32 × 40": (32, 40), "80 × 4": (80, 4)}
TOP = 10
UNITS = {"Kronecker PSNR": "dB", "SVD PSNR": "dB"}


@dataclass(frozen=True, eq=False)
class Form:
    """The best sums of Kronecker products with one block shape, as many terms as the explorer may ask for."""

    photo: np.ndarray
    terms: KroneckerSum

    @property
    def price(self) -> int:
        """The numbers that one term takes."""
        return param_count(self.terms.shape[:2], right=self.terms.right)  # type: ignore[arg-type]

    @cached_property
    def psnr(self) -> np.ndarray:
        """10 log10(1 / mean squared error) in dB with 1, 2, ... terms; a grey level goes from 0 to 1."""
        norm = float(np.sum(self.photo.astype(float) ** 2))
        left = norm - np.cumsum(self.terms.s.astype(float) ** 2)
        return -10 * np.log10(left / self.photo.size)

    def curve(self, label: str) -> Series:
        """Return the PSNR against the numbers stored."""
        return Series(self.psnr, self.price * np.arange(1, len(self.psnr) + 1), label)

    def picture(self, rank: int) -> np.ndarray:
        """Return the sum of the first terms."""
        return self.terms.truncate(rank).to_tensor()


@register
def kronecker_explorer() -> Explorer:
    """Return the explorer that sets the SVD of a photograph beside sums of Kronecker products.

    A term of the SVD takes 320 + 480 = 800 numbers, a term with blocks of 16 x 20 takes 20 x 24 + 16 x 20 = 800.
    For other blocks the SVD gets as many terms as fit into the same numbers, at least one.
    Chapter 6; lecture 000:279-280.

    >>> numbers = kronecker_explorer().compute(photo="china", right="16 × 20", rank=5)["numbers"]
    >>> numbers["Numbers, Kronecker"], numbers["Numbers, SVD"], numbers["Kronecker PSNR"] > numbers["SVD PSNR"]
    (4000, 4000, True)
    """
    forms = {photo: _forms(photo) for photo in ("china", "flower")}
    return Explorer(
        "kronecker",
        lambda photo, right, rank: _views(forms[photo][""], forms[photo][right], rank),
        title="SVD against Kronecker products: which spends its numbers better?",
        controls=[
            Choice("photo", {"china": "Temple", "flower": "Flower"}, label="Photograph"),
            Choice("right", {name: f"{name} pixels" for name in BLOCKS}, default="16 × 20", label="Block"),
            Slider("rank", 1, TOP, default=5, label="Kronecker terms"),
        ],
        views=[
            Picture("svd", "SVD, with at most as many numbers"),
            Picture("blocks", "Sum of Kronecker products"),
            Lines("curves", "Quality", wide=True, x_label="numbers stored", y_label="PSNR (dB)"),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("kronecker.js", lambda: page_data(forms)),
        alt="The photograph {photo} by SVD and by {rank} Kronecker products with blocks of {right} pixels",
        caption="Blocks are height × width. At 16 × 20 and 20 × 24 a Kronecker term costs as much as one of the SVD.",
    )


def fair_rank(rank: int, price: int, plain_price: int) -> int:
    """Return how many SVD terms fit into the numbers of `rank` Kronecker terms, at least 1.

    >>> fair_rank(3, 2000, 800)
    7
    """
    return max(1, rank * price // plain_price)


def page_data(forms: dict[str, dict[str, Form]]) -> dict[str, Any]:
    """Return what `static/kronecker.js` needs: the factors of every form, each with the root of its s_i."""
    return {photo: {name: _page_form(form) for name, form in several.items()} for photo, several in forms.items()}


def _page_form(form: Form) -> dict[str, Any]:
    k, root = form.terms.rank, np.sqrt(form.terms.s)[:, None]
    return {
        "left": list(form.terms.left),
        "right": list(form.terms.right),
        "price": form.price,
        "L": form.terms.U.reshape(k, -1) * root,
        "R": form.terms.V.reshape(k, -1) * root,
        "psnr": codec.Exact(form.psnr),
    }


def _forms(photo: str) -> dict[str, Form]:
    """Return the form of each block shape, and under "" that of the SVD with the terms that it may need."""
    image = photograph(photo, size=SIZE)
    made = {name: Form(image, kpsvd(image, right=right, rank=TOP)) for name, right in BLOCKS.items()}
    most = max(fair_rank(TOP, form.price, param_count(SIZE)) for form in made.values())
    return {"": Form(image, kpsvd(image, right=PLAIN, rank=most))} | made


def _views(plain: Form, form: Form, rank: int) -> dict[str, Any]:
    k = fair_rank(rank, form.price, plain.price)
    here = Series(
        [plain.psnr[k - 1], form.psnr[rank - 1]], [k * plain.price, rank * form.price], "shown", kind="points"
    )
    return {
        "svd": plain.picture(k),
        "blocks": form.picture(rank),
        "curves": [plain.curve("SVD"), form.curve("Kronecker"), here],
        "numbers": {
            "Numbers, Kronecker": rank * form.price,
            "Kronecker PSNR": float(form.psnr[rank - 1]),
            "SVD terms": k,
            "Numbers, SVD": k * plain.price,
            "SVD PSNR": float(plain.psnr[k - 1]),
        },
    }
