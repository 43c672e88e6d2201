"""The explorer of chapter 6: its numbers against the library, and the page against Python."""

import numpy as np
import pytest

from labkit.datasets import photograph
from labkit.decomposition import kpsvd, truncated_svd
from labkit.explore.kronecker import BLOCKS, SIZE, TOP, fair_rank, kronecker_explorer


@pytest.fixture(scope="module")
def explorer():
    return kronecker_explorer()


@pytest.mark.parametrize("rank", [1, 2, 5, 10])
def test_the_lectures_picture(explorer, rank):
    """At 800 numbers a rank Kronecker products win on the temple at ranks 1, 2 and 5; at 10 as it is measured."""
    shown = explorer.compute(photo="china", right="16 × 20", rank=rank)
    A, numbers = photograph("china", size=SIZE), shown["numbers"]
    assert numbers["Numbers, Kronecker"] == numbers["Numbers, SVD"] == 800 * rank
    for part, label in (
        (truncated_svd(A, rank=rank), "SVD PSNR"),
        (kpsvd(A, right=(16, 20), rank=rank), "Kronecker PSNR"),
    ):
        psnr = -10 * np.log10(np.mean((A - part.to_tensor()) ** 2))
        assert numbers[label] == pytest.approx(psnr, abs=0.01)
    np.testing.assert_allclose(shown["blocks"], kpsvd(A, right=(16, 20), rank=rank).to_tensor(), atol=1e-5)
    if rank <= 5:
        assert numbers["Kronecker PSNR"] > numbers["SVD PSNR"]


@pytest.mark.parametrize("right", BLOCKS)
def test_the_svd_never_gets_more_numbers_beyond_its_first_term(explorer, right):
    for rank in (1, 3, TOP):
        numbers = explorer.compute(photo="flower", right=right, rank=rank)["numbers"]
        assert numbers["Numbers, SVD"] <= max(800, numbers["Numbers, Kronecker"])
        assert numbers["SVD terms"] == fair_rank(rank, numbers["Numbers, Kronecker"] // rank, 800)


def test_the_browser_shows_what_python_shows(run_twin, explorer):
    cases = [("china", "16 × 20", 5), ("china", "8 × 10", 10), ("flower", "80 × 4", 1), ("flower", "32 × 40", 7)]
    moves = [{"photo": photo, "right": right, "rank": rank} for photo, right, rank in cases]
    for move, mine in zip(moves, run_twin(explorer, "kronecker.js", moves), strict=True):
        expected = explorer.frame(move)
        for item, theirs in zip(mine["numbers"]["items"], expected["numbers"]["items"], strict=True):
            assert item["label"] == theirs["label"]
            assert item["value"] == pytest.approx(theirs["value"], rel=1e-9)
        for name in ("svd", "blocks"):
            levels = np.reshape(mine[name]["levels"]["data"], SIZE).astype(float)
            assert np.abs(levels - expected[name]["levels"]).max() <= 1
        for line, theirs in zip(mine["curves"]["series"], expected["curves"]["series"], strict=True):
            assert (line["label"], line["kind"]) == (theirs["label"], theirs["kind"])
            np.testing.assert_allclose(line["y"]["data"], theirs["y"], rtol=1e-6)
            np.testing.assert_allclose(line["x"]["data"], theirs["x"], rtol=1e-6)
