"""Debian's Chromium, driven by the tests over its own DevTools pipe: nothing to install, nothing to download.

with Browser() as browser:
    page = browser.open("http://127.0.0.1:8080/", width=390, height=844, dark=True)
    page.until("document.querySelectorAll('figure').length === 2")
    page.screenshot(Path("page.png"))
    assert page.complaints == []

The protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from conftest import need

NAMES = ("chromium", "chromium-browser", "google-chrome")
ANSWER_S = 30.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)

# The pipe is to be on these two; either may be one of the other's ends now.
_ON_3_AND_4 = """import os, sys
ends = [os.dup(os.dup(os.dup(int(end)))) for end in sys.argv[1:3]]
for place, end in zip((3, 4), ends): os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])"""


class Browser:
    """One process; skips the test, saying why, where there is none."""

    def __init__(self) -> None:
        program = _program()
        need("browser", program is not None, "no browser is installed; try: apt-get install chromium")
        self._home = tempfile.TemporaryDirectory(prefix="browser")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [str(program), *_FLAGS, f"--user-data-dir={self._home.name}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ESc", _ON_3_AND_4, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._ids = itertools.count(1)
        self._read = b""
        self._pages: dict[str, Page] = {}

    def open(self, url: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        target = self.call("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.prefer(dark=dark)
        page.go(url)
        return page

    def call(self, method: str, *, session: str | None = None, **given: Any) -> dict[str, Any]:
        """The browser's answer; what it tells in between goes to the page that it is of."""
        number = next(self._ids)
        order = {"id": number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(order).encode() + b"\0")
        until_s = time.monotonic() + ANSWER_S
        while (message := self._next(until_s)).get("id") != number:
            pass
        assert "error" not in message, f"{method}: {message['error']}"
        answer: dict[str, Any] = message["result"]
        return answer

    def _next(self, until_s: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until_s - time.monotonic()))
            part = os.read(self._in, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            self._read += part
        line, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        page = self._pages.get(message.get("sessionId", ""))
        if page is not None and "method" in message:
            page.heard(message["method"], message["params"])
        return message

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._home.name, ignore_errors=True)  # its helpers may still write for a moment
        self._home._finalizer.detach()  # type: ignore[attr-defined]


class Page:
    """A window of its own: a tab behind another one is hidden, and does nothing."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.complaints: list[str] = []
        """What the console got: errors, warnings, exceptions that nobody caught."""
        self.asked: list[str] = []
        """URLs."""

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **given)

    def go(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise's once it is kept; None where the page is just being left."""
        try:
            told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        except AssertionError as error:
            if "navigated or closed" in str(error):
                return None
            raise
        assert "exceptionDetails" not in told, f"{script}: {told['exceptionDetails']}"
        return told["result"].get("value")

    def until(self, script: str, *, patience_s: float = 15.0) -> Any:
        """The value of an expression once it is true."""
        until_s = time.monotonic() + patience_s
        while not (value := self.ask(script)):
            assert time.monotonic() < until_s, f"in vain for {patience_s:g} s: {script}"
            time.sleep(0.05)
        return value

    def press(self, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def resize(self, width: int, height: int) -> None:
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, *, dark: bool = False, still: bool = False) -> None:
        features = {"prefers-color-scheme": "dark" if dark else "light"}
        features["prefers-reduced-motion"] = "reduce" if still else "no-preference"
        told = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=told)

    def screenshot(self, path: Path | None = None, *, of: str | None = None) -> bytes:
        """A PNG, also in `path`; `of`: of the first element of that selector alone."""
        options: dict[str, Any] = {"format": "png"}
        if of is not None:
            box = f"const box = document.querySelector({of!r}).getBoundingClientRect(); "
            sides = self.ask(
                "(() => { " + box + "return {x: box.x, y: box.y, width: box.width, height: box.height} })()"
            )
            options["clip"] = {**sides, "scale": 1}
        data = base64.b64decode(self.call("Page.captureScreenshot", **options)["data"])
        if path is not None:
            path.write_bytes(data)
        return data

    def choose_file(self, selector: str, path: Path) -> None:
        """As a person does in the dialog of an `<input type=file>`."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({selector!r})")
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def heard(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(part.get("value", part.get("description"))) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])


@functools.cache
def _program() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)
