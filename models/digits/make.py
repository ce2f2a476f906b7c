"""The digits model from nothing: renders scenes, trains, converts, measures. It goes on where it was stopped.

    python models/digits/make.py WORK [--device cuda] [--threads N]

Needs "edgezoo[digits]", the fonts of `fonts.toml` and the photographs of `backgrounds.py`; what is missing is named
with the way to get it. WORK holds scenes and the training, and gets `worst.png`, the failures to look at. What ships
is written beside this file: `digits.safetensors`, `bundle/`, `measured.json`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
EDGEZOO = [sys.executable, "-c", "import sys; from edgezoo.cli import main; sys.exit(main())"]
SCENES = {"train": 9000, "val": 400, "test": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    scenes, training = args.work / "scenes", args.work / "training"
    counts = [word for side, count in SCENES.items() for word in (f"--{side}", str(count))]
    run(sys.executable, HERE / "render.py", scenes, *counts)

    begun = ["--resume"] if (training / "last.pt").is_file() else ["--plan", HERE / "plan.toml"]
    card = HERE.parent / "digits.toml"
    how = ["--device", args.device, "--threads", args.threads]
    run(*EDGEZOO, "finetune", card, "--data", scenes, "-o", training, "--scratch", *begun, *how)
    shutil.copyfile(training / "best.safetensors", HERE / "digits.safetensors")
    run(*EDGEZOO, "convert", card, "-o", HERE / "bundle", "--images", scenes / "test" / "images")
    run(sys.executable, HERE / "measure.py", HERE / "bundle", scenes / "test", "-o", args.work)
    shutil.copyfile(args.work / "measured.json", HERE / "measured.json")


def run(*command: object) -> None:
    """A step in a process of its own; what fails there ends this too."""
    done = subprocess.run([*map(str, command)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
