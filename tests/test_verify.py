"""Verification: a bundle that answers as it did, and ones that do not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezoo.bundle import MANIFEST, Artifact, Bundle
from edgezoo.convert.write import add_file, add_manifest
from edgezoo.engine import Engine
from edgezoo.errors import BundleError, RequestError, UnknownName
from edgezoo.measure.verify import SLACK, verify
from edgezoo.preprocess import Preprocess
from edgezoo.tasks import detect

RECIPE = Preprocess(size_wh=(64, 48), fit="letterbox", color="RGB", mean=(120.0, 110.0, 100.0), std=(58.0, 57.0, 56.0))
BundleOf = Callable[..., Bundle]
Golden = dict[str, Any]


def changed(
    bundle: Bundle, folder: Path, edit: Callable[[Golden], None] = lambda golden: None, *more: Artifact
) -> Bundle:
    """A copy whose golden arrays went through `edit` and whose manifest has `more` artifacts; its hashes hold."""
    shutil.copytree(bundle.folder, folder)
    golden = bundle.read_golden()
    edit(golden)
    np.savez(folder / "golden.npz", **golden)
    hashed = add_file(folder, "golden.npz", (folder / "golden.npz").read_bytes())
    artifacts = (*bundle.manifest.artifacts, *more)
    (folder / MANIFEST).unlink()
    add_manifest(folder, dataclasses.replace(bundle.manifest, golden=hashed, artifacts=artifacts))
    return Bundle.open(folder)


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("kind", ["squares", "colors"])
def test_a_bundle_answers_as_it_did(bundle_of: BundleOf, kind: str, batch: int | None) -> None:
    found = verify(bundle_of(kind, RECIPE, batch=batch), threads=1)
    assert found.ok
    assert (found.geometry.largest_levels, found.geometry.differing, found.images) == (0, 0.0, 3)
    assert set(found.answers) == ({"boxes_px", "scored_boxes_px", "scores"} if kind == "squares" else {"scores"})
    assert all(answer.largest <= answer.tolerance for answer in found.answers.values())
    shown = json.loads(json.dumps(found.to_dict()))
    assert (shown["ok"], shown["runs"]["backend"], shown["runs"]["threads"]) == (True, "onnxruntime", 1)


def test_a_path_will_do(bundle_of: BundleOf) -> None:
    assert verify(str(bundle_of("squares", RECIPE).folder)).ok


@pytest.mark.parametrize(("levels", "ok"), [(1, True), (2, False)])
def test_a_grey_level_is_tolerated_and_two_are_not(bundle_of: BundleOf, tmp_path: Path, levels: int, ok: bool) -> None:
    def edit(golden: Golden) -> None:
        row = golden["placed"][0, 0]
        row[:] = np.where(row > 127, row - levels, row + levels)

    found = verify(changed(bundle_of("colors", RECIPE), tmp_path / "b", edit))
    assert found.geometry.ok == ok
    assert found.geometry.largest_levels == levels
    assert found.geometry.differing == pytest.approx(1 / 48 / 3)


def add(name: str, amount: float) -> Callable[[Golden], None]:
    def edit(golden: Golden) -> None:
        golden[name][1].flat[0] += amount

    return edit


@pytest.mark.parametrize(
    ("name", "amount", "which", "ok"),
    [
        ("out_scores", 5e-5, "scores", True),
        ("out_scores", 2e-4, "scores", False),
        ("out_boxes", 4e-3, "boxes_px", True),
        ("out_boxes", 0.1, "boxes_px", False),
        ("out_scores", float("nan"), "scores", False),
    ],
)
def test_answers_are_held_to_the_tolerance(
    bundle_of: BundleOf, tmp_path: Path, name: str, amount: float, which: str, ok: bool
) -> None:
    found = verify(changed(bundle_of("squares", RECIPE), tmp_path / "b", add(name, amount)))
    assert found.ok == found.answers[which].ok == ok
    assert found.geometry.ok
    assert np.isnan(amount) or found.answers[which].largest == pytest.approx(amount, rel=0.2)


@pytest.mark.parametrize(("agreement", "tolerance"), [(1e-9, 1e-4), (0.01, 0.01 * SLACK)])
def test_another_precision_is_held_to_its_own_agreement(
    bundle_of: BundleOf, tmp_path: Path, agreement: float, tolerance: float
) -> None:
    bundle = bundle_of("squares", RECIPE)
    agreed = dict.fromkeys(detect.TOLERANCE, agreement)
    fp16 = dataclasses.replace(bundle.artifact(), precision="fp16", agreement=agreed)
    found = verify(changed(bundle, tmp_path / "b", lambda golden: None, fp16), precision="fp16")
    assert found.ok
    assert found.answers["scores"].tolerance == tolerance
    assert found.runs["precision"] == "fp16"


def test_another_precision_without_an_agreement(bundle_of: BundleOf, tmp_path: Path) -> None:
    bundle = bundle_of("squares", RECIPE)
    fp16 = dataclasses.replace(bundle.artifact(), precision="fp16", agreement={"scores": 0.1})
    with pytest.raises(BundleError, match="recorded agreement for boxes_px, scored_boxes_px"):
        verify(changed(bundle, tmp_path / "b", lambda golden: None, fp16), precision="fp16")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda golden: golden.pop("placed"), "expected golden images"),
        (lambda golden: golden.pop("out_boxes"), "expected golden images"),
        (lambda golden: golden.pop("image_0"), "got 2 images"),
        (lambda golden: golden.update(placed=golden["placed"][:2]), "expected golden images"),
        (lambda golden: golden.update(placed=golden["placed"][:, :40]), "expected golden images"),
        (lambda golden: golden.update(placed=golden["placed"].astype(np.int32)), "expected golden images"),
        (lambda golden: golden.update(image_1=golden["image_1"][..., 0]), "golden image is none"),
        (lambda golden: golden.update(out_scores=golden["out_scores"][..., :2]), "expected golden scores of shape"),
    ],
)
def test_golden_arrays_that_are_none(
    bundle_of: BundleOf, tmp_path: Path, edit: Callable[[Golden], None], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        verify(changed(bundle_of("squares", RECIPE), tmp_path / "b", edit))


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"backend": "tensorflow"}, UnknownName),
        ({"precision": "int7"}, BundleError),
        ({"device": "tpu"}, RequestError),
        ({"threads": 0}, RequestError),
    ],
)
def test_requests_that_cannot_be_served(bundle_of: BundleOf, asked: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        verify(bundle_of("squares", RECIPE), **asked)


def test_the_engine_is_closed_whatever_happens(
    bundle_of: BundleOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Engine] = []
    monkeypatch.setattr(Engine, "close", lambda engine: closed.append(engine))
    bundle = bundle_of("squares", RECIPE)
    verify(bundle)
    with pytest.raises(BundleError):
        verify(changed(bundle, tmp_path / "b", lambda golden: golden.pop("placed")))
    assert len(closed) == 2
