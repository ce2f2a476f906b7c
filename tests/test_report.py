"""The page of a profile: whole HTML, nothing from elsewhere, the profile's own numbers, and readable on a phone."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import need

from edgezoo.frame import Event
from edgezoo.latency import Profile, Span
from edgezoo.measure.recording import Ages, Recording
from edgezoo.measure.report import charts, report_of, write_report
from edgezoo.measure.report.charts import Scale, ms, number, round_ms, up_to
from edgezoo.measure.stages import StageProfile

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Its words, and that every element is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def found(
    *,
    seconds: float = 12.0,
    sources: tuple[str, ...] = ("rtsp://door/1",),
    events: tuple[tuple[float, str, str], ...] = (),
    dropped: int = 7,
    spans: bool = True,
    others: float | None = 0.02,
    live: bool = True,
    failed: int = 0,
) -> StageProfile:
    """A profile made up: 20 frames a second of each source, 10 to 20 ms old; events at a time, a state and why."""
    profile = Profile()
    profile.runs = {"model": "squares", "backend": "onnxruntime", "precision": "fp32", "threads": None, "workers": 1}
    recording = Recording(profile, spans=spans)
    count = int(20 * seconds)
    for source in sources:
        ages = recording.ages[source] = Ages()
        for k in range(count):
            age_ms = 10 + 10 * (k % 97) / 97
            ages.at_s.append(seconds * k / count)
            ages.age_ms.append(age_ms)
            profile.count_grabbed(source)
            profile.count_delivered(age_ms, source=source)
            for stage, each_ms in (("capture", 33.0), ("wait", 2.0), ("prepare", 0.3), ("infer", 8.0), ("read", 0.2)):
                profile.stages[stage].add(each_ms)
                if profile.recorder is not None:
                    profile.recorder(Span(stage, 0, int(each_ms * 1e6), ((source, k),), "worker"))
    for _ in range(dropped):
        profile.count_grabbed(sources[0])
        profile.count_dropped("overwritten", source=sources[0])
    for _ in range(failed):
        profile.count_grabbed(sources[0])
        profile.count_failed(1, source=sources[0])
    recording.drops.append((seconds / 2, dict(profile.dropped)))
    for at_s, kind, why in events:
        recording.events.append((at_s, Event(sources[0], kind, why, error=why.startswith("refused"))))  # type: ignore[arg-type]
    return StageProfile(
        profile=profile, recording=recording, sources=sources, live=live, seconds=seconds, stuck=(), others=others,
        machine={"cpu": "a processor", "cores": 2, "system": "Linux"}, versions={"edgezoo": "1.2", "numpy": "2.0"},
    )  # fmt: skip


EVENTS = (
    (-0.3, "connecting", "being opened"),
    (0.4, "live", "640x480 at 20 fps"),
    (4.0, "stalled", "no frame for 0.5 s"),
    (5.0, "lost", "no frame for 2 s"),
    (7.0, "live", "back after 3 s"),
)


def test_the_page_is_whole_and_says_what_was_measured() -> None:
    made = found(events=EVENTS, dropped=7, failed=2)
    age, page = made.profile.age, Page(report_of(made))
    assert page.text.startswith("squares: where the time goes squares · fp32 · onnxruntime")
    for said in (
        "Of 249 frames that were grabbed, 240 delivered, 7 dropped and 2 failed.",
        f"frame age, p50 {age.percentile(50):.1f} ms",
        "dropped 2.8 %",
        f"The mean age is {age.sum_ms / age.n:.1f} ms.",
        "wait 2.00 ms 14 %",
        "infer 8.00 ms 55 %",
        "overwritten 7",
        "4.0 s stalled rtsp://door/1 no frame for 0.5 s",
        "cpu a processor",
        "edgezoo 1.2, numpy 2.0",
        "other programs 2 % of all cores",
    ):
        assert said in page.text, said
    assert "nan" not in page.text
    assert "None" not in page.text


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    text = report_of(found(events=EVENTS))
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {*page.tags}
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text


def test_names_from_outside_are_words() -> None:
    hostile = 'rtsp://x/"><script>alert(1)</script>'
    told = ((0.0, "live", '<img src="//evil/x">'), (5.0, "ended", "refused: <b>no</b>"))
    made = found(sources=(hostile, hostile + "2"), events=told)
    made.profile.runs["model"] = "</title><script>"
    made.machine["cpu"] = "<i>&"
    page = Page(report_of(made))
    assert not {"script", "img"} & {*page.tags}
    assert hostile in page.text
    assert "<i>&" in page.text
    assert f"A stream failed: {hostile}: refused: <b>no</b>" in page.text


def test_states_stand_below_the_age_of_their_stream() -> None:
    text = report_of(found(events=EVENTS))
    pieces = re.findall(r'<i class="t-(\w+)" style="left:([\d.]+)%;width:([\d.]+)%" title="([^"]*)"', text)
    assert [state for state, *_ in pieces] == [kind for _, kind, _ in EVENTS]
    edges = [(float(left), float(left) + float(width)) for _, left, width, _ in pieces]
    assert [begin for begin, _ in edges[1:]] == pytest.approx([end for _, end in edges[:-1]], abs=0.01)
    assert edges[0][0] == 0
    assert edges[-1][1] == pytest.approx(100, abs=0.01)
    assert pieces[3][3] == "lost for 2.0 s: no frame for 2 s"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"dropped": 0}, "Dropped frames None."),
        ({"events": ()}, "What happened Nothing."),
        ({"seconds": 900.0}, "15 min"),
        ({"others": 0.5}, "Other programs took 50 % of the machine meanwhile"),
        ({"others": None}, "other programs not told"),
        ({"live": False}, "Frames of a clip wait in queues"),
        ({"sources": tuple(f"camera:{k}" for k in range(11))}, "and 3 more sources, in the table below"),
        ({"sources": ("camera:0", "camera:1")}, "By source source fps age p50 p99"),
        ({"spans": False}, "Stages"),
        ({"events": tuple((k / 10, "live", f"news {k}") for k in range(100))}, "and 40 more"),
        ({"seconds": 0.06}, "Of 8 frames"),
    ],
)
def test_what_is_rare_is_told_as_well(made: dict, says: str) -> None:
    page = Page(report_of(found(**made)))
    assert says in page.text
    assert "nan" not in page.text


def test_frames_dropped_at_the_end_are_no_chart() -> None:
    made = found(dropped=0)
    made.profile.count_dropped("closed", 3)
    assert "None but 3 that were under way at the end." in Page(report_of(made)).text


def test_a_camera_that_gave_nothing_is_shown_as_well() -> None:
    made = found(sources=("camera:0",))
    made.recording.event(Event("camera:7", "lost", "nobody answers"))
    page = Page(report_of(made))
    assert "camera:7 0 frames" in page.text
    assert "camera:7 0 0 µs 0 µs 0 0 0 0 0" in page.text


def test_spikes_do_not_press_the_rest_to_the_ground() -> None:
    made = found()
    made.recording.ages["rtsp://door/1"].age_ms[50] = 5000.0
    text = Page(report_of(made)).text
    assert "1 of them beyond the chart, up to 5.0 s" in text
    assert "1 beyond the chart, up to 5.0 s, stand at its end" in text


def test_it_is_written_to_a_file(tmp_path: Path) -> None:
    write_report(found(), tmp_path / "report.html")
    assert Page((tmp_path / "report.html").read_text("utf-8")).tags["svg"] > 5


def test_it_fits_phones_and_desks(tmp_path: Path) -> None:
    """In a real browser: nothing but a table that scrolls by itself is wider than the screen."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    need("browser", browser is not None, "no chromium here; try: apt-get install chromium")
    sources = ("rtsp://a.camera.with.a.rather.long.name.example/stream/1", "camera:0")
    (tmp_path / "report.html").write_text(report_of(found(events=EVENTS, sources=sources)), "utf-8")
    # A window may not be as narrow as a phone; a frame in it may.
    frames = [
        f'<iframe src="report.html" width="{width}" height="700" style="border:0"></iframe>' for width in (390, 1200)
    ]
    ask = "[0, 1].map(k => frames[k].document.documentElement.scrollWidth).join(' and ')"
    page = f"{''.join(frames)}<script>onload = () => document.title = {ask}</script>"
    (tmp_path / "frames.html").write_text(page, "utf-8")
    command = [str(browser), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,1600"]
    command += [(tmp_path / "frames.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "<title>390 and 1200</title>" in done.stdout, done.stderr[-2000:]


# Axes and numbers.


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (10, "10"),
        (100, "100"),
        (1234.5, "1234"),
        (2.5, "2.5"),
        (0.25, "0.25"),
        (0.004, "0.004"),
        (30.02, "30"),
    ],
)
def test_numbers(value: float, told: str) -> None:
    assert number(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.016, "16 µs"),
        (0.1, "0.10 ms"),
        (5, "5.00 ms"),
        (9.96, "10.0 ms"),
        (99.9, "100 ms"),
        (1500, "1.5 s"),
        (20e3, "20 s"),
    ],
)
def test_durations(value: float, told: str) -> None:
    assert ms(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (0.01, "10 µs"), (0.1, "100 µs"), (1, "1 ms"), (100, "100 ms"), (1000, "1 s"), (2.5, "2.5 ms")],
)
def test_round_durations(value: float, told: str) -> None:
    assert round_ms(value) == told


@pytest.mark.parametrize("high", [0.003, 0.7, 1, 3, 7.9, 12, 45, 99, 180, 1234, 86_400])
def test_ticks_are_round_few_and_inside(high: float) -> None:
    for scale in (Scale(0, high), Scale(0, high, unit=60), up_to(high)):
        ticks = scale.ticks()
        assert 1 < len(ticks) <= 7
        assert ticks[0] == 0
        assert all(0 <= tick <= scale.high * (1 + 1e-6) for tick in ticks)
        step = ticks[1] / scale.unit
        assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)
    assert high <= up_to(high).high < 2.6 * high


def test_a_log_axis() -> None:
    scale = Scale(0.01, 10_000.0, log=True)
    assert [round_ms(tick) for tick in scale.ticks()] == ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]
    assert [scale.at(value) for value in (0, 0.01, 10, 1e9)] == pytest.approx([0, 0, 0.5, 1])


def test_gaps_are_gaps() -> None:
    x, y = Scale(0, 10), Scale(0, 1)
    points = [(0.0, 0.5), (1.0, 0.5), (2.0, math.nan), (3.0, 0.5), (4.0, 0.5)]
    assert charts.line(points, x, y).count("M") == 2
    assert charts.band(points, points, x, y).count("Z") == 2


def test_bins_hold_everything() -> None:
    values = [-5, 0, 0.1, 4.99, 5, 9.9, 10, 99]
    counts = charts.counted(values, Scale(0, 10), 2)
    assert counts == [4, 4]


def test_a_long_recording_is_drawn_quickly() -> None:
    began = time.monotonic()
    text = report_of(found(seconds=1800.0, spans=False))
    assert time.monotonic() - began < 10
    assert len(text) < 200_000
