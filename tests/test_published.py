"""Whole recipes against the programs their authors published, transcribed here from the description of each step."""

import itertools
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from networks import assert_close, contrasted, each_backend, gradients, network, put
from strategies import problems
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ffnp.optim import SCHEDULES
from ffnp.presets import PRESETS
from ffnp.rules import ForwardForward
from ffnp.rules.forward_forward import NEGATIVES

ANY_DEPTH = ForwardForward(goodness_from=1, softmax_from=None, negatives="uniform")

# ----- Hinton 2022: the MATLAB program -----


def norm_rows(x):
    return x / (np.exp(-100) + np.sqrt((x**2).mean(axis=1, keepdims=True)))


def logistic(x):
    return 1 / (1 + np.exp(-x))


class Matlab:
    """Hinton's program on a net of any size: every quantity as he keeps it, every sign as he has it (he ascends)."""

    decay = 0.001

    def __init__(self, W, classes):
        self.W, self.b = [w.copy() for w in W], [np.zeros(w.shape[1]) for w in W]
        self.S = np.zeros((sum(w.shape[1] for w in W[1:]), classes))  # the softmax sees hidden layers 2 and up
        self.mu = [np.full(w.shape[1], 0.5) for w in W]
        self.G, self.Gb, self.GS = [0.0 for w in W], [0.0 for w in W], 0.0

    def up(self, x, slot):
        """Activities y of the hidden layers, and normalised states v of input and hidden layers."""
        y, v = [], [norm_rows(np.hstack([slot, x[:, slot.shape[1] :]]))]
        for W, b in zip(self.W, self.b, strict=True):
            y.append(np.maximum(0, v[-1] @ W + b))
            v.append(norm_rows(y[-1]))
        return y, v

    def probability(self, y):
        return logistic((y**2).sum(axis=1, keepdims=True) - y.shape[1])

    def batch(self, x, labels, u, gain):
        """One batch of images with their labels; u, a uniform number for each, draws the wrong label."""
        N, T = len(x), np.eye(self.S.shape[1])[labels]
        G, Gb = self.positive_phase(x, T)
        logits = self.train_softmax(x, T, gain)
        wrong = self.hard_labels(logits, T, u)
        y, v = self.up(x, wrong)
        for l in range(len(self.W)):
            d = -self.probability(y[l]) * y[l]
            G[l], Gb[l] = G[l] + v[l].T @ d, Gb[l] + d.sum(axis=0)
        for l in range(len(self.W)):
            self.G[l] = 0.9 * self.G[l] + 0.1 * G[l] / N
            self.Gb[l] = 0.9 * self.Gb[l] + 0.1 * Gb[l] / N
            self.W[l] = self.W[l] + gain * 0.01 * (self.G[l] - self.decay * self.W[l])
            self.b[l] = self.b[l] + gain * 0.01 * self.Gb[l]

    def positive_phase(self, x, T):
        y, v = self.up(x, T)
        G, Gb = [], []
        for l in range(len(self.W)):
            self.mu[l] = 0.9 * self.mu[l] + 0.1 * y[l].mean(axis=0)
            d = (1 - self.probability(y[l])) * y[l] + 0.03 * (self.mu[l].mean() - self.mu[l])
            G.append(v[l].T @ d)
            Gb.append(d.sum(axis=0))
        return G, Gb

    def train_softmax(self, x, T, gain):
        """One step of the softmax on the neutral label; returns the logits from before it."""
        _, v = self.up(x, np.full_like(T, 0.1))
        seen = np.hstack(v[2:])
        logits = seen @ self.S
        P = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        self.GS = 0.9 * self.GS + 0.1 * seen.T @ (T - P) / len(x)
        self.S = self.S + gain * 0.1 * (self.GS - 0.003 * self.S)
        return logits

    def hard_labels(self, logits, T, u):
        """One-hot labels drawn in proportion to what the softmax believes, the true ones out of the question."""
        P = np.exp(np.where(T == 1, -1000, logits))
        so_far = (P / P.sum(axis=1, keepdims=True)).cumsum(axis=1)
        return np.eye(T.shape[1])[(u[:, None] < so_far).argmax(axis=1)]


@each_backend
def test_ff_hinton2022_follows_the_matlab_program(k):
    """4 epochs of 5 batches in file order, the gain halving in the last two: weights, head and means stay the same."""
    preset, sizes, draw = PRESETS["ff-hinton2022"], (12, 9, 8, 7, 4), np.random.default_rng(17)
    x, y = draw.random((50, 12)), draw.integers(4, size=50)
    net = preset.rule.init(np.random.default_rng(3), sizes, preset.init, preset.bias, "float64")
    theirs = Matlab([layer.W for layer in net.layers], 4)
    net = put(k, net)
    state = preset.optimisers.init(k, net)
    for epoch in range(1, 5):
        gain = 1 if epoch <= 2 else (1 + 2 * (4 - epoch)) / 4
        for start in range(0, 50, 10):
            rows, seed = slice(start, start + 10), [epoch, start]
            theirs.batch(x[rows], y[rows], np.random.default_rng(seed).random(10), gain)
            for signals in preset.rule.signals(k, net, k.put(x[rows]), k.put(y[rows]), np.random.default_rng(seed)):
                net, _ = preset.optimisers.apply(k, net, signals, state, SCHEDULES[preset.schedule](epoch, 4))
    for l, (W, b) in enumerate(net.layers):
        assert_close(k.get(W), theirs.W[l], 1e-10)
        assert_close(k.get(b), theirs.b[l], 1e-10)
        assert_close(k.get(net.means[l]), theirs.mu[l], 1e-10)
    assert_close(k.get(net.head.W), theirs.S, 1e-10)


@each_backend
@given(p=problems())
def test_hintons_ascent_signals_are_minus_the_gradient_we_send(k, p):
    """(1 - p) y for a positive and -p y for a negative example, the factor 2 dropped: our mean over 2 B rows restores it."""
    rule = replace(ANY_DEPTH, tiny=np.exp(-100))
    net = network(k, rule, p, bias="zeros")
    theirs = Matlab([k.get(layer.W) for layer in net.layers], net.classes)
    phases = [theirs.up(p.x, np.eye(net.classes)[labels]) for labels in (p.y, p.wrong)]
    ours = gradients(k, net, contrasted(k, rule, net, p))
    for l in range(len(net.layers)):
        G = sum(v[l].T @ ((right - theirs.probability(y[l])) * y[l]) for right, (y, v) in zip((1, 0), phases, strict=True))
        assert_close(-ours[l][0], G / len(p.y))


# ----- Olsen: the Rust program -----


class Olsen(Matlab):
    """Hinton's, with dropout and twice the decay. `masks`: those of the batch's three passes, positive, neutral, negative."""

    decay = 0.002

    def up(self, x, slot):
        """Rows are normalised first; then activity and normalised activity lose the same units, the rest grow by 1 / 0.85."""
        y, v = [], [norm_rows(np.hstack([slot, x[:, slot.shape[1] :]]))]
        for W, b, mask in zip(self.W, self.b, self.masks.pop(0), strict=True):
            raw = np.maximum(0, v[-1] @ W + b)
            y.append(raw * mask)
            v.append(norm_rows(raw) * mask)
        return y, v


def olsens_draws(k, seed, units, B):
    """The masks of the three passes and the draws of the wrong labels, in the order in which the rule draws them."""
    rng = np.random.default_rng(seed)
    neutral, u, both = rng.integers(2**32, size=len(units)), rng.random(B), rng.integers(2**32, size=len(units))
    alone, twice = ([k.get(k.dropout(k.put(np.ones((rows, n))), 0.15, int(key))) for n, key in zip(units, keys, strict=True)]
                    for rows, keys in ((B, neutral), (2 * B, both)))
    return [[mask[:B] for mask in twice], alone, [mask[B:] for mask in twice]], u


@each_backend
def test_ff_olsen_follows_the_rust_program(k):
    """4 epochs of 5 batches, but for the shifts and for the schedule, which there lags by an epoch."""
    preset, sizes, draw = PRESETS["ff-olsen"], (12, 9, 8, 7, 4), np.random.default_rng(17)
    x, y = draw.random((50, 12)), draw.integers(4, size=50)
    net = preset.rule.init(np.random.default_rng(3), sizes, preset.init, preset.bias, "float64")
    theirs, net = Olsen([layer.W for layer in net.layers], 4), put(k, net)
    state = preset.optimisers.init(k, net)
    for epoch, start in itertools.product(range(1, 5), range(0, 50, 10)):
        rows, seed, gain = slice(start, start + 10), [epoch, start], SCHEDULES[preset.schedule](epoch, 4)
        theirs.masks, u = olsens_draws(k, seed, sizes[1:-1], 10)
        theirs.batch(x[rows], y[rows], u, gain)
        for signals in preset.rule.signals(k, net, k.put(x[rows]), k.put(y[rows]), np.random.default_rng(seed)):
            net, _ = preset.optimisers.apply(k, net, signals, state, gain)
    for l, (W, b) in enumerate(net.layers):
        assert_close(k.get(W), theirs.W[l], 1e-10)
        assert_close(k.get(b), theirs.b[l], 1e-10)
        assert_close(k.get(net.means[l]), theirs.mu[l], 1e-10)
    assert_close(k.get(net.head.W), theirs.S, 1e-10)


# ----- loeweX: a torch program -----


class StraightThrough(torch.autograd.Function):
    """A ReLU whose gradient passes as if it were not there."""

    @staticmethod
    def forward(ctx, z):
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Loewe:
    """loeweX's model: one loss over all layers and the softmax, torch's SGD with L2 in the gradient, biases included."""

    def __init__(self, layers, classes, peer=0.03):
        self.peer = peer
        self.layers = [[torch.tensor(a, requires_grad=True) for a in layer] for layer in layers]
        self.means = [torch.full((len(b),), 0.5, dtype=torch.float64) for _, b in self.layers]
        self.softmax = torch.zeros(sum(len(b) for _, b in self.layers[1:]), classes, dtype=torch.float64, requires_grad=True)
        main = [a for layer in self.layers for a in layer]
        self.sgd = torch.optim.SGD([{"params": main, "lr": 1e-3, "weight_decay": 3e-4},
                                    {"params": [self.softmax], "lr": 1e-2, "weight_decay": 3e-3}], momentum=0.9)

    def normalise(self, z):
        return z / ((z**2).mean(dim=1, keepdim=True).sqrt() + 1e-8)

    def batch(self, x, y, wrong, epoch, epochs):
        """`epoch` counts from 0."""
        cooling = 2 * (1 + epochs - epoch) / epochs if epoch > epochs // 2 else 1
        for group, rate in zip(self.sgd.param_groups, (1e-3, 1e-2), strict=True):
            group["lr"] = rate * cooling
        self.sgd.zero_grad()
        (self.layer_losses(x, np.eye(self.softmax.shape[1])[np.concatenate([y, wrong])]) + self.softmax_loss(x, y)).backward()
        self.sgd.step()

    def layer_losses(self, x, labels):
        z, loss, N = torch.tensor(np.vstack([x, x])), 0, len(x)
        z[:, : labels.shape[1]] = torch.tensor(labels)
        z, positive = self.normalise(z), torch.tensor([1.0] * N + [0.0] * N, dtype=torch.float64)
        for l, (W, b) in enumerate(self.layers):
            z = StraightThrough.apply(z @ W + b)
            self.means[l] = 0.9 * self.means[l].detach() + 0.1 * z[:N].mean(dim=0)
            loss = loss + self.peer * ((self.means[l].mean() - self.means[l]) ** 2).mean()
            loss = loss + binary_cross_entropy_with_logits((z**2).sum(dim=1) - z.shape[1], positive)
            z = self.normalise(z.detach())
        return loss

    def softmax_loss(self, x, y):
        z, seen = torch.tensor(x), []
        z[:, : self.softmax.shape[1]] = 0.1
        with torch.no_grad():
            z = self.normalise(z)
            for W, b in self.layers:
                z = self.normalise(torch.relu(z @ W + b))
                seen.append(z)
        return cross_entropy(torch.hstack(seen[1:]) @ self.softmax, torch.tensor(y))


@each_backend
def test_ff_loewe_follows_its_torch_program(k):
    """6 epochs of 4 batches, the rate cooling in the last two; the peer term scaled to the width, 0.03 * 0.2 / 8."""
    preset, sizes, draw = PRESETS["ff-loewe"], (12, 8, 8, 8, 4), np.random.default_rng(17)
    rule, x, y = replace(preset.rule, peer=0.03 * 0.2 / 8), draw.random((40, 12)), draw.integers(4, size=40)
    net = rule.init(np.random.default_rng(3), sizes, preset.init, preset.bias, "float64")
    theirs, net = Loewe(net.layers, 4), put(k, net)
    state = preset.optimisers.init(k, net)
    for epoch in range(1, 7):
        for start in range(0, 40, 10):
            a, b, seed = x[start : start + 10], y[start : start + 10], [epoch, start]
            wrong = NEGATIVES["uniform"](k, k.put(b), k.put(np.zeros((10, 4))), np.random.default_rng(seed))
            theirs.batch(a, b, k.get(wrong), epoch - 1, 6)
            for signals in rule.signals(k, net, k.put(a), k.put(b), np.random.default_rng(seed)):
                net, _ = preset.optimisers.apply(k, net, signals, state, SCHEDULES[preset.schedule](epoch, 6))
    for (W, b), (V, c), m, mean in zip(net.layers, theirs.layers, net.means, theirs.means, strict=True):
        assert_close(k.get(W), V.detach().numpy(), 1e-10)
        assert_close(k.get(b), c.detach().numpy(), 1e-10)
        assert_close(k.get(m), mean.detach().numpy(), 1e-10)
    assert_close(k.get(net.head.W), theirs.softmax.detach().numpy(), 1e-10)


@each_backend
@given(p=problems())
def test_a_straight_through_relu_is_ours_but_for_the_peer_term(k, p):
    """A silent unit has no goodness to gain or lose, so the gradient let through it is zero."""
    net = network(k, ANY_DEPTH, p)
    theirs = Loewe([[k.get(a) for a in layer] for layer in net.layers], net.classes, peer=0)
    theirs.layer_losses(p.x, np.eye(net.classes)[np.concatenate([p.y, p.wrong])]).backward()
    for l, (dW, db) in gradients(k, net, contrasted(k, ANY_DEPTH, net, p)).items():
        assert_close(dW, theirs.layers[l][0].grad.numpy())
        assert_close(db, theirs.layers[l][1].grad.numpy())


@each_backend
@given(p=problems())
def test_loewes_peer_loss_is_ours_at_a_fraction_of_the_strength(k, p):
    """0.03 mean_j (mean(m) - m_j)^2 through m = 0.9 m0 + 0.1 mean h, h straight through: our strength 0.03 * 0.2 / D."""
    for D in set(p.sizes[1:-1]):
        rule = replace(ANY_DEPTH, peer=0.03 * 0.2 / D)
        net = network(k, rule, p._replace(sizes=(p.sizes[0], D, p.sizes[-1])))
        signals = contrasted(k, rule, net, p)
        pre = torch.tensor(k.get(signals.layers[0][1].pre))
        W, b = (torch.tensor(k.get(a), requires_grad=True) for a in net.layers[0])
        m = 0.9 * torch.tensor(k.get(net.means[0])) + 0.1 * StraightThrough.apply(pre @ W + b).mean(dim=0)
        dW, db = torch.autograd.grad(0.03 * ((m.mean() - m) ** 2).mean(), (W, b))
        ours = k.gradient(net.layers[0], signals.layers[0][1:], signals.rows)
        np.testing.assert_allclose(k.get(ours[0]), dW, rtol=0, atol=1e-14)  # m is of order 1, but may cancel to nothing
        np.testing.assert_allclose(k.get(ours[1]), db, rtol=0, atol=1e-14)


# ----- mpezeshki's demo -----


@each_backend
@given(p=problems())
def test_ff_mpezeshki_sends_its_closed_gradient(k, p):
    """dL/dz = (p_pos - 1 | p_neg) (2 / D) h / 2N and dW = dz^T x~ with x~ = x / (|x| + 1e-4), p = sigmoid(mean h^2 - 2)."""
    rule = PRESETS["ff-mpezeshki"].rule
    net, N, brightest = network(k, rule, p), len(p.y), (1 - 0.1307) / 0.3081
    ours = gradients(k, net, contrasted(k, rule, net, p))
    x = np.vstack([p.x, p.x])
    x[:, : net.classes] = 0
    x[np.arange(2 * N), np.concatenate([p.y, p.wrong])] = brightest
    for l, (W, b) in enumerate(net.layers):
        x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-4)
        h = np.maximum(x @ k.get(W) + k.get(b), 0)
        belief = logistic((h**2).mean(axis=1, keepdims=True) - 2)
        belief[:N] -= 1
        dz = belief * (2 / h.shape[1]) * h / (2 * N)
        assert_close(ours[l][0], x.T @ dz)
        assert_close(ours[l][1], dz.sum(axis=0))
        x = h
