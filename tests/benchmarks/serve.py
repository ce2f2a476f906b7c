"""What `edgezoo serve` gets through, against a bare loop of decoding, preparing, inference and reading.

    python tests/benchmarks/serve.py --seconds 60 --clients 32

The bare loop has one engine of one thread a core, which is what is fastest on a CPU; blocks of both take turns, so that
a machine that is busy with something else is busy with it for both. The clients run on the same cores as the server.
Then come twice as many clients as the queue takes.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import load
import numpy as np

import edgezoo
from edgezoo.machine import cores, machine
from edgezoo.sources.images import decode_image

BLOCK_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yolox_nano")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load in all")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs (default: EDGEZOO_TEST_DATA's, else drawn ones)")
    args = parser.parse_args()
    jpegs = _jpegs(args.images)
    engine = edgezoo.load(args.model)
    forks = [engine.fork(threads=1) for _ in range(cores())]
    _bare(forks, jpegs, 1.0)
    with Server(args.model, "--queue", str(args.queue), "--batch", str(args.batch)) as server:
        requests = [load.request("/v1/predict", jpeg) for jpeg in jpegs]
        load.load(server.address, requests, clients=args.clients, seconds=2)
        before_mb, told, bare = server.rss_mb(), load.Told(), []
        served = []
        for _ in range(max(1, round(args.seconds / BLOCK_S))):
            bare.append(_bare(forks, jpegs, BLOCK_S))
            block = load.load(server.address, requests, clients=args.clients, seconds=BLOCK_S)
            served.append(block.rate)
            told.statuses += block.statuses
            told.answered_ms += block.answered_ms
            told.seconds += block.seconds
            told.broken += block.broken
        ratio = statistics.median(one / other for one, other in zip(served, bare, strict=True))
        print(f"{args.model}, {args.clients} clients, {len(jpegs)} images of {_size(jpegs)}, {machine()}")
        print(f"bare loop {statistics.median(bare):.1f} images/s, served {statistics.median(served):.1f}: {ratio:.3f}")
        print(f"ms from request to answer: p50 {told.percentile(50):.0f}, p99 {told.percentile(99):.0f}")
        print(
            f"answers {dict(told.statuses)}, broken off {told.broken}; RSS {before_mb:.1f} -> {server.rss_mb():.1f} MB"
        )
        many = load.load(server.address, requests, clients=2 * args.queue, seconds=args.seconds / 4, pause_s=0.05)
        figures = f"{many.rate:.1f} images/s, p99 {many.percentile(99):.0f} ms"
        print(f"{2 * args.queue} clients: {figures}, {dict(many.statuses)}")
        print(f"Retry-After {dict(many.retry_after)}, broken off {many.broken}; RSS {server.rss_mb():.1f} MB")
    print(f"the server ended with {server.ended}")
    fine = set(told.statuses) == {200} and set(many.statuses) <= {200, 429} and server.ended == 0
    return 0 if fine and ratio >= 0.8 else 1


class Server:
    """`edgezoo serve` in a process of its own."""

    def __init__(self, model: str, *options: str) -> None:
        run = "import sys; from edgezoo.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", run, "serve", model, "--port", "0", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)/", self._process.stdout.readline())
        assert found is not None, "it did not start"
        self.address = (found[1], int(found[2]))
        self.ended: int | None = None

    def rss_mb(self, which: str = "VmRSS") -> float:
        """`VmHWM`: the most it ever was."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"{which}:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self.ended = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _bare(forks: list[edgezoo.Engine], jpegs: list[bytes], seconds: float) -> float:
    """Images a second."""
    done = [0] * len(forks)
    until_s = time.monotonic() + seconds

    def work(number: int) -> None:
        engine, k = forks[number], number
        while time.monotonic() < until_s:
            image = decode_image(np.frombuffer(jpegs[k % len(jpegs)], np.uint8), "a JPEG")
            array, placements = engine.prepare([image])
            engine.read(engine.infer(array), placements)
            done[number] += 1
            k += len(forks)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(forks))]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - began_s)


def _jpegs(folder: Path | None) -> list[bytes]:
    data = os.environ.get("EDGEZOO_TEST_DATA")
    if folder is None and data:
        folder = Path(data) / "data" / "coco-val-128" / "images"
    if folder is not None and folder.is_dir():
        return [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:64]]
    noise = np.random.default_rng(0)
    images = [cv2.resize(noise.integers(0, 255, (60, 80, 3), np.uint8), (640, 480)) for _ in range(16)]
    return [cv2.imencode(".jpg", image)[1].tobytes() for image in images]


def _size(jpegs: list[bytes]) -> str:
    return f"{statistics.mean(map(len, jpegs)) / 1e3:.0f} kB"


if __name__ == "__main__":
    raise SystemExit(main())
