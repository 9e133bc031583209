"""PEPITA in all its forms: identities, the stated remainder of the Hebbian form, its closeness to AFA, mirroring of F."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from networks import KERNELS, answers, assert_close, each_backend, gradients, network, put, signals_of
from strategies import deep_problems, pepitas, problems, seeds

from ffnp.errors import UserError
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import PEPITA, AdaptiveFeedback
from ffnp.rules.pepita import projection, rescaled
from ffnp.rules.rule import Moment

plain = pepitas(update="modulated", dropout=0.0, norm="none")
MIRRORED = PEPITA(feedback="product", pre_mirror=1, mirror_every=2)


def posts(k, signals, hidden_only=True):
    last = max(signals.layers)
    return [k.get(pair.post) for l, pairs in signals.layers.items() for pair in pairs if not hidden_only or l < last]


def host(k, net, rule, p):
    """The passes of the formula in plain NumPy, one hidden activation, no dropout, no norm: h_0 .. , g_0 .. and e."""
    def up(x):
        hs = [x]
        for layer in net.layers[:-1]:
            z = hs[-1] @ k.get(layer.W) + k.get(layer.b)
            hs.append(np.maximum(z, 0) if rule.activation == "relu" else np.tanh(z))
        z = hs[-1] @ k.get(net.layers[-1].W) + k.get(net.layers[-1].b)
        P = np.exp(z - z.max(axis=1, keepdims=True))
        return hs, P / P.sum(axis=1, keepdims=True)
    Y, F = np.eye(net.classes)[p.y], k.get(projection(k, net.feedback))
    h, P = up(p.x)
    g, Q = up(p.x + rule.sign * (P - Y) @ F.T)
    return h, g, P, Q, Y


# ----- the modulated update -----


@each_backend
@given(rule=plain, p=deep_problems)
def test_the_modulated_update_is_its_formula(k, rule, p):
    net = network(k, rule, p)
    h, g, P, Q, Y = host(k, net, rule, p)
    pre, e = (h if rule.pre == "first" else g), (P if rule.error == "first" else Q) - Y
    found = gradients(k, net, signals_of(k, rule, net, p))
    sent = [a - b for a, b in zip(h[1:], g[1:], strict=True)] + [e]
    for l, (received, post) in enumerate(zip(pre, sent, strict=True)):
        assert_close(found[l][0], received.T @ post / len(p.x))
        assert_close(found[l][1], post.sum(axis=0) / len(p.x))


@each_backend
@given(rule=pepitas(update="modulated", error="first"), p=deep_problems, seed=seeds)
def test_without_feedback_only_the_output_learns_and_by_the_delta_rule(k, rule, p, seed):
    """F = 0, with dropout too: both passes are one only if they share their masks."""
    net = network(k, rule, p)
    net = net._replace(feedback=tuple(B._replace(W=k.scale(B.W, 0.0)) for B in net.feedback))
    signals = signals_of(k, rule, net, p, seed)
    assert not any(post.any() for post in posts(k, signals))
    keys = rule.keys(net, np.random.default_rng(seed))
    up = rule.forward(k, net, k.put(p.x), keys)
    e, _ = k.softmax_error(up.logits, k.put(p.y))
    assert_close(gradients(k, net, signals)[len(p.sizes) - 2][0], k.get(up.received[-1]).T @ k.get(e) / len(p.x))


@each_backend
@given(rule=pepitas(sign=1), p=deep_problems, seed=seeds)
def test_the_sign_of_one_paper_is_the_opposite_feedback_of_the_other(k, rule, p, seed):
    """Bit for bit, and for the Hebbian form too."""
    net = network(k, rule, p)
    first, *rest = net.feedback
    other = net._replace(feedback=(first._replace(W=k.scale(first.W, -1.0)), *rest))
    ours = gradients(k, net, signals_of(k, rule, net, p, seed))
    theirs = gradients(k, other, signals_of(k, replace(rule, sign=-1), other, p, seed))
    for l, step in ours.items():
        for a, b in zip(step, theirs[l], strict=True):
            np.testing.assert_array_equal(a, b)


@each_backend
@given(sign=st.sampled_from([-1, 1]), p=problems())
def test_the_first_hidden_difference_is_the_error_through_the_adaptive_matrix(k, sign, p):
    """h_1 - g_1 = -sign f'(z_1) (F e) W_1, to rounding, as long as no ReLU crosses zero."""
    rule = PEPITA(sign=sign)
    net = network(k, rule, p)
    h, g, P, _, Y = host(k, net, rule, p)
    assume(np.array_equal(h[1] > 0, g[1] > 0))
    carried = (P - Y) @ k.get(net.feedback[0].W).T @ k.get(net.layers[0].W)
    assert_close(posts(k, signals_of(k, rule, net, p))[0], -sign * carried * (h[1] > 0))


@each_backend
@given(rule=pepitas(update="modulated") | st.builds(AdaptiveFeedback), p=deep_problems)
def test_without_error_nothing_moves(k, rule, p):
    """A bias so large that P = Y to the last bit."""
    net = network(KERNELS["numpy"], rule, p)
    net.layers[-1].b[0] = 1e4
    net, certain = put(k, net), p._replace(y=np.zeros_like(p.y))
    for dW, db in gradients(k, net, signals_of(k, rule, net, certain)).values():
        assert not dW.any() and not db.any()


@each_backend
@given(rule=pepitas(update="modulated", dropout=0.5), p=deep_problems, seed=seeds)
def test_a_dropped_unit_is_sent_nothing(k, rule, p, seed):
    """In either pass: the masks are those of the batch's keys."""
    net = network(k, rule, p)
    sent = posts(k, signals_of(k, rule, net, p, seed))
    for post, key in zip(sent, rule.keys(net, np.random.default_rng(seed)), strict=True):
        kept = k.get(k.dropout(k.put(np.ones(post.shape)), 0.5, key)) != 0
        assert not post[~kept].any()


@each_backend
@given(rule=pepitas(update="modulated", dropout=0.5, norm="none", mask_difference=False), p=deep_problems, seed=seeds)
def test_the_mask_of_the_2022_program_doubles_what_is_kept(k, rule, p, seed):
    """It meets the difference once more, so at a rate of one half every kept number is sent twice as large."""
    net = network(k, rule, p)
    once, twice = (posts(k, signals_of(k, r, net, p, seed)) for r in (rule, replace(rule, mask_difference=True)))
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(2 * a, b)


# ----- the Hebbian forms -----


@each_backend
@given(rule=pepitas(update="hebbian"), p=deep_problems, seed=seeds)
def test_the_hebbian_form_is_the_modulated_one_and_the_stated_remainder(k, rule, p, seed):
    """h_l^T h_{l-1} - g_l^T g_{l-1} = (h_l - g_l)^T g_{l-1} + h_l^T (h_{l-1} - g_{l-1}); at the output P for h_L, Y for g_L."""
    net, modulated = network(k, rule, p), replace(rule, update="modulated", pre="second", error="first", mask_difference=False)
    hebbian = signals_of(k, rule, net, p, seed)
    both = [gradients(k, net, s) for s in (hebbian, signals_of(k, modulated, net, p, seed))]
    for l, ((h, post), (g, _)) in hebbian.layers.items():
        remainder = (k.get(h) - k.get(g)).T @ k.get(post) / len(p.x)
        assert_close(both[0][l][0], both[1][l][0] + remainder)
        assert_close(both[0][l][1], both[1][l][1])  # a bias receives 1 in both passes


@each_backend
@given(rule=pepitas(update="time-local"), p=deep_problems, seed=seeds)
def test_time_local_sends_the_hebbian_terms_one_after_the_other(k, rule, p, seed):
    """While the weights stand still the two answers add up to the Hebbian form."""
    net = network(k, rule, p)
    first, second = (gradients(k, net, s) for s in answers(k, rule, net, p, seed))
    whole = gradients(k, net, signals_of(k, replace(rule, update="hebbian"), net, p, seed))
    for l, (dW, _) in whole.items():
        assert_close(first[l][0] + second[l][0], dW)


def moved(k, rule, net, p, rate):
    """How far the weights move in one batch of plain steps, over the rate."""
    before = [k.get(layer.W).copy() for layer in net.layers]
    net, optimisers = put(k, net), Optimisers(Optimiser("sgd", rate))
    state = optimisers.init(k, net)
    for signals in rule.signals(k, net, k.put(p.x), k.put(p.y), np.random.default_rng(0)):
        net, _ = optimisers.apply(k, net, signals, state, 1.0)
    return [(W - k.get(layer.W)) / rate for W, layer in zip(before, net.layers, strict=True)]


@each_backend
def test_time_local_becomes_hebbian_as_the_rate_falls(k):
    """The second pass meets weights moved by the rate: the gap between the two falls with it, tenfold for a tenth."""
    rng = np.random.default_rng(3)
    rule, (sizes, B) = PEPITA(update="time-local", activation="tanh"), ((7, 6, 5, 3), 4)
    net = put(k, rule.init(rng, sizes, "he_normal", "zeros", "float64"))
    p = type("Batch", (), {"x": rng.standard_normal((B, 7)), "y": rng.integers(3, size=B)})
    whole = moved(k, replace(rule, update="hebbian"), net, p, 1e-3)
    gaps = [np.linalg.norm(np.hstack([(a - b).ravel() for a, b in zip(moved(k, rule, net, p, rate), whole, strict=True)]))
            for rate in (1e-3, 1e-4, 1e-5)]
    assert gaps[0] > 1e-4
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05) and gaps[1] / gaps[2] == pytest.approx(10, rel=0.05)


# ----- adaptive feedback alignment -----


def cosine(a, b):
    return (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)


def updates_of_pepita_and_afa(k, scale):
    """The hidden updates of both on a 784-256-128-10 net at initialisation, F at `scale` times the papers'."""
    rng, rules = np.random.default_rng(0), (PEPITA(), AdaptiveFeedback())
    net = rules[0].init(rng, (784, 256, 128, 10), "he_uniform", None, "float64")
    net = put(k, net._replace(feedback=tuple(B._replace(W=scale * B.W) for B in net.feedback)))
    p = type("Batch", (), {"x": rng.random((64, 784)), "y": rng.integers(10, size=64)})
    ours, theirs = (gradients(k, net, signals_of(k, rule, net, p)) for rule in rules)
    return [(ours[l][0], theirs[l][0]) for l in (0, 1)], (ours[2][0], theirs[2][0])


@each_backend
def test_pepita_is_adaptive_feedback_alignment_to_first_order(k):
    """Cosine above 0.99 at the papers' scale, tending to 1 with F; at the output the two differ only by g for h."""
    gaps = []
    for scale in (1.0, 0.1, 0.001):
        hidden, output = updates_of_pepita_and_afa(k, scale)
        assert all(cosine(a, b) > 0.99 for a, b in (*hidden, output))
        gaps.append(max(1 - cosine(a, b) for a, b in hidden))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-5


@each_backend
@given(p=problems(), dropout=st.sampled_from([0.0, 0.5]), seed=seeds)
def test_adaptive_feedback_sends_pepitas_difference_while_no_unit_crosses_zero(k, p, dropout, seed):
    pepita, afa = PEPITA(dropout=dropout), AdaptiveFeedback(dropout=dropout)
    net, x = network(k, pepita, p), k.put(p.x)
    keys = pepita.keys(net, np.random.default_rng(seed))
    first = pepita.forward(k, net, x, keys)
    e, _ = k.softmax_error(first.logits, k.put(p.y))
    second = pepita.forward(k, net, pepita.modulated(k, net, x, e), keys)
    assume(all(np.array_equal(k.get(h) > 0, k.get(g) > 0) for h, g in zip(first.active, second.active, strict=True)))
    for a, b in zip(*(posts(k, signals_of(k, rule, net, p, seed)) for rule in (pepita, afa)), strict=True):
        assert_close(a, b)


# ----- activity norms -----


@each_backend
@given(p=deep_problems)
def test_the_batch_norm_makes_the_activity_of_the_batch_one_and_the_sample_norm_that_of_each_row(k, p):
    for norm in ("batch", "sample"):
        net = network(k, PEPITA(norm=norm), p)
        for h in PEPITA(norm=norm).forward(k, net, k.put(p.x)).received[1:]:
            sizes = np.linalg.norm(k.get(h), axis=None if norm == "batch" else 1)
            assert (np.isclose(sizes, 1, rtol=1e-14, atol=0) | (sizes == 0)).all()


@each_backend
@given(rule=pepitas(norm="batch"), p=problems(rows=st.just(1)), seed=seeds)
def test_for_a_batch_of_one_both_norms_are_one(k, rule, p, seed):
    net = network(k, rule, p)
    both = [gradients(k, net, signals_of(k, r, net, p, seed)) for r in (rule, replace(rule, norm="sample"))]
    for l, (dW, db) in both[0].items():
        assert_close(both[1][l][0], dW)
        assert_close(both[1][l][1], db)


# ----- F -----


@pytest.mark.parametrize("feedback", ["uniform", "product"])
@pytest.mark.parametrize("hidden", [(1024,), (300, 200), (64, 64, 64, 64, 64)])
def test_f_has_the_papers_deviation(feedback, hidden):
    """0.05 sqrt(2 / I): 2.5e-3 for MNIST. A product of wide normal factors comes near it, within a tenth a layer."""
    net = PEPITA(feedback=feedback).init(np.random.default_rng(0), (784, *hidden, 10), "he_uniform", None, "float64")
    F, expected = projection(KERNELS["numpy"], net.feedback), 0.05 * (2 / 784) ** 0.5
    assert F.shape == (784, 10) and abs(F.mean()) < expected / 10
    assert F.std() == pytest.approx(expected, rel=0.02 if feedback == "uniform" else 0.1 * len(hidden))
    assert len(net.feedback) == (1 if feedback == "uniform" else len(hidden) + 1)


@each_backend
@given(p=deep_problems, target=st.sampled_from([1e-3, 0.5, 7.0]))
def test_rescaling_gives_the_product_its_deviation_and_keeps_its_direction(k, p, target):
    net = network(k, PEPITA(feedback="product"), p)
    before, after = (k.get(projection(k, feedback)) for feedback in (net.feedback, rescaled(k, net.feedback, target)))
    assume(before.std() > 1e-9)
    assert after.std() == pytest.approx(target, rel=1e-10)
    assert cosine(before, after) == pytest.approx(1, abs=1e-12)


def trained(k, rule, net, epoch, batches):
    """The net after so many batches of random images, plain steps."""
    optimisers = Optimisers(Optimiser("sgd", 0.1), feedback=Optimiser("sgd", 1.0, decay=0.02))
    state, rng = optimisers.init(k, net), np.random.default_rng(1)
    for _ in range(batches):
        x, y = k.put(rng.random((50, 20))), k.put(rng.integers(5, size=50))
        for signals in rule.signals(k, net, x, y, rng, Moment(epoch=epoch)):
            net, _ = optimisers.apply(k, net, signals, state, 1.0)
    return net


@each_backend
@pytest.mark.parametrize("top", ["softmax", "linear"])
def test_mirroring_turns_f_to_the_product_of_the_weights(k, top):
    """From a right angle to less than half of it in 400 batches; its deviation stays as it was; the weights rest."""
    rule = replace(MIRRORED, mirror_top=top)
    start = put(k, rule.init(np.random.default_rng(0), (20, 30, 25, 5), "he_normal", None, "float64"))
    W = np.linalg.multi_dot([k.get(layer.W) for layer in start.layers])
    before = cosine(k.get(projection(k, start.feedback)), W)
    net = trained(k, rule, start, 1, 400)
    F = k.get(projection(k, net.feedback))
    assert abs(before) < 0.3 and cosine(F, W) > 0.7
    assert F.std() == pytest.approx(0.05 * (2 / 20) ** 0.5, rel=1e-12)
    np.testing.assert_array_equal(np.linalg.multi_dot([k.get(layer.W) for layer in net.layers]), W)


@pytest.mark.parametrize(("epoch", "mirrors", "learns"), [(1, True, False), (2, True, True), (3, False, True), (4, True, True)])
def test_mirroring_keeps_its_epochs(epoch, mirrors, learns):
    """pre_mirror 1 and mirror_every 2: alone in the first, then in every second."""
    k = KERNELS["numpy"]
    net = MIRRORED.init(np.random.default_rng(0), (4, 3, 2), "he_normal", None, "float64")
    found = list(MIRRORED.signals(k, net, np.ones((1, 4)), np.zeros(1, int), np.random.default_rng(0), Moment(epoch=epoch)))
    assert any(s.feedback for s in found) == any(s.replaced for s in found) == mirrors
    assert any(s.layers for s in found) == learns


# ----- what cannot be -----


@pytest.mark.parametrize(("settings", "named"), [
    ({"update": "oja"}, "update must be one of modulated, hebbian, time-local, not 'oja'"),
    ({"sign": 0}, "sign must be one of -1, 1, not 0"),
    ({"error": "third"}, "error must be one of first, second, not 'third'"),
    ({"pre": "third"}, "pre must be one of first, second, not 'third'"),
    ({"norm": "layer"}, "norm must be one of none, batch, sample, not 'layer'"),
    ({"feedback": "normal"}, "feedback must be one of uniform, product, not 'normal'"),
    ({"feedback": "product", "mirror_top": "relu"}, "mirror_top must be one of softmax, linear, not 'relu'"),
    ({"mirror_every": 1}, "mirroring needs feedback product and sign -1, not uniform and -1"),
    ({"feedback": "product", "sign": 1, "pre_mirror": 1}, "mirroring needs feedback product and sign -1, not product and 1"),
    ({"spread": -1.0}, "spread must be at least 0, not -1.0"),
    ({"noise": -1.0}, "noise must be at least 0, not -1.0"),
    ({"pre_mirror": -1}, "pre_mirror must be at least 0, not -1"),
    ({"mirror_every": -1}, "mirror_every must be at least 0, not -1"),
    ({"feedback": "product", "mirror_every": 1, "spread": 0.0}, "mirroring needs spread and noise above 0, not 0.0 and 0.1"),
])
def test_settings_that_cannot_work_are_refused(settings, named):
    with pytest.raises(UserError, match=named):
        PEPITA(**settings)
