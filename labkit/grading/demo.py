"""A made-up class for trying the grader: its submissions, roster and late policy, and what each submission earns."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from labkit import checks, paths
from labkit.grading.errors import LabError
from labkit.grading.lab import read_lab
from labkit.grading.model import Lab
from labkit.grading.notebook import write_json
from labkit.grading.specimens import Work, open_desk, specimen

DEADLINE = datetime(2026, 11, 20, 23, 59)
SUBMISSIONS, ROSTER, POLICY, EXPECTED, README = (
    "submissions.zip", "roster.csv", "policy.toml", "expected.json", "README.md",
)  # fmt: skip
FIRST = (
    "Ada",
    "Bilal",
    "Chiara",
    "Dmitri",
    "Elif",
    "Farid",
    "Grace",
    "Hana",
    "Ivo",
    "Kofi",
    "Lucía",
    "Mei",
    "Noor",
    "Olga",
)
LAST = ("Adeyemi", "Bauer", "Chen", "Dubois", "Fontana", "García", "Haddad", "Ito", "Jansen", "Müller", "Nguyen", "Qi")


@dataclass(frozen=True)
class Demo:
    """The folder of a made-up class, and what stands in it, by the names of the submitted files."""

    folder: Path
    works: dict[str, Work]

    @property
    def submissions(self) -> Path:
        """The archive, as Canvas exports it."""
        return self.folder / SUBMISSIONS


def demo_class(lab_dir: str | Path, out: str | Path, *, students: int = 40, random_state: Any = 0) -> Demo:
    """Write a made-up class for a lab into the new folder `out`, and return what is in it.

    It holds submissions.zip as Canvas exports it, roster.csv, policy.toml, expected.json with the least and the most
    points of every question, and a README that says what each submission is. The first students show one kind of
    work each; those beyond the list mix the sample answers of the lab.

    students : how many, 1 to 2,000; random_state : an int, a Generator or None
    Raises LabError for a lab that cannot be read or a folder that holds something already.
    """
    students = checks.integer(students, "students", low=1, high=2000)
    lab, out = read_lab(lab_dir), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LabError(f"{out} is there already; name a new folder")
    rng = checks.generator(random_state)
    desk = open_desk(lab, rng)
    people = _people(students, rng)
    made = [(person, specimen(desk, i)) for i, person in enumerate(people)]
    works = {_file_name(person, work): (person, work) for person, work in made}
    _write(out, lab, works)
    return Demo(out, {file: work for file, (_, work) in works.items()})


def _people(n: int, rng: np.random.Generator) -> list[tuple[int, str, str]]:
    """Return n students: a number, a first and a last name; beyond the combinations, names get a number."""
    names = [(first, last) for first in FIRST for last in LAST]
    order = rng.permutation(len(names))
    chosen = [names[order[i % len(names)]] for i in range(n)]
    return [
        (1001 + i, f, last + (f" {i // len(names)}" if i >= len(names) else "")) for i, (f, last) in enumerate(chosen)
    ]


def _file_name(person: tuple[int, str, str], work: Work) -> str:
    """Return the name that Canvas gives a file."""
    number, first, last = person
    plain = re.sub(r"[\W_]", "", (work.name or f"{last}{first}")).lower()
    return f"{plain}_{'LATE_' if work.hours_late else ''}{number}_{number + 80_000}_{work.file}"


def _name(person: tuple[int, str, str], work: Work) -> str:
    return work.name or f"{person[1]} {person[2]}"


def _write(out: Path, lab: Lab, works: dict[str, tuple[tuple[int, str, str], Work]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with paths.replacing(out / SUBMISSIONS) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for i, (file, (_, work)) in enumerate(works.items()):
            when = DEADLINE + timedelta(hours=work.hours_late) - timedelta(minutes=10 + 7 * i % 3000)
            archive.writestr(zipfile.ZipInfo(file, when.timetuple()[:6]), work.content, zipfile.ZIP_DEFLATED)
    rows: list[list[Any]] = [["id", "name", "email"]]
    rows += [[p[0], _name(p, work), f"student{p[0]}@example.org"] for p, work in works.values()]
    # Not guarded against formulas: this is what a careless export looks like.
    _write_text(out / ROSTER, "".join(_csv_line(row) for row in rows))
    _write_text(out / POLICY, _policy(works))
    expected = {file: {"kind": w.kind, "scores": w.expected} for file, (_, w) in works.items()}
    write_json(out / EXPECTED, expected)
    _write_text(out / README, _readme(lab, out.name, works))


def _csv_line(row: Sequence[Any]) -> str:
    return ",".join('"{}"'.format(str(value).replace('"', '""')) for value in row) + "\n"


def _policy(works: dict[str, tuple[tuple[int, str, str], Work]]) -> str:
    excused = [person[0] for person, work in works.values() if work.kind == "late with reason"]
    lines = [f"deadline = {DEADLINE.isoformat()}", 'timezone = "UTC"', "grace_minutes = 15", 'per = "day"']
    lines += ["deduction = 10  # per cent of the lab's points, for each day begun", 'unit = "percent"', "cap = 50"]
    return "\n".join(lines + [f"\n[exceptions.{number}]\nwaived = true" for number in excused]) + "\n"


def _readme(lab: Lab, folder: str, works: dict[str, tuple[tuple[int, str, str], Work]]) -> str:
    rows = [f"| {p[0]} | `{_name(p, work)}` | {work.kind} | {work.about} |" for p, work in works.values()]
    return f"""# A made-up class for {lab.title}

Nobody in it exists. Some of its submissions attack the grader: do not run them outside it.

    python -m labkit grade labs/{lab.name} {folder}/{SUBMISSIONS} --out {folder}/results \\
        --roster {folder}/{ROSTER} --late {folder}/{POLICY}

| file | what it is |
|---|---|
| `{SUBMISSIONS}` | the submissions, as Canvas exports them |
| `{ROSTER}` | the class list |
| `{POLICY}` | what late work costs |
| `{EXPECTED}` | the least and the most points that each question of each submission may earn |

| id | name | kind | what it is |
|---|---|---|---|
{chr(10).join(rows)}
"""


def _write_text(path: Path, content: str) -> None:
    with paths.replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
