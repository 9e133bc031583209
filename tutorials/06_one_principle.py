# %% [markdown]
# # 6 · Forward-Forward and PEPITA are one principle
#
# **Question.** Forward-Forward compares an image with its right label to one with a wrong label. PEPITA compares an image to
# the image with its error added. Are these two ideas, or one?
#
# **At the end you will know**
# * in which sense they are the same rule, exactly, and what each adds to it;
# * what a *gate* is, and why Forward-Forward's usual ones spoil PEPITA's pairs while one choice of them does not;
# * that PEPITA writes the label into the image, and that its layers can be read like those of Forward-Forward;
# * where the analogy ends.
#
# You need tutorials [2](02_forward_forward.ipynb) and [4](04_pepita.ipynb). All of it runs offline, in about half a minute.

# %%
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch

import ffnp
from ffnp import plots
from ffnp.backend import load_backend, threads
from ffnp.net import Dense, Net
from ffnp.optim import Optimiser, Optimisers
from ffnp.relation import Ungated, report, terms
from ffnp.rules import PEPITA
from ffnp.rules.contrast import Contrast

data = ffnp.load("fashion-mini")
watched = np.arange(len(data.x_train)) % 6 == 5
x_learn, y_learn, x_watch, y_watch = (a[rows] for rows in (~watched, watched) for a in (data.x_train, data.y_train))
print(f"{len(x_learn)} images to learn from, {len(x_watch)} to watch, {x_watch.shape[1]} pixels each")

# %% [markdown]
# ## Side by side
#
# Two images go up the same layers. What the layer below and the layer itself make of the first is $h_{l-1}, h_l$, of the second
# $g_{l-1}, g_l$. With the error $e = P - Y$ of the net and a fixed random matrix $F$ (here with the minus sign of tutorial 4)
#
# | | first image | second image |
# | --- | --- | --- |
# | PEPITA | $h_0 = x$, clean | $g_0 = x - e F^\top$, modulated |
# | Forward-Forward | negative: $x$ with a wrong label | positive: $x$ with the right label |
#
# Hebbian PEPITA (Srinivasan et al. 2024, arXiv:2302.05440) learns the second and unlearns the first:
#
# $$dW_l = \frac1B \left( h_{l-1}^\top h_l - g_{l-1}^\top g_l \right)$$
#
# A layer of Forward-Forward (Hinton 2022, arXiv:2212.13345) has a loss of its own. It wants the goodness $G = \sum_j h_j^2$ of
# a positive above a threshold $\theta$ and that of a negative below:
#
# $$\mathcal{L}_l = \mathrm{softplus}(G_h - \theta_h) + \mathrm{softplus}(\theta_g - G_g)$$
#
# where $\mathrm{softplus}(u) = \log(1 + e^u)$. Its slope is the logistic $\sigma(u)$, so the belief $p = \sigma(G - \theta)$
# comes in, and with the 2 of $d(h^2)$ dropped
#
# $$dW_l = \frac1B \left( h_{l-1}^\top (p_h \odot h_l) - g_{l-1}^\top ((1 - p_g) \odot g_l) \right)$$
#
# One number per image is all that differs. Call $p_h$ and $1 - p_g$ **gates**: they close where the layer is right already.


# %%
def two_phases(below, h, g_below, g, gate_h=1.0, gate_g=1.0):
    """dW (I, O): learn away from what came first, towards what came second; gates are numbers or columns (B, 1)."""
    return (below.T @ (gate_h * h) - g_below.T @ (gate_g * g)) / len(h)


def up(Ws, x):
    """h_0 .. h_{L-1} and P."""
    h = [x]
    for W in Ws[:-1]:
        h.append(np.maximum(h[-1] @ W, 0))
    z = h[-1] @ Ws[-1]
    P = np.exp(z - z.max(axis=1, keepdims=True))
    return h, P / P.sum(axis=1, keepdims=True)


k = load_backend("numpy")
rule = PEPITA(update="hebbian", spread=0.1)
net = rule.init(np.random.default_rng(0), (784, 64, 64, 10), "he_uniform", None, "float64")
Ws, F = [W for W, _ in net.layers], net.feedback[0].W
x, y = x_watch[:300].astype(np.float64), y_watch[:300]
h, P = up(Ws, x)
modulated = x - (P - np.eye(10)[y]) @ F.T
g, _ = up(Ws, modulated)

# %% [markdown]
# **When are they equal?** If the gates are 1: a threshold below every negative makes $p_h = 1$, one above every positive makes
# $1 - p_g = 1$. Then softplus is a straight line, and the loss simply $G_h - G_g$. So hidden layers of Hebbian PEPITA do have
# an objective for a given pair, each its own. (PEPITA proper has none: tutorial 4, and exercise 2.) `Ungated` in
# `ffnp/relation.py` is the project's Forward-Forward with such thresholds. We give it the modulated images as positives and the
# clean ones as negatives.

# %%
plain = {"norm": "none", "norm_input": False}  # activities go up as they are, as in PEPITA
hidden = Net(net.layers[:2], 10)
(of_pepita,) = rule.signals(k, net, x, y, np.random.default_rng(0))


def updates(choice):
    """dW of both hidden layers by a choice of Forward-Forward."""
    signals = choice.contrast(k, hidden, modulated, x, range(2))
    return [sum(pre.T @ post for pre, post in signals.layers[l]) / len(x) for l in range(2)]


for l, by_ff in enumerate(updates(Ungated(**plain))):
    ours = two_phases(h[l], h[l + 1], g[l], g[l + 1])
    by_pepita = sum(pre.T @ post for pre, post in of_pepita.layers[l]) / len(x)
    off = np.abs(by_pepita - ours).max(), np.abs(by_ff - ours).max()
    print(f"layer {l + 1}: Hebbian PEPITA to these lines {off[0]:.1e}, Forward-Forward with open gates {off[1]:.1e}")
    assert max(off) < 1e-12

# %% [markdown]
# ## What the gates do
#
# With Forward-Forward's usual threshold, the number of units, gates are not 1. `Contrast` has them, and so have our lines:

# %%
for l, by_ff in enumerate(updates(Contrast(**plain))):
    p_h, p_g = (1 / (1 + np.exp(a.shape[1] - (a**2).sum(axis=1, keepdims=True))) for a in (h[l + 1], g[l + 1]))  # (B, 1)
    off = np.abs(by_ff - two_phases(h[l], h[l + 1], g[l], g[l + 1], p_h, 1 - p_g)).max()
    print(f"layer {l + 1}: Forward-Forward with a fixed threshold to these lines {off:.1e}")
    assert off < 1e-12
print(report(terms(k, net, x, y, rule)))

# %% [markdown]
# The table is the project's comparison of the two rules on a batch: the lengths of both phases without gates (`clean`,
# `modulated`) and with them, the mean gates, the cosine between the two updates, and the length of the *remainder*
# $-(h_{l-1} - g_{l-1})^\top h_l / B$ by which PEPITA proper differs from the Hebbian form, also relative to that.
#
# The first two columns are nearly equal: the modulated image is nearly the clean one, and what Hebbian PEPITA learns is the
# small difference of two large terms. The two gates are far apart, so Forward-Forward learns one of the terms and not their
# difference. Is this so only before learning? The loop below is all there is to training: the rule's signals, and an
# optimiser's step.


# %%
def train(rule, rate, seed, epochs=10):
    """The net after each epoch; the rate falls in a straight line."""
    k, rng, optimisers = load_backend("cpu"), np.random.default_rng(seed), Optimisers(Optimiser("momentum", rate=rate))
    net = rule.init(rng, (784, 64, 64, 10), "he_uniform", None, "float32")
    state = optimisers.init(k, net)
    for epoch in range(epochs):
        for rows in np.array_split(rng.permutation(len(x_learn)), len(x_learn) // 50):
            for signals in rule.signals(k, net, x_learn[rows], y_learn[rows], rng):
                net, _ = optimisers.apply(k, net, signals, state, 1 - epoch / epochs)
        yield net


def in_float64(net):
    layers, feedback = (tuple(Dense(W.astype(np.float64), None) for W, _ in part) for part in (net.layers, net.feedback))
    return Net(layers, net.classes, feedback=feedback)


told = []
with threads(1, "cpu"):
    for learned in train(rule, rate=0.03, seed=0):
        trained = in_float64(learned)
        told.append(terms(k, trained, x, y, rule))
told = {name: np.array([[getattr(layer, name) for layer in layers] for layers in told]) for name in told[0][0]._fields}
told["hebbian"] = told["remainder"] / told["relative"]  # lengths, (epochs, layers)

figure, panels = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for panel, title, curves in zip(panels, ("length", "mean gate", "cosine of Hebbian and gated update"), (
    {"one phase": "clean", "Hebbian update": "hebbian", "remainder": "remainder"},
    {"p of the clean": "negative_gate", "1 - p of the modulated": "positive_gate"}, {"cosine": "cosine"},
), strict=True):
    for i, (label, name) in enumerate(curves.items()):
        for l, dashes in enumerate(("-", "--")):
            panel.plot(range(1, 11), told[name][:, l], dashes, color=plots.COLOURS[i], label=f"{label}, layer {l + 1}")
    panel.set_title(title, fontsize=11)
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    plots.whole_epochs(panel)
    plots.plain(panel)
panels[0].set(yscale="log", ylabel="Frobenius norm")
panels[1].set(ylim=(0, 1))
panels[2].set(ylim=(-1, 1))
figure.suptitle("Hebbian PEPITA as it learns, and what Forward-Forward would say of the same pairs")
plt.show()
assert (told["hebbian"] < 0.01 * told["clean"]).all() and np.abs(told["cosine"]).mean() < 0.4

# %% [markdown]
# It stays so. The difference of the phases (left, orange) is a hundred times and more below each of them. The
# layer cannot tell the images of a pair apart, so it believes nearly the same of both, $p_g \approx p_h$, and one gate opens as
# far as the other closes (middle). What is left is then about $(2p - 1)\, h_{l-1}^\top h_l$: goodness is driven to the
# threshold, and the direction has little to do with PEPITA's (right).
#
# **Gates that fit.** A pair needs one gate for both its images. SymBa (Lee & Song 2023, arXiv:2303.08418) has that: its loss
# $\mathrm{softplus}(G_h - G_g)$ makes the goodness of one the threshold of the other, and both gates $\sigma(G_h - G_g)$.

# %%
choices = {"fixed threshold": Contrast(**plain), "SymBa": Contrast(loss="symba", **plain), "open gates": Ungated(**plain)}
for name, choice in choices.items():
    cosines, lengths = [], []
    for l, by_ff in enumerate(updates(choice)):
        ours = two_phases(h[l], h[l + 1], g[l], g[l + 1])
        lengths.append(np.linalg.norm(by_ff) / np.linalg.norm(ours))
        cosines.append(np.vdot(by_ff, ours) / np.linalg.norm(by_ff) / np.linalg.norm(ours))
    print(f"{name:15} cosine to Hebbian PEPITA {cosines[0]:6.3f} {cosines[1]:6.3f}, length {lengths[0]:7.2f} {lengths[1]:7.2f}")
    assert max(np.abs(cosines)) < 0.5 if name == "fixed threshold" else min(cosines) > 0.98

# %% [markdown]
# SymBa's update is half as long, as its gates are near one half, and points the same way.
#
# ## The label in the image
#
# Forward-Forward writes labels into its images. Where is the label in PEPITA? Write out the error, and add $P F^\top$ to both
# images of the pair:
#
# $$\bigl(x - (P - Y) F^\top,\;\; x\bigr) \qquad\longrightarrow\qquad \bigl(x + Y F^\top,\;\; x + P F^\top\bigr)$$
#
# $Y F^\top$ is the column of $F$ that belongs to the true class: **the right label, written over the whole image in the pattern
# of its class**. $P F^\top$ is the label that the net itself believes in, a mixture of all: Hinton's hard negative, but
# averaged where his is drawn, and with the true class left in. That is a pair of Forward-Forward. As layers are not linear, it
# does not give the same numbers, but if the analogy is worth anything, a net learns from it as it does from the first. So here
# are rules whose hidden layers learn from a pair by a choice of Forward-Forward, and whose output layer learns as in Hebbian
# PEPITA. Some choices have longer updates than others, so the steps of the hidden layers have a factor of their own, `gain`.
# The steps of the output are the same for all: else nobody could tell which of the two makes a difference.


# %%
@dataclass(frozen=True)
class InPairs(PEPITA):
    update: str = "hebbian"
    spread: float = 0.1
    choice: Contrast = choices["open gates"]
    gain: float = 1.0

    def pair(self, k, net, x, e, Y, P):
        """The positive and the negative image."""
        return self.modulated(k, net, x, e), x

    def pairs(self, k, net, first, e, y, keys):
        """What each layer received and is sent, as a rule says it after the first pass."""
        found, P = super().pairs(k, net, first, e, y, keys), k.softmax(first.logits)
        images = self.pair(k, net, first.received[0], e, k.one_hot(y, net.classes, 1.0, P), P)
        signals = self.choice.contrast(k, Net(net.layers[:-1], net.classes), *images, range(len(net.layers) - 1))
        for l, sent in signals.layers.items():  # the hidden layers; the output keeps what it had
            found[l] = [pair._replace(post=k.scale(pair.post, self.gain)) for pair in sent]
        return found


class Written(InPairs):
    def pair(self, k, net, x, e, Y, P):
        return self.modulated(k, net, x, k.scale(Y, -1.0)), self.modulated(k, net, x, k.scale(P, -1.0))


def errors(rule):
    """Validation errors of three seeds, in percent."""
    return [100 * np.mean(rule.softmax(k, list(train(rule, 0.03, seed))[-1], x_watch).argmax(axis=1) != y_watch)
            for seed in range(3)]


contest = {
    "output alone (F = 0)": PEPITA(spread=0.0),
    "PEPITA proper": PEPITA(spread=0.1),
    "Hebbian PEPITA": rule,
    "FF, open gates": InPairs(),
    "FF, open gates, labels written": Written(),
    "FF, SymBa, gain 2": InPairs(choice=choices["SymBa"], gain=2.0),
    "FF, fixed threshold, gain 0.1": InPairs(choice=choices["fixed threshold"], gain=0.1),
    "  of an image and itself (F = 0)": InPairs(choice=choices["fixed threshold"], gain=0.1, spread=0.0),
    "FF, fixed threshold, gain 0.03": InPairs(choice=choices["fixed threshold"], gain=0.03),
    "  of an image and itself, again": InPairs(choice=choices["fixed threshold"], gain=0.03, spread=0.0),
}
with threads(1, "cpu"):
    results = {name: errors(contestant) for name, contestant in contest.items()}
for name, found in results.items():
    print(f"{name:34}{np.mean(found):5.1f}% wrong, from {min(found):.1f} to {max(found):.1f}%")
alone, _, hebbian, opened, written, symba, *fixed = (np.mean(found) for found in results.values())
assert max(abs(opened - hebbian), abs(written - hebbian), abs(symba - hebbian)) < 2
assert hebbian + 2 < min(fixed) < max(fixed) < alone - 2 and max(abs(fixed[0] - fixed[1]), abs(fixed[2] - fixed[3])) < 2

# %% [markdown]
# The four lines from Hebbian PEPITA on are one rule in four guises, and PEPITA proper is not far. With a fixed threshold the
# hidden layers learn something, but not from the pairs: an image that is its own partner, with no error in it, teaches them as
# much. A fixed threshold needs pairs that differ by more than a whisper.
#
# ## Reading PEPITA by its goodness
#
# Now the test that nobody built into PEPITA. A net of Forward-Forward tells a class by trying all labels: the one with the most
# goodness wins. So write each label's column of $F$ into images that were never learned from, and ask the hidden layers of the
# net that Hebbian PEPITA trained. The output layer is not used.


# %%
def goodness(net, x):
    """Of each label written into each image, summed over the hidden layers, (B, C)."""
    Ws, F = [W for W, _ in net.layers], net.feedback[0].W
    return np.stack([sum((h**2).sum(axis=1) for h in up(Ws, x + F[:, c])[0][1:]) for c in range(net.classes)], axis=1)


figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
wrong = {}
for panel, (when, one) in zip(panels, {"before": net, "after": trained}.items(), strict=True):
    table = goodness(one, x_watch)
    wrong[when] = np.mean(table.argmax(axis=1) != y_watch)
    above = table - table.mean(axis=1, keepdims=True)
    drawn = panel.imshow([above[y_watch == c].mean(axis=0) for c in range(10)], cmap="PuOr_r", vmin=-2, vmax=2)
    panel.set(title=f"{when} learning", xlabel="label written into the image", xticks=range(10), yticks=range(10))
    panel.set_xticklabels(data.classes, rotation=60, ha="right", fontsize=8)
    panel.set_yticklabels(data.classes, fontsize=8)
panels[0].set_ylabel("true class")
figure.colorbar(drawn, ax=panels, label="goodness above the mean of ten labels")
figure.suptitle("What the hidden layers of Hebbian PEPITA find good")
plt.show()
by_softmax = np.mean(up([W for W, _ in trained.layers], x_watch)[1].argmax(axis=1) != y_watch)
print(f"wrong by goodness: before learning {wrong['before']:.0%}, after {wrong['after']:.0%}; by softmax {by_softmax:.0%}")
assert wrong["before"] > 0.8 and wrong["after"] < 0.5 and by_softmax < wrong["after"]

# %% [markdown]
# Before, the same label is the best for every class of images. It stays somewhat favoured, but after learning the label with
# the most goodness is the right one more often than not, and next come those of similar clothes. It is a poor way to tell a
# class all the same: labels are as faint as $F$, and the softmax is better.
#
# ## Where the analogy ends
#
# * **The output layer.** In Hebbian PEPITA it unlearns its own answer $P$ and learns the target $Y$. Forward-Forward has no
#   such layer; without it, PEPITA has no error, and so no pairs:

# %%
for (pre, post), (received, sent) in zip(of_pepita.layers[2], ((h[2], P), (g[2], -np.eye(10)[y])), strict=True):
    print(f"output layer: pre {pre.shape}, post {post.shape}, to {'P' if sent is P else '-Y'}: {np.abs(post - sent).max():.1e}")
    assert np.allclose(pre, received, rtol=0, atol=1e-12) and np.allclose(post, sent, rtol=0, atol=1e-12)

# %% [markdown]
# * **The remainder.** PEPITA proper differs from the Hebbian form by a term more than half as long as that form itself (the
#   first picture, green and orange).
# * **Normalising.** Forward-Forward does it between layers, so that none can copy the goodness of the one below (tutorial 2).
#   PEPITA does not, and what is shown here holds for nets without.
# * **Who makes the pairs.** The pairs of Forward-Forward are data, or drawn by the net. PEPITA's are one image twice where the
#   net is sure and right.
#
# ## Verify it yourself against torch
#
# Here are three losses of a layer for autograd, on the same pairs. `detach` keeps each loss in its layer. Half their gradients
# should be the project's signals, and that of the straight line should be Hebbian PEPITA.

# %%
softplus = torch.nn.functional.softplus
LOSSES = {  # of goodness (B,) of the clean and of the modulated images, in a layer of so many units
    "fixed threshold": lambda G_h, G_g, units: softplus(G_h - units) + softplus(units - G_g),
    "SymBa": lambda G_h, G_g, units: softplus(G_h - G_g),
    "open gates": lambda G_h, G_g, units: G_h - G_g,
}
for name, loss in LOSSES.items():
    below, below_g, off = torch.tensor(x), torch.tensor(modulated), []
    for W, ours in zip(Ws, updates(choices[name]), strict=False):
        weight = torch.tensor(W, requires_grad=True)
        h_t, g_t = torch.relu(below @ weight), torch.relu(below_g @ weight)
        loss(h_t.square().sum(dim=1), g_t.square().sum(dim=1), W.shape[1]).mean().backward()
        off.append(np.abs(weight.grad.numpy() / 2 - ours).max())
        below, below_g = h_t.detach(), g_t.detach()
    print(f"{name:15} autograd's gradient / 2 to ours, by layer: {', '.join(f'{one:.1e}' for one in off)}")
    assert max(off) < 1e-12

# %% [markdown]
# And Hebbian PEPITA by hand, from the image to the update, against Forward-Forward:

# %%
tensors = [torch.tensor(W) for W in Ws]
first = [torch.tensor(x)]
for W in tensors[:-1]:
    first.append((first[-1] @ W).relu())
e = (first[-1] @ tensors[-1]).softmax(dim=1) - torch.nn.functional.one_hot(torch.tensor(y), 10)
second = [first[0] - torch.einsum("bc,ic->bi", e, torch.tensor(F))]
for W in tensors[:-1]:
    second.append((second[-1] @ W).relu())
by_hand = [first[l].T @ first[l + 1] - second[l].T @ second[l + 1] for l in range(2)]
off = [np.abs(dW.numpy() / len(x) - ours).max() for dW, ours in zip(by_hand, updates(choices["open gates"]), strict=True)]
print(f"Hebbian PEPITA in torch to Forward-Forward with open gates: {', '.join(f'{one:.1e}' for one in off)}")
assert max(off) < 1e-12

# %% [markdown]
# ## Exercises
#
# **1. Half open.** There is another way to get gates that fit: a logistic so flat that it says one half to everything. `alpha`
# of `Contrast` multiplies the margin $G - \theta$. How small must it be?
#
# <details><summary>Solution</summary>
#
# What the gates get wrong, about $\alpha |G - \theta|$, must be far below the relative difference of the two phases.
#
# ```python
# cosines = []
# for alpha in (1.0, 1e-2, 1e-4, 1e-6):
#     pairs = zip(updates(Contrast(alpha=alpha, **plain)), updates(Ungated(**plain)), strict=True)
#     cosines.append([np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
#     print(f"alpha {alpha:g}: cosine by layer {cosines[-1][0]:.3f}, {cosines[-1][1]:.3f}")
# assert max(cosines[0]) < 0.5 and min(cosines[-1]) > 0.99
# ```
#
# </details>
#
# **2. The objective.** Wiggle a weight of the second layer and see that half of $G_h - G_g$ changes as `two_phases` says, with
# $h_1$ and $g_1$ held as they are. Then show that there is no such objective for PEPITA proper's $g_1^\top (h_2 - g_2)$: look
# at one unit, and how its changes depend on its weights.
#
# <details><summary>Solution</summary>
#
# With $D_h$ and $D_g$ for the images in which the unit is active, the Hebbian changes have the Jacobian
# $h_1^\top D_h h_1 - g_1^\top D_g g_1$, which is symmetric, as that of a gradient is. The others have
# $g_1^\top D_h h_1 - g_1^\top D_g g_1$, which is not.
#
# ```python
# def half_gap(W):
#     return (np.maximum(h[1] @ W, 0) ** 2 - np.maximum(g[1] @ W, 0) ** 2).sum() / len(x) / 2
#
# step = np.zeros_like(Ws[1])
# step[5, 7] = 1e-5
# slope = (half_gap(Ws[1] + step) - half_gap(Ws[1] - step)) / 2e-5
# dW = two_phases(h[1], h[2], g[1], g[2])
# print(f"{slope:.2e} by wiggling, {dW[5, 7]:.2e} by two_phases")
# assert abs(slope - dW[5, 7]) < 1e-7
#
# unit = h[2].sum(axis=0).argmax()
# for below, name in ((h[1], "Hebbian"), (g[1], "PEPITA proper")):
#     J = (below * (h[2][:, [unit]] > 0)).T @ h[1] - (g[1] * (g[2][:, [unit]] > 0)).T @ g[1]
#     asymmetry = np.linalg.norm(J - J.T) / np.linalg.norm(J)
#     print(f"|J - J^T| / |J|, {name}: {asymmetry:.1e}")
#     assert asymmetry < 1e-9 if below is h[1] else asymmetry > 0.1
# ```
#
# </details>
#
# **3. PEPITA proper.** It has no objective with goodness in it. Do its layers favour the right label, too?
#
# <details><summary>Solution</summary>
#
# They do, but less than those of the Hebbian form.
#
# ```python
# with threads(1, "cpu"):
#     proper = in_float64(list(train(PEPITA(spread=0.1), rate=0.03, seed=0))[-1])
# found = np.mean(goodness(proper, x_watch).argmax(axis=1) != y_watch)
# print(f"wrong by goodness: {found:.0%}")
# assert wrong["after"] < found < wrong["before"] - 0.1
# ```
#
# </details>
#
# Next: [weight mirroring](07_weight_mirroring.ipynb), which gives PEPITA an $F$ that follows the weights.
