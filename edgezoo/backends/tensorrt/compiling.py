"""Have an engine built once, for all processes that ask for it, and tell how far it is.

The builder is a process of its own (`building.py`). It is stopped when whoever waits for it is interrupted, and stops
by itself when that one dies; what it made becomes part of the cache when it is whole, and not before.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgezoo.backends.tensorrt import engines, private, timings
from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.engines import Compiled
from edgezoo.backends.tensorrt.fitting import Record
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.backends.tensorrt.progress import Building, Told
from edgezoo.errors import BackendError, EdgezooError, MissingDependency, RequestError

Tell = Callable[[Told], None]

BUILDER = "edgezoo.backends.tensorrt.building"
_PATIENCE_S = 5.0  # from asking a builder to stop until it is killed
_TICK_S = 0.2
_LAST_WORDS = 4096
# Modules come from where ours do, whatever lies in the working directory.
_BEGIN = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop())
runpy.run_module(sys.argv.pop(), run_name="__main__", alter_sys=True)
"""


def compile_graph(
    graph: bytes,
    *,
    called: str,
    artifact: str,
    here: Facts,
    device: int = 0,
    options: BuildOptions,
    tell: Tell = lambda told: None,
    builder: str = BUILDER,
) -> Compiled:
    """The graph's compiled engine for this machine: the one that is kept, or one that is built now.

    While another process builds the same one, this one waits and uses it. `called` and `artifact` are what a command
    names bundle and artifact; `builder`: the module to run as the builder. Raises BackendError, RequestError,
    MissingDependency.
    """
    sha256 = hashlib.sha256(graph).hexdigest()
    record = Record(called=called, artifact=artifact, graph_sha256=sha256, options=options, facts=here)
    with private.keeping():
        private.enter()
        found, trouble = engines.lookup(sha256, here, options)
        if found is None:
            why = trouble or engines.why(sha256, here, options, called=called, artifact=artifact)
            tell(Told(text="starting", news=f"compiling {record.name} for {here.gpu}: {why}"))
            with private.lock(record.key, _waiting(tell)):
                found, _ = engines.lookup(sha256, here, options)
                if found is not None:
                    found = replace(found, why="another process built it meanwhile")
                else:
                    with private.workshop(record.key) as shop:
                        found = _build(graph, record, shop, device=device, tell=tell, builder=builder)
                        found = replace(found, why=why)
        engines.ask(found)
    return found


def take_over(
    engine: Path, graph: bytes, *, called: str, artifact: str, here: Facts, options: BuildOptions, trust: bool
) -> Compiled:
    """Keep an engine that was built elsewhere, by `trtexec`, as the graph's for this machine.

    Of the options, what it is compatible with and the DLA core are believed. Raises RequestError, also where it is not
    trusted, and BackendError.
    """
    if not trust:
        raise RequestError(
            f"{engine}: refused: an engine is native code, which could do here whatever you can; if you trust whoever "
            "built it, add --trust"
        )
    try:
        data = engine.read_bytes() if engine.is_file() else b""
    except OSError as error:
        raise RequestError(f"{engine}: expected a compiled engine: {error.strerror}") from None
    if not data or hashlib.sha256(data).digest() == hashlib.sha256(graph).digest():
        what = "an ONNX file" if data else "nothing" if engine.is_file() else "no such file"
        raise RequestError(f"{engine}: expected an engine that trtexec or TensorRT wrote, got {what}")
    sha256 = hashlib.sha256(graph).hexdigest()
    record = Record(called=called, artifact=artifact, graph_sha256=sha256, options=options, facts=here, taken=True)
    with private.keeping():
        private.enter()
        with private.lock(record.key), private.workshop(record.key) as shop:
            made = shop / "engine"
            made.write_bytes(data)
            found = engines.keep(made, record, shop)
        engines.ask(found)
    return found


def _waiting(tell: Tell) -> Callable[[], None]:
    """Says whom it waits for; the sentence once."""
    news = ["another process is building it: waiting for that one"]

    def told() -> None:
        tell(Told(text="another process is building it", news=news.pop() if news else ""))

    return told


def _build(graph: bytes, record: Record, shop: Path, *, device: int, tell: Tell, builder: str) -> Compiled:
    paths = {name: shop / name for name in ("graph", "into", "timing")}
    paths["graph"].write_bytes(graph)
    warnings = []
    if word := timings.lend(record.facts, paths["timing"]):
        warnings.append(word)
    order = {name: str(path) for name, path in paths.items()}
    order_line = json.dumps({**order, "device": device, "options": record.options.to_dict()})
    building = Building(before_s=engines.seconds_before(record.graph_sha256, record.options))
    began_s = time.monotonic()
    child = _Child(builder, order_line, shop / "noise")
    try:
        done = _hear(child, building, tell, warnings)
    finally:
        child.stop()
    if not paths["into"].is_file() or not paths["into"].stat().st_size:
        raise BackendError(f"the builder of {record.name} ended without an engine; {child.last_words()}")
    layers = done.get("layers")
    record = replace(
        record,
        seconds=round(time.monotonic() - began_s, 2),
        layers=layers if isinstance(layers, int) and not isinstance(layers, bool) else 0,
    )
    kept = engines.keep(paths["into"], record, shop)
    new = paths["timing"].with_name("timing.new")
    if new.is_file():
        timings.keep(record.facts, new, shop)
    return replace(kept, warnings=tuple(warnings))


def _hear(child: _Child, building: Building, tell: Tell, warnings: list[str]) -> Mapping[str, Any]:
    """What the builder said when it was done. Raises what it said went wrong, and BackendError where it just died."""
    began_s = last_s = time.monotonic()
    tell(building.told(0.0))
    while True:
        news = child.news()
        now_s = time.monotonic()
        if news is not None:
            if isinstance(done := news.get("done"), dict):
                return done
            if "error" in news or "ended" in news:
                raise _failure(news, child)
            if isinstance(word := news.get("say"), str):
                warnings.append(_line(word))
            building.hear(news, now_s - began_s)
        if news is None or now_s - last_s >= _TICK_S:
            last_s = now_s
            tell(building.told(now_s - began_s))


def _failure(news: Mapping[str, Any], child: _Child) -> EdgezooError | OSError:
    if "error" not in news:
        return BackendError(f"{child.end()}; {child.last_words()}")
    text = _line(news["error"])
    if number := re.match(r"\[Errno (\d+)\]", text):  # where it keeps things is ours to tell
        return OSError(int(number[1]), os.strerror(int(number[1])))
    kinds = {kind.__name__: kind for kind in (MissingDependency, RequestError)}
    return kinds.get(str(news.get("kind")), BackendError)(text)


class _Child:
    """The builder. It stands in a session of its own, so that Ctrl-C reaches only who waits for it."""

    def __init__(self, module: str, order: str, noise: Path) -> None:
        self._noise = noise
        command = [sys.executable, "-c", _BEGIN, module, json.dumps(sys.path)]
        with noise.open("wb") as file:
            pipe = subprocess.PIPE
            try:
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=file, start_new_session=True)
            except OSError as error:
                raise BackendError(f"could not start the builder, {sys.executable}: {error.strerror}") from None
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="edgezoo builder", daemon=True).start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()

    def news(self) -> dict[str, Any] | None:
        """The next piece of news; None where none came for a moment."""
        try:
            return self._news.get(timeout=_TICK_S)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Let it end, and see to it that it does. A second Ctrl-C does not wait."""
        process = self._process
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
                process.wait()

    def end(self) -> str:
        """How it ended, in a few words."""
        try:
            code = self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            return "the builder fell silent"
        if code >= 0:
            return f"the builder ended with {code} and said nothing"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
            return f"the builder was killed by signal {-code} ({name}{memory})"
        return f"the builder was killed by signal {-code}"

    def last_words(self) -> str:
        """What it printed last, for people."""
        with suppress(OSError):
            lines = self._noise.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip().splitlines()
            if lines:
                return f"its last words: {_line(lines[-1])}"
        return "it printed nothing"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                with suppress(ValueError, RecursionError):
                    if isinstance(news := json.loads(line), dict):
                        self._news.put(news)
        self._news.put({"ended": True})


def _line(text: object) -> str:
    return " ".join(str(text).split())[:600]
