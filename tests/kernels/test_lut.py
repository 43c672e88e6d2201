"""Look-up tables: every function of k bits, networks that count, networks for any truth table."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.kernels.lut import LUT, cofactor, functions, synth_xnor_popcount, synthesize, truth_table


def rows(n):
    """All inputs (2^n, n), the first fastest, as a truth table lists them."""
    return np.arange(2**n)[:, None] >> np.arange(n) & 1


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_a_lut_covers_all_functions(k):
    outputs = {tuple(LUT(k, number)(*row) for row in rows(k).tolist()) for number in range(functions(k))}
    assert outputs == set(itertools.product((0, 1), repeat=2**k))
    assert len(outputs) == functions(k) == 2 ** (2**k)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 1), min_size=6, max_size=6))
def test_a_lut_reads_the_row_that_its_inputs_spell(number, bits):
    lut = LUT(6, number)
    assert lut(*bits) == number >> sum(bit << i for i, bit in enumerate(bits)) & 1
    assert lut.number == number


@pytest.mark.parametrize("k", [3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_the_network_counts_like_python_for_all_words(n, k):
    network = synth_xnor_popcount(n, k=k)
    counts = network(rows(2 * n)) @ (1 << np.arange(len(network.outputs)))
    mask = 2**n - 1
    assert counts.tolist() == [(~(row ^ row >> n) & mask).bit_count() for row in range(4**n)]
    assert all(len(cell.inputs) <= k for cell in network.cells)


@pytest.mark.parametrize(("n", "k"), [(64, 3), (64, 6), (100, 4), (257, 3)])
def test_long_words(n, k):
    bits = np.random.default_rng(n).integers(0, 2, (20, 2 * n))
    network = synth_xnor_popcount(n, k=k)
    counts = network(bits) @ (1 << np.arange(len(network.outputs)))
    assert np.array_equal(counts, (bits[:, :n] == bits[:, n:]).sum(axis=1))
    assert len(network.outputs) == n.bit_length()


def test_full_adders_are_counted():
    """A full adder makes two bits of three, so n - r of them leave the r bits of a count up to n = 2^r - 1."""
    for r in range(1, 7):
        n = 2**r - 1
        assert synth_xnor_popcount(n, k=3).n_luts == n + 2 * (n - r)


def test_larger_tables_need_fewer_and_shallower():
    small, middle, large = (synth_xnor_popcount(64, k=k) for k in (3, 4, 6))
    assert large.n_luts < middle.n_luts < small.n_luts
    assert large.depth < small.depth


@pytest.mark.parametrize("k", [2, 3, 4])
def test_every_function_of_three_inputs(k):
    for number in range(256):
        table = LUT(3, number).truth_table
        assert synthesize(table, n_inputs=3, k=k)(rows(3))[:, 0].tolist() == list(table)


@given(st.integers(1, 7), st.integers(2, 6), st.data())
def test_any_truth_table(n, k, data):
    table = data.draw(st.lists(st.integers(0, 1), min_size=2**n, max_size=2**n))
    network = synthesize(table, n_inputs=n, k=k)
    assert network(rows(n))[:, 0].tolist() == table
    assert all(len(cell.inputs) <= k for cell in network.cells)
    assert network.depth <= max(1, n - k + 1) or k == 2


@pytest.mark.parametrize(
    ("function", "n", "k", "count"),
    [
        (lambda bits: sum(bits) % 2, 7, 3, 3),  # a chain: each table adds two inputs to the parity so far
        (lambda bits: sum(bits) % 2, 6, 6, 1),
        (lambda bits: all(bits), 7, 3, 3),
        (lambda bits: bits[2], 6, 3, 0),  # a wire
        (lambda bits: 1, 6, 3, 1),  # a constant
        (lambda bits: bits[0] if bits[2] else bits[1], 3, 2, 3),  # a multiplexer from tables of two inputs
    ],
)
def test_known_counts(function, n, k, count):
    table = [int(function(bits)) for bits in rows(n).tolist()]
    network = synthesize(table, n_inputs=n, k=k)
    assert network.n_luts == count
    assert network(rows(n))[:, 0].tolist() == table


def test_the_expansion_does_not_always_find_the_fewest_tables():
    """The page says that a full adder makes the majority of five with five tables of three inputs."""
    counts = [row.bit_count() for row in range(8)]
    odd, carry = LUT(3, [count % 2 for count in counts]), LUT(3, [int(count > 1) for count in counts])
    some, every = LUT(3, [int(count > 0) for count in counts]), LUT(3, [int(count == 3) for count in counts])
    choice = LUT(3, [row >> 1 & 1 if row & 1 else row >> 2 for row in range(8)])  # x_1 if x_0 else x_2
    majority = [int(row.bit_count() > 2) for row in range(32)]
    for row in range(32):
        bits = [row >> i & 1 for i in range(5)]
        s = odd(*bits[:3])
        assert choice(carry(*bits[:3]), some(s, *bits[3:]), every(s, *bits[3:])) == majority[row]
    assert synthesize(majority, n_inputs=5, k=3).n_luts > 5


def test_shannon_expansion_itself():
    f = LUT(4, 0b1011_0010_1110_0101).truth_table
    for i in range(4):
        zero, one = cofactor(f, [i], [0]), cofactor(f, [i], [1])
        for row, value in enumerate(f):
            shorter = (row & (1 << i) - 1) | (row >> i + 1 << i)
            assert value == (one if row >> i & 1 else zero)[shorter]


def test_a_network_takes_any_batch():
    network = synthesize([0, 1, 1, 0, 1, 0, 0, 1], n_inputs=3, k=2)
    batch = np.random.default_rng(0).integers(0, 2, (4, 5, 3))
    assert np.array_equal(network(batch)[..., 0], batch.sum(axis=-1) % 2)
    assert network([True, False, False]).tolist() == [1]
    assert network.levels[: network.n_inputs] == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LUT(9, 0), ValueError, "k must be between 0 and 8"),
        (lambda: LUT(2.0, 0), TypeError, "k must be an integer"),
        (lambda: LUT(2, 16), ValueError, "truth_table must be between 0 and 15"),
        (lambda: LUT(2, [0, 1]), ValueError, r"truth_table must hold 4 bits for 2 inputs, got shape \(2,\)"),
        (lambda: LUT(1, [0, 2]), ValueError, "truth_table must hold bits, 0 and 1, got 0 to 2"),
        (lambda: LUT(1, [0, np.nan]), TypeError, "truth_table must hold bits, .* got dtype float64"),
        (lambda: LUT(1, "01"), TypeError, "truth_table must hold bits"),
        (lambda: LUT(1, 0.5), TypeError, "truth_table must hold bits"),
        (lambda: LUT(1, [[0, 1]]), ValueError, "truth_table must hold 2 bits"),
        (lambda: LUT(1, [0, [1, 0]]), ValueError, "truth_table must be an array"),
        (lambda: LUT(2, 9)(1), TypeError, "takes 2 bits, got 1"),
        (lambda: LUT(2, 9)(1, 2), ValueError, "input 1 must hold bits, 0 and 1, got 2 to 2"),
        (lambda: LUT(2, 9)(0.0, 1), TypeError, "input 0 must hold bits"),
        (lambda: functions(-1), ValueError, "k must be between"),
        (lambda: truth_table([], n_inputs=2), ValueError, "must hold 4 bits"),
        (lambda: synthesize([0, 1], n_inputs=0, k=3), ValueError, "n_inputs must be between 1 and 10"),
        (lambda: synthesize([0, 1], n_inputs=1, k=1), ValueError, "k must be between 2 and 8"),
        (lambda: synthesize([0, 1, 1], n_inputs=1, k=3), ValueError, "must hold 2 bits"),
        (lambda: synth_xnor_popcount(0, k=3), ValueError, "n must be between 1"),
        (lambda: synth_xnor_popcount(4, k=2), ValueError, "k must be between 3 and 8"),
        (lambda: synth_xnor_popcount(4.0, k=3), TypeError, "n must be an integer"),
        (lambda: synth_xnor_popcount(2, k=3)([0, 1]), ValueError, r"bits must have shape \(..., 4\), got \(2,\)"),
        (lambda: synth_xnor_popcount(1, k=3)([0, 2]), ValueError, "bits must hold bits, 0 and 1"),
        (lambda: synth_xnor_popcount(1, k=3)([0.0, 1.0]), TypeError, "bits must hold bits"),
        (lambda: cofactor([0, 1, 1], [0], [1]), ValueError, "f must hold 2, 4, 8, ... bits, got shape"),
        (lambda: cofactor([0, 1, 1, 0], [2], [1]), ValueError, "chosen must be between 0 and 1"),
        (lambda: cofactor([0, 1, 1, 0], [1, 0], [1, 0]), ValueError, "chosen must be in rising order"),
        (lambda: cofactor([0, 1, 1, 0], [0], [1, 0]), ValueError, "bits must hold one bit for each"),
        (lambda: cofactor([0, 1, 1, 0], [0], [2]), ValueError, "bits must hold bits"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
