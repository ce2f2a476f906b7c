"""A fake builder: it does what the graph tells it to, in a process of its own, as the real one does.

The graph is JSON: `news` to tell, `seconds` to take then, `engine` to write, `timing` to leave, `last` to tell at the
end; `end` kills it, or lets it exit, before that; `deaf` lets it not hear that stdin was closed, and `mute` closes its
own mouth. What it was asked for goes to `$BUILDS`, a line each. Where it is to try an engine,
it leaves that as it is and does what `tried` says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def tell(news: object) -> None:
    print(news if isinstance(news, str) else json.dumps(news), flush=True)


def watch() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


order = json.loads(sys.stdin.readline())
graph = json.loads(Path(order["graph"]).read_bytes())
if order["check"]:
    graph = graph.get("tried", {})
timing = Path(order["timing"])
told = {**order, "pid": os.getpid(), "timing": timing.read_text() if timing.exists() else None}
if "BUILDS" in os.environ:
    with open(os.environ["BUILDS"], "a") as file:
        file.write(json.dumps(told) + "\n")
if graph.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    threading.Thread(target=watch, daemon=True).start()
for line in graph.get("news", []):
    tell(line)
print(graph.get("noise", ""), file=sys.stderr, flush=True)
if graph.get("mute"):
    os.close(1)
    time.sleep(30)
if not order["check"]:
    Path(order["into"]).write_bytes(graph.get("engine", "ENGINE").encode()[: graph.get("bytes")])
time.sleep(graph.get("seconds", 0))
match graph.get("end"):
    case int(number) if number > 0:
        os.kill(os.getpid(), number)
    case int(number):
        sys.exit(-number)
if "timing" in graph:
    timing.with_name(timing.name + ".new").write_text(graph["timing"])
tell(graph.get("last", {"done": {"layers": 7}}))
