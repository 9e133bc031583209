"""Where the data sets are, and fetching them: pinned checksums, mirrors in turn, final names for whole files only."""
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import DataError
from .catalog import lookup

TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for more bytes, before the next mirror is tried
PACKAGE = Path(__file__).parent  # the embedded sets


class File(NamedTuple):
    name: str
    size: int  # bytes
    checksum: str | None = None  # "algorithm:digest"; None: only the archive's is published


class Source(NamedTuple):
    """Where a set comes from: its files one by one, or as the members of an archive (in a folder of their own)."""

    mirrors: tuple[str, ...]
    files: tuple[File, ...]
    archive: File | None = None
    archive_folder: str = ""


SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://raw.githubusercontent.com/fgnt/mnist/master/",
        ),
        (
            File("train-images-idx3-ubyte.gz", 9912422,
                 "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            File("train-labels-idx1-ubyte.gz", 28881,
                 "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            File("t10k-images-idx3-ubyte.gz", 1648877,
                 "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            File("t10k-labels-idx1-ubyte.gz", 4542,
                 "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # no https: the checksum protects
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            File("train-images-idx3-ubyte.gz", 26421880,
                 "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            File("train-labels-idx1-ubyte.gz", 29515,
                 "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            File("t10k-images-idx3-ubyte.gz", 4422102,
                 "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            File("t10k-labels-idx1-ubyte.gz", 5148,
                 "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    "cifar10": Source(
        ("https://www.cs.toronto.edu/~kriz/",),
        (
            File("data_batch_1.bin", 30730000, "md5:5dd7e06a14cb22eb9f671a540d1b7c25"),
            File("data_batch_2.bin", 30730000, "md5:5ea93a67294ea407fff1d09f752e9692"),
            File("data_batch_3.bin", 30730000, "md5:942cd6a4bcdd0dd3c604fbe906cb4421"),
            File("data_batch_4.bin", 30730000, "md5:ae636b3ba5c66a11e91e8cb52e771fcb"),
            File("data_batch_5.bin", 30730000, "md5:53f37980c15c3d472c316c40844f3f0d"),
            File("test_batch.bin", 30730000, "md5:803d5f7f4d78ea53de84dbe85f74fb6d"),
        ),
        File("cifar-10-binary.tar.gz", 170052171, "md5:c32a1d4ab5d03f1284b67883e8d87530"),
        "cifar-10-batches-bin",
    ),
    "cifar100": Source(
        ("https://www.cs.toronto.edu/~kriz/",),
        (File("train.bin", 153700000), File("test.bin", 30740000)),
        File("cifar-100-binary.tar.gz", 168513733, "md5:03b5dce01913d631647c71ecec9e9cb8"),
        "cifar-100-binary",
    ),
}

# What pooch and requests say at length, in a few words.
REASONS = {
    "does not match the known hash": "wrong checksum",
    "timed out": "timed out",
    "Connection aborted": "connection broken",
    "Connection broken": "connection broken",
    "Max retries exceeded": "no connection",
}


def where(name: str, folder: Path | None = None) -> Path | None:
    """The folder that holds the files of the set `name`, or None if one is absent. Needs no network, opens no file."""
    if lookup(name).stand_in is None:
        return PACKAGE
    home = _root(folder) / name
    # isfile, as a folder that cannot be searched is no error here
    return home if all(os.path.isfile(home / file.name) for file in SOURCES[name].files) else None


def fetch(name: str, folder: Path | None = None) -> Path:
    """Fetches what is absent or damaged of the set `name` and returns its folder; `folder` as in `load`.

    Needs no network if nothing is. An archive that already lies in the folder, under its own name, is used.
    DataError: an unknown name, a folder that cannot be written, or a file that no mirror gives whole.
    """
    if lookup(name).stand_in is None:
        return PACKAGE
    source, home = SOURCES[name], _root(folder) / name
    try:
        absent = [file for file in source.files if not _is_whole(home / file.name, file)]
        home.mkdir(parents=True, exist_ok=True)
        if absent and source.archive:
            _unpack(_download(name, source.archive, home), source, home)
        elif absent:
            for file in absent:
                _download(name, file, home)
    except OSError as error:
        raise DataError(f"{home} cannot be filled ({error.strerror})") from None
    return home


def _root(folder: Path | None) -> Path:
    given = folder or os.environ.get("FFNP_DATA")
    if given:
        return Path(os.path.expanduser(given))  # a ~user that does not exist is kept
    import pooch

    return Path(pooch.os_cache("ffnp"))


def _is_whole(path: Path, file: File) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.checksum is None:
        return True
    import pooch

    algorithm, digest = file.checksum.split(":")
    return bool(pooch.file_hash(str(path), algorithm) == digest)


def _download(name: str, file: File, home: Path) -> Path:
    """The verified file, from the first mirror that gives it."""
    failures = []
    for mirror in SOURCES[name].mirrors:
        try:
            return _retrieve(mirror + file.name, file, home)
        except (OSError, ValueError) as error:
            failures.append(f"{urlsplit(mirror).hostname}: {_reason(error)}")
    raise DataError(
        f"{home / file.name} cannot be fetched ({'; '.join(failures)}): put it there by hand, set FFNP_DATA to a "
        f"folder that holds {name}/, or use the embedded set {lookup(name).stand_in!r}"
    )


def _retrieve(url: str, file: File, home: Path) -> Path:
    """One download through pooch, which logs a line, writes under a temporary name and moves what it has verified."""
    import pooch
    from tqdm import tqdm

    # disable=None: the bar shows on a terminal only
    with tqdm(desc=file.name, total=file.size, unit="B", unit_scale=True, disable=None) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=TIMEOUT)
        return Path(pooch.retrieve(url, file.checksum, file.name, home, downloader=downloader))


def _reason(error: Exception) -> str:
    text = str(error)
    return next((words for sign, words in REASONS.items() if sign in text), text.partition(" for url")[0])


def _unpack(archive: Path, source: Source, home: Path) -> None:
    """Moves the wanted members, once all are verified, from the archive to `home`, and removes the archive.

    Members are found by their exact name and written under ours, so that no other path in the archive can matter.
    """
    wanted = {f"{source.archive_folder}/{file.name}": file for file in source.files}
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    if member.isreg() and member.name in wanted and member.size == wanted[member.name].size:
                        _extract(tar, member, Path(scratch) / wanted[member.name].name)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{archive} cannot be unpacked ({error})") from None
        for file in source.files:
            if not _is_whole(Path(scratch) / file.name, file):
                raise DataError(f"{archive} does not hold {file.name} with its known size and checksum")
        for file in source.files:
            os.replace(Path(scratch) / file.name, home / file.name)
    archive.unlink(missing_ok=True)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    assert content is not None  # a regular file has content
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)
