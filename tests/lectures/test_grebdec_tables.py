"""The tables of GreBdec: their rates follow from the printed numbers of weights, but for two."""

import pytest

from labkit.lectures import table


def half_unit(printed):
    """Half a unit of the last printed place of "6.7M", in weights."""
    digits = printed.removesuffix("M")
    return 0.5e6 * 10 ** -len(digits.partition(".")[2])


def recomputed(slug):
    """Yield the row, the printed rate and the interval that the rounded weights allow."""
    made = table(slug)
    columns = {column.name: column for column in made.columns}
    original = None
    for i, row in enumerate(made.rows):
        n, slack = row["n_weights"], half_unit(columns["n_weights"].printed[i])
        if "(O)" in row["network"]:
            original = n, slack
        low, high = (original[0] - original[1]) / (n + slack), (original[0] + original[1]) / (n - slack)
        yield i, row, low, high


def test_the_comparison_recomputes_but_for_two_rates():
    wrong = {
        (row["network"], i)
        for i, row, low, high in recomputed("grebdec_comparison")
        if not 0.97 * low <= row["compression"] <= 1.03 * high
    }
    assert wrong == {("GreBdec", 9), ("Kim et al. [14]", 12)}  # VGG-16 and GoogLeNet


def test_vgg_16_is_14_times_smaller_not_15():
    row = table("grebdec_comparison").rows[9]
    assert row["compression"] == 15
    assert 138e6 / row["n_weights"] == pytest.approx(14.2, abs=0.05)


def test_the_rates_of_the_first_table_are_those_of_the_second():
    first, second = table("grebdec_rates"), table("grebdec_comparison")
    assert (len(first.rows), len(first.columns)) == (6, 5)
    assert (len(second.rows), len(second.columns)) == (14, 5)
    assert [row["compression"] for row in first.rows[::2]] == [second.rows[i]["compression"] for i in (4, 9, 13)]
    assert [row["n_weights"] for row in first.rows[1::2]] == [second.rows[i]["n_weights"] for i in (4, 9, 13)]
