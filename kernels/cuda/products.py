"""Matrix products: out <- max(beta out + bias + alpha op(a) op(b), floor), and the sum of squares of each row of out.

`form` says what op is: "nn" a b, "nt" a b^T, "tn" a^T b. With floor 0 this is a ReLU layer and its goodness; with -inf and
no bias the plain product of an error and its weights ("nt"), or of pre and post, added to what `out` holds ("tn").

A product reads each number of a and b many times, and memory is slow. `tiled` is the idea in its simplest form: a block of
threads brings one tile of each into shared memory, multiplies the two, and goes on to the next; each number is fetched once
a tile instead of once a thread. `blocked` repeats the idea one level down: a thread keeps a square of results in registers,
so that of each 2 part numbers it fetches from shared memory it makes part^2 products.

Past the edges of a matrix the tiles hold zeros. Rows and columns of `out` past the edge are not written.
"""

from collections.abc import Callable

from .language import cuda, float32, uint32

ZERO, ONE = float32(0.0), float32(1.0)
FORMS = ("nn", "nt", "tn")
THREADS = uint32(256)  # of a block


@cuda.jit(device=True)
def at_least(floor, value):
    """The value, or the floor where that is higher; a NaN stays."""
    return floor if value <= floor else value


def tiled(form: str) -> Callable[..., None]:
    """The product by tiles of 16 x 16, one number of `out` a thread."""
    a_turned, b_turned = form == "tn", form == "nt"

    def product(a, b, bias, out, squares, alpha, beta, floor):
        """max(beta out + bias + alpha op(a) op(b), floor), one number a thread."""
        left = cuda.shared.array((16, 17), float32)  # 17: the columns of a tile lie in different banks of memory
        right = cuda.shared.array((16, 17), float32)
        x, y = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
        row0, column0 = uint32(cuda.blockIdx.y) * uint32(16), uint32(cuda.blockIdx.x) * uint32(16)
        row, column = row0 + y, column0 + x
        rows, columns = uint32(out.shape[0]), uint32(out.shape[1])
        depth = uint32(a.shape[0]) if a_turned else uint32(a.shape[1])
        total = ZERO
        for k in range(uint32(0), depth, uint32(16)):  # neighbouring threads, of one y, fetch neighbouring numbers
            if a_turned:
                left[x, y] = a[k + y, row0 + x] if row0 + x < rows and k + y < depth else ZERO
            else:
                left[y, x] = a[row, k + x] if row < rows and k + x < depth else ZERO
            if b_turned:
                right[x, y] = b[column0 + y, k + x] if column0 + y < columns and k + x < depth else ZERO
            else:
                right[y, x] = b[k + y, column] if column < columns and k + y < depth else ZERO
            cuda.syncthreads()
            for i in range(uint32(16)):
                total += left[y, i] * right[i, x]
            cuda.syncthreads()
        added = bias[column] if column < uint32(bias.shape[0]) else ZERO
        before = out[row, column] if beta != ZERO and row < rows and column < columns else ZERO
        value = at_least(floor, alpha * total + (beta * before + added))
        if row < rows and column < columns:
            out[row, column] = value
        if squares.shape[0]:
            left[y, x] = value * value if column < columns else ZERO
            cuda.syncthreads()
            if x == uint32(0) and row < rows:
                total = ZERO
                for i in range(uint32(16)):
                    total += left[y, i]
                squares[row, uint32(cuda.blockIdx.x)] = total

    return product


def moving(tile: int, step: int) -> tuple[Callable[..., None], Callable[..., None], int]:
    """Two device functions that bring a tile of a matrix into shared memory, k first; and how many numbers each thread brings.

    There are two, with a barrier between them, and `fetch` does no arithmetic with what it reads: so a thread asks for all its
    numbers before it waits for the first.
    """
    numbers = tile * step // 256

    @cuda.jit(device=True)
    def place(q, k_first):
        """(k, i) in the tile, of this thread's number q: neighbouring threads bring neighbouring numbers of the matrix."""
        e = uint32(cuda.threadIdx.x) + uint32(q) * THREADS
        return (e // uint32(tile), e % uint32(tile)) if k_first else (e % uint32(step), e // uint32(step))

    @cuda.jit(device=True)
    def fetch(brought, m, k_first, start, k0):
        """The numbers m[k0 + k, start + i], or of m^T unless `k_first`; zeros past the edges."""
        for q in range(uint32(numbers)):
            k, i = place(q, k_first)
            row, column = (uint32(k0 + k), uint32(start + i)) if k_first else (uint32(start + i), uint32(k0 + k))
            brought[q] = m[row, column] if row < uint32(m.shape[0]) and column < uint32(m.shape[1]) else ZERO

    @cuda.jit(device=True)
    def lay(into, brought, k_first):
        """into[k, i] <- the numbers."""
        for q in range(uint32(numbers)):
            into[place(q, k_first)] = brought[q]

    return fetch, lay, numbers


@cuda.jit(device=True)
def owned(x, j):
    """Column j of thread x in a tile: by fours, those of 16 threads side by side, which shared memory serves at once."""
    return uint32(j) // uint32(4) * uint32(64) + x * uint32(4) + uint32(j) % uint32(4)


@cuda.jit(device=True)
def add_rows(sums, squares, row0, rows):
    """squares_i <- the sum of row i of `sums`, in the column of this block."""
    t = uint32(cuda.threadIdx.x)
    cuda.syncthreads()
    if t < uint32(sums.shape[0]) and row0 + t < rows:
        total = ZERO
        for j in range(uint32(16)):
            total += sums[t, j]
        squares[row0 + t, uint32(cuda.blockIdx.x)] = total


def blocked(form: str, tile: int, part: int, step: int) -> Callable[..., None]:
    """The product by tiles of `tile` x `tile`, `part` x `part` numbers of `out` a thread, `step` deep; tile = 16 part."""
    a_turned, b_turned = form == "tn", form == "nt"
    (fetch, lay, numbers), padded = moving(tile, step), tile + 4  # a multiple of 4, so that 4 numbers can be read at once

    def product(a, b, bias, out, squares, alpha, beta, floor):
        """max(beta out + bias + alpha op(a) op(b), floor), a square of numbers a thread."""
        left = cuda.shared.array((step, padded), float32)  # both lie with k first: a thread's part is then in one piece
        right = cuda.shared.array((step, padded), float32)
        sums = cuda.shared.array((tile, 17), float32)
        here = cuda.local.array((part, part), float32)  # in registers, as all its indices are known when it is compiled
        of_left, of_right = cuda.local.array(part, float32), cuda.local.array(part, float32)
        of_a, of_b = cuda.local.array(numbers, float32), cuda.local.array(numbers, float32)
        x, y = uint32(cuda.threadIdx.x) % uint32(16), uint32(cuda.threadIdx.x) // uint32(16)
        row0, column0 = uint32(cuda.blockIdx.y) * uint32(tile), uint32(cuda.blockIdx.x) * uint32(tile)
        for i in range(uint32(part)):
            for j in range(uint32(part)):
                here[i, j] = ZERO
        for k0 in range(uint32(0), uint32(a.shape[0]) if a_turned else uint32(a.shape[1]), uint32(step)):
            fetch(of_a, a, a_turned, row0, k0)
            fetch(of_b, b, not b_turned, column0, k0)
            cuda.syncthreads()
            lay(left, of_a, a_turned)
            lay(right, of_b, not b_turned)
            cuda.syncthreads()
            for k in range(uint32(step)):
                for i in range(uint32(part)):
                    of_left[i], of_right[i] = left[k, y * uint32(part) + uint32(i)], right[k, owned(x, i)]
                for i in range(uint32(part)):
                    for j in range(uint32(part)):
                        here[i, j] += of_left[i] * of_right[j]
        for i in range(uint32(part)):
            row, total = row0 + y * uint32(part) + uint32(i), ZERO
            for j in range(uint32(part)):
                column = column0 + owned(x, j)
                inside = row < uint32(out.shape[0]) and column < uint32(out.shape[1])
                added = bias[column] if column < uint32(bias.shape[0]) else ZERO
                before = out[row, column] if beta != ZERO and inside else ZERO
                value = at_least(floor, alpha * here[i, j] + (beta * before + added))
                if inside:
                    out[row, column] = value
                    total += value * value
            sums[y * uint32(part) + uint32(i), x] = total
        if squares.shape[0]:
            add_rows(sums, squares, row0, uint32(out.shape[0]))

    return product


def add_up(parts, out):
    """sum_j parts_ij: of each row what the blocks beside one another found; one thread a row."""
    row = uint32(cuda.grid(1))
    if row < uint32(out.shape[0]):
        total, j = ZERO, uint32(0)
        while j < uint32(parts.shape[1]):
            total += parts[row, j]
            j += uint32(1)
        out[row] = total
