"""The fake's own names in the form of a listing, at the version of `FAKE_TENSORRT`; run where the fakes are found."""

from __future__ import annotations

import inspect
import json
from typing import Any

import tensorrt
from cuda._errors import SENTENCES
from cuda.bindings import runtime
from tensorrt._names import EXPORTED, WRITTEN


def _member(value: Any) -> str:
    if isinstance(value, property):
        return "get" if value.fset is None else "get set"
    if not inspect.isfunction(value):
        return "class" if isinstance(value, type) else "constant"
    return f"({', '.join(_parameters(value))})"


def _parameters(function: Any) -> list[str]:
    kinds = inspect.signature(function).parameters
    return [name + "=" * (one.default is not one.empty) for name, one in kinds.items() if name != "self"]


def _class(members: dict[str, Any]) -> dict[str, str]:
    return {name: _member(value) for name, value in members.items()}


def _all(kind: type) -> dict[str, Any]:
    """What can be seen of it: of memory of the library's, which is bytes here, only what is NVIDIA's."""
    names = vars(kind) if issubclass(kind, bytes) else dir(kind)
    return {name: getattr(kind, name) for name in names if not name.startswith("_") or name == "__init__"}


CUDA = {name: getattr(runtime, name) for name in vars(runtime) if name.startswith("cuda")}
print(
    json.dumps(
        {
            "classes": {name: _class(_all(kind)) for name, kind in EXPORTED.items()},
            "written": {name: _class(members) for name, members in WRITTEN.items()},
            "functions": {
                name: _member(getattr(tensorrt, name)) for name in ("init_libnvinfer_plugins", "nptype", "volume")
            },
            "public": sorted(name for name in vars(tensorrt) if not name.startswith("_")),
            "cuda": {
                "functions": {name: _member(value) for name, value in CUDA.items() if inspect.isfunction(value)},
                "answers": {
                    name: getattr(value, "answers", 0) for name, value in CUDA.items() if inspect.isfunction(value)
                },
                "constants": {name: value for name, value in CUDA.items() if type(value) is int},
                "enums": {
                    name: {member.name: int(member) for member in value}
                    for name, value in CUDA.items()
                    if isinstance(value, type) and issubclass(value, int)
                },
                "structures": {
                    name: [field for field in vars(value()) if not field.startswith("_")]
                    for name, value in CUDA.items()
                    if isinstance(value, type) and not issubclass(value, int)
                },
                "sentences": {runtime.cudaError_t(code).name: text.decode() for code, text in SENTENCES.items()},
            },
        }
    )
)
