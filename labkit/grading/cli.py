"""The commands of the grader for `python -m labkit`."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from labkit.grading.batch import grade
from labkit.grading.demo import README, demo_class
from labkit.grading.gate import Row
from labkit.grading.likeness import similar, write_similar
from labkit.grading.model import Lab
from labkit.grading.release import assign
from labkit.grading.visible import check_notebook

Command = Callable[[argparse.Namespace], int]


def add_parsers(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to a parser; each sets `run`, a function from the arguments to an exit status."""
    parser = subparsers.add_parser("assign", help="make a lab's release notebook, if its gate holds")
    parser.add_argument("lab", help="a lab's folder, such as labs/05-svd")
    parser.add_argument("--no-gate", action="store_true", help="write the files without scoring the samples")
    parser.add_argument("--workers", type=int, default=2, help="processes for the gate (default: 2)")
    parser.set_defaults(run=_plainly(_assign))
    parser = subparsers.add_parser("check", help="run the visible checks of your notebook; hidden ones run at grading")
    parser.add_argument("notebook", help="a released notebook, such as labs/05-svd/release.ipynb")
    parser.set_defaults(run=_plainly(_check))
    _add_grade(subparsers.add_parser("grade", help="grade a class: results, gradebook, feedback and a review page"))
    parser = subparsers.add_parser("similar", help="list the pairs of students whose code has the same structure")
    parser.add_argument("results", help="the folder that `grade` wrote")
    parser.add_argument("--release", help="the released notebook (default: release.ipynb in the results)")
    parser.add_argument("--threshold", type=float, default=0.3, help="the least likeness, 0 to 1 (default: 0.3)")
    parser.set_defaults(run=_plainly(_similar))
    parser = subparsers.add_parser("demo-class", help="make up a class of submissions for trying the grader")
    parser.add_argument("lab", help="a lab's folder, such as labs/05-svd")
    parser.add_argument("--students", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--out", default="demo-class", help="the new folder (default: demo-class)")
    parser.add_argument("--random-state", type=int, default=0, help="another number, another class (default: 0)")
    parser.set_defaults(run=_plainly(_demo_class))


def _add_grade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lab", help="a lab's folder, such as labs/05-svd")
    parser.add_argument("submissions", help="a file, a folder or a zip archive as Canvas and Moodle export them")
    parser.add_argument("--out", required=True, help="the folder for the results; an interrupted run goes on in it")
    parser.add_argument("--workers", default="1", help="how many at the same time, or dask://HOST:PORT (default: 1)")
    parser.add_argument("--roster", help="the class list, a CSV file")
    parser.add_argument("--late", help="what late work costs, a TOML file")
    parser.add_argument("--format", choices=("canvas", "moodle"), help="write one more gradebook, in this format")
    parser.add_argument("--template", help="the gradebook that Canvas or Moodle exported, to be filled in")
    parser.add_argument("--trust-students", action="store_true", help="grade although the isolation here is weak")
    parser.set_defaults(run=_plainly(_grade))


def _plainly(command: Command) -> Command:
    """Turn the errors raised on purpose, bad options among them, into one message and exit status 2."""

    @wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except ValueError as error:  # LabError is one
            print(error, file=sys.stderr)
            return 2

    return run


def _assign(arguments: argparse.Namespace) -> int:
    made = assign(arguments.lab, gate=not arguments.no_gate, workers=arguments.workers)
    if made.gate:
        print(gate_table(made.lab, made.gate))
    print(f"{made.lab.title}: wrote {made.release} and {made.assignment}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    result = check_notebook(arguments.notebook)
    print(result.text, end="")
    for cell in result.raised:
        print(f"This cell raised an error: {cell}")
    print(f"\nVisible checks only: {result.n_passed} pass, {result.n_failed} fail, {result.n_open} questions open.")
    print("The marks come from further, hidden checks that run at grading.")
    return 0 if result.passed else 1


def _grade(arguments: argparse.Namespace) -> int:
    words = vars(arguments)
    options = {name: words[name] for name in ("out", "roster", "late", "format", "template", "trust_students")}
    workers = int(arguments.workers) if arguments.workers.isdecimal() else arguments.workers
    try:
        with _ending_in_order():
            print(grade(arguments.lab, arguments.submissions, workers=workers, **options))
    except KeyboardInterrupt:
        where = f"What is done is in {arguments.out}; the same command goes on from there."
        print(f"\nInterrupted. {where}", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Treat the wish of the system, or of a closed terminal, that this process ends like Control-C."""
    wishes = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(wish, signal.default_int_handler) for wish in wishes]
    try:
        yield
    finally:
        for wish, handler in zip(wishes, before, strict=True):
            signal.signal(wish, handler)


def _similar(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.results)
    pairs = similar(folder, release=arguments.release, threshold=arguments.threshold)
    path = write_similar(folder, pairs, title=folder.name)
    print(f"{len(pairs)} pairs are alike by {arguments.threshold:.0%} or more. This is not a proof: see {path}")
    return 0


def _demo_class(arguments: argparse.Namespace) -> int:
    options = {"students": arguments.students, "random_state": arguments.random_state}
    demo = demo_class(arguments.lab, arguments.out, **options)
    print(f"{len(demo.works)} submissions of made-up students: see {demo.folder / README}")
    return 0


def gate_table(lab: Lab, rows: Sequence[Row]) -> str:
    """Return the scores of the gate as text, one line for each variant."""
    names = [question.name for question in lab.automatic]
    width, narrow = max(len(row.title) for row in rows), max([6, *map(len, names)])
    lines = [" ".join(["gate".ljust(width), *(name.rjust(narrow) for name in names)])]
    for row in rows:
        lines.append(" ".join([row.title.ljust(width), *(f"{row.scores.get(name, 0):{narrow}g}" for name in names)]))
    return "\n".join([*lines, f"{'full marks':{width}} " + " ".join(f"{q.points:{narrow}g}" for q in lab.automatic)])
