"""The lecture's tables, shares, trees and formulas."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from labkit.cost import (
    conv_macs,
    count,
    linear_cost,
    op_table,
    param_table,
    readable,
    share_by_type,
    tree_map,
)
from labkit.lectures import table

SIZES = st.integers(1, 6)


def svhn():
    """The network of lecture 000:181-217, layer by layer."""
    return nn.Sequential(
        *(nn.Conv2d(3, 24, 5), nn.MaxPool2d(2), nn.Conv2d(24, 32, 3), nn.Conv2d(32, 32, 3), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(1600, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


COST = count(svhn(), torch.zeros(1, 3, 40, 40), bias="linear")


def plain(text):
    """Return a size as we print it: the slide writes Kib for KiB twice."""
    return text.replace("Kib", "KiB")


def test_param_table_is_the_lectures():
    lecture = table("svhn_model_params")
    rows = param_table(svhn()).rows
    assert [row.n_params for row in rows] == lecture.column("n_floats")[:-1].tolist()
    assert [row.size for row in rows] == [plain(text) for text in lecture._find("size").printed[:-1]]
    assert [f"{row.percent:.2f}%" for row in rows] == list(lecture._find("perc").printed[:-1])
    assert str(param_table(svhn())).splitlines()[-1].split() == ["total", "861,354", "3.3", "MiB"]


def test_op_table_is_the_lectures():
    lecture = table("svhn_model_ops")
    printed = {name: lecture._find(name).printed[1:-2] for name in ("ospace", "ops", "readable", "perc")}
    rows = [row for row in op_table(COST).rows if row.name != "6"]  # the slide does not list the flattening
    assert [row.operations for row in rows] == [int(n) for n in printed["ops"]]
    assert [row.readable for row in rows] == list(printed["readable"])
    assert [f"{row.percent:.2f}%" for row in rows] == list(printed["perc"])
    assert [str(row.shape) for row in rows[:6]] == list(printed["ospace"][:6])
    assert "7,194,250" in str(op_table(COST))


def test_tables_draw_themselves_and_print_one_fixed_line():
    shown = op_table(COST)
    assert repr(shown) == "CostTable('Feature maps and operations', 9 rows)"
    html = shown._repr_html_()
    assert "<th scope='row'>0</th>" in html
    assert "biases of linear layers counted" in html
    assert "32.43%" in html
    assert param_table(svhn())._repr_html_().count("<tr>") == 14


def test_a_shared_parameter_is_listed_once():
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    assert [row.percent for row in param_table(tied).rows] == [100.0]
    assert param_table(nn.ReLU()).rows == ()


def test_shares_by_type():
    assert share_by_type(COST, of="parameters")["Linear"] > 0.95
    assert share_by_type(COST)["Conv2d"] > 0.88
    assert sum(share_by_type(COST, of="macs").values()) == pytest.approx(1)
    assert list(share_by_type(COST)) == ["Conv2d", "Linear"]
    assert share_by_type(count(nn.ReLU(), torch.zeros(1, 3))) == {}


def test_tree_map_follows_the_dots():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4))
            self.attention = nn.MultiheadAttention(4, 1)

        def forward(self, x):
            return self.inner(x) @ self.inner(x).mT @ self.attention(x, x, x)[0]

    tree = tree_map(count(nn.Sequential(Block()), torch.zeros(1, 3, 4)), of="parameters")
    assert tree.parents == {
        "0.inner.0": "0.inner",
        "0.inner": "0",
        "0": "",
        "0.attention": "0",
        "0.attention.out_proj": "0.attention",
    }
    cost = count(nn.Sequential(Block()), torch.zeros(1, 3, 4))
    macs = tree_map(cost)
    assert (macs.parents["0:bmm"], sum(macs.values.values())) == ("0", cost.macs)
    lone = tree_map(count(Block(), torch.zeros(1, 3, 4)))
    assert lone.parents["Block:bmm"] == ""


def test_tree_map_is_drawn():
    from labkit.explore import figures

    values, parents = tree_map(COST)
    words = {"alt": "Convolutions take most.", "caption": "Where the work is.", "value_title": "multiply-adds"}
    assert repr(figures.treemap(values, parents=parents, **words)) == "Figure('Where the work is.')"


def test_formulas():
    assert linear_cost(512, 1600) == (819200, 819200)
    assert conv_macs(512, 512, kernel=3, size=14) == 462_422_016
    assert conv_macs(3, 96, kernel=11, size=55) == 105_415_200  # AlexNet's first layer, 105 M


@given(c_in=SIZES, c_out=SIZES, groups=st.integers(1, 3), kernel=st.tuples(SIZES, SIZES), extra=st.tuples(SIZES, SIZES))
def test_conv_macs_is_what_count_counts(c_in, c_out, groups, kernel, extra):
    layer = nn.Conv2d(c_in * groups, c_out * groups, kernel, groups=groups, device="meta")
    x = torch.zeros(1, c_in * groups, kernel[0] + extra[0] - 1, kernel[1] + extra[1] - 1, device="meta")
    assert conv_macs(c_in * groups, c_out * groups, kernel=kernel, size=extra, groups=groups) == count(layer, x).macs


@pytest.mark.parametrize(
    ("n", "unit", "text"),
    [
        (0, "", "0.0"),
        (1023, "B", "1023.0 B"),
        (1024, "B", "1.0 KiB"),
        (3 * 2**40, "", "3.0 Ti"),
        (2**60, "B", "1024.0 PiB"),
    ],
)
def test_readable(n, unit, text):
    assert readable(n, unit) == text


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: param_table("model"), TypeError, "model must be Module"),
        (lambda: op_table(svhn()), TypeError, "cost must be Cost"),
        (lambda: share_by_type(COST, of="weights"), ValueError, "of must be one of"),
        (lambda: share_by_type(svhn()), TypeError, "cost must be Cost"),
        (lambda: tree_map(COST, of="bytes"), ValueError, "of must be one of"),
        (lambda: linear_cost(0, 3), ValueError, "m must be at least 1"),
        (lambda: linear_cost(3, 2.0), TypeError, "n must be an integer"),
        (lambda: conv_macs(3, 4, kernel=3, size=5, groups=2), ValueError, "c_in must be a multiple of groups = 2"),
        (lambda: conv_macs(4, 4, kernel=(3, 3, 3), size=5), ValueError, "kernel must be an int or a pair"),
        (lambda: conv_macs(4, 4, kernel=3, size=-5), ValueError, "size must be at least 1"),
        (lambda: conv_macs(4, -4, kernel=3, size=5), ValueError, "c_out must be at least 1"),
        (lambda: readable(-1), ValueError, "n must be at least 0"),
        (lambda: readable(float("nan")), ValueError, "n must be"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
