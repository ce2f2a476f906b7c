"""`edgezoo convert` to lower precisions, as a person or a script sees it."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fragile
import pytest
from rich.console import Console
from rich.progress import TimeRemainingColumn

from edgezoo.bundle import Bundle
from edgezoo.cli import main, show
from edgezoo.convert import convert
from edgezoo.errors import MissingDependency
from edgezoo.measure.race import Against
from edgezoo.reduce import calibration, candidates

cv2 = pytest.importorskip("cv2", reason="scenes are made with OpenCV")
pytest.importorskip("onnxruntime", reason="bundles are run")

COUNT = 24
QUICK = ("--method", "minmax")
INT8 = ("--precision", "int8-onnxruntime")


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Said]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Runs `edgezoo convert` in this process, with all that it and its libraries print."""
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object, verb: str = "convert") -> Said:
        capfd.readouterr()
        try:
            code = main([verb, *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def ratio(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many times as fast as fp32 all is, in the place of a race of seconds."""
    said = [1.5]

    def race(engine: Any, rivals: Any, *, progress: Any) -> tuple[float, list[Against]]:
        return 2.0, [Against(name="fp32", ms=2 * said[0], ratio=said[0], low=said[0] - 0.1, high=said[0] + 0.1)]

    monkeypatch.setattr(candidates, "race", race)
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cards, bundles and labelled scenes, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    for kind in ("classifier", "detector"):
        convert(fragile.card(folder / "cards" / kind, kind), folder / kind)
        fragile.scenes(kind, folder / "data" / kind, COUNT)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with `bundle` (a classifier's), `detector`, `cards/`, `data/` and `photos/`."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    (folder / "classifier").rename(folder / "bundle")
    shutil.copytree(folder / "data" / "detector" / "images", folder / "photos")
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# What comes of it.


def test_a_card_to_fp32_and_int8(call: Call, here: Path) -> None:
    said = call("cards/detector/cells.toml", "--precision", "fp32,int8-onnxruntime", "--data", "data/detector", *QUICK)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "✓ cells  cells, 64x64, fp32"
    assert lines[3:5] == [
        "✓ int8-onnxruntime  drop 0.00 points, 1 at most; 1.50 times as fast as fp32, 2.00 ms on onnxruntime",
        "  mAP50-95 100.0 -> 100.0 (drop 0.00, 95 % -25.00 .. 25.00; budget 1.0) on 12 images of detector that "
        "calibration did not see; the drop is within the budget, its 95 % interval is not",
    ]
    assert lines[5].startswith("  1 of 6 layers in float: fragile; ranges by minmax; found in ")
    assert lines[6:] == [
        "  recipe cells/int8-onnxruntime.toml, picture cells/int8-onnxruntime.svg",
        "  next: edgezoo run cells SOURCE",
    ]
    assert [artifact.name for artifact in Bundle.open("cells").manifest.artifacts] == ["fp32", "int8-onnxruntime"]
    said = call("cells", *INT8, verb="verify")
    assert said.code == 0
    said = call("cells", verb="info")
    assert "budget 1.0) on 12 images of detector that calibration did not see" in said.out
    assert "calibrated on 12 images (12 of 24 from detector, seed 0) by minmax" in said.out
    said = call("cells", "photos/0.png", *INT8, verb="run")
    assert (said.code, "blue" in said.out) == (0, True)


def test_a_bundle_to_two_precisions_elsewhere(call: Call, here: Path) -> None:
    before = contents(here / "bundle")
    said = call("bundle", "--precision", "fp16, int8-onnxruntime", "--calibration", "photos", *QUICK, "-o", "out")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == "✓ fp16  drop 0.00 points, 1 at most; speed unmeasured"
    assert lines[1].endswith(
        "  top-1 as fp32 100.0 -> 100.0 (drop 0.00, 95 % 0.00 .. 25.00; budget 1.0) on 12 images of photos; "
        "the drop is within the budget, its 95 % interval is not"
    )
    assert lines[2].startswith("✓ int8-onnxruntime  ")
    assert lines[-1] == "  next: edgezoo run out SOURCE"
    assert contents(here / "bundle") == before
    assert [artifact.name for artifact in Bundle.open("out").manifest.artifacts] == ["fp32", "fp16", "int8-onnxruntime"]


def test_over_the_budget(call: Call, here: Path) -> None:
    before = contents(here)
    said = call("bundle", *INT8, "--data", "data/classifier", "--no-search", *QUICK)
    assert (said.code, said.err) == (1, "")
    assert contents(here) == before
    lines = [line.split() for line in said.out.splitlines() if line.strip()]
    assert " ".join(lines[0]) == "✗ int8-onnxruntime over the budget: 66.67 points, 1 at most"
    assert lines[1][:4] == ["top-1", "100.0", "->", "33.3"]
    assert " ".join(lines[2]) == (
        "ranges by layers in float harm points lost at least, on calibration images at the gate"
    )
    assert lines[4][:9] == ["minmax", "0", "of", "6", "0.667", "41.67", "66.67", "(95", "%"]
    assert lines[-1] == ["next:", "edgezoo", "run", "bundle", "SOURCE"]


def test_more_layers_are_freed_than_are_to_blame_where_harm_does_not_tell(
    call: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezoo.reduce.search.harm", lambda reference, answers: 0.5)
    said = call("bundle", *INT8, "--data", "data/classifier", *QUICK)
    assert said.code == 0
    assert "  3 of 6 layers in float: first, second, fragile; ranges by minmax; found in " in said.out


def test_a_search_that_runs_out_of_time_says_so(call: Call, here: Path) -> None:
    said = call("bundle", *INT8, "--data", "data/classifier", "--search-minutes", "1e-9", *QUICK)
    assert said.code == 1
    assert said.out.startswith(
        "✗ int8-onnxruntime  over the budget: 66.67 points, 1 at most; the search ran out of its time, give it more "
        "--search-minutes\n"
    )
    said = call("bundle", *INT8, "--data", "data/classifier", "--search-minutes", "1e-9", *QUICK, "--json")
    assert said.json["artifacts"][0]["out_of_time"] is True


def test_slower_than_fp32(call: Call, here: Path, ratio: list[float]) -> None:
    before = contents(here)
    ratio[0] = 0.8
    said = call("bundle", *INT8, "--data", "data/classifier", *QUICK)
    assert (said.code, said.err) == (1, "")
    assert said.out.splitlines()[0] == (
        "✗ int8-onnxruntime  slower than fp32 with every layer in INT8: 0.80 times as fast, so none was freed"
    )
    assert contents(here) == before
    said = call("bundle", *INT8, "--data", "data/classifier", *QUICK, "--keep-slower")
    assert said.code == 0
    assert "✓ int8-onnxruntime  drop 0.00 points, 1 at most; 0.80 times as fast as fp32" in said.out
    assert Bundle.open("bundle").artifact("int8").speed["ratio"] == 0.8


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> Any:
        raise MissingDependency('openvino is not installed; try: pip install "edgezoo[openvino]"')

    monkeypatch.setattr("edgezoo.backends.openvino.require", missing)


def test_a_target_that_is_not_here(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_openvino(monkeypatch)
    said = call("detector", "--precision", "int8-openvino", "--data", "data/detector", *QUICK)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == (
        "✓ int8-openvino  drop 0.00 points, 1 at most; speed unmeasured: openvino is not here, onnxruntime ran it"
    )
    said = call("detector", verb="info")
    assert "speed unmeasured" in said.out


def test_bf16_without_openvino(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_openvino(monkeypatch)
    before = contents(here)
    for model in ("bundle", "cards/detector/cells.toml"):
        said = call(model, "--precision", "fp32,bf16", "--data", "data/detector")
        assert said == Said(2, "", 'edgezoo: openvino is not installed; try: pip install "edgezoo[openvino]"\n')
        assert contents(here) == before


# As data.


@pytest.mark.parametrize("holds", [True, False])
def test_json_is_all_that_a_person_sees(call: Call, here: Path, holds: bool) -> None:
    search = [] if holds else ["--no-search"]
    said = call("bundle", *INT8, "--data", "data/classifier", *QUICK, *search, "--json")
    assert (said.code, said.err) == (0 if holds else 1, "")
    told = said.json
    assert (told["bundle"], told["name"], told["precision"], told["batch"]) == ("bundle", "colors", "fp32", "dynamic")
    (artifact,) = told["artifacts"]
    assert artifact["name"] == "int8-onnxruntime"
    assert artifact["written"] is holds
    assert artifact["why"] == (None if holds else "over the budget: 66.67 points, 1 at most")
    assert artifact["file"] == ("model.int8-onnxruntime.onnx" if holds else None)
    assert artifact["recipe"] == ("int8-onnxruntime.toml" if holds else None)
    assert artifact["picture"] == ("int8-onnxruntime.svg" if holds else None)
    assert artifact["calibration"] == ("12 of 24 from classifier, seed 0" if holds else None)
    judged = artifact["judgements"][-1]
    assert (judged["metric"], judged["ok"], judged["max_drop"], judged["images"]) == ("top1", holds, 1.0, 12)
    assert artifact["judged_on"] == "onnxruntime"
    assert artifact["speed"].get("ratio") == (1.5 if holds else None)
    assert (artifact["method"], artifact["floats"]) == ("minmax", ["fragile"] if holds else [])
    assert (artifact["layers"], len(artifact["tried"])) == (6, 2 if holds else 1)
    assert artifact["search_seconds"] >= 0
    assert artifact["out_of_time"] is False


def test_json_of_a_card_and_of_numbers_that_are_none(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = candidates.judge

    def broken(exam: Any, answers: Any, **options: Any) -> Any:
        return real(
            exam, lambda batch: {name: value * float("nan") for name, value in answers(batch).items()}, **options
        )

    monkeypatch.setattr(candidates, "judge", broken)
    said = call("cards/classifier/colors.toml", *INT8, "--data", "data/classifier", *QUICK, "--json")
    assert said.code == 1
    told = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (told["bundle"], told["artifacts"][0]["why"]) == ("colors", "scores: not finite")
    assert told["artifacts"][0]["judgements"][0]["drop"] is None


# A kept calibration, and a recipe.


def test_ranges_are_kept_and_used_again_only_where_nothing_changed(
    call: Call, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = calibration.calibrate

    def calibrating(*given: Any, **more: Any) -> Any:
        calls.append(more["count"])
        return real(*given, **more)

    monkeypatch.setattr(calibration, "calibrate", calibrating)
    asked = (*INT8, "--calibration", "photos", "--ranges", "ranges.json", "--method", "error")
    assert call("bundle", *asked).code == 0
    assert call("bundle", *asked).code == 0
    assert calls == [12]
    assert json.loads(Path("ranges.json").read_text())["method"] == "error"

    photo = here / "photos" / next(iter(json.loads(Path("ranges.json").read_text())["images"]))
    content = photo.read_bytes()
    photo.write_bytes(content + b"x")
    before = contents(here)
    said = call("bundle", *asked)
    assert (said.code, said.out) == (2, "")
    assert (
        said.err == f"edgezoo: the calibration was made with other bytes of the image {photo.name}: calibrate again\n"
    )

    photo.write_bytes(content)
    before[f"photos/{photo.name}"] = content
    card = here / "cards" / "classifier" / "colors.toml"
    before["cards/classifier/colors.toml"] = card.read_bytes()
    card.write_text(
        card.read_text()
        .replace("mean = [0.0, 0.0, 0.0]", "mean = [0.0, 2.5, 0.0]")
        .replace("mean = [0, 0, 0]", "mean = [0, 2.5, 0]")
    )
    assert call(card, "-o", "other").code == 0
    said = call("other", *asked)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(
        "edgezoo: the calibration was made with mean (0.0, 0.0, 0.0), the recipe now says (0.0, 2.5, 0.0); and with "
    )
    assert said.err.count("\n") == 1
    assert calls == [12]
    assert [artifact.name for artifact in Bundle.open("other").manifest.artifacts] == ["fp32"]
    assert contents(here / "bundle") == {
        name.removeprefix("bundle/"): data for name, data in before.items() if name.startswith("bundle/")
    }


@pytest.mark.parametrize("edited", [False, True])
def test_a_recipe_makes_it_again(call: Call, here: Path, edited: bool) -> None:
    assert call("bundle", *INT8, "--data", "data/classifier", "-o", "first").code == 0
    recipe = here / "mine.toml"
    text = (here / "first" / "int8-onnxruntime.toml").read_text()
    assert '\nfloat = ["fragile"]\n' in text
    recipe.write_text(text.replace('["fragile"]', '["fragile", "head"]') if edited else text)
    said = call(
        "bundle",
        "--recipe",
        "mine.toml",
        "--data",
        "data/classifier",
        "--calibration",
        "data/classifier",
        "-o",
        "again",
    )
    assert (said.code, said.err) == (0, "")
    assert f"{'2 layers in float: fragile, head' if edited else '1 layer in float: fragile'}; ranges by " in said.out
    assert "  recipe again/int8-onnxruntime.toml\n" in said.out
    first, again = (Bundle.open(name).artifact("int8") for name in ("first", "again"))
    assert (first.sha256 == again.sha256) is not edited
    assert (first.recipe == again.recipe) is not edited


def test_a_recipe_from_the_bundle_itself_in_place(call: Call, here: Path) -> None:
    assert call("bundle", *INT8, "--data", "data/classifier").code == 0
    sha256 = Bundle.open("bundle").artifact("int8").sha256
    recipe = ("--recipe", "bundle/int8-onnxruntime.toml", "--data", "data/classifier")
    said = call("bundle", *recipe, *INT8, "--calibration", "data/classifier")
    assert said.code == 0
    assert Bundle.open("bundle").artifact("int8").sha256 == sha256
    assert call("bundle", *recipe).code == 0  # drawn from the labelled images, as it was
    assert Bundle.open("bundle").artifact("int8").sha256 == sha256
    said = call("bundle", *recipe[:2])
    assert said == Said(
        2,
        "",
        "edgezoo: the recipe's calibration: expected 12 images of 'classifier', which is no set of edgezoo's and not "
        "here; give --calibration with them, or --data if they were drawn from labelled images\n",
    )


# One line for what is wrong, and nothing is touched.

RECIPE = 'target = "onnxruntime"\nmethod = "minmax"\nfloat = ["fragile"]\ncalibration = "photos"\nimages = 12\n'


def recipe(old: str = "", new: str = "") -> Callable[[Path], None]:
    def write(here: Path) -> None:
        assert old in RECIPE
        (here / "r.toml").write_text(RECIPE.replace(old, new) if old else RECIPE)

    return write


def nothing(here: Path) -> None:
    pass


def few_photos(here: Path) -> None:
    for path in sorted((here / "photos").iterdir())[15:]:
        path.unlink()


def notes(here: Path) -> None:
    (here / "bundle" / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("arguments", "prepare", "says"),
    [
        # precisions
        ("bundle", nothing, "bundle: is a bundle already; to add to it, give --precision int8, fp16 or bf16"),
        ("bundle --precision fp32", nothing, "bundle: is a bundle already; to add to it, give --precision"),
        (
            "bundle --precision int8-opnvino",
            nothing,
            "no precision is called 'int8-opnvino'; did you mean 'int8-openvino'?",
        ),
        ("bundle --precision fp32,in8", nothing, "no precision is called 'in8'; did you mean 'int8'?"),
        ("bundle --precision ,", nothing, "expected --precision as names with commas between, got ','"),
        (
            "bundle --precision fp16,,int8",
            nothing,
            "expected --precision as names with commas between, got 'fp16,,int8'",
        ),
        ("cards/detector/cells.toml --precision int4", nothing, "did you mean 'int8'?"),
        # options that say nothing where they are given
        ("bundle --precision fp16 --size 64x64", nothing, "bundle: is a bundle, of which --size is fixed; convert its"),
        ("bundle --precision fp16 --batch 2", nothing, "of which --batch is fixed"),
        ("bundle --precision fp16 --weights x.pth", nothing, "of which --weights is fixed"),
        ("bundle --precision fp16 --labels l.txt", nothing, "of which --labels is fixed"),
        ("bundle --precision fp16 --images photos", nothing, "of which --images is fixed"),
        (
            "cards/detector/cells.toml --max-drop 2",
            nothing,
            "expected --max-drop for a lower precision, asked for is fp32",
        ),
        (
            "cards/detector/cells.toml --no-search",
            nothing,
            "expected --search for a lower precision, asked for is fp32",
        ),
        ("bundle --precision fp32 --data data/classifier", nothing, "expected --data for a lower precision"),
        (
            "bundle --precision int8-openvino,fp16 --tensorrt 8.6",
            nothing,
            "expected --tensorrt for int8-tensorrt, asked for is int8-openvino, fp16; leave it out",
        ),
        ("bundle --precision fp16 --no-search", nothing, "expected --search for int8, asked for is fp16; leave it out"),
        (
            "bundle --precision fp16 --search-minutes 1",
            nothing,
            "expected --search-minutes for int8, asked for is fp16",
        ),
        # terms
        ("bundle --precision int8 --max-drop -1", nothing, "expected a budget of 0 points or more, got -1.0"),
        ("bundle --precision int8 --max-drop nan", nothing, "expected a budget of 0 points or more, got nan"),
        ("bundle --precision int8 --max-drop x", nothing, "--max-drop: invalid float value: 'x'"),
        ("bundle --precision int8 --search-minutes -2", nothing, "expected 0 minutes or more for the search, got -2.0"),
        ("bundle --precision int8 --method entrpy", nothing, "no method is called 'entrpy'; did you mean 'entropy'?"),
        ("bundle --precision int8 --tensorrt 9", nothing, "no TensorRT version is called '9'"),
        (
            "bundle --precision int8 --calibration-images 0",
            nothing,
            "expected 8 or more images to calibrate with, asked for 0",
        ),
        ("bundle --precision int8 --seed -1", nothing, "expected a seed of 0 or more, got -1"),
        # images
        (
            "bundle --precision int8",
            nothing,
            "colors: expected images to calibrate with and to judge by, got none; give --calibr",
        ),
        ("bundle --precision int8 --calibration phtos", nothing, "phtos"),
        ("bundle --precision int8 --calibration no/such", nothing, "expected images, found nothing at 'no/such'"),
        ("bundle --precision int8 --calibration r.toml", recipe(), "r.toml: expected an image set in TOML"),
        (
            "bundle --precision int8 --calibration photos",
            few_photos,
            "photos: expected at least 8 images to calibrate with, got 7, half of those there are, for",
        ),
        ("bundle --precision int8 --data no/such", nothing, "no/such"),
        ("bundle --precision int8 --data photos --calibration photos", nothing, "photos"),
        # recipes
        ("bundle --recipe gone.toml", nothing, "gone.toml: expected a recipe, got no such file"),
        ("bundle --recipe r.toml", recipe("= 12", "="), "r.toml: expected a recipe in TOML: "),
        ("bundle --recipe r.toml", recipe("runtime", "rt"), "no target of int8 is called 'onnxrt'; did you mean"),
        (
            "bundle --recipe r.toml",
            recipe("minmax", "minimax"),
            "no method is called 'minimax'; did you mean 'minmax'?",
        ),
        (
            "bundle --recipe r.toml",
            recipe("fragile", "fragil"),
            "the network has no layer 'fragil' that int8-onnxruntime",
        ),
        (
            "bundle --recipe r.toml",
            recipe("photos", "lost"),
            "the recipe's calibration: expected 12 images of 'lost', which is no",
        ),
        ("bundle --recipe r.toml", recipe("= 12", "= 3"), "expected 8 or more images to calibrate with, asked for 3"),
        (
            "bundle --recipe r.toml --method error",
            recipe(),
            "r.toml: a recipe says already what --method does; edit a copy",
        ),
        ("bundle --recipe r.toml --seed 0", recipe(), "r.toml: a recipe says already what --seed does"),
        (
            "bundle --recipe r.toml --precision int8",
            recipe(),
            "r.toml: makes int8-onnxruntime, asked for is int8-onnxruntime,",
        ),
        (
            "bundle --recipe r.toml --precision fp16",
            recipe(),
            "r.toml: makes int8-onnxruntime, asked for is fp16; leave out",
        ),
        # bundles
        (
            "bundle --precision fp16 --calibration photos",
            notes,
            "bundle: holds 'notes.txt', which is no part of a bundle",
        ),
        (
            "bundle --precision fp16 --calibration photos -o detector",
            nothing,
            "detector: holds a bundle of cells; choose",
        ),
        (
            "bundle --precision fp16 --calibration photos -o photos",
            nothing,
            "photos: expected a new folder for the bundle",
        ),
        (
            "bundle --precision fp16 --method minmax --ranges bundle/bundle.json --calibration photos",
            nothing,
            "expected a calibration",
        ),
        (
            "bundle --precision int8 --method minmax --ranges no/such/r.json --calibration photos",
            nothing,
            "no/such/r.json: expected a folder that is there, got none; make no/such first",
        ),
        (
            "bundle --precision int8 --ranges r.json --calibration photos",
            nothing,
            "r.json: keeps the ranges of one method, got none; give --method, as --method error",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(
    call: Call, here: Path, arguments: str, prepare: Callable[[Path], None], says: str
) -> None:
    prepare(here)
    before = contents(here)
    said = call(*arguments.split())
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert said.err.startswith("edgezoo: ")
    assert said.err.count("\n") == 1
    assert contents(here) == before


def test_a_licence_that_is_not_wanted(call: Call, here: Path) -> None:
    card = here / "cards" / "classifier" / "colors.toml"
    card.write_text(card.read_text().replace('"MIT"', '"AGPL-3.0"'))
    assert call(card, "-o", "free").code == 0
    asked = ("--precision", "fp16", "--calibration", "photos", "--allow", "permissive")
    assert call("free", *asked) == Said(2, "", "edgezoo: free: code AGPL-3.0, weights AGPL-3.0: not permissive\n")
    assert call("bundle", *asked).code == 0


def test_ctrl_c_leaves_all_as_it_was(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(candidates, "judge", stop)
    before = contents(here)
    said = call("bundle", "--precision", "fp16", "--calibration", "photos")
    assert (said.code, said.out) == (130, "")
    assert contents(here) == before


def test_a_model_s_name_where_its_bundle_lies(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is added to; with something about fp32 the name is the model's, which is converted again."""
    from edgezoo.cli import convert_

    monkeypatch.setattr(convert_, "zoo_names", lambda: ["colors"])
    (here / "bundle").rename(here / "colors")
    converted: list[str] = []

    def again(args: Any) -> Bundle:
        converted.append(args.model)
        return Bundle.open("colors")

    monkeypatch.setattr(convert_, "_converted", again)
    assert call("colors", "--precision", "fp16", "--calibration", "photos").code == 0
    assert converted == []
    for more in ([], ["--precision", "fp32,fp16", "--calibration", "photos"], ["--batch", "dynamic"]):
        assert call("colors", *more).code == 0
    assert converted == 3 * ["colors"]


def test_fp32_made_again_keeps_what_was_made_of_the_same_graph(call: Call, here: Path) -> None:
    card = here / "cards" / "classifier" / "colors.toml"
    assert call("bundle", *INT8, "--precision", "int8-onnxruntime,fp16", "--data", "data/classifier", *QUICK).code == 0
    before = contents(here / "bundle")
    assert call(card, "-o", "bundle")[::2] == (0, "")
    assert [artifact.name for artifact in Bundle.open("bundle").manifest.artifacts] == [
        "fp32", "int8-onnxruntime", "fp16",
    ]  # fmt: skip
    assert contents(here / "bundle").keys() == before.keys()
    again = Bundle.open("bundle").artifact("int8")
    assert again.recipe
    assert again.picture

    said = call(card, "-o", "bundle", "--batch", "2")
    assert said.code == 0
    assert said.err == (
        "int8-onnxruntime, fp16: made of another fp32 graph than this one, and gone; to make again: "
        f"edgezoo convert {card} --precision fp32,int8-onnxruntime,fp16\n"
    )
    assert sorted(contents(here / "bundle")) == ["NOTICE", "bundle.json", "golden.npz", "model.fp32.onnx"]


# While it goes on.


def test_progress_is_one_line_that_does_not_move(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(show, "err", console)
    monkeypatch.setattr(TimeRemainingColumn, "max_refresh", None)  # else it shows for a while what it did
    shown = []
    with show.stages() as tell:
        for text, done, total in (("looking", 0, 0), ("[x] counting", 3, 40), ("long " * 40, 100, 113), ("b", 0, 0)):
            tell(text, done, total)
            file.truncate(file.seek(0))
            for live in console._live_stack:
                live.refresh()
            shown.append(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", file.getvalue()))
    assert [len(line) for line in shown] == [78] * 4  # two columns are left for the ^C that a terminal echoes
    assert all(re.search(r" 0:0\d$", line) for line in shown)
    starts = [line.index(text) for line, text in zip(shown, ("looking", "[x] counting", "long long", "b  "))]
    assert len(set(starts)) == 1
    assert [line[26 : starts[0]].split() for line in shown] == [[], ["3/40", "--:--"], ["100/113", "--:--"], []]


def test_a_pipe_hears_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    with show.stages() as tell:
        tell("calibrating", 3, 40)
    assert capfd.readouterr() == ("", "")
