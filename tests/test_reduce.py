"""From an fp32 bundle to lower precisions: within the budget or not at all, whole or not at all, and made again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fragile
import graphs
import pytest

from edgezoo import imagesets
from edgezoo.bundle import Bundle
from edgezoo.cards import read_labels, zoo_folder
from edgezoo.convert import convert, write
from edgezoo.errors import (
    BackendError,
    BundleError,
    ConvertError,
    DataError,
    MissingDependency,
    RequestError,
    UnknownName,
)
from edgezoo.measure.race import Against
from edgezoo.measure.verify import verify
from edgezoo.reduce import NAMES, calibration, candidates, full_names, reduce
from edgezoo.reduce.int8 import tensorrt
from edgezoo.reduce.int8.calibrate import METHODS
from edgezoo.reduce.picture import picture
from edgezoo.reduce.recipe import QuantisationRecipe, check_layers, read_recipe
from edgezoo.reduce.terms import Outcome, Terms

cv2 = pytest.importorskip("cv2", reason="scenes are made with OpenCV")
pytest.importorskip("onnxruntime", reason="graphs are run")

COUNT = 24
QUICK = ("minmax",)
KINDS = ("classifier", "detector")
Make = Callable[..., Bundle]


class Race:
    """In the place of the race against fp32, which takes seconds: the ratio is said, and who ran is kept."""

    def __init__(self) -> None:
        self.ratio = 2.0
        self.ran: list[str] = []

    def __call__(self, engine: Any, rivals: Any, *, progress: Any) -> tuple[float, list[Against]]:
        self.ran.append(engine.artifact.name)
        assert [rival.artifact.name for rival in rivals] == ["fp32"]
        assert {rival.runs.backend for rival in rivals} == {engine.runs.backend}
        progress(9, 9)
        low, high = self.ratio - 0.01, self.ratio + 0.01
        return 1.5, [Against(name="fp32", ms=1.5 * self.ratio, ratio=self.ratio, low=low, high=high)]


@pytest.fixture(autouse=True)
def race(monkeypatch: pytest.MonkeyPatch) -> Race:
    racing = Race()
    monkeypatch.setattr(candidates, "race", racing)
    return racing


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`fp32("classifier" or "detector", batch=None, fragile=1000.0)`: a bundle, not to be written to."""
    made: dict[Any, Bundle] = {}

    def make(kind: str, *, batch: int | None = None, factor: float = 1000.0) -> Bundle:
        if (kind, batch, factor) not in made:
            folder = tmp_path_factory.mktemp(kind)
            card = fragile.card(folder / "card", kind, fragile=factor, batch=batch)
            made[kind, batch, factor] = convert(card, folder / "bundle", batch=batch)
        return made[kind, batch, factor]

    return make


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Labelled scenes by kind, not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    return {kind: fragile.scenes(kind, folder / kind, COUNT) for kind in KINDS}


@pytest.fixture
def bundle(fp32: Make, tmp_path: Path) -> Bundle:
    """A classifier's, to write to."""
    return Bundle.open(shutil.copytree(fp32("classifier").folder, tmp_path / "bundle"))


def images_of(kind: str, data: dict[str, Path]) -> str:
    return str(data[kind] / "images" if kind == "detector" else data[kind])


def contents(folder: Path) -> dict[str, bytes]:
    """All files below, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> Any:
        raise MissingDependency('openvino is not installed; try: pip install "edgezoo[openvino]"')

    monkeypatch.setattr("edgezoo.backends.openvino.require", missing)


def only(result: tuple[Bundle, list[Outcome]]) -> Outcome:
    (outcome,) = result[1]
    return outcome


# Within the budget.


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("labels", [True, False], ids=["labels", "agreement"])
@pytest.mark.parametrize(
    ("kind", "metrics"), [("classifier", ("top1", "agreed_top1")), ("detector", ("map", "agreed_ap50"))]
)
def test_int8_that_holds_the_budget_is_written_with_its_proof(
    fp32: Make,
    data: dict[str, Path],
    tmp_path: Path,
    kind: str,
    metrics: tuple[str, str],
    labels: bool,
    batch: int | None,
) -> None:
    source = fp32(kind, batch=batch)
    before = contents(source.folder)
    terms = Terms(data=data[kind], methods=QUICK) if labels else Terms(source=images_of(kind, data), methods=QUICK)
    bundle, (outcome,) = reduce(source, ["int8-onnxruntime"], terms, out=tmp_path / "out")
    assert contents(source.folder) == before
    assert outcome.why == ""
    assert outcome.chosen is not None
    assert outcome.chosen.floats == ("fragile",)

    assert [artifact.name for artifact in bundle.manifest.artifacts] == ["fp32", "int8-onnxruntime"]
    artifact = bundle.manifest.artifacts[1]
    assert artifact == outcome.artifact
    assert artifact.sha256 == hashlib.sha256((bundle.folder / artifact.file).read_bytes()).hexdigest()
    assert (bundle.folder / artifact.file).stat().st_size < (bundle.folder / "model.fp32.onnx").stat().st_size * 3
    judged = artifact.judgement
    assert judged["ok"] is True
    assert judged["drop"] <= judged["max_drop"] == 1.0
    assert judged["metric"] == metrics[0 if labels else 1]
    assert (judged["images"], judged["seen"], judged["looks"]) == (COUNT // 2, COUNT // 2, 1)
    assert judged["on"].startswith("onnxruntime ")
    assert artifact.calibration["method"] == "minmax"
    assert artifact.calibration["weights_sha256"] == source.artifact().sha256
    assert len(artifact.calibration["images"]) == COUNT // 2
    assert artifact.speed["ratio"] == 2.0
    assert (artifact.speed["ms"], artifact.speed["against_ms"], artifact.speed["backend"]) == (1.5, 3.0, "onnxruntime")
    assert artifact.agreement["against"] == "fp32"
    assert artifact.tools["onnxruntime"]
    assert artifact.source == source.artifact().source
    assert verify(bundle, precision="int8-onnxruntime").ok
    assert verify(bundle, precision="int8").runs["precision"] == "int8-onnxruntime"
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        "NOTICE", "bundle.json", "golden.npz", "int8-onnxruntime.svg", "int8-onnxruntime.toml", "model.fp32.onnx",
        "model.int8-onnxruntime.onnx",
    ]  # fmt: skip


def test_every_precision_at_once(fp32: Make, data: dict[str, Path], tmp_path: Path, race: Race) -> None:
    openvino = pytest.importorskip("edgezoo.backends.openvino")
    pytest.importorskip("openvino")
    names = [name for name in NAMES if name != "bf16-openvino" or "BF16" in openvino.capabilities()]
    bundle, outcomes = reduce(fp32("detector"), names, Terms(data=data["detector"]), out=tmp_path / "out")
    assert {outcome.name: outcome.why for outcome in outcomes} == dict.fromkeys(names, "")
    made = {artifact.name: artifact for artifact in bundle.manifest.artifacts}
    assert list(made) == ["fp32", *names]
    twice = ["int8-onnxruntime", "int8-openvino"]  # all layers in INT8, and what was chosen; the others are not here
    assert sorted(race.ran) == sorted([*twice, *twice, *(name for name in names if name == "bf16-openvino")])
    for name, artifact in made.items():
        assert bool(artifact.recipe) == bool(artifact.picture) == name.startswith("int8")
        assert bool(artifact.calibration) == (name == "fp16" or name.startswith("int8"))
        assert artifact.speed == {} if name in ("fp32", "fp16", "int8-tensorrt") else artifact.speed["ratio"] == 2.0
        backend = artifact.target if artifact.target == "openvino" else "onnxruntime"
        assert verify(bundle, precision=name, backend=backend).ok
    assert read_recipe(bundle.folder / "int8-tensorrt.toml").tensorrt == "10"
    assert outcomes[-1].chosen is not None
    assert outcomes[-1].chosen.method in METHODS


def test_a_layer_that_survives_needs_no_search(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    source = fp32("classifier", factor=1.0)
    bundle, (outcome,) = reduce(
        source, ["int8-onnxruntime"], Terms(data=data["classifier"], methods=QUICK), out=tmp_path / "out"
    )
    assert outcome.chosen is not None
    assert outcome.chosen.floats == ()
    artifact = bundle.artifact("int8")
    assert artifact.recipe is not None
    assert artifact.picture is None  # no harm was measured
    assert read_recipe(bundle.folder / artifact.recipe.file).float == ()


# Not within the budget, or slower.


@pytest.mark.parametrize("elsewhere", [False, True])
def test_over_the_budget_nothing_is_written(
    bundle: Bundle, data: dict[str, Path], tmp_path: Path, elsewhere: bool
) -> None:
    before = contents(tmp_path)
    terms = Terms(data=data["classifier"], methods=QUICK, minutes=0.0)
    out = tmp_path / "out" if elsewhere else None
    same, (outcome,) = reduce(bundle, ["int8-onnxruntime"], terms, out=out)
    assert same is bundle
    assert contents(tmp_path) == before
    assert (outcome.artifact, outcome.graph) == (None, None)
    assert outcome.why == "over the budget: 66.67 points, 1 at most"
    assert [(judged.ok, judged.drop) for judged in outcome.judgements] == [(False, pytest.approx(200 / 3))]
    assert outcome.to_dict()["tried"] == [{"method": "minmax", "floats": 0, "harm": 0.6667, "drop": 41.67}]


def test_what_holds_is_written_beside_what_does_not(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    terms = Terms(data=data["classifier"], methods=QUICK, minutes=0.0)
    bundle, outcomes = reduce(fp32("classifier"), ["int8-onnxruntime", "fp16"], terms, out=tmp_path / "out")
    assert [bool(outcome.artifact) for outcome in outcomes] == [False, True]
    assert [artifact.name for artifact in bundle.manifest.artifacts] == ["fp32", "fp16"]
    assert not (bundle.folder / "model.int8-onnxruntime.onnx").exists()


def test_the_gate_may_refuse_what_looked_well_and_then_asks_for_more(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, exams = candidates.judge, []

    def strict(exam: Any, answers: Any, *, max_drop: float, progress: Any = None) -> Any:
        found = real(exam, answers, max_drop=max_drop)
        if exam.seen == 0:  # the rehearsal
            return found
        exams.append(found)
        return dataclasses.replace(found, ok=False, drop=5.0) if len(exams) < 3 else found

    monkeypatch.setattr(candidates, "judge", strict)
    source = fp32("classifier", factor=1.0)
    terms = Terms(source=images_of("classifier", data), methods=QUICK)
    bundle, (outcome,) = reduce(source, ["int8-onnxruntime"], terms, out=tmp_path / "out")
    assert outcome.search is not None
    assert [len(trial.floats) for trial in outcome.search.candidates] == [0, 3]
    assert (outcome.artifact, outcome.why) == (
        None,
        "over the budget: 5.00 points, 1 at most",
    )  # of 6 layers all are free next
    assert bundle is source


def test_answers_that_are_no_numbers_are_refused_and_it_says_so(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = candidates.judge

    def broken(exam: Any, answers: Any, **options: Any) -> Any:
        return real(
            exam, lambda batch: {name: value * float("nan") for name, value in answers(batch).items()}, **options
        )

    monkeypatch.setattr(candidates, "judge", broken)
    terms = Terms(data=data["classifier"], methods=QUICK)
    outcome = only(reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
    assert (outcome.artifact, outcome.why) == (None, "scores: not finite")
    assert all("drop" not in trial for trial in outcome.to_dict()["tried"])


@pytest.mark.parametrize(
    ("ratio", "keep", "written", "why"),
    [
        (0.8, False, False, "slower than fp32 with every layer in INT8: 0.80 times as fast, so none was freed"),
        (0.8, True, True, ""),
        (0.98, False, False, "slower than fp32 with every layer in INT8: 0.98 times as fast, so none was freed"),
        (1.01, False, True, ""),
    ],
)
def test_slower_than_fp32(
    fp32: Make, data: dict[str, Path], tmp_path: Path, race: Race, ratio: float, keep: bool, written: bool, why: str
) -> None:
    race.ratio = ratio
    terms = Terms(data=data["classifier"], methods=QUICK, keep_slower=keep)
    outcome = only(reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
    assert (outcome.artifact is not None, outcome.why) == (written, why)
    assert outcome.speed["ratio"] == ratio
    assert (tmp_path / "out").exists() == written
    assert (outcome.search is not None) == written
    if outcome.artifact is not None:
        assert outcome.artifact.speed["ratio"] == ratio


def test_layers_in_float_that_cost_the_gain(
    fp32: Make, data: dict[str, Path], tmp_path: Path, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower_each_time(*arguments: Any, **options: Any) -> Any:
        found = race(*arguments, **options)
        race.ratio = 0.7
        return found

    monkeypatch.setattr(candidates, "race", slower_each_time)
    terms = Terms(data=data["classifier"], methods=QUICK)
    outcome = only(reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
    assert (outcome.artifact, outcome.why) == (None, "slower than fp32: 0.70 times as fast")
    assert [judged.ok for judged in outcome.judgements] == [True, True, True]  # no more than three
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_not_here_is_judged_on_another_and_its_speed_not_known(
    fp32: Make, data: dict[str, Path], tmp_path: Path, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_openvino(monkeypatch)
    terms = Terms(data=data["classifier"], methods=QUICK)
    outcome = only(reduce(fp32("classifier"), ["int8-openvino"], terms, out=tmp_path / "out"))
    assert outcome.artifact is not None
    assert (outcome.artifact.speed, outcome.judged_on, race.ran) == ({}, "onnxruntime", [])
    assert outcome.artifact.judgement["on"].startswith("onnxruntime")


def test_bf16_is_openvino_s_own(
    bundle: Bundle, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(tmp_path)
    for able, kind, says in (
        (["FP32", "INT8"], BackendError, "expected a CPU with BF16, on this one OpenVINO has FP32, INT8; leave it out"),
        (None, MissingDependency, "openvino is not installed; try"),
    ):
        if able is None:
            monkeypatch.undo()
            without_openvino(monkeypatch)
        else:
            monkeypatch.setattr("edgezoo.backends.openvino.capabilities", lambda able=able: able)
        with pytest.raises(kind, match=says):
            reduce(bundle, ["int8-onnxruntime", "bf16"], Terms(data=data["classifier"]))
        assert contents(tmp_path) == before


def test_bf16_needs_no_calibration_and_judges_by_all_images(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    from edgezoo.backends.openvino import capabilities

    if "BF16" not in capabilities():
        pytest.skip("this CPU has no BF16")
    monkeypatch.setattr(calibration, "draw", None)
    bundle, (outcome,) = reduce(fp32("classifier"), ["bf16"], Terms(data=data["classifier"]), out=tmp_path / "out")
    assert outcome.artifact is not None
    assert (outcome.artifact.judgement["images"], outcome.artifact.judgement["seen"]) == (COUNT, 0)
    assert (outcome.artifact.file, outcome.artifact.options) == ("model.fp32.onnx", {"precision": "bf16"})
    assert verify(bundle, precision="bf16-openvino", backend="openvino").ok


def test_networks_with_nothing_to_quantise(
    bundle_of: Make, fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = bundle_of("squares", fragile.RECIPE)
    with pytest.raises(ConvertError, match="squares: has no layer with weights, so none that a lower precision makes"):
        reduce(squares, ["int8-onnxruntime"], Terms(source=images_of("detector", data)), out=tmp_path / "out")
    monkeypatch.setattr(tensorrt, "THIN", 17)
    terms = Terms(data=data["classifier"], methods=QUICK)
    outcome = only(reduce(fp32("classifier"), ["int8-tensorrt"], terms, out=tmp_path / "out"))
    assert (outcome.artifact, outcome.why) == (None, "there is no layer that would be faster in INT8 on tensorrt")
    assert outcome.judgements == []


# Whole, or as it was.


@pytest.mark.parametrize("where", ["in place", "elsewhere", "over an older one"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
@pytest.mark.parametrize("at", [0, 3, 6, 7])
def test_a_write_that_fails_leaves_all_as_it_was(
    bundle: Bundle,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: BaseException,
    at: int,
) -> None:
    if where == "over an older one":
        shutil.copytree(bundle.folder, tmp_path / "out")
    before = contents(tmp_path)
    written = 0

    def sync(handle: int) -> None:
        nonlocal written
        written += 1
        if written > at:
            raise error

    monkeypatch.setattr(os, "fsync", sync)
    terms = Terms(data=data["classifier"], methods=QUICK)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ConvertError):
        reduce(bundle, ["int8-onnxruntime", "fp16"], terms, out=None if where == "in place" else tmp_path / "out")
    assert written == at + 1
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle",
        *(["out"] if where.startswith("over") else []),
    ]
    Bundle.open(bundle.folder)


def test_all_files_are_written_before_the_manifest(bundle: Bundle, data: dict[str, Path]) -> None:
    order: list[str] = []
    real = write.add_file

    def adding(folder: Path, name: str, content: bytes) -> Any:
        order.append(name)
        return real(folder, name, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "add_file", adding)
        reduce(bundle, ["int8-onnxruntime", "fp16"], Terms(data=data["classifier"], methods=QUICK))
    assert order == [
        "model.fp32.onnx", "golden.npz", "NOTICE",
        "model.int8-onnxruntime.onnx", "int8-onnxruntime.toml", "int8-onnxruntime.svg", "model.fp16.onnx",
        "bundle.json",
    ]  # fmt: skip


def test_a_stop_at_any_point_of_the_work_leaves_all_as_it_was(
    bundle: Bundle, data: dict[str, Path], tmp_path: Path
) -> None:
    before = contents(tmp_path)
    terms = Terms(data=data["classifier"], methods=QUICK)
    told: list[str] = []
    reduce(bundle, ["int8-onnxruntime"], terms, out=tmp_path / "out", tell=lambda text, *_: told.append(text))
    shutil.rmtree(tmp_path / "out")
    for stage in dict.fromkeys(told):

        def stop(text: str, done: int, total: int, stage: str = stage) -> None:
            if text == stage:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reduce(bundle, ["int8-onnxruntime"], terms, tell=stop)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("moved", [0, 1])
def test_a_stop_while_folders_change_places_puts_the_old_one_back(
    bundle: Bundle, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    before = contents(tmp_path)
    real, calls = os.replace, 0

    def replace(source: Any, target: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1 + moved:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        reduce(bundle, ["fp16"], Terms(data=data["classifier"], methods=QUICK))
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("name", ["notes.txt", "int8-mine.toml", "ranges.json"])
def test_a_file_of_somebody_s_in_the_folder_is_not_lost(bundle: Bundle, tmp_path: Path, name: str) -> None:
    (bundle.folder / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ConvertError, match=f"holds '{name}', which is no part of a bundle and would be lost"):
        reduce(bundle, ["fp16"], Terms(source="no images are looked for"))
    assert contents(tmp_path) == before


def test_an_artifact_of_the_same_name_is_replaced_and_others_stay(
    bundle: Bundle, data: dict[str, Path], race: Race
) -> None:
    terms = Terms(data=data["classifier"], methods=QUICK)
    first, _ = reduce(bundle, ["int8-tensorrt", "int8-onnxruntime"], terms)
    before = contents(first.folder)
    race.ratio = 3.0
    again = dataclasses.replace(terms, minutes=0.0, max_drop=100.0)
    second, _ = reduce(first, ["int8-onnxruntime"], again)
    after = contents(second.folder)
    names = [artifact.name for artifact in second.manifest.artifacts]
    assert names == ["fp32", "int8-tensorrt", "int8-onnxruntime"]
    assert second.artifact("int8-tensorrt") == first.artifact("int8-tensorrt")
    assert second.artifact("int8").speed["ratio"] == 3.0
    assert second.artifact("int8").picture is None
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"bundle.json", "model.int8-onnxruntime.onnx", "int8-onnxruntime.toml", "int8-onnxruntime.svg"}
    assert "int8-onnxruntime.svg" not in after
    assert {"int8-tensorrt.toml", "int8-tensorrt.svg"} <= set(after)


@pytest.mark.parametrize("suffix", ["toml", "svg"])
@pytest.mark.parametrize("change", ["flip", "remove"])
def test_recipe_and_picture_are_checked_as_all_is(
    bundle: Bundle, data: dict[str, Path], suffix: str, change: str
) -> None:
    made, _ = reduce(bundle, ["int8-onnxruntime"], Terms(data=data["classifier"], methods=QUICK))
    path = made.folder / f"int8-onnxruntime.{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content) if change == "flip" else path.unlink()
    with pytest.raises(BundleError, match=rf"int8-onnxruntime\.{suffix}: "):
        Bundle.open(made.folder)


def test_a_bundle_that_changes_meanwhile_is_not_copied(bundle: Bundle, data: dict[str, Path], tmp_path: Path) -> None:
    def tell(text: str, done: int, total: int) -> None:
        if text == "writing the bundle":
            (bundle.folder / "NOTICE").write_text("changed")

    with pytest.raises(BundleError, match="NOTICE: its SHA-256 is not the one"):
        reduce(bundle, ["fp16"], Terms(data=data["classifier"], methods=QUICK), out=tmp_path / "out", tell=tell)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("theirs", "asked"),
    [("model.fp16.onnx", "fp16"), ("int8-openvino.toml", "int8"), ("int8-onnxruntime.svg", "int8-onnxruntime")],
)
@pytest.mark.parametrize("whose", ["artifact", "notice"])
def test_another_artifact_s_file_is_not_written_over(bundle: Bundle, theirs: str, asked: str, whose: str) -> None:
    manifest = bundle.manifest
    if whose == "artifact":
        (bundle.folder / theirs).write_bytes((bundle.folder / "model.fp32.onnx").read_bytes())
        mine = dataclasses.replace(bundle.artifact(), file=theirs, target="mine")
        manifest = dataclasses.replace(manifest, artifacts=(*manifest.artifacts, mine))
    else:
        (bundle.folder / "NOTICE").rename(bundle.folder / theirs)
        manifest = dataclasses.replace(manifest, notice=dataclasses.replace(manifest.notice, file=theirs))
    write.add_manifest(bundle.folder, manifest)
    before = contents(bundle.folder)
    with pytest.raises(
        ConvertError, match=f"expected {theirs} to be free for .*, got it as (fp32-mine|another)'s; con"
    ):
        reduce(Bundle.open(bundle.folder), [asked], Terms(source="no images are looked for"))
    assert contents(bundle.folder) == before


def test_what_was_written_is_whole_before_it_takes_the_place(
    bundle: Bundle, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(tmp_path)
    real = write.add_manifest

    def damaging(folder: Path, manifest: Any) -> None:
        (folder / "NOTICE").write_text("damaged")
        real(folder, manifest)

    monkeypatch.setattr(write, "add_manifest", damaging)
    with pytest.raises(BundleError, match="NOTICE: its SHA-256 is not the one"):
        reduce(bundle, ["fp16"], Terms(data=data["classifier"], methods=QUICK))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_another_added_meanwhile_is_not_lost(bundle: Bundle, data: dict[str, Path], when: str) -> None:
    def other(text: str = "writing the bundle", done: int = 0, total: int = 0) -> None:
        if text == "writing the bundle":
            manifest = dataclasses.replace(bundle.manifest, title="changed by another")
            write.add_manifest(bundle.folder, manifest)

    if when == "before":
        other()
    with pytest.raises(ConvertError, match="expected the bundle as it was opened, got one that was changed meanwhile"):
        reduce(bundle, ["fp16"], Terms(data=data["classifier"], methods=QUICK), tell=other)
    assert Bundle.open(bundle.folder).manifest.title == "changed by another"


def test_ranges_have_a_place_before_they_are_made(bundle: Bundle, tmp_path: Path) -> None:
    terms = Terms(source="no images are looked for", methods=QUICK, ranges=tmp_path / "gone" / "r.json")
    with pytest.raises(ConvertError, match=r"r\.json: expected a folder that is there, got none; make .*gone first"):
        reduce(bundle, ["int8-onnxruntime"], terms)


# Images: those that calibration saw are never judged by.


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_under_another_name_are_seen_too(
    fp32: Make, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fragile.scenes(kind, tmp_path / "data", COUNT)
    images = folder / "images" if kind == "detector" else folder
    (tmp_path / "seen").mkdir()
    for k in range(10):
        shutil.copy(images / f"{k}.png", tmp_path / "seen" / f"other name {k}.png")
    exams: list[Any] = []
    real = candidates.examine
    monkeypatch.setattr(candidates, "examine", lambda *given, **more: exams.append(real(*given, **more)) or exams[-1])
    terms = Terms(data=folder, source=str(tmp_path / "seen"), methods=QUICK, minutes=0.0)
    outcome = only(reduce(fp32(kind), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
    assert (outcome.judgements[0].images, outcome.judgements[0].seen) == (COUNT - 10, 10)
    assert [(exam.images, exam.seen) for exam in exams] == [(10, 0), (COUNT - 10, 10)]  # the search looks at no others


def drawing(monkeypatch: pytest.MonkeyPatch, *sets: str) -> list[tuple[str, int]]:
    """What is drawn, and how many, where there are these sets."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(imagesets, "names", lambda: list(sets))
    monkeypatch.setattr(imagesets, "draw", lambda what, *, count, seed, **more: asked.append((what, count)))
    monkeypatch.setattr(
        imagesets, "draw_files", lambda found, source, *, count, seed: asked.append((f"{len(found)} files", count))
    )
    return asked


@pytest.mark.parametrize(
    ("source", "labels", "classes", "sets", "expected"),
    [
        ("photos", True, 80, ("colors", "coco"), ("photos", 40)),
        (None, True, 80, ("colors", "coco"), ("colors", 40)),
        (None, True, 80, ("coco",), (f"{COUNT} files", COUNT // 2)),  # the other half is to judge by
        (None, False, 80, ("coco",), ("coco", 40)),
        (None, False, 3, ("coco",), None),
        (None, False, -80, ("coco",), None),  # as many labels, but others
        (None, False, 80, ("colors",), ("colors", 40)),
    ],
)
def test_what_is_calibrated_with(
    fp32: Make,
    data: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    source: str | None,
    labels: bool,
    classes: int,
    sets: tuple[str, ...],
    expected: tuple[str, int] | None,
) -> None:
    manifest = fp32("classifier").manifest
    coco = read_labels(zoo_folder() / "labels" / "coco80.txt")
    names = (*graphs.COLORS, *(f"class {k}" for k in range(77))) if labels else coco
    names = coco[::-1] if classes == -80 else names[:classes]
    manifest = dataclasses.replace(manifest, labels=names)
    asked = drawing(monkeypatch, *sets)

    def draw() -> None:
        calibration.draw(source, data["classifier"] if labels else None, manifest, count=40, seed=0)

    if expected is None:
        with pytest.raises(RequestError, match=r"colors: expected images .*, got none; give --calibration .* \(coco\)"):
            draw()
    else:
        draw()
    assert asked == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("count", "labels", "says"),
    [
        (7, False, "photos: expected at least 8 images to calibrate with, got 3, half of those there are, for the"),
        (1, False, "photos: expected at least 8 images to calibrate with, got 1; give more with --calibration"),
        (15, False, "got 7, half of those there are, for the others are to judge by; give more with --calibration"),
        (15, True, "photos: expected at least 8 images to calibrate with, got 7, half"),
        (16, False, None),
        (16, True, None),
    ],
)
def test_too_few_images(fp32: Make, tmp_path: Path, count: int, labels: bool, says: str | None) -> None:
    photos = fragile.scenes("classifier", tmp_path / "photos", count)
    terms = Terms(data=photos, methods=QUICK) if labels else Terms(source=str(photos), methods=QUICK)
    if says is None:
        outcome = only(reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
        assert [(judged.images, judged.ok) for judged in outcome.judgements] == [(8, True)]
        return
    with pytest.raises(DataError, match=says) as caught:
        reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_calibrated_with_all_that_is_labelled(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    terms = Terms(data=data["classifier"], source=str(data["classifier"]), methods=QUICK)
    with pytest.raises(
        DataError, match="expected at least 8 images that calibration did not see, got 0 and 24 that it saw"
    ):
        reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"max_drop": -1}, "expected a budget of 0 points or more, got -1"),
        ({"max_drop": float("nan")}, "expected a budget of 0 points or more, got nan"),
        ({"minutes": -0.1}, "expected 0 minutes or more for the search, got -0.1"),
        ({"minutes": float("inf")}, "expected 0 minutes or more for the search, got inf"),
        ({"images": 7}, "expected 8 or more images to calibrate with, asked for 7"),
        ({"seed": -1}, "expected a seed of 0 or more, got -1"),
        ({"methods": ("entrpy",)}, "no method is called 'entrpy'; did you mean 'entropy'"),
        ({"tensorrt": "9"}, "no TensorRT version is called '9'; known: 10, 11, 8.6"),
    ],
)
def test_terms(terms: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        Terms(**terms)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["int8"], ["int8-onnxruntime", "int8-openvino", "int8-tensorrt"]),
        (["bf16", "fp16"], ["bf16-openvino", "fp16"]),
        (["int8-openvino", "int8", "int8-openvino"], ["int8-openvino", "int8-onnxruntime", "int8-tensorrt"]),
        ([], []),
        (["int8-openvno"], "no precision is called 'int8-openvno'; did you mean 'int8-openvino'?"),
        (["int4"], "did you mean 'int8'?"),
        (["fp61"], "did you mean 'fp16'?"),
        (["half"], "known: bf16, bf16-openvino, fp16, fp32, int8, int8-onnxruntime, int8-openvino, int8-tensorrt"),
    ],
)
def test_names_of_precisions(asked: list[str], expected: Any) -> None:
    if isinstance(expected, list):
        assert full_names(asked) == expected
        return
    with pytest.raises(UnknownName) as caught:
        full_names(asked)
    assert expected in str(caught.value)


# A calibration that is kept.


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each calibration is made with."""
    calls: list[int] = []
    real = calibration.calibrate

    def calibrating(*given: Any, **more: Any) -> Any:
        calls.append(more["count"])
        return real(*given, **more)

    monkeypatch.setattr(calibration, "calibrate", calibrating)
    return calls


def spoil_nothing(images: Path) -> None:
    pass


def spoil_a_byte(images: Path) -> None:
    """One more byte behind the end of each PNG: every pixel is as it was."""
    for path in images.glob("*.png"):
        path.write_bytes(path.read_bytes() + b"x")
        assert cv2.imread(str(path)) is not None


@pytest.mark.parametrize(
    ("spoil", "mean", "methods", "says"),
    [
        (spoil_nothing, (0, 0, 0), QUICK, None),
        (
            spoil_a_byte,
            (0, 0, 0),
            QUICK,
            r"made with other bytes of the image \d+\.png \(and 11 more\): calibrate again",
        ),
        (
            spoil_nothing,
            (3, 0, 0),
            QUICK,
            r"made with mean \(0.0, 0.0, 0.0\), the recipe now says \(3.0, 0.0, 0.0\); and",
        ),
        (spoil_nothing, (0, 0, 0), ("entropy",), "by the method minmax, asked for is now entropy: calibrate again"),
        (
            spoil_nothing,
            (0, 0, 0),
            ("minmax", "error"),
            "expected one --method for the ranges in .*, got minmax, error",
        ),
    ],
    ids=["nothing", "a byte", "mean", "method", "methods"],
)
def test_a_kept_calibration_is_used_where_nothing_changed(
    fp32: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    mean: tuple[int, int, int],
    methods: tuple[str, ...],
    says: str | None,
) -> None:
    photos = fragile.scenes("classifier", tmp_path / "photos", COUNT)
    terms = Terms(source=str(photos), methods=QUICK, ranges=tmp_path / "ranges.json")
    calls = counted(monkeypatch)
    first, _ = reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "first")
    assert calls == [COUNT // 2]
    kept = (tmp_path / "ranges.json").read_bytes()
    source = fp32("classifier")
    if any(mean):
        monkeypatch.setattr(fragile, "RECIPE", dataclasses.replace(fragile.RECIPE, mean=mean))
        source = convert(fragile.card(tmp_path / "card", "classifier"), tmp_path / "other")
    spoil(photos)
    terms = dataclasses.replace(terms, methods=methods)
    if says is not None:
        with pytest.raises((ConvertError, RequestError), match=says):
            reduce(source, ["int8-onnxruntime"], terms, out=tmp_path / "second")
        assert not (tmp_path / "second").exists()
    else:
        second, _ = reduce(source, ["int8-onnxruntime"], terms, out=tmp_path / "second")
        assert second.artifact("int8") == first.artifact("int8")
    assert calls == [COUNT // 2]
    assert (tmp_path / "ranges.json").read_bytes() == kept


def test_a_kept_calibration_that_lacks_a_tensor(
    fp32: Make, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = Terms(data=data["classifier"], methods=QUICK, ranges=tmp_path / "ranges.json")
    reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")
    monkeypatch.setattr(calibration, "tensors", lambda model: ["a tensor of another edgezoo"])
    with pytest.raises(ConvertError, match=r"ranges.json: has no range of the tensor 'a tensor of another edgezoo'"):
        reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")


# The recipe.


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tensorrt"])
@pytest.mark.parametrize("labels", [True, False])
def test_a_recipe_makes_the_same_artifact_again(
    fp32: Make, data: dict[str, Path], tmp_path: Path, target: str, labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_openvino(monkeypatch)  # a search that is judged on ONNX Runtime is quicker
    source, name = fp32("classifier"), f"int8-{target}"
    terms = Terms(data=data["classifier"]) if labels else Terms(source=str(data["classifier"]), seed=3, tensorrt="8.6")
    first, _ = reduce(source, [name], terms, out=tmp_path / "first")
    recipe = read_recipe(first.folder / f"{name}.toml")
    assert recipe.float == ("fragile",)
    assert recipe.weights == source.artifact().sha256
    assert [row["floats"] for row in recipe.tried] == [0, 1]
    assert (recipe.images, recipe.seed, recipe.calibration) == (COUNT // 2, terms.seed, "classifier")
    again = Terms(
        recipe=recipe,
        source=str(data["classifier"]),
        images=recipe.images,
        seed=recipe.seed,
        tensorrt=recipe.tensorrt or "10",
    )
    second, (outcome,) = reduce(source, [name], again, out=tmp_path / "second")
    assert outcome.search is None
    one, two = first.artifact(name), second.artifact(name)
    assert (one.file, one.sha256, one.recipe) == (two.file, two.sha256, two.recipe)
    assert two.picture is None


def test_a_recipe_is_a_file_to_read(fp32: Make) -> None:
    layers = tuple(f"backbone.stage{k}.block{k}.conv" for k in range(5))
    recipe = QuantisationRecipe(
        target="openvino",
        method="entropy",
        float=layers,
        calibration="coco",
        images=40,
        seed=1,
        weights="a" * 64,
        tried=({"method": "error", "floats": 0, "harm": 0.125, "drop": 7.74}, {"method": "entropy", "floats": 5}),
    )
    head, _, body = recipe.to_toml("yolox\nnano").partition("\n\n")
    assert head.startswith("# Makes int8-openvino of yolox?nano again:\n#     edgezoo convert BUNDLE --recipe FILE ")
    assert all(line.startswith("# ") and len(line) <= 120 for line in head.splitlines())
    assert body == (
        'target = "openvino"\nmethod = "entropy"\nfloat = [\n'
        + "".join(f'    "{layer}",\n' for layer in layers)
        + f']\ncalibration = "coco"\nimages = 40\nseed = 1\nweights = "{"a" * 64}"\ntried = [\n'
        '    { method = "error", floats = 0, harm = 0.125, drop = 7.74 },\n'
        '    { method = "entropy", floats = 5 },\n]\n'
    )


@pytest.mark.parametrize("changes", [{}, {"float": ()}, {"tried": ()}, {"tensorrt": "8.6", "target": "tensorrt"}])
def test_a_recipe_that_is_written_is_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"target": "openvino", "method": "error", "calibration": "ü [x]", "images": 9, **changes}
    recipe = QuantisationRecipe(**{"float": ("a.b", 'c"\\'), "tried": ({"method": "error", "floats": 0},), **fields})
    (tmp_path / "r.toml").write_text(recipe.to_toml("model"), "utf-8")
    read = read_recipe(tmp_path / "r.toml")
    assert read == recipe
    assert read.tried == recipe.tried


GOOD = 'target = "openvino"\nmethod = "error"\ncalibration = "coco"\nimages = 9\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "r.toml: expected a recipe, got no such file"),
        (b"\xff\xfe", "r.toml: expected a recipe in TOML: "),
        ("target = ", "r.toml: expected a recipe in TOML: "),
        ("", "target: expected a text, got nothing; add it"),
        (GOOD.replace("openvino", "openvno"), "no target of int8 is called 'openvno'; did you mean 'openvino'?"),
        (GOOD.replace('"error"', '"eror"'), "no method is called 'eror'; did you mean 'error'?"),
        (GOOD + 'tensorrt = "7"\n', "no TensorRT version is called '7'"),
        (GOOD + 'floats = ["a"]\n', "floats: no such key; did you mean 'float'?"),
        (GOOD + "float = 3\n", "float: expected a list of a text, got 3"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str | bytes | None, says: str) -> None:
    if text is not None:
        (tmp_path / "r.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConvertError) as caught:
        read_recipe(tmp_path / "r.toml")
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "r.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "tip"), [("fragil", "did you mean 'fragile'?"), ("zzz", "there are 6, such as 'first'")]
)
def test_a_layer_that_the_network_has_not(
    fp32: Make, data: dict[str, Path], tmp_path: Path, layer: str, tip: str
) -> None:
    recipe = QuantisationRecipe(
        target="onnxruntime", method="minmax", float=("first", layer), calibration="classifier", images=12
    )
    with pytest.raises(
        ConvertError, match=f"has no layer '{layer}' that int8-onnxruntime could make integer; "
    ) as caught:
        check_layers(recipe, fragile.LAYERS)
    assert str(caught.value).endswith(tip)
    terms = Terms(recipe=recipe, source=str(data["classifier"]), images=12)
    with pytest.raises(ConvertError, match=f"has no layer '{layer}'"):
        reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")


def test_a_recipe_goes_through_the_gate_like_all(fp32: Make, data: dict[str, Path], tmp_path: Path) -> None:
    recipe = QuantisationRecipe(target="onnxruntime", method="minmax", float=("first",), calibration="x", images=12)
    terms = Terms(recipe=recipe, source=str(data["classifier"]), images=12)
    outcome = only(reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out"))
    assert (outcome.artifact, outcome.why) == (None, "over the budget: 66.67 points, 1 at most")


# The picture.


def bars(svg: str) -> Iterator[tuple[str, str, str, float]]:
    """Kind, title, name and length of each."""
    name = "{http://www.w3.org/2000/svg}"
    for group in ElementTree.fromstring(svg).iter(f"{name}g"):
        if group.get("class") != "mark":
            (rect,) = group.iter(f"{name}rect")
            yield (
                group.get("class", ""),
                group.findtext(f"{name}title", ""),
                group.findtext(f"{name}text", ""),
                float(rect.get("width", "nan")),
            )


def test_the_picture_has_a_bar_a_layer_and_marks_what_stays_in_float(
    fp32: Make, data: dict[str, Path], tmp_path: Path
) -> None:
    terms = Terms(data=data["classifier"], methods=QUICK)
    bundle, _ = reduce(fp32("classifier"), ["int8-onnxruntime"], terms, out=tmp_path / "out")
    svg = (bundle.folder / "int8-onnxruntime.svg").read_text("utf-8")
    drawn = list(bars(svg))
    assert [name for _, _, name, _ in drawn] == fragile.LAYERS
    assert [name for kind, _, name, _ in drawn if kind == "float"] == ["fragile"]
    assert max(drawn, key=lambda bar: bar[3])[2] == "fragile"
    assert "colors, int8-onnxruntime: what each layer does alone" in svg


def test_bars_are_logarithmic_and_names_are_no_markup() -> None:
    harms = {"<a & 'b'>": 1.0, "\x00\x1b": 0.1, "c" * 60: 0.001, "none": 0.0, "all": float("inf")}
    drawn = {
        title.partition(": ")[0]: (kind, name, width)
        for kind, title, name, width in bars(picture(harms, ["none"], title="]]><x>"))
    }
    kinds = [kind for kind, _, _ in drawn.values()]
    assert kinds == ["int8", "int8", "int8", "float", "int8"]
    assert list(drawn)[:2] == ["<a & 'b'>", "??"]
    assert drawn["c" * 60][1] == "…" + "c" * 45
    lengths = [width for _, _, width in drawn.values()]
    assert lengths[0] == lengths[4] > 0
    assert lengths[1] == pytest.approx(lengths[0] * 2 / 3, abs=0.1)
    assert lengths[2] == lengths[3] == 0


@pytest.mark.parametrize("harms", [{"a": 0.0}, {"a": float("inf")}, {"a": 1e-30}, {"a": 1.0}, {}])
def test_pictures_of_little(harms: dict[str, float]) -> None:
    assert all(0 <= width < 500 for _, _, _, width in bars(picture(harms, [], title="")))


# What is told as data.


def test_an_outcome_before_anything_was_made() -> None:
    told = Outcome(name="fp16", why="x").to_dict()
    assert (told["written"], told["why"], told["file"], told["tried"]) == (False, "x", None, [])
    assert not Outcome(name="fp16").slower
