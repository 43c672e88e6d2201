"""The five lectures behind the book: their tables, their errata, and the map from a line to code, section and test."""

from labkit.lectures.mapping import (
    Entry,
    Item,
    Line,
    inventory,
    lecture_map,
    lecture_page,
    progress,
    progress_page,
    register,
)
from labkit.lectures.misprints import Erratum, errata, errata_page, erratum
from labkit.lectures.structure import LECTURES, Chapter, chapters
from labkit.lectures.tabular import Column, Table, catalogue, table, tables
from labkit.lectures.taxonomy import FAMILIES, WAYS, Method, chapter_tags, methods, taxonomy_page

__all__ = [
    "FAMILIES",
    "LECTURES",
    "WAYS",
    "Chapter",
    "Column",
    "Entry",
    "Erratum",
    "Item",
    "Line",
    "Method",
    "Table",
    "catalogue",
    "chapter_tags",
    "chapters",
    "errata",
    "errata_page",
    "erratum",
    "inventory",
    "lecture_map",
    "lecture_page",
    "methods",
    "progress",
    "progress_page",
    "register",
    "table",
    "tables",
    "taxonomy_page",
]
