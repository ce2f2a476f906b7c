"""The built-in model: what ships is whole, finds digits it has never seen, and next to none where there are none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import need

from edgezoo.bundle import Bundle
from edgezoo.cards import read_card
from edgezoo.engine import Engine
from edgezoo.errors import MissingDependency
from edgezoo.imagesets import draw
from edgezoo.loading import find_bundle, load
from edgezoo.measure.evaluate import evaluate
from edgezoo.measure.gate import examine, judge
from edgezoo.measure.verify import verify
from edgezoo.results import Detections
from edgezoo.sources.images import find_images
from edgezoo.weights import sha256_of

RECIPE = Path(__file__).parents[1] / "models" / "digits"
SCENES = 300
WITH_DIGITS = Path(__file__).parent / "digits_seen.txt"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with load("digits", score=0.5) as opened:
        yield opened


def test_what_ships_is_what_was_trained() -> None:
    card = read_card("digits")
    bundle = find_bundle("digits")
    assert bundle.folder == card.built_in
    assert bundle.manifest.labels == card.label_names == tuple("0123456789")
    assert bundle.manifest.input == card.input
    assert max(card.input.size_wh) <= 320
    assert card.file is not None
    assert bundle.artifact().source["sha256"] == sha256_of(card.beside("file", card.file))
    assert bundle.artifact().agreement["kind"] == "photos"


def test_it_is_small() -> None:
    tensors = pytest.importorskip("safetensors.numpy", reason="weights are read with safetensors").load_file(
        RECIPE / "digits.safetensors"
    )
    learnt = [value.size for name, value in tensors.items() if name.endswith((".weight", ".bias"))]
    assert 100_000 < sum(learnt) < 500_000
    assert sum(path.stat().st_size for path in RECIPE.rglob("*") if path.is_file()) < 8e6


INTEGERS = ("int8-openvino", "int8-tensorrt")


@pytest.mark.parametrize("precision", INTEGERS)
def test_its_integers_lose_less_than_a_point(precision: str) -> None:
    bundle = find_bundle("digits")
    artifact = bundle.artifact(precision)
    judged = artifact.judgement
    assert (judged["ok"], judged["metric"], judged["images"]) == (True, "map", 1000)
    assert judged["drop"] <= judged["max_drop"] <= 1.0
    assert len(artifact.calibration["images"]) == 32
    assert artifact.recipe is not None
    size, full = ((bundle.folder / each.file).stat().st_size for each in (artifact, bundle.artifact()))
    assert size < 0.5 * full
    assert verify(bundle, precision=precision).ok


@pytest.mark.parametrize("precision", ["fp32", "int8-openvino"])
def test_both_runtimes_see_the_same(precision: str) -> None:
    pytest.importorskip("openvino", reason="it is one of the two")
    with (
        load("digits", backend="onnxruntime", precision=precision) as one,
        load("digits", backend="openvino", precision=precision) as other,
    ):
        exam = examine(one.infer, one.bundle.manifest, drawn=draw("digits", count=32))
        judged = judge(exam, other.infer, max_drop=1.0)
    assert judged.ok, judged


def test_its_card_states_what_was_measured() -> None:
    measured = json.loads((RECIPE / "measured.json").read_text())
    stated = {entry.metric: entry.value for entry in read_card("digits").accuracy}
    assert stated == {"mAP50-95": round(measured["map"], 3), "mAP50": round(measured["map50"], 3)}
    assert measured["images"] == 1000
    assert set(measured["by_class"]) == set("0123456789")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered scenes with fonts and handwriting that training never saw; other ones than those of the recipe."""
    for library in ("PIL", "sklearn", "skimage", "matplotlib"):
        pytest.importorskip(library, reason='scenes are rendered with "edgezoo[digits]"')
    folder = tmp_path_factory.mktemp("scenes")
    command = [sys.executable, str(RECIPE / "render.py"), str(folder), "--train", "0", "--val", "0"]
    done = subprocess.run(
        [*command, "--test", str(SCENES), "--seed", "20"], capture_output=True, text=True, check=False
    )
    need("fonts", done.returncode != 3, done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder / "test"


def test_it_finds_digits_of_fonts_and_samples_it_never_saw(scenes: Path, engine: Engine) -> None:
    try:
        found = evaluate(engine, scenes)
    except MissingDependency as error:
        pytest.skip(str(error))
    assert found.images == SCENES
    assert found.metrics["map50"] > 0.93  # type: ignore[operator]
    assert found.metrics["map"] > 0.65  # type: ignore[operator]
    assert min(found.by_class.values()) > 0.5


def test_it_finds_next_to_none_on_photos_of_other_things(test_data: Path, engine: Engine) -> None:
    seen = {line.split()[0] for line in WITH_DIGITS.read_text().splitlines() if line and not line.startswith("#")}
    photos = [path for path in find_images(str(test_data / "data/coco-val-128/images")) if Path(path).stem not in seen]
    assert 100 <= len(photos) < 128
    false = {Path(path).name: len(found) for path in photos if len(found := engine(path))}
    assert sum(false.values()) / len(photos) <= 0.05, false


def test_clips_of_other_things(test_data: Path, engine: Engine) -> None:
    from edgezoo.sources import open_source

    counts: dict[str, list[int]] = {}
    for clip in ("car-detection.mp4", "one-by-one-person-detection.mp4", "bottle-detection.mp4"):
        source = open_source(str(test_data / "media" / clip))
        counts[clip] = [len(engine(frame.image)) for frame in source if frame.index % 10 == 0]
        source.close()
        assert len(counts[clip]) > 30
    # A car from above, as large as the frame, is too much like an 8: that clip alone has one in five frames.
    assert np.mean([count for each in counts.values() for count in each]) <= 0.1, counts


def test_the_clip_shows_digits(engine: Engine) -> None:
    from edgezoo.sources import open_source

    source = open_source(str(RECIPE / "clip.mp4"))
    found = [engine(frame.image) for frame in source]
    source.close()
    assert len(found) > 100
    assert all(isinstance(result, Detections) for result in found)
    assert np.mean([len(result) >= 3 for result in found]) > 0.8
    assert len({int(k) for result in found for k in result.class_ids}) == 10


def test_verify_replays_its_golden_scenes() -> None:
    from edgezoo.measure.verify import verify

    assert verify(Bundle.open(RECIPE / "bundle")).ok
