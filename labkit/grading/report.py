"""What comes after the marks: a person's points, lateness, and the files for students, instructor and gradebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import checks
from labkit.grading.feedback import question_titles, write_feedback
from labkit.grading.gradebook import FORMATS, write_grades
from labkit.grading.late import Late, Policy, apply, read_policy
from labkit.grading.marks import MARKS, Key, Mark, apply_marks, read_marks
from labkit.grading.model import Lab
from labkit.grading.notebook import write_release
from labkit.grading.release import RELEASE, release_cells
from labkit.grading.results import RESULTS, Result, write_results
from labkit.grading.review import write_review
from labkit.grading.roster import Roster, read_roster

GRADES = "grades.csv"


@dataclass(frozen=True)
class Office:
    """What it takes to write the reports of a class; everything is read before the first file is graded."""

    out: Path
    lab: Lab
    roster: Roster | None
    policy: Policy | None
    marks: Mapping[Key, Mark]
    format: str | None = None
    template: str | Path | None = None

    def write(self, results: Sequence[Result]) -> tuple[list[Result], dict[str, Late], list[Key]]:
        """Write every file of the folder.

        Return the results with a person's marks, what each file loses, and the marks that are for no answer.
        """
        write_results(self.out / RESULTS, results)
        write_release(self.out / RELEASE, release_cells(self.lab), lab=self.lab.name)
        marked, unused = apply_marks(results, self.marks)
        late = apply(marked, self.policy)
        titles = question_titles(self.lab)
        marked = write_feedback(self.out, marked, title=self.lab.title, titles=titles, late=late)
        self.write_gradebooks(marked, late)
        write_review(self.out, marked, title=self.lab.title, titles=titles, late=late)
        return marked, late, unused

    def write_gradebooks(self, results: Sequence[Result], late: Mapping[str, Late]) -> None:
        """Write grades.csv, and beside it the file for Canvas or Moodle."""
        options: dict[str, Any] = {"late": late, "roster": self.roster, "title": self.lab.title}
        write_grades(self.out / GRADES, results, **options)
        if self.format and self.format != "plain":
            path = self.out / f"grades-{self.format}.csv"
            write_grades(path, results, format=self.format, template=self.template, **options)


def open_office(
    out: str | Path,
    lab: Lab,
    *,
    roster: str | Path | Roster | None = None,
    late: str | Path | Policy | None = None,
    format: str | None = None,
    template: str | Path | None = None,
) -> Office:
    """Read the class list, the late policy and marks.csv; raises LabError for one that cannot be used."""
    out = Path(out)
    roster = read_roster(roster) if isinstance(roster, str | Path) else roster
    policy = read_policy(late) if isinstance(late, str | Path) else late
    marks = read_marks(out / MARKS) if (out / MARKS).exists() else {}
    if format is not None:
        checks.choice(format, "format", FORMATS)
    return Office(out, lab, roster, policy, marks, format, template)
