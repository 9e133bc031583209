"""Strict readers of the data files: any bytes give the announced array or one DataError that names the file.

Sources: the IDX format, as the MNIST page of LeCun, Cortes and Burges describes it; the "binary version" of CIFAR,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""
import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DataError
from .catalog import Info

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # x_train, y_train, x_test, y_test, all uint8


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of a gzipped IDX file. Its header must announce just this `shape`, and the file must hold it.

    The header is compared before anything else is decompressed, and never more than the announced bytes and one are.
    """
    size = math.prod(shape)
    try:
        with gzip.open(path) as file:
            _check_header(path, file.read(4 + 4 * len(shape)), shape)
            data = file.read(size + 1)  # the byte too many makes gzip check its checksum, and finds trailing data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be decompressed ({getattr(error, 'strerror', None) or error})") from None
    if len(data) != size:
        raise DataError(f"{path} has {_more_or_less(data, size)} than the {size} bytes that its header announces")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_idx_labels(path: Path, count: int, classes: int) -> np.ndarray:
    """The labels of a gzipped IDX file: (count,) uint8, each below `classes`."""
    return _check_labels(path, read_idx(path, (count,)), classes)


def read_cifar(path: Path, count: int, classes: int, label_bytes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 32, 32, 3) and labels (count,), uint8, of a CIFAR binary file.

    A record is the label bytes (CIFAR-100 has coarse, then fine; the last one is returned), then 1024 bytes of red,
    of green and of blue.
    """
    record = label_bytes + 3 * 32 * 32
    size = count * record
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) != size:
        raise DataError(f"{path} has {_more_or_less(data, size)} than the {size} bytes of {count} records")
    records = np.frombuffer(data, np.uint8).reshape(count, record)
    labels = _check_labels(path, records[:, label_bytes - 1], classes)
    return records[:, label_bytes:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _check_header(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    magic, sizes = header[:4], header[4:]
    if magic != bytes([0, 0, 8, len(shape)]):  # 8: unsigned bytes
        raise DataError(f"{path} is no IDX file of {len(shape)}-dimensional bytes: it begins with 0x{magic.hex()}")
    if sizes != np.array(shape, ">u4").tobytes():
        found = tuple(int.from_bytes(sizes[i:i + 4], "big") for i in range(0, len(sizes), 4))
        raise DataError(f"{path} announces the shape {found}, but should have {shape}")


def _more_or_less(data: bytes, size: int) -> str:
    return "more" if len(data) > size else "less"


def _check_labels(path: Path, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.max(initial=0) >= classes:
        row = int(np.argmax(labels >= classes))
        raise DataError(f"{path} gives image {row} the label {labels[row]}, but there are {classes} classes")
    return labels


def _read_embedded(folder: Path, info: Info) -> Arrays:
    with np.load(folder / f"{info.name}.npz") as file:
        return file["x_train"], file["y_train"], file["x_test"], file["y_test"]


def _read_mnist(folder: Path, info: Info) -> Arrays:
    def part(title: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = read_idx_labels(folder / f"{title}-labels-idx1-ubyte.gz", count, len(info.classes))
        return read_idx(folder / f"{title}-images-idx3-ubyte.gz", (count, *info.shape)), labels

    return *part("train", info.n_train), *part("t10k", info.n_test)


def _read_cifar10(folder: Path, info: Info) -> Arrays:
    def part(title: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        return read_cifar(folder / f"{title}.bin", count, len(info.classes))

    images, labels = zip(*(part(f"data_batch_{i}", info.n_train // 5) for i in range(1, 6)), strict=True)
    return np.concatenate(images), np.concatenate(labels), *part("test_batch", info.n_test)


def _read_cifar100(folder: Path, info: Info) -> Arrays:
    def part(title: str, count: int) -> tuple[np.ndarray, np.ndarray]:
        return read_cifar(folder / f"{title}.bin", count, len(info.classes), label_bytes=2)

    return *part("train", info.n_train), *part("test", info.n_test)


READERS: dict[str, Callable[[Path, Info], Arrays]] = {
    "digits": _read_embedded,
    "fashion-mini": _read_embedded,
    "mnist": _read_mnist,
    "fashion-mnist": _read_mnist,
    "cifar10": _read_cifar10,
    "cifar100": _read_cifar100,
}
