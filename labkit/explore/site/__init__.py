"""The Sphinx extension of the book: honest caching, offline assets, figures, chapter numbers.

Listed in `_config.yml` as `labkit.explore.site`. It makes a plain `jupyter-book build .` do what the
book needs: cells run with one thread and static explorers, a changed package is never hidden by the
cache, a failing cell stops the build, and no page asks another host for anything.
"""

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

from labkit import __version__
from labkit.explore.site import assets, numbering
from labkit.explore.site.cache import fingerprint, keep_newest
from labkit.explore.site.plots import PlotlyRenderer

__all__ = ["PlotlyRenderer", "setup"]

KERNEL = {"LABKIT_STATIC": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx; the environment is set here because kernels inherit it."""
    _require_entry_point()
    os.environ.update(KERNEL)
    app.add_config_value("labkit_fingerprint", "", "env", str)  # "env": pages are read again when it changes
    app.connect("config-inited", _configure)
    app.connect("builder-inited", assets.copy)
    app.connect("doctree-read", numbering.drop_typed_numbers, priority=100)  # before Sphinx collects the titles
    app.connect("html-page-context", assets.tidy, priority=900)
    app.connect("build-finished", _forget_failure)
    numbering.number_from_file_names()
    for name in assets.SCRIPTS:
        app.add_js_file(name, type="module")
    for name in assets.STYLES:
        app.add_css_file(name)
    return {"version": __version__, "parallel_read_safe": True, "parallel_write_safe": True}


def _configure(app: Sphinx, config: Config) -> None:
    """Key the notebook cache on everything a cell can see, and let a raising cell stop the build."""
    assets.drop_thebe(app)
    _isolate_kernels(app.outdir.parent / "ipython")
    config.labkit_fingerprint = fingerprint()
    caches = app.outdir.parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(keep_newest(caches / config.labkit_fingerprint))
    config.nb_execution_raise_on_error = True
    config.mathjax_path = assets.MATHJAX_PATH
    config.nb_ipywidgets_js = {}  # no require.js, no html-manager: explorers mount themselves
    if os.environ.get("CI"):
        config.nb_execution_mode = "force"


def _isolate_kernels(folder: Path) -> None:
    """Give kernels an IPython folder of their own: a reader's start-up files and a notice on transport stay out."""
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.json").write_text('{"IPKernelApp": {"log_level": 40}}', encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(folder)


def _forget_failure(app: Sphinx, error: Exception | None) -> None:
    """Drop the saved environment after warnings, so that a second build repeats them instead of passing."""
    if error is not None or app._warncount:
        (app.doctreedir / "environment.pickle").unlink(missing_ok=True)


def _require_entry_point() -> None:
    if not any(point.value.startswith(__name__) for point in entry_points(group="myst_nb.mime_renderers")):
        raise ExtensionError("the package is not installed in this environment: run pip install -e .")
