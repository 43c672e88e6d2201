"""CIFAR-10 from a small archive made here: splits, checksums, damage, members that are not what they should be."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from labkit import paths
from labkit.datasets import CIFAR10_CLASSES, ColorImages, Digits, LabelledImages, cifar, cifar10, has_cifar10
from labkit.training import evaluate

NAMES = [*cifar.FILES["train"], *cifar.FILES["test"]]


def records(seed, n=20):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, (n, cifar.RECORD), dtype=np.uint8)
    table[:, 0] = rng.permutation(np.arange(n) % 10)
    return table


TABLES = {name: records(i) for i, name in enumerate(NAMES)}


def packed(contents, links=()):
    """Return a compressed archive of {path: bytes}, and of symbolic links (path, target)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path, content in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for path, target in links:
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return file.getvalue()


def whole(**changed):
    tables = {f"{cifar.FOLDER}/{name}": table.tobytes() for name, table in TABLES.items()}
    return tables | {f"{cifar.FOLDER}/{name}.bin": content for name, content in changed.items()}


@pytest.fixture
def put(tmp_path, monkeypatch):
    """A function that puts an archive into an empty cache and makes its checksums the published ones."""
    monkeypatch.setattr(paths, "CACHE", tmp_path)

    def put(archive):
        path = tmp_path / "cifar10" / cifar.ARCHIVE
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(archive)
        sums = {kind: hashlib.new(kind, archive).hexdigest() for kind in ("sha256", "md5")}
        monkeypatch.setattr(cifar, "CHECKSUMS", sums)
        return path

    return put


# --- what is read -------------------------------------------------------------------------------------------------


def test_the_test_split_holds_the_bytes_of_its_file_in_order(put):
    put(packed(whole()))
    data, table = cifar10("test"), TABLES["test_batch.bin"]
    assert (data.images.shape, data.images.dtype, data.labels.dtype) == ((20, 3, 32, 32), np.float32, np.int64)
    assert data.labels.tolist() == table[:, 0].tolist()
    assert data.images[3, 1, 2, 5] == np.float32(table[3, 1 + 1024 + 2 * 32 + 5]) / 255  # green, row 2, column 5
    assert np.array_equal(np.rint(data.images * 255).reshape(20, -1), table[:, 1:])
    assert repr(data) == "ColorImages(split='test', n=20, source='cache')"


def test_heldout_is_a_balanced_tenth_of_the_training_images(put):
    put(packed(whole()))
    train, heldout = cifar10("train"), cifar10("heldout")
    assert (len(train), len(heldout)) == (90, 10)
    assert sorted(heldout.labels) == list(range(10))
    rows = np.concatenate([TABLES[name][:, 1:] for name in cifar.FILES["train"]])
    both = np.rint(np.concatenate([train.images, heldout.images]) * 255).astype(np.uint8).reshape(100, -1)
    assert {row.tobytes() for row in both} == {row.tobytes() for row in rows}
    assert np.array_equal(cifar10("heldout").images, heldout.images)


def test_the_data_serves_like_the_digits(put):
    put(packed(whole()))
    data = cifar10("test")
    images, labels = data[:6].tensors()
    assert (images.shape, labels.shape) == ((6, 3, 32, 32), (6,))
    rest, part = data.divide(10, random_state=0)
    assert isinstance(part, ColorImages)
    assert (len(rest), np.bincount(part.labels).tolist()) == (10, [1] * 10)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, len(CIFAR10_CLASSES)))
    assert evaluate(model, data).n == 20


def test_nothing_is_written(put, tmp_path):
    path = put(packed(whole() | {"../escaped.bin": b"out", "/tmp/escaped.bin": b"out"}))
    cifar10("train")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    assert not (tmp_path.parent / "escaped.bin").exists()


# --- files that are missing or damaged ----------------------------------------------------------------------------


def test_a_missing_archive_is_named_with_its_page_and_checksum(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    assert not has_cifar10()
    with pytest.raises(FileNotFoundError) as caught:
        cifar10("train")
    parts = (str(tmp_path / "cifar10" / cifar.ARCHIVE), cifar.CIFAR10_PAGE, cifar.CHECKSUMS["md5"], "not downloaded")
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize("damage", [lambda c: c[:-10], lambda c: c[:20] + b"?" + c[21:], lambda c: b""])
def test_an_archive_with_other_checksums_is_refused(put, damage):
    good = packed(whole())
    path = put(good)
    path.write_bytes(damage(good))
    assert has_cifar10()
    with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz is damaged: its sha256 is .* Delete it"):
        cifar10("test")


def test_md5_is_checked_too(put, monkeypatch):
    put(packed(whole()))
    monkeypatch.setitem(cifar.CHECKSUMS, "md5", "0" * 32)
    with pytest.raises(ValueError, match="its md5 is"):
        cifar10("test")


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        gzip.compress(b"no archive"),
        packed(whole())[:5000],
        packed({}),
        packed(whole(data_batch_3=b"")),
        packed(whole(data_batch_3=records(9).tobytes()[:-1])),
        packed(whole(data_batch_3=bytes(cifar.LARGEST + cifar.RECORD))),
        packed(whole(data_batch_3=b"\x0a" * cifar.RECORD)),
        packed(
            {p: c for p, c in whole().items() if "3" not in p}, [(f"{cifar.FOLDER}/data_batch_3.bin", "/etc/passwd")]
        ),
    ],
    ids=["empty", "text", "gzip", "cut", "bare", "no record", "part of one", "too large", "label 10", "link"],
)
def test_an_archive_of_another_content_is_refused(put, archive):
    put(archive)
    with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz is damaged"):
        cifar10("train")


@pytest.mark.parametrize("split", ["training", None, 3, "TEST"])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match="split must be one of 3 names"):
        cifar10(split)


def test_published_checksums_are_well_formed():
    assert {kind: len(digits) for kind, digits in cifar.CHECKSUMS.items()} == {"sha256": 64, "md5": 32}


def test_images_of_another_shape_or_type_are_refused():
    labels = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"images must have shape \(n, 3, 32, 32\), got \(2, 32, 32, 3\)"):
        ColorImages(np.zeros((2, 32, 32, 3), np.float32), labels, "test", "made")
    with pytest.raises(TypeError, match="images must be ndarray, got list"):
        Digits([[0]], labels, "test", "made")
    assert issubclass(Digits, LabelledImages)


@pytest.mark.skipif(not has_cifar10(), reason=f"{cifar.ARCHIVE} is not in {paths.CACHE / 'cifar10'}")
def test_the_published_archive_is_read():
    counts = {split: np.bincount(cifar10(split).labels).tolist() for split in ("train", "heldout", "test")}
    assert counts == {"train": [4500] * 10, "heldout": [500] * 10, "test": [1000] * 10}
