"""Unsupervised Forward-Forward: masks, hybrids, who sees a label, and that the digits are learned."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KERNELS, assert_close, each_backend, gradients, network, normalised, put, signals_of
from strategies import Problem, deep_problems, seeds, unsupervised, widths
from tiny import bits, untimed

import ffnp
from ffnp.data import from_arrays
from ffnp.errors import UserError
from ffnp.preset import from_settings
from ffnp.presets import PRESETS
from ffnp.rules import UnsupervisedForwardForward
from ffnp.rules.rule import CHUNK
from ffnp.rules.unsupervised import blur, masks

few = settings(max_examples=20)

# ----- masks -----


@given(seed=seeds, n=widths, shape=st.tuples(widths, widths), blurs=st.integers(0, 6))
def test_masks_are_random_bits_blurred_in_both_directions_and_cut_at_a_half(seed, n, shape, blurs):
    soft = np.random.default_rng(seed).integers(2, size=(n, *shape)).astype(float)
    for _ in range(blurs):
        for axis in (1, 2):
            first, last = np.take(soft, [0], axis), np.take(soft, [-1], axis)
            before = np.concatenate([first, np.delete(soft, -1, axis)], axis)
            after = np.concatenate([np.delete(soft, 0, axis), last], axis)
            soft = before / 4 + soft / 2 + after / 4
    np.testing.assert_array_equal(masks(np.random.default_rng(seed), n, *shape, blurs), soft > 0.5)


@pytest.mark.parametrize("size", [8, 28])
def test_half_of_a_mask_is_ones(size):
    """The mean of 2,000 masks, to 5 standard errors; a blurred bit is exactly 1/2 in less than 1 % of all cases."""
    shares = masks(np.random.default_rng(0), 2000, size, size, 6).mean(axis=(1, 2))
    assert abs(shares.mean() - 0.5) <= 5 * shares.std() / 2000**0.5 + 0.005


def test_masks_are_smooth():
    """Six blurs leave neighbours with a correlation of 12/13, the 12th and 13th of the binomial coefficients of 24; normal
    numbers so correlated agree in sign with chance 1/2 + asin(12/13) / pi = 0.874."""
    m = masks(np.random.default_rng(0), 500, 40, 40, 6)[:, 12:-12, 12:-12]
    for agree in (m[:, 1:] == m[:, :-1], m[:, :, 1:] == m[:, :, :-1]):
        assert agree.mean() == pytest.approx(0.5 + math.asin(12 / 13) / math.pi, abs=0.02)


@given(n=widths, times=st.integers(0, 6))
def test_a_blur_moves_weight_but_keeps_it(n, times):
    np.testing.assert_allclose(blur(n, times).sum(axis=0), 1, rtol=1e-15)
    np.testing.assert_array_equal(blur(n, times), blur(n, times).T)


# ----- hybrids -----


@each_backend
@given(rule=unsupervised, p=deep_problems, seed=seeds)
def test_a_hybrid_takes_every_pixel_from_its_image_or_from_one_other(k, rule, p, seed):
    hybrids, B = k.get(rule.hybrids(k, k.put(p.x), np.random.default_rng(seed))), len(p.x)
    rotations = [np.roll(p.x, turn, axis=0) for turn in range(min(1, B - 1), max(B, 1))]
    assert any(((hybrids == p.x) | (hybrids == other)).all() for other in rotations)


@each_backend
@given(B=st.integers(2, 6), seed=seeds)
def test_no_image_is_its_own_other(k, B, seed):
    """Of 400 unblurred bits not all are ones, but in one case of 2^400."""
    rule, x = UnsupervisedForwardForward(blurs=0), np.repeat(np.arange(B, dtype=float)[:, None], 400, axis=1)
    hybrids = k.get(rule.hybrids(k, k.put(x), np.random.default_rng(seed)))
    assert all(len(np.unique(row)) == 2 for row in hybrids)


@each_backend
def test_the_channels_of_a_pixel_come_from_one_image(k):
    rule = UnsupervisedForwardForward(shape=(8, 9, 3))
    x = np.repeat([[0.0], [1.0]], 8 * 9 * 3, axis=1)
    hybrid = k.get(rule.hybrids(k, k.put(x), np.random.default_rng(0))).reshape(2, 8, 9, 3)
    assert (hybrid == hybrid[..., :1]).all() and 0 < hybrid.mean() < 1
    same = masks(np.random.default_rng(0), 2, 8, 9, 6)
    np.testing.assert_array_equal(hybrid[..., 0], [~same[0], same[1]])


@each_backend
def test_without_a_shape_the_mask_runs_along_the_row(k):
    x = np.repeat([[0.0], [1.0]], 400, axis=1)
    hybrid = k.get(UnsupervisedForwardForward().hybrids(k, k.put(x), np.random.default_rng(0)))
    assert (hybrid[:, 1:] == hybrid[:, :-1]).mean() > 0.8  # 1/2 for bits that are not blurred


# ----- learning -----


@each_backend
@given(rule=unsupervised, p=deep_problems, seed=seeds)
def test_images_are_the_positives_and_hybrids_the_negatives(k, rule, p, seed):
    rule = replace(rule, norm_input=False)
    pre = k.get(signals_of(k, rule, network(k, rule, p), p, seed).layers[0][0].pre)
    np.testing.assert_array_equal(pre[: len(p.x)], p.x)
    rotations = [np.roll(p.x, turn, axis=0) for turn in range(len(p.x))]
    assert any(((pre[len(p.x) :] == p.x) | (pre[len(p.x) :] == other)).all() for other in rotations)


@each_backend
@few
@given(rule=unsupervised, p=deep_problems, seed=seeds)
def test_only_the_head_sees_a_label(k, rule, p, seed):
    net = network(k, rule, p)
    true, false = (signals_of(k, rule, net, p._replace(y=labels), seed) for labels in (p.y, p.wrong))
    for l, (dW, _) in gradients(k, net, true).items():
        np.testing.assert_array_equal(dW, gradients(k, net, false)[l][0])
    assert (k.get(true.head[0].post) != k.get(false.head[0].post)).any()


@each_backend
@few
@given(rule=unsupervised, p=deep_problems)
def test_the_head_reads_the_normalised_activities_of_the_later_layers(k, rule, p):
    net, h, seen = network(KERNELS["numpy"], rule, p), p.x, []
    for l, (W, b) in enumerate(net.layers):
        h = np.maximum((normalised(rule, h) if l or rule.norm_input else h) @ W + b, 0)
        seen.append(normalised(rule, h))
    logits = np.hstack(seen[rule.softmax_from - 1 :]) @ net.head.W
    assert_close(rule.by_softmax(k, put(k, net), k.put(p.x)), logits)


@each_backend
def test_the_diagnosis_is_what_counting_by_hand_finds(k):
    rng, rule = np.random.default_rng(5), UnsupervisedForwardForward(norm_input=False)
    p = Problem((9, 32, 33, 4), rng.standard_normal((CHUNK + 3, 9)), rng.integers(4, size=CHUNK + 3), None, rng)
    net = network(KERNELS["numpy"], rule, p)
    net.layers[0].b[:20] -= 3  # some units speak rarely, or never
    told = rule.diagnose(k, put(k, net), k.put(p.x), k.put(p.y))
    draw = np.random.default_rng(0)
    mixed = np.vstack([rule.hybrids(KERNELS["numpy"], part, draw) for part in (p.x[:CHUNK], p.x[CHUNK:])])
    hs = [[h for _, h, _ in rule.forward(KERNELS["numpy"], net, x)] for x in (p.x, mixed)]
    assert told["error"] == {"softmax": np.mean(rule.by_softmax(KERNELS["numpy"], net, p.x).argmax(axis=1) != p.y)}
    np.testing.assert_allclose(told["goodness_positive"], [(h**2).sum(axis=1).mean() for h in hs[0]], rtol=1e-12)
    np.testing.assert_allclose(told["goodness_negative"], [(h**2).sum(axis=1).mean() for h in hs[1]], rtol=1e-12)
    assert told["dead_units"] == [int((h == 0).all(axis=0).sum()) for h in hs[0]] and 0 < told["dead_units"][0] < 20


# ----- the shape of an image -----


def images(shape=(3, 4), n=48):
    rng = np.random.default_rng(0)
    x, y = rng.random((n, *shape)), np.arange(n) % 4
    return from_arrays(x, y, x[:10], y[:10], name="noise")


SMALL = replace(PRESETS["ff-unsupervised"], hidden=(7, 6), epochs=2, batch=9)


def test_training_tells_the_rule_the_shape_of_its_images():
    run = ffnp.train(SMALL, images())
    assert run.preset.rule.shape == (3, 4) and run.history["settings"]["rule"]["shape"] == [3, 4]
    assert from_settings(json.loads(json.dumps(run.preset.settings()))) == run.preset


def test_a_run_goes_on_with_its_shape_where_it_stopped(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ffnp.training.tell", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ffnp.train(SMALL, images(), out=tmp_path)
    assert ffnp.load_run(tmp_path).preset.rule.shape == (3, 4)
    resumed, whole = ffnp.train(SMALL, images(), out=tmp_path, resume=True), ffnp.train(SMALL, images())
    assert bits(resumed) == bits(whole) and untimed(resumed.history) == untimed(whole.history)


@pytest.mark.parametrize(("settings", "named"), [
    ({"softmax_from": None}, "softmax_from must name a layer"),
    ({"blurs": -1}, "blurs must be at least 0, not -1"),
])
def test_settings_that_cannot_work_are_refused(settings, named):
    with pytest.raises(UserError, match=named):
        UnsupervisedForwardForward(**settings)


@pytest.mark.parametrize(("settings", "sizes", "named"), [
    ({"shape": (4, 4)}, (9, 5, 6, 4), r"images of shape \(4, 4\) do not have 9 inputs"),
    ({"softmax_from": 3}, (9, 5, 6, 4), "softmax_from is layer 3, but the network has 2 hidden layers"),
])
def test_networks_that_cannot_work_are_refused(settings, sizes, named):
    with pytest.raises(UserError, match=named):
        UnsupervisedForwardForward(**settings).init(np.random.default_rng(0), sizes, "he_normal", "zeros", "float32")


def test_layers_that_never_see_a_label_tell_the_digits_apart():
    small = replace(PRESETS["ff-unsupervised"], hidden=(200, 200, 200), epochs=20, batch=50)
    assert ffnp.train(small, ffnp.load("digits")).history["test_error"] < 0.08
