"""What grading a class costs: the grader with one and two workers against plain nbval on the same notebooks.

    python -m benchmarks.grading [--students 40] [--lab labs/05-svd] [--rounds 1]

takes about five minutes for 40 submissions on a quiet machine with two cores. Plain nbval runs the students' own cells
and their visible checks in one pytest run, as the user who calls it: no hidden checks, no isolation, no marks.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import processor, restart_clean, table

MIXED = 10_000  # the specimens from this number on are sample answers, right and wrong; the first are one of each kind
PYTEST = ("-p", "no:cacheprovider", "--noconftest", "-q", "--tb=no", "--nbval-lax", "--nbval-current-env")
Row = tuple[str, str, str, str, str]


def hand_in(lab_dir: Path, folder: Path, n: int) -> dict[str, Any]:
    """Write n submissions of a lab into a new folder; return what each may earn, by the name of its file."""
    import numpy as np

    from labkit.grading.lab import read_lab
    from labkit.grading.specimens import open_desk, specimen

    desk = open_desk(read_lab(lab_dir), np.random.default_rng(0))
    works = {f"student-{i:03d}.ipynb": specimen(desk, MIXED + i) for i in range(n)}
    folder.mkdir()
    for name, work in works.items():
        (folder / name).write_bytes(work.content)
    return {name: work.expected for name, work in works.items()}


def plain_nbval(submissions: Path) -> None:
    """Run all notebooks of a folder with nbval alone, the students' code in the kernel of the checks."""
    from labkit.grading.engine import environment

    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", *PYTEST, "."]
        done = subprocess.run(command, cwd=submissions, env=environment(Path(home)), capture_output=True, check=False)
    if done.returncode not in (0, 1):  # 1: some students' cells fail, as they should
        raise RuntimeError(done.stdout.decode()[-2000:])


def grade_class(lab_dir: Path, submissions: Path, workers: int, expected: dict[str, Any]) -> None:
    """Grade all notebooks of a folder, and see that each earns what it should."""
    from labkit.grading import grade

    with tempfile.TemporaryDirectory() as out:
        graded = grade(lab_dir, submissions, out=out, workers=workers, progress=False)
    for result in graded.results:
        for question, (low, high) in expected[result.submission].items():
            if not low <= result.scores[question] <= high:
                raise RuntimeError(f"{result.submission}: {question} earns {result.scores[question]}")


def measure(lab_dir: Path, n: int, rounds: int) -> dict[str, float]:
    """Return the median seconds that each way takes for the whole class; the ways take turns."""
    with tempfile.TemporaryDirectory() as folder:
        submissions = Path(folder, "class")
        expected = hand_in(lab_dir, submissions, n)
        ways: dict[str, Callable[[], None]] = {
            "plain nbval": lambda: plain_nbval(submissions),
            "1 worker": lambda: grade_class(lab_dir, submissions, 1, expected),
            "2 workers": lambda: grade_class(lab_dir, submissions, 2, expected),
        }
        seconds = [{name: seconds_of(way) for name, way in ways.items()} for _ in range(rounds)]
    return {name: median(one[name] for one in seconds) for name in ways}


def seconds_of(work: Callable[[], None]) -> float:
    """Return the seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rows(seconds: dict[str, float], n: int) -> Iterator[Row]:
    """Yield the lines of the table.

    >>> [row[4] for row in rows({"plain nbval": 40.0, "1 worker": 80.0, "2 workers": 50.0}, 40)]
    ['1.00x', '2.00x', '1.25x']
    """
    for name, total in seconds.items():
        cost = total / seconds["plain nbval"]
        yield name, f"{total:.1f}", f"{total / n:.2f}", f"{n / total:.2f}", f"{cost:.2f}x"


def main() -> int:
    """Measure, print the table and return the exit status."""
    from labkit.grading import isolation

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=40, help="submissions (default: 40)")
    parser.add_argument("--lab", type=Path, default=Path("labs/05-svd"), help="a lab's folder (default: labs/05-svd)")
    parser.add_argument("--rounds", type=int, default=1, help="the median of so many rounds (default: 1)")
    arguments = parser.parse_args()
    n = arguments.students
    seconds = measure(arguments.lab, n, arguments.rounds)
    print(table(("", "seconds", "per submission", "a second", "cost"), rows(seconds, n)))
    print(f"two workers are {seconds['1 worker'] / seconds['2 workers']:.2f} times faster than one")
    print(f"{n} submissions of {arguments.lab}; isolation: {isolation.probe().name}\n{processor()}")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.grading")
    sys.exit(main())
