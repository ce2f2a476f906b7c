"""A camera that misbehaves by a seed: the faults are where they should be, and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import mjpeg_server
import numpy as np
import pytest

from edgezoo.address import Address
from edgezoo.errors import EdgezooError, RequestError, SourceAbsent, SourceError
from edgezoo.frame import Frame, Image
from edgezoo.sources import barcode, chaos, is_live, open_source
from edgezoo.sources._faults import Fate, Odds, Plan, damage, rescaled
from edgezoo.sources.chaos import Faults, faults_of, forget
from edgezoo.sources.feed import Feed
from edgezoo.sources.synthetic import Synthetic

cv2: Any = pytest.importorskip("cv2")

QUICK = "chaos:synthetic:#size=320x160&fps=200"
ALL = "stall=0.01&stall_s=0.05&burst=0.02&drop=0.03&die=0.01&die_s=0.1&resize=0.02&corrupt=0.05"


@pytest.fixture(autouse=True)
def new_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "_cameras", {})


def fates(count: int, **chances: float) -> list[Fate]:
    seed = int(chances.pop("seed", 0))
    plan = Plan(Odds(seed=seed, chances=chances, stall_frames=7, burst_frames=5, die_frames=11))
    return [plan.draw() for _ in range(count)]


def watch(address: str, count: int, *, slow_s: float = 0.0) -> tuple[list[Frame], list[str]]:
    """So many frames of a camera, opened again whenever it dies; and what it said when it did."""
    seen: list[Frame] = []
    deaths: list[str] = []
    deadline = time.monotonic() + 30
    while len(seen) < count and time.monotonic() < deadline:
        try:
            source = open_source(address)
            try:
                for frame in islice(source, count - len(seen)):
                    seen.append(frame)
                    time.sleep(slow_s)
            finally:
                source.close()
        except SourceError as error:
            if "try again" in str(error):
                time.sleep(0.01)
            else:
                deaths.append(str(error))
    return seen, deaths


def accounted(faults: Faults) -> bool:
    return faults.made == faults.given + faults.dropped + faults.stalled + faults.unplugged + faults.unread


# The plan: what befalls each frame.


def test_a_seed_is_a_plan() -> None:
    odds = {"stall": 0.01, "burst": 0.02, "drop": 0.05, "die": 0.01, "resize": 0.02, "corrupt": 0.05}
    assert fates(2000, **odds) == fates(2000, **odds)
    assert fates(2000, **odds) != fates(2000, seed=1, **odds)
    assert fates(500) == [Fate()] * 500


@pytest.mark.parametrize("kind", ["drop", "corrupt"])
def test_one_likelier_fault_does_not_move_the_others(kind: str) -> None:
    odds = {"stall": 0.01, "die": 0.005, "resize": 0.02}
    for one, other in zip(fates(2000, **odds), fates(2000, **odds, **{kind: 0.3})):
        assert (one.begins, one.dies, one.scale) == (other.begins, other.dies, other.scale)
        assert one.lost == other.lost or other.lost == "dropped"


@pytest.mark.parametrize(("kind", "told"), [("drop", lambda f: f.lost == "dropped"), ("corrupt", lambda f: f.corrupt)])
def test_chances_are_chances(kind: str, told: Any) -> None:
    assert np.mean([told(fate) for fate in fates(20_000, **{kind: 0.1})]) == pytest.approx(0.1, abs=0.01)


def test_what_lasts_lasts_as_long_as_it_should() -> None:
    runs = [(lost, len([*run])) for lost, run in groupby(fates(5000, stall=0.01, die=0.01), key=lambda fate: fate.lost)]
    lengths = {lost: {length for each, length in runs if each == lost} for lost in ("stalled", "unplugged")}
    assert min(lengths["stalled"]) == 7
    assert min(lengths["unplugged"]) == 11
    assert all(length % 7 == 0 for length in lengths["stalled"])  # one may follow another at once
    held = [len([*run]) for is_held, run in groupby(fates(5000, burst=0.01), key=lambda fate: fate.held) if is_held]
    assert set(held) == {4}, "four wait for the fifth"


def test_a_size_is_kept_until_the_next() -> None:
    scales = [fate.scale for fate in fates(3000, resize=0.01)]
    assert scales[0] == 1.0
    assert len({*scales}) == 3
    assert 15 < sum(a != b for a, b in pairwise(scales)) < 50


# A camera by that plan.


def test_the_same_faults_at_the_same_frames_however_slow_the_reader() -> None:
    address = f"{QUICK}&seed=7&{ALL}"
    quick, quick_deaths = watch(address, 100)
    assert accounted(faults_of(address))
    forget(address)
    slow, slow_deaths = watch(address, 30, slow_s=0.01)
    assert accounted(faults_of(address))
    assert quick_deaths[0] == slow_deaths[0] == "chaos:synthetic:: the camera was unplugged, at frame 21"
    pixels = {frame.index: frame.image for frame in quick}
    common = [frame for frame in slow if frame.index in pixels]
    assert len(common) > 10
    assert all(np.array_equal(frame.image, pixels[frame.index]) for frame in common)
    plan = Plan(Odds(seed=7, chances={"drop": 0.03, "die": 0.01, "stall": 0.01, "burst": 0.02}, die_frames=20))
    assert [n for n in range(22) if plan.draw().dies] == [21]


def test_frames_come_by_the_clock_and_the_faults_are_counted() -> None:
    source = open_source(f"{QUICK}&seed=3&drop=0.2&corrupt=0.2&resize=0.05")
    assert isinstance(source, chaos.Chaos)
    assert (source.live, source.fps, source.size_wh, source.frames) == (True, 200, (320, 160), None)
    assert is_live("chaos:clip.mp4#die=1")
    began = time.monotonic()
    seen = [*islice(source, 100)]
    took_s = time.monotonic() - began
    source.close()
    faults = source.faults
    assert took_s > 0.9 * seen[-1].index / 200
    assert accounted(faults)
    assert faults.given == 100
    assert faults.made == seen[-1].index + 1
    assert faults.dropped > 5
    assert faults.corrupted == sum(not np.array_equal(frame.image, clean(frame)) for frame in seen) > 5
    assert faults.resizes >= sum(a.image.shape != b.image.shape for a, b in pairwise(seen)) > 1
    assert all(frame.pts_s == pytest.approx(frame.index / 200) for frame in seen)
    assert {frame.source for frame in seen} == {"chaos:synthetic:"}


def clean(frame: Frame) -> Image:
    image = Synthetic(Address.parse("synthetic:#size=320x160")).image(frame.index)
    return rescaled(image, frame.image.shape[1] / 320)


def test_a_stall_lasts_and_close_ends_it_at_once() -> None:
    source = open_source(f"{QUICK}&stall=1&stall_s=0.2")
    threading.Timer(0.3, source.close).start()
    began = time.monotonic()
    assert [*source] == []
    assert time.monotonic() - began < 5
    source = open_source(f"{QUICK}&stall=1&stall_s=1000&seed=1")
    threading.Timer(0.1, source.close).start()
    assert [*source] == []


def test_a_burst_comes_at_once() -> None:
    seen = [*islice(open_source("chaos:synthetic:#size=320x160&fps=50&burst=1&burst_frames=10&code=1"), 20)]
    assert [frame.index for frame in seen] == [*range(20)]
    for burst in (seen[:10], seen[10:]):
        assert burst[-1].grabbed_ns - burst[0].grabbed_ns < 0.1e9, "they come together"
        taken = [code[1] for frame in burst if (code := barcode.read(frame.image)) is not None]
        assert taken[-1] - taken[0] > 0.1e9, "they were taken one after another"


def test_unplugged_and_back_by_the_clock() -> None:
    address = f"{QUICK}&seed=41&die=0.002&die_s=0.2"  # frame 30, and then not before 3406
    source = open_source(address)
    frames = iter(source)
    with pytest.raises(SourceError, match=r"chaos:synthetic:: the camera was unplugged, at frame 30"):
        list(frames)
    assert source.faults.given + source.faults.unread == 30
    with pytest.raises(SourceAbsent, match=r"it is unplugged; try again in 0\.\d s"):
        open_source(address)
    time.sleep(0.25)
    frame = next(iter(open_source(address)))
    assert frame.index >= 30 + 40
    faults = faults_of(address)
    assert (faults.unplugged, faults.deaths) == (40, 1)
    assert accounted(faults)


@pytest.mark.parametrize(("frames", "most"), [("", 20), ("&frames=50", 100)])
def test_whoever_comes_back_after_long_need_not_read_all_that_was_missed(
    frames: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{QUICK}{frames}&seed=9"
    source = open_source(address)
    assert isinstance(source, chaos.Chaos)
    assert len([*islice(source, 60)]) == 60
    source.close()
    drawn: list[int] = []
    image = Synthetic.image
    monkeypatch.setattr(Synthetic, "image", lambda self, index: (drawn.append(index), image(self, index))[1])
    assert source._camera.began_s is not None
    source._camera.began_s -= 100.0
    again = open_source(address)
    frame = next(iter(again))
    again.close()
    assert frame.index > 20_000
    assert np.array_equal(frame.image, Synthetic(Address.parse("synthetic:#size=320x160")).image(drawn[-1]))
    assert drawn[-1] == frame.index % (50 if frames else 10**9)
    assert len(drawn) <= most


def test_its_account_is_found_by_the_address_that_a_pipeline_is_given() -> None:
    given = f"{QUICK}&seed=6&roi=0,0,1,0.5"
    source = Feed.at(given).open()
    next(iter(source))
    assert faults_of(given).given == 1
    forget(given)
    assert faults_of(given) == Faults()


def test_who_comes_later_has_the_camera() -> None:
    address = f"{QUICK}&seed=5"
    first = iter(open_source(address))
    next(first)
    second = iter(open_source(address))
    assert next(second).index > 0
    assert [*first] == []
    next(second)


# Clips, and sources that are live themselves.


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "ten.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50, (320, 160))
    for index in range(10):
        image = np.full((160, 320, 3), 90, np.uint8)
        barcode.burn(image, index=index, time_ns=0)
        writer.write(image)
    writer.release()
    return path


def number(frame: Frame) -> int:
    code = barcode.read(frame.image)
    assert code is not None
    return code[0]


def test_a_clip_is_played_over_and_over(clip: Path) -> None:
    source = open_source(f"chaos:{clip}#drop=0.1")
    assert (source.live, source.fps, source.frames) == (True, 50, None)
    seen = [*islice(source, 25)]
    source.close()
    assert all(number(frame) == frame.index % 10 for frame in seen)
    time.sleep(0.3)
    again = next(iter(open_source(f"chaos:{clip}#drop=0.1")))
    assert again.index >= seen[-1].index + 14
    assert number(again) == again.index % 10, "the clip went on as well"


def test_a_clip_that_is_played_once_begins_anew_when_it_is_opened_again(clip: Path) -> None:
    for _ in range(2):
        source = open_source(f"chaos:{clip}#loop=0&burst_frames=1000")  # waits for whoever is late
        assert source.frames == 10
        assert [frame.index for frame in source] == [*range(10)]
        assert source.faults == Faults(made=10, given=10)  # type: ignore[attr-defined]


def test_around_a_camera() -> None:
    with mjpeg_server.Server(fps=50, size="320x160") as server:
        source = open_source(f"chaos:{server.url}#drop=0.3&seed=2&timeout=5")
        seen = [*islice(source, 12)]
        source.close()
        faults = source.faults  # type: ignore[attr-defined]
    assert source.address == f"chaos:{server.url}"
    assert accounted(faults)
    assert faults.dropped > 0
    assert faults.given == 12
    indices = [frame.index for frame in seen]
    assert indices == sorted({*indices})


# Pictures.


def images() -> Iterator[Image]:
    yield from (np.full(shape, 60, np.uint8) for shape in [(160, 320, 3), (1, 1, 3), (3, 500, 3)])


def test_damage_is_seen_and_the_same_each_time() -> None:
    kinds = set()
    for index in range(20):
        for image in images():
            twin = image.copy()
            damage(image, seed=1, number=index)
            damage(twin, seed=1, number=index)
            assert np.array_equal(image, twin)
            assert (image != 60).any()
            kinds.add((image[-1] == 128).all() or (image[-1] == 60).all())
    assert len(kinds) == 2


def test_other_sizes_are_even() -> None:
    assert [rescaled(image, 0.5).shape for image in images()] == [(80, 160, 3), (2, 2, 3), (2, 250, 3)]
    for image in images():
        assert rescaled(image, 1.0) is image


# What is wrong is one line.


@pytest.mark.parametrize(
    ("address", "raises", "says"),
    [
        ("chaos:", RequestError, "expected chaos:SOURCE"),
        ("chaos:#die=1", RequestError, "expected chaos:SOURCE"),
        ("chaos:synthetic:#stal=0.2", RequestError, "'stal'; did you mean 'stall'"),
        ("chaos:synthetic:#fsp=5", RequestError, "did you mean 'fps'"),
        ("chaos:synthetic:#stall=2", RequestError, r"stall=0\.\.1, the chance at each frame, got '2'"),
        ("chaos:synthetic:#die=often", RequestError, "die=NUMBER"),
        ("chaos:synthetic:#seed=1.5", RequestError, "seed as a whole number"),
        ("chaos:synthetic:#loop=2", RequestError, "0 to 1"),
        ("chaos:synthetic:#stall_s=0", RequestError, "stall_s above 0"),
        ("chaos:synthetic:#die_s=1e9", RequestError, "die_s above 0 and up to 3600"),
        ("chaos:synthetic:#burst_frames=1", RequestError, "2 to 1000"),
        ("chaos:no.mp4#drop=0.1", SourceError, r"found none at no\.mp4"),
        ("chaos:http://me:secret@127.0.0.1:1/x#drop=0.1", SourceError, "does not answer"),
        ("chaos:http://me:secret@127.0.0.1:1/x#drop=7", RequestError, "chaos:http://127.0.0.1:1/x: expected drop"),
    ],
)
def test_what_is_wrong_is_one_line(address: str, raises: type[EdgezooError], says: str) -> None:
    with pytest.raises(raises, match=says) as raised:
        open_source(address)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_an_inner_source_without_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Synthetic, "__iter__", lambda self: iter(()))
    with pytest.raises(SourceError, match="expected frames, got none"):
        next(iter(open_source(QUICK)))
