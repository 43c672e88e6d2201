"""The explorer of Chapter 3: one convolution as a sparse matrix and as a product with a matrix of patches."""

from typing import Any

import numpy as np

from labkit.convolution import conv_matrix, im2col, output_shape
from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cells, Heatmap, Readouts

UNITS = {"Not zero in A": "%"}


@register
def convolution_explorer() -> Explorer:
    """Return the explorer of Toeplitz and im2col: which pixels meet which entries of the two matrices.

    The pixels of the picture are numbered row by row, 1, 2, ...; 0 is padding. Pixel j is column j of the matrix A,
    and the r-th pixel of the output is row r of A and of the patch matrix P.
    Chapter 3; lecture 000:150-177.

    >>> numbers = convolution_explorer().compute(kernel=3, size=6)["numbers"]
    >>> numbers["A"], numbers["P"]
    ('16 × 36', '16 × 9')
    """
    return Explorer(
        "convolution",
        _views,
        title="Convolution is matrix multiplication: two matrices",
        controls=[
            Slider("kernel", 1, 5, default=3, label="Kernel size k"),
            Slider("stride", 1, 3, label="Stride"),
            Slider("padding", 0, 2, label="Padding"),
            Slider("size", 5, 10, default=6, label="Side of the picture"),
            Slider("progress", 0, 100, default=40, label="Way through the output", unit="%"),
        ],
        views=[
            Heatmap("picture", "Picture with its padding (0), pixels numbered", numbers=True),
            Heatmap("matrix", "A: where it is not zero", pattern=True, x_label="pixel", y_label="output pixel"),
            Heatmap("patches", "P: the patches as rows", numbers=True, x_label="weight", y_label="output pixel"),
            Heatmap("output", "Output, pixels numbered", numbers=True),
            Readouts("numbers", units=UNITS),
        ],
        static=Browser("convolution.js", {}),
        alt="A {size} by {size} picture, a {kernel} by {kernel} kernel, stride {stride} and padding {padding}: "
        "one patch, its row in the convolution's matrix and its row in the matrix of patches",
        caption="The outlined patch of the picture is the outlined row of A, with the weights in the columns of its "
        "pixels, and the outlined row of P; both give the outlined pixel of the output.",
    )


def _views(kernel: int, stride: int, padding: int, size: int, progress: int) -> dict[str, Any]:
    moves = {"stride": stride, "padding": padding}
    down, across = output_shape((size, size), kernel, **moves)
    place = int(progress * (down * across - 1) / 100 + 0.5)
    pixels = np.arange(1.0, size**2 + 1).reshape(1, 1, size, size)
    P = im2col(pixels, kernel, **moves)  # (H'W', k k): the number of each pixel, 0 for the padding
    A = conv_matrix(np.ones((1, 1, kernel, kernel)), (size, size), **moves).toarray()  # (H'W', size size)
    output = np.arange(1.0, down * across + 1).reshape(down, across)
    top, left = stride * (place // across), stride * (place % across)
    padded = np.pad(pixels[0, 0], padding)
    patch = np.zeros(padded.shape, bool)
    patch[top : top + kernel, left : left + kernel] = True
    return {
        "picture": Cells(padded, patch),
        "matrix": Cells(A, _row(A, place)),
        "patches": Cells(P, _row(P, place)),
        "output": Cells(output, output == place + 1),
        "numbers": _numbers(A, P, output),
    }


def _row(A: np.ndarray, place: int) -> np.ndarray:
    """Return the mask of one row of A."""
    mask = np.zeros(A.shape, bool)
    mask[place] = True
    return mask


def _numbers(A: np.ndarray, P: np.ndarray, output: np.ndarray) -> dict[str, Any]:
    sizes = {name: " × ".join(map(str, M.shape)) for name, M in (("Output", output), ("A", A), ("P", P))}
    filled, copies = np.count_nonzero(A) / A.size, P.size / A.shape[1]
    return sizes | {"Not zero in A": 100 * filled, "Numbers in P per pixel": copies, "Multiply-adds": P.size}
