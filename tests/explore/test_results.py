"""Tables of results: one set of rounded numbers, in text and in HTML."""

import numpy as np
import pytest

from labkit.explore import results


def test_text_is_aligned_and_rounded() -> None:
    table = results({"layer": ["fc1", "fc2"], "weights": [235200, 30000], "error (%)": [1.234, None]}, caption="Sizes")
    assert repr(table).splitlines() == [
        "Sizes",
        "layer   weights   error (%)",
        "fc1     235,200        1.23",
        "fc2      30,000           –",
    ]


def test_html_shows_the_same_cells() -> None:
    shown = results({"rank": np.array([1, 20]), "ρ": [0.5, 2.0]}, digits={"ρ": 1}, caption="Rate & rank")._repr_html_()
    assert "Rate &amp; rank" in shown
    assert all(f">{cell}<" in shown for cell in ("1", "20", "0.5", "2.0"))
    assert "scope='col'" in shown


def test_booleans_are_words() -> None:
    assert results({"pays": [True, False]}, caption="c").cells == (("yes",), ("no",))


@pytest.mark.parametrize("columns", [{}, {"a": []}, {"a": [1], "b": [1, 2]}])
def test_columns_that_do_not_fit(columns: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="columns must hold the same number of values"):
        results(columns, caption="c")


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="caption must not be empty"):
        results({"a": [1]}, caption=" ")
    with pytest.raises(TypeError, match="columns must be Mapping"):
        results([1, 2], caption="c")  # type: ignore[arg-type]
