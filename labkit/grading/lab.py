"""Reading an instructor's lab, and refusing one that could not be graded. Every refusal names the cell."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TypeGuard

from labkit.grading.errors import LabError
from labkit.grading.markers import HIDDEN, SOLUTION, regions
from labkit.grading.model import GRADED, ROLES, Cell, Lab, Question, Sample
from labkit.grading.notebook import read_bytes, read_instructor

INSTRUCTOR, ANSWERS = "instructor.ipynb", "answers.md"
ARGUMENTS = {"check", "rng", "reference"}
_NAME = re.compile(r"[A-Za-z]\w*")
_HEADING = re.compile(r"^## (?P<question>\S+) (?P<kind>\S+): (?P<title>.+)$")
_SAMPLE = re.compile(r"^(?P<heading>## .*)$(?:(?!^## ).*\n)*?^```python\n(?P<source>(?:.*\n)*?)^```$", re.MULTILINE)


def read_lab(folder: str | Path) -> Lab:
    """Return the lab in a folder that holds instructor.ipynb and, if the author lists any samples, answers.md.

    Raises LabError for a missing file, a bad marker, an unknown role, missing points, a question without
    one solution cell and its check cells, or a check that does not fit its question.
    """
    folder = Path(folder).resolve()
    cells = tuple(read_instructor(folder / INSTRUCTOR))
    for cell in cells:
        _check_label(cell)
        _check_regions(cell)
    questions = tuple(_questions(cells))
    title = next((line[2:] for c in cells for line in c.source.splitlines() if line.startswith("# ")), folder.name)
    return Lab(folder, title, cells, questions, tuple(_samples(folder / ANSWERS, questions)))


def _check_label(cell: Cell) -> None:
    if cell.role is None and (cell.question, cell.points) != (None, None):
        raise LabError(f"{cell}: a cell with a question or points needs a role, one of {', '.join(ROLES)}")
    if cell.role is not None and cell.role not in ROLES:
        raise LabError(f"{cell}: unknown role {cell.role!r}; the roles are {', '.join(ROLES)}")
    if cell.role not in (None, "setup") and not (isinstance(cell.question, str) and _NAME.fullmatch(cell.question)):
        raise LabError(f"{cell}: a {cell.role} cell needs a question, a name such as 'q1'; got {cell.question!r}")
    if cell.role in GRADED and not _is_helper(cell):
        _check_points(cell)
    elif cell.points is not None:
        raise LabError(f"{cell}: points belong on the check cell or the manual cell, not on a {cell.role} cell")
    if cell.role in ("setup", "solution", "check") and cell.kind != "code":
        raise LabError(f"{cell}: a {cell.role} cell must be a code cell, got {cell.kind}")


def _is_helper(cell: Cell) -> bool:
    """Tell whether a check cell holds only what the checks below it use, and therefore no points."""
    return cell.role == "check" and cell.points is None and cell.kind == "code" and not _question_functions(cell)


def _check_points(cell: Cell) -> None:
    if cell.points is None:
        raise LabError(f"{cell}: a {cell.role} cell needs points")
    if isinstance(cell.points, bool) or not isinstance(cell.points, int | float) or not 0 < cell.points < 1e6:
        raise LabError(f"{cell}: points must be a positive number, got {cell.points!r}")


def _check_regions(cell: Cell) -> None:
    kinds = {region.kind for region in regions(cell.source, cell)}
    if SOLUTION in kinds and cell.role not in ("solution", "manual"):
        raise LabError(f"{cell}: a solution region belongs in a solution or manual cell, this one is {cell.role}")
    if HIDDEN in kinds and cell.role != "check":
        raise LabError(f"{cell}: hidden tests belong in a check cell, this one is {cell.role}")
    if cell.role in ("solution", "manual") and SOLUTION not in kinds:
        raise LabError(f"{cell}: a {cell.role} cell needs a region from ### BEGIN SOLUTION to ### END SOLUTION")


def _questions(cells: tuple[Cell, ...]) -> list[Question]:
    """Return the questions in the order of their points; a name that only a description has is refused."""
    count = Counter((cell.role, cell.question) for cell in cells if not _is_helper(cell))
    for cell in cells:
        if cell.role not in (None, "setup"):
            _check_question(cell, count)
    first = {cell.question: cell for cell in reversed(cells) if cell.role in GRADED}
    graded = [_question(cell, cells) for cell in cells if cell in first.values()]
    if not graded:
        raise LabError("the lab has no question: no cell has the role check or manual")
    return graded


def _check_question(cell: Cell, count: Counter) -> None:
    name = cell.question
    checked, by_hand = count["check", name] > 0, count["manual", name]
    if cell.role == "check" and count["solution", name] == 0:
        raise LabError(f"{cell}: a check for the unknown question {name!r}; no solution cell has that name")
    if not checked and not by_hand:
        raise LabError(f"{cell}: question {name!r} has no check cell and no manual cell")
    if checked + by_hand > 1 or count["solution", name] > 1:
        raise LabError(f"{cell}: question {name!r} must have one solution cell and its checks, or one manual cell")
    if count["manual", name] and count["solution", name]:
        raise LabError(f"{cell}: question {name!r} is marked by hand, so its answer belongs in the manual cell")


def _question(cell: Cell, cells: tuple[Cell, ...]) -> Question:
    name = str(cell.question)
    if cell.role == "manual":
        return Question(name, float(cell.points or 0), manual=True)
    checks = [other for other in cells if (other.role, other.question) == ("check", name)]
    solution = next(other for other in cells if (other.role, other.question) == ("solution", name))
    if cells.index(solution) > cells.index(cell):
        raise LabError(f"{cell}: the check of {name!r} stands before its solution cell")
    answers = tuple(defined_names(solution))
    if not answers:
        raise LabError(f"{solution}: the solution of {name!r} defines no name that a check could use")
    functions = [_check_function(check, name) for check in checks if not _is_helper(check)]
    if len(set(functions)) < len(functions):
        twice = max(functions, key=functions.count)
        raise LabError(f"{cell}: two check functions of {name!r} are called {twice!r}; give them different names")
    return Question(name, float(sum(check.points or 0 for check in checks)), manual=False, answers=answers)


def _question_functions(cell: Cell) -> list[tuple[ast.FunctionDef, ast.Call]]:
    """Return the functions of a check cell that @question decorates, each with the decorator."""
    functions = [node for node in parse(cell).body if isinstance(node, ast.FunctionDef)]
    return [(node, call) for node in functions for call in node.decorator_list if _calls_question(call)]


def _check_function(cell: Cell, name: str) -> str:
    """Return the name of the function of a check cell.

    Raises LabError unless the cell holds one function that is decorated with @question("its own question").
    """
    found = _question_functions(cell)
    if len(found) != 1:
        raise LabError(f'{cell}: a check cell holds exactly one function decorated with @question("{name}")')
    node, decorator = found[0]
    if ast.unparse(decorator) != f"question({name!r})":
        raise LabError(f'{cell}: the decorator must be @question("{name}"), got @{ast.unparse(decorator)}')
    arguments = [argument.arg for argument in node.args.args]
    if "check" not in arguments or not set(arguments) <= ARGUMENTS:
        raise LabError(f"{cell}: the function takes check and, if it needs them, rng and reference; got {arguments}")
    return node.name


def _calls_question(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "question"


def defined_names(cell: Cell) -> list[str]:
    """Return the functions, classes and variables that a cell defines at its top level, imports left out."""
    names: dict[str, None] = {}
    for node in parse(cell).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = None
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id: None for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return [name for name in names if not name.startswith("_")]


def parse(cell: Cell) -> ast.Module:
    """Return the syntax tree of a code cell; raises LabError if it is not valid Python."""
    try:
        return ast.parse(cell.source)
    except SyntaxError as error:
        raise LabError(f"{cell}: not valid Python in line {error.lineno}: {error.msg}") from error


def _samples(path: Path, questions: tuple[Question, ...]) -> list[Sample]:
    """Return the samples of answers.md: headings `## q1 wrong: title` or `## q1 right: title`, each with its code."""
    if not path.exists():
        return []
    text = read_bytes(path).decode("utf-8").replace("\r\n", "\n") + "\n"
    blocks = {match["heading"]: match["source"] for match in _SAMPLE.finditer(text)}
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    if len(set(headings)) < len(headings):
        raise LabError(f"{path}: two samples have the heading {max(headings, key=headings.count)!r}")
    return [_sample(path, heading, blocks.get(heading), questions) for heading in headings]


def _sample(path: Path, heading: str, source: str | None, questions: tuple[Question, ...]) -> Sample:
    match = _HEADING.match(heading)
    if match is None or match["kind"] not in ("right", "wrong"):
        raise LabError(f"{path}: a heading reads '## q1 wrong: title' or '## q1 right: title', got {heading!r}")
    if match["question"] not in [question.name for question in questions if not question.manual]:
        raise LabError(f"{path}: {heading!r} is a sample for an unknown question {match['question']!r}")
    if source is None:
        raise LabError(f"{path}: {heading!r} is not followed by a ```python block")
    sample = Sample(match["question"], match["kind"] == "right", match["title"], source.rstrip("\n"))
    parse(Cell(f"{path.name}: {heading}", "code", sample.source))
    return sample
