"""A small explorer that every test of this folder can have, and a way to run the page's modules without a browser."""

import json
import random
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from labkit.explore import Choice, Explorer, Grid, Lines, Picture, Readouts, Series, Slider, Toggle, codec
from labkit.explore.pages import STATIC
from tests.browser import explorer_page, launch, serve


def scale(factor: int, kind: str) -> dict:
    """A pure function for tests: a ramp or a square, scaled."""
    x = np.arange(1.0, 6.0)
    y = factor * (x if kind == "ramp" else x**2)
    return {
        "curve": Series(y, x),
        "image": np.outer(y, y) / (y**2).max(),
        "numbers": {"sum": float(y.sum()), "kind": kind},
    }


@pytest.fixture
def make():
    """Return a function that makes the small explorer, with parts of it replaced."""

    def build(compute=scale, **changed) -> Explorer:
        parts = {
            "controls": [Slider("factor", 1, 10, default=3), Choice("kind", ["ramp", "square"])],
            "views": [Lines("curve", "Curve"), Picture("image"), Readouts("numbers", units={"sum": "m"})],
            "static": Grid(),
            "alt": "A {kind}, {factor} times",
        }
        return Explorer("small", compute, **(parts | changed))

    return build


@pytest.fixture
def run_js(tmp_path):
    """Return a function that runs an ES module with playwright's node and returns the JSON that it prints."""
    driver = pytest.importorskip("playwright", reason="playwright brings the node that runs these tests")
    node = next((Path(driver.__file__).parent / "driver").glob("node*"), None)
    if node is None:
        pytest.skip("playwright has no node: reinstall it with pip")

    def run(code: str) -> object:
        script = tmp_path / "script.mjs"
        script.write_text(code.replace("STATIC", STATIC.as_uri()), encoding="utf-8")
        done = subprocess.run(
            [node, script], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def run_twin(run_js, tmp_path):
    """Return a function that computes frames as the page does: by a JavaScript module, from the explorer's payload."""

    def run(explorer: Explorer, module: str, rows: list[dict]) -> list[dict]:
        page = tmp_path / "payload.json"
        page.write_text(codec.payload(explorer.static.data(explorer.controls, explorer.frame)), encoding="utf-8")
        return run_js(f"""import {{readFileSync}} from "node:fs"; import {{readPayload}} from "STATIC/codec.js";
            import setup from "STATIC/{module}";
            const compute = setup((await readPayload(readFileSync("{page}", "utf8"))).data);
            const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value);
            console.log(JSON.stringify({json.dumps(rows)}.map(compute), plain));""")

    return run


@pytest.fixture
def assert_twin(run_twin):
    """Return a function that compares a module's frames with Python's, for `n` random settings and both ends."""

    def check(explorer: Explorer, module: str, *, n: int, random_state: int, rtol: float) -> None:
        rows = settings(explorer, n, random_state)
        for values, got in zip(rows, run_twin(explorer, module, rows), strict=True):
            assert_same(got, explorer.frame(values), str(values), rtol)

    return check


def settings(explorer: Explorer, n: int, random_state: int) -> list[dict]:
    """Return n random settings, and those with all controls at one end."""
    draw = random.Random(random_state)
    stops = {c.name: _stops(c) for c in explorer.controls}
    rows = [{name: draw.choice(values) for name, values in stops.items()} for _ in range(n)]
    return [*rows, *({name: values[i] for name, values in stops.items()} for i in (0, -1))]


def _stops(control) -> list:
    if isinstance(control, Choice):
        return list(control.options)
    return [False, True] if isinstance(control, Toggle) else control.stops()


def assert_same(got, expected, where: str, rtol: float) -> None:
    """Compare what the page made with what `encode` made: keys, texts, numbers and arrays."""
    if isinstance(expected, dict):
        assert set(got) == set(expected), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where} {key}", rtol)
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected), where
        for mine, theirs in zip(got, expected, strict=True):
            assert_same(mine, theirs, where, rtol)
    elif isinstance(expected, np.ndarray):
        assert got["shape"] == list(expected.shape), where
        np.testing.assert_allclose(got["data"], expected.ravel(), rtol=rtol, atol=1e-12, err_msg=where)
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=rtol, abs=1e-12), where
    else:
        assert got == expected, where


@pytest.fixture
def open_page(tmp_path):
    """Return a function that puts explorers on a page and opens it; at the end nothing may have gone wrong there."""

    @contextmanager
    def opened(*explorers, **context):
        shutil.copytree(STATIC, tmp_path / "site")
        figures = "".join(explorer.static_html() for explorer in explorers)
        (tmp_path / "site" / "index.html").write_text(explorer_page(figures), encoding="utf-8")
        with serve(tmp_path / "site") as url, launch(**context) as (page, complaints):
            page.goto(url)
            if context.get("java_script_enabled", True):
                page.wait_for_selector("[data-ready]", timeout=30_000)
            yield page
            assert complaints.seen == []

    return opened
