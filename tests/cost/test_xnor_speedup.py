"""The speed-up that XNOR-Net's count promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.cost import xnor_speedup


def test_the_papers_figure():
    assert xnor_speedup(256, 9) == pytest.approx(62.27, abs=0.005)


@given(c=st.integers(1, 1000), n=st.integers(1, 50), word=st.integers(1, 512))
def test_it_grows_with_the_products_towards_the_word(c, n, word):
    assert xnor_speedup(c, n, word=word) < xnor_speedup(c + 1, n, word=word) < word
    assert xnor_speedup(c, n) == xnor_speedup(c * n, 1)
    assert c * n / (c * n / word + 1) == pytest.approx(xnor_speedup(c, n, word=word))


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (2.5, 1), (1, True)])
def test_bad_input_is_named(arguments):
    with pytest.raises((TypeError, ValueError), match=r"must be an integer|must be at least 1"):
        xnor_speedup(*arguments)


def test_the_word_is_checked():
    with pytest.raises(ValueError, match="word must be at least 1"):
        xnor_speedup(1, 1, word=0)
