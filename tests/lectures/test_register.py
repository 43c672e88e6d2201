"""The register: what it calls done can be imported, is told in a section, is tested, and nothing is left out."""

import ast
import importlib
import json
import re
from functools import cache

import pytest

from labkit.lectures import LECTURES, chapters, inventory, lecture_map, progress, register, table, tables
from labkit.lectures.structure import places, records
from labkit.paths import ROOT

ENTRIES = pytest.mark.parametrize("id", list(register()))


def resolve(name):
    """Return what an entry's object names: `table:slug`, `file:path` below the root, or `module:attribute`."""
    kind, _, rest = name.partition(":")
    if kind == "table":
        return table(rest)
    if kind == "file":
        return (ROOT / rest).resolve(strict=True)
    found = importlib.import_module(kind)
    for attribute in rest.split("."):
        found = getattr(found, attribute)
    return found


def sources():
    for path in (ROOT / "book").rglob("*"):
        if path.suffix == ".md":
            yield path.read_text(encoding="utf-8")
        elif path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            yield "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@cache
def anchors():
    return {name for text in sources() for name in re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE)}


@cache
def collected(path):
    """Return the ids pytest collects from a test file; those of a parametrised test count as one."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = [(None, node) for node in tree.body]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    functions += [(cls.name, node) for cls in classes for node in cls.body]
    found = [(cls, node.name) for cls, node in functions if isinstance(node, ast.FunctionDef)]
    return {"::".join(filter(None, (path, cls, name))) for cls, name in found if name.startswith("test")}


@ENTRIES
def test_object_exists(id):
    assert resolve(register()[id].object) is not None


@ENTRIES
def test_section_exists(id):
    assert register()[id].section in anchors()


@ENTRIES
def test_tests_are_collected(id):
    for test in register()[id].test.split(";"):
        path = test.split("::")[0]
        assert re.fullmatch(r"tests/([\w-]+/)*test_\w+\.py", path)
        assert test in collected(path)


@ENTRIES
def test_entry_repeats_its_item(id):
    entry, item = register()[id], inventory()[id]
    assert (entry.name, entry.kind, entry.lecture, entry.lines) == (item.name, item.kind, item.lecture, item.lines)


def test_no_item_of_a_finished_chapter_is_left_out():
    finished = {number for number, chapter in chapters().items() if chapter.page}
    missing = [item.id for item in inventory().values() if item.chapter in finished and item.id not in register()]
    assert missing == []
    assert all(inventory()[id].chapter in finished for id in register())


def test_csv_rows_are_unique_and_in_order():
    ids = [row["id"] for row in records("inventory.csv")]
    done = [row["id"] for row in records("register.csv")]
    assert len(ids) == len(set(ids)) == 537
    assert done == [id for id in ids if id in set(done)]


def test_inventory_is_well_formed():
    for item in inventory().values():
        assert item.chapter == item.id.split(".")[0]
        assert item.chapter in chapters()
        assert item.acceptance
        for lecture, lines in places(item.lecture, item.lines):
            assert lecture in LECTURES
            assert re.fullmatch(r"\d+(-\d+)?", lines)


def test_every_chapter_has_a_lab_and_an_explorer():
    kinds = {number: {i.kind for i in inventory().values() if i.chapter == number} for number in chapters()}
    assert [number for number, found in kinds.items() if not {"lab", "explorer"} <= found] == []


def test_inventory_holds_every_table_with_its_lines():
    items = {(i.chapter, i.lecture, i.lines): i for i in inventory().values() if i.kind == "table"}
    rows = {(t.chapter, t.lecture, t.lines.replace(";", ",")) for t in tables()}
    assert rows - set(items) == set()


def test_lecture_map_covers_everything_that_has_lines():
    expected = sum(len(places(i.lecture, i.lines)) for i in inventory().values())
    assert sum(len(lecture_map(lecture)) for lecture in LECTURES) == len(lecture_map()) == expected


def test_lecture_map_is_in_order_and_tells_the_status():
    lines = [int(line.lines.split("-")[0]) for line in lecture_map("003")]
    assert lines == sorted(lines)
    for line in lecture_map():
        assert line.status == ("done" if line.item.id in register() else "to come")


def test_progress_counts():
    assert sum(total for _, total in progress().values()) == 537
    assert sum(done for done, _ in progress().values()) == len(register())


def test_bad_input():
    with pytest.raises(ValueError, match="lecture must be one of 5 names, got '005'"):
        lecture_map("005")
    with pytest.raises(ValueError, match="chapter must be one of 31"):
        lecture_map(chapter="five")


def test_glossary_has_both_languages():
    text = (ROOT / "book" / "back" / "glossary.md").read_text(encoding="utf-8")
    body = text.split(":::{glossary}\n")[1].rstrip().removesuffix(":::")
    entries = [entry.strip().split("\n") for entry in body.split("\n\n")]
    terms = [line.lower() for *head, _ in entries for line in head]
    assert len(entries) >= 80
    assert len(terms) == len(set(terms))
    assert all(re.search("[\u4e00-\u9fff]", head[-1]) for *head, _ in entries)
    assert all(definition.startswith("  ") and definition.endswith(".") for *_, definition in entries)
