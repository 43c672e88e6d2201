"""The first explorer of Chapter 21: four ways to count bits, measured where the reader sits or as recorded."""

from typing import Any

from labkit.experiments import Record, record
from labkit.experiments.bit_kernels import GRID, WAYS, bench
from labkit.explore import codec
from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, building_pages, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Groups, Readouts

LABELS = {"naive": "Python", "numpy": "NumPy", "cffi": "C", "blocked": "C, blocked"}
LIVE = "this machine, just now"


@register
def popcount_explorer(*, live: bool | None = None) -> Explorer:
    """Return the popcount bench: a dot product of n integers of M and K bits from their bit planes, in four ways.

    With `live` every move measures on this machine; else the recorded run is shown, as on the page, where no C can run.
    None means live in a notebook. Ways that need a compiler are left out where there is none. Chapter 21; lecture
    000:1149-1161, 003:1342-1344.

    >>> popcount_explorer(live=False).compute(n=1024, word=64, M=1, K=1)["numbers"]["Exact"]
    True
    """
    measured = not building_pages() if live is None else live
    recorded = record("popcount-bench")
    return Explorer(
        "popcount-bench",
        lambda **point: _views(point, *(_measured(point) if measured else _recorded(point, recorded))),
        title="Popcount bench: what does it take to count bits fast?",
        controls=[
            Slider("n", values=GRID["n"], default=1024, label="Integers in a vector"),
            Slider("word", values=GRID["word"], default=64, label="Machine word", unit="bits"),
            Slider("M", values=GRID["M"], default=1, label="Bits of x"),
            Slider("K", values=GRID["K"], default=1, label="Bits of y"),
        ],
        views=[
            Bars(
                "speed", "Speed against the loop in Python", y_label="times as fast", y_scale="log", y_range=(0.5, 2000)
            ),
            Bars("time", "Time of one dot product", y_label="nanoseconds", y_scale="log", y_range=(10, 1e8)),
            Readouts("numbers"),
        ],
        static=Browser("popcount.js", lambda: page_data(recorded)),
        alt="Speed of four ways to multiply vectors of {n} integers with {M} and {K} bits, in words of {word} bits",
        caption="In JupyterLab every move measures anew on your machine. A page cannot run C and shows a recorded run. "
        "Eight vectors meet eight others, and the time of one dot product is shown.",
    )


def _measured(point: dict[str, int]) -> tuple[dict[str, float], bool, str]:
    return *bench(**point), LIVE


def _recorded(point: dict[str, int], recorded: Record) -> tuple[dict[str, float], bool, str]:
    row = recorded.select(**point)[0]
    return {way: row[way] for way in WAYS if way in row}, row["exact"], _origin(recorded)


def _origin(recorded: Record) -> str:
    return f"{recorded.summary['processor']}, {recorded.date}"


def _views(point: dict[str, int], times: dict[str, float], exact: bool, origin: str) -> dict[str, Any]:
    names = [LABELS[way] for way in times]
    speed = {"": [times["naive"] / seconds for seconds in times.values()]}
    numbers = {
        "Exact": exact,
        "Products of one bit": point["n"] * point["M"] * point["K"],
        "Words counted": point["M"] * point["K"] * -(-point["n"] // point["word"]),
        "Fastest": names[list(times.values()).index(min(times.values()))],
        "Measured": origin,
    }
    return {
        "speed": Groups(names, speed),
        "time": Groups(names, {"": [1e9 * seconds for seconds in times.values()]}),
        "numbers": numbers,
    }


def page_data(recorded: Record) -> dict[str, Any]:
    """Return what `static/popcount.js` needs: the times of the recorded grid, in the order of its rows."""
    ways = [way for way in WAYS if way in recorded.rows[0]]
    return {
        "points": [[row[name] for name in GRID] for row in recorded.rows],
        "times": codec.Exact([[row[way] for way in ways] for row in recorded.rows]),
        "exact": [row["exact"] for row in recorded.rows],
        "names": [LABELS[way] for way in ways],
        "origin": _origin(recorded),
    }
