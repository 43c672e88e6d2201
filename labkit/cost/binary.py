"""What binary weights and inputs can save: the time and memory model of XNOR-Net. Chapter 19."""

from labkit import checks


def xnor_speedup(c: int, n: int, *, word: int = 64) -> float:
    r"""Return the speed-up of a convolution by XNOR and POPCOUNT that XNOR-Net's operation count promises.

    Parameters
    ----------
    c : input channels, at least 1
    n : positions of a filter, height times width, at least 1
    word : signs that one instruction takes, at least 1

    Raises TypeError or ValueError for other numbers.

    Formula: a window costs :math:`c n` multiply-adds, or :math:`c n / 64` operations on words and one real product
    for its scale, so :math:`S = \frac{64 c n}{c n + 64}`. It counts an instruction on a word as one multiply-add and
    leaves out packing, memory and vector instructions, which both sides have. Rastegari et al. (2016),
    arXiv:1603.05279, section 3.3; lecture 003:1186-1218. Chapter 19.

    >>> round(xnor_speedup(256, 9), 2), round(xnor_speedup(3, 9), 1)
    (62.27, 19.0)
    """
    products = checks.integer(c, "c", low=1) * checks.integer(n, "n", low=1)
    word = checks.integer(word, "word", low=1)
    return word * products / (products + word)
