"""The names of TensorRT and CUDA that are used, held against NVIDIA's own modules, without a GPU.

The bindings of TensorRT 11.4 are a package of their own that loads over libraries that are empty (`stub_library`).
Names, arguments and numbers of enums are theirs, then; what a call does is not proved here. What 8.6, 10 and
cuda-python have was listed from their packages by the same code, and is kept in `tensorrt_names/`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from fakes.stub_library import stub_library
from tensorrt_names.make import LIBRARIES, SYMBOLS
from tensorrt_names.usage import Use, unknown, uses_of_cuda, uses_of_tensorrt

import edgezoo.backends.tensorrt
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.backends.tensorrt.versions import dialect

HERE = Path(__file__).parent
NAMES = HERE / "tensorrt_names"
BACKEND = sorted(Path(edgezoo.backends.tensorrt.__file__).parent.glob("*.py"))
VERSIONS = ["8.6.0", "8.6.1", "10.3.0", "10.13.2.6", "11.4.0.106"]
NEWEST = VERSIONS[-1]
PACKAGE = "tensorrt-cu13-bindings"

# What 11 has no more and is used all the same, where the version is asked before.
OLD = {("building.py", "_pin", "ILayer.precision"), ("building.py", "_pin", "ILayer.set_output_type")}


def run(file: Path, *arguments: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(file), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def listing(name: str) -> Any:
    return json.loads((NAMES / f"{name}.json").read_text("utf-8"))


@functools.cache
def fake(version: str) -> Any:
    return json.loads(run(NAMES / "surface.py", PYTHONPATH=str(HERE / "fakes"), FAKE_TENSORRT=version))


@functools.cache
def bindings() -> Path:
    """Where NVIDIA's module of 11.4 lies."""
    spec = importlib.util.find_spec("tensorrt_bindings")
    version = importlib.metadata.version(PACKAGE) if spec is not None else "not installed"
    # The extra dev brings it, where there is a wheel of it: then EDGEZOO_MUST=bindings says that it may not be missed.
    need("bindings", version == NEWEST, f"{PACKAGE} is {version}, and {NEWEST} is what is listed here")
    assert spec is not None
    return Path(str(spec.origin)).parent.parent


@functools.cache
def surface() -> Any:
    """Of every class of NVIDIA's module of 11.4 its members, and what they answer."""
    return json.loads(run(NAMES / "make.py", str(bindings()), "--all"))


# Libraries that are empty.


def test_a_library_that_is_empty_loads_and_answers_nothing(tmp_path: Path) -> None:
    for library in LIBRARIES:
        (tmp_path / library).write_bytes(stub_library(f"{library}.so.11", SYMBOLS))
    script = tmp_path / "load.py"
    script.write_text(
        "import ctypes, sys\n"
        "for file in sys.argv[1:]:\n"
        "    library = ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)\n"
        f"    assert [getattr(library, name)() for name in {SYMBOLS}] == [0] * {len(SYMBOLS)}\n"
        "    assert not hasattr(library, 'createInferBuilder'), 'it has what it should not'\n"
        "print(open('/proc/self/maps').read())"
    )
    maps = run(script, *(str(tmp_path / library) for library in LIBRARIES))
    assert all(f"/{library}\n" in maps for library in LIBRARIES)
    assert not [line for line in maps.splitlines() if "[stack]" in line and "x" in line.split()[1]]


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_a_library_says_for_which_machine_it_is(machine: str, number: int) -> None:
    library = stub_library("libnvinfer.so.11", SYMBOLS, machine=machine)
    assert library[:5] == b"\x7fELF\x02"
    assert int.from_bytes(library[18:20], "little") == number


# NVIDIA's own module, the listings, and the fake.


def test_what_is_listed_of_the_newest_version_is_what_its_module_has() -> None:
    assert run(NAMES / "make.py", str(bindings())) == (NAMES / f"{NEWEST}.json").read_text("utf-8")


def differences(faked: Any, real: Any) -> list[str]:
    """What of the fake's classes, arguments and functions the real module does not have in this form."""
    found = [f"class {name}" for name in faked["classes"] if name not in real["classes"]]
    for name, members in faked["classes"].items():
        there = real["classes"].get(name, {})
        found += [
            f"{name}.{member} {form}" for member, form in members.items() if not _fits(member, form, there.get(member))
        ]
    for name, form in faked["functions"].items():
        if form != real["functions"].get(name):
            found.append(f"{name} {form}")
    known = {*real["classes"], *real["functions"], *(name for name in real["enums"] if "." not in name)}
    return found + [f"public {name}" for name in faked["public"] if name not in known]


def _fits(member: str, form: str, there: str | None) -> bool:
    """Whether the fake's form is the real one, or one of its overloads, or a property that writes no more than it."""
    if there is None:
        return member == "__init__"  # what only the library makes; nobody else can with the real one
    if there.startswith("get") or form.startswith("get"):
        return there.startswith(form)
    if "(" not in form + there:
        return form == there
    return bool(_calls(form)) and _calls(form) <= _calls(there)


def _calls(form: str) -> set[tuple[str, ...]]:
    """The ways to call it: of every overload the names that may be given, those with a `=` left out or not."""
    ways = set()
    for overload in re.findall(r"\((.*?)\)", form):
        names = [name for name in overload.split(", ") if name]
        needed = next((k for k, name in enumerate(names) if name.endswith("=")), len(names))
        ways |= {tuple(name.rstrip("=") for name in names[:k]) for k in range(needed, len(names) + 1)}
    return ways


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_has_nothing_that_the_version_has_not(version: str) -> None:
    assert differences(fake(version), listing(version)) == []
    assert fake(version)["classes"].keys() == listing(version)["classes"].keys() - (
        {"IProgressMonitor"} & _lacking(version)
    )


def _lacking(version: str) -> set[str]:
    return {"IProgressMonitor"} - listing(version)["classes"].keys()


def test_the_fake_has_nothing_that_no_version_has() -> None:
    """A name that is in no listing would be left out of every version, and its mistake never be seen."""
    for name, members in fake(NEWEST)["written"].items():
        there = set().union(*(listing(version)["classes"].get(name, {}) for version in VERSIONS))
        assert members.keys() <= there, name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda real: real["classes"]["Builder"].pop("create_network"), "Builder.create_network (flags=)"),
        (lambda real: real["classes"].pop("Runtime"), "class Runtime"),
        (lambda real: real["classes"]["OnnxParser"].update(parse="(model)"), "OnnxParser.parse (model, path=)"),
        (lambda real: real["classes"]["ILayer"].update(name="get"), "ILayer.name get set"),
        (lambda real: real["classes"]["ILayer"].update(num_inputs="()"), "ILayer.num_inputs get"),
        (lambda real: real["functions"].pop("nptype"), "nptype (trt_type)"),
        (lambda real: real["enums"].pop("DataType"), "public DataType"),
    ],
)
def test_a_name_that_is_not_there_is_seen(change: Any, says: str) -> None:
    real = json.loads(json.dumps(listing(NEWEST)))
    change(real)
    assert says in differences(fake(NEWEST), real)


# What the backend uses.


def test_all_that_the_backend_uses_is_in_the_newest_version() -> None:
    uses = uses_of_tensorrt(BACKEND, surface())
    assert {(use.file, use.inside, str(use).split(" ")[1]) for use in unknown(uses, surface())} <= OLD
    # It would find nothing wrong, too, if it understood nothing.
    seen = {use.name for use in uses}
    assert {"create_builder_config", "execute_async_v3", "deserialize_cuda_engine", "get_tensor_profile_shape"} <= seen
    assert {"progress_monitor", "get_engine_information", "set_timing_cache", "get_error"} <= seen


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("trt.Bilder(logger)", "tensorrt.Bilder"),
        ("trt.BuilderFlag.FP16", "BuilderFlag.FP16"),
        ("trt.Builder(logger).create_netwerk()", "Builder.create_netwerk"),
        ("config.max_workspace_size = 1", "IBuilderConfig.max_workspace_size"),
        ("engine.get_binding_shape(0)", "ICudaEngine.get_binding_shape"),
        ("self._context.execute_async_v2([], 0)", "IExecutionContext.execute_async_v2"),
    ],
)
def test_a_use_of_what_is_not_there_is_seen(tmp_path: Path, line: str, says: str) -> None:
    file = tmp_path / "backend.py"
    file.write_text(
        "def load(trt, logger):\n"
        "    config = trt.Builder(logger).create_builder_config()\n"
        "    engine = trt.Runtime(logger).deserialize_cuda_engine(b'')\n"
        "    self._context = engine.create_execution_context()\n"
        f"    {line}\n"
        "    engine.name, config.DLA_core, self._context.engine.num_layers\n"
    )
    wrong = unknown(uses_of_tensorrt([file], surface()), surface())
    assert [str(use) for use in wrong] == [f"backend.py:5 {says}"]


def test_what_is_something_else_is_not_taken_for_nvidias(tmp_path: Path) -> None:
    file = tmp_path / "backend.py"
    file.write_text(
        "def make(trt):\n    engine = trt.Runtime(None).deserialize_cuda_engine(b'')\n    return engine\n"
        "def read(engine: Path):\n    engine.read_bytes()\n"
        "def walk():\n    for engine in []:\n        engine.anything\n    engine = []\n    engine.append(1)\n"
        "def use(engine):\n    engine.nothing\n"
        "def use_what_is_made():\n    make(1).less\n"
    )
    wrong = unknown(uses_of_tensorrt([file], surface()), surface())
    assert [str(use).split(" ")[1] for use in wrong] == ["ICudaEngine.nothing", "ICudaEngine.less"]


OPTIONS = [
    BuildOptions(version_compatible=compatible, hardware_compatible=hardware, dla=dla)
    for compatible, hardware, dla in itertools.product((False, True), ("", "ampere"), (None, 0))
]


# Not 8.6.0: it has no parser flags yet, and a build that other versions may load wants one.
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != "8.6.0"])
@pytest.mark.parametrize("precisions", [set(), {"fp16"}, {"int8"}, {"fp16", "int8"}])
def test_every_flag_that_a_version_is_told_is_one_of_its_own(version: str, precisions: set[str]) -> None:
    enums = listing(version)["enums"]
    for options in OPTIONS:
        says = dialect(version, precisions, options)
        assert set(says.network_flags) <= enums["NetworkDefinitionCreationFlag"].keys()
        assert set(says.builder_flags) <= enums["BuilderFlag"].keys()
        assert set(says.parser_flags) <= enums["OnnxParserFlag"].keys()
        assert says.hardware in enums["HardwareCompatibilityLevel"]
        assert says.tells == ("progress_monitor" in listing(version)["classes"]["IBuilderConfig"])
        assert not says.pins or "set_output_type" in listing(version)["classes"]["ILayer"]


# CUDA.


def cuda_differences(faked: Any, real: Any) -> list[str]:
    """What of the fake's functions, numbers and sentences cuda-python does not have so."""
    found = []
    for name, form in faked["functions"].items():
        given, _, answered = real["functions"].get(name, "").partition(" -> ")
        # A name and a sentence are bytes, which cuda-python's docstrings tell no name of.
        count = (
            1 if name in ("cudaGetErrorName", "cudaGetErrorString") else len(answered.split(", ")) if answered else 0
        )
        if form != given.removesuffix(" ->") or faked["answers"][name] != count:
            found.append(f"{name}{form} -> {faked['answers'][name]}")
    for part in ("constants", "sentences"):
        there = real[part]
        found += [f"{name} {what}" for name, what in faked[part].items() if there.get(name) not in (what, "")]
    for name, members in faked["enums"].items():
        found += [f"{name}.{member}" for member, number in members.items() if real["enums"][name].get(member) != number]
    for name, fields in faked["structures"].items():
        found += [f"{name}.{field}" for field in fields if field not in real["structures"][name].split()]
    return found


@pytest.mark.parametrize("version", ["12.2.1", "13.5.0"])
def test_the_fake_cuda_has_nothing_that_cuda_python_has_not(version: str) -> None:
    assert cuda_differences(fake(NEWEST)["cuda"], listing(f"cuda-{version}")) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda real: real["functions"].pop("cudaFree"), "cudaFree(devPtr) -> 0"),
        (lambda real: real["functions"].update(cudaMalloc="(size) ->"), "cudaMalloc(size) -> 1"),
        (lambda real: real["functions"].update(cudaMemGetInfo="(device) -> free, total"), "cudaMemGetInfo() -> 2"),
        (lambda real: real["constants"].pop("cudaStreamNonBlocking"), "cudaStreamNonBlocking 1"),
        (lambda real: real["enums"]["cudaError_t"].pop("cudaErrorNoDevice"), "cudaError_t.cudaErrorNoDevice"),
        (lambda real: real["structures"].update(cudaDeviceProp="name"), "cudaDeviceProp.major"),
        (lambda real: real["sentences"].update(cudaSuccess="fine"), "cudaSuccess no error"),
    ],
)
def test_a_difference_to_cuda_is_seen(change: Any, says: str) -> None:
    real = json.loads(json.dumps(listing("cuda-13.5.0")))
    change(real)
    assert says in cuda_differences(fake(NEWEST)["cuda"], real)


@pytest.mark.parametrize("version", ["12.2.1", "13.5.0"])
def test_all_that_the_backend_uses_of_cuda_is_there(version: str) -> None:
    uses = uses_of_cuda(BACKEND)
    assert {"cudaGetDeviceCount", "cudaMemcpyHostToDevice", "cudaGraphLaunch"} <= {use.name for use in uses}
    assert [str(use) for use in uses if not _in_cuda(use, listing(f"cuda-{version}"))] == []


def _in_cuda(use: Use, real: Any) -> bool:
    if use.owners == {"runtime"}:
        return any(use.name in real[part] for part in ("functions", "constants", "enums", "structures"))
    return all(use.name in real["enums"].get(owner, {}) for owner in use.owners)


def test_a_use_of_what_cuda_has_not_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "cuda.py"
    file.write_text("self._cudart.cudaMalloc2(1)\ncudart.cudaMemcpyKind.Up\nruntime().cudaFree(0)\n")
    wrong = [str(use) for use in uses_of_cuda([file]) if not _in_cuda(use, listing("cuda-13.5.0"))]
    assert sorted(wrong) == ["cuda.py:1 runtime.cudaMalloc2", "cuda.py:2 cudaMemcpyKind.Up"]


def test_cuda_python_itself_where_it_is_installed() -> None:
    """The package is no part of the extra dev; a machine with a GPU has it."""
    spec = importlib.util.find_spec("cuda.bindings") if importlib.util.find_spec("cuda") else None
    if spec is None or spec.origin is None:
        pytest.skip("cuda-python is not installed")
    real = json.loads(run(NAMES / "make_cuda.py", str(Path(spec.origin).parents[2])))
    assert cuda_differences(fake(NEWEST)["cuda"], real) == []
