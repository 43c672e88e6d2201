"""Pack nested dicts with arrays: JSON for the small parts, binary buffers for the arrays.

In JupyterLab the buffers travel beside the JSON as they are; on a static page they are joined, compressed and
written as base64 into the payload. `static/codec.js` holds the other half.
"""

import base64
import gzip
import json
from typing import Any

import numpy as np

DTYPES = {"u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "i4": "int32", "f4": "float32", "f8": "float64"}


def pack(tree: Any, *, coarse: bool = False) -> tuple[Any, list[np.ndarray]]:
    """Return (JSON tree, arrays): every array of `tree` becomes {"$array": number, "dtype", "shape"}.

    Floats are sent as float32, or as float64 inside `Exact`; `coarse` also drops mantissa bits that no plot can
    show. Equal arrays are sent once.

    >>> pack({"x": np.array([1, 2], dtype=np.uint8)})
    ({'x': {'$array': 0, 'dtype': 'u1', 'shape': [2]}}, [array([1, 2], dtype=uint8)])
    """
    arrays: list[np.ndarray] = []
    numbers: dict[tuple[str, bytes], int] = {}

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {str(key): walk(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [walk(value) for value in node]
        if not isinstance(node, np.ndarray | Exact):
            return node.item() if isinstance(node, np.generic) else node
        array = _wire(node, coarse)
        number = numbers.setdefault((array.dtype.str, array.tobytes()), len(arrays))
        if number == len(arrays):
            arrays.append(array)
        return {"$array": number, "dtype": array.dtype.str[1:], "shape": list(array.shape)}

    return walk(tree), arrays


class Exact:
    """An array of floats that keeps all 64 bits on its way to the page."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)


def payload(tree: Any) -> str:
    """Return `tree` as JSON text for a script element: its own JSON and its arrays, compressed to base64.

    >>> read_payload(payload({"title": "</script>", "x": np.arange(3)}))
    {'title': '</script>', 'x': array([0, 1, 2], dtype=int32)}
    """
    packed, arrays = pack(tree, coarse=True)
    text = json.dumps(packed, separators=(",", ":"), allow_nan=False).encode()
    parts = [(text, 1), *((shuffled(array), array.itemsize) for array in arrays)]
    data = gzip.compress(b"".join(part for part, _ in parts), 9, mtime=0)
    sizes = [[len(part), itemsize] for part, itemsize in parts]
    return json.dumps({"parts": sizes, "data": base64.b64encode(data).decode()}, separators=(",", ":"))


def unpack(tree: Any, buffers: list[bytes]) -> Any:
    """Return the nested dicts and arrays that `pack` took apart."""
    if isinstance(tree, list):
        return [unpack(value, buffers) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if "$array" in tree:
        return np.frombuffer(buffers[tree["$array"]], "<" + tree["dtype"]).reshape(tree["shape"])
    return {key: unpack(value, buffers) for key, value in tree.items()}


def read_payload(text: str) -> Any:
    """Return what `payload` was given, as the page sees it."""
    message = json.loads(text)
    joined = gzip.decompress(base64.b64decode(message["data"]))
    buffers, start = [], 0
    for size, itemsize in message["parts"]:
        buffers.append(np.frombuffer(joined[start : start + size], np.uint8).reshape(itemsize, -1).T.tobytes())
        start += size
    return unpack(json.loads(buffers[0]), buffers[1:])


def shuffled(array: np.ndarray) -> bytes:
    """Return the first bytes of all items, then the second ones, ...: the high bytes of small numbers compress away."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize).T.tobytes()


def zigzag(q: np.ndarray) -> np.ndarray:
    """Return signed integers as unsigned ones, 0, -1, 1, -2, ... -> 0, 1, 2, 3, ..., so that small ones stay small.

    >>> zigzag(np.array([0, -1, 1, -2]))
    array([0, 1, 2, 3], dtype=uint16)
    """
    q = np.asarray(q)
    return np.where(q < 0, -2 * q - 1, 2 * q).astype(np.uint16)


def _wire(node: Any, coarse: bool) -> np.ndarray:
    """Return the array in a dtype of the page, little-endian and contiguous."""
    if isinstance(node, Exact):
        return node.values.astype("<f8")
    if node.dtype.kind == "b":
        return node.astype(np.uint8)
    if node.dtype.kind == "f":
        return _rounded(node) if coarse else np.ascontiguousarray(node, "<f4")
    if node.dtype.str[1:] in DTYPES:
        return np.ascontiguousarray(node, node.dtype.newbyteorder("<"))
    return np.ascontiguousarray(node, "<i4")


def _rounded(x: np.ndarray) -> np.ndarray:
    """Return float32 rounded to 13 bits of mantissa (relative error 6e-5), which compress well."""
    bits = np.ascontiguousarray(x, "<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x200 & 0xFFFFFC00) & 0xFFFFFFFF).astype("<u4").view("<f4")
