"""How much memory is left, of a GPU and of this process."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from edgezoo.backends import DEVICE, _nvidia


def resident() -> int:
    """Bytes of this process in the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def device_free(device: str) -> int:
    """Bytes, as CUDA tells: by cuda-python where it is there, else by the driver."""
    found = re.fullmatch(DEVICE, device)
    assert found is not None
    index = int(found[1] or 0)
    try:
        from edgezoo.backends.tensorrt import cuda

        cudart = cuda.runtime()
    except ImportError:
        return _ask_driver(index)
    cuda.checked(cudart.cudaSetDevice(index))
    free, _ = cuda.checked(cudart.cudaMemGetInfo())
    return int(free)


def _ask_driver(index: int) -> int:
    """In the context that CUDA's runtime uses, too; it stays this thread's."""
    library = ctypes.CDLL(_nvidia.LIBRARY)
    handle, context, free, total = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    for code in (
        library.cuInit(0),
        library.cuDeviceGet(ctypes.byref(handle), index),
        library.cuDevicePrimaryCtxRetain(ctypes.byref(context), handle),
        library.cuCtxSetCurrent(context),
        library.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
    ):
        assert code == 0, f"the driver answers with CUDA error {code}"
    return free.value
