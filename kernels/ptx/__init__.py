"""A graphics card on paper: reads PTX, the assembly language of NVIDIA's GPUs, and runs it in NumPy, checking every access."""
