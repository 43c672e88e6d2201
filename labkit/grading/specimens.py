"""Made-up submissions of a lab, each with what it may earn: honest work in odd shapes, broken files and attacks."""

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labkit.grading.markers import SOLUTION, regions
from labkit.grading.model import Cell, Lab
from labkit.grading.release import release_cells

ESSAY = (
    "The file is about an eighth of the original, as printed above, and the accuracy falls by about one point. The "
    "speed is a different matter: fewer multiply-adds are an upper limit, and two thin products have overhead. I would "
    "time it on the board. The digits of a customer may differ from ours."
)
ESSAYS = (
    ESSAY,
    "It fits, so I would ship it. The accuracy is almost the same as before.",
    "Right: the file fits now. Not right: that it runs eight times as fast. Nobody has measured that yet.\n\n- two "
    "layers instead of one\n- the last layer is as slow as before\n\nAnd 1,000 digits are few: a few of them decide "
    "about the last tenth of a per cent.",
    "I did not have time for this one.",
    "I would first ask the customer for some digits of their own, since all of ours come from one collection.",
)
MARKUP = "<script>alert('marks')</script><img src=x onerror=alert(1)> <b>Full marks, please.</b>"

Range = tuple[float, float]


@dataclass(frozen=True)
class Work:
    """One submission of the class: what it is, its bytes, and the least and the most each question may earn."""

    kind: str
    about: str
    content: bytes
    expected: dict[str, Range]
    file: str = "lab.ipynb"
    name: str | None = None
    hours_late: int = 0


@dataclass(frozen=True)
class Desk:
    """What a made-up student writes with: the lab, its released cells, the instructor's answers, and some luck."""

    lab: Lab
    release: tuple[Cell, ...]
    answers: dict[str, str]
    rng: np.random.Generator = field(repr=False)

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of the options."""
        return options[int(self.rng.integers(len(options)))]

    def question(self) -> str:
        """Return the name of one automatic question."""
        return self.pick([question.name for question in self.lab.automatic])

    def samples(self, question: str, *, right: bool) -> list[str]:
        """Return the instructor's sample answers to a question; the right ones begin with the solution itself."""
        found = [s.source for s in self.lab.samples if s.question == question and s.right == right]
        return [self.answers[question], *found] if right else found

    def full(self) -> dict[str, Range]:
        """Return full marks on every automatic question."""
        return {question.name: (question.points, question.points) for question in self.lab.automatic}

    def cells(self, changes: dict[str, str] | None = None, essay: str | None = None) -> list[Cell]:
        """Return a full notebook in which some questions have other answers; an empty one is left as released."""
        answers = self.answers | (changes or {})
        guess = f" My first guess was rank {self.rng.integers(2, 300)}."  # so that no two files are the same by chance
        essay = self.pick(ESSAYS) + guess if essay is None else essay
        return [self._written(cell, answers, essay) for cell in self.release]

    def _written(self, cell: Cell, answers: dict[str, str], essay: str) -> Cell:
        if cell.role == "manual":
            return cell.with_source(essay)
        answer = answers.get(cell.question or "") if cell.role == "solution" else None
        return cell.with_source(answer) if answer else cell


def open_desk(lab: Lab, rng: np.random.Generator) -> Desk:
    """Return the desk for a lab."""
    return Desk(lab, tuple(release_cells(lab)), {q.name: _solution(lab, q.name) for q in lab.automatic}, rng)


Maker = Callable[[Desk], tuple[bytes, dict[str, Range]]]
KINDS: dict[str, tuple[str, Maker, dict[str, Any]]] = {}


def kind(title: str, about: str, **changes: Any) -> Callable[[Maker], Maker]:
    """Register a way to write a submission; `changes` go into its Work."""

    def register(maker: Maker) -> Maker:
        KINDS[title] = about, maker, changes
        return maker

    return register


def specimen(desk: Desk, i: int) -> Work:
    """Return the submission number `i`: one of each kind first, and then sample answers, right and wrong."""
    kinds = list(KINDS.items())
    mixed: tuple[str, Maker, dict[str, Any]] = ("sample answers, right and wrong", _mixed, {})
    title, (about, maker, changes) = kinds[i] if i < len(kinds) else ("mixed", mixed)
    content, expected = maker(desk)
    return Work(title, about, content, expected, **changes)


def notebook(cells: Sequence[Cell], **cell_changes: Any) -> bytes:
    """Return cells as a notebook file; `cell_changes` go into every code cell."""
    raw = [_raw(cell, cell_changes) for cell in cells]
    return _json({"cells": raw, "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5})


# Honest work: whatever the shape, it keeps its marks.


@kind("full", "every question right")
def _full(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.cells(essay=ESSAY)), desk.full()


@kind("one wrong", "one wrong answer, the others right")
def _one_wrong(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    options = [question.name for question in desk.lab.automatic if desk.samples(question.name, right=False)]
    if not options:
        return _full(desk)
    question = desk.pick(options)
    wrong = desk.pick(desk.samples(question, right=False))
    return notebook(desk.cells({question: wrong})), desk.full() | {question: _not_full(desk, question)}


@kind("half done", "the later questions are not answered")
def _half(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    names = [question.name for question in desk.lab.automatic]
    left = names[len(names) // 2 :]
    return notebook(desk.cells(dict.fromkeys(left, ""), essay="")), desk.full() | dict.fromkeys(left, (0.0, 0.0))


@kind("endless answer", "hostile: one answer never returns")
def _endless_answer(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _attack(desk, "", body="while True:\n        pass")


@kind("other ways", "right answers that are not the instructor's")
def _other_ways(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    changes = {name: desk.pick(desk.samples(name, right=True)[-2:]) for name in desk.answers}
    return notebook(desk.cells(changes)), desk.full()


@kind("untouched", "the released notebook as it is")
def _untouched(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.release), dict.fromkeys(desk.answers, (0.0, 0.0))


@kind("late", "right, but two days late", hours_late=40)
def _late(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.cells()), desk.full()


@kind("broken file", "a download that stopped half way")
def _broken(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    content = notebook(desk.cells())
    return content[: len(content) // 2], dict.fromkeys(desk.answers, (0.0, 0.0))


@kind("merged cells", "all answers in one new cell at the top, the answer cells deleted")
def _merged(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = desk.cells()
    answer = Cell("everything", "code", "\n\n\n".join(c.source for c in cells if c.role == "solution"))
    return notebook(_after_setup([c for c in cells if c.role != "solution"], [answer])), desk.full()


@kind("split cells", "each function in a cell of its own")
def _split(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = []
    for cell in desk.cells():
        pieces = _statements(cell.source) if cell.role == "solution" else [cell.source]
        cells += [cell.with_source(pieces[0]), *(Cell("", "code", piece) for piece in pieces[1:])]
    return notebook(cells), desk.full()


@kind("moved cells", "all answer cells moved to the top, in the opposite order")
def _moved(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = desk.cells()
    answers = [cell for cell in cells if cell.role == "solution"]
    return notebook(_after_setup([c for c in cells if c.role != "solution"], answers[::-1])), desk.full()


@kind("numpy patched", "hostile: replaces the comparisons of NumPy")
def _patched(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    lines = ["import numpy as np", "np.testing.assert_allclose = np.allclose = lambda *a, **k: True"]
    return _attack(desk, "\n".join([*lines, "np.linalg.norm = lambda *a, **k: 0.0"]))


@kind("copied", "the unusual answer of the kind 'original', with other names of variables")
def _copied(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.cells({name: _renamed(source) for name, source in _unusual(desk).items()})), desk.full()


@kind("original", "an unusual right answer")
def _original(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.cells(_unusual(desk))), desk.full()


@kind("stale outputs", "saved with outputs and errors of an earlier run")
def _stale(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    error = {"output_type": "error", "ename": "NameError", "evalue": "name 'np' is not defined", "traceback": []}
    return notebook(desk.cells(), outputs=[error], execution_count=7), desk.full()


@kind("markup", "hostile: a name, an answer and an error text in HTML", name="<script>Eve</script>")
def _markup(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _attack(desk, "", body=f"raise ValueError({MARKUP!r})", essay=MARKUP)


@kind("old format", "a notebook of the format of 2013")
def _old(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = [
        {"cell_type": "code", "input": c.source, "outputs": [], "language": "python", "metadata": {}}
        if c.kind == "code"
        else {"cell_type": "markdown", "source": c.source, "metadata": {}}
        for c in desk.cells()
    ]
    sheet = {"cells": cells, "metadata": {}}
    return _json({"worksheets": [sheet], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}), desk.full()


@kind("Windows file", "saved with a byte-order mark and Windows line ends")
def _windows(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = [cell.with_source(cell.source.replace("\n", "\r\n")) for cell in desk.cells()]
    return b"\xef\xbb\xbf" + notebook(cells).replace(b"\n", b"\r\n"), desk.full()


@kind("exit", "hostile: leaves the process, as if all were well")
def _exit(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _attack(desk, "import os\nos._exit(0)")


@kind("no ids", "retyped in another program: no ids, no labels, no check cells")
def _no_ids(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = [Cell("", c.kind, c.source) for c in desk.cells() if c.role != "check"]
    return notebook(cells), desk.full()


@kind("two attempts", "a wrong attempt above the right answer")
def _attempts(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = []
    for cell in desk.cells():
        wrong = desk.samples(cell.question or "", right=False) if cell.role == "solution" else []
        cells += [Cell("", "code", source) for source in wrong[:1]] + [cell]
    return notebook(cells), desk.full()


@kind("syntax error", "one answer is not Python")
def _syntax(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    question = desk.question()
    broken = desk.answers[question].replace(":", " :(", 1)
    return notebook(desk.cells({question: broken})), desk.full() | {question: (0.0, 0.0)}


@kind("formula", "a name that a spreadsheet would compute", name="=SUM(1,1) Mallory")
def _formula(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _one_wrong(desk)


@kind("chatty", "right answers that print and warn")
def _chatty(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    noisy = "import warnings\n\nwarnings.warn('this is fine')\nprint('working ...')\n\n\n"
    return notebook(desk.cells({name: noisy + source for name, source in desk.answers.items()})), desk.full()


@kind("flood", "hostile: prints without end, but the answers are right")
def _flood(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    flood = Cell("flood", "code", "for _ in range(10**6):\n    print('All work and no play. ' * 40)")
    return notebook([*desk.cells(), flood]), desk.full()


@kind("callables", "objects in the places of functions")
def _callables(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    changes = {}
    for name, source in desk.answers.items():
        functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
        wrapped = "".join(f"\n{function} = partial({function})" for function in functions)
        changes[name] = f"from functools import partial\n\n\n{source}\n\n{wrapped}"
    return notebook(desk.cells(changes)), desk.full()


@kind("endless cell", "a cell that never ends, between right answers")
def _endless_cell(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    cells = desk.cells()
    return notebook([*cells, Cell("wait", "code", "while True:\n    pass")]), desk.full()


@kind("not a notebook", "a report instead of the notebook", file="report.pdf")
def _report(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return b"%PDF-1.4\n% My report, with a graph.\n", dict.fromkeys(desk.answers, (0.0, 0.0))


@kind("forged checks", "hostile: writes its own checks and their results")
def _forged(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    content, expected = _attack(desk, "question = lambda name: lambda function: print(name, 'all checks pass')")
    raw = json.loads(content)
    for cell in raw["cells"]:
        if cell["metadata"].get("labkit", {}).get("role") == "check":
            cell["source"], cell["outputs"] = "print('3 of 3 checks pass')", [_stream("3 of 3 checks pass\n")]
            cell["metadata"]["labkit"]["points"] = 1000
    return _json(raw), expected


@kind("late with reason", "right, five days late, and excused in policy.toml", hours_late=120)
def _excused(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return notebook(desk.cells()), desk.full()


@kind("solution sought", "hostile: looks for the instructor's notebook and for other students' files")
def _sought(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    lines = ["from pathlib import Path", "for folder in [Path.cwd(), *Path.cwd().parents, Path.home()]:"]
    lines += ["    for file in folder.glob('*/*/instructor.ipynb'):", "        exec(file.read_text())"]
    return _attack(desk, "\n".join(lines))


@kind("yes-man", "hostile: returns objects that are equal to everything")
def _yes(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    methods = ("eq", "lt", "le", "gt", "ge", "sub", "add", "mul", "abs", "float", "len", "getitem", "array", "iter")
    lines = ["class Yes:", *(f"    __{name}__ = lambda self, *a: True" for name in methods)]
    return _attack(desk, "\n".join(lines), body="return Yes()")


@kind("same file", "byte for byte the file of the kind 'full'")
def _same(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _full(desk)


@kind("two keys", "hostile: a file with two lists of cells, so that two programs read two different notebooks")
def _two_keys(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return b'{"cells": [], ' + notebook(desk.cells()).lstrip()[1:], dict.fromkeys(desk.answers, (0.0, 0.0))


@kind("bad text", "hostile: an error text that breaks programs that print it")
def _bad_text(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _attack(desk, "", body="raise ValueError('\\ud800 \\x1b[2J \\u202e')")


@kind("left behind", "hostile: starts programs and writes files that are to stay")
def _left(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    lines = ["import subprocess", "from pathlib import Path", "subprocess.Popen(['sleep', '600'])"]
    return _attack(desk, "\n".join([*lines, "(Path.home() / 'labkit-was-here.txt').write_text('hello')"]))


@kind("memory", "hostile: asks for more memory than there is")
def _memory(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return _attack(desk, "", body="return bytearray(10**15)")


@kind("empty file", "nothing at all")
def _empty(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    return b"", dict.fromkeys(desk.answers, (0.0, 0.0))


def _mixed(desk: Desk) -> tuple[bytes, dict[str, Range]]:
    """Answer every question with one of its samples, right ones twice as often."""
    changes, expected = {}, desk.full()
    for name in desk.answers:
        right = not desk.samples(name, right=False) or bool(desk.rng.random() < 2 / 3)
        changes[name] = desk.pick(desk.samples(name, right=right))
        expected[name] = expected[name] if right else _not_full(desk, name)
    return notebook(desk.cells(changes)), expected


def _attack(
    desk: Desk, code: str, *, body: str = "return None", essay: str | None = None
) -> tuple[bytes, dict[str, Range]]:
    """Return a notebook that attacks instead of answering one question; that question earns nothing, the others all."""
    question = desk.question()
    names = desk.lab.question(question).answers
    functions = "\n\n".join(f"def {name}(*args, **kwargs):\n    {body}" for name in names)
    cells = desk.cells({question: f"{code}\n\n\n{functions}"}, essay)
    return notebook(cells), desk.full() | {question: (0.0, 0.0)}


def _not_full(desk: Desk, question: str) -> Range:
    return 0.0, desk.lab.question(question).points - 0.01


def _solution(lab: Lab, question: str) -> str:
    """Return the instructor's answer without its markers."""
    source = lab.cell("solution", question).source
    marks = {place for region in regions(source) if region.kind == SOLUTION for place in (region.first, region.last)}
    return "\n".join(line for i, line in enumerate(source.splitlines()) if i not in marks)


def _unusual(desk: Desk) -> dict[str, str]:
    """Return the longest right sample of each question."""
    return {name: max(desk.samples(name, right=True), key=len) for name in desk.answers}


def _renamed(source: str) -> str:
    """Return code with other names for the local variables of its functions, and without its comments."""
    tree = ast.parse(source)
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)]:
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        stored = sorted({node.id for node in names if isinstance(node.ctx, ast.Store)})
        new = {name: f"{name.lower()}_{i}" for i, name in enumerate(stored)}
        for node in names:
            node.id = new.get(node.id, node.id)
    return ast.unparse(tree)


def _statements(source: str) -> list[str]:
    """Return the top-level statements of a cell, each as a text of its own."""
    lines = source.splitlines()
    starts = [node.lineno - 1 for node in ast.parse(source).body]
    return ["\n".join(lines[a:b]).rstrip() for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _after_setup(cells: Sequence[Cell], new: Sequence[Cell]) -> list[Cell]:
    place = 1 + max((i for i, cell in enumerate(cells) if cell.role == "setup"), default=0)
    return [*cells[:place], *new, *cells[place:]]


def _raw(cell: Cell, changes: dict[str, Any]) -> dict[str, Any]:
    label = {key: value for key in ("role", "question", "points") if (value := getattr(cell, key)) is not None}
    raw: dict[str, Any] = {
        "cell_type": cell.kind,
        "metadata": {"labkit": label} if label else {},
        "source": cell.source,
    }
    raw |= {"id": cell.id} if cell.id else {}
    return raw | ({"execution_count": None, "outputs": []} | changes if cell.kind == "code" else {})


def _stream(text: str) -> dict[str, str]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
