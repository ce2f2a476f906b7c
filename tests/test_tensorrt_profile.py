"""What is measured of compiled engines, over a TensorRT that is none: who is held against whom, and who is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_modules import faked
from lowered import lowered, small_card

import edgezoo
from edgezoo.bundle import Bundle
from edgezoo.cli import main
from edgezoo.convert import convert, seeded_scenes
from edgezoo.measure import race
from edgezoo.measure.layers import LayerProfile, profile_layers
from edgezoo.measure.speeds import measure


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of fp32, fp16 and int8-tensorrt."""
    folder = tmp_path_factory.mktemp("small")
    return lowered(convert(small_card(folder), folder / "fp32"), folder / "bundle", seeded_scenes()[:4])


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(race, "_BLOCK_S", 0.02)
    monkeypatch.setattr(race, "_PAUSE_S", 0.0)
    with faked(monkeypatch):
        yield


def profiled(bundle: Bundle, precision: str) -> LayerProfile:
    return profile_layers(bundle, backend="tensorrt", precision=precision, runs=2, rounds=3)


def test_int8_that_loses_to_fp16_is_warned_of(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_SLOW", "int8:20")
    for name in ("fp32", "fp16", "int8"):
        edgezoo.compile(bundle, precision=name)
    found = profiled(bundle, "int8")
    assert {rival.name for rival in found.against} == {"fp32", "fp16"}
    assert all(rival.lost for rival in found.against)
    (warning,) = found.warnings
    assert warning.startswith("int8-tensorrt is 0.")
    assert "try --precision fp" in warning
    assert found.conversions.layers > 0
    assert found.quantised is not None
    assert 0 < len(found.quantised.kept) < found.quantised.layers  # a product of matrix and vector stays in float
    assert found.quantised.lost == ()
    assert found.runs["precisions"][0] in ("int8", "fp16")


def test_what_was_not_compiled_is_left_out_and_named(bundle: Bundle) -> None:
    edgezoo.compile(bundle, precision="fp32")
    found = profiled(bundle, "fp32")
    assert (found.run_ms, found.against) == (None, ())
    assert sorted(line.partition(":")[0] for line in found.left_out) == ["small fp16", "small int8-tensorrt"]
    assert all(f"run once: edgezoo compile {bundle.folder} --precision" in line for line in found.left_out)


@pytest.mark.parametrize("first", ["fp32", "fp16"])
def test_batches_that_do_not_meet_are_left_out_and_named(bundle: Bundle, first: str) -> None:
    """fp32 of 1 alone, fp16 of 2 to 4, int8 of 1 to 8: most can be held against each at one size."""
    for name, batch in (("fp32", 1), ("fp16", (2, 2, 4)), ("int8", (1, 4, 8))):
        edgezoo.compile(bundle, precision=name, batch=batch)
    found = profiled(bundle, first)
    other, size, batch = ("fp16", "2 to 4", 1) if first == "fp32" else ("fp32", "1", 2)
    assert [rival.name for rival in found.against] == ["int8-tensorrt"]
    assert found.batch == batch
    assert found.left_out == (
        f"{other} takes batches of {size}, the others were timed at {batch}: "
        f"edgezoo compile {bundle.folder} --precision {other} --batch {batch}",
    )


def test_stored_speeds_skip_what_does_not_meet_or_was_not_compiled(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezoo.measure.speeds.installed", lambda: {"tensorrt": "11.4"})
    monkeypatch.setattr("edgezoo.measure.speeds._met", lambda artifact: True)
    edgezoo.compile(bundle, precision="fp32", batch=1)
    edgezoo.compile(bundle, precision="fp16", batch=4)
    found = measure(bundle, device="cuda", rounds=3)
    assert [each.artifact for each in found.speeds] == ["fp32"]
    assert {each.artifact: each.why.partition(",")[0] for each in found.skipped} == {
        "fp16": "fp16 takes batches of 4",
        "int8-tensorrt": f"small int8-tensorrt: this graph was not compiled on this machine yet; run once: "
        f"edgezoo compile {bundle.folder} --precision int8-tensorrt",
    }
    assert found.device == "cuda:0"


def test_the_verb(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    edgezoo.compile(bundle, precision="int8")
    asked = ["profile", str(bundle.folder), "--backend", "tensorrt", "--precision", "int8", "--layers", "--runs", "2"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "int8 in the file: " in out
    assert "float there: " in out
    assert "not held against: small fp32: this graph was not compiled" in out
    assert "those to launch them" not in out
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["quantised"]["lost"] == []
    assert len(told["left_out"]) == 2
