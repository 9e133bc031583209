"""JAX: the whole step is a function that XLA compiles (`jax.jit`), and the new weights take the old ones' memory.

Of the choices that a rule has, those of the cases are written here; `race` shows whether one is missing.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import log_softmax, one_hot, relu, sigmoid, softmax, softplus

from ..net import Dense, Net
from ..optim import VELOCITIES, Optimiser
from ..preset import Preset
from ..rules import PEPITA, Backprop, FeedbackAlignment, ForwardForward
from .cases import CLASSES, Case

Sent = tuple[Array, Array]  # what a layer received (B, I) and was sent (B, O)


class State(NamedTuple):
    """The network; how many steps it has taken; and, laid out alike, what optimisers remember: velocities or first moments, and
    second moments."""

    net: Net
    t: Array
    first: Net
    second: Net


def jitted(case: Case, net: Net, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], list[float]]:
    """See `contenders`. Compiles in the first batch. The first use in a process settles how many threads XLA has."""
    os.environ["NPROC"] = str(threads)
    jax.config.update("jax_enable_x64", True)  # the numbers that choose wrong labels are float64, as elsewhere
    step = jax.jit(partial(STEPS[type(case.preset.rule)], case.preset), donate_argnums=0)
    batches = [(jnp.array(x[i : i + case.batch]), jnp.array(y[i : i + case.batch])) for i in range(0, len(x), case.batch)]
    rng, net = np.random.default_rng([0, 1]), jax.tree.map(jnp.array, net)
    state = State(net, jnp.zeros(()), *(jax.tree.map(jnp.zeros_like, net) for _ in range(2)))

    def run() -> list[float]:
        nonlocal state
        metrics = []
        for batch in batches:
            state, found = step(state, *batch, rng.random(case.batch))
            metrics.append(found)
        return np.mean(jax.device_get(metrics), axis=0).tolist()

    return run


# ----- from what layers received and were sent to their steps -----


def moved(preset: Preset, state: State, sent: Sequence[Sent], rows: int, means: tuple[Array, ...] = ()) -> State:
    """The state after one step of the layers and, last in `sent`, of the head if there is one."""
    optimisers: list[Any] = [preset.optimisers.layers] * len(state.net.layers) + [preset.optimisers.head]
    old: Any = zip(optimisers, sent, learning(state.net), learning(state.first), learning(state.second), strict=False)
    new = zip(*(moved_layer(o, state.t + 1, rows, *each) for o, *each in old), strict=True)
    net, first, second = (relearned(*both) for both in zip((state.net, state.first, state.second), new, strict=True))
    return State(net._replace(means=means), state.t + 1, first, second)


def learning(net: Net) -> list[Dense]:
    return [*net.layers, *([net.head] if net.head else [])]


def relearned(net: Net, layers: Sequence[Dense]) -> Net:
    L = len(net.layers)
    return net._replace(layers=tuple(layers[:L]), head=layers[L] if net.head else None)


def moved_layer(
    o: Optimiser, t: Array, rows: int, sent: Sent, layer: Dense, first: Dense, second: Dense
) -> tuple[Dense, ...]:
    """The layer and what is remembered of it."""
    pre, post = sent
    gradients = pre.T @ post / rows, post.sum(axis=0) / rows
    each = [(None,) * 3 if w is None else moved_array(o, t, w, g, m, s)
            for g, w, m, s in zip(gradients, layer, first, second, strict=True)]
    return tuple(Dense(*parts) for parts in zip(*each, strict=True))


def moved_array(o: Optimiser, t: Array, w: Array, g: Array, m: Array, s: Array) -> tuple[Array, Array, Array]:
    decay = o.decay if w.ndim == 2 or o.decay_biases else 0.0
    g, kept = (g + decay * w, w) if o.decay_kind == "l2" else (g, (1 - o.rate * decay) * w)
    if o.kind == "adam":
        m, s = o.momentum * m + (1 - o.momentum) * g, o.beta2 * s + (1 - o.beta2) * g * g
        correct1, correct2 = ((1 - beta**t).astype(w.dtype) for beta in (o.momentum, o.beta2))
        return kept - o.rate * (m / correct1) / (jnp.sqrt(s / correct2) + o.epsilon), m, s
    keep = 0.0 if o.kind == "sgd" else o.momentum
    gain, rate = VELOCITIES[o.kind](keep, o.rate)
    m = keep * m + gain * g
    return kept - rate * m, m, s


# ----- the rules -----


def dense(h: Array, layer: Dense) -> Array:
    return h @ layer.W if layer.b is None else h @ layer.W + layer.b


def softmax_error(logits: Array, y: Array) -> tuple[Array, Array]:
    """e = P - Y (B, C), and the mean cross-entropy."""
    Y = one_hot(y, CLASSES, dtype=logits.dtype)
    return softmax(logits) - Y, -(log_softmax(logits) * Y).sum(axis=1).mean()


def forward_forward(preset: Preset, state: State, x: Array, y: Array, u: Array) -> tuple[State, Array]:
    """Hinton's recipe, and that of mean goodness without a head."""
    rule: Any = preset.rule
    net, B = state.net, len(x)
    logits, head_sent, head_losses = jnp.zeros((B, CLASSES), x.dtype), [], []
    if net.head:
        features = seen(rule, net, x)
        logits = dense(features, net.head)
        e, loss = softmax_error(logits, y)
        head_sent, head_losses = [(features, e)], [loss]
    labels = one_hot(jnp.concatenate([y, wrong_labels(logits, y, u)]), CLASSES, dtype=x.dtype)
    sent, losses, means = contrast(rule, net, overlaid(jnp.concatenate([x, x]), rule.strength * labels), B)
    return moved(preset, state, sent + head_sent, B, means), jnp.stack(losses + head_losses)


def contrast(rule: Any, net: Net, both: Array, B: int) -> tuple[list[Sent], list[Array], tuple[Array, ...]]:
    """What each layer received and is sent, its loss, and the new running means; the first B rows are positive."""
    positive = jnp.arange(len(both)) < B
    sent, losses, means = [], [], []
    for l, (received, h) in enumerate(up(rule, net, both)):
        theta = rule.theta * (h.shape[1] if rule.theta_per_unit else 1)
        share = 1.0 if rule.goodness == "sum" else 1 / h.shape[1]
        margin = share * (h * h).sum(axis=1) - theta
        post = (share * (sigmoid(margin) - positive))[:, None] * h
        losses.append(softplus(jnp.where(positive, -margin, margin)).mean())
        if rule.peer:
            means.append(rule.peer_keep * net.means[l] + (1 - rule.peer_keep) * h[:B].mean(axis=0))
            post += positive[:, None] * rule.peer * (means[l] - means[l].mean())
        sent.append((received, post))
    return sent, losses, tuple(means)


def up(rule: Any, net: Net, h: Array) -> list[Sent]:
    """What each layer receives, and its answer."""
    passes = []
    for layer in net.layers:
        received = normalised(rule, h)
        h = relu(dense(received, layer))
        passes.append((received, h))
    return passes


def seen(rule: Any, net: Net, x: Array) -> Array:
    """What the head sees, (B, its inputs)."""
    passes = up(rule, net, overlaid(x, jnp.full((len(x), CLASSES), rule.neutral, x.dtype)))
    return jnp.concatenate([normalised(rule, h) for _, h in passes[rule.softmax_from - 1 :]], axis=1)


def normalised(rule: Any, h: Array) -> Array:
    """A row of zeros stays. XLA may take numbers below the smallest normal one, such as Hinton's epsilon, for zero."""
    norm = jnp.sqrt((h * h).sum(axis=1, keepdims=True))
    length = (norm / h.shape[1] ** 0.5 if rule.norm == "rms" else norm) + rule.tiny
    return h / jnp.maximum(length, jnp.finfo(h.dtype).tiny)


def overlaid(x: Array, label: Array) -> Array:
    return jnp.concatenate([label, x[:, CLASSES:]], axis=1)


def wrong_labels(logits: Array, y: Array, u: Array) -> Array:
    """A label from softmax(logits) with the true class taken out, by u."""
    others = jnp.where(one_hot(y, CLASSES, dtype=bool), -jnp.inf, logits.astype(u.dtype))
    so_far = softmax(others).cumsum(axis=1)
    return (u[:, None] * so_far[:, -1:] >= so_far).sum(axis=1)


def hidden(net: Net, x: Array) -> list[Array]:
    """What each layer of a classifier receives."""
    received = [x]
    for layer in net.layers[:-1]:
        received.append(relu(dense(received[-1], layer)))
    return received


def backprop(preset: Preset, state: State, x: Array, y: Array, u: Array) -> tuple[State, Array]:
    """Feedback alignment too."""
    net, received = state.net, hidden(state.net, x)
    delta, loss = softmax_error(dense(received[-1], net.layers[-1]), y)
    sent = [(received[-1], delta)]
    for l in reversed(range(1, len(net.layers))):
        back = net.feedback[l - 1] if net.feedback else net.layers[l]
        delta = (delta @ back.W.T) * (received[l] > 0)
        sent.insert(0, (received[l - 1], delta))
    return moved(preset, state, sent, len(x)), loss[None]


def pepita(preset: Preset, state: State, x: Array, y: Array, u: Array) -> tuple[State, Array]:
    """The modulated update."""
    rule: Any = preset.rule
    first = hidden(state.net, x)
    e, loss = softmax_error(dense(first[-1], state.net.layers[-1]), y)
    second = hidden(state.net, x + rule.sign * e @ state.net.feedback[0].W.T)
    sent = [*(h - g for h, g in zip(first[1:], second[1:], strict=True)), e]
    return moved(preset, state, list(zip(second, sent, strict=True)), len(x)), loss[None]


STEPS: dict[type, Callable[..., tuple[State, Array]]] = {
    ForwardForward: forward_forward, Backprop: backprop, FeedbackAlignment: backprop, PEPITA: pepita,
}
