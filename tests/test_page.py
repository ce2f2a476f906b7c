"""The page in a real browser: what a person sees, does, and gets to see then."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import graphs
import mjpeg_server
import numpy as np
import pytest
from browser import Browser, Page
from served import serving, wait_for

from edgezoo.bundle import Bundle
from edgezoo.capture import Capture
from edgezoo.engine import Engine
from edgezoo.frame import Frame
from edgezoo.latency import Profile
from edgezoo.preprocess import Preprocess
from edgezoo.results import Detections, LineCount, ZoneCount
from edgezoo.serve import Service
from edgezoo.sinks.web import WebSink

cv2 = pytest.importorskip("cv2")

RECIPE = Preprocess(size_wh=(128, 96), fit="letterbox")
SYNTHETIC = "synthetic:#size=320x240&fps=12&shapes=1&seed=5"
TOKEN = "correct horse battery"
LARGE, PHONE = (1440, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def camera() -> Iterator[mjpeg_server.Server]:
    with mjpeg_server.Server(fps=12, size="320x240") as camera:
        yield camera


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def service(bundle_of: Callable[..., Bundle], camera: mjpeg_server.Server, kept: Path) -> Iterator[Service]:
    with (
        Engine(bundle_of("squares", RECIPE), threads=1) as squares,
        Engine(bundle_of("colors", RECIPE), threads=1) as colors,
    ):
        engines = {"squares": squares, "colors": colors}
        with serving(engines, sources=[SYNTHETIC, camera.url], capture=Capture(kept)) as service:
            yield service


@pytest.fixture(scope="module")
def opened(browser: Browser, service: Service) -> Iterator[Page]:
    page = browser.open(service.url, width=LARGE[0], height=LARGE[1])
    page.until("document.querySelectorAll('figure[data-state=live]').length === 2")
    yield page
    page.close()


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """As it was when it was opened; whatever a test does, the console stays empty."""
    yield opened
    opened.press("Escape")
    opened.resize(*LARGE)
    opened.prefer()
    assert opened.complaints == []


def tile(number: int, state: str = "live") -> str:
    return f"#tiles figure:nth-child({number})" + (f"[data-state={state}]" if state else "")


def changes(page: Page, selector: str, *, patience_s: float = 10) -> None:
    """Two screenshots of it differ."""
    before = page.screenshot(of=selector)
    wait_for(lambda: page.screenshot(of=selector) != before, patience_s=patience_s)


def slide(page: Page, threshold: float) -> None:
    move = "(() => {{ const slider = document.getElementById('threshold'); slider.value = {}; slider.oninput() }})()"
    page.ask(move.format(threshold))


def inked(number: int, where: str = "0, 0, copy.width, copy.height") -> str:
    """Whether something is drawn over the picture of a tile."""
    return f"""(() => {{ const marks = document.querySelector('{tile(number)} .marks');
        const copy = document.createElement('canvas'); copy.width = marks.width; copy.height = marks.height;
        const pen = copy.getContext('2d', {{willReadFrequently: true}}); pen.drawImage(marks, 0, 0);
        return pen.getImageData({where}).data.some((part) => part) }})()"""


def test_pictures_and_charts_move(page: Page) -> None:
    for number in (1, 2):
        changes(page, f"{tile(number)} .image")
    for chart in ("#age", "#fps"):
        changes(page, chart)
    points = page.ask("Number(document.getElementById('age').dataset.points)")
    page.until(f"Number(document.getElementById('age').dataset.points) > {points}")


def test_it_says_what_runs_and_how_it_does(page: Page) -> None:
    text = page.until("document.body.innerText.includes('infer') && document.body.innerText")
    for told in ("onnxruntime", "fp32", "cpu", "wait", "prepare", "infer", "read", "shown", "connected"):
        assert told in text, told
    assert re.search(
        r"\d+\.\d fps · \d+ ms",
        page.ask(f"document.querySelector('{tile(1)} .figures').textContent").replace("  ", " "),
    )
    events = page.ask("document.getElementById('events').innerText")
    assert "connecting" in events
    assert "320x240" in events
    assert page.ask(f"document.querySelector('{tile(1)} .image').getAttribute('aria-label')").startswith("synthetic:")


def test_the_threshold_changes_what_is_drawn(page: Page) -> None:
    ink = inked(1)
    slide(page, 0.05)
    page.until(f"Number(document.querySelector('{tile(1)} .marks').dataset.boxes) > 0 && {ink}")
    slide(page, 0.95)
    page.until(f"document.querySelector('{tile(1)} .marks').dataset.boxes === '0' && !{ink}")
    assert page.ask("document.getElementById('threshold-value').textContent") == "95 %"
    assert page.until(f"document.querySelector('{tile(1)} .found').textContent") == "nothing found"
    slide(page, 0.25)
    page.until(f"Number(document.querySelector('{tile(1)} .marks').dataset.boxes) > 0")


def test_a_killed_source_is_lost_and_comes_back(page: Page, camera: mjpeg_server.Server) -> None:
    camera.kill()
    page.until(f"!!document.querySelector('{tile(2, 'lost')}')")
    veil = f"document.querySelector('{tile(2, 'lost')} .veil')"
    assert re.match(r"Lost for \d+ s", page.until(f"{veil}.firstElementChild.textContent"))
    assert page.ask(f"{veil}.hidden") is False
    assert page.ask("document.getElementById('events').firstElementChild.innerText").count("lost") == 1
    changes(page, f"{tile(1)} .image")
    camera.start()
    page.until(f"!!document.querySelector('{tile(2)}')")
    page.until(f"document.querySelector('{tile(2)} .veil').hidden")
    changes(page, f"{tile(2)} .image")


def test_one_source_is_picked_by_key_by_name_and_by_its_picture(page: Page) -> None:
    hidden = "[...document.querySelectorAll('#tiles figure')].map((each) => each.hidden)"
    page.press("2")
    page.until(f"{hidden}.join() === 'true,false'")
    changes(page, f"{tile(2)} .image")
    wide = page.ask(f"document.querySelector('{tile(2)} .image').clientWidth")
    page.press("Escape")
    page.until(f"{hidden}.join() === 'false,false'")
    assert page.ask(f"document.querySelector('{tile(2)} .image').clientWidth") < wide
    page.ask(f"document.querySelector('{tile(1)} .picture').click()")
    page.until(f"{hidden}.join() === 'false,true'")
    page.ask("document.querySelector('#pick button').click()")
    page.until(f"{hidden}.join() === 'false,false'")
    pressed = "document.querySelector('#pick button').getAttribute('aria-pressed')"
    assert page.ask(pressed) == "true"


def test_a_frame_is_kept_with_its_boxes(page: Page, kept: Path) -> None:
    page.press("1")
    page.until("document.querySelectorAll('#tiles figure')[1].hidden")
    held = "new KeyboardEvent('keydown', {key: 's', repeat: true, bubbles: true})"
    page.ask(f"document.body.dispatchEvent({held})")  # a key that is held down
    page.ask("document.getElementById('threshold').focus()")
    page.press("s")
    name = page.until("document.getElementById('toast').textContent.match(/Kept as (\\S+)/)?.[1]")
    page.ask("document.activeElement.blur()")
    assert (kept / "images" / name).exists()
    rows = json.loads((kept / "annotations.json").read_text("utf-8"))
    assert [row["file_name"] for row in rows["images"]] == [name]
    assert rows["annotations"]


def choose(page: Page, model: str) -> None:
    pick = "(() => {{ const list = document.getElementById('model'); list.value = '{}'; list.onchange() }})()"
    page.ask(pick.format(model))


def test_another_model_is_chosen(page: Page) -> None:
    choose(page, "colors")
    page.until("document.querySelectorAll('.labels li').length > 0")
    assert page.ask("document.querySelector('.labels li').textContent").startswith(("blue", "green", "red"))
    page.until("document.getElementById('threshold-value').textContent === '0 %'")
    choose(page, "squares")
    page.until("document.querySelectorAll('.labels li').length === 0")
    page.until("document.getElementById('threshold-value').textContent === '25 %'")
    page.until("document.querySelectorAll('figure[data-state=live]').length === 2")


def test_a_photo_is_tried(page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "<b>photo.png"
    cv2.imwrite(str(tmp_path / "photo.png"), graphs.scene((128, 96), (16, 12, 48, 36), "green"))
    os.rename(tmp_path / "photo.png", photo)
    page.choose_file("#photo", photo)
    page.until("document.querySelectorAll('#tiles figure').length === 3")
    last = "document.querySelector('#tiles figure:last-child')"
    page.until(f"{last}.querySelector('.found').textContent === 'green'")
    assert page.ask(f"{last}.querySelector('.name').textContent") == "<b>photo.png", "text, and no markup"
    choose(page, "colors")
    page.until(f"{last}.querySelector('.labels li')?.textContent.startsWith('green')")
    choose(page, "squares")
    page.until(f"{last}.querySelector('.found').textContent === 'green'")
    for threshold, told in ((1, "nothing found"), (0.3, "green")):
        slide(page, threshold)
        page.until(f"{last}.querySelector('.found').textContent === '{told}'")
    slide(page, 0.25)
    page.until("document.getElementById('threshold-value').textContent === '25 %'")
    wait_for(lambda: page.ask("1") and len(tried(page)) == 6)
    asked = [("squares", "0.25"), ("colors", "0"), ("squares", "0.25"), *(("squares", k) for k in ("1", "0.3", "0.25"))]
    assert tried(page) == asked, "what is chosen now, at once"
    page.ask(f"{last}.querySelector('.close').click()")
    page.until("document.querySelectorAll('#tiles figure').length === 2")


def tried(page: Page) -> list[tuple[str, str]]:
    """Model and score of all photos that were sent."""
    found = (re.search(r"/v1/predict\?model=(\w+)&score=([\d.]+)$", url) for url in page.asked)
    return [(each[1], each[2]) for each in found if each]


def counted(index: int, source: str) -> tuple[Frame, Detections]:
    """A frame with a line from its bottom to its top, so that in is at the right, and a zone."""
    line = LineCount("door", (160.0, 240.0), (160.0, 0.0), 3, 1)
    zone = ZoneCount("desk", ((10.0, 150.0), (90.0, 150.0), (90.0, 230.0)), 1, 4)
    box = np.array([[200, 20, 260, 80]], np.float32)
    scores, ids = np.full(1, 0.99, np.float32), np.zeros(1, np.int64)
    found = Detections(box, scores, ids, ("cat",), np.ones(1, np.int64), (line, zone))
    return Frame(np.full((240, 320, 3), 90, np.uint8), index, index / 10, time.monotonic_ns(), source), found


@pytest.fixture(scope="module")
def sink() -> Iterator[WebSink]:
    sink = WebSink("127.0.0.1", 0)
    sink.watch(Profile(), score=0.97)
    for name in ("a", "b", "c"):
        sink.write(*counted(0, name))
    yield sink
    sink.close()


@pytest.fixture(scope="module")
def counts(browser: Browser, sink: WebSink) -> Iterator[Page]:
    page = browser.open(sink.url, width=PHONE[0], height=PHONE[1])
    page.until("document.querySelectorAll('.counts span').length === 6")
    yield page
    assert page.complaints == []
    page.close()


def test_what_is_counted_reads_well_in_small(counts: Page) -> None:
    told = f"document.querySelector('{tile(1)} .counts')"
    assert counts.ask(f"{told}.innerText").split("\n") == ["door 3 in, 1 out", "desk 1 inside, 4 entered"]
    assert counts.ask(f"[...{told}.children].every((each) => each.scrollWidth <= each.clientWidth)")
    assert counts.ask("document.documentElement.scrollWidth") == 390
    assert counts.ask("document.getElementById('threshold-value').textContent") == "97 %", "as the model was asked"


def test_an_arrow_says_which_side_of_a_line_is_in(counts: Page) -> None:
    sides = [inked(1, f"copy.width / 2 + {6 * side} * devicePixelRatio, copy.height / 2, 1, 2") for side in (1, -1)]
    assert counts.ask(f"[{', '.join(sides)}]") == [True, False]


def test_a_page_left_open_over_a_restart_asks_no_more_than_before(counts: Page, sink: WebSink) -> None:
    """Numbers come from the clock, and that may have been set back."""
    sink.hub._number -= 10**6
    for name in ("a", "b", "c"):
        sink.write(*counted(1, name))
    counts.until(f"document.querySelector('{tile(1)} .image').dataset.number === '{sink.hub._number - 2}'")
    counts.asked.clear()
    time.sleep(0.7)
    counts.ask("1")
    assert len(counts.asked) < 5


@pytest.mark.parametrize("dark", [False, True])
def test_it_reads_well_on_a_phone(page: Page, dark: bool) -> None:
    page.resize(*PHONE)
    page.prefer(dark=dark, still=True)
    page.until("document.documentElement.clientWidth === 390")
    changes(page, f"{tile(1)} .image")
    assert page.ask("document.documentElement.scrollWidth") == 390, "nothing to scroll to at the side"
    assert page.ask(f"document.querySelector('{tile(1)} .image').clientWidth") >= 340
    dim = page.ask(CONTRAST)
    assert dim == [], "too little contrast"
    assert page.ask("[...document.querySelectorAll('input, select')].every((each) => each.labels.length)")


# Texts whose contrast with their ground is less than 4.5, as WCAG 2 has it for what is to be read.
CONTRAST = """(() => {
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const share = [0.2126, 0.7152, 0.0722];
  const light = (rgb) => rgb.slice(0, 3).reduce((sum, part, k) => sum + linear(part / 255) * share[k], 0);
  const parts = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const color = parts(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const dim = [];
  for (const node of document.querySelectorAll('header *, figcaption *, aside *, #log *')) {
    const itself = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!itself || !node.offsetParent || node.tagName === 'OPTION') continue;
    const [one, other] = [light(parts(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) dim.push(`${node.tagName} ${node.textContent.slice(0, 20)}: ${contrast.toFixed(1)}`);
  }
  return dim;
})()"""


def test_several_people_look(browser: Browser, service: Service, page: Page) -> None:
    other = browser.open(service.url, width=820, height=1180, dark=True)
    other.until("document.querySelectorAll('figure[data-state=live]').length === 2")
    slide(page, 0.6)
    other.until("document.getElementById('threshold-value').textContent === '60 %'")
    slide(page, 0.25)
    for each in (page, other):
        changes(each, f"{tile(1)} .image")
    assert other.complaints == []
    other.close()


def test_nothing_is_fetched_from_elsewhere(page: Page, service: Service) -> None:
    assert len(page.asked) > 20
    assert not [url for url in page.asked if not url.startswith((service.url, "data:"))]


def test_without_a_source_and_with_a_token(bundle_of: Callable[..., Bundle], browser: Browser) -> None:
    with (
        Engine(bundle_of("squares", RECIPE), threads=1) as engine,
        serving({"squares": engine}, token=TOKEN) as service,
    ):
        page = browser.open(service.url, width=PHONE[0], height=PHONE[1])
        assert page.ask("location.pathname") == "/login"
        assert page.ask("document.getElementById('wrong').offsetParent === null")
        _log_in(page, "something else")
        page.until("location.search === '?wrong' && document.getElementById('wrong')?.offsetParent !== null")
        _log_in(page, TOKEN)
        page.until(
            "location.pathname === '/' && document.getElementById('empty') && !document.getElementById('empty').hidden"
        )
        assert "No source is open" in page.ask("document.body.innerText")
        page.until("document.getElementById('model-name').textContent === 'squares'")
        assert page.ask("document.documentElement.scrollWidth") == 390
        assert page.complaints == []
        shut = time.monotonic()
    assert time.monotonic() - shut < 10, "a page that looks does not hold the server up"
    page.until("document.body.classList.contains('lost')")
    assert page.ask("document.getElementById('link').textContent") == "no answer, trying again"
    page.close()


def _log_in(page: Page, token: str) -> None:
    page.until("!!document.getElementById('token')")
    page.ask(f"document.getElementById('token').value = {token!r}; document.querySelector('form').requestSubmit(); 0")
