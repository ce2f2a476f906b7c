"""The server against its own description, by schemathesis: what it says it takes it takes, and answers as it says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from served import serving

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.preprocess import Preprocess
from edgezoo.serve.openapi import document
from edgezoo.serve.predict import Limits

pytest.importorskip("cv2")


TOKEN = "correct horse battery"


@pytest.mark.parametrize(
    ("token", "options", "least"),
    [
        (None, ["--max-examples", "4"], 50),
        (TOKEN, ["--max-examples", "2", "--phases", "coverage,fuzzing", "--mode", "positive"], 20),
    ],
)
def test_schemathesis_finds_nothing(
    bundle_of: Callable[..., Bundle], tmp_path: Path, token: str | None, options: list[str], least: int
) -> None:
    there = importlib.util.find_spec("schemathesis") is not None
    need("schemathesis", there, "schemathesis is not installed; try: pip install schemathesis")
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_images", "PYTHONPATH": os.pathsep.join(folders)}
    bundle = bundle_of("squares", Preprocess(size_wh=(64, 48), fit="letterbox"))
    limits = Limits(seconds=0.5)
    with Engine(bundle, threads=1) as engine, serving({"squares": engine}, limits=limits, token=token) as service:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}openapi.json"]
        command += ["--header", f"Authorization: Bearer {token}"] if token else []
        done = subprocess.run(
            [*command, *options, "--seed", "1", "--no-color"],
            cwd=tmp_path,
            env={**os.environ, **hooks},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[2]) == int(generated[1]) > least
    assert not list(tmp_path.glob("*.png"))


def test_the_description_tells_who_may_come_in() -> None:
    for token in (False, True):
        paths = document(["a"], ["cat"], Limits(), token=token)["paths"]
        operations = {path: operation for path, each in paths.items() for operation in each.values()}
        asks = {path for path, operation in operations.items() if "401" in operation["responses"]}
        open_to_all = {path for path, operation in operations.items() if operation.get("security") == []}
        assert asks == ({*operations} - {"/healthz", "/readyz"} if token else set())
        assert open_to_all == ({"/healthz", "/readyz"} if token else set())
        strangers = {path for path, operation in operations.items() if "403" in operation["responses"]}
        assert strangers == ({"/v1/predict"} if token else {*operations})


def test_classes_are_those_of_any_model() -> None:
    (classes,) = (each for each in _parameters() if each["name"] == "classes")
    assert "enum" not in classes["schema"]["items"]


def _parameters() -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = document(["a", "b"], ["cat"], Limits(), token=False)["paths"]["/v1/predict"]["post"][
        "parameters"
    ]
    return told
