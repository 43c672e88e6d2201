"""The SBNet explorer of Chapter 29: a road seen from above, its tiles, and what they cost by the block size."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.convolution.window import Window
from labkit.dynamic import SBConv2d, Tiling, road_distance, tile_indices
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Cut, Lines, Picture, Readouts, Rows, Series, Table

SHAPE = (64, 96)
SCENES = {"straight": "a straight road", "curve": "a bend", "crossing": "a crossing"}
STREET = 4  # the random state of the streets
WIDTHS = tuple(range(2, 66, 2))
BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
CHANNELS = 16
LISTED = 6  # rows of the table
UNITS = {"Wanted": "%", "Multiply-adds": "%", "Inputs read": "%"}
VIEWS = [
    Picture("scene", "The road, and the tiles that hold some of it", colormap="sequential", pixelated=True),
    Lines(
        "curve",
        "Work by block size",
        x_label="outputs along a side of a tile",
        y_label="share of the dense layer (%)",
        x_scale="log",
        y_range=(0, 400),
    ),
    Table("list", f"The first {LISTED} tiles of the list", wide=True),
    Readouts("numbers", units=UNITS),
]


@cache
def distance(scene: str) -> np.ndarray:
    """Return how far each pixel of a street lies from the middle of the road, (H, W) in pixels."""
    return road_distance(SHAPE, scene=scene, random_state=STREET)


@register
def sbnet_explorer() -> Explorer:
    """Return the SBNet explorer: road, width, block size and kernel against the tile list and its work.

    Chapter 29; lecture 003:3066-3076.

    >>> numbers = sbnet_explorer().compute(scene="straight", width=8, block=8, kernel=3)["numbers"]
    >>> numbers["Tiles"], numbers["Tiles in the list"] < numbers["Tiles"]
    (96, True)
    """
    return Explorer(
        "sbnet",
        _views,
        title="SBNet: only the tiles with road in them",
        controls=[
            Choice("scene", SCENES, default="curve", label="Street"),
            Slider("width", values=WIDTHS, default=10, label="Width of the road", unit="pixels"),
            Slider("block", values=BLOCKS, default=8, label="Outputs along a side of a tile"),
            Slider("kernel", values=(1, 3, 5, 7), default=3, label="Kernel"),
        ],
        views=VIEWS,
        static=Browser("sbnet.js", page_data),
        alt="{scene} {width} pixels wide, cut into tiles of {block} outputs for a kernel of {kernel}, and the "
        "multiply-adds and inputs read over the block size",
        caption=f"Picture {SHAPE[0]} × {SHAPE[1]}, {CHANNELS} channels in and out, stride 1. Tiles that stick out over "
        "the edge are computed whole, and inputs that two tiles share are read twice.",
    )


def _views(scene: str, width: int, block: int, kernel: int) -> dict[str, Any]:
    mask = torch.from_numpy(distance(scene) <= width / 2)
    indices = tile_indices(mask[None], block_size=block)
    work, reads = zip(*(shares(mask, m, kernel) for m in BLOCKS), strict=True)
    return {
        "scene": _picture(mask.numpy(), indices.numpy(), block),
        "curve": [
            Series(work, BLOCKS, "multiply-adds"),
            Series(reads, BLOCKS, "inputs read"),
            Cut(y=100, label="dense", muted=True),
            Cut(x=block),
        ],
        "list": _list(indices.tolist(), block, kernel),
        "numbers": _numbers(mask, block, kernel),
    }


def shares(mask: torch.Tensor, block: int, kernel: int) -> tuple[float, float]:
    """Return the multiply-adds and the inputs read of the tiles, in percent of the dense layer and of the picture."""
    tiling = Tiling(Window(kernel, padding=kernel // 2), block)
    n, pixels = len(tile_indices(mask[None], block_size=block)), mask.numel()
    return 100 * n * block**2 / pixels, 100 * n * tiling.block[0] ** 2 / pixels


def _picture(mask: np.ndarray, indices: np.ndarray, block: int) -> np.ndarray:
    """Return grey levels: 255 on the road, 110 in a tile of the list beside it, 0 elsewhere."""
    shown = np.zeros(mask.shape, np.uint8)
    for _, i, j in indices:
        shown[i * block : (i + 1) * block, j * block : (j + 1) * block] = 110
    shown[mask] = 255
    return shown


def _list(indices: list[list[int]], block: int, kernel: int) -> Rows:
    before, after = kernel // 2, kernel - kernel // 2 - 1
    rows = [
        {
            "number": k,
            "row": i,
            "column": j,
            "input rows": f"{i * block - before} to {(i + 1) * block + after - 1}",
            "input columns": f"{j * block - before} to {(j + 1) * block + after - 1}",
        }
        for k, (_, i, j) in enumerate(indices[:LISTED])
    ]
    return Rows(rows)


def _numbers(mask: torch.Tensor, block: int, kernel: int) -> dict[str, Any]:
    layer = SBConv2d.from_conv(nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2), block_size=block)
    down, across = layer.tiling.grid(SHAPE)
    work, reads = shares(mask, block, kernel)
    return {
        "Wanted": 100 * float(mask.double().mean()),
        "Tiles": down * across,
        "Tiles in the list": len(tile_indices(mask[None], block_size=block)),
        "Overlap of tiles": layer.tiling.overlap[0],
        "Multiply-adds, dense": layer.conv.weight.numel() * mask.numel(),
        "Multiply-adds, tiles": layer.macs(mask),
        "Multiply-adds": work,
        "Inputs read": reads,
    }


def page_data() -> dict[str, Any]:
    """Return what `static/sbnet.js` needs: for each pixel the number of the first width at which it is road."""
    halves = np.array(WIDTHS) / 2
    first = {scene: np.searchsorted(halves, distance(scene)).astype(np.uint8) for scene in SCENES}
    fixed = {"widths": list(WIDTHS), "blocks": list(BLOCKS), "channels": CHANNELS, "listed": LISTED}
    return fixed | {"shape": list(SHAPE), "first": first}
