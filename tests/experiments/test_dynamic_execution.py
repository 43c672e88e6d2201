"""The comparison of dynamic methods: what even a tiny run must show."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from labkit import paths
from labkit.cost import count
from labkit.datasets import ColorImages, mnist
from labkit.dynamic import FBSConv2d, set_execution
from labkit.experiments import dynamic, record
from labkit.nets import CifarNet, load_fbs, save
from labkit.nets.store import read
from labkit.training import evaluate

POINTS = (*dynamic.TINY, ("slimming", 1.0, 0.3), ("channel gating", 0.0, 0.0), ("runtime pruning", 0.2, 0.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    output = tmp_path_factory.mktemp("dynamic")
    sizes = {
        "n_train": 128,
        "epochs": (1, 1),
        "n_count": 10,
        "n_time": 2,
        "n_test": 50,
        "paper_widths": (4,) * 8,
        "seeds": (0,),
        "repeated": (),
        "cifar": dynamic.TINY_RUN["cifar"],
    }
    return dynamic.dynamic(output, source="offline", points=POINTS, shipped=POINTS[1], **sizes), output


def test_every_method_has_its_row(tiny):
    rows = tiny[0]["rows"]
    assert {row["method"] for row in rows} == set(dynamic.METHODS)
    assert [(row["method"], row["setting"], row["sparsity"]) for row in rows] == list(POINTS)


def test_savings_are_those_of_the_multiply_adds(tiny):
    rows = {row["method"]: row for row in tiny[0]["rows"]}
    assert rows["dense"]["saving"] == 1
    assert all(row["saving"] == round(rows["dense"]["macs"] / row["macs"], 4) for row in rows.values())
    assert rows["slimming + FBS"]["saving"] > rows["FBS"]["saving"] > 2
    assert rows["slimming"]["saving"] > 1.2


def test_halves_share_the_mean(tiny):
    for row in tiny[0]["rows"]:
        assert (row["macs_easy"] + row["macs_hard"]) / 2 == pytest.approx(row["macs"], abs=2)
        if row["method"] in ("dense", "slimming"):
            assert row["macs_easy"] == row["macs_hard"]


def test_the_shipped_network_comes_back(tiny):
    result, output = tiny
    state, header = read(output / "checkpoints" / "fbs-net.safetensors")
    assert header == result["summary"]["ship"]
    model = CifarNet().replaced(FBSConv2d.from_conv, first=dynamic.FIRST)
    model.load_state_dict(state, strict=True)


def test_the_heat_map_holds_probabilities_of_skipping(tiny):
    maps = tiny[0]["summary"]["skipping"]
    assert list(maps) == [f"blocks.{i}" for i in range(1, 8)]
    for name, rows in maps.items():
        part = torch.tensor(rows)
        channels = CifarNet().widths[int(name[-1])]
        assert part.shape == (10, channels)
        assert torch.allclose(part.sum(1), torch.tensor(channels / 2), atol=1e-2)


# --- the record ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    return record("dynamic")


@pytest.fixture(scope="module")
def points(made):
    return {row["label"]: row for row in dynamic.means(made.rows)}


def test_fbs_loses_little_at_a_third_of_the_multiply_adds(points):
    dense, fbs = points["dense"], points["FBS, d = 0.5"]
    assert fbs["seeds"] == dense["seeds"] == 3
    assert fbs["saving"] > 3
    assert fbs["test_error"] - dense["test_error"] < 0.5


def test_a_lower_density_runs_less_and_errs_more(points):
    fbs = [points[f"FBS, d = {d}"] for d in (0.8, 0.65, 0.58, 0.55, 0.5, 0.4)]
    assert [row["saving"] for row in fbs] == sorted(row["saving"] for row in fbs)
    assert fbs[-1]["test_error"] > fbs[0]["test_error"]


def test_fbs_loses_little_at_the_savings_that_were_asked_for(points):
    dense = points["dense"]["test_error"]
    for density, saving in ((0.58, 2.4), (0.5, 3)):
        row = points[f"FBS, d = {density}"]
        assert row["seeds"] == 3
        assert row["saving"] > saving
        assert row["test_error"] - dense < 0.3


def test_every_other_method_runs_less_than_the_dense_network(points):
    assert all(row["saving"] > 1 for label, row in points.items() if label != "dense")


def test_a_predictor_that_starts_at_random_chooses_more_often(made):
    spreads = made.summary["spreads"]
    assert [row["spread"] for row in spreads] == sorted(row["spread"] for row in spreads)
    assert spreads[0]["varied"] < spreads[-1]["varied"]
    assert spreads[1]["test_error"] == made.summary["ship"]["test_error"]


@pytest.mark.parametrize("density", [0.8, 0.65])
def test_slimming_and_fbs_multiply(density, points):
    both = points[f"slimming 30 %, then FBS, d = {density}"]["saving"]
    assert both == pytest.approx(points["slimming 30 %"]["saving"] * points[f"FBS, d = {density}"]["saving"], rel=0.05)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_agent_runs_less_the_more_it_costs(seed, made):
    rows = [row for row in made.rows if row["method"] == "runtime pruning" and row["seed"] == seed]
    work = {row["setting"]: row["macs"] for row in rows}
    assert work[0.1] > work[0.3] > work[1.0]
    assert min(work[0.05], work[0.1]) > work[0.3]  # a penalty below 0.1 is too small to matter


def test_the_agent_runs_less_for_easy_pictures(points):
    agents = [row for row in points.values() if row["method"] == "runtime pruning"]
    assert len(agents) == 4
    assert all(row["macs_easy"] < row["macs_hard"] for row in agents)


def test_the_shipped_network_is_the_recorded_one(made):
    (row,) = [row for row in made.rows if (row["method"], row["setting"], row["seed"]) == ("FBS", 0.5, 0)]
    assert made.summary["ship"]["test_error"] == row["test_error"]
    x, labels = mnist("test", source="offline").tensors()
    model = load_fbs()
    assert evaluate(model, (x, labels)).error < row["test_error"] + 1
    set_execution(model, "image")
    assert count(model, x[:20]).macs == row["macs"]


def test_which_channels_run_depends_on_the_class(made):
    skips = torch.tensor(made.summary["skipping"]["blocks.7"]) * 500  # digits of each class
    varied = skips[:, ((skips > 0) & (skips < 500)).any(0)]
    p = [chi2_contingency(torch.stack([k, 500 - k])).pvalue for k in varied.T]
    assert min(p) * len(p) < 0.01


@pytest.mark.parametrize("content", [None, b"no safetensors"])
def test_a_missing_or_damaged_checkpoint_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    if content:
        (tmp_path / "checkpoints" / "fbs-net.safetensors").write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match="fbs-net"):
        load_fbs()


def test_a_checkpoint_of_another_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    save(CifarNet(random_state=0), tmp_path / "checkpoints" / "fbs-net.safetensors", header={"density": 0.5})
    with pytest.raises(ValueError, match="does not hold this network"):
        load_fbs()


# --- other pictures -----------------------------------------------------------------------------------------------


def colour(n, seed):
    generator = np.random.default_rng(seed)
    images = generator.random((n, 3, 32, 32), dtype=np.float32)
    return ColorImages(images, np.arange(n, dtype=np.int64) % 10, "train", "cache")


def test_it_runs_on_cifar10_where_that_is_in_the_cache(tiny, tmp_path, monkeypatch):
    assert isinstance(tiny[0]["summary"]["cifar10"], list)
    monkeypatch.setattr(dynamic, "has_cifar10", lambda: True)
    monkeypatch.setattr(dynamic, "cifar10", lambda split: colour(40, dynamic.SPLITS.index(split)))
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    options = {"n_train": 30, "epochs": (1, 1), "n_count": 4, "n_time": 2, "n_test": 20, "points": dynamic.TINY}
    rows = dynamic.on_cifar10(options | {"learning_rate": 1e-3, "scale_weight": 1e-4}, seed=0)
    assert [row["method"] for row in rows] == [point[0] for point in dynamic.TINY]
    dense = count(CifarNet(channels=3, image_size=32), torch.zeros(1, 3, 32, 32)).macs
    assert rows[0]["macs"] == dense
    assert rows[1]["saving"] > 2


def test_it_runs_on_digits_alone_where_cifar10_is_not(monkeypatch):
    monkeypatch.setattr(dynamic, "has_cifar10", lambda: False)
    assert dynamic.on_cifar10({"points": dynamic.TINY}, seed=0) == []
