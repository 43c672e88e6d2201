"""Horowitz's figures, budgets of devices, bytes, and the memory access cost with its bound."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.cost import (
    DEVICES,
    ENERGY_PJ,
    Device,
    count,
    dram_power,
    energy,
    energy_budget,
    memory_access_bound,
    memory_access_cost,
    memory_bytes,
    multiply_add_pj,
    network_energy,
    power_ratio,
    relative_cost,
)
from labkit.lectures import table
from labkit.nets import LeNet300

CHANNELS = st.integers(1, 64)
COST = count(LeNet300(), torch.zeros(1, 784))


def test_relative_costs_are_the_lectures():
    assert list(relative_cost().values()) == table("horowitz_energy").column("relative_cost").tolist()
    assert relative_cost()["dram"] == 6400
    assert relative_cost(to="sram")["dram"] == 128
    with pytest.raises(TypeError):
        ENERGY_PJ["dram"] = 1


def test_energy_is_a_sum():
    assert energy({name: 1e12 for name in ENERGY_PJ}) == pytest.approx(sum(ENERGY_PJ.values()))
    assert energy({}) == 0


def test_the_lectures_powers():
    assert dram_power(20, 1e9) == 12.8
    assert power_ratio(1500, 83) == pytest.approx(18.07, abs=0.01)


def test_energy_budget():
    budget = energy_budget(fps=20, connections=1e9)
    assert (budget.dram, budget.sram, budget.operations) == (12.8, 0, pytest.approx(20 * 1e9 * 4.6e-12))
    assert budget.total == budget.dram + budget.operations
    half = energy_budget(fps=20, connections=1e9, sram_share=0.5, bits=16)
    assert half.dram == pytest.approx(12.8 / 4)
    assert half.sram == pytest.approx(20 * 1e9 * 5e-12 / 4)


def test_fewer_bits_never_cost_more():
    energies = [multiply_add_pj(bits) for bits in (1, 2, 4, 8, 16, 32)]
    assert energies == sorted(energies)
    assert multiply_add_pj(16) == 1.5
    assert multiply_add_pj(4) == pytest.approx(0.05 + 0.015)


def test_network_energy_by_hand():
    moved = sum(row.n_inputs + row.n_outputs for row in COST.rows)
    expected = (266_200 * 4.6 + 266_610 * 640 + moved * 5) * 1e-12
    assert network_energy(COST) == pytest.approx(expected)
    assert network_energy(COST, sram_share=1.0) == pytest.approx(expected - 266_610 * 635e-12)
    assert network_energy(COST, bits=8) < expected / 4


def test_devices():
    phone = DEVICES["phone"]
    assert phone.fits(n_bytes=240e6, flops=2 * 724e6, latency=3)  # AlexNet
    assert phone.seconds(30.9e9) > 60  # VGG-16
    assert not phone.fits(n_bytes=552e6, flops=30.9e9)
    assert not phone.fits(n_bytes=1e9, flops=1, latency=1)  # all the memory is too much
    assert DEVICES["cloud"].fits(n_bytes=552e6, flops=30.9e9)
    assert not DEVICES["wearable"].fits(n_bytes=552e6, flops=1)


@given(c1=CHANNELS, c2=CHANNELS, h=st.integers(1, 300), w=st.integers(1, 300))
def test_memory_access_bound_holds_with_equality_for_equal_channels(c1, c2, h, w):
    cost = memory_access_cost(c1, c2, h=h, w=w)
    bound = memory_access_bound(h * w * c1 * c2, h=h, w=w)
    assert cost >= bound * (1 - 1e-12)
    assert math.isclose(cost, bound, rel_tol=1e-9) == (c1 == c2)


def test_memory_access_bound_for_all_small_channels():
    for c1 in range(1, 65):
        for c2 in range(1, 65):
            cost, bound = memory_access_cost(c1, c2, h=7, w=7), memory_access_bound(49 * c1 * c2, h=7, w=7)
            assert (cost == pytest.approx(bound, rel=1e-12)) == (c1 == c2)
            assert cost >= bound * (1 - 1e-12)


def test_memory_access_cost_is_what_count_moves():
    row = count(nn.Conv2d(6, 8, 1, bias=False, groups=2), torch.zeros(3, 6, 5, 7)).rows[0]
    assert row.memory_access == memory_access_cost(6, 8, h=5, w=7, groups=2)


def test_memory_bytes():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4))
    assert memory_bytes(model) == 4 * (16 + 4 + 4 + 4 + 4) + 8  # the batches seen are an int64
    assert memory_bytes(nn.Linear(3, 3, bias=False), bits=1) == 2  # nine bits
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    assert memory_bytes(tied) == 64
    assert memory_bytes(tied.half()) == 32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: energy({"DRAM": 1}), ValueError, "op_counts must be one of"),
        (lambda: energy({"dram": -1}), ValueError, "op_counts.'dram'. must be at least 0"),
        (lambda: energy([1]), TypeError, "op_counts must be Mapping"),
        (lambda: relative_cost(to="mul"), ValueError, "to must be one of"),
        (lambda: dram_power(-1, 1), ValueError, "fps must be at least 0"),
        (lambda: dram_power(1, "1G"), TypeError, "connections must be a number"),
        (lambda: power_ratio(1, 0), ValueError, "b must be above 0"),
        (lambda: multiply_add_pj(12), ValueError, "bits must be 32, 16, or between 1 and 8"),
        (lambda: multiply_add_pj(8.0), TypeError, "bits must be an integer"),
        (lambda: energy_budget(fps=1, connections=1, sram_share=1.1), ValueError, "sram_share must be between 0 and 1"),
        (lambda: energy_budget(fps=1, connections=1, bits=0), ValueError, "bits must be between 1 and 32"),
        (lambda: energy_budget(fps=-1, connections=1), ValueError, "fps must be at least 0"),
        (lambda: network_energy(LeNet300()), TypeError, "cost must be Cost"),
        (lambda: network_energy(COST, bits=64), ValueError, "bits must be between 1 and 32"),
        (lambda: Device("toy", ram_bytes=0, flops=1, watts=1), ValueError, "ram_bytes must be above 0"),
        (lambda: DEVICES["phone"].fits(n_bytes=-1, flops=1), ValueError, "n_bytes must be at least 0"),
        (lambda: DEVICES["phone"].fits(n_bytes=1, flops=1, latency=0), ValueError, "latency must be above 0"),
        (lambda: DEVICES["phone"].seconds(float("inf")), ValueError, "flops must be"),
        (lambda: memory_access_cost(0, 1, h=1, w=1), ValueError, "c1 must be at least 1"),
        (lambda: memory_access_cost(4, 4, h=1, w=1, groups=3), ValueError, "groups must divide"),
        (lambda: memory_access_bound(0, h=1, w=1), ValueError, "macs must be at least 1"),
        (lambda: memory_access_bound(1, h=1, w=1.0), TypeError, "w must be an integer"),
        (lambda: memory_bytes({}), TypeError, "model must be Module"),
        (lambda: memory_bytes(LeNet300(), bits=0), ValueError, "bits must be between 1 and 64"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
