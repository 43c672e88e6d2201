"""Pictures on their way to a page: arrays checked, then PNG or WebP as text."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from labkit import checks

LOSSY_FROM = 128 * 128  # pixels from which a photograph is sent as WebP rather than PNG


def pixels_of(image: Any, label: str) -> np.ndarray:
    """Return `image` as uint8 of shape (h, w) or (h, w, 3); values outside [0, 1] are refused, never clipped."""
    name = f"image {label!r}"
    array = checks.array(image, name)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"{name} must have shape (h, w) or (h, w, 3), got {array.shape}")
    if np.asarray(image).dtype == np.uint8:
        return array.astype(np.uint8)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} must hold values between 0 and 1, got {array.min():.4g} to {array.max():.4g}")
    return np.round(array * 255).astype(np.uint8)


def data_uri(pixels: np.ndarray) -> str:
    """Return uint8 pixels as the text of an image in a page, PNG or WebP, whichever is shorter."""
    encoded = {"png": _encode(pixels, "png", optimize=True)}
    if pixels.shape[0] * pixels.shape[1] >= LOSSY_FROM:
        encoded["webp"] = _encode(pixels, "webp", quality=90)
    kind = min(encoded, key=lambda k: len(encoded[k]))
    return f"data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}"


def _encode(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
