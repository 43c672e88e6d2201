"""The modules of the page against Python, run by the node that playwright brings (no browser)."""

import json

import numpy as np
import pytest

from labkit.explore import codec
from labkit.explore.explorer import bundle
from labkit.explore.pages import STATIC
from labkit.explore.svd import svd_explorer
from labkit.explore.views import format_number

PRINT = "console.log(JSON.stringify({}))"
NUMBERS = [0, 1, -1, 12.834, 273280, -0.5, 1e-5, 123456789.5, 0.00012, 2 / 3, 99.96, 1e15, 5e20, True, False, None, "a"]
MODULES = sorted(path.name for path in STATIC.glob("*.js") if path.name != "site.js")


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_numbers_are_written_alike(run_js, digits):
    shown = PRINT.format(f"{json.dumps(NUMBERS)}.map((x) => formatNumber(x, {digits}))")
    code = f'import {{formatNumber}} from "STATIC/format.js"; {shown}'
    assert run_js(code) == [format_number(x, digits) for x in NUMBERS]


def test_payloads_are_read_alike(run_js, tmp_path):
    tree = {
        "z": codec.zigzag(np.arange(-500, 500)),
        "x": np.linspace(0, 1, 7),
        "e": codec.Exact([1 / 3]),
        "t": "</script>",
    }
    (tmp_path / "payload.json").write_text(codec.payload(tree))
    code = """import {readFileSync} from "node:fs"; import {readPayload, unzigzag} from "STATIC/codec.js";
        const {z, x, e, t} = await readPayload(readFileSync("FOLDER/payload.json", "utf8"));
        console.log(JSON.stringify([[...z.data].map(unzigzag), [...x.data], x.shape, e.data[0], t]));"""
    z, x, shape, e, t = run_js(code.replace("FOLDER", str(tmp_path)))
    assert z == list(range(-500, 500))
    np.testing.assert_allclose(x, np.linspace(0, 1, 7), atol=1e-4)
    assert (shape, e, t) == ([7], 1 / 3, "</script>")


def test_ticks_are_round_and_inside(run_js):
    shown = PRINT.format('[ticks(0, 1, 5), ticks(1, 427, 4), ticks(40, 98, 2), ticks(0.01, 330, 5, "log")]')
    code = f'import {{ticks}} from "STATIC/format.js"; {shown}'
    assert run_js(code) == [[0, 0.2, 0.4, 0.6, 0.8, 1], [200, 400], [40, 60, 80], [0.01, 0.1, 1, 10, 100]]


def parse_numbers(run_js, text):
    shown = PRINT.format(f"parseNumbers({json.dumps(text)}, {{length: 3, low: -9, high: 9}})")
    return run_js('import {parseNumbers} from "STATIC/controls.js"; ' + shown)


@pytest.mark.parametrize("text", ["1, 2, 3", "1 2 3", "1;2;−3"])
def test_lists_of_numbers_are_read(run_js, text):
    answer = parse_numbers(run_js, text)
    assert answer["problem"] == ""
    assert [abs(x) for x in answer["numbers"]] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "1, x", "1, 2", "1, 2, 99"])
def test_lists_that_are_wrong_are_told(run_js, text):
    assert parse_numbers(run_js, text)["problem"]


def test_the_bundle_for_jupyterlab_is_one_valid_module(run_js, tmp_path):
    (tmp_path / "bundle.mjs").write_text(bundle(), encoding="utf-8")  # two equal names would be a SyntaxError
    code = f'import widget from "file://{tmp_path}/bundle.mjs"; console.log(JSON.stringify(typeof widget.render))'
    assert run_js(code) == "function"


def test_no_module_names_another_host():
    for name in MODULES:
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text, name


@pytest.fixture(scope="module")
def explorer():
    return svd_explorer()


@pytest.fixture(scope="module")
def page(explorer, tmp_path_factory):
    path = tmp_path_factory.mktemp("svd") / "payload.json"
    path.write_text(codec.payload(explorer.static.data(explorer.controls, explorer.frame)))
    return path


@pytest.mark.parametrize("subject", ["photograph", "fc1"])
def test_svd_in_the_browser_equals_svd_in_python(run_js, explorer, page, tmp_path, subject):
    top = {"photograph": 427, "fc1": 300}[subject]
    ranks = [1, 2, 33, 20, 150, top, 17, 255]  # forwards, backwards, over the sums that are kept
    code = """import {readFileSync, writeFileSync} from "node:fs"; import {readPayload} from "STATIC/codec.js";
        import setup from "STATIC/svd.js";
        const compute = setup((await readPayload(readFileSync("PAGE", "utf8"))).data);
        const one = (rank) => {
            const {numbers, spectrum, reconstruction, residual} = compute({subject: "SUBJECT", rank});
            writeFileSync(`FOLDER/reconstruction-${rank}`, reconstruction.levels.data);
            writeFileSync(`FOLDER/residual-${rank}`, residual.levels.data);
            return {numbers, spectrum, size: residual.levels.shape, low: residual.low};
        };
        const plain = (key, value) => (ArrayBuffer.isView(value) ? [...value] : value === Infinity ? "∞" : value);
        console.log(JSON.stringify(RANKS.map(one), plain));"""
    for word, value in {"PAGE": page, "RANKS": ranks, "SUBJECT": subject, "FOLDER": tmp_path}.items():
        code = code.replace(word, str(value))
    for rank, got in zip(ranks, run_js(code), strict=True):
        expected = explorer.frame({"subject": subject, "rank": rank})
        assert_numbers_equal(got["numbers"], expected["numbers"])
        assert_spectra_equal(got["spectrum"], expected["spectrum"])
        assert tuple(got["size"]) == expected["residual"]["levels"].shape
        assert got["low"] == pytest.approx(expected["residual"]["low"], rel=1e-4)
        for view, tolerance in (("reconstruction", 1.2), ("residual", 2.8)):  # root mean square, in levels of 256
            levels = np.fromfile(tmp_path / f"{view}-{rank}", np.uint8).reshape(got["size"])
            difference = levels.astype(float) - expected[view]["levels"]
            assert np.sqrt((difference**2).mean()) < tolerance, (view, rank)


def assert_numbers_equal(got, expected):
    assert [item["label"] for item in got["items"]] == [item["label"] for item in expected["items"]]
    for mine, theirs in zip(got["items"], expected["items"], strict=True):
        value = theirs["value"]
        assert mine["value"] == (value if isinstance(value, bool | str) else pytest.approx(value, rel=1e-9)), mine


def assert_spectra_equal(got, expected):
    assert got["cuts"] == expected["cuts"]
    for mine, theirs in zip(got["series"], expected["series"], strict=True):
        assert {key: mine[key] for key in ("label", "kind", "muted")} == {
            key: theirs[key] for key in ("label", "kind", "muted")
        }
        np.testing.assert_allclose(mine["y"]["data"], theirs["y"], rtol=1e-4)
        np.testing.assert_allclose(mine["x"]["data"], theirs["x"])
