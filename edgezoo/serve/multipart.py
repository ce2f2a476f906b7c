"""multipart/form-data (https://www.rfc-editor.org/rfc/rfc7578) of a body that is in memory, and stays there.

What parses forms elsewhere puts large files onto the disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgezoo.errors import RequestError

_BOUNDARY = re.compile(r""";\s*boundary=("[^"]{1,70}"|[^\s";,]{1,70})""", re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*(;.*)?$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_LONGEST_HEAD = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    name: str
    """Of the file, where it has one, else of the field."""
    is_file: bool
    data: bytes


def is_multipart(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def parts(content_type: str, body: bytes, *, most: int) -> list[Part]:
    """At most so many; the empty file that a form sends where none was chosen is none. Raises RequestError."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise RequestError("expected multipart/form-data with its boundary, got none")
    mark = b"--" + found[1].strip('"').encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, most + 1)
    if len(pieces) < 2:
        raise RequestError("expected a body in parts, its boundary is not in it")
    if not pieces[-1].startswith(b"--"):
        ended = len(pieces) < most + 2
        line = "its end is missing; is it complete?" if ended else f"there are more than {most}"
        raise RequestError(f"expected at most {most} images in a body of several parts, {line}")
    read = [_part(piece) for piece in pieces[1:-1]]
    return [part for part in read if part.data or part.name]


def _part(piece: bytes) -> Part:
    head, blank, data = piece.lstrip(b" \t").partition(b"\r\n\r\n")
    found = _DISPOSITION.search(head.replace(b"\r\n", b"\n")) if len(head) <= _LONGEST_HEAD else None
    if not blank or found is None:
        raise RequestError("expected parts with a Content-Disposition of form-data, got one without")
    names = {key.lower(): value for key, value in _NAME.findall(found[1] or b"")}
    name = names.get(b"filename", names.get(b"name", b"")) if data or b"filename" not in names else b""
    told = re.sub(rb"\\(.)", rb"\1", name).decode("utf-8", "replace")
    return Part(told[:200], b"filename" in names or b"content-type: image/" in head.lower(), data)
