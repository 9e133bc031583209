"""What every rule promises, the identities of backprop, and the numbers a network starts from."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from networks import KERNELS, answers, assert_close, contrasted, each_backend, gradients, network, put, signals_of
from strategies import any_rules, forward_forwards, problems, seeds, told_their_error

from ffnp.errors import UserError
from ffnp.kernels import reference
from ffnp.net import INITIALISERS, Dense, dense, parameters
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import Backprop, DirectFeedback, FeedbackAlignment, MonoForward
from ffnp.rules.rule import CHUNK
from ffnp.run import each_array

deep = problems(least=2)


def arrays(tree):
    """Copies of all arrays in a nesting of tuples, lists and dicts."""
    found = []
    each_array(nested(tree), lambda name, a: found.append(np.array(a)))
    return found


def nested(tree):
    if isinstance(tree, dict):
        return tuple(nested(part) for part in tree.values())
    return tuple(nested(part) for part in tree) if isinstance(tree, (tuple, list)) else tree


def assert_same_bits(left, right):
    for a, b in zip(arrays(left), arrays(right), strict=True):
        np.testing.assert_array_equal(a, b)


# ----- every rule -----


@each_backend
@given(rule=any_rules, p=deep)
def test_signals_change_neither_the_network_nor_the_batch(k, rule, p):
    net = network(k, rule, p)
    before = arrays((net, p.x, p.y))
    answers(k, rule, net, p)
    assert_same_bits(before, (net, p.x, p.y))


@each_backend
@given(rule=any_rules, p=deep, seed=seeds)
def test_the_same_generator_brings_the_same_signals(k, rule, p, seed):
    net = network(k, rule, p)
    assert_same_bits(answers(k, rule, net, p, seed), answers(k, rule, net, p, seed))


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(rule=any_rules, p=deep)
def test_signals_have_the_dtype_of_the_network(k, dtype, rule, p):
    net = network(k, rule, p, dtype)
    found = [(s.layers, s.head or (), s.feedback, s.replaced) for s in answers(k, rule, net, p)]
    assert {str(a.dtype) for a in arrays(found)} == {dtype}


without_dropout = told_their_error.map(lambda rule: replace(rule, dropout=0.0))


@each_backend
@given(rule=without_dropout, p=deep)
def test_the_order_of_the_rows_is_of_no_consequence(k, rule, p):
    net, order = network(k, rule, p), p.rng.permutation(len(p.y))
    shuffled = p._replace(x=p.x[order], y=p.y[order])
    assert_equal_gradients(*(gradients(k, net, signals_of(k, rule, net, batch)) for batch in (p, shuffled)))


def turned(k, a, rows, columns):
    """A matrix or a vector of biases in another order; None stays."""
    if a is None:
        return None
    return k.put(np.ascontiguousarray(k.get(a)[columns] if len(a.shape) == 1 else k.get(a)[rows][:, columns]))


def renamed(k, rule, net, ends):
    """The net with its units in another order (of inputs, hidden layers, classes), and so whatever leads to or from them."""
    feedback = net.feedback  # PEPITA's F leads from the classes to the inputs
    if isinstance(rule, FeedbackAlignment):
        feedback = [Dense(turned(k, B.W, ends[l], ends[l + 1]), None) for l, B in enumerate(net.feedback, 1)]
    if isinstance(rule, DirectFeedback):
        feedback = [Dense(turned(k, B.W, ends[l], slice(None)), None) for l, B in enumerate(net.feedback, 1)]
    layers = [Dense(*(turned(k, a, ends[l], ends[l + 1]) for a in layer)) for l, layer in enumerate(net.layers)]
    return net._replace(layers=tuple(layers), feedback=tuple(feedback))


@each_backend
@given(rule=without_dropout, p=deep)
def test_hidden_units_have_no_names(k, rule, p):
    """In another order they are sent the same, each its own."""
    net, ends = network(k, rule, p), [slice(None), *(p.rng.permutation(units) for units in p.sizes[1:-1]), slice(None)]
    before, after = (gradients(k, n, signals_of(k, rule, n, p)) for n in (net, renamed(k, rule, net, ends)))
    assert_equal_gradients({l: (dW[ends[l]][:, ends[l + 1]], db[ends[l + 1]]) for l, (dW, db) in before.items()}, after)


@each_backend
@given(rule=forward_forwards(), p=deep)
def test_the_order_of_the_rows_is_of_no_consequence_to_forward_forward(k, rule, p):
    net, order = network(k, rule, p), p.rng.permutation(len(p.y))
    shuffled = p._replace(x=p.x[order], y=p.y[order], wrong=p.wrong[order])
    assert_equal_gradients(*(gradients(k, net, contrasted(k, rule, net, batch)) for batch in (p, shuffled)))


def assert_equal_gradients(left, right, relative=1e-12):
    for l, (dW, db) in left.items():
        assert_close(right[l][0], dW, relative)
        assert_close(right[l][1], db, relative)


# ----- arrays that live elsewhere -----


class Remote:
    """An array as the contract allows it above the kernels: shape, dtype, length and slices of rows, nothing else."""

    def __init__(self, a):
        self.remote, self.shape, self.dtype = a, a.shape, a.dtype

    def __len__(self):
        return len(self.remote)

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return Remote(self.remote[rows])

    def __ne__(self, other):
        raise TypeError("only a kernel computes")

    __eq__ = __lt__ = __gt__ = __ne__
    __hash__ = None


def fetched(value):
    if isinstance(value, (tuple, list)):
        parts = [fetched(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value.remote if isinstance(value, Remote) else value


def sent(value):
    if isinstance(value, tuple):
        return tuple(map(sent, value))
    return Remote(value) if isinstance(value, np.ndarray) else value


def remote_kernels():
    """The reference kernels, far from NumPy's reach: only `put` and `get` lead there and back."""
    def remotely(kernel):
        return lambda *arguments: sent(kernel(*map(fetched, arguments)))

    kernels = {name: remotely(kernel) for name, kernel in inspect.getmembers(reference, inspect.isfunction)}
    return SimpleNamespace(**kernels | {"get": fetched, "put": lambda a: Remote(a.copy())})


@given(rule=any_rules, p=deep)
def test_a_rule_computes_with_kernels_only(rule, p):
    """So a backend whose arrays NumPy cannot touch trains, reads out and diagnoses to the same bits."""
    near, far, found = KERNELS["numpy"], remote_kernels(), []
    optimisers, start = Optimisers(Optimiser("adam", 0.01), *2 * [Optimiser("ema", 0.1)]), network(near, rule, p)
    for k in (near, far):
        net = put(k, start)
        state = optimisers.init(k, net)
        for signals in rule.signals(k, net, k.put(p.x), k.put(p.y), np.random.default_rng(0)):
            net, _ = optimisers.apply(k, net, signals, state, 1.0)
        scores = [read_out(k, net, k.put(p.x)) for read_out in rule.read_outs().values()]
        found.append((rule.diagnose(k, net, k.put(p.x), k.put(p.y)), scores, each_array(net, lambda name, a, k=k: k.get(a))))
    assert found[0][0] == found[1][0]
    assert_same_bits(found[0][1:], found[1][1:])


# ----- backprop -----


def moved(net, direction, step):
    layers = (Dense(*(a + step * d for a, d in zip(*pair, strict=True))) for pair in zip(net.layers, direction, strict=True))
    return net._replace(layers=tuple(layers))


@each_backend
@pytest.mark.parametrize("rule", [Backprop("relu"), Backprop("tanh")])
@given(p=problems(least=0))
def test_backprop_agrees_with_central_differences(k, rule, p):
    """The slope of the loss in a random direction, to 1e-7: the step is 1e-6, the rounding of the loss over it 1e-10."""
    net = network(KERNELS["numpy"], rule, p)
    direction = [[p.rng.standard_normal(a.shape) for a in layer] for layer in net.layers]
    ahead, behind = (put(k, moved(net, direction, step)) for step in (1e-6, -1e-6))
    active = [[k.get(h) > 0 for h in rule.forward(k, side, k.put(p.x)).active] for side in (ahead, behind)]
    assume(all(np.array_equal(*both) for both in zip(*active, strict=True)))  # no kink between them
    slope = (signals_of(k, rule, ahead, p).metrics["loss"] - signals_of(k, rule, behind, p).metrics["loss"]) / 2e-6
    found = gradients(k, put(k, net), signals_of(k, rule, put(k, net), p))
    expected = sum((g * d).sum() for l, ds in enumerate(direction) for g, d in zip(found[l], ds, strict=True))
    assert slope == pytest.approx(expected, rel=1e-6, abs=1e-7)


def heeds_the_error(rule):
    """Not so target projection, and the two Hebbian terms only cancel."""
    return getattr(rule, "sends", "") != "target" and getattr(rule, "update", "") != "hebbian"


@each_backend
@given(rule=told_their_error.filter(heeds_the_error), p=problems())
def test_without_error_nothing_moves(k, rule, p):
    """A bias so large that P = Y to the last bit."""
    net = network(KERNELS["numpy"], rule, p)
    net.layers[-1].b[0] = 1e4
    certain = p._replace(y=np.zeros_like(p.y))
    for dW, db in gradients(k, put(k, net), signals_of(k, rule, put(k, net), certain)).values():
        assert not dW.any() and not db.any()


@each_backend
@given(rule=without_dropout, p=deep)
def test_a_batch_of_copies_is_one_row(k, rule, p):
    """Unless activity is normalised over the batch."""
    rule = replace(rule, norm="sample") if getattr(rule, "norm", "none") == "batch" else rule
    net, one = network(k, rule, p), p._replace(x=p.x[:1], y=p.y[:1])
    copies = one._replace(x=np.repeat(one.x, 5, axis=0), y=np.repeat(one.y, 5))
    assert_equal_gradients(*(gradients(k, net, signals_of(k, rule, net, batch)) for batch in (one, copies)))


@each_backend
@given(p=deep, seed=seeds)
def test_the_least_dropout_is_none(k, p, seed):
    """At a rate of 2^-40 no unit is dropped, but in one case of 2^32; all that is left is the scale 1 / (1 - 2^-40)."""
    some, none = Backprop(dropout=2.0**-40), Backprop()
    net = network(k, none, p)
    assert_equal_gradients(*(gradients(k, net, signals_of(k, rule, net, p, seed)) for rule in (none, some)), 1e-10)


@each_backend
@given(p=deep)
def test_dropout_is_for_learning_only(k, p):
    net = network(k, Backprop(), p)
    scores = [Backprop(dropout=rate).softmax(k, net, k.put(p.x)) for rate in (0.0, 0.9)]
    np.testing.assert_array_equal(*scores)


@each_backend
def test_backprops_diagnosis_is_what_counting_by_hand_finds(k):
    rng, rule, rows = np.random.default_rng(4), Backprop(), CHUNK + 3
    x, y = rng.standard_normal((rows, 6)), rng.integers(3, size=rows)
    x[-1] *= 10
    net = rule.init(rng, (6, 20, 3), "he_normal", "zeros", "float64")
    net.layers[0].b[:15] -= 8  # these speak for the last row at most
    h = np.maximum(x @ net.layers[0].W + net.layers[0].b, 0)
    told = rule.diagnose(k, put(k, net), k.put(x), k.put(y))
    assert told["error"]["softmax"] == np.mean((h @ net.layers[1].W).argmax(axis=1) != y)
    assert told["dead_units"] == [int((h == 0).all(axis=0).sum())] and 0 < told["dead_units"][0] < 15


@pytest.mark.parametrize(("settings", "named"), [
    ({"activation": "step"}, "activation must be one of relu, tanh, not 'step'"),
    ({"dropout": 1.0}, "dropout .* not 1.0"),
    ({"dropout": -0.1}, "dropout .* not -0.1"),
    ({"dropout": float("nan")}, "dropout .* not nan"),
])
def test_backprop_refuses_settings_that_cannot_work(settings, named):
    with pytest.raises(UserError, match=named):
        Backprop(**settings)


# ----- where a network starts -----

BOUNDS = {"he_uniform": lambda i, o: (6 / i) ** 0.5, "glorot_uniform": lambda i, o: (6 / (i + o)) ** 0.5,
          "fan_in_uniform": lambda i, o: i**-0.5}
DEVIATIONS = {"he_normal": lambda i, o: (2 / i) ** 0.5, "glorot_normal": lambda i, o: (2 / (i + o)) ** 0.5,
              "fan_in_normal": lambda i, o: i**-0.5, "fan_out_normal": lambda i, o: o**-0.5}


def test_every_initialiser_is_checked_here():
    assert set(INITIALISERS) == {"zeros", *BOUNDS, *DEVIATIONS}
    assert not INITIALISERS["zeros"](np.random.default_rng(0), 3, 4).any()


@pytest.mark.parametrize("name", BOUNDS)
def test_uniform_weights_fill_their_interval(name):
    """The 12,000 weights end within 1 % of both bounds, and their mean square is a third of the bound's to 5 sigma."""
    W, bound = INITIALISERS[name](np.random.default_rng(0), 100, 120), BOUNDS[name](100, 120)
    assert 0.99 * bound < W.max() <= bound and -bound <= W.min() < -0.99 * bound
    assert (W**2).mean() == pytest.approx(bound**2 / 3, rel=5 * (0.8 / W.size) ** 0.5)


@pytest.mark.parametrize("name", DEVIATIONS)
def test_normal_weights_have_their_deviation(name):
    """Mean and mean square to 5 sigma; beyond two deviations lie 4.6 % of the weights."""
    W, std = INITIALISERS[name](np.random.default_rng(0), 100, 120), DEVIATIONS[name](100, 120)
    assert abs(W.mean()) <= 5 * std / W.size**0.5
    assert (W**2).mean() == pytest.approx(std**2, rel=5 * (2 / W.size) ** 0.5)
    assert (np.abs(W) > 2 * std).mean() == pytest.approx(0.0455, abs=5 * (0.0455 / W.size) ** 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bias_is_drawn_like_a_row_of_weights(dtype):
    W, b = dense(np.random.default_rng(0), 100, 120, "he_normal", "fan_in_uniform", dtype)
    assert W.shape == (100, 120) and b.shape == (120,) and W.dtype == b.dtype == dtype
    assert 0.9 * 0.1 < np.abs(b).max() <= 0.1  # 100 ** -0.5
    assert dense(np.random.default_rng(0), 3, 4, "he_normal", None).b is None


@pytest.mark.parametrize("names", [("he_gaussian", "zeros"), ("he_normal", "he_gaussian")])
def test_an_unknown_initialiser_is_refused_by_name(names):
    with pytest.raises(UserError, match="no initialiser 'he_gaussian'; choose one of zeros, he_uniform"):
        dense(np.random.default_rng(0), 3, 4, *names)


def test_parameters_counts_feedback_matrices_where_they_learn():
    net = MonoForward().init(np.random.default_rng(0), (9, 5, 4), "he_normal", "zeros", "float32")
    assert (parameters(net), parameters(net, feedback=True)) == (9 * 5 + 5, 9 * 5 + 5 + 5 * 4)


def test_parameters_counts_weights_biases_and_the_head():
    rule, sizes = Backprop(), (9, 5, 4)
    assert parameters(rule.init(np.random.default_rng(0), sizes, "he_normal", "zeros", "float32")) == 9 * 5 + 5 + 5 * 4 + 4
    assert parameters(rule.init(np.random.default_rng(0), sizes, "he_normal", None, "float32")) == 9 * 5 + 5 * 4
