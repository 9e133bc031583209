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
        total = bias[column] if column < uint32(bias.shape[0]) else ZERO
        if beta != ZERO and row < rows and column < columns:
            total += beta * out[row, column]
        for k in range(uint32(0), depth, uint32(16)):  # neighbouring threads, of one y, fetch neighbouring numbers
            if a_turned:
                left[x, y] = alpha * a[k + y, row0 + x] if row0 + x < rows and k + y < depth else ZERO
            else:
                left[y, x] = alpha * a[row, k + x] if row < rows and k + x < depth else ZERO
            if b_turned:
                right[x, y] = b[column0 + y, k + x] if column0 + y < columns and k + x < depth else ZERO
            else:
                right[y, x] = b[k + y, column] if column < columns and k + y < depth else ZERO
            cuda.syncthreads()
            for i in range(uint32(16)):
                total += left[y, i] * right[i, x]
            cuda.syncthreads()
        value = floor if total <= floor else total
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


def fetching(tile: int, step: int) -> Callable[..., None]:
    """A device function that brings a tile of a matrix into shared memory, k first."""
    numbers = tile * step // 256  # that each thread brings

    @cuda.jit(device=True)
    def fetch(into, m, k_first, start, count, k0, depth, factor):
        """into[k, i] <- factor m[k0 + k, start + i], or of m^T unless `k_first`; zeros past the edges."""
        for q in range(uint32(numbers)):
            e = uint32(cuda.threadIdx.x) + uint32(q) * THREADS  # neighbouring threads fetch neighbouring numbers
            if k_first:
                k, i = e // uint32(tile), e % uint32(tile)
                into[k, i] = factor * m[k0 + k, start + i] if start + i < count and k0 + k < depth else ZERO
            else:
                i, k = e // uint32(step), e % uint32(step)
                into[k, i] = factor * m[start + i, k0 + k] if start + i < count and k0 + k < depth else ZERO

    return fetch


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
    fetch, padded = fetching(tile, step), tile + 4  # a multiple of 4, so that 4 numbers can be read at once

    def product(a, b, bias, out, squares, alpha, beta, floor):
        """max(beta out + bias + alpha op(a) op(b), floor), a square of numbers a thread."""
        left = cuda.shared.array((step, padded), float32)  # both lie with k first: a thread's part is then in one piece
        right = cuda.shared.array((step, padded), float32)
        sums = cuda.shared.array((tile, 17), float32)
        here = cuda.local.array((part, part), float32)  # in registers, as all its indices are known when it is compiled
        of_left = cuda.local.array(part, float32)
        of_right = cuda.local.array(part, float32)
        x, y = uint32(cuda.threadIdx.x) % uint32(16), uint32(cuda.threadIdx.x) // uint32(16)
        row0, column0 = uint32(cuda.blockIdx.y) * uint32(tile), uint32(cuda.blockIdx.x) * uint32(tile)
        rows, columns = uint32(out.shape[0]), uint32(out.shape[1])
        depth = uint32(a.shape[0]) if a_turned else uint32(a.shape[1])
        for j in range(uint32(part)):
            column = column0 + x * uint32(part) + uint32(j)
            of_right[j] = bias[column] if column < uint32(bias.shape[0]) else ZERO
        for i in range(uint32(part)):
            row = row0 + y * uint32(part) + uint32(i)
            for j in range(uint32(part)):
                column = column0 + x * uint32(part) + uint32(j)
                before = out[row, column] if beta != ZERO and row < rows and column < columns else ZERO
                here[i, j] = beta * before + of_right[j]
        for k0 in range(uint32(0), depth, uint32(step)):
            fetch(left, a, a_turned, row0, rows, k0, depth, alpha)
            fetch(right, b, not b_turned, column0, columns, k0, depth, ONE)
            cuda.syncthreads()
            for k in range(uint32(step)):
                for i in range(uint32(part)):
                    of_left[i] = left[k, y * uint32(part) + uint32(i)]
                    of_right[i] = right[k, x * uint32(part) + uint32(i)]
                for i in range(uint32(part)):
                    for j in range(uint32(part)):
                        here[i, j] += of_left[i] * of_right[j]
            cuda.syncthreads()
        for i in range(uint32(part)):
            row, total = row0 + y * uint32(part) + uint32(i), ZERO
            for j in range(uint32(part)):
                column = column0 + x * uint32(part) + uint32(j)
                value = floor if here[i, j] <= floor else here[i, j]
                if row < rows and column < columns:
                    out[row, column] = value
                    total += value * value
            sums[y * uint32(part) + uint32(i), x] = total
        if squares.shape[0]:
            add_rows(sums, squares, row0, rows)

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
