"""Packages that come with an extra: imported at first use, with the cure where they are missing."""

from __future__ import annotations

import importlib
import threading
import warnings
from types import ModuleType

from edgezoo.errors import MissingDependency
from edgezoo.machine import on_jetson

EXTRA_OF = {
    "cv2": "cpu",
    "onnxruntime": "cpu",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "cuda": "tensorrt",
    "torch": "export",
    "onnxscript": "export",
    "safetensors": "export",
    "pycocotools": "eval",
    "matplotlib": "train",
    "yaml": "train",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
}


_OF_A_JETSON = ("cv2", "onnxruntime", "tensorrt", "cuda")
"""Of these pip's would shadow what fits the board."""


def require(module: str) -> ModuleType:
    """Import `module`, or say in one line which extra brings it.

    Raises MissingDependency: the package is absent, or is there and a system library under it is
    not (OpenCV without libGL, on slim machines).
    """
    if module not in _loaded:
        with _loading:
            _loaded[module] = _import(module)
    return _loaded[module]


# One thread at a time: OpenCV replaces itself while it is imported, and half of it is in sys.modules then.
_loading = threading.RLock()
_loaded: dict[str, ModuleType] = {}


def _import(module: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            # ONNX Runtime with CUDA as a plugin says so before its libraries could be found for it.
            warnings.filterwarnings("ignore", message="Failed to register bundled CUDA plugin")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        name = module.partition(".")[0]
        cure = f'try: pip install "edgezoo[{EXTRA_OF[name]}]"'
        if name in _OF_A_JETSON and on_jetson():
            cure = "`edgezoo doctor` tells what this Jetson's own system has for it"
        raise MissingDependency(f"{module} is not installed; {cure}") from None
    except ImportError as error:
        raise MissingDependency(_system_cure(module, error)) from error


def _system_cure(module: str, error: ImportError) -> str:
    reason = " ".join(str(error).split())
    if module == "cv2" and ".so" in reason:
        return (
            f"OpenCV is installed but cannot load ({reason}); try: apt install libgl1 libglib2.0-0, "
            "or the build without windows: pip uninstall opencv-python && pip install opencv-python-headless"
        )
    return f"{module} is installed but cannot load: {reason}; `edgezoo doctor` tells more"
