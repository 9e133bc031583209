"""How fast a card is at most, how fast the kernels are on it, and how fast torch trains there.

The limits are measured, not taken from a data sheet: what a large copy moves, and what threads compute that do nothing else.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from cases import PRODUCTS, Sizes, arguments, assert_product, factors, multiplication
from host import STAY, leaves, mapped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot, softplus

from ffnp.kernels.cuda.language import cuda, float32, uint32, void
from ffnp.kernels.cuda.table import Kernel


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The mean time of one, once all is compiled and warm."""
    work()
    cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    cuda.synchronize()
    return (time.perf_counter() - start) / repeats


# ----- the card -----


class Limits(NamedTuple):
    """Bytes and floating-point operations a second."""

    bandwidth: float
    arithmetic: float


def multiply_add(a, b, steps, out):
    """Eight chains of fused multiply-adds: none waits for another, and none for memory."""
    x = cuda.local.array(8, float32)
    for chain in range(uint32(8)):
        x[chain] = float32(chain)
    for _ in range(uint32(0), steps, uint32(16)):
        for _ in range(uint32(16)):  # unrolled, so that there is little to do but multiply and add
            for chain in range(uint32(8)):
                x[chain] = x[chain] * a + b
    total = float32(0)
    for chain in range(uint32(8)):
        total += x[chain]
    out[uint32(cuda.grid(1))] = total


CHAINS = Kernel("multiply_add", multiply_add, void(float32, float32, uint32, float32[::1]), (256,), 32)


def limits(k: Any, numbers: int, steps: int, device: str) -> Limits:
    """Found by a copy of so many numbers, and by a thread for each 256 of them, which multiplies and adds 8 `steps` times."""
    source, target = torch.zeros((2, numbers), device=device)
    blocks = math.ceil(numbers / 256**2)
    out = k.device.empty((blocks * 256,))
    moving = seconds(lambda: target.copy_(source), 10)
    computing = seconds(lambda: k.device.launch(CHAINS, (blocks,), 0.5, 1.0, steps, out), 3)
    np.testing.assert_array_equal(k.get(out), 16)  # x = x / 2 + 1 ends at 2
    return Limits(8 * numbers / moving, 16 * steps * out.size / computing)


# ----- kernels -----

FLOPS: dict[str, Callable[..., float]] = {  # of a product; all other kernels wait for memory
    "dense": lambda x, W, *_: 2 * x.size * W.shape[1],
    "dense_squares": lambda x, W, *_: 2 * x.size * W.shape[1],
    "project": lambda delta, M: 2 * delta.size * len(M),
    "patch": lambda z, x, to, W, columns: 2 * z.size * len(columns),
    "gradient": lambda layer, pairs, rows: sum(2 * pre.size * post.shape[1] for pre, post in pairs if len(post) == len(pre)),
    "momentum_step": lambda layer, velocity, *rest: FLOPS["gradient"](layer, *rest[:-1]),
    "adam_step": lambda layer, first, second, *rest: FLOPS["gradient"](layer, *rest[:-1]),
}
READ: dict[str, Callable[..., Any]] = {  # by a kernel that does not read all of its arguments
    "one_hot": lambda y, classes, value, like: y,
    "patch": lambda z, x, to, W, columns: [z, x[:, columns], to[:, columns], W[columns]],
}


def against_limits(k: Any, kernel: str, n: Sizes, most: Limits, repeats: int) -> str:
    """A line: how long it takes, and how much of that the card would need at its limits."""
    args, compute = arguments(kernel, n), getattr(k, kernel)
    names = list(inspect.signature(compute).parameters) * len(args)
    there = [a if name == STAY.get(kernel) else mapped(k.put, a) for name, a in zip(names, args, strict=False)]
    written = [args[:-3], compute(*there)] if kernel.endswith("_step") else [compute(*there)]
    moved = sum(a.size * a.dtype.itemsize for a in leaves([READ.get(kernel, lambda *all: all)(*args), written])
                if hasattr(a, "dtype"))
    taken = seconds(lambda: compute(*there), repeats)
    least = max(moved / most.bandwidth, FLOPS.get(kernel, lambda *_: 0)(*args) / most.arithmetic)
    return f"{kernel:16} {taken * 1e6:10.1f} us {least / taken:8.1%} of the limit"


def products(k: Any, sizes: tuple[int, int, int], most: Limits, repeats: int, device: str) -> Iterator[str]:
    """A line for each kernel that multiplies, and for torch. Some rows of each answer are looked at."""
    torch.backends.cuda.matmul.allow_tf32 = False
    x, y = factors(*sizes)
    seen = slice(None, None, max(len(x) // 16, 1))
    a, b = (torch.tensor(m, device=device) for m in (x, y))
    times = {"torch": seconds(lambda: a @ b, repeats)}
    for name in PRODUCTS:
        launch, out = multiplication(k, name, x, y)
        times[name] = seconds(launch, repeats)
        assert_product(k.get(out)[seen], x[seen], y)
    for name, taken in times.items():
        rate = 2 * math.prod(sizes) / taken
        yield f"{name:16} {sizes!s:20} {rate / 1e9:10.1f} GFLOP/s {rate / most.arithmetic:8.1%} of the limit"


# ----- the same trainings in torch -----


class Classifier(nn.Module):
    """Backprop through ReLU layers with dropout, by Adam."""

    def __init__(self, sizes: list[int], dropout: float) -> None:
        super().__init__()
        parts = [part for I, O in zip(sizes[:-2], sizes[1:-1], strict=True)
                 for part in (nn.Linear(I, O), nn.ReLU(), nn.Dropout(dropout))]
        self.net = nn.Sequential(*parts, nn.Linear(*sizes[-2:]))
        self.optimiser = torch.optim.Adam(self.parameters(), lr=1e-3)

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        cross_entropy(self.net(x), y).backward()
        self.optimiser.step()


class Contrast(nn.Module):
    """Hinton's Forward-Forward, without its peer term: a softmax on the later layers draws the negatives."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.classes = sizes[-1]
        self.layers = nn.ModuleList(nn.Linear(I, O) for I, O in zip(sizes[:-2], sizes[1:-1], strict=True))
        self.head = nn.Linear(sum(sizes[2:-1]), self.classes, bias=False)
        self.optimiser = torch.optim.SGD([
            {"params": self.layers.parameters(), "lr": 0.01, "weight_decay": 0.001},
            {"params": self.head.parameters(), "lr": 0.1, "weight_decay": 0.003}], lr=0.01, momentum=0.9, dampening=0.1)

    def activities(self, h: Tensor) -> Iterator[Tensor]:
        for layer in self.layers:
            h = layer(normalize(h.detach()) * h.shape[1] ** 0.5).relu()
            yield h

    def learn(self, x: Tensor, y: Tensor) -> None:
        self.optimiser.zero_grad()
        with torch.no_grad():
            neutral = torch.cat([torch.full_like(x[:, : self.classes], 0.1), x[:, self.classes :]], dim=1)
            seen = torch.cat([normalize(h) * h.shape[1] ** 0.5 for h in list(self.activities(neutral))[1:]], dim=1)
        logits = self.head(seen)
        loss = cross_entropy(logits, y)
        wrong = logits.detach().softmax(dim=1).scatter(1, y[:, None], 0).clamp(min=1e-30).multinomial(1)[:, 0]
        labelled = [torch.cat([one_hot(label, self.classes).to(x), x[:, self.classes :]], dim=1) for label in (y, wrong)]
        sign = torch.ones(2 * len(x), device=x.device)
        sign[: len(x)] = -1
        for h in self.activities(torch.cat(labelled)):
            loss = loss + softplus(sign * ((h * h).sum(dim=1) - h.shape[1])).mean()
        loss.backward()
        self.optimiser.step()


TORCH: dict[str, Callable[[list[int]], Any]] = {"bp": lambda sizes: Classifier(sizes, 0.3), "ff-hinton2022": Contrast}


def torch_epoch(preset: str, x: np.ndarray, y: np.ndarray, sizes: list[int], device: str) -> float:
    """Seconds of an epoch in batches of 100, everything on the device, after one to warm up."""
    torch.backends.cuda.matmul.allow_tf32 = False
    net, images, labels = TORCH[preset](sizes).to(device), torch.tensor(x, device=device), torch.tensor(y, device=device)

    def epoch() -> None:
        for rows in torch.randperm(len(images), device=device).split(100):
            net.learn(images[rows], labels[rows])
    return seconds(epoch, 1)
