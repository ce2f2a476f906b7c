"""Have an engine built once, for all processes that ask for it, and tell how far it is.

What a builder made (`child.py`, `building.py`) becomes part of the cache when it is whole, and not before.
"""

from __future__ import annotations

import errno
import hashlib
import shlex
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgezoo.backends.tensorrt import child, engines, private, timings
from edgezoo.backends.tensorrt.child import Tell
from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.engines import Compiled
from edgezoo.backends.tensorrt.fitting import Record
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.backends.tensorrt.progress import Building, Told
from edgezoo.errors import BackendError, RequestError

BUILDER = "edgezoo.backends.tensorrt.building"


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
        found, trouble = engines.lookup(sha256, here, options)
        if found is not None:
            return _meant(found, here)
        private.enter()
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
    engine: Path,
    graph: bytes,
    *,
    called: str,
    artifact: str,
    here: Facts,
    device: int = 0,
    options: BuildOptions,
    trust: bool,
    tell: Tell = lambda told: None,
    builder: str = BUILDER,
) -> Compiled:
    """Keep an engine that was built elsewhere, by `trtexec`, as the graph's for this machine, once it has run here.

    Of the options, what it is compatible with and the DLA core are believed. Raises RequestError, also where it is not
    trusted or not one of this graph, BackendError and MissingDependency; then all that was kept stays.
    """
    if not trust:
        raise RequestError(
            f"{engine}: refused: an engine is native code, which could do here whatever you can; if you trust whoever "
            "built it, add --trust"
        )
    data = _read_engine(engine, graph)
    sha256 = hashlib.sha256(graph).hexdigest()
    record = Record(called=called, artifact=artifact, graph_sha256=sha256, options=options, facts=here, taken=True)
    with private.keeping():
        private.enter()
        with private.lock(record.key, _waiting(tell)), private.workshop(record.key) as shop:
            (shop / "into").write_bytes(data)
            (shop / "graph").write_bytes(graph)
            try:
                done, warnings = child.run(builder, _order(record, shop, device, check=True), shop, Building(), tell)
            except (BackendError, RequestError) as error:
                raise type(error)(f"{engine}: {error}") from None
            record = replace(record, layers=_layers(done))
            found = replace(engines.keep(shop / "into", record, shop), built=False, warnings=tuple(warnings))
        engines.ask(found)
    return found


def _read_engine(path: Path, graph: bytes) -> bytes:
    """RequestError where that is no file, or surely no engine."""
    try:
        kind = path.stat().st_mode
        data = path.read_bytes() if stat.S_ISREG(kind) else b""
    except FileNotFoundError:
        what = "no such file"
    except OSError as error:
        what = f"a file that cannot be read: {error.strerror}"
    else:
        if data and data != graph:
            return data
        what = "the artifact itself" if data else "an empty file"
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "a device or a pipe"
    raise RequestError(f"{path}: expected an engine that trtexec or TensorRT wrote, got {what}")


def _meant(found: Compiled, here: Facts) -> Compiled:
    """Have it be the one that runs, as far as a cache that cannot be written to allows that. Raises OSError."""
    try:
        engines.ask(found)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        meant = engines.find(found.record.graph_sha256, here)
        if meant.path != found.path:
            word = (
                f"the cache cannot be written to: the one that was asked for last, batch {meant.record.batch}, is run"
            )
            return replace(found, warnings=(word,))
    return found


def _waiting(tell: Tell) -> Callable[[], None]:
    """Says whom it waits for; the sentence once."""
    news = ["another process is building it: waiting for that one"]

    def told() -> None:
        tell(Told(text="another process is building it", news=news.pop() if news else ""))

    return told


def _build(graph: bytes, record: Record, shop: Path, *, device: int, tell: Tell, builder: str) -> Compiled:
    (shop / "graph").write_bytes(graph)
    lent = timings.lend(record.facts, shop / "timing")
    building = Building(before_s=engines.seconds_before(record.graph_sha256, record.options))
    began_s = time.monotonic()
    done, warnings = child.run(builder, _order(record, shop, device), shop, building, tell)
    made, new = shop / "into", shop / "timing.new"
    if not made.is_file() or not made.stat().st_size:
        raise BackendError(f"the builder of {record.name} ended without an engine; {child.last_words(shop)}")
    record = replace(record, seconds=round(time.monotonic() - began_s, 2), layers=_layers(done))
    kept = engines.keep(made, record, shop)
    if new.is_file():
        timings.keep(record.facts, new, shop)
    return replace(kept, warnings=tuple([lent, *warnings] if lent else warnings))


def _order(record: Record, shop: Path, device: int, *, check: bool = False) -> dict[str, Any]:
    """An `Order` as the builder reads it."""
    model = f"{shlex.quote(record.called)} --precision {record.artifact}"
    told = {"model": model, "device": device, "options": record.options.to_dict(), "check": check}
    return told | {name: str(shop / name) for name in ("graph", "into", "timing")}


def _layers(done: Mapping[str, Any]) -> int:
    layers = done.get("layers")
    return layers if isinstance(layers, int) and not isinstance(layers, bool) else 0
