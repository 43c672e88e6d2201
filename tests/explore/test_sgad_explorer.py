"""The SGAD explorer: its numbers against the library and the trained networks, and the page against Python."""

import pytest
import torch

from labkit.datasets import mnist
from labkit.dynamic import expected_drop_ratio, softmax_variance
from labkit.explore.sgad import BLOCKS, BOUND, GUIDES, N_DIGITS, STOPS, scores, sgad_explorer
from labkit.nets import load

SETTING = {"s_max": 0.6, "reading": "mended", "guide": "lenet-5", "temperature": 4}


@pytest.fixture(scope="module")
def explorer():
    return sgad_explorer()


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guidance_is_the_trained_network_on_digits_that_it_has_not_seen(guide):
    x, y = mnist("test", source="offline")[:N_DIGITS].tensors()
    with torch.no_grad():
        expected = load(guide)(x)
    torch.testing.assert_close(scores(guide).float(), expected)
    assert (scores(guide).argmax(1) == y).double().mean() > 0.95


def test_the_numbers_are_the_formulas(explorer):
    shown = explorer.compute(**SETTING)
    variance = softmax_variance(scores("lenet-5") / 4)
    dropped = expected_drop_ratio(variance, n_classes=10, s_max=0.6)
    numbers = shown["numbers"]
    assert numbers["Dropped on average"] == pytest.approx(100 * float(dropped.mean()))
    assert numbers["At the largest variance"] == pytest.approx(
        100 * float(expected_drop_ratio(torch.tensor([BOUND]), n_classes=10, s_max=0.6)), rel=1e-5
    )
    assert numbers["At the largest variance"] < numbers["At the variance 1/M"] == pytest.approx(60)
    assert numbers["Blocks, easy half"] < numbers["Blocks, hard half"]


def test_every_digit_is_counted_once(explorer):
    shown = explorer.compute(**SETTING)
    assert shown["difficulty"][0].y.sum() == sum(shown["blocks"].values()) == N_DIGITS
    mean = sum(int(k) * n for k, n in shown["blocks"].items()) / N_DIGITS
    assert mean == pytest.approx(BLOCKS * (1 - shown["numbers"]["Dropped on average"] / 100), abs=0.5)
    assert STOPS[-1] == BOUND


def test_a_softer_guidance_drops_fewer_blocks(explorer):
    shares = [explorer.compute(**SETTING | {"temperature": t})["numbers"]["Dropped on average"] for t in (1, 2, 4, 8)]
    assert shares == sorted(shares, reverse=True)


def test_as_printed_s_max_is_what_1_minus_s_max_is_when_mended(explorer):
    printed = explorer.compute(**SETTING | {"s_max": 0.2, "reading": "printed"})
    mended = explorer.compute(**SETTING | {"s_max": 0.8, "reading": "mended"})
    assert printed["numbers"] == pytest.approx(mended["numbers"])
    assert printed["blocks"] == mended["blocks"]


def test_the_page_computes_what_python_computes(explorer, assert_twin):
    assert_twin(explorer, "sgad.js", n=25, random_state=0, rtol=1e-9)
