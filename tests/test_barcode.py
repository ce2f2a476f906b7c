from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgezoo.errors import EdgezooError, RequestError, ShapeError
from edgezoo.frame import Image
from edgezoo.sources import barcode

cv2: Any = pytest.importorskip("cv2")

CODES = [(0, 0), (1, 2), (12345, 987_654_321_012_345), (2**32 - 1, 2**64 - 1)]
SIZES_WH = [(320, 160), (640, 480), (641, 483), (1280, 720), (1920, 1080)]


def picture(size_wh: tuple[int, int] = (640, 480), seed: int = 0) -> Image:
    """Something with detail everywhere, as a camera sees it."""
    small = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), np.uint8)
    image: Image = cv2.resize(small, size_wh, interpolation=cv2.INTER_CUBIC)
    return image


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize(("index", "time_ns"), CODES)
def test_what_is_burnt_is_read(size_wh: tuple[int, int], index: int, time_ns: int) -> None:
    image = picture(size_wh)
    untouched = image.copy()
    barcode.burn(image, index=index, time_ns=time_ns)
    assert barcode.read(image) == (index, time_ns)
    above = size_wh[1] - barcode.height_px(size_wh[1])
    assert np.array_equal(image[:above], untouched[:above])


@pytest.mark.parametrize(
    ("size_wh", "index", "time_ns", "raises"),
    [
        ((320, 160), 0, 0, None),
        ((319, 160), 0, 0, ShapeError),
        ((320, 159), 0, 0, ShapeError),
        ((640, 480), 2**32, 0, RequestError),
        ((640, 480), -1, 0, RequestError),
        ((640, 480), 0, 2**64, RequestError),
    ],
)
def test_what_fits(size_wh: tuple[int, int], index: int, time_ns: int, raises: type[EdgezooError] | None) -> None:
    image = picture(size_wh)
    if raises is None:
        barcode.burn(image, index=index, time_ns=time_ns)
    else:
        with pytest.raises(raises, match=r"expected .* got"):
            barcode.burn(image, index=index, time_ns=time_ns)


def jpeg(image: Image) -> Image:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
    assert done
    back: Image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return back


def resized(image: Image, x: float, y: float) -> Image:
    back: Image = cv2.resize(image, None, fx=x, fy=y, interpolation=cv2.INTER_LINEAR)
    return back


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize(
    "harm",
    [
        jpeg,
        lambda image: resized(image, 0.75, 0.75),
        lambda image: resized(image, 1.5, 0.6),
        lambda image: jpeg(resized(image, 0.75, 0.75)),
        lambda image: cv2.convertScaleAbs(image, alpha=0.6, beta=50),
        lambda image: (
            cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), cv2.COLOR_YUV2BGR_I420)
            if image.shape[0] % 2 == image.shape[1] % 2 == 0
            else image
        ),
    ],
    ids=["jpeg", "75 %", "stretched", "75 % jpeg", "paler", "4:2:0"],
)
def test_it_survives(size_wh: tuple[int, int], harm: Any) -> None:
    for seed in range(20):
        image = picture(size_wh, seed)
        code = (seed * 7919, seed * 10**15 + 12345)
        barcode.burn(image, index=code[0], time_ns=code[1])
        assert barcode.read(harm(image)) == code


def test_it_survives_a_video_encoder(tmp_path: Path) -> None:
    path = str(tmp_path / "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 30, (640, 480))
    for index in range(60):
        image = np.roll(picture(), 3 * index, axis=1)
        barcode.burn(image, index=index, time_ns=index * 10**12)
        writer.write(image)
    writer.release()
    video = cv2.VideoCapture(path)
    for index in range(60):
        done, image = video.read()
        assert done
        assert barcode.read(image) == (index, index * 10**12)


def test_no_code_is_none() -> None:
    for image in (
        picture(),
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        picture((40, 30)),
    ):
        assert barcode.read(image) is None


def test_a_tampered_code_is_none() -> None:
    image = picture()
    barcode.burn(image, index=5, time_ns=77)
    for column in range(64):
        harmed = image.copy()
        cell = harmed[-15:, column * 10 : (column + 1) * 10]
        cell[:] = 255 - cell
        assert barcode.read(harmed) is None
