"""The palette keeps its promises: contrast on both pages, distinct greys, the variables that the style sheets use."""

import itertools
import re

import pytest

from labkit.explore import theme
from labkit.explore.site import assets


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("page", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_series_stand_out_on_both_pages(page):
    assert min(contrast(colour, page["--lk-background"]) for colour in theme.PALETTE) >= 3


@pytest.mark.parametrize("page", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["--lk-text", "--lk-muted", "--lk-accent"])
def test_text_is_readable_on_page_and_surface(page, ink):
    assert contrast(page[ink], page["--lk-background"]) >= 4.5
    assert contrast(page[ink], page["--lk-surface"]) >= 4.5


def test_the_sequential_scale_only_darkens():
    levels = [luminance(colour) for colour in theme.SEQUENTIAL]
    assert all(a > b for a, b in itertools.pairwise(levels))


def test_the_diverging_scale_is_lightest_in_the_middle():
    levels = [luminance(colour) for colour in theme.DIVERGING]
    middle = len(levels) // 2
    assert levels[: middle + 1] == sorted(levels[: middle + 1])
    assert levels[middle:] == sorted(levels[middle:], reverse=True)


def test_every_series_has_its_own_dash_and_marker():
    assert len(set(theme.PALETTE)) == len(set(theme.DASHES)) == len(set(theme.MARKERS)) == 6


def test_style_sheets_use_only_variables_that_the_theme_defines():
    defined = set(re.findall(r"(--lk-[\w-]+):", theme.css_variables()))
    styles = "".join(path.read_text() for path in assets.STATIC.glob("*.css"))
    own = set(re.findall(r"(--lk-[\w-]+):", styles)) | {"--lk-filled"}  # set by the slider's script
    assert set(re.findall(r"var\((--lk-[\w-]+)", styles)) <= defined | own
