"""The kernels in Numba CUDA: what a card computes (`products`, `rows`, ...), what it may cost (`table`), and who launches it
(`backend`), on a card (`gpu`) or, instruction by instruction, on the CPU (`emulated`)."""
