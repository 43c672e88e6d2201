"""The explorer in Python: traitlets, results, errors, pages."""

import re

import nbformat
import numpy as np
import pytest

from labkit import paths
from labkit.explore import Choice, Explorer, Lines, Series, Slider, Toggle, codec, strip_widgets
from labkit.explore.explorer import BUDGET, FALLBACK, bundle, register
from tests.explore.conftest import scale


@pytest.fixture
def sent(monkeypatch):
    """The messages that explorers send to the page."""
    messages = []
    monkeypatch.setattr(Explorer, "send", lambda self, content, buffers=None: messages.append((content, buffers)))
    return messages


def test_controls_are_traitlets_that_can_be_set_observed_and_linked(make):
    first, second, seen = make(), make(), []
    first.observe(lambda change: seen.append(change["new"]), "factor")
    first.observe(lambda change: setattr(second, "factor", change["new"]), "factor")
    first.factor = 7
    assert seen == [7]
    assert second.values == {"factor": 7, "kind": "ramp"}


def test_two_explorers_do_not_share_controls(make):
    first, second = make(), make()
    first.factor = 9
    assert second.factor == 3


def test_setting_a_control_sends_one_frame_whose_arrays_are_binary(make, sent):
    make().factor = 5
    [(content, buffers)] = sent
    frame = codec.unpack(content["tree"], buffers)
    np.testing.assert_allclose(frame["curve"]["series"][0]["y"], 5 * np.arange(1, 6))
    assert frame["image"]["levels"].dtype == np.uint8
    assert "[" not in str(content["tree"]["image"]["levels"]["$array"])  # a number of a buffer, not a list


def test_nothing_is_computed_again_when_nothing_moved(make, sent):
    calls = []
    explorer = make(lambda **values: calls.append(values) or scale(**values))
    explorer.factor = 3  # its start
    assert len(calls) == 1
    assert sent == []


def test_several_changes_at_once_are_one_computation(make, sent):
    explorer = make()
    explorer.set_state({"factor": 8, "kind": "square"})  # how the page reports changes
    assert len(sent) == 1
    assert explorer.values == {"factor": 8, "kind": "square"}


def test_a_page_that_opens_late_gets_the_latest_frame(make, sent):
    explorer = make()
    explorer.factor = 6
    explorer._handle_custom_msg({"kind": "hello"}, [])
    assert sent[0][0] == sent[1][0]


def test_compute_fills_in_the_start_values_and_moves_nothing(make):
    explorer = make()
    assert explorer.compute(factor=2)["numbers"] == {"sum": 30.0, "kind": "ramp"}
    assert explorer.factor == 3


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"factor": 11}, ValueError, "factor must be between 1 and 10, got 11"),
        ({"factor": 2.0}, TypeError, "factor must be an integer, got 2.0"),
        ({"kind": "cube"}, ValueError, r"kind must be one of \['ramp', 'square'\], got 'cube'"),
        ({"factr": 2}, ValueError, "did you mean 'factor'"),
    ],
)
def test_bad_values_are_refused_by_name(make, values, error, words):
    with pytest.raises(error, match=words):
        make().compute(**values)


def test_a_refused_value_leaves_the_control_where_it_was(make):
    explorer = make()
    with pytest.raises(ValueError, match="between 1 and 10"):
        explorer.factor = 99
    assert explorer.factor == 3


# ---- errors are never swallowed


def broken_above(limit):
    def compute(factor, kind):
        if factor > limit:
            raise ZeroDivisionError("no such factor")
        return scale(factor, kind)

    return compute


def test_an_explorer_that_raises_at_the_start_cannot_be_made(make):
    with pytest.raises(ZeroDivisionError, match="no such factor"):
        make(broken_above(0))


def test_a_raising_explorer_tells_the_caller_the_page_and_itself(make, sent):
    explorer = make(broken_above(5))
    with pytest.raises(ZeroDivisionError, match="no such factor") as caught:
        explorer.factor = 8
    assert explorer.error is caught.value
    assert caught.value.__notes__ == ["in explorer 'small' at {'factor': 8, 'kind': 'ramp'}"]
    assert sent == [({"kind": "error", "message": "ZeroDivisionError: no such factor"}, None)]
    explorer.factor = 2
    assert explorer.error is None


def test_check_fails_for_a_raising_explorer(make):
    explorer = make(broken_above(9))  # only the end of the slider raises
    with pytest.raises(ZeroDivisionError):
        explorer.check()


@pytest.mark.parametrize("bad", [6, 8])  # the middle and three quarters of 1 to 10
def test_check_tries_settings_between_the_ends(make, bad):
    def compute(factor, kind):
        if factor == bad:
            raise ZeroDivisionError("no such factor")
        return scale(factor, kind)

    with pytest.raises(ZeroDivisionError):
        make(compute).check()


def test_check_computes_no_setting_twice(make):
    asked = []

    def compute(factor, kind):
        asked.append((factor, kind))
        return scale(factor, kind)

    explorer = make(compute)
    asked.clear()
    explorer.check()
    assert len(set(asked)) == len(asked)


def test_check_fails_for_a_control_without_effect(make):
    explorer = make(lambda factor, kind: scale(2, kind))
    with pytest.raises(AssertionError, match="moving factor changes nothing"):
        explorer.check()


def test_check_fails_for_nan(make):
    def compute(factor, kind):
        return scale(factor, kind) | {"curve": Series([1.0, np.nan if factor == 10 else 1.0])}

    with pytest.raises(ValueError, match="curve: y must be finite"):
        make(compute).check()


def test_check_passes_and_moves_nothing(make):
    explorer = make()
    explorer.check()
    assert explorer.factor == 3


def test_check_reaches_a_control_that_is_active_only_under_a_choice():
    explorer = Explorer(
        "posit",
        lambda kind, es: {"y": Series([es if kind == "posit" else 0, 1])},
        controls=[Choice("kind", ["float", "posit"]), Slider("es", 0, 3, when={"kind": ["posit"]})],
        views=[Lines("y")],
        alt="",
    )
    explorer.check()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"curve": Series([1.0])}, "compute must return a dict with the views"),
        (None, "NoneType"),
        (scale(1, "ramp") | {"image": np.zeros((2, 2, 4))}, r"image must have shape \(h, w\)"),
        (scale(1, "ramp") | {"numbers": {}}, "numbers must be a dict"),
    ],
)
def test_results_that_do_not_fit_the_views_are_refused(make, result, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make(lambda **_: result)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"controls": []}, "must have controls"),
        ({"controls": [Slider("factor", 1, 2), Slider("factor", 1, 2)]}, "names must be different"),
        ({"controls": [Slider("compute", 1, 2)]}, "must not be attributes"),
        (
            {"controls": [Slider("factor", 1, 2, when={"kid": [1]}), Toggle("kind")]},
            r"must name controls, got \['kid'\]",
        ),
        ({"views": [Lines("curve"), Lines("curve")]}, "view names must be different"),
    ],
)
def test_bad_declarations_are_refused(make, changed, words):
    with pytest.raises(ValueError, match=words):
        make(**changed)


def test_a_slider_is_lowered_when_another_control_leaves_less_room():
    explorer = Explorer(
        "rank",
        lambda matrix, rank: {"y": Series([rank, 1])},
        controls=[Choice("matrix", ["big", "small"]), Slider("rank", 1, 100, high_by=("matrix", {"small": 10}))],
        views=[Lines("y")],
        alt="",
    )
    explorer.rank = 80
    explorer.matrix = "small"
    assert explorer.values == {"matrix": "small", "rank": 10}
    with pytest.raises(ValueError, match="rank must be at most 10 here, got 11"):
        explorer.compute(matrix="small", rank=11)


# ---- how it shows itself


def test_repr_is_fixed(make):
    explorer = make()
    explorer.factor = 9
    assert repr(explorer) == "Explorer('small': factor, kind)"


def test_a_notebook_without_kernel_says_what_to_do(make):
    data, _ = make()._repr_mimebundle_()
    assert data["text/plain"] == "Explorer('small': factor, kind)"
    assert data["text/html"] == FALLBACK
    assert "Run All Cells" in FALLBACK


def test_book_build_gives_a_figure_and_no_widget(make, monkeypatch):
    monkeypatch.setenv("LABKIT_STATIC", "1")
    explorer = make()
    data, _ = explorer._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/html"].startswith('<figure class="labkit-explorer" data-explorer="small">')
    assert explorer.comm is None


def test_static_html_has_still_alt_and_payload(make):
    page = make(caption="A < B").static_html()
    assert 'alt="A ramp, 3 times. sum 45 m, kind ramp."' in page
    assert "<figcaption>A &lt; B</figcaption>" in page
    assert 'src="data:image/webp;base64,' in page
    assert "\n" not in page
    assert payload_of(page)["spec"]["name"] == "small"


def test_nothing_in_a_payload_can_end_the_script(make):
    page = make(title="</script><script>alert(1)</script>", alt='"><b>').static_html()
    assert page.count("<script") == page.count("</script>") == 1
    assert "<b>" not in page


def test_the_grid_on_the_page_equals_compute(make):
    explorer = make()
    results = payload_of(explorer.static_html())["results"]
    assert [axis["values"] for axis in results["axes"]] == [list(range(1, 11)), ["ramp", "square"]]
    frame = results["frames"][2 * (7 - 1) + 1]  # factor 7, square
    expected = explorer.frame({"factor": 7, "kind": "square"})
    np.testing.assert_allclose(frame["curve"]["series"][0]["y"], expected["curve"]["series"][0]["y"], rtol=1e-4)
    np.testing.assert_array_equal(frame["image"]["levels"], expected["image"]["levels"])
    assert frame["numbers"] == expected["numbers"]


def test_a_page_that_would_be_too_heavy_is_refused(make):
    def noise(factor, kind):
        return scale(factor, kind) | {"curve": Series(np.random.default_rng(factor).random(40_000))}

    with pytest.raises(ValueError, match=f"must stay below {BUDGET:,} bytes"):
        make(noise).static_html()


def test_without_a_static_strategy_only_the_still_is_shown(make):
    page = make(static=None).static_html()
    assert "<script" not in page
    assert "<img" in page


def test_the_bundle_has_no_imports_and_one_export():
    text = bundle()
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export \w+", text, re.MULTILINE) == ["export default"]


def test_two_factories_of_one_name_are_refused():
    def svd_explorer():
        """Not the one of the book."""

    from labkit.explore import all_explorers

    assert "svd_explorer" in all_explorers()
    with pytest.raises(ValueError, match="factory must have a new name"):
        register(svd_explorer)


def test_a_stripped_notebook_keeps_the_text_of_an_explorer(make):
    data, metadata = make()._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("explorer", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    assert strip_widgets(notebook) == 1
    assert set(notebook.cells[0].outputs[0].data) == {"text/plain", "text/html"}
    assert "widgets" not in notebook.metadata
    nbformat.validate(notebook)


def test_the_guide_runs(monkeypatch):
    monkeypatch.setattr("labkit.explore.explorer._factories", {})
    text = (paths.ROOT / "labkit/explore/README.md").read_text(encoding="utf-8")
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    names["explorer"].check()
    assert len(names["explorer"].static_html()) < 200_000


def payload_of(page: str) -> dict:
    """Return what the script of a figure holds."""
    return codec.read_payload(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
