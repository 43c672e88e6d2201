"""Reading and writing notebook files: strict for the instructor's, tolerant for the students'."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from labkit import paths
from labkit.grading.errors import LabError
from labkit.grading.model import Cell

MAX_BYTES = 20_000_000
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file; a link, a folder, a pipe or a huge file is refused with a LabError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, ValueError) as error:  # a ValueError if the name holds a NUL or half a character
        raise LabError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise LabError(f"{path} is not a regular file")
        if info.st_size > max_bytes:
            raise LabError(f"{path} has {info.st_size:,} bytes; at most {max_bytes:,} are read")
        with open(handle, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(handle)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Return the object in a JSON file in UTF-8 or UTF-16, byte-order mark or not; a key given twice is refused."""
    try:
        value = json.loads(content.decode(json.detect_encoding(content)), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path} is not a notebook: {error}") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} is not a notebook: it holds a {type(value).__name__}")
    return value


def read_submission(path: str | Path) -> list[Cell]:
    """Return the cells of a student's notebook, whatever its format version, line ends or missing ids.

    Outputs are dropped and metadata is kept only as the hint that it is. Raises LabError if the file is not
    a regular file of at most 20 MB that holds a notebook.
    """
    path = Path(path)
    return parse_submission(read_bytes(path), path)


def parse_submission(content: bytes, path: Path) -> list[Cell]:
    """Return the cells of a student's notebook, given its bytes; `path` is for the text of a LabError."""
    notebook = parse_json(content, path)
    sheets = notebook.get("worksheets")
    holder = sheets[0] if isinstance(sheets, list) and sheets and isinstance(sheets[0], dict) else notebook
    cells = holder.get("cells")
    if not isinstance(cells, list):
        raise LabError(f"{path} is not a notebook: it has no list of cells")
    return [_tolerant(cell, i) for i, cell in enumerate(cells) if isinstance(cell, dict)]


def read_instructor(path: str | Path) -> list[Cell]:
    """Return the cells of an instructor's notebook; raises LabError unless it is a valid notebook with unique ids."""
    path = Path(path)
    raw = parse_json(read_bytes(path), path)
    _refuse_bad_ids(raw, path)
    _validate(raw, path)
    return [_strict(cell) for cell in raw["cells"]]


def write_release(path: Path, cells: list[Cell], *, lab: str) -> None:
    """Write a notebook without outputs; the cells that the grader replaces anyway cannot be deleted by accident."""
    notebook = {
        "cells": [_json_cell(cell) for cell in cells],
        "metadata": {"kernelspec": KERNEL, "labkit": {"lab": lab}, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    _validate(notebook, path)
    write_json(path, notebook)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file under a temporary name that is then renamed."""
    with paths.replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise ValueError(f"the key {twice[:40]!r} is given twice in one object")
    return result


def _tolerant(raw: dict[str, Any], i: int) -> Cell:
    meta = raw.get("metadata")
    label = meta.get("labkit") if isinstance(meta, dict) else None
    label = label if isinstance(label, dict) else {}
    hints = {key: label[key] for key in ("role", "question") if isinstance(label.get(key), str)}
    kind = raw.get("cell_type") if raw.get("cell_type") in ("code", "markdown", "raw") else "markdown"
    name = raw["id"] if isinstance(raw.get("id"), str) and raw["id"] else f"cell-{i}"
    return Cell(name, str(kind), _text(raw.get("source", raw.get("input", ""))), **hints)


def _validate(raw: dict[str, Any], path: Path) -> None:
    import nbformat  # slow to import, and not needed for students' notebooks

    try:
        nbformat.validate(nbformat.from_dict(raw))
    except nbformat.ValidationError as error:
        raise LabError(f"{path} is not a valid notebook: {error.message}") from error


def _text(source: Any) -> str:
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_bad_ids(raw: dict[str, Any], path: Path) -> None:
    seen: set[str] = set()
    for i, cell in enumerate(raw.get("cells") or []):
        name = cell.get("id") if isinstance(cell, dict) else None
        if not isinstance(name, str):
            raise LabError(f"{path}: cell number {i + 1} has no id; save the notebook in format 4.5 or later")
        if name in seen:
            raise LabError(f"{path}: two cells have the id {name!r}; the second is cell number {i + 1}")
        seen.add(name)


def _strict(raw: dict[str, Any]) -> Cell:
    cell = Cell(raw["id"], raw["cell_type"], _text(raw["source"]))
    label = raw["metadata"].get("labkit", {})
    unknown = set(label) - {"role", "question", "points"} if isinstance(label, dict) else {"labkit"}
    if unknown:
        raise LabError(f"{cell}: unknown metadata {sorted(unknown)}; labkit holds role, question and points")
    return Cell(cell.id, cell.kind, cell.source, **label)


def _json_cell(cell: Cell) -> dict[str, Any]:
    label = {"role": cell.role, "question": cell.question, "points": cell.points}
    label = {key: value for key, value in label.items() if value is not None}
    meta: dict[str, Any] = {"labkit": label} if label else {}
    if cell.role in ("description", "check"):
        meta.update(deletable=False, editable=False)
    raw = {"id": cell.id, "cell_type": cell.kind, "metadata": meta, "source": cell.source.splitlines(keepends=True)}
    return raw | ({"outputs": [], "execution_count": None} if cell.kind == "code" else {})
