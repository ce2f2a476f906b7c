"""`edgezoo compile` over a TensorRT that is none: what a person sees, and processes that meet or are killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_modules import FAKES, faked
from rich.console import Console

import edgezoo
from edgezoo.backends.tensorrt import engines
from edgezoo.backends.tensorrt.progress import Told
from edgezoo.bundle import Bundle
from edgezoo.cli import main, show
from edgezoo.errors import BackendError, BundleError, RequestError
from edgezoo.preprocess import Preprocess

pytest.importorskip("onnxruntime", reason="bundles are made with it")

EDGEZOO = [sys.executable, "-c", "from edgezoo.cli import main; raise SystemExit(main())"]
RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BundleOf = Callable[..., Bundle]


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "builds"))
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)  # the command line sets it
    yield tmp_path / "cache" / "engines"
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs the verb in this process, over the fakes; what is named is set in its environment."""

    def run(*arguments: object, **environment: str) -> Said:
        capfd.readouterr()
        with monkeypatch.context() as patch, faked(patch, **environment):
            code = main(["compile", *map(str, arguments)])
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def folder(bundle_of: BundleOf) -> Path:
    return bundle_of("squares", RECIPE).folder


def builds(cache: Path) -> list[dict[str, Any]]:
    log = cache.parent.parent / "builds"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The verb as a person runs it, a process of its own."""
    fake = {**os.environ, "PYTHONPATH": str(FAKES), **environment}
    command = [*EDGEZOO, "compile", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=fake)


def until(true: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, f"{what} did not come within {seconds} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def left_over(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.startswith(".")]


# What a person sees.


def test_what_is_built_and_then_kept(call: Callable[..., Said], folder: Path, cache: Path) -> None:
    first = call(folder, "--batch", "1:2:4", "--optimization", 1)
    assert first.code == 0
    lines = first.out.splitlines()
    assert re.fullmatch(rf"✓ {folder.name} fp32, batch 1:2:4  built in [\d.]+ s; [\d.]+ [kM]B", lines[0])
    assert lines[1] == "  for TensorRT 11.4.0.106, CUDA 13.1, driver unknown, NVIDIA Fake RTX (8.9)"
    assert lines[-1] == f"  next: edgezoo run {folder} SOURCE --backend tensorrt --precision fp32"
    told = "this graph was not compiled on this machine yet"
    assert first.err == f"compiling {folder.name} fp32 for NVIDIA Fake RTX: {told}\n"
    again = call(folder, "--batch", "1:2:4", "--optimization", 1)
    assert again.err == ""
    assert re.match(rf"✓ {folder.name} fp32, batch 1:2:4  kept since .*, when it was built in ", again.out)
    assert len(builds(cache)) == 1
    rebuilt = call(folder, "--batch", "1:2:4", "--optimization", 1, FAKE_DRIVER="12060")
    assert rebuilt.err.endswith(": CUDA was 13.1, here is 12.6\n")
    assert len(builds(cache)) == 2


def test_as_json(call: Callable[..., Said], folder: Path) -> None:
    told = json.loads(call(folder, "--json", "--batch", 2).out)
    assert told["built"] is True
    assert told["why"] == "this graph was not compiled on this machine yet"
    assert told["record"]["options"]["batch"] == [2, 2, 2]
    assert told["record"]["facts"]["gpu"] == "NVIDIA Fake RTX"
    assert Path(told["compiled"]).stat().st_size == told["record"]["bytes"]
    assert json.loads(call(folder, "--json", "--batch", 2).out)["built"] is False


def test_options_reach_the_builder(call: Callable[..., Said], folder: Path, cache: Path) -> None:
    assert call(folder, "--version-compatible", "--hardware-compatible", "--batch", "1:2:3").code == 0
    assert call(folder, "--hardware-compatible=same", "--workspace", 64).code == 0
    first, second = builds(cache)
    assert "VERSION_COMPATIBLE" in first["flags"]
    assert first["profiles"] == [{"images": [[n, 48, 64, 3] for n in (1, 2, 3)]}]
    assert "VERSION_COMPATIBLE" not in second["flags"]
    there = {entry.record.options.hardware_compatible for entry in engines.entries() if entry.record is not None}
    assert there == {"ampere", "same"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "4:1"], "expected a batch size, or LEAST:BEST:MOST such as 1:4:8, got '4:1'"),
        (["--batch", "4:2:8"], "expected a batch range of 1 <= least <= best <= most, got 4:2:8"),
        (["--optimization", "9"], "expected optimization 0 to 5, got 9"),
        (["--workspace", "0"], "expected 1 MiB of workspace or more, got 0"),
        (["--hardware-compatible=all"], "expected ampere or same, got 'all'"),
        (["--dla", "0"], "asked for DLA core 0, but this device has none: leave out --dla"),
        (["--device", "cpu"], "tensorrt: expected device cuda or cuda:N, got 'cpu'"),
        (["--device", "cuda:1"], "asked for cuda:1, but there"),
        (["--precision", "int8"], "no artifact of precision 'int8' for tensorrt; there is: fp32"),
        (["--trust"], "expected --engine FILE with --trust"),
        (["--engine", "x", "--batch", "2"], "an engine that is built already has its own batch; leave out --batch"),
        (["--engine", "x"], "x: refused: an engine is native code"),
        (["--check", "7"], "expected --check 8.6, 10.x or 11.x, got 7"),
        (["--check", "10.3", "9"], "expected --check 8.6, 10.x or 11.x, got 10.3 9"),
        (["--engine", "/", "--trust"], "/: expected an engine that trtexec or TensorRT wrote, got a folder"),
    ],
)
def test_what_cannot_be_asked_for(
    arguments: list[str], says: str, call: Callable[..., Said], folder: Path, cache: Path
) -> None:
    said = call(folder, *arguments)
    assert said.code == 2
    assert says in said.err
    assert said.err.splitlines()[-1].startswith("edgezoo: ")
    assert builds(cache) == []


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        ("parse", "TensorRT 11.4.0.106 does not read"),
        ("memory", "try --workspace with less than the GPU has free, a smaller --batch"),
        ("build", "Could not find any implementation for node {ForeignNode["),
        (
            "build",
            "; end what else runs on the GPU, for its kernels may need more memory than is free; or try another --p",
        ),
        ("crash", "the builder was killed by signal 6 (SIGABRT)"),
        ("crash", "; TensorRT itself crashed: try another --precision or --optimization, or another version of it"),
    ],
)
def test_a_build_that_fails_is_one_line(
    fail: str, says: str, call: Callable[..., Said], folder: Path, cache: Path
) -> None:
    said = call(folder, FAKE_TENSORRT_FAIL=fail)
    assert said.code == 2
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("edgezoo: ")
    assert says in lines[1]
    assert left_over(cache) == []
    assert engines.entries() == []


@pytest.mark.parametrize("cuda", ["none", "nodevice"])
def test_without_a_gpu(cuda: str, call: Callable[..., Said], cache: Path) -> None:
    said = call("resnet50", FAKE_CUDA=cuda)  # and nothing is fetched for it
    assert said.code == 2
    assert re.fullmatch(r"edgezoo: TensorRT 11.4.0.106 needs an NVIDIA GPU: [^\n]+\n", said.err)
    assert not cache.parent.exists()


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert main(["compile", "digits"]) == 2
    assert re.match(
        r'edgezoo: tensorrt is not installed; try: pip install "edgezoo\[tensorrt\]"[^\n]*\n$', capfd.readouterr().err
    )


def test_a_fixed_batch_size_is_the_range(bundle_of: BundleOf, call: Callable[..., Said], cache: Path) -> None:
    fixed = bundle_of("squares", RECIPE, batch=2).folder
    assert json.loads(call(fixed, "--json").out)["record"]["options"]["batch"] == [2, 2, 2]
    assert json.loads(call(fixed, "--json", "--batch", "2").out)["built"] is False
    said = call(fixed, "--batch", "1")
    assert (said.code, said.out) == (2, "")
    assert "squares: takes batches of 2 alone; leave out --batch" in said.err


def test_check_needs_no_gpu(call: Callable[..., Said], folder: Path) -> None:
    said = call(folder, "--check", "10", "11", FAKE_CUDA="none")
    assert said.code == 0
    assert said.out.splitlines() == [
        f"✓ TensorRT {version} documents that it reads all of squares fp32" for version in (10, 11)
    ]
    refused = call("digits", "--precision", "int8", "--check", "8.6", "10", FAKE_CUDA="none")
    assert refused.code == 1
    assert "✗ TensorRT 8.6 would not read digits int8-tensorrt" in refused.out
    assert "--tensorrt 8.6" in refused.out
    assert "✓ TensorRT 10 documents" in refused.out
    told = json.loads(call(folder, "--check", "10", "--json").out)
    assert (told["artifact"], told["refused"]) == ("fp32", {"10": []})


def test_an_engine_from_elsewhere(call: Callable[..., Said], folder: Path, cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "from_trtexec.plan"
    file.write_bytes(Path(json.loads(call(folder, "--json").out)["compiled"]).read_bytes())
    said = call(folder, "--engine", file, "--trust", "--precision", "fp32")
    assert said.err == ""
    assert said.out.splitlines()[0].startswith(f"✓ {folder.name} fp32, batch its own  taken over, not built here")
    assert said.out.splitlines()[-1] == f"  next: edgezoo verify {folder} --backend tensorrt --precision fp32"
    assert len(builds(cache)) == 1
    assert json.loads(call(folder, "--engine", file, "--trust", "--json").out)["built"] is False


def test_an_engine_that_is_none_displaces_nothing(
    call: Callable[..., Said], folder: Path, cache: Path, tmp_path: Path
) -> None:
    before = json.loads(call(folder, "--json").out)["compiled"]
    file = tmp_path / "junk.plan"
    file.write_bytes(b"junk")
    said = call(folder, "--engine", file, "--trust")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"edgezoo: {file}: TensorRT 11.4.0.106 does not take it: ")
    assert [str(entry.path) for entry in engines.entries()] == [before]
    assert left_over(cache) == []


def test_an_int8_engine_as_fp32(call: Callable[..., Said], tmp_path: Path) -> None:
    file = tmp_path / "int8.plan"
    file.write_bytes(Path(json.loads(call("digits", "--precision", "int8", "--json").out)["compiled"]).read_bytes())
    said = call("digits", "--precision", "fp32", "--engine", file, "--trust")
    assert (said.code, said.err.count("\n")) == (0, 1)
    assert re.match(
        "the engine computes in .*int8.*, and the artifact is fp32: its answers may be further off", said.err
    )


def test_what_it_is_for_is_wrapped_between_words(
    call: Callable[..., Said], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "out", Console(width=50))
    lines = call(folder).out.splitlines()
    assert lines[1:3] == ["  for TensorRT 11.4.0.106, CUDA 13.1, driver", "  unknown, NVIDIA Fake RTX (8.9)"]


def test_what_is_meant_where_nothing_is_named(bundle_of: BundleOf) -> None:
    from edgezoo.compiling import artifact_of

    assert artifact_of(bundle_of("squares", RECIPE), None).name == "fp32"
    digits = edgezoo.load("digits").bundle
    assert artifact_of(digits, None).name == "fp32"
    assert artifact_of(digits, "int8").name == "int8-tensorrt"
    with pytest.raises(BundleError):
        artifact_of(digits, "fp16")


def test_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Told] = []
    with faked(monkeypatch, FAKE_TENSORRT_SECONDS="0.5"):
        compiled = edgezoo.compile(Bundle.open(folder), batch=2, progress=told.append)
        assert compiled.built
        assert len(compiled.read()) == compiled.record.bytes
        assert edgezoo.compile(str(folder), batch=(2, 2, 2)).path == compiled.path
        wrong: tuple[dict[str, Any], ...] = (
            {"batch": 0},
            {"batch": (1, 2)},
            {"batch": (1, "2", 3)},
            {"batch": "4"},
            {"batch": 4.5},
            {"batch": True},
            {"optimization": "3"},
            {"workspace_mb": 1.5},
            {"device": 0},
        )
        for given in wrong:
            with pytest.raises(RequestError, match=r"expected .*, got "):
                edgezoo.compile(folder, **given)
        with pytest.raises(BackendError):
            edgezoo.compile(folder, dla=3)
    shares = [each.share for each in told if each.share is not None]
    assert shares == sorted(shares)
    assert any(0.1 < share < 0.9 for share in shares)
    assert any(each.text.startswith("timing kernels of ") for each in told)


def test_a_tensorrt_that_tells_nothing_goes_by_earlier_builds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Told] = []
    with faked(monkeypatch, FAKE_TENSORRT="8.6.2", FAKE_TENSORRT_SECONDS="0.5"):
        edgezoo.compile(folder, progress=told.append)
        assert {each.share for each in told} == {None}
        assert "building the engine" in {each.text for each in told}
        told.clear()
        edgezoo.compile(folder, optimization=1, progress=told.append)
    assert any(each.left_s is not None for each in told)


@pytest.mark.parametrize("bar", [show.building, show.stages])
def test_a_bar_leaves_room_for_what_a_terminal_shows_of_ctrl_c(bar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes two letters where the cursor stands: on a full line they begin another, and the bar stays there."""
    screen = io.StringIO()
    monkeypatch.setattr(show, "err", Console(file=screen, force_terminal=True, width=60, legacy_windows=False))
    with bar() as tell:
        tell(Told(text="comparing kernels " * 9, share=0.4)) if bar is show.building else tell("reading " * 9, 1, 3)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) == 58


def test_without_a_terminal_a_line_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "_SILENCE_S", 0.0)
    with show.building() as tell:
        tell(Told(text="comparing [red]kernels", share=0.424, left_s=65.0))
        tell(Told(text="waiting", news="mind the gap"))
    first, second, third = capfd.readouterr().err.splitlines()
    assert first == "comparing [red]kernels: 42 %, 1:05 left, since 0:00"
    assert (second, third) == ("mind the gap", "waiting: since 0:00")


# Processes that meet, and processes that are killed.


EIGHT = """
import edgezoo, json, os, sys
from edgezoo.backends.tensorrt import compiling, cuda
bundle, _ = edgezoo.Bundle.open(sys.argv[1]), cuda.facts(0)  # all is loaded, so that they ask at once
for _ in range(8):
    if os.fork() == 0:
        found = edgezoo.compile(bundle)
        told = {"built": found.built, "why": found.why, "path": str(found.path), "bytes": len(found.read())}
        os.write(1, json.dumps(told).encode() + b"\\n")
        os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(8)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that begin alike")
def test_eight_ask_at_once_and_one_builds(folder: Path, cache: Path) -> None:
    fake = {**os.environ, "PYTHONPATH": str(FAKES), "FAKE_TENSORRT_SECONDS": "1"}
    command = [sys.executable, "-c", EIGHT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=fake)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(builds(cache)) == 1
    assert [each["why"] for each in told if not each["built"]] == 7 * ["another process built it meanwhile"]
    assert len({(each["path"], each["bytes"]) for each in told}) == 1
    assert left_over(cache) == []
    assert len(engines.entries()) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_builder_that_is_killed(folder: Path, cache: Path) -> None:
    first = start(folder, FAKE_TENSORRT_SECONDS="30")
    until(lambda: builds(cache), "the build")
    second = start(folder, "--json", FAKE_TENSORRT_SECONDS="0.2")
    os.kill(builds(cache)[0]["pid"], signal.SIGKILL)
    _, err = first.communicate(timeout=20)
    assert first.returncode == 2
    assert "the builder was killed by signal 9 (SIGKILL" in err.splitlines()[-1]
    out, err = second.communicate(timeout=20)
    assert second.returncode == 0, err
    assert json.loads(out)["built"] is True
    assert len(builds(cache)) == 2
    assert left_over(cache) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux tells of them")
def test_who_waits_for_a_builder_is_killed(folder: Path, cache: Path) -> None:
    first = start(folder, FAKE_TENSORRT_SECONDS="30")
    until(lambda: builds(cache), "the build")
    builder = builds(cache)[0]["pid"]
    first.kill()
    first.communicate(timeout=20)
    assert engines.entries() == []
    assert len(left_over(cache)) == 1  # nobody was there to remove it
    second = start(folder, "--json", FAKE_TENSORRT_SECONDS="0.2")
    out, err = second.communicate(timeout=20)
    assert second.returncode == 0, err
    assert json.loads(out)["built"] is True
    assert left_over(cache) == []
    until(lambda: not alive(builder), "the end of the builder", 6.0)
    assert len(engines.entries()) == 1
    assert left_over(cache) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux tells of them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_interrupted_keeps_nothing(number: signal.Signals, folder: Path, cache: Path) -> None:
    first = start(folder, FAKE_TENSORRT_SECONDS="30")
    until(lambda: builds(cache), "the build")
    began_s = time.monotonic()
    first.send_signal(number)
    out, err = first.communicate(timeout=20)
    assert time.monotonic() - began_s < 4.5  # it hears, and need not be killed
    assert (first.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "stopped: nothing was kept, and nothing goes on"
    assert "Traceback" not in err
    assert not alive(builds(cache)[0]["pid"])
    assert engines.entries() == []
    assert left_over(cache) == []
