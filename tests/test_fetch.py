"""Fetching, against a web server of our own: whole files or one DataError, and never anything half-written."""
import gzip
import hashlib
import io
import socket
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from ffnp.data import CATALOG, fetch, fetching, load, readers, where
from ffnp.data.fetching import SOURCES, File, Source
from ffnp.errors import DataError

CONTENT = {"train.gz": bytes(range(256)) * 40, "test.gz": b"test" * 3000}


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def file_of(name: str, content: bytes, checksum: bool = True) -> File:
    return File(name, len(content), sha256(content) if checksum else None)


class Server(ThreadingHTTPServer):
    """Serves `pages` below each kind of mirror; every request is noted in `asked`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = dict(CONTENT)
        self.asked: list[str] = []
        self.closing = threading.Event()

    def mirror(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        _, kind, name = self.path.split("/")
        getattr(self, kind)(self.server.pages[name])

    def good(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def missing(self, content: bytes) -> None:
        self.send_error(404)

    def corrupt(self, content: bytes) -> None:
        self.good(b"?" + content[1:])

    def empty(self, content: bytes) -> None:
        self.good(b"")

    def page(self, content: bytes) -> None:
        self.good(b"<html>Please sign in to this network</html>")

    def truncated(self, content: bytes) -> None:
        self.good(content[:1000], len(content))

    def rude(self, content: bytes) -> None:
        self.close_connection = True

    def nonsense(self, content: bytes) -> None:
        self.good(content, -1)  # an impossible length
        self.close_connection = True

    def stalled(self, content: bytes) -> None:
        self.good(content[:1000], len(content))
        self.wfile.flush()
        self.server.closing.wait(20)

    def silent(self, content: bytes) -> None:
        self.server.closing.wait(20)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "TIMEOUT", (0.3, 0.3))
    monkeypatch.setattr(pooch.get_logger().handlers[0], "stream", io.StringIO())
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def mnist(server, monkeypatch):
    """Makes MNIST a set of two tiny files, to be had from the given kinds of mirrors."""
    def use(*kinds: str) -> None:
        files = tuple(file_of(name, content) for name, content in CONTENT.items())
        monkeypatch.setitem(SOURCES, "mnist", Source(tuple(map(server.mirror, kinds)), files))

    return use


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def complaint(name: str, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        fetch(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetch_then_no_network(server, mnist, tmp_path):
    mnist("good")
    assert where("mnist", tmp_path) is None
    assert fetch("mnist", tmp_path) == where("mnist", tmp_path) == tmp_path / "mnist"
    assert contents(tmp_path / "mnist") == CONTENT
    assert server.asked == ["/good/train.gz", "/good/test.gz"]
    fetch("mnist", tmp_path)
    assert len(server.asked) == 2


REASON = {
    "missing": "404 Client Error: Not Found",
    "corrupt": "wrong checksum",
    "empty": "wrong checksum",
    "page": "wrong checksum",
    "truncated": "connection broken",
    "rude": "connection broken",
    "stalled": "timed out",
    "silent": "timed out",
}


@pytest.mark.parametrize("kind", REASON)
def test_the_next_mirror_helps(server, mnist, tmp_path, kind):
    mnist(kind, "good")
    fetch("mnist", tmp_path)
    assert contents(tmp_path / "mnist") == CONTENT
    assert server.asked[:2] == [f"/{kind}/train.gz", "/good/train.gz"]


@pytest.mark.parametrize("kind", REASON)
def test_no_mirror_helps(server, mnist, tmp_path, kind):
    mnist(kind, "missing")
    message = complaint("mnist", tmp_path)
    reasons = f"(127.0.0.1: {REASON[kind]}; 127.0.0.1: {REASON['missing']})"
    assert message.startswith(f"{tmp_path / 'mnist' / 'train.gz'} cannot be fetched {reasons}")
    assert contents(tmp_path / "mnist") == {}


def test_any_failure_is_a_reason(mnist, tmp_path):
    mnist("nonsense", "good")
    fetch("mnist", tmp_path)
    assert contents(tmp_path / "mnist") == CONTENT


def test_one_file_fails_and_the_others_stay(server, mnist, tmp_path):
    mnist("good")
    server.pages["test.gz"] = b"something else"
    assert f"{tmp_path / 'mnist' / 'test.gz'} cannot be fetched" in complaint("mnist", tmp_path)
    assert contents(tmp_path / "mnist") == {"train.gz": CONTENT["train.gz"]}


@pytest.mark.parametrize("name", SOURCES)
def test_offline(server, monkeypatch, tmp_path, name):
    with socket.socket() as closed:  # a port where nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(mirrors=(url,)))
        with pytest.raises(DataError) as caught:
            load(name, tmp_path)
    message = str(caught.value)
    assert "(127.0.0.1: no connection)" in message and str(tmp_path / name) in message
    assert f"set FFNP_DATA to a folder that holds {name}/" in message
    assert message.endswith(f"or use the embedded set {CATALOG[name].stand_in!r}")


def test_only_what_is_absent_or_damaged_is_fetched(server, mnist, tmp_path):
    mnist("good")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train.gz").write_bytes(CONTENT["train.gz"])
    (tmp_path / "mnist" / "test.gz").write_bytes(b"!" + CONTENT["test.gz"][1:])
    fetch("mnist", tmp_path)
    assert server.asked == ["/good/test.gz"]
    assert contents(tmp_path / "mnist") == CONTENT


def test_a_damaged_file_stays_until_a_whole_one_is_there(mnist, tmp_path):
    mnist("corrupt")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train.gz").write_bytes(b"old")
    complaint("mnist", tmp_path)
    assert contents(tmp_path / "mnist") == {"train.gz": b"old"}


def test_an_interrupt_leaves_nothing(mnist, tmp_path, monkeypatch):
    def interrupt(self, url, output_file, pooch):
        Path(output_file).write_bytes(b"half")
        raise KeyboardInterrupt

    mnist("good")
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", tmp_path)
    assert contents(tmp_path / "mnist") == {}


def test_a_folder_that_cannot_be_written(mnist, tmp_path):
    mnist("good")
    (tmp_path / "file").write_text("")
    assert complaint("mnist", tmp_path / "file") == f"{tmp_path / 'file' / 'mnist'} cannot be filled (Not a directory)"


def test_a_folder_name_that_is_impossible(monkeypatch):
    monkeypatch.setenv("FFNP_DATA", "x" * 300)
    with pytest.raises(DataError, match=r"x/mnist cannot be filled \(File name too long\)$"):
        load("mnist")


@pytest.mark.parametrize("name", ["digits", "fashion-mini"])
def test_embedded_sets_are_always_there(name, tmp_path):
    assert fetch(name, tmp_path) == where(name, tmp_path) == Path(fetching.__file__).parent


def test_where_to_look(monkeypatch, tmp_path):
    for root in ("given", "cache/ffnp", "variable"):
        for file in SOURCES["mnist"].files:
            path = tmp_path / root / "mnist" / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, root in (("", "cache/ffnp"), (f"{tmp_path}/variable", "variable"), ("~/variable", "variable")):
        monkeypatch.setenv("FFNP_DATA", variable)
        assert where("mnist") == tmp_path / root / "mnist"
        assert where("mnist", tmp_path / "given") == tmp_path / "given" / "mnist"
    monkeypatch.delenv("FFNP_DATA")
    assert where("mnist") == tmp_path / "cache" / "ffnp" / "mnist"
    path.unlink()
    assert where("mnist", tmp_path / "variable") is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_a_line_elsewhere(server, mnist, tmp_path, monkeypatch, capsys):
    mnist("good")
    fetch("mnist", tmp_path / "elsewhere")
    assert capsys.readouterr() == ("", "")
    line = f"Downloading data from '{server.mirror('good')}train.gz' to file '{tmp_path}/elsewhere/mnist/train.gz'.\n"
    assert pooch.get_logger().handlers[0].stream.getvalue().startswith(line)
    monkeypatch.setattr("sys.stderr", Terminal())
    fetch("mnist", tmp_path / "terminal")
    assert "train.gz: 100%" in sys.stderr.getvalue()


def test_load_fetches(server, monkeypatch, tmp_path):
    def idx(array):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        return gzip.compress(header + array.tobytes())

    pixels, labels = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28), np.array([7, 2, 1], np.uint8)
    for title in ("train", "t10k"):
        server.pages |= {f"{title}-images-idx3-ubyte.gz": idx(pixels), f"{title}-labels-idx1-ubyte.gz": idx(labels)}
    files = tuple(file_of(file.name, server.pages[file.name]) for file in SOURCES["mnist"].files)
    monkeypatch.setitem(SOURCES, "mnist", Source((server.mirror("good"),), files))
    monkeypatch.setitem(CATALOG, "mnist", CATALOG["mnist"]._replace(n_train=3, n_test=3))
    data = load("mnist", tmp_path)
    np.testing.assert_array_equal(data.x_train, pixels.reshape(3, 784) / np.float32(255))
    assert data.y_test.tolist() == [7, 2, 1] and len(server.asked) == 4
    load("mnist", tmp_path)
    assert len(server.asked) == 4
    (tmp_path / "mnist" / files[0].name).write_bytes(b"damaged")
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz cannot be decompressed"):
        load("mnist", tmp_path)


# CIFAR: one archive

MEMBERS = {"data_batch_1.bin": b"one" * 1000, "test_batch.bin": b"test" * 500}


def archive_of(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A tar.gz with these members, as they are named, after these links."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(content.getvalue(), mtime=0)  # the same bytes in every process: tests are named after them


def inside(members: dict[str, bytes]) -> dict[str, bytes]:
    return {f"cifar-10-batches-bin/{name}": content for name, content in members.items()}


@pytest.fixture
def cifar(server, monkeypatch):
    """Makes CIFAR-10 a set of two tiny files in this archive; `verified` False: only their sizes are known."""
    def use(archive: bytes, verified: bool = True) -> None:
        server.pages["cifar.tar.gz"] = archive
        files = tuple(file_of(name, content, verified) for name, content in MEMBERS.items())
        source = Source((server.mirror("good"),), files, file_of("cifar.tar.gz", archive), "cifar-10-batches-bin")
        monkeypatch.setitem(SOURCES, "cifar10", source)

    return use


@pytest.mark.parametrize("verified", [True, False])
def test_archive(server, cifar, tmp_path, verified):
    others = {"cifar-10-batches-bin/readme.html": b"<html>", "test_batch.bin": b"another"}
    cifar(archive_of(others | inside(MEMBERS)), verified)
    assert fetch("cifar10", tmp_path) == tmp_path / "cifar10"
    assert contents(tmp_path / "cifar10") == MEMBERS
    fetch("cifar10", tmp_path)
    assert server.asked == ["/good/cifar.tar.gz"]


def test_archive_cannot_write_elsewhere(cifar, tmp_path):
    evil = {"../evil.bin": b"evil", f"{tmp_path}/evil.bin": b"evil", "cifar-10-batches-bin/../../evil.bin": b"evil"}
    links = {"cifar-10-batches-bin/data_batch_1.bin": "../evil.bin", "cifar-10-batches-bin/link": "/"}
    cifar(archive_of(evil | inside(MEMBERS), links))
    fetch("cifar10", tmp_path)
    assert contents(tmp_path / "cifar10") == MEMBERS
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10"]


def test_archive_put_there_by_hand(server, cifar, tmp_path):
    cifar(archive_of(inside(MEMBERS)))
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "cifar.tar.gz").write_bytes(server.pages["cifar.tar.gz"])
    fetch("cifar10", tmp_path)
    assert contents(tmp_path / "cifar10") == MEMBERS and server.asked == []


WHOLE = archive_of(inside(MEMBERS))


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (archive_of(inside({"data_batch_1.bin": b"one" * 1000})), "does not hold test_batch.bin with its known size"),
        (archive_of(MEMBERS), "does not hold data_batch_1.bin"),
        (archive_of(inside(MEMBERS | {"test_batch.bin": b"longer" * 500})), "does not hold test_batch.bin"),
        (archive_of(inside(MEMBERS | {"test_batch.bin": b"fake" * 500})), "does not hold test_batch.bin"),
        (archive_of({}, {"cifar-10-batches-bin/data_batch_1.bin": "/etc/hosts"}), "does not hold data_batch_1.bin"),
        (b"", "cannot be unpacked"),
        (b"no archive", "cannot be unpacked"),
        (gzip.compress(b"no archive", mtime=0), "cannot be unpacked"),
        (WHOLE[: len(WHOLE) // 2], "cannot be unpacked"),
        (WHOLE[:20] + b"????" + WHOLE[24:], "cannot be unpacked"),
    ],
)
def test_archive_complaints(cifar, tmp_path, archive, reason):
    cifar(archive)
    message = complaint("cifar10", tmp_path)
    assert message.startswith(f"{tmp_path / 'cifar10' / 'cifar.tar.gz'} ") and reason in message
    assert set(contents(tmp_path / "cifar10")) == {"cifar.tar.gz"}


def test_sources_are_pinned():
    for name, source in SOURCES.items():
        assert set(readers.READERS) > {name} and CATALOG[name].stand_in
        assert all(mirror.endswith("/") for mirror in source.mirrors)
        pinned = [source.archive] if source.archive else list(source.files)
        assert all(file.checksum and file.checksum.startswith(("sha256:", "md5:")) for file in pinned)
