"""The recorded experiments: each still runs in a tiny setting, and each record is whole."""

import inspect
import json
import shutil

import pytest
import torch
from torch import nn

from labkit import paths
from labkit.experiments import EXPERIMENTS, Record, record, retime, run
from labkit.experiments.__main__ import main
from labkit.experiments.low_rank import factorized, means
from labkit.nets import LeNet300

NAMES = sorted(EXPERIMENTS)


@pytest.fixture(scope="module", params=NAMES)
def tiny(request, tmp_path_factory):
    """The record and the folder of a tiny run."""
    output = tmp_path_factory.mktemp(request.param)
    return run(request.param, tiny=True, output=output), output


def test_a_tiny_run_writes_a_whole_record(tiny, monkeypatch):
    made, output = tiny
    monkeypatch.setattr(paths, "DATA", output)
    assert record(made.name) == made
    assert made.tiny
    assert made.command.endswith("--tiny")


def test_a_tiny_run_has_the_columns_of_the_recorded_one(tiny):
    made, recorded = tiny[0], record(tiny[0].name)
    assert made.rows[0].keys() == recorded.rows[0].keys()
    assert made.summary.keys() == recorded.summary.keys()


def test_the_times_of_a_record_can_be_measured_alone(tiny, monkeypatch, tmp_path):
    made, output = tiny
    if EXPERIMENTS[made.name].times is None:
        pytest.skip("has no times of its own")
    for module in ("low_rank", "factorised", "trained_rank", "binary", "sparse_winograd"):
        monkeypatch.setattr(f"labkit.experiments.{module}.time_ratio", lambda before, after: 7.0)
    shutil.copytree(output / "results", tmp_path / "results")
    again = retime(made.name, data=tmp_path)
    assert (again.rows, again.summary) == (clocked(made.rows), clocked(made.summary))
    assert "7.0" in repr((again.rows, again.summary))
    assert (again.date, made.times_date) == (made.date, "")
    assert record(made.name, data=tmp_path) == again
    assert again.times_date


def clocked(part):
    """Return a part of a record with 7 for every time ratio in it."""
    if isinstance(part, dict):
        return {k: 7.0 if k.startswith(("time_ratio", "skip_")) else clocked(v) for k, v in part.items()}
    return [clocked(one) for one in part] if isinstance(part, list) else part


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_experiment_as_it_is_now(name):
    """A changed default would leave the record with settings that its command no longer has."""
    recorded = record(name)
    assert recorded.settings == json.loads(json.dumps(EXPERIMENTS[name].settings(tiny=False)))
    assert recorded.split == EXPERIMENTS[name].split
    assert not recorded.tiny
    assert recorded.command == f"python -m labkit.experiments {name}"
    assert {"python", "torch", "numpy", "labkit"} <= recorded.versions.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_is_well_described(name):
    experiment = EXPERIMENTS[name]
    assert experiment.tiny.keys() <= inspect.signature(experiment.function).parameters.keys()
    assert experiment.summary.endswith(".")


def test_every_record_has_its_experiment():
    assert sorted(path.stem for path in (paths.DATA / "results").glob("*.json")) == NAMES


def test_threads_are_restored(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    run("train-lenet", tiny=True, output=tmp_path)
    assert torch.get_num_threads() == threads


def test_a_run_is_the_same_twice(tmp_path):
    first, second = (run("train-lenet", tiny=True, output=tmp_path) for _ in range(2))
    assert (first.rows, first.summary) == (second.rows, second.summary)


def test_what_has_no_times_is_not_measured(tmp_path):
    with pytest.raises(ValueError, match="whose times can be measured alone, got 'train-lenet'"):
        retime("train-lenet")
    with pytest.raises(FileNotFoundError, match="make it with"):
        retime("svd-fc", data=tmp_path)


# --- records that are not whole -----------------------------------------------------------------------------------


def whole():
    return {
        "name": "train-lenet",
        "command": "python -m labkit.experiments train-lenet",
        "date": "2026-01-01",
        "duration_s": 1.0,
        "threads": 1,
        "split": "all",
        "tiny": False,
        "settings": {"seeds": [0]},
        "versions": {"torch": "2"},
        "rows": [{"rank": 1, "error": 2.0}, {"rank": 2, "error": 1.0}],
        "summary": {"best": 2},
    }


def test_select_and_repr():
    made = Record(**whole())
    assert made.select(rank=2) == [{"rank": 2, "error": 1.0}]
    assert repr(made) == "Record('train-lenet', 2 rows, 2026-01-01, 1 s)"
    with pytest.raises(ValueError, match="column must be one of"):
        made.select(ranks=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "rows must be a filled list"),
        ({"summary": {}}, "summary must be a filled dict"),
        ({"command": ""}, "command must be a filled str"),
        ({"duration_s": "1"}, "duration_s must be a filled float"),
        ({"settings": {"epochs": 1}}, "settings must name the seeds"),
        ({"rows": [{"a": 1}, {"b": 1}]}, "all have the same keys"),
        ({"rows": [1]}, "rows must be dictionaries"),
        ({"rows": [{"a": float("nan")}]}, "must hold finite numbers"),
        ({"summary": {"a": [float("inf")]}}, "must hold finite numbers"),
    ],
)
def test_a_record_that_is_not_whole_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Record(**(whole() | change))


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps(whole() | {"rows": [1]})])
def test_a_damaged_file_is_refused_by_name(content, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "train-lenet.json").write_text(content)
    with pytest.raises(ValueError, match=r"train-lenet\.json is not a whole record"):
        record("train-lenet")


def test_a_missing_record_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"make it with python -m labkit\.experiments train-lenet"):
        record("train-lenet")


@pytest.mark.parametrize("function", [run, record, retime])
def test_unknown_names(function):
    with pytest.raises(ValueError, match="did you mean 'train-lenet'"):
        function("train-lenett")


# --- the command line ---------------------------------------------------------------------------------------------


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)


def test_tiny_run_leaves_data_alone(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    before = (paths.DATA / "results" / "train-lenet.json").read_bytes()
    assert main(["train-lenet", "--tiny"]) == 0
    assert "Record('train-lenet'" in capsys.readouterr().out
    assert (paths.DATA / "results" / "train-lenet.json").read_bytes() == before
    assert (tmp_path / "tiny" / "results" / "train-lenet.json").exists()


def test_times_on_the_command_line(capsys, monkeypatch):
    monkeypatch.setattr("labkit.experiments.__main__.retime", lambda name: record(name))
    assert main(["conv-schemes", "--times"]) == 0
    assert "Record('conv-schemes'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["conv-schemes", "--times", "--tiny"])


def test_unknown_name_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["train-lenett"])
    assert "train-lenet" in capsys.readouterr().err


# --- what the records of chapter 5 show ---------------------------------------------------------------------------


def mean(name, **values):
    """The mean test error of a setting, from a record's summary."""
    found = [row for row in record(name).summary["mean_test_error"] if values.items() <= row.items()]
    assert len(found) == 1, found
    return found[0]["mean"]


def test_means_are_over_the_seeds():
    rows = [{"rank": 1, "test_error": 2.0}, {"rank": 2, "test_error": 7.0}, {"rank": 1, "test_error": 4.0}]
    assert means(rows, ("rank",)) == [
        {"rank": 1, "mean": 3.0, "std": 1.0},
        {"rank": 2, "mean": 7.0, "std": 0.0},
    ]


def test_factorized_replaces_the_named_layers_and_leaves_the_model():
    model, x = LeNet300(random_state=0), torch.rand(400, 1, 28, 28)
    for method in ("weights", "responses"):
        small = factorized(model, {"fc2": 5}, method, x)
        assert (small.fc2.rank, type(small.fc1), type(model.fc2)) == (5, nn.Linear, nn.Linear)


def test_svd_fc_at_rank_16_keeps_97_percent_after_fine_tuning():
    assert mean("svd-fc", method="responses", rank=16, fine_tuned=True) <= 3


def test_svd_fc_responses_beat_weights_without_fine_tuning():
    """At rank 1 both are near chance, so the comparison starts at rank 2."""
    for rank in record("svd-fc").settings["ranks"][1:]:
        by_method = [mean("svd-fc", method=m, rank=rank, fine_tuned=False) for m in ("responses", "weights")]
        assert by_method[0] < by_method[1]


def test_selected_ranks_cost_no_more_than_uniform_ones():
    made = record("rank-selection")
    uniform = {(r["net"], r["seed"], r["speedup"]): r["multiply_adds"] for r in made.select(selection="uniform")}
    selected = made.select(selection="selected")
    assert len(selected) > 0
    assert all(row["multiply_adds"] <= uniform[row["net"], row["seed"], row["speedup"]] for row in selected)


@pytest.mark.parametrize(
    ("net", "speedup"), [("lenet-300-100", 2), ("lenet-300-100", 4), ("lenet-5", 2), ("lenet-5", 4), ("lenet-5", 8)]
)
def test_selected_ranks_are_better_than_uniform_ones_over_five_seeds(net, speedup):
    """Not so for LeNet-300-100 at 8x and for LeNet-5 at 16x, where both are near chance; pages must say so."""
    setting = {"net": net, "speedup": speedup, "method": "responses", "fine_tuned": False}
    selected, uniform = (mean("rank-selection", selection=s, **setting) for s in ("selected", "uniform"))
    assert selected < uniform
