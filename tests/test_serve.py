"""`edgezoo serve`, the API: what it answers, how requests share batches, and how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import graphs
import hostile
import load
import numpy as np
import pytest
from served import ask, multipart, serving, wait_for

from edgezoo.bundle import Bundle
from edgezoo.cli import main
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, RequestError
from edgezoo.preprocess import Preprocess
from edgezoo.serve.batcher import Batcher
from edgezoo.serve.multipart import parts
from edgezoo.tasks import Ask
from edgezoo.web.answers import Refusal
from edgezoo.web.server import open_port

cv2 = pytest.importorskip("cv2")

RECIPE = Preprocess(size_wh=(64, 48), fit="letterbox")
BOX = (16, 12, 48, 36)


def photo(color: str = "red", *, size_wh: tuple[int, int] = (128, 96), kind: str = ".png") -> bytes:
    """An image with one square."""
    return bytes(cv2.imencode(kind, graphs.scene(size_wh, BOX, color))[1])


@pytest.fixture(scope="module")
def engines(bundle_of: Callable[..., Bundle]) -> Iterator[dict[str, Engine]]:
    with Engine(bundle_of("squares", RECIPE)) as squares, Engine(bundle_of("colors", RECIPE)) as colors:
        yield {"squares": squares, "colors": colors}


@pytest.fixture(scope="module")
def port(engines: dict[str, Engine]) -> Iterator[int]:
    with serving(engines) as service:
        yield service.server.port


# -- one image and several


def test_what_is_found_is_in_pixels_of_the_image(port: int, engines: dict[str, Engine]) -> None:
    answer = ask(port, "/v1/predict", photo())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json
    assert (told["model"], told["precision"], told["backend"], told["device"]) == (
        "squares",
        "fp32",
        "onnxruntime",
        "cpu",
    )
    (result,) = told["results"]
    image = graphs.scene((128, 96), BOX, "red")
    assert {"detections": result["detections"]} == engines["squares"](image).to_dict()
    assert result["detections"][0]["label"] == "red"
    assert (result["width"], result["height"], result["classes"], result["batch"]) == (128, 96, [2], 1)
    assert set(result["ms"]) == {"decode", "prepare", "wait", "infer", "read"}
    assert 0 < sum(result["ms"].values()) < told["ms"]


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_an_image_is_known_by_its_bytes(port: int, kind: str) -> None:
    answer = ask(port, "/v1/predict", photo("green", kind=kind), content_type="text/plain")
    assert answer.status == 200, answer.error
    result = answer.json["results"][0]
    assert (result["width"], result["height"]) == (128, 96)
    assert [row["label"] for row in result["detections"]] == ["green"]


def test_several_images_come_back_in_their_order(port: int) -> None:
    files = {f"{color}.png": photo(color) for color in graphs.COLORS}
    body, kind = multipart(files)
    answer = ask(port, "/v1/predict?score=0.5", body, content_type=kind)
    results = answer.json["results"]
    assert [row["name"] for row in results] == [*files]
    assert [row["detections"][0]["label"] for row in results] == [*graphs.COLORS]


def test_what_is_wanted_of_an_answer(port: int) -> None:
    def labels(query: str) -> list[str]:
        answer = ask(port, f"/v1/predict?{query}", photo("blue"))
        assert answer.status == 200, answer.error
        (result,) = answer.json["results"]
        return [row["label"] for row in result.get("detections", result.get("labels"))]

    assert labels("score=0.9") == ["blue"]
    assert labels("score=1") == []
    assert labels("classes=red,green") == []
    assert labels("classes=red,0&iou=0.3") == ["blue"]
    assert labels("model=colors")[0] == "blue"
    assert labels("model=colors&classes=2") == ["red"]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("treshold=0.4", 400, "no parameter is called 'treshold'"),
        ("scor=0.4", 400, "did you mean 'score'?"),
        ("score=much", 400, "expected score as a number within 0..1, got 'much'"),
        ("score=1.5", 400, "expected score within 0..1, got 1.5"),
        ("iou=nan", 400, "expected iou within 0..1"),
        ("score=0.1&score=0.2", 400, "expected score once, got it 2 times"),
        ("classes=cat", 400, "no class is called 'cat'"),
        (f"classes={'1' * 5000}", 400, "no class is called '1111"),
        ("classes=,", 400, "expected classes as names or numbers"),
        ("model=square", 404, "no model is called 'square'; did you mean 'squares'?"),
        ("model=%00%ff../../etc/passwd", 404, "no model is called"),
    ],
)
def test_a_request_that_is_wrong(port: int, query: str, status: int, says: str) -> None:
    answer = ask(port, f"/v1/predict?{query}", photo())
    assert (answer.status, says in answer.error) == (status, True), answer.error


@pytest.mark.parametrize(
    ("content_type", "body", "says"),
    [
        ("image/png", b"", "expected an image as the body, got nothing"),
        ("image/png", b"hello", "expected an image (JPEG, PNG, WebP, BMP), got bytes that begin with 68 65 6c 6c 6f; "
         "try to save it as JPEG or PNG"),
        ("image/png", photo()[:60], "the body: expected a PNG, got one whose size cannot be told; is it complete?"),
        ("image/png", photo(kind=".bmp")[:60], "the body: expected an image, got a file that cannot be read as one"),
        ("multipart/form-data", b"--x\r\n\r\n", "expected multipart/form-data with its boundary"),
        ("multipart/form-data; boundary=x", b"hello", "its boundary is not in it"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nhi", "its end is missing"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--", "Content-Disposition"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="score"\r\n\r\n1\r\n--x--',
         "expected files alone, got the field 'score'"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_image(port: int, content_type: str, body: bytes, says: str) -> None:
    answer = ask(port, "/v1/predict", body, content_type=content_type)
    assert (answer.status, says in answer.error) == (400, True), answer.error


def test_parts_are_taken_as_they_are() -> None:
    body = (
        b'preamble\r\n--a\r\ncontent-disposition: form-data; name="i"; filename="a \\"b\\".png"\r\n\r\n'
        b"\r\n--\r\n--ab\r\n--a  \r\n"
        b'Content-Type: image/png\r\nContent-Disposition: form-data; name="j"\r\n\r\n\r\n--a\r\n'
        b'Content-Disposition: form-data; name="none"; filename=""\r\n\r\n\r\n--a--epilogue'
    )
    found = parts('multipart/form-data; charset=x; boundary="a"', body.replace(b"--ab", b"-ab"), most=3)
    assert [(part.name, part.data) for part in found] == [('a "b".png', b"\r\n--\r\n-ab"), ("j", b"")]
    assert all(part.is_file for part in found)
    with pytest.raises(Refusal, match="expected at most 2 images in a body, there are more"):
        parts("multipart/form-data; boundary=a", body.replace(b"--ab", b"-ab"), most=2)


def test_what_is_sent_never_touches_the_disk(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(kind=".bmp", size_wh=(1200, 900))
    body, kind = multipart({"a.bmp": image, "b.bmp": image})
    good, others = hostile.good(), hostile.others()  # OpenCV encodes some by way of the disk
    opened: list[Any] = []
    watching = True

    def hear(event: str, given: Any) -> None:
        if watching and event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR):
            opened.append(given)

    sys.addaudithook(hear)  # for as long as this process lives
    monkeypatch.setenv("OPENCV_TEMP_PATH", str(tmp_path))  # what OpenCV opens is not heard, but this folder changes
    os.utime(tmp_path, (0, 0))
    try:
        answer = ask(port, "/v1/predict", body, content_type=kind)
        assert (answer.status, len(answer.json["results"]), len(body) > 6_000_000) == (200, 2, True)
        assert {ask(port, "/v1/predict", each).status for each in good} == {200}
        assert {ask(port, "/v1/predict", each).status for each in others.values()} == {400}
        assert opened == []
        assert os.stat(tmp_path).st_mtime == 0
        with open(os.devnull, "w"):
            assert len(opened) == 1, "it would have been heard"
        cv2.imdecode(np.frombuffer(others["Radiance"], np.uint8), cv2.IMREAD_COLOR)
        assert os.stat(tmp_path).st_mtime > 0, "it would have been seen"
    finally:
        watching = False


# -- what else it tells


def test_models_health_and_its_description(port: int) -> None:
    models = ask(port, "/v1/models").json["models"]
    assert [(model["name"], model["task"], model["default"]) for model in models] == [
        ("squares", "detect", True),
        ("colors", "classify", False),
    ]
    assert models[0]["labels"] == [*graphs.COLORS]
    assert models[0]["size_wh"] == [64, 48]
    assert ask(port, "/healthz").json == {"status": "ok"}
    assert ask(port, "/readyz").json == {"status": "ready"}
    document = ask(port, "/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {"/v1/models", "/v1/predict", "/healthz", "/readyz", "/metrics", "/openapi.json"}
    assert document["paths"]["/v1/predict"]["post"]["parameters"][0]["schema"]["enum"] == ["squares", "colors"]


def test_every_answer_is_as_the_description_says(port: int) -> None:
    document = ask(port, "/openapi.json").json
    body, kind = multipart({"a.png": photo()})
    for path, method, answer in [
        ("/v1/models", "get", ask(port, "/v1/models")),
        ("/v1/predict", "post", ask(port, "/v1/predict", photo())),
        ("/v1/predict", "post", ask(port, "/v1/predict?model=colors", body, content_type=kind)),
        ("/v1/predict", "post", ask(port, "/v1/predict", b"?")),
        ("/healthz", "get", ask(port, "/healthz")),
    ]:
        said = document["paths"][path][method]["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        check(answer.json, said, document)


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """As much of JSON Schema as the document uses."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    assert isinstance(value, kinds[schema["type"]]), (value, schema)
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), (value, schema)
        known = schema.get("properties", {})
        for name, item in value.items():
            more = schema.get("additionalProperties", True)
            assert name in known or more, f"{name} is not described"
            if name in known or isinstance(more, dict):
                check(item, known.get(name, more), document)
    elif isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        for item in value:
            check(item, schema["items"], document)


def test_figures_for_prometheus(port: int) -> None:
    ask(port, "/v1/predict", photo())
    ask(port, "/v1/predict", b"?")
    ask(port, "/nothing/of/that")
    text = ask(port, "/metrics").body.decode()
    figures = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert figures['edgezoo_requests_total{code="200",path="/v1/predict"}'] >= 1
    assert figures['edgezoo_requests_total{code="400",path="/v1/predict"}'] >= 1
    assert figures['edgezoo_requests_total{code="404",path="other"}'] >= 1
    assert figures['edgezoo_request_seconds_count{path="/v1/predict"}'] >= 2
    assert figures['edgezoo_batch_images_count{model="squares"}'] >= 1
    assert figures['edgezoo_queue_images{model="squares"}'] == 0
    assert "nothing" not in text


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/../../etc/passwd", "GET", 404),
        ("/page/index.html", "GET", 404),
        ("/style.css/..%2f", "GET", 404),
        ("/v1/predict", "GET", 405),
        ("/v1/models", "DELETE", 405),
    ],
)
def test_a_path_that_is_not_there(port: int, path: str, method: str, status: int) -> None:
    answer = ask(port, path, method=method)
    assert answer.status == status
    assert "expected" in answer.error
    assert (status == 405) == ("allow" in answer.headers)


# -- batches


class Slow:
    """An engine whose runs wait until they are let go."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.sizes = engine, list[int]()
        self.go = threading.Event()
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def infer(self, array: np.ndarray) -> Any:
        self.sizes.append(len(array))
        if len(self.sizes) > 1:  # the first warms up
            assert self.go.wait(20)
            if self.fails:
                raise BackendError("the runtime said no")
        return self.engine.infer(array)


@pytest.fixture
def slow(bundle_of: Callable[..., Bundle]) -> Iterator[Slow]:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        yield Slow(engine)


def test_requests_of_many_clients_share_a_batch(slow: Slow) -> None:
    with serving({"squares": slow}, batch=4) as service, ThreadPoolExecutor(9) as clients:  # type: ignore[dict-item]
        port, batcher = service.server.port, service._batchers["squares"]
        first = clients.submit(ask, port, "/v1/predict", photo("red"))
        wait_for(lambda: len(slow.sizes) == 2)
        colors = [graphs.COLORS[k % 3] for k in range(8)]
        rest = [clients.submit(ask, port, "/v1/predict", photo(color)) for color in colors]
        wait_for(lambda: len(batcher._ready) == 8)
        slow.go.set()
        answers = [each.result() for each in (first, *rest)]
    assert slow.sizes[1:] == [1, 4, 4]
    assert [answer.json["results"][0]["batch"] for answer in answers] == [1, *[4] * 8]
    assert [answer.json["results"][0]["detections"][0]["label"] for answer in answers[1:]] == colors, "each has its own"


def test_a_batch_waits_for_company_no_longer_than_it_may(bundle_of: Callable[..., Bundle]) -> None:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine, serving({"squares": engine}, wait_ms=80) as service:
        alone = ask(service.server.port, "/v1/predict", photo()).json["results"][0]
        body, kind = multipart({f"{k}.png": photo() for k in range(4)})
        full = ask(service.server.port, "/v1/predict", body, content_type=kind).json["results"][0]
    assert alone["ms"]["wait"] >= 79
    assert (full["batch"], full["ms"]["wait"] < 79) == (4, True)


def test_a_graph_for_batches_of_one_size(bundle_of: Callable[..., Bundle]) -> None:
    with Engine(bundle_of("squares", RECIPE, batch=3)) as engine, serving({"squares": engine}) as service:
        body, kind = multipart({f"{k}.png": photo(color) for k, color in enumerate((*graphs.COLORS, "red"))})
        answer = ask(service.server.port, "/v1/predict", body, content_type=kind)
        assert answer.status == 200, answer.error
        found = [row["detections"][0]["label"] for row in answer.json["results"]]
    assert found == [*graphs.COLORS, "red"]


def test_an_engine_that_fails_is_told_to_all_whom_it_concerns(slow: Slow) -> None:
    with serving({"squares": slow}) as service:  # type: ignore[dict-item]
        slow.fails = True
        slow.go.set()
        answer = ask(service.server.port, "/v1/predict", photo())
        assert (answer.status, answer.error) == (500, "the runtime said no")
        slow.fails = False
        assert ask(service.server.port, "/v1/predict", photo()).status == 200
        assert ask(service.server.port, "/healthz").status == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 0}, "expected batch of 1 to 256, got 0"),
        ({"queue": 0}, "expected queue of 1 to 65536, got 0"),
        ({"wait_ms": -1}, "expected wait_ms within 0..60000 ms, got -1"),
    ],
)
def test_numbers_out_of_range(engines: dict[str, Engine], options: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=re.escape(says)):
        Batcher(engines["squares"], **options)


# -- the end


def test_what_is_under_way_is_answered_before_it_ends(slow: Slow) -> None:
    with serving({"squares": slow}) as service, ThreadPoolExecutor(3) as clients:  # type: ignore[dict-item]
        port = service.server.port
        asked = [clients.submit(ask, port, "/v1/predict", photo()) for _ in range(2)]
        wait_for(lambda: service._batchers["squares"].under_way == 2)
        closing = clients.submit(service.close)
        wait_for(lambda: not service._ready)
        time.sleep(0.3)
        with pytest.raises(OSError):
            ask(port, "/healthz")
        assert not closing.done()
        slow.go.set()
        assert [each.result().status for each in asked] == [200, 200]
        closing.result(20)


def test_load(engines: dict[str, Engine]) -> None:
    """The short form of tests/benchmarks/serve.py: every request of many clients is answered."""
    with serving(engines, queue=64) as service:
        requests = [load.request("/v1/predict", photo(color)) for color in graphs.COLORS]
        told = load.load(("127.0.0.1", service.server.port), requests, clients=32, seconds=0.7)
    assert set(told.statuses) == {200}
    assert told.statuses[200] > 32


def test_more_than_the_queue_takes_come_later(slow: Slow) -> None:
    with serving({"squares": slow}, queue=4) as service, ThreadPoolExecutor(4) as clients:  # type: ignore[dict-item]
        port = service.server.port
        asked = [clients.submit(ask, port, "/v1/predict", photo()) for _ in range(4)]
        wait_for(lambda: service._batchers["squares"].under_way == 4)
        refused = ask(port, "/v1/predict", photo())
        assert refused.status == 429
        assert "expected at most 4 images at a time" in refused.error
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        slow.go.set()
        assert [each.result().status for each in asked] == [200] * 4
        body, kind = multipart({f"{k}.png": photo() for k in range(5)})
        never = ask(port, "/v1/predict", body, content_type=kind)
        assert (never.status, "retry-after" in never.headers) == (413, False), "it would never fit"
        assert "expected at most 4 images in a body" in never.error
        assert ask(port, "/v1/predict", photo()).status == 200


def test_when_to_come_back_is_told_by_what_is_done_and_not_by_idle_time(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("edgezoo.serve.batcher.time.monotonic", lambda: now_s)
    batcher = Batcher(engines["squares"], queue=8)

    async def told() -> list[int]:
        nonlocal now_s
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(batcher._decoders, "submit", lambda call: None)

        async def take(images: int, each_s: float) -> int:
            """When more may come, with half of so many still to do that take so long each."""
            nonlocal now_s
            work = loop.create_task(batcher.answer([lambda: np.zeros((8, 8, 3), np.uint8)] * images, Ask()))
            await asyncio.sleep(0)
            under_way = [*batcher._turns.pop()]
            for each in under_way[: images // 2]:
                now_s += each_s
                each.future.set_result(each)
                await asyncio.sleep(0)
            full = batcher.full(8)
            for each in under_way[images // 2 :]:
                each.future.set_result(each)
            await work
            assert full is not None
            return full.retry_s

        slow = await take(8, 2.0)
        now_s += 3600
        return [slow, await take(8, 0.1), await take(8, 0.5)]

    try:
        assert asyncio.run(told()) == [8, 1, 2]
    finally:
        batcher.close()


def test_requests_take_turns_at_decoding(engines: dict[str, Engine]) -> None:
    batcher, order, go = Batcher(engines["squares"], batch=1), list[str](), threading.Event()

    def decode(name: str) -> Any:
        assert go.wait(20)
        order.append(name)
        return graphs.scene((128, 96), BOX)

    async def all_of_them() -> None:
        many = batcher.answer([partial(decode, "many")] * 12, Ask())
        few = [batcher.answer([partial(decode, name)] * 2, Ask()) for name in ("one", "other")]
        asked = asyncio.gather(many, *few)
        await asyncio.sleep(0.05)
        go.set()
        await asked

    batcher.start()
    try:
        asyncio.run(all_of_them())
    finally:
        batcher.close()
    threads = batcher._decoders._max_workers
    assert len(order) == 16
    assert order[: threads + 8].count("many") <= threads + 4, order


# -- the command


def test_the_command_tells_where_it_is_and_ends_well(bundle_of: Callable[..., Bundle]) -> None:
    folder = str(bundle_of("squares", RECIPE).folder)
    run = "import sys; from edgezoo.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", run, "serve", folder, "--port", "0", "--source", "synthetic:#size=64x48&fps=20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.match(
            r"http://127\.0\.0\.1:(\d+)/  squares fp32, onnxruntime \S+ on cpu$", process.stdout.readline()
        )
        assert found is not None
        assert ask(int(found[1]), "/v1/predict", photo()).status == 200
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "stopping: what is under way is answered first\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "expected a token for 0.0.0.0, which others can reach; try: --token"),
        (["--host", "0.0.0.0", "--token", "short"], "expected a token of 16 letters or more, got 5"),
        (["--port", "99999"], "expected a port of 0 to 65535, got 99999"),
        (["--host", "192.0.2.1", "--token", "x" * 16], "expected an address of this machine, got 192.0.2.1"),
        (["--max-mb", "0"], "expected a limit of bytes above 0"),
        (["--timeout", "-1"], "expected a limit of seconds above 0"),
        (["--queue", "0"], "expected queue of 1 to 65536"),
        (["--source", "camrea:0"], "no source is called 'camrea'"),
        (["--source", "nothing.mp4"], "nothing.mp4"),
        (["--line", "1,2,3"], "expected"),
        (["--capture", "/no/where/kept"], "its parent is not there"),
    ],
)
def test_a_command_that_is_wrong(
    bundle_of: Callable[..., Bundle], capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["serve", str(bundle_of("squares", RECIPE).folder), "--port", "0", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert says in lines[0]


def test_a_port_that_is_taken(bundle_of: Callable[..., Bundle], capsys: pytest.CaptureFixture[str]) -> None:
    with open_port("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(bundle_of("squares", RECIPE).folder), "--port", str(port)]) == 2
        error = capsys.readouterr().err
    assert f"expected a free port, 127.0.0.1:{port} is taken by another program; try {port + 1}" in error


def test_two_models_of_one_name(bundle_of: Callable[..., Bundle], capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(bundle_of("squares", RECIPE).folder)
    assert main(["serve", folder, folder, "--port", "0"]) == 2
    assert "expected models of different names, got squares twice" in capsys.readouterr().err


def test_without_the_extra(
    engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgezoo import optional

    monkeypatch.setattr(optional, "_loaded", {})
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["serve", "squares"]) == 2
    assert 'starlette is not installed; try: pip install "edgezoo[serve]"' in capsys.readouterr().err
