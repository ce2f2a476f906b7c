"""A recipe makes the same artifact again, or says why it does not; and what else every artifact is made with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fragile
import graphs
import numpy as np
import onnx
import pytest

from edgezoo import graphs as graphs_of
from edgezoo.bundle import Bundle
from edgezoo.convert import convert
from edgezoo.errors import BackendError, ConvertError, DataError, RequestError
from edgezoo.imagesets import draw
from edgezoo.measure.race import Against
from edgezoo.reduce import calibration, candidates, reduce
from edgezoo.reduce.batches import check_batches
from edgezoo.reduce.half import half
from edgezoo.reduce.recipe import QuantisationRecipe, read_recipe
from edgezoo.reduce.regions import plain
from edgezoo.reduce.reuse import load, save
from edgezoo.reduce.terms import Outcome, Terms

cv2 = pytest.importorskip("cv2", reason="scenes are made with OpenCV")
pytest.importorskip("onnxruntime", reason="graphs are run")

COUNT = 24
QUICK = ("minmax",)
KINDS = ("classifier", "detector")
Make = Callable[..., Bundle]


@pytest.fixture(autouse=True)
def race(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is taken: all are twice as fast as fp32."""
    against = Against(name="fp32", ms=3.0, ratio=2.0, low=1.9, high=2.1)
    monkeypatch.setattr(candidates, "race", lambda *engines, progress: (1.5, [against]))


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`fp32("classifier" or "detector", factor=1000.0)`: a bundle, not to be written to."""
    made: dict[Any, Bundle] = {}

    def make(kind: str, *, factor: float = 1000.0) -> Bundle:
        if (kind, factor) not in made:
            folder = tmp_path_factory.mktemp(kind)
            made[kind, factor] = convert(fragile.card(folder / "card", kind, fragile=factor), folder / "bundle")
        return made[kind, factor]

    return make


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Labelled scenes by kind, not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    return {kind: fragile.scenes(kind, folder / kind, COUNT) for kind in KINDS}


def only(result: tuple[Bundle, list[Outcome]]) -> Outcome:
    (outcome,) = result[1]
    return outcome


# The recipe.


def first_recipe(source: Bundle, terms: Terms, out: Path) -> tuple[Bundle, QuantisationRecipe]:
    made, _ = reduce(source, ["int8-onnxruntime"], terms, out=out)
    return made, read_recipe(made.folder / "int8-onnxruntime.toml")


def test_a_recipe_of_labelled_data_draws_from_them_again(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    for kind in KINDS:
        terms = Terms(data=data[kind], methods=QUICK, seed=1)
        first, recipe = first_recipe(fp32(kind), terms, tmp_path / kind)
        assert re.fullmatch("[0-9a-f]{64}", recipe.images_sha256)
        again, _ = reduce(
            fp32(kind), ["int8-onnxruntime"], Terms(recipe=recipe, data=data[kind]), out=tmp_path / f"{kind} again"
        )
        assert again.artifact("int8").sha256 == first.artifact("int8").sha256


def test_a_recipe_of_all_images_of_a_set(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    """With labels all of a set calibrate; without, as many do again, and others must be left to judge by."""
    photos = fragile.scenes("classifier", tmp_path / "photos", 18, first=COUNT)
    terms = Terms(data=data["classifier"], source=str(photos), methods=QUICK)
    first, recipe = first_recipe(fp32("classifier"), terms, tmp_path / "first")
    assert recipe.images == 18
    again = Terms(recipe=recipe, source=str(photos))
    with pytest.raises(
        DataError, match=r"photos: expected at least 8 images beside the 18 .*, got 0; give --data with"
    ):
        reduce(fp32("classifier"), ["int8-onnxruntime"], again, out=tmp_path / "again")
    made, _ = reduce(
        fp32("classifier"), ["int8-onnxruntime"], dataclasses.replace(again, data=terms.data), out=tmp_path / "again"
    )
    assert made.artifact("int8").sha256 == first.artifact("int8").sha256
    few = dataclasses.replace(recipe, images=10, images_sha256="")
    outcome = only(
        reduce(fp32("classifier"), ["int8-onnxruntime"], Terms(recipe=few, source=str(photos)), out=tmp_path / "few")
    )
    assert (outcome.judgements[0].images, outcome.judgements[0].seen) == (8, 10)
    assert len(outcome.artifact.calibration["images"]) == 10 if outcome.artifact else False


def test_a_recipe_with_other_images_or_weights_says_so(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    source = fp32("classifier")
    _, recipe = first_recipe(source, Terms(data=data["classifier"], methods=QUICK), tmp_path / "first")
    photos = str(fragile.scenes("classifier", tmp_path / "photos", COUNT, first=COUNT))
    other = fp32("classifier", factor=1.0)
    for bundle, images, says in (
        (source, photos, "the recipe's images: expected 12 of classifier .*, got 12 of photos .*; give the same --cal"),
        (other, str(data["classifier"]), "the recipe's weights: expected the fp32 graph .*, got .*; give the bundle"),
        (source, None, "the recipe's calibration: expected 12 images of 'classifier', which is no set"),
    ):
        with pytest.raises((ConvertError, RequestError), match=says) as caught:
            reduce(bundle, ["int8-onnxruntime"], Terms(recipe=recipe, source=images), out=tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    free = dataclasses.replace(recipe, images_sha256="", weights="")
    for bundle in (source, other):
        outcome = only(
            reduce(
                bundle,
                ["int8-onnxruntime"],
                Terms(recipe=free, source=photos),
                out=tmp_path / bundle.folder.parent.name,
            )
        )
        assert outcome.artifact is not None


# What float16 must hold.


def loud(folder: Path) -> Bundle:
    """A classifier, one value of which is 80000 on a way that says nothing: so few are far out that methods clip."""
    net = graphs.Net()
    signal = np.eye(fragile.CHANNELS)
    signal[-1] = 0
    first = np.zeros((fragile.CHANNELS, 3))
    first[np.arange(3), np.arange(3)] = 1
    spike = np.zeros((1, fragile.CHANNELS, 64, 64))
    spike[0, -1, 0, 0] = 400
    value = net.add("Add", fragile._conv(net, "pixels", "first", first), net.constant(spike))
    value = net.add("Mul", value, net.constant(200))
    for name in ("second", "third"):
        value = net.add("Relu", fragile._conv(net, value, name, signal))
    head = np.zeros((3, fragile.CHANNELS))
    head[np.arange(3), np.arange(3)] = 2
    mean = net.add("GlobalAveragePool", value)
    net.add("Flatten", fragile._conv(net, mean, "head", head), out="logits", axis=1)
    model = net.model(["N", 3, 64, 64], {"logits": ["N", 3]})
    card = graphs.write_card(folder / "card", "loud", model, fragile.RECIPE, task="classify", decoder='name = "logits"')
    return convert(card, folder / "bundle")


@pytest.mark.parametrize("kept", [False, True], ids=["calibrated", "kept"])
@pytest.mark.parametrize("method", ["percentile", "error", "minmax"])
@pytest.mark.parametrize("name", ["fp16", "int8-tensorrt"])
def test_half_is_guarded_by_what_was_seen_and_not_by_what_was_clipped(
    data: dict[str, Path], tmp_path: Path, name: str, method: str, kept: bool
) -> None:
    source = loud(tmp_path)
    ranges = tmp_path / "ranges.json"
    terms = Terms(data=data["classifier"], methods=(method,), minutes=0.0, max_drop=100.0, ranges=ranges)
    if kept:
        reduce(source, ["fp16"], terms, out=tmp_path / "before")
    bundle, _ = reduce(source, [name], terms, out=tmp_path / "out")
    artifact = bundle.artifact(name)
    assert artifact.calibration["method"] == ("minmax" if name == "fp16" else method)
    assert len(artifact.calibration["images"]) == COUNT // 2
    record = load(ranges)
    seen = record.extremes or record.ranges
    (tensor,) = (tensor for tensor, (_, high) in seen.items() if high >= 80000)
    assert record.ranges[tensor][1] >= 80000 or method != "minmax"
    assert not in_half(onnx.load_from_string(bundle.read_graph(artifact)), tensor)
    if method == "percentile":
        model = plain(graphs_of.parse(source.read_graph(source.artifact())))
        assert in_half(half(model, ranges=record.ranges).graph, tensor)


def in_half(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether what makes the tensor has a weight of float16."""
    (maker,) = (node for node in model.graph.node if tensor in [name.removesuffix("/float") for name in node.output])
    kinds = {each.name: each.data_type for each in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds.values()  # some of the network is
    return onnx.TensorProto.FLOAT16 in {kinds.get(name) for name in maker.input}


def test_ranges_that_were_kept_without_their_ends_are_refused(
    fp32: Make, data: dict[str, Path], tmp_path: Path
) -> None:
    terms = Terms(data=data["classifier"], methods=("error",), ranges=tmp_path / "ranges.json", minutes=0.0)
    reduce(fp32("classifier"), ["fp16"], terms, out=tmp_path / "out")
    save(tmp_path / "ranges.json", dataclasses.replace(load(tmp_path / "ranges.json"), extremes={}))
    with pytest.raises(ConvertError, match=r"ranges.json: has no range of the tensor .*; calibrate again"):
        reduce(fp32("classifier"), ["fp16"], terms, out=tmp_path / "out")


# One artifact and the others.


@pytest.mark.parametrize(
    "error", [ConvertError("no half"), BackendError("no half"), KeyboardInterrupt(), DataError("x")]
)
def test_what_is_wrong_with_one_does_not_discard_the_others(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(*given: Any, **more: Any) -> Any:
        raise error

    monkeypatch.setattr(candidates, "half", failing)
    terms = Terms(data=data["classifier"], methods=QUICK)
    if not isinstance(error, ConvertError | BackendError):
        with pytest.raises(type(error)):
            reduce(fp32("classifier"), ["fp16", "int8-onnxruntime"], terms, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return
    bundle, outcomes = reduce(fp32("classifier"), ["fp16", "int8-onnxruntime"], terms, out=tmp_path / "out")
    assert [outcome.why for outcome in outcomes] == ["no half", ""]
    assert [artifact.name for artifact in bundle.manifest.artifacts] == ["fp32", "int8-onnxruntime"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda value: value[:1], "expected 2 answers from a batch, got 1; convert the model with a fixed --batch"),
        (lambda value: value[[0, 0]], "expected of 2 images at once what each gets alone, got an error of"),
        (lambda value: value * np.nan, "expected of 2 images at once what each gets alone, got an error of inf"),
        (lambda value: value + 1e-4, None),
    ],
)
def test_a_batch_answers_what_its_images_do(spoil: Callable[[Any], Any], says: str | None) -> None:
    class Batches:
        @staticmethod
        def infer(placed: Any) -> Any:
            return {"scores": spoil(scores[: len(placed)])}

    scores = np.eye(3, dtype=np.float32)
    if says is None:
        check_batches(Batches(), scores, {"scores": scores}, {"scores": scores})  # type: ignore[arg-type]
        return
    with pytest.raises(ConvertError, match=says):
        check_batches(Batches(), scores, {"scores": scores}, {"scores": scores})  # type: ignore[arg-type]


def test_a_proof_names_the_instruction_sets(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "instruction_sets", lambda: ["avx2", "avx512_vnni"])
    outcome = only(reduce(fp32("classifier"), ["fp16"], Terms(data=data["classifier"]), out=tmp_path / "out"))
    assert outcome.artifact is not None
    assert outcome.artifact.judgement["on"].endswith("; avx2 avx512_vnni")


# A video.


def test_frames_that_judge_are_no_neighbours_of_those_that_calibrate(fp32: Make, tmp_path: Path) -> None:
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for image in fragile.bright(48):
        writer.write(image)
    writer.release()
    terms = Terms(source=path, methods=QUICK)
    made, recipe = first_recipe(fp32("classifier"), terms, tmp_path / "out")
    artifact = made.artifact("int8")
    assert sorted(int(name.partition("#")[2]) for name in artifact.calibration["images"]) == list(range(32))
    judged = artifact.judgement
    assert (judged["images"], judged["seen"], judged["data"]) == (16, 0, "clip.avi, the last third of its frames")
    again, _ = reduce(
        fp32("classifier"), ["int8-onnxruntime"], Terms(recipe=recipe, source=path), out=tmp_path / "again"
    )
    assert again.artifact("int8").sha256 == artifact.sha256
    with pytest.raises(
        DataError, match="expected at least 8 images to calibrate with, got 2, two thirds of its frames"
    ):
        calibration.check_enough(draw(path, count=2))
