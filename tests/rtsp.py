"""The RTSP server for tests, where Debian's packages for it are installed."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import need

PYTHON = "/usr/bin/python3"
PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi python3-numpy gstreamer1.0-plugins-ugly"

_ROOT = Path(__file__).parent.parent
_NEEDED = """
import numpy, gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
absent = [name for name in ("x264enc", "rtph264pay", "videoconvert", "appsrc") if Gst.ElementFactory.find(name) is None]
assert not absent, f"GStreamer has no {absent}"
"""


@contextmanager
def rtsp_server(
    *, fps: int = 30, size: str = "640x480", seconds: float = 60, login: str | None = None
) -> Iterator[str]:
    """The URL of a server that runs meanwhile; skips the test, saying why, where none can run."""
    with rtsp_process(fps=fps, size=size, seconds=seconds, login=login) as (_, url):
        yield url


@contextmanager
def rtsp_process(
    *, fps: int = 30, size: str = "640x480", seconds: float = 60, login: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """As `rtsp_server`, with the process, for a test that stops it."""
    need("rtsp", not why_not(), why_not())
    command = [PYTHON, "tests/rtsp_server.py", "--fps", str(fps), "--size", size, "--seconds", str(seconds)]
    command += ["--login", login] if login else []
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url, _, ready = process.stdout.readline().partition(" ")
            if ready.strip() != "ready":
                log.seek(0)
                pytest.fail(f"the RTSP server did not start: {log.read()[-2000:]}")
            yield process, url
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            process.stdout.close()


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
