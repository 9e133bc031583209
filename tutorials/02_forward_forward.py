# %% [markdown]
# # 2 · Forward-Forward: goodness, negatives, and why to normalise
#
# **Question.** Can a layer learn from nothing but its own activity, with no blame sent back to it?
#
# **At the end you will know**
# * what goodness is, and why every layer can have a loss of its own;
# * what the layers learn from: images with a right label written into them, and with a wrong one;
# * what normalising between layers takes away, and what it does not;
# * two ways to tell a class with a net that has no output.
#
# You need [tutorial 1](01_backprop.ipynb). All of it runs offline, in about ten seconds.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import ffnp
from ffnp.backend import load_backend, threads
from ffnp.net import Dense, Net
from ffnp.optim import Optimiser
from ffnp.plots import COLOURS, goodness_histograms
from ffnp.rules import ForwardForward

BLUE, ORANGE = COLOURS[:2]
data = ffnp.load("digits")
watched = np.arange(len(data.x_train)) % 6 == 5  # kept apart, as in tutorial 1
x_learn, y_learn = data.x_train[~watched].astype(np.float64), data.y_train[~watched]
x_watch, y_watch = data.x_train[watched].astype(np.float64), data.y_train[watched]

# %% [markdown]
# ## A question with two answers
#
# Backprop asks the whole net one question, *which class?*, and sends the mistake down. Hinton (2022, arXiv:2212.13345) asks
# every layer a question that it can answer by itself: *is what you see real?* For this the label becomes part of what is
# seen. Here it is written behind the 64 pixels, as ten numbers of which one is 1. An image with its own label is a
# **positive** example, an image with another's a **negative** one.


# %%
def write(x, y):
    """Images (B, 64) with their labels behind the pixels, (B, 74)."""
    return np.hstack([x, np.eye(10)[y]])


def wrong(y, rng):
    """For each label another one, all nine equally likely."""
    other = (9 * rng.random(len(y))).astype(int)
    return other + (other >= y)


def examples(x, y, rng):
    """Each image as a positive and, below those, as a negative example (2 B, 74); their targets t, 1 and 0 (2 B,)."""
    return np.vstack([write(x, y), write(x, wrong(y, rng))]), np.repeat([1, 0], len(x))


shown, _ = examples(x_learn[:8], y_learn[:8], np.random.default_rng(1))
figure, panels = plt.subplots(4, 8, figsize=(9, 3.2), height_ratios=[8, 1, 8, 1], layout="constrained")
for row, seen, kind in ((0, shown[:8], "positive"), (2, shown[8:], "negative")):
    for image, label, example in zip(panels[row], panels[row + 1], seen, strict=True):
        image.imshow(example[:64].reshape(8, 8), cmap="gray")
        label.imshow(example[None, 64:], cmap="gray", aspect="auto")
        label.set_xlabel(f"says {example[64:].argmax()}", fontsize=9)
    panels[row, 0].set_ylabel(kind)
for axes in panels.ravel():
    axes.set(xticks=[], yticks=[])
figure.suptitle("Eight images with their own label, and with another: pixels above, the ten label inputs below")
plt.show()

# %% [markdown]
# Pixels alone are no help: each image comes once as a positive and once as a negative. So a layer that tells them apart must
# have learned which pixels go with which label.
#
# ## Goodness
#
# A layer says "real" by being active. Its **goodness** is the sum of squares of its activity $h$, and it turns into a belief
# by comparison with a threshold $\theta$. The loss is the surprise at the truth $t$, 1 for positives and 0 for negatives:
#
# $$G = \sum_j h_j^2, \qquad p = \sigma(G - \theta) = \frac{1}{1 + e^{\theta - G}}, \qquad
# \mathcal{L} = -t \log p - (1 - t) \log (1 - p)$$
#
# Now the gradient. It needs no other layer, and only three factors:
#
# $$\frac{\partial \mathcal{L}}{\partial G} = p - t, \qquad \frac{\partial G}{\partial h_j} = 2 h_j, \qquad
# \frac{\partial h_j}{\partial z_j} = [h_j > 0]$$
#
# A silent unit has $h_j = 0$ already, so the last factor changes nothing. The product is $2 (p - t)\, h$. Hinton's program
# leaves out the 2, which only halves the step, and so does this project. In the words of tutorial 1 the layer is *sent*
#
# $$\mathrm{post} = (p - t)\, h$$
#
# Positives are sent $(p - 1)\,h$, which makes them more active, negatives $p\,h$, which makes them less. A layer that is sure
# and right is sent nothing. The threshold is the number of units $O$: at $p = \frac12$ the mean square is 1.


# %%
def answer(layer, received):
    return np.maximum(received @ layer.W + layer.b, 0)  # h (B, O)


def goodness(h):
    return (h**2).sum(axis=1)  # G (B,)


def signal(h, t):
    p = 1 / (1 + np.exp(h.shape[1] - goodness(h)))
    return (p - t)[:, None] * h  # post (B, O)


# %% [markdown]
# Between two layers each row is **normalised**: divided by its root mean square, so that all rows have one length and differ
# in direction only. (The input too; the tiny number is for a row of zeros.) Why, is a question for later.


# %%
def normalise(h):
    return h / (np.sqrt((h**2).mean(axis=1, keepdims=True)) + 1e-8)


def network(rng, *sizes):
    """Layers (W, b) with weights of variance 1 / I, so that for normalised rows h W has mean square 1, and 1/2 after ReLU."""
    return [Dense(rng.normal(0, i**-0.5, (i, o)), np.zeros(o)) for i, o in zip(sizes, sizes[1:], strict=False)]


# %% [markdown]
# ## Check: the project's own rule
#
# `ffnp/rules/contrast.py` holds the rule, `forward_forward.py` the labels. Given the same weights, the same images and the same
# random numbers for the wrong labels, it must ask for the same changes. (The sum runs over $2B$ examples, and is divided by the
# $B$ images.)

# %%
k = load_backend("numpy")
layers = network(np.random.default_rng(0), 74, 200, 200, 200)
x, y = x_learn[:50], y_learn[:50]
rule = ForwardForward(label="append", negatives="uniform", softmax_from=None)
(signals,) = rule.signals(k, Net(tuple(layers), classes=10), x, y, np.random.default_rng(7))

seen, t = examples(x, y, np.random.default_rng(7))
received = normalise(seen)  # (100, 74)
for l, layer in enumerate(layers):
    h = answer(layer, received)
    dW = received.T @ signal(h, t) / len(x)  # (I, O)
    (pair,) = signals.layers[l]
    off = np.abs(pair.pre.T @ pair.post / signals.rows - dW).max()
    print(f"layer {l + 1}: pre {pair.pre.shape}, post {pair.post.shape}, difference {off:.1e} of {np.abs(dW).max():.1e}")
    assert off < 1e-13
    received = normalise(h)

# %% [markdown]
# ## Learn
#
# There is one loop, upwards. Every layer learns in every batch, and what it passes on is not differentiated: no arrow points
# down. (Products this small are fastest on one core.)


# %%
def learn(layers, norm, rng, examples=examples, epochs=20, rate=0.02):
    with threads(1, "numpy"):
        for _ in range(epochs):
            for rows in np.array_split(rng.permutation(len(x_learn)), len(x_learn) // 50):
                seen, t = examples(x_learn[rows], y_learn[rows], rng)
                received = normalise(seen)
                for W, b in layers:
                    h = answer(Dense(W, b), received)
                    post = signal(h, t)
                    W -= rate * received.T @ post / len(rows)
                    b -= rate * post.sum(axis=0) / len(rows)
                    received = norm(h)


def climb(layers, norm, seen):
    """The goodness of every layer, (B, L)."""
    received, found = normalise(seen), []
    for layer in layers:
        h = answer(layer, received)
        found.append(goodness(h))
        received = norm(h)
    return np.stack(found, axis=1)


# %% [markdown]
# ## Why normalise
#
# Layer 1 learns to give positives long rows and negatives short ones. If it passes them on as they are, the answer goes up
# with them: layer 2 need only repeat how long its input is. To see how much is given away, train two nets that differ in
# nothing but what goes up, and look at layer 2 *before* it has learned anything, and after. Layer 1 is the same in all four.
#
# Two numbers: how many of the examples a single threshold on $G$ gets right, the best there is; and the rank correlation
# between $G_1$ and $G_2$ among examples of one kind, where both are not simply right. At 1 layer 2 has no opinion of its own.


# %%
def best_threshold(values, t):
    return max(np.mean((values > value) == t) for value in values)


def rank_correlation(a, b):
    return np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1]


norms = {"as it is": lambda h: h, "normalised": normalise}
seen, t = examples(x_watch, y_watch, np.random.default_rng(9))
figure, panels = plt.subplots(2, 2, figsize=(7, 6.5), sharex=True, sharey=True, layout="constrained")
told, like, nets = {}, {}, {}
for column, (name, norm) in zip(panels.T, norms.items(), strict=True):
    drawn, nets[name] = (network(np.random.default_rng(0), 74, 200, 200) for _ in range(2))
    learn(nets[name], norm, np.random.default_rng(1))
    for axes, when, second in zip(column, ("as drawn", "learned"), (drawn[1], nets[name][1]), strict=True):
        G = climb([nets[name][0], second], norm, seen)
        told[name, when] = best_threshold(G[:, 1], t)
        like[name, when] = np.mean([rank_correlation(*G[t == kind].T) for kind in (0, 1)])
        for kind, colour, marker, label in ((1, BLUE, "o", "positive"), (0, ORANGE, "x", "negative")):
            axes.plot(*G[t == kind].T / 200, marker, color=colour, markersize=3, label=label)
        axes.set(xscale="log", yscale="log", title=f"h_1 {name}, layer 2 {when}:\n{told[name, when]:.0%} right")
        axes.set_xticks(ticks := [0.5, 0.7, 1, 1.4], ticks, minor=False)
        axes.set_yticks(ticks := [0.2, 0.5, 1, 2], ticks, minor=False)
        axes.minorticks_off()
for axes in panels[:, 0]:
    axes.set_ylabel("goodness of layer 2 / theta")
for axes in panels[1]:
    axes.set_xlabel("goodness of layer 1 / theta")
panels[0, 0].legend(loc="lower right")
figure.suptitle("What layer 2 knows of validation images, before and after it learns")
plt.show()
print(f"|h_1| alone: {best_threshold(G[:, 0], t):.0%} right")
for case, right in told.items():
    print(f"h_1 passed on {case[0]}, layer 2 {case[1]}: {right:.0%} right, rank correlation with layer 1 {like[case]:.2f}")

# %% [markdown]
# Top left: random weights, and layer 2 tells nine in ten, because a longer input makes a longer answer. Top right: with the
# length gone the same weights know next to nothing. What layer 2 of the right column tells at the end it has learned itself,
# from directions, and it agrees less with the layer below.

# %%
assert told["as it is", "as drawn"] > 0.8 and told["normalised", "as drawn"] < 0.65 and told["normalised", "learned"] > 0.9
assert like["as it is", "learned"] > like["normalised", "learned"] + 0.1

# %% [markdown]
# That is the argument for normalising. It does not say how much an independent layer 2 is worth. To measure this we must first
# tell classes.
#
# ## Telling the class
#
# The net has no output, but it can be asked ten times. Write each label into the image, see which one makes it look most real.
# The layers' goodness is added up; Hinton leaves out that of layer 1 in this.


# %%
def goodness_table(layers, norm, x):
    """The goodness of every label in every layer, (B, 10, L)."""
    return np.stack([climb(layers, norm, write(x, np.full(len(x), c))) for c in range(10)], axis=1)


def errors(table, y):
    """The share told wrong by each layer alone, (L,)."""
    return np.mean(table.argmax(axis=1) != y[:, None], axis=0)


for name, norm in norms.items():
    by_layer = errors(goodness_table(nets[name], norm, x_watch), y_watch)
    print(f"h_1 passed on {name}: validation error by layer 1 {by_layer[0]:.1%}, by layer 2 {by_layer[1]:.1%}")

# %% [markdown]
# One of these 240 images is 0.4%, so a difference of a few of them may be chance. This little net tells classes about as well
# either way: the argument is sound, and yet here little hangs on it. [Tutorial 3](03_what_makes_ff_work.ipynb) asks again with
# a third layer and more seeds.
#
# ## The project's recipe
#
# `ff-small` adds to the rule what Hinton's program has: a moving average of the changes, wrong labels that the net finds likely
# (*hard* negatives), and a term that wakes silent units. It has a second way to tell the class, too. A linear softmax, the
# *head*, looks at the normalised activity of layers 2 and 3 and learns which class it means, in a pass in which all ten label
# inputs are 0.1. It needs one pass instead of ten, and sends nothing down. The net here is smaller than the preset's, and
# its step larger.

# %%
small = ffnp.PRESETS["ff-small"]
step = Optimiser("ema", rate=0.03, decay=0.001)
recipe = replace(small, hidden=(200, 200, 200), optimisers=small.optimisers._replace(layers=step))
run = ffnp.train(recipe, data, epochs=20, seed=0, threads=1, diagnose=True)
last = run.history["epochs"][-1]
print("validation error by goodness {goodness:.1%}, by the head {softmax:.1%}".format(**last["val_read_outs"]))
print("by the goodness of a single layer: " + ", ".join(f"{e:.1%}" for e in last["layer_error"]))
print("test error by goodness {goodness:.1%}, by the head {softmax:.1%}".format(**run.history["read_outs"]))
assert last["val_error"] < 0.1

# %% [markdown]
# How layers come to believe: a column is an epoch, the dashed line the threshold. Positives rise above it and negatives fall
# below, first in layer 1. The negatives are the hard ones, so what is left near the line is what the net still mixes up.

# %%
goodness_histograms(run.history, "What the layers believe of validation images")

# %% [markdown]
# Ten labels tried on two images: the one that the net finds easiest and the one it finds hardest, by how far the best label is
# ahead of the second. The table is ours, and the project's differs from it only by float32.

# %%
table = goodness_table(run.net.layers, normalise, x_watch)  # (240, 10, 3)
theirs = recipe.rule.goodness_table(k, run.net, x_watch.astype(np.float32))
off = np.abs(theirs - table).max()
print(f"our table and the project's: greatest difference {off:.1e} of {table.max():.1e}")
assert off < 1e-4 * table.max()
best, second = np.sort(table[:, :, 1:].sum(axis=2), axis=1)[:, :-3:-1].T
figure, panels = plt.subplots(2, 2, figsize=(9, 5), width_ratios=[1, 4], layout="constrained")
for (left, right), i in zip(panels, ((best - second).argmax(), (best - second).argmin()), strict=True):
    left.imshow(x_watch[i].reshape(8, 8), cmap="gray")
    left.set(xticks=[], yticks=[], title=f"a {y_watch[i]}, taken for a {table[i, :, 1:].sum(axis=1).argmax()}")
    drawn = right.imshow(table[i].T / 200, cmap="cividis", vmin=0, vmax=2, aspect="auto")
    right.set(xticks=range(10), yticks=range(3), yticklabels=["layer 1", "layer 2", "layer 3"], xlabel="label written in")
    for (c, l), value in np.ndenumerate(table[i] / 200):
        right.text(c, l, f"{value:.1f}", ha="center", va="center", color="white" if value < 1.2 else "black")
figure.colorbar(drawn, ax=panels, label="goodness / theta")
figure.suptitle("The goodness of every label: an easy image and a hard one")
plt.show()

# %% [markdown]
# ## Verify it yourself against torch
#
# Each layer has a loss, so autograd can differentiate it. `detach` cuts the net between the layers. Autograd keeps the 2 of
# $\partial h^2 / \partial h$, so it must find twice our change. As a control the cut is left out: then layers hear from the
# losses above them, and the numbers must *not* agree.

# %%
seen, t = examples(x, y, np.random.default_rng(7))


def by_autograd(layers, cut):
    """The gradient of the sum of all layers' losses in each W."""
    tensors = [(torch.tensor(W, requires_grad=True), torch.tensor(b)) for W, b in layers]
    h, loss = torch.tensor(seen), 0
    for W, b in tensors:
        received = h / (h.square().mean(dim=1, keepdim=True).sqrt() + 1e-8)
        h = torch.relu((received.detach() if cut else received) @ W + b)
        margin = h.square().sum(dim=1) - h.shape[1]
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(margin, torch.tensor(t * 1.0), reduction="sum")
    (loss / len(x)).backward()
    return [W.grad.numpy() for W, _ in tensors]


received = normalise(seen)
for l, (cut, whole) in enumerate(zip(by_autograd(layers, True), by_autograd(layers, False), strict=True), 1):
    h = answer(layers[l - 1], received)
    dW = received.T @ signal(h, t) / len(x)
    off, control = np.abs(cut - 2 * dW).max(), np.abs(whole - 2 * dW).max()
    print(f"layer {l}: difference {off:.1e}, of gradients up to {np.abs(cut).max():.1e}; without the cut {control:.1e}")
    assert off < 1e-12 and (control > 1e-3 or l == 3)
    received = normalise(h)

# %% [markdown]
# The top layer has nobody above, so for it the cut makes no difference.
#
# ## Exercises
#
# **1. The mean instead of the sum.** Let goodness be the *mean* of squares, with threshold 1. What is the signal? Check it
# against the project's rule with `goodness="mean"`.
#
# <details><summary>Solution</summary>
#
# $\partial G / \partial h$ is divided by the number of units, and so is the signal; $p$ is another one, too.
#
# ```python
# def signal_of_mean(h, t):
#     p = 1 / (1 + np.exp(1 - goodness(h) / h.shape[1]))
#     return (p - t)[:, None] * h / h.shape[1]
#
# of_mean = replace(rule, goodness="mean", theta=1.0, theta_per_unit=False)
# (signals,) = of_mean.signals(k, Net(tuple(layers), classes=10), x, y, np.random.default_rng(7))
# ours = signal_of_mean(answer(layers[0], normalise(seen)), t)
# assert np.abs(signals.layers[0][0].post - ours).max() < 1e-14
# ```
#
# </details>
#
# **2. Nothing to see.** Leave the label out (zeros in its place). Positives and negatives are then the same. What does a layer
# come to believe, how low can its loss get, and does it get there? (Take small steps, `rate=3e-4`, or it swings about.)
#
# <details><summary>Solution</summary>
#
# An image is sent $(p - 1)\,h + p\,h = (2p - 1)\,h$, which draws its belief to $p = \frac12$. There the loss is $\log 2$, and
# it cannot be less: $-\frac12 (\log p + \log (1 - p))$ is least at $\frac12$. It does not get there. The goodness comes within
# a few per cent of $\theta$, but $p$ asks for more: to be off by three in 200 is to be nearly sure.
#
# ```python
# def blank(x, y, rng):
#     image = np.hstack([x, np.zeros((len(x), 10))])
#     return np.vstack([image, image]), np.repeat([1, 0], len(x))
#
# blind = network(np.random.default_rng(0), 74, 200)
# seen, t = blank(x_watch, y_watch, None)
# off, losses = [], []
# for epochs in (0, 20):
#     learn(blind, normalise, np.random.default_rng(1), blank, epochs, rate=3e-4)
#     margin = climb(blind, normalise, seen)[:, 0] - 200
#     off.append(np.abs(margin / 200).mean())
#     losses.append(np.logaddexp(0, (1 - 2 * t) * margin).mean())
#     print(f"goodness off theta by {off[-1]:.1%}, loss {losses[-1]:.2f}; log 2 is {np.log(2):.2f}")
# assert off[1] < 0.1 < off[0] and np.log(2) < losses[1] < losses[0] / 5
# ```
#
# </details>
#
# **3. Upside down.** Nothing says that "real" must be the active answer. Let positives be quiet and negatives loud, and
# choose the label of *least* goodness. Does it still work?
#
# <details><summary>Solution</summary>
#
# It does: swap the targets.
#
# ```python
# def swapped(x, y, rng):
#     seen, t = examples(x, y, rng)
#     return seen, 1 - t
#
# quiet = network(np.random.default_rng(0), 74, 200, 200)
# learn(quiet, normalise, np.random.default_rng(1), swapped)
# table = goodness_table(quiet, normalise, x_watch)
# wrongly = np.mean(table.sum(axis=2).argmin(axis=1) != y_watch)
# print(f"validation error by the least goodness {wrongly:.1%}")
# assert wrongly < 0.2
# ```
#
# </details>
#
# Next: [what makes Forward-Forward work](03_what_makes_ff_work.ipynb), one change at a time.
