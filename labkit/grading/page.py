"""Pages that show what students wrote: self-contained, without scripts, and every text escaped unless it is markup."""

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from labkit import paths
from labkit.grading.text import visible
from labkit.html import Markup

# The hash admits this page's own style sheet alone: no script, picture, frame, form or other address is allowed.
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main$css>
$body
</main>
</body>
</html>
""")


def page(title: str, body: Iterable[str], *, wide: bool = False) -> str:
    """Return a whole HTML page; parts of the body that are not Markup are escaped.

    >>> "<p>1 &lt; 2</p>" in page("Sums", [el("p", "1 < 2")])
    True
    """
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    css = ' class="wide"' if wide else ""
    content = "\n".join(text(part) for part in body)
    return _PAGE.substitute(policy=policy, title=text(title), style=style, css=css, body=content)


def write_page(path: Path, title: str, body: Iterable[str], *, wide: bool = False) -> None:
    """Write a page under a temporary name that is then renamed."""
    with paths.replacing(path) as temporary:
        temporary.write_text(page(title, body, wide=wide), encoding="utf-8")


def text(value: str) -> Markup:
    """Return text escaped, with what cannot be seen spelled out; Markup stays as it is.

    >>> text("<b>\\x07")
    '&lt;b&gt;\\\\x07'
    """
    return value if isinstance(value, Markup) else Markup(escape(visible(value, keep="\n\t")))


def el(tag: str, *children: str, **attributes: str) -> Markup:
    """Return an element; children are escaped unless they are Markup, attributes always. `class_` means class.

    >>> el("td", "a & b", class_="num")
    '<td class="num">a &amp; b</td>'
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    marks = "".join(f' {names[key]}="{escape(visible(value))}"' for key, value in attributes.items())
    return Markup(f"<{tag}{marks}>{''.join(text(child) for child in children)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    """Return parts one after the other, escaped unless they are Markup."""
    return Markup("".join(text(part) for part in parts))


def name(value: str) -> Markup:
    """Return a name that somebody chose; it cannot turn the direction of the text around it."""
    return el("bdi", value)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, numeric: Iterable[int] = ()) -> Markup:
    """Return a table that scrolls sideways on a phone; the columns in `numeric` stand right."""
    right = set(numeric)
    attributes = [{"class_": "num"} if j in right else {} for j in range(len(header))]
    head = el("tr", *(el("th", cell, scope="col", **attributes[j]) for j, cell in enumerate(header)))
    lines = [el("tr", *(el("td", cell, **attributes[j]) for j, cell in enumerate(row))) for row in rows]
    whole = el("table", el("thead", head), el("tbody", *lines), aria_label=caption)
    return el("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)


def ring(share: float, still_open: float = 0.0) -> Markup:
    """Return a ring that is closed by as much as `share`, between 0 and 1, and more faintly by what is still open."""
    track = _arc("track", 1.0)
    arcs = [_arc("open", min(share + still_open, 1.0)), _arc("value", share)]
    label = el("text", f"{100 * share:.0f}%", x="50", y="58", **{"text-anchor": "middle"})
    return el("svg", track, *arcs, label, class_="ring", viewBox="0 0 100 100", aria_hidden="true")


def bar(share: float) -> Markup:
    """Return a thin bar filled by as much as `share`, between 0 and 1."""
    track = el("rect", class_="track", width="1000", height="6", rx="3")
    value = el("rect", class_="value", width=f"{1000 * share:.0f}", height="6", rx="3")
    return el("svg", track, value, class_="bar", viewBox="0 0 1000 6", preserveAspectRatio="none", aria_hidden="true")


def histogram(values: Sequence[float], high: float, *, bins: int = 10) -> Markup:
    """Return bars that count values between 0 and `high`; the counts are in the text for screen readers."""
    counts = [0] * bins
    for value in values:
        counts[min(int(bins * value / high), bins - 1) if high else 0] += 1
    tall, step = max([*counts, 1]), 100 / bins
    bars = [_column(i * step, step, 40 * count / tall) for i, count in enumerate(counts)]
    label = f"Histogram from 0 to {high:g} points in {bins} steps: {', '.join(map(str, counts))}"
    box = {"viewBox": "0 0 100 44", "preserveAspectRatio": "none", "role": "img"}
    return el("svg", el("title", label), *bars, class_="histogram", **box)


def _arc(kind: str, share: float) -> Markup:
    around = 2 * math.pi * 40
    circle = {"cx": "50", "cy": "50", "r": "40", "fill": "none", "stroke-width": "10"}
    dash = {"stroke-dasharray": f"{share * around:.2f} {around:.2f}", "transform": "rotate(-90 50 50)"}
    return el("circle", class_=kind, **circle, **dash)


def _column(x: float, step: float, height: float) -> Markup:
    box = {"x": f"{x + 0.6:.2f}", "width": f"{step - 1.2:.2f}", "y": f"{43 - height:.2f}"}
    kind = {} if height else {"class_": "none"}
    return el("rect", **kind, **box, height=f"{max(height, 1):.2f}")


@cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")
