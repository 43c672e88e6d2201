"""The errata: complete and well formed, and the corrections recomputed wherever a number decides."""

import re

import numpy as np
import pytest

from labkit.lectures import chapters, errata, erratum, table
from labkit.lectures.misprints import CONFIDENCE
from labkit.lectures.structure import places
from labkit.paths import ROOT


def test_ids_run_without_a_gap():
    assert [e.id for e in errata()] == [f"E{i:02d}" for i in range(1, len(errata()) + 1)]
    assert len(errata()) == 59


def test_fields():
    assert len({e.title for e in errata()}) == len(errata())
    for e in errata():
        assert e.confidence in CONFIDENCE
        assert e.chapter in chapters()
        assert e.printed
        assert e.correct
        for lecture, lines in places(e.lecture, e.lines):
            assert re.fullmatch(r"00[0-4]", lecture)
            assert re.fullmatch(r"\d+(-\d+)?", lines)


def test_lookup():
    assert erratum("E05").source == "lecture 002:398"
    assert erratum("E08").source == "lecture 002:22; 003:275-284"
    assert {e.id for e in errata(5)} == {"E05", "E16"}
    assert repr(erratum("E16")) == "Erratum('E16', 'SVD: columns, not rows, are orthonormal')"
    with pytest.raises(ValueError, match="id must be one of 59 names, got 'E5'"):
        erratum("E5")
    with pytest.raises(ValueError, match="chapter must be one of 31"):
        errata(31)


def test_every_erratum_has_a_section():
    page = (ROOT / "book" / "back" / "errata.ipynb").read_text(encoding="utf-8")
    assert [e.id for e in errata() if f"(erratum-{e.id})=" not in page] == []


def test_card_escapes_the_slide():
    html = erratum("E32")._repr_html_()
    assert "W_i&lt;threshold" in html
    assert "<th scope='row'>printed</th>" in html


def correct(id, *numbers):
    """Assert that the correction names these numbers."""
    for value in numbers:
        assert str(value) in erratum(id).correct, (id, value)


def test_e01_xnor_counts_matches():
    rng = np.random.default_rng(0)
    a, b = rng.choice([-1, 1], size=(2, 64))
    left, right = a > 0, b > 0
    matches = int((~(left ^ right)).sum())
    assert 2 * matches - 64 == a @ b
    assert 2 * int((~(left & right)).sum()) - 64 != a @ b


def test_e02_e03_worked_example():
    f, g = [0, 0, 1, 2], [10, 20, 30]
    assert np.correlate(f, g, "valid").tolist() == [30, 80]
    assert np.correlate(f, [10, 20, 20], "valid").tolist() == [20, 60]  # with the printed third tap
    assert np.convolve(f, g, "valid").tolist() == [10, 40]
    correct("E02", "30", "80", "20 and 60")
    correct("E03", "[10 40]")


def test_e04_storage_of_residual_quantization():
    m, n, k, t = 60, 12, 8, 3
    books, codes = np.zeros((t, k, n), np.float32), np.zeros((t, m), np.uint8)
    bits = 32 * books.size + np.log2(k) * codes.size
    assert 32 * m * n / bits == 32 * m * n / (32 * t * k * n + t * m * np.log2(k))


def test_e05_rate_of_the_truncated_svd():
    m, n, k = 30, 20, 4
    stored = np.zeros((m, k)).size + k + np.zeros((k, n)).size
    assert m * n / stored == m * n / (k * (m + n + 1))


def test_e06_first_copy_is_readable():
    rows = {(r["W"], r["A"], r["G"]): r for r in table("dorefa_svhn").rows}
    values = [rows[1, 2, 3][f"model_{k}_acc"] for k in "ABCD"]
    assert values == [0.968, 0.964, 0.934, 0.878]
    correct("E06", "0.968 0.964 0.934 0.878")


def test_e07_e08_alexnet_counts():
    dense = 384 * 384 * 9
    assert (dense, dense // 2, 13 * 13 * dense // 2) == (1327104, 663552, 112140288)
    assert 55 * 55 * 96 * 363 == 105415200
    correct("E07", "663,552", "1.327M")
    correct("E08", "labkit.cost.count")


def test_e09_resnet50_sum():
    assert table("resnet50_pruning").column("flop")[:-1].sum() == pytest.approx(8.19e9, rel=1e-3)


def test_e13_drop_ratio():
    s_max, M, L = 0.2, 10, 54
    scale = -M * np.log(s_max) / np.log(L)
    assert 1 - L ** (1 - scale / M) / L == pytest.approx(0.8)
    scale = -M * np.log(1 - s_max) / np.log(L)  # the reading that fits the words
    assert 1 - L ** (1 - scale / M) / L == pytest.approx(s_max)


@pytest.mark.parametrize("M", [2, 10, 1000])
def test_e14_variance_bound_is_tight(M):
    assert np.eye(M)[0].var() == pytest.approx((M - 1) / M**2)
    p = np.random.default_rng(0).dirichlet(np.full(M, 0.1), size=200)
    assert (p.var(axis=1) <= (M - 1) / M**2 + 1e-12).all()


def test_e16_columns_are_orthonormal():
    U = np.linalg.svd(np.random.default_rng(0).normal(size=(5, 3)), full_matrices=False)[0]
    np.testing.assert_allclose(U.T @ U, np.eye(3), atol=1e-12)
    assert np.linalg.norm(U @ U.T - np.eye(5)) > 1


def bottlenecks(c_in, width, blocks):
    inner = 13 * width**2
    return c_in * 5 * width + inner + (blocks - 1) * (4 * width**2 + inner)


def test_e25_resnet152_weights():
    stages = [(64, 64, 3), (256, 128, 8), (512, 256, 36), (1024, 512, 3)]
    weights = 3 * 49 * 64 + sum(bottlenecks(*stage) for stage in stages) + 2048 * 1000
    assert round(weights / 1e6, 2) == 60.04
    correct("E25", "60.04M")


def test_e27_e30_e33_e38_plain_ratios():
    assert 100 - 70 == 30
    assert round(138 / 10.3, 1) == 13.4
    assert round(2.25 * 2.5 * 2.25, 2) == 12.66
    assert round(29.3 / 4.2, 2) == 6.98
    for id, value in [("E27", 30), ("E30", 13.4), ("E33", 12.66), ("E38", 6.98)]:
        correct(id, value)


def test_e31_fine_tuning_wins_on_imagenet():
    rows = [r for r in table("rethinking_unstructured").rows if r["dataset"] == "ImageNet"]
    wins = [r["fine_tuned"] > max(r["scratch_e"], r["scratch_b"]) for r in rows]
    assert wins == [False, True, True, True]


def test_e35_squeezenet():
    fires = [(55, 96, 16, 64), (55, 128, 16, 64), (55, 128, 32, 128), (27, 256, 32, 128), (27, 256, 48, 192)]
    fires += [(27, 384, 48, 192), (27, 384, 64, 256), (13, 512, 64, 256)]
    macs = 111**2 * 147 * 96 + sum(side**2 * (c * s + 10 * s * e) for side, c, s, e in fires)
    assert [round((macs + side**2 * 512000) / 1e6, 1) for side in (13, 15)] == [832.7, 861.3]
    correct("E35", "832.7M", "861.3M")


def test_e36_mobilenet():
    macs = 112**2 * 27 * 32 + 1024 * 1000
    for row in table("mobilenet_v1_body").rows[1:19]:
        side, _, channels = (int(s) for s in row["input_size"].split(" × "))
        side //= int(row["type_stride"][-1]) if side > 7 else 1
        times = 5 if row["type_stride"][0] == "5" else 1
        out = 9 if "dw" in row["type_stride"] else int(row["filter_shape"].split(" × ")[-1])
        macs += times * side**2 * channels * out
    assert round(macs / 1e6, 2) == 568.74
    correct("E36", "568.74M")


def test_e41_wide_resnet():
    weights = 432 + 5130 + 1024
    for c, w in [(16, 128), (128, 256), (256, 512)]:
        weights += 9 * c * w + c * w + 27 * w * w + 2 * (c + 3 * w)
    assert round(weights / 1e6, 2) == 10.96
    assert round(0.05 * weights / 1e3) == 548


def test_e42_vgg_a():
    layers = [(224, 3, 64), (112, 64, 128), (56, 128, 256), (56, 256, 256), (28, 256, 512), (28, 512, 512)]
    layers += [(14, 512, 512), (14, 512, 512)]
    macs = sum(side**2 * 9 * c * out for side, c, out in layers) + 25088 * 4096 + 4096**2 + 4096 * 1000
    assert round(macs / 1e9, 2) == 7.61
    assert round(table("network_slimming_imagenet").column("baseline")[2] / macs) == 6


def test_e43_e44_e45_printed_rates():
    assert round(100 * (1 - 0.46 / 1.06), 1) == 56.6
    assert round(138 / 9.7, 1) == 14.2
    t = table("morphnet_results")
    gains = 100 * (t.column("morphnet") / t.column("baseline") - 1)
    assert gains[1:3].round(2).tolist() == [1.75, 2.46]


def test_e46_rate_needs_the_codebook():
    t = table("deep_compression_vgg16")
    simple = t.column("weights_pct_P") * (t.column("weight_bits_PQ") + t.column("index_bits_PQ")) / 32
    ratio = t.column("compress_rate_PQ") / simple
    assert round(simple[0], 1) == 23.6
    far = [t.column("layer")[i] for i in np.flatnonzero(np.abs(ratio - 1) > 0.12)]
    assert set(far) >= {"conv1_1", "fc6", "fc7"}


def test_e47_softened_outputs():
    row = table("dark_knowledge_example").rows[1]
    assert sum(row[k] for k in ("cow", "dog", "trump", "bush")) == pytest.approx(0.555)


def test_e48_fifteen_roundings():
    accuracy, printed = table("tensorrt_int8"), table("tensorrt_int8_diff")
    runs = [(run, k) for run in ("5b", "10b", "50b") for k in (1, 5)]
    error = [
        accuracy.column(f"fp32_top{k}") - accuracy.column(f"int8_{r}_top{k}") - printed.column(f"diff_{r}_top{k}")
        for r, k in runs
    ]
    assert (np.abs(error) > 0.005).sum() == 15
    assert np.abs(error).max() < 0.011


def test_e49_two_bias_conventions():
    convolutions = 24 * 36**2 * 75 + 32 * 16**2 * 216 + 32 * 14**2 * 288 + 64 * 25 * 288
    assert convolutions + (1600 + 1) * 512 + (512 + 1) * 10 == 7194250


def neumaier(values):
    total, c = values[0], 0.0
    for x in values[1:]:
        t = total + x
        c += (total - t) + x if abs(total) >= abs(x) else (x - t) + total
        total = t
    return total + c


def test_e50_completed_listing_works():
    assert neumaier([1, 1e100, 1, -1e100]) == 2
    assert sum([1, 1e100, 1, -1e100]) == 0


def test_e52_bases_agree_with_the_dataset():
    rows = [r for r in table("rethinking_slimming").rows if r["model"] == "VGG-19"]
    assert [(r["dataset"], r["prune_ratio"], r["unpruned"]) for r in rows] == [
        ("CIFAR-10", 70, 93.53),
        ("CIFAR-100", 50, 72.63),
    ]


def test_e54_levels_and_intervals():
    assert len(np.diff(np.linspace(0, 1, 256))) == 255


def test_e56_residual_is_n_times_the_row_variance():
    W = np.random.default_rng(0).normal(size=(4, 6))
    B = np.sign(W)
    scale = (W * B).mean(axis=1, keepdims=True)
    assert ((scale * B - W) ** 2).sum() == pytest.approx(6 * (W * B).var(axis=1).sum())


def test_e57_storage_is_the_weight_width():
    rows = [r for r in table("dorefa_svhn").rows if r["storage_relative_size"] != r["W"]]
    assert [(r["W"], r["A"], r["G"]) for r in rows] == [(2, 2, 2)]


def test_e58_rate_of_kim_on_googlenet():
    dense, _, kim, _ = table("grebdec_comparison").rows[10:14]
    assert (kim["network"], kim["compression"]) == ("Kim et al. [14]", 1.28)
    assert round(dense["n_weights"] / kim["n_weights"], 2) == 1.47
    correct("E58", "6.9/4.7", "1.47")


def test_e59_rank_12_and_an_eighth_of_the_entries():
    m, n = 96, 11 * 11 * 3
    numbers = 12 * (m + n) + m * n // 8
    assert (numbers, m * n, round(m * n / numbers, 2)) == (9864, 34848, 3.53)
    correct("E59", "9,864", "34,848", "3.53x")
