"""From a card to a bundle: the door and every exit against their oracles, agreement or nothing, all or nothing."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgezoo.convert as room
from edgezoo.backends import open_backend
from edgezoo.cards import Decoder, read_card
from edgezoo.convert import agreement, convert, seeded_scenes
from edgezoo.convert.decoders import EXITS, exit_of, yolox_cells
from edgezoo.convert.draft import draft_card
from edgezoo.convert.graph import Nodes, check_raw, emit, free_batch, inside
from edgezoo.engine import Engine
from edgezoo.errors import (
    AgreementError,
    BackendError,
    CardError,
    ConvertError,
    RequestError,
    UnknownName,
    WeightsError,
)
from edgezoo.preprocess import Preprocess
from edgezoo.tasks import task

SIZE = (64, 48)
RECIPE = Preprocess(size_wh=SIZE, fit="letterbox")
A = len(yolox_cells((8, 16, 32), SIZE)[0])


def everything(folder: Path) -> list[str]:
    """All files and folders below, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, bytes | None]:
    """What is in all files below; None for folders."""
    return {name: (folder / name).read_bytes() if (folder / name).is_file() else None for name in everything(folder)}


def emitted(model: onnx.ModelProto, recipe: Preprocess, decoder: Decoder, shapes: dict[str, Any]) -> Any:
    """The model with door and exit, opened."""
    nodes = Nodes("exit")
    exit_of(decoder).emit(nodes, [inside(port.name) for port in model.graph.output], decoder, recipe.size_wh)
    return open_backend("onnxruntime", emit(model, recipe, nodes, shapes, batch=None).SerializeToString())


# The door.


@pytest.mark.parametrize("color", ["BGR", "RGB"])
@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((0, 0, 0), (255, 255, 255)),
        ((127.5, 127.5, 127.5), (1, 1, 1)),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ((0, 0, 9), (1, 1, 3)),
    ],
)
@pytest.mark.parametrize(
    "geometry",
    [
        {"fit": "stretch"},
        {"fit": "letterbox", "pad": 7},
        {"fit": "letterbox", "align": "center"},
        {"fit": "crop", "crop": 0.8, "interpolation": "bicubic"},
    ],
    ids=lambda geometry: " ".join(map(str, geometry.values())),
)
def test_the_door_is_the_oracle(color: Any, mean: Any, std: Any, geometry: Any) -> None:
    recipe = Preprocess(size_wh=(40, 24), color=color, mean=mean, std=std, **geometry)
    net = graphs.Net()
    net.add("Identity", "pixels", out="seen")
    model = net.model(["N", 3, 24, 40], {"seen": ["N", 3, 24, 40]})
    backend = emitted(model, recipe, Decoder(name="probabilities"), {"scores": (3, 24, 40)})
    images = [np.random.default_rng(k).integers(0, 256, (31 + k, 57, 3)).astype(np.uint8) for k in range(2)]
    got = backend.run({"images": np.stack([recipe.place(image)[0] for image in images])})["scores"]
    np.testing.assert_allclose(got, [recipe.tensor(image) for image in images], rtol=1e-6, atol=1e-6)


# The exits.

DICE = np.random.default_rng(0)


def noise(*shape: int, scale: float = 1.0) -> Any:
    return (DICE.normal(size=shape) * scale).astype(np.float32)


RAW: dict[str, tuple[Decoder, dict[str, Any], dict[str, tuple[int, ...]]]] = {
    # decoder, raw outputs of one image, and the shapes that the task wants of them
    "logits": (Decoder(name="logits"), {"a": noise(1, 7, scale=40)}, {"scores": (7,)}),
    "probabilities": (
        Decoder(name="probabilities"),
        {"a": DICE.dirichlet(np.ones(5), 1).astype(np.float32)},
        {"scores": (5,)},
    ),
    "yolox-raw": (Decoder(name="yolox-raw"), {"a": noise(1, A, 9)}, {"boxes": (A, 4), "scores": (A, 4)}),
    "yolox-raw of two levels": (
        Decoder(name="yolox-raw", strides=(16, 32)),
        {"a": noise(1, len(yolox_cells((16, 32), SIZE)[0]), 6)},
        {"boxes": (len(yolox_cells((16, 32), SIZE)[0]), 4), "scores": (len(yolox_cells((16, 32), SIZE)[0]), 1)},
    ),
    "yolov8-raw": (Decoder(name="yolov8-raw"), {"a": noise(1, 7, 30, scale=30)}, {"boxes": (30, 4), "scores": (30, 3)}),
    "boxes-scores": (
        Decoder(name="boxes-scores"),
        {"a": noise(1, 9, 4), "b": noise(1, 9, 2)},
        {"boxes": (9, 4), "scores": (9, 2)},
    ),
    "boxes-scores of centres": (
        Decoder(name="boxes-scores", boxes="cxcywh"),
        {"a": noise(1, 9, 4, scale=30), "b": noise(1, 9, 2)},
        {"boxes": (9, 4), "scores": (9, 2)},
    ),
}


def test_every_decoder_is_in_the_table() -> None:
    assert {decoder.name for decoder, _, _ in RAW.values()} == set(EXITS)
    with pytest.raises(UnknownName, match="no decoder is called 'yolox'; did you mean 'yolox-raw'"):
        exit_of(Decoder(name="yolox"))


@pytest.mark.parametrize("kind", RAW)
def test_every_exit_is_its_oracle(kind: str) -> None:
    decoder, raw, shapes = RAW[kind]
    backend = emitted(graphs.constant_answers(RECIPE, raw), RECIPE, decoder, shapes)
    expected = exit_of(decoder).oracle(list(raw.values()), decoder, SIZE)
    assert set(expected) == set(shapes) == set(task(exit_of(decoder).task).OUTPUTS)
    for n in (1, 3):
        got = backend.run({"images": np.zeros((n, SIZE[1], SIZE[0], 3), np.uint8)})
        for name, value in expected.items():
            assert got[name].shape == (n, *shapes[name])
            np.testing.assert_allclose(got[name], value.repeat(n, axis=0), rtol=1e-5, atol=1e-5)


def test_softmax_by_hand() -> None:
    raw = [np.log(np.array([[1, 2, 5]], np.float32)) + 100]
    answer = EXITS["logits"].oracle(raw, Decoder(name="logits"), SIZE)["scores"]
    np.testing.assert_allclose(answer, [[0.125, 0.25, 0.625]], rtol=1e-5)


def test_yolox_by_hand() -> None:
    """Candidate 10 of an 8x6 grid of stride 8 is row 1, column 2; the first of stride 16 comes after all 48."""
    raw = np.zeros((1, A, 7), np.float32)
    raw[0, 10] = [0.5, 0.25, np.log(2), np.log(3), 0.5, 0.5, 1]
    raw[0, 48] = [0, 0, 0, 0, 1, 0, 0.25]
    answer = EXITS["yolox-raw"].oracle([raw], Decoder(name="yolox-raw"), SIZE)
    np.testing.assert_allclose(answer["boxes"][0, 10], [20 - 8, 10 - 12, 20 + 8, 10 + 12], rtol=1e-6)
    np.testing.assert_allclose(answer["boxes"][0, 48], [-8, -8, 8, 8])
    assert answer["scores"][0, 10].tolist() == [0.25, 0.5]
    assert answer["scores"][0, 48].tolist() == [0, 0.25]


def test_yolov8_by_hand() -> None:
    raw = np.array([[[50], [40], [20], [10], [0.25], [0.75]]], np.float32)
    answer = EXITS["yolov8-raw"].oracle([raw], Decoder(name="yolov8-raw"), SIZE)
    assert answer["boxes"].tolist() == [[[40, 35, 60, 45]]]
    assert answer["scores"].tolist() == [[[0.25, 0.75]]]


# A whole conversion.


def test_a_bundle_tells_where_it_comes_from(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    steps: list[str] = []
    bundle = convert(card, tmp_path / "deep" / "out", step=steps.append)
    manifest, artifact = bundle.manifest, bundle.artifact()
    assert (manifest.name, manifest.task, manifest.labels) == ("squares", "detect", graphs.COLORS)
    assert manifest.input == RECIPE
    assert manifest.licence == read_card(card).licence
    assert artifact.source["file"] == "squares.onnx"
    assert artifact.agreement["against"] == "onnxruntime on the original .onnx"
    assert artifact.agreement["images"] == len(seeded_scenes())
    assert artifact.agreement["batches"] == list(agreement.BATCHES)
    assert all(artifact.agreement[name] <= limit for name, limit in task("detect").TOLERANCE.items())
    assert {"edgezoo", "onnx", "onnxruntime"} <= set(artifact.tools)
    assert len(steps) >= 4
    assert os.stat(bundle.folder).st_mode & 0o777 == 0o755
    assert everything(tmp_path / "deep") == [
        "out", "out/NOTICE", "out/bundle.json", "out/golden.npz", "out/model.fp32.onnx",
    ]  # fmt: skip


def test_the_same_card_makes_the_same_bundle(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    one, other = (convert(card, tmp_path / name).folder for name in ("one", "other"))
    for file in one.iterdir():
        assert file.read_bytes() == (other / file.name).read_bytes(), file.name


def test_scenes_are_the_same_every_time() -> None:
    scenes = seeded_scenes()
    assert len({scene.shape for scene in scenes}) == len(scenes)
    for one, other in zip(scenes, seeded_scenes(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_photos_to_measure_on(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "photo.png"), graphs.scene((80, 60), (5, 5, 50, 50)))
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    told = convert(card, tmp_path / "out", images=[tmp_path / "photo.png"]).artifact().agreement
    assert (told["images"], told["kind"]) == (1, "photos")


def test_a_graph_whose_names_are_ours(tmp_path: Path) -> None:
    """`images`, `boxes`, `scores` and our nodes' names inside a stranger's graph meet nothing."""
    model = graphs.square_finder(RECIPE)
    ours = {
        "pixels": "images",
        model.graph.node[0].output[0]: "door/Cast_0",
        model.graph.node[1].output[0]: "exit/Identity_0",
    }
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [ours.get(name, name) for name in names]
    model.graph.input[0].name = "images"
    card = graphs.write_card(tmp_path / "card", "squares", model, RECIPE)
    with Engine(convert(card, tmp_path / "out")) as engine:
        assert [name for name, _, _ in engine(graphs.scene((64, 48), (8, 8, 40, 40)))] == ["red"]


def test_weights_listed_among_the_inputs(tmp_path: Path) -> None:
    """As exporters of opset 8 and before wrote them, and some still do."""
    model = graphs.color_classifier(RECIPE)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    card = graphs.write_card(tmp_path / "card", "colors", model, RECIPE, task="classify", decoder='name = "logits"')
    with Engine(convert(card, tmp_path / "out")) as engine:
        assert next(iter(engine(graphs.scene((64, 48), (0, 0, 64, 48), "blue"))))[0] == "blue"


# Agreement.


def twisted(change: Callable[[Nodes, str], str]) -> Any:
    """The exit of `boxes-scores` that answers something else than its oracle."""

    def emit_twisted(nodes: Nodes, raw: Any, decoder: Decoder, size_wh: tuple[int, int]) -> None:
        nodes.add("Identity", change(nodes, raw[0]), out="boxes")
        nodes.add("Identity", raw[1], out="scores")

    return room.decoders.Exit(
        task="detect", about="twisted", emit=emit_twisted, oracle=EXITS["boxes-scores"].oracle, outputs=2
    )


@pytest.mark.parametrize(
    ("change", "raises"),
    [
        (lambda nodes, boxes: boxes, None),
        (
            lambda nodes, boxes: nodes.add("Add", boxes, nodes.constant(np.float32(0.05))),
            r"does not answer like the original: boxes_px differ by 0.05, expected at most 0.02; check the card",
        ),
        (
            lambda nodes, boxes: nodes.add("Div", boxes, nodes.constant(np.float32(0))),
            "boxes: the artifact answers numbers that are not finite",
        ),
        (
            lambda nodes, boxes: nodes.add("Concat", boxes, boxes, axis=1),
            r"boxes: expected shape \(1, 1, 4\), the artifact answers \(1, 2, 4\)",
        ),
    ],
    ids=["same", "off", "inf", "shape"],
)
def test_agreement_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Nodes, str], str], raises: str | None
) -> None:
    monkeypatch.setitem(EXITS, "boxes-scores", twisted(change))
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    if raises is None:
        assert convert(card, tmp_path / "out").manifest.name == "squares"
        return
    with pytest.raises(AgreementError, match=raises):
        convert(card, tmp_path / "out")
    assert everything(tmp_path) == ["card", "card/labels.txt", "card/squares.onnx", "card/squares.toml"]


def test_an_answer_that_depends_on_its_neighbours(tmp_path: Path) -> None:
    """Right for one image, wrong in a batch: the door takes any N, so that N must be proved."""
    net = graphs.Net()
    mean = net.add("ReduceMean", "pixels", axes=[0, 2, 3], keepdims=0)  # over the batch too
    row = net.add("Reshape", mean, net.ints(1, 3))
    alone = net.add("ReduceMean", "pixels", axes=[2, 3], keepdims=0)
    net.add("Add", net.add("Mul", alone, net.constant(0)), row, out="logits")
    model = net.model(["N", 3, 48, 64], {"logits": ["N", 3]})
    card = graphs.write_card(tmp_path / "card", "mean", model, RECIPE, task="classify", decoder='name = "logits"')
    with pytest.raises(AgreementError, match="scores differ by"):
        convert(card, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert convert(card, tmp_path / "out", batch=1).manifest.batch == 1


DETECT, CLASSIFY = "detect", "classify"


@pytest.mark.parametrize(
    ("kind", "asked", "decoder", "raises"),
    [
        ("squares", DETECT, 'name = "boxscores"', "no decoder is called 'boxscores'; did you mean 'boxes-scores'"),
        ("squares", DETECT, 'name = "yolox-raw"', "yolox-raw: expected"),
        ("squares", DETECT, 'name = "yolov8-raw"', "yolov8-raw: expected"),
        ("squares", DETECT, 'name = "boxes-scores"\noutputs = ["boxes"]', "boxes-scores: expected"),
        (
            "squares",
            DETECT,
            'name = "boxes-scores"\noutputs = ["score"]',
            "no output is called 'score'; it has boxes, scores",
        ),
        ("squares", DETECT, 'name = "boxes-scores"\noutputs = ["scores", "boxes"]', "boxes-scores: expected"),
        (
            "squares",
            CLASSIFY,
            'name = "logits"',
            "logits: expected (N, C) before the softmax, got (1, 1, 4), (1, 1, 3); check",
        ),
        ("squares", CLASSIFY, 'name = "boxes-scores"', "boxes-scores is for detect, the card's task is classify"),
        ("colors", DETECT, 'name = "logits"', "the decoder logits is for classify, the card's task is detect"),
        (
            "colors",
            DETECT,
            'name = "boxes-scores"',
            "boxes-scores: expected (N, A, 4) in network pixels and (N, A, C), got (1, 3)",
        ),
        ("colors", DETECT, 'name = "yolox-raw"', "yolox-raw: expected"),
        ("colors", DETECT, 'name = "yolov8-raw"', "yolov8-raw: expected"),
        ("pixels", CLASSIFY, 'name = "logits"', "logits: expected"),
        ("pixels", CLASSIFY, 'name = "probabilities"', "probabilities: expected"),
        ("pixels", DETECT, 'name = "yolov8-raw"', "yolov8-raw: expected"),
    ],
)
def test_a_decoder_that_does_not_fit(tmp_path: Path, kind: str, asked: str, decoder: str, raises: str) -> None:
    net = graphs.Net()
    net.add("Identity", "pixels", out="seen")
    model = {
        "squares": graphs.square_finder(RECIPE),
        "colors": graphs.color_classifier(RECIPE),
        "pixels": net.model(["N", 3, 48, 64], {"seen": ["N", 3, 48, 64]}),
    }[kind]
    card = graphs.write_card(tmp_path / "card", kind, model, RECIPE, task=asked, decoder=decoder)
    with pytest.raises((ConvertError, CardError, UnknownName)) as caught:
        convert(card, tmp_path / "out")
    assert raises in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# Batch.


def stubborn(batch: int) -> onnx.ModelProto:
    """A square finder whose batch size is also where nobody can free it."""
    model = graphs.square_finder(RECIPE, batch=batch)
    flat = next(node for node in model.graph.node if node.output[0] == "boxes").input[0]
    node = next(node for node in model.graph.node if node.output[0] == flat)
    node.output[0] = "flat before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((batch, 4), np.float32), "frozen"))
    at = list(model.graph.node).index(node) + 1
    model.graph.node.insert(at, helper.make_node("Add", ["flat before", "frozen"], [flat]))
    return model


@pytest.mark.parametrize(
    ("model", "batch", "expected"),
    [
        ("free", None, None),
        ("free", "dynamic", None),
        ("free", 4, 4),
        ("frozen at 1", None, None),
        ("frozen at 2", None, None),
        ("frozen at 2", "dynamic", None),
        ("frozen at 2", 2, 2),
        ("frozen at 2", 5, 5),
        ("stubborn", None, 2),
        ("stubborn", 2, 2),
        ("stubborn", "dynamic", "the graph is fixed at batch 2 and cannot be freed: "),
        ("stubborn", 4, "the graph is fixed at batch 2 and cannot be freed: "),
    ],
)
def test_batch(tmp_path: Path, model: str, batch: Any, expected: Any) -> None:
    made = {
        "free": lambda: graphs.square_finder(RECIPE),
        "frozen at 1": lambda: graphs.square_finder(RECIPE, batch=1, frozen=True),
        "frozen at 2": lambda: graphs.square_finder(RECIPE, batch=2, frozen=True),
        "stubborn": lambda: stubborn(2),
    }[model]()
    card = graphs.write_card(tmp_path / "card", "squares", made, RECIPE)
    if isinstance(expected, str):
        with pytest.raises(ConvertError, match=expected) as caught:
            convert(card, tmp_path / "out", batch=batch)
        assert not isinstance(caught.value, AgreementError)
        assert not (tmp_path / "out").exists()
        return
    bundle = convert(card, tmp_path / "out", batch=batch)
    assert bundle.manifest.batch == expected
    assert ("batches" in bundle.artifact().agreement) == (expected is None)
    scenes = [graphs.scene((64, 48), (8 + k, 6, 40 + k, 30), graphs.COLORS[k]) for k in range(3)]
    with Engine(bundle) as engine:
        assert engine.backend.inputs[0].shape[0] == expected
        assert [[name for name, _, _ in result] for result in engine(scenes)] == [["blue"], ["green"], ["red"]]


@pytest.mark.parametrize("batch", [0, -1, "many", "", 2.5])
def test_a_batch_that_is_none(tmp_path: Path, batch: Any) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    with pytest.raises(RequestError, match=f"expected batch as a number of 1 or more, or 'dynamic', got {batch!r}"):
        convert(card, tmp_path / "out", batch=batch)


def test_freeing_leaves_the_original_alone() -> None:
    model = graphs.square_finder(RECIPE, batch=2, frozen=True)
    before = model.SerializeToString()
    freed = free_batch(model, 2)
    assert model.SerializeToString() == before
    assert freed.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


# What a raw graph must be.


def ported(shape: list[Any], *, kind: int = TensorProto.FLOAT, opset: int = 17, inputs: int = 1) -> onnx.ModelProto:
    net = graphs.Net()
    net.add("Identity", "pixels", out="seen")
    model = net.model(shape, {"seen": shape}, opset=opset, input_type=kind)
    for k in range(1, inputs):
        model.graph.input.append(helper.make_tensor_value_info(f"more_{k}", TensorProto.FLOAT, [1]))
    return model


@pytest.mark.parametrize(
    ("model", "size_wh", "expected"),
    [
        (ported(["N", 3, 48, 64]), None, ((64, 48), None)),
        (ported([1, 3, 48, 64]), None, ((64, 48), 1)),
        (ported(["N", 3, 48, 64]), (64, 48), ((64, 48), None)),
        (ported(["N", 3, "H", "W"]), (64, 48), ((64, 48), None)),
        (ported(["N", 3, 48, "W"]), (64, 48), ((64, 48), None)),
        (ported(["N", 3, 48, 64], opset=11), None, ((64, 48), None)),
        (ported(["N", 3, 48, 64], opset=10), None, "expected opset 11 or newer, got 10; export the model again"),
        (ported(["N", 3, "H", "W"]), None, "the graph takes any size; say which with --size WIDTHxHEIGHT"),
        (ported(["N", 3, 48, 64]), (64, 64), "the graph is fixed at 64x48 px, asked for 64x64; leave --size out"),
        (ported(["N", 3, 48, "W"]), (64, 64), "the graph is fixed at 64x48 px, asked for 64x64"),
        (ported(["N", 3, 48, 64], inputs=2), None, "expected a graph with one input, got 2: pixels, more_1"),
        (
            ported(["N", 48, 64, 3]),
            None,
            "expected one input float32 (N, 3, H, W), got float (None, 48, 64, 3); graphs that",
        ),
        (ported(["N", 1, 48, 64]), None, "got float (None, 1, 48, 64)"),
        (ported(["N", 3, 48]), None, "got float (None, 3, 48)"),
        (ported(["N", 3, 48, 64], kind=TensorProto.UINT8), None, "got uint8 (None, 3, 48, 64)"),
        (ported(["N", 3, 48, 64], kind=TensorProto.FLOAT16), None, "got float16"),
    ],
    ids=range(16),
)
def test_what_a_raw_graph_must_be(model: onnx.ModelProto, size_wh: Any, expected: Any) -> None:
    if isinstance(expected, str):
        with pytest.raises(ConvertError, match=re.escape(expected)):
            check_raw(model, size_wh)
    else:
        assert check_raw(model, size_wh) == expected


@pytest.mark.parametrize(("size_wh", "expected"), [(None, (64, 48)), ((96, 32), (96, 32))])
def test_a_graph_of_any_size_takes_the_card_s_or_the_asked(tmp_path: Path, size_wh: Any, expected: Any) -> None:
    model = graphs.color_classifier(RECIPE, free_size=True)
    card = graphs.write_card(tmp_path / "card", "colors", model, RECIPE, task="classify", decoder='name = "logits"')
    assert convert(card, tmp_path / "out", size_wh=size_wh).manifest.input.size_wh == expected


def test_a_graph_of_another_size_than_its_card(tmp_path: Path) -> None:
    """The graph knows; the recipe follows it."""
    model = graphs.square_finder(Preprocess(size_wh=(80, 40), fit="stretch"))
    card = graphs.write_card(tmp_path / "card", "squares", model, RECIPE)
    assert convert(card, tmp_path / "out").manifest.input.size_wh == (80, 40)


@pytest.mark.parametrize("opset", [11, 12, 13, 18, 20])
def test_opsets(tmp_path: Path, opset: int) -> None:
    model = graphs.color_classifier(RECIPE, opset=opset)
    card = graphs.write_card(tmp_path / "card", "colors", model, RECIPE, task="classify", decoder='name = "logits"')
    with Engine(convert(card, tmp_path / "out")) as engine:
        assert next(iter(engine(graphs.scene((64, 48), (0, 0, 64, 48), "green"))))[0] == "green"


@pytest.mark.parametrize(
    ("content", "raises"),
    [
        (None, "expected a file beside the card, got no such file"),
        (b"", "expected an ONNX graph"),
        (b"not a graph", "expected an ONNX graph"),
        (b"PK\x03\x04", "expected an ONNX graph"),
    ],
)
def test_a_file_that_is_no_graph(tmp_path: Path, content: bytes | None, raises: str) -> None:
    card = graphs.card_of("squares", tmp_path, RECIPE)
    (tmp_path / "squares.onnx").unlink()
    if content is not None:
        (tmp_path / "squares.onnx").write_bytes(content)
    with pytest.raises((ConvertError, CardError), match=raises):
        convert(card, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_the_runtime_cannot_run(tmp_path: Path) -> None:
    net = graphs.Net()
    net.nodes.append(helper.make_node("Conjure", ["pixels"], ["logits"], domain="of.nobody"))
    model = net.model(["N", 3, 48, 64], {"logits": ["N", 3]})
    model.opset_import.append(helper.make_opsetid("of.nobody", 1))
    card = graphs.write_card(tmp_path, "magic", model, RECIPE, task="classify", decoder='name = "logits"')
    with pytest.raises(BackendError) as caught:
        convert(card, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# Weights in files beside the graph.


def split(folder: Path, *locations: str) -> Path:
    """The square finder, its weights in a file beside it; then the first tensors say they are at `locations`."""
    card = graphs.card_of("squares", folder, RECIPE)
    model = onnx.load(folder / "squares.onnx")
    onnx.save(model, folder / "squares.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(folder / "squares.onnx", load_external_data=False)
    assert model.graph.initializer[0].external_data
    for tensor, location in zip(model.graph.initializer, locations, strict=False):
        next(entry for entry in tensor.external_data if entry.key == "location").value = location
    (folder / "squares.onnx").write_bytes(model.SerializeToString())
    return card


def test_weights_beside_the_graph_come_into_the_bundle(tmp_path: Path) -> None:
    card = split(tmp_path / "card")
    bundle = convert(card, tmp_path / "out")
    shutil.rmtree(tmp_path / "card")
    with Engine(bundle) as engine:
        assert len(engine(graphs.scene((64, 48), (8, 8, 40, 40)))) == 1


@pytest.mark.parametrize(
    "locations",
    [
        ["../weights.bin"],
        ["/etc/passwd"],
        ["sub/weights.bin"],
        ["weights.bin", "../secret"],
        ["weights.bin", "/etc/passwd"],
        ["link"],
        ["gone.bin"],
    ],
    ids=str,
)
def test_weights_elsewhere_are_refused(tmp_path: Path, locations: list[str]) -> None:
    card = split(tmp_path / "card", *locations)
    (tmp_path / "card" / "sub").mkdir()
    for place in (tmp_path / "weights.bin", tmp_path / "secret", tmp_path / "card" / "sub" / "weights.bin"):
        place.write_bytes(b"\0" * 10_000)
    (tmp_path / "card" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ConvertError) as caught:
        convert(card, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "card" / "squares.onnx") in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["file", "labels"])
@pytest.mark.parametrize("name", ["../squares.onnx", "/etc/passwd.onnx", "link.onnx"])
def test_a_card_that_reaches_out_of_its_folder(tmp_path: Path, what: str, name: str) -> None:
    folder = tmp_path / "card"
    graphs.card_of("squares", tmp_path, RECIPE)
    card = graphs.write_card(folder, "squares", graphs.square_finder(RECIPE), RECIPE, **{what: name})
    (folder / "link.onnx").symlink_to(tmp_path / "squares.onnx")
    with pytest.raises(CardError, match=f"{what} = '{name}': refused: it leaves the card's folder"):
        convert(card, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# A stranger's graph.


def test_a_graph_without_a_card_says_how_to_draft_one(tmp_path: Path) -> None:
    graphs.card_of("squares", tmp_path, RECIPE).unlink()
    with pytest.raises(CardError) as caught:
        convert(tmp_path / "squares.onnx", tmp_path / "out")
    told = str(caught.value)
    assert f"edgezoo card {tmp_path / 'squares.onnx'} -o {tmp_path / 'squares.toml'}" in told


def test_a_graph_with_its_card_beside_it(tmp_path: Path) -> None:
    graphs.card_of("squares", tmp_path, RECIPE)
    assert convert(tmp_path / "squares.onnx", tmp_path / "out").manifest.name == "squares"


@pytest.mark.parametrize(
    ("what", "weights", "kind", "raises"),
    [
        ("gone.onnx", None, ConvertError, "expected an .onnx file, got no such file"),
        ("squares.onnx", "squares.onnx", ConvertError, "got an .onnx as both; leave one out"),
        ("squares.toml", "gone.onnx", ConvertError, "gone.onnx: expected an ONNX graph: "),
        ("squares.toml", "gone.pth", ConvertError, r"its card has no \[network\] for a checkpoint; give an .onnx"),
        ("resnet18", "gone.pth", WeightsError, "gone.pth: expected a checkpoint, got no such file"),
        ("resnt18", None, UnknownName, "did you mean 'resnet18'"),
    ],
)
def test_files_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, weights: str | None, kind: Any, raises: str
) -> None:
    if what == "resnet18":
        pytest.importorskip("torch")
    graphs.card_of("squares", tmp_path, RECIPE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=raises):
        convert(what, "out", weights=weights)
    assert not (tmp_path / "out").exists()


def test_another_graph_for_a_card(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path, RECIPE)
    onnx.save(graphs.square_finder(RECIPE, box_form="cxcywh"), tmp_path / "mine.onnx")
    bundle = convert(card, tmp_path / "out", weights=tmp_path / "mine.onnx")
    assert bundle.artifact().source["file"] == "mine.onnx"


DRAFTS = {
    kind: entry for kind, entry in RAW.items() if kind not in ("yolox-raw of two levels", "boxes-scores of centres")
}


@pytest.mark.parametrize("kind", DRAFTS)
def test_a_draft_converts_once_it_is_filled_in(tmp_path: Path, kind: str) -> None:
    decoder, raw, shapes = RAW[kind]
    folder = tmp_path / "my model"
    folder.mkdir()
    onnx.save(graphs.constant_answers(RECIPE, raw), folder / "my net (1).onnx")
    text = draft_card(folder / "my net (1).onnx")
    (folder / "my net (1).toml").write_text(text, "utf-8")
    card = read_card(folder / "my net (1).toml")
    assert (card.name, card.decoder.name, card.task) == ("my-net-1", decoder.name, exit_of(decoder).task)
    assert list(card.decoder.outputs) == list(raw)
    assert card.input.size_wh == SIZE
    with pytest.raises(CardError, match=r"labels = 'labels.txt': expected a file beside the card"):
        convert(folder / "my net (1).onnx", tmp_path / "out")
    names = [f"thing {k}" for k in range(shapes["scores"][-1])]
    (folder / "labels.txt").write_text("\n".join(names))
    bundle = convert(folder / "my net (1).onnx", tmp_path / "out")
    assert bundle.manifest.labels == tuple(names)
    with Engine(bundle) as engine:
        assert engine(np.zeros((48, 64, 3), np.uint8)) is not None


def test_a_draft_of_what_no_decoder_reads(tmp_path: Path) -> None:
    onnx.save(ported(["N", 3, 48, 64]), tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(draft_card(tmp_path / "net.onnx"))
    with pytest.raises(UnknownName, match="no decoder is called 'SAY'; known: boxes-scores, "):
        convert(tmp_path / "net.toml", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "size_wh", "raises"),
    [
        (None, None, "expected an .onnx file: No such file or directory"),
        (b"text", None, "not an ONNX file"),
        (ported(["N", 48, 64, 3]).SerializeToString(), None, "expected one input float32"),
        (ported(["N", 3, "H", "W"]).SerializeToString(), None, "say which with --size"),
        (ported(["N", 3, "H", "W"]).SerializeToString(), (64, 48), None),
    ],
    ids=range(5),
)
def test_what_cannot_be_drafted(tmp_path: Path, content: bytes | None, size_wh: Any, raises: str | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    if raises is None:
        assert "size_wh = [64, 48]" in draft_card(path, size_wh=size_wh)
        return
    with pytest.raises(ConvertError, match=raises) as caught:
        draft_card(path, size_wh=size_wh)
    assert str(caught.value).startswith(f"{path}: ")


# Labels.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, graphs.COLORS),
        ("a\nb\nc\n", ("a", "b", "c")),
        ("a\nb\n", "expected 3 names, one for each class of the network, got 2"),
        ("", "expected class names, one a line, got an empty file"),
    ],
)
def test_labels_of_one_s_own(tmp_path: Path, given: str | None, expected: Any) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    labels = None if given is None else tmp_path / "mine.txt"
    if labels is not None:
        labels.write_text(given or "")
    if isinstance(expected, str):
        with pytest.raises((ConvertError, CardError), match=expected):
            convert(card, tmp_path / "out", labels=labels)
    else:
        assert convert(card, tmp_path / "out", labels=labels).manifest.labels == expected


def test_a_network_of_another_class_count_than_its_card(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    (tmp_path / "card" / "labels.txt").write_text("only\ntwo\n")
    assert convert(card, tmp_path / "out").manifest.labels == ("class 0", "class 1", "class 2")


# All or nothing.


def keep_out(folder: Path) -> Any:
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")


def keep_beside(out: Path, manifest: str | None) -> None:
    """A file of the user's beside a bundle, or beside what only has the name of one."""
    if manifest is None:
        convert(graphs.card_of("squares", out.parent / "a", RECIPE), out)
    else:
        out.mkdir()
        (out / "bundle.json").write_text(manifest)
    (out / "thesis.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "raises"),
    [
        (lambda out: None, None),
        (lambda out: out.mkdir(), None),
        (lambda out: keep_beside(out, None), "holds 'thesis.txt', which is no part of a bundle and would be lost"),
        (lambda out: keep_beside(out, "{}"), "holds 'thesis.txt', which is no part of a bundle and would be lost"),
        (keep_out, "expected a new folder for the bundle, but it is there and is no bundle; choose another -o"),
        (lambda out: out.write_text("mine"), "it is there and is no bundle"),
        (lambda out: convert(graphs.card_of("squares", out.parent / "a", RECIPE), out), None),
        (
            lambda out: convert(graphs.card_of("colors", out.parent / "a", RECIPE), out),
            "holds a bundle of colors; choose another -o",
        ),
    ],
    ids=["new", "empty", "notes", "namesake", "full", "file", "older", "other"],
)
def test_the_target(tmp_path: Path, prepare: Callable[[Path], object], raises: str | None) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    out = tmp_path / "out"
    prepare(out)
    before = everything(tmp_path)
    if raises is None:
        assert convert(card, out).manifest.name == "squares"
        assert [name for name in everything(tmp_path) if ".part" in name or ".old" in name] == []
        return
    with pytest.raises(ConvertError, match=raises):
        convert(card, out)
    assert everything(tmp_path) == before


def test_a_damaged_older_bundle_is_replaced(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    convert(card, tmp_path / "out")
    (tmp_path / "out" / "NOTICE").write_text("changed")
    assert (convert(card, tmp_path / "out").folder / "NOTICE").read_text() != "changed"


def test_a_folder_that_cannot_be_replaced_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    out = convert(card, tmp_path / "out").folder
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    before, steps = contents(tmp_path), []

    def refused(folder: Path | str) -> str:
        with pytest.raises(ConvertError) as caught:
            convert(card, folder, step=steps.append)
        return str(caught.value)

    with monkeypatch.context() as patch:
        patch.chdir(out)
        says = "expected another working directory, got the bundle's own, which is replaced as a whole; try: cd "
        assert refused(".").startswith(f".: {says}")
        assert refused(out).endswith(f"{says}{tmp_path}, and then out in its place")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda self: True)
        assert "got a mount point, which cannot be replaced; try another -o" in refused(out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != tmp_path)
        assert f"expected a folder to write to, got {tmp_path}, where none can be" in refused(tmp_path / "new" / "er")
    assert "expected a folder to write to, got " in refused(tmp_path / "card" / "squares.toml" / "out")
    assert "expected a" in refused(loop / "out")
    assert (steps, contents(tmp_path)) == ([], before)


def test_a_link_leads_to_what_is_replaced(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    for _ in ("new", "older"):
        assert convert(card, tmp_path / "link").manifest.name == "squares"
        assert (tmp_path / "link").is_symlink()
        assert [path.name for path in (tmp_path / "far").iterdir()] == ["away"]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("when", range(4))
def test_an_interruption_leaves_nothing(tmp_path: Path, older: bool, when: int) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    if older:
        convert(card, tmp_path / "out")
    before = contents(tmp_path)
    calls = 0

    def interrupt(*told: object) -> None:
        nonlocal calls
        calls += 1
        if calls > when:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(card, tmp_path / "out", step=interrupt)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, older: bool, at: int
) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    if older:
        convert(card, tmp_path / "out")
    before = contents(tmp_path)
    written = 0

    def sync(handle: int) -> None:
        nonlocal written
        written += 1
        if written > at:
            raise error

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ConvertError) as caught:
        convert(card, tmp_path / "out")
    if not isinstance(error, KeyboardInterrupt):
        assert str(caught.value) == (
            f"{tmp_path / 'out'}: could not write the bundle: No space left on device; nothing was left behind"
        )
    assert written == at + 1
    assert contents(tmp_path) == before
    assert (tmp_path / "out").exists() == older


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    card = graphs.card_of("squares", tmp_path / "card", RECIPE)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConvertError, match=r"expected a folder to write to, got .*/file, where none can be"):
        convert(card, tmp_path / "file" / "out")


# Checkpoints.


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self._mark),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    evil = tmp_path / "evil.pth"
    state = {"model": {"fc.weight": torch.zeros(3, 512), "x": Evil(tmp_path / "pwned")}}
    torch.save(state, evil, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="refused: it holds a pickle with more than tensors, which could run code"):
        convert("resnet18", tmp_path / "out", weights=evil)
    assert not (tmp_path / "pwned").exists()
    evil.write_bytes(pickle.dumps(Evil(tmp_path / "pwned")))
    with pytest.raises(WeightsError):
        convert("resnet18", tmp_path / "out", weights=evil)
    assert everything(tmp_path) == ["evil.pth"]


@pytest.mark.parametrize(
    ("name", "content", "raises"),
    [
        ("net.pth", b"", "expected a checkpoint"),
        ("net.pth", b"not a checkpoint", "expected a checkpoint"),
        ("net.pth", b"PK\x03\x04", "expected a checkpoint"),
        ("net.safetensors", b"", "expected a checkpoint"),
        ("net.safetensors", b"\xff" * 100, "expected a checkpoint"),
        ("net.pth", {}, "expected named tensors"),
        ("net.pth", [1, 2], "expected named tensors"),
        ("net.pth", {"epoch": 5}, "expected named tensors"),
        ("net.pth", {"model": {"a": 5}}, "expected named tensors"),
        ("net.pth", {"a": "tensor"}, "expected a checkpoint of resnet"),
        ("net.safetensors", {"a": "tensor"}, "expected a checkpoint of resnet"),
        ("net.pth", {"fc.weight": "tensor"}, "expected a checkpoint of resnet18: "),
    ],
    ids=range(12),
)
def test_a_checkpoint_that_is_none(tmp_path: Path, name: str, content: Any, raises: str) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if isinstance(content, dict):
            content = {key: torch.zeros(3, 512) if value == "tensor" else value for key, value in content.items()}
        if path.suffix == ".pth":
            torch.save(content, path)
        else:
            pytest.importorskip("safetensors.torch").save_file(content, path)
    with pytest.raises(WeightsError) as caught:
        convert("resnet18", tmp_path / "out", weights=path)
    assert raises in str(caught.value)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == [name]


@pytest.mark.parametrize("form", ["plain", "model", "state_dict", "parallel", "half"])
def test_the_usual_forms_of_a_checkpoint(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch")
    from edgezoo.convert.export import read_state_dict

    state = {"fc.weight": torch.ones(2, 3), "bn.num_batches_tracked": torch.tensor(5)}
    saved: Any = {
        "plain": state,
        "model": {"model": state, "epoch": 3},
        "state_dict": {"state_dict": state, "best": 0.5},
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "half": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
    }[form]
    torch.save(saved, tmp_path / "net.pth")
    got = read_state_dict(tmp_path / "net.pth", key=None)
    assert set(got) == set(state)
    assert all(torch.equal(got[name], value) and got[name].dtype == value.dtype for name, value in state.items())


def test_a_network_option_that_is_none(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}, tmp_path / "net.pth")
    text = (read_card("resnet18").path or Path()).read_text("utf-8")
    assert "options = { depth = 18 }" in text
    for new, raises in {
        "options = { deep = 18 }": "network.options: ",
        'family = "resnext"': "no network family is called 'resnext'; did you mean 'resnet'",
    }.items():
        key = new.partition(" ")[0]
        (tmp_path / "card.toml").write_text(re.sub(rf"^{key} = .*$", new, text, flags=re.MULTILINE), "utf-8")
        with pytest.raises((CardError, UnknownName), match=raises):
            convert(tmp_path / "card.toml", tmp_path / "out", weights=tmp_path / "net.pth")


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_one_s_own(tmp_path: Path) -> None:
    """A .safetensors with three classes, at another size, with names: through torch's exporter."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    pytest.importorskip("onnxscript")
    from edgezoo.nets import resnet

    torch.manual_seed(0)
    save_file(resnet.build(classes=3, depth=18).state_dict(), tmp_path / "mine.safetensors")
    (tmp_path / "names.txt").write_text("ant\nbee\nwasp\n")
    bundle = convert(
        "resnet18",
        tmp_path / "out",
        weights=tmp_path / "mine.safetensors",
        labels=tmp_path / "names.txt",
        size_wh=(64, 32),
    )
    assert bundle.manifest.labels == ("ant", "bee", "wasp")
    assert bundle.manifest.input.size_wh == (64, 32)
    assert bundle.manifest.batch is None
    assert bundle.artifact().agreement["against"] == "torch"
    assert bundle.artifact().source["file"] == "mine.safetensors"
    assert "torch" in bundle.artifact().tools
    assert str(tmp_path).encode() not in bundle.read_graph(bundle.artifact())  # no stack traces of this machine
    assert b"site-packages" not in bundle.read_graph(bundle.artifact())
    with Engine(bundle) as engine:
        assert len(engine(graphs.scene((64, 48), (8, 8, 40, 40)))) == 3


def test_a_size_that_a_network_cannot_take(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edgezoo.nets import yolox

    net = yolox.build(classes=2, depth=0.33, width=0.25, depthwise=True)
    torch.save({"model": net.state_dict()}, tmp_path / "mine.pth")
    with pytest.raises(ConvertError, match=r"expected sides that are multiples of 32, got 100x64; try --size 96x64"):
        convert("yolox_nano", tmp_path / "out", weights=tmp_path / "mine.pth", size_wh=(100, 64))
