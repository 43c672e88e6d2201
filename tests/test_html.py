"""The HTML of the back matter: escaped, linked to notebooks in the Lab and to pages on the site."""

import pytest

from labkit import html
from labkit.lectures import catalogue, errata_page, lecture_page, progress_page, tables


def test_links_follow_the_place_where_the_page_is_read(monkeypatch):
    monkeypatch.delenv("LABKIT_STATIC", raising=False)
    assert html.link("a", "tables-2", "table-x_y") == "<a href='tables-2.ipynb#table-x-y'>a</a>"
    monkeypatch.setenv("LABKIT_STATIC", "1")
    assert html.link("a", "tables-2", "table-x_y") == "<a href='tables-2.html#table-x-y'>a</a>"
    assert html.link("a", "", "erratum-E05") == "<a href='#erratum-e05'>a</a>"


def test_cells_are_escaped_and_powers_raised():
    text = html.table(["a<b"], [["7^2 × 3"], ["lr_{init}"], ["2^{-15}"], ["<script>"]], caption='say "hi"')
    for part in ("a&lt;b", "7<sup>2</sup>", "lr<sub>init</sub>", "2<sup>-15</sup>", "&lt;script&gt;", "&quot;hi&quot;"):
        assert part in text


def test_a_table_without_header_has_none():
    text = html.table([], [["printed", "x"]], caption="Card")
    assert "<thead>" not in text
    assert "<th scope='row'>printed</th><td>x</td>" in text


@pytest.mark.parametrize("page", [catalogue(), errata_page(), lecture_page("003"), progress_page()])
def test_pages_have_a_fixed_text_form_and_stay_small(page):
    assert repr(page) == f"Page({page.title!r})"
    assert len(page._repr_html_()) < 300_000


def test_searchable_pages_label_their_box():
    content = catalogue()._repr_html_()
    assert "<label>Filter <input type='search'></label>" in content
    assert all(f"#table-{t.slug.replace('_', '-')}'" in content for t in tables())
    assert "https://" not in content
    assert "http://" not in content
