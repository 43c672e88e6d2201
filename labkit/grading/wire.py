"""Plain data on a socket: the only thing that passes between the trusted side and the student's process.

A value is one tag byte and its payload; a frame is a fixed header and one value. Nothing in a message can name code
to run, and the decoder builds objects of exactly these types and no others: None, bool, int, float, complex, str,
bytes, list, tuple, set, frozenset, dict, NumPy arrays and scalars, dense tensors, and `Remote`, a reference to an
object that stays where it is. Sizes are checked before anything is allocated, so that hostile bytes cost no more
than `Limits` allows.
"""

import math
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

MAGIC = b"LKW1"
HEADER = struct.Struct("<4sIQ")  # magic, sequence number, bytes that follow
CHUNK, SMALL = 1 << 20, 1 << 14  # bytes read at a time
MAX_NDIM = 32
MAX_INT_BYTES = 4096
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128", "bfloat16"]
CODE = {name: code for code, name in enumerate(DTYPES)}
BFLOAT16 = CODE["bfloat16"]  # tensors only: NumPy has no such type
SIZES = [2 if name == "bfloat16" else np.dtype(name).itemsize for name in DTYPES]
U32, F64, C128, HEAD = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<dd"), struct.Struct("<BB")


class WireError(ValueError):
    """A value that cannot be sent, or bytes that hold none."""


class ChannelClosed(ConnectionError):  # noqa: N818 - it tells what happened, like BrokenPipeError's siblings
    """The other end of the channel is gone."""


@dataclass(frozen=True)
class Limits:
    """What one message may hold: bytes, levels of nesting, values, and entries of dicts and sets together.

    Decoding takes at most `max_bytes` and about 200 bytes more for each of `max_items`.
    """

    max_bytes: int = 128_000_000
    max_depth: int = 64
    max_items: int = 1_000_000
    max_keys: int = 20_000  # hashes of numbers can be made to collide, so tables stay small


@dataclass(frozen=True)
class Remote:
    """A reference to object number `id` of the worker; the type's name is a hint that the worker may forge."""

    id: int
    type_name: str
    is_callable: bool = False


DEFAULT = Limits()


def encode(value: Any, limits: Limits = DEFAULT, *, keep: Callable[[Any], Remote] | None = None) -> bytes:
    """Return `value` as bytes; what is not plain data is passed to `keep`, or refused with a WireError.

    Subclasses are sent as the plain values that they hold, read by the base type's own methods.

    >>> decode(encode({"ranks": (3, 5), "s": [0.5, None]}))
    {'ranks': (3, 5), 's': [0.5, None]}
    """
    writer = _Writer(limits, keep)
    writer.write(value, 0)
    return b"".join(writer.parts)


def decode(
    data: bytes | bytearray, limits: Limits = DEFAULT, *, remote: Callable[[Remote], Any] = lambda ref: ref
) -> Any:
    """Return the value in bytes that may come from anywhere; raises WireError, and nothing else, if there is none."""
    if len(data) > limits.max_bytes:
        raise WireError(f"a message holds at most {limits.max_bytes:,} bytes, got {len(data):,}")
    reader = _Reader(data, limits, remote)
    try:
        value = reader.read(0)
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, IndexError, RecursionError, MemoryError, struct.error) as error:
        raise WireError(f"malformed message: {type(error).__name__}") from None
    if reader.place != len(data):
        raise WireError(f"{len(data) - reader.place:,} bytes follow the value")
    return value


class _Writer:
    """Collects the parts of a message; large buffers are joined once, at the end."""

    def __init__(self, limits: Limits, keep: Callable[[Any], Remote] | None) -> None:
        self.limits, self.keep = limits, keep
        self.parts: list[bytes | memoryview] = []
        self.bytes = self.items = self.keys = 0

    def write(self, value: Any, depth: int) -> None:
        """Append one value."""
        self.items += 1
        if depth > self.limits.max_depth:
            raise WireError(f"values are nested more than {self.limits.max_depth} deep")
        if self.items > self.limits.max_items:
            raise WireError(f"a message holds at most {self.limits.max_items:,} values")
        writer = _EXACT.get(type(value)) or self.find(value)
        writer(self, value, depth)

    def put(self, part: bytes | memoryview) -> None:
        """Append bytes, after counting them."""
        self.bytes += len(part)
        if self.bytes > self.limits.max_bytes:
            raise WireError(f"a message holds at most {self.limits.max_bytes:,} bytes")
        self.parts.append(part)

    def find(self, value: Any) -> Callable[["_Writer", Any, int], None]:
        """Return the writer for a subclass, for an array or tensor, or for an object that stays behind."""
        kind = type(value)  # never __class__, which may lie
        if issubclass(kind, np.generic) and _dtype_code(value) is not None:  # before float: np.float64 is one too
            return _Writer.write_scalar
        base = next((base for base in _BASES if issubclass(kind, base)), None)
        if base is not None:
            return _EXACT[base]
        if issubclass(kind, np.ndarray) and _dtype_code(value) is not None:
            return _Writer.write_array
        torch = sys.modules.get("torch")
        return _Writer.write_tensor if torch is not None and issubclass(kind, torch.Tensor) else _Writer.write_other

    def write_constant(self, value: Any, depth: int) -> None:
        self.put(b"N" if value is None else b"T" if value is True else b"F")

    def write_int(self, value: Any, depth: int) -> None:
        number = int.__index__(value)
        size = number.bit_length() // 8 + 1
        if size > MAX_INT_BYTES:
            raise WireError(f"an int holds at most {MAX_INT_BYTES:,} bytes")
        self.put(b"i" + U32.pack(size) + number.to_bytes(size, "little", signed=True))

    def write_float(self, value: Any, depth: int) -> None:
        self.put(b"f" + F64.pack(value))

    def write_complex(self, value: Any, depth: int) -> None:
        number = complex.__complex__(value)
        self.put(b"c" + C128.pack(number.real, number.imag))

    def write_str(self, value: Any, depth: int) -> None:
        self.text(b"s", str.encode(value, "utf-8", "surrogatepass"))

    def write_byte_string(self, value: Any, depth: int) -> None:
        self.text(b"b", memoryview(value).tobytes())

    def text(self, tag: bytes, data: bytes) -> None:
        self.put(tag + U32.pack(len(data)))
        self.put(data)

    def write_sequence(self, value: Any, depth: int) -> None:
        base = next(base for base in _SEQUENCES if issubclass(type(value), base))
        self.write_items(_SEQUENCES[base], list(base.__iter__(value)), depth)

    def write_items(self, tag: bytes, items: list, depth: int) -> None:
        if tag in b"SZ":
            self.count_keys(len(items))
        if self.items + len(items) > self.limits.max_items:
            raise WireError(f"a message holds at most {self.limits.max_items:,} values")
        self.put(tag + U32.pack(len(items)))
        for item in items:
            self.write(item, depth + 1)

    def write_mapping(self, value: Any, depth: int) -> None:
        items = list(dict.items(value))
        self.count_keys(len(items))
        self.put(b"d" + U32.pack(len(items)))
        for key, item in items:
            self.write(key, depth + 1)
            self.write(item, depth + 1)

    def count_keys(self, n: int) -> None:
        self.keys += n
        if self.keys > self.limits.max_keys:
            raise WireError(f"the dicts and sets of a message hold at most {self.limits.max_keys:,} entries together")

    def write_array(self, value: Any, depth: int) -> None:
        plain = np.ndarray.view(value, np.ndarray)
        if plain.nbytes > self.limits.max_bytes:  # before the copy
            raise WireError(f"an array takes {plain.nbytes:,} bytes; at most {self.limits.max_bytes:,} are sent")
        self.bulk(b"a", _dtype_code(plain), plain.shape, np.ascontiguousarray(plain, dtype=_little(plain.dtype)))

    def write_scalar(self, value: Any, depth: int) -> None:
        array = np.asarray(value)
        self.bulk(b"g", _dtype_code(array), (), np.ascontiguousarray(array, dtype=_little(array.dtype)))

    def write_tensor(self, value: Any, depth: int) -> None:
        import torch

        with torch._C.DisableTorchFunctionSubclass():
            plain = torch.Tensor.as_subclass(torch.Tensor.detach(value), torch.Tensor)
            name = str(plain.dtype).removeprefix("torch.")
            if name not in CODE or plain.layout is not torch.strided or plain.is_quantized:
                return self.write_other(value, depth)
            plain = plain.cpu().resolve_conj().resolve_neg().contiguous()
            raw = plain.view(torch.int16) if name == "bfloat16" else plain
            return self.bulk(b"t", CODE[name], tuple(plain.shape), np.ascontiguousarray(raw.numpy()))

    def bulk(self, tag: bytes, code: Any, shape: tuple[int, ...], data: np.ndarray) -> None:
        self.put(tag + HEAD.pack(code, len(shape)) + struct.pack(f"<{len(shape)}Q", *shape))
        self.put(data.reshape(-1).view(np.uint8).data)

    def write_remote(self, value: Any, depth: int) -> None:
        self.put(b"R" + struct.pack("<IB", value.id, value.is_callable))
        self.text(b"", str.encode(value.type_name[:200], "utf-8", "surrogatepass"))

    def write_other(self, value: Any, depth: int) -> None:
        if self.keep is None:
            raise WireError(f"a {type(value).__name__} is not plain data: numbers, text, lists, dicts, numeric arrays")
        self.write_remote(self.keep(value), depth)


def _little(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<")


def _dtype_code(array: Any) -> int | None:
    return CODE.get(np.dtype(array.dtype).newbyteorder("=").name)


_SEQUENCES: dict[Any, bytes] = {list: b"l", tuple: b"u", set: b"S", frozenset: b"Z"}
_EXACT: dict[type, Callable[[_Writer, Any, int], None]] = {
    type(None): _Writer.write_constant,
    bool: _Writer.write_constant,
    int: _Writer.write_int,
    float: _Writer.write_float,
    complex: _Writer.write_complex,
    str: _Writer.write_str,
    bytes: _Writer.write_byte_string,
    bytearray: _Writer.write_byte_string,
    dict: _Writer.write_mapping,
    Remote: _Writer.write_remote,
    **dict.fromkeys(_SEQUENCES, _Writer.write_sequence),
}
_BASES = tuple(base for base in _EXACT if base not in (type(None), bool, Remote))


class _Reader:
    """Rebuilds a value from bytes, counting before it allocates."""

    def __init__(self, data: bytes | bytearray, limits: Limits, remote: Callable[[Remote], Any]) -> None:
        self.data, self.limits, self.remote_value = memoryview(data), limits, remote
        self.place = self.items = self.keys = 0

    def read(self, depth: int) -> Any:
        """Return the next value."""
        self.items += 1
        if depth > self.limits.max_depth or self.items > self.limits.max_items:
            raise WireError("a message is nested too deep or holds too many values")
        tag = bytes(self.take(1))
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        reader = _READERS.get(tag)
        if reader is None:
            raise WireError(f"unknown tag {tag!r}")
        return reader(self, depth)

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, not copied."""
        end = self.place + size
        if end > len(self.data):
            raise WireError("a message ends before its data")
        part, self.place = self.data[self.place : end], end
        return part

    def count(self, smallest: int = 1) -> int:
        """Return a number of things that follow, each of at least `smallest` bytes."""
        (n,) = U32.unpack(self.take(4))
        if n * smallest > len(self.data) - self.place:
            raise WireError("a message ends before its data")
        return n

    def read_int(self, depth: int) -> int:
        size = self.count()
        if size > MAX_INT_BYTES:
            raise WireError(f"an int holds at most {MAX_INT_BYTES:,} bytes")
        return int.from_bytes(self.take(size), "little", signed=True)

    def read_float(self, depth: int) -> float:
        return F64.unpack(self.take(8))[0]

    def read_complex(self, depth: int) -> complex:
        return complex(*C128.unpack(self.take(16)))

    def read_str(self, depth: int) -> str:
        return str(self.take(self.count()), "utf-8", "surrogatepass")

    def read_bytes(self, depth: int) -> bytes:
        return bytes(self.take(self.count()))

    def read_list(self, depth: int) -> list:
        return [self.read(depth + 1) for _ in range(self.count())]

    def read_tuple(self, depth: int) -> tuple:
        return tuple(self.read_list(depth))

    def read_set(self, depth: int) -> set:
        n = self.count()
        self.count_keys(n)
        result = {self.key(depth + 1) for _ in range(n)}
        if len(result) != n:
            raise WireError("a set has two equal items")
        return result

    def read_frozenset(self, depth: int) -> frozenset:
        return frozenset(self.read_set(depth))

    def read_dict(self, depth: int) -> dict:
        n = self.count(2)
        self.count_keys(n)
        pairs = [(self.key(depth + 1), self.read(depth + 1)) for _ in range(n)]
        result = dict(pairs)
        if len(result) != n:
            raise WireError("a dict has two equal keys")
        return result

    def key(self, depth: int) -> Any:
        key = self.read(depth)
        if isinstance(key, Remote):
            raise WireError("a key must be plain data")
        return key

    def count_keys(self, n: int) -> None:
        self.keys += n
        if self.keys > self.limits.max_keys:
            raise WireError(f"the dicts and sets of a message hold at most {self.limits.max_keys:,} entries together")

    def bulk(self) -> tuple[int, tuple[int, ...], memoryview]:
        """Return dtype code, shape and raw data of an array."""
        code, ndim = HEAD.unpack(self.take(2))
        if code >= len(DTYPES) or ndim > MAX_NDIM:
            raise WireError("an array has an unknown dtype or too many dimensions")
        shape = struct.unpack(f"<{ndim}Q", self.take(8 * ndim))
        if any(n > 1 << 40 for n in shape):
            raise WireError("an array is too long")
        return code, shape, self.take(math.prod(shape) * SIZES[code])

    def read_array(self, depth: int) -> np.ndarray:
        code, shape, raw = self.bulk()
        if code == BFLOAT16:
            raise WireError("bfloat16 is for tensors only")
        flat = np.frombuffer(raw, dtype=_little(np.dtype(DTYPES[code])))
        if code == 0 and np.any(np.frombuffer(raw, dtype=np.uint8) > 1):
            raise WireError("a bool is 0 or 1")
        return flat.reshape(shape).astype(DTYPES[code])

    def read_scalar(self, depth: int) -> Any:
        array = self.read_array(depth)
        if array.shape != ():
            raise WireError("a scalar has no shape")
        return array[()]

    def read_tensor(self, depth: int) -> Any:
        import torch  # only when a tensor arrives: a check without torch does not wait for it

        code, shape, raw = self.bulk()
        if code == 0 and np.any(np.frombuffer(raw, dtype=np.uint8) > 1):
            raise WireError("a bool is 0 or 1")
        dtype = getattr(torch, DTYPES[code])
        if not raw:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)

    def read_remote(self, depth: int) -> Any:
        number, is_callable = struct.unpack("<IB", self.take(5))
        return self.remote_value(Remote(number, self.read_str(depth)[:200], bool(is_callable)))


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"T": True, b"F": False}
_READERS: dict[bytes, Callable[[_Reader, int], Any]] = {
    b"i": _Reader.read_int,
    b"f": _Reader.read_float,
    b"c": _Reader.read_complex,
    b"s": _Reader.read_str,
    b"b": _Reader.read_bytes,
    b"l": _Reader.read_list,
    b"u": _Reader.read_tuple,
    b"S": _Reader.read_set,
    b"Z": _Reader.read_frozenset,
    b"d": _Reader.read_dict,
    b"a": _Reader.read_array,
    b"g": _Reader.read_scalar,
    b"t": _Reader.read_tensor,
    b"R": _Reader.read_remote,
}


class Channel:
    """Frames on a connected socket. The trusted side gives a deadline with every operation; the worker gives none."""

    def __init__(self, sock: socket.socket, limits: Limits = DEFAULT) -> None:
        self.sock, self.limits = sock, limits
        self.arrived = bytearray()

    def send(self, number: int, payload: bytes, *, deadline: float | None = None) -> None:
        """Send one frame; raises TimeoutError, or ChannelClosed when nobody reads any more."""
        try:
            self.sock.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
            self.sock.sendall(HEADER.pack(MAGIC, number, len(payload)) + payload)
        except TimeoutError:
            raise
        except OSError:
            self.closed()

    def receive(
        self, *, deadline: float | None = None, watch: Callable[[], None] | None = None
    ) -> tuple[int, bytearray]:
        """Return number and payload of the next frame; `watch` is called about four times a second meanwhile."""
        magic, number, size = HEADER.unpack(self.exactly(HEADER.size, deadline, watch))
        if magic != MAGIC or size > self.limits.max_bytes:
            raise WireError("not a frame, or one that is too large")
        return number, self.exactly(size, deadline, watch)

    def exactly(self, size: int, deadline: float | None, watch: Callable[[], None] | None) -> bytearray:
        """Return the next `size` bytes; memory grows with what has arrived, not with what was announced."""
        while len(self.arrived) < size:
            self.arrived += self.some(max(SMALL, min(CHUNK, size - len(self.arrived))), deadline, watch)
        data, self.arrived = (self.arrived, bytearray()) if len(self.arrived) == size else self.split(size)
        return data

    def split(self, size: int) -> tuple[bytearray, bytearray]:
        return self.arrived[:size], self.arrived[size:]

    def some(self, size: int, deadline: float | None, watch: Callable[[], None] | None) -> bytes:
        while True:
            left = math.inf if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                self.sock.settimeout(None if left == math.inf else min(0.25, left))
                data = self.sock.recv(size)
            except TimeoutError:
                if watch is not None:
                    watch()
                continue
            except OSError:
                self.closed()
            return data or self.closed()

    def closed(self) -> NoReturn:
        raise ChannelClosed("the other end of the channel is gone")

    def close(self) -> None:
        """Close this end."""
        self.sock.close()
