"""What the pages load, all of it from the site itself: our scripts and styles, plotly, MathJax."""

import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import plotly
from sphinx.application import Sphinx

from labkit.explore import theme

STATIC = Path(__file__).resolve().parents[1] / "static"
SCRIPTS = ("site.js", "mount.js")
STYLES = ("theme.css", "site.css", "explorer.css")
MATHJAX_PATH = "mathjax/tex-mml-chtml.js"
MATHJAX_WHEEL = "django-static-mathjax"  # a package that carries MathJax 3 as plain files
MATHJAX_ROOT = "mathjax/static/mathjax/es5/"
MATHJAX_PARTS = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2/")


def copy(app: Sphinx) -> None:
    """Bring `_static` up to date before any page is written, because pages carry the files' check sums."""
    if app.builder.format != "html":
        return
    folder = Path(app.outdir) / "_static"
    for source, name in _files():
        _refresh(source, folder / name)
    (folder / "theme.css").write_text(theme.css_variables(), encoding="utf-8")


def drop_thebe(app: Sphinx) -> None:
    """Unplug sphinx-thebe, which Jupyter Book always loads and which points every page to other hosts."""
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__.startswith("sphinx_thebe"):
                app.disconnect(listener.id)
    app.registry.css_files = [entry for entry in app.registry.css_files if "thebe" not in entry[0]]


def tidy(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Remove saved widget states, megabytes that only a kernel could use, and give references a valid role."""
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not _is_widget_state(script)]
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def _files() -> Iterator[tuple[Path, str]]:
    yield from ((path, path.name) for path in STATIC.iterdir() if path.is_file())
    yield Path(plotly.__file__).parent / "package_data" / "plotly.min.js", "plotly.min.js"
    for file in metadata.files(MATHJAX_WHEEL) or ():
        name = str(file).removeprefix(MATHJAX_ROOT)
        if str(file).startswith(MATHJAX_ROOT) and name.startswith(MATHJAX_PARTS):
            yield Path(str(file.locate())), f"mathjax/{name}"


def _refresh(source: Path, target: Path) -> None:
    """Copy `source` unless `target` is as new and as long."""
    old = target.stat() if target.exists() else None
    new = source.stat()
    if old is None or (old.st_size, int(old.st_mtime)) != (new.st_size, int(new.st_mtime)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _is_widget_state(script: Any) -> bool:
    return "jupyter.widget" in str(getattr(script, "attributes", {}).get("type", ""))
