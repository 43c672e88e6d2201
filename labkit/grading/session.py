"""What the cells of a grading notebook call, in a trusted kernel: score one submission and publish receipts."""

import atexit
import importlib
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from IPython.display import display

from labkit.grading.job import preload, read_job
from labkit.grading.proxy import CellReport
from labkit.grading.trusted import Scoring

MIME = "application/vnd.labkit.grading+json"
MEMORY = 4 << 30  # bytes: what a student returns may not make a check eat the machine's memory
NOISY = 1_000_000  # characters printed by one cell


class Session:
    """The scoring of one submission, step by step.

    What a step finds is published as an output of its cell; the engine takes it only if nbval passes the cell.
    """

    def __init__(self, path: str | Path) -> None:
        job = read_job(Path(path))
        limit_memory(MEMORY, beyond=preload(job.lab))
        self.cells, self.oracle = job.cells, job.oracle()
        atexit.register(self.oracle.close)
        self.scoring = Scoring(job.lab, self.oracle, seed=job.seed)

    def run(self, first: int, last: int) -> None:
        """Run the cells of the student's with these numbers, both included."""
        for cell in self.cells[first : last + 1]:
            self.scoring.step(cell)

    def check(self, number: int) -> None:
        """Run the check that has this number."""
        cell = self.cells[number]
        self.scoring.step(cell)
        self.publish_receipts(str(cell.question))

    def again(self, question: str) -> None:
        """Check a question once more where that can help."""
        self.scoring.again(question)
        self.publish_receipts(question)

    def close(self) -> None:
        """End the student's process and publish what a person should know about it."""
        oracle = self.oracle
        oracle.close()
        notes = [note for report in oracle.reports.values() if (note := describe(report))]
        late = [account for account in oracle.used if oracle.used[account] >= oracle.most(account)]
        publish({"notes": notes, "restarts": oracle.restarts, "clean": oracle.clean, "out_of_time": late})

    def publish_receipts(self, question: str) -> None:
        """Publish the best receipts of a question so far."""
        receipts = [receipt.as_dict() for receipt in self.scoring.receipts.get(question, [])]
        publish({"question": question, "receipts": receipts})


def describe(report: CellReport) -> dict[str, Any]:
    """Return what is remarkable about how a cell ended; nothing if it ended well."""
    kinds = {"killed": report.killed, "slow-cell": report.timed_out, "raised": bool(report.error)}
    kind = next((kind for kind, holds in kinds.items() if holds), "")
    noisy = "flood" if report.printed > NOISY else ""
    return {"id": report.id, "kind": kind or noisy, "error": report.error} if kind or noisy else {}


def publish(message: dict[str, Any]) -> None:
    """Send a message to the engine, beside the cell's ordinary outputs."""
    display({MIME: message}, raw=True)


def limit_memory(most: int, *, beyond: Iterable[str] = ()) -> None:
    """Limit the address space of this process to so many bytes beyond what it has with these packages.

    Some builds of torch map more than ten gigabytes and use little of it. A limit that is lower already stays.
    """
    for name in beyond:
        importlib.import_module(name)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most += pages * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
