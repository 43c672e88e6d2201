"""What the engine hands to the trusted kernel for one submission: everything it needs, as plain JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labkit.grading.isolation import RUNGS, Resources, Rung, Sandbox
from labkit.grading.model import Cell, Lab, Question
from labkit.grading.proxy import SandboxedOracle, Times


@dataclass(frozen=True)
class Job:
    """One submission to score.

    lab : the instructor's side, samples left out; cells : what `match` made of the student's notebook
    seed : decides the inputs of the checks, secret; luck : the seed of the student's own random numbers, known
    rung : the name of the isolation
    """

    lab: Lab
    cells: tuple[Cell, ...]
    seed: bytes
    luck: int
    rung: str
    times: Times = Times()  # noqa: RUF009  frozen, so it can be shared
    resources: Resources = Resources()  # noqa: RUF009

    def oracle(self) -> SandboxedOracle:
        """Return the sandbox in which the student's cells run; its process starts in the background."""
        sandbox = Sandbox(rung_called(self.rung), self.resources)
        return SandboxedOracle(sandbox, times=self.times, seed=self.luck, preload=preload(self.lab)).warm()


def preload(lab: Lab) -> tuple[str, ...]:
    """Return what a student's process imports before anything of the student's runs: NumPy, and torch if needed."""
    setup = "\n".join(cell.source for cell in lab.cells if cell.role == "setup")
    return ("numpy", "torch") if "torch" in setup else ("numpy",)


def rung_called(name: str) -> Rung:
    """Return the step of the isolation ladder with a name."""
    return next(rung for rung in RUNGS if rung.name == name)


def write_job(path: Path, job: Job) -> None:
    """Write a job for `read_job`."""
    raw = asdict(job) | {"seed": job.seed.hex()}
    raw["lab"] |= {"folder": str(job.lab.folder), "samples": []}  # the kernel has no use for the samples
    path.write_text(json.dumps(raw), encoding="utf-8")


def read_job(path: Path) -> Job:
    """Return the job in a file."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lab = raw["lab"] | {"folder": Path(raw["lab"]["folder"]), "samples": ()}
    lab |= {"cells": _cells(lab["cells"]), "questions": tuple(_question(q) for q in lab["questions"])}
    new = {"lab": Lab(**lab), "cells": _cells(raw["cells"]), "seed": bytes.fromhex(raw["seed"])}
    return Job(**raw | new | {"times": Times(**raw["times"]), "resources": Resources(**raw["resources"])})


def _cells(raw: list[dict[str, Any]]) -> tuple[Cell, ...]:
    return tuple(Cell(**cell) for cell in raw)


def _question(raw: dict[str, Any]) -> Question:
    return Question(**raw | {"answers": tuple(raw["answers"])})
