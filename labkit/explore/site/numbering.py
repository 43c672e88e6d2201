"""Chapter numbers from file names: `05-svd` is Chapter 5, whether or not the chapters before it exist yet.

JupyterLab shows headings as they are typed, so authors type their numbers; the site counts for itself, since the
numbers of figures and formulas hang on it, and drops the typed ones.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

TYPED = re.compile(r"\d+(\.\d+)*\.?\s+")


def number_from_file_names() -> None:
    """Make Sphinx take the first number of a section from its file; there is no event for this, hence the wrapper."""
    original = Collector.assign_section_numbers
    if getattr(original, "from_file_names", False):
        return

    def assign(self: Collector, env: BuildEnvironment) -> list[str]:
        before = env.toc_secnumbers
        original(self, env)
        for document in env.toc_secnumbers:
            _renumber(env, document, chapter_number(document))
        return [d for d in env.toc_secnumbers if env.toc_secnumbers[d] != before.get(d)]

    assign.from_file_names = True  # type: ignore[attr-defined]
    Collector.assign_section_numbers = assign  # type: ignore[method-assign]


def drop_typed_numbers(app: Sphinx, doctree: nodes.document) -> None:
    """Turn the headings `5. Name` and `5.1 Name` of a chapter into `Name`."""
    if chapter_number(app.env.docname) is None:
        return
    for title in doctree.findall(nodes.title):
        text = title[0] if title.children and isinstance(title[0], nodes.Text) else nodes.Text("")
        if TYPED.match(text):
            title.replace(text, nodes.Text(TYPED.sub("", text, count=1)))


def chapter_number(document: str) -> int | None:
    """Return the number that leads the file name of `document`, or None.

    >>> chapter_number("book/2-low-rank/05-svd"), chapter_number("book/intro")
    (5, None)
    """
    match = re.match(r"(\d+)-", document.rpartition("/")[2])
    return int(match[1]) if match else None


def _renumber(env: BuildEnvironment, document: str, chapter: int | None) -> None:
    if chapter is None:
        return
    numbers = env.toc_secnumbers[document]
    env.toc_secnumbers[document] = {anchor: number and (chapter, *number[1:]) for anchor, number in numbers.items()}
    for node in [env.titles[document], *env.tocs[document].findall(nodes.reference)]:
        _set_first(node, chapter)


def _set_first(node: Any, chapter: int) -> None:
    if node.get("secnumber"):
        node["secnumber"] = [chapter, *node["secnumber"][1:]]
