"""The photographs of the book. Chapters 1, 2 and 5."""

from typing import Any

import numpy as np

from labkit import checks

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def photograph(name: str = "china", *, gray: bool = True, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return a photograph as float32 in [0, 1], (h, w) in gray or (h, w, 3) in colour.

    Parameters
    ----------
    name : "china" or "flower", the two photographs that scikit-learn carries, 427 x 640 pixels each
    gray : weigh red, green and blue by 0.299, 0.587, 0.114 (the luma of ITU-R BT.601)
    size : (height, width) in pixels, or None for the original. The largest centred part with the wanted aspect
        ratio is cut out and resampled with Pillow's Lanczos filter, so nothing is stretched.

    Raises
    ------
    ValueError, TypeError : unknown name, or a size that is not two integers of at least 1.

    >>> photograph("flower", size=(64, 96)).shape
    (64, 96)
    """
    from PIL import Image, ImageOps
    from sklearn.datasets import load_sample_image  # here, because scikit-learn is slow to import

    checks.choice(name, "name", ("china", "flower"))
    image = Image.fromarray(load_sample_image(f"{name}.jpg"))
    if size is not None:
        height, width = _size(size)
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.LANCZOS)
    pixels = np.asarray(image, dtype=np.float32) / 255  # (h, w, 3)
    return np.clip(pixels @ LUMA, 0, 1) if gray else pixels


def _size(size: Any) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise TypeError(f"size must be (height, width) or None, got {size!r}")
    height, width = (checks.integer(s, "size", low=1, high=10_000) for s in size)
    return height, width
