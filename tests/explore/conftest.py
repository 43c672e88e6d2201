"""A small explorer that every test of this folder can have, and a way to run the page's modules without a browser."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from labkit.explore import Choice, Explorer, Grid, Lines, Picture, Readouts, Series, Slider
from labkit.explore.pages import STATIC


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
