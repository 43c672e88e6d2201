"""CIFAR-10: 60,000 small photographs of ten kinds of things, read from the cache and never downloaded.

The data sits in one archive. Its binary edition is read, not the one for Python, whose pickles could run code; and the
archive is never unpacked: the six files are taken from it in memory.
"""

import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from labkit import checks, paths
from labkit.datasets.checksums import verified
from labkit.datasets.digits import SPLITS
from labkit.datasets.images import ColorImages, balanced_order

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ARCHIVE = "cifar-10-binary.tar.gz"
# The MD5 sum is the one on the page of the data set; the SHA-256 sum is of the same file.
CHECKSUMS = {
    "sha256": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "md5": "c32a1d4ab5d03f1284b67883e8d87530",
}
FOLDER = "cifar-10-batches-bin"
FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue rows
LARGEST = 10_000 * RECORD  # bytes of a file of the archive


def cifar10(split: str = "train") -> ColorImages:
    """Load CIFAR-10 from the archive in the cache.

    Parameters
    ----------
    split : "train" (45,000 images), "heldout" (5,000 others of the 50,000 training images, 500 of each class, the same
        on every machine) or "test" (10,000)

    Returns
    -------
    ColorImages, their labels as in `CIFAR10_CLASSES`.

    Raises
    ------
    ValueError : unknown split, or an archive that is damaged.
    FileNotFoundError : the archive is not in `labkit.paths.CACHE / "cifar10"`; the error says what to put where.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images, University of Toronto. Used in
    Chapter 29.

    >>> cifar10("tests")
    Traceback (most recent call last):
    ValueError: split must be one of 3 names, got 'tests'; did you mean 'test'?
    """
    checks.choice(split, "split", SPLITS)
    table = _table(_archive(), FILES["test" if split == "test" else "train"])
    if split != "test":
        order, n = balanced_order(table[:, 0], 0), len(table) // 10
        table = table[np.sort(order[:n] if split == "heldout" else order[n:])]
    images = table[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)
    images /= 255
    return ColorImages(images, table[:, 0].astype(np.int64), split, "cache")


def has_cifar10() -> bool:
    """Return whether the archive of CIFAR-10 is in the cache; whether it is whole, `cifar10` checks.

    >>> isinstance(has_cifar10(), bool)
    True
    """
    return _path().is_file()


def _path() -> Path:
    return paths.CACHE / "cifar10" / ARCHIVE


def _archive() -> bytes:
    """Return the verified archive."""
    if not has_cifar10():
        raise FileNotFoundError(
            f"{_path()} is not there. CIFAR-10 is not downloaded by labkit: get the binary version, {ARCHIVE} "
            f"(162 MB, MD5 {CHECKSUMS['md5']}), from {CIFAR10_PAGE} and put it there, without unpacking it"
        )
    return verified(_path(), CHECKSUMS)


def _table(archive: bytes, names: tuple[str, ...]) -> np.ndarray:
    """Return the records of some files, uint8 (n, 3073)."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            return np.concatenate([_records(tar, name) for name in names])
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{_path()} is damaged: {error}") from error


def _records(tar: tarfile.TarFile, name: str) -> np.ndarray:
    """Return the records of one file, uint8 (n, 3073); ValueError unless it is made of whole ones."""
    member = tar.getmember(f"{FOLDER}/{name}")
    file = tar.extractfile(member) if member.isreg() and 0 < member.size <= LARGEST else None
    content = file.read() if file else b""
    if not content or len(content) % RECORD:
        raise ValueError(f"{_path()} is damaged: {name} must be a file of whole records of {RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CIFAR10_CLASSES):
        raise ValueError(f"{_path()} is damaged: {name} must hold labels from 0 to 9, got {records[:, 0].max()}")
    return records
