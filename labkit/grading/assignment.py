"""One lab as it is graded: which isolation and limits are in force, and how a file becomes a job for the engine."""

import hashlib
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from labkit import checks
from labkit.grading import isolation
from labkit.grading.engine import Outcome, require_nbval
from labkit.grading.errors import LabError
from labkit.grading.feedback import feedback_name
from labkit.grading.intake import Submission, begin
from labkit.grading.job import Job
from labkit.grading.lab import INSTRUCTOR, read_lab
from labkit.grading.match import Matched, match
from labkit.grading.model import Lab
from labkit.grading.notebook import parse_submission, read_bytes
from labkit.grading.proxy import Times
from labkit.grading.results import Flag, Result
from labkit.grading.software import fingerprint
from labkit.grading.text import visible
from labkit.grading.trusted import seed_for
from labkit.grading.verdict import conclude

REFUSED = ("unreadable", "special", "too-large", "archive", "encrypted")  # flags of files that are not looked into


@dataclass(frozen=True)
class Options:
    """How to grade.

    times, resources : what the code of one submission may use
    rung : the isolation, or None for the best that this machine offers
    trust_students : grade although the isolation is for trusted work only
    course_key : decides the random inputs of the checks; by default it comes from the instructor's notebook, which
        students do not have either
    out : a folder for the feedback page of `grade_file`
    batch : how many submissions one run of the engine takes at most
    """

    times: Times = Times()  # noqa: RUF009  frozen, so it can be shared
    resources: isolation.Resources = isolation.Resources()  # noqa: RUF009
    rung: isolation.Rung | None = None
    trust_students: bool = False
    course_key: bytes | None = None
    out: str | Path | None = None
    batch: int = 16

    def __post_init__(self) -> None:
        checks.integer(self.batch, "batch", low=1)
        for name, value in asdict(self.times).items():
            checks.number(value, f"times.{name}", low=0)


class Assignment:
    """A lab and the options with which it is graded. Raises LabError for a bad lab or if the isolation is too weak."""

    def __init__(self, lab: str | Path | Lab, options: Options) -> None:
        require_nbval()
        self.lab = lab if isinstance(lab, Lab) else read_lab(lab)
        self.options, self.rung = checks.instance(options, "options", Options), chosen_rung(options)
        self.key = options.course_key or read_bytes(self.lab.folder / INSTRUCTOR)
        content = read_bytes(self.lab.folder / INSTRUCTOR) + b"\0" + self.key
        self.points = {question.name: question.points for question in self.lab.questions}
        self.digest = hashlib.sha256(content).hexdigest()
        self.environment = fingerprint(times=asdict(options.times), resources=asdict(options.resources))

    def blank(self, submission: Submission) -> Result:
        """Return the result of a file before it is looked at: no points."""
        about = {"assignment": self.digest, "environment": self.environment, "rung": self.rung.name}
        result = begin(submission, points=self.points, **about)
        zeros = {question.name: 0.0 for question in self.lab.automatic}
        return replace(result, scores=zeros, feedback_path=feedback_name(result))

    def prepare(self, submission: Submission) -> tuple[Job, Matched]:
        """Return what the engine runs; raises LabError if the file is no notebook."""
        content = submission.read()
        matched = match(parse_submission(content, Path(submission.file)), self.lab)
        limits = {"times": self.options.times, "resources": self.options.resources}
        seed = seed_for(self.key, content)
        return Job(self.lab, matched.cells, seed, zlib.crc32(content), self.rung.name, **limits), matched

    def conclude(self, blank: Result, matched: Matched, outcome: Outcome) -> Result:
        """Return the result of a submission that has run."""
        return conclude(blank, self.lab, matched, outcome)


def failed(blank: Result, error: Exception) -> Result:
    """Return the result of a file that could not be prepared: no notebook, or a fault of the grader's own."""
    if any(flag.kind in REFUSED for flag in blank.flags):
        return blank
    if isinstance(error, LabError):
        flag = Flag("unreadable", None, visible(str(error), limit=300))
        return replace(blank, status="unreadable", flags=[*blank.flags, flag])
    flag = Flag("engine", None, visible(f"{type(error).__name__}: {error}", limit=300))
    return replace(blank, status="error", flags=[*blank.flags, flag])


def chosen_rung(options: Options) -> isolation.Rung:
    """Return the isolation to use; raises LabError if it does not work here or is too weak for strangers' code."""
    rung = options.rung or isolation.probe()
    if problem := isolation.why_not(rung):
        raise LabError(f"the isolation {rung.name!r} does not work on this machine: {problem}")
    if not (rung.for_strangers or options.trust_students):
        raise LabError(
            f"{rung} Install bubblewrap, or say --trust-students if you trust whoever wrote the submissions."
        )
    return rung
