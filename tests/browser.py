"""A headless Chromium for the tests: no other host is reached, and every complaint of a page is collected."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from labkit.doctor import find_browser
from labkit.explore import theme

HOW = "no Chromium found: install it (Debian: apt-get install chromium) or name it in LABKIT_CHROMIUM"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCAL = ("localhost", "127.0.0.1")
PAGE = """<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Explorers</title><link rel="icon" href="data:,">
<style>{style}</style><script type="module" src="mount.js"></script><body><main>{figures}</main></html>"""


@dataclass
class Complaints:
    """What went wrong on a page: blocked hosts, failed requests, console errors, uncaught errors."""

    seen: list[str] = field(default_factory=list)

    def watch(self, page) -> None:
        page.on("console", lambda message: message.type == "error" and self.seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.seen.append(f"uncaught: {error}"))
        page.on("response", lambda r: r.status >= 400 and self.seen.append(f"{r.status}: {r.url}"))
        page.on("requestfailed", lambda r: self.seen.append(f"failed: {r.url} {r.failure}"))


def need_chromium() -> str:
    """Return the path of a Chromium; without one skip the test, or fail it where CI=true."""
    path = find_browser()
    if path is None:
        pytest.fail(HOW) if os.environ.get("CI") == "true" else pytest.skip(HOW)
    return path


@contextmanager
def launch(**context_options) -> Iterator[tuple[object, Complaints]]:
    """Open a headless Chromium; yield a page that reaches only this machine, and its complaints."""
    with running() as browser:
        yield open_page(browser, **context_options)


@contextmanager
def running() -> Iterator[object]:
    """Run a headless Chromium for several pages."""
    executable = need_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser, **context_options) -> tuple[object, Complaints]:
    """Return a new page that reaches only this machine, and its complaints."""
    context = browser.new_context(**context_options)
    context.route("**/*", _only_local)
    page, complaints = context.new_page(), Complaints()
    complaints.watch(page)
    return page, complaints


def _only_local(route) -> None:
    url = urlsplit(route.request.url)
    if url.scheme in ("data", "blob") or url.hostname in LOCAL:
        route.continue_()
    else:
        route.abort()  # shows up as a failed request


def serious(page) -> dict[str, list]:
    """Return what axe-core calls serious or critical, with the elements it means."""
    from axe_playwright_python.sync_playwright import Axe

    # Without `preload`: axe would look for imported style sheets beside the page instead of beside the importing one.
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    grave = [item for item in found if item["impact"] in ("serious", "critical")]
    return {item["id"]: [node["target"] for node in item["nodes"]][:5] for item in grave}


def explorer_page(figures: str) -> str:
    """Return a page that shows explorers from their static HTML, for a folder that holds `static/`."""
    return PAGE.format(style=theme.css_variables(), figures=figures)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of localhost; yield the address."""
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args) -> None:
        pass
