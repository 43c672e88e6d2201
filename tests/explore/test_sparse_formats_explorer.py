"""The format explorer: its bytes are those of the formats, its times those of the record, on the page too."""

import numpy as np
import pytest

from labkit.experiments import record
from labkit.explore.sparse_formats import BLOCKS, SIZE, format_explorer, matrix_of
from labkit.sparse import BCSR, CSR, PATTERNS


@pytest.fixture(scope="module")
def explorer():
    return format_explorer()


def test_bytes_are_those_of_the_formats(explorer):
    shown = explorer.compute(density=20, pattern="block", block=4, bcsr=8)
    W = matrix_of(20, "block", 4)
    share = dict(zip(shown["bytes"].categories, shown["bytes"].values[""], strict=True))
    assert share["CSR"] == 100 * CSR.from_dense(W).n_bytes / W.nbytes == shown["numbers"]["Bytes of CSR"]
    assert share["BCSR"] == 100 * BCSR.from_dense(W, block=(8, 8)).n_bytes / W.nbytes
    assert shown["numbers"]["Smallest"] == min(share, key=share.get)
    assert W.shape == (SIZE, SIZE)


def test_blocks_that_fit_have_no_fill_in(explorer):
    def fill_in(**point):
        return explorer.compute(density=20, **point)["numbers"]["Zeros that BCSR stores"]

    for block in BLOCKS:
        assert fill_in(pattern="block", block=block, bcsr=block) == 0
        assert fill_in(pattern="block", block=8, bcsr=block) == 0  # smaller blocks fit too
        assert (fill_in(pattern="block", block=4, bcsr=block) > 1000) is (block == 8)
    assert fill_in(pattern="random", bcsr=8) > 1000


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("columns", ["1", "64"])
def test_times_are_the_recorded_ones(explorer, pattern, columns):
    block = 4 if pattern == "block" else 1
    rows = {
        round(100 - 100 * row["density"], 6): row["ratio"]
        for row in record("sparse-times").rows
        if (row["pattern"], row["block"], row["columns"]) == (pattern, block, int(columns))
    }
    shown = explorer.compute(density=10, pattern=pattern, columns=columns)
    curve, here, *cuts = shown["time"]
    assert dict(zip(np.round(curve.x, 6).tolist(), curve.y.tolist(), strict=True)) == rows
    assert here.y[0] == shown["numbers"]["Speed of CSR"] == rows[90]
    assert [cut.x for cut in cuts] == [70, None]


def test_the_caption_says_that_times_are_recorded(explorer):
    assert "recorded once on one machine, not measured while you look" in explorer.caption


def test_own_times_can_be_put_in():
    rows = [
        {"pattern": pattern, "block": block, "density": d, "columns": 2, "dense": "NumPy", "ratio": r}
        for pattern, block in (("random", 1), ("banded", 1), ("block", 2), ("block", 4), ("block", 8))
        for d, r in ((0.1, 2.0), (0.5, 0.5))
    ]
    mine = format_explorer(rows)
    assert mine.compute(density=50)["numbers"]["Speed of CSR"] == 0.5
    assert mine.compute(density=10, pattern="block", block=8)["numbers"]["Speed of CSR"] == 2.0


def test_on_a_page_every_control_changes_what_is_shown(explorer, open_page):
    with open_page(explorer) as page:

        def moved(move):
            before = page.inner_text(".lk-readouts")
            move()
            page.wait_for_function("old => document.querySelector('.lk-readouts').innerText !== old", arg=before)

        moved(lambda: page.get_by_role("slider").first.press("ArrowRight"))
        moved(lambda: page.get_by_label("blocks", exact=True).check())
        moved(lambda: page.get_by_label("64 vectors at once", exact=True).check())
        moved(lambda: page.get_by_label("Side of a BCSR block").press("ArrowRight"))  # 8 over blocks of 4: fill-in
        moved(lambda: page.get_by_label("Side of its blocks").press("ArrowRight"))  # they fit again
