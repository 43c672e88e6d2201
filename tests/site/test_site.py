"""The built site in a real browser, with every other host out of reach: pages, formulas, figures, explorers, search."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from sphinx_external_toc.parsing import parse_toc_yaml

from labkit.paths import ROOT
from tests.browser import need_chromium, open_page, running, serious, serve

SITE = ROOT / "_build" / "html"
PAGES = sorted(parse_toc_yaml(ROOT / "_toc.yml"))
CHAPTERS = [page for page in PAGES if Path(page).name[0].isdigit()]
DESKTOP, PHONE = {"width": 1360, "height": 900}, {"width": 340, "height": 740}
MEGABYTE = 1_000_000
TO_THE_END = """async () => {
  for (const solution of document.querySelectorAll('article details')) solution.open = true;
  for (let y = 0; y < document.body.scrollHeight; y += 500) {
    scrollTo(0, y);
    await new Promise((done) => setTimeout(done, 30));
  }
}"""
SETTLED = """() => [...document.querySelectorAll('.fig-plot')].every((box) => 'drawn' in box.dataset)
  && [...document.querySelectorAll('figure.labkit-explorer')].every((figure) => figure.dataset.ready)
  && [...document.querySelectorAll('.math')].every((math) => math.querySelector('mjx-container'))"""


@pytest.fixture(scope="module")
def address():
    """Build what is out of date, warnings being errors, and serve it."""
    need_chromium()
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "--keep-going", str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-8000:] or result.stdout[-4000:]
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with running() as browser:
        yield browser


@pytest.fixture(scope="module", params=PAGES)
def visit(request, browser, address):
    """One page, read to its end, with its complaints."""
    page, complaints = open_page(browser, viewport=DESKTOP, color_scheme="light")
    page.goto(f"{address}/{request.param}.html", wait_until="load")
    page.evaluate(TO_THE_END)
    page.wait_for_function(SETTLED, timeout=20_000)
    yield page, complaints
    page.context.close()


def test_the_page_works_without_a_complaint_or_another_host(visit):
    page, complaints = visit
    assert not complaints.seen
    assert page.locator("article h1").count() == 1
    assert page.title()
    assert page.locator("html").get_attribute("lang") == "en"


def test_every_formula_is_set(visit):
    page, _ = visit
    assert page.locator("mjx-container").count() == page.locator(".math mjx-container").count()
    assert page.locator("mjx-merror").count() == 0


def test_every_figure_is_drawn_with_alt_text_and_caption(visit):
    page, _ = visit
    for box in page.locator(".fig-plot").all():
        assert box.get_attribute("aria-label")
        assert box.locator("svg.main-svg").first.is_visible()
        assert box.locator("xpath=ancestor::figure[1]").locator("figcaption").inner_text().startswith("Figure ")


def test_every_image_has_alt_text(visit):
    page, _ = visit
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("article img[alt='']").count() == 0


def test_axe_finds_nothing_serious(visit):
    page, complaints = visit
    assert not serious(page)
    assert not complaints.seen, "axe asks for nothing that is not there"


def test_the_page_weighs_at_most_a_megabyte(visit):
    page, _ = visit
    own = page.evaluate("""() => performance.getEntriesByType('resource').map((entry) => entry.name)""")
    images = [SITE / name.split("/", 3)[3] for name in own if "/_images/" in name]
    path = SITE / page.url.split("?")[0].split("/", 3)[3]
    assert path.stat().st_size + sum(image.stat().st_size for image in images) <= MEGABYTE


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_the_page_in_the_dark_without_sideways_scrolling(browser, address, name):
    page, complaints = open_page(browser, viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.evaluate(TO_THE_END)
    page.wait_for_function(SETTLED, timeout=20_000)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert width == PHONE["width"]
    assert not serious(page)
    assert not complaints.seen
    page.context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_typed_section_numbers_are_those_of_the_site(name):
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    typed = {i: heading.split()[0].rstrip(".") for i, heading in enumerate(headings, 1) if heading[0].isdigit()}
    assert typed == {i: f"{int(Path(name).name[:2])}.{i}" for i in typed}


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_explorer_moves_by_keyboard_and_its_picture_changes(browser, address, name):
    page, complaints = open_page(browser, viewport=DESKTOP)
    page.goto(f"{address}/{name}.html", wait_until="load")
    explorers = page.locator("figure.labkit-explorer").all()
    assert explorers, "a chapter has an explorer"
    for explorer in explorers:
        explorer.scroll_into_view_if_needed()
        sliders, switches = (explorer.locator(f"input[type={kind}]") for kind in ("range", "checkbox"))
        (sliders if sliders.count() else switches).first.focus()
        before = explorer.locator(".lk-views").screenshot()
        for _ in range(5):
            page.keyboard.press("ArrowRight" if sliders.count() else "Space")
        page.wait_for_timeout(200)
        assert explorer.locator(".lk-views").screenshot() != before
    assert not complaints.seen
    page.context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_without_scripts_and_on_paper_stills_take_the_place_of_figures(browser, address, name):
    context = browser.new_context(viewport=DESKTOP, java_script_enabled=False)
    page = context.new_page()
    for medium in ("screen", "print"):
        page.emulate_media(media=medium)
        page.goto(f"{address}/{name}.html")
        stills = page.locator(":not(details) > .cell_output .fig-still svg").all()  # solutions are closed
        assert stills
        assert all(still.is_visible() for still in stills)
    assert not page.locator(".bd-sidebar-primary, .bd-header-article, .prev-next-footer").first.is_visible()
    context.close()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_dark_page_prints_light_with_its_solutions_open(browser, address, name):
    page, _ = open_page(browser, viewport=DESKTOP, color_scheme="dark")
    page.goto(f"{address}/{name}.html", wait_until="load")
    state = "() => `${document.documentElement.dataset.theme} ${document.querySelectorAll('%s').length}`"
    state %= "article details:not([open])"
    before = page.evaluate(state)
    page.emulate_media(media="print")
    page.wait_for_function(f"({state})() === 'light 0'")
    page.emulate_media(media="screen")
    page.wait_for_function(f"({state})() === '{before}'")
    assert before.startswith("dark ")
    page.context.close()


def test_search_finds_a_word_and_leads_to_its_page(browser, address):
    page, complaints = open_page(browser, viewport=DESKTOP)
    page.goto(f"{address}/search.html?q=singular")
    found = page.locator("#search-results li a", has_text="Singular value decomposition").first
    found.wait_for()
    page.wait_for_load_state("networkidle")  # leaving while summaries are fetched would abort them
    found.click()
    page.wait_for_url("**/05-svd.html*")
    assert not complaints.seen
    page.context.close()


def test_the_root_leads_to_the_first_page(browser, address):
    page, complaints = open_page(browser)
    page.goto(f"{address}/")
    page.wait_for_url("**/book/intro.html")
    assert not complaints.seen
    page.context.close()
