"""Likeness: tensors made by hand, one thing done otherwise in each, and the field that is named for it."""

from __future__ import annotations

import inspect
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_cli import Call, Said

from edgezoo.bundle import Bundle
from edgezoo.cli import main
from edgezoo.errors import ShapeError
from edgezoo.frame import Image
from edgezoo.measure.likeness import Likeness, explain
from edgezoo.measure.likeness.guesses import antialiased
from edgezoo.preprocess import Preprocess
from edgezoo.sources import open_source
from edgezoo.sources.images import find_images, read_image

cv2 = pytest.importorskip("cv2", reason="images are resized with OpenCV")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB, 0..1
LETTERBOX = Preprocess(size_wh=(256, 256), fit="letterbox")  # YOLOX's
CROP = Preprocess(
    size_wh=(224, 224),
    fit="crop",
    crop=0.875,
    color="RGB",
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
)

Tensor = npt.NDArray[Any]
Maker = Callable[[Image], Tensor]


# By hand, with OpenCV and NumPy: how YOLOX and a classifier's training code make their tensors.


def yolox(image: Image, *, flag: int = cv2.INTER_LINEAR, pad: int = 114, center: bool = False) -> Tensor:
    height, width = image.shape[:2]
    ratio = min(256 / height, 256 / width)
    resized = cv2.resize(image, (int(width * ratio), int(height * ratio)), interpolation=flag)
    canvas = np.ones((256, 256, 3), np.uint8) * np.uint8(pad)
    top, left = ((256 - resized.shape[0]) // 2, (256 - resized.shape[1]) // 2) if center else (0, 0)
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return canvas.transpose(2, 0, 1).astype(np.float32)


def classifier(image: Image, *, flag: int = cv2.INTER_LINEAR, keep: float = 0.875, stretch: bool = False) -> Tensor:
    """Pixels in 0..255, RGB, channels first; `normalised` does the rest."""
    if not stretch:
        height, width = image.shape[:2]
        side = round(min(height, width) * keep)
        y, x = (height - side) // 2, (width - side) // 2
        image = image[y : y + side, x : x + side]
    image = cv2.cvtColor(cv2.resize(image, (224, 224), interpolation=flag), cv2.COLOR_BGR2RGB)
    return image.transpose(2, 0, 1).astype(np.float32)


def normalised(pixels: Tensor, *, mean: Any = MEAN, std: Any = STD, full: float = 255) -> Tensor:
    mean, std = (np.array(value, np.float32).reshape(3, 1, 1) for value in (mean, std))
    return (pixels / np.float32(full) - mean) / std


LETTERBOXED: dict[str, Maker] = {
    "": yolox,
    "color": lambda image: yolox(image[..., ::-1]),
    "fit": lambda image: cv2.resize(image, (256, 256)).transpose(2, 0, 1).astype(np.float32),
    "align": lambda image: yolox(image, center=True),
    "pad": lambda image: yolox(image, pad=0),
    "scale": lambda image: yolox(image) / 255,
    "mean": lambda image: yolox(image) - np.array([103.939, 116.779, 123.68], np.float32).reshape(3, 1, 1),
    "std": lambda image: yolox(image) / np.array([57.375, 57.12, 58.395], np.float32).reshape(3, 1, 1),
    "interpolation": lambda image: yolox(image, flag=cv2.INTER_AREA),
    "layout": lambda image: yolox(image).transpose(1, 2, 0)[None],
}
CROPPED: dict[str, Maker] = {
    "": lambda image: normalised(classifier(image)),
    "color": lambda image: normalised(classifier(image[..., ::-1])),
    "fit": lambda image: normalised(classifier(image, stretch=True)),
    "crop": lambda image: normalised(classifier(image, keep=1)),
    "scale": lambda image: normalised(classifier(image), full=1),
    "mean": lambda image: normalised(classifier(image), mean=(0.5, 0.5, 0.5)),
    "std": lambda image: normalised(classifier(image), std=(1, 1, 1)),
    "interpolation": lambda image: normalised(classifier(image, flag=cv2.INTER_NEAREST)),
    "layout": lambda image: normalised(classifier(image)).transpose(1, 2, 0),
}
WRONG = [(LETTERBOX, LETTERBOXED, field) for field in LETTERBOXED] + [(CROP, CROPPED, field) for field in CROPPED]


def told(case: Any) -> str | None:
    return case.fit if isinstance(case, Preprocess) else (case or "right") if isinstance(case, str) else ""


@pytest.fixture(scope="module")
def scenes() -> list[Image]:
    """Drawn shapes, none of them square."""
    found: list[Image] = []
    for seed, size in enumerate(("320x240", "360x480", "500x333")):
        found += [frame.image for frame in open_source(f"synthetic:#size={size}&seed={seed}&frames=1&live=0&shapes=6")]
    return found


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[Image]:
    found = (read_image(path) for path in find_images(str(test_data / "data" / "coco-val-128" / "images")))
    return [image for image in found if image.shape[0] != image.shape[1]][:3]


def named(likeness: Likeness) -> list[list[str]]:
    """The fields of every explanation."""
    return [[each.field for each in differences] for differences in likeness.differences()]


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize(("recipe", "makers", "field"), WRONG, ids=told)
def test_the_field_is_named(
    scenes: list[Image], recipe: Preprocess, makers: dict[str, Maker], field: str, number: int
) -> None:
    _check(recipe, scenes[number], makers[field], field)


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize(("recipe", "makers", "field"), WRONG, ids=told)
def test_the_field_is_named_on_photos(
    photos: list[Image], recipe: Preprocess, makers: dict[str, Maker], field: str, number: int
) -> None:
    _check(recipe, photos[number], makers[field], field)


def _check(recipe: Preprocess, image: Image, maker: Maker, field: str) -> None:
    found = explain(recipe, [image], [maker(image)])
    assert named(found) == ([[field]] if field else [])
    assert found.same == (not field)
    assert found.explanations[0].exact
    assert found.explanations[0].left_levels < 0.01
    if not field:
        assert found.apart[0].largest_levels < 0.01
        assert found.unproved == []


@pytest.mark.parametrize(("recipe", "makers", "field"), WRONG, ids=told)
def test_many_images_at_once(scenes: list[Image], recipe: Preprocess, makers: dict[str, Maker], field: str) -> None:
    found = explain(recipe, scenes, [makers[field](image) for image in scenes])
    assert named(found) == ([[field]] if field else [])


@pytest.mark.parametrize(
    ("recipe", "makers", "field", "says"),
    [
        (LETTERBOX, LETTERBOXED, "color", "the reference is RGB, the recipe says BGR"),
        (LETTERBOX, LETTERBOXED, "fit", "the reference stretches, the recipe letterboxes"),
        (LETTERBOX, LETTERBOXED, "align", "the reference puts the image in the center, the recipe top-left"),
        (LETTERBOX, LETTERBOXED, "pad", "the reference pads with 0, the recipe with 114"),
        (LETTERBOX, LETTERBOXED, "scale", "the reference is what the recipe makes, divided by 255"),
        (LETTERBOX, LETTERBOXED, "mean", "the reference subtracts (103.939, 116.779, 123.68), the recipe 0"),
        (LETTERBOX, LETTERBOXED, "std", "the reference divides by (57.375, 57.12, 58.395), the recipe by 1"),
        (LETTERBOX, LETTERBOXED, "interpolation", "the reference is area, the recipe says bilinear"),
        (
            *(LETTERBOX, LETTERBOXED, "layout"),
            "the reference is (256, 256, 3), channels last; networks take (3, 256, 256)",
        ),
        (CROP, CROPPED, "crop", "the reference keeps 1 of the short side, the recipe 0.875"),
        (
            *(CROP, CROPPED, "scale"),
            "the reference's pixels are multiplied by 255 before mean and std, which the recipe means for 0..255",
        ),
        (CROP, CROPPED, "mean", "the reference subtracts 127.5, the recipe (123.675, 116.28, 103.53)"),
        (CROP, CROPPED, "std", "the reference divides by 255, the recipe by (58.395, 57.12, 57.375)"),
    ],
    ids=told,
)
def test_what_is_said(scenes: list[Image], recipe: Preprocess, makers: dict[str, Maker], field: str, says: str) -> None:
    ((difference,),) = explain(recipe, scenes[:1], [makers[field](scenes[0])]).differences()
    assert difference.says == says


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8"])
def test_coarser_and_finer_numbers(scenes: list[Image], dtype: str) -> None:
    assert explain(LETTERBOX, scenes[:1], [yolox(scenes[0]).astype(dtype)]).same
    if dtype != "uint8":
        assert explain(CROP, scenes[:1], [CROPPED[""](scenes[0]).astype(dtype)]).same


# More than one field.


def pillow(image: Image, method: str) -> Tensor:
    """torchvision's Resize(256), CenterCrop(224), ToTensor, Normalize."""
    pil = pytest.importorskip("PIL.Image", reason="Pillow resizes")
    height, width = image.shape[:2]
    short = min(height, width)
    whole = pil.fromarray(image[..., ::-1])
    whole = whole.resize((int(256 * width / short), int(256 * height / short)), getattr(pil.Resampling, method))
    left, top = round((whole.width - 224) / 2.0), round((whole.height - 224) / 2.0)
    pixels = np.asarray(whole.crop((left, top, left + 224, top + 224)), np.float32)
    return normalised(pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("recipe", "maker", "fields"),
    [
        (LETTERBOX, lambda image: yolox(image[..., ::-1], flag=cv2.INTER_NEAREST), ["color", "interpolation"]),
        (LETTERBOX, lambda image: yolox(image, center=True, pad=0), ["align", "pad"]),
        (LETTERBOX, lambda image: yolox(image, pad=128).transpose(1, 2, 0), ["layout", "pad"]),
        (LETTERBOX, lambda image: normalised(yolox(image[..., ::-1])), ["color", "mean", "std"]),
        (LETTERBOX, lambda image: yolox(image[..., ::-1]) / 255, ["color", "scale"]),
        (CROP, lambda image: normalised(classifier(image, stretch=True), mean=(0, 0, 0)), ["fit", "mean"]),
        (CROP, lambda image: classifier(image) / 255, ["mean", "std"]),
        (CROP, lambda image: pillow(image, "BILINEAR"), ["fit", "interpolation"]),
        (CROP, lambda image: pillow(image, "NEAREST"), ["fit", "interpolation"]),
    ],
)
def test_two_fields_or_three(scenes: list[Image], recipe: Preprocess, maker: Maker, fields: list[str]) -> None:
    found = explain(recipe, scenes[2:], [maker(scenes[2])])
    assert named(found) == [fields]
    assert found.explanations[0].exact


def test_colours_that_took_mean_and_std_with_them(scenes: list[Image]) -> None:
    found = explain(CROP, scenes[:1], [CROPPED[""](scenes[0])[::-1]])
    ((difference,),) = found.differences()
    assert (difference.field, difference.says[-22:]) == ("color", ", mean and std with it")
    assert difference.card == (
        'color = "BGR"',
        "mean = [103.53, 116.28, 123.675]",
        "std = [57.375, 57.12, 58.395]",
    )


@pytest.mark.parametrize(
    ("tensor", "layout"),
    [
        (lambda right: right.transpose(1, 2, 0).reshape(3, 256, 256), "reshaped"),
        (lambda right: right.transpose(0, 2, 1), "swapped"),
    ],
)
def test_layouts_of_the_right_shape(scenes: list[Image], tensor: Callable[[Tensor], Tensor], layout: str) -> None:
    ((difference,),) = explain(LETTERBOX, scenes[:1], [tensor(yolox(scenes[0]))]).differences()
    assert (difference.field, difference.reference) == ("layout", layout)


def test_a_tensor_that_was_scaled_after_all(scenes: list[Image]) -> None:
    ((difference,),) = explain(CROP, scenes[:1], [CROPPED[""](scenes[0]) / 255]).differences()
    assert (difference.field, difference.reference) == ("scale", 255)
    assert "after mean and std" in difference.says


# What other libraries do.


@pytest.mark.parametrize("size_wh", [(256, 277), (100, 333), (700, 600)])
@pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC", "LANCZOS"])
def test_antialiasing_is_pillow_s(scenes: list[Image], size_wh: tuple[int, int], method: str) -> None:
    pil = pytest.importorskip("PIL.Image", reason="Pillow resizes")
    expected = np.asarray(pil.fromarray(scenes[2]).resize(size_wh, getattr(pil.Resampling, method)))
    np.testing.assert_array_equal(antialiased(scenes[2], size_wh, f"antialiased-{method.lower()}"), expected)


def test_what_no_recipe_can_say(scenes: list[Image]) -> None:
    pil = pytest.importorskip("PIL.Image", reason="Pillow resizes")
    image = scenes[2]
    tensor = np.full((256, 256, 3), 114, np.float32)
    tensor[:170] = np.asarray(pil.fromarray(image).resize((256, 170), pil.Resampling.BILINEAR))
    found = explain(LETTERBOX, [image], [tensor.transpose(2, 0, 1)])
    ((difference,),) = found.differences()
    assert (difference.field, difference.reference, difference.card) == ("interpolation", "antialiased-bilinear", ())
    assert found.instead is not None
    assert 0 < found.instead.rms_levels < found.apart[0].largest_levels


@pytest.mark.parametrize("antialias", [False, True])
def test_torch_s_resize_of_floats(scenes: list[Image], antialias: bool) -> None:
    torch = pytest.importorskip("torch", reason="torch resizes")
    image = torch.from_numpy(scenes[2]).permute(2, 0, 1)[None].float()
    tensor = torch.full((1, 3, 256, 256), 114.0)
    tensor[:, :, :170] = torch.nn.functional.interpolate(image, (170, 256), mode="bilinear", antialias=antialias)
    found = explain(LETTERBOX, scenes[2:], [tensor.numpy()])
    assert not found.explanations[0].exact  # it does not round to bytes
    assert named(found) == ([["interpolation"]] if antialias else [])


def test_a_letterbox_whose_size_is_rounded_up(scenes: list[Image]) -> None:
    image = scenes[1][:410]  # to 224.78 columns
    right = np.full((256, 256, 3), 114, np.uint8)
    right[:, :225] = cv2.resize(image, (225, 256))
    ((difference,),) = explain(LETTERBOX, [image], [right.transpose(2, 0, 1)]).differences()
    assert (difference.field, difference.card) == ("fit", ())
    assert "rounds a letterbox's size to the nearest pixel" in difference.says


def test_padding_after_mean_and_std(scenes: list[Image]) -> None:
    recipe = Preprocess(size_wh=(256, 256), fit="letterbox", color="RGB", mean=CROP.mean, std=CROP.std)
    tensor = normalised(yolox(scenes[0][..., ::-1]))
    assert explain(recipe, scenes[:1], [tensor]).same
    tensor[:, 192:] = 0
    ((difference,),) = explain(recipe, scenes[:1], [tensor]).differences()
    assert difference.field == "pad"
    assert "pads with 0 after mean and std" in difference.says


def test_a_mirrored_border(scenes: list[Image]) -> None:
    tensor = yolox(scenes[0])
    tensor[:, 192:] = tensor[:, 191:127:-1]
    ((difference,),) = explain(LETTERBOX, scenes[:1], [tensor]).differences()
    assert (difference.field, difference.reference) == ("pad", None)


# The margin.


def test_a_grey_level_is_rounding_and_more_is_not(scenes: list[Image]) -> None:
    noise = np.random.default_rng(0).integers(-1, 2, (3, 192, 256))
    tensor = yolox(scenes[0])
    tensor[:, :192] += noise
    found = explain(LETTERBOX, scenes[:1], [tensor])
    assert found.same
    assert found.apart[0].largest == 1
    tensor[:, :192] += noise
    found = explain(LETTERBOX, scenes[:1], [tensor])
    assert not found.same
    assert found.explanations == ()
    assert found.nearest.left_levels == pytest.approx(2, abs=0.1)
    assert found.nearest.fields == frozenset()


@pytest.mark.parametrize(
    ("recipe", "field", "change"),
    [
        (LETTERBOX, "pad", lambda image: yolox(image, pad=113)),
        (LETTERBOX, "mean", lambda image: yolox(image) - 0.4),
        (CROP, "std", lambda image: normalised(classifier(image), std=(0.23, 0.224, 0.225))),
    ],
)
def test_what_is_less_than_a_level_and_no_rounding(
    scenes: list[Image], recipe: Preprocess, field: str, change: Maker
) -> None:
    assert named(explain(recipe, scenes[:1], [change(scenes[0])])) == [[field]]


def test_numbers_with_fewer_digits_are_the_same(scenes: list[Image]) -> None:
    pixels = classifier(scenes[0])
    mean, std = (
        np.array(value, np.float32).reshape(3, 1, 1) for value in ((123.68, 116.28, 103.53), (58.4, 57.12, 57.38))
    )
    assert explain(CROP, scenes[:1], [(pixels - mean) / std]).same


@pytest.mark.parametrize("maker", [lambda shape: np.zeros(shape), np.random.default_rng(0).random], ids=["0", "noise"])
def test_a_tensor_of_something_else(scenes: list[Image], maker: Callable[[Any], Tensor]) -> None:
    found = explain(LETTERBOX, scenes[:1], [maker((3, 256, 256)).astype(np.float32)])
    assert (found.same, found.explanations, found.differences()) == (False, (), [])
    assert "is it a tensor of this image?" in found.nearest_says


# What an image cannot tell.


def test_a_square_image_says_nothing_of_fit(scenes: list[Image]) -> None:
    square = np.ascontiguousarray(scenes[0][:, :240])
    found = explain(LETTERBOX, [square], [yolox(square)])
    assert found.same
    assert set(found.unproved) == {"fit", "align", "pad"}
    assert found.told_apart_by([square, *scenes]) == [1, 2, 3]


def test_an_image_of_the_right_size_says_nothing_of_interpolation(scenes: list[Image]) -> None:
    image = np.ascontiguousarray(np.tile(scenes[0], (2, 2, 1))[:256, :256])
    assert "interpolation" in explain(LETTERBOX, [image], [yolox(image)]).unproved


def test_a_grey_image_says_nothing_of_colour(scenes: list[Image]) -> None:
    grey = np.ascontiguousarray(np.repeat(scenes[0][..., :1], 3, axis=2))
    found = explain(LETTERBOX, [grey], [yolox(grey)])
    assert found.unproved == ["color"]
    assert found.told_apart_by([grey, *scenes]) == [1, 2, 3]


def test_explanations_that_an_image_cannot_tell_apart(scenes: list[Image]) -> None:
    flat = np.full((240, 320, 3), 40, np.uint8)
    found = explain(LETTERBOX, [flat], [yolox(flat) / 2])
    assert named(found) == [["scale"]]  # the border tells it from a mean
    square = flat[:, :240]
    found = explain(LETTERBOX, [square], [yolox(square) / 2])
    assert sorted(named(found)) == [["mean"], ["scale"]]
    assert found.told_apart_by([square, scenes[0]]) == [1]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((3, 224, 224), "got (3, 224, 224); the bundle takes 256x256 px"),
        ((256, 256), "got (256, 256); try the tensor of one image"),
        ((2, 3, 256, 256), "try the tensor of one image"),
        ((1, 256, 256), "expected a tensor of shape (3, 256, 256) or (256, 256, 3)"),
    ],
)
def test_shapes_that_are_none(scenes: list[Image], shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ShapeError) as caught:
        explain(LETTERBOX, scenes[:1], [np.zeros(shape, np.float32)])
    assert says in str(caught.value)


# The verb.

SMALL = Preprocess(size_wh=(96, 64), fit="letterbox")


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        return Said(main(arguments), *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle_of: Callable[..., Bundle]) -> Path:
    """A folder to be in, with a bundle, and tensors, scripts and things that are none."""
    monkeypatch.chdir(tmp_path)
    bundle = bundle_of("squares", SMALL)
    shutil.copytree(bundle.folder, tmp_path / "bundle")
    golden = bundle.read_golden()
    right = [small(golden[f"image_{k}"]) for k in range(3)]
    np.save("right.npy", right[0])
    np.save("color.npy", right[0][::-1])
    np.save("second.npy", right[1])
    np.savez("all.npz", **{f"image_{k}": tensor / 255 for k, tensor in enumerate(right)})
    np.savez("one.npz", mine=right[0])
    np.savez("last.npz", image_2=right[2])
    np.savez("odd.npz", image_0=right[0], other=right[1])
    np.savez("none.npz")
    np.save("nan.npy", np.where(right[0] == 114, np.nan, right[0]))
    np.save("ints.npy", right[0].astype(np.int64))
    np.save("shape.npy", right[0][:, :50])
    np.save("pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("not a tensor")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "all.npz").read_bytes()[:300])
    for name, text in SCRIPTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def small(image: Image) -> Tensor:
    height, width = image.shape[:2]
    ratio = min(96 / width, 64 / height)
    size = int(width * ratio + 1e-6), int(height * ratio + 1e-6)
    canvas = np.full((64, 96, 3), 114, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size)
    return canvas.transpose(2, 0, 1).astype(np.float32)


SCRIPTS = {
    "training": f"""
import cv2
import numpy as np
from beside import half
print("a script may print")

{inspect.getsource(small).replace("Image", "object").replace("Tensor", "object")}

def preprocess(image):
    return half(small(image))
""",
    "beside": "def half(tensor):\n    return tensor * 0.5\n",
    "without": "def prepare(image):\n    return image\n",
    "fails": "def preprocess(image):\n    wide = image[0]\n    return wide.size()\n",
    "syntax": "def preprocess(image)\n    return image\n",
    "imports": "import nothing_of_this_name\n",
    "ends": "import sys\nsys.exit(3)\n",
    "answers": "def preprocess(image):\n    return None\n",
    "changes": "def preprocess(image):\n    image[:] = 0\n    return [image]\n",
}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("right.npy", 0, ["✓ the same as what squares sees", "golden 0", "exact"]),
        ("color.npy", 1, ["✗ color: the reference is RGB, the recipe says BGR", 'put color = "RGB" under [input]']),
        ("second.npy", 1, ["no change of the recipe explains it", "try --golden 1"]),
        ("second.npy --golden 1", 0, ["✓ the same", "golden 1"]),
        (
            "all.npz",
            1,
            ["✗ scale: the reference is what the recipe makes, divided by 255", "golden 2", "all are the same"],
        ),
        ("all.npz --golden 1", 1, ["✗ scale", "golden 1"]),
        ("one.npz", 0, ["✓ the same", "golden 0"]),
        ("last.npz", 0, ["✓ the same", "golden 2"]),
        ("training.py", 1, ["✗ scale: the reference is what the recipe makes, divided by 2", "golden 2"]),
        ("right.npy --image images/golden_0.png", 0, ["✓ the same", "images/golden_0.png"]),
    ],
)
def test_the_verb(call: Call, here: Path, arguments: str, code: int, says: list[str]) -> None:
    assert call("verify", "bundle", "--golden-images", "images").code == 0
    said = call("verify", "bundle", "--like", *arguments.split())
    assert [text for text in says if text not in said.out] == []
    assert said.code == code
    assert said.err.replace("a script may print\n", "") == ""
    found = call("verify", "bundle", "--json", "--like", *arguments.split())
    assert (found.code, found.json["ok"], found.json["bundle"]) == (code, code == 0, "squares")
    assert all(image["name"] in said.out for image in found.json["images"])
    fields = [each["field"] for one in found.json["explanations"] for each in one["differences"]]
    assert all(f"✗ {field}: " in said.out for field in fields)


def test_an_image_that_cannot_tell(call: Call, here: Path) -> None:
    image = np.full((64, 96, 3), 90, np.uint8)
    cv2.imwrite("flat.png", image)
    np.save("flat.npy", small(image))
    said = call("verify", "bundle", "--like", "flat.npy", "--image", "flat.png")
    assert said.code == 0
    assert "not proved: " in said.out
    assert "golden image 0 or 1 or 2 would tell" in said.out or "a photo of another shape" in said.out
    np.save("flat.npy", small(image) / 2)
    said = call("verify", "bundle", "--like", "flat.npy", "--image", "flat.png")
    assert said.code == 1
    assert "\n  or\n" in said.out
    assert "cannot tell which; golden image 0 or 1 or 2 would tell" in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--like gone.npy", "found no file at gone.npy"),
        ("--like right.pt", "expected a tensor (.npy, .npz) or a script (.py), got 'right.pt'; try np.save"),
        ("--like shape.npy", "shape.npy: expected a tensor of shape (3, 64, 96) or (64, 96, 3), got (3, 50, 96)"),
        ("--like nan.npy", "nan.npy: expected finite numbers, got"),
        ("--like ints.npy", "ints.npy: expected a tensor of float32, float64, float16, uint8, got int64"),
        ("--like pickled.npy", "pickled.npy: expected what np.save or np.savez writes of numbers"),
        ("--like text.npy", "text.npy: expected what np.save or np.savez writes of numbers"),
        ("--like cut.npz", "cut.npz: expected what np.save or np.savez writes of numbers"),
        ("--like odd.npz", "odd.npz: expected one tensor, or tensors named image_0 to image_2; got image_0, other"),
        ("--like none.npz", "none.npz: expected one tensor, or tensors named image_0 to image_2; got none"),
        ("--like all.npz --image images/golden_0.png", "all.npz: expected one tensor; got image_0, image_1, image_2"),
        ("--like right.npy --golden 3", "expected a golden image of 0..2, got 3"),
        ("--like right.npy --golden 0 --image images/golden_0.png", "expected --golden or --image, got both"),
        ("--like right.npy --image gone.png", "gone.png: expected an image: No such file"),
        ("--golden 1", "expected --like with --golden or --image"),
        ("--golden-images images --like right.npy", "expected --golden-images alone"),
        ("--golden-images no/images", "expected to write golden images into 'no/images', got: No such file"),
        ("--golden-images taken", "taken/golden_1.png: is there already and is another picture"),
        ("--like without.py", "without.py: expected a function preprocess(image), which takes BGR uint8"),
        ("--like fails.py", "fails.py, line 3: TypeError: "),
        ("--like syntax.py", "syntax.py, line 1: SyntaxError: "),
        ("--like imports.py", "imports.py, line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("--like ends.py", "ends.py, line 2: SystemExit: 3"),
        ("--like answers.py", "answers.py: expected a tensor of float32, float64, float16, uint8, got object"),
        ("--like changes.py", "changes.py: expected a tensor of shape (3, 64, 96) or (64, 96, 3), got (1, "),
    ],
)
def test_what_is_wrong_is_one_line(call: Call, here: Path, arguments: str, says: str) -> None:
    assert call("verify", "bundle", "--golden-images", "images").code == 0
    (here / "taken").mkdir()
    cv2.imwrite("taken/golden_1.png", np.zeros((9, 9, 3), np.uint8))
    said = call("verify", "bundle", *arguments.split())
    assert (said.code, said.out) == (2, "")
    (line,) = said.lines
    assert line.startswith("edgezoo: ")
    assert says in line


def test_golden_images_keep_every_pixel(call: Call, here: Path) -> None:
    said = call("verify", "bundle", "--golden-images", "images", "--json")
    golden = Bundle.open("bundle").read_golden()
    paths = json.loads(said.out)["images"]
    assert [Path(path).name for path in paths] == ["golden_0.png", "golden_1.png", "golden_2.png"]
    for k, path in enumerate(paths):
        np.testing.assert_array_equal(cv2.imread(path), golden[f"image_{k}"])
    assert call("verify", "bundle", "--golden-images", "images").code == 0  # again: they are the same
    assert sorted(path.name for path in Path("images").iterdir()) == [Path(path).name for path in paths]
