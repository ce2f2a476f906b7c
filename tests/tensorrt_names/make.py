"""What NVIDIA's own Python module of a TensorRT version has, as one small JSON file: names, not behaviour.

    python tests/tensorrt_names/make.py FOLDER > tests/tensorrt_names/11.4.0.106.json
    python tests/tensorrt_names/make.py FOLDER --all

`FOLDER` holds `tensorrt_bindings`, as a bindings wheel brings it (`pip download --no-deps`, unpacked). The module is
loaded over libraries that are empty (`stub_library.py`): no GPU, no TensorRT. A property is told as `get` or
`get set`, a method by the names of its arguments, `=` behind those that may be left out, one bracket per overload.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

CLASSES = """
    Builder Dims EngineInspector IBuilderConfig ICudaEngine IExecutionContext IHostMemory ILayer ILogger
    INetworkDefinition IOptimizationProfile IProfiler IProgressMonitor ITensor ITimingCache Logger OnnxParser
    ParserError Runtime
""".split()  # noqa: SIM905
ENUMS = """
    BuilderFlag DataType DeviceType EngineCapability ErrorCode ErrorCodeTRT ExecutionContextAllocationStrategy
    HardwareCompatibilityLevel ILogger.Severity LayerInformationFormat LayerType MemoryPoolType
    NetworkDefinitionCreationFlag OnnxParserFlag PreviewFeature ProfilingVerbosity QuantizationFlag TacticSource
    TensorFormat TensorIOMode TensorLocation
""".split()  # noqa: SIM905
FUNCTIONS = ["init_libnvinfer_plugins", "nptype", "volume"]

# All that NVIDIA's module asks of the libraries under it; the mangled ones are 8.6's.
SYMBOLS = """
    createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL
    createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL getBuilderPluginRegistry getNvOnnxParserVersion
    getPluginRegistry initLibNvInferPlugins
""".split()  # noqa: SIM905
OLD_SYMBOLS = """
    _ZN11nvuffparser15createUffParserEv _ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi
    _ZN14nvcaffeparser117createCaffeParserEv _ZN14nvcaffeparser123shutdownProtobufLibraryEv
""".split()  # noqa: SIM905
ADDS = {"add_optimization_profile"}
LIBRARIES = ["libnvinfer", "libnvinfer_plugin", "libnvonnxparser"]


def load(folder: Path, version: str) -> ModuleType:
    """NVIDIA's module of that folder, over stub libraries of its major version; once per process."""
    sys.path[:0] = [str(folder), str(Path(__file__).parent.parent / "fakes")]
    from stub_library import stub_library

    major = version.partition(".")[0]
    libraries = [*LIBRARIES, "libnvparsers"] if major == "8" else LIBRARIES
    symbols = [*SYMBOLS, *OLD_SYMBOLS] if major == "8" else SYMBOLS
    with tempfile.TemporaryDirectory() as place:
        for name in (f"{library}.so.{major}" for library in libraries):
            (Path(place) / name).write_bytes(stub_library(name, symbols))
            ctypes.CDLL(str(Path(place) / name), mode=ctypes.RTLD_GLOBAL)
        import tensorrt_bindings

    found: ModuleType = tensorrt_bindings
    return found


def version_of(folder: Path) -> str:
    """Read, not imported: which libraries the import needs depends on it."""
    found = re.search(r'__version__ = "([\d.]+)', (folder / "tensorrt_bindings" / "__init__.py").read_text("utf-8"))
    assert found, f"{folder}: no tensorrt_bindings with a version"
    return found[1]


def names_of(module: ModuleType) -> dict[str, Any]:
    """The listing: of the classes, enums and functions above, those that the module has."""
    classes = {name: members_of(getattr(module, name)) for name in CLASSES if hasattr(module, name)}
    enums = {name: found for name in ENUMS if (found := _members(module, name))}
    functions = {name: _signature(getattr(module, name)) for name in FUNCTIONS if hasattr(module, name)}
    return {"version": module.__version__, "classes": classes, "enums": enums, "functions": functions}


def members_of(kind: type) -> dict[str, str]:
    """Every public member of a class, inherited ones too, with how it is used; not what adds layers by hand."""
    told = {}
    for name in sorted(dir(kind)):
        value = getattr(kind, name)
        if name.startswith("_") and not (name == "__init__" and "(self:" in (value.__doc__ or "")):
            continue
        if isinstance(value, property):
            told[name] = "get" if value.fset is None else "get set"
        elif not callable(value) or isinstance(value, type):
            told[name] = "class" if isinstance(value, type) else "constant"
        elif not name.startswith("add_") or name in ADDS:
            told[name] = _signature(value)
    return told


def everything(module: ModuleType) -> dict[str, dict[str, str]]:
    """All that is public of the module: of each class its members, each with the class that it answers, if any."""
    there = [name for name in dir(module) if not name.startswith("_")]
    told: dict[str, dict[str, str]] = {}
    for name in there:
        kind = getattr(module, name)
        answers = {member: _answer(getattr(kind, member)) for member in dir(kind) if not member.startswith("_")}
        # A docstring that was written before its class was known tells the C++ name, `IParserError`.
        told[name] = {member: got if got in there else got.removeprefix("I") for member, got in answers.items()}
    return told


def _answer(function: Any) -> str:
    function = function.fget if isinstance(function, property) else function
    found = re.search(r"-> (?:[\w.:]*[.:])?(\w+)$", function.__doc__ or "", re.MULTILINE)
    return found[1] if found else ""


def _members(module: ModuleType, path: str) -> dict[str, int]:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return {} if found is None else {name: int(value) for name, value in found.__members__.items()}


def _signature(function: Any) -> str:
    """`(a, b=)`, read from the first lines of a docstring, or from Python's own code."""
    if code := getattr(function, "__code__", None):
        return "(" + ", ".join(code.co_varnames[: code.co_argcount]) + ")"
    text = function.__doc__ or ""
    lines = [line for line in text.splitlines() if re.match(rf"(\d+\. )?{function.__name__}\(", line)]
    told = lines[1:] if "Overloaded function" in text else lines[:1]
    return " ".join(dict.fromkeys(_arguments(line) for line in told))


def _arguments(line: str) -> str:
    inside = re.sub(r"<[^<>]*>", "0", line[line.index("(") + 1 : line.rindex(")")])
    while (fewer := re.sub(r"\[[^\[\]]*\]", "", inside)) != inside:
        inside = fewer
    parts = [part.strip() for part in inside.split(",")]
    names = [part.partition(":")[0] + "=" * ("=" in part) for part in parts if part and not part.startswith("self")]
    return f"({', '.join(names)})"


def written(listing: dict[str, Any]) -> str:
    """As it is committed: sorted, one class a line, so that two versions can be told apart by eye."""
    lines = []
    for part, value in listing.items():
        if isinstance(value, str):
            lines.append(f" {json.dumps(part)}: {json.dumps(value)}")
        else:
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(what)}" for name, what in sorted(value.items()))
            lines.append(f" {json.dumps(part)}: {{\n{inner}\n }}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1]).resolve()
    MODULE = load(FOLDER, version_of(FOLDER))
    ALL = sys.argv[2:] == ["--all"]
    sys.stdout.write(json.dumps(everything(MODULE)) if ALL else written(names_of(MODULE)))
