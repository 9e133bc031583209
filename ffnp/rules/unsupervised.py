"""Unsupervised Forward-Forward (Hinton 2022, arXiv:2212.13345, section 3.2): no label is needed to tell a digit from a mess.

    positive   an image x1
    negative   a hybrid m x1 + (1 - m) x2: x2 another image, m a mask with large regions of ones and zeros, made by blurring
               random bits with [1/4, 1/2, 1/4] in both directions, many times, and asking where the result is above 1/2.
               Strokes are locally right and globally wrong, so layers must learn shapes, not strokes
    read-out   a linear softmax (the head) on the normalised activities of the later layers. It alone sees labels

How layers learn stands in `contrast`.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from ..kernels.contract import Array, Kernels
from ..net import Net
from ..optim import Signals
from .contrast import Contrast
from .rule import Moment, ReadOut, chunks, dead_units, error, scores


@dataclass(frozen=True)
class UnsupervisedForwardForward(Contrast):
    """The choices beside those of `Contrast`. Raises UserError for one that cannot work.

    `blurs`: how often a mask is blurred. `shape` of an image, (height, width[, channels]); an image of other than two or
    three axes, or of no shape, is blurred as one row of inputs. `train` fills in that of its data.
    """

    blurs: int = 6
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.softmax_from:
            raise UserError("without labels in the input only a head tells the class: softmax_from must name a layer")
        if self.blurs < 0:
            raise UserError(f"blurs must be at least 0, not {self.blurs}")

    def init(self, rng: np.random.Generator, sizes: Sequence[int], init: str, bias: str | None, dtype: str) -> Net:
        if self.shape and math.prod(self.shape) != sizes[0]:
            raise UserError(f"images of shape {self.shape} do not have {sizes[0]} inputs")
        return self.network(rng, sizes, init, bias, dtype)

    def stages(self, net: Net) -> int:
        return 1

    # ----- learning -----

    def signals(
        self, k: Kernels, net: Net, x: Array, y: Array, rng: np.random.Generator, moment: Moment = Moment()
    ) -> Iterator[Signals]:
        keys = self.keys(rng, net)
        passes = list(self.forward(k, net, k.vstack(x, self.hybrids(k, x, rng)), keys))
        own = [(received[: len(x)], h[: len(x)], squares[: len(x)]) for received, h, squares in passes]  # the images' pass
        head, _, head_loss = self.head_signal(k, net, own, y, keys)
        layers = self.compare(k, net, passes, len(x), range(len(net.layers)), keys)
        yield layers._replace(head=head, metrics={**layers.metrics, "head_loss": head_loss})

    def hybrids(self, k: Kernels, x: Array, rng: np.random.Generator) -> Array:
        """Each image of x (B, I) blended with another, so many rows further on for all: never itself, if B > 1."""
        B, I = x.shape
        height, width, *channels = self.shape if len(self.shape) in (2, 3) else (1, I)
        m = masks(rng, B, height, width, self.blurs).reshape(B, -1)
        m = m.repeat(math.prod(channels), axis=1).astype(x.dtype)  # (B, I): a pixel's channels share its bit
        others = k.take(x, np.roll(np.arange(B), rng.integers(1, max(B, 2))))
        return k.blend(k.put(m), x, others)

    # ----- telling the class, and what happens inside -----

    def read_outs(self) -> dict[str, ReadOut]:
        return {"softmax": self.by_softmax}

    def diagnose(self, k: Kernels, net: Net, x: Array, y: Array) -> dict[str, Any]:
        """Also per layer: the mean goodness of images and of hybrids, the same ones every time."""
        rng = np.random.default_rng(0)
        return {
            "error": {"softmax": error(scores(self.by_softmax, k, net, x), k.get(y))},
            "goodness_positive": self.mean_goodness(k, net, chunks(x)),
            "goodness_negative": self.mean_goodness(k, net, (self.hybrids(k, rows, rng) for rows in chunks(x))),
            "dead_units": dead_units(k, self.activities(k, net, chunks(x))),
        }

    def mean_goodness(self, k: Kernels, net: Net, inputs: Iterable[Array]) -> list[float]:
        """Per layer, over all rows of the inputs."""
        goods = [[self.share(h) * k.get(squares) for _, h, squares in self.forward(k, net, rows)] for rows in inputs]
        return [float(np.concatenate(layer).mean()) for layer in zip(*goods, strict=True)]


def masks(rng: np.random.Generator, n: int, height: int, width: int, blurs: int) -> np.ndarray:
    """n masks (n, height, width) of True and False. In float64 the blurred bits are exact, up to 13 blurs."""
    bits = rng.integers(2, size=(n, height, width))
    return blur(height, blurs) @ bits @ blur(width, blurs) > 0.5


def blur(n: int, times: int) -> np.ndarray:
    """The symmetric matrix (n, n) that blurs a line of n pixels so often; beyond its ends the last pixel goes on.

    >>> blur(3, times=1)
    array([[0.75, 0.25, 0.  ],
           [0.25, 0.5 , 0.25],
           [0.  , 0.25, 0.75]])
    """
    once = np.eye(n) / 2 + (np.eye(n, k=1) + np.eye(n, k=-1)) / 4
    once[0, 0] += 1 / 4
    once[-1, -1] += 1 / 4
    return np.linalg.matrix_power(once, times)
