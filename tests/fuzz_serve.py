"""Ten thousand images and bodies that are damaged or none at all, sent to `edgezoo serve`; the suite has a short form.

    python tests/fuzz_serve.py --count 10000 --seed 1

Every answer must be one of 200, 400, 404, 408, 413, 429; the server must live, its memory be as it was after good
images and the first third, and at no time have been much more. Among them: multipart bodies, queries, connections that
break off in the middle, gigapixel PNGs, images of kinds that are not taken.
"""

from __future__ import annotations

import argparse
import random
import re
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import quote_from_bytes

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import hostile
import load
from serve import Server
from served import ask, multipart

EXPECTED = {200, 400, 404, 408, 413, 429}
CLIENTS = 4
GROWTH_MB = 30.0  # heaps keep up to 20 of what large images had, and no more after three times as many
PEAK_MB = 30.0  # over what the largest images take that are let in, one a decoder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="digits")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    statuses: Counter[object] = Counter()
    bomb = hostile.png(31623, 31623)
    began_s = time.monotonic()
    with Server(args.model, "--timeout", "3") as server:
        _good(server.address)
        _send(server.address[1], args.count // 3, args.seed - 1, bomb, statuses)
        before_mb, least_mb = server.rss_mb(), server.rss_mb("VmHWM")
        _send(server.address[1], args.count - args.count // 3, args.seed, bomb, statuses)
        seconds = time.monotonic() - began_s
        health = ask(server.address[1], "/healthz").status
        after_mb, peak_mb = server.rss_mb(), server.rss_mb("VmHWM")
    print(f"{args.count} in {seconds:.0f} s by seed {args.seed}: {dict(sorted(statuses.items(), key=str))}")
    memory = f"{before_mb:.0f} -> {after_mb:.0f} MB, at most {least_mb:.0f} -> {peak_mb:.0f}"
    print(f"memory {memory}; health {health}; ended with {server.ended}")
    strange = set(statuses) - EXPECTED - {"broken off on purpose"}
    well = health == 200 and server.ended == 0 and not strange
    return 0 if well and after_mb - before_mb < GROWTH_MB and peak_mb - least_mb < PEAK_MB else 1


def _good(address: tuple[str, int]) -> None:
    """Batches of every size and the largest images, so that the memory is taken that good ones ever take."""
    requests = [load.request("/v1/predict", image) for image in hostile.good()]
    for clients in (1, 4, 16):
        load.load(address, requests, clients=clients, seconds=2)
    load.load(address, [load.request("/v1/predict", hostile.png(6324, 6324))], clients=CLIENTS, seconds=3)


def _send(port: int, count: int, seed: int, bomb: bytes, statuses: Counter[object]) -> None:
    lock = threading.Lock()

    def client(number: int) -> None:
        dice = random.Random(seed * CLIENTS + number)
        for body in hostile.bodies(count // CLIENTS, seed=seed * CLIENTS + number):
            status = _one(port, body, bomb, dice)
            with lock:
                statuses[status] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()


def _one(port: int, body: bytes, bomb: bytes, dice: random.Random) -> object:
    way, kind, path = dice.randrange(100), "image/png", "/v1/predict"
    if way < 10:
        body, kind = multipart({"a.png": body, "b.png": dice.choice(hostile.good())})
        if way < 6:
            body = hostile.damaged(body, dice)
    elif way < 14:
        name = dice.choice(["score", "iou", "classes", "model", "other"])
        path += f"?{name}={quote_from_bytes(dice.randbytes(dice.randint(0, 12)))}"
    elif way < 16:
        return _break_off(port, body, dice)
    elif way == 16:
        body = bomb
    answer = ask(port, path, body, content_type=kind)
    if answer.status != 200 and not re.match(r'\{"error":"[^\n]{10,}"\}$', answer.body.decode()):
        return f"{answer.status} without a line"
    return answer.status


def _break_off(port: int, body: bytes, dice: random.Random) -> str:
    head = f"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head[: dice.randint(0, len(head))])
        if dice.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
    return "broken off on purpose"


if __name__ == "__main__":
    raise SystemExit(main())
