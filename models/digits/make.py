"""The digits model from nothing: renders scenes, trains, converts, measures. A part that is done is not done again.

    python models/digits/make.py WORK [--device cuda] [--threads N]

Needs "edgezoo[digits]", the fonts of `fonts.toml` and the photographs of `backgrounds.py`; what is missing is named
with the way to get it. WORK holds scenes and both parts of the training, which go on after their last epoch, and gets
`worst.png`, the failures to look at. What ships is written beside this file, `digits.safetensors`, `bundle/` and
`measured.json`, and into the card.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2

HERE = Path(__file__).parent
CARD = HERE.parent / "digits.toml"
EDGEZOO = [sys.executable, "-c", "import sys; from edgezoo.cli import main; sys.exit(main())"]
FRAMES = 16
# Not int8-onnxruntime: it is no faster than fp32 on the CPU where this was made.
LOWER = ("--precision", "int8-openvino,int8-tensorrt,bf16", "--max-drop", "0.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    scenes, first, last = (args.work / name for name in ("scenes", "training", "training_last"))
    run(sys.executable, HERE / "render.py", scenes)
    how = ["--data", scenes, "--device", args.device, "--threads", args.threads]
    train(first, "plan.toml", *how, "--scratch")
    train(last, "plan_last.toml", *how, "--weights", first / "best.safetensors")
    ship(last / "best.safetensors", args.work)


def train(out: Path, plan: str, *how: object) -> None:
    begun = ["--resume"] if (out / "last.pt").is_file() else ["--plan", HERE / plan]
    run(*EDGEZOO, "finetune", CARD, "-o", out, *how, *begun)


def ship(weights: Path, work: Path) -> None:
    """Put trained weights where they ship, with their bundle and what was measured."""
    shutil.copyfile(weights, HERE / "digits.safetensors")
    run(*EDGEZOO, "convert", CARD, "-o", HERE / "bundle", "--images", frames_of_the_clip(work / "frames"))
    run(*EDGEZOO, "convert", HERE / "bundle", *LOWER, "--data", work / "scenes" / "test")
    run(sys.executable, HERE / "measure.py", HERE / "bundle", work / "scenes" / "test", "-o", work)
    shutil.copyfile(work / "measured.json", HERE / "measured.json")
    measured, text = json.loads((work / "measured.json").read_text()), CARD.read_text("utf-8")
    for metric, key in (("mAP50-95", "map"), ("mAP50", "map50")):
        text = re.sub(rf'(metric = "{metric}"\nvalue = )[\d.]+', rf"\g<1>{measured[key]:.3f}", text)
    CARD.write_text(text, "utf-8")


def frames_of_the_clip(folder: Path) -> Path:
    """What the bundle proves itself on, and carries: pictures that are our own and full of digits."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = cv2.VideoCapture(str(HERE / "clip.mp4"))
    count = int(clip.get(cv2.CAP_PROP_FRAME_COUNT))
    for index in range(count):
        there, image = clip.read()
        if there and index % (count // FRAMES) == 0:
            cv2.imwrite(str(folder / f"{index:03}.png"), image)
    clip.release()
    return folder


def run(*command: object) -> None:
    """A step in a process of its own; what fails there ends this too."""
    done = subprocess.run([*map(str, command)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
