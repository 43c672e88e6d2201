"""The views of an explorer: what `compute` returns for each, checked and turned into plain data for the page.

`compute` returns one entry for every view. The entry is made of ordinary arrays and dicts, or of the small items
below (`Series`, `Cut`, `Sample`, `Pixels`, `Cells`, `Groups`, `Rows`) where a view can show several things at once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np

from labkit import checks
from labkit.explore import theme

COLORMAPS = {"grey": ("#000000", "#ffffff"), "sequential": theme.SEQUENTIAL, "diverging": theme.DIVERGING}
SCALES = ("linear", "log")


# ---- items: what compute puts into a view


@dataclass(frozen=True, eq=False)
class Series:
    """Points of a `Lines` view: y (n,) over x (n,), by default 0, 1, ...

    `kind` is "line", "points", "steps" (a staircase) or "ticks" (short strokes, for a number line).
    `low` and `high` (n,) draw a band; `muted` greys the series; `names` label single points.
    """

    y: Any
    x: Any = None
    label: str = ""
    kind: str = "line"
    low: Any = None
    high: Any = None
    muted: bool = False
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class Cut:
    """A labelled line across a plot at `x` or at `y`: a threshold, a limit, the chosen rank; `muted` dashes it."""

    x: float | None = None
    y: float | None = None
    label: str = ""
    muted: bool = False


@dataclass(frozen=True, eq=False)
class Sample:
    """Values (any shape) of a `Histogram` view, counted there."""

    values: Any
    label: str = ""


@dataclass(frozen=True, eq=False)
class Pixels:
    """A picture with its own range and colours, where they differ from those of its `Picture` view."""

    values: Any
    low: float | None = None
    high: float | None = None
    colormap: str | None = None


@dataclass(frozen=True, eq=False)
class Cells:
    """Values (m, n) of a `Heatmap` view with a boolean mask (m, n) of cells to outline, and row and column names."""

    values: Any
    highlight: Any = None
    rows: Sequence[str] | None = None
    columns: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Groups:
    """Bars for each of `categories`: a mapping from series name to values (n,), and reference lines."""

    categories: Sequence[str]
    values: Mapping[str, Any]
    cuts: Sequence[Cut] = ()


@dataclass(frozen=True)
class Rows:
    """Rows of a `Table` view, each a dict with the same keys, and the number of the row to mark."""

    rows: Sequence[Mapping[str, Any]]
    highlight: int | None = None


# ---- views


@dataclass(frozen=True)
class View:
    """What all views share: `name` is the key in the result of `compute`, `title` stands above the view.

    `wide=True` gives the view the whole width.
    """

    name: str
    title: str = ""
    wide: bool = field(default=False, kw_only=True)

    kind: ClassVar[str] = ""

    def spec(self) -> dict[str, Any]:
        """Return the JSON description that the page builds the view from."""
        return {"kind": self.kind} | asdict(self)

    def encode(self, data: Any) -> dict[str, Any]:
        """Return `data` as a dict of arrays, numbers and strings, or raise an error that names what is wrong."""
        raise NotImplementedError


@dataclass(frozen=True)
class Picture(View):
    """An image: grey (h, w) or colour (h, w, 3), uint8 or float between `low` and `high`.

    Grey values may pass through `colormap` ("grey", "sequential" or "diverging"). `pixelated` keeps pixels sharp
    when small pictures are enlarged; `scale=True` draws the scale of the colours below.

    >>> Picture("image").encode(np.array([[0.0, 0.5, 1.0]]))["levels"]
    array([[  0, 128, 255]], dtype=uint8)
    """

    low: float = field(default=0.0, kw_only=True)
    high: float = field(default=1.0, kw_only=True)
    colormap: str = field(default="grey", kw_only=True)
    pixelated: bool = field(default=False, kw_only=True)
    scale: bool = field(default=False, kw_only=True)

    kind: ClassVar[str] = "picture"

    def encode(self, data: Any) -> dict[str, Any]:
        pixels = data if isinstance(data, Pixels) else Pixels(data)
        low = self.low if pixels.low is None else float(pixels.low)
        high = self.high if pixels.high is None else float(pixels.high)
        colormap = checks.choice(pixels.colormap or self.colormap, f"{self.name}: colormap", COLORMAPS)
        values = np.asarray(pixels.values)
        if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)):
            raise ValueError(f"{self.name} must have shape (h, w) or (h, w, 3), got {values.shape}")
        levels = values if values.dtype == np.uint8 else _levels(checks.array(values, self.name), low, high)
        return {"levels": levels, "low": low, "high": high, "colormap": colormap}


@dataclass(frozen=True)
class Lines(View):
    """Curves, points and bands over common axes: data is a `Series`, an array y (n,), or a list of Series and Cuts.

    `x_range` and `y_range` hold the axes still while a control moves.
    """

    x_label: str = field(default="", kw_only=True)
    y_label: str = field(default="", kw_only=True)
    x_scale: str = field(default="linear", kw_only=True)
    y_scale: str = field(default="linear", kw_only=True)
    x_range: tuple[float, float] | None = field(default=None, kw_only=True)
    y_range: tuple[float, float] | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = "lines"

    def __post_init__(self) -> None:
        checks.choice(self.x_scale, "x_scale", SCALES)
        checks.choice(self.y_scale, "y_scale", SCALES)

    def encode(self, data: Any) -> dict[str, Any]:
        items = _items(data, Series)
        series = [self._series(item) for item in items if isinstance(item, Series)]
        if not series:
            raise ValueError(f"{self.name} must hold at least one Series, got {items!r}")
        return {"series": series, "cuts": _cuts(items, self.name)}

    def _series(self, item: Series) -> dict[str, Any]:
        y = checks.array(item.y, f"{self.name}: y", ndim=1)
        x = np.arange(len(y), dtype=float) if item.x is None else checks.array(item.x, f"{self.name}: x", ndim=1)
        band = {key: getattr(item, key) for key in ("low", "high") if getattr(item, key) is not None}
        lines = {"x": x, "y": y} | {key: checks.array(v, f"{self.name}: {key}", ndim=1) for key, v in band.items()}
        if any(len(v) != len(y) for v in lines.values()):
            raise ValueError(
                f"{self.name}: x, y, low, high must be equally long, got {[len(v) for v in lines.values()]}"
            )
        for axis, scale in (("x", self.x_scale), ("y", self.y_scale)):
            if scale == "log" and (lines[axis] <= 0).any():
                raise ValueError(f"{self.name}: {axis} must be positive on a log scale, got {lines[axis].min()}")
        kind = checks.choice(item.kind, f"{self.name}: kind", ("line", "points", "steps", "ticks"))
        names = {"names": [str(name) for name in item.names]} if item.names is not None else {}
        return lines | {"label": item.label, "kind": kind, "muted": bool(item.muted)} | names


@dataclass(frozen=True)
class Bars(View):
    """Bars, grouped or stacked: data is a dict from category to number, or `Groups`."""

    y_label: str = field(default="", kw_only=True)
    y_scale: str = field(default="linear", kw_only=True)
    y_range: tuple[float, float] | None = field(default=None, kw_only=True)
    stacked: bool = field(default=False, kw_only=True)

    kind: ClassVar[str] = "bars"

    def encode(self, data: Any) -> dict[str, Any]:
        groups = data if isinstance(data, Groups) else Groups(list(data), {"": list(data.values())})
        series: list[dict[str, Any]] = [
            {"label": label, "values": checks.array(values, f"{self.name}: {label}", ndim=1)}
            for label, values in groups.values.items()
        ]
        lengths = [len(s["values"]) for s in series]
        if not series or set(lengths) != {len(groups.categories)}:
            raise ValueError(f"{self.name} must have a value for each of {len(groups.categories)} bars, got {lengths}")
        lowest = min(float(np.min(s["values"])) for s in series)
        if lowest < 0:
            raise ValueError(f"{self.name} must not be negative, got {lowest}")
        categories = [str(category) for category in groups.categories]
        return {"categories": categories, "series": series, "cuts": _cuts(groups.cuts, self.name)}


@dataclass(frozen=True)
class Histogram(View):
    """Counts of values in `bins` bins of equal width: data is an array, or a list of Samples and Cuts."""

    x_label: str = field(default="", kw_only=True)
    y_label: str = field(default="count", kw_only=True)
    y_scale: str = field(default="linear", kw_only=True)
    bins: int = field(default=60, kw_only=True)
    x_range: tuple[float, float] | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = "histogram"

    def encode(self, data: Any) -> dict[str, Any]:
        items = _items(data, Sample)
        samples = [item for item in items if isinstance(item, Sample)]
        arrays = [checks.array(sample.values, self.name).ravel() for sample in samples]
        if not arrays:
            raise ValueError(f"{self.name} must hold at least one Sample, got {items!r}")
        edges = np.histogram_bin_edges(np.concatenate(arrays), self.bins, self.x_range)
        counts = [
            {"label": sample.label, "values": np.histogram(array, edges)[0]}
            for sample, array in zip(samples, arrays, strict=True)
        ]
        return {"edges": edges, "series": counts, "cuts": _cuts(items, self.name)}


@dataclass(frozen=True)
class Heatmap(View):
    """A matrix (m, n) as coloured cells: data is an array or `Cells`.

    `pattern=True` shows only where it is not zero. `low` and `high` fix the range of the colours;
    `numbers=True` writes small matrices out.
    """

    x_label: str = field(default="", kw_only=True)
    y_label: str = field(default="", kw_only=True)
    low: float | None = field(default=None, kw_only=True)
    high: float | None = field(default=None, kw_only=True)
    colormap: str = field(default="sequential", kw_only=True)
    pattern: bool = field(default=False, kw_only=True)
    numbers: bool = field(default=False, kw_only=True)

    kind: ClassVar[str] = "heatmap"

    def encode(self, data: Any) -> dict[str, Any]:
        cells = data if isinstance(data, Cells) else Cells(data)
        values = checks.matrix(cells.values, self.name)
        low = float(values.min()) if self.low is None else self.low
        high = float(values.max()) if self.high is None else self.high
        shown = (values != 0).astype(np.uint8) if self.pattern else values
        names = {"rows": cells.rows, "columns": cells.columns}
        return (
            {"values": shown, "low": low, "high": high} | self._names(names, values.shape) | self._mask(cells, values)
        )

    def _names(self, names: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        for (axis, labels), n in zip(names.items(), shape, strict=True):
            if labels is not None and len(labels) != n:
                raise ValueError(f"{self.name}: {axis} must have {n} names, got {len(labels)}")
        return {axis: None if labels is None else [str(x) for x in labels] for axis, labels in names.items()}

    def _mask(self, cells: Cells, values: np.ndarray) -> dict[str, Any]:
        if cells.highlight is None:
            return {}
        mask = np.asarray(cells.highlight)
        if mask.shape != values.shape:
            raise ValueError(f"{self.name}: highlight must have shape {values.shape}, got {mask.shape}")
        return {"highlight": mask.astype(bool).astype(np.uint8)}


@dataclass(frozen=True)
class Treemap(View):
    """Rectangles with areas in proportion to a dict from label to value of at least 0."""

    unit: str = field(default="", kw_only=True)

    kind: ClassVar[str] = "treemap"

    def encode(self, data: Any) -> dict[str, Any]:
        values = checks.array(list(data.values()), self.name, ndim=1)
        if (values < 0).any() or not values.any():
            raise ValueError(f"{self.name} must hold values of at least 0, not all 0, got {values.tolist()}")
        return {"labels": [str(label) for label in data], "values": values, "boxes": squarify(values)}


@dataclass(frozen=True)
class Table(View):
    """A table: data is a list of dicts with the same keys, or `Rows`."""

    digits: int = field(default=3, kw_only=True)

    kind: ClassVar[str] = "table"

    def encode(self, data: Any) -> dict[str, Any]:
        table = data if isinstance(data, Rows) else Rows(data)
        columns = list(table.rows[0]) if table.rows else []
        if not columns or any(list(row) != columns for row in table.rows):
            raise ValueError(
                f"{self.name} must be rows with the same keys, got {[list(row) for row in table.rows][:3]}"
            )
        rows = [[_plain(row[c], f"{self.name}: {c}") for c in columns] for row in table.rows]
        return {"columns": columns, "rows": rows, "highlight": table.highlight}


@dataclass(frozen=True)
class Readouts(View):
    """Numbers with labels: data is a dict from label to number, bool, string or None (shown as a dash).

    `units={"error": "%"}` and `digits={"error": 2}` (significant digits, 3 unless given) go by label.

    >>> Readouts("numbers", units={"rate": "x"}).encode({"rate": 2.0})
    {'items': [{'label': 'rate', 'value': 2.0}]}
    """

    units: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    digits: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    wide: bool = field(default=True, kw_only=True)

    kind: ClassVar[str] = "readouts"

    def encode(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping) or not data:
            raise TypeError(f"{self.name} must be a dict from label to value, got {data!r}")
        return {"items": [{"label": label, "value": _plain(v, f"{self.name}: {label}")} for label, v in data.items()]}

    def text(self, encoded: dict[str, Any]) -> str:
        """Return the read-outs as one line of text."""
        return ", ".join(f"{item['label']} {self.value_text(item)}" for item in encoded["items"])

    def value_text(self, item: dict[str, Any]) -> str:
        """Return one value with its unit, as the page writes it."""
        text = format_number(item["value"], self.digits.get(item["label"], 3))
        unit = self.units.get(item["label"], "")
        return f"{text} {unit}" if unit and item["value"] is not None else text


# ---- helpers


def format_number(value: Any, digits: int = 3) -> str:
    """Write a value as the page does: whole numbers in full, others with `digits` significant digits.

    >>> [format_number(x) for x in (273280, 12.834, 0.00001234, True, None)]
    ['273,280', '12.8', '1.23e-5', 'yes', '–']
    """
    if value is None or isinstance(value, bool | str):
        return {None: "–", True: "yes", False: "no"}.get(value, value)  # type: ignore[arg-type, return-value]
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    exponent = math.floor(math.log10(abs(value)))
    if not -4 <= exponent < 9:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(power)}".replace("-", "−") if value < 0 else f"{mantissa}e{int(power)}"
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", "−")


def squarify(values: np.ndarray, *, aspect: float = 1.6) -> np.ndarray:
    """Return boxes (n, 4), left, top, width, height in the unit square, whose areas are in proportion to `values`.

    Squarified treemap of Bruls, Huizing and van Wijk (2000): the rows are laid along the shorter side of what is
    left, as long as that makes the boxes more square on a page that is `aspect` times as wide as high.

    >>> squarify(np.array([1.0, 1.0]), aspect=2).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0]]
    """
    order = [i for i in np.argsort(-values, kind="stable") if values[i] > 0]
    areas = aspect * values / values.sum()
    boxes = np.zeros((len(values), 4))
    left, top, width, height = 0.0, 0.0, aspect, 1.0
    while order:
        along, across = (height, width) if width >= height else (width, height)
        n = _row_length(areas[order], along)
        row, order = order[:n], order[n:]
        depth = across if not order else areas[row].sum() / along
        ends = np.cumsum(areas[row]) / depth
        for i, end, length in zip(row, ends, areas[row] / depth, strict=True):
            start = end - length
            boxes[i] = (left, top + start, depth, length) if along is height else (left + start, top, length, depth)
        if along is height:
            left, width = left + depth, width - depth
        else:
            top, height = top + depth, height - depth
    return boxes / [aspect, 1, aspect, 1]


def _row_length(areas: np.ndarray, side: float) -> int:
    """Return how many boxes to put in a row along `side`: as many as make its longest box no longer."""

    def worst(n: int) -> float:
        total = areas[:n].sum()
        return max(side**2 * areas[0] / total**2, total**2 / (side**2 * areas[n - 1]))

    return next((n for n in range(1, len(areas)) if worst(n + 1) > worst(n)), len(areas))


def _levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values between low and high as the nearest of 256 levels; those beyond get the end colours."""
    return (np.clip((values - low) * (255 / (high - low)), 0, 255) + 0.5).astype(np.uint8)


def _items(data: Any, kind: type) -> list[Any]:
    """Return data as a list of items; an array alone is one item of `kind`."""
    if isinstance(data, list) and any(isinstance(item, Series | Sample | Cut) for item in data):
        return data
    return [data] if isinstance(data, kind) else [kind(data)]


def _cuts(items: Sequence[Any], name: str) -> list[dict[str, Any]]:
    cuts = [item for item in items if isinstance(item, Cut)]
    for cut in cuts:
        if (cut.x is None) == (cut.y is None):
            raise ValueError(f"{name}: a Cut must have one of x and y, got {cut}")
        checks.number(cut.x if cut.y is None else cut.y, f"{name}: cut", low=-1e300)
    return [asdict(cut) for cut in cuts]


def _plain(value: Any, name: str) -> Any:
    """Return a value as JSON can hold it; NaN is an error, infinity becomes its sign."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, float) or math.isnan(value):
        raise ValueError(f"{name} must be a number, bool, string or None, got {value!r}")
    return format_number(value) if math.isinf(value) else value  # JSON has no infinity
