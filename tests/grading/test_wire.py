"""The codec: plain values come back as they were, all else is refused, hostile bytes cost no more than allowed."""

import collections
import contextlib
import math
import socket
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labkit.grading import wire
from labkit.grading.wire import Limits, Remote, WireError, decode, encode

NUMPY = [name for name in wire.DTYPES if name != "bfloat16"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=()))  # lone surrogates too
    | st.binary()
)
arrays = st.sampled_from(NUMPY).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=0, min_side=0, max_side=4, max_dims=4))
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.sets(keys, max_size=4)
    ),
    max_leaves=12,
)


def same(a, b):
    """Compare values with their types, NaN equal to NaN and -0.0 different from 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


@given(values)
def test_round_trip(value):
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("name", wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_tensors_round_trip_without_gradients(name, shape):
    tensor = (torch.rand(shape) * 3).to(getattr(torch, name))
    tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
    back = decode(encode(tensor))
    assert type(back) is torch.Tensor
    assert not back.requires_grad
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back, tensor.detach())


def test_views_orders_and_byte_orders_become_plain_arrays():
    matrix = np.arange(12, dtype=">i4").reshape(3, 4)
    for value in (matrix, matrix.T, matrix[::-2, ::3], np.asfortranarray(matrix)):
        back = decode(encode(value))
        np.testing.assert_array_equal(back, value)
        assert back.dtype == np.int32
        assert back.flags.owndata
        assert back.flags.writeable
    assert torch.equal(decode(encode(torch.arange(6).reshape(2, 3).T)), torch.arange(6).reshape(2, 3).T)
    assert torch.equal(decode(encode(torch.tensor([1 + 2j]).conj())), torch.tensor([1 - 2j]))


class LyingText(str):
    __slots__ = ()

    def __eq__(self, other):
        return True

    def __len__(self):
        return 0

    __hash__ = str.__hash__

    def encode(self, *args):
        return b"lies"


class LyingList(list):
    def __iter__(self):
        return iter(["lies"])

    def __len__(self):
        return 1


class LyingDict(dict):
    def items(self):
        return [("lies", True)]


class LyingArray(np.ndarray):
    def __eq__(self, other):
        return True

    def tobytes(self, *args):
        return b"lies"


class LyingInt(int):
    def __index__(self):
        return 7

    def __int__(self):
        return 7


class LyingFloat(float):
    def __float__(self):
        return 7.0


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (LyingText("truth"), "truth"),
        (LyingList([1, 2]), [1, 2]),
        (LyingDict(a=1), {"a": 1}),
        (LyingInt(3), 3),
        (LyingFloat(3.5), 3.5),
        (np.arange(3.0).view(LyingArray), np.arange(3.0)),
        (np.float64(0.5), np.float64(0.5)),
        (np.str_("text"), "text"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.namedtuple("Pair", "a b")(1, 2), (1, 2)),
        (bytearray(b"ab"), b"ab"),
        (torch.nn.Parameter(torch.ones(2)), None),
    ],
)
def test_subclasses_are_sent_as_the_plain_values_they_hold(value, plain):
    back = decode(encode(value))
    if plain is None:
        assert type(back) is torch.Tensor
    else:
        assert same(back, plain)


class Impostor:
    @property
    def __class__(self):
        return int


@pytest.mark.parametrize(
    "value",
    [object(), Impostor(), int, len, np.array([None]), np.array(["a"]), np.array(0, "M8[s]"), range(3), [lambda: 1]],
    ids=lambda value: type(value).__name__,
)
def test_everything_else_is_refused_by_name_or_kept(value):
    with pytest.raises(WireError, match="is not plain data"):
        encode(value)
    kept = []
    data = encode({"a": value}, keep=lambda item: kept.append(item) or Remote(5, "x", True))
    assert decode(data)["a"] in (Remote(5, "x", True), [Remote(5, "x", True)])
    assert decode(data, remote=lambda ref: ref.id)["a"] in (5, [5])


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nested(100_000), "nested"),
        (CYCLE, "nested"),
        ([0] * 1_000_000, "values"),
        (np.zeros(200_000_000, np.uint8), "bytes"),
        (torch.zeros(200_000_000, dtype=torch.uint8), "bytes"),
        (b"x" * 128_000_001, "bytes"),
        (dict.fromkeys(range(20_001)), "entries"),
        ([set(range(15_000)), set(range(15_000))], "entries"),
        (1 << 100_000, "int"),
    ],
    ids=["deep", "cycle", "items", "array", "tensor", "bytes", "dict", "sets", "int"],
)
def test_caps_hold_when_sending(value, words):
    with pytest.raises(WireError, match=words):
        encode(value)


def u32(n):
    return struct.pack("<I", n)


HOSTILE = {
    "empty": b"",
    "unknown tag": b"?",
    "rest": b"NN",
    "cut float": b"f123",
    "long list": b"l" + u32(2**32 - 1),
    "long text": b"s" + u32(2**32 - 1) + b"abc",
    "bad text": b"s" + u32(1) + b"\xff",
    "long int": b"i" + u32(5000) + b"\x00" * 5000,
    "nested": (b"l" + u32(1)) * 100_000 + b"N",
    "equal keys": b"d" + u32(2) + b"TNTN",
    "equal items": b"S" + u32(2) + b"TT",
    "list as key": b"d" + u32(1) + b"l" + u32(0) + b"N",
    "array as key": b"d" + u32(1) + b"a" + bytes([11, 0]) + b"\x00" * 8 + b"N",
    "reference as key": b"d" + u32(1) + b"R" + bytes(5) + u32(0) + b"N",
    "many keys": b"d" + u32(20_001) + b"NN" * 20_001,
    "many values": b"l" + u32(1_000_001) + b"N" * 1_000_001,
    "unknown dtype": b"a" + bytes([99, 0]),
    "bfloat16 array": b"a" + bytes([wire.BFLOAT16, 0]) + b"\x00\x00",
    "many dimensions": b"a" + bytes([1, 200]) + b"\x00" * 1600,
    "huge array": b"a" + bytes([5, 2]) + struct.pack("<2Q", 1 << 39, 1 << 39),
    "huge empty array": b"a" + bytes([1, 2]) + struct.pack("<2Q", 1 << 63, 0),
    "huge shape": b"a" + bytes([1, 32]) + struct.pack("<32Q", *[1 << 40] * 31, 0),
    "bad bool": b"a" + bytes([0, 1]) + struct.pack("<Q", 1) + b"\x02",
    "bad bool tensor": b"t" + bytes([0, 1]) + struct.pack("<Q", 1) + b"\x02",
    "scalar with a shape": b"g" + bytes([1, 1]) + struct.pack("<Q", 1) + b"\x02",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_refused_within_the_caps(data):
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data) + 200_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_a_wire_error(data):
    try:
        value = decode(data)
    except WireError:
        return
    assert same(decode(encode(value)), value)


@settings(max_examples=200)
@given(values, st.data())
def test_damaged_messages_give_a_value_or_a_wire_error(value, data):
    message = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        decode(bytes(message))


def test_a_message_larger_than_the_limit_is_refused():
    with pytest.raises(WireError, match="at most 10 bytes"):
        decode(b"b" + u32(20) + bytes(20), Limits(max_bytes=10))


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield wire.Channel(ours, Limits(max_bytes=5_000_000)), wire.Channel(theirs)


def test_frames_arrive_in_order_and_whole(pair):
    sent = [(1, b""), (2, b"x"), (3, bytes(4_000_000))]
    thread = threading.Thread(target=lambda: [pair[1].send(*frame) for frame in sent])
    thread.start()
    assert [pair[0].receive(deadline=time.monotonic() + 20) for _ in sent] == sent
    thread.join()


@pytest.mark.parametrize(
    "data", [b"x" * 16, wire.HEADER.pack(wire.MAGIC, 1, 5_000_001), wire.HEADER.pack(wire.MAGIC, 1, 2**63)]
)
def test_what_is_no_frame_is_refused_before_it_is_read(pair, data):
    pair[1].sock.sendall(data)
    with pytest.raises(WireError):
        pair[0].receive(deadline=time.monotonic() + 20)


def test_silence_ends_at_the_deadline_and_is_watched(pair):
    seen = []
    with pytest.raises(TimeoutError):
        pair[0].receive(deadline=time.monotonic() + 0.6, watch=lambda: seen.append(1))
    assert seen
    with pytest.raises(TimeoutError):  # nobody reads what we send
        pair[0].send(1, bytes(4_000_000), deadline=time.monotonic() + 0.1)


def test_a_closed_channel_says_so(pair):
    pair[1].close()
    with pytest.raises(wire.ChannelClosed):
        pair[0].receive(deadline=math.inf)
    with pytest.raises(wire.ChannelClosed):
        pair[0].send(1, b"x")
