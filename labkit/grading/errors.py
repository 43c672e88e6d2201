"""The errors that the grader raises on purpose."""


class LabError(ValueError):
    """A lab, an answer sheet or a notebook that cannot be used; the text names the file and the cell."""


class GateError(LabError):
    """A lab whose checks do not judge the instructor's own samples as they should."""


class StudentError(Exception):
    """What went wrong in the student's code, as text: the exception itself stays where it was raised."""
