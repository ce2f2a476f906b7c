"""A camera that misbehaves on purpose: `chaos:clip.mp4#seed=7&stall=0.02&drop=0.01`, around any source.

    seed=0                    the same seed, the same faults at the same frames
    stall=P   stall_s=1       nothing comes for so long
    burst=P   burst_frames=8  so many frames are held back, and then come at once
    die=P     die_s=1         it fails as if unplugged, and cannot be opened for so long
    drop=P                    a frame is lost
    resize=P                  from this frame on they have another size
    corrupt=P                 a picture is damaged: rows of noise, or grey from some row down
    loop=1                    a clip begins anew at its end; loop=0: ends there

`P` is the chance at each frame. All other options are those of the source inside: `chaos:synthetic:#fps=15&die=0.01`.

A clip plays by its own clock, like a camera, from the first time that somebody reads it. From then on the camera goes
on whether somebody looks or not: whoever opens it again sees what the clock says, and `index` counts all its frames,
also those that nobody got. `faults` tells what became of them; the sum of all its counts of frames is `made`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from edgezoo.address import Address
from edgezoo.errors import RequestError, SourceAbsent, SourceError, nearest
from edgezoo.frame import Frame
from edgezoo.sources import Source, open_source
from edgezoo.sources._device import Device
from edgezoo.sources._faults import KINDS, Fate, Odds, Plan, damage, odds, rescaled, whole
from edgezoo.sources.synthetic import Synthetic

OPTIONS = ("seed", *KINDS, "stall_s", "burst_frames", "die_s", "loop")
FPS = 30.0  # of a source that states no rate

_MOST_ENDS = 64
_BACKLOG = 8  # frames that a camera keeps for a reader who is late; a burst, if that is longer


@dataclass(slots=True)
class Faults:
    """What a camera did. The frames: `made == given + dropped + stalled + unplugged + unread`."""

    made: int = 0
    given: int = 0
    """Handed to whoever read."""
    dropped: int = 0
    stalled: int = 0
    unplugged: int = 0
    unread: int = 0
    """There to be read, and nobody did in time."""
    stalls: int = 0
    bursts: int = 0
    deaths: int = 0
    resizes: int = 0
    corrupted: int = 0
    """Of those given."""

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


class _Camera:
    """The thing in the world, to which sources are only connections. All but `due_s` under its lock."""

    def __init__(self, odds: Odds, fps: float) -> None:
        self.lock = threading.Lock()
        self.plan = Plan(odds)
        self.faults = Faults()
        self.fps = fps
        self.began_s: float | None = None
        """When frame 0 was taken."""
        self.gives_s: deque[float] = deque([0.0], maxlen=_MOST_ENDS)
        """From when on it gave frames again, by what was drawn so far; the latest."""
        self.viewer: Chaos | None = None
        """Who is connected; whoever was before is not any more."""
        self.round = 0
        """How many frames its clip has; 0 as long as nobody has seen all of them."""
        self._last = Fate()

    def draw(self) -> tuple[int, Fate]:
        """The next frame's number and fate; counted, but whether one that is not lost is given or unread."""
        number, fate, faults = self.plan.next, self.plan.draw(), self.faults
        faults.made += 1
        if fate.lost is not None:
            setattr(faults, fate.lost, getattr(faults, fate.lost) + 1)
        faults.stalls += fate.begins == "stall"
        faults.bursts += fate.begins == "burst"
        faults.deaths += fate.begins == "die"
        faults.resizes += fate.scale != self._last.scale
        if fate.lost in ("stalled", "unplugged"):
            ends_s = self.due_s(self.plan.until)
            if ends_s != self.gives_s[-1]:
                self.gives_s.append(ends_s)
        self._last = fate
        return number, fate

    def go_on(self) -> None:
        """To the frame that is being taken now: those before it are gone."""
        if self.began_s is not None:
            while self.plan.next < int((time.monotonic() - self.began_s) * self.fps):
                self.faults.unread += self.draw()[1].lost is None

    def unplugged_s(self) -> float:
        """For how much longer it is; 0 where it is not."""
        left_s = self.due_s(self.plan.until) - time.monotonic()
        return max(0.0, left_s) if self._last.lost == "unplugged" else 0.0

    def due_s(self, number: int) -> float:
        return (self.began_s or 0.0) + number / self.fps


# By address, from the first opening on: a camera does not begin anew because somebody looks away.
_cameras: dict[str, _Camera] = {}
_adding = threading.Lock()


class Chaos:
    """A connection to such a camera. Another one takes the camera from it, and its iteration ends."""

    live = True

    def __init__(self, address: Address) -> None:
        seed = odds(address, FPS).seed  # refuses bad options before anything is opened
        self.address = str(address)
        self._loop = bool(whole(address, "loop", 1, least=0, most=1))
        self._key = _key(address)
        if (camera := _cameras.get(self._key)) is not None:
            self._check_it_is_there(camera)
        self._inside = _inside(address)
        self._source = _open_inside(address, self._inside)
        self.size_wh = self._source.size_wh
        self.fps: float | None = self._source.fps or FPS
        self.frames = None if self._loop else self._source.frames
        with _adding:
            self._camera = _cameras.setdefault(self._key, _Camera(odds(address, self.fps), self.fps))
        self._seed = seed
        self._backlog = max(_BACKLOG, odds(address, self.fps).burst_frames)
        self._device = Device(self.address, lambda: self._source.close())

    @property
    def faults(self) -> Faults:
        """What the camera did so far, whoever was connected; a copy."""
        with self._camera.lock:
            return replace(self._camera.faults)

    def __iter__(self) -> Iterator[Frame]:
        with self._device.iterating():
            camera = self._camera
            with camera.lock:
                camera.viewer = self
                if camera.began_s is None:
                    camera.began_s = time.monotonic()
                camera.go_on()
                base = camera.plan.next
            yield from self._befallen(self._as_it_comes(base) if self._source.live else self._by_the_clock(base))
            if not self._loop and not self._device.ended.is_set():
                _cameras.pop(self._key, None)

    def close(self) -> None:
        self._device.close()
        if self._source.live:
            self._source.close()  # ends a read that waits

    # -- frames as the source inside has them, with the camera's numbers

    def _as_it_comes(self, base: int) -> Iterator[tuple[int, Frame]]:
        for frame in self._source:
            yield base + frame.index, frame

    def _by_the_clock(self, base: int) -> Iterator[tuple[int, Frame]]:
        """From the place where a clip that is played over and over stands now."""
        number = self._start_from(base)
        while True:
            first = number
            for frame in self._source:
                late_s = time.monotonic() - self._camera.due_s(number)
                if self._device.ended.wait(max(0.0, -late_s) if number >= base else 0.0):
                    return
                if number >= base:
                    yield number, frame
                number += 1
            if number == first:
                raise SourceError(f"{self.address}: expected frames, got none")
            if not self._loop:
                return
            self._camera.round = number - first
            number = max(number, self._start_from(base))
            again = open_source(self._inside)
            self._source.close()
            self._source = again

    def _start_from(self, base: int) -> int:
        """The last frame up to `base` that can be read without those before it, which take ever longer to read over."""
        if isinstance(self._source, Synthetic) and self._source.frames is None:
            self._source.first = base
            return base
        return base // self._camera.round * self._camera.round if self._camera.round else 0

    # -- what becomes of them

    def _befallen(self, pictures: Iterator[tuple[int, Frame]]) -> Iterator[Frame]:
        held: deque[tuple[Frame, Fate]] = deque()
        camera = self._camera
        try:
            for number, frame in pictures:
                with camera.lock:
                    if camera.viewer is not self:
                        return
                    fate = self._fate_of(number)
                    late = not self._source.live and time.monotonic() > camera.due_s(number + self._backlog)
                    camera.faults.unread += late and fate.lost is None
                if fate.dies:
                    raise SourceError(f"{self.address}: the camera was unplugged, at frame {number}")
                if fate.lost is None and not late:
                    held.append((replace(frame, index=number), fate))
                while held and not fate.held:
                    yield self._given(*held.popleft())
        finally:
            with camera.lock:
                camera.faults.unread += len(held)

    def _fate_of(self, number: int) -> Fate:
        """Frames before it that the source inside left out have theirs as well; the first one that dies ends it all."""
        while True:
            drawn, fate = self._camera.draw()
            if fate.dies or drawn >= number:
                return fate
            self._camera.faults.unread += fate.lost is None

    def _given(self, frame: Frame, fate: Fate) -> Frame:
        with self._camera.lock:
            self._camera.faults.given += 1
            self._camera.faults.corrupted += fate.corrupt
        if fate.corrupt:
            damage(frame.image, seed=self._seed, number=frame.index)
        image = rescaled(frame.image, fate.scale)
        return Frame(image, frame.index, frame.index / self._camera.fps, time.monotonic_ns(), self.address)

    def _check_it_is_there(self, camera: _Camera) -> None:
        with camera.lock:
            camera.go_on()
            left_s = camera.unplugged_s()
        if left_s:
            raise SourceAbsent(f"{self.address}: expected a camera, it is unplugged; try again in {left_s:.1f} s")


def faults_of(text: str) -> Faults:
    """What the camera at the address `text` did so far, whoever was connected; a copy. Nothing, of one never opened."""
    camera = _cameras.get(_key_of(text))
    if camera is None:
        return Faults()
    with camera.lock:
        return replace(camera.faults)


def gives_since_s(text: str, until_s: float) -> float:
    """When, by `time.monotonic()`, the camera at the address `text` gave frames again, for the last time until then."""
    camera = _cameras.get(_key_of(text))
    if camera is None:
        return 0.0
    with camera.lock:
        return max((ends_s for ends_s in camera.gives_s if ends_s <= until_s), default=0.0)


def forget(text: str) -> None:
    """The camera at the address `text` begins anew when it is opened again."""
    _cameras.pop(_key_of(text), None)


def _key_of(text: str) -> str:
    """Of an address as a pipeline is given it, with options that are not for the source (see `feed`)."""
    from edgezoo.sources.feed import Feed

    return _key(Address.parse(Feed.at(text).text or text))


def _key(address: Address) -> str:
    return f"{address.target}#{sorted(address.options.items())}"


def _inside(address: Address) -> str:
    """The address of the source inside; a synthetic one keeps no time of its own unless asked to."""
    target = address.target.partition(":")[2] if "://" in address.target else address.target
    if not target:
        raise RequestError("expected chaos:SOURCE, such as chaos:clip.mp4#die=0.01, got chaos: alone")
    options = {name: value for name, value in address.options.items() if name not in OPTIONS}
    if Address.parse(target).scheme == "synthetic":
        options = {"live": "0", **options}
    return target + "#" * bool(options) + "&".join(f"{name}={value}" for name, value in options.items())


def _open_inside(address: Address, inside: str) -> Source:
    try:
        return open_source(inside)
    except RequestError:
        for name in address.options:
            near = nearest(name, OPTIONS)
            if name not in OPTIONS and near is not None:
                raise RequestError(f"{address}: no option is called {name!r}; did you mean {near!r}?") from None
        raise
