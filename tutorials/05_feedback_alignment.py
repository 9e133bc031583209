# %% [markdown]
# # 5 · The feedback-alignment family and its angles
#
# **Question.** Backprop sends blame down through the transposed weights of the way up, so the way back must know every weight.
# What if it had matrices of its own, drawn at random and never changed?
#
# **At the end you will know**
# * five rules that differ from backprop in one line each, and two that turn out to be nearly the same;
# * what the angle between an update and the gradient says, exactly, and which angle chance gives;
# * why forward weights turn towards random feedback, and which layer has to learn for that;
# * why an angle is no forecast of the error: a rule with a good one that learns worse than not at all.
#
# You need [tutorial 1](01_backprop.ipynb). All of it runs offline, in less than half a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from threadpoolctl import threadpool_limits

import ffnp
from ffnp import plots
from ffnp.backend import load_backend
from ffnp.diagnostics import angle
from ffnp.net import Dense, Net
from ffnp.rules import Backprop, DirectFeedback, FeedbackAlignment

threadpool_limits(1, "blas")  # products this small are fastest on one core
data = ffnp.load("digits")
watched = np.arange(len(data.x_train)) % 6 == 5  # validation images: every sixth
x_learn, y_learn = data.x_train[~watched].astype(np.float64), data.y_train[~watched]
x_watch, y_watch = data.x_train[watched].astype(np.float64), data.y_train[watched]
print(f"{len(x_learn)} images to learn from, {len(x_watch)} to watch, {x_learn.shape[1]} pixels each")

# %% [markdown]
# ## Six ways to send blame
#
# The net is that of tutorial 1, but its hidden units are $h_l = \tanh(z_l)$: the last rule below pushes them on for ever, so
# they had better saturate. In every rule a layer changes by $dW_l = \frac1B\, h_{l-1}^\top \delta_l$, and the output is sent
# $e = P - Y$. The rules differ in what a hidden layer hears before its gate $f'(z_l) = 1 - h_l^2$:
#
# | | $\delta_l$ | |
# | --- | --- | --- |
# | backprop | $(\delta_{l+1} W_{l+1}^\top) \odot f'$ | |
# | FA, feedback alignment | $(\delta_{l+1} B_{l+1}^\top) \odot f'$ | Lillicrap et al. 2016 |
# | uSF, only signs of $W$ | $(\delta_{l+1}\, c\,\mathrm{sign}(W_{l+1})^\top) \odot f'$ | Liao et al. 2016, arXiv:1510.05067 |
# | DFA, direct feedback alignment | $(e\, D_l^\top) \odot f'$ | Nøkland 2016, arXiv:1609.01596 |
# | sign-DFA | $(\mathrm{sign}(e)\, D_l^\top) \odot f'$ | in Frenkel et al. 2021, arXiv:1909.01311 |
# | DRTP, direct random target projection | $(Y D_l^\top) \odot f'$ | Frenkel et al. 2021, arXiv:1909.01311 |
#
# $c$ is 0.1 here, the deviation of the weights above the first layer. $B_{l+1}$ is laid out like $W_{l+1}$ and takes its
# place. $D_l$ leads from the output straight to layer $l$, as many columns as classes. Both are drawn once and stay. A
# seventh line keeps the hidden layers as they were drawn: whoever does worse than that has taught them nothing good.

# %%
HEARS = {  # (B, O) from delta (B, O') of the layer above, e and Y (B, C), W and B (O, O'), D (O, C)
    "backprop": lambda delta, e, Y, W, B, D: delta @ W.T,
    "FA": lambda delta, e, Y, W, B, D: delta @ B.T,
    "uSF": lambda delta, e, Y, W, B, D: delta @ (0.1 * np.sign(W)).T,
    "DFA": lambda delta, e, Y, W, B, D: e @ D.T,
    "sign-DFA": lambda delta, e, Y, W, B, D: np.sign(e) @ D.T,
    "DRTP": lambda delta, e, Y, W, B, D: Y @ D.T,
    "hidden fixed": lambda delta, e, Y, W, B, D: 0 * (delta @ W.T),
}


def draw(rng, *sizes):
    """Layers, matrices B laid out like theirs, and for each hidden layer a D; all of variance 1 / (rows of the matrix)."""
    W, B = ([rng.normal(0, i**-0.5, (i, o)) for i, o in zip(sizes, sizes[1:], strict=False)] for _ in range(2))
    return [Dense(w, np.zeros(w.shape[1])) for w in W], B, [rng.normal(0, o**-0.5, (o, sizes[-1])) for o in sizes[1:-1]]


def forward(layers, x):
    """What each layer receives, h_0 .. h_{L-1}, and the probabilities P (B, C)."""
    h = [x]
    for W, b in layers[:-1]:
        h.append(np.tanh(h[-1] @ W + b))
    E = np.exp(h[-1] @ layers[-1].W + layers[-1].b)
    return h, E / E.sum(axis=1, keepdims=True)


def update(name, layers, B, D, x, y):
    """The change (dW, db) that the rule of that name asks of each layer; backprop's is the gradient."""
    h, P = forward(layers, x)
    Y = np.eye(P.shape[1])[y]
    delta, found = P - Y, []
    for l in reversed(range(len(layers))):
        found.append((h[l].T @ delta / len(x), delta.mean(axis=0)))
        if l:
            delta = HEARS[name](delta, P - Y, Y, layers[l].W, B[l], D[l - 1]) * (1 - h[l] ** 2)
    return found[::-1]


# %% [markdown]
# The project has the first three rules in `ffnp/rules/feedback_alignment.py`, the direct ones in `direct_feedback.py`. With
# the same matrices they send the same.

# %%
k, rng = load_backend("numpy"), np.random.default_rng(0)
layers, B, D = draw(rng, 64, 100, 100, 10)
x, y = x_learn[:50], y_learn[:50]
RULES = {
    "backprop": (Backprop("tanh"), []),
    "FA": (FeedbackAlignment("tanh"), B[1:]),
    "uSF": (FeedbackAlignment("tanh", matrices="sign", scale=0.1), []),
    "DFA": (DirectFeedback("tanh"), D),
    "sign-DFA": (DirectFeedback("tanh", sends="sign"), D),
    "DRTP": (DirectFeedback("tanh", sends="target"), D),
}
for name, (rule, matrices) in RULES.items():
    net = Net(tuple(layers), 10, feedback=tuple(Dense(M, None) for M in matrices))
    (signals,) = rule.signals(k, net, x, y, rng)
    theirs = [pair.pre.T @ pair.post / len(x) for _, (pair,) in sorted(signals.layers.items())]
    off = max(np.abs(dW - ours).max() for dW, (ours, _) in zip(theirs, update(name, layers, B, D, x, y), strict=True))
    print(f"{name:9} differs by {off:.1e} from {type(rule).__name__}")
    assert off < 1e-14

# %% [markdown]
# Two of them are relatives of others, and both facts need no training. With $B = W$ feedback alignment *is* backprop, to the
# last bit. And a probability is never 0 or 1 here, so $\mathrm{sign}(P - Y) = 1 - 2Y$ whatever the net believes: sign-DFA
# hears nothing of the error but the target. It is DRTP with $-2D$, plus one vector, the sum of $D$'s columns, that all images
# send alike.

# %%
same = Net(tuple(layers), 10, feedback=tuple(Dense(W, None) for W, _ in layers[1:]))
(fa,), (bp,) = (rule.signals(k, same, x, y, rng) for rule in (FeedbackAlignment("tanh"), Backprop("tanh")))
is_backprop = all(np.array_equal(fa.layers[l][0].post, bp.layers[l][0].post) for l in range(3))
Y = np.eye(10)[y]
is_target = np.array_equal(np.sign(forward(layers, x)[1] - Y), 1 - 2 * Y)
print(f"FA with B = W is backprop, bit for bit: {is_backprop}; sign(e) is 1 - 2 Y: {is_target}")
assert is_backprop and is_target

# %% [markdown]
# ## What an angle says
#
# Read a layer's gradient $g$ and a rule's update $u$ as two long vectors. A short step of length $\eta$ along $-u$ changes
# the loss by
#
# $$\mathcal{L}\!\left(W - \eta \tfrac{u}{|u|}\right) - \mathcal{L}(W) = -\eta\, |g| \cos\angle(g, u) + O(\eta^2)$$
#
# So the cosine is the share of backprop's descent that a rule gets from a step of the same length: all of it at 0°, half at
# 60°, none at 90°, and beyond that the loss rises. The $O(\eta^2)$ matters: the statement is about short steps, from one
# place.


# %%
def loss(layers, x, y):
    return -np.log(forward(layers, x)[1][np.arange(len(y)), y]).mean()


def share(layers, u, step):
    """The descent per length that a step of the first layer along -u gets, relative to |g|."""
    moved = [Dense(layers[0].W - step * u / np.linalg.norm(u), layers[0].b), *layers[1:]]
    return (loss(layers, x_watch, y_watch) - loss(moved, x_watch, y_watch)) / (step * np.linalg.norm(g))


g = update("backprop", layers, B, D, x_watch, y_watch)[0][0]
drawn = [draw(np.random.default_rng(seed), 64, 100, 100, 10)[1] for seed in range(300)]  # 300 times other B, the same weights
updates = [update("FA", layers, other, D, x_watch, y_watch)[0][0] for other in drawn]
by_chance = np.array([angle(u, g) for u in updates])
print("FA, first layer, untrained  " + "".join(f"step {step:<8g}" for step in (1, 0.1, 0.01, 0.001)) + "cosine")
for words, i in (("the luckiest of 300 B", by_chance.argmin()), ("the unluckiest", by_chance.argmax())):
    shares = [share(layers, updates[i], step) for step in (1, 0.1, 0.01, 0.001)]
    cosine = np.cos(np.radians(by_chance[i]))
    print(f"{words:28}" + "".join(f"{s:+.5f}     " for s in shares) + f"{cosine:+.5f}")
    assert abs(shares[-1] - cosine) < 1e-3 and abs(shares[-1] - cosine) < abs(shares[0] - cosine) / 100

# %% [markdown]
# ### The angle of chance
#
# Is 85° a good angle? Two random directions in $n$ dimensions are at 90° give or take $180° / (\pi\sqrt n)$, and the first
# layer has thousands of weights. But an update is no random direction: it is made of the same inputs, the same errors and the
# same gates as the gradient, and only $B$ is random. What counts as chance is therefore the spread over *other $B$*, and it
# is much wider.

# %%
plain = np.array([angle(rng.normal(size=g.shape), g) for _ in range(300)])
print(f"random vector  {plain.mean():.1f}° ± {plain.std():.2f}°, predicted ± {np.degrees(g.size**-0.5):.2f}°")
print(f"random B       {by_chance.mean():.1f}° ± {by_chance.std():.2f}°")
assert abs(by_chance.mean() - 90) < 1 and by_chance.std() > 2.5 * plain.std()
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
bins = np.arange(80, 100.1, 0.5)
axes.hist(plain, bins, color=plots.COLOURS[1], label="random vectors")
axes.hist(by_chance, bins, color=plots.COLOURS[0], alpha=0.8, label="updates of FA, other random B")
axes.set(xlabel="angle to the gradient of the first layer (°)", ylabel="draws of 300", title="Chance has a width of its own")
axes.legend(frameon=False)
plots.plain(axes)
plt.show()

# %% [markdown]
# ## Learn, and watch the angles
#
# Each rule trains two hidden layers of 100 units, with five seeds and one step size for all. Before the first epoch and after
# each, on the validation images: the error, each hidden layer's angle to the gradient *of the same net*, and the angle of $B$
# to $W$.


# %%
def error(layers, x, y):
    """The share of images that are told wrong."""
    return np.mean(forward(layers, x)[1].argmax(axis=1) != y)


def learn(name, seed, rate=0.3, frozen=(), centred=False):
    """Records (21, 5): error, angles of the updates of layers 1 and 2, angles of B_2 and B_3 to W; `frozen` layers stay."""
    rng = np.random.default_rng(seed)
    layers, B, D = draw(rng, 64, 100, 100, 10)
    D = [M - M.mean(axis=1, keepdims=True) for M in D] if centred else D

    def look():
        pairs = zip(*(update(which, layers, B, D, x_watch, y_watch)[:2] for which in (name, "backprop")), strict=True)
        angles = [angle(u, g) if u.any() else np.nan for (u, _), (g, _) in pairs]
        return [error(layers, x_watch, y_watch), *angles, *(angle(B[l], layers[l].W) for l in (1, 2))]

    records = [look()]
    for _ in range(20):
        for rows in np.array_split(rng.permutation(len(x_learn)), len(x_learn) // 50):
            for l, (dW, db) in enumerate(update(name, layers, B, D, x_learn[rows], y_learn[rows])):
                if l not in frozen:
                    layers[l].W[:] -= rate * dW
                    layers[l].b[:] -= rate * db
        records.append(look())
    return np.array(records)


found = {name: np.array([learn(name, seed) for seed in range(5)]) for name in HEARS}  # (5 seeds, 21, 5)
last = {name: records[:, -5:].mean(axis=1) for name, records in found.items()}  # the mean of five epochs, (5 seeds, 5)
print("last 5 epochs  validation error    angle of layer 1,  layer 2")
for name, records in last.items():
    errors, angles = records[:, 0], records[:, 1:3].mean(axis=0)
    print(f"{name:12} {errors.mean():7.1%} {f'({errors.min():.1%} to {errors.max():.1%})':19}"
          + ("" if np.isnan(angles).any() else f"{angles[0]:10.0f}° {angles[1]:8.0f}°"))

# %%
figure, ((first, second), (curve, both)) = plt.subplots(2, 2, figsize=(8.6, 7.4), layout="constrained")
looks = {name: plots.line(i) for i, name in enumerate(("FA", "uSF", "DFA", "sign-DFA", "DRTP"))}
looks |= {"backprop": {"color": "black"}, "hidden fixed": {"color": "0.55", "linestyle": "--"}}
chance = 2 * by_chance.std()
for axes, column, scale in ((first, 1, 1), (second, 2, 1), (curve, 0, 100)):
    for name, look in looks.items():
        values = scale * found[name][:, :, column]
        if np.isfinite(values).all() and (column == 0 or name != "backprop"):
            axes.plot(values.mean(axis=0), label=name, **look)
            axes.fill_between(range(21), values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15, linewidth=0)
    plots.whole_epochs(axes)
    plots.plain(axes)
for axes, l in ((first, 1), (second, 2)):
    axes.axhspan(90 - chance, 90 + chance, color="0.9", zorder=0)
    axes.set(title=f"layer {l}: update and gradient", ylabel="angle (°)", ylim=(0, 104))
    axes.set_yticks([0, 30, 60, 90])
first.text(19.8, 90, "chance: other random B", va="center", ha="right", color="0.35", fontsize=8)
curve.set(title="error", ylabel="validation error (%)", yscale="log", ylim=(2, 100))
plots.one_two_five(curve)
for name in ("FA", "uSF", "DFA", "sign-DFA", "DRTP"):
    both.plot(last[name][:, 1:3].mean(axis=1), 100 * last[name][:, 0], "o", color=looks[name]["color"])
for name in ("backprop", "hidden fixed"):
    both.axhline(100 * last[name][:, 0].mean(), **looks[name])
both.set(title="angle and error, last five epochs", xlabel="mean angle of layers 1 and 2 (°)", xlim=(0, 95),
         ylabel="validation error (%)", yscale="log", ylim=(2, 100))
plots.one_two_five(both)
plots.plain(both)
figure.legend(*curve.get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False)
figure.suptitle("Five seeds: their mean and the band from best to worst; a dot a seed")
plt.show()

# %% [markdown]
# Every rule starts at chance, but for uSF, which reads the signs of $W$. Then all angles fall below 90°, on average at least.
# Nobody aimed at that.
#
# **What the angle does not tell** is in the last panel. On average sign-DFA comes nearer to the gradient than DRTP, and still
# it is the only rule that does worse than hidden layers which nobody teaches, by far. An angle is measured where the net
# *is*. It says nothing of where the rule has led it, of how long its steps are, or of whether its signal fades as the net
# gets better; that of sign-DFA and DRTP does not. So an angle explains why a rule can descend at all. How well it learns is
# another measurement. Nor is it just the step size (three seeds each):

# %%
final = {name: records.mean(axis=0) for name, records in last.items()}
assert all(final[name][1:3].max() < 85 for name in ("FA", "uSF", "DFA", "sign-DFA", "DRTP"))
assert final["sign-DFA"][1:3].mean() < final["DRTP"][1:3].mean() - 5
assert final["backprop"][0] < final["FA"][0] < final["DRTP"][0] < final["hidden fixed"][0] < final["sign-DFA"][0] / 1.5
print("step size      sign-DFA   hidden fixed")
for rate in (0.1, 0.3, 1.0):
    signed, fixed = (np.mean([learn(name, seed, rate)[-5:, 0] for seed in range(3)]) for name in ("sign-DFA", "hidden fixed"))
    print(f"{rate:9} {signed:12.1%} {fixed:14.1%}")
    assert signed > fixed

# %% [markdown]
# ## Why the weights turn
#
# In FA $B$ never moves, so if it comes to agree with $W$, then $W$ has turned. Blame that arrives at layer 1 through $B_2$ is
# written into $W_1$, so what layer 1 says soon contains $B_2$; layer 2 correlates what it receives with its own blame, and so
# $B_2$ gets into $W_2$. If that is the mechanism, a matrix turns towards its feedback only while the layer *below* learns,
# and learns itself, of course. Freeze one layer to see (two seeds).

# %%
print("angle of feedback to weights     B_2, W_2   B_3, W_3")
turned = {}
for words, frozen in (("all layers learn", ()), ("layer 1 frozen", (0,)), ("layer 2 frozen", (1,))):
    turned[frozen] = np.mean([learn("FA", seed, frozen=frozen)[-1, 3:] for seed in range(2)], axis=0)
    print(f"{words:33}{turned[frozen][0]:7.1f}° {turned[frozen][1]:9.1f}°")
assert turned[()][0] < 88 and turned[()][1] < 65  # chance would be 90 ± 0.6 and ± 1.8
assert turned[(0,)][0] > 89 and turned[(0,)][1] < 65 and turned[(1,)][1] > 87

# %% [markdown]
# The top weights turn far, the 100 x 100 ones between hidden layers by a few degrees. That is where the idea ends: the deeper
# the net, the more matrices wait for each other. [Tutorial 7](07_weight_mirroring.ipynb) measures what that costs, and lets
# $B$ learn.
#
# The project keeps these numbers for any rule when asked to `diagnose`, and draws them. For direct feedback the weights on the
# right are the product of all matrices above layer $l$, in whose place $D_l$ stands:

# %%
run = ffnp.train("dfa-small", data, epochs=20, layers=(64, 200, 200), seed=0, threads=1, diagnose=True)
print(f"dfa-small with two hidden layers: validation error {run.history['epochs'][-1]['val_error']:.1%}, "
      f"test error {run.history['test_error']:.1%}")
plots.alignment_curves(run.history, "dfa-small on digits, two hidden layers of 200")

# %% [markdown]
# ## Verify it yourself against torch
#
# Autograd follows the chain rule, but it can be told another way back: a function of its own whose `backward` has $B$ where
# the chain rule has $W$. The direct rules need less. Cut the graph between the layers, and give each hidden layer a loss of
# its own, $\frac1B\sum s D_l^\top \odot h_l$ where $s$ is what the output sends; its gradient in $W_l$ is the rule, $f'$
# included. The biases are still zero, and left out.


# %%
class Through(torch.autograd.Function):
    """h W on the way up, delta B^T on the way down."""

    @staticmethod
    def forward(ctx, h, W, B):
        ctx.save_for_backward(h, B)
        return h @ W

    @staticmethod
    def backward(ctx, delta):
        h, B = ctx.saved_tensors
        return delta @ B.T, h.T @ delta, None


def torch_fa(Ws):
    h = torch.tensor(x)
    for l, W in enumerate(Ws):
        z = Through.apply(h, W, torch.tensor(B[l]))
        h = torch.tanh(z)
    torch.nn.functional.cross_entropy(z, torch.tensor(y)).backward()


def torch_direct(Ws, sent):
    h, total = torch.tensor(x), 0
    for W, M in zip(Ws[:-1], D, strict=True):
        h = torch.tanh(h.detach() @ W)
        total = total + (sent @ torch.tensor(M).T * h).sum() / len(x)
    (total + torch.nn.functional.cross_entropy(h.detach() @ Ws[-1], torch.tensor(y))).backward()


Y, P = torch.eye(10, dtype=torch.float64)[y], torch.tensor(forward(layers, x)[1])
for name, send in (("FA", None), ("DFA", P - Y), ("sign-DFA", torch.sign(P - Y)), ("DRTP", Y)):
    Ws = [torch.tensor(W, requires_grad=True) for W, _ in layers]
    torch_fa(Ws) if send is None else torch_direct(Ws, send)
    off = max(np.abs(W.grad.numpy() - dW).max() for W, (dW, _) in zip(Ws, update(name, layers, B, D, x, y), strict=True))
    print(f"{name:9} differs from torch by {off:.1e} at most")
    assert off < 1e-12

# %% [markdown]
# ## Exercises
#
# **1. One hidden layer.** Show that FA and DFA are then the same rule. Which matrix has to be which?
#
# <details><summary>Solution</summary>
#
# The layer above is the output, so $\delta_2 = e$ and $B_2$ does what $D_1$ does.
#
# ```python
# small, B_small, D_small = draw(np.random.default_rng(1), 64, 30, 10)
# fa = update("FA", small, B_small, D_small, x, y)
# dfa = update("DFA", small, B_small, [B_small[1]], x, y)
# assert all(np.array_equal(a, b) for one, other in zip(fa, dfa) for a, b in zip(one, other))
# ```
#
# </details>
#
# **2. Mend sign-DFA.** It sends $1 - 2Y$, and so pushes every unit by the same vector with each image. Take that push out of
# $D$ by making its rows sum to zero, and train again (`learn` has `centred` for it). Is the sign to blame, or the push?
#
# <details><summary>Solution</summary>
#
# The push. With rows that sum to zero what is left is DRTP with $-2D$, and the error falls below that of fixed hidden layers.
#
# ```python
# mended = np.mean([learn("sign-DFA", seed, centred=True)[-5:, 0] for seed in range(3)])
# print(f"sign-DFA {final['sign-DFA'][0]:.1%}, rows centred {mended:.1%}, hidden layers fixed {final['hidden fixed'][0]:.1%}")
# assert mended < final["hidden fixed"][0] < final["sign-DFA"][0]
# ```
#
# </details>
#
# **3. Kolen and Pollack.** Let $B$ take the same steps as $W$, and both shrink a little:
# $W \leftarrow (1-\lambda) W - \eta\, dW$ and $B \leftarrow (1-\lambda) B - \eta\, dW$. How far apart are they after $t$
# batches? (Akrout et al. 2019, arXiv:1904.05391, revive this; the idea is of 1994.)
#
# <details><summary>Solution</summary>
#
# The steps cancel in the difference: $W - B$ shrinks by $1 - \lambda$ a batch, whatever the data. FA becomes backprop.
#
# ```python
# layers, B, D = draw(np.random.default_rng(0), 64, 100, 100, 10)
# apart = [layers[l].W - B[l] for l in (1, 2)]
# for t in range(200):
#     rows = slice(50 * (t % 20), 50 * (t % 20) + 50)
#     for l, (dW, _) in enumerate(update("FA", layers, B, D, x_learn[rows], y_learn[rows])):
#         for M in (layers[l].W, B[l]):
#             M[:] = (1 - 0.01) * M - 0.3 * dW
# for l, before in zip((1, 2), apart):
#     assert np.allclose(layers[l].W - B[l], 0.99**200 * before, rtol=0, atol=1e-12)
# print(f"angle of B_3 to W_3: {angle(layers[2].W, B[2]):.0f}°")
# assert angle(layers[2].W, B[2]) < 15
# ```
#
# </details>
#
# Next: [Forward-Forward and PEPITA are one principle](06_one_principle.ipynb).
