"""A fingerprint of everything that a cell of the book can see besides its own page."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from labkit import paths

PACKAGE = Path(__file__).resolve().parents[2]
SUFFIXES = {".py", ".js", ".css", ".c", ".h"}
KEPT = 3  # caches of this many package states stay, so going back to a branch costs nothing


def fingerprint() -> str:
    """Return a hash over the names and bytes of the package, its data and its requirements.

    >>> len(fingerprint())
    16
    """
    digest = hashlib.sha256()
    for path in _inputs():
        data = path.read_bytes()
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def keep_newest(cache: Path) -> Path:
    """Create the folder `cache`, mark it as used now and delete its oldest neighbours beyond a few."""
    cache.mkdir(parents=True, exist_ok=True)
    cache.touch()
    folders = [path for path in cache.parent.iterdir() if path.is_dir()]
    for old in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old)
    return cache


def _inputs() -> Iterator[Path]:
    yield from sorted(path for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES)
    yield from sorted(path for path in paths.DATA.rglob("*") if path.is_file())
    yield from (path for path in (paths.ROOT / "requirements.txt", paths.ROOT / "pyproject.toml") if path.exists())
