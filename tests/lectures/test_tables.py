"""The lecture tables: sizes, types, units, and the sums and ratios that their own numbers must obey."""

import csv
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from labkit.lectures import cells, table, tables
from labkit.paths import DATA, ROOT

SLUGS = [t.slug for t in tables()]
ALL = pytest.mark.parametrize("slug", SLUGS)


def index():
    with (DATA / "tables" / "INDEX.csv").open(encoding="utf-8") as file:
        return {row["slug"]: row for row in csv.DictReader(file)}


def test_every_file_is_in_the_index():
    files = {path.stem for path in (DATA / "tables").glob("*.csv")} - {"INDEX", "columns"}
    assert files == set(SLUGS)
    assert len(SLUGS) == 124


@ALL
def test_table_has_the_printed_size(slug):
    row = index()[slug]
    assert table(slug).shape == (int(row["rows"]), int(row["cols"]))
    assert len(table(slug).rows) == int(row["rows"])


@ALL
def test_columns_match_the_file_and_units_are_known(slug):
    with (DATA / "tables" / f"{slug}.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert list(table(slug).names) == header
    assert {column.unit for column in table(slug).columns} <= set(cells.UNITS)
    assert all(column.label and column.dtype in cells.READERS for column in table(slug).columns)


@ALL
def test_numbers_are_numbers(slug):
    for column in table(slug).columns:
        if column.dtype in ("int", "float"):
            read = np.isfinite(column.values)
            printed = np.array([text.strip() not in cells.MISSING for text in column.printed])
            assert (read == printed).all(), column.name
            assert not column.values.flags.writeable


def test_only_one_column_is_wholly_empty():
    empty = [(t.slug, c.name) for t in tables() for c in t.columns if not any(c.printed)]
    assert empty == [("mobilenet_v3_float", "latency")]  # erratum E11


def test_titles_differ():
    titles = [t.title for t in tables()]
    assert len(set(titles)) == len(titles)


def test_provenance():
    for t in tables():
        assert re.fullmatch(r"00[0-4]", t.lecture)
        assert re.fullmatch(r"\d+-\d+([;,]\d+-\d+)*", t.lines), t.slug
        assert t.paper


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("4.2M", "", 4.2e6),
        ("11.3B", "MAC", 11.3e9),
        ("5.1m", "", 5.1e6),
        ("1.12 · 10^7", "", 1.12e7),
        ("3.13e8", "MAC", 3.13e8),
        ("7.0 Kib", "B", 7168),
        ("6.9 MiOps", "op", 6.9 * 2**20),
        ("349ms", "s", 0.349),
        ("206kB", "MB", 0.206),
        ("70×(13.4×)", "×", 70),
        ("7.5% (13x)", "%", 7.5),
        ("~58x", "×", 58),
        ("-0.52%", "pp", -0.52),
        ("6.49 ± 0.045*", "%", 6.49),
        ("N.A", "%", None),
        ("diverge", "", None),
    ],
)
def test_number_cells(text, unit, value):
    assert cells.number(text, unit) == value


@pytest.mark.parametrize(("text", "unit"), [("12 parsecs", "ms"), ("5M", "%"), ("abc", ""), ("1.2.3", "")])
def test_number_refuses_what_it_cannot_read(text, unit):
    with pytest.raises(ValueError, match=f"text must be a number in the unit {unit!r}"):
        cells.number(text, unit)


def test_integer_and_boolean_refuse():
    with pytest.raises(ValueError, match=r"text must be an integer, got '1\.5'"):
        cells.integer("1.5")
    with pytest.raises(ValueError, match="tick"):
        cells.boolean("maybe")


def test_bad_names_get_near_matches():
    with pytest.raises(ValueError, match=r"slug must be one of 124 names.*'zhang_rank_selection'"):
        table("zhang_rank_selecton")
    with pytest.raises(ValueError, match=r"name must be one of 10 names.*'conv2'"):
        table("zhang_rank_selection").column("conv_2")
    with pytest.raises(ValueError, match="chapter must be one of 31"):
        tables(99)
    with pytest.raises(ValueError, match="slug"):
        table(None)


def test_tables_by_chapter_cover_all():
    numbers = {t.chapter for t in tables()}
    assert sum(len(tables(number)) for number in numbers) == 124


def test_every_table_has_a_section_of_its_own_in_the_book():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "book" / "back").glob("tables-*.ipynb"))
    assert [slug for slug in SLUGS if f"(table-{slug})=" not in pages] == []


class Cells(HTMLParser):
    """Counts the tags of a table and keeps the header cells without a scope."""

    def __init__(self):
        super().__init__()
        self.count = {}
        self.bare = []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag == "th" and "scope" not in dict(attrs):
            self.bare.append(attrs)


@ALL
def test_html_is_an_accessible_table(slug):
    parser = Cells()
    parser.feed(table(slug).to_html())
    rows, columns = table(slug).shape
    assert parser.count["caption"] == 1
    assert parser.count["tr"] == rows + 1
    assert parser.count["th"] == rows + columns
    assert parser.count["td"] == rows * (columns - 1)
    assert parser.bare == []


def test_repr_is_short_and_fixed():
    assert repr(table("svhn_model_ops")) == "Table('svhn_model_ops', 11 x 7)"


def test_html_escapes_and_shows_units():
    html = table("peak_ops_by_bitwidth").to_html() + table("tt_layer_inference_time").to_html()
    assert "1 image (ms)" in html
    assert "<script" not in html
    assert "Howard &amp;" not in html.replace("&amp;amp;", "")


# Known answers: the tables against their own arithmetic.


def test_rank_selection_grows_ranks_where_it_helps():
    t = table("zhang_rank_selection")
    assert t.shape == (10, 10)
    error = t.column("err_increase_pct").reshape(5, 2)  # (speed-up, without / with selection)
    assert (error[:, 1] < error[:, 0]).all()
    assert t.column("speedup").tolist() == [2, 2, 2.4, 2.4, 3, 3, 4, 4, 5, 5]
    assert t.column("rank_selection") == (False, True) * 5
    assert t.unit("err_increase_pct") == "pp"


def test_svhn_totals():
    floats = table("svhn_model_params").column("n_floats")
    assert floats[:-1].sum() == floats[-1] == 861354
    shapes = table("svhn_model_params").column("shape")
    assert [np.prod(shape) for shape in shapes[:-1]] == floats[:-1].tolist()
    ops = table("svhn_model_ops").column("ops")
    assert ops[:-1].sum() == ops[-1] == 7194250
    np.testing.assert_allclose(100 * ops[:-1] / ops[-1], table("svhn_model_ops").column("perc")[:-1], atol=0.0051)


def test_svhn_sizes_are_four_bytes_a_float():
    t = table("svhn_model_params")
    np.testing.assert_allclose(4 * t.column("n_floats"), t.column("size"), rtol=0.02)


def test_energy_is_relative_to_an_integer_add():
    t = table("horowitz_energy")
    np.testing.assert_allclose(t.column("energy_pj") / 0.1, t.column("relative_cost"))


def test_dorefa_complexities():
    t = table("dorefa_svhn")
    W, A, G = (t.column(name) for name in "WAG")
    known = np.isfinite(t.column("training_complexity"))
    assert (t.column("training_complexity") == W * (A + G))[known].all()
    assert (t.column("inference_complexity") == W * A)[known].all()
    differs = np.flatnonzero(t.column("storage_relative_size") != W)
    assert [(W[i], A[i], G[i]) for i in differs] == [(2, 2, 2)]  # erratum E57


def test_garbled_copy_agrees_where_it_can_be_read():
    first, second = table("dorefa_svhn"), table("dorefa_svhn_second_copy")
    first_rows = {tuple(row[k] for k in "WAG"): row for row in first.rows}
    for row in second.rows:
        twin = first_rows[tuple(row[k] for k in "WAG")]
        for name in second.names:
            assert np.isnan(row[name]) or row[name] == twin[name]


def test_tensorrt_differences():
    t, diff = table("tensorrt_int8"), table("tensorrt_int8_diff")
    for run in ("5b", "10b", "50b"):
        for top in ("top1", "top5"):
            expected = t.column(f"fp32_{top}") - t.column(f"int8_{run}_{top}")
            np.testing.assert_allclose(expected, diff.column(f"diff_{run}_{top}"), atol=0.011)


def test_winograd_speedups():
    t = table("winograd_vs_cudnn")
    np.testing.assert_allclose(t.column("cudnn_ms") / t.column("f2x2_ms"), t.column("speedup"), atol=0.0055)


def test_pruning_rates():
    t = table("pruning_results")
    before, after = t.column("parameters").reshape(-1, 2).T
    np.testing.assert_allclose(before / after, t.column("pruning_rate")[1::2], rtol=0.04)


def test_deep_compression_rates():
    t = table("deep_compression_results")
    before, after = t.column("model_size").reshape(-1, 2).T
    np.testing.assert_allclose(before / after, t.column("compress_rate")[1::2], rtol=0.02)


def test_snip_deltas():
    t = table("snip_results")
    np.testing.assert_allclose(t.column("error_after") - t.column("error_before"), t.column("delta"), atol=0.011)


def test_dropneuron_fractions():
    t = table("dropneuron_lenet5_neurons")
    kept = [sum(row[name][0] for name in ("O_FC1", "O_FC2", "O_output")) for row in t.rows]
    assert kept == [row["O_total"][0] for row in t.rows]
    share = table("dropneuron_lenet5_weights").column("W_total_pct")
    np.testing.assert_allclose(100 / share, t.column("compression_rate"), rtol=0.002)


def test_inq_decreases_equal_differences():
    t = table("inq_imagenet")
    for before, after in zip(t.rows[::2], t.rows[1::2], strict=True):
        for k, name in enumerate(("top1_error", "top5_error")):
            assert before[name] - after[name] == pytest.approx(after["decrease_top1_top5"][k])


def test_wrpn_cost_formula():
    t = table("wrpn_2x_cost")
    for row in t.rows:
        w = int(row["weights"].split("b")[0])
        for a in (32, 8, 4, 2, 1):
            assert row[f"a{a}"] == pytest.approx(3.9 * (w + a) / 64, abs=0.06)


def test_guidelines_hold_cost_constant():
    t = table("shufflenet_v2_g1")
    products = np.array([np.prod(pair) for pair in t.column("gpu_channels_x1")])
    np.testing.assert_allclose(products, products[0], rtol=0.06)
    g2 = table("shufflenet_v2_g2")
    np.testing.assert_allclose(g2.column("gpu_c_x1") ** 2 / g2.column("g"), 128**2, rtol=0.025)


@pytest.mark.parametrize("slug", ["effnet_cifar10", "effnet_svhn", "effnet_vs_mobilenet_v2"])
def test_effnet_factors(slug):
    cost = table(slug).column("kflops" if "svhn" in slug else "mflops")
    np.testing.assert_allclose(cost / cost[0], table(slug).column("factor"), atol=0.0055)


def test_resnet50_total():
    flop = table("resnet50_pruning").column("flop")
    assert flop[:-1].sum() == pytest.approx(8.185e9, rel=1e-3)


def test_spread_of_confidence_intervals():
    t = table("rethinking_slimming")
    assert t.column("unpruned")[0] == 93.53
    assert t.spread("unpruned")[0] == 0.16
    assert np.isnan(t.spread("unpruned")[-1])


def test_compound_cells():
    t = table("bnn_train_imagenet")
    assert t.column("top5_top1")[3] == (None, 49.8)
    np.testing.assert_allclose(232 / t.column("size_after"), t.column("comp_rate"), rtol=0.01)  # against AlexNet
    assert table("squeezenet_compression").column("model_size")[-1] == (4.8, 0.47)
    assert table("inq_vs_deep_compression").column("bits_conv_fc")[0] == (8, 5)
