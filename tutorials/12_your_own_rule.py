# %% [markdown]
# # 12 · Add your own learning rule
#
# **Question.** I have an idea for a learning rule. What does it take to add it, and to believe in it?
#
# **At the end you will know**
# * how an equation becomes a rule of this project in a dozen lines, and what it then gets for nothing;
# * how to compare rules fairly, and which control keeps you from praising layers that do nothing;
# * six checks of a rule that know little of each other, and which mistakes each of them can see;
# * what a contribution to the project brings along.
#
# You need the tutorials before, above all [1](01_backprop.ipynb), [5](05_feedback_alignment.ipynb) and
# [11](11_verify_your_torch.ipynb). All of it runs offline, in less than half a minute.

# %%
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import ffnp
from ffnp.backend import load_backend
from ffnp.compare import row, table
from ffnp.diagnostics import update
from ffnp.kernels.contract import Pair
from ffnp.net import Dense, dense
from ffnp.optim import Optimiser, Optimisers
from ffnp.plots import alignment_curves, learning_curves
from ffnp.rules import RULES, Backprop, DirectFeedback, MonoForward
from ffnp.rules.classifier import Classifier
from ffnp.verify import table as verdicts
from ffnp.verify import verify
from ffnp.verify.classifiers import masks, output_error
from ffnp.verify.twin import Gradients, affine, gradient, leaves
from ffnp.verify.twins import TWINS

data = ffnp.load("digits")

# %% [markdown]
# ## An idea
#
# Direct feedback alignment sends the *output's* error to each hidden layer, through a fixed random matrix. So a layer has to
# wait until all layers above have answered. What if it did not wait, and used its matrix $M_l$ forward first: for a guess of
# its own, and so for an error of its own?
#
# $$P_l = \mathrm{softmax}(h_l M_l), \qquad e_l = P_l - Y, \qquad \delta_l = (e_l M_l^\top) \odot f'(z_l)$$
#
# The output keeps its usual error. This is not new: Mostafa, Ramesh & Cauwenberghs (2018, arXiv:1711.06756) train deep nets
# by local errors of fixed, random classifiers. $M_l$ does not learn, so the layer has to make it useful. And $\delta_l$ is not
# just some signal, it is the slope of a loss, the layer's own cross-entropy
#
# $$\mathcal{L}_l = -\frac1B \sum_i \log P_{l,\,i\,y_i}$$
#
# First the *reference*: what the equation says, in NumPy, with no thought of speed.


# %%
def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def local_errors(layers, M, x, y):
    """Of each layer the gradient (dW, db) of its own loss, and that loss. All layers but the last are ReLU."""
    found, h = [], x
    for l, (W, b) in enumerate(layers):
        z, hidden = h @ W + b, l < len(layers) - 1  # (B, O)
        above = np.maximum(z, 0) if hidden else z
        P = softmax(above @ M[l] if hidden else z)  # (B, C)
        e = P - np.eye(P.shape[1])[y]  # (B, C)
        delta = (e @ M[l].T) * (z > 0) if hidden else e  # (B, O)
        found.append((h.T @ delta / len(x), delta.mean(axis=0), -np.log(P[np.arange(len(y)), y]).mean()))
        h = above
    return found


# %% [markdown]
# ## The rule
#
# A rule is a frozen dataclass with its settings as fields. `Classifier` is what all rules with a softmax at the end share: the
# forward pass, dropout, the read-out. What is ours are the matrices (`init`) and what the layers are sent (`pairs`). There `up`
# is the forward pass: what each layer has `received`, and what the hidden ones answered before dropout (`active`). `keys` are
# the seeds of their dropout masks, and `gated` takes an error through a layer's dropout and $f'$. `k` is the backend; a rule
# computes by nothing else, so it runs on all of them. `k.project(e, M)` is $e M^\top$.


# %%
@dataclass(frozen=True)
class LocalErrors(Classifier):
    """Local errors by fixed random classifiers (Mostafa, Ramesh & Cauwenberghs 2018, arXiv:1711.06756).

    error      e_l = softmax(h_l M_l) - Y,  M_l (O, C) fixed, in net.feedback[l];  at the output e = P - Y
    signals    pre = h_{l-1},  post = (e_l M_l^T) * f'(z_l);  at the output e
    """

    def init(self, rng, sizes, init, bias, dtype):
        """Each M_l is drawn as the weights of a softmax on that layer would be."""
        net = super().init(rng, sizes, init, bias, dtype)
        return net._replace(feedback=tuple(dense(rng, units, sizes[-1], init, None, dtype) for units in sizes[1:-1]))

    def pairs(self, k, net, up, e, y, keys):
        found = {len(net.feedback): [Pair(up.received[-1], e)]}
        for l, M in enumerate(net.feedback):
            own, _ = k.softmax_error(k.dense(up.received[l + 1], *M, "linear"), y)
            found[l] = [Pair(up.received[l], self.gated(k, k.project(own, M.W), up.active[l], keys[l]))]
        return found


def problem(rule, seed=0, sizes=(12, 9, 8, 5), rows=7):
    """A small net of the rule with a random batch, in float64."""
    rng = np.random.default_rng(seed)
    net = rule.init(rng, sizes, "he_normal", "fan_in_uniform", "float64")
    return net, rng.standard_normal((rows, sizes[0])), rng.integers(sizes[-1], size=rows)


def apart(found, expected):
    """The largest relative difference of any layer's update."""
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, expected, strict=True))


def to_the_reference(rule):
    net, x, y = problem(rule)
    expected = local_errors(net.layers, [M.W for M in net.feedback], x, y)
    return apart(update(rule, net, x, y), [np.append(dW, db) for dW, db, _ in expected])


print(f"the rule and the reference differ by {to_the_reference(LocalErrors()):.1e}")
assert to_the_reference(LocalErrors()) < 1e-14

# %% [markdown]
# (`update`, from `ffnp.diagnostics`, asks a rule for its signals and returns $(dW, db)$ of each layer as one vector.)
#
# ## A name and a recipe
#
# A name in `RULES` makes the rule known to the file that keeps a run, and to the bridge of tutorial 11. A `Preset` is a recipe:
# net, optimiser, schedule, and where it comes from. Then `ffnp.train` does the rest.

# %%
RULES["local-errors"] = LocalErrors
preset = ffnp.Preset(
    name="local-errors", source="Mostafa et al. 2018, arXiv:1711.06756, the rule; net and steps for this tutorial",
    rule=LocalErrors(), hidden=(100, 100, 100), epochs=15, batch=50, schedule="cosine",
    optimisers=Optimisers(Optimiser("adam", rate=0.01)),
)
run = ffnp.train(preset, data, seed=0, threads=1, diagnose=True)
print(f"validation error {run.history['epochs'][0]['val_error']:.1%} after the first epoch, "
      f"{run.history['epochs'][-1]['val_error']:.1%} after the last")

# %% [markdown]
# It learns. Every layer has a guess now. Here are the four guesses for validation images of which not all layers think alike.

# %%
watched = np.arange(len(data.x_train)) % 6 == 5  # what `train` keeps for validation
images, labels = data.x_train[watched], data.y_train[watched]


def guesses(net):
    """The probabilities of every layer and, last, of the output, (layers, images, classes)."""
    up = preset.rule.forward(load_backend("numpy"), net, images)
    return np.stack([softmax(z) for z in (*(h @ M.W for h, M in zip(up.active, net.feedback, strict=True)), up.logits)])


P = guesses(run.net)
told = P.argmax(axis=2)  # (layers, images)
unlike = np.flatnonzero((told != told[0]).any(axis=0))[:4]

figure, panels = plt.subplots(2, 4, figsize=(9, 4), height_ratios=[3, 2], layout="constrained")
for (above, below), i in zip(panels.T, unlike, strict=True):
    above.imshow(images[i].reshape(8, 8), cmap="gray")
    above.set(xticks=[], yticks=[], title=f"this is a {labels[i]}")
    drawn = below.imshow(P[:, i], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    below.set(xticks=range(10), yticks=range(4), yticklabels=["1", "2", "3", "output"], xlabel="guess")
panels[1, 0].set_ylabel("layer")
figure.colorbar(drawn, ax=panels[1], label="probability")
figure.suptitle("What each layer thinks of an image")
plt.show()

# %% [markdown]
# As the run was trained with `diagnose`, its history has the angles between the rule's updates and backprop's, too.

# %%
alignment_curves(run.history, "local errors, three hidden layers")

# %%
angles = np.array([epoch["diagnostics"]["angle"] for epoch in run.history["epochs"]])  # (epochs, layers)
print(f"angles of the hidden layers, mean of the last five epochs: {angles[-5:, :3].mean(axis=0).round()}")
assert (angles[-5:, :3].mean(axis=0) < 88).all() and (angles[:, 3] < 1e-4).all()

# %% [markdown]
# The output learns by backprop, so its angle is 0. What the hidden layers do is far from backprop, but not at a right
# angle to it: nothing has come down to them, and yet what helps their own guess also helps the output a little.
#
# ## Is it any good?
#
# A fair comparison gives all rules the same net, data, epochs and optimiser, and *each its own best learning rate*, as signals
# of different rules differ in length. The rate is chosen on validation images, with a seed that the table does not use; the
# test images are for the table only. And there must be a **control**. Hidden layers that do not learn are features too, random
# ones, and digits are easy. What the output alone learns from those is what a rule for hidden layers has to beat.


# %%
@dataclass(frozen=True)
class LastLayer(Backprop):
    """The control: only the output learns."""

    def pairs(self, k, net, up, e, y, keys):
        return {len(net.layers) - 1: [Pair(up.received[-1], e)]}


RULES["last-layer"] = LastLayer
RIVALS = {"backprop": Backprop(), "dfa": DirectFeedback(), "local-errors": LocalErrors(), "last-layer": LastLayer()}


def recipe(name, rate):
    return replace(preset, name=name, rule=RIVALS[name], optimisers=Optimisers(Optimiser("adam", rate=rate)))


def validation_error(name, rate):
    return ffnp.train(recipe(name, rate), data, seed=3, threads=1).history["epochs"][-1]["val_error"]


histories = {}
for name in RIVALS:
    errors = {rate: validation_error(name, rate) for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)}
    best = min(errors, key=errors.get)
    histories[name] = [ffnp.train(recipe(name, best), data, seed=seed, threads=1).history for seed in range(3)]
    print(f"{name:13}", ", ".join(f"{error:.1%} at {rate}" for rate, error in errors.items()))
print()
print(table([row(name, runs) for name, runs in histories.items()]))

# %%
learning_curves(histories, "Digits, 100-100-100, each rule at its own rate")

# %%
fifth, finals = ({name: np.array([h["epochs"][epoch]["val_error"] for h in runs]) for name, runs in histories.items()}
                 for epoch in (4, -1))
for name, errors in finals.items():
    print(f"{name:13} validation error {fifth[name].mean():.1%} after 5 epochs, {errors.mean():.1%} at the end "
          f"(single seeds {errors.min():.1%} to {errors.max():.1%})")
assert finals["backprop"].mean() < finals["local-errors"].mean() < finals["last-layer"].mean()
assert fifth["last-layer"].mean() < fifth["local-errors"].mean()

# %% [markdown]
# In the end local errors beat the control, so the hidden layers do learn something that is worth having. It takes its time:
# after five epochs the control was ahead. They do not reach backprop. And whether they beat direct feedback is not for three
# seeds on an easy data set to say: look at the spread.
#
# ## Related to what we know
#
# An identity is a check that costs a line. This rule has two. Without the output, it is **Mono-Forward** (Gong et al. 2025,
# arXiv:2501.09238) with matrices that happen not to learn. And with one hidden layer, $M_1 = W_2$ and no bias above, a layer's
# own guess *is* the output: the rule is **backprop**.


# %%
def to_mono_forward(rule):
    net, x, y = problem(rule)
    return apart(update(rule, net, x, y)[:-1], update(MonoForward(), net._replace(layers=net.layers[:-1]), x, y))


def to_backprop(rule):
    net, x, y = problem(rule, sizes=(12, 9, 5))
    first, (W, b) = net.layers
    net = net._replace(layers=(first, Dense(W, 0 * b)), feedback=(Dense(W, None),))
    return apart(update(rule, net, x, y), update(Backprop(), net, x, y))


# %% [markdown]
# **Central differences** know nothing of the chain rule. Move the weights of a layer a little along a random direction $V$, to
# both sides; its own loss has to change by $\langle dW, V \rangle$.


# %%
def to_central_differences(rule, t=1e-6):
    net, x, y = problem(rule)
    M, worst = [M.W for M in net.feedback], 0.0
    for l, ((W, b), own) in enumerate(zip(net.layers, update(rule, net, x, y), strict=True)):
        V = np.random.default_rng(l).standard_normal(W.shape)
        moved = [[*net.layers[:l], Dense(W + s * V, b), *net.layers[l + 1 :]] for s in (t, -t)]
        above, below = (local_errors(layers, M, x, y)[l][2] for layers in moved)
        slope = (above - below) / (2 * t)
        worst = max(worst, abs(own[: W.size] @ V.ravel() - slope) / abs(slope))
    return worst


# %% [markdown]
# A **property** is something that must hold for *every* input. The order of the rows in a batch is nobody's business, say:
# the update of a shuffled batch is the same, up to rounding. Hypothesis draws nets, activations and batches, and tries to find
# one for which it is not; if it does, it shows the smallest it can find.


# %%
def to_another_order(rule, **drawn):
    net, x, y = problem(rule, **drawn)
    order = np.random.default_rng(0).permutation(len(x))
    return apart(update(rule, net, x[order], y[order]), update(rule, net, x, y))


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), activation=st.sampled_from(["relu", "tanh"]))
def rows_may_come_in_any_order(seed, rows, activation):
    assert to_another_order(LocalErrors(activation), seed=seed, rows=rows, sizes=(12, 30, 30, 5)) < 1e-12


rows_may_come_in_any_order()
for check in (to_mono_forward, to_backprop, to_central_differences, to_another_order):
    print(f"{check.__name__.replace('_', ' '):25} {check(LocalErrors()):.1e}")

# %% [markdown]
# ## Verify it yourself against torch
#
# As the rule follows a loss, autograd can be its *twin*: each layer's cross-entropy, and a `detach` below each layer. A twin
# is asked what a rule is asked, and yields gradients in the place of signals. It also tells a `watch` where rounding might grow
# (how near to its kink a ReLU was, how much cancels in $P - Y$), from which `verify` makes its bounds, as in tutorial 11. Here
# `leaves` are the weights as tensors to be differentiated by, `affine(h, layer)` is $h W + b$, `gradient` is autograd's.
# Dropout masks are the one thing that both share, since they are drawn.


# %%
def twin(rule, net, x, y, rng, moment, watch):
    drop, layers, h, loss = masks(rule, net, len(x), rng), leaves(net.layers), x, 0
    for layer, mask, M in zip(layers, drop, net.feedback, strict=False):
        z = affine(h.detach(), layer)
        h = mask * (watch.relu(z, h.detach(), layer) if rule.activation == "relu" else z.tanh())
        loss = loss + cross_entropy(affine(h, M), y)
        output_error(affine(h, M), y, watch)  # computed for the watch alone
    logits = affine(h.detach(), layers[-1])
    output_error(logits, y, watch)
    yield Gradients(dict(enumerate(gradient(loss + cross_entropy(logits, y), layers))))


TWINS[LocalErrors] = twin


def verified(rule, *backends):
    return verify([replace(preset, rule=rule)], backends)


rows = verified(LocalErrors(dropout=0.1), "numpy", "cpu")
print(verdicts(rows))
assert all(r.passed for r in rows)

# %% [markdown]
# ## What is a check worth?
#
# A check that never failed has proved nothing yet. So let us make mistakes, one at a time, and see who notices.


# %%
class NoGate(LocalErrors):
    def gated(self, k, delta, h, key):
        return self.masked(k, delta, key)


class OutputsError(LocalErrors):
    """That is direct feedback alignment."""

    def pairs(self, k, net, up, e, y, keys):
        return DirectFeedback(self.activation, self.dropout).pairs(k, net, up, e, y, keys)


class LateLabels(LocalErrors):
    """Hidden layers are told the label of the row before."""

    def pairs(self, k, net, up, e, y, keys):
        return super().pairs(k, net, up, e, np.roll(y, 1), keys)


class Sum(LocalErrors):
    """Over the rows of the batch, not the mean."""

    def signals(self, *args):
        for s in super().signals(*args):
            yield s._replace(rows=1)


class BeforeDropout(LocalErrors):
    """A layer is taken to have received what the one below answered before its dropout."""

    def pairs(self, k, net, up, e, y, keys):
        return super().pairs(k, net, up._replace(received=[up.received[0], *up.active]), e, y, keys)


def to_the_twin(rule):
    return max(r.update for r in verified(replace(rule, dropout=0.1), "numpy") if r.dtype == "float64")


CHECKS = (to_the_reference, to_central_differences, to_mono_forward, to_backprop, to_another_order, to_the_twin)
TRIED = {"as it should be": LocalErrors(), "no gate": NoGate(), "the output's error": OutputsError(),
         "labels a row late": LateLabels(), "sum, not mean": Sum(), "before dropout": BeforeDropout()}
off = np.array([[check(rule) for check in CHECKS] for rule in TRIED.values()])  # (rules, checks)
seen = off > 1e-6

figure, axes = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
drawn = axes.imshow(np.maximum(off, 1e-16), cmap="Blues", norm="log", vmin=1e-16, vmax=10, aspect="auto")
for (i, j), number in np.ndenumerate(off):
    axes.text(j, i, f"{number:.1f}" if seen[i, j] else "passes", ha="center", va="center", color="w" if seen[i, j] else "k")
axes.set_xticks(range(len(CHECKS)), [check.__name__.removeprefix("to_").replace("_", "\n") for check in CHECKS])
axes.set_yticks(range(len(TRIED)), TRIED)
axes.tick_params(length=0)
axes.set_title("Five mistakes before six checks: how far each check finds the update off")
figure.colorbar(drawn, label="relative difference")
plt.show()

# %% [markdown]
# The order of the rows is a weak property: four mistakes out of five keep it. Backprop is the same as this rule only where the
# layer's error and the output's are, so it cannot tell the two apart. And five checks see no dropout, as `update` leaves it
# out; `verify` takes a preset as it is, so its twin saw all five. But a twin is a second program by the same author, and may
# share a misunderstanding. A derivative, an identity and an invariance do not: keep them all.

# %%
caught = seen[1:].any(axis=1)
print(f"{caught.sum()} of {len(caught)} mistakes caught; by each check: {', '.join(map(str, seen[1:].sum(axis=0)))}")
assert caught.all() and not seen[0].any()
assert seen[1:, 4].sum() == 1 and not seen[2, 3] and seen[5].tolist() == [False] * 5 + [True]

# %% [markdown]
# ## What a contribution brings
#
# This rule is not part of the project, but it could be. A contribution of a rule is
#
# 1. **one file** in `ffnp/rules/`, named after the idea. It begins with the equations and the paper; each choice on which
#    published codes differ is a field, and a value that cannot work is a `UserError` that names it;
# 2. **a line in `RULES`**, and at least one **preset** in `ffnp/presets.py` that says where its numbers come from: a paper, a
#    published code, or validation images;
# 3. **a twin** in `ffnp/verify/`, written from the formulas and not from the rule, and its line in `TWINS`; `ffnp verify` then
#    holds every preset of the rule on every backend, in each precision, for one update and for twenty steps;
# 4. **tests**: the signals against the formula, central differences where there is a loss, every identity with a rule that is
#    there already, as properties (`tests/strategies.py` has what to draw), and a wrong version that fails;
# 5. **a row** in the README's table of signals and a line in the changelog.
#
# What it does not need: a training loop, a file format, plots, diagnostics, a command, or a line for a graphics card. Nor need
# it beat backprop.
#
# ## Exercises
#
# **1. Why fixed?** Draw all $M_l$ anew for each batch. Is that as good, half as good, or worse than not learning at all?
#
# <details><summary>Solution</summary>
#
# Far worse than the control. A layer learns slowly to be read by one matrix. If every batch brings another, its steps
# are noise, and they wash away even the random features that the output could have used.
#
# ```python
# class Redrawn(LocalErrors):
#     def signals(self, k, net, x, y, rng, moment=None):
#         anew = tuple(dense(rng, *M.W.shape, "he_normal", None, str(M.W.dtype)) for M in net.feedback)
#         yield from super().signals(k, net._replace(feedback=anew), x, y, rng, moment)
#
# RULES["redrawn"], errors = Redrawn, {}
# for rule in (Redrawn(), LocalErrors(), LastLayer()):
#     h = ffnp.train(replace(preset, rule=rule), data, seed=0, threads=1).history
#     print(f"{type(rule).__name__:11} {h['epochs'][-1]['val_error']:.1%}")
#     errors[type(rule)] = h["epochs"][-1]["val_error"]
# assert errors[Redrawn] > 2 * errors[LastLayer] > 2 * errors[LocalErrors]
# ```
#
# </details>
#
# **2. Let them learn.** Give $M_l$ the signals of its own softmax regression, pre $h_l$ and post $e_l$, by the field `feedback`
# of `Signals`. Show that Mono-Forward gives the same, and train. What does it cost that $M_l$ was fixed?
#
# <details><summary>Solution</summary>
#
# Some accuracy: a classifier that learns meets its layer halfway.
#
# ```python
# class Taught(LocalErrors):
#     def signals(self, k, net, x, y, rng, moment=None):
#         h = self.forward(k, net, x).active
#         errors = [k.softmax_error(k.dense(a, *M, "linear"), y)[0] for a, M in zip(h, net.feedback, strict=True)]
#         for s in super().signals(k, net, x, y, rng, moment):
#             yield s._replace(feedback={l: [Pair(*pair)] for l, pair in enumerate(zip(h, errors, strict=True))})
#
# RULES["taught"] = Taught
# k, rng, (net, x, y) = load_backend("numpy"), np.random.default_rng(0), problem(Taught())
# (ours,), (theirs,) = (list(rule.signals(k, one, x, y, rng)) for rule, one in (
#     (Taught(), net), (MonoForward(), net._replace(layers=net.layers[:-1]))))
# for l, (pair,) in theirs.feedback.items():
#     assert all(np.array_equal(a, b) for a, b in zip(ours.feedback[l][0], pair, strict=True))
#
# adam = Optimiser("adam", rate=0.01)
# taught = replace(preset, name="taught", rule=Taught(), optimisers=Optimisers(adam, feedback=adam))
# errors = [ffnp.train(taught, data, seed=seed, threads=1).history["epochs"][-1]["val_error"] for seed in range(3)]
# print(f"taught {np.mean(errors):.1%}, fixed {finals['local-errors'].mean():.1%}")
# assert np.mean(errors) < finals["local-errors"].mean()
# ```
#
# </details>
#
# **3. What is depth for?** Count how often each layer's own guess is wrong, for five seeds. Is each layer better than the one
# below?
#
# <details><summary>Solution</summary>
#
# Hardly: layers differ about as much as seeds do, and the output is not the best of them. Every layer solves the whole task for
# itself, and none is asked for what the next one could use. That is the price of hearing from nobody, and the question to which
# the rules of this project give different answers.
#
# ```python
# nets = [ffnp.train(preset, data, seed=seed, threads=1).net for seed in range(5)]
# errors = np.array([(guesses(net).argmax(axis=2) != labels).mean(axis=1) for net in nets])  # (seeds, layers)
# for layer, own in zip(("layer 1", "layer 2", "layer 3", "output"), errors.T, strict=True):
#     print(f"{layer}: {own.mean():.1%} wrong ({own.min():.1%} to {own.max():.1%})")
# assert np.ptp(errors.mean(axis=0)) < 0.03
# ```
#
# </details>
#
# This is the last tutorial. [Back to the first](01_backprop.ipynb), or on to a rule of your own.
