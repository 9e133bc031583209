"""The check of the presets against torch: every preset passes, a rule that is wrong does not, and the command says so."""

import json
import math
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from host import HOST
from tiny import never

from ffnp import cli
from ffnp.backend import BACKENDS
from ffnp.errors import UserError
from ffnp.kernels.contract import Pair
from ffnp.optim import VELOCITIES
from ffnp.presets import PRESETS
from ffnp.rules import PEPITA, Backprop, ForwardForward
from ffnp.rules.rule import Moment
from ffnp.verify import check
from ffnp.verify.twin import Watch
from ffnp.verify.twins import TWINS, twin_of


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_agrees_with_its_twin(name):
    rows = check.checked(PRESETS[name], HOST)
    assert {(r.backend, r.dtype, r.data) for r in rows} == {
        (backend, dtype, data) for backend in HOST for dtype in BACKENDS[backend].dtypes for data in check.DATA}
    assert [r for r in rows if not r.passed] == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_twin_of_its_own_rule(name):
    assert type(PRESETS[name].rule) in TWINS


def test_a_rule_without_a_twin_is_named():
    with pytest.raises(UserError, match="the rule dict has no torch twin yet"):
        twin_of({})


# ----- it can fail -----


@dataclass(frozen=True)
class Tampered(Backprop):
    """Backprop whose pairs are not what they should be: `change` of (layer, pair)."""

    change: object = None

    def signals(self, k, net, x, y, rng, moment=Moment()):
        for s in super().signals(k, net, x, y, rng, moment):
            yield s._replace(layers={l: [self.change(l, pair) for pair in pairs] for l, pairs in s.layers.items()})


TAMPERED = {
    "the sign of the first layer": lambda l, p: p if l else Pair(p.pre, -p.post),
    "a factor of 1 + 1e-9": lambda l, p: Pair(p.pre, p.post * (1 + 1e-9)),
    "one unit of the output": lambda l, p: Pair(p.pre, p.post * (np.arange(p.post.shape[1]) != 1)),
    "one row": lambda l, p: Pair(p.pre[1:].copy(), p.post[1:].copy()),
    "a number that is none": lambda l, p: Pair(p.pre, p.post * math.nan),
}


@pytest.mark.filterwarnings("ignore:invalid value")  # of the number that is none
@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_update_fails(change):
    """In float64 on every backend; in float32 too but for what is below its rounding."""
    rows = check.checked(replace(PRESETS["bp-small"], rule=Tampered(dropout=0.2, change=change)), HOST)
    assert not any(r.passed for r in rows if r.dtype == "float64")


@dataclass(frozen=True)
class Undropped(Backprop):
    def masked(self, k, h, key):
        return h


@dataclass(frozen=True)
class OtherMasks(PEPITA):
    """The second pass has masks of its own."""

    def forward(self, k, net, x, keys=None, product=None):
        up = super().forward(k, net, x, keys, product)
        keys[:] = [key + 1 for key in keys]
        return up


@dataclass(frozen=True)
class Ungated(ForwardForward):
    def share(self, h):
        return 2.0


@dataclass(frozen=True)
class Silent(Backprop):
    """It forgets its first layer."""

    def signals(self, k, net, x, y, rng, moment=Moment()):
        for s in super().signals(k, net, x, y, rng, moment):
            yield s._replace(layers={l: pairs for l, pairs in s.layers.items() if l})


WRONG = {"bp": Undropped(dropout=0.3), "pepita-icml2022": OtherMasks(sign=1, error="second", dropout=0.1),
         "ff-loewe": Ungated(negatives="uniform"), "bp-small": Silent(dropout=0.2)}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_fails_in_both_dtypes(name):
    assert not any(r.passed for r in check.checked(replace(PRESETS[name], rule=WRONG[name]), HOST))


def test_the_wrong_sign_of_the_modulation_fails(monkeypatch):
    monkeypatch.setattr(PEPITA, "modulated", lambda self, k, net, x, e: k.add(x, k.project(e, net.feedback[0].W), 1.0))
    assert not any(r.passed for r in check.checked(PRESETS["pepita-iclr2024"], HOST))


@pytest.mark.parametrize("preset", ["bp", "ff-hinton2022", "ff-loewe", "pepita-icml2022"])
def test_a_wrong_step_shows_in_the_weights_alone(preset, monkeypatch):
    """Half the momentum, or half of Adam's first moment."""
    recipe = PRESETS[preset]
    slack = replace(recipe.optimisers.layers, momentum=recipe.optimisers.layers.momentum / 2)
    moving = check.movers
    monkeypatch.setattr(check, "movers", lambda o, net: moving(o._replace(layers=slack), net))
    rows = [r for r in check.checked(recipe, HOST) if r.dtype == "float64"]
    assert all(r.update <= r.update_bound for r in rows) and not any(r.passed for r in rows)


# ----- what it watches -----


def test_the_checked_batches_keep_clear_of_kinks():
    for name in ("bp", "ff-hinton2022", "pepita-deep", "usf"):
        for data in check.DATA:
            case, twin = check.settled(PRESETS[name], data, Moment())
            assert check.rounding(case, products=1) <= twin.clearance < 1


def test_clearance_is_relative_to_the_terms():
    watch, h, layer = Watch(), torch.tensor([[3.0, 4.0]]), check.Dense(torch.tensor([[0.0, 4.0], [2.0, -2.9]]), None)
    watch.relu(h @ layer.W, h, layer)
    assert watch.clearance == pytest.approx(0.4 / (5 * math.hypot(4, 2.9)))


def test_what_is_made_of_zeros_is_no_kink():
    watch = Watch()
    watch.relu(torch.zeros(1, 2), torch.zeros(1, 3), check.Dense(torch.ones(3, 2), None))
    assert watch.clearance == math.inf


def test_amplification_is_how_much_larger_the_terms_are_than_their_difference():
    watch = Watch()
    watch.minus(torch.tensor([30.0, 40.0]), torch.tensor([27.0, 36.0]))
    assert watch.amplification == pytest.approx(10)
    watch.minus(torch.tensor([3.0]), torch.tensor([-3.0]))
    assert watch.amplification == pytest.approx(10)


def test_the_difference_of_equal_numbers_amplifies_without_bound_and_of_zeros_not_at_all():
    watch = Watch()
    watch.minus(torch.zeros(2), torch.zeros(2))
    assert watch.amplification == 1
    watch.minus(torch.ones(2), torch.ones(2))
    assert watch.amplification == math.inf


def test_batches_that_come_too_near_a_kink_are_drawn_anew(monkeypatch):
    """The first five are made to look as if they did; where all do, there is nothing to check with."""
    course, seen = check.twin_course, []

    def near(case):
        seen.append(case.seed)
        return course(case)._replace(clearance=1e-9 if case.seed < 5 else 1.0)

    monkeypatch.setattr(check, "twin_course", near)
    case, _ = check.settled(PRESETS["bp-small"], "random", Moment())
    assert case.seed == 5 and seen == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(check, "twin_course", lambda case: check.Reference(check.Course({}, {}), 0.0, 1.0, 1.0, 1.0))
    with pytest.raises(RuntimeError, match="no batches keep bp-small off the kinks"):
        check.settled(PRESETS["bp-small"], "random", Moment())


def test_pepita_is_known_to_amplify_and_backprop_not_to():
    grown = {name: check.settled(PRESETS[name], "digits", Moment())[1].first for name in ("bp", "pepita-iclr2024")}
    assert grown["bp"] < 3 and 20 < grown["pepita-iclr2024"] < 1000


@pytest.mark.parametrize(("a", "b", "expected"), [
    ([3.0, 4.0], [3.0, 4.5], 0.5 / math.hypot(3, 4.5)), ([0.0], [0.0], 0.0), ([1.0], [0.0], math.inf),
    ([math.nan], [1.0], math.inf), ([math.inf], [1.0], math.inf),
])
def test_difference_is_relative_to_the_twin(a, b, expected):
    assert check.difference({"W": np.array(a)}, {"W": np.array(b)}) == pytest.approx(expected)


def test_difference_takes_the_worst_array_and_misses_none():
    one, two = np.ones(2), np.full(2, 2.0)
    assert check.difference({"W": one, "b": two}, {"W": one, "b": one}) == 1
    assert check.difference({"W": one}, {"W": one, "b": one}) == math.inf


def test_presets_that_mirror_are_checked_mirroring_and_learning():
    mirroring = [name for name, p in PRESETS.items() if getattr(p.rule, "pre_mirror", 0)]
    assert mirroring
    for name in mirroring:
        epochs = [moment.epoch for moment in check.moments(PRESETS[name])]
        assert min(epochs) <= PRESETS[name].rule.pre_mirror < max(epochs)


def test_layers_trained_in_turn_are_checked_in_every_stage():
    assert [moment.stage for moment in check.moments(PRESETS["ff-mpezeshki"])] == [0, 1]


def test_every_kind_of_step_is_checked_by_a_preset_or_by_test_twins():
    assert {p.optimisers.layers.kind for p in PRESETS.values()} <= {*VELOCITIES, "adam"}


# ----- the command -----

ON_HOST = ["--backend", ",".join(HOST)]


def test_verify_prints_a_line_for_every_check_and_a_sum(capsys):
    assert cli.main(["verify", "bp-small", "dfa", *ON_HOST]) == 0
    heading, *lines, empty, total = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["preset", "rule", "backend", "dtype", "data"]
    assert len(lines) == 16 and all(line.endswith("ok") for line in lines) and not empty
    assert total == "16 checks of 2 presets against torch: all within their bounds"


def test_verify_leaves_with_1_where_a_check_fails(monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "bp-small", replace(PRESETS["bp-small"], rule=Silent()))
    assert cli.main(["verify", "bp-small", *ON_HOST]) == 1
    out = capsys.readouterr().out
    assert out.count("FAIL") == 9 and out.endswith("8 checks of 1 presets against torch: 8 FAILED\n")


def test_verify_writes_the_table_as_json(tmp_path, capsys):
    assert cli.main(["verify", "bp-small", *ON_HOST, "--json", str(tmp_path / "v.json")]) == 0
    rows = json.loads((tmp_path / "v.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"] and len(rows) == 8
    assert rows[0].keys() == {*check.Row._fields, "passed"}
    assert all(row["preset"] == "bp-small" and row["passed"] and row["update"] <= row["update_bound"] for row in rows)


def test_verify_checks_the_backends_it_is_told(capsys):
    assert cli.main(["verify", "bp-small", "--backend", "numpy"]) == 0
    _, *lines, _, _ = capsys.readouterr().out.splitlines()
    assert {line.split()[2] for line in lines} == {"numpy"}


@pytest.mark.parametrize("missing", ["", "there is no card"])
def test_verify_checks_all_quick_backends_that_are_here(monkeypatch, capsys, missing):
    asked = []
    monkeypatch.setitem(BACKENDS, "cuda", BACKENDS["cuda"]._replace(lacks=lambda: missing, load=BACKENDS["numpy"].load))
    monkeypatch.setattr(check, "verify", lambda presets, backends: asked.extend(backends) or [])
    assert cli.main(["verify", "bp-small"]) == 0
    assert asked == (HOST if missing else [*HOST, "cuda"])


def test_verify_refuses_a_backend_before_it_works(monkeypatch, capsys):
    monkeypatch.setattr(check, "verify", never)
    assert cli.main(["verify", "bp-small", "--backend", "numpy,zebra"]) == 2
    assert "there is no backend 'zebra'" in capsys.readouterr().err


def test_a_folder_cannot_take_the_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(check, "verify", never)
    assert cli.main(["verify", "bp-small", "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"ffnp: --json needs the name of a file, and {tmp_path} is a folder\n"


def test_a_file_cannot_hold_the_table_below_it(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(check, "verify", never)
    assert cli.main(["verify", "bp-small", "--json", str(tmp_path / "file" / "v.json")]) == 2
    assert capsys.readouterr().err.startswith(f"ffnp: {tmp_path / 'file'} cannot be a folder for the table (")


def test_ctrl_c_is_told_in_a_word(monkeypatch, capsys):
    def interrupt(presets, backends):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "verify", interrupt)
    assert cli.main(["verify", "bp-small", *ON_HOST]) == 130
    assert capsys.readouterr().err == "ffnp: interrupted\n"


def test_a_difference_that_is_not_finite_is_null_in_json():
    row = check.Row("a", "b", "numpy", "float64", "random", math.inf, 1e-10, 0.5, 1.0)
    assert check.plain([row]) == [{**row._asdict(), "update": None, "passed": False}]


def test_an_unknown_preset_is_refused(capsys):
    assert cli.main(["verify", "zebra"]) == 2
    assert "there is no preset 'zebra'" in capsys.readouterr().err


def test_without_torch_verify_says_what_it_needs(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("ffnp.verify")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["verify"]) == 2
    assert capsys.readouterr().err == "ffnp: ffnp verify needs torch: pip install torch\n"
