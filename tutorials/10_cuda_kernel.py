# %% [markdown]
# # 10 · Reading a CUDA kernel, and running its PTX without a GPU
#
# **Question.** What does a graphics card execute when it adds up the squares of a row, and how can anyone without a card know
# that it is right?
#
# **At the end you will know**
# * what threads, warps, blocks, shared memory and barriers are, from one kernel of 17 lines;
# * why neighbouring threads should read neighbouring numbers, counted in lines of memory;
# * how to read PTX, what the compiler makes of the kernel, beside the Python it came from;
# * what an interpreter of PTX catches that a card would let pass, and what it cannot tell.
#
# You need no card, but the compilers, on Linux on x86-64; the first cell says what to install where they are missing.
# Tutorial 9 introduced the goodness as a kernel. It takes about fifteen seconds.

# %%
import inspect
import linecache
import re
import time
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import PowerNorm

import ffnp
from ffnp.backend import BACKENDS, load_backend
from ffnp.data import from_arrays
from ffnp.kernels.cuda.compile import ptx
from ffnp.kernels.cuda.language import cuda, float32, uint32, void
from ffnp.kernels.cuda.table import TABLE, Kernel, f2
from ffnp.kernels.ptx.machine import run
from ffnp.kernels.ptx.program import Fault, parse
from ffnp.listing import page
from ffnp.plots import COLOURS

print(BACKENDS["ptx"].lacks() or "the compilers are here")
k = load_backend("ptx")  # from here on this sentence would be an error

rng = np.random.default_rng(0)
data = ffnp.load("digits")
W = rng.normal(0, (2 / 64) ** 0.5, (64, 500)).astype(np.float32)
h = np.maximum(data.x_train[:6] @ W, 0)  # (B, O): what a layer of 500 units answers to 6 images

# %% [markdown]
# ## Sums in another order
#
# The kernel computes the goodness of each row,
#
# $$G_i = \sum_j h_{ij}^2$$
#
# A card has thousands of *threads*, all of which run the same function. They come in *blocks*; here a block of 128 threads
# has a row of its own, and thread $t$ takes every 128th number of it. Then the 128 sums are added in a tree, half of them to
# the other half, until one is left:
#
# $$p_t = \sum_s h_{i,\,t + 128 s}^2, \qquad p_t \leftarrow p_t + p_{t + 64} \;\; (t < 64), \qquad
# p_t \leftarrow p_t + p_{t + 32} \;\; (t < 32), \qquad \ldots, \qquad G_i = p_0$$
#
# In NumPy, where all threads of a block are one array:

# %%
THREADS = 128


def by_threads(row):
    """The sums p (8, 128) of a row (O,) after each step of the tree; what is no longer of use is NaN."""
    squares = np.zeros((-(-len(row) // THREADS), THREADS), np.float32)
    squares.flat[: len(row)] = row * row
    p, half = squares.sum(axis=0), THREADS
    steps = [p]
    while half > 1:
        half //= 2
        p = np.where(np.arange(THREADS) < half, p + np.roll(p, -half), np.nan)
        steps.append(p)
    return np.array(steps)


G = (h * h).sum(axis=1)
print("by threads and by NumPy differ by",
      " ".join(f"{abs(by_threads(row)[-1, 0] / squares - 1):.1e}" for row, squares in zip(h, G, strict=True)))

figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
drawn = axes.imshow(by_threads(h[0]), cmap="Blues", norm=PowerNorm(0.3), aspect="auto", interpolation="none")
axes.set(facecolor="0.85", xlabel="thread t", ylabel="steps of the tree",
         title="The tree: 128 sums become one (grey: no longer needed)")
axes.set_xticks(range(0, 129, 32))
figure.colorbar(drawn, label="sum p")
plt.show()

# %% [markdown]
# ## The kernel
#
# This is `kernels/cuda/rows.py`, which has it in three functions for other kernels to share, in one piece. It is written in
# Numba's CUDA Python. Read it as *one* thread would: the function does not say what the block does, only what thread `t`
# does.


# %%
def sum_squares(h, out):
    part = cuda.shared.array(THREADS, float32)
    i, t = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
    total, j = float32(0), t
    while j < uint32(h.shape[1]):
        total += h[i, j] * h[i, j]
        j += uint32(THREADS)
    part[t] = total
    cuda.syncthreads()
    half = uint32(THREADS // 2)
    while half > uint32(0):
        if t < half:
            part[t] += part[t + half]
        cuda.syncthreads()
        half >>= uint32(1)
    if t == uint32(0):
        out[i] = part[0]


# %% [markdown]
# * `shared.array`: memory of the block. Beside the arrays `h` and `out`, `part` is all that threads have in common; `total` and
#   `j` are each thread's own, in registers.
# * `blockIdx`, `threadIdx`: who am I? Block number `i`, so row `i`; thread number `t` in it.
# * `while j < h.shape[1]`: rows of 500 numbers do not divide by 128. Without this guard, threads would read what is behind.
# * `syncthreads`: a *barrier*. No thread goes on before all of the block are here. Before the tree, because it reads what
#   others have put into `part`; and after each step of it, for the same reason.
# * `if t < half` guards the addition but not the barrier: a barrier that some threads never reach is none.
# * `if t == 0`: one thread writes the answer.
# * `uint32` everywhere: an index that cannot be negative needs no test for it, the same reason as in tutorial 9.
#
# ## What the compiler makes of it
#
# PTX is NVIDIA's assembly language, one instruction in a line, with as many registers as it likes: `%f` for float32, `%r` and
# `%rd` for whole numbers of 32 and 64 bits, `%p` for conditions. `@%p1 bra L3` goes on at label `L3` where `%p1` holds,
# `ld.global` loads from the card's memory, `ld.shared` from the block's. Below, each line of Python has beside it what became
# of it; where that is much, the left side counts it.

# %%
kernel = TABLE["sum_squares"]._replace(function=sum_squares)
text = ptx(kernel, lineinfo=True)
print(*page(kernel, text), sep="\n")


# %%
def opcodes(kernel):
    return Counter(".".join((i.name, *i.types)) for i in parse(ptx(kernel)).instructions)


counts = opcodes(kernel)
shown = "ld.global.f32", "fma.rn.f32", "bar.sync", "ld.shared.f32", "st.shared.f32", "st.global.f32"
print(", ".join(f"{counts[name]} {name}" for name in shown))
assert counts == opcodes(TABLE["sum_squares"])  # the project's own

# %% [markdown]
# Look for three things.
# * The loop stands there twice: at `L3` one number a turn, at `L6` four. The compiler has unrolled it; `L3` does what is left
#   when the turns do not divide by four. Numbers that follow each other are `+512` bytes apart: 128 numbers of 4 bytes.
# * `fma.rn.f32 %f14, %f13, %f13, %f46` is $h \cdot h + \text{total}$, rounded once. NumPy rounds twice. So last bits may
#   differ.
# * The loop over `half` is gone. The compiler knows `THREADS`, and has written out the seven steps of the tree, `+256`,
#   `+128`, ... `+4` bytes apart, a `bar.sync` after each, and one before: eight.
#
# ## Which thread reads what
#
# A card runs 32 threads of a block, a *warp*, in step: one `ld.global` of a warp asks for 32 addresses at once. Memory comes
# in *lines* of 128 bytes, 32 float32. If the 32 numbers lie side by side, one or two lines answer; the reads *coalesce*. If
# every thread had a piece of the row to itself, as one would do it on a CPU, its warp's numbers would lie far apart. Let two
# kernels write down for each number which thread takes it, and at which of its turns.


# %%
def every_128th(who, turn):
    i, t = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
    j, n = t, float32(0)
    while j < uint32(who.shape[1]):
        who[i, j], turn[i, j] = t, n
        j, n = j + uint32(THREADS), n + float32(1)


def in_pieces(who, turn):
    i, t = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
    piece = (uint32(who.shape[1]) + uint32(THREADS - 1)) // uint32(THREADS)
    j, n = t * piece, float32(0)
    while j < min((t + uint32(1)) * piece, uint32(who.shape[1])):
        who[i, j], turn[i, j] = t, n
        j, n = j + uint32(1), n + float32(1)


def mapped(function):
    """Thread and turn (B, O) of each number."""
    who, turn = np.full_like(h, np.nan), np.full_like(h, np.nan)
    run(parse(ptx(Kernel(function.__name__, function, void(f2, f2), (THREADS,), 32))), (len(h),), (THREADS,), [who, turn])
    return who, turn


def lines_per_load(who, turn):
    """How many lines of 128 bytes a warp's load touches, on average."""
    i, j = np.indices(who.shape)
    touched = np.stack([i, who // 32, turn, (i * who.shape[1] + j) * 4 // 128], axis=-1).reshape(-1, 4)
    return len(np.unique(touched, axis=0)) / len(np.unique(touched[:, :3], axis=0))


maps = {function.__name__: mapped(function) for function in (every_128th, in_pieces)}
for name, found in maps.items():
    print(f"{name:<12} a load of a warp touches {lines_per_load(*found):.1f} lines of memory")
assert lines_per_load(*maps["every_128th"]) < 2 < lines_per_load(*maps["in_pieces"])

figure, panels = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for axes, (name, (who, turn)) in zip(panels, maps.items(), strict=True):
    drawn = axes.imshow(who.flat[:512].reshape(16, 32), cmap="cividis", vmin=0, vmax=THREADS - 1, aspect="auto")
    first = (who < 32) & (turn == 0)
    first[1:] = False  # of the block of the first row
    y, x = np.nonzero(first.flat[:512].reshape(16, 32))
    axes.plot(x, y, ".", color=COLOURS[1], markersize=5)
    axes.set(xlabel="number in the line", title=name)
panels[0].set_ylabel("line of 128 bytes")
figure.colorbar(drawn, ax=panels, label="thread that takes the number")
figure.suptitle("The first 512 numbers in memory, dots: the first load of the first warp")
plt.show()

# %% [markdown]
# That `every_128th` touches more than one line comes of rows of 500 numbers, 15.6 lines: most rows begin inside of one, and so
# do the loads of their warps. In the end both kernels read the same lines, but the pieces need a cache that has kept them from
# one turn to the next. (In the picture the last twelve numbers are of the next row, which is another block's.)
#
# ## Run it
#
# `kernels/ptx` is a machine for this text: an array with a number for each thread in the place of each register, and one
# NumPy operation for each instruction. We hand it what a launch on a card takes: how many blocks, how many threads, and the
# arrays.

# %%
out = np.full(len(h), np.nan, np.float32)
start = time.perf_counter()
report = run(parse(text), (len(h),), (THREADS,), [h, out])
seconds = time.perf_counter() - start
bound = h.shape[1] * np.finfo(np.float32).eps  # n additions, n roundings
for name, sums in {
    "NumPy, by threads": np.array([by_threads(row)[-1, 0] for row in h]),
    "the project's kernel": k.get(k.sum_squares(k.put(h))),
    "the reference": load_backend("numpy").sum_squares(h),
}.items():
    off = np.abs(out / sums - 1).max()
    print(f"{name:<21} differs by {off:.1e}, {bound:.1e} is allowed")
    assert off < bound
print(f"{report.steps} instructions, each for many threads at once, in {1e3 * seconds:.0f} ms; "
      f"barriers passed: {report.barriers} = 8 x {len(h)} blocks")
assert report.barriers == 8 * len(h)

# %% [markdown]
# ## Break it
#
# A test that cannot fail proves nothing. So let us spoil the kernel, one line at a time, and see what the machine says. A
# card may well answer such a kernel with the right numbers, until one day it does not: two warps happen to come in the good
# order, what lies behind the array happens to be zero.
#
# The machine is stricter. It remembers who last touched each word of memory. Two threads at one word, one of them writing,
# with no barrier between, are a *race*, whatever the numbers; and nothing lies behind an array.

# %%
SOURCE = inspect.getsource(sum_squares)
GUARDED = "        if t < half:\n            part[t] += part[t + half]\n        cuda.syncthreads()\n"
SLIPS = {  # what is spoiled: a piece of the source, and what stands there instead
    "no barrier before the tree": ("    cuda.syncthreads()\n    half", "    half"),
    "no barrier in the tree": (GUARDED, GUARDED.replace("        cuda.syncthreads()\n", "")),
    "a barrier inside of the guard": (GUARDED, GUARDED.replace("        cuda", "            cuda")),
    "no guard in the tree": ("if t < half:", "if True:"),
    "<= for < in the loop": ("j < uint32", "j <= uint32"),
    "every thread writes the answer": ("if t == uint32(0):", "if True:"),
    "one step of the tree too few": ("half > uint32(0)", "half > uint32(1)"),
}


def spoiled(old, new):
    """The kernel with `new` in the place of `old`."""
    assert SOURCE.count(old) == 1
    source, names = SOURCE.replace(old, new), dict(globals())
    linecache.cache["spoiled.py"] = len(source), None, source.splitlines(True), "spoiled.py"  # where compilers look lines up
    exec(compile(source, "spoiled.py", "exec"), names)
    return kernel._replace(function=names["sum_squares"])


def launched(kernel):
    """What comes of it, in words."""
    out = np.full(len(h), np.nan, np.float32)
    try:
        run(parse(ptx(kernel, lineinfo=True)), (len(h),), (THREADS,), [h, out])
    except Fault as fault:  # "what: `instruction` of file:line who"
        what, instruction, line, who = re.fullmatch(r"(.*): (`.*`) .*:(\d+)(.*)", str(fault)).groups()
        return f"{what}{who}\n    {instruction} of `{linecache.getline('spoiled.py', int(line)).strip()}`"
    return f"no fault, and the sums are off by {np.abs(out / G - 1).max():.0e} of their size"


said = {slip: launched(spoiled(*change)) for slip, change in SLIPS.items()}
for slip, words in said.items():
    print(f"{slip}:\n    {words}\n")
faults = ["race", "race", "barrier", "out of bounds", "out of bounds", "race", "no fault"]
assert all(fault in words for fault, words in zip(faults, said.values(), strict=True))

# %% [markdown]
# Six of seven end in a fault that names thread, block and line. The last slip is no crime, only wrong, and the comparison
# with the reference finds it. The project's tests make such slips by themselves, at every barrier and every guard of every
# kernel, and demand that each of them shows (`tests/test_mutants.py`).
#
# ## Train with it
#
# All kernels of a training are compiled in this way. So a net can learn, on the CPU, by what a card would execute: here one
# epoch on 90 digits, beside the same training by the fast kernels of the CPU.

# %%
few = from_arrays(data.x_train[:108], data.y_train[:108], data.x_test[:50], data.y_test[:50])  # every sixth is watched only
runs = {backend: ffnp.train("bp-small", few, epochs=1, layers=(64, 40), seed=0, backend=backend) for backend in ("ptx", "cpu")}
for l, (ours, theirs) in enumerate(zip(*(trained.net.layers for trained in runs.values()), strict=True), 1):
    off = np.abs(k.get(ours.W) - theirs.W).max()
    print(f"layer {l}: weights of up to {np.abs(theirs.W).max():.2f}, which differ by {off:.1e} at most")
    assert off < 1e-4
for backend, trained in runs.items():
    print(f"{backend}: {trained.history['epochs'][0]['seconds']:.2f} s")

# %% [markdown]
# Now you also know what the machine is *not* for: speed. And it cannot tell how fast a card would be. That depends on what it
# leaves out, on how many warps wait for memory at the same time, on the card's caches and its clock. Only a card can say, and
# where there is one, `--backend cuda` runs these kernels on it. Nor does a run without a fault prove that there is no race:
# only that this run, with these sizes, met none. So sizes must be drawn ragged, and many.
#
# ## Verify it yourself against torch
#
# `torch` knows nothing of threads or trees. Let it square and add, in float64.

# %%
exact = torch.tensor(h).double().square().sum(dim=1).numpy()
off = np.abs(out / exact - 1).max()
print(f"the kernel in float32 differs from torch in float64 by {off:.1e}, {bound:.1e} is allowed")
assert off < bound

# %% [markdown]
# ## Exercises
#
# **1. The largest of a row.** A softmax needs $\max_j h_{ij}$ first. Turn `sum_squares` into `largest`: two lines change
# their operator, one its start. Run it on numbers of either sign.
#
# <details><summary>Solution</summary>
#
# The sum becomes a maximum, in the loop and in the tree, and starts at minus infinity, not at 0. A maximum does not round, so
# it has to be exact.
#
# ```python
# INFINITY = float32(np.inf)
#
# def largest(h, out):
#     part = cuda.shared.array(THREADS, float32)
#     i, t = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x)
#     most, j = -INFINITY, t
#     while j < uint32(h.shape[1]):
#         most = max(most, h[i, j])
#         j += uint32(THREADS)
#     part[t] = most
#     cuda.syncthreads()
#     half = uint32(THREADS // 2)
#     while half > uint32(0):
#         if t < half:
#             part[t] = max(part[t], part[t + half])
#         cuda.syncthreads()
#         half >>= uint32(1)
#     if t == uint32(0):
#         out[i] = part[0]
#
# for columns in (1, 127, 128, 129, 500):
#     z, found = rng.normal(size=(3, columns)).astype(np.float32), np.empty(3, np.float32)
#     run(parse(ptx(kernel._replace(name="largest", function=largest))), (3,), (THREADS,), [z, found])
#     assert np.array_equal(found, z.max(axis=1))
# ```
#
# </details>
#
# **2. A barrier that is easy to forget.** To centre a row one needs its sum twice: first for the mean, then for the squares
# of what is left. `part` can serve both trees. Why is a barrier needed between reading `part[0]` and writing `part[t]` again?
# Write $\sum_j (h_{ij} - m_i)^2$ with it and without.
#
# <details><summary>Solution</summary>
#
# A fast thread may write its new `part[0]` while a slow one has still to read the old one. Only thread 0 writes there, so on
# a card it takes bad luck to see it; the machine sees it at once.
#
# ```python
# def source(barrier):
#     tree = """
#     cuda.syncthreads()
#     half = uint32(THREADS // 2)
#     while half > uint32(0):
#         if t < half:
#             part[t] += part[t + half]
#         cuda.syncthreads()
#         half >>= uint32(1)
# """
#     return f"""
# def spread(h, out):
#     part = cuda.shared.array(THREADS, float32)
#     i, t, columns = uint32(cuda.blockIdx.x), uint32(cuda.threadIdx.x), uint32(h.shape[1])
#     total, j = float32(0), t
#     while j < columns:
#         total += h[i, j]
#         j += uint32(THREADS)
#     part[t] = total{tree}
#     mean = part[0] / float32(columns)
#     {barrier}
#     total, j = float32(0), t
#     while j < columns:
#         total += (h[i, j] - mean) * (h[i, j] - mean)
#         j += uint32(THREADS)
#     part[t] = total{tree}
#     if t == uint32(0):
#         out[i] = part[0]
# """
#
# def spread(barrier):
#     names = dict(globals())
#     exec(source(barrier), names)
#     found = np.empty(len(h), np.float32)
#     run(parse(ptx(kernel._replace(name="spread", function=names["spread"]))), (len(h),), (THREADS,), [h, found])
#     return found
#
# assert np.allclose(spread("cuda.syncthreads()"), h.var(axis=1) * h.shape[1], rtol=1e-4)
# try:
#     spread("pass")
# except Fault as fault:
#     assert "race" in str(fault)
# else:
#     raise AssertionError("no race was found")
# ```
#
# </details>
#
# Next: [verify your own torch implementation](11_verify_your_torch.ipynb) of a rule, against this project's.
