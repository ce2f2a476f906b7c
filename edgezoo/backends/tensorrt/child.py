"""A builder at work: a process of its own (`building.py`), what it says, and how it ends.

It is stopped when whoever waits for it is interrupted, and stops by itself when that one dies.
"""

from __future__ import annotations

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
from pathlib import Path
from typing import Any

from edgezoo.backends.tensorrt.progress import Building, Told
from edgezoo.errors import BackendError, EdgezooError, MissingDependency, RequestError

Tell = Callable[[Told], None]

_PATIENCE_S = 5.0  # from asking a builder to stop until it is killed
_TICK_S = 0.2
_LAST_WORDS = 4096
_NOISE = "noise"
# Modules come from where ours do, whatever lies in the working directory.
_BEGIN = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop())
runpy.run_module(sys.argv.pop(), run_name="__main__", alter_sys=True)
"""
_CRASHES = ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")


def run(
    module: str, order: Mapping[str, Any], shop: Path, building: Building, tell: Tell
) -> tuple[Mapping[str, Any], list[str]]:
    """What the builder said when it was done, and its warnings; `module`: what is run as the builder.

    Raises what it said went wrong, and BackendError where it just died.
    """
    warnings: list[str] = []
    process = _Builder(module, json.dumps(order), shop / _NOISE)
    try:
        return _hear(process, building, tell, warnings), warnings
    except _Died as died:
        told = died.how, last_words(shop), died.cure(checking=bool(order.get("check")))
        raise BackendError("; ".join(filter(None, told))) from None
    except KeyboardInterrupt:
        tell(Told(text="stopping"))
        raise
    finally:
        process.stop()


def last_words(shop: Path) -> str:
    """What the builder printed last, for people."""
    with suppress(OSError):
        lines = (shop / _NOISE).read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip().splitlines()
        if lines:
            return f"its last words: {_line(lines[-1])}"
    return "it printed nothing"


class _Died(Exception):
    """The builder ended without a word; `code`: None where it did not even end."""

    def __init__(self, code: int | None) -> None:
        super().__init__()
        self.signal = ""
        if code is None:
            self.how = "the builder fell silent"
        elif code >= 0:
            self.how = f"the builder ended with {code} and said nothing"
        else:
            with suppress(ValueError):
                self.signal = signal.Signals(-code).name
            memory = ", as the system does where memory runs out" if self.signal == "SIGKILL" else ""
            self.how = f"the builder was killed by signal {-code} ({self.signal or 'unknown'}{memory})"

    def cure(self, *, checking: bool) -> str:
        if self.signal == "SIGKILL":
            return "end what else runs, or give the machine swap space"
        if self.signal not in _CRASHES:
            return ""
        if checking:
            return "it may be damaged, or built for another GPU or TensorRT"
        return "TensorRT itself crashed: try another --precision or --optimization, or another version of it"


def _hear(process: _Builder, building: Building, tell: Tell, warnings: list[str]) -> Mapping[str, Any]:
    """What the builder said when it was done. Raises what it said went wrong, and _Died."""
    began_s = last_s = time.monotonic()
    tell(building.told(0.0))
    while True:
        news = process.news()
        now_s = time.monotonic()
        if news is not None:
            if isinstance(done := news.get("done"), dict):
                return done
            if "error" in news or "ended" in news:
                raise _failure(news, process)
            if isinstance(word := news.get("say"), str):
                warnings.append(_line(word))
            building.hear(news, now_s - began_s)
        if news is None or now_s - last_s >= _TICK_S:
            last_s = now_s
            tell(building.told(now_s - began_s))


def _failure(news: Mapping[str, Any], process: _Builder) -> EdgezooError | OSError | _Died:
    if "error" not in news:
        return _Died(process.code())
    text = _line(news["error"])
    if number := re.match(r"\[Errno (\d+)\]", text):  # where it keeps things is ours to tell
        return OSError(int(number[1]), os.strerror(int(number[1])))
    kinds = {kind.__name__: kind for kind in (MissingDependency, RequestError)}
    return kinds.get(str(news.get("kind")), BackendError)(text)


class _Builder:
    """The builder. It stands in a session of its own, so that Ctrl-C reaches only who waits for it."""

    def __init__(self, module: str, order: str, noise: Path) -> None:
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

    def code(self) -> int | None:
        """How it ended; None where it does not."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_PATIENCE_S)
        return None

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
