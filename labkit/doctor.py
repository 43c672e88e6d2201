"""`python -m labkit doctor`: what works on this machine, and what to do about the rest."""

import argparse
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from labkit import paths

SUPPORTED = ((3, 11), (3, 12), (3, 13))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MARKS = {"ok": "ok  ", "note": "note", "broken": "FAIL"}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `state` is "ok", "note" (something optional is missing) or "broken"."""

    name: str
    text: str
    state: str = "ok"


def python() -> Finding:
    """Check the interpreter."""
    text = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    if sys.version_info[:2] in SUPPORTED:
        return Finding("Python", text)
    return Finding("Python", f"{text}; labkit needs 3.11, 3.12 or 3.13", "broken")


def packages() -> Finding:
    """Compare the installed packages with the pins of requirements.txt."""
    pins = read_pins(paths.ROOT / "requirements.txt")
    found = {name: installed_version(name) for name in pins}
    missing = [name for name in pins if found[name] is None]
    other = [f"{name} {found[name]} (pinned: {pins[name]})" for name in pins if found[name] not in (None, pins[name])]
    if missing:
        few = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        return Finding("Packages", f"missing: {few}; activate .venv, or let python3 run.py test make it", "note")
    if other:
        return Finding("Packages", f"other versions than the pinned ones: {', '.join(other)}", "note")
    return Finding("Packages", f"all {len(pins)} as pinned in requirements.txt")


def read_pins(path: Path) -> dict[str, str]:
    """Return the pins of a requirements file that apply to every platform: {"numpy": "2.4.6", ...}."""
    if not path.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)\s*$", path.read_text(encoding="utf-8"), re.MULTILINE))


def installed_version(name: str) -> str | None:
    """Return the version of an installed package without its build label: "2.13.0" for 2.13.0+cpu."""
    try:
        return metadata.version(name).split("+")[0]
    except metadata.PackageNotFoundError:
        return None


def libraries() -> Finding:
    """Import what every chapter uses."""
    names = ("numpy", "scipy", "torch", "sklearn", "safetensors", "plotly", "anywidget")
    versions = [f"{name} {importlib.import_module(name).__version__}" for name in names]
    return Finding("Libraries", ", ".join(versions))


def kernels() -> Finding:
    """Say whether the C kernels were built and which level this processor gets."""
    from labkit import kernels as compiled

    if compiled.backend() != "numpy":
        return Finding("Kernels", f"{compiled.backend()}; levels on this processor: {', '.join(compiled.levels())}")
    advice = "install a C compiler, then: pip install --no-build-isolation --no-deps -e ."
    return Finding("Kernels", f"NumPy serves, exact but slow; {advice}", "note")


def processor() -> Finding:
    """Name the processor, its cores and the threads that torch uses."""
    import torch

    level = torch.backends.cpu.get_cpu_capability()
    threads = f"torch uses {torch.get_num_threads()} threads, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')}"
    return Finding("Processor", f"{os.cpu_count()} cores, {level}; {threads}")


def digits() -> Finding:
    """Say which MNIST the chapters get: the offline digits are needed, the full set is not."""
    from labkit import datasets

    offline = len(datasets.mnist("heldout", source="offline"))
    try:
        total = sum(len(datasets.mnist(split, source="cache")) for split in datasets.SPLITS)
    except FileNotFoundError:
        return Finding("MNIST", f"{offline:,} offline digits; for all 70,000: python -m labkit data", "note")
    return Finding("MNIST", f"all {total:,} digits in {paths.CACHE / 'mnist'}")


def checkpoints() -> Finding:
    """Load every trained network."""
    from labkit.nets import store

    for name in store.NETS:
        store.load(name)
    return Finding("Networks", ", ".join(store.NETS))


def tables() -> Finding:
    """Count the tables of the lectures."""
    from labkit import lectures

    return Finding("Lectures", f"{len(lectures.tables())} tables, {len(lectures.errata())} errata")


def browser() -> Finding:
    """Look for the browser that the site tests drive."""
    if path := find_browser():
        return Finding("Browser", f"{path} ({version_of(path)})")
    return Finding("Browser", "no Chromium, so the browser tests are skipped; Debian: apt install chromium", "note")


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome, or None; LABKIT_CHROMIUM names one that is somewhere else."""
    return os.environ.get("LABKIT_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def sandbox() -> Finding:
    """Look for the sandbox that grading uses."""
    if path := shutil.which("bwrap"):
        return Finding("Sandbox", f"{path} ({version_of(path)})")
    return Finding("Sandbox", "no bubblewrap; only grading uses it; Debian: apt install bubblewrap", "note")


def version_of(program: str) -> str:
    """Return the first line that a program prints about its version."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    return (done.stdout or done.stderr or "no version").strip().splitlines()[0]


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    packages,
    libraries,
    kernels,
    processor,
    tables,
    checkpoints,
    digits,
    browser,
    sandbox,
)


def examine(check: Callable[[], Finding]) -> Finding:
    """Run one check; whatever it raises becomes a line of the report."""
    try:
        return check()
    except Exception as error:
        return Finding(check.__name__.capitalize(), f"{type(error).__name__}: {error}", "broken")


def main(arguments: Sequence[str]) -> int:
    """Print the report; return 1 if something that the book needs is broken."""
    description = "Say what works on this machine. The exit code is 1 when something that the book needs is broken."
    argparse.ArgumentParser(prog="python -m labkit doctor", description=description).parse_args(arguments)
    broken = 0
    for check in CHECKS:
        finding = examine(check)
        broken += finding.state == "broken"
        print(f"{MARKS[finding.state]}  {finding.name:<10} {finding.text}", flush=True)
    print(f"\n{broken} of {len(CHECKS)} checks failed." if broken else "\nEverything that the book needs works.")
    return 1 if broken else 0
