"""Scoring: runs the instructor's check cells against an oracle and returns receipts. Marks come from here alone."""

import ast
import contextlib
import copy
import hmac
import inspect
import signal
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import FunctionType, SimpleNamespace
from typing import Any

from labkit.grading.errors import LabError, StudentError
from labkit.grading.markers import HIDDEN, announce_hidden, as_released, is_hidden, regions
from labkit.grading.model import Cell, Lab, Receipt
from labkit.grading.oracle import Oracle, execute
from labkit.grading.sheet import hidden, run_question
from labkit.grading.source import written

CHECK_SECONDS = 30.0  # processor time of the checks of a question, the student's process not counted


class Grader:
    """The instructor's side of one submission: the set-up, the reference answers and the checks.

    `seed` decides the random inputs of every check: a secret of the course mixed with the submission, see `seed_for`.
    `exposed` tells whether the student's process has seen inputs of hidden checks.
    """

    def __init__(self, lab: Lab, oracle: Oracle, *, seed: bytes) -> None:
        self.lab, self.oracle, self.seed, self.exposed = lab, oracle, seed, False
        self.names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__, "display": print}
        self._ahead = [cell for cell in lab.cells if cell.role in ("setup", "solution", "check")]

    def check(self, question: str) -> list[Receipt]:
        """Run the check cells of a question against the oracle as it is now."""
        cells = self.lab.cells_for("check", question)
        self._prepare(cells[-1])
        self.oracle.allot(question)
        functions = self._functions(question, cells)
        reference = SimpleNamespace(**self.names)
        with processor_limit(CHECK_SECONDS):
            receipts, error = run_question(
                functions, question, seed=self.seed, reference=reference, private=self.exposed
            )
        self.exposed |= any(region.kind == HIDDEN for cell in cells for region in regions(cell.source))
        return [*receipts, Receipt(question, "the checks ran to the end", 0, False, error, True)] if error else receipts

    def check_alone(self, question: str, cells: Iterable[Cell], *, anyway: bool = False) -> list[Receipt]:
        """Run a check where only the cells that the question's answers need have run.

        Return nothing if there is no answer or, unless it is wanted anyway, no other cell that could have broken it.
        """
        cells = list(cells)
        answers = self.lab.question(question).answers
        others = [cell for cell in cells if (cell.role, cell.question) != ("solution", question)]
        setup = [(cell.id, cell.source) for cell in self.lab.cells if cell.role == "setup"]
        if not answered(cells, answers) or not (anyway or altered(self.lab, others)):
            return []
        self.oracle.allot(question)
        with self.oracle.alone(answers, setup) as oracle:
            grader = copy.copy(self)
            grader.oracle, grader.exposed = oracle, False
            return grader.check(question)

    def _prepare(self, check: Cell) -> None:
        """Run the instructor's own set-up and solution cells down to a check cell, once each."""
        while check in self._ahead:
            cell = self._ahead.pop(0)
            if cell.role != "check":
                execute(cell.source, f"<instructor {cell.id}>", self.names)

    def _functions(self, question: str, cells: Iterable[Cell]) -> list[Callable]:
        """Run check cells and return their functions; they see the student's answers in the places of ours."""
        answers = {name: self._answer(name) for name in self.lab.question(question).answers}
        names = self.names | answers | {"probe": self._probe}
        functions: list[Callable] = []
        for cell in cells:
            found: list[Callable] = []
            names["question"] = lambda _, found=found: found.append
            execute(announce_hidden(cell.source), f"<check {cell.id}>", names)
            functions += [hidden(function) if is_hidden(cell) else function for function in found]
        return functions

    def _answer(self, name: str) -> Any:
        """Return a stand-in for a function of the student's, or the value itself if the reference is a value."""
        if callable(self.names[name]):
            return lambda *args, **kwargs: self.oracle.call(name, args, kwargs)
        try:
            return self.oracle.value(name)
        except StudentError:
            return None

    def _probe(self, function: FunctionType) -> Callable:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        tree.body[0].decorator_list = []  # type: ignore[attr-defined]
        source = ast.unparse(tree)
        return lambda *args, **kwargs: self.oracle.probe(source, function.__name__, args, kwargs)


class Scoring:
    """Scores one submission step by step and keeps the best receipts of each question.

    The message of a visible check comes from a run before which the student's process had seen no hidden check, if
    there was one: `told` holds those messages, by question and check.
    """

    def __init__(self, lab: Lab, oracle: Oracle, *, seed: bytes) -> None:
        self.lab, self.oracle = lab, oracle
        self.grader = Grader(lab, oracle, seed=seed)
        self.cells: list[Cell] = []
        self.receipts: dict[str, list[Receipt]] = {}
        self.told: dict[tuple[str, str], Receipt] = {}

    def step(self, cell: Cell) -> None:
        """Run a cell of the student's, or a check at its place: a cell with that role and a question."""
        if cell.role == "check" and cell.question:
            self._keep(cell.question, self.grader.check(cell.question))
        elif cell.kind == "code":
            self.cells.append(cell)
            self.oracle.allot("")
            self.oracle.run(cell.id, cell.source)

    def again(self, question: str) -> None:
        """Check once more if points are missing: after the last cell, and then where other cells cannot disturb."""
        if self._is_open(question):
            self._keep(question, self.grader.check(question))
        if self._is_open(question):
            untold = any(receipt.private and not receipt.hidden for receipt in self._failed(question))
            self._keep(question, self.grader.check_alone(question, self.cells, anyway=untold))

    def _is_open(self, question: str) -> bool:
        return earned(self.receipts.get(question, [])) < self.lab.question(question).points

    def _failed(self, question: str) -> list[Receipt]:
        return [receipt for receipt in self.receipts.get(question, []) if not receipt.passed]

    def _keep(self, question: str, receipts: list[Receipt]) -> None:
        for receipt in receipts:
            if not (receipt.hidden or receipt.private or receipt.passed):
                self.told[question, receipt.check] = receipt
        best = max(self.receipts.get(question, []), receipts, key=lambda r: (earned(r), len(r)))
        self.receipts[question] = [self._tellable(receipt) for receipt in best]

    def _tellable(self, receipt: Receipt) -> Receipt:
        """Return a receipt with a message that the student may see, if there is one."""
        if not receipt.private or receipt.passed or receipt.hidden:
            return receipt
        answers = self.lab.question(receipt.question).answers
        if told := self.told.get((receipt.question, receipt.check)):
            return replace(receipt, message=told.message, private=False)
        if not answered(self.cells, answers):
            return replace(receipt, message=f"no cell that can be read defines {' or '.join(answers)}", private=False)
        return receipt


def score(lab: Lab, cells: Iterable[Cell], oracle: Oracle, *, seed: bytes) -> dict[str, list[Receipt]]:
    """Run a submission's cells in order and return the receipts of every automatic question.

    A check runs where its cell stands; if points are missing it runs again after the last cell, and then where only
    the cells that its answers need have run, because other cells may have broken something. The best result counts.
    """
    scoring = Scoring(lab, oracle, seed=seed)
    for cell in cells:
        scoring.step(cell)
    for question in lab.automatic:
        scoring.again(question.name)
    return scoring.receipts


@contextlib.contextmanager
def processor_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when it has used so much processor time, and every second from then on.

    It bounds what a check makes of a huge result; signals reach the main thread only, so it does nothing elsewhere.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"the check took more than {seconds:g} seconds of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def answered(cells: Iterable[Cell], names: Iterable[str]) -> bool:
    """Tell whether an answer cell gives any of these names more than the release did."""
    names = list(names)
    return any(cell.role == "solution" and written(cell.source, names) for cell in cells)


def altered(lab: Lab, cells: Iterable[Cell]) -> bool:
    """Tell whether cells hold code that does not stand in the release."""
    released = {as_released(cell).source for cell in lab.cells}
    return any(cell.kind == "code" and cell.role != "check" and cell.source not in released for cell in cells)


def earned(receipts: Iterable[Receipt]) -> float:
    """Return the points that receipts are worth."""
    return sum(receipt.earned for receipt in receipts)


def seed_for(course_key: bytes, submission: bytes) -> bytes:
    """Return the secret seed of one submission: HMAC-SHA256 of its content under the key of the course.

    >>> len(seed_for(b"the key of the course", b"a notebook"))
    32
    """
    if not course_key:
        raise LabError("the course key must not be empty: anyone could compute the inputs of the hidden checks")
    return hmac.digest(course_key, submission, "sha256")
