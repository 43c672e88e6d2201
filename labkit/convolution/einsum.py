"""Every layer as a multilinear map: one line of einsum says what is stored, what is shared and what is summed.

| index      | counts                        | index | counts                                  |
|------------|-------------------------------|-------|-----------------------------------------|
| n          | pictures of the batch         | g     | groups                                  |
| c, k       | input and output channels     | r     | rank: channels between two factors      |
| h, w       | places of the output          | a, b  | output channels k = (a, b) of a product |
| i, j       | places in the window          | c, d  | input channels c = (c, d) of a product  |

X is what `patches` returns: X[n, c, h, w, i, j]. The slide (lecture 000:545) writes A_{k,c} X_{n,c,h,w,hk,wk} for a
convolution; A lacks the window's indices there (erratum E18), and summing over them anyway would weigh all places of
the window alike. Chapter 3; lecture 000:543-552.
"""

from typing import Any

import numpy as np

from labkit import checks

EINSUM = {  # layer -> equation; the factors come first, the input last
    "linear": "kc,nc->nk",  # A (K, C), x (N, C)
    "conv": "kcij,nchwij->nkhw",  # A (K, C, kh, kw)
    "pointwise": "kc,nchw->nkhw",  # A (K, C), x (N, C, H, W): the window is 1 x 1
    "depthwise": "cij,nchwij->nchw",  # A (C, kh, kw): k = c, the slide's delta
    "separable": "kc,cij,nchwij->nkhw",  # Xception: pointwise A (K, C) after depthwise B (C, kh, kw)
    "grouped": "gkcij,ngchwij->ngkhw",  # A (G, K/G, C/G, kh, kw)
    "low rank": "kr,rcij,nchwij->nkhw",  # A (K, R) after B (R, C, kh, kw)
    "vertical-horizontal": "krj,rci,nchwij->nkhw",  # A (K, R, kw) after B (R, C, kh)
    "kronecker linear": "ac,bd,ncd->nab",  # W = A (x) B with A (a, c), B (b, d)
    "kronecker": "acij,bd,ncdhwij->nabhw",  # A (a, c, kh, kw), B (b, d)
    "transposed": "ckij,nchw->nkhwij",  # A (C, K, kh, kw), x (N, C, H, W): patches for col2im to add up
}


def einsum_layer(layer: str, *operands: np.ndarray) -> np.ndarray:
    """Apply a layer by its equation.

    Parameters
    ----------
    layer : a key of `EINSUM`
    operands : the factors and then the input, real arrays with one side for each letter of the equation

    Returns
    -------
    array with one side for each letter behind the arrow

    Raises
    ------
    TypeError, ValueError : unknown layer, a wrong number of operands or of sides, or sides that do not agree.

    Chapter 3; lecture 000:543-552.

    >>> einsum_layer("linear", [[1, 2], [3, 4]], [[1, 1]])
    array([[3., 7.]])
    """
    equation = EINSUM[checks.choice(layer, "layer", EINSUM)]
    terms = equation.split("->")[0].split(",")
    if len(operands) != len(terms):
        raise TypeError(f"{layer} takes {len(terms)} arrays, {', '.join(terms)}; got {len(operands)}")
    arrays = [checks.array(A, f"operand {term}", ndim=len(term)) for term, A in zip(terms, operands, strict=True)]
    _check_sides(terms, arrays)
    return np.einsum(equation, *arrays, optimize=True)


def _check_sides(terms: list[str], arrays: list[np.ndarray]) -> None:
    """Raise ValueError unless each letter has one length in all arrays."""
    lengths: dict[str, Any] = {}
    for term, A in zip(terms, arrays, strict=True):
        for letter, n in zip(term, A.shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ValueError(f"operand {term} must have {lengths[letter]} entries along {letter}, got {A.shape}")
