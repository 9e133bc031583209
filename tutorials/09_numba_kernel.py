# %% [markdown]
# # 9 · From NumPy to a Numba kernel, measured
#
# **Question.** Every call of NumPy is a compiled loop already. What is left for a loop of one's own to gain, and how does one
# know that it was gained?
#
# **At the end you will know**
# * how to time two functions so that the comparison means something;
# * why several fast passes over an array are slower than one: what counts is the bytes that move, not the operations;
# * two things that keep a loop from computing several numbers at once, and how to see them in what the compiler made;
# * what shape the project's kernels have, why, and where the idea ends.
#
# You need the goodness of [tutorial 2](02_forward_forward.ipynb), and nothing of Numba. It takes about twenty seconds.

# %%
import inspect
import re
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from numba import njit

import ffnp
from ffnp.backend import load_backend, threads
from ffnp.kernels.cpu import products
from ffnp.plots import COLOURS, one_two_five, plain

rng = np.random.default_rng(0)
x = ffnp.load("fashion-mini").x_train[:1000]  # (B, I): 1000 images of 784 pixels
W = rng.normal(0, (2 / 784) ** 0.5, (784, 1000)).astype(np.float32)  # (I, O): a layer of 1000 units
b = rng.normal(0, 0.1, 1000).astype(np.float32)  # (O,)
z = x @ W  # (B, O)

# %% [markdown]
# ## What is computed
#
# A layer of Forward-Forward multiplies, adds a bias, cuts off what is negative, and needs the sum of squares of every row,
# its *goodness* $G$:
#
# $$z = x W, \qquad h_{ij} = \max(z_{ij} + b_j,\, 0), \qquad G_i = \sum_j h_{ij}^2$$
#
# The product is BLAS's, and nobody beats that by hand. This tutorial is about the rest, which we call *finishing* the
# product.


# %%
def finish(z, b):
    """h (B, O) and G (B,) from z (B, O) and b (O,)."""
    h = np.maximum(z + b, 0)
    return h, (h * h).sum(axis=1)


h, G = finish(z, b)
print(f"{h.size:,} numbers, {(h > 0).mean():.0%} of them positive; goodness from {G.min():.0f} to {G.max():.0f}")

# %% [markdown]
# ## How to measure
#
# Time the same call two hundred times, and it takes two hundred different times.


# %%
def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


again = 1e3 * np.array([seconds(lambda: finish(z, b)) for _ in range(200)])
print(f"fastest {again.min():.2f} ms, median {np.median(again):.2f} ms, slowest {again.max():.2f} ms, first {again[0]:.2f} ms")

figure, (runs, shares) = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, width_ratios=[2, 1], layout="constrained")
runs.plot(again, ".", color=COLOURS[0])
runs.set(xlabel="run", ylabel="time (ms)", yscale="log", title="the same call, 200 times")
shares.plot(np.arange(1, 201) / 2, np.sort(again), color=COLOURS[0])
shares.set(xlabel="runs that took at most this (%)", title="sorted")
for axes in (runs, shares):
    axes.axhline(np.median(again), color=COLOURS[1], linewidth=1)
    one_two_five(axes)
    plain(axes)
shares.text(2, 1.03 * np.median(again), "median", color=COLOURS[1], va="bottom")
plt.show()

# %% [markdown]
# The machine does other things, too: it runs other programs, changes its clock, hands out memory for the first time. Nearly
# all of that adds time, so a single run, or the mean of some, says more about the machine than about the call. We therefore
# * call everything once before, to compile and to touch its memory;
# * let the contenders take *turns*, in a new order each time, so that a bad moment meets all of them;
# * compare *medians*, and show the quartiles. Where those of two contenders overlap, we claim nothing;
# * say how many threads there are. Here it is one, until we come to threads.


# %%
def race(contenders, turns=40):
    """name -> quartiles (3,) of its times in ms. A contender is (threads, call)."""
    times = {name: [] for name in contenders}
    for turn in range(1 + turns):
        for name in rng.permutation(list(contenders)):
            n, call = contenders[name]
            with threads(n, "cpu"):
                taken = seconds(call)
            if turn:  # the first is for warming up
                times[name].append(1e3 * taken)
    return {name: np.quantile(taken, [0.25, 0.5, 0.75]) for name, taken in times.items()}


def table(raced):
    for name, (low, median, high) in raced.items():
        print(f"{name:<36} {median:8.3f} ms   [{low:8.3f} {high:8.3f}]")


# %% [markdown]
# ## Count the bytes
#
# Which line of `finish` takes how long? Every NumPy operation is a *pass*: it reads its arrays from memory and writes one
# back. With $n = BO$ numbers of 4 bytes, the four passes below move $7 \cdot 4n$ bytes to do $4n$ operations. Copying an
# array moves $2 \cdot 4n$, and computes nothing: it is our measure of what memory gives.

# %%
t, squares = np.empty_like(z), np.empty_like(z)
passes = {  # name -> arrays it reads and writes, call
    "t = z + b": (2, lambda: np.add(z, b, out=t)),
    "h = max(t, 0)": (2, lambda: np.maximum(t, 0, out=h)),
    "squares = h h": (2, lambda: np.multiply(h, h, out=squares)),
    "G = sum of squares": (1, lambda: squares.sum(axis=1)),
    "a copy": (2, lambda: np.copyto(t, z)),
}
raced = race({name: (1, call) for name, (_, call) in passes.items()})
for name, (arrays, _) in passes.items():
    median = raced[name][1]
    print(f"{name:<20} {median:7.3f} ms   {arrays * z.nbytes / 1e6:4.1f} MB   {arrays * z.nbytes / median / 1e6:6.1f} GB/s")
bandwidth = 2 * z.nbytes / raced["a copy"][1] / 1e6  # GB/s

# %% [markdown]
# Reading `z` once and writing `h` once cannot be avoided, and it costs as much as a copy. All the rest is NumPy's passes
# handing arrays to each other. A loop that does everything to a number while it has it moves $2 \cdot 4n$ bytes. If memory
# were all that counts, it would take as long as a copy.
#
# ## A loop
#
# `numba.njit` compiles such a loop when it is first called.


# %%
def loop(z, b, h, G):
    """h and G of `finish`, written where they belong."""
    zero = z.dtype.type(0)  # of float32 where z is: a bare 0.0 is a float64, and so is all that meets it
    for i in range(z.shape[0]):
        total = zero
        for j in range(z.shape[1]):
            a = z[i, j] + b[j]
            h[i, j] = zero if a <= zero else a  # a NaN stays, as with np.maximum
            total += h[i, j] * h[i, j]
        G[i] = total


in_order = njit(loop)
first, second = (1e3 * seconds(lambda: in_order(z, b, t, G)) for _ in range(2))
print(f"first call {first:.0f} ms, second {second:.3f} ms")
assert np.array_equal(t, h)  # bit for bit

# %% [markdown]
# Whoever times the first call times a compiler. But the second is no copy either, and the reason is not memory. A processor
# has registers that hold 4, 8 or 16 float32 at once, *vectors*, and computes with all of them in one instruction. Did the
# compiler use them? It writes an intermediate language in which `load float` fetches one number, and `load <8 x float>` eight
# neighbours.


# %%
def loads(kernel):
    """How many instructions of the kernel fetch several neighbours, and how many a single float."""
    made = "".join(kernel.inspect_llvm().values())
    return len(re.findall(r"load <\d+ x float>", made)), len(re.findall(r"load float", made))


print("in order: {} loads of vectors, {} of single numbers".format(*loads(in_order)))

# %% [markdown]
# None. The sum is to blame. $((a + b) + c) + d$ has to be added in that order, for in floating point $(a + b) + (c + d)$ may
# be another number, and a compiler does not change results without permission. We give it: `reassoc` lets it reorder sums,
# `contract` lets it do $h \cdot h + \text{total}$ with one rounding, `nsz` forget the sign of zero. We do *not* give the
# whole of `fastmath=True`: that would also promise that no NaN ever comes, and a diverging training would not be noticed.

# %%
FREE = {"reassoc", "contract", "nsz"}
reordered = njit(loop, fastmath=FREE)
reordered(z, b, t, G)
print("reordered: {} loads of vectors, {} of single numbers".format(*loads(reordered)))
assert loads(reordered)[0] > loads(in_order)[0] == 0 and np.array_equal(t, h)
tails = race({
    "NumPy, four passes": (1, lambda: finish(z, b)),
    "NumPy, no new arrays": (1, lambda: [call() for _, call in list(passes.values())[:4]]),
    "one loop, in order": (1, lambda: in_order(z, b, t, G)),
    "one loop, reordered": (1, lambda: reordered(z, b, t, G)),
    "a copy": (1, lambda: np.copyto(t, z)),
})
table(tails)

# %% [markdown]
# Is a reordered sum a worse one? Compare with the sum in float64. Adding in order is the *least* exact: the total soon is
# much larger than what is added to it. Vectors keep 16 or more totals, which stay smaller; NumPy's pairwise sum has the same
# reason.

# %%
exact = (h.astype(np.float64) ** 2).sum(axis=1)
off = {}
for name, kernel in (("in order", in_order), ("reordered", reordered)):
    kernel(z, b, t, G)
    off[name] = np.abs(G / exact - 1).max()
off["NumPy"] = np.abs(finish(z, b)[1] / exact - 1).max()
for name, relative in off.items():
    print(f"{name:<10} greatest relative error {relative:.1e}")
assert off["reordered"] < off["in order"] < 1000 * np.finfo(np.float32).eps  # n additions, n roundings

# %% [markdown]
# ## An index that might be negative
#
# To share a layer among threads we give each a *slab* of columns, from `lo` to `hi`. Two ways to write it look the same. In
# Python `z[i, -1]` is the last column, so where the compiler cannot prove that `j` is never negative, every access has to
# look. The neighbours of `j = -1` are then not neighbours in memory, and nothing is fetched as a vector. A slice that is
# indexed from 0 needs no such proof.


# %%
@njit(fastmath=FREE, nogil=True)
def by_index(z, b, h, G, lo, hi):
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        total = zero
        for j in range(lo, hi):
            a = z[i, j] + b[j]
            h[i, j] = zero if a <= zero else a
            total += h[i, j] * h[i, j]
        G[i] = total


@njit(fastmath=FREE, nogil=True)
def by_slice(z, b, h, G, lo, hi):
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        row, biases, out, total = z[i, lo:hi], b[lo:hi], h[i, lo:hi], zero
        for j in range(row.size):
            a = row[j] + biases[j]
            out[j] = zero if a <= zero else a
            total += out[j] * out[j]
        G[i] = total


slabs = race({"a slab by index": (1, lambda: by_index(z, b, t, G, 0, 500)),
              "a slab by slice": (1, lambda: by_slice(z, b, t, G, 0, 500))})
for kernel in (by_index, by_slice):
    print("{}: {} loads of vectors, {} of single numbers".format(kernel.__name__, *loads(kernel)))
table(slabs)
assert loads(by_slice)[0] > loads(by_index)[0] == 0

# %% [markdown]
# ## The project's kernel
#
# `kernels/cpu/products.py` does all of this, and one thing more: it finishes a slab right after multiplying it, while what
# fits of the product is still in the *cache*, the small fast memory of each core. Its arithmetic is what you have just read.

# %%
print(inspect.getsource(products.answer_slab.py_func))

# %% [markdown]
# `gemm` is BLAS, called from within the compiled loop. Each thread takes a slab, and has its own row of `parts` for its share
# of the goodness, so that nobody waits for anybody. Slabs begin at multiples of 16 columns, the longest vector. The same in
# Python fits below: `np.matmul`, and a kernel with `nogil`, let other Python threads run meanwhile.


# %%
def edges(n, columns):
    """Where n slabs begin, and where the last one ends."""
    return [s * columns // n // 16 * 16 for s in range(n)] + [columns]


def in_slabs(x, W, b, h, cuts):
    """A whole layer, a thread for each slab: writes h and returns G."""
    parts = np.empty((len(cuts) - 1, len(x)), x.dtype)

    def slab(s):
        lo, hi = cuts[s : s + 2]
        np.matmul(x, W[:, lo:hi], out=h[:, lo:hi])
        by_slice(h, b, h, parts[s], lo, hi)
    list(pool.map(slab, range(len(parts))))
    return parts.sum(axis=0)


pool, k, halves = ThreadPoolExecutor(2), load_backend("cpu"), edges(2, 1000)
with threads(2, "cpu"):
    answers = {"in slabs": (t, in_slabs(x, W, b, t, halves)), "project": k.dense_squares(x, W, b, "relu")}
for name, (ours_h, ours_G) in answers.items():
    off_h, off_G = np.abs(ours_h - h).max(), np.abs(ours_G / exact - 1).max()
    print(f"{name:<8} differs from NumPy by {off_h:.1e} in h, and by {off_G:.1e} of G")
    assert off_h < 1e-4 and off_G < 1e-4

# %% [markdown]
# Now the whole layer, product and all, beside torch.

# %%
torch.set_num_threads(1)
x_t, W_t, b_t = map(torch.from_numpy, (x, W, b))


def by_torch():
    h = torch.addmm(b_t, x_t, W_t).relu_()
    return h, h.square().sum(dim=1)


def product_then_loop():
    np.matmul(x, W, out=t)
    reordered(t, b, t, G)


layer = race({
    "the product alone": (1, lambda: np.matmul(x, W, out=t)),
    "NumPy": (1, lambda: finish(x @ W, b)),
    "torch": (1, by_torch),
    "product, then the loop": (1, product_then_loop),
    "project": (1, lambda: k.dense_squares(x, W, b, "relu")),
    "in slabs, 2 threads": (2, lambda: in_slabs(x, W, b, t, halves)),
    "project, 2 threads": (2, lambda: k.dense_squares(x, W, b, "relu")),
}, turns=20)
table(layer)

# %%
figure, panels = plt.subplots(2, 1, figsize=(8, 5.6), height_ratios=[5, 7], layout="constrained")
for axes, raced, title in zip(panels, (tails, layer), ("finishing a product", "a whole layer"), strict=True):
    low, median, high = np.array(list(raced.values())).T
    names = [name if "thread" in name else f"{name}, 1 thread" for name in raced]
    axes.barh(names, median, color=COLOURS[0], xerr=[median - low, high - median], ecolor=COLOURS[1], capsize=3)
    axes.invert_yaxis()
    axes.set(xlabel="time (ms): median, and quartiles as whiskers", title=title)
    plain(axes)
plt.show()

# %% [markdown]
# ## Where the idea ends
#
# Speed can be limited by arithmetic or by memory. What decides is the *intensity*, operations per byte. The product does
# $2BIO$ operations on $4(BI + IO + BO)$ bytes; the loop does $4BO$ on $8BO$; NumPy's four passes do the same on $28BO$. The
# *roofline* (Williams, Waterman and Patterson 2009) draws both limits: below the slope nothing can be, for memory gives no
# more.

# %%
B, I, O = *x.shape, W.shape[1]
points = {  # name -> (operations, bytes, ms)
    "NumPy, four passes": (4 * B * O, 28 * B * O, tails["NumPy, four passes"][1]),
    "one loop, in order": (4 * B * O, 8 * B * O, tails["one loop, in order"][1]),
    "one loop, reordered": (4 * B * O, 8 * B * O, tails["one loop, reordered"][1]),
    "the product": (2 * B * I * O, 4 * (B * I + I * O + B * O), layer["the product alone"][1]),
}
for name, (work, moved, ms) in points.items():
    print(f"{name:<20} {work / 1e6:6.0f} million operations  {moved / 1e6:5.1f} MB  {work / moved:7.2f} a byte  "
          f"{work / ms / 1e6:6.2f} GFLOP/s")
tail, product = tails["NumPy, four passes"][1], layer["the product alone"][1]
print(f"finishing in NumPy: {tail / (tail + product):.0%} of a layer; {10 * tail / (10 * tail + product):.0%} of one whose "
      "product serves ten labels")

figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
peak = 2 * B * I * O / product / 1e6
intensity = np.array([0.02, peak / bandwidth, 500])
axes.plot(intensity, np.minimum(peak, bandwidth * intensity), color="0.4", linewidth=1.8)
for (name, (work, moved, ms)), colour in zip(points.items(), COLOURS, strict=False):
    axes.plot(work / moved, work / ms / 1e6, "o", color=colour, markersize=9, label=name)
axes.text(0.02, peak, f"memory: {bandwidth:.0f} GB/s,\nas a copy has it", color="0.4", va="top")
axes.text(500, 1.15 * peak, f"arithmetic: {peak:.0f} GFLOP/s, as the product has it", color="0.4", ha="right")
axes.set(xscale="log", yscale="log", ylim=(None, 3 * peak), xlabel="intensity (operations per byte)", ylabel="speed (GFLOP/s)",
         title="The roofline of one thread")
axes.xaxis.set_major_formatter("{x:g}")
axes.legend(frameon=False, loc="lower right")
one_two_five(axes)
plain(axes)
plt.show()

# %% [markdown]
# The loop that may reorder stands near the slope: memory has no more to give, and cleverer arithmetic would not help. Of the
# layer, though, finishing was a small share, and no kernel can save more than that: on one thread, NumPy, the loop and the
# project's slabs differ by less than their whiskers allow to say. The loop pays where the product is shared, as in telling
# the class by goodness, which takes one product and ten finishings, one for each label; and in the update of weights, where
# the product sums over few rows (exercise 1). Threads pay where each has a core of its own; where other programs need the
# cores, each waits for the slowest, and two may be slower than one.
#
# ## Is it right?
#
# A fast kernel that is right on 1000 columns may be wrong on 1001. The project's tests therefore draw small, *ragged* sizes
# at random, and compare with `kernels/reference.py`, the plain NumPy. Here the numbers drawn are -1, 0 and 1: no sum of them
# rounds, so every order of adding has to give the same bits. And `h` begins as NaN, so that what nobody writes shows.

# %%
reference = load_backend("numpy")
sizes = {"B": st.integers(1, 9), "I": st.integers(1, 9), "O": st.integers(1, 70), "n": st.integers(1, 5)}
brief, tried = settings(max_examples=200, derandomize=True, database=None, deadline=None), set()


def right(B, I, O, n, edges):
    """Whether a layer in n slabs is what the reference says, for numbers drawn for these sizes."""
    draw = np.random.default_rng([B, I, O, n])
    x, W, b = (draw.integers(-1, 2, shape).astype(np.float32) for shape in ((B, I), (I, O), O))
    h = np.full((B, O), np.nan, np.float32)
    G = in_slabs(x, W, b, h, edges(n, O))
    return all(map(np.array_equal, (h, G), reference.dense_squares(x, W, b, "relu")))


@brief
@given(**sizes)
def slabs_are_right(**case):
    tried.add(tuple(case.values()))
    assert right(**case, edges=edges)


slabs_are_right()
print(f"right for {len(tried)} sizes")

# %% [markdown]
# That a test passes says little until it has failed. Here is a slip that anybody might make, slabs of equal width. On the
# 1000 columns from above it is right for 2 threads, and for 4. Hypothesis looks for sizes where it is not, then for the
# smallest.


# %%
def equal_edges(n, columns):
    return [s * (columns // n) for s in range(n + 1)]


print("1000 columns in 2 and in 4 slabs, right:", *(right(9, 9, 1000, n, equal_edges) for n in (2, 4)))
wrong = find(st.fixed_dictionaries(sizes), lambda case: not right(**case, edges=equal_edges), settings=brief)
print("wrong for", ", ".join(f"{name} = {size}" for name, size in wrong.items()))
assert all(right(9, 9, 1000, n, equal_edges) for n in (2, 4)) and not right(**wrong, edges=equal_edges)

# %% [markdown]
# ## Verify it yourself against torch
#
# The times of torch stand above. Here are its numbers, in float64 and in float32, beside those of the project's kernel.
# Rounding grows with the length of the sums, 784 products for `h`, so the bound is that many roundings of numbers of their
# size.

# %%
for dtype in (np.float64, np.float32):
    given_here = [a.astype(dtype) for a in (x, W, b)]
    ours_h, ours_G = k.dense_squares(*given_here, "relu")
    x_t, W_t, b_t = map(torch.from_numpy, given_here)
    h_t, G_t = (a.numpy() for a in by_torch())
    off_h, off_G = np.abs(ours_h - h_t).max(), np.abs(ours_G / G_t - 1).max()
    print(f"{np.dtype(dtype).name}: h differs from torch by {off_h:.1e} at most, G by {off_G:.1e} of its size")
    assert max(off_h / np.abs(h_t).max(), off_G) < 784 * np.finfo(dtype).eps

# %% [markdown]
# ## Exercises
#
# **1. A step with momentum.** $v \leftarrow \kappa v + g$, then $W \leftarrow W - \eta v$, in place, for matrices of 784 by
# 1000. How many bytes per weight does NumPy move, how many one loop? Write the loop, and compare their times.
#
# <details><summary>Solution</summary>
#
# $\kappa v$ moves 2 numbers, adding $g$ 3, and putting the sum into $v$ 2; then the same for $W$: 56 bytes. A loop reads $v$,
# $g$ and $W$ and writes $v$ and $W$: 20 bytes. The gradient of a batch of 100 rows takes only 200 operations per weight, so
# passes weigh more here than in the layer. The project does them in the slab that BLAS has just written (`momentum_slab`).
#
# ```python
# g = x[:100].T @ h[:100] / 100
#
# def in_numpy(W, v):
#     v[:] = np.float32(0.9) * v + g
#     W[:] = W - np.float32(0.1) * v
#
# @njit
# def step(W, v, g, keep, rate):
#     for i in range(W.size):
#         v[i] = keep * v[i] + g[i]
#         W[i] = W[i] - rate * v[i]
#
# def in_one_loop(W, v):
#     step(W.ravel(), v.ravel(), g.ravel(), np.float32(0.9), np.float32(0.1))
#
# ours, theirs = ([W.copy(), np.ones_like(W)] for _ in range(2))
# in_one_loop(*ours), in_numpy(*theirs)
# assert all(np.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in zip(ours, theirs))
# table(race({"the gradient": (1, lambda: np.matmul(x[:100].T, h[:100], out=g)),
#             "the step in NumPy": (1, lambda: in_numpy(*theirs)),
#             "the step in one loop": (1, lambda: in_one_loop(*ours))}, turns=10))
# ```
#
# </details>
#
# **2. A search.** Rows of a signal that are all zero teach nothing and can be left out of a product. Write two kernels that
# find them, one that stops at the first number that is not zero, one that adds up $|{\cdot}|$ to the end of the row. Which
# one fetches vectors?
#
# <details><summary>Solution</summary>
#
# The sum. A search may not look past the number it stops at, for who knows whether there is memory; `speaks` in
# `kernels/cpu/loops.py` therefore adds up.
#
# ```python
# @njit
# def by_search(post, out):
#     for i in range(post.shape[0]):
#         out[i] = False
#         for j in range(post.shape[1]):
#             if post[i, j] != 0:
#                 out[i] = True
#                 break
#
# @njit(fastmath=FREE)
# def by_sum(post, out):
#     for i in range(post.shape[0]):
#         total = post.dtype.type(0)
#         for j in range(post.shape[1]):
#             total += abs(post[i, j])
#         out[i] = total != 0
#
# post = np.where(rng.random((1000, 1)) < 0.5, 0, h)
# for kernel in (by_search, by_sum):
#     found = np.empty(1000, np.bool_)
#     kernel(post, found)
#     assert np.array_equal(found, post.any(axis=1))
# assert loads(by_sum)[0] > loads(by_search)[0] == 0
# ```
#
# </details>
#
# Next: [reading a CUDA kernel](10_cuda_kernel.ipynb), where a thread has one number in 128, and no card is needed.
