"""Bit operations and the energy of formats, against the figures of the lectures."""

import pytest

from labkit.cost import bit_speedup, bitops, multiply_add_pj
from labkit.lectures import table


def test_bits_multiply():
    assert bitops(1000, weight_bits=1, activation_bits=1) == 1000
    assert bitops(1000, weight_bits=2, activation_bits=4) == bitops(1000, weight_bits=8, activation_bits=1) == 8000
    assert bitops(0, weight_bits=8, activation_bits=8) == 0


def test_an_fpga_gains_the_square_and_a_gpu_the_width():
    gpu, fpga = table("peak_ops_by_bitwidth").rows
    assert fpga["binary_tops"] / fpga["int8_tops"] == pytest.approx(64)
    assert fpga["binary_tops"] / fpga["int8_tops"] == pytest.approx(bit_speedup(1))
    assert fpga["int4_tops"] / fpga["int8_tops"] == pytest.approx(bit_speedup(4))
    assert gpu["int4_tops"] / gpu["int8_tops"] == bit_speedup(4, hardware="simd")
    assert bit_speedup(8) == bit_speedup(8, hardware="simd") == 1


def test_a_multiply_add_of_8_bits_takes_a_twentieth():
    rows = {row["operation"]: row["mul"] + row["add"] for row in table("horowitz_mul_add").rows}
    assert rows["8bit Integer"] == pytest.approx(0.23)
    assert rows["32 bit Floating Point"] == pytest.approx(4.6)
    assert multiply_add_pj(32) / multiply_add_pj(8) == pytest.approx(20)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bitops(-1, weight_bits=1, activation_bits=1), ValueError, "macs must be"),
        (lambda: bitops(float("nan"), weight_bits=1, activation_bits=1), ValueError, "macs must be"),
        (lambda: bitops(1, weight_bits=0, activation_bits=1), ValueError, "weight_bits must be between 1 and 64"),
        (lambda: bitops(1, weight_bits=1, activation_bits=1.5), TypeError, "activation_bits must be an integer"),
        (lambda: bit_speedup(0), ValueError, "bits must be between 1 and 64"),
        (lambda: bit_speedup(4, from_bits=65), ValueError, "from_bits must be between"),
        (lambda: bit_speedup(4, hardware="gpu"), ValueError, "hardware must be one of"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
