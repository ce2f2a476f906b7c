"""`edgezoo cache`: what is kept, which compiled engines fit this machine, and that clearing stays within its folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_modules import faked
from rich.console import Console

from edgezoo import cache
from edgezoo.backends.tensorrt import cuda, private
from edgezoo.backends.tensorrt.compiling import compile_graph
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.cli import main, show

HASH = "0123456789abcdef"


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self.out.splitlines() if line.strip()]


Call = Callable[..., Said]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str, **environment: str) -> Said:
        capfd.readouterr()
        with monkeypatch.context() as patch, faked(patch, **environment):
            code = main(["cache", *arguments])
        return Said(code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one thing of each kind but engines, and files of which nobody knows whose they are."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEZOO_CACHE", str(folder))
    monkeypatch.setenv("COLUMNS", "100")
    for name, size in {
        f"weights/{HASH}/net.onnx": 1_000_000,
        "bundles/net-64x48-01234567/bundle.json": 100,
        "bundles/net-64x48-01234567/model.fp32.onnx": 300_000,
        "speeds/net-0123456789ab.json": 2_000,
        f"mirrors/{HASH}": 80,
        **dict.fromkeys(STRANGERS, 7),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(size))
    return folder


STRANGERS = (
    "notes.txt", "weights/best.pth", f"weights/{HASH[1:]}/mine.onnx", "bundles/mine/bundle.json", "speeds/mine.json",
    "mirrors/mine", "engines/mine.txt", "somebody/elses.file", f"weights/{HASH}/.hidden",
)  # fmt: skip


def build(artifact: str, **environment: str) -> None:
    """A compiled engine as the machine of that environment has it."""
    with pytest.MonkeyPatch.context() as patch, faked(patch, **environment):
        here = cuda.facts(0)
    content = json.dumps({"engine": artifact, "timing": "times"}).encode()
    compile_graph(content, called="net", artifact=artifact, here=here, options=BuildOptions(), builder="fake_builder")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_what_is_listed(folder: Path, call: Call) -> None:
    said = call("list")
    assert said.code == 0
    assert said.lines[2:] == [
        "weights net.onnx 1.0 MB now",
        "bundles net-64x48 0.3 MB now",
        "speeds net 2.0 kB now",
        "mirrors 0123456789abcdef 0.1 kB now",
        f"4 things, 1.3 MB {folder}",
    ]
    told = json.loads(call("list", "--json").out)
    assert [(each["kind"], each["bytes"]) for each in told["kept"]] == [
        ("weights", 1_000_000),
        ("bundles", 300_100),
        ("speeds", 2_000),
        ("mirrors", 80),
    ]
    assert told["bytes"] == 1_302_180
    assert all(Path(each["path"]).exists() for each in told["kept"])
    assert [each["kind"] for each in json.loads(call("list", "speeds", "--json").out)["kept"]] == ["speeds"]


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "none"))
    assert call("list").lines == [f"nothing is kept {tmp_path / 'none'}"]
    assert call("clear", "--all").lines == ["nothing to remove"]
    assert call("clear", "--stale").lines == ["nothing to remove"]
    assert not (tmp_path / "none").exists()


def test_ages(folder: Path, call: Call) -> None:
    ages = {
        f"weights/{HASH}/net.onnx": (90, "1 min"),
        "bundles/net-64x48-01234567": (7300, "2 h"),
        "speeds/net-0123456789ab.json": (90000, "1 day"),
        f"mirrors/{HASH}": (-9e6, "now"),  # a clock that went back
    }
    for name, (age_s, _) in ages.items():
        os.utime(folder / name, (time.time() - age_s,) * 2)
    told = call("list").lines[2:6]
    assert all(line.endswith(f"B {age}") for line, (_, age) in zip(told, ages.values(), strict=True))


def test_engines_that_fit_and_engines_that_do_not(folder: Path, call: Call) -> None:
    build("fp16")
    build("int8-tensorrt", FAKE_DRIVER="12060")
    (folder / "engines" / "left-behind.engine").write_bytes(b"no record")
    os.utime(folder / "engines" / "left-behind.engine", (time.time() - 90,) * 2)
    lines = call("list", "engines").lines
    assert [line.rpartition(" ")[2] for line in lines[2:5]] == ["✗", "✓", "✗"]
    assert lines[3].startswith("net fp16 1 11.4.0.106 NVIDIA Fake RTX ")
    assert lines[4] == "left-behind ? ? ? 0.0 kB 1 min ✗"
    assert "✗ net int8-tensorrt: CUDA was 12.6, here is 13.1" in lines
    assert "✗ left-behind: has no record: it is gone" in lines
    kept = json.loads(call("list", "--json").out)["kept"]
    engines = {each["name"]: each for each in kept if each["kind"] == "engines"}
    assert {name: each["fits"] for name, each in engines.items()} == {
        "net fp16": True,
        "net int8-tensorrt": False,
        "left-behind": False,
    }
    assert engines["net fp16"]["record"]["facts"]["gpu"] == "NVIDIA Fake RTX"
    timings = [each["name"] for each in kept if each["kind"] == "timings"]
    assert timings == ["TensorRT 11.4.0.106, NVIDIA Fake RTX (8.9)"]


def test_an_engine_of_any_gpu_of_the_machine_fits(folder: Path, call: Call) -> None:
    build("fp16", FAKE_GPU="NVIDIA Other:7.5")
    both = "NVIDIA Fake RTX:8.9;NVIDIA Other:7.5"
    assert call("clear", "--stale", FAKE_GPU=both).lines == ["nothing to remove"]
    assert call("list", "engines", FAKE_GPU=both).lines[2].endswith("✓")
    assert call("clear", "--stale").lines[0].startswith("✓ engines: 1 removed")


def test_where_nobody_can_tell_what_fits(folder: Path, call: Call) -> None:
    build("fp16")
    said = call("list", FAKE_CUDA="none")
    assert said.code == 0
    assert any(line.startswith("net fp16") and line.endswith("?") for line in said.lines)
    assert any(
        line.startswith("? nobody can tell which fit: TensorRT 11.4.0.106 needs an NVIDIA GPU") for line in said.lines
    )
    assert json.loads(call("list", "engines", "--json", FAKE_CUDA="none").out)["kept"][0]["fits"] is None
    refused = call("clear", "--stale", FAKE_CUDA="none")
    assert refused.code == 2
    assert "nobody can tell which engines are for this machine" in refused.err
    assert len(list((folder / "engines").glob("*.engine"))) == 1


def test_clearing_by_kind(folder: Path, call: Call) -> None:
    before = files(folder)
    said = call("clear", "weights", "mirrors")
    assert said.lines == ["✓ weights: 1 removed, 1.0 MB", "✓ mirrors: 1 removed, 0.1 kB"]
    assert before - files(folder) == {f"weights/{HASH}/net.onnx", f"mirrors/{HASH}"}
    assert json.loads(call("clear", "speeds", "--json").out)["bytes"] == 2_000


def test_clearing_all_leaves_what_is_not_ours(folder: Path, call: Call) -> None:
    build("fp16")
    said = call("clear", "--all")
    assert said.code == 0
    assert [line.split()[1] for line in said.lines] == [
        "weights:",
        "bundles:",
        "engines:",
        "timings:",
        "speeds:",
        "mirrors:",
    ]
    left = {name for name in files(folder) if not name.startswith(("engines/locks/", "engines/key"))}
    assert left == set(STRANGERS)
    build("fp16")  # and all goes on as before
    assert call("list", "engines").lines[2].endswith("✓")


def test_clearing_engines_removes_what_a_killed_builder_left(folder: Path, call: Call) -> None:
    left = folder / "engines" / f".{HASH}.01234567.part"
    left.mkdir()
    (left / "into").write_bytes(b"half")
    assert call("clear", "weights").code == 0
    assert left.exists()
    assert call("clear", "engines").lines == ["nothing to remove"]
    assert not left.exists()


def test_clearing_what_is_stale_leaves_the_rest(folder: Path, call: Call) -> None:
    build("fp16")
    build("fp32", FAKE_GPU="NVIDIA Other:7.5")
    before = files(folder)
    assert call("clear", "--stale").lines[0].startswith("✓ engines: 1 removed")
    gone = sorted(before - files(folder))
    assert [Path(name).suffix for name in gone] == [".engine", ".json", ".cache"]
    assert all(name.startswith("engines/net-fp32-") for name in gone[:2])
    (left,) = json.loads(call("list", "timings", "--json").out)["kept"]
    assert (left["name"], left["fits"]) == ("TensorRT 11.4.0.106, NVIDIA Fake RTX (8.9)", True)
    other = {"FAKE_TENSORRT": "10.3.0"}
    assert call("clear", "timings", "--stale", **other).lines == ["✓ timings: 1 removed, 0.1 kB"]
    assert call("clear", "engines", "--stale", **other).lines[0].startswith("✓ engines: 1 removed")


def test_a_narrow_terminal_breaks_no_word(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    build("int8-tensorrt", FAKE_GPU="NVIDIA GeForce RTX 4090:8.9")
    monkeypatch.setattr(show, "out", Console(width=50))
    lines = call("list").lines
    words = {word.strip(",:") for line in lines for word in line.split()}
    assert {"mirrors", HASH, "TensorRT", "GeForce", "int8-tensorrt", "11.4.0.106"} <= words
    assert "✗ net int8-tensorrt, batch 1, TensorRT" in lines
    assert all(len(line) <= 50 for line in lines[:-1])


def test_a_disk_that_cannot_be_written_to(folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    build("fp16")

    def read_only(*given: Any, **more: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before = files(folder)
    monkeypatch.setattr(private, "lock", read_only)
    monkeypatch.setattr(Path, "unlink", read_only)
    refused = f"edgezoo: could not remove compiled engines in {folder / 'engines'}: Read-only file system\n"
    assert call("clear", "engines") == Said(2, "", refused)
    path = folder / "weights" / HASH / "net.onnx"
    assert call("clear", "weights") == Said(2, "", f"edgezoo: {path}: could not be removed: Read-only file system\n")
    assert files(folder) == before


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_no_link_is_followed(folder: Path, tmp_path: Path, call: Call) -> None:
    outside = tmp_path / "outside"
    for name in (f"{HASH}/their.onnx", "their-64x48-01234567/bundle.json", "their-0123456789ab.json", "x/their.engine"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("theirs")
    (folder / "weights" / HASH[::-1]).symlink_to(outside / HASH)
    (folder / "bundles" / "their-64x48-01234567").symlink_to(outside / "their-64x48-01234567")
    (folder / "bundles" / "net-64x48-01234567" / "link").symlink_to(outside / "x")
    (folder / "speeds" / "their-0123456789ab.json").symlink_to(outside / "their-0123456789ab.json")
    (folder / "engines" / "their.engine").symlink_to(outside / "x" / "their.engine")
    (folder / "mirrors").rename(tmp_path / "mirrors")
    (folder / "mirrors").symlink_to(outside)
    before = files(outside)
    assert call("clear", "--all").code == 0
    assert files(outside) == before
    assert all((outside / name).read_text() == "theirs" for name in before)
    assert (folder / "weights" / HASH[::-1]).is_symlink()
    assert not (folder / "bundles" / "net-64x48-01234567").exists()


def test_what_is_being_built_is_left(folder: Path, call: Call) -> None:
    build("fp16")
    build("fp32")
    (busy,) = (folder / "engines").glob("net-fp16-*.engine")
    with private.lock(busy.stem[-16:]):
        said = call("clear", "engines")
    assert said.lines[0].startswith("✓ engines: 1 removed")
    assert said.lines[1] == "left: net fp16, which another process is building"
    assert [path.name for path in (folder / "engines").glob("*.engine")] == [busy.name]


def test_half_written_files_go_once_they_are_nobodys(folder: Path, call: Call) -> None:
    parts = [folder / "weights" / HASH / ".net.onnx.0a1b2c3d.part", folder / "bundles" / ".net-64x48-01234567.x_y.part"]
    parts[0].write_bytes(bytes(10))
    parts[1].mkdir()
    (parts[1] / "golden.npz").write_bytes(bytes(10))
    assert len(cache.listed()[0]) == 4
    for part in parts:
        os.utime(part, (time.time() - 7200,) * 2)
    assert [kept.name for kept in cache.listed(["weights"])[0]] == ["net.onnx", "net.onnx, half-written"]
    call("clear", "weights", "bundles")
    assert not any(part.exists() for part in parts)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["clear"], "expected what to clear: one or more of weights, bundles, engines, timings, speeds, mirrors"),
        (["clear", "--all", "--stale"], "expected what to clear"),
        (["clear", "weights", "--all"], "expected what to clear"),
        (["clear", "weights", "--stale"], "expected what to clear"),
        (["clear", "everything"], "expected weights, bundles, engines, timings, speeds, mirrors, got 'everything'"),
        (["list", "--all"], "list tells of everything there is"),
        (["empty"], "invalid choice: 'empty'"),
        ([], "the following arguments are required: action"),
    ],
)
def test_what_cannot_be_asked_for(arguments: list[str], says: str, folder: Path, call: Call) -> None:
    before = files(folder)
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("edgezoo: ")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert files(folder) == before
