"""Who computes: what is here, what is missing and how to get it, in one sentence wherever a user asks for it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from numba import cuda
from tiny import dataset, files, recipe

from ffnp import cli
from ffnp.backend import BACKENDS, BackendError, load_backend
from ffnp.errors import UserError
from ffnp.kernels.cuda import missing
from ffnp.run import load_run
from ffnp.training import train

NO_CARD = "there is no card; buy one"


@pytest.fixture
def without_card(monkeypatch):
    monkeypatch.setitem(BACKENDS, "cuda", BACKENDS["cuda"]._replace(lacks=lambda: NO_CARD))


@pytest.fixture
def with_card(monkeypatch):
    """As far as the backend can tell: another one computes in its place."""
    monkeypatch.setitem(BACKENDS, "cuda", BACKENDS["numpy"]._replace(dtypes=BACKENDS["cuda"].dtypes))


def test_a_backend_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="there is no backend 'gpu'; choose one of numpy, cpu, cuda, ptx"):
        load_backend("gpu")


def test_a_backend_that_lacks_something_says_what(without_card):
    with pytest.raises(BackendError, match=f"the cuda backend cannot compute here: {NO_CARD}"):
        load_backend("cuda")


@pytest.mark.parametrize("name", ["numpy", "cpu", "ptx"])
def test_a_backend_is_loaded_once(name, monkeypatch):
    monkeypatch.setitem(BACKENDS, name, BACKENDS[name]._replace(lacks=lambda: ""))
    assert load_backend(name) is load_backend(name)


# ----- what may be missing -----


@pytest.mark.parametrize("problem", [ImportError, RuntimeError])
def test_without_the_package_or_a_library_of_it_both_cuda_backends_say_how_to_install_it(monkeypatch, problem):
    def toolkit():
        raise problem

    monkeypatch.setattr(missing, "toolkit", toolkit)
    for name in ("cuda", "ptx"):
        assert "not installed" in BACKENDS[name].lacks()
        assert '"ffnp[cuda]"' in BACKENDS[name].lacks() and '"ffnp[cuda12]"' in BACKENDS[name].lacks()


@pytest.mark.parametrize(("version", "state", "says"), [
    (0, "", "there is no NVIDIA driver; install one of CUDA 13"),
    (12040, "CUDA_SUCCESS", "the NVIDIA driver is of CUDA 12.4, too old"),
    (13000, "CUDA_ERROR_NO_DEVICE", "the NVIDIA driver finds no device"),
    (13000, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "does not start (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"),
])
def test_it_says_which_part_of_a_card_is_missing(monkeypatch, version, state, says):
    monkeypatch.setattr(missing, "toolkit", lambda: (13, 0))
    monkeypatch.setattr(missing, "driver", lambda: (version, state))
    assert says in missing.gpu()


def test_a_card_too_old_for_the_compilers_is_told_from_one_that_is_not(monkeypatch):
    monkeypatch.setattr(missing, "toolkit", lambda: (13, 0))
    monkeypatch.setattr(missing, "driver", lambda: (13000, "CUDA_SUCCESS"))
    monkeypatch.setattr(missing, "capabilities", lambda: [(7, 5), (8, 0)])
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "gpus", [SimpleNamespace(compute_capability=(6, 1))])
    assert "of compute capability 6.1, too old for numba-cuda, which compiles for 7.5 and newer" in missing.gpu()
    monkeypatch.setattr(cuda, "gpus", [SimpleNamespace(compute_capability=(7, 5))])
    assert missing.gpu() == ""


def test_a_card_that_numba_does_not_use_is_no_card(monkeypatch):
    monkeypatch.setattr(missing, "toolkit", lambda: (13, 0))
    monkeypatch.setattr(missing, "driver", lambda: (13000, "CUDA_SUCCESS"))
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    monkeypatch.setattr(cuda, "cuda_error", lambda: "CUDA is disabled", raising=False)
    assert missing.gpu() == "numba does not use the NVIDIA driver: CUDA is disabled"


def test_nothing_is_missing_only_where_numba_finds_a_device():
    assert missing.gpu() or cuda.is_available()


# In an interpreter of its own, where numba has no CUDA but what it comes with itself.
ALONE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "NumbaCudaFinder"]
from ffnp.backend import BACKENDS
for name in ("cuda", "ptx"):
    print(BACKENDS[name].lacks())
"""


def test_numba_alone_is_not_enough_and_asking_makes_no_noise():
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, 2 * f"{missing.PACKAGE}\n", "")


# ----- where a user meets it -----


def test_backends_are_listed_with_what_is_missing(without_card, capsys):
    assert cli.main(["backends"]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [next(n for n, line in enumerate(lines) if line.startswith(f"{name} ")) for name in BACKENDS]
    assert starts == sorted(starts)
    for n, backend in zip(starts, BACKENDS.values(), strict=True):
        assert backend.says in lines[n] and all(dtype in lines[n] for dtype in backend.dtypes)
        assert ("not here" in lines[n]) == bool(backend.lacks())
        assert not backend.lacks() or lines[n + 1].strip() == backend.lacks()


@pytest.mark.parametrize("command", ["train bp-small", "compare bp-small dfa-small", "verify bp-small", "saliency bp-small"])
def test_a_command_on_a_missing_backend_ends_in_a_sentence_and_leaves_nothing(command, without_card, capsys, tmp_path):
    out = ["--json", str(tmp_path / "out" / "v.json")] if "verify" in command else ["--out", str(tmp_path / "out")]
    assert cli.main([*command.split(), "--backend", "cuda", *out]) == 2
    assert capsys.readouterr().err == f"ffnp: the cuda backend cannot compute here: {NO_CARD}\n"
    assert files(tmp_path) == {}


def test_a_dtype_that_a_backend_does_not_compute_in_is_refused(with_card, tmp_path):
    with pytest.raises(UserError, match="^the cuda backend computes in float32, not float64$"):
        train(recipe(), dataset(), backend="cuda", dtype="float64", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_a_missing_backend_is_not_called_damaged(monkeypatch, with_card, capsys, tmp_path):
    train(recipe(), dataset(), backend="cuda", out=tmp_path)
    monkeypatch.setitem(BACKENDS, "cuda", BACKENDS["cuda"]._replace(lacks=lambda: NO_CARD))
    with pytest.raises(BackendError, match=NO_CARD):
        load_run(tmp_path)
    assert cli.main(["saliency", str(tmp_path), "--out", str(tmp_path / "maps")]) == 2
    assert capsys.readouterr().err == f"ffnp: the cuda backend cannot compute here: {NO_CARD}\n"
