"""Image sets: what is drawn is even and the same everywhere, known by its hash, and reaches a network in one way."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import need

from edgezoo import imagesets
from edgezoo.errors import DataError, EdgezooError, RequestError, SourceError, UnknownName, WeightsError
from edgezoo.imagesets import draw, picks, read_set
from edgezoo.preprocess import Preprocess
from edgezoo.records import to_toml
from edgezoo.sources.images import read_image
from edgezoo.sources.video import Video

cv2 = pytest.importorskip("cv2", reason="images are read with OpenCV")

ROOT = Path(__file__).parents[1]
RECIPE = Preprocess(size_wh=(48, 32), fit="letterbox", align="center")
FRAMES = 50


def png(number: int) -> bytes:
    """A small picture, of another grey for every number."""
    return bytes(cv2.imencode(".png", np.full((12, 16, 3), number, np.uint8))[1].tobytes())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"a{number}.png").write_bytes(png(number))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for index in range(FRAMES):
        writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    writer.release()
    return path


WriteSet = Callable[..., Path]


@pytest.fixture
def write_set(tmp_path: Path) -> WriteSet:
    """`write_set(count=3, **keys)`: a good set of that many images named `mine`, with keys of the `.toml` replaced."""

    def write(count: int = 3, **keys: object) -> Path:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        listed = {}
        for number in range(count):
            (folder / f"{number}.png").write_bytes(png(number))
            listed[f"{number}.png"] = hashlib.sha256(png(number)).hexdigest()
        told = dict.fromkeys(("about", "origin", "licence", "drawn"), "a sentence")
        (tmp_path / "mine.toml").write_text(to_toml({"name": "mine", **told, "files": listed, **keys}), "utf-8")
        return tmp_path / "mine.toml"

    return write


# Which ones.


@pytest.mark.parametrize(
    ("total", "count"), [(1, 1), (5, 5), (7, 3), (100, 10), (128, 40), (1000, 999), (3, 500), (0, 4)]
)
def test_one_is_picked_of_every_part(total: int, count: int) -> None:
    for seed in range(20):
        found = picks(total, count, seed)
        assert len(found) == min(count, total)
        for k, index in enumerate(found):
            assert k * total // len(found) <= index < (k + 1) * total // len(found)


def test_picks_are_these_on_every_machine() -> None:
    assert picks(100, 5, 0) == [16, 35, 48, 65, 90]
    assert picks(100, 5, 1) == [2, 36, 55, 65, 89]


def test_a_folder_is_drawn_in_natural_order_by_the_seed(photos: Path) -> None:
    drawn = draw(photos, count=5)
    assert [*drawn.hashes] == [f"a{index}.png" for index in picks(20, 5, 0)]
    assert [int(sample.image[0, 0, 0]) for sample in drawn] == picks(20, 5, 0)
    assert drawn == draw(photos, count=5)
    assert drawn.hashes != draw(photos, count=5, seed=1).hashes
    assert (drawn.source, drawn.title) == (str(photos), "photos")
    assert str(drawn) == "5 of 20 from photos, seed 0"  # the way there is nobody's business
    assert draw(photos, count=500).hashes == {
        f"a{number}.png": hashlib.sha256(png(number)).hexdigest() for number in range(20)
    }


def test_the_order_of_the_file_system_does_not_matter(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A7.png", "a07.png"):  # which natural order alone takes for the same
        (photos / name).write_bytes(png(99))
    before = draw(photos, count=9).hashes
    real = os.listdir
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        monkeypatch.setattr(os, "listdir", lambda path, order=order: order(real(path)))
        assert draw(photos, count=9).hashes == before


def test_a_moved_folder_draws_the_same(photos: Path, tmp_path: Path) -> None:
    before = draw(photos, count=6).hashes
    photos.rename(tmp_path / "moved")
    assert draw(tmp_path / "moved", count=6).hashes == before


def test_a_pattern_names_images_from_where_they_part(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "more").mkdir()
    (photos / "more" / "b.png").write_bytes(png(50))
    assert [*draw(f"{photos}/a1?.png", count=3).hashes] == [f"a1{index}.png" for index in picks(10, 3, 0)]
    assert [*draw(f"{photos}/**/*[b1].png", count=9).hashes] == ["a1.png", "a11.png", "more/b.png"]
    monkeypatch.chdir(photos)
    assert [*draw("a1*.png", count=1).hashes] == ["a18.png"]
    assert [*draw("**/[ab].png", count=1).hashes] == ["b.png"]


def test_folders_in_a_folder_without_images(photos: Path, tmp_path: Path) -> None:
    for folder in ("cat", "dog/small", ".hidden"):
        shutil.copytree(photos, tmp_path / "classes" / folder)
    drawn = draw(tmp_path / "classes", count=1000)
    own = len(draw(photos, count=1000))
    assert {name.rpartition("/")[0] for name in drawn.hashes} == {"cat", "dog/small"}
    assert len(drawn) == 2 * own
    shutil.copy(next(photos.iterdir()), tmp_path / "classes" / "one.png")
    assert len(draw(tmp_path / "classes", count=1000)) == 1


def test_one_photo(photos: Path) -> None:
    (sample,) = draw(photos / "a3.png", count=10)
    assert (sample.name, sample.sha256) == ("a3.png", hashlib.sha256(png(3)).hexdigest())


@pytest.mark.parametrize("claim", [None, 0, 7, FRAMES, 4000])
def test_a_video_is_drawn_evenly_whatever_it_claims(
    clip: Path, claim: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Claims(Video):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            self.frames = claim

    monkeypatch.setattr(imagesets, "Video", Claims)
    drawn = draw(clip, count=8)
    assert [*drawn.hashes] == [f"clip.avi#{index}" for index in picks(FRAMES, 8, 0)]
    for _ in range(2):
        seen = [round(float(sample.image.mean()) / 5) for sample in drawn]
        assert seen == picks(FRAMES, 8, 0)
    assert drawn.total == FRAMES
    assert len(draw(clip, count=500)) == FRAMES


def test_a_frame_is_known_by_its_pixels_and_its_file(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip.avi"
    copy.write_bytes(clip.read_bytes())
    assert draw(copy, count=3).hashes == draw(clip, count=3).hashes
    copy.write_bytes(clip.read_bytes() + b"\0")
    changed = draw(copy, count=3).hashes
    assert not set(changed.values()) & set(draw(clip, count=3).hashes.values())
    assert len({*draw(clip, count=FRAMES).hashes.values()}) == FRAMES


# How they come.


def test_nothing_is_decoded_before_it_is_asked_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    real = imagesets.decode_image
    monkeypatch.setattr(imagesets, "decode_image", lambda data, path: decoded.append(path) or real(data, path))
    samples = iter(draw(photos, count=10))
    assert not decoded
    next(samples)
    assert len(decoded) == 1


def test_the_way_into_a_network_is_the_recipe_s(photos: Path, clip: Path) -> None:
    for drawn in (draw(photos, count=4), draw(clip, count=4)):
        placed = list(drawn.placed(RECIPE))
        assert len(placed) == 4
        for image, sample in zip(placed, drawn):
            assert image.shape == (32, 48, 3)
            assert np.array_equal(image, RECIPE.place(sample.image)[0])
    whole = read_image(photos / "a0.png")
    assert np.array_equal(next(iter(draw(photos / "a0.png", count=1))).image, whole)


def test_what_changes_after_the_draw_is_noticed(photos: Path, clip: Path, tmp_path: Path) -> None:
    drawn = draw(photos / "a3.png", count=1)
    (photos / "a3.png").write_bytes(png(4))
    with pytest.raises(DataError, match=r"a3\.png: expected the file that was drawn, got one that changed"):
        list(drawn)
    copy = tmp_path / "clip.avi"
    copy.write_bytes(clip.read_bytes())
    of_the_clip = draw(copy, count=3)
    writer = cv2.VideoWriter(str(copy), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(FRAMES):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with pytest.raises(DataError, match="expected the video that was drawn from"):
        list(of_the_clip)


# Sets.


def test_a_set_by_its_file(write_set: WriteSet) -> None:
    path = write_set(5)
    drawn = draw(path, count=3)
    assert [*drawn.hashes] == [f"{index}.png" for index in picks(5, 3, 0)]
    assert drawn.source == "mine"
    assert [int(sample.image[0, 0, 0]) for sample in draw(str(path), count=9)] == [0, 1, 2, 3, 4]


def test_one_flipped_byte_is_refused(write_set: WriteSet) -> None:
    path = write_set()
    damaged = path.parent / "mine" / "1.png"
    data = bytearray(damaged.read_bytes())
    data[40] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(DataError) as caught:
        draw(path, count=3)
    expected, got = hashlib.sha256(png(1)).hexdigest(), hashlib.sha256(data).hexdigest()
    assert f"{damaged}: expected SHA-256 {expected[:16]}… as the set mine says, got {got[:16]}…" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"name": "a b"}, "expected a name of letters"),
        ({"path": "x"}, "path: no such key"),
        ({"lisence": "x"}, "lisence: no such key; did you mean 'licence'?"),
        ({"about": 3}, "about: expected a text, got 3"),
        ({"files": {}}, "expected files, each with its SHA-256, got none"),
        ({"files": {"a.png": "ab12"}}, "files: a.png: expected all 64 hexadecimal digits of its SHA-256, got 'ab12'"),
        ({"files": {"a.txt": "0" * 64}}, "files: 'a.txt': expected the name of an image"),
        ({"files": {"../photos/a1.png": "0" * 64}}, "refused: it leaves the set's folder"),
        ({"files": {"/etc/a.png": "0" * 64}}, "refused: it leaves the set's folder"),
        ({"files": {"a/../../a.png": "0" * 64}}, "refused: it leaves the set's folder"),
        ({"files": {"C:\\a.png": "0" * 64}}, "refused: it leaves the set's folder"),
        ({"url": "ftp://example.org/"}, "expected a http(s) url that ends in a file's name"),
        ({"url": "http://example.org/", "files": {"a b.png": "0" * 64}}, "expected a http(s) url"),
    ],
)
def test_a_bad_set_is_one_line(write_set: WriteSet, keys: dict[str, object], says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_set(write_set(**keys))
    assert says in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["missing.toml", "broken.toml", "folder.toml"])
def test_a_set_that_is_none(tmp_path: Path, what: str) -> None:
    (tmp_path / "broken.toml").write_text("name = \n")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(DataError, match=f"{what}: expected an image set"):
        read_set(tmp_path / what)


def test_a_link_out_of_the_set_is_refused(write_set: WriteSet, photos: Path) -> None:
    path = write_set()
    (path.parent / "mine" / "1.png").unlink()
    (path.parent / "mine" / "1.png").symlink_to(photos / "a1.png")
    with pytest.raises(DataError, match="refused: it leaves the set's folder"):
        draw(path, count=3)


def test_a_file_that_is_not_there(write_set: WriteSet) -> None:
    path = write_set()
    (path.parent / "mine" / "2.png").unlink()
    with pytest.raises(SourceError, match=r"2\.png: expected an image: No such file"):
        draw(path, count=3)


# Sets that are fetched.


@pytest.fixture
def remote(write_set: WriteSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A set of three files of a server that is not there, and a mirror that has two of them."""
    path = write_set(url="http://images.example.org/val/")
    mirror = tmp_path / "mirror"
    (path.parent / "mine").rename(mirror)
    (mirror / "2.png").unlink()
    monkeypatch.setenv("EDGEZOO_MIRROR", str(mirror))
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    return path, mirror


def test_files_are_taken_from_the_mirror(remote: tuple[Path, Path]) -> None:
    path, mirror = remote
    with pytest.raises(WeightsError, match=r"2\.png: could not fetch http://images\.example\.org/val/2\.png"):
        draw(path, count=3)
    (mirror / "2.png").write_bytes(png(2))
    told: list[str] = []
    drawn = draw(path, count=3, progress=lambda name, done, total: told.append(name))
    assert set(told) == {"2.png"}  # the others are in the cache
    assert [int(sample.image[0, 0, 0]) for sample in drawn] == [0, 1, 2]


def test_a_cached_file_needs_no_mirror(remote: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path, mirror = remote
    (mirror / "2.png").write_bytes(png(2))
    draw(path, count=3)
    monkeypatch.delenv("EDGEZOO_MIRROR")
    assert len(list(draw(path, count=3))) == 3


def test_not_even_a_mirror_may_vouch_for_other_bytes(remote: tuple[Path, Path]) -> None:
    path, mirror = remote
    (mirror / "2.png").write_bytes(png(7))
    with pytest.raises(WeightsError, match="the file is damaged or not the official one"):
        draw(path, count=3)
    (mirror / "SHA256SUMS").write_text(f"{hashlib.sha256(png(7)).hexdigest()}  2.png\n")
    with pytest.raises(DataError, match=r"2\.png: expected SHA-256 .* as the set mine says"):
        draw(path, count=3)


def test_coco_from_a_mirror(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = read_set("coco").files
    listed = [sorted(chosen)[index] for index in picks(len(chosen), 5, 3)]
    (tmp_path / "mirror").mkdir()
    for name in listed:
        data = (test_data / "data" / "coco-val-128" / "images" / name).read_bytes()
        (tmp_path / "mirror" / name).write_bytes(data)
    monkeypatch.setenv("EDGEZOO_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    drawn = draw("coco", count=5, seed=3)
    assert drawn.hashes == {name: chosen[name] for name in listed}
    assert all(max(sample.image.shape) == 640 for sample in drawn)


# What is asked for wrongly.


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("digit", UnknownName, "no image set is called 'digit'; did you mean 'digits'?"),
        ("nonsense", UnknownName, "known: coco, digits"),
        ("nonsense/", SourceError, "expected a folder of images, found none"),
        ("nonsense.mp4", SourceError, "expected images, found nothing at 'nonsense.mp4'; give a set's name"),
        ("camera:0", SourceError, "expected images, found nothing at 'camera:0'"),
        ("", SourceError, "found nothing at ''"),
        ("*.jpeg", SourceError, "expected images that match *.jpeg, found none"),
        ("empty", SourceError, "expected images in the folder empty, found none"),
        ("text.mp4", SourceError, "expected a video"),
    ],
)
def test_where_there_are_no_images(
    what: str, kind: type[EdgezooError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    with pytest.raises(kind) as caught:
        draw(what, count=3)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (3, -1)])
def test_bounds(photos: Path, count: int, seed: int) -> None:
    with pytest.raises(RequestError, match=r"expected a (count of 1 image|seed of 0) or more"):
        draw(photos, count=count, seed=seed)


def test_a_file_that_is_no_image_is_named(photos: Path) -> None:
    (photos / "a5.png").write_text("not a photo")
    with pytest.raises(SourceError, match=r"a5\.png: expected an image"):
        list(draw(photos, count=20))


def test_half_a_video_is_refused(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "half.avi").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"half\.avi: "):
        draw(tmp_path / "half.avi", count=4)


def test_a_set_s_name_goes_before_a_folder_s(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.rename(photos.parent / "digits")
    monkeypatch.chdir(photos.parent)
    assert draw("digits", count=1).total == 32
    assert draw("./digits", count=1).total == 20


# Those of the house.


@pytest.mark.parametrize("name", imagesets.names())
def test_every_set_is_whole_and_in_the_table(name: str) -> None:
    found = read_set(name)
    assert found.name == name
    assert f"| [`{name}`]({name}.toml) | {len(found.files)} |" in (ROOT / "calibration" / "README.md").read_text(
        "utf-8"
    )
    if found.url is None:
        there = {path.name for path in (imagesets.sets_folder() / name).iterdir()}
        assert there == set(found.files)
        assert len(list(draw(name, count=1000))) == len(there)


def test_the_digits_are_small() -> None:
    files = [*(imagesets.sets_folder() / "digits").iterdir()]
    assert sum(path.stat().st_size for path in files) < 1 << 20
    assert all(max(read_image(path).shape) == 320 for path in files)


def test_the_digits_are_what_their_script_renders(tmp_path: Path) -> None:
    for needed in ("PIL", "sklearn", "skimage", "matplotlib"):
        pytest.importorskip(needed, reason=f"the renderer of the digits scenes needs {needed}")
    command = [sys.executable, str(ROOT / "models" / "digits" / "calibrate.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    need("fonts", done.returncode != 3, done.stderr.strip())
    assert done.returncode == 0, done.stderr
    told, made = read_set("digits"), read_set(tmp_path / "digits.toml")
    assert (told.about, told.licence, told.drawn, [*told.files]) == (
        made.about,
        made.licence,
        made.drawn,
        [*made.files],
    )
    for one, other in zip(draw("digits", count=100), draw(tmp_path / "digits.toml", count=100)):
        assert one.image.shape == other.image.shape
        assert np.abs(one.image.astype(int) - other.image).mean() < 2  # another libjpeg rounds otherwise
