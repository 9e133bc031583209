"""The data sets as users meet them: the embedded ones, their own arrays, and (marked full) the complete files."""
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ffnp.data
from ffnp.data import CATALOG, NAMES, Dataset, embed, from_arrays, load, split, where
from ffnp.errors import DataError

FOLDER = Path(ffnp.data.__file__).parent
quick = settings(deadline=None, max_examples=60)


def check(data: Dataset) -> None:
    """What holds for every named set."""
    info = CATALOG[data.name]
    assert (data.shape, data.classes) == (info.shape, info.classes)
    for x, y, count in ((data.x_train, data.y_train, info.n_train), (data.x_test, data.y_test, info.n_test)):
        assert x.shape == (count, np.prod(info.shape)) and x.dtype == np.float32 and x.flags.c_contiguous
        assert y.shape == (count,) and y.dtype == np.int64 and y.flags.c_contiguous
        assert x.min() == 0 and x.max() == 1
        assert np.unique(y).tolist() == list(range(len(info.classes)))


def test_catalog():
    assert NAMES == ("digits", "fashion-mini", "mnist", "fashion-mnist", "cifar10", "cifar100")
    for name, info in CATALOG.items():
        assert info.name == name
        assert len(set(info.classes)) == len(info.classes) == (100 if name == "cifar100" else 10)
        assert info.stand_in is None or CATALOG[info.stand_in].stand_in is None
    assert CATALOG["cifar100"].classes == tuple(sorted(CATALOG["cifar100"].classes))


@pytest.mark.parametrize("name", ["digits", "fashion-mini"])
def test_embedded_sets(name, tmp_path):
    start = time.perf_counter()
    data = load(name, tmp_path)  # the folder plays no part
    assert time.perf_counter() - start < 2
    check(data)
    assert where(name) == FOLDER


def test_digits_is_stratified():
    data = load("digits")
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    assert (train + test).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert test.tolist() == ((train + test) // 5).tolist()
    assert np.unique(data.x_train * 16).tolist() == list(range(17))


def test_fashion_mini_is_balanced():
    data = load("fashion-mini")
    assert np.bincount(data.y_train).tolist() == [500] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10
    assert data.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # the first of the original file
    assert data.y_test[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]


SHA256 = {
    "digits": "eb16a5b9fcc31197ecd8be8456b687084ffc10eb4cc2efbd406de3cc793713c8",
    "fashion-mini": "10e2c73b83c53eb264a8d3eb182ae4a010c75d9782f0813c1625877fd728d637",
}


@pytest.mark.parametrize("name", SHA256)
def test_embedded_arrays_are_the_published_choice(name):
    total = hashlib.sha256()
    with np.load(FOLDER / f"{name}.npz") as file:
        assert file.files == ["x_train", "y_train", "x_test", "y_test"]
        for array in file.values():
            assert array.dtype == np.uint8
            total.update(array.tobytes())
    assert total.hexdigest() == SHA256[name]


def test_embedded_files_are_small_and_licensed():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 3_000_000
    assert "Copyright © 2017 Zalando SE" in (FOLDER / "LICENSE-fashion-mini").read_text(encoding="utf-8")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in readme and "E. Alpaydin, C. Kaynak" in readme and "H. Xiao, K. Rasul, R. Vollgraf" in readme


def test_no_image_is_on_both_sides_of_digits():
    data = load("digits")
    train, test = ({row.tobytes() for row in x} for x in (data.x_train, data.x_test))
    assert len(train) + len(test) == 1797 and not train & test


def test_unknown_name():
    for use in (load, where, ffnp.data.fetch):
        with pytest.raises(DataError, match="unknown data set 'minst'; the data sets are digits, .*, cifar100$"):
            use("minst")


def test_import_is_light():
    heavy = ("pooch", "requests", "numba", "scipy", "matplotlib", "torch")
    code = f"import sys, ffnp.data; ffnp.data.load('digits'); print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=FOLDER.parents[1], text=True)
    assert printed == "[]\n"


# The user's own arrays

X, Y = np.arange(12.0).reshape(4, 3), [0, 1, 2, 1]


def test_from_arrays():
    data = from_arrays(X, Y, X[:1], [2], name="mine")
    assert (data.shape, data.classes, data.name) == ((3,), ("0", "1", "2"), "mine")
    np.testing.assert_array_equal(data.x_train, X)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64 and data.y_test.tolist() == [2]


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_from_arrays_flattens_images(shape):
    images = np.random.default_rng(0).random((6, *shape))[:, ::-1]  # not contiguous
    data = from_arrays(images, range(6), images[:2], [0, 5], classes="abcdef")
    assert data.shape == shape and data.classes == ("a", "b", "c", "d", "e", "f")
    assert data.x_train.flags.c_contiguous and data.x_train.shape == (6, np.prod(shape))
    np.testing.assert_array_equal(data.x_train.reshape(-1, *shape), images.astype(np.float32))


def test_from_arrays_with_classes_may_leave_labels_unused():
    assert from_arrays(X, [0, 5, 5, 5], X, Y, classes="abcdef").y_train.tolist() == [0, 5, 5, 5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x_train": [[1, 2], [3]]}, "x_train is not a rectangular array"),
        ({"x_train": [["a"]] * 4}, "x_train holds <U1 values, not real numbers"),
        ({"x_test": X * 1j}, "x_test holds complex128 values, not real numbers"),
        ({"x_train": X[0]}, "x_train has shape (3,), but needs one row or image for each of at least one example"),
        ({"x_train": X[:0]}, "x_train has shape (0, 3), but needs"),
        ({"x_test": X[:, :0]}, "x_test has shape (4, 0), but needs"),
        ({"x_train": X * np.nan}, "x_train holds values that are not finite in float32"),
        ({"x_test": X * 1e300}, "x_test holds values that are not finite in float32"),
        ({"x_test": X[:, :2]}, "x_test has images of shape (2,), x_train has (3,)"),
        ({"y_train": [0, 1, 2]}, "y_train has shape (3,), but 4 labels are needed: one for each image"),
        ({"y_train": np.eye(4, dtype=int)}, "y_train has shape (4, 4), but 4 labels are needed"),
        ({"y_train": [0.0, 1.0, 2.0, 1.0]}, "y_train holds float64 values, but labels are integers"),
        ({"y_test": ["cat"] * 4}, "y_test holds <U3 values, not real numbers"),
        ({"y_test": [0, 1, -1, 0]}, "y_test has label -1, but labels start at 0"),
        ({"y_train": [1, 2, 3, 1]}, "y_train never uses label 0, but its highest is 3; labels are 0..C-1"),
        ({"y_train": [0, 1, 2**60, 1]}, f"y_train never uses label 2, but its highest is {2**60}"),
        ({"y_train": np.array([0, 1, 2**64 - 1, 1], np.uint64)}, "y_train never uses label 2"),
        ({"y_test": [0, 1, 2, 3]}, "y_test has label 3, but there are only 3 classes"),
        ({"classes": "ab"}, "y_train has label 2, but there are only 2 classes"),
        ({"classes": ()}, "y_train has label 2, but there are only 0 classes"),
    ],
)
def test_from_arrays_complaints(given, message):
    with pytest.raises(DataError) as caught:
        from_arrays(**{"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, **given})
    assert message in str(caught.value) and "\n" not in str(caught.value)


@quick
@given(st.lists(st.integers(0, 4), min_size=10, max_size=60), st.floats(0.1, 0.9), st.integers(0, 2**32))
def test_split_is_stratified_disjoint_and_covering(labels, share, seed):
    rows, y = np.arange(len(labels)), np.array(labels)
    try:
        x_train, y_train, x_test, y_test = split(rows, y, share, np.random.default_rng(seed))
    except DataError:
        sizes = [round(share * n) for n in np.bincount(y)]
        assert sum(sizes) in (0, len(y))
        return
    assert sorted([*x_train, *x_test]) == rows.tolist()
    assert (np.diff(x_train) > 0).all() and (np.diff(x_test) > 0).all()  # the order is kept
    np.testing.assert_array_equal(y_train, y[x_train])
    np.testing.assert_array_equal(y_test, y[x_test])
    for label in set(labels):
        assert abs((y_test == label).sum() - share * labels.count(label)) <= 0.5 + 1e-9


def test_split_is_seeded():
    x, y = np.arange(400).reshape(200, 2), np.arange(200) % 4
    once, again, other = (split(x, y, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once[2].shape == (40, 2)
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))
    assert not np.array_equal(once[2], other[2])


@pytest.mark.parametrize(
    ("x", "y", "share", "message"),
    [
        (X, Y, 0.0, "test_share is 0.0, but must lie between 0 and 1"),
        (X, Y, 1, "test_share is 1, but must lie between 0 and 1"),
        (X, Y, float("nan"), "test_share is nan, but must lie between 0 and 1"),
        (X, Y[:3], 0.5, "x of shape (4, 3) needs one label a row, but y has shape (3,)"),
        (X, 3, 0.5, "x of shape (4, 3) needs one label a row, but y has shape ()"),
        (1.0, [1], 0.5, "x of shape () needs one label a row, but y has shape (1,)"),
        ([], [], 0.5, "test_share 0.5 of 0 rows leaves nothing on one side of the split"),
        (X, Y, 0.1, "test_share 0.1 of 4 rows leaves nothing on one side of the split"),
        ([[1], [1, 2]], [0, 1], 0.5, "x is not a rectangular array"),
    ],
)
def test_split_complaints(x, y, share, message):
    with pytest.raises(DataError) as caught:
        split(x, y, share, np.random.default_rng(0))
    assert str(caught.value) == message


def test_split_feeds_from_arrays():
    data = from_arrays(*split(np.ones((20, 2)), np.arange(20) % 2, 0.2, np.random.default_rng(0)))
    assert len(data.y_train) == 16 and np.bincount(data.y_test).tolist() == [2, 2]


# How the embedded files are made


def test_embed_digits_takes_every_fifth_of_each_class(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(120) % 10)
    table = np.hstack([rng.integers(0, 17, (120, 64)), labels[:, None]])
    np.savetxt(tmp_path / "optdigits.tes", table, "%d", ",")
    monkeypatch.setattr(sys, "argv", ["embed", "digits", str(tmp_path / "optdigits.tes"), "--out", str(tmp_path)])
    embed.main()
    order = [np.flatnonzero(labels == label) for label in range(10)]  # twelve of each class
    test = np.sort(np.concatenate([rows[[4, 9]] for rows in order]))
    with np.load(tmp_path / "digits.npz") as file:
        np.testing.assert_array_equal(file["x_test"].reshape(-1, 64), table[test, :64])
        np.testing.assert_array_equal(file["y_train"], np.delete(labels, test))


def test_embed_fashion_mini_takes_the_first_of_each_class(monkeypatch):
    y_train, y_test = np.arange(6000) % 10, np.arange(3000)[::-1] % 10
    arrays = np.arange(6000), y_train, np.arange(3000), y_test
    monkeypatch.setitem(embed.READERS, "fashion-mnist", lambda folder, info: arrays)
    x_train, y_train, x_test, y_test = embed.fashion_mini(Path())
    assert x_train.tolist() == list(range(5000)) and x_test.tolist() == list(range(1000))
    assert np.bincount(y_train).tolist() == [500] * 10 and np.bincount(y_test).tolist() == [100] * 10


# The complete files, in $FFNP_DATA

FIRST_LABELS = {
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    "fashion-mnist": ([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
    "cifar10": ([6, 9, 9, 4, 1, 1, 2, 7, 8, 3], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]),
}
MEAN_AND_STD = {  # of the training pixels, for each channel
    "mnist": ([0.13066], [0.30811]),
    "fashion-mnist": ([0.28604], [0.35302]),
    "cifar10": ([0.49140, 0.48216, 0.44653], [0.24703, 0.24349, 0.26159]),
    "cifar100": ([0.50708, 0.48655, 0.44092], [0.26733, 0.25644, 0.27615]),
}
COUNTS = {
    "mnist": ([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
              [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    "fashion-mnist": ([6000] * 10, [1000] * 10),
    "cifar10": ([5000] * 10, [1000] * 10),
    "cifar100": ([500] * 100, [100] * 100),
}


def full_sets() -> list[str]:
    """CIFAR-100 only where it is at hand."""
    return [*FIRST_LABELS, "cifar100"] if os.environ.get("FFNP_DATA") and where("cifar100") else [*FIRST_LABELS]


@pytest.mark.full
@pytest.mark.parametrize("name", full_sets())
def test_full_set(name):
    data = load(name, Path(os.environ["FFNP_DATA"]))
    check(data)
    assert tuple(np.bincount(y).tolist() for y in (data.y_train, data.y_test)) == COUNTS[name]
    if name in FIRST_LABELS:  # copies of CIFAR-100 differ in their order
        assert (data.y_train[:10].tolist(), data.y_test[:10].tolist()) == FIRST_LABELS[name]
    mean, std = MEAN_AND_STD[name]
    pixels = data.x_train.reshape(-1, len(mean))
    np.testing.assert_allclose(pixels.mean(0, np.float64), mean, atol=6e-6)
    np.testing.assert_allclose(pixels.std(0, np.float64), std, atol=6e-6)


@pytest.mark.full
@pytest.mark.parametrize("name", FIRST_LABELS)
def test_full_set_needs_no_fetching(name, monkeypatch):
    monkeypatch.setattr("ffnp.data.fetching._download", None)
    folder = Path(os.environ["FFNP_DATA"])
    assert ffnp.data.fetch(name, folder) == folder / name


@pytest.mark.full
@pytest.mark.parametrize("name", ["digits", "fashion-mini"])
def test_embedded_files_come_from_the_originals(name, tmp_path):
    original = Path(os.environ["FFNP_DATA"]) / "fashion-mnist"
    if name == "digits":
        original = tmp_path / "optdigits.tes"
        with np.load(Path(os.environ["FFNP_DATA"]) / "digits" / "digits.npz") as file:
            np.savetxt(original, np.column_stack([file["images"].reshape(-1, 64), file["labels"]]), "%d", ",")
    with np.load(FOLDER / f"{name}.npz") as shipped:
        for made, title in zip(embed.RECIPES[name](original), shipped.files, strict=True):
            assert made.dtype == np.uint8
            np.testing.assert_array_equal(made, shipped[title])
