"""A run and its folder: what was saved comes back, and whatever else lies there is refused in one sentence."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import trees
from tiny import WAYS, bits, dataset, each_backend, each_way, files, recipe

from ffnp import UserError, load_run
from ffnp.preset import from_settings
from ffnp.presets import PRESETS
from ffnp.run import each_array, replacing, save
from ffnp.training import train

# ----- what was saved comes back -----


@each_backend
@each_way
def test_a_saved_run_comes_back_whole(preset, backend, tmp_path):
    run = train(preset, dataset(), backend=backend)
    save(run, tmp_path)
    again = load_run(tmp_path)
    assert bits(again) == bits(run)
    assert (again.history, again.preset) == (run.history, preset)


def test_a_path_may_be_text(tmp_path):
    save(train(recipe(), dataset()), tmp_path)
    assert load_run(str(tmp_path)).history["preset"] == "recipe"


def test_saving_makes_the_folder_and_leaves_two_files(tmp_path):
    save(train(recipe(), dataset()), tmp_path / "a" / "b")
    assert files(tmp_path / "a" / "b").keys() == {"model.npz", "history.json"}


def test_the_model_file_holds_numbers_and_text_only(tmp_path):
    save(train(WAYS["ff"], dataset()), tmp_path)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert {array.dtype.kind for array in file.values()} == {"f", "i", "U"}
        assert json.loads(str(file["json"])) == json.loads((tmp_path / "history.json").read_text())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_settings_are_json_and_make_the_preset_again(preset):
    assert from_settings(json.loads(json.dumps(preset.settings(), allow_nan=False))) == preset


def test_a_run_from_before_a_choice_was_there_comes_back_with_its_default(tmp_path):
    run = train(WAYS["ff"], dataset())
    del run.history["settings"]["rule"]["sparing"]
    save(run, tmp_path)
    again = load_run(tmp_path)
    assert bits(again) == bits(run) and again.preset == WAYS["ff"]


# ----- predicting -----


@each_way
def test_predictions_give_the_errors_of_the_history(preset, tmp_path):
    data = dataset()
    train(preset, data, out=tmp_path)
    run = load_run(tmp_path)
    for name, error in run.history["read_outs"].items():
        assert np.mean(run.predict(data.x_test, name) != data.y_test) == error
    assert np.mean(run.predict(data.x_test) != data.y_test) == run.history["test_error"]


@each_way
def test_the_highest_score_is_predicted(preset):
    run, x = train(preset, dataset()), dataset().x_test
    for name in run.history["read_outs"]:
        assert run.scores(x, name).shape == (15, 3)
        np.testing.assert_array_equal(run.predict(x, name), run.scores(x, name).argmax(axis=1))


def test_more_rows_than_one_pass_takes_are_all_scored():
    """2,250 rows, the same 15 again and again; in float64, where products of other shapes agree to 1e-12."""
    run, x = train(WAYS["ff"], dataset(), dtype="float64"), np.tile(dataset().x_test, (150, 1))
    np.testing.assert_allclose(run.scores(x), np.tile(run.scores(x[:15]), (150, 1)), rtol=1e-12)


def coarse(data, scale=1, shift=0):
    """The data in 64 steps of grey, scaled and shifted: by small whole numbers, float32 does so without rounding."""
    x_train, x_test = (np.round(64 * x) / 64 * np.float32(scale) + np.float32(shift) for x in (data.x_train, data.x_test))
    return data._replace(x_train=x_train, x_test=x_test)


def test_images_are_standardised_in_training_and_after():
    plain = train(recipe(), coarse(dataset()))
    moved = train(recipe(standardise=(3.0, 4.0)), coarse(dataset(), 4, 3))
    assert bits(moved) == bits(plain) and moved.history["test_error"] == plain.history["test_error"]
    np.testing.assert_array_equal(moved.scores(coarse(dataset(), 4, 3).x_test), plain.scores(coarse(dataset()).x_test))


def test_rows_need_not_be_contiguous_or_of_the_runs_dtype():
    run, x = train(recipe(), dataset()), dataset().x_test
    np.testing.assert_array_equal(run.scores(np.asfortranarray(x, dtype=np.float64)), run.scores(x))


@pytest.mark.parametrize("shape", [(8,), (2, 7), (2, 9), (2, 2, 4), ()])
def test_rows_of_another_shape_are_refused(shape):
    run = train(recipe(), dataset(), epochs=1)
    with pytest.raises(UserError, match="takes rows of 8 inputs, not an array of shape"):
        run.predict(np.zeros(shape, np.float32))


def test_an_unknown_read_out_is_named():
    with pytest.raises(UserError, match="no read-out 'goodness' here; choose one of softmax"):
        train(recipe(), dataset(), epochs=1).predict(dataset().x_test, "goodness")


# ----- whatever else lies there -----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a run in it; tests write their own model.npz beside it."""
    folder = tmp_path_factory.mktemp("saved")
    train(recipe(kind="adam", epochs=1), dataset(), out=folder)
    return folder


def assert_refused(folder, content):
    """One sentence that names the file."""
    (folder / "model.npz").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_run(folder)
    assert str(caught.value).startswith(f"{folder / 'model.npz'} is damaged or not a run: ")
    assert "\n" not in str(caught.value) and "unsafe" not in str(caught.value)


def rewritten(folder, change):
    """model.npz after `change` of its arrays, a dictionary."""
    with np.load(folder / "model.npz") as file:
        arrays = dict(file)
    change(arrays)
    np.savez(content := io.BytesIO(), **arrays)
    return content.getvalue()


def test_the_rewritten_file_is_a_run_when_nothing_is_changed(saved, tmp_path):
    (tmp_path / "model.npz").write_bytes(rewritten(saved, lambda arrays: None))
    assert bits(load_run(tmp_path)) == bits(load_run(saved))


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_run_is_named(folder, tmp_path):
    with pytest.raises(UserError, match=f"there is no run in {tmp_path / folder}"):
        load_run(tmp_path / folder)


@pytest.mark.parametrize("content", [
    b"", b"rubbish", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), pickle.dumps({"json": "{}"}),
    b"\x93NUMPY\x01\x00\xff\xff" + bytes(40),
], ids=["empty", "rubbish", "zip magic", "empty zip", "pickle", "npy"])
def test_a_file_that_is_no_archive_is_refused(content, tmp_path):
    assert_refused(tmp_path, content)


@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(content, tmp_path_factory):
    assert_refused(tmp_path_factory.mktemp("bytes"), content)


@given(part=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(part, saved, tmp_path_factory):
    whole = (saved / "model.npz").read_bytes()
    assert_refused(tmp_path_factory.mktemp("truncated"), whole[: int(part * len(whole))])


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_does_no_harm(place, byte, saved, tmp_path_factory):
    """Much of a zip archive says nothing: names are kept twice, and dates mean nothing here."""
    content, folder = bytearray((saved / "model.npz").read_bytes()), tmp_path_factory.mktemp("flipped")
    content[int(place * len(content))] ^= byte
    (folder / "model.npz").write_bytes(content)
    try:
        assert bits(load_run(folder)) == bits(load_run(saved))
    except UserError:
        assert_refused(folder, content)


@pytest.mark.parametrize("offset, byte", [(4, 99), (10, 9)], ids=["zip version", "compression method"])
def test_an_archive_of_an_unknown_kind_is_refused(offset, byte, saved, tmp_path):
    """In the central directory, two bytes further than in a local header."""
    content = bytearray((saved / "model.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + offset + 2 * (offset == 4)] = byte
    assert_refused(tmp_path, bytes(content))


ARRAYS = ["net.layers.0.W", "net.layers.2.b", "state.layers.0.steps", "state.layers.1.first.W", "state.layers.2.second.b"]


@pytest.mark.parametrize("name", ["json", *ARRAYS])
def test_a_missing_array_is_refused(name, saved, tmp_path):
    assert_refused(tmp_path, rewritten(saved, lambda arrays: arrays.pop(name)))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", [
    lambda a: a[:0], lambda a: a[None], lambda a: np.append(a, a), lambda a: a.astype(str), lambda a: a.astype(np.int8),
    lambda a: a.astype(np.float16), lambda a: a.astype(complex),
], ids=["no rows", "an axis more", "longer", "text", "int8", "float16", "complex"])
def test_an_array_that_does_not_fit_is_refused(name, change, saved, tmp_path):
    assert_refused(tmp_path, rewritten(saved, lambda arrays: arrays.update({name: change(arrays[name])})))


@pytest.mark.parametrize("text", [
    "", "{", "null", "3", "[]", "{}", '{"settings": {}}', '{"settings": null}', "[" * 100_000,
], ids=lambda text: text[:20])
def test_a_history_that_is_none_is_refused(text, saved, tmp_path):
    assert_refused(tmp_path, rewritten(saved, lambda arrays: arrays.update(json=np.array(text))))


@pytest.mark.parametrize("name, value", [
    ("backend", "abacus"), ("dtype", "float99"), ("seed", -1), ("seed", "x"), ("sizes", []), ("sizes", [8, 7, 5, 4]),
    ("sizes", [8, 10**15, 5, 3]), ("sizes", None), ("settings", []), ("settings", {"rule": {"name": "abacus"}}),
])
def test_a_history_that_makes_no_network_is_refused(name, value, saved, tmp_path):
    def change(arrays):
        arrays["json"] = np.array(json.dumps({**json.loads(str(arrays["json"])), name: value}))

    assert_refused(tmp_path, rewritten(saved, change))


def test_a_pickle_in_the_archive_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive, archive.open("json.npy", "w") as file:
        np.lib.format.write_array(file, np.array([Bomb()], object), allow_pickle=True)
    assert_refused(tmp_path, content.getvalue())
    assert not (tmp_path / "exploded").exists()


# ----- replacing files, and walking the arrays -----


def test_replacing_puts_the_new_file_in_place(tmp_path):
    (tmp_path / "a").write_text("old")
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
        assert files(tmp_path)["a"] == b"old"
    assert files(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("problem", [OSError, KeyboardInterrupt, SystemExit])
def test_replacing_leaves_the_old_file_and_no_litter(problem, tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(problem), replacing(tmp_path / "a") as part:
        part.write_text("half of the n")
        raise problem
    assert files(tmp_path) == {"a": b"old"}


@given(trees())
def test_every_array_is_named_once_and_put_back_by_its_name(tree):
    found = {}
    each_array(tree, lambda name, a: found.setdefault(name, []).append(a))
    assert all(len(arrays) == 1 for arrays in found.values())
    again = each_array(tree, lambda name, a: found[name][0])
    assert repr(again) == repr(tree) and type(again) is type(tree)


def test_names_say_where_an_array_is():
    names = []
    run = train(WAYS["ff"], dataset(), epochs=1)
    each_array(run.net, lambda name, a: names.append(name), "net")
    assert names == ["net.layers.0.W", "net.layers.0.b", "net.layers.1.W", "net.layers.1.b", "net.head.W", "net.means.0",
                     "net.means.1"]
