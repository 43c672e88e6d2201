"""What the SGAD record shows: the dropped share follows its target, and easy pictures need less."""

import pytest
import torch

from labkit import nets
from labkit.cost import count
from labkit.datasets import mnist
from labkit.dynamic import expected_drop_ratio, macs_ran, softmax_variance
from labkit.experiments import record

ROWS = record("sgad").rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"s_max={row['s_max']}")
def test_the_dropped_share_follows_its_target_within_five_hundredths(row):
    assert row["dropped"] == pytest.approx(row["expected"], abs=0.05)
    assert row["expected"] < row["s_max"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"s_max={row['s_max']}")
def test_the_easy_half_needs_fewer_multiply_adds_than_the_hard_half(row):
    assert row["dropped_easy"] > row["dropped_hard"]
    assert row["macs_easy"] < row["macs"] < row["macs_hard"]


def test_more_may_be_dropped_and_more_is():
    ordered = sorted((r for r in ROWS if r["seed"] == 0), key=lambda r: r["s_max"])
    assert [r["dropped"] for r in ordered] == sorted(r["dropped"] for r in ordered)
    assert [r["macs"] for r in ordered] == sorted((r["macs"] for r in ordered), reverse=True)


def test_the_blocks_and_the_difficulty_belong_to_the_rows():
    for row in (r for r in ROWS if r["seed"] == 0):
        shown = record("sgad").summary["shown"][f"{row['s_max']:g}"]
        assert 1 - sum(shown["blocks"]) / len(shown["blocks"]) == pytest.approx(row["dropped"], abs=1e-3)
        assert sum(shown["counts"]) == 10_000
        assert sum(shown["wrong"]) / 100 == pytest.approx(row["error"])
        mean = sum(n * (d or 0) for n, d in zip(shown["counts"], shown["dropped"], strict=True)) / 10_000
        assert mean == pytest.approx(row["dropped"], abs=1e-3)


def test_the_formula_at_the_largest_variance_bounds_the_target():
    for row in ROWS:
        bound = float(expected_drop_ratio(torch.tensor([0.09]), n_classes=10, s_max=row["s_max"]))
        assert row["expected"] <= bound


def test_the_shipped_network_is_the_recorded_one():
    shipped, (x, y) = record("sgad").summary["shipped"], mnist("test", source="offline").tensors()
    net = nets.load_sgad()
    scores, ran = macs_ran(net, x)
    assert shipped["parameters"] == sum(p.numel() for name, p in net.named_parameters() if not name.startswith("guide"))
    assert 100 * float((scores.argmax(1) != y).double().mean()) < shipped["error"] + 1.5
    assert ran / len(x) / count(net.to_dense(), x[:1]).macs == pytest.approx(shipped["macs"], abs=0.02)


@torch.no_grad()
def test_easy_pictures_need_fewer_multiply_adds_also_in_the_shipped_network():
    net, (x, _) = nets.load_sgad(), mnist("test", source="offline").tensors()
    variance = softmax_variance(net.guide(net.network.stem(x)))
    easy = variance >= variance.median()
    assert macs_ran(net, x[easy])[1] / easy.sum() < 0.95 * macs_ran(net, x[~easy])[1] / (~easy).sum()


def test_a_damaged_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.paths.DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match="sgad-net"):
        nets.load_sgad()
    nets.save(nets.LeNet300(), tmp_path / "checkpoints" / "sgad-net.safetensors", header={})
    with pytest.raises(ValueError, match="does not hold this network"):
        nets.load_sgad()
