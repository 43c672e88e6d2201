"""The corpus: submissions of the lab in corpus_lab.py, each with what it earns; see corpus_{honest,files,blocks}.py."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from corpus_lab import FULL, Raw, as_file

NONE = dict.fromkeys(FULL, 0.0)
Writer = Callable[[Path], None]


@dataclass(frozen=True)
class Entry:
    """One submission: how its file is made, the points of every question, and the flags and status it must have.

    `chapter`: of attacks.md; `whole`: it is graded with all others; the rest is only scored, which is faster.
    """

    name: str
    content: bytes | Writer
    scores: dict[str, float] = field(default_factory=lambda: dict(FULL))
    flags: frozenset[str] = frozenset()
    status: str = ""
    file: str = ""
    chapter: str = ""
    whole: bool = True

    def write(self, folder: Path) -> None:
        """Put the submission into a folder."""
        path = folder / self.file
        if callable(self.content):
            self.content(path)
        else:
            path.write_bytes(self.content)


ENTRIES: dict[str, Entry] = {}


def add(
    name: str,
    content: bytes | Writer | list[Raw],
    *flags: str,
    file: str = "",
    status: str = "",
    chapter: str = "",
    whole: bool = True,
    **scores: float,
) -> None:
    """Add a submission; `scores` are the questions that do not earn full marks, total=0 means none does."""
    assert name not in ENTRIES, name
    file = file or f"{len(ENTRIES):03d}-{name.replace(' ', '-').replace('/', '-')}.ipynb"
    content = as_file(content) if isinstance(content, list) else content
    points = NONE if scores.pop("total", None) == 0 else FULL
    ENTRIES[name] = Entry(name, content, points | scores, frozenset(flags), status, file, chapter, whole)


def write_all(folder: Path) -> Path:
    """Write the submissions that are graded together into a new folder and return it."""
    folder.mkdir(parents=True)
    for entry in ENTRIES.values():
        if entry.whole:
            entry.write(folder)
    return folder
