"""Explorers on a static page in a real browser: keyboard, pictures, errors, no other host."""

import re
import shutil
import statistics

import pytest

from labkit.explore import Choice, Explorer, Field, Grid, Lines, Series, Slider, Steps, Toggle
from labkit.explore.pages import STATIC
from labkit.explore.svd import svd_explorer
from tests.browser import explorer_page, launch, serious, serve

PICTURE = "document.querySelector('figure[data-view=reconstruction] canvas').toDataURL()"


def press(page, locator, key):
    """Press a key and wait for the new frame."""
    before = page.evaluate("Number(document.querySelector('.lk-live').dataset.frames)")
    locator.press(key)
    page.wait_for_function(f"Number(document.querySelector('.lk-live').dataset.frames) > {before}")


def test_svd_explorer_answers_the_keyboard(open_page, capsys):
    with open_page(svd_explorer()) as page:
        slider, first = page.locator("input[type=range]"), page.evaluate(PICTURE)
        assert slider.get_attribute("aria-valuetext") == "20"
        press(page, slider, "ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "21"
        assert page.evaluate(PICTURE) != first
        assert "21" in page.locator("figure[data-view=spectrum] svg.lk-plot").get_attribute("aria-label")
        press(page, slider, "End")
        assert "∞ dB" in page.inner_text(".lk-readouts").replace("\u00a0", " ")
        times = []
        for i in range(60):
            press(page, slider, ("PageDown", "ArrowLeft", "PageUp", "ArrowLeft")[i % 4])
            times.append(float(page.evaluate("document.documentElement.dataset.lkMs")))
        page.locator("select").select_option(label="Weights of LeNet's first layer, 300 × 784")
        page.wait_for_function("document.querySelector('.lk-readouts').textContent.includes('Held-out accuracy')")
        assert int(slider.get_attribute("max")) + 1 == 300
    with capsys.disabled():
        print(f"\nstatic page, slider move: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms")


def test_the_slider_is_lowered_with_the_subject(open_page):
    with open_page(svd_explorer()) as page:
        press(page, page.locator("input[type=range]"), "End")
        page.locator("select").select_option(index=1)
        page.wait_for_function("document.querySelector('.lk-value').textContent === '300'")


def test_every_kind_of_control_moves_the_plot(open_page):
    with open_page(controls_explorer()) as page:
        seen = {page.locator("svg.lk-plot").get_attribute("aria-label")}

        def moved():
            label = page.locator("svg.lk-plot").get_attribute("aria-label")
            assert label not in seen
            seen.add(label)

        press(page, page.locator("input[type=range]"), "ArrowRight")
        moved()
        before = page.evaluate("Number(document.querySelector('.lk-live').dataset.frames)")
        page.get_by_label("Negative").press("Space")
        page.wait_for_function(f"Number(document.querySelector('.lk-live').dataset.frames) > {before}")
        moved()
        press(page, page.locator("input[type=radio]").first, "ArrowDown")
        moved()
        press(page, page.get_by_role("button", name="Next"), "Enter")
        moved()
        assert page.inner_text(".lk-step") == "2 of 2: squared"
        assert page.locator("input[type=text]").is_disabled()  # one value on the page, all of them in JupyterLab
        assert (
            page.inner_text(".lk-note") == "This page holds 3 of 9 values of “Size”; in JupyterLab every value works."
        )


def controls_explorer() -> Explorer:
    def compute(size, negative, offset, f, step):
        y = [((-1) ** negative * size * x) ** (step + 1) + offset for x in f]
        return {"plot": Series(y)}

    controls = [
        Slider("size", 1, 9),
        Toggle("negative"),
        Choice("offset", {100: "hundred", 200: "two hundred"}, style="radio"),
        Field("f", [1, 2, 3]),
        Steps("step", ["plain", "squared"]),
    ]
    return Explorer("all", compute, controls=controls, views=[Lines("plot")], alt="", static=Grid({"size": [1, 5, 9]}))


@pytest.mark.parametrize("theme_name", ["light", "dark"])
def test_text_has_contrast_on_both_themes(open_page, theme_name):
    with open_page(controls_explorer()) as page:
        page.evaluate(f"document.documentElement.dataset.theme = '{theme_name}'")
        page.add_style_tag(content="body {background: var(--lk-background)}")
        page.wait_for_timeout(300)
        assert not serious(page)


def test_nothing_is_wider_than_a_phone(open_page):
    with open_page(svd_explorer(), viewport={"width": 340, "height": 700}) as page:
        page.wait_for_selector("svg.lk-plot path")
        assert page.evaluate("document.documentElement.scrollWidth") <= 340


def test_print_and_no_scripts_show_the_still(open_page):
    with open_page(controls_explorer()) as page:
        assert not page.locator(".labkit-still").is_visible()
        page.emulate_media(media="print")
        assert page.locator(".labkit-still").is_visible()
        assert not page.locator(".lk").is_visible()


def test_without_scripts_the_still_is_there(open_page):
    with open_page(controls_explorer(), java_script_enabled=False) as page:
        assert page.locator(".labkit-still").is_visible()


def test_an_error_on_the_page_is_shown(tmp_path):
    shutil.copytree(STATIC, tmp_path / "site")
    figure = re.sub(r'"data":"[^"]*"', '"data":"AAAA"', controls_explorer().static_html())
    (tmp_path / "site" / "index.html").write_text(explorer_page(figure), encoding="utf-8")
    with serve(tmp_path / "site") as url, launch() as (page, complaints):
        page.goto(url)
        assert "could not start" in page.inner_text(".lk-error")
        assert page.locator(".labkit-still").is_visible()
        assert complaints.seen  # and on the console, where the tests of the site look
