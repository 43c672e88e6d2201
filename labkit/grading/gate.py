"""The gate: before a lab is released, its checks must judge the instructor's own samples as the instructor does."""

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tqdm import tqdm

from labkit import checks
from labkit.grading.errors import GateError
from labkit.grading.job import preload
from labkit.grading.model import Cell, Lab, Receipt
from labkit.grading.oracle import LocalOracle, Oracle
from labkit.grading.proxy import SandboxedOracle
from labkit.grading.trusted import earned, score

SEEDS = (b"gate-1", b"gate-2")  # a check that passes for one draw of its inputs must pass for another


@dataclass(frozen=True)
class Variant:
    """A notebook to score, and whether each automatic question must come out full (True), not full (False) or 0."""

    title: str
    cells: tuple[Cell, ...]
    expected: dict[str, bool | int]


@dataclass(frozen=True)
class Row:
    """What one variant scored; `problems` is empty if that is what the instructor expects."""

    title: str
    scores: dict[str, float]
    problems: tuple[str, ...] = ()
    receipts: dict[str, list[Receipt]] = field(default_factory=dict)


def run_gate(lab: Lab, release: Sequence[Cell], *, workers: int = 2) -> list[Row]:
    """Score the instructor's cells, the released cells and every sample, each with two draws of the random inputs.

    Expected: the instructor 100 %, the release 0 %, a wrong answer loses points on its own question only,
    an alternative loses none. The rows hold the scores of the first draw and the problems of both.
    """
    workers = checks.integer(workers, "workers", low=1)
    tasks = [(lab, variant) for variant in variants(lab, release)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "labkit.grading.gate"])
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(tqdm(pool.map(_row, tasks), total=len(tasks), desc=f"gate of {lab.name}", leave=False))


def variants(lab: Lab, release: Sequence[Cell]) -> Iterator[Variant]:
    """Yield every notebook that the gate scores; a sample runs without the cells that have no role, its figures."""
    names = [question.name for question in lab.automatic]
    yield Variant("instructor", lab.cells, dict.fromkeys(names, True))
    yield Variant("release", tuple(release), dict.fromkeys(names, 0))
    for sample in lab.samples:
        solution = lab.cell("solution", sample.question)
        kept = [cell for cell in lab.cells if cell.role is not None]
        cells = tuple(cell.with_source(sample.source) if cell is solution else cell for cell in kept)
        yield Variant(str(sample), cells, {name: sample.right or name != sample.question for name in names})


def refuse_failures(lab: Lab, rows: Sequence[Row]) -> None:
    """Raise GateError with every problem, if there is one."""
    problems = [f"  {row.title}: {problem}" for row in rows for problem in row.problems]
    if problems:
        raise GateError("\n".join([f"{lab.name}: the checks do not judge the samples as listed:", *problems]))


def oracle_for(lab: Lab) -> AbstractContextManager[Oracle]:
    """Return what runs a sample: a sandbox with time limits as at grading, or this process where there is none."""
    if sys.platform != "linux":
        return contextlib.nullcontext(LocalOracle())
    return SandboxedOracle(preload=preload(lab))


def _row(task: tuple[Lab, Variant]) -> Row:
    lab, variant = task
    try:
        with oracle_for(lab) as oracle:
            receipts = score(lab, variant.cells, oracle, seed=SEEDS[0])
            again = score(lab, (), oracle, seed=SEEDS[1])  # the student's names are there already
    except Exception as error:
        return Row(variant.title, {}, (f"the instructor's cells raised {type(error).__name__}: {error}",))
    scores = {question.name: earned(receipts[question.name]) for question in lab.automatic}
    problems = [*_problems(lab, variant, receipts), *_problems(lab, variant, again)]
    return Row(variant.title, scores, tuple(dict.fromkeys(problems)), receipts)


def _problems(lab: Lab, variant: Variant, receipts: dict[str, list[Receipt]]) -> Iterator[str]:
    for question in lab.automatic:
        name, got, full = question.name, earned(receipts[question.name]), question.points
        offered = sum(receipt.points for receipt in receipts[name])
        expected = variant.expected[name]
        failed = "; ".join(f"{r.check!r}: {r.message}" for r in receipts[name] if not r.passed)
        if expected is True and offered != full:
            yield f"{name}: the checks are worth {offered:g} points, the metadata says {full:g}. {failed}"
        elif expected is True and failed:
            yield f"{name}: {got:g} of {full:g} points, expected all. {failed}"
        elif expected is False and got >= full:
            yield f"{name}: {got:g} of {full:g} points, expected fewer"
        elif expected is not True and expected is not False and got > 0:
            yield f"{name}: {got:g} points, expected 0"
