# %% [markdown]
# # 7 · Weight mirroring and depth
#
# **Question.** With fixed random feedback the forward weights have to do all the agreeing. Can the feedback learn to be like
# the weights instead, without anyone copying a weight? And does depth become possible then?
#
# **At the end you will know**
# * why noise in, noise out and their product are the weights: exactly so for a linear layer, half for ReLU;
# * what an angle costs: how many samples of noise, and why the price rises with the width of the layer;
# * why mirrors that follow moving weights are either noisy or late;
# * what mirroring changes for feedback alignment and PEPITA as nets get deeper, and what it does not.
#
# You need tutorials [4](04_pepita.ipynb) and [5](05_feedback_alignment.ipynb). All of it runs offline, in less than a minute.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

import ffnp
from ffnp import plots
from ffnp.backend import load_backend
from ffnp.diagnostics import alignment, angle, diagnostics
from ffnp.net import Dense
from ffnp.optim import Optimiser, Optimisers
from ffnp.rules import PEPITA, Backprop, FeedbackAlignment
from ffnp.rules.mirror import mirror
from ffnp.rules.pepita import rescaled

threadpool_limits(1, "blas")  # products this small are fastest on one core
data = ffnp.load("digits")
watched = np.arange(len(data.x_train)) % 6 == 5  # the validation images of `ffnp.train`
x_watch, y_watch = data.x_train[watched], data.y_train[watched]


def recipe(name, rule, depth, rate, mirrors=None):
    """A preset of `depth` hidden layers of 100 ReLU units, which learn for 15 epochs; `mirrors` moves the feedback."""
    return ffnp.Preset(
        name=name, source="this tutorial", rule=rule, hidden=(100,) * depth, init="he_normal", bias=None, batch=50,
        epochs=15 + getattr(rule, "pre_mirror", 0), schedule="cosine",
        optimisers=Optimisers(Optimiser("momentum", rate=rate), feedback=mirrors))


teacher = ffnp.train(recipe("bp", Backprop(), 2, 0.03), data, seed=0, threads=1)
W = teacher.net.layers[0].W.astype(np.float64)
print(f"weights {W.shape} of a trained first layer, in a net of validation error "
      f"{teacher.history['epochs'][-1]['val_error']:.1%}")

# %% [markdown]
# ## Noise in, answer out
#
# Feed a layer noise $x$, drawn for each input on its own, of mean 0 and variance $\sigma^2$. It answers $y = f(xW)$. Multiply
# what came in with what came out, as every rule of this project does, and average over $n$ rows:
#
# $$M = \frac1n \sum_r x_r^\top f(x_r W)$$
#
# For a linear layer $\mathbb{E}[x_i y_j] = \sum_k \mathbb{E}[x_i x_k]\, W_{kj} = \sigma^2 W_{ij}$, as different inputs have
# nothing to do with each other. For ReLU write $\max(z, 0) = \frac12 (z + |z|)$. If $x$ and $-x$ are equally likely,
# $x_i |z_j|$ is as often positive as negative, and its mean is 0. Half of the linear case is left:
#
# $$\mathbb{E}[M] = \sigma^2\, W \quad \text{(linear)}, \qquad \mathbb{E}[M] = \tfrac12 \sigma^2\, W \quad \text{(ReLU)}$$
#
# Any symmetric noise will do. So a matrix that is moved by $M$ becomes like $W$, by what its two ends say alone. That is weight
# mirroring (Akrout et al. 2019, arXiv:1904.05391).


# %%
def relu(z):
    return np.maximum(z, 0)


def mirrored(W, f, x):
    """The mean product (I, O) of noise x (n, I) and a layer's answer."""
    return x.T @ f(x @ W) / len(x)


rng = np.random.default_rng(0)
noises = {"normal": rng.standard_normal((100_000, 64)), "uniform": rng.uniform(-(3**0.5), 3**0.5, (100_000, 64))}  # variance 1
for kind, x in noises.items():
    for f, words in ((lambda z: z, "linear"), (relu, "ReLU")):
        M = mirrored(W, f, x)
        factor = np.vdot(M, W) / np.vdot(W, W)
        print(f"{kind:8} noise, {words:6}: {factor:.3f} times W, {angle(M, W):.1f}° from it")
        assert abs(factor - (0.5 if words == "ReLU" else 1.0)) < 0.01

# %% [markdown]
# The project's `mirror` yields the two factors for every layer of a net, as pairs of noise and answer. An optimiser descends,
# so the answer has a minus. Each layer is mirrored alone, without its bias, with noise of its own less the mean of all its
# numbers.

# %%
k = load_backend("numpy")
layers = [Dense(layer.W.astype(np.float64), None) for layer in teacher.net.layers]
pairs = mirror(k, layers, "relu", "linear", rows=50, noise=0.1, rng=np.random.default_rng(1))
again = np.random.default_rng(1)
for l, layer in enumerate(layers):
    x = 0.1 * again.standard_normal((50, len(layer.W)))
    ours = mirrored(layer.W, relu if l < 2 else lambda z: z, x - x.mean())
    (pair,) = pairs[l]
    off = np.abs(-pair.pre.T @ pair.post / 50 - ours).max()
    print(f"layer {l + 1}: differs by {off:.1e} from ffnp.rules.mirror")
    assert off < 1e-14

# %% [markdown]
# ### See it: weights that come out of noise
#
# A softmax straight on the pixels learns a picture for each class: where it wants ink (orange) and where none (purple). Take
# these ten columns as the weights of ReLU units. The last row is what they have learned, the rows above what their answers to
# noise say.

# %%
x = noises["normal"]
digits = ffnp.train(replace(recipe("bp", Backprop(), 0, 0.03), init="zeros"), data, seed=0, threads=1).net.layers[0].W
figure, panels = plt.subplots(5, 1, figsize=(8.4, 5.2), layout="constrained")
most = 0.8 * np.abs(digits).max()
for panel, n in zip(panels, (100, 1000, 10_000, 100_000, None), strict=True):
    shown = digits if n is None else 2 * mirrored(digits, relu, x[:n])
    tiles = np.pad(shown.reshape(8, 8, 10), ((0, 0), (0, 2), (0, 0)), constant_values=np.nan).transpose(0, 2, 1).reshape(8, 100)
    drawn = panel.imshow(tiles[:, :-2], cmap="PuOr_r", vmin=-most, vmax=most, aspect="equal")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    panel.set_ylabel("W" if n is None else f"{n:,}\n{angle(shown, digits):.0f}°", rotation=0, ha="right", va="center")
panels[-1].set_xticks(np.arange(3.5, 98, 10), range(10))
panels[-1].tick_params(length=0)
panels[-1].set_xlabel("class")
figure.colorbar(drawn, ax=panels, label="weight")
figure.suptitle("Twice the mirror of ten ReLU units, after so many samples of noise, its angle to W, and W")
plt.show()

# %% [markdown]
# ## What an angle costs
#
# How far is $M$ from its mean? Take normal noise and one unit with weights $w$. Then
# $\mathbb{E}[x_i^2 z^2] = \sigma^4 (|w|^2 + 2 w_i^2)$, and ReLU keeps half of it. Less the square of the mean and summed over
# the $I$ inputs, the unit's column of $M$ has a variance of $\sigma^4 |w|^2 / n$ times $I + 1$ (linear) or
# $\frac I2 + \frac34$ (ReLU). The tangent of the angle is the length of this error by that of the mean:
#
# $$\tan^2 \alpha \approx \frac{I + 1}{n} \;\text{ (linear)}, \qquad \tan^2 \alpha \approx \frac{2 I + 3}{n} \;\text{ (ReLU)}$$
#
# Neither the outputs nor the weights themselves appear. An angle of so many degrees costs a number of samples in proportion to
# the *inputs*.

# %%
price = {"linear": len(W) + 1, "ReLU": 2 * len(W) + 3}
counts = 10 ** np.arange(1, 5.1, 0.5)
seen = {"linear": [angle(mirrored(W, lambda z: z, x[: int(n)]), W) for n in counts],
        "ReLU": [angle(mirrored(W, relu, x[: int(n)]), W) for n in counts]}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
n = np.logspace(1, 5, 100)
for i, (words, angles) in enumerate(seen.items()):
    predicted = np.degrees(np.arctan((price[words] / counts) ** 0.5))
    axes.plot(n, np.degrees(np.arctan((price[words] / n) ** 0.5)), **plots.line(i),
              label=f"{words}: $\\tan^2\\alpha = {price[words]} / n$")
    axes.plot(counts, angles, "o", color=plots.COLOURS[i], markersize=5)
    assert np.allclose(angles, predicted, rtol=0.1)
axes.set(xscale="log", yscale="log", xlabel="samples of noise n", ylabel="angle of the mirror to W (°)",
         title="Measured (dots) and predicted: the angle falls like $1/\\sqrt{n}$")
plots.one_two_five(axes)
axes.legend(frameon=False)
plots.plain(axes)
plt.show()
for inputs in (64, 784, 3072):
    samples = (2 * inputs + 3) / np.tan(np.radians(10)) ** 2
    print(f"a ReLU layer of {inputs:4} inputs: {samples:10,.0f} samples for an angle of 10°")

# %% [markdown]
# ### Noisy or late
#
# Nobody waits for so many samples with the weights on the move. Instead the feedback matrix takes a small step with every
# batch of $R$ rows and forgets as much:
#
# $$B \leftarrow (1 - \eta\lambda)\, B + \eta M, \qquad B \approx \frac{\sigma^2}{2\lambda} W \;\text{ in the long run (ReLU)}$$
#
# It remembers some $1/a$ batches, $a = \eta\lambda$; the variance of such a running mean is $\frac{a}{2-a}$ that of a batch.
# So the angle ends on a floor, $\tan^2\alpha = \frac{2I+3}{R}\, \frac{a}{2 - a}$, and lower floors take longer. Below, the
# weights are replaced by those of another net in the middle.

# %%
other = ffnp.train(recipe("bp", Backprop(), 2, 0.03), data, seed=1, threads=1).net.layers[0].W.astype(np.float64)


def follow(a):
    """The angles of B to the weights, batch by batch; lambda is 1/2, so that B goes to the weights themselves."""
    B, angles = rng.normal(0, 0.1, W.shape), []
    for batch in range(1600):
        target = W if batch < 800 else other
        B = (1 - a) * B + a * 2 * mirrored(target, relu, rng.standard_normal((50, 64)))
        angles.append(angle(B, target))
    return angles


figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for i, a in enumerate((0.3, 0.03, 0.01)):
    curve = follow(a)
    floor = np.degrees(np.arctan((price["ReLU"] / 50 * a / (2 - a)) ** 0.5))
    print(f"a = {a:<5} floor: predicted {floor:4.1f}°, measured {np.mean(curve[500:800]):4.1f}°")
    assert abs(np.mean(curve[500:800]) / floor - 1) < 0.15
    axes.plot(curve, label=f"a = {a}", **plots.line(i) | {"linestyle": "-", "linewidth": 1})
    axes.axhline(floor, color=plots.COLOURS[i], linewidth=0.8, linestyle="--")
axes.axvline(800, color="0.5", linewidth=0.8)
axes.text(790, 95, "the weights change", ha="right", va="center", color="0.35", fontsize=9)
axes.set(xlabel="batch of 50 samples", ylabel="angle of B to the weights (°)", ylim=(0, 100),
         title="A mirror is noisy or late; dashed: the predicted floor")
axes.legend(frameon=False)
plots.plain(axes)
plt.show()

# %% [markdown]
# ## Mirrors in deep nets
#
# In feedback alignment every $B_l$ mirrors its $W_l$. PEPITA has one matrix $F$, from the output to the input, which should
# be like the product of all weights. So Srinivasan et al. 2024 (arXiv:2302.05440) write $F = B_1 B_2 \cdots B_L$ and mirror
# each factor. In both, each batch first moves the mirrors and then the weights, and four epochs of mirrors alone come before.
#
# With $\sigma = 1$ the hidden mirrors go to $W / 2\lambda$, and the linear top's to twice that: a mirror gets directions
# right, not lengths. $\lambda = 0.7$ keeps the product of all of them near that of the weights. (Why linear? Exercise 2.)
# Rates are the better of two on the validation images, for every rule and depth, and the errors are of these images too,
# three seeds each: a little flattering, to all alike. PEPITA goes up to three hidden layers, about as deep as Srinivasan et
# al. took it without normalised activity.

# %%
SIGMA = {"noise": 1.0, "pre_mirror": 4}
MIRRORS = Optimiser("sgd", rate=0.03, decay=0.7)
RACERS = {  # name -> rule, who moves its feedback, rates to choose from
    "BP": (Backprop(), None, (0.01, 0.03)),
    "FA": (FeedbackAlignment(), None, (0.01, 0.03)),
    "FA, mirrored": (FeedbackAlignment(matrices="mirror", **SIGMA), MIRRORS, (0.01, 0.03)),
    "PEPITA": (PEPITA(feedback="product"), None, (0.03, 0.06)),
    "PEPITA, mirrored": (PEPITA(feedback="product", mirror_every=1, mirror_top="linear", **SIGMA), MIRRORS, (0.03, 0.06)),
}
DEPTHS = {name: (1, 2, 3) if "PEPITA" in name else (1, 2, 3, 4) for name in RACERS}


def race(name, depth):
    """The runs of three seeds at the better of the two rates."""
    rule, mirrors, rates = RACERS[name]
    tried = [[ffnp.train(recipe(name, rule, depth, rate, mirrors), data, seed=seed, threads=1) for seed in range(3)]
             for rate in rates]
    return min(tried, key=lambda runs: np.mean([run.history["epochs"][-1]["val_error"] for run in runs]))


found = {}  # (name, depth) -> errors of three seeds; mean angle and mean length of the first layer's update
runs = {(name, depth): race(name, depth) for name in RACERS for depth in DEPTHS[name]}
print("rule, hidden layers    rate  validation error        update of layer 1   feedback to weights")
for (name, depth), three in runs.items():
    errors = np.array([run.history["epochs"][-1]["val_error"] for run in three])
    seen = [diagnostics(k, run.preset.rule, run.net, x_watch, y_watch) for run in three]
    turn, length = (np.mean([d[which][0] for d in seen]) for which in ("angle", "norm_ratio"))
    found[name, depth] = errors, turn, length
    print(f"{name:17}{depth:2}{three[0].preset.optimisers.layers.rate:9}",
          f"{errors.mean():7.1%} ({errors.min():.1%} to {errors.max():.1%})".ljust(26), end="\n" if name == "BP" else "")
    if name != "BP":
        print(f"{turn:4.0f}°, {length:4.2f} of BP's {np.mean([d['feedback_angle'] for d in seen]):10.0f}°")

# %%
figure, (wrong, turns, lengths) = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
blue, orange = plots.COLOURS[:2]
looks = {"BP": {"color": "black"}, "FA": {"color": blue}, "FA, mirrored": {"color": blue, "linestyle": "--"},
         "PEPITA": {"color": orange}, "PEPITA, mirrored": {"color": orange, "linestyle": "--"}}
for i, (name, look) in enumerate(looks.items()):
    errors, turn, length = zip(*(found[name, depth] for depth in DEPTHS[name]), strict=True)
    mean, low, high = 100 * np.mean(errors, axis=1), 100 * np.min(errors, axis=1), 100 * np.max(errors, axis=1)
    beside = np.array(DEPTHS[name]) + 0.06 * (i - 2)
    wrong.errorbar(beside, mean, (mean - low, high - mean), marker="o", markersize=4, capsize=2, label=name, **look)
    if name != "BP":
        turns.plot(DEPTHS[name], turn, marker="o", markersize=4, **look)
        lengths.plot(DEPTHS[name], length, marker="o", markersize=4, **look)
turns.axhline(90, color="0.5", linewidth=0.8)
lengths.axhline(1, color="0.5", linewidth=0.8)
wrong.set(title="error", ylabel="validation error (%)", yscale="log", ylim=(2, 20))
turns.set(title="first layer: direction", ylabel="angle of update to backprop's (°)", ylim=(0, 95))
lengths.set(title="first layer: length", ylabel="length of update / backprop's", yscale="log", ylim=(0.005, 2))
for axes in (wrong, turns, lengths):
    axes.set(xlabel="hidden layers", xticks=[1, 2, 3, 4])
    plots.plain(axes)
plots.one_two_five(wrong)
plots.one_two_five(lengths)
turns.set_yticks([0, 30, 60, 90])
figure.legend(*wrong.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
figure.suptitle("Mirroring and depth, three seeds: mean, and in the left panel the range from best to worst")
plt.show()

# %% [markdown]
# **What mirroring does.** Without it, the error of FA about doubles from one hidden layer to four; with it four do about as
# well as one. PEPITA loses by depth, too, and no longer does with mirrors. The angles fall for both rules, at every depth.
#
# **What it does not.** Mirrored FA falls behind backprop as nets get deeper, though its updates are some ten degrees away from
# backprop's. With one hidden layer PEPITA's angle halves, and its error hardly moves. The last panel suggests why: the update
# of the first layer has a few hundredths of the length of backprop's, since $F e$ has to be a small disturbance (exercise 3).

# %%
error = {key: errors.mean() for key, (errors, _, _) in found.items()}
assert error["FA", 4] > 1.3 * error["FA", 1] and error["FA", 4] > 1.3 * error["FA, mirrored", 4] > 1.3 * error["BP", 4]
assert error["FA, mirrored", 4] < error["FA, mirrored", 1] + 0.02
assert error["PEPITA", 3] > max(error["PEPITA", 1], error["PEPITA, mirrored", 3])
assert all(found["FA, mirrored", depth][1] < 20 for depth in (1, 2, 3, 4))
assert all(found["PEPITA, mirrored", depth][1] < found["PEPITA", depth][1] - 20 for depth in (1, 2, 3))
assert all(found["PEPITA, mirrored", depth][2] < 0.1 for depth in (1, 2, 3))

# %% [markdown]
# ### A perfect mirror
#
# $F$ comes within some 15° of the weights' product, but the updates of PEPITA stay at 30° and more. Would a better mirror
# help? Not much. To first order (tutorial 4) the first layer hears $e F^\top W_1$. If $F$ *is* the product, that is
#
# $$e\, W_L^\top \cdots W_2^\top \,(W_1^\top W_1)$$
#
# and backprop has no $W_1^\top W_1$. Put the product in the place of $F$, as short as $F$ was, and measure. In feedback
# alignment a perfect mirror is backprop (tutorial 5).

# %%
for depth in DEPTHS["PEPITA, mirrored"]:
    turn = []
    for run in runs["PEPITA, mirrored", depth]:
        perfect = run.net._replace(feedback=rescaled(k, run.net.layers, 0.05 * (2 / 64) ** 0.5))
        turn.append(alignment(run.preset.rule, perfect, x_watch, y_watch)["angle"][0])
    print(f"PEPITA, {depth} hidden: the first layer's update is at {np.mean(turn):.0f}° with a perfect mirror, "
          f"{found['PEPITA, mirrored', depth][1]:.0f}° with the learned one")
    assert np.mean(turn) > 20

# %% [markdown]
# ## Verify it yourself against torch
#
# Mirroring has an objective after all. With the layer's answer $y$ held fixed, $M$ is minus the gradient in $B$ of
# $-\frac1n \sum_r (x_r B) \cdot y_r$: the matrix that agrees most with the answers. Autograd should find what our product
# found, for ReLU and for a softmax on top, with which the program published with the paper on PEPITA mirrors. And torch's
# angles should fall as ours.


# %%
def torch_mirror(W, f, x):
    x, W = torch.tensor(x), torch.tensor(W)
    B = torch.zeros_like(W, requires_grad=True)
    (-((x @ B) * f(x @ W)).sum() / len(x)).backward()
    return -B.grad.numpy()


pairs, again = mirror(k, layers, "relu", "softmax", rows=500, noise=1.0, rng=np.random.default_rng(1)), np.random.default_rng(1)
for l, layer in enumerate(layers):
    x = again.standard_normal((500, len(layer.W)))
    theirs = torch_mirror(layer.W, torch.relu if l < 2 else lambda z: torch.softmax(z, dim=1), x - x.mean())
    (pair,) = pairs[l]
    off = np.abs(-pair.pre.T @ pair.post / 500 - theirs).max()
    print(f"layer {l + 1}: ours and autograd's differ by {off:.1e} at most, of numbers up to {np.abs(theirs).max():.1e}")
    assert off < 1e-12
for n in (100, 10_000, 100_000):
    theirs = torch.tensor(torch_mirror(W, torch.relu, noises["normal"][:n]))
    cosine = torch.nn.functional.cosine_similarity(theirs.flatten(), torch.tensor(W).flatten(), dim=0)
    ours = angle(mirrored(W, relu, noises["normal"][:n]), W)
    print(f"{n:7,} samples: {ours:.4f}° here, {torch.rad2deg(torch.acos(cosine)):.4f}° in torch")
    assert abs(torch.rad2deg(torch.acos(cosine)) - ours) < 1e-9

# %% [markdown]
# ## Exercises
#
# **1. Another nonlinearity.** For normal noise $\mathbb{E}[x_i f(z_j)] = \sigma^2\, \mathbb{E}[f'(z_j)]\, W_{ij}$ (Stein's
# lemma; ReLU's $\frac12$ is a case of it). What does a $\tanh$ layer's mirror look like, and does it point exactly along $W$?
#
# <details><summary>Solution</summary>
#
# Not exactly: each unit's column is right, but multiplied by its own mean slope, which is smaller for a unit that saturates.
#
# ```python
# x, strong = noises["normal"], 2 * W * np.linspace(0.1, 2, 100)  # some units saturate, some do not
# M = mirrored(strong, np.tanh, x)
# slopes = (1 - np.tanh(x @ strong) ** 2).mean(axis=0)
# assert angle(M, strong * slopes) < 5 < 10 < angle(M, strong)
# ```
#
# </details>
#
# **2. A softmax on top.** The published program mirrors the top layer through its softmax. Small noise of deviation $\sigma$
# makes $P \approx \frac1C (1 + z - \bar z)$, $\bar z$ the mean of the $C$ logits. What is mirrored?
#
# <details><summary>Solution</summary>
#
# $\frac{\sigma^2}{C}$ times $W$ less the mean of its columns. Nothing is lost by that: $e$ sums to zero over the classes, so
# a number that all columns share never goes back. But the constant $\frac1C$ is multiplied with the noise, whose mean over a
# batch is not quite zero for each input, and that drowns the small rest unless every input is centred. A linear answer has no
# constant.
#
# ```python
# def softmax(z):
#     E = np.exp(z - z.max(axis=1, keepdims=True))
#     return E / E.sum(axis=1, keepdims=True)
#
# top = np.random.default_rng(3).normal(0, 0.1, (100, 10))
# centred = top - top.mean(axis=1, keepdims=True)
# x = 0.1 * np.random.default_rng(4).standard_normal((100_000, 100))
# M = mirrored(top, softmax, x - x.mean(axis=0))
# assert angle(M, centred) < 5 < 10 < angle(M, top)
# assert abs(np.vdot(M, centred) / np.vdot(centred, centred) - 0.1**2 / 10) < 1e-4
# assert angle(mirrored(top, softmax, x - x.mean()), centred) > 10
# e = softmax(np.random.default_rng(5).normal(size=(50, 10))) - np.eye(10)[:5].repeat(10, axis=0)
# assert np.allclose(e @ top.T, e @ centred.T, rtol=0, atol=1e-14)
# ```
#
# </details>
#
# **3. Direction or length?** Give PEPITA an $F$ four times as long (`spread`, 0.05 until now) in a net of one hidden layer,
# mirrored. What becomes of the length of its update, and of the error?
#
# <details><summary>Solution</summary>
#
# Both are better. But with three hidden layers training fails: the disturbance is no longer small.
#
# ```python
# longer = PEPITA(feedback="product", mirror_every=1, mirror_top="linear", spread=0.2, **SIGMA)
# three = [ffnp.train(recipe("longer", longer, 1, 0.06, MIRRORS), data, seed=seed, threads=1) for seed in range(3)]
# lengths = [alignment(longer, run.net, x_watch, y_watch)["norm_ratio"][0] for run in three]
# errors = [run.history["epochs"][-1]["val_error"] for run in three]
# print(f"length {np.mean(lengths):.2f}, was {found['PEPITA, mirrored', 1][2]:.2f}; "
#       f"error {np.mean(errors):.1%}, was {error['PEPITA, mirrored', 1]:.1%}")
# assert np.mean(lengths) > 2 * found["PEPITA, mirrored", 1][2] and np.mean(errors) < error["PEPITA, mirrored", 1]
# try:
#     run = ffnp.train(recipe("longer", longer, 3, 0.06, MIRRORS), data, seed=0, threads=1)
#     assert run.history["epochs"][-1]["val_error"] > 0.5
# except ffnp.UserError as problem:
#     assert "not finite" in str(problem)
# ```
#
# </details>
#
# Next: [saliency](08_saliency.ipynb), which asks what a net looks at.
