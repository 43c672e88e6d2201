"""Arrays as they may come: not contiguous, not aligned, not writeable."""

import numpy as np


def misaligned(array):
    """A copy that starts one byte past an aligned address."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def strided(array):
    """Every second element of a larger array, along every axis."""
    larger = np.zeros([2 * size for size in array.shape], array.dtype)
    view = larger[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def backwards(array):
    """A view that runs backwards along every axis."""
    turned = tuple(slice(None, None, -1) for _ in array.shape)
    return array[turned].copy()[turned]


LAYOUTS = {
    "fortran": np.asfortranarray,
    "misaligned": misaligned,
    "strided": strided,
    "backwards": backwards,
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}
