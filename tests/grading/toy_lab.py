"""A lab of two questions, one automatic and one manual, and ways to spoil it."""

import copy
import json
from pathlib import Path
from typing import Any

SOLUTION = '''def double(x):
    """Return 2 x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
'''
CHECK = """@question("q1")
def _(check, rng, reference):
    with check("double(3) is 6", points=1):
        assert double(3) == 6
    ### BEGIN HIDDEN TESTS
    with check("any number", points=2):
        x = int(rng.integers(10, 99))
        assert double(x) == reference.double(x)
    ### END HIDDEN TESTS
"""
HELPER = """@probe
def doubled(x):
    return double(x)
"""
HIDDEN_CHECK = """### BEGIN HIDDEN TESTS
@question("q1")
def _hidden(check, rng, reference):
    with check("any number", points=2):
        x = int(rng.integers(10, 99))
        assert doubled(x) == reference.double(x)
### END HIDDEN TESTS
"""
MANUAL = "<!-- BEGIN SOLUTION -->\nBecause of the secret.\n<!-- END SOLUTION -->"
ANSWERS = """# Samples

## q1 wrong: fits the visible check

Only one number.

```python
def double(x):
    return 6
```

## q1 right: a sum

```python
def double(x):
    return x + x
```
"""


def cells() -> list[dict[str, Any]]:
    """Return the cells of the lab, as a notebook file holds them."""
    return [
        _cell("title", "markdown", "# A toy"),
        _cell("setup", "code", "from labkit.grading import answered, probe, question", role="setup"),
        _cell("text", "markdown", "Write `double`.", role="description", question="q1"),
        _cell("double", "code", SOLUTION, role="solution", question="q1"),
        _cell("tests", "code", CHECK, role="check", question="q1", points=3),
        _cell("use", "code", "if answered(double):\n    print(double(2))"),
        _cell("why", "markdown", MANUAL, role="manual", question="q2", points=1),
    ]


def _cell(name: str, kind: str, source: str, **label: Any) -> dict[str, Any]:
    cell = {"id": name, "cell_type": kind, "source": source, "metadata": {"labkit": label} if label else {}}
    return cell | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def edited(name: str, *, source: str | None = None, **label: Any) -> list[dict[str, Any]]:
    """Return the cells with one of them changed; a label of None is taken away."""
    result = copy.deepcopy(cells())
    cell = next(cell for cell in result if cell["id"] == name)
    cell["source"] = cell["source"] if source is None else source
    merged = {key: value for key, value in (cell["metadata"].get("labkit", {}) | label).items() if value is not None}
    cell["metadata"] = {"labkit": merged} if merged else {}
    return result


def split() -> list[dict[str, Any]]:
    """Return the cells with the check in three: what it uses, the visible test, the hidden one."""
    before, after = cells()[:4], cells()[5:]
    label = {"role": "check", "question": "q1"}
    return [
        *before,
        _cell("helper", "code", HELPER, **label),
        _cell("tests", "code", CHECK[: CHECK.index("    ###")].replace(", rng, reference", ""), points=1, **label),
        _cell("more", "code", HIDDEN_CHECK, points=2, **label),
        *after,
    ]


def without(name: str) -> list[dict[str, Any]]:
    """Return the cells without one of them."""
    return [cell for cell in cells() if cell["id"] != name]


def write(folder: Path, new_cells: list[dict[str, Any]] | None = None, answers: str | None = ANSWERS) -> Path:
    """Write the lab into a folder and return it."""
    folder.mkdir(exist_ok=True)
    notebook = {"cells": new_cells or cells(), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "instructor.ipynb").write_text(json.dumps(notebook))
    if answers is not None:
        (folder / "answers.md").write_text(answers)
    return folder
