"""A street from above, made up: which pixels of a laser scanner's picture show the road. Chapter 29."""

from typing import Any

import numpy as np
import torch

from labkit import checks
from labkit.convolution.window import pair

SCENES = ("straight", "curve", "crossing")


def road_distance(shape: tuple[int, int], *, scene: str = "curve", random_state: Any = None) -> np.ndarray:
    """Return how far each pixel lies from the middle of the nearest road, in pixels: float64 (H, W).

    Parameters
    ----------
    shape : height and width of the picture
    scene : "straight" (one road, from side to side at an angle), "curve" (one that bends) or "crossing" (two)
    random_state : an int, a NumPy Generator or None; sets place, angle and bend

    Raises
    ------
    TypeError, ValueError : a side below 1, or an unknown scene.

    Chapter 29; lecture 003:3056-3060.

    >>> road_distance((4, 4), random_state=0).shape
    (4, 4)
    """
    H, W = pair(shape, "shape", low=1)
    checks.choice(scene, "scene", SCENES)
    place, slope, bend, phase, other = checks.generator(random_state).uniform(-1, 1, 5)
    t = np.arange(W) / W  # from left to right
    middle = 0.5 + 0.1 * place + 0.3 * slope * (t - 0.5)
    if scene == "curve":
        middle = middle + (0.12 + 0.1 * abs(bend)) * np.sin(2 * np.pi * (t + 0.5 * phase))
    rows, columns = np.indices((H, W)) + 0.5
    distance = np.abs(rows - H * middle) / np.hypot(1, np.gradient(H * middle)) if W > 1 else np.abs(rows - H / 2)
    if scene == "crossing":
        distance = np.minimum(distance, np.abs(columns - W * (0.5 + 0.15 * other) - 0.2 * bend * (rows - H / 2)))
    return distance


def road_mask(shape: tuple[int, int], *, width: float, scene: str = "curve", random_state: Any = None) -> torch.Tensor:
    """Return the mask of the road in a street scene from above: bool tensor (H, W), true on the road.

    Parameters
    ----------
    shape, scene, random_state : as for `road_distance`
    width : width of a road in pixels, at least 0; 0 leaves at most the middle line

    Raises
    ------
    TypeError, ValueError : as `road_distance`, or a negative width.

    SBNet takes such masks from a map, and skips what a laser scanner saw beside the road. arXiv:1801.02108; lecture
    003:3056-3060. Chapter 29.

    >>> [round(float(road_mask((64, 96), width=w, random_state=1).float().mean()), 2) for w in (4, 16, 300)]
    [0.07, 0.29, 1.0]
    """
    half = checks.number(width, "width", low=0) / 2
    return torch.from_numpy(road_distance(shape, scene=scene, random_state=random_state) <= half)
