"""The strict readers: what is written is read back; any other bytes give one DataError that names the file."""
import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ffnp.data.catalog import CATALOG
from ffnp.data.readers import READERS, read_cifar, read_idx, read_idx_labels
from ffnp.errors import DataError

quick = settings(deadline=None, max_examples=60)
images = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5))
LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def cifar(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """Images (n, 32, 32, 3) and labels (n, label bytes) as CIFAR records."""
    return np.hstack([labels, pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)]).tobytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("readers") / "file"


def refuse(read, path: Path, *args) -> str:
    """The reader's one-sentence complaint, which names the file."""
    with pytest.raises(DataError) as caught:
        read(path, *args)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def read_or_refuse(read, path: Path, *args):
    try:
        return read(path, *args)
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


@quick
@given(images)
def test_idx_round_trip(path, array):
    path.write_bytes(gzip.compress(idx(array), 1))
    read = read_idx(path, array.shape)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


@quick
@given(st.lists(st.integers(0, 9), max_size=20))
def test_idx_labels_round_trip(path, labels):
    path.write_bytes(gzip.compress(idx(np.array(labels, np.uint8)), 1))
    assert read_idx_labels(path, len(labels), 10).tolist() == labels


@quick
@given(st.data(), st.integers(1, 2), st.integers(0, 3))
def test_cifar_round_trip(path, data, label_bytes, count):
    seed = data.draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = data.draw(arrays(np.uint8, (count, label_bytes), elements=st.integers(0, 9)))
    path.write_bytes(cifar(pixels, labels))
    read_pixels, read_labels = read_cifar(path, count, 10, label_bytes)
    np.testing.assert_array_equal(read_pixels, pixels)
    np.testing.assert_array_equal(read_labels, labels[:, -1])


def test_cifar_pixels_are_where_the_format_puts_them(path):
    record = np.zeros(3073, np.uint8)
    record[[0, 1, 1 + 1024 + 33, 1 + 2048 + 1023]] = 7, 10, 20, 30
    path.write_bytes(record.tobytes())
    pixels, labels = read_cifar(path, 1, 10)
    assert labels.tolist() == [7]
    assert (pixels[0, 0, 0, 0], pixels[0, 1, 1, 1], pixels[0, 31, 31, 2]) == (10, 20, 30)
    assert pixels.sum() == 60


@quick
@given(st.binary(max_size=100), st.booleans())
def test_idx_any_bytes(path, content, zipped):
    path.write_bytes(gzip.compress(content) if zipped else content)
    refuse(read_idx, path, (2, 3, 3))
    refuse(read_idx_labels, path, 8, 10)


@quick
@given(st.binary(max_size=100))
def test_idx_any_bytes_behind_a_valid_header(path, content):
    path.write_bytes(gzip.compress(idx(LABELS)[:8] + content))
    labels = read_or_refuse(read_idx_labels, path, len(LABELS), 10)
    assert labels is None or (bytes(labels) == content and labels.max() < 10)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_idx_mutated_gzip(path, data):
    content = bytearray(gzip.compress(idx(LABELS), mtime=0))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    labels = read_or_refuse(read_idx_labels, path, len(LABELS), 10)
    assert labels is None or labels.tolist() == LABELS.tolist()  # the checksum guards what the header does not


@quick
@given(st.data())
def test_idx_truncated(path, data):
    content = gzip.compress(idx(LABELS))
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refuse(read_idx_labels, path, len(LABELS), 10)


@quick
@given(st.integers(0, 2 * 3073 + 50), st.integers(1, 2))
def test_cifar_any_length(path, length, label_bytes):
    path.write_bytes(bytes(length))
    read = read_or_refuse(read_cifar, path, 2, 10, label_bytes)
    assert (read is not None) == (length == 2 * (label_bytes + 3072))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no IDX file of 1-dimensional bytes: it begins with 0x"),
        (b"\0\0\x08", "it begins with 0x000008"),
        (b"\0\0\x09\1" + idx(LABELS)[4:], "it begins with 0x00000901"),
        (idx(LABELS.reshape(2, 2, 2)), "it begins with 0x00000803"),
        (idx(LABELS)[:6], "announces the shape (0,), but should have (8,)"),
        (idx(LABELS[:7]), "announces the shape (7,), but should have (8,)"),
        (b"\0\0\x08\1\xff\xff\xff\xff" + LABELS.tobytes(), "announces the shape (4294967295,), but should have (8,)"),
        (idx(LABELS)[:-1], "has less than the 8 bytes that its header announces"),
        (idx(LABELS) + b"\0", "has more than the 8 bytes that its header announces"),
        (idx(LABELS + np.uint8(3)), "gives image 5 the label 12, but there are 10 classes"),
    ],
)
def test_idx_reasons(path, content, reason):
    path.write_bytes(gzip.compress(content))
    assert refuse(read_idx_labels, path, 8, 10).endswith(reason)


def damage(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1:]


GOOD = gzip.compress(idx(LABELS), mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(LABELS), "Not a gzipped file"),
        (GOOD[:-1], "end-of-stream marker"),
        (damage(GOOD, -8), "CRC check failed"),
        (damage(GOOD, -4), "Incorrect length"),
        (damage(GOOD, 10), "decompressing"),
        (GOOD + b"trailing", "Not a gzipped file"),
    ],
)
def test_gzip_reasons(path, content, reason):
    path.write_bytes(content)
    message = refuse(read_idx_labels, path, 8, 10)
    assert "cannot be decompressed" in message and reason in message


def test_cifar_reasons(path):
    path.write_bytes(bytes(3072))
    assert refuse(read_cifar, path, 1, 10).endswith("has less than the 3073 bytes of 1 records")
    path.write_bytes(bytes(3074))
    assert refuse(read_cifar, path, 1, 10).endswith("has more than the 3073 bytes of 1 records")
    path.write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    assert refuse(read_cifar, path, 2, 10).endswith("gives image 1 the label 10, but there are 10 classes")


def test_absent_file_and_folder(tmp_path):
    for bad, reason in ((tmp_path / "absent", "(No such file or directory)"), (tmp_path, "(Is a directory)")):
        assert refuse(read_idx, bad, (1,)).endswith(reason)
        assert refuse(read_cifar, bad, 1, 10).endswith(reason)


@pytest.mark.parametrize("header", [idx(LABELS)[:8], b"\0\0\x08\1\xff\xff\xff\xff"])
def test_a_gzip_bomb_is_not_unpacked(path, header):
    path.write_bytes(gzip.compress(header + bytes(30_000_000), 1))
    tracemalloc.start()
    refuse(read_idx_labels, path, 8, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_whole_idx_set(name, tmp_path):
    rng = np.random.default_rng(0)
    info = CATALOG[name]._replace(n_train=7, n_test=4)
    for title, count in (("train", 7), ("t10k", 4)):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        (tmp_path / f"{title}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (tmp_path / f"{title}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    x_train, y_train, x_test, y_test = READERS[name](tmp_path, info)
    assert (x_train.shape, y_train.shape) == ((7, 28, 28), (7,))
    np.testing.assert_array_equal(x_test, pixels)
    np.testing.assert_array_equal(y_test, labels)


def test_cifar10_batches_are_joined_in_order(tmp_path):
    for i, title in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        (tmp_path / f"{title}.bin").write_bytes((bytes([i]) + bytes([10 * i]) * 3072) * 2)
    info = CATALOG["cifar10"]._replace(n_train=10, n_test=2)
    x_train, y_train, x_test, y_test = READERS["cifar10"](tmp_path, info)
    assert y_train.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and y_test.tolist() == [5, 5]
    assert x_train.shape == (10, 32, 32, 3)
    np.testing.assert_array_equal(x_train[:, 31, 31, 2], 10 * y_train)
    assert (x_test == 50).all()


def test_cifar100_gives_the_fine_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(bytes([19, 99]) + bytes(3072))
    (tmp_path / "test.bin").write_bytes(bytes([0, 42]) + bytes(3072))
    _, y_train, _, y_test = READERS["cifar100"](tmp_path, CATALOG["cifar100"]._replace(n_train=1, n_test=1))
    assert (y_train.tolist(), y_test.tolist()) == ([99], [42])
