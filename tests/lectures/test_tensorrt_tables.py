"""TensorRT's two tables: the differences follow from the accuracies, up to the last printed place."""

import numpy as np
import pytest

from labkit.lectures import erratum, table

COLUMNS = [f"{b}b_top{k}" for b in (5, 10, 50) for k in (1, 5)]


@pytest.fixture(scope="module")
def gaps():
    accuracy, printed = table("tensorrt_int8"), table("tensorrt_int8_diff")
    rows = [
        accuracy.column(f"fp32_{c[-4:]}") - accuracy.column(f"int8_{c}") - printed.column(f"diff_{c}") for c in COLUMNS
    ]
    return np.array(rows)


def test_no_difference_is_off_by_more_than_a_hundredth(gaps):
    assert gaps.size == 36
    assert np.abs(gaps).max() < 0.011


def test_fifteen_are_off_by_a_hundredth(gaps):
    assert np.sum(np.abs(gaps) > 0.005) == 15
    assert erratum("E48").correct.startswith("15 of 36")


def test_int8_loses_less_than_half_a_point():
    printed = table("tensorrt_int8_diff")
    assert max(printed.column(f"diff_{c}").max() for c in COLUMNS) == 0.46


def test_both_tables_print_the_same_float_accuracies():
    for k in (1, 5):
        columns = [table(slug).column(f"fp32_top{k}") for slug in ("tensorrt_int8", "tensorrt_int8_diff")]
        assert np.array_equal(*columns)


def test_256_levels_have_255_steps():
    assert "255" in erratum("E54").correct


@pytest.mark.parametrize(
    ("slug", "rows", "columns"), [("dynamic_precision_vgg16", 6, 8), ("dynamic_precision_caffenet_vggsvd", 6, 7)]
)
def test_the_tables_of_dynamic_precision(slug, rows, columns):
    made = table(slug)
    assert (len(made.rows), len(made.columns)) == (rows, columns)


def test_dynamic_precision_saves_what_static_loses():
    rows = {row["quantity"]: row for row in table("dynamic_precision_vgg16").rows}
    assert (rows["Data Precision"]["e6"], rows["Top-1 Accuracy"]["e6"]) == ("Dynamic", "66.6%")
    assert rows["Top-1 Accuracy"]["e5"] == "28.2%"
    assert rows["Top-1 Accuracy"]["e4"] == "Impossible"
