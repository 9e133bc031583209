"""What CUDA needs and this machine may not have. Imports numba only when it is asked."""

from importlib import import_module

PACKAGE = ('numba-cuda with its compilers is not installed; pip install "ffnp[cuda]" for a driver of CUDA 13, or '
           '"ffnp[cuda12]" for one of CUDA 12')


def compilers() -> str:
    """One sentence on what is missing to compile the kernels, and how to get it; "" where they compile."""
    try:
        toolkit()
    except (ImportError, RuntimeError):  # of the package or of one of NVIDIA's libraries, whichever is missing
        return PACKAGE
    return ""


def gpu() -> str:
    """One sentence on what is missing to run the kernels on a graphics card, and how to get it; "" where they run."""
    missing = compilers()
    if missing:
        return missing
    (major, minor), (version, state) = toolkit(), driver()
    if not version:
        return f"there is no NVIDIA driver; install one of CUDA {major}"
    if version // 1000 < major:
        return (f"the NVIDIA driver is of CUDA {version // 1000}.{version % 1000 // 10}, too old for numba-cuda with CUDA "
                f'{major}.{minor}; update the driver, or pip install "ffnp[cuda12]" for one of CUDA 12')
    if state == "CUDA_ERROR_NO_DEVICE":
        return "the NVIDIA driver finds no device; there has to be a card, and CUDA_VISIBLE_DEVICES must not hide it"
    if state != "CUDA_SUCCESS":
        return f"the NVIDIA driver does not start ({state}); restart the machine, or install the driver anew"
    return device()


def toolkit() -> tuple[int, int]:
    """The version of CUDA that kernels are compiled with. Raises ImportError or RuntimeError where a part is missing."""
    from numba import cuda

    if getattr(cuda, "implementation", None) != "NVIDIA":
        raise ImportError("this is the target that numba comes with")
    from numba.cuda.cudadrv import nvvm, runtime

    nvvm.NVVM()
    return runtime.get_version()


def capabilities() -> list[tuple[int, int]]:
    """The compute capabilities that the compilers can compile for."""
    return [divmod(arch, 10) for arch in import_module("cuda.bindings.nvrtc").nvrtcGetSupportedArchs()[1]]


def driver() -> tuple[int, str]:
    """The version of CUDA that the driver is made for, 13000 for 13.0, and what it answers to its start; 0 without one."""
    driver = import_module("cuda.bindings.driver")
    try:
        return driver.cuDriverGetVersion()[1], driver.cuInit(0)[0].name
    except RuntimeError:  # its library cannot be found
        return 0, ""


def device() -> str:
    """One sentence on why numba cannot use the device that the driver has; "" where it can."""
    from numba import cuda

    if not cuda.is_available():
        return f"numba does not use the NVIDIA driver: {cuda.cuda_error()}"
    have, least = cuda.gpus[0].compute_capability, min(capabilities())
    if have < least:
        return (f"the device is of compute capability {have[0]}.{have[1]}, too old for numba-cuda, which compiles for "
                f'{least[0]}.{least[1]} and newer; pip install "ffnp[cuda12]" may compile for it')
    return ""
