"""The Sphinx extension: an honest cache, a red build for a failing cell, offline assets, figures, chapter numbers.

The builds are of tiny books in their own process, with a copy of the package where a test has to break it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import labkit
from labkit.explore import figures
from labkit.explore.site import assets, cache, plots
from labkit.explore.site.numbering import chapter_number

CONFIG = """
title: Tiny
only_build_toc_files: true
execute: {execute_notebooks: cache, timeout: 60}
html: {use_issues_button: false}
sphinx:
  extra_extensions: [labkit.explore.site]
  recursive_update: true
  config: {numfig: true, math_numfig: true, numfig_format: {figure: "Figure %s"}}
"""
TOC = "format: jb-book\nroot: intro\nparts:\n  - numbered: 2\n    chapters: [{file: part/05-tiny}]\n"
PROSE = """# 5. Tiny chapter

## 5.1 A section

```{math}
:label: eq-one
x = 1
```

By {eq}`eq-one`; see {numref}`fig-one`.
"""
DRAW = """from labkit import tiny
from labkit.explore import figures
figures.lines([1, 2], {"a": [1, tiny.two()]}, alt='It "rises" <1>.', caption="It rises with $k$.",
              x_title="k", y_title="value", name="fig-one")"""
ENTRY_POINT = "[myst_nb.mime_renderers]\nlabkit = labkit.explore.site:PlotlyRenderer\n"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of one chapter beside a copy of the package that holds one module more."""
    folder = tmp_path_factory.mktemp("book")
    source = cache.PACKAGE
    shutil.copytree(source, folder / "lib" / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "lib" / "labkit" / "tiny.py").write_text("def two():\n    return 2\n")
    info = folder / "lib" / f"compression_labkit-{labkit.__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: compression-labkit\nVersion: {labkit.__version__}\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    pages = folder / "pages"
    (pages / "part").mkdir(parents=True)
    (pages / "_config.yml").write_text(CONFIG)
    (pages / "_toc.yml").write_text(TOC)
    (pages / "intro.md").write_text("# Tiny book\n")
    cells = [nbformat.v4.new_markdown_cell(PROSE), nbformat.v4.new_code_cell(DRAW)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), pages / "part" / "05-tiny.ipynb")
    return folder


def build(book):
    command = [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "--keep-going", str(book / "pages")]
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"PYTHONPATH": str(book / "lib")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def page_of(book):
    return (book / "pages" / "_build" / "html" / "part" / "05-tiny.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(book):
    result = build(book)
    assert result.returncode == 0, result.stdout + result.stderr
    return page_of(book)


def test_the_chapter_is_numbered_after_its_file(built):
    assert '<span class="section-number">5. </span>Tiny chapter' in built
    assert '<span class="section-number">5.1. </span>A section' in built
    assert '<span class="eqno">(5.1)' in built
    assert '<span class="caption-number">Figure 5.1 </span>' in built
    assert '<span class="std std-numref">Figure 5.1</span>' in built


def test_the_figure_has_alt_text_still_and_caption_and_reserves_its_height(built):
    assert 'role="img" aria-label="It &quot;rises&quot; &lt;1&gt;." style="height:360px"' in built
    assert '<div class="fig-still"><svg' in built
    assert re.search(r'It rises with <span class="math notranslate nohighlight">\\\(k\\\)</span>', built)


def test_pages_ask_nobody_else(built, book):
    sources = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="([^"]+)"', built)
    assert sources
    assert not [source for source in sources if "//" in source]
    assert not re.search("thebe|require.min|html-manager|widget-state", "".join(re.findall(r"<script.*?>", built)))
    static = book / "pages" / "_build" / "html" / "_static"
    wanted = [*assets.SCRIPTS, *assets.STYLES, "plotly.min.js", assets.MATHJAX_PATH]
    assert all((static / name).is_file() for name in wanted)
    assert len(list((static / "mathjax/output/chtml/fonts/woff-v2").glob("*.woff"))) > 20


def test_nothing_runs_again_when_nothing_changed(built, book):
    result = build(book)
    assert result.returncode == 0
    assert "Executed notebook" not in result.stdout + result.stderr


def test_a_broken_package_turns_the_build_red_every_time(built, book):
    module = book / "lib" / "labkit" / "tiny.py"
    healthy = module.read_text()
    module.write_text("def two():\n    x = 1 / 0\n    return x\n")
    first, second = build(book), build(book)
    module.write_text(healthy)
    assert first.returncode != 0
    assert "ZeroDivisionError" in first.stdout + first.stderr
    assert second.returncode != 0, "a failed build must not pass when it is repeated"
    assert build(book).returncode == 0


def test_a_missing_entry_point_is_named(book):
    points = next((book / "lib").glob("*.dist-info/entry_points.txt"))
    text = points.read_text()
    points.write_text("")
    result = build(book)
    points.write_text(text)
    assert result.returncode != 0
    assert "pip install -e ." in result.stdout + result.stderr


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A package, data and requirements of one file each, in place of the real ones."""
    for name in ("labkit/a.py", "data/b.csv", "requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(cache, "PACKAGE", tmp_path / "labkit")
    monkeypatch.setattr(cache.paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(cache.paths, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["labkit/a.py", "labkit/new.js", "data/b.csv", "data/new.bin", "requirements.txt"])
def test_the_fingerprint_sees_every_change(inputs, name):
    before = cache.fingerprint()
    assert cache.fingerprint() == before
    (inputs / name).write_text("new")
    assert cache.fingerprint() != before


def test_the_fingerprint_sees_a_renamed_file_and_ignores_compiled_ones(inputs):
    before = cache.fingerprint()
    (inputs / "labkit" / "a.cpython-311.pyc").write_text("x")
    assert cache.fingerprint() == before
    (inputs / "labkit" / "a.py").rename(inputs / "labkit" / "c.py")
    assert cache.fingerprint() != before


def test_only_the_newest_caches_stay(tmp_path):
    for i in range(5):
        folder = cache.keep_newest(tmp_path / str(i))
        os.utime(folder, (i, i))
    kept = cache.keep_newest(tmp_path / "now")
    assert kept.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4", "now"]


@pytest.mark.parametrize(("document", "number"), [("a/05-svd", 5), ("12-x", 12), ("book/intro", None), ("1-a/b", None)])
def test_chapter_numbers_come_from_file_names(document, number):
    assert chapter_number(document) == number


def test_pictures_become_images_with_alt_text_and_size():
    figure = figures.pictures({"a <b>": [[0.0, 1.0]]}, alt='Two "pixels".', caption="Pixels.")
    content = figure.to_plotly_json()
    html = plots.pictures_html({"data": [trace.to_plotly_json() for trace in figure.data]}, content["layout"]["meta"])
    assert 'aria-label="Two &quot;pixels&quot;."' in html
    assert 'alt="a &lt;b&gt;" width="2" height="1"' in html
    assert "<script" not in html


def test_data_cannot_end_its_script():
    html = plots.plot_html({"data": [{"type": "pie", "labels": ["</script>"]}], "layout": {}}, {"alt": "x"})
    assert html.count("</script>") == 1
