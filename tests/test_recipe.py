"""A recipe makes the same artifact again, or says why it does not; and what else every artifact is made with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fragile
import pytest

from edgezoo.bundle import Bundle
from edgezoo.convert import convert
from edgezoo.errors import ConvertError, DataError, RequestError
from edgezoo.measure.race import Against
from edgezoo.reduce import candidates, reduce
from edgezoo.reduce.recipe import QuantisationRecipe, read_recipe
from edgezoo.reduce.terms import Outcome, Terms

pytest.importorskip("cv2", reason="scenes are made with OpenCV")
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
