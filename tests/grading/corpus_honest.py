"""Honest work in odd shapes: whatever the shape, it keeps its marks."""

import json
from typing import Any

from corpus import add
from corpus_lab import ANSWERS, FULL, Raw, as_file, code, released, solved

BOM = b"\xef\xbb\xbf"


def role(cell: Raw) -> str:
    """Return the role in a cell's label."""
    return cell["metadata"].get("labkit", {}).get("role", "")


def without(*roles: str) -> list[Raw]:
    """Return the solved notebook without the cells of some roles."""
    return [cell for cell in solved() if role(cell) not in roles]


def edited(**changes: Any) -> list[Raw]:
    """Return the solved notebook with other fields in every code cell."""
    return [cell | (changes if cell["cell_type"] == "code" else {}) for cell in solved()]


def no_ids(cells: list[Raw]) -> list[Raw]:
    """Return cells without ids."""
    return [{key: value for key, value in cell.items() if key != "id"} for cell in cells]


def plain(cells: list[Raw]) -> list[Raw]:
    """Return cells without ids and labels, as another program writes them."""
    return [cell | {"metadata": {}} for cell in no_ids(cells)]


def everything() -> str:
    """Return all answers as one text."""
    return "\n\n\n".join(ANSWERS.values())


def nbformat3(**extra: Any) -> bytes:
    """Return the solved notebook in the format of 2013."""
    cells = [
        {"cell_type": "code", "input": c["source"], "language": "python", "outputs": [], "metadata": {}}
        if c["cell_type"] == "code"
        else {"cell_type": "markdown", "source": c["source"], "metadata": {}}
        for c in solved()
    ]
    return json.dumps({"worksheets": [{"cells": cells} | extra], "metadata": {}, "nbformat": 3}).encode()


def error(name: str, text: str) -> Raw:
    """Return a stored error output."""
    return {"output_type": "error", "ename": name, "evalue": text, "traceback": [text]}


add("full", solved())
add("untouched", released(), **dict.fromkeys(FULL, 0.0))
add("only q1", released({"q1": ANSWERS["q1"]}), q2=0, q3=0, q4=0)

# shapes of the notebook
answers_first = [cell for cell in solved() if role(cell) == "solution"]
add("extra cells", [c for cell in solved() for c in (cell, code("x = [1, 2]\nx"))])
add("merged into one cell", [*without("solution")[:2], code(everything()), *without("solution")[2:]])
add("answers in reverse order", [*without("solution")[:2], *answers_first[::-1], *without("solution")[2:]])
add("answers below everything", [*without("solution"), *answers_first])
add("answers typed into new cells", [*released(), *(code(source) for source in ANSWERS.values())])
add("a wrong try above", [code("def double(x):\n    return x"), *solved()])
add("a wrong try below its check", [*solved(), code("def double(x):\n    return x")])
add("right only below its check", [*solved(q1="def double(x):\n    return x"), code(ANSWERS["q1"])])
add("answer cells twice", [c for cell in solved() for c in ([cell] * 2 if role(cell) == "solution" else [cell])])
add("check cells twice", [c for cell in solved() for c in ([cell] * 2 if role(cell) == "check" else [cell])])
add("no check cells", without("check"))
add("no setup cell, own imports", [code("import numpy as np"), *without("setup")])
add("no text", without("description"))
add("no ids", no_ids(solved()))
add("no ids and no labels", plain(solved()))
add("new ids", [cell | {"id": f"new-{i}"} for i, cell in enumerate(solved())])
add("one id for all cells", [cell | {"id": "same"} for cell in solved()])
add("ids shifted by one", [c | {"id": solved()[i - 1]["id"]} for i, c in enumerate(solved())])
add("labels lost", [cell | {"metadata": {}} for cell in solved()])
add("labels of the wrong type", [cell | {"metadata": {"labkit": [1]}} for cell in solved()])
add("labels exchanged", [c | {"metadata": d["metadata"]} for c, d in zip(solved(), reversed(solved()), strict=True)])
add("an answer split into cells", [
    *released(ANSWERS | {"q3": "class Base:\n    total = 0"}),
    code("def add(self, n):\n    self.total += n\n    return self.total"),
    code("class Counter(Base):\n    add = add"),
])  # fmt: skip
add("check cell edited", [c | ({"source": "print('my check')"} if role(c) == "check" else {}) for c in solved()])
add("text cells turned into code", [c | {"cell_type": "code"} for c in solved() if role(c) != "check"])
add("source as a list of lines", [c | {"source": c["source"].splitlines(keepends=True)} for c in solved()])

# the file
add("outputs cleared", edited(outputs=[], execution_count=None))
add("stale outputs", edited(outputs=[error("NameError", "np is not defined")], execution_count=9))
add("outputs of another check", edited(outputs=[{"output_type": "stream", "name": "stdout", "text": "FAIL"}]))
add("broken outputs", edited(outputs="none", execution_count="many"))
add("R kernel", as_file(solved(), kernelspec={"name": "ir", "language": "R", "display_name": "R"}))
add("no kernel", as_file(solved(), kernelspec=None))
add("nbformat 3", nbformat3())
add("nbformat 4.0", as_file(no_ids(solved())).replace(b'"nbformat_minor": 5', b'"nbformat_minor": 0'))
add("nbformat 5", as_file(solved()).replace(b'"nbformat": 4', b'"nbformat": 5'))
add("byte-order mark", BOM + as_file(solved()))
add("Windows line ends", BOM + as_file([c | {"source": c["source"].replace("\n", "\r\n")} for c in solved()]))
add("Mac line ends", as_file([c | {"source": c["source"].replace("\n", "\r")} for c in solved()]))
add("UTF-16", json.dumps(json.loads(as_file(solved()))).encode("utf-16"))
add("name without suffix", as_file(solved()), "not-ipynb", file="homework (1)")
add("name with spaces and umlauts", as_file(solved()), file="Übung fünf  final FINAL.ipynb")
add(
    "helpers in a later question's cell",
    solved(q1="def double(x):\n    return times(2, x)", q2=f"def times(a, b):\n    return a * b\n\n\n{ANSWERS['q2']}"),
)
