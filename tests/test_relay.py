"""The relay in front of FFmpeg: where frames end, and whether their size has changed, by what passes through it."""

from __future__ import annotations

import base64

import pytest

from edgezoo.sources._relay import FrameEnds
from edgezoo.sources._sps import size_wh

DESCRIPTION = (
    b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 %s/90000\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 opus/48000\r\n"
)
DELIMITER = {b"H264": b"\x09\xf0", b"H265": b"\x46\x01\x50", b"JPEG": b""}


def answer(body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"RTSP/1.0 " + status + b"\r\nCSeq: 1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def packet(
    timestamp: int, *, end: bool, channel: int = 0, payload_type: int = 96, payload: bytes = b"\x65 pixels"
) -> bytes:
    head = bytes([0x80, payload_type | (0x80 if end else 0), 0, 7]) + timestamp.to_bytes(4, "big") + b"from"
    return b"$" + bytes([channel]) + (12 + len(payload)).to_bytes(2, "big") + head + payload


def frames(count: int, first: int = 0) -> list[bytes]:
    return [packet(first + n, end=end) for n in range(count) for end in (False, True)]


@pytest.mark.parametrize("codec", DELIMITER)
@pytest.mark.parametrize("size", [1, 3, 100, 100_000])
def test_the_relay_marks_ends_of_frames_once_it_trusts_them(codec: bytes, size: int) -> None:
    stream = answer(DESCRIPTION % codec) + b"".join(frames(5)) + packet(9, end=True, channel=2, payload_type=97)
    ends = FrameEnds()
    passed = b"".join(ends.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    added = DELIMITER[codec]
    expected = answer(DESCRIPTION % codec)
    for number, each in enumerate(frames(5)):
        expected += each
        if added and number in (7, 9):  # the ends of the fourth and fifth: three before it were right
            expected += packet(number // 2, end=True, payload=added)
    assert passed == expected + packet(9, end=True, channel=2, payload_type=97)
    assert ends.status == "200 OK"


def test_the_relay_leaves_wrong_marks_alone() -> None:
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % b"H264") + b"".join(frames(5)))
    wrong = packet(5, end=True) + packet(5, end=True)
    assert len(ends.feed(wrong[: len(wrong) // 2])) > len(wrong) // 2
    rest = wrong[len(wrong) // 2 :] + b"".join(frames(10, first=6))
    assert ends.feed(rest) == rest


@pytest.mark.parametrize(
    ("codec", "size", "others"),
    [
        (b"H264", b"\x67 small", [b"\x65 pixels", b"\x68 more", b"\x7c\x67 part"]),
        (b"H264", b"\x18\0\x08\x67 small\0\x02\x68!", [b"\x18\0\x02\x68!"]),
        (b"H265", b"\x42\x01 small", [b"\x40\x01 more", b"\x26\x01 pixels"]),
        (b"H265", b"\x60\x01\0\x03\x40\x01!\0\x08\x42\x01 small", [b"\x60\x01\0\x02\x40\x01"]),
        (b"JPEG", b"", [b"\x67 pixels"]),
    ],
)
def test_the_relay_sees_another_size(codec: bytes, size: bytes, others: list[bytes]) -> None:
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % codec) + packet(0, end=True, payload=size))
    ends.watch_size()
    for number, payload in enumerate([*others, size, b"\x18\0", b"\x60"], 1):
        ends.feed(packet(number, end=True, payload=payload))
    ends.feed(packet(9, end=True, payload=size.replace(b"small", b"audio"), payload_type=97))
    extended = bytearray(packet(10, end=True, payload=b"\x67ab\0\x01\x67abcd" + (size or b"\x65")))
    extended[4] |= 0x10
    ends.feed(bytes(extended))
    assert not ends.resized
    ends.feed(packet(11, end=True, payload=size.replace(b"small", b"large")))
    assert ends.resized is bool(size)


SETS = [
    (False, "6742c00dd90141fb011000000300100000030320f142a480", (320, 240)),
    (False, "67640028acd940780227e5c044000003000400000300c83c60c658", (1920, 1080)),
    (False, "677a0028bcd940780227e27011000003000100000300320f183196", (1920, 1080)),  # 4:2:2
    (False, "67f4001e919b281485fc7cf808800000030080000019078b16cb", (642, 362)),  # 4:4:4
    (False, "67f40028919b280f0089f9701100000300010000030032604000f424001e84a4c300f8b16cb0", (1920, 1080)),  # interlaced
    (True, "42010101600000030090000003000003003ca00a080f165959a4932bc05a020000030002000003003210", (320, 240)),
    (True, "420101016000000300900000030000030078a003c08010e75596566924caf0168080000003008000000c84", (1918, 1078)),
    (True, "4201020408000003009d0800000300003f0000b005120171d4f965662b349265780b4040000003004000000642", (646, 362)),
]
"""As x264 and x265 write them."""


@pytest.mark.parametrize(("h265", "unit", "size"), SETS)
def test_the_size_is_read_from_a_parameter_set(h265: bool, unit: str, size: tuple[int, int]) -> None:
    data = bytes.fromhex(unit)
    assert size_wh(data, h265=h265) == size
    for cut in range(6):
        assert size_wh(data[:cut], h265=h265) is None


def test_another_parameter_set_of_the_same_size_is_no_other_size() -> None:
    small, large, same = (bytes.fromhex(SETS[number][1]) for number in (0, 1, 2))
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % b"H264") + packet(0, end=True, payload=large))
    ends.watch_size()
    ends.feed(packet(1, end=True, payload=same))
    assert not ends.resized
    ends.feed(packet(2, end=True, payload=small))
    assert ends.resized


@pytest.mark.parametrize(("codec", "first", "other"), [(b"H264", 0, 1), (b"H265", 5, 6)])
@pytest.mark.parametrize("told", [True, False])
def test_a_parameter_set_that_comes_late_is_no_other_size(codec: bytes, first: int, other: int, told: bool) -> None:
    unit, another = (bytes.fromhex(SETS[number][1]) for number in (first, other))
    name = b"sprop-parameter-sets" if codec == b"H264" else b"sprop-sps"
    sets = b"a=fmtp:96 mode=1; %s=%s,!; x=1\r\n" % (name, base64.b64encode(unit).rstrip(b"="))
    ends = FrameEnds()
    ends.feed(answer(DESCRIPTION % codec + (sets if told else b"")) + b"".join(frames(2)))
    ends.watch_size()
    if not told:
        ends.feed(packet(3, end=True, payload=unit))
    assert not ends.resized
    ends.feed(packet(4, end=True, payload=another))
    assert ends.resized, "also where the first one stood in the description alone"


@pytest.mark.parametrize(
    "strange",
    [
        b"\x00\x01 not RTSP at all",
        b"\r\n\r\n",
        b"HTTP" + 70_000 * b"x",
        answer() + b"\xff\xfe rest",
        b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
def test_the_relay_passes_on_what_it_does_not_understand(strange: bytes) -> None:
    ends = FrameEnds()
    stream = answer(DESCRIPTION % b"H264") + strange
    assert ends.feed(stream) == stream
    after = b"".join(frames(10))
    assert ends.feed(after) == after
