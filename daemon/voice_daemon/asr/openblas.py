"""Loads OpenBLAS ahead of MLX on Linux, where MLX's own wheel links a slow reference BLAS.

Importing it does so, and has to come before the first import of MLX. On macOS MLX uses Accelerate
and Metal, and nothing is done here.
"""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

_LIBRARY = "libopenblas.so.0"


@cache
def preload_openblas() -> bool:
    """Make OpenBLAS's `cblas_sgemm` the one that MLX finds; True when MLX will be fast.

    The first library in a process's global scope wins, so this has to happen before
    `mlx.core` is imported; later calls return the first answer.
    """
    if sys.platform != "linux":
        return True
    if "mlx.core" in sys.modules:
        return _already_loaded()
    # The products of a small model are too small to share: two threads took twice as long as one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        ctypes.CDLL(_LIBRARY, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _already_loaded() -> bool:
    """True when the library is in the process already (for instance by LD_PRELOAD).

    NumPy's own copy does not count: its functions have other names, and MLX never finds them.
    """
    try:
        with Path("/proc/self/maps").open(encoding="utf-8") as maps:
            return any("/libopenblas" in line and "numpy.libs" not in line for line in maps)
    except OSError:
        return False


preload_openblas()
