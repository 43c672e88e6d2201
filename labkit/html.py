"""Accessible HTML tables for every page of the book: captions, header scopes, one filter box."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = (
    "<style>.lk-table{overflow-x:auto}.lk-table table{border-collapse:collapse;margin:0}"
    ".lk-table caption{caption-side:top;text-align:left;color:inherit}.lk-table caption small{display:block}"
    ".lk-table th,.lk-table td{padding:.2em .6em;text-align:left;vertical-align:top;border-bottom:1px solid #8884}"
    ".lk-table .n{text-align:right;font-variant-numeric:tabular-nums}</style>"
)

# Without scripts the box stays hidden and the whole table is there to read.
_SCRIPT = """<script>(() => {
const box = document.currentScript && document.currentScript.previousElementSibling;
if (!box) return;
const input = box.querySelector("input"), count = box.querySelector("output"), rows = box.querySelectorAll("tbody tr");
const filter = () => {
  const words = input.value.toLowerCase().split(/\\s+/);
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
    shown += !row.hidden;
  }
  count.textContent = shown + " of " + rows.length + " rows";
};
input.addEventListener("input", filter);
box.querySelector(".lk-filter").hidden = false;
filter();
})();</script>"""


class Markup(str):
    """Text that is already HTML and must not be escaped again."""


@dataclass(frozen=True)
class Page:
    """A piece of HTML with a short, fixed text form."""

    title: str
    content: str

    def __repr__(self) -> str:
        return f"Page({self.title!r})"

    def _repr_html_(self) -> str:
        return self.content


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    note: str = "",
    label_column: int = 0,
    numeric: Sequence[bool] = (),
) -> str:
    """Return an HTML table; the cells of `label_column` head their rows, numeric cells stand right.

    header: one label a column, or an empty list for a table that only its row labels explain.

    >>> "<th scope='row'>fc1</th><td class='n'>784</td>" in table(["layer", "n"], [["fc1", "784"]], caption="Sizes",
    ...                                                           numeric=[False, True])
    True
    """
    css = {j: " class='n'" for j, right in enumerate(numeric) if right}
    head = "".join(f"<th scope='col'{css.get(j, '')}>{_cell(text)}</th>" for j, text in enumerate(header))
    body = "\n".join(_row(row, css, label_column) for row in rows)
    small = f"<small>{_cell(note)}</small>" if note else ""
    return (
        f"{_STYLE}<div class='lk-table' role='region' tabindex='0' aria-label=\"{escape(caption)}\"><table>"
        f"<caption><strong>{_cell(caption)}</strong>{small}</caption>"
        f"{head and f'<thead><tr>{head}</tr></thead>'}<tbody>\n{body}\n</tbody></table></div>"
    )


def searchable(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Page:
    """Return a table with a box that filters its rows while the reader types.

    >>> searchable("Errata", ["Id"], [["E01"]])
    Page('Errata')
    """
    field = "<p class='lk-filter' hidden><label>Filter <input type='search'></label> <output></output></p>"
    return Page(title, f"<div>{field}{table(header, rows, caption=title)}</div>{_SCRIPT}")


def link(text: str, page: str, anchor: str) -> Markup:
    """Return a link to an anchor of another page of the book (of this page if `page` is empty).

    In JupyterLab the page is the notebook; on the site, where LABKIT_STATIC is set, it is the HTML file.

    >>> link("SVD", "", "sec-svd")
    "<a href='#sec-svd'>SVD</a>"
    """
    suffix = ".html" if os.environ.get("LABKIT_STATIC") else ".ipynb"
    target = f"{page}{suffix if page else ''}#{anchor.lower().replace('_', '-')}"  # as docutils writes ids
    return Markup(f"<a href='{escape(target)}'>{_cell(text)}</a>")


def code(text: str) -> Markup:
    """Return text in code type.

    >>> code("a_b")
    '<code>a_b</code>'
    """
    return Markup(f"<code>{escape(text)}</code>")


def _row(row: Sequence[str], css: dict[int, str], label_column: int) -> str:
    tags = ["th scope='row'" if j == label_column else "td" for j in range(len(row))]
    parts = [f"<{tag}{css.get(j, '')}>{_cell(row[j])}</{tag[:2]}>" for j, tag in enumerate(tags)]
    return f"<tr>{''.join(parts)}</tr>"


def _cell(text: str) -> str:
    if isinstance(text, Markup):
        return text
    text = re.sub(r"\^\{?(-?\w+)\}?", r"<sup>\1</sup>", escape(text))
    text = re.sub(r"(?<=\w)_\{(\w+)\}", r"<sub>\1</sub>", text)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
