"""The input recipe: geometry by hand, the square's way home, and what the network sees."""

from __future__ import annotations

from typing import Any

import graphs
import numpy as np
import pytest

from edgezoo.errors import ShapeError
from edgezoo.frame import Image
from edgezoo.preprocess import Preprocess

cv2 = pytest.importorskip("cv2", reason="images are resized with OpenCV")


def gradient(width: int, height: int) -> Image:
    """Every pixel tells where it is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width) % 256
    image[..., 1] = (np.arange(height) % 256)[:, None]
    image[..., 2] = 7
    return image


@pytest.mark.parametrize(
    ("fit", "more", "size_wh", "source_wh", "scale", "shift", "inside"),
    [
        # inside: left, top, right, bottom of what is image in the network's input
        ("stretch", {}, (64, 32), (128, 128), (0.5, 0.25), (0, 0), (0, 0, 64, 32)),
        ("stretch", {}, (64, 32), (1, 1), (64, 32), (0, 0), (0, 0, 64, 32)),
        ("stretch", {}, (64, 32), (7, 5), (64 / 7, 32 / 5), (0, 0), (0, 0, 64, 32)),
        ("stretch", {}, (64, 32), (64, 32), (1, 1), (0, 0), (0, 0, 64, 32)),
        ("letterbox", {}, (416, 416), (640, 480), (0.65, 0.65), (0, 0), (0, 0, 416, 312)),
        ("letterbox", {"align": "center"}, (416, 416), (640, 480), (0.65, 0.65), (0, 52), (0, 52, 416, 364)),
        ("letterbox", {"align": "center"}, (416, 416), (480, 640), (0.65, 0.65), (52, 0), (52, 0, 364, 416)),
        ("letterbox", {}, (416, 416), (416, 416), (1, 1), (0, 0), (0, 0, 416, 416)),
        ("letterbox", {}, (64, 64), (1, 1), (64, 64), (0, 0), (0, 0, 64, 64)),
        ("letterbox", {}, (64, 64), (3000, 1), (64 / 3000, 1), (0, 0), (0, 0, 64, 1)),  # at least one row is left
        ("letterbox", {"align": "center"}, (64, 64), (1, 3000), (1, 64 / 3000), (31, 0), (31, 0, 32, 64)),
        ("letterbox", {}, (416, 416), (500, 333), (416 / 500, 277 / 333), (0, 0), (0, 0, 416, 277)),  # 277.056, down
        ("letterbox", {}, (320, 320), (481, 401), (320 / 481, 266 / 401), (0, 0), (0, 0, 320, 266)),  # 266.78, down
        ("letterbox", {"align": "center"}, (65, 65), (10, 4), (6.5, 6.5), (0, 19), (0, 19, 65, 45)),
        ("crop", {}, (224, 224), (448, 448), (0.5, 0.5), (0, 0), (0, 0, 224, 224)),
        ("crop", {"crop": 0.875}, (224, 224), (256, 256), (1, 1), (-16, -16), (0, 0, 224, 224)),
        ("crop", {"crop": 0.875}, (224, 224), (512, 256), (1, 1), (-144, -16), (0, 0, 224, 224)),
        ("crop", {"crop": 0.5}, (100, 50), (400, 200), (0.5, 0.5), (-50, -25), (0, 0, 100, 50)),
        ("crop", {}, (100, 50), (400, 400), (0.25, 0.25), (0, -25), (0, 0, 100, 50)),
        ("crop", {"crop": 0.01}, (8, 8), (3, 3), (8, 8), (-8, -8), (0, 0, 8, 8)),  # at least one pixel is left
        ("crop", {}, (224, 224), (1, 1), (224, 224), (0, 0), (0, 0, 224, 224)),
        ("crop", {}, (100, 10), (3, 3000), (100 / 3, 10), (0, -14990), (0, 0, 100, 10)),
    ],
)
def test_geometry_by_hand(
    fit: Any,
    more: dict[str, Any],
    size_wh: tuple[int, int],
    source_wh: tuple[int, int],
    scale: tuple[float, float],
    shift: tuple[float, float],
    inside: tuple[int, int, int, int],
) -> None:
    recipe = Preprocess(size_wh=size_wh, fit=fit, pad=99, interpolation="nearest", **more)
    image = np.full((source_wh[1], source_wh[0], 3), 200, np.uint8)
    placed, placement = recipe.place(image)
    assert placed.shape == (size_wh[1], size_wh[0], 3)
    assert placed.dtype == np.uint8
    assert placement.source_wh == source_wh
    np.testing.assert_allclose(np.diagonal(placement.matrix)[:2], scale, rtol=1e-12)
    np.testing.assert_allclose(placement.matrix[:2, 2], shift, atol=1e-9)
    left, top, right, bottom = inside
    expected = np.full_like(placed, 99)
    expected[top:bottom, left:right] = 200
    np.testing.assert_array_equal(placed, expected)


RECIPES = [
    Preprocess(size_wh=(96, 64), fit="stretch"),
    Preprocess(size_wh=(96, 64), fit="letterbox"),
    Preprocess(size_wh=(64, 96), fit="letterbox", align="center", pad=0),
    Preprocess(size_wh=(64, 64), fit="crop"),
    Preprocess(size_wh=(96, 64), fit="crop", crop=0.875),
    Preprocess(size_wh=(97, 63), fit="letterbox", align="center", interpolation="bicubic"),
    Preprocess(size_wh=(61, 67), fit="stretch", interpolation="area"),
    Preprocess(size_wh=(61, 67), fit="crop", crop=0.9, interpolation="nearest"),
]


def told(recipe: Preprocess) -> str:
    return f"{recipe.fit}-{recipe.align}-{recipe.size_wh}-{recipe.interpolation}"


@pytest.mark.parametrize("recipe", RECIPES, ids=told)
@pytest.mark.parametrize("source_wh", [(640, 480), (480, 640), (96, 64), (33, 31), (641, 359), (1200, 400)])
def test_the_square_comes_home(recipe: Preprocess, source_wh: tuple[int, int]) -> None:
    width, height = source_wh
    middle, side = (width // 2 - 3, height // 2 + 2), min(source_wh) // 3
    box = (middle[0] - side // 2, middle[1] - side // 2, middle[0] - side // 2 + side, middle[1] - side // 2 + side)
    placed, placement = recipe.place(graphs.scene(source_wh, box))
    rows, columns = np.nonzero(placed[..., 2] > 147)  # half way between ground and square
    there = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    np.testing.assert_allclose(there, placement.to_network(np.array([box], np.float32)), atol=1.01)
    pixel = 1 / np.diagonal(placement.matrix)[:2].min()  # of the network, in pixels of the source
    np.testing.assert_allclose(placement.to_source(there)[0], box, atol=1.01 * max(1, pixel))


@pytest.mark.parametrize("recipe", RECIPES, ids=told)
@pytest.mark.parametrize("source_wh", [(640, 480), (31, 77), None])
def test_place_into_memory_that_is_there(recipe: Preprocess, source_wh: tuple[int, int] | None) -> None:
    image = gradient(*(source_wh or recipe.size_wh))
    before = image.copy()
    expected, _ = recipe.place(image)
    batch = np.full((3, *expected.shape), 13, np.uint8)
    got, _ = recipe.place(image, batch[1])
    assert got.ctypes.data == batch[1].ctypes.data
    np.testing.assert_array_equal(batch[1], expected)
    assert (batch[::2] == 13).all()  # its neighbours are left alone
    got[:] = 0
    np.testing.assert_array_equal(image, before)  # also where the image fits as it is, it was copied


@pytest.mark.parametrize(
    ("shape", "dtype", "raises"),
    [
        ((64, 96, 3), np.uint8, None),
        ((96, 64, 3), np.uint8, r"out as uint8 \(64, 96, 3\), got uint8 \(96, 64, 3\)"),
        ((64, 96, 4), np.uint8, r"got uint8 \(64, 96, 4\)"),
        ((64, 96, 3), np.float32, "got float32"),
    ],
)
def test_memory_of_the_wrong_kind(shape: tuple[int, ...], dtype: type, raises: str | None) -> None:
    recipe, out = Preprocess(size_wh=(96, 64), fit="stretch"), np.zeros(shape, dtype)
    if raises is None:
        assert recipe.place(gradient(9, 9), out)[0] is out
        return
    with pytest.raises(ShapeError, match=raises):
        recipe.place(gradient(9, 9), out)


@pytest.mark.parametrize("recipe", RECIPES, ids=told)
def test_views_are_placed_like_copies(recipe: Preprocess) -> None:
    whole = gradient(200, 160)
    for view in (whole[:, ::-1], whole[::2, ::3], whole[10:90, 5:150], whole.transpose(1, 0, 2), whole[..., ::-1]):
        np.testing.assert_array_equal(recipe.place(view)[0], recipe.place(np.ascontiguousarray(view))[0])


@pytest.mark.parametrize("color", ["BGR", "RGB"])
@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ((0, 0, 0), (255, 255, 255)),
        ((1, 2, 3), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_what_the_network_sees(color: Any, mean: Any, std: Any, fit: Any) -> None:
    recipe = Preprocess(size_wh=(40, 24), fit=fit, color=color, mean=mean, std=std)
    image = gradient(77, 31)
    got = recipe.tensor(image)
    assert got.shape == (3, 24, 40)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    placed = recipe.place(image)[0].astype(np.float64)
    for channel in range(3):
        plane = placed[..., channel if color == "BGR" else 2 - channel]
        np.testing.assert_allclose(got[channel], (plane - mean[channel]) / std[channel], rtol=1e-6, atol=1e-5)


def test_resizing_is_opencv_s() -> None:
    image = gradient(100, 80)
    for name, flag in {
        "nearest": cv2.INTER_NEAREST,
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
    }.items():
        recipe = Preprocess(size_wh=(33, 44), fit="stretch", interpolation=name)
        np.testing.assert_array_equal(recipe.place(image)[0], cv2.resize(image, (33, 44), interpolation=flag))


@pytest.mark.parametrize(
    ("wrong", "raises"),
    [
        ({}, None),
        ({"size_wh": (1, 16384), "pad": 0, "crop": 1, "std": (1e-9, 1, 1e9)}, None),
        ({"size_wh": (0, 5)}, r"size_wh of 1..16384 pixels, got \(0, 5\)"),
        ({"size_wh": (5, 16385)}, "size_wh"),
        ({"pad": -1}, "pad of 0..255, got -1"),
        ({"pad": 256}, "pad"),
        ({"crop": 0}, "crop above 0 and up to 1, got 0"),
        ({"crop": 1.01}, "crop"),
        ({"crop": float("nan")}, "crop"),
        ({"mean": (0, float("inf"), 0)}, "finite mean"),
        ({"std": (1, 0, 1)}, "std above 0"),
        ({"std": (1, -1, 1)}, "std above 0"),
        ({"std": (1, float("nan"), 1)}, "std above 0"),
        ({"fit": "leterbox"}, "fit of stretch, letterbox or crop, got 'leterbox'"),
        ({"align": "left"}, "align of top-left or center, got 'left'"),
        ({"color": "bgr"}, "color of BGR or RGB, got 'bgr'"),
        ({"interpolation": "linear"}, "interpolation of nearest, bilinear, bicubic or area, got 'linear'"),
    ],
)
def test_a_recipe_is_checked_at_birth(wrong: dict[str, Any], raises: str | None) -> None:
    good: dict[str, Any] = {"size_wh": (32, 32), "fit": "letterbox"}
    if raises is None:
        assert Preprocess(**{**good, **wrong}) == Preprocess(**{**good, **wrong})
        return
    with pytest.raises(ValueError, match=f"^expected {raises}"):
        Preprocess(**{**good, **wrong})
