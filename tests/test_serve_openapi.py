"""The server against its own description, by schemathesis: what it says it takes it takes, and answers as it says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import need
from served import serving

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.preprocess import Preprocess
from edgezoo.serve.predict import Limits

pytest.importorskip("cv2")


def test_schemathesis_finds_nothing(bundle_of: Callable[..., Bundle], tmp_path: Path) -> None:
    there = importlib.util.find_spec("schemathesis") is not None
    need("schemathesis", there, "schemathesis is not installed; try: pip install schemathesis")
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_images", "PYTHONPATH": os.pathsep.join(folders)}
    bundle = bundle_of("squares", Preprocess(size_wh=(64, 48), fit="letterbox"))
    with Engine(bundle, threads=1) as engine, serving({"squares": engine}, limits=Limits(seconds=0.5)) as service:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}openapi.json"]
        done = subprocess.run(
            [*command, "--max-examples", "12", "--seed", "1", "--no-color"],
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
    assert int(generated[2]) == int(generated[1]) > 50
    assert not list(tmp_path.glob("*.png"))
