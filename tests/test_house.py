"""The house's own rules: arrows point one way, big libraries live in their rooms, the door is what it says."""

from __future__ import annotations

import ast
import builtins
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgezoo
from edgezoo import errors, optional

PACKAGE = Path(edgezoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
_ORDER = """
    errors machine optional logins | frame geometry results address latency | preprocess tasks
    | records cards weights graphs bundle | backends | sources | imagesets | drawing capture tracking web sinks | engine
    | pipeline | measure | nets | convert | reduce | loading compiling cache | train | serve | cli __main__
"""
ROOMS = _ORDER.replace("|", " ").split()
UP_ON_PURPOSE = {("results", "drawing")}  # `result.draw(image)`, imported when it is called
LONGEST = 320

# Who may load what, besides the extras' own check in `optional`.
LIBRARIES = {
    "torch": {"nets", "convert", "train"},
    "onnxscript": {"convert"},
    "safetensors": {"convert", "train"},
    "matplotlib": {"train"},
    "yaml": {"train"},
    "onnxruntime": {"backends", "reduce"},
    "openvino": {"backends"},
    "onnx": {"backends", "convert", "graphs", "reduce"},
    # measure: its version and threads
    "cv2": {"preprocess", "sources", "drawing", "capture", "web", "sinks", "engine", "measure", "train", "serve"},
    "starlette": {"web", "serve"},
    "uvicorn": {"web"},
    "prometheus_client": {"web", "serve"},
    "requests": {"weights"},
    "filelock": {"backends"},
    "pycocotools": {"measure"},
    "rich": {"cli"},
}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(file: Path) -> list[tuple[str, int]]:
    """Dotted names of all that a file imports, at its top, in functions and for types, with their lines."""
    return [found for node in ast.walk(ast.parse(file.read_text("utf-8"))) for found in _imported(node, file)]


def _imported(node: ast.AST, file: Path) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
        yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
    elif isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        name = _start(node.args[0])
        if called in ("import_module", "require") and name:
            yield name, node.lineno


def _start(node: ast.expr) -> str:
    """The text of a literal, or what an f-string begins with."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0] if node.values else node
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def upward_arrows(file: Path) -> list[str]:
    here, found = room_of(file), []
    for name, line in imports(file):
        top, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if top != "edgezoo" or there in ("", "__version__"):
            continue
        assert there in ROOMS, f"{file.name}:{line} imports {name}, which is in no room that ROOMS knows"
        if ROOMS.index(there) > ROOMS.index(here) and (here, there) not in UP_ON_PURPOSE:
            found.append(f"{file.relative_to(PACKAGE)}:{line} imports {name}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_arrow_points_up(file: Path) -> None:
    if file == PACKAGE / "__init__.py":
        return  # the front door names every room; a test below holds it shut until it is knocked at
    assert room_of(file) in ROOMS, "a new room needs its place in ROOMS"
    assert not upward_arrows(file)


def test_an_arrow_that_points_up_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "geometry.py"
    file.write_text(
        "from edgezoo.errors import ShapeError\n"
        "def f():\n    from edgezoo.engine import Engine\n"
        "import importlib\nimportlib.import_module(f'edgezoo.nets.{f}')\nimport edgezoo.cli.show\n"
    )
    lines = sorted(arrow.partition(" ")[0] for arrow in upward_arrows(file))
    assert lines == ["geometry.py:3", "geometry.py:5", "geometry.py:6"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_stay_in_their_rooms(library: str) -> None:
    users = {room_of(file) for file in FILES for name, _ in imports(file) if name.partition(".")[0] == library}
    assert users <= LIBRARIES[library]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_is_too_long_to_read(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= LONGEST


def loaded_by(code: str) -> set[str]:
    """The libraries outside Python's own that a fresh interpreter loads while it runs `code`."""
    script = (
        "import sys\nbefore = set(sys.modules)\n" + code + "\nimport json\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(tops - set(sys.stdlib_module_names))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import edgezoo\ndir(edgezoo)") == {"edgezoo"}


@pytest.mark.parametrize("verb", ["['list']", "['info', 'yolox_nano']", "['list', '--json']"])
def test_looking_around_loads_nothing_heavy(verb: str) -> None:
    libraries = loaded_by(f"from edgezoo.cli import main\nassert main({verb}) == 0")
    assert "rich" in libraries
    assert not libraries & {"torch", "onnxruntime", "cv2", "onnx", "openvino", "tensorrt", "pycocotools", "requests"}


def test_the_front_door_is_what_it_says() -> None:
    assert edgezoo.__all__ == sorted(edgezoo.__all__)
    assert set(edgezoo.__all__) == {*edgezoo._ROOMS, "__version__"} == set(dir(edgezoo))
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed - {"annotations", "TYPE_CHECKING"} == set(edgezoo._ROOMS)


@pytest.mark.parametrize("name", edgezoo.__all__)
def test_every_name_at_the_front_door_is_there(name: str) -> None:
    value = getattr(edgezoo, name)
    assert value is getattr(edgezoo, name)
    assert getattr(value, "__name__", name) == name


def test_the_front_door_is_not_taken_by_a_room() -> None:
    script = "import edgezoo, edgezoo.cli.run_, edgezoo.convert\nprint(callable(edgezoo.draw), callable(edgezoo.load))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        _ = edgezoo.Engin


# Errors, and packages that may be missing.


def test_the_tree_of_errors_is_as_it_is_drawn() -> None:
    drawn = {}
    parents = {0: errors.EdgezooError}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)(?:\((\w+)\))?", line):
            depth = len(found[1]) // 4
            drawn[found[2]] = (parents[depth], found[3])
            parents[depth + 1] = getattr(errors, found[2])
    there = {name: kind for name, kind in vars(errors).items() if getattr(kind, "__module__", "") == errors.__name__}
    there = {name: kind for name, kind in there.items() if isinstance(kind, type) and kind is not errors.EdgezooError}
    assert set(drawn) == set(there)
    for name, (parent, builtin) in drawn.items():
        assert issubclass(there[name], parent)
        assert builtin is None or issubclass(there[name], getattr(builtins, builtin))


@pytest.mark.parametrize(
    ("module", "raised", "kind", "says"),
    [
        (
            "cv2",
            ModuleNotFoundError(name="cv2"),
            errors.MissingDependency,
            'cv2 is not installed; try: pip install "edgezoo[cpu]"',
        ),
        (
            "safetensors.torch",
            ModuleNotFoundError(name="safetensors"),
            errors.MissingDependency,
            'pip install "edgezoo[export]"',
        ),
        (
            "torch",
            ModuleNotFoundError("no filelock", name="filelock"),
            ModuleNotFoundError,
            "no filelock",
        ),  # not ours to cure
        (
            "cv2",
            ImportError("libGL.so.1: cannot open\nshared object"),
            errors.MissingDependency,
            "try: apt install libgl1",
        ),
        ("torch", ImportError("bad ELF"), errors.MissingDependency, "torch is installed but cannot load: bad ELF"),
    ],
)
def test_a_package_that_is_not_there_comes_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, module: str, raised: Exception, kind: type[Exception], says: str
) -> None:
    def fail(name: str) -> None:
        raise raised

    monkeypatch.setattr(optional, "_loaded", {})
    monkeypatch.setattr("edgezoo.optional.importlib.import_module", fail)
    with pytest.raises(kind) as caught:
        optional.require(module)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_package_of_an_extra_is_one_that_a_file_requires() -> None:
    required = {name.partition(".")[0] for file in FILES for name, _ in imports(file)}
    assert set(optional.EXTRA_OF) <= required
