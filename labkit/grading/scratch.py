"""The engine's private folders: one for each run, and none is left of a run that was killed."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX, LOCK = "labkit-grading-", "lock"
YOUNG = 60.0  # seconds in which a run may be between making its folder and locking it


class Scratch:
    """A new folder of mode 0700 in the folder for temporary files, locked for as long as this process lives."""

    def __init__(self) -> None:
        remove_stale()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.lock = open(self.path / LOCK, "wb")  # noqa: SIM115  closed in `remove`
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.lock.close()


def remove_stale() -> None:
    """Remove the folders of runs that ended without doing so, because somebody killed them or the power failed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _left_alone(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _left_alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of our own; raises OSError if a run has it, or if it may only just have begun."""
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or time.time() - info.st_mtime < YOUNG:
        raise OSError(f"{folder} is not ours to remove")
    with open(folder / LOCK, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
