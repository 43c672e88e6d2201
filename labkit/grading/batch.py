"""Grading: one file with `grade_file`, a class with `grade`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

from labkit import checks
from labkit.grading.assignment import REFUSED, Assignment, Options, failed
from labkit.grading.cluster import cluster_rung
from labkit.grading.engine import run_jobs
from labkit.grading.errors import LabError
from labkit.grading.feedback import feedback_name, question_titles, write_feedback
from labkit.grading.gradebook import counted
from labkit.grading.intake import Submission, collect, single
from labkit.grading.isolation import Rung
from labkit.grading.job import Job
from labkit.grading.late import Late, Policy
from labkit.grading.marks import MARKS, Key
from labkit.grading.match import Matched
from labkit.grading.model import Lab
from labkit.grading.pool import cluster_of, run_all
from labkit.grading.report import open_office
from labkit.grading.results import RESULTS, Result, append_result, finished, read_results
from labkit.grading.roster import Roster
from labkit.grading.text import visible

UNSURE = ("unmatched", "matched-by-name", "matched-by-part")
# Flags about a file rather than its content: they are not taken over from another file with the same content.
ABOUT_FILES = (*REFUSED, "odd-name", "not-ipynb", "same-name", "several-files", *UNSURE)
ResultKey = tuple[str, str, str]


@dataclass(frozen=True)
class Graded:
    """A graded class: the results in the order of the file names, and what lateness costs each file.

    folder : where the reports are; n_reused : how many results an earlier run had found already
    unused_marks : student, question, file and answer of the lines of marks.csv that are for no answer here
    """

    folder: Path
    results: tuple[Result, ...]
    late: Mapping[str, Late]
    rung: Rung
    n_reused: int = 0
    unused_marks: tuple[Key, ...] = ()

    def result(self, file: str) -> Result:
        """Return the result of a file, by its name; raises ValueError if there is none."""
        found = {result.submission: result for result in self.results}
        return found[checks.choice(file, "file", found)]

    def __str__(self) -> str:
        status = Counter(result.status for result in self.results)
        grades = counted(self.results, self.late).values()
        pending = sum(len(result.pending) for result in self.results)
        flags = sum(bool(result.flags) for result in self.results)
        lines = [
            f"{len(self.results)} files of {len(grades)} students: "
            + ", ".join(f"{n} {name}" for name, n in status.most_common()),
            f"mean {fmean(grade.total for grade in grades):.1f} of {self.results[0].maximum:g} points, "
            f"{pending} answers to read, {flags} files with flags",
        ]
        lines += [f"{self.n_reused} results are those of an earlier run"] if self.n_reused else []
        unused = ", ".join(visible(" ".join(key).strip()) for key in self.unused_marks[:5])
        lines += [f"{len(self.unused_marks)} lines of {MARKS} are for no answer here: {unused}"] if unused else []
        return "\n".join([*lines, f"see {self.folder / 'review.html'}"])


@dataclass
class Work:
    """One content to grade, once for all files that hold it."""

    files: list[tuple[Submission, Result]] = field(default_factory=list)
    matched: Matched | None = None


def grade_file(submission: str | Path, assignment: str | Path | Lab, *, options: Options | None = None) -> Result:
    """Grade one file and return its result; whatever the file is, it raises nothing because of it.

    Parameters
    ----------
    submission : the path of a student's notebook
    assignment : the lab's folder, or a lab from `read_lab`
    options : limits and isolation; with `options.out`, the feedback page is written into that folder

    Raises LabError for a bad lab, and where the isolation is too weak for strangers' code.
    """
    options = options or Options()
    at_work = Assignment(assignment, options)
    file = single(submission)
    blank = at_work.blank(file)
    try:
        job, matched = at_work.prepare(file)
        result = at_work.conclude(blank, matched, run_jobs([job])[0])
    except Exception as error:
        result = failed(blank, error)
    if options.out is None:
        return replace(result, feedback_path="")
    return write_feedback(options.out, [result], title=at_work.lab.title, titles=question_titles(at_work.lab))[0]


def grade(
    lab_dir: str | Path | Lab,
    submissions: str | Path,
    *,
    out: str | Path,
    workers: int | str = 1,
    roster: str | Path | Roster | None = None,
    late: str | Path | Policy | None = None,
    trust_students: bool = False,
    format: str | None = None,
    template: str | Path | None = None,
    options: Options | None = None,
    progress: bool = True,
) -> Graded:
    """Grade a class and write results, gradebook, feedback and the review page into the folder `out`.

    An interrupted run goes on where it stopped, and a file that was graded before is not graded again, unless the
    lab or the software has changed.

    Parameters
    ----------
    lab_dir : the lab's folder, with instructor.ipynb in it
    submissions : a file, a folder or a zip archive as Canvas and Moodle export them
    workers : how many submissions at the same time, or "dask://HOST:PORT" for a cluster
    roster, late : a class list in CSV and a late policy in TOML
    trust_students : grade although the isolation on this machine is for trusted work only
    format, template : "canvas" or "moodle" for one more gradebook, and the exported one to fill in
    progress : print the isolation in force and show a bar with the time left

    Raises LabError for a bad lab, a list or policy that cannot be used, or submissions that do not exist.
    """
    at_work = Assignment(lab_dir, _where(options or Options(), workers, trust_students))
    office = open_office(out, at_work.lab, roster=roster, late=late, format=format, template=template)
    files = collect(submissions, roster=office.roster)
    office.out.mkdir(parents=True, exist_ok=True)
    if progress:
        print(at_work.rung)
    results, n_reused = _grade_all(at_work, files, office.out / RESULTS, workers, progress)
    marked, deductions, unused = office.write(results)
    return Graded(office.out, tuple(marked), deductions, at_work.rung, n_reused, tuple(unused))


def _where(options: Options, workers: int | str, trust_students: bool) -> Options:
    """Return the options with what the machines of a cluster offer, and the instructor's word for it."""
    options = replace(options, trust_students=options.trust_students or trust_students)
    address = cluster_of(workers)
    return options if address is None else replace(options, rung=cluster_rung(address))


def _grade_all(
    at_work: Assignment, files: Sequence[Submission], path: Path, workers: int | str, progress: bool
) -> tuple[list[Result], int]:
    """Return the result of every file, sorted by name, and how many were known; new ones are saved as they come."""
    known = finished(read_results(path))
    done: list[Result] = []
    groups: dict[ResultKey, Work] = defaultdict(Work)
    for file in files:
        blank = at_work.blank(file)
        unread = any(flag.kind in REFUSED for flag in blank.flags)
        if blank.key in known and not unread:
            done.append(taken_over(known[blank.key], blank))
        else:
            groups[(blank.submission, "", "") if unread else blank.key].files.append((file, blank))
    n_reused = len(done)
    with tqdm(total=len(files), initial=n_reused, desc="grading", unit="file", disable=not progress) as bar:
        for results in _fresh(at_work, list(groups.values()), workers):
            for result in results:
                append_result(path, result)
            done += results
            bar.update(len(results))
    return sorted(done, key=lambda result: result.submission), n_reused


def _fresh(at_work: Assignment, groups: Iterable[Work], workers: int | str) -> Iterator[list[Result]]:
    """Yield the results of the files with the same content, content by content, as they are done."""
    works: list[Work] = []
    jobs: list[Job] = []
    for work in groups:
        try:
            job, work.matched = at_work.prepare(work.files[0][0])
            works.append(work)
            jobs.append(job)
        except Exception as error:
            yield [failed(blank, error) for _, blank in work.files]
    with closing(run_all(jobs, workers=workers, batch=at_work.options.batch)) as outcomes:
        for number, outcome in outcomes:
            matched = works[number].matched
            assert matched is not None
            yield [at_work.conclude(blank, matched, outcome) for _, blank in works[number].files]


def taken_over(old: Result, blank: Result) -> Result:
    """Return the result of an earlier run for a file with the same content, which may have another name."""
    flags = [*blank.flags, *(flag for flag in old.flags if flag.kind not in ABOUT_FILES)]
    return replace(
        old,
        submission=blank.submission,
        student=blank.student,
        name=blank.name,
        flags=flags,
        submitted=blank.submitted,
        marked_late=blank.marked_late,
        feedback_path=feedback_name(blank),
    )


__all__ = ["Graded", "LabError", "Options", "grade", "grade_file"]
