"""Files whose content is checked before anything is read from it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def mismatch(content: bytes, published: Mapping[str, str]) -> str:
    """Return "" if the content has the published checksums {algorithm: hexadecimal digits}, else a sentence with both.

    >>> mismatch(b"", {"md5": "d41d8cd98f00b204e9800998ecf8427e"})
    ''
    """
    for kind, expected in published.items():
        found = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        if found != expected:
            return f"its {kind} is {found}, the published one is {expected} ({len(content):,} bytes)"
    return ""


def verified(path: Path, published: Mapping[str, str]) -> bytes:
    """Return the content of a file; ValueError if it does not have the published checksums."""
    content = path.read_bytes()
    problem = mismatch(content, published)
    if problem:
        raise ValueError(f"{path} is damaged: {problem}. Delete it and load the data again")
    return content
