"""The command line: what each verb prints, and one line for whatever is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import graphs
import numpy as np
import pytest

from edgezoo import __version__
from edgezoo.bundle import MANIFEST, Bundle
from edgezoo.cards import names, read_card
from edgezoo.cli import VERBS, main
from edgezoo.preprocess import Preprocess

cv2 = pytest.importorskip("cv2", reason="photos are made with OpenCV")
pytest.importorskip("onnxruntime", reason="bundles are run")

EDGEZOO = [sys.executable, "-c", "from edgezoo.cli import main; raise SystemExit(main())"]
RECIPE = Preprocess(size_wh=(96, 64), fit="letterbox")
PROGRESS = (
    *("reading the network", "asking the original", "putting door and exit", "writing the bundle", "fetching "),
    "squares fp32, onnxruntime",
)


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """On stderr, without what tells that work goes on."""
        return [line for line in self.err.splitlines() if not line.startswith(PROGRESS)]


Call = Callable[..., Said]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Runs a verb in this process, with all that it and its libraries print."""
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return Said(code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle_of: Callable[..., Bundle]) -> Path:
    """A folder to be in, with a bundle, a card with its graph, photos, and things that are none."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle_of("squares", RECIPE).folder, tmp_path / "bundle")
    graphs.card_of("squares", tmp_path / "card", RECIPE)
    (tmp_path / "photos").mkdir()
    for k, color in enumerate(graphs.COLORS):
        image = graphs.scene((192, 128), (40, 30, 100, 90), color)
        cv2.imwrite(str(tmp_path / "photos" / f"{k}.png"), image)
    shutil.copy(tmp_path / "photos" / "2.png", tmp_path / "red.png")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "text.jpg").write_text("not a photo")
    return tmp_path


def edgezoo(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """As a person runs it: a process of its own."""
    command = [*EDGEZOO, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


# Every verb.


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(call: Call, verb: str) -> None:
    said = call(verb, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: edgezoo {verb}")
    assert said.err == ""


def test_help_lists_every_verb(call: Call) -> None:
    said = call("--help")
    assert all(f"\n    {verb} " in said.out for verb in VERBS)


def test_version(call: Call) -> None:
    assert call("--version") == Said(0, f"edgezoo {__version__}\n", "")


# list, info, pull, card.


def test_list(call: Call) -> None:
    said = call("list")
    assert said.code == 0
    assert all(name in said.out for name in names())
    models = call("list", "--json").json["models"]
    assert [model["name"] for model in models] == names()
    assert {model["task"] for model in call("list", "--json", "--task", "detect").json["models"]} == {"detect"}
    permissive = call("list", "--json", "--allow", "permissive").json["models"]
    assert all(model["licence"]["permissive"] for model in permissive)


def test_info_of_a_model(call: Call) -> None:
    said = call("info", "yolox_nano")
    assert said.code == 0
    for told in ("YOLOX-Nano", "416x416 BGR, letterbox top-left on 114", "Apache-2.0", read_card("yolox_nano").origin):
        assert told in said.out
    data = call("info", "yolox_nano", "--json").json
    assert data["onnx"]["sha256"] == read_card("yolox_nano").onnx.sha256  # type: ignore[union-attr]
    assert "path" not in data


def test_info_of_a_bundle_and_of_a_card(call: Call, here: Path) -> None:
    said = call("info", "bundle")
    assert "bundle, detect, 3 classes" in said.out
    assert "scored_boxes_px" in said.out
    written = json.loads((here / "bundle" / MANIFEST).read_text())
    assert call("info", "bundle", "--json").json == {name: value for name, value in written.items() if name != "digest"}
    assert call("info", "card/squares.toml", "--json").json["file"] == "squares.onnx"


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_pull(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch, how: list[str]) -> None:
    monkeypatch.setenv("EDGEZOO_CACHE", str(here / "cache"))
    monkeypatch.setenv("EDGEZOO_MIRROR", str(here / "card"))
    remote = '[onnx]\nurl = "https://host/squares.onnx"\nsha256 = "00000000"\n\n[decoder]'
    text = (here / "card" / "squares.toml").read_text().replace("[decoder]", remote)
    (here / "mine.toml").write_text(text)
    said = call("pull", "mine.toml", *how)
    assert said.code == 2
    assert "expected SHA-256 00000000" in said.err
    digest = hashlib.sha256((here / "card" / "squares.onnx").read_bytes()).hexdigest()
    (here / "mine.toml").write_text(text.replace("00000000", digest))
    said = call("pull", "mine.toml", *how)
    assert said.code == 0
    assert said.err == ""
    if how:
        (file,) = said.json["files"]
        assert (file["model"], file["kind"]) == ("squares", "onnx")
        assert Path(file["path"]).read_bytes() == (here / "card" / "squares.onnx").read_bytes()
    else:
        assert said.out.startswith("✓ squares onnx")
    assert call("pull", "mine.toml", "--only", "checkpoint", "--json").json == {"files": []}


def test_card(call: Call, here: Path) -> None:
    said = call("card", "card/squares.onnx")
    assert said.code == 0
    assert 'name = "boxes-scores"' in said.out
    said = call("card", "card/squares.onnx", "-o", "new.toml")
    assert said.code == 0
    assert "fill in the lines with SAY, then: edgezoo convert new.toml" in said.err
    assert read_card("new.toml").decoder.name == "boxes-scores"
    said = call("card", "card/squares.onnx", "-o", "new.toml")
    assert (said.code, said.lines) == (
        2,
        ["edgezoo: new.toml: is there already; choose another name, or remove it first"],
    )


# convert.


def test_convert(call: Call, here: Path) -> None:
    said = call("convert", "card/squares.toml")
    assert said.code == 0
    assert "✓ squares  squares, 96x64, fp32" in said.out
    assert (
        "agrees with onnxruntime on the original .onnx on 8 seeded scenes; largest differences: boxes (px) 0"
        in said.out
    )
    assert "any size, proved at [1, 2, 8]" in said.out
    assert said.lines == []
    assert Bundle.open("squares").manifest.name == "squares"


def test_convert_as_json(call: Call, here: Path) -> None:
    said = call("convert", "card/squares.toml", "-o", "out", "--batch", "2", "--images", "photos", "--json")
    assert said.code == 0
    assert said.json["batch"] == 2
    assert said.json["agreement"]["images"] == 3
    assert said.json["bundle"] == "out"


def test_convert_that_disagrees_ends_with_1(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgezoo.tasks import detect

    monkeypatch.setattr(detect, "TOLERANCE", dict.fromkeys(detect.TOLERANCE, -1.0))
    said = call("convert", "card/squares.toml", "-o", "out")
    assert said.code == 1
    (line,) = said.lines
    assert line.startswith("edgezoo: the artifact does not answer like the original: ")
    assert not (here / "out").exists()


# run and demo.


def test_run_on_a_photo(call: Call, here: Path) -> None:
    said = call("run", "bundle", "red.png")
    assert said.code == 0
    assert said.out == "red.png  1 red\n"
    assert said.err.startswith("squares fp32, onnxruntime")
    assert "1 frames delivered of 1" in said.err


def test_run_on_a_folder(call: Call, here: Path) -> None:
    said = call("run", "bundle", "photos/")
    assert [line.split()[-2:] for line in said.out.splitlines()] == [["1", "blue"], ["1", "green"], ["1", "red"]]


def test_run_as_json(call: Call, here: Path) -> None:
    data = call("run", "bundle", "photos/", "--json", "--batch", "2").json
    assert (data["grabbed"], data["delivered"], data["failed"]) == (3, 3, 0)
    assert data["stages"]["infer"]["n"] == 2


def test_run_into_files(call: Call, here: Path) -> None:
    said = call(
        "run",
        "bundle",
        "photos/*.png",
        "--sink",
        "out.jsonl",
        "--sink",
        "drawn/",
        "--classes",
        "red,1",
        "--score",
        "0.5",
    )
    assert said.code == 0
    rows = [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]
    found = [[entry["label"] for entry in row["detections"]] for row in rows if "detections" in row]
    assert found == [[], ["green"], ["red"]]
    assert len(list((here / "drawn").iterdir())) == 3


def test_run_on_a_live_source(call: Call, here: Path) -> None:
    said = call(
        "run", "bundle", "synthetic:#fps=200&size=96x64", "--frames", "5", "--sink", "null", "--json", "--workers", "2"
    )
    assert said.code == 0
    assert said.json["delivered"] == 5


def test_run_several_sources(call: Call, here: Path) -> None:
    source = "synthetic:#frames=4&live=0&size=96x64&seed="
    said = call("run", "bundle", f"{source}1", f"{source}2", "--sink", "null", "--json")
    assert said.json["delivered"] == 8


def test_run_with_json_lines_on_stdout(call: Call, here: Path) -> None:
    said = call("run", "bundle", "red.png", "--sink", "-")
    assert said.code == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert any(row.get("detections") for row in rows)


def test_run_on_a_card(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEZOO_CACHE", str(here / "cache"))
    assert call("run", "card/squares.toml", "red.png").out == "red.png  1 red\n"
    said = call("run", "card/squares.toml", "red.png")
    assert "reading the network" not in said.err  # it is in the cache now


def test_demo(call: Call, here: Path) -> None:
    said = call("demo", "synthetic:#frames=3&live=0&size=96x64", "--model", "bundle", "--sink", "out.mp4")
    assert said.code == 0
    assert (here / "out.mp4").stat().st_size > 0


@pytest.mark.parametrize("name", ["a [bold]b", "x[/y]", "[red]"])
def test_names_are_printed_as_they_are(call: Call, here: Path, name: str) -> None:
    """What stands in brackets is no markup of ours."""
    folder = here / name.replace("/", "")
    shutil.copytree(here / "card", folder)
    (folder / "labels.txt").write_text("b\ng\n" + name + "\n")
    card = folder / "squares.toml"
    card.write_text(f"title = '{name}'\nabout = '{name}'\norigin = '{name}'\n" + card.read_text())
    said = call("convert", card, "-o", folder / "out")
    assert (said.code, said.lines) == (0, [])
    assert f"/out  {name}, 96x64" in said.out
    photo = folder / f"{name.replace('/', '')}.png"
    shutil.copy(here / "red.png", photo)
    said = call("run", folder / "out", photo)
    assert said.out == f"{photo}  1 {name}\n"
    assert said.err.startswith(f"{name} fp32")
    for what in (card, folder / "out"):
        said = call("info", what)
        assert (said.code, said.err) == (0, "")
        assert name in said.out


# What is wrong is said in one line.


def spoil_manifest(here: Path) -> None:
    path = here / "bundle" / "model.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def edit_card(old: str, new: str) -> Callable[[Path], None]:
    def edit(here: Path) -> None:
        card = here / "card" / "squares.toml"
        assert old in card.read_text()
        card.write_text(card.read_text().replace(old, new))

    return edit


def lose_card(here: Path) -> None:
    (here / "card" / "squares.toml").unlink()


def nothing(here: Path) -> None:
    pass


def thesis(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "thesis.txt").write_text("mine")


@pytest.mark.parametrize(
    ("arguments", "prepare", "says"),
    [
        # sources
        ("run bundle gone.jpg", nothing, "expected an image, found no file at gone.jpg"),
        ("run bundle gone.mp4", nothing, "expected a file, found none at gone.mp4"),
        ("run bundle text.jpg", nothing, "text.jpg: expected an image, got a file that cannot be read as one"),
        ("run bundle card/", nothing, "expected images in the folder card/, found none"),
        ("run bundle *.tif", nothing, "expected images that match *.tif, found none"),
        ("run bundle camera:97", nothing, "camera:97"),
        ("run bundle cam:0", nothing, "no source is called 'cam'; did you mean 'camera'"),
        ("run bundle synthetic:#fsp=3", nothing, "no option is called 'fsp'; did you mean 'fps'"),
        # sinks
        ("run bundle red.png --sink out.mp5", nothing, "no sink is called 'out.mp5'; did you mean 'out.mp4'"),
        ("run bundle red.png --sink no/out.mp4", nothing, "expected a folder to put out.mp4 into"),
        # models and bundles
        ("run yolox_nan red.png", nothing, "no model is called 'yolox_nan'; did you mean 'yolox_nano'"),
        ("run card red.png", nothing, "card: expected a bundle, but it has no bundle.json"),
        (
            "run mobilenet_v2 red.png",
            nothing,
            "mobilenet_v2 has no official .onnx; make its bundle once with `edgezoo convert",
        ),
        (
            "run card/squares.onnx red.png",
            nothing,
            "card/squares.onnx: is a graph, not a card or a bundle; try: edgezoo card card/squares.onnx",
        ),
        ("run bundle red.png", spoil_manifest, "bundle/model.fp32.onnx: its SHA-256 is not the one in bundle.json"),
        ("info bundle", spoil_manifest, "its SHA-256 is not the one in bundle.json"),
        ("info yoloxnano", nothing, "did you mean 'yolox_nano'"),
        ("pull yoloxnano", nothing, "did you mean 'yolox_nano'"),
        ("pull", nothing, "expected the name of a model, or --all"),
        # what is wanted of a run
        (
            "run bundle red.png --size 63x",
            nothing,
            "--size: expected a size as WIDTHxHEIGHT in pixels, such as 640x480, got '63x'",
        ),
        (
            "run bundle red.png --size 64x64",
            nothing,
            "this bundle takes 96x64 px; another size needs `edgezoo convert --size`",
        ),
        ("run bundle red.png --score 2", nothing, "expected score within 0..1, got 2.0"),
        ("run bundle red.png --score x", nothing, "--score: invalid float value: 'x'"),
        ("run bundle red.png --classes gren", nothing, "no class is called 'gren'; did you mean 'green'"),
        ("run bundle red.png --threads 0", nothing, "expected 1 thread or more, got 0"),
        ("run bundle red.png --device gpu", nothing, "expected device cpu, cuda or cuda:N, got 'gpu'"),
        ("run bundle red.png --backend tenssort", nothing, "no backend is called 'tenssort'"),
        (
            "run bundle red.png --precision int8",
            nothing,
            "no artifact of precision 'int8' for onnxruntime; there is: fp32",
        ),
        ("run bundle red.png --workers 0", nothing, "workers"),
        ("run bundle red.png --batch 0", nothing, "batch"),
        ("run bundle red.png --frames 0", nothing, "frames"),
        # cards and conversions
        (
            "convert card/squares.toml -o out",
            edit_card("fit =", "fitt ="),
            "input.fitt: no such key; did you mean 'fit'",
        ),
        ("info card/squares.toml", edit_card("task =", "taks ="), "taks: no such key; did you mean 'task'"),
        (
            "convert card/squares.onnx -o out",
            lose_card,
            "draft a card with `edgezoo card card/squares.onnx -o card/squares.toml`",
        ),
        ("convert gone.toml -o out", nothing, "gone.toml: expected a card, got no such file"),
        ("convert gone.onnx -o out", nothing, "gone.onnx: expected an .onnx file, got no such file"),
        ("convert resnt18 -o out", nothing, "did you mean 'resnet18'"),
        ("convert card/squares.toml -o out", thesis, "out: expected a new folder for the bundle"),
        ("convert card/squares.toml -o out --labels gone.txt", nothing, "gone.txt: expected class names as UTF-8 text"),
        (
            "convert card/squares.toml -o out --images gone",
            nothing,
            "expected an image, found no file at gone",
        ),
        (
            "convert card/squares.toml -o out --batch 0",
            nothing,
            "--batch: expected a batch size of 1 to 1024, or dynamic, got '0'",
        ),
        ("convert card/squares.toml -o out --size 64x64", nothing, "the graph is fixed at 96x64 px, asked for 64x64"),
        ("convert card/squares.toml -o out --allow permissive", edit_card('"MIT"', '"AGPL-3.0"'), "not permissive"),
        ("convert card/squares.toml -o out --weights gone.onnx", nothing, "gone.onnx: expected an ONNX graph"),
        ("card gone.onnx", nothing, "gone.onnx: expected an .onnx file: No such file or directory"),
        ("card text.mp4", nothing, "text.mp4: not an ONNX file"),
        ("card card/squares.onnx -o no/such/x.toml", nothing, "no/such"),
        # the line itself
        ("", nothing, "required: VERB"),
        ("rnu", nothing, "'rnu'"),
        ("run", nothing, "required: model, SOURCE"),
        ("list --task segment", nothing, "--task: invalid choice: 'segment'"),
        ("list --jsno", nothing, "unrecognized arguments: --jsno"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(
    call: Call, here: Path, arguments: str, prepare: Callable[[Path], None], says: str
) -> None:
    prepare(here)
    before = sorted(here.rglob("*"))
    said = call(*arguments.split())
    assert said.code == 2
    assert says in said.err
    (line,) = said.lines
    assert line.startswith("edgezoo: ")
    assert said.out == ""
    assert "secret" not in said.err
    assert sorted(here.rglob("*")) == before


def test_asked_for_cuda_without_it(call: Call, here: Path) -> None:
    if "CUDAExecutionProvider" in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip("this machine has CUDA")
    said = call("run", "bundle", "red.png", "--device", "cuda")
    assert said.code == 2
    (line,) = said.lines
    assert "asked for cuda, but this onnxruntime has only" in line


def test_a_card_that_is_not_permissive_is_not_listed(call: Call, here: Path) -> None:
    edit_card('"MIT"', '"AGPL-3.0"')(here)
    assert call("convert", "card/squares.toml", "-o", "out").code == 0
    assert call("pull", "card/squares.toml", "--allow", "permissive").code == 2


# A process of its own.


def test_as_a_process(here: Path) -> None:
    done = edgezoo("run", "bundle", "red.png", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["delivered"] == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("text.mp4", "text.mp4: expected a video, got a file that FFmpeg cannot read as one"),
        ("rtsp://me:secret@127.0.0.1:9/live#timeout=1", "rtsp://127.0.0.1:9/live: expected a video stream"),
        ("cut.mp4", "cut.mp4: expected"),
    ],
)
def test_what_ffmpeg_cannot_read_is_one_line(here: Path, source: str, says: str, request: Any) -> None:
    """In a process of its own: what FFmpeg prints by itself cannot be silenced once it has been used."""
    if source == "cut.mp4":
        whole = (request.getfixturevalue("test_data") / "media" / "bottle-detection.mp4").read_bytes()
        (here / source).write_bytes(whole[: len(whole) * 6 // 10])
    done = edgezoo("run", "bundle", source, "--sink", "null")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(PROGRESS)]
    assert line.startswith("edgezoo: ")
    assert says in line
    assert "secret" not in line


@pytest.mark.skipif(os.name != "posix", reason="needs a shell with pipes")
def test_a_reader_that_went_away(here: Path) -> None:
    line = f"{shlex.join(EDGEZOO)} run bundle 'synthetic:#live=0&size=96x64&frames=300' --sink - | head -n 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(done.stdout)
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_kill_leaves_a_whole_recording(here: Path, number: signal.Signals) -> None:
    command = [*EDGEZOO, "run", "bundle", "synthetic:#size=96x64", "--sink", "out.mp4", "--sink", "out.jsonl"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    rows = here / "out.jsonl"
    parts = [rows, here / "out.part.jsonl"]
    deadline = time.monotonic() + 30
    while not any(part.exists() and part.read_text().count("\n") > 3 for part in parts) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err
    video = cv2.VideoCapture(str(here / "out.mp4"))
    assert video.read()[0]
    video.release()
    assert all(json.loads(line) for line in rows.read_text().splitlines())


@pytest.mark.parametrize("verb", [["verify", "bundle"], ["run", "--help"], ["doctor"]], ids=" ".join)
def test_where_letters_are_missing(here: Path, verb: list[str]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*EDGEZOO, *verb], capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_while_it_starts(here: Path) -> None:
    code = "import argparse, os, signal\nParser = argparse.ArgumentParser\nnew = Parser.add_subparsers\n"
    code += "Parser.add_subparsers = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT) or new(*a, **k)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "from edgezoo.cli import main; raise SystemExit(main())", "list"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("sink", ["clip.mp4", "./clip.mp4"])
def test_a_sink_never_writes_over_its_source(sink: str, here: Path, call: Call) -> None:
    writer = cv2.VideoWriter(str(here / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    before = (here / "clip.mp4").read_bytes()
    said = call("run", "bundle", "clip.mp4", "--sink", sink)
    assert said.code == 2
    assert "would write over what is read from there" in said.err
    assert (here / "clip.mp4").read_bytes() == before


def test_a_folder_of_photos_is_not_drawn_over(here: Path, call: Call) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "red.png").write_bytes((here / "red.png").read_bytes())
    said = call("run", "bundle", "mine/", "--sink", "mine/")
    assert said.code == 2
    assert (here / "mine" / "red.png").read_bytes() == (here / "red.png").read_bytes()


def test_photos_that_a_shell_names_one_by_one_are_one_source(here: Path, call: Call) -> None:
    for name in ("b.png", "a.png"):
        (here / name).write_bytes((here / "red.png").read_bytes())
    said = call("run", "bundle", "b.png", "a.png", "red.png")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == ["b.png", "a.png", "red.png"]
