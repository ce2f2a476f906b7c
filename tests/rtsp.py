"""The RTSP server for tests, where Debian's packages for it are installed.

with rtsp.Server(fps=15, size="320x240") as server:
    source = open_source(server.url)
    server.kill()      # the process, by its id: connections break off
    server.start()     # again, on the same port; returns when it listens
    server.stall()     # connections stay, and who comes is let in, but no frame is sent
    server.go_on()
    server.freeze()    # the process stands still: the kernel takes connections, nobody answers
    server.thaw()
    server.pace(5)     # frames a second from now on
    server.resize("640x480")
    server.vanish()    # 404 for who asks from now on; who watches goes on
    server.appear()
"""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

import pytest
from conftest import need

PYTHON = "/usr/bin/python3"
PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi python3-numpy gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"

_ROOT = Path(__file__).parent.parent
_ANSWER_S = 20.0
_NEEDED = """
import numpy, gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
needed = ("x264enc", "rtph264pay", "videoconvert", "appsrc", "qtdemux")
absent = [name for name in needed if Gst.ElementFactory.find(name) is None]
assert not absent, f"GStreamer has no {absent}"
"""


class Server:
    """A camera's RTSP server in a process of its own; skips the test, saying why, where none can run."""

    def __init__(
        self,
        *,
        fps: float = 30,
        size: str = "640x480",
        clip: Path | None = None,
        login: str | None = None,
        auth: Literal["digest", "basic"] = "digest",
        seconds: float = 60,
    ) -> None:
        """`clip`: an MP4 with H.264, in a loop, instead of synthetic frames. `seconds`: it ends then by itself."""
        need("rtsp", not why_not(), why_not())
        self._options = {"--fps": str(fps), "--size": size, "--seconds": str(seconds)}
        self._options |= {"--clip": str(clip.resolve())} if clip else {}
        self._options |= {"--login": login} if login else {}
        self._basic = ["--basic"] if auth == "basic" else []
        self._login = login
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        """The same after every `start`."""
        self.start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    @property
    def url_with_login(self) -> str:
        return self.url.replace("//", f"//{self._login}@") if self._login else self.url

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "killed, and not started again"
        return self._process

    def start(self) -> None:
        """Returns when it listens: after some 0.3 s."""
        assert self._process is None, "it runs already"
        given = [part for option in self._options.items() for part in option]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                [PYTHON, "tests/rtsp_server.py", "--port", str(self.port), *given, *self._basic],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
            self._process = process
            url, _, ready = self._read_line().partition(" ")
            if ready.strip() != "ready":
                self.kill()
                log.seek(0)
                pytest.fail(f"the RTSP server did not start: {log.read()[-2000:]}")
        self.port = int(url.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        """At once, by its id, as when the plug is pulled."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait(_ANSWER_S)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stall(self) -> None:
        self._order("stall")

    def go_on(self) -> None:
        self._order("go")

    def pace(self, fps: float) -> None:
        self._options["--fps"] = str(fps)
        self._order(f"fps {fps}")

    def resize(self, size: str) -> None:
        """Now where it runs, else from the next `start` on."""
        self._options["--size"] = size
        if self._process is not None:
            self._order(f"size {size}")

    def vanish(self) -> None:
        self._order("gone")

    def appear(self) -> None:
        self._order("back")

    def _order(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        answer = self._read_line()
        assert answer == "ok\n", f"the RTSP server answered {order!r} with {answer!r}"

    def _read_line(self) -> str:
        """The next line it prints; empty where it ended or takes too long."""
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], _ANSWER_S)
        return stdout.readline() if ready else ""

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@contextmanager
def rtsp_server(
    *, fps: int = 30, size: str = "640x480", seconds: float = 60, login: str | None = None
) -> Iterator[str]:
    """The URL of a server that runs meanwhile."""
    with Server(fps=fps, size=size, seconds=seconds, login=login) as server:
        yield server.url


@contextmanager
def rtsp_process(
    *, fps: int = 30, size: str = "640x480", seconds: float = 60, login: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """As `rtsp_server`, with the process, for a test that stops it."""
    with Server(fps=fps, size=size, seconds=seconds, login=login) as server:
        yield server.process, server.url


@functools.cache
def why_not() -> str:
    """Why no server can run here; empty where one can."""
    if not os.path.exists(PYTHON):
        return f"no {PYTHON}"
    found = subprocess.run([PYTHON, "-c", _NEEDED], capture_output=True, text=True, timeout=60, check=False)
    if found.returncode == 0:
        return ""
    last = (found.stderr.strip().splitlines() or ["?"])[-1]
    return f"no RTSP server ({last}); try: apt-get install --no-install-recommends {PACKAGES}"
