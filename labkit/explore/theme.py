"""The colours of the book: one palette for figures, explorers and pages.

Every series colour stands out by at least 3:1 on the light and on the dark page, so a figure needs
one set of colours only; text and lines change with the page through the CSS variables below. The
order keeps neighbours apart for the common forms of colour blindness, and a figure never relies on
colour alone: series differ in dash and marker too.
"""

PALETTE = ("#2a78c0", "#d1580b", "#008a65", "#b55a95", "#9a6b00", "#5b6fd6")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x")

LIGHT = {
    "--lk-background": "#ffffff",
    "--lk-surface": "#f5f7f9",
    "--lk-text": "#1f2933",
    "--lk-muted": "#52606d",
    "--lk-grid": "#e1e6eb",
    "--lk-axis": "#7b8794",
    "--lk-accent": "#0f5c99",
}
DARK = {
    "--lk-background": "#14181e",
    "--lk-surface": "#1c222b",
    "--lk-text": "#e4e9ee",
    "--lk-muted": "#a7b3bf",
    "--lk-grid": "#303945",
    "--lk-axis": "#7b8794",
    "--lk-accent": "#7cbcf0",
}

DARK_PAGES = "html[data-theme='dark'], body[data-jp-theme-light='false']"  # the site, JupyterLab

# light to dark, even steps of lightness: readable in grey print and for colour-blind readers
SEQUENTIAL = ("#f1f6fb", "#c3d9ee", "#8db8de", "#5694cb", "#2a6fb0", "#164d85", "#0a2c52")
DIVERGING = ("#1f5f9f", "#6ba0d0", "#c4d9eb", "#f6f6f4", "#f2ccae", "#dd8a4f", "#a94806")

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def css_variables() -> str:
    """Return the style sheet that defines the palette and both themes as CSS variables; print is always light."""
    series = {f"--lk-series-{i}": colour for i, colour in enumerate(PALETTE, 1)}
    light, dark = _block(LIGHT | series), _block(DARK)
    return f":root {light}\n:is({DARK_PAGES}) {dark}\n@media print {{ :root, :is({DARK_PAGES}) {_block(LIGHT)} }}\n"


def _block(variables: dict[str, str]) -> str:
    return "{ " + " ".join(f"{name}: {value};" for name, value in variables.items()) + " }"
