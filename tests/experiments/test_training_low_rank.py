"""What the records of chapter 9 show."""

import numpy as np
import pytest

from labkit.experiments import record


def mean(name, key="mean_test_error", **values):
    found = [row for row in record(name).summary[key] if values.items() <= row.items()]
    assert len(found) == 1, found
    return found[0]["mean"]


def lost(method):
    """The points that the truncation costs at 2.4x, without fine-tuning."""
    after = mean("trained-rank", method=method, speedup=2.4, fine_tuned=False)
    return after - mean("trained-rank", "mean_before", method=method, speedup=2.4)


def test_truncation_costs_nothing_after_trp_and_points_after_plain_training():
    assert lost("svd") > 4
    assert lost("trp") < 0.5
    assert lost("trp + nuclear") < 0.5


def test_without_fine_tuning_trp_ends_within_about_a_point_of_the_dense_network():
    dense = mean("trained-rank", "mean_before", method="svd")
    errors = {m: mean("trained-rank", method=m, fine_tuned=False) for m in ("svd", "trp", "trp + nuclear")}
    assert errors["trp"] - dense < 1.5
    assert errors["trp + nuclear"] - dense < 1.5
    assert errors["svd"] - dense > 4


def test_all_methods_take_the_same_multiply_adds():
    rows = record("trained-rank").rows
    assert len({row["multiply_adds"] for row in rows}) == 1
    assert len({row["ranks"] for row in rows}) == 1


def errors_by_method(column, **setting):
    rows = record("low-rank-sparse").select(**setting)
    return {m: np.mean([r[column] for r in rows if r["method"] == m]) for m in ("both", "low rank", "sparse")}


@pytest.mark.parametrize(("data", "column"), [(False, "weight_error"), (True, "output_error")])
def test_both_parts_come_nearest_to_what_they_are_fitted_to_at_one_budget_of_numbers(data, column):
    errors = errors_by_method(column, budget=8, unit="numbers", data=data)
    assert errors["both"] < min(errors["low rank"], errors["sparse"])


def test_what_the_page_says_against_both_parts():
    """Fitted to weights, low rank alone keeps outputs better; with places paid for it is the best split tried."""
    outputs = errors_by_method("output_error", budget=8, unit="numbers", data=False)
    assert outputs["low rank"] < outputs["both"]
    assert {row["nnz"] for row in record("low-rank-sparse").select(unit="bytes", method="both")} == {0}


def test_no_form_exceeds_its_budget():
    for row in record("low-rank-sparse").rows:
        room = 300 * 784 / row["budget"]
        assert (row["bytes"] / 4 if row["unit"] == "bytes" else row["parameters"]) <= room


def test_the_monitor_has_every_setting_and_epoch():
    made = record("trp-monitor")
    axes = ("nuclear_weights", "periods", "tols")
    n = len(made.settings["seeds"])
    for axis in axes:
        n *= len(made.settings[axis])
    assert made.summary["n_runs"] == n
    assert len(made.rows) == n * made.settings["epochs"]


def test_knowledge_transfer_is_at_least_as_good_as_plain_fine_tuning():
    """At equal steps, mean of three seeds."""
    for rank in record("knowledge-transfer").settings["ranks"]:
        assert mean("knowledge-transfer", rank=rank, method="both") <= mean(
            "knowledge-transfer", rank=rank, method="labels"
        )
