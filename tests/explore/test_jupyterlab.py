"""The SVD explorer in JupyterLab itself: run a notebook, move the slider with the keyboard, see the picture change."""

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from labkit import paths
from tests.browser import launch, need_chromium

CELLS = ["from labkit.explore.svd import svd_explorer\n\nexplorer = svd_explorer()\nexplorer", "explorer.rank = 40"]
QUIET = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.token=",
    "--ServerApp.password=",
    "--ServerApp.port_retries=0",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]
# milliseconds from a key press to the first repaint after the frame that it asked for
WAIT_FOR_REDRAW = """key => new Promise(resolve => {
    const root = document.querySelector('[data-frames]');
    const start = performance.now();
    const drawn = () => requestAnimationFrame(() => resolve(performance.now() - start));
    new MutationObserver((_, watcher) => { watcher.disconnect(); drawn(); })
        .observe(root, {attributes: true, attributeFilter: ['data-frames']});
    const input = root.querySelector('input[type=range]');
    key > 0 ? input.stepUp() : input.stepDown();
    input.dispatchEvent(new Event('input'));
})"""
KERNEL_ANSWERS = """async () => {
    const session = window.jupyterapp.shell.currentWidget?.context.sessionContext;
    await session?.ready;
    const kernel = session?.session?.kernel;
    await kernel?.info;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
# thirty moves without a pause; returns how many frames there were before
DRAG = """() => {
    const root = document.querySelector('[data-frames]');
    const input = root.querySelector('input[type=range]');
    for (let place = 100; place < 130; place++) { input.value = place; input.dispatchEvent(new Event('input')); }
    return Number(root.dataset.frames);
}"""
PICTURE = "document.querySelector('.lk canvas').toDataURL().length + document.querySelector('.lk canvas').toDataURL()"


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Run JupyterLab on a free port in `folder`, with settings of its own; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(folder / f".{kind.lower()}") for kind in ("CONFIG", "DATA", "RUNTIME")}
    settings = {"IPYTHONDIR": str(folder / ".ipython"), "PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyter", "lab", f"--port={port}", *QUIET]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | own | settings, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_it_answers(url, server, folder / "server.log")
            yield url
        finally:
            server.terminate()
            server.wait(20)


def _until_it_answers(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"JupyterLab ended: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{url}/api", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


def open_and_run(page, address: str) -> None:
    """Open a notebook in JupyterLab, run all its cells and wait for the explorer's first picture."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function(KERNEL_ANSWERS, timeout=60_000)  # JupyterLab loses cells that are run before
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector("[data-frames] .lk canvas", timeout=60_000)


def press(page, key: str) -> None:
    """Press a key on the slider and wait until the explorer has drawn the result."""
    before = page.evaluate("Number(document.querySelector('[data-frames]').dataset.frames)")
    page.locator(".lk input[type=range]").first.press(key)
    page.wait_for_function(f"Number(document.querySelector('[data-frames]').dataset.frames) > {before}", timeout=20_000)


def test_slider_in_jupyterlab_redraws_the_picture(tmp_path, capsys):
    need_chromium()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS], metadata=kernel)
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    with jupyter_lab(tmp_path) as url, launch(viewport={"width": 1200, "height": 1400}) as (page, complaints):
        open_and_run(page, f"{url}/lab/tree/explorer.ipynb")
        slider = page.locator(".lk input[type=range]").first
        page.wait_for_function("document.querySelector('.lk-value').textContent === '40'", timeout=60_000)
        first = page.evaluate(PICTURE)
        press(page, "ArrowRight")
        assert slider.get_attribute("aria-valuetext") == "41"  # the key moved the slider, not the notebook
        assert page.evaluate(PICTURE) != first
        press(page, "End")
        assert slider.get_attribute("aria-valuetext") == "427"
        times = [page.evaluate(WAIT_FOR_REDRAW, -1 if i % 20 < 15 else 1) for i in range(40)]
        frames = page.evaluate(DRAG)
        page.wait_for_function("document.querySelector('[data-view=spectrum] .lk-plot').ariaLabel.includes('k = 130')")
        assert page.evaluate("Number(document.querySelector('[data-frames]').dataset.frames)") - frames < 10
        page.select_option(".lk select", label="Weights of LeNet's first layer, 300 × 784")
        page.wait_for_function("document.querySelector('.lk-readouts').textContent.includes('Held-out accuracy')")
        page.screenshot(path=tmp_path / "lab.png")
    with capsys.disabled():
        print(f"\nJupyterLab, slider to redraw: median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms")
    assert complaints.seen == []
