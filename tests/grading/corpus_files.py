"""Files that are no notebooks, or notebooks made to fool the program that reads them."""

import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path

from corpus import add
from corpus_honest import edited, role
from corpus_lab import ANSWERS, Raw, as_file, code, released, solved

WRONG = "def double(x):\n    return 0"
FORGED = """from labkit.grading import question


@question('q1')
def _(check):
    with check('all', points=3):
        pass
"""
PASSED = [{"output_type": "stream", "name": "stdout", "text": "q1: 2 of 2 checks pass here.\n"}]
LABEL = {"role": "check", "question": "q1", "points": 1000}


def unreadable(name: str, content, *flags: str, **more) -> None:
    """Add a file that holds no notebook."""
    add(name, content, *(flags or ("unreadable",)), total=0, status="unreadable", **more)


def forged(name: str, cells: list[Raw], *flags: str, **more) -> None:
    """Add a notebook with a wrong q1 and with something that claims it is right."""
    add(name, cells, *flags, q1=0, **more)


def with_check(**changes: object) -> list[Raw]:
    """Return a notebook with a wrong q1 whose check cells have other fields."""
    return [cell | (changes if role(cell) == "check" else {}) for cell in solved(q1=WRONG)]


def packed(*names: str) -> bytes:
    """Return a zip archive that holds a good notebook under some names."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in names:
            archive.writestr(name, as_file(solved()))
    return memory.getvalue()


def tarred() -> bytes:
    """Return a tar archive with a file that leaves its folder."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        info = tarfile.TarInfo("../../escape.ipynb")
        info.size = len(as_file(solved()))
        archive.addfile(info, io.BytesIO(as_file(solved())))
    return memory.getvalue()


def sparse(path: Path) -> None:
    """Make a file of a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 30)


def listen(path: Path) -> None:
    """Make a socket in the file system."""
    os.chdir(path.parent)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def doubled(key: str, first: str) -> bytes:
    """Return a notebook in which a key is given twice."""
    return as_file(solved()).replace(b"{", f'{{"{key}": {first}, '.encode(), 1)


NOTEBOOK = as_file(solved())

# files
unreadable("empty file", b"")
unreadable("text", b"I could not do it.")
unreadable("PDF", b"%PDF-1.7 \x00\xff", "unreadable", "not-ipynb", file="report.pdf")
unreadable("binary", bytes(range(256)) * 50)
unreadable("half a notebook", NOTEBOOK[: len(NOTEBOOK) // 2])
unreadable("a list", b"[1, 2]")
unreadable("cells are no list", b'{"cells": {"a": 1}, "nbformat": 4}')
unreadable("deep JSON", b"[" * 200_000)
unreadable("deep JSON in a cell", b'{"cells": [' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}")
unreadable("a number with many digits", b'{"cells": [], "nbformat": ' + b"9" * 100_000 + b"}")
unreadable("two lists of cells", doubled("cells", "[]"))
unreadable("two formats", doubled("nbformat", "3"))
unreadable("two sources", NOTEBOOK.replace(b'"source": "def double', b'"source": "pass", "source": "def double'))
unreadable("a gigabyte", sparse, "too-large")
unreadable("pipe", lambda path: os.mkfifo(path), "special")
unreadable("socket", listen, "special")
unreadable("link to the solution", lambda path: path.symlink_to("../lab/instructor.ipynb"), "special")
unreadable("link to the passwords", lambda path: path.symlink_to("/etc/passwd"), "special")
unreadable("link to itself", lambda path: path.symlink_to(path.name), "special")
unreadable("link to an endless device", lambda path: path.symlink_to("/dev/zero"), "special")
unreadable("zip", packed("lab.ipynb"), "archive", file="zipped.zip")
unreadable("zip that leaves its folder", packed("../../escape.ipynb", "/escape.ipynb"), "archive", file="escape.zip")
unreadable("tar", tarred(), "archive", file="escape.tar")
unreadable("zip named as a notebook", packed("lab.ipynb"))

# notebooks of odd make
add("no cells", b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', total=0)
ODD = {"cell_type": 3, "source": {"a": 1}, "metadata": [2], "id": []}
add("cells of wrong types", as_file([*solved(), ODD]))
add("cells that are no objects", NOTEBOOK.replace(b'"cells": [', b'"cells": [1, null, "x", [], '))
add("NaN and Infinity", NOTEBOOK.replace(b'"nbformat_minor": 5', b'"nbformat_minor": NaN, "x": -Infinity'))
add("lone surrogates in the source", as_file([*solved(), code("'\ud800'\n# \udfff")]))
add("a null character in the source", as_file([*solved(), code("a = 1\x00")]))
add("source nested too deep", as_file([*solved(), code("(" * 5_000 + ")" * 5_000), code("-" * 100_000 + "1")]))
add("one very long line", as_file([*solved(), code("x = '" + "a" * 3_000_000 + "'")]))
add("ten thousand cells", as_file([*solved(), *(code("x = 1") for _ in range(10_000))]))
add("another encoding in a comment", as_file(solved(q1="# -*- coding: utf-7 -*-\n" + ANSWERS["q1"])))
add("markup everywhere", as_file(solved(q1=ANSWERS["q1"] + "\n# <script>alert(1)</script>")),
    file="<img src=x onerror=alert(1)>.ipynb")  # fmt: skip
add("formula", as_file(solved()), file="=HYPERLINK(A1,B1).ipynb")
add("formula with at", as_file(solved()), file="@SUM(1+1)*cmd.ipynb")
add("name of a command", as_file(solved()), file="--out $(touch attack-marker) ; .ipynb")
add("name with a new line", as_file(solved()), "odd-name", file="Ada\nGrade,100.ipynb")
add("name that turns the text round", as_file(solved()), "odd-name", file="a\u202ebpyni.ipynb")
add("name that is not text", NOTEBOOK, "odd-name", file=os.fsdecode(b"\xff\xfe.ipynb"))

# forged cells, metadata and results
forged("points in the metadata", with_check(metadata={"labkit": LABEL}))
forged("a check cell of one's own", [*with_check(source=FORGED), code(FORGED)])
forged("a check cell that prints", with_check(source="print('q1: 2 of 2 checks pass here.')", outputs=PASSED))
forged("stored results", [c | ({"outputs": PASSED} if c["cell_type"] == "code" else {}) for c in solved(q1=WRONG)])
forged("an answer labelled as a check", [
    c | ({"metadata": {"labkit": LABEL}} if c["id"] == "q1-answer" else {}) for c in solved(q1=WRONG)
])  # fmt: skip
forged("an answer labelled as set-up", [
    c | ({"metadata": {"labkit": {"role": "setup"}}} if c["id"] == "q1-answer" else {})
    for c in solved(q1=f"question = lambda name: lambda f: None\n{WRONG}")
])  # fmt: skip
forged("the id of the check", [c | {"id": {"q1-answer": "q1-check"}.get(c["id"], c["id"])} for c in solved(q1=WRONG)])
forged("the ids of two questions exchanged", [
    c | {"id": {"q1-answer": "q2-answer", "q2-answer": "q1-answer"}.get(c["id"], c["id"])} for c in solved(q1=WRONG)
])  # fmt: skip
forged("manual cell labelled as graded", [
    c | ({"metadata": {"labkit": {"role": "manual", "question": "q1", "points": 3}}} if c["id"] == "why" else {})
    for c in solved(q1=WRONG)
])  # fmt: skip
forged("tags that skip cells", [
    c | {"metadata": c["metadata"] | {"tags": ["nbval-skip", "raises-exception", "skip-execution", "remove-cell"]}}
    for c in solved(q1=WRONG)
])  # fmt: skip
forged("comments that steer nbval", [
    c | ({"source": f"# NBVAL_SKIP\n# NBVAL_RAISES_EXCEPTION\n{c['source']}"} if c["cell_type"] == "code" else {})
    for c in solved(q1=WRONG)
])  # fmt: skip
STEERING = {"nbval": {"skip": True}, "celltoolbar": "x", "execution": {"allow_errors": True, "timeout": -1}}
add("metadata that steer nbval", as_file(solved(q1=WRONG), **STEERING), q1=0)
KERNEL = {"name": "../../evil", "argv": ["touch", "/tmp/attack-marker"], "language": "python"}
add("a kernel of one's own", as_file(solved(q1=WRONG), kernelspec=KERNEL), q1=0)
add(
    "markup in outputs",
    edited(
        outputs=[{"output_type": "display_data", "data": {"text/html": "<script>alert(1)</script>"}, "metadata": {}}]
    ),
)
add("the notebook as released, without its labels", [c | {"metadata": {}} for c in released()], total=0)
