"""Huffman's code: best lengths, canonical words, and symbols that come back, also from damaged data never a crash."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS

from labkit import kernels
from labkit.kernels import dispatch

LEVELS = ["numpy", *dispatch.levels()[-1:]]  # the C code is one for all levels
count_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)
FIBONACCI = [1, 1]
while len(FIBONACCI) < 45:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])


def best_total(counts):
    """The fewest bits of any prefix code, by trying all sorted lists of lengths that one can have."""
    counts = sorted((count for count in counts if count), reverse=True)
    n = len(counts)
    if n == 1:
        return counts[0]
    lists = itertools.combinations_with_replacement(range(1, n), n)
    codes = (lengths for lengths in lists if sum(2.0**-length for length in lengths) <= 1)
    return min(sum(c * length for c, length in zip(counts, lengths, strict=True)) for lengths in codes)


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=7).filter(any))
@settings(deadline=None)
def test_no_prefix_code_is_shorter(counts):
    lengths = kernels.huffman_lengths(counts)
    assert int(lengths @ np.array(counts)) == best_total(counts)


@given(counts=count_lists)
@settings(deadline=None)
def test_lengths_fill_the_tree_and_come_within_a_bit_of_the_entropy(counts):
    lengths = kernels.huffman_lengths(counts)
    used = [int(length) for length in lengths if length]
    assert [length > 0 for length in lengths] == [count > 0 for count in counts]
    if len(used) > 1:
        assert sum(2.0**-length for length in used) == 1
        p = np.array([count for count in counts if count]) / sum(counts)
        entropy = -sum(p * np.log2(p))
        assert entropy - 1e-9 <= p @ used < entropy + 1


@given(counts=count_lists)
@settings(deadline=None)
def test_no_code_word_begins_another_and_they_ascend(counts):
    lengths = kernels.huffman_lengths(counts)
    codes = kernels.huffman_codes(lengths)
    words = [f"{code:0{length}b}" for code, length in zip(codes, lengths, strict=True) if length]
    assert not any(a != b and b.startswith(a) for a in words for b in words)
    ordered = sorted((int(length), s) for s, length in enumerate(lengths) if length)
    in_order = [int(codes[s]) << (32 - length) for length, s in ordered]
    assert in_order == sorted(set(in_order))


@pytest.mark.parametrize("forced", LEVELS)
@given(data=st.data(), counts=count_lists, limit=st.integers(6, 32))
@settings(deadline=None)
def test_symbols_come_back(forced, data, counts, limit):
    lengths = kernels.huffman_lengths(counts, max_length=limit)
    used = np.flatnonzero(lengths).tolist()
    symbols = np.array(data.draw(st.lists(st.sampled_from(used), max_size=60)), int)
    with dispatch.forced(forced):
        coded = kernels.huffman_encode(symbols, lengths)
        decoded = kernels.huffman_decode(coded, lengths, n=len(symbols))
    np.testing.assert_array_equal(decoded, symbols)
    assert decoded.dtype == coded.dtype == np.uint8
    assert len(coded) == math.ceil(int(lengths[symbols].sum()) / 8)
    with dispatch.forced("numpy"):
        np.testing.assert_array_equal(kernels.huffman_encode(symbols, lengths), coded)


@pytest.mark.parametrize("forced", LEVELS)
def test_many_symbols_and_long_words(forced):
    """65,536 symbols need uint16; Fibonacci's counts make the deepest tree, far beyond the table of 12 bits."""
    rng = np.random.default_rng(0)
    many, deep = rng.integers(0, 5, 2**16), np.array(FIBONACCI)
    for counts, size in ((many, 20_000), (deep, 3_000)):
        lengths = kernels.huffman_lengths(counts)
        symbols = rng.choice(np.flatnonzero(lengths), size)
        with dispatch.forced(forced):
            decoded = kernels.huffman_decode(kernels.huffman_encode(symbols, lengths), lengths, n=size)
        np.testing.assert_array_equal(decoded, symbols)
        assert decoded.dtype == (np.uint16 if len(counts) > 256 else np.uint8)
    assert kernels.huffman_lengths(FIBONACCI[:33]).max() == 32


def test_the_limit_of_the_length_is_kept():
    for limit in (6, 12, 20, 32):
        lengths = kernels.huffman_lengths(FIBONACCI, max_length=limit)
        assert lengths.max() <= limit
        assert sum(2.0 ** -float(length) for length in lengths) == 1


def test_a_limited_code_still_follows_the_counts():
    counts = np.array(FIBONACCI)
    free, limited = (int(counts @ kernels.huffman_lengths(counts, max_length=limit)) for limit in (32, 12))
    equal = int(counts.sum()) * (len(counts) - 1).bit_length()  # code words of one length
    assert free < limited < 1.05 * free < equal


def test_known_answers():
    """RFC 1951, section 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4) give these code words."""
    codes = kernels.huffman_codes([3, 3, 3, 3, 3, 2, 4, 4])
    assert codes.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]
    assert kernels.huffman_lengths([7]).tolist() == [1]
    assert kernels.huffman_lengths([0, 3, 0, 1]).tolist() == [0, 1, 0, 1]
    assert kernels.huffman_codes([32, 1])[0] == 1 << 31


@pytest.mark.parametrize("forced", LEVELS)
def test_lengths_are_cut_from_data_of_any_layout(forced):
    lengths = kernels.huffman_lengths([5, 2, 1, 1])
    symbols = np.random.default_rng(0).integers(0, 4, 99)
    with dispatch.forced(forced):
        coded = kernels.huffman_encode(symbols, lengths)
        for layout in LAYOUTS.values():
            if layout is not LAYOUTS["misaligned"]:  # a byte is always aligned
                np.testing.assert_array_equal(kernels.huffman_encode(layout(symbols), layout(lengths)), coded)
                np.testing.assert_array_equal(kernels.huffman_decode(layout(coded), layout(lengths), n=99), symbols)
        np.testing.assert_array_equal(kernels.huffman_decode(coded.tobytes(), lengths, n=99), symbols)


@pytest.mark.parametrize("forced", LEVELS)
@given(data=st.binary(max_size=40), lengths=st.sampled_from([[1, 2, 3, 3], [1, 2, 3, 4], [2, 2], [32, 1], [0, 0]]))
@settings(deadline=None)
def test_any_bytes_give_symbols_or_an_error(forced, data, lengths):
    answers = []
    for name in (forced, "numpy"):
        with dispatch.forced(name):
            try:
                answers.append(kernels.huffman_decode(data, lengths, n=8 * len(data) // 3).tolist())
            except ValueError as error:
                answers.append(str(error))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("forced", LEVELS)
def test_a_decoder_stops_at_what_no_code_word_begins_with(forced):
    """Else the twin would collect the bits of a megabyte in one integer, which takes hours."""
    with dispatch.forced(forced), pytest.raises(ValueError, match="hold what is no code word"):
        kernels.huffman_decode(b"\xff" * 1_000_000, [1, 2], n=8_000_000)


@pytest.mark.parametrize(
    ("counts", "options", "error", "message"),
    [
        ([0, 0], {}, ValueError, "counts must be at least 0, and one of them above 0"),
        ([1, -1], {}, ValueError, "counts must be at least 0"),
        ([], {}, TypeError, "counts must hold integers, got dtype float64"),
        (np.zeros(0, int), {}, ValueError, r"counts must be a vector of 1 to 65536 integers, got shape \(0,\)"),
        ([[1]], {}, ValueError, "counts must be a vector"),
        ([0.5], {}, TypeError, "counts must hold integers"),
        ([1] * 5, {"max_length": 2}, ValueError, "max_length must allow 5 code words, got 2"),
        ([1], {"max_length": 33}, ValueError, "max_length must be between 1 and 32"),
    ],
)
def test_bad_counts(counts, options, error, message):
    with pytest.raises(error, match=message):
        kernels.huffman_lengths(counts, **options)


@pytest.mark.parametrize("forced", LEVELS)
@pytest.mark.parametrize(
    ("symbols", "lengths", "error", "message"),
    [
        ([0, 4], [1, 2, 3, 3], ValueError, r"symbols must lie in \[0, 4\), got 0 to 4"),
        ([-1], [1, 1], ValueError, "symbols must lie in"),
        ([[0]], [1, 1], ValueError, "symbols must be a vector"),
        ([0.0], [1, 1], TypeError, "symbols must hold integers"),
        ([1], [1, 0], ValueError, "symbols must have code words, but the length of one is 0"),
        ([0], [1, 33], ValueError, "lengths must be between 0 and 32, got 1 to 33"),
        ([0], [1, 1, 1], ValueError, "lengths must be those of a prefix code, .*got 1.5"),
        ([0], [1.0], TypeError, "lengths must hold integers"),
    ],
)
def test_bad_input_of_the_encoder(forced, symbols, lengths, error, message):
    with dispatch.forced(forced), pytest.raises(error, match=message):
        kernels.huffman_encode(symbols, lengths)


@pytest.mark.parametrize("forced", LEVELS)
@pytest.mark.parametrize(
    ("data", "n", "error", "message"),
    [
        (b"", 1, ValueError, "n must be between 0 and 0, got 1"),
        (b"\xff", 3, ValueError, "data must hold 3 code words, but they end early or hold what is no code word"),
        (b"\xf0", 1, ValueError, "hold what is no code word"),
        ([256], 1, ValueError, "data must hold bytes from 0 to 255"),
        ([[1]], 1, ValueError, "data must be a vector of bytes"),
        ([0.5], 1, TypeError, "data must hold bytes, got dtype float64"),
        (b"\x00", 1.0, TypeError, "n must be an integer"),
    ],
)
def test_bad_input_of_the_decoder(forced, data, n, error, message):
    lengths = [1, 3, 3] if data == b"\xf0" else [1, 2, 3, 3]
    with dispatch.forced(forced), pytest.raises(error, match=message):
        kernels.huffman_decode(data, lengths, n=n)
