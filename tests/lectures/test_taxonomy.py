"""The map of the book: every method has one family and one way, and no chapter from 5 to 29 is missing."""

import re
from collections import defaultdict

import pytest

from labkit.lectures import FAMILIES, WAYS, chapter_tags, chapters, inventory, methods, register, taxonomy_page
from labkit.lectures.structure import records
from labkit.lectures.taxonomy import TAGGED

MAPPED = [str(number) for number in range(5, 30)]


def test_every_method_carries_exactly_one_tag():
    expected = [item.id for item in inventory().values() if item.kind in TAGGED and item.chapter in MAPPED]
    assert list(methods()) == expected
    assert all(method.family in FAMILIES and method.way in WAYS for method in methods().values())


def test_no_object_of_the_package_has_two_families():
    families = defaultdict(set)
    for method in methods().values():
        if method.id in register():
            families[register()[method.id].object].add(method.family)
    assert {name: found for name, found in families.items() if len(found) > 1} == {}


def test_all_families_and_ways_occur():
    assert {method.family for method in methods().values()} == set(FAMILIES)
    assert len(FAMILIES) == 5
    assert {method.way for method in methods().values()} == set(WAYS)


def test_every_chapter_from_5_to_29_is_on_the_map():
    assert list(chapter_tags()) == MAPPED
    page = taxonomy_page().content
    assert all(f"{number}. {chapters()[number].title}" in page.replace("&amp;", "&") for number in MAPPED)


def test_the_map_crosses_families_and_ways():
    rows = re.findall(r"<th scope='row'>([\w ]+)</th>((?:<td>[^<]*</td>){5})", taxonomy_page().content)
    assert [family for family, _ in rows] == list(FAMILIES)
    shown = set()
    for family, cells in rows:
        for way, cell in zip(WAYS, re.findall("<td>([^<]*)</td>", cells), strict=True):
            shown |= {(family, way, number) for number in cell.split(", ") if number != "–"}
    assert shown == {(m.family, m.way, m.chapter) for m in methods().values()}
    assert {("pruning", "smaller", "22"), ("quantization", "lower", "22")} <= shown


@pytest.mark.parametrize(
    ("id", "family", "way"),
    [
        ("5.05", "low rank", "faster"),
        ("10.05", "pruning", "smaller"),
        ("16.01", "quantization", "lower"),
        ("22.02", "pruning", "smaller"),
        ("22.03", "quantization", "lower"),
        ("25.06", "compact design", "faster"),
        ("28.02", "distillation", "any"),
        ("29.02", "pruning", "dynamic"),
    ],
)
def test_known_methods(id, family, way):
    assert (methods()[id].family, methods()[id].way) == (family, way)


def test_the_file_names_each_chapter_and_method_once():
    ids = [row["id"] for row in records("taxonomy.csv")]
    assert len(ids) == len(set(ids))
    unlike = {id for id in ids if id not in chapters()}
    assert unlike <= set(methods())
    assert all(chapter_tags()[methods()[id].chapter][0] != methods()[id].family for id in unlike)
