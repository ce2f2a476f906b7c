"""The engine: a drawn square comes home through every fit, batch size and backend; wrong images get their cure."""

from __future__ import annotations

import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import OPEN_ANY

import edgezoo
from edgezoo.backends import open_backend
from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import (
    BackendError,
    BundleError,
    CardError,
    MissingDependency,
    RequestError,
    ShapeError,
    SourceError,
    UnknownName,
)
from edgezoo.frame import Event, Frame, Image
from edgezoo.loading import find_bundle
from edgezoo.preprocess import Preprocess
from edgezoo.results import Detections, Labels
from edgezoo.sources.images import read_image
from edgezoo.tasks import Ask

cv2 = pytest.importorskip("cv2", reason="images are resized with OpenCV")

RECIPES = {
    "stretch": Preprocess(size_wh=(96, 64), fit="stretch"),
    "letterbox top-left": Preprocess(size_wh=(96, 64), fit="letterbox", color="RGB", std=(255, 255, 255)),
    "letterbox center": Preprocess(
        size_wh=(64, 96), fit="letterbox", align="center", pad=0, mean=(1, 2, 3), std=(4, 5, 6)
    ),
    "crop": Preprocess(
        size_wh=(64, 64), fit="crop", crop=0.9, color="RGB", mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)
    ),
    "odd": Preprocess(size_wh=(61, 53), fit="letterbox", align="center", interpolation="bicubic"),
}
SIZES = [(192, 128), (128, 192), (96, 64), (301, 203), (640, 480)]
PLAIN = RECIPES["stretch"]
BatchMaker = Callable[..., Bundle]


def scene_of(k: int, size_wh: tuple[int, int]) -> tuple[Image, tuple[int, int, int, int], str]:
    """Scene `k`: a square near the middle, in one of three colours."""
    side = min(size_wh) // 3
    x, y = (size_wh[0] - side) // 2 + 3 * k, (size_wh[1] - side) // 2 - 2 * k
    color = graphs.COLORS[k % 3]
    box = (x, y, x + side, y + side)
    return graphs.scene(size_wh, box, color), box, color


def assert_home(found: Any, box: tuple[int, ...], color: str, size_wh: tuple[int, int], recipe: Preprocess) -> None:
    assert isinstance(found, Detections)
    ((name, score, got),) = found
    assert name == color
    assert score > 0.75  # edges are mixed with the ground
    pixel = max(size_wh[0] / recipe.size_wh[0], size_wh[1] / recipe.size_wh[1], 1)
    np.testing.assert_allclose(got, box, atol=1.01 * pixel)


@pytest.fixture(scope="module")
def engine(bundle_of: BatchMaker) -> Iterator[Engine]:
    with Engine(bundle_of("squares", PLAIN)) as opened:
        yield opened


@pytest.fixture(params=OPEN_ANY)
def backend(request: pytest.FixtureRequest) -> str:
    try:
        open_backend(request.param, b"")
    except MissingDependency as error:
        pytest.skip(str(error))
    except BackendError:
        pass
    return str(request.param)


# The square comes home.


@pytest.mark.parametrize("size_wh", SIZES, ids=str)
@pytest.mark.parametrize("fit", RECIPES)
def test_the_square_comes_home(bundle_of: BatchMaker, backend: str, fit: str, size_wh: tuple[int, int]) -> None:
    with Engine(bundle_of("squares", RECIPES[fit]), backend=backend) as engine:
        for k in range(3):
            image, box, color = scene_of(k, size_wh)
            assert_home(engine(image), box, color, size_wh, RECIPES[fit])


@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("fit", RECIPES)
def test_through_every_batch_size(bundle_of: BatchMaker, backend: str, fit: str, n: int) -> None:
    with Engine(bundle_of("squares", RECIPES[fit]), backend=backend) as engine:
        scenes = [(*scene_of(k % 4, SIZES[k % len(SIZES)]), SIZES[k % len(SIZES)]) for k in range(n)]
        results = engine([image for image, *_ in scenes])
        assert len(results) == n
        for result, (_, box, color, size_wh) in zip(results, scenes, strict=True):
            assert_home(result, box, color, size_wh, RECIPES[fit])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_fixed_batch_takes_any_number(bundle_of: BatchMaker, backend: str, n: int) -> None:
    fixed, free = bundle_of("squares", PLAIN, batch=3), bundle_of("squares", PLAIN)
    assert fixed.manifest.batch == 3
    images = [scene_of(k, (192, 128))[0] for k in range(n)]
    with Engine(fixed, backend=backend) as padded, Engine(free, backend=backend) as exact:
        assert [result.to_dict() for result in padded(images)] == [result.to_dict() for result in exact(images)]
        array, placements = padded.prepare(images[:3])
        assert array.shape == (3, 64, 96, 3)
        assert len(placements) == min(n, 3)


@pytest.mark.parametrize("fit", RECIPES)
@pytest.mark.parametrize("color", graphs.COLORS)
def test_the_channel_order_is_the_network_s(bundle_of: BatchMaker, backend: str, fit: str, color: str) -> None:
    recipe = RECIPES[fit]
    with Engine(bundle_of("colors", recipe), backend=backend) as engine:
        result = engine(graphs.scene((120, 90), (0, 0, 120, 90), color))
        assert isinstance(result, Labels)
        assert next(iter(result)) == (color, pytest.approx(1, abs=0.05))


# What it takes.


def test_arrays_paths_and_lists(engine: Engine, tmp_path: Path) -> None:
    image, _, _ = scene_of(1, (192, 128))
    path = tmp_path / "ünï code.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    expected = engine(image).to_dict()
    for picture in (path, str(path), image.copy(), np.ascontiguousarray(image[:, ::-1])[:, ::-1]):
        assert engine(picture).to_dict() == expected
    for pictures in ([image, path], (image, str(path)), [image] * 2):
        assert [result.to_dict() for result in engine(pictures)] == [expected, expected]
    assert engine([]) == engine(()) == []
    assert engine.batch([path])[0].to_dict() == expected


GOOD = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "raises"),
    [
        (GOOD, None),
        (GOOD[..., 0], r"got grey \(8, 8\); try cv2.cvtColor\(image, cv2.COLOR_GRAY2BGR\)"),
        (GOOD[..., :1], r"got grey \(8, 8, 1\); try cv2.cvtColor"),
        (np.zeros((8, 8, 4), np.uint8), r"got \(8, 8, 4\); try image\[..., :3\]"),
        (GOOD.astype(np.float32), r"expected a uint8 image, got float32; try \(image \* 255\)"),
        (GOOD.astype(np.int64), "expected a uint8 image, got int64$"),
        (GOOD.astype(bool), "expected a uint8 image, got bool"),
        (np.stack([GOOD, GOOD]), r"expected a BGR image \(H, W, 3\), got \(2, 8, 8, 3\)"),
        (GOOD.transpose(2, 0, 1), r"expected a BGR image \(H, W, 3\), got \(3, 8, 8\)"),
        (GOOD[:0], r"got \(0, 8, 3\)"),
        (GOOD[:, :0], r"got \(8, 0, 3\)"),
        (None, "got NoneType; cv2.imread answers None for a file it cannot read"),
        (5, "expected an image as a NumPy array, got int"),
        (b"bytes", "expected an image as a NumPy array, got int"),
    ],
    ids=range(14),
)
def test_what_is_no_image(engine: Engine, image: Any, raises: str | None) -> None:
    if raises is None:
        assert len(engine(image)) == 0
        return
    with pytest.raises(ShapeError, match=raises):
        engine(image)
    with pytest.raises(ShapeError):
        engine([GOOD, image])
    assert len(engine(GOOD)) == 0  # and it still works


def lying_png() -> bytes:
    """A few bytes that claim to be 60000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("content", [None, b"", b"not an image", lying_png()], ids=["none", "empty", "text", "bomb"])
def test_a_path_that_is_no_image(engine: Engine, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "photo.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        engine(path)
    assert str(caught.value).startswith(f"{path}: expected an image")
    with pytest.raises(SourceError):
        engine(str(tmp_path))


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = graphs.scene((40, 20), (0, 0, 10, 10), "red")
    data = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: a quarter turn
    (tmp_path / "photo.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    turned = read_image(tmp_path / "photo.jpg")
    assert turned.shape == (40, 20, 3)
    assert turned[5, 15, 2] > 200  # the upper right corner now


def test_grey_photos_and_photos_with_alpha_are_read_as_bgr(tmp_path: Path) -> None:
    for k, shape in enumerate([(6, 5), (6, 5, 4)]):
        (tmp_path / f"{k}.png").write_bytes(cv2.imencode(".png", np.full(shape, 77, np.uint8))[1].tobytes())
        assert read_image(tmp_path / f"{k}.png").tolist() == np.full((6, 5, 3), 77).tolist()


@pytest.mark.parametrize(
    ("batch", "n", "raises"), [(None, 0, "got 0"), (2, 0, "got 0"), (2, 3, "expected 1 to 2 images, got 3")]
)
def test_the_stage_refuses_what_does_not_fit(bundle_of: BatchMaker, batch: int | None, n: int, raises: str) -> None:
    with Engine(bundle_of("squares", PLAIN, batch=batch)) as engine, pytest.raises(ShapeError, match=raises):
        engine.prepare([GOOD] * n)


# What it answers.


def test_results_own_their_memory(engine: Engine) -> None:
    image, _, _ = scene_of(0, (192, 128))
    first = engine(image)
    before = first.to_dict()
    image[:] = 0
    engine([scene_of(2, (301, 203))[0]] * 3)
    assert first.to_dict() == before


def test_the_three_stages_are_the_call(engine: Engine) -> None:
    images = [scene_of(k, (192, 128))[0] for k in range(3)]
    array, placements = engine.prepare(images)
    assert array.dtype == np.uint8
    outputs = engine.infer(array)
    assert set(outputs) == {"boxes", "scores"}
    assert [result.to_dict() for result in engine.read(outputs, placements)] == [r.to_dict() for r in engine(images)]


def two_squares() -> Image:
    """Red and a little green: one place, two classes."""
    image = graphs.scene((96, 64), (20, 10, 60, 50), "red")
    image[10:50, 20:60, 1] = 128
    return image


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, ["red", "green"]),
        ({"score": 0.6}, ["red"]),
        ({"score": 1.0}, []),
        ({"score": 0.0}, ["red", "green"]),
        ({"classes": ["green"]}, ["green"]),
        ({"classes": ["2", "green"]}, ["red", "green"]),
        ({"classes": ["blue"]}, []),
        ({"classes": []}, []),
    ],
)
def test_only_what_is_wanted(bundle_of: BatchMaker, how: dict[str, Any], expected: list[str]) -> None:
    with Engine(bundle_of("squares", PLAIN), **how) as engine:
        assert [name for name, _, _ in engine(two_squares())] == expected
        with engine.fork() as twin:
            assert [name for name, _, _ in twin(two_squares())] == expected


@pytest.mark.parametrize(
    ("how", "kind", "raises"),
    [
        ({"classes": ["gren"]}, UnknownName, "no class is called 'gren'; did you mean 'green'"),
        ({"classes": ["3"]}, UnknownName, "no class is called '3'"),
        ({"score": 2}, RequestError, "expected score within 0..1, got 2"),
        ({"iou": -1}, RequestError, "expected iou within 0..1"),
        ({"precision": "int8"}, BundleError, "no artifact of precision 'int8' for onnxruntime; there is: fp32"),
        ({"backend": "onxruntime"}, UnknownName, "did you mean 'onnxruntime'"),
        ({"device": "gpu"}, RequestError, "expected device cpu, cuda or cuda:N, got 'gpu'"),
        ({"threads": 0}, RequestError, "expected 1 thread or more"),
        ({"options": {"spn": 1}}, UnknownName, "no option of onnxruntime is called 'spn'"),
    ],
)
def test_a_wrong_request(bundle_of: BatchMaker, how: dict[str, Any], kind: type[Exception], raises: str) -> None:
    with pytest.raises(kind, match=raises):
        Engine(bundle_of("squares", PLAIN), **how)


def test_asking_for_something_else(engine: Engine) -> None:
    strict = engine.asking(Ask(score=0.6))
    assert [name for name, _, _ in strict(two_squares())] == ["red"]
    assert [name for name, _, _ in engine(two_squares())] == ["red", "green"]
    assert strict.backend is engine.backend


# Its life.


def test_forks_work_side_by_side(engine: Engine) -> None:
    images = [scene_of(k, (192, 128))[0] for k in range(4)]
    expected = [result.to_dict() for result in engine(images)]
    twins = [engine.fork(threads=1) for _ in range(3)]
    assert {twin.runs.threads for twin in twins} == {1}
    assert len({id(twin.backend) for twin in (engine, *twins)}) == 4
    answers: list[list[Any]] = [[] for _ in twins]

    def work(twin: Engine, place: list[Any]) -> None:
        for _ in range(5):
            place.append([result.to_dict() for result in twin(images)])

    threads = [threading.Thread(target=work, args=pair) for pair in zip(twins, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[expected] * 5] * 3
    for twin in twins:
        twin.close()
    assert [result.to_dict() for result in engine(images)] == expected  # closing one leaves the other


def test_a_fork_needs_no_files(bundle_of: BatchMaker, tmp_path: Path) -> None:
    shutil.copytree(bundle_of("squares", PLAIN).folder, tmp_path / "copy")
    with Engine(tmp_path / "copy") as engine:
        shutil.rmtree(tmp_path / "copy")
        with engine.fork() as twin:
            assert twin(GOOD).to_dict() == {"detections": []}


def test_a_closed_engine(bundle_of: BatchMaker) -> None:
    with Engine(bundle_of("squares", PLAIN)) as engine:
        engine.warm_up()
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine(GOOD)


def test_it_tells_what_it_is(engine: Engine) -> None:
    assert repr(engine).startswith("Engine(squares fp32, onnxruntime ")
    assert engine.runs.device == "cpu"
    assert engine.names == graphs.COLORS
    assert engine.recipe == PLAIN


def test_warming_up_a_fixed_batch(bundle_of: BatchMaker) -> None:
    with Engine(bundle_of("squares", PLAIN, batch=3)) as engine:
        engine.warm_up()
        assert len(engine(GOOD)) == 0


# load().


@pytest.fixture
def own_cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_load_a_folder(bundle_of: BatchMaker) -> None:
    folder = bundle_of("squares", PLAIN).folder
    for what in (folder, str(folder)):
        with edgezoo.load(what, score=0.6, threads=1) as engine:
            assert [name for name, _, _ in engine(two_squares())] == ["red"]


def test_load_a_card_converts_once(own_cache_here: Path, tmp_path: Path) -> None:
    card = graphs.card_of("colors", tmp_path / "card", PLAIN)
    steps: list[str] = []
    first = find_bundle(card, step=steps.append)
    assert first.folder.is_relative_to(own_cache_here)
    assert steps
    steps.clear()
    assert find_bundle(str(card), step=steps.append) == first
    assert not steps


def other_graph(folder: Path) -> None:
    recipe = Preprocess(size_wh=PLAIN.size_wh, fit="stretch", color="RGB")  # as if trained with the other order
    graphs.write_card(
        folder, "colors", graphs.color_classifier(recipe), PLAIN, task="classify", decoder='name = "logits"'
    )


def other_labels(folder: Path) -> None:
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")


@pytest.mark.parametrize("change", [other_graph, other_labels])
def test_load_sees_what_changed_beside_the_card(
    own_cache_here: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    card = graphs.card_of("colors", tmp_path / "card", PLAIN)
    red = graphs.scene((96, 64), (0, 0, 96, 64), "red")
    with edgezoo.load(card) as engine:
        assert next(iter(engine(red)))[0] == "red"
    change(card.parent)
    with edgezoo.load(card) as engine:
        assert next(iter(engine(red)))[0] == "blue"


def test_load_mends_a_damaged_cache(own_cache_here: Path, tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", PLAIN)
    bundle = find_bundle(card)
    (bundle.folder / "NOTICE").write_text("changed")
    assert (find_bundle(card).folder / "NOTICE").read_text() != "changed"


@pytest.mark.parametrize(
    ("what", "kind", "raises"),
    [
        ("yolox_nan", UnknownName, "no model is called 'yolox_nan'; did you mean 'yolox_nano'"),
        ("nowhere.toml", CardError, "expected a card, got no such file"),
        (
            "mobilenet_v2",
            RequestError,
            "mobilenet_v2 has no official .onnx; make its bundle once with `edgezoo convert",
        ),
        ("net.onnx", CardError, "net.onnx: is a graph, not a card or a bundle; try: edgezoo card net.onnx"),
        (".", BundleError, "expected a bundle, but it has no bundle.json"),
    ],
)
def test_load_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: type[Exception], raises: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=raises):
        edgezoo.load(what)


def test_load_at_another_size(bundle_of: BatchMaker) -> None:
    bundle = bundle_of("squares", PLAIN)
    assert find_bundle(bundle.folder, size_wh=(96, 64)) == bundle
    with pytest.raises(RequestError, match=r"this bundle takes 96x64 px; another size needs `edgezoo convert --size`"):
        edgezoo.load(bundle.folder, size_wh=(64, 64))


def test_load_the_zoo_s_detector_on_a_photo(mirror: Path, test_data: Path, own_cache_here: Path) -> None:
    photo = sorted((test_data / "data" / "coco-val-128" / "images").iterdir())[0]
    with edgezoo.load("yolox_nano") as engine:
        found = engine(photo)
        assert engine.bundle.manifest.name == "yolox_nano"
        assert len(engine.names) == 80
        assert len(engine([photo, photo])) == 2
    height, width = read_image(photo).shape[:2]
    assert (found.boxes_xyxy >= 0).all()
    assert (found.boxes_xyxy <= (width, height, width, height)).all()


# Frames and events, which carry images to and from it.


def test_a_frame() -> None:
    frame = Frame(GOOD, 3, 0.1, 0, "camera:0")
    assert repr(frame) == "Frame(camera:0 #3, 8x8, pts_s=0.100)"
    assert frame.age_ms > 0
    with pytest.raises(ShapeError, match="expected a BGR image"):
        Frame(GOOD[..., 0], 0, 0, 0, "camera:0")


def test_an_event() -> None:
    event = Event("camera:0", "lost", "unplugged")
    told = event.to_dict()
    assert told.pop("time").endswith("Z")
    assert told == {"source": "camera:0", "event": "lost", "message": "unplugged"}
    assert event.at_ns > 0
