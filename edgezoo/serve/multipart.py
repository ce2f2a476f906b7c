"""multipart/form-data (https://www.rfc-editor.org/rfc/rfc7578) of a body that is in memory, and stays there.

What parses forms elsewhere puts large files onto the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgezoo.errors import RequestError
from edgezoo.web.answers import Refusal

_BOUNDARY = re.compile(r""";\s*boundary=("[^"]{1,70}"|[^\s";,]{1,70})""", re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*(;.*)?$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_LONGEST_HEAD = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    name: str
    """Of the file, where it has one, else of the field."""
    is_file: bool
    data: memoryview
    """A view of the body: nothing is copied."""


def is_multipart(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def parts(content_type: str, body: bytes | bytearray, *, most: int) -> list[Part]:
    """At most so many; the empty file that a form sends where none was chosen is none. Raises RequestError, Refusal."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise RequestError("expected multipart/form-data with its boundary, got none")
    mark = b"\r\n--" + found[1].strip('"').encode("latin-1", "replace")
    at = -2 if body.startswith(mark[2:]) else body.find(mark)  # as if a line ended before the first byte
    if at == -1:
        raise RequestError("expected a body in parts, its boundary is not in it")
    read: list[Part] = []
    while not body.startswith(b"--", begins := at + len(mark)):
        at = body.find(mark, begins)
        if at == -1:
            raise RequestError("expected a body of several parts, its end is missing; is it complete?")
        if len(read) == most:
            raise Refusal(413, f"expected at most {most} images in a body, there are more; try fewer at once")
        read.append(_part(body, begins, at))
    return [part for part in read if part.data or part.name]


def _part(body: bytes | bytearray, begins: int, ends: int) -> Part:
    blank = body.find(b"\r\n\r\n", begins, min(ends, begins + _LONGEST_HEAD))
    head = bytes(body[begins:blank]).replace(b"\r\n", b"\n") if blank != -1 else b""
    found = _DISPOSITION.search(head)
    if found is None:
        raise RequestError("expected parts with a Content-Disposition of form-data, got one without")
    data = memoryview(body)[blank + 4 : ends]
    names = {key.lower(): value for key, value in _NAME.findall(found[1] or b"")}
    name = names.get(b"filename", names.get(b"name", b"")) if data or b"filename" not in names else b""
    told = re.sub(rb"\\(.)", rb"\1", name).decode("utf-8", "replace")
    return Part(told[:200], b"filename" in names or b"content-type: image/" in head.lower(), data)
