"""The tests that need a GPU, rehearsed without one: they run, they say that it is a rehearsal, and they can fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lowered import small_card

HERE = Path(__file__).parent
FAKES = str(HERE / "fakes")
REHEARSED = {"EDGEZOO_GPU_DEVICE": "cpu", "PYTHONPATH": FAKES, "EDGEZOO_GPU_RUNS": "10"}

pytest.importorskip("onnxruntime", reason="it stands in for the GPU")


def suite(*arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code, and all that was printed."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EDGEZOO_", "FAKE_"))}
    command = [sys.executable, "-m", "pytest", str(HERE / "gpu"), "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, env={**ours, **environment}, capture_output=True, text=True, timeout=240, check=False, cwd=HERE.parent
    )
    return done.returncode, done.stdout + done.stderr


def test_both_ways_are_rehearsed_and_say_so(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    code, told = suite(**REHEARSED, EDGEZOO_GPU_FIGURES=str(file))
    assert code == 0, told
    passed = re.search(r"^(\d+) passed in", told, re.MULTILINE)  # and nothing skipped
    assert passed, told
    assert int(passed[1]) >= 80
    assert "No GPU ran here, but a TensorRT that is none" in told
    assert "No GPU ran here, but the CPU's own memory" in told
    figures = json.loads(file.read_text("utf-8"))
    assert len(figures["rehearsals"]) == 2
    ways = {(row["on"].partition(" ")[0], row["artifact"], row["batch"]) for row in figures["rows"]}
    assert len(ways) == len(figures["rows"]) == 12
    assert all("(rehearsal)" in row["device"] and row["images/s"] > 0 for row in figures["rows"])
    assert all(row["artifact"] in told and str(row["images/s"]) in told for row in figures["rows"])


FAULTS = """
import numpy as np
from edgezoo.backends.onnxruntime import OnnxRuntimeBackend

real, kept, last = OnnxRuntimeBackend.run, [], {}

def run(self, feeds):
    answers = real(self, feeds)
    if not self._how.io_binding:  # the reference
        return answers
    kept.append(np.ones(1 << 20))
    for name, value in answers.items():
        room = last.setdefault((name, value.shape), value)
        room[...] = value + np.float32(0.01) * (name == "scores")
        answers[name] = room
    return answers

OnnxRuntimeBackend.run = run
"""


def test_faults_are_found(tmp_path: Path) -> None:
    """A backend that leaks, answers wrongly, and gives the same memory to everybody."""
    (tmp_path / "faults.py").write_text(FAULTS)
    some = "onnxruntime and not fp16 and not int8 and (memory or parity)"
    environment = {**REHEARSED, "PYTHONPATH": str(tmp_path)}
    code, told = suite("-k", some, "-p", "faults", **environment)
    assert code == 1, told
    failed = set(re.findall(r"^FAILED \S+::(\w+)", told, re.MULTILINE))
    wrong = {"test_parity", "test_parity_of_one_batch_size_alone"}
    assert failed == {*wrong, "test_results_own_their_memory", "test_memory_stays_flat"}, told


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"EDGEZOO_MUST": "tensorrt"}, "it is the TensorRT of tests/fakes, which is none"),
        ({"EDGEZOO_MUST": "cuda"}, "EDGEZOO_GPU_DEVICE=cpu asks for a rehearsal"),
        ({"FAKE_TENSORRT_FAIL": "build"}, "BackendError"),
        ({"FAKE_CUDA": "nodevice", "EDGEZOO_MUST": "tensorrt"}, "needs an NVIDIA GPU"),
    ],
    ids=["a fake TensorRT", "the CPU", "no engine", "no GPU"],
)
def test_what_must_run_may_not_be_rehearsed_or_missed(environment: dict[str, str], told: str) -> None:
    code, output = suite("-k", "what_really_runs and fp32", **REHEARSED, **environment)
    assert code == 1, output
    assert told in output


def test_the_benchmark_is_rehearsed(tmp_path: Path) -> None:
    """`tests/benchmarks/gpu.py`, over a network that is done at once and a TensorRT that is none."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("EDGEZOO_", "FAKE_"))}
    file, card = tmp_path / "found.json", str(small_card(tmp_path / "card"))
    command = [sys.executable, str(HERE / "benchmarks" / "gpu.py"), card, "--device", "cpu", "--json", str(file)]
    command += ["--batch", "2", "--rounds", "2", "--seconds", "0.01"]
    environment = {**ours, "PYTHONPATH": FAKES, "EDGEZOO_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "A rehearsal on the CPU" in done.stderr
    assert "(a rehearsal)" in done.stdout
    found = json.loads(file.read_text("utf-8"))
    assert found["rehearsal"] is True
    opened = ["onnxruntime bound", "onnxruntime unbound", "onnxruntime fp16"]
    compiled = ["tensorrt fp32", "tensorrt fp16", "tensorrt int8"]
    assert [row["contestant"] for row in found["rows"]] == opened + compiled
    for row in found["rows"]:
        assert row["engine_fps"] > 0
        assert row["pipeline_fps"] > 0
        assert 0 <= row["differences"]["scores"] <= max(1e-4, 2 * row["same_on_cpu"]["scores"])
        apart = row["contestant"] in ("onnxruntime bound", "onnxruntime fp16")
        assert (row["copies"] is not None) == apart
        assert not apart or 0 < row["copies"]["share"] < 1
        assert (row["against_unbound"] is not None) == (row["contestant"] == "onnxruntime bound")


def test_without_a_gpu_it_says_what_is_missing() -> None:
    code, output = suite("-k", "what_really_runs and fp32", "-rs", FAKE_CUDA="none", PYTHONPATH=FAKES)
    assert code == 0, output
    skipped = re.findall(r"^SKIPPED .*?: (.*)$", output, re.MULTILINE)
    assert any("needs an NVIDIA GPU" in line for line in skipped), output
