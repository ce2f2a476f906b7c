"""Which names of NVIDIA's modules some source files use, read without running them.

What an expression is follows from what NVIDIA's own docstrings say a call answers: `trt.Builder(...)` is a Builder,
its `create_builder_config()` an IBuilderConfig. A name that was given such a value in one place is taken for the same
in every file (`builder` as an argument, too); where two kinds share a name, either will do.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MODULE = "tensorrt"
Surface = Mapping[str, Mapping[str, str]]
"""Of each class its members, and the class that each answers."""


@dataclass(frozen=True)
class Use:
    file: str
    line: int
    inside: str
    """The function that it stands in."""
    owners: frozenset[str]
    """What it may be an attribute of."""
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {'/'.join(sorted(self.owners))}.{self.name}"


def uses_of_tensorrt(files: Sequence[Path], surface: Surface) -> list[Use]:
    """Every attribute of the module, or of an object that it made."""
    reader = _Reader(surface)
    trees = [(file.name, ast.parse(file.read_text("utf-8"))) for file in files]
    for _ in range(4):  # a name may get its value from one that gets its own further on
        for _, tree in trees:
            reader.learn(tree)
    return [use for file, tree in trees for use in reader.uses(file, tree)]


def uses_of_cuda(files: Sequence[Path]) -> list[Use]:
    """Every attribute of what is called `cudart`, or of what is an attribute of that."""
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and (owner := _cuda(node.value)):
                found.append(Use(file.name, node.lineno, "", frozenset({owner}), node.attr))
    return found


def _cuda(node: ast.expr) -> str:
    last = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    if last in ("cudart", "_cudart") or (isinstance(node, ast.Call) and _called(node) == "runtime"):
        return "runtime"
    return last if isinstance(node, ast.Attribute) and _cuda(node.value) == "runtime" else ""


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


class _Reader:
    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.known: dict[str, set[str]] = defaultdict(set)
        """Names, of variables and of attributes of our own objects, with what they may be."""
        self.known["trt"].add(MODULE)
        self.returned: dict[str, set[str]] = defaultdict(set)
        """What our own functions answer; `tensorrt()` is the one that loads the module."""
        self.returned["tensorrt"].add(MODULE)
        self.hidden: frozenset[str] = frozenset()
        """Names that are something else where it reads just now."""

    def learn(self, tree: ast.AST) -> None:
        for node, inside in self.walk(tree, ""):
            if isinstance(node, ast.Return) and node.value is not None:
                self.returned[inside] |= self.kinds(node.value)
            for target, value in _assigned(node):
                if name := _name(target):
                    self.known[name] |= self.kinds(value)

    def walk(self, node: ast.AST, inside: str) -> Iterator[tuple[ast.AST, str]]:
        """Every node below with the function it stands in; `hidden` is right while the caller has it."""
        before = self.hidden
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            self.hidden = before - self.bound(node, known=True) | self.bound(node, known=False)
        yield node, inside
        for child in ast.iter_child_nodes(node):
            yield from self.walk(child, node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else inside)
        self.hidden = before

    def bound(self, function: ast.FunctionDef | ast.Lambda, *, known: bool) -> frozenset[str]:
        """The names that a function binds to what may be NVIDIA's, or to what is not."""
        found: dict[str, bool] = {}
        for one in [*function.args.args, *function.args.kwonlyargs]:
            found[one.arg] = one.annotation is None or ast.unparse(one.annotation) in ("Any", "object")
        for node in ast.walk(function):
            for target, value in _assigned(node):
                for name in _names(target):
                    found[name] = found.get(name, False) or bool(self.kinds(value))
            if isinstance(node, (ast.For, ast.comprehension)):
                found |= dict.fromkeys(_names(node.target), False)
        return frozenset(name for name, theirs in found.items() if theirs == known)

    def kinds(self, node: ast.expr) -> set[str]:
        """What an expression may be: the module, a class of it (`type:Builder`), or an object of a class."""
        if isinstance(node, ast.Call):
            theirs = self.kinds(node.func)
            if not theirs:
                return self.returned[_called(node)]
            return {self.answer(kind) for kind in theirs} - {""}
        if isinstance(node, ast.Attribute):
            owners = self.kinds(node.value)
            if owners:
                return {self.member(owner, node.attr) for owner in owners} - {""}
            return self.known.get(node.attr, set()) if _is_self(node.value) else set()
        there = isinstance(node, ast.Name) and node.id not in self.hidden
        return self.known.get(node.id, set()) if there else set()

    def member(self, owner: str, name: str) -> str:
        if owner == MODULE:
            return f"type:{name}" if name in self.surface else ""
        if owner.startswith("type:") or owner.startswith("method:"):
            return ""
        return f"method:{owner}.{name}" if name in self.surface.get(owner, {}) else ""

    def answer(self, kind: str) -> str:
        """What calling it gives."""
        if kind.startswith("type:"):
            return kind.removeprefix("type:")
        if kind.startswith("method:"):
            owner, _, name = kind.removeprefix("method:").partition(".")
            answered = self.surface[owner][name]
            return answered if answered in self.surface else ""
        return ""

    def uses(self, file: str, tree: ast.AST) -> Iterator[Use]:
        for node, inside in self.walk(tree, ""):
            if isinstance(node, ast.Attribute):
                owners = {kind for kind in self.kinds(node.value) if not kind.startswith("method:")}
                if owners:
                    plain = frozenset(kind.removeprefix("type:") for kind in owners)
                    yield Use(file, node.lineno, inside, plain, node.attr)


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _name(target: ast.expr) -> str:
    if isinstance(target, ast.Attribute) and _is_self(target.value):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """What is given to what, `a, b = c, d` one by one."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value
    for target in node.targets if isinstance(node, ast.Assign) else []:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts)
        else:
            yield target, node.value


def _names(target: ast.expr) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]


def unknown(uses: Sequence[Use], surface: Surface) -> list[Use]:
    """Those that the surface does not have: of the module itself, or of any class that they may be of."""
    lacking = []
    for use in uses:
        there = any(
            use.name in surface if owner == MODULE else use.name in surface.get(owner, {}) for owner in use.owners
        )
        if not there and not use.name.startswith("__"):
            lacking.append(use)
    return lacking
