"""Every explorer of the book: each control is moved, and the figure for the static page is made."""

import pytest

from labkit.explore import Explorer, all_explorers
from labkit.explore.explorer import BUDGET


@pytest.mark.parametrize("name", sorted(all_explorers()))
def test_every_explorer_works_at_all_ends(name):
    explorer = all_explorers()[name]()
    assert isinstance(explorer, Explorer)
    explorer.check()
    page = explorer.static_html()
    assert 0 < len(page) < BUDGET
    assert len(explorer.alt_text()) > 40
    assert explorer.static is not None, "an explorer of the book must work without a kernel"
