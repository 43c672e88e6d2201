"""nbval as the engine: one pytest run executes a batch of grading notebooks, each in a trusted kernel of its own.

A grading notebook is made from the lab's questions alone; no text of a student's is in it. The run has a private
folder and a private configuration, and inherits none of the caller's environment but the way to the interpreter.
"""

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.grading import isolation
from labkit.grading.errors import LabError
from labkit.grading.job import Job, write_job
from labkit.grading.notebook import write_json
from labkit.grading.scratch import Scratch

START = 120.0  # seconds until the first cell of a batch must have run
SLACK = 60.0  # seconds that a trusted kernel may need beyond what the student's process may
PLUGINS = ("nbval.plugin", "labkit.nbval_plugin", "labkit.grading.receipts")
INHERITED = ("TMPDIR", "LD_LIBRARY_PATH", "TZ")


@dataclass
class Outcome:
    """What the engine found out about one job: what its cells published, and why any of them failed."""

    published: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def get(self, key: str) -> list[dict[str, Any]]:
        """Return the messages that hold a key."""
        return [message for message in self.published if key in message]


class Batch:
    """One pytest run over some jobs; iterate over it for (number of the job, outcome) as they are done."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.scratch = Scratch()
        self.folder = self.scratch.path
        self.sizes = [write_notebook(self.folder, i, job) for i, job in enumerate(jobs)]
        reader, writer = os.pipe()
        self.reader = open(reader, "rb", buffering=0)  # noqa: SIM115  closed in `close`
        with open(self.folder / "log.txt", "wb") as log:
            self.popen = subprocess.Popen(
                command(self.folder, len(jobs), longest_cell(jobs), writer),
                cwd=self.folder,
                env=environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writer],
                start_new_session=True,
            )
        os.close(writer)

    def __iter__(self) -> Iterator[tuple[int, Outcome]]:
        outcomes = [Outcome() for _ in self.jobs]
        left, since = set(range(len(self.jobs))), time.monotonic()
        for line in self.lines():
            i = int(line["notebook"])
            outcomes[i].published += line["published"]
            outcomes[i].problems += [line["problem"]] if line["problem"] else []
            if line["cell"] == self.sizes[i] - 1 and i in left:
                now = time.monotonic()
                outcomes[i].seconds, since = now - since, now
                left.remove(i)
                yield i, outcomes[i]
        for i in sorted(left):
            outcomes[i].problems.append(f"the engine stopped: {self.last_words()}")
            yield i, outcomes[i]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the reports of cells until the run ends, or hangs for longer than any cell may take."""
        rest, patience = b"", START + longest_cell(self.jobs)
        while select.select([self.reader], [], [], patience)[0] and (data := self.reader.read(1 << 16)):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def last_words(self) -> str:
        """Return the end of what pytest printed."""
        with contextlib.suppress(OSError):
            return (self.folder / "log.txt").read_text("utf-8", "replace")[-500:]
        return ""

    def close(self) -> None:
        """End the run with everything that it started, and remove its folder."""
        if self.popen.poll() is None:
            kill_tree(self.popen.pid)
        self.popen.wait()
        self.reader.close()
        self.scratch.remove()


def require_nbval() -> None:
    """Raise LabError if nbval, the engine, is not installed."""
    if importlib.util.find_spec("nbval") is None:
        raise LabError("grading needs nbval: pip install 'compression-labkit[grading]'")


def run_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Return the outcomes of some jobs, in their order; those that the engine failed to finish get a second chance."""
    outcomes = _run(jobs)
    again = [i for i, outcome in enumerate(outcomes) if not outcome.get("notes")]
    for i in again if len(jobs) > 1 else ():
        outcomes[i] = _run([jobs[i]])[0]
    return outcomes


def _run(jobs: Sequence[Job]) -> list[Outcome]:
    with contextlib.closing(Batch(jobs)) as batch:
        return [outcome for _, outcome in sorted(batch, key=lambda pair: pair[0])]


def write_notebook(folder: Path, number: int, job: Job) -> int:
    """Write a job and its grading notebook; return how many cells that has."""
    write_job(folder / f"{number}.json", job)
    sources = grading_cells(job, f"{number}.json")
    rest: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{"id": f"c{i}", "source": source} | rest for i, source in enumerate(sources)]
    write_json(folder / f"{number}.ipynb", {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    return len(cells)


def grading_cells(job: Job, file: str) -> list[str]:
    """Return the cells of a grading notebook: run the student's cells up to a check, check, and so on."""
    sources = [f"from labkit.grading.session import Session\n\nsession = Session({file!r})"]
    first = 0
    for i, cell in enumerate(job.cells):
        if cell.role == "check":
            sources += [f"session.run({first}, {i - 1})"] if i > first else []
            sources.append(f"session.check({i})  # {cell.question}")
            first = i + 1
    sources += [f"session.run({first}, {len(job.cells) - 1})"] if first < len(job.cells) else []
    sources += [f"session.again({question.name!r})" for question in job.lab.automatic]
    return [*sources, "session.close()"]


def longest_cell(jobs: Sequence[Job]) -> float:
    """Return the seconds that a cell of a grading notebook may take."""
    return max(job.times.cells + job.times.question + job.times.start for job in jobs) + SLACK


def command(folder: Path, n: int, seconds: float, descriptor: int) -> list[str]:
    """Return the command that runs the notebooks 0.ipynb to n - 1.ipynb of a folder."""
    plugins = [word for name in PLUGINS for word in ("-p", name)]
    options = ["--noconftest", "--rootdir", str(folder), "-c", os.devnull, "-p", "no:cacheprovider", "-q", "--tb=line"]
    nbval = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={seconds:g}"]
    files = [f"{i}.ipynb" for i in range(n)]
    ours = [f"--labkit-report={descriptor}", f"--labkit-parent={os.getpid()}"]
    return [sys.executable, "-m", "pytest", *plugins, *options, *nbval, *ours, *files]


def environment(folder: Path) -> dict[str, str]:
    """Return the whole environment of a grading run."""
    private = {name: str(folder / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    private |= {"HOME": str(folder), "JUPYTER_DATA_DIR": str(folder / "jupyter"), "JUPYTER_PREFER_ENV_PATH": "1"}
    python = {"PYTHONPATH": str(isolation.PACKAGE.parent), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    python |= {"PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    python |= {"PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg", "LABKIT_DATA": str(paths.DATA)}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | private | python | dict.fromkeys(threads, "1") | {"PATH": isolation.PATH, "LANG": "C.UTF-8"}


def kill_tree(pid: int) -> None:
    """Kill a process, all below it, and what students' processes of its kernels left under users of their own."""
    found = set(isolation.descendants(pid))
    users = {isolation.FIRST_UID + one % 60_000 * isolation.SLOTS for one in found}
    found |= {one for one in isolation.all_processes() if _slot(one) in users}
    for one in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def _slot(pid: int) -> int | None:
    """Return the first user id of the range that a process's user belongs to, or None for the machine's own users."""
    uid = isolation.owner_of(pid)
    return None if uid is None or uid < isolation.FIRST_UID else uid - (uid - isolation.FIRST_UID) % isolation.SLOTS
