"""The SBNet explorer: its numbers against the layer, and the page against Python."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.dynamic import SBConv2d, gather, macs_ran, tile_indices
from labkit.explore.sbnet import BLOCKS, CHANNELS, SCENES, SHAPE, STREET, distance, sbnet_explorer
from tests.explore.conftest import assert_same


@pytest.fixture(scope="module")
def explorer():
    return sbnet_explorer()


def mask_of(scene: str, width: int) -> torch.Tensor:
    return torch.from_numpy(distance(scene) <= width / 2)


@pytest.mark.parametrize(("scene", "width", "block", "kernel"), [("curve", 10, 8, 3), ("crossing", 20, 6, 5)])
def test_the_numbers_are_what_the_layer_runs(explorer, scene, width, block, kernel):
    shown = explorer.compute(scene=scene, width=width, block=block, kernel=kernel)["numbers"]
    layer = SBConv2d(nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2), block_size=block)
    x, mask = torch.zeros(1, CHANNELS, *SHAPE), mask_of(scene, width)
    assert macs_ran(layer, x, mask)[1] == shown["Multiply-adds, tiles"]
    assert macs_ran(layer.conv, x)[1] == shown["Multiply-adds, dense"]
    assert shown["Multiply-adds"] == pytest.approx(100 * shown["Multiply-adds, tiles"] / shown["Multiply-adds, dense"])
    indices = tile_indices(mask[None], block_size=block)
    assert shown["Tiles in the list"] == len(indices)
    read = gather(x, indices, layer.tiling)
    assert shown["Inputs read"] == pytest.approx(100 * read.numel() / x.numel())


def test_a_block_of_one_output_does_the_wanted_work_and_reads_most(explorer):
    shown = explorer.compute(scene="curve", width=10, block=1, kernel=3)
    numbers, (work, reads) = shown["numbers"], shown["curve"][:2]
    assert numbers["Multiply-adds"] == pytest.approx(numbers["Wanted"])
    assert work.y[0] == min(work.y)
    assert reads.y[0] == pytest.approx(9 * work.y[0])


def test_the_picture_shows_road_tiles_and_the_rest(explorer):
    shown = explorer.compute(scene="straight", width=6, block=16, kernel=3)["scene"]
    mask = mask_of("straight", 6).numpy()
    assert set(np.unique(shown)) == {0, 110, 255}
    assert ((shown == 255) == mask).all()
    rows = explorer.compute(scene="straight", width=6, block=16, kernel=3)["list"].rows
    assert all(
        (shown[16 * r["row"] : 16 * r["row"] + 16, 16 * r["column"] : 16 * r["column"] + 16] > 0).all() for r in rows
    )


def test_the_table_names_the_inputs_with_the_border_that_the_kernel_sees(explorer):
    row = explorer.compute(scene="crossing", width=64, block=8, kernel=5)["list"].rows[0]
    i, j = row["row"], row["column"]
    assert row["input rows"] == f"{8 * i - 2} to {8 * i + 9}"
    assert row["input columns"] == f"{8 * j - 2} to {8 * j + 9}"


def test_the_page_computes_what_python_computes(explorer, assert_twin, run_twin):
    assert_twin(explorer, "sbnet.js", n=25, random_state=0, rtol=1e-12)
    moves = [{"scene": s, "width": w, "block": b, "kernel": 3} for s in SCENES for w in (2, 64) for b in BLOCKS[::3]]
    for move, mine in zip(moves, run_twin(explorer, "sbnet.js", moves), strict=True):
        assert_same(mine, explorer.frame(move), str(move), rtol=1e-12)


def test_the_streets_are_fixed():
    assert STREET == 4
    assert distance("curve").shape == SHAPE
