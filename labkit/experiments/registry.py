"""The register of experiments, the runner, and the records that it writes."""

import copy
import inspect
import json
import math
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import labkit
from labkit import checks, paths

EXPERIMENTS: dict[str, "Experiment"] = {}
Times = Callable[["Record"], Iterable[tuple[dict[str, Any] | str, dict[str, Any]]]]


@dataclass(frozen=True)
class Experiment:
    """A function of keyword settings that returns {"rows": [...], "summary": {...}}, and how to run it.

    `times` measures nothing but the time ratios of a record: it yields pairs of the values that name rows, or of
    the name of an entry of summary["shipped"], and the columns that these rows or this entry get.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    split: str
    minutes: float
    tiny: dict[str, Any]
    times: Times | None = None

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    def settings(self, tiny: bool) -> dict[str, Any]:
        """Return every setting: the defaults of the function's signature, changed to `tiny` if wanted."""
        parameters = inspect.signature(self.function).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return defaults | (self.tiny if tiny else {})


@dataclass(frozen=True)
class Record:
    """The result of a recorded experiment.

    `rows` is a list of flat dictionaries with equal keys; `summary` holds what the experiment concludes from them.
    `duration_s` is wall-clock time in seconds on the machine that ran it, with `threads` threads. `times_date` is the
    day on which `retime` measured the time ratios again, "" if it never did.
    """

    name: str
    command: str
    date: str
    duration_s: float
    threads: int
    split: str
    tiny: bool
    settings: dict[str, Any] = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    rows: list[dict[str, Any]] = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    times_date: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for key, kind in _SCHEMA.items():
            if not isinstance(getattr(self, key), kind) or getattr(self, key) in ("", [], {}):
                raise ValueError(f"{key} must be a filled {kind.__name__}, got {getattr(self, key)!r}")
        if not self.settings.get("seeds"):
            raise ValueError(f"settings must name the seeds, got {sorted(self.settings)}")
        if not all(isinstance(row, dict) and row.keys() == self.rows[0].keys() for row in self.rows):
            raise ValueError("rows must be dictionaries that all have the same keys")
        if not _all_finite([self.rows, self.summary]):
            raise ValueError("rows and summary must hold finite numbers, got NaN or infinity")

    def __repr__(self) -> str:
        return f"Record({self.name!r}, {len(self.rows)} rows, {self.date}, {self.duration_s:.0f} s)"

    def select(self, **values: Any) -> list[dict[str, Any]]:
        """Return the rows that hold these values, in their order: `record("svd-fc").select(layer="fc1")`."""
        for key in values:
            checks.choice(key, "column", self.rows[0])
        return [row for row in self.rows if all(row[key] == value for key, value in values.items())]


_SCHEMA: dict[str, type] = {
    "name": str,
    "command": str,
    "date": str,
    "duration_s": float,
    "threads": int,
    "split": str,
    "tiny": bool,
    "settings": dict,
    "versions": dict,
    "rows": list,
    "summary": dict,
}


def experiment(
    name: str, *, split: str, minutes: float, tiny: dict[str, Any], times: Times | None = None
) -> Callable[[Callable], Callable]:
    """Register a function as the experiment `name`.

    `split` says which digits it trains, chooses and reports on; `minutes` how long it takes on one core; `tiny`
    are the settings for a run of seconds; `times` as in `Experiment`. The function gets the output folder and its
    settings by keyword.
    """

    def register(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        EXPERIMENTS[name] = Experiment(name, function, split, minutes, tiny, times)
        return function

    return register


def run(name: str, *, tiny: bool = False, output: Path | None = None) -> Record:
    """Run an experiment on one thread and write its record to `output / "results" / NAME.json`.

    Parameters
    ----------
    name : one of `EXPERIMENTS`
    tiny : a run of seconds on few offline digits, to see that the command works
    output : a folder; `data/` by default, for a tiny run a folder of the cache

    Raises ValueError if the name is unknown or the result does not fit the schema of `Record`.

    >>> run("conv-scheme")
    Traceback (most recent call last):
    ValueError: name must be one of ... names, got 'conv-scheme'; did you mean 'conv-schemes'?
    """
    chosen = EXPERIMENTS[checks.choice(name, "name", EXPERIMENTS)]
    output = output or (paths.CACHE / "tiny" if tiny else paths.DATA)
    settings = chosen.settings(tiny)
    start, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would change the last digits of a record
    try:
        result = chosen.function(output, **settings)
    finally:
        torch.set_num_threads(threads)
    made = _record(chosen, tiny, settings, time.perf_counter() - start, result)
    _write(output / "results" / f"{name}.json", made)
    return made


def retime(name: str, *, data: Path | None = None) -> Record:
    """Measure the time ratios of a record again, without any training, and write it with all else as it was.

    Parameters
    ----------
    name : an experiment that has `times`
    data : the folder that holds `results / NAME.json`; `data/` by default

    Raises ValueError if the name is unknown or the experiment has no times of its own, FileNotFoundError if there is
    no record.

    >>> retime("train-lenet")
    Traceback (most recent call last):
    ValueError: name must be an experiment whose times can be measured alone, got 'train-lenet'
    """
    times = EXPERIMENTS[checks.choice(name, "name", EXPERIMENTS)].times
    if times is None:
        raise ValueError(f"name must be an experiment whose times can be measured alone, got {name!r}")
    data = data or paths.DATA
    made = record(name, data=data)
    rows, summary = copy.deepcopy((made.rows, made.summary))
    for labels, measured in times(made):
        found = [summary["shipped"][labels]] if isinstance(labels, str) else rows
        for row in found:
            row |= measured if isinstance(labels, str) or labels.items() <= row.items() else {}
    made = replace(made, rows=rows, summary=summary, times_date=_today())
    _write(data / "results" / f"{name}.json", made)
    return made


def record(name: str, *, data: Path | None = None) -> Record:
    """Return the record of the experiment `name` from `data/results`, or from another folder for `data`.

    Raises ValueError if the name is unknown or the file is damaged, FileNotFoundError if it was never run.

    >>> record("train-lenet").name
    'train-lenet'
    """
    path = (data or paths.DATA) / "results" / f"{checks.choice(name, 'name', EXPERIMENTS)}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; make it with {_command(name, tiny=False)}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Record(**{f.name: content[f.name] for f in fields(Record) if f.name in content})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a whole record: {error!r}") from error


def header(name: str, made: dict[str, Any]) -> dict[str, Any]:
    """Return the header of a checkpoint that the experiment `name` made: `made`, and how it came about.

    >>> header("low-bit", {"seed": 0})["command"]
    'python -m labkit.experiments low-bit'
    """
    origin = {"split": EXPERIMENTS[name].split, "command": _command(name, tiny=False)}
    return made | origin | {"torch": torch.__version__, "date": _today()}


def _record(chosen: Experiment, tiny: bool, settings: dict, duration: float, result: dict) -> Record:
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return Record(
        name=chosen.name,
        command=_command(chosen.name, tiny),
        date=_today(),
        duration_s=round(duration, 1),
        threads=1,
        split=chosen.split,
        tiny=tiny,
        settings=json.loads(json.dumps(settings)),
        versions=versions | {"labkit": labkit.__version__, "machine": platform.machine()},
        rows=result["rows"],
        summary=result["summary"],
    )


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _command(name: str, tiny: bool) -> str:
    return f"python -m labkit.experiments {name}{' --tiny' if tiny else ''}"


def _write(path: Path, made: Record) -> None:
    with paths.replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_all_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)
