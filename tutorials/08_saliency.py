# %% [markdown]
# # 8 · Saliency, and when not to believe a map
#
# **Question.** Which pixels does a net look at, and how would you notice that a map of them is wrong?
#
# **At the end you will know**
# * how to ask a net by covering parts of an image and counting mistakes (ADS), and which answers may be chance;
# * the gradient of the goodness in closed form, for which the forward pass has all it takes;
# * what a gradient, occlusion and integrated gradients each mean, as they do not mean the same;
# * four questions to put to every map before you believe it.
#
# You need [tutorial 2](02_forward_forward.ipynb). It runs offline, in less than half a minute.

# %%
import math
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import torch
from threadpoolctl import threadpool_limits

import ffnp
from ffnp.saliency.controls import CONTROLS, intensity
from ffnp.saliency.faithfulness import faithfulness
from ffnp.saliency.gradient import gradient, integrated_gradients
from ffnp.saliency.methods import METHODS, against_all
from ffnp.saliency.occlusion import ads, mcnemar, occlusion
from ffnp.saliency.pictures import curves_figure, draw_scaled, greatest, maps_figure, side_by_side
from ffnp.saliency.randomisation import randomised, similarity
from ffnp.saliency.rows import table
from ffnp.saliency.scorer import Scorer, margin

# %% [markdown]
# ## Two nets
#
# One learns by Forward-Forward, one by backprop, of the same size and on the same digits. A `Scorer` is a trained net as one
# function: images in, a score for each class out, the highest wins. The score of Forward-Forward is the goodness of the label,
# that of backprop the *logit*, the number that goes into the softmax. What we ask below, we ask of such a function.

# %%
threadpool_limits(1, "blas")  # products this small are fastest on one core
data = ffnp.load("digits")
x, y = data.x_test.astype(np.float64), data.y_test  # (n, 64), (n,)
ff, bp = (Scorer(ffnp.train(name, data, layers=(64, 200, 200), dtype="float64", threads=1))
          for name in ("ff-small", "bp-small"))
nets = {"Forward-Forward": ff, "backprop": bp}
for name, score in nets.items():
    print(f"{name}: {np.mean(score(x).argmax(axis=1) == y):.1%} of {len(y)} test images right")

# %% [markdown]
# ## Cover and count
#
# Set a window $w$ of every image to black, and count what that costs in accuracy. A pixel gets the mean cost of the windows
# that cover it:
#
# $$D_w = \frac1n \sum_i [f(x_i) = y_i] - \frac1n \sum_i [f(x_i^w) = y_i], \qquad
#   \mathrm{map}(p) = \operatorname*{mean}_{w \,\ni\, p} D_w$$
#
# That is Accuracy Differential Saliency (Bakhshi 2024, arXiv:2409.15365): occlusion, scored on accuracy. It needs no gradient,
# no loss, nothing but answers. Size and stride of the window are ours to choose: here $2 \times 2$ pixels at each of 49 places.

# %%
places = [(i, j) for i in range(7) for j in range(7)]
pixels = np.arange(64).reshape(8, 8)


def covered(score, x):
    """The scores (49, n, 10) of the images x (n, 64) under each window."""
    found = []
    for i, j in places:
        black = x.copy()
        black[:, pixels[i : i + 2, j : j + 2].ravel()] = 0
        found.append(score(black))
    return np.array(found)


def spread(D):
    """A number for each window (..., 49) as maps (..., 8, 8): the mean of the windows on each pixel."""
    total, count = np.zeros((*D.shape[:-1], 8, 8)), np.zeros((8, 8))
    for w, (i, j) in enumerate(places):
        total[..., i : i + 2, j : j + 2] += D[..., w, None, None]
        count[i : i + 2, j : j + 2] += 1
    return total / count


whole, under = ff(x), covered(ff, x)
right, still = whole.argmax(axis=1) == y, under.argmax(axis=2) == y  # (n,), (49, n)
D = right.mean() - still.mean(axis=1)
print(f"worst window: {D.max():.1%} of the images lost; best: {D.min():.1%}")

one = np.flatnonzero(y == 8)[0]
figure, panels = plt.subplots(1, 5, figsize=(7, 1.9), layout="constrained")
for axes, w in zip(panels, (None, 8, 16, 24, 32), strict=True):
    image, s = x[one].reshape(8, 8), whole[one] if w is None else under[w, one]
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    if w is not None:
        j, i = places[w][1] - 0.5, places[w][0] - 0.5
        axes.add_patch(plt.Rectangle((j, i), 2, 2, facecolor="black", edgecolor="#E69F00", linewidth=2))
    axes.set(xticks=[], yticks=[], xlabel=f"told as {s.argmax()}")
figure.suptitle(f"An image of an {y[one]}, and under four of the windows")
plt.show()

# %% [markdown]
# `ads` does the same for less work: an image with nothing to cover keeps its scores, and a window changes only a few terms of
# the first layer's product (`ffnp/saliency/fast.py`).

# %%
window = {"window": (2, 2), "stride": (1, 1)}
maps_of = partial(ads, shape=data.shape, classes=10, **window)
found = {name: maps_of(score, x, y) for name, score in nets.items()}
print(f"plain loop and `ads` differ by {np.abs(spread(D) - found['Forward-Forward'].map).max():.1e}")
assert np.allclose(spread(D), found["Forward-Forward"].map, rtol=0, atol=1e-15)

# %% [markdown]
# ### Which of it is chance?
#
# Of $n$ images, $b$ are right only without the window and $c$ only with it, so $D_w = (b - c)/n$. The rest says nothing. Were
# the window of no use, each of the $b + c$ would fall either way like a fair coin. McNemar's test (1947), in its exact form,
# asks how probable a split at least as uneven is:
#
# $$p = \min\Big(1,\; 2 \sum_{i=0}^{\min(b, c)} \binom{b+c}{i}\, 2^{-(b+c)}\Big)$$


# %%
def p_value(b, c):
    return min(1, 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c))


b, c = (right & ~still).sum(axis=1), (~right & still).sum(axis=1)
p = np.array([p_value(*pair) for pair in zip(b.tolist(), c.tolist(), strict=True)])
theirs = [scipy.stats.binomtest(k, n, 0.5).pvalue if n else 1.0 for k, n in zip(b, b + c, strict=True)]
assert np.array_equal([b, c], found["Forward-Forward"].counts)
print(f"p-values: off scipy's by {np.abs(p - theirs).max():.1e}, off the library's by {np.abs(p - mcnemar(b, c)).max():.1e}")
assert np.allclose(p, theirs, rtol=0, atol=1e-12) and np.allclose(p, mcnemar(b, c), rtol=0, atol=1e-12)
for w in (0, D.argmax()):
    print(f"window at {places[w]}: lost {b[w]}, won {c[w]}, p = {p[w]:.2g}")

# %% [markdown]
# In the picture a pixel's $p$ is the least of the windows that cover it, times their number; pixels with $p \ge 0.05$ are pale.

# %%
side_by_side(found, data.classes, "Accuracy lost under a window (ADS), on digits", f"{len(y)} test images, 2x2 windows.")

# %% [markdown]
# The two nets, taught in two ways, need much the same places. That is not only because ink is where it is: each map is less
# like the mean image. For single classes few pixels are sure, as a class has some 35 images.

# %%
of_ff, of_bp, mean_image = found["Forward-Forward"].map[None], found["backprop"].map[None], x.mean(axis=0).reshape(1, 8, 8)
both, *ink = (similarity(*pair)[0] for pair in ((of_ff, of_bp), (of_ff, mean_image), (of_bp, mean_image)))
print(f"rank correlation of the two maps of all images: {both:.2f}; with the mean image: {ink[0]:.2f}, {ink[1]:.2f}")
assert both > 0.9 > max(ink)

# %% [markdown]
# ## The gradient of the goodness
#
# ADS describes a set of images. For one image we ask how its score changes with each pixel. Take a layer that receives
# $\hat x = x / r$, with $r$ the root mean square of the $I$ numbers in $x$, and has $h = \max(\hat x W + b, 0)$ and
# the goodness $G = \sum_j h_j^2$. Then $\partial G / \partial h = 2h$, and the slope of the ReLU can be left out, as $h$ is
# already zero where the slope is:
#
# $$g = \frac{\partial G}{\partial \hat x} = 2\, h W^\top, \qquad
#   \frac{\partial G}{\partial x} = \frac{1}{r}\Big(g - \hat x\, \frac{\hat x \cdot g}{I}\Big)$$
#
# The first is one product with what the forward pass has left behind. The second takes away the part of $g$ along $\hat x$: the
# norm hides the length of $x$, so going that way changes nothing. In a deeper net the same two lines follow one another, and
# what comes from above stops at silent units. Counted is the goodness of all layers but the first.


# %%
def goodness_gradient(layers, x):
    """The gradient (B, I) of each row's goodness in x (B, I), with its label."""
    passed, above = [], 0
    for W, b in layers:
        r = np.sqrt((x**2).mean(axis=1, keepdims=True))
        passed.append((r, x / r, np.maximum(x / r @ W + b, 0)))
        x = passed[-1][-1]
    for l, (r, xhat, h) in reversed([*enumerate(passed)]):
        g = (2 * h * (l > 0) + above * (h > 0)) @ layers[l].W.T
        above = (g - xhat * (xhat * g).mean(axis=1, keepdims=True)) / r
    return above


# %% [markdown]
# A pixel that raises the goodness of all labels alike decides nothing. So we explain the label against the mean of all,
# $S = G_y - \frac1{10} \sum_c G_c$; `against_all` has these weights of the ten scores, in a row for each image.

# %%
weights = against_all(ff, y)  # (n, 10): 0.9 at the label, -0.1 elsewhere
labelled = [np.hstack([x, np.tile(Y, (len(x), 1))]) for Y in np.eye(10)]  # the label of this preset follows the pixels
ours = sum(weights[:, [c]] * goodness_gradient(ff.net.layers, labelled[c])[:, :64] for c in range(10))
theirs = gradient(ff, x, weights)
print(f"the loop above and `gradient` differ by {np.abs(ours - theirs).max():.1e}, of gradients up to {np.abs(ours).max():.1f}")
assert np.allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(ours).max())

# %% [markdown]
# ## Two more maps of one image
#
# *Occlusion* (Zeiler & Fergus 2014, arXiv:1311.2901) is ADS for one image. A single image has no accuracy, so the drop of its
# margin is taken: the score of its label less the best other score. We have all of these scores already.
#
# *Integrated gradients* (Sundararajan et al. 2017, arXiv:1703.01365) walk from a black image to $x$, and give each pixel the
# gradients it met times the way it went. All pixels together then have the whole change of the score, which is called
# completeness:
#
# $$\mathrm{IG} = x \odot \int_0^1 \nabla S(t x)\, dt, \qquad \sum_i \mathrm{IG}_i = S(x) - S(0)$$
#
# A sum of finitely many points misses it by a gap, which can be printed.

# %%
drops = margin(whole, y)[:, None] - np.array([margin(s, y) for s in under]).T  # (n, 49)
occluded = occlusion(ff, x, y, data.shape, **window)
print(f"occlusion: plain loop and library differ by {np.abs(spread(drops) - occluded).max():.1e}")
assert np.allclose(spread(drops), occluded, rtol=0, atol=1e-12 * np.abs(whole).max())

xs, ys, ws = x[:100], y[:100], weights[:100]  # enough for what is to be shown
change = (ws * (ff(xs) - ff(np.zeros_like(xs)))).sum(axis=1)
for steps in (2, 8, 32):
    points, shares = np.polynomial.legendre.leggauss(steps)  # Gauss and Legendre's points on (-1, 1)
    walked = xs * sum(share / 2 * gradient(ff, (point + 1) / 2 * xs, ws) for point, share in zip(points, shares, strict=True))
    IG, gap = integrated_gradients(ff, xs, ws, steps=steps)
    print(f"IG, {steps} points: mean gap {np.abs(gap).mean():.2f} of a mean change {np.abs(change).mean():.2f}; "
          f"off the library's by {np.abs(walked - IG).max():.1e}")
    assert np.allclose(walked, IG, rtol=0, atol=1e-12 * np.abs(change).max())
    assert np.allclose(IG.sum(axis=1) - change, gap, rtol=0, atol=1e-12 * np.abs(change).max())
assert np.abs(gap).mean() < 0.05 * np.abs(change).mean()

# %% [markdown]
# All of it side by side. `METHODS` has every map of the project by name; *goodness* is $x$ times the gradient of the goodness.

# %%
chosen = {name: METHODS[name].maps for name in ("goodness", "grad", "ig")}
chosen["occlusion"] = partial(METHODS["occlusion"].maps, **window)
shown = np.unique(y, return_index=True)[1][[3, 5, 8]]  # the first image of each of these digits
maps_figure(x[shown].reshape(-1, *data.shape), {name: maps(ff, x[shown], y[shown]) for name, maps in chosen.items()},
            [str(digit) for digit in y[shown]], "Four maps of the same net and images", "Forward-Forward's score of the label.")

# %% [markdown]
# They do not agree. All four are computed right, each answers a question of its own, and every one of them looks like an
# explanation. So put four questions to a map.
#
# ## 1. Is it chance?
#
# Deal the labels out at random, and no window can matter: whatever an ADS map then shows is chance. A thousand times:

# %%
rng, before, after = np.random.default_rng(0), whole.argmax(axis=1), under.argmax(axis=2)


def dealt_out(labels):
    """McNemar's p-value (49,) of each window, were these the labels."""
    right, still = before == labels, after == labels
    return mcnemar((right & ~still).sum(axis=1), (~right & still).sum(axis=1))


p = np.array([dealt_out(rng.permutation(y)) for _ in range(1000)])
print(f"p < 0.05: {(p < 0.05).mean():.1%} of the windows, somewhere in {(p < 0.05).any(axis=1).mean():.0%} of the maps")
print(f"p < 0.05 / 49: somewhere in {(p < 0.05 / 49).any(axis=1).mean():.1%} of the maps")
assert (p < 0.05).mean() < 0.05 < 0.15 < (p < 0.05).any(axis=1).mean() and (p < 0.05 / 49).any(axis=1).mean() < 0.05

# %% [markdown]
# Each window keeps the promise of its $p$: it errs in less than one of twenty cases. But there are 49 of them, and one that
# errs is enough for a story. Who wants to trust every pixel of a map divides the level by the number of windows.
#
# Nor does a small $p$ mean much by itself. Here are nets whose weights are drawn anew; they know nothing.

# %%
untrained = [replace(ff, run=randomised(ff.run, layers=(1, 2), seed=seed)) for seed in (1, 2, 3)]
nothing = [maps_of(score, x, y) for score in untrained]
for one in nothing:
    print(f"untrained: {one.accuracy:.1%} right, up to {greatest(one.map):.1%} under a window, "
          f"{(one.p_values < 0.05).sum()} of 64 pixels with p < 0.05")
most = max(nothing, key=lambda one: (one.p_values < 0.05).sum())
assert most.accuracy < 0.3 and (most.p_values < 0.05).sum() > 5

three = {"trained": found["Forward-Forward"], "labels dealt out": maps_of(ff, x, rng.permutation(y)), "untrained": most}
figure, panels = plt.subplots(2, 3, figsize=(7, 4.7), layout="constrained")
for (top, bottom), (name, one) in zip(panels.T, three.items(), strict=True):
    drawn = draw_scaled(top, 100 * one.map, greatest(100 * one.map))
    draw_scaled(bottom, 100 * one.map, greatest(100 * one.map), np.where(one.p_values < 0.05, 1, 0.2))
    top.set_title(f"{name}: {one.accuracy:.0%} right", fontsize=10)
for row, words in zip(panels[:, 0], ("as it is", "pale where p >= 0.05"), strict=True):
    row.set_ylabel(words)
figure.colorbar(drawn, ax=panels, label="share of the number below (points of accuracy)", shrink=0.8)
figure.suptitle("Every map has structure, once its scale is its own")
plt.show()

# %% [markdown]
# Pixels of an untrained net may pass the test, and rightly: its answers do depend on them. A small $p$ says that the net is not
# indifferent. It does not say that the net has learned anything.
#
# ## 2. Does it show the net, or the image?
#
# Draw the weights anew and make the maps again (Adebayo et al. 2018, arXiv:1810.03292). A map of what the net has learned must
# change. Its likeness is the rank correlation of its pixels, once with their signs and once of their sizes alone, as a heat map
# in one colour shows them. The last line is a control: the image itself, which has never seen a net.

# %%
print("                 like the untrained net's      like the image")
print("               signed        sizes            sizes")
alike = {}
for name, maps in {**chosen, "intensity": intensity}.items():
    own, other = maps(ff, xs, ys), maps(untrained[0], xs, ys)
    pairs = similarity(own, other), similarity(own, other, absolute=True), similarity(own, intensity(ff, xs, ys), absolute=True)
    alike[name] = [np.nanmean(each) for each in pairs]
    print(f"{name:12}{alike[name][0]:9.2f}{alike[name][1]:13.2f}{alike[name][2]:17.2f}")
assert alike["goodness"][0] < 0.3 and alike["goodness"][1] > 0.7 and abs(alike["grad"][1]) < 0.3

# %% [markdown]
# With their signs the four maps pass. By their sizes only the gradient does: a product with the image is zero where the image
# is, whatever the net, and a black cover takes nothing from black. In one colour such a map shows a beautiful digit, and a net
# that knows none shows the same.

# %%
pictures = {f"{bar}goodness{bar}\n{when}": seen(chosen["goodness"](score, x[shown], y[shown]))
            for bar, seen in (("|", np.abs), ("", np.array)) for when, score in (("trained", ff), ("untrained", untrained[0]))}
maps_figure(x[shown].reshape(-1, *data.shape), pictures, [str(digit) for digit in y[shown]],
            "Sizes show the image, signs the net", "x times the gradient of the goodness, its size and itself.")

# %% [markdown]
# ## 3. Is it better than a map that has never looked?
#
# If a map names the pixels that matter, taking these away first must hurt soon. *Deletion* turns pixels black, or blurs them,
# in the order of the map and follows the probability of the label; *flipping* swaps bright and dark. The area under the curve
# is the measure (the others of the table stand in `ffnp/saliency/faithfulness.py`). `CONTROLS` are maps that know no net:
# noise, noise in patches, the brightness of the image, and a blob in its middle.

# %%
measured = faithfulness({"FF": ff}, {"FF": chosen}, xs, ys)
print(table(measured.rows))
value = {(row.method, row.metric): row.value for row in measured.rows}
grad, ink, noise = (value[name, "deletion (zero)"] for name in ("grad", "intensity", "random"))
assert ink - grad < (noise - ink) / 2
assert value["centre", "pixel flipping"] < value["goodness", "pixel flipping"]
assert value["grad", "pixel flipping"] > value["random", "pixel flipping"]

# %%
flipped = {"pixel flipping": measured.curves["FF"]["pixel flipping"]}
curves_figure(flipped, CONTROLS, "As pixels are flipped", f"Forward-Forward on {len(xs)} test images of digits.")

# %% [markdown]
# In deletion to black, the brightness of the image alone comes much closer to the gradient than to noise: black pixels cannot
# be deleted, so ink is all there is to find. In flipping, a blob in the middle, the same for every image, beats the goodness
# map. A score without such company says nothing; and what is put in the place of the pixels decides who wins.
#
# ## 4. What was asked?
#
# In flipping, the gradient does worse than noise. It is not wrong: it answers another question. It says what *brightening* a
# pixel *a little* would do, not what the pixel does as it is. Take the five black pixels of each image with the largest
# gradient.

# %%
slope = gradient(ff, x, weights)
print(f"{np.abs(slope[x == 0]).sum() / np.abs(slope).sum():.0%} of the gradient lies on pixels that are black")
five = np.argsort(np.where(x == 0, -slope, np.inf), axis=1)[:, :5]
rises = {}
for light in (0, 0.1, 0.3, 1):
    lit = x.copy()
    np.put_along_axis(lit, five, light, axis=1)
    rises[light] = np.mean((weights * (ff(lit) - whole)).sum(axis=1) > 1e-9)  # more than rounding
    print(f"the five set to {light}: the score of the label rises in {rises[light]:.0%} of the images")
assert rises[0] == 0 and rises[0.1] > 0.9 and rises[1] < 0.8

# %% [markdown]
# Set to black they change nothing, as they are black. A little light does what the gradient says. Full light is no longer a
# little, and the gradient says nothing of it.
#
# ## Verify it yourself against torch
#
# The scores of both nets in a few lines of torch, and `autograd` in the place of the closed form, all in float64.


# %%
def logits(layers, h):
    for W, b in layers[:-1]:
        h = torch.relu(h @ W + b)
    return h @ layers[-1][0] + layers[-1][1]


def goodness(layers, x):
    columns = []
    for Y in torch.eye(10, dtype=x.dtype):
        h, G = torch.cat([x, Y.expand(len(x), 10)], dim=1), 0
        for l, (W, b) in enumerate(layers):
            h = torch.relu(h / h.pow(2).mean(dim=1, keepdim=True).sqrt() @ W + b)
            G = G + (l > 0) * h.pow(2).sum(dim=1)
        columns.append(G)
    return torch.stack(columns, dim=1)


for (name, score), formula in zip(nets.items(), (goodness, logits), strict=True):
    leaf = torch.tensor(x, requires_grad=True)
    scores = formula([(torch.tensor(W), torch.tensor(b)) for W, b in score.net.layers], leaf)
    (theirs,) = torch.autograd.grad((scores * torch.tensor(weights)).sum(), leaf)
    for what, mine, other in ("score", score(x), scores.detach()), ("gradient", gradient(score, x, weights), theirs):
        off, size = np.abs(mine - other.numpy()).max(), np.abs(mine).max()
        print(f"{name}: the {what} differs by {off:.1e} at most, of values up to {size:.1f}")
        assert off < 1e-12 * size

# %% [markdown]
# ## Exercises
#
# **1. A planted shortcut.** Light the top left pixel of every 8 that backprop learns from. Does the net take the shortcut? Ask
# ADS, with test images that are marked alike. Then mark all other digits, and see what the net makes of them.
#
# <details><summary>Solution</summary>
#
# It does. The map of the class 8 is highest in that corner, where no digit has ink; with the pixel, some other digits become
# eights.
#
# ```python
# def marked(x, rows):
#     x = x.copy()
#     x[rows, 0] = 1
#     return x
#
# cheat = data._replace(x_train=marked(data.x_train, data.y_train == 8))
# fooled = Scorer(ffnp.train("bp-small", cheat, layers=(64, 200, 200), dtype="float64", threads=1))
# eights = maps_of(fooled, marked(x, y == 8), y).class_maps[8]
# honest = found["backprop"].class_maps[8]
# print(f"covering the corner costs {eights[0, 0]:.0%} of the eights, without a mark {honest[0, 0]:.0%}")
# others = y != 8
# print(f"with the pixel {np.mean(fooled(marked(x, others))[others].argmax(axis=1) == 8):.0%} of the other digits are an 8")
# assert not data.x_train[:, 0].any() and eights[0, 0] == eights.max() > 0.3 and honest[0, 0] < 0.1
# ```
#
# </details>
#
# **2. Nothing to share out.** Why can `x * gradient` never be complete for the goodness? Sum it over all 74 inputs, label
# included.
#
# <details><summary>Solution</summary>
#
# The first layer sees only the direction of its input, so the goodness does not change along $x$: $x \cdot \nabla G = 0$. What
# the pixels get, the label loses; the sum is zero, whatever the goodness is.
#
# ```python
# for one in labelled:
#     shares = one * goodness_gradient(ff.net.layers, one)
#     assert np.abs(shares.sum(axis=1)).max() < 1e-12 * np.abs(shares).sum(axis=1).max()
# ```
#
# </details>
#
# **3. Black is a choice.** Occlusion by black says nothing of a place without ink. Cover with the mean training image instead
# (`to=`). How many pixels have a say now?
#
# <details><summary>Solution</summary>
#
# Nearly all. What is not there counts too, and only a cover that is not empty can show it.
#
# ```python
# mean = np.tile(data.x_train.mean(axis=0, dtype=np.float64), (len(x), 1))
# silent = [np.mean(maps == 0) for maps in (occluded, occlusion(ff, x, y, data.shape, to=mean, **window))]
# print("pixels of exactly no effect: black {:.0%}, mean {:.0%}".format(*silent))
# assert silent[0] > 0.1 and silent[1] < 0.05
# ```
#
# </details>
#
# Next: [from NumPy to a Numba kernel](09_numba_kernel.ipynb), measured.
