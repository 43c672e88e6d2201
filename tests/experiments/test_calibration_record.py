"""What the record of chapter 15 shows: the figures that the text rests on."""

import pytest

from labkit.datasets import mnist
from labkit.experiments import record
from labkit.experiments.calibration import RULES, mean_errors, small_batch_norm_net


@pytest.fixture(scope="module")
def mean():
    """The mean test error of a setting."""
    rows = record("calibration").summary["mean_test_error"]

    def find(**values):
        found = [row for row in rows if values.items() <= row.items()]
        assert len(found) == 1, found
        return found[0]["mean"]

    return find


def rule(mean, name, bits):
    return mean(study="rules", rule=name, bits=bits)


@pytest.mark.parametrize("name", [name for name in RULES if name != "kl, as published"])
def test_int8_is_within_a_tenth_of_a_point_of_float(mean, name):
    assert abs(rule(mean, name, 8) - mean(study="rules", rule="float")) <= 0.1


def test_at_three_bits_kl_is_at_least_four_tenths_better_than_the_maximum(mean):
    assert rule(mean, "kl", 3) <= rule(mean, "max", 3) - 0.4


def test_the_published_rule_fails_where_the_guarded_one_does_not(mean):
    assert rule(mean, "kl, as published", 3) > 50
    assert rule(mean, "kl", 3) < 2


@pytest.mark.parametrize("bits", [3, 2])
def test_the_mse_rule_is_the_best_at_few_bits(mean, bits):
    assert rule(mean, "mse", bits) == min(rule(mean, name, bits) for name in RULES)


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_dynamic_fixed_point_is_at_least_as_good_as_static(mean, bits):
    dynamic, static = (mean(study="fixed point", rule=name, bits=bits) for name in ("dynamic", "static"))
    assert dynamic <= static


@pytest.mark.parametrize("net", ["lenet-5", "lenet-300-100"])
def test_a_scale_per_channel_helps_at_three_bits(mean, net):
    whole, channels = (mean(study="weights", net=net, weight_bits=3, per_channel=c) for c in (False, True))
    assert channels < whole


def test_the_small_network_breaks_without_the_guard(mean):
    float_error = mean(study="batch norm", rule="float")
    assert mean(study="batch norm", rule="kl, as published", bits=4) > float_error + 10
    assert mean(study="batch norm", rule="kl", bits=4) < float_error + 1


def test_means_are_over_the_seeds():
    rows = [{"rule": "a", "seed": 0, "test_error": 1.0}, {"rule": "a", "seed": 1, "test_error": 2.0}]
    assert mean_errors(rows) == [{"rule": "a", "mean": 1.5, "spread": 0.5, "n": 2}]


def test_batch_norm_is_folded_into_the_convolutions():
    model = small_batch_norm_net(mnist("train", source="offline")[:200], epochs=1)
    assert not any("BatchNorm" in type(m).__name__ for m in model.modules())
    assert not model.training
