# %% [markdown]
# # 4 · PEPITA: the error as a perturbation of the input
#
# **Question.** Backprop carries the error down through every layer. Could one hand the error to the *input* instead, and let
# it come up the way images do?
#
# **At the end you will know**
# * PEPITA, a rule of two forward passes, in ten lines of NumPy, and why its two papers have different signs;
# * what a perturbation that no eye can see does to a hidden layer, and when the net is better off with it;
# * why the weights turn towards a random matrix, and the updates with them towards backprop's;
# * where it fails: a perturbation too small, one too large, and more layers.
#
# You need [tutorial 1](01_backprop.ipynb). All of it runs offline, in about half a minute.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import ffnp
from ffnp import plots
from ffnp.backend import load_backend
from ffnp.diagnostics import angle
from ffnp.net import Dense, Net
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import PEPITA, AdaptiveFeedback, Backprop
from ffnp.training import DivergedError

data = ffnp.load("fashion-mini")
watched = np.arange(len(data.x_train)) % 6 == 5
x_watch, y_watch = data.x_train[watched].astype(np.float64), data.y_train[watched]
print(f"{np.sum(~watched)} images to learn from, {len(x_watch)} to watch, {x_watch.shape[1]} pixels each")

# %% [markdown]
# ## Two passes, both forward
#
# The first pass tells what is wrong, $e = P - Y$. A fixed random matrix $F$, with as many rows as there are pixels and a column
# for each class, turns these few numbers into an image, and that is added to the input. The second pass goes up from there
# (a batch $x$ has an image in each row, so $F e$ of every image is $e F^\top$; $s$ is a sign, and the net has no biases):
#
# $$h_0 = x, \qquad h_l = \max(h_{l-1} W_l, 0), \qquad P = \mathrm{softmax}(h_{L-1} W_L), \qquad e = P - Y$$
# $$g_0 = x + s\, e F^\top, \qquad g_l = \max(g_{l-1} W_l, 0)$$
#
# A hidden layer is sent the difference that the perturbation made, the output the error itself:
#
# $$dW_l = \frac1B\, g_{l-1}^\top (h_l - g_l), \qquad dW_L = \frac1B\, g_{L-1}^\top e$$
#
# This is PEPITA (Dellaferrera & Kreiman 2022, arXiv:2201.11665). Nothing comes back through any $W$.


# %%
def up(Ws, x):
    """One pass: h_0 .. h_{L-1}, and the probabilities P (B, C)."""
    h = [x]
    for W in Ws[:-1]:
        h.append(np.maximum(h[-1] @ W, 0))  # (B, O)
    z = h[-1] @ Ws[-1]
    P = np.exp(z - z.max(axis=1, keepdims=True))
    return h, P / P.sum(axis=1, keepdims=True)


def two_passes(Ws, F, x, y, s):
    """h_0 .. h_{L-1}, g_0 .. g_{L-1} and e (B, C)."""
    h, P = up(Ws, x)
    e = P - np.eye(P.shape[1])[y]
    g, _ = up(Ws, x + s * e @ F.T)
    return h, g, e


def pepita(Ws, F, x, y, s):
    """The change dW of each layer."""
    h, g, e = two_passes(Ws, F, x, y, s)
    post = [*(a - b for a, b in zip(h[1:], g[1:], strict=True)), e]
    return [below.T @ sent / len(x) for below, sent in zip(g, post, strict=True)]


# %% [markdown]
# The project's rule is `ffnp/rules/pepita.py`. It draws a net with its $F$, and answers a batch with the pairs `pre` and `post`
# of tutorial 1.

# %%
k = load_backend("numpy")
rule = PEPITA(sign=-1, spread=0.2)  # the entries of F have deviation spread * sqrt(2 / pixels)
net = rule.init(np.random.default_rng(0), (784, 64, 10), "he_uniform", None, "float64")
Ws, F = [W for W, _ in net.layers], net.feedback[0].W
x, y = x_watch[:50], y_watch[:50]
(signals,) = rule.signals(k, net, x, y, np.random.default_rng(0))
for l, dW in enumerate(pepita(Ws, F, x, y, s=-1)):
    ((pre, post),) = signals.layers[l]
    off = np.abs(pre.T @ post / len(x) - dW).max()
    print(f"layer {l + 1}: pre {pre.shape}, post {post.shape}, difference {off:.1e} of up to {np.abs(dW).max():.1e}")
    assert off < 1e-13

# %% [markdown]
# **The signs.** The paper of 2022 adds, $s = 1$; that of 2024 (Srinivasan et al., arXiv:2302.05440) subtracts, $s = -1$. As $F$
# is drawn at random, $F$ as likely as $-F$, the rule is the same; only what the weights will turn to, further down, changes
# sign. They differ at the output as well: in 2022 it is sent the error of the second pass.

# %%
subtracted, added = pepita(Ws, F, x, y, s=-1), pepita(Ws, -F, x, y, s=1)
print(f"s = -1 with F and s = +1 with -F: the same bits: {all(map(np.array_equal, subtracted, added))}")
assert all(map(np.array_equal, subtracted, added))

# %% [markdown]
# ### See it: one image
#
# $F e$ looks like noise, and is: ten random images, weighted by ten numbers. It is so weak that the image stays the same to the
# eye. But it reaches every unit that is active.

# %%
h, g, e = two_passes(Ws, F, x[:1], y[:1], s=-1)
figure, panels = plt.subplots(1, 4, figsize=(10, 3), layout="constrained")
shades, gray = {"cmap": "PuOr_r"}, {"cmap": "gray", "vmin": 0, "vmax": 1}
for panel, (title, values, style) in zip(panels, [
    ("image x", x[0].reshape(28, 28), gray), ("-F e", (g[0] - x[0]).reshape(28, 28), shades),
    ("x - F e", g[0].reshape(28, 28), gray), ("h - g of 64 units", (h[1] - g[1]).reshape(8, 8), shades),
], strict=True):
    limits = {"vmax": (most := np.abs(values).max()), "vmin": -most} if style is shades else {}
    drawn = panel.imshow(values, **style, **limits)
    panel.set(xticks=[], yticks=[], title=title)
    figure.colorbar(drawn, ax=panel, orientation="horizontal", label="activity" if "units" in title else "brightness")
figure.suptitle(f"An image of a {data.classes[y[0]]} and its error, in a net that has learned nothing yet")
plt.show()
print(f"|F e| is {np.linalg.norm(e @ F.T) / np.linalg.norm(x[0]):.1%} of |x|; "
      f"{np.sum(h[1] != g[1])} of the {np.sum(h[1] + g[1] > 0)} active units change")

# %% [markdown]
# ## Learn
#
# A step down $dW_l$ moves a hidden layer's answer to an image from $h_l$ towards $g_l$: **the layer learns to answer the image
# as it answered the perturbed one**. That is wise if the second answer is the better one. In a fresh net there is no reason for
# it, so let us train one and ask again. `diagnose` keeps angles to backprop on the way.

# %%
W = Ws[0] - 1e-3 * pepita(Ws, F, x[:1], y[:1], s=-1)[0]
moved = angle(np.maximum(x[:1] @ W, 0) - h[1], g[1] - h[1])
print(f"a step changes the answer to the image in a direction that is {moved:.1f}° from that of g - h")
assert moved < 10

recipe = replace(
    ffnp.PRESETS["pepita-small"], name="PEPITA", hidden=(64,), rule=rule, epochs=20,
    optimisers=Optimisers(Optimiser("momentum", rate=0.03)))
run = ffnp.train(recipe, data, seed=0, threads=1, diagnose=True)
trained, F_run = [W.astype(np.float64) for W, _ in run.net.layers], run.net.feedback[0].W.astype(np.float64)


def second_is_better(Ws, F, s=-1):
    """The share of watched images whose true class is likelier in the second pass."""
    _, P = up(Ws, x_watch)
    _, Q = up(Ws, x_watch + s * (P - np.eye(10)[y_watch]) @ F.T)
    return np.mean((Q > P)[np.arange(len(P)), y_watch])


shares = second_is_better(Ws, F), second_is_better(trained, F_run)
print(f"validation error {run.history['epochs'][-1]['val_error']:.1%}; the second pass is better for "
      f"{shares[0]:.0%} of the images before learning, {shares[1]:.0%} after")
assert shares[0] < 0.8 and shares[1] > 0.95

# %% [markdown]
# Something has turned noise into a correction. (It does not tell the class of a new image: $e$ needs the label.)
#
# ## Why it works
#
# Follow a small perturbation up one layer. While no unit crosses zero, ReLU is linear, and with $s = -1$
#
# $$h_1 - g_1 = (e\, F^\top W_1) \odot [h_1 > 0] \quad\text{where backprop has}\quad \delta_1 = (e\, W_2^\top) \odot [h_1 > 0]$$
#
# So PEPITA is feedback alignment (tutorial 5) whose way back, $F^\top W_1$ in the place of $W_2^\top$, changes as $W_1$ learns.
# The 2024 paper calls this adaptive feedback alignment.

# %%
h, g, e = two_passes(Ws, F, x, y, s=-1)
same = (h[1] > 0) == (g[1] > 0)
off = np.abs(h[1] - g[1] - (e @ F.T @ Ws[0]) * (h[1] > 0))
print(f"units that cross zero: {1 - same.mean():.2%}; of the others, greatest difference {off[same].max():.1e}")
assert off[same].max() < 1e-13 and same.mean() > 0.95

# %% [markdown]
# Backprop's signal and PEPITA's point the same way if $F^\top W_1$ is like $W_2^\top$. Nobody arranges that, but learning does:
#
# 1. $W_1$ moves by minus its share of $x^\top (e F^\top W_1)$. From then on, the hidden activity $h_1$ has a share of
#    $-e F^\top W_1$: errors are written along $F^\top W_1$.
# 2. $W_2$ moves by $-h_1^\top e$. Minus times minus is plus, so it turns towards $(F^\top W_1)^\top$: it reads the errors where
#    they are written.
#
# With $s = +1$ the first step has the opposite sign, and $W_2$ turns towards $-(F^\top W_1)^\top$. As a consequence the product
# $W_1 W_2$ turns towards $W_1 W_1^\top F$, which has a part along $F$; with two random matrices, all these angles are near 90°.


# %%
def cosines(A, B):
    """Between the rows of A (C, O) and those of B (C, O), each less the mean row: what all classes share moves no error."""
    A, B = (M - M.mean(axis=0) for M in (A, B))
    return (A / np.linalg.norm(A, axis=1, keepdims=True)) @ (B / np.linalg.norm(B, axis=1, keepdims=True)).T


angles = {}
figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for panel, (when, (W1, W2), B) in zip(panels, (("before", Ws, F), ("after", trained, F_run)), strict=True):
    angles[when] = angle(B.T @ W1, W2.T), angle(B, W1 @ W2)
    drawn = panel.imshow(cosines(B.T @ W1, W2.T), cmap="PuOr_r", vmin=-1, vmax=1)
    panel.set(title=f"{when} learning", xlabel="column of $W_2$", xticks=range(10), yticks=range(10))
    panel.set_xticklabels(data.classes, rotation=60, ha="right", fontsize=8)
    panel.set_yticklabels(data.classes, fontsize=8)
panels[0].set_ylabel("row of $F^\\top W_1$")
figure.colorbar(drawn, ax=panels, label="cosine")
figure.suptitle("Where $W_2$ reads a class, and where $F$ and $W_1$ write its error: the same place in the end")
plt.show()
for when, found in angles.items():
    print(f"{when} learning: W_2 to (F^T W_1)^T {found[0]:.0f}°, W_1 W_2 to F {found[1]:.0f}°")
assert min(angles["before"]) > 80 and angles["after"][0] < 65 and angles["after"][1] < 80

# %% [markdown]
# So the updates turn towards backprop's (left; at the output, layer 2, only $g$ in the place of $h$ makes a difference), while
# $W_1 W_2$ turns towards $F$ (right). They do not get all the way, the way is not smooth, and the hidden layer's updates stay
# much shorter than backprop's (middle).

# %%
assert plots.series(run.history, "angle")[-5:, 0].mean() < 60
plots.alignment_curves(run.history, "PEPITA, one hidden layer of 64 units, fashion-mini")

# %% [markdown]
# ## What goes wrong
#
# First, a question for every rule of this kind: does the hidden layer learn anything, or does the output learn on random
# features? With $F = 0$ it is the latter. Second: how large should $F$ be, and what do more layers do? Three seeds each,
# 64 units in every hidden layer, ten epochs, one step size for all, error on validation images. Training stops where a weight
# is not finite any more; such a run counts as a guess, 90% wrong.


# %%
def errors(rule, depth):
    """The validation errors of three seeds, in percent."""
    found = []
    for seed in range(3):
        try:
            short = replace(recipe, rule=rule, epochs=10, hidden=depth * (64,))
            found.append(ffnp.train(short, data, seed=seed, threads=1).history["epochs"][-1]["val_error"])
        except DivergedError:
            found.append(0.9)
    return 100 * np.array(found)


spreads = (0, 0.05, 0.1, 0.2, 0.4)
swept = {depth: np.array([errors(PEPITA(spread=spread), depth) for spread in spreads]) for depth in (1, 3)}
backprop = {depth: errors(Backprop(), depth) for depth in (1, 3)}
figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (depth, table) in enumerate(swept.items()):
    for spread, row in zip(spreads, table, strict=True):
        print(f"{depth} hidden, F of spread {spread:<4}: error {row.mean():.1f}%, from {row.min():.1f} to {row.max():.1f}%")
    print(f"{depth} hidden, backprop: error {backprop[depth].mean():.1f}%")
    style = plots.line(i)
    panel.plot(table.mean(axis=1), marker="o", label=f"PEPITA, hidden layers: {depth}", **style)
    panel.fill_between(range(len(spreads)), table.min(axis=1), table.max(axis=1), color=style["color"], alpha=0.2, linewidth=0)
    panel.axhline(backprop[depth].mean(), label=f"backprop, hidden layers: {depth}", **{**style, "linewidth": 0.8})
panel.set_xticks(range(len(spreads)), spreads)
panel.set(xlabel="spread of F (0: hidden layers stay random)", ylabel="validation error (%)", ylim=(0, 95))
panel.set_title("Too little teaches nothing, too much ends all learning; band: three seeds", fontsize=11)
panel.legend(frameon=False)
plots.plain(panel)
plt.show()
one, three = (table.mean(axis=1) for table in swept.values())
assert one[3] < one[2] < one[1] < one[0] and one[4] > one[3] + 5 and three[2] < three[0] - 5 and three[4] > 50
assert min(one.min(), three.min()) > max(errors.mean() for errors in backprop.values()) + 1

# %% [markdown]
# The hidden layers do learn: without $F$ the error is much higher, the more so with three. But PEPITA gains nothing from more
# of them, what is best for one is at the edge of what three can bear, and backprop is better in every case (on images as
# few as these it gains little from depth either).
#
# ## The Hebbian form
#
# Does the update need the difference of two passes? Or can each pass be learned from as it comes, the first one away from, the
# second one towards? For a hidden layer the two ways differ by a remainder:
#
# $$h_{l-1}^\top h_l - g_{l-1}^\top g_l \;=\; g_{l-1}^\top (h_l - g_l) \;+\; (h_{l-1} - g_{l-1})^\top h_l$$
#
# The left side is PEPITA-Hebbian of the 2024 paper. It is the same rule if the last term is small. After learning, it is not:

# %%
h, g, e = two_passes(trained, F_run, x, y, s=-1)
hebbian, own, rest = h[0].T @ h[1] - g[0].T @ g[1], g[0].T @ (h[1] - g[1]), (h[0] - g[0]).T @ h[1]
learned = Net(tuple(Dense(W, None) for W in trained), 10, feedback=(Dense(F_run, None),))
(signals,) = PEPITA(update="hebbian").signals(k, learned, x, y, np.random.default_rng(0))
off = hebbian - own - rest, hebbian - sum(pre.T @ post for pre, post in signals.layers[0])
print(f"identity: {np.abs(off[0]).max():.1e}; to the project's Hebbian rule: {np.abs(off[1]).max():.1e}")
print(f"length of the remainder / PEPITA's update: {np.linalg.norm(rest) / np.linalg.norm(own):.2f}; "
      f"angle between the two forms: {angle(hebbian, own):.0f}°")
assert max(np.abs(a).max() for a in off) < 1e-11 and np.linalg.norm(rest) > 0.3 * np.linalg.norm(own)

# %% [markdown]
# What the Hebbian form has to do with Forward-Forward is the subject of [tutorial 6](06_one_principle.ipynb).
#
# ## A cheaper second pass
#
# Two passes need twice the products of one. The first layer's, the largest, need not be done again: only $e$ is new, and
#
# $$(x + s\, e F^\top) W_1 = x W_1 + s\, e\, (F^\top W_1)$$
#
# The first term is there already, and $F^\top W_1$ has only as many rows as there are classes. `PEPITA.product` appends the
# rows of $F^\top$ to the images of the first pass, so that one product yields both.

# %%
plain, short = (x - e @ F_run.T) @ trained[0], x @ trained[0] - e @ (F_run.T @ trained[0])
(B, I), (O, C) = x.shape, trained[1].shape
print(f"greatest difference {np.abs(plain - short).max():.1e} of numbers up to {np.abs(plain).max():.0f}; "
      f"multiply-adds {B * I * O:,} against {C * I * O + B * C * O:,}")
assert np.abs(plain - short).max() < 1e-12

# %% [markdown]
# ## Verify it yourself against torch
#
# Tutorial 1 had autograd differentiate a loss. Is there a loss for PEPITA? A gradient has a symmetric Jacobian: how entry $i$
# changes with weight $j$ is how entry $j$ changes with weight $i$. `torch.func` can differentiate the update itself, here of a
# tiny net.


# %%
def by_hand(Ws, F, x, Y, s):
    """PEPITA in torch, of weights laid out (outputs, inputs) as torch has them: the change of each."""
    def forward(h):
        hs = [h]
        for W in Ws[:-1]:
            hs.append(torch.nn.functional.linear(hs[-1], W).relu())
        return hs, torch.nn.functional.linear(hs[-1], Ws[-1])
    h, logits = forward(x)
    e = logits.softmax(dim=1) - Y
    g, _ = forward(x + s * torch.einsum("ic,bc->bi", F, e))
    return [torch.einsum("bo,bi->oi", h[l + 1] - g[l + 1] if l + 1 < len(Ws) else e, g[l]) / len(x) for l in range(len(Ws))]


def asymmetry(update, weights):
    J = torch.func.jacrev(update)(weights)
    return ((J - J.T).norm() / J.norm()).item()


torch.manual_seed(0)
few, labels = torch.rand(5, 4, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
tiny_F, flat = torch.randn(4, 2, dtype=torch.float64), torch.randn(18, dtype=torch.float64)


def split(flat):
    return flat[:12].view(3, 4), flat[12:].view(2, 3)


def loss(flat):
    return torch.nn.functional.cross_entropy((few @ split(flat)[0].T).relu() @ split(flat)[1].T, labels)


def update(flat):
    return torch.cat([dW.flatten() for dW in by_hand(split(flat), tiny_F, few, torch.eye(2)[labels], -1)])


found = asymmetry(torch.func.grad(loss), flat), asymmetry(update, flat)
print(f"|J - J^T| / |J|: backprop {found[0]:.1e}, PEPITA {found[1]:.2f}")
assert found[0] < 1e-12 < 1e-2 < found[1]

# %% [markdown]
# There is none, so the twin is written by hand, two passes after all. Here it meets the project's rule with two hidden layers
# and both signs.

# %%
for s in (-1, 1):
    deep = replace(rule, sign=s).init(np.random.default_rng(1), (784, 64, 32, 10), "he_uniform", None, "float64")
    (signals,) = replace(rule, sign=s).signals(k, deep, x, y, np.random.default_rng(0))
    weights = [torch.tensor(W.T) for W, _ in deep.layers]
    theirs = by_hand(weights, torch.tensor(deep.feedback[0].W), torch.tensor(x), torch.eye(10)[y], s)
    off = [np.abs(dW.numpy().T - pair.pre.T @ pair.post / len(x)).max()
           for dW, (pair,) in zip(theirs, map(signals.layers.get, range(3)), strict=True)]
    print(f"s = {s:+}: largest difference by layer {', '.join(f'{one:.1e}' for one in off)}")
    assert max(off) < 1e-12

# %% [markdown]
# Autograd can still check the idea. As $F$ shrinks, the difference between two passes becomes a derivative: that of $h_l$ in
# the direction $F e$, which forward-mode autograd (`jvp`) computes without any difference. It should be what the project's
# adaptive feedback alignment sends, and what PEPITA's $h_l - g_l$ tends to.


# %%
def hidden(image):
    first = torch.relu(image @ weights[0].T)
    return first, torch.relu(first @ weights[1].T)


*_, e = two_passes([W for W, _ in deep.layers], deep.feedback[0].W, x, y, s=1)
direction = torch.tensor(e @ deep.feedback[0].W.T)
_, slopes = torch.func.jvp(hidden, (torch.tensor(x),), (direction,))
(afa,) = AdaptiveFeedback().signals(k, deep, x, y, np.random.default_rng(0))
off = [np.abs(afa.layers[l][0].post - slope.numpy()).max() for l, slope in enumerate(slopes)]
print(f"jvp and adaptive feedback alignment: {', '.join(f'{one:.1e}' for one in off)}")
assert max(off) < 1e-12
for scale in (1, 1e-1, 1e-2, 1e-4):
    smaller = deep._replace(feedback=(Dense(scale * deep.feedback[0].W, None),))
    (signals,) = rule.signals(k, smaller, x, y, np.random.default_rng(0))
    gaps = [np.linalg.norm(signals.layers[l][0].post / scale - slope.numpy()) / slope.norm().item()
            for l, slope in enumerate(slopes)]
    print(f"F times {scale:<6}: h - g differs from the derivative by {', '.join(f'{gap:.1e}' for gap in gaps)} of its length")
assert max(gaps) < 1e-2

# %% [markdown]
# ## Exercises
#
# **1. Random features.** The papers' hidden layers have 1024 units. Give the net 400: how much worse is $F = 0$ now?
#
# <details><summary>Solution</summary>
#
# Hardly: so many random features are good already. An accuracy of a wide net says little about whether it learned them.
#
# ```python
# found = {}
# for spread in (0, 0.1):
#     wide = replace(recipe, rule=PEPITA(spread=spread), hidden=(400,), epochs=10)
#     found[spread] = 100 * ffnp.train(wide, data, threads=1).history["epochs"][-1]["val_error"]
# print(f"F = 0 {found[0]:.1f}%, F of spread 0.1 {found[0.1]:.1f}%")
# assert found[0] - found[0.1] < 3 < one[0] - one[2]
# ```
#
# </details>
#
# **2. The right $F$.** Choose $F$ so that $W_1^\top F = W_2$, by least squares, and make it small. What is the angle between
# the hidden layer's update and backprop's?
#
# <details><summary>Solution</summary>
#
# There are more pixels than units, so such an $F$ exists. The signal is backprop's but for its length, and what was received
# differs, $g_0$ from $x$, the less the smaller $F$.
#
# ```python
# right = 1e-3 * np.linalg.pinv(Ws[0].T) @ Ws[1]
# h, _, e = two_passes(Ws, right, x, y, s=-1)
# by_backprop = x.T @ ((e @ Ws[1].T) * (h[1] > 0)) / len(x)
# found = [angle(pepita(Ws, one, x, y, s=-1)[0], by_backprop) for one in (F, right)]
# print(f"random F {found[0]:.0f}°, the right one {found[1]:.2f}°")
# assert found[0] > 60 and found[1] < 1
# ```
#
# </details>
#
# **3. Somebody else's error.** Perturb every image by the error of another one. Derive a rule from `PEPITA` whose `second` pass
# does so (in `ffnp/rules/pepita.py`; it is given the images `x` and their errors `e`), train it, and say what the result is to
# be compared with.
#
# <details><summary>Solution</summary>
#
# With $F = 0$, a hidden layer that is taught nothing. A perturbation of the same size is worse than that, so what helps is
# whose error it is.
#
# ```python
# class Elsewhere(PEPITA):
#     def second(self, k, net, x, e, keys, product=None):
#         return super().second(k, net, x, np.roll(e, 1, axis=0), keys, product)
#
# ffnp.rules.RULES["elsewhere"] = Elsewhere
# found = errors(Elsewhere(spread=0.2), 1)
# print(f"others' errors {found.mean():.1f}%, F = 0 {one[0]:.1f}%, its own {one[3]:.1f}%")
# assert found.mean() > one[0] + 3 > one[3]
# ```
#
# </details>
#
# Next: [the feedback-alignment family](05_feedback_alignment.ipynb), which sends the error through random matrices, too.
