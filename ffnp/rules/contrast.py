"""Forward-Forward (Hinton 2022, arXiv:2212.13345): each layer learns from two forward passes, none backward.

    forward    h_l = relu(xhat_{l-1} W_l + b_l),  xhat = h / rms(h): only the direction of h goes up
    goodness   G_l = sum_j h_j^2,  p = sigmoid(G_l - theta): the layer's belief that the example is positive
    loss       -log p for a positive, -log(1 - p) for a negative example, in each layer on its own
    signals    pre = xhat_{l-1},  post = (p - 1) h_l for positive and p h_l for negative rows
    peer       post = strength (m - mean_j m) to all positive rows, m the running mean activity: revives silent units
    softmax    one pass that is told no class; a linear softmax (the head) on the normalised activities

Two later losses change nothing but what each row's goodness is held against:

    SymBa      softplus(-alpha (G_pos - G_neg)), no threshold (Lee & Song 2023, arXiv:2303.08418). That is the logistic loss
               with the goodness of its partner in the other pass as the threshold of each row, and alpha before the margin
    together   p = sigmoid(G_l + gamma_l - theta), gamma_l the goodness of all other layers, which gets no gradient (layer
               collaboration: Lorberbom et al. 2024, arXiv:2305.12393): the threshold theta - gamma_l. The paper trains the
               layers in turns; here all learn from the same two passes

What makes an example positive or negative is the business of `forward_forward` and `unsupervised`.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels, Pair
from ..net import Net, dense, stack
from ..optim import Signals
from .rule import one_of, proper_rate

Answer = tuple[Array, Array]  # of a layer: h (B, O) and its sums of squares (B,)


@dataclass(frozen=True)
class Contrast:
    """The choices. Raises UserError for one that does not exist or does not go with another.

    `goodness`: "sum" or "mean" of squares. `theta`: threshold, times the number of units if `theta_per_unit`.
    `loss`: "logistic" or "symba"; `alpha`: factor on its margin; `collaborate`: layers believe together (see above).
    `norm`: rows get root mean square 1 ("rms"), length 1 ("l2"), or stay as they are ("none"); `tiny` is added to that
    norm; `norm_input`: the input too.
    `dropout`: rate at which a hidden unit is left out of its layer's goodness, of what goes up and of what the head sees,
    after normalisation (Olsen's program). The signal is then 1 - `dropout` of the gradient, as there.
    `peer`: strength of peer normalisation, `peer_keep` of its running mean.
    `softmax_from`: the first layer (from 1) that the head sees; None: no head.
    `sparing`: rows that a layer is sure of, where |p - t| is below the rounding error of numbers near 1, are left out of its
    update, which they could change by no more than that.
    """

    goodness: str = "sum"
    theta: float = 1.0
    theta_per_unit: bool = True
    loss: str = "logistic"
    alpha: float = 1.0
    collaborate: bool = False
    norm: str = "rms"
    norm_input: bool = True
    tiny: float = 1e-8
    dropout: float = 0.0
    peer: float = 0.0
    peer_keep: float = 0.9
    softmax_from: int | None = 2
    sparing: bool = True

    def __post_init__(self) -> None:
        one_of("goodness", self.goodness, ("sum", "mean"))
        one_of("loss", self.loss, ("logistic", "symba"))
        one_of("norm", self.norm, ("rms", "l2", "none"))
        if not self.alpha > 0:
            raise UserError(f"alpha must be above 0, not {self.alpha}")
        proper_rate("dropout", self.dropout)
        if not (self.tiny >= 0 and self.peer >= 0 and 0 <= self.peer_keep <= 1):
            raise UserError("tiny >= 0, peer >= 0 and 0 <= peer_keep <= 1 must hold, "
                            f"not {self.tiny}, {self.peer}, {self.peer_keep}")

    def network(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        """Hidden layers, head and running means for `sizes` = what the first layer receives, hidden widths ..., classes.

        Raises UserError for a `softmax_from` above the top layer.
        """
        *widths, classes = sizes
        first_layer("softmax_from", self.softmax_from, len(widths) - 1)
        layers = stack(rng, widths, init, bias, dtype)
        features = sum(widths[self.softmax_from :]) if self.softmax_from else 0
        head = dense(rng, features, classes, "zeros", None, dtype) if features else None
        means = tuple(np.full(units, 0.5, dtype) for units in widths[1:]) if self.peer else ()
        return Net(layers, classes, head, means)

    # ----- learning -----

    def keys(self, rng: np.random.Generator, net: Net) -> list[int]:
        """What fixes the dropout masks of one pass, one number a layer; nothing is drawn where nothing is dropped."""
        return rng.integers(2**32, size=len(net.layers)).tolist() if self.dropout else []

    def contrast(
        self, k: Kernels, net: Net, positive: Array, negative: Array, trained: Sequence[int], keys: Sequence[int] = (),
        first: Answer | None = None,
    ) -> Signals:
        """The rule itself: the signals to the `trained` layers for B positive and B negative inputs. Nothing is drawn here.

        Both passes run as one of 2 B rows, the positive ones first; row i of one is the partner of row i of the other.
        `first`: as in `forward`, for all 2 B rows.
        """
        upto = len(net.layers) if self.collaborate else max(trained, default=-1) + 1
        passes = list(itertools.islice(self.forward(k, net, k.vstack(positive, negative), keys, first), upto))
        return self.compare(k, net, passes, len(positive), trained, keys)

    def compare(
        self, k: Kernels, net: Net, passes: Sequence[tuple[Array, Array, Array]], B: int, trained: Sequence[int],
        keys: Sequence[int],
    ) -> Signals:
        """The signals of what `forward` has found for B positive rows and B negative ones below them."""
        hs = [self.masked(k, h, keys, l) for l, (_, h, _) in enumerate(passes)]
        squares = [k.sum_squares(h) for h in hs] if keys else [own for _, _, own in passes]  # (2 B,) each
        thetas = self.thresholds(k, hs, squares)
        targets = k.put(np.repeat([1, 0], B).astype(net.layers[0].W.dtype))
        pairs, means, losses = {}, list(net.means), []
        for l in trained:
            share, least = self.alpha * self.share(hs[l]), np.finfo(hs[l].dtype).eps / 2 if self.sparing else 0.0
            post, loss = k.goodness_signal(hs[l], squares[l], targets, thetas[l], share, least)
            pairs[l] = [Pair(passes[l][0], post)]
            losses.append(loss)
            if self.peer:
                means[l], peer = k.peer_signal(means[l], hs[l][:B], self.peer_keep, self.peer)
                pairs[l].append(Pair(passes[l][0][:B], peer))
        return Signals(B, pairs, replaced={"means": tuple(means)}, metrics={"loss": losses})

    def thresholds(self, k: Kernels, hs: Sequence[Array], squares: Sequence[Array]) -> list[Array]:
        """What alpha times each row's goodness is held against: for every layer h (2 B, O) an array (2 B,)."""
        goods = [k.scale(s, self.share(h)) for h, s in zip(hs, squares, strict=True)]
        beliefs = [functools.reduce(lambda a, b: k.add(a, b, 1.0), goods)] * len(goods) if self.collaborate else goods
        thetas = []
        for h, own, belief in zip(hs, goods, beliefs, strict=True):
            if self.loss == "symba":
                theta = k.take(belief, np.roll(np.arange(len(h)), len(h) // 2))  # that of the partner
            else:
                theta = k.put(np.full(len(h), self.threshold(h), h.dtype))
            if self.collaborate:
                theta = k.add(theta, k.add(belief, own, -1.0), -1.0)  # less what the others believe
            thetas.append(k.scale(theta, self.alpha))
        return thetas

    def forward(
        self, k: Kernels, net: Net, x: Array, keys: Sequence[int] = (), first: Answer | None = None
    ) -> Iterator[tuple[Array, Array, Array]]:
        """What each layer receives (B, I), answers (B, O), and the answer's sum of squares (B,), bottom up, for inputs x. With
        `keys`, units drop out on the way up; each answer is whole. `first`: the first layer's answer and its squares, where
        they are known already."""
        received = self.normalise(k, x) if self.norm_input else x
        h, squares = first or k.dense_squares(received, *net.layers[0], "relu")
        yield received, h, squares
        yield from self.upward(k, net, h, keys)

    def upward(self, k: Kernels, net: Net, h: Array, keys: Sequence[int] = ()) -> Iterator[tuple[Array, Array, Array]]:
        """As `forward`, above the first layer, which answers h."""
        for l, layer in enumerate(net.layers[1:]):
            received = self.masked(k, self.normalise(k, h), keys, l)
            h, squares = k.dense_squares(received, *layer, "relu")
            yield received, h, squares

    def masked(self, k: Kernels, h: Array, keys: Sequence[int], l: int) -> Array:
        """h with the mask of layer l."""
        return k.dropout(h, self.dropout, keys[l]) if keys else h

    def normalise(self, k: Kernels, h: Array) -> Array:
        """The rows of h (B, O), as `norm` has them.  -> (B, O)."""
        return h if self.norm == "none" else k.normalise(h, self.root(h.shape[1]), self.tiny)

    def root(self, units: int) -> float:
        """The length of a normalised row."""
        return units**0.5 if self.norm == "rms" else 1.0

    def threshold(self, h: Array) -> float:
        """theta of a layer that answers h (B, O)."""
        return self.theta * h.shape[1] if self.theta_per_unit else self.theta

    def share(self, h: Array) -> float:
        """d goodness / d(sum of squares)."""
        return 1.0 if self.goodness == "sum" else 1.0 / h.shape[1]

    # ----- the head -----

    def unlabelled(self, k: Kernels, net: Net, x: Array) -> Array:
        """The input of a pass that is told no class, for images x."""
        return x

    def features(self, k: Kernels, net: Net, x: Array) -> Array:
        """What the head sees of images x, (B, its inputs)."""
        return self.seen(k, list(self.forward(k, net, self.unlabelled(k, net, x))))

    def seen(self, k: Kernels, passes: Sequence[tuple[Array, Array, Array]], keys: Sequence[int] = ()) -> Array:
        """What the head sees of what `forward` has found: the normalised activities of the counted layers (B, their units). All
        but the top one's are what the layer above has received."""
        top = self.masked(k, self.normalise(k, passes[-1][1]), keys, len(passes) - 1)
        ups = [*(received for received, _, _ in passes[1:]), top]
        return k.hstack(*ups[(self.softmax_from or 1) - 1 :])

    def head_signal(
        self, k: Kernels, net: Net, passes: Sequence[tuple[Array, Array, Array]], y: Array, keys: Sequence[int]
    ) -> tuple[list[Pair], Array, float]:
        """The head's pairs, its logits (B, C), its cross-entropy for what `forward` has found; the layers are sent nothing."""
        assert net.head is not None  # softmax_from makes one
        features = self.seen(k, passes, keys)
        logits = k.dense(features, *net.head, "linear")
        delta, loss = k.softmax_error(logits, y)
        return [Pair(features, delta)], logits, loss

    def by_softmax(self, k: Kernels, net: Net, x: Array) -> np.ndarray:
        """The head's logits in one pass, (B, C)."""
        assert net.head is not None
        return k.get(k.dense(self.features(k, net, x), *net.head, "linear"))

    # ----- what happens inside -----

    def activities(self, k: Kernels, net: Net, inputs: Iterable[Array]) -> Iterator[list[Array]]:
        """For each chunk of inputs what the layers answer, (B, O) each."""
        return ([h for _, h, _ in self.forward(k, net, rows)] for rows in inputs)


def first_layer(name: str, number: int | None, hidden: int) -> None:
    """Raises UserError unless there is a hidden layer of this number, from 1, or it is None."""
    if number is not None and not 1 <= number <= hidden:
        raise UserError(f"{name} is layer {number}, but the network has {hidden} hidden layers")
