# %% [markdown]
# # 1 · Backprop from scratch
#
# **Question.** A network has thousands of weights and makes one mistake. Which weight is to blame, and by how much?
#
# **At the end you will know**
# * how an error at the output becomes a signal for every layer, in three lines of NumPy;
# * why every rule of this project, with or without backprop, is *what a layer received* times *a signal it was sent*;
# * how to check a gradient in three ways that know nothing of each other.
#
# You need NumPy and a memory of the chain rule. All of it runs offline, in a few seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import ffnp
from ffnp.backend import load_backend
from ffnp.net import Dense, Net
from ffnp.plots import weight_mosaic
from ffnp.rules import Backprop

data = ffnp.load("digits")
print(f"{len(data.x_train)} images to learn from, {len(data.x_test)} to test with, {data.x_train.shape[1]} pixels each")

# %% [markdown]
# ## Forward
#
# A batch of $B$ images is a matrix $x$ with an image in each row. Each layer multiplies by its weights, adds its biases and,
# but for the last, sets what is negative to zero (a *ReLU*); the last layer's numbers become probabilities:
#
# $$h_0 = x, \qquad h_l = \max(h_{l-1} W_l + b_l,\, 0), \qquad P = \mathrm{softmax}(h_{L-1} W_L + b_L)$$
#
# The loss is the mean surprise at the true labels $y$, $\;\mathcal{L} = -\frac1B \sum_i \log P_{i\,y_i}$.


# %%
def forward(layers, x):
    """What each layer receives, h_0 .. h_{L-1}, and the probabilities P (B, C)."""
    h = [x]
    for W, b in layers[:-1]:
        h.append(np.maximum(h[-1] @ W + b, 0))  # (B, O)
    W, b = layers[-1]
    P = np.exp(h[-1] @ W + b)  # (B, C)
    return h, P / P.sum(axis=1, keepdims=True)


def loss(layers, x, y):
    return -np.log(forward(layers, x)[1][np.arange(len(y)), y]).mean()


def network(rng, *sizes):
    """Layers (W, b) with weights of variance 2 / I, so that activity neither dies nor explodes (He et al. 2015)."""
    return [Dense(rng.normal(0, (2 / i) ** 0.5, (i, o)), np.zeros(o)) for i, o in zip(sizes, sizes[1:], strict=False)]


rng = np.random.default_rng(0)
layers = network(rng, 64, 32, 32, 10)
x, y = data.x_train[:50].astype(np.float64), data.y_train[:50]
print(f"loss before any learning: {loss(layers, x, y):.3f}; of a guess among ten: {np.log(10):.3f}")

# %% [markdown]
# ## Backward
#
# Let $\delta_l$ be how much the loss of each image changes with what enters layer $l$'s nonlinearity, its *blame*. For a
# softmax with this loss the blame at the output is simply $P - Y$, where $Y$ is 1 at the true label. Below, the chain rule
# says that blame goes back the way activity came, through the same weights, and stops at units that were silent:
#
# $$\delta_L = P - Y, \qquad \delta_l = (\delta_{l+1} W_{l+1}^\top) \odot [h_l > 0]$$
#
# A weight connects what came in below to the blame above, so its gradient is their product, averaged over the batch. A bias
# is a weight whose input is always 1:
#
# $$\frac{\partial \mathcal{L}}{\partial W_l} = \frac1B\, h_{l-1}^\top \delta_l, \qquad
#   \frac{\partial \mathcal{L}}{\partial b_l} = \frac1B \sum_i \delta_{l,i}$$
#
# Each of these is a line below. Python counts from 0, so `layers[l]` is layer $l + 1$, and what it receives is `h[l]`.


# %%
def backward(layers, x, y):
    """The gradient (dW, db) of each layer."""
    h, P = forward(layers, x)
    delta, found = P - np.eye(P.shape[1])[y], []
    for l in reversed(range(len(layers))):
        found.append((h[l].T @ delta / len(x), delta.mean(axis=0)))
        delta = (delta @ layers[l].W.T) * (h[l] > 0)  # for the layer below; the images themselves need none
    return found[::-1]


gradients = backward(layers, x, y)

# %% [markdown]
# ## First check: wiggle a weight
#
# A derivative is a limit of differences. So move one weight a little up and a little down, and see what the loss does. This
# knows nothing of the chain rule.

# %%
worst, step = 0.0, 1e-5
for l, (W, _) in enumerate(layers):
    for i, j in zip(rng.integers(W.shape[0], size=20), rng.integers(W.shape[1], size=20), strict=True):
        kept = W[i, j]
        W[i, j] = kept + step
        above = loss(layers, x, y)
        W[i, j] = kept - step
        below = loss(layers, x, y)
        W[i, j] = kept
        worst = max(worst, abs((above - below) / (2 * step) - gradients[l][0][i, j]))
print(f"60 weights, greatest difference {worst:.1e}")
assert worst < 1e-9

# %% [markdown]
# ## Second check: the project's own rule
#
# `ffnp/rules/backprop.py` does the same in the words of this project. A rule does not hand out gradients, it answers a batch
# with *signals*: for each layer what it received (`pre`) and what it is sent (`post`). The change of its weights is always
#
# $$dW_l = \frac1B \sum_k \mathrm{pre}_k^\top\, \mathrm{post}_k$$
#
# and for backprop that is one pair: `pre` is $h_{l-1}$, `post` is $\delta_l$. The rules of the next tutorials send other
# signals; everything around them, from this product to the optimiser, stays the same.

# %%
k = load_backend("numpy")  # the kernels in plain NumPy; "cpu" are the fast ones
net = Net(tuple(layers), classes=10)
(signals,) = Backprop().signals(k, net, x, y, rng)
for l, (pair,) in sorted(signals.layers.items()):
    dW = pair.pre.T @ pair.post / signals.rows
    print(f"layer {l + 1}: pre {pair.pre.shape}, post {pair.post.shape}, difference {np.abs(dW - gradients[l][0]).max():.1e}")
    assert np.allclose(dW, gradients[l][0], rtol=0, atol=1e-14)

# %% [markdown]
# ### See it: one image, one layer
#
# With a single image the sum has one term, and the gradient is a multiplication table. On the left what the image gives to
# the layer, on top the blame of its units, inside their product. A dark pixel changes no weight; a silent unit, or one that is
# not to blame, none of its own.

# %%
(one,) = Backprop().signals(k, net, x[:1], y[:1], rng)
pre, post = one.layers[0][0]
figure, ((corner, top), (left, middle)) = plt.subplots(
    2, 2, figsize=(7, 8), width_ratios=[1, 12], height_ratios=[1, 24], layout="constrained")
corner.set_axis_off()
left.imshow(pre.T, cmap="gray", aspect="auto")
left.set(xticks=[], ylabel="pre: the 64 pixels, row by row")
most = np.abs(post).max()
top.imshow(post, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
top.set(xticks=[], yticks=[], title="post: the blame of 32 units")
drawn = middle.imshow(pre.T @ post, cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
middle.set(yticks=[], xlabel="unit")
figure.colorbar(drawn, ax=(top, middle), label="gradient of the loss (1 / unit of weight)")
figure.suptitle(f"The gradient of W_1 for one image of a {y[0]}")
plt.show()

# %% [markdown]
# ## Learn
#
# Going down the gradient, batch by batch, is all there is to learning. Every sixth training image is kept apart to watch the
# error on images that the net does not learn from; the test images are looked at once, at the end.

# %%
watched = np.arange(len(data.x_train)) % 6 == 5
x_learn, y_learn = data.x_train[~watched], data.y_train[~watched]
x_watch, y_watch = data.x_train[watched], data.y_train[watched]


def error(layers, x, y):
    """The share of images that are told wrong."""
    return np.mean(forward(layers, x)[1].argmax(axis=1) != y)


before, watch = layers[0].W.copy(), [error(layers, x_watch, y_watch)]
for _ in range(30):
    for rows in np.array_split(rng.permutation(len(x_learn)), len(x_learn) // 50):
        for (W, b), (dW, db) in zip(layers, backward(layers, x_learn[rows], y_learn[rows]), strict=True):
            W -= 0.2 * dW
            b -= 0.2 * db
    watch.append(error(layers, x_watch, y_watch))
print(f"validation error {watch[0]:.1%} before, {watch[-1]:.1%} after 30 epochs; "
      f"test error {error(layers, data.x_test, data.y_test):.1%}")

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(100 * np.array(watch), color="#0072B2")
axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log", title="Learning digits by backprop")
axes.set_yticks([2, 5, 10, 20, 50, 90], ["2", "5", "10", "20", "50", "90"])
plt.show()

# %% [markdown]
# What have the 32 units of the first layer learned to see? Before, their weights are noise:

# %%
weight_mosaic(before.T.reshape(32, 8, 8), "First-layer weights before learning, a picture for each unit")

# %% [markdown]
# After, many are for ink in one place (orange) and against it in another (purple), though nobody told them what a digit is made
# of. Mind the scale: they have grown, too.

# %%
weight_mosaic(layers[0].W.T.reshape(32, 8, 8), "First-layer weights after learning, a picture for each unit")

# %% [markdown]
# The project's own recipe for this data has wider layers, dropout and Adam, and compiled kernels. It is one line:

# %%
run = ffnp.train("bp-small", data, epochs=20, seed=0, threads=1)
print(f"bp-small: test error {run.history['test_error']:.1%}, {run.history['parameters']:,} weights and biases")

# %% [markdown]
# ## Verify it yourself against torch
#
# The third check: `torch.autograd` has its own idea of the chain rule. Give it the same weights and the same batch, in float64,
# and compare what it puts into `.grad` with our gradients.

# %%
tensors = [(torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)) for W, b in layers]
h = torch.tensor(x)
for W, b in tensors[:-1]:
    h = torch.relu(h @ W + b)
torch.nn.functional.cross_entropy(h @ tensors[-1][0] + tensors[-1][1], torch.tensor(y)).backward()
for l, ((W, b), (dW, db)) in enumerate(zip(tensors, backward(layers, x, y), strict=True), 1):
    off = max(np.abs(W.grad.numpy() - dW).max(), np.abs(b.grad.numpy() - db).max())
    print(f"layer {l}: ours and autograd's differ by {off:.1e} at most, of gradients up to {np.abs(dW).max():.1e}")
    assert off < 1e-12

# %% [markdown]
# ## Exercises
#
# **1. Another nonlinearity.** Replace the ReLU by $\tanh$. Which single expression of `backward` changes? Check a weight by
# wiggling it.
#
# <details><summary>Solution</summary>
#
# Only the gate: $f'(z) = 1 - \tanh^2(z) = 1 - h^2$.
#
# ```python
# def forward_tanh(layers, x):
#     h = [x]
#     for W, b in layers[:-1]:
#         h.append(np.tanh(h[-1] @ W + b))
#     P = np.exp(h[-1] @ layers[-1].W + layers[-1].b)
#     return h, P / P.sum(axis=1, keepdims=True)
#
# def backward_tanh(layers, x, y):
#     h, P = forward_tanh(layers, x)
#     delta, found = P - np.eye(10)[y], []
#     for l in reversed(range(len(layers))):
#         found.append(h[l].T @ delta / len(x))
#         delta = (delta @ layers[l].W.T) * (1 - h[l] ** 2)
#     return found[::-1]
#
# small = network(np.random.default_rng(1), 64, 8, 10)
# loss_tanh = lambda: -np.log(forward_tanh(small, x)[1][np.arange(50), y]).mean()
# found = backward_tanh(small, x, y)[0][30, 3]
# small[0].W[30, 3] += 1e-5; above = loss_tanh()
# small[0].W[30, 3] -= 2e-5; below = loss_tanh()
# assert abs((above - below) / 2e-5 - found) < 1e-9
# ```
#
# </details>
#
# **2. All zeros.** Start `network` with zeros in the place of random weights. Which gradients are zero, and will the net ever
# learn more than how frequent each digit is?
#
# <details><summary>Solution</summary>
#
# With $W_2 = W_3 = 0$ no blame comes back, and with $h = 0$ nothing is received above: all gradients but that of the last bias
# vanish, for ever. Randomness breaks the symmetry.
#
# ```python
# zeros = [Dense(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
# sizes = [(np.abs(dW).max(), np.abs(db).max()) for dW, db in backward(zeros, x, y)]
# assert [dW for dW, _ in sizes] == [0, 0, 0] and [db > 0 for _, db in sizes] == [False, False, True]
# ```
#
# </details>
#
# **3. The way back.** Blame travels through $W^\top$: every layer has to know the weights of the layer above. Bring it back
# through a fixed random matrix of the same shape and train again. Does the net still learn?
#
# <details><summary>Solution</summary>
#
# It does, though not as well. That is *feedback alignment*, the subject of [tutorial 5](05_feedback_alignment.ipynb).
#
# ```python
# rng = np.random.default_rng(0)
# layers = network(rng, 64, 32, 32, 10)
# back = [rng.normal(0, (2 / len(W)) ** 0.5, W.shape) for W, _ in layers]
# for _ in range(30):
#     for rows in np.array_split(rng.permutation(len(x_learn)), len(x_learn) // 50):
#         h, P = forward(layers, x_learn[rows])
#         delta = P - np.eye(10)[y_learn[rows]]
#         for l in reversed(range(3)):
#             sent = (delta @ back[l].T) * (h[l] > 0)
#             layers[l].W[:] -= 0.2 * h[l].T @ delta / len(rows)
#             layers[l].b[:] -= 0.2 * delta.mean(axis=0)
#             delta = sent
# print(f"validation error {error(layers, x_watch, y_watch):.1%}")
# assert error(layers, x_watch, y_watch) < 0.2
# ```
#
# </details>
#
# Next: [Forward-Forward](02_forward_forward.ipynb), which sends nothing back at all.
