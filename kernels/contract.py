"""What every backend computes. A backend is a module or an object with these functions; nothing else describes a kernel.

Letters: `B` rows of a batch, `I` inputs and `O` outputs of a layer, `C` classes; `W (I, O)` and `b (O,)` weights, `x`
input, `z` pre-activation, `h` activity, `delta` error signal, `y (B,)` integer labels, `e = P - Y` output error.
Arrays are C-contiguous, float32 or, on the host, float64, and a result has the dtype of the arguments; labels are int64.
Above this floor an array may live on a device: it has `.shape`, `.dtype` and `len`, and `a[i:j]` gives its rows; all else
goes through a kernel. So that nothing has to wait for a device, what is chosen or drawn on the host comes from there as a
NumPy array (`rows` of `take`, `moves`, `columns`, `u`), and a *number* (a loss, a sum of squares) may stay there:
`get(number).item()`.

Errors: shapes that do not fit raise ValueError (or the backend's own error), and outside *moving data* a float array
that is not C-contiguous or neither float32 nor float64 raises ValueError or TypeError. A device does not look at labels: it
answers NaN for one that does not exist. No kernel changes an argument, except the two `*_step`s, which write the layer and its
memory in place.
"""

from typing import Any, NamedTuple, Protocol

Array = Any  # np.ndarray on the host backends, a device array elsewhere
Number = Any  # float on the host backends, a device array (1,) elsewhere
Layer = tuple[Array, Array]  # W (I, O) and b (O,); b is None in a layer without biases


class Pair(NamedTuple):
    """What a layer received and the signal it was sent: the two factors of a weight change.

    `pre (B, I)`, `post (B, O)`. A `post` of one row is sent to every row of `pre`.
    """

    pre: Array
    post: Array


class Momentum(NamedTuple):
    """Coefficients of one velocity step: v <- keep v + gain (dW + l2 W);  W <- (1 - decay) W - rate v."""

    keep: float
    gain: float
    rate: float
    decay: float = 0.0
    l2: float = 0.0
    decay_biases: bool = False


class Adam(NamedTuple):
    """Coefficients of one Adam step (Kingma & Ba 2015, algorithm 1); `correct1 = 1 - beta1^t`, `correct2 = 1 - beta2^t`."""

    beta1: float
    beta2: float
    correct1: float
    correct2: float
    epsilon: float
    rate: float
    decay: float = 0.0
    l2: float = 0.0
    decay_biases: bool = False


class Kernels(Protocol):
    """The kernels, grouped by what they serve.

    >>> import numpy as np
    >>> from ffnp.kernels import reference as k
    >>> x, W, b = np.array([[1.0, 2.0]]), np.array([[3.0, -1.0], [0.0, 1.0]]), np.zeros(2)
    >>> h, squares = k.dense_squares(x, W, b, "relu")
    >>> h, squares
    (array([[3., 1.]]), array([10.]))
    >>> k.normalise(h, root=2**0.5, tiny=0.0).round(3)  # mean square 1
    array([[1.342, 0.447]])
    >>> signal, loss = k.goodness_signal(h, squares, np.array([1.0]), np.array([10.0]), share=1.0, least=0.0)
    >>> signal, round(loss, 3)  # at its threshold p is 1/2, and a positive row is sent (p - 1) h
    (array([[-1.5, -0.5]]), 0.693)
    >>> dW, db = k.gradient((W, b), [Pair(x, signal)], rows=1)
    >>> dW
    array([[-1.5, -0.5],
           [-3. , -1. ]])
    """

    # ----- moving data -----

    def put(self, a: Array) -> Array:
        """A NumPy array, copied to where this backend computes.  Any shape -> the same."""

    def get(self, a: Array | Number) -> Array:
        """The array, or the number, as a NumPy array on the host.  Any shape -> the same."""

    def take(self, a: Array, rows: Array) -> Array:
        """Rows of `a`, numbers or labels, by integer index (n,) -> (n, ...). Raises IndexError out of range."""

    def vstack(self, *parts: Array) -> Array:
        """Rows one below the other: (B1, I), (B2, I), ... -> (B1 + B2 + ..., I)."""

    def hstack(self, *parts: Array) -> Array:
        """Columns side by side: (B, I1), (B, I2), ... -> (B, I1 + I2 + ...)."""

    # ----- number by number -----

    def add(self, a: Array, b: Array, factor: float) -> Array:
        """a + factor b.  Two arrays of one shape -> that shape."""

    def scale(self, a: Array, factor: float) -> Array:
        """factor a.  Any shape -> the same."""

    def rescale(self, a: Array, like: Array, deviation: float, power: float) -> Array:
        """(deviation / the standard deviation of `like`)^power a.  Any two shapes -> the first; `like` is not constant."""

    def sign(self, a: Array) -> Array:
        """-1, 0 or 1 for each number.  Any shape -> the same."""

    def blend(self, mask: Array, a: Array, b: Array) -> Array:
        """a where the mask is 1, b where it is 0: a hybrid image.  (B, I) (B, I) (B, I) -> (B, I)."""

    def shift(self, x: Array, moves: Array, shape: tuple[int, ...]) -> Array:
        """Row i, an image of `shape` (height, width[, channels]), moved down and right by moves[i]; zeros come in.

        (B, I) (B, 2) integers of any size -> (B, I). Raises ValueError unless an image of this shape has I numbers.
        """

    # ----- dense layers -----

    def dense(self, x: Array, W: Array, b: Array | None, activation: str) -> Array:
        """f(x W + b), f of `activation`: "linear", "relu" max(z, 0) or "tanh".  (B, I) (I, O) (O,) -> (B, O)."""

    def dense_squares(self, x: Array, W: Array, b: Array | None, activation: str) -> tuple[Array, Array]:
        """h as `dense`, and sum_j h_ij^2: a layer with its goodness.  (B, I) (I, O) (O,) -> (B, O), (B,)."""

    def gate(self, delta: Array, h: Array, activation: str) -> Array:
        """delta * f'(z), f' read off the activity: ReLU [h > 0], tanh 1 - h^2.  (B, O) (B, O) -> (B, O)."""

    def project(self, delta: Array, M: Array) -> Array:
        """delta M^T: an error brought back through W, or through a feedback matrix.  (B, O) (I, O) -> (B, I)."""

    def patch(self, z: Array, x: Array, to: Array, W: Array, columns: Array) -> Array:
        """z + (to - x)_S W_S, S = `columns` (n,): what z = x W becomes where these inputs take their values from `to`.

        (B, O) (B, I) (B, I) (I, O) (n,) different integers -> (B, O). Raises IndexError for a column >= I.
        """

    def activate(
        self, z: Array, factor: Array | None, rows: Array | None, labels: Array | None, b: Array | None, activation: str
    ) -> tuple[Array, Array]:
        """h_i = f(factor_i (z_i + rows[labels_i]) + b) and sum_j h_ij^2: a layer from a product z = x W known already.

        (B, O) (B,) (C, O) (B,) (O,) -> (B, O), (B,); f as in `dense`. Without `factor` it is 1; `rows` and `labels` come
        together or not at all. With `factor` = 1 / norm this is `dense` of the normalised input, since (x / r) W = (x W) / r;
        `rows` holds what a label that is written into the input adds to the product.
        """

    def dropout(self, h: Array, rate: float, key: int) -> Array:
        """h / (1 - rate) where the unit is kept, else 0 (Srivastava et al. 2014, inverted).  (B, O) -> (B, O).

        A unit is kept when the hash of (key, its position) is at least rate * 2^32, so the same key gives the same mask
        on every backend, on the way forward and on the way back. `0 <= rate < 1`, `0 <= key < 2^32`.
        """

    # ----- classes -----

    def one_hot(self, y: Array, classes: int, value: float, like: Array) -> Array:
        """Y[i, y_i] = value, else 0, in the dtype of `like`.  (B,) -> (B, C). Raises IndexError for a label >= C."""

    def softmax(self, z: Array) -> Array:
        """exp(z) / sum exp(z) per row, without overflow.  (B, C) -> (B, C)."""

    def softmax_error(self, z: Array, y: Array) -> tuple[Array, Number]:
        """e = P - Y, the gradient of the cross-entropy in z, and its mean -log P[y].  (B, C) (B,) -> (B, C), number."""

    def draw_wrong(self, z: Array, y: Array, u: Array) -> Array:
        """A label from softmax(z) with the true class taken out: never y.  (B, C) (B,) u (B,) in [0, 1) -> (B,) integers.

        Inverse cumulative sum: the first class with u * total < sum so far. Hinton 2022's hard negatives (his MATLAB code);
        equal logits give a uniformly wrong label. `C >= 2`.
        """

    def agreement(self, a: Array, b: Array) -> Number:
        """The share of places where two rows of labels agree; 0 if there are none.  (B,) (B,) -> number."""

    # ----- Forward-Forward (Hinton 2022) -----

    def overlay(self, x: Array, Y: Array) -> Array:
        """x with its first C inputs replaced by Y.  (B, I) (B, C) -> (B, I), `C <= I`."""

    def normalise(self, h: Array, root: float, tiny: float) -> Array:
        """h / (|h| / root + tiny) per row: sqrt(O) as root makes the mean square 1. A zero row stays.  (B, O) -> (B, O)."""

    def inverse_norm(self, squares: Array, more: float, root: float, tiny: float) -> Array:
        """1 / (sqrt(s + more) / root + tiny): what `normalise` multiplies a row by, of its sum of squares s; 1 where s + more
        is 0.  (B,) -> (B,). `more` is the square of what has been written into every row since."""

    def normalise_batch(self, h: Array) -> Array:
        """h / ||h||, the Frobenius norm of all rows together; zeros stay.  (B, O) -> (B, O).

        Srinivasan et al. 2024, as their published code normalises activity.
        """

    def sum_squares(self, h: Array) -> Array:
        """sum_j h_j^2 per row.  (B, O) -> (B,)."""

    def goodness_signal(
        self, h: Array, squares: Array, positive: Array, theta: Array, share: float, least: float
    ) -> tuple[Array, Number]:
        """(p - t) share h with p = sigmoid(G - theta), t = `positive` 1 or 0.  (B, O) (B,) (B,) (B,) -> (B, O), number.

        The goodness G is `share` of the sum of squares: 1 for the sum, 1 / O for the mean; each row has its own threshold
        theta. The signal is half the gradient in z of the logistic loss softplus((1 - 2 t) (G - theta)) through a ReLU
        layer; the number is the mean loss. A row with |p - t| <= `least` is sent zeros. Stable at any margin. Hinton 2022,
        section 2.
        """

    def peer_signal(self, mean: Array, h: Array, keep: float, strength: float) -> tuple[Array, Array]:
        """The running mean activity m <- keep m + (1 - keep) mean_B(h), then strength (m - mean_j m).

        (O,) (B, O) -> (O,) (1, O), `B >= 1`. Hinton's peer normalisation: it draws every unit's mean activity to the
        layer's, dead units included.
        """

    # ----- from signals to a step -----

    def gradient(self, layer: Layer, pairs: list[Pair], rows: int) -> Layer:
        """dW = sum_k pre_k^T post_k / rows and db = sum of the posts / rows (None without biases).  -> (I, O), (O,).

        At least one pair. A row whose post is all zero adds nothing, whatever its `pre`, as long as that is finite.
        """

    def momentum_step(self, layer: Layer, velocity: Layer, pairs: list[Pair], rows: int, c: Momentum) -> Number:
        """One velocity step, in place (see `Momentum`). Returns the sum of squares of the new weights and biases:
        not finite as soon as one of them is not."""

    def adam_step(self, layer: Layer, first: Layer, second: Layer, pairs: list[Pair], rows: int, c: Adam) -> Number:
        """One Adam step, in place; returns as `momentum_step`. m <- b1 m + (1 - b1) g;  s <- b2 s + (1 - b2) g^2;
        W <- (1 - decay) W - rate (m / correct1) / (sqrt(s / correct2) + epsilon),  g = dW + l2 W."""
