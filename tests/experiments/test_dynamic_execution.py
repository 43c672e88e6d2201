"""The comparison of dynamic methods: what even a tiny run must show."""

import pytest
import torch

from labkit.dynamic import FBSConv2d
from labkit.experiments import dynamic
from labkit.nets import CifarNet
from labkit.nets.store import read

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
