"""Renders the scenes that digits is calibrated with, and lists them: `calibration/digits.toml` and its folder.

    python models/digits/calibrate.py [OUT]

Scenes as in training, of its fonts and handwriting, by a seed that no part of `render.py` uses, so that none was
trained with or is tested with. They ship, so only photographs whose terms ask for nothing lie behind them. Needs what
`render.py` needs. Another OpenCV or NumPy may render or compress a pixel differently, and then the hashes are others.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import backgrounds
import cv2
import fonts
import scene

from edgezoo.records import to_toml

CALIBRATION = Path(__file__).parents[2] / "calibration"
COUNT, SEED, QUALITY = 32, 31, 92
FREE = {
    "skimage": "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png grass.png hubble_deep_field.jpg"
    " retina.jpg",
    "matplotlib": "grace_hopper.jpg",
    "lomiri-wallpapers-16.04": "seeding_by_Clements_Engelhardt.jpg",
}
"""Of `backgrounds.PHOTOS`, those that are CC0 or in the public domain."""
ABOUT = {
    "name": "digits",
    "about": f"{COUNT} scenes with digits, printed, on seven-segment displays and handwritten, and some without",
    "origin": "rendered by `python models/digits/calibrate.py`",
    "licence": "Apache-2.0, as edgezoo; they show fonts under free licences (models/digits/fonts.toml), handwritten "
    "digits of E. Alpaydin and C. Kaynak (UCI, CC BY 4.0), redrawn with a pen, and photographs that are CC0 or in the "
    "public domain (models/digits/backgrounds.py)",
    "drawn": f"scenes 0 to {COUNT - 1} of seed {SEED}, of the training's fonts and handwriting and of none that is "
    "held out; training, validation and test have seed 0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the images that the digits model is calibrated with.")
    parser.add_argument("out", type=Path, nargs="?", default=CALIBRATION, help="a folder; default: calibration/")
    out: Path = parser.parse_args().out
    backgrounds.PHOTOS.clear()
    backgrounds.PHOTOS.update(FREE)
    try:
        fonts.all_faces()
        backgrounds.photos("train")
    except (fonts.MissingFonts, backgrounds.MissingPhotos) as missing:
        parser.exit(3, f"{missing}\n")
    folder = out / "digits"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = {}
    for index in range(COUNT):
        image = scene.render((SEED, index), "train").image
        small = cv2.resize(image, None, fx=1 / scene.SCALE, fy=1 / scene.SCALE, interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        name = f"{index:02d}.jpg"
        (folder / name).write_bytes(data)
        files[name] = hashlib.sha256(data).hexdigest()
    (out / "digits.toml").write_text(to_toml({**ABOUT, "files": files}), "utf-8")


if __name__ == "__main__":
    main()
