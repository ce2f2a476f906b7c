"""Frames kept together with what was found in them, in COCO form (https://cocodataset.org/#format-data), to be
corrected and trained on: what `edgezoo finetune --data FOLDER` reads.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Frame
from edgezoo.optional import require
from edgezoo.results import Detections, Result, name_of

try:
    import fcntl
except ImportError:  # Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

LIST = "annotations.json"
IMAGES = "images"
_QUALITY = 95
_TABLES = ("images", "annotations", "categories")
_Content = dict[str, Any]


class Capture:
    """A folder with `annotations.json` and `images/`, which it goes on with or begins.

    Any thread or process may add to it: each frame is there as a whole or not at all, and so is the list.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises SinkError: it cannot be written to, or what is there is no such list."""
        self.folder = Path(folder).expanduser()
        if not self.folder.parent.is_dir():
            cure = f"try: mkdir -p {shlex.quote(str(self.folder.parent))}"
            raise SinkError(f"expected a place for the folder {str(self.folder)!r}, its parent is not there; {cure}")
        try:
            (self.folder / IMAGES).mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._read()
        except OSError as error:
            raise self._failed(error) from error

    def save(self, frame: Frame, result: Result) -> Path:
        """Add the frame as a JPEG and the detections as its boxes; the picture's path.

        Raises SinkError, and RequestError for what are no detections.
        """
        if not isinstance(result, Detections):
            raise RequestError(f"expected detections to keep beside the frame, got {type(result).__name__.lower()}")
        ok, data = require("cv2").imencode(".jpg", frame.image, [require("cv2").IMWRITE_JPEG_QUALITY, _QUALITY])
        if not ok:
            raise SinkError(f"OpenCV cannot encode {frame.image.shape[1]}x{frame.image.shape[0]} as a JPEG")
        try:
            with self._alone():
                content = self._read()
                path = self._new_name(content)
                _write(path, data.tobytes())
                try:
                    _add(content, path.name, frame, result)
                    _write(self.folder / LIST, json.dumps(content).encode())
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise self._failed(error) from error
        return path

    def _read(self) -> _Content:
        path = self.folder / LIST
        try:
            content = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or not all(_is_table(content.get(name, [])) for name in _TABLES):
            raise SinkError(f"{path}: expected annotations in COCO form to go on with; try another folder")
        for name in _TABLES:
            content.setdefault(name, [])
        return content

    def _new_name(self, content: _Content) -> Path:
        """By the time in UTC, so that names sort; no other picture has it, whether it is listed or not."""
        stem = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")[:-3]
        listed = {row.get("file_name") for row in content["images"]}
        for number in range(1, len(listed) + 1000):
            path = self.folder / IMAGES / (f"{stem}.jpg" if number == 1 else f"{stem}-{number}.jpg")
            if path.name not in listed and not os.path.lexists(path):
                return path
        raise SinkError(f"expected a free name in {str(self.folder)!r}, found none")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.folder / ".lock", "ab") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, or the process dies
            yield

    def _failed(self, error: OSError) -> SinkError:
        if isinstance(error, SinkError):
            return error
        reason = error.strerror or type(error).__name__
        return SinkError(f"expected to keep a frame in {str(self.folder)!r}, got: {reason}; try another folder")


def _add(content: _Content, file_name: str, frame: Frame, found: Detections) -> None:
    height, width = frame.image.shape[:2]
    image_id = _next_id(content["images"])
    taken = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    row = {"id": image_id, "file_name": file_name, "width": width, "height": height}
    content["images"].append({**row, "date_captured": taken, "source": frame.source})
    ids = _categories(content["categories"], found)
    first = _next_id(content["annotations"])
    sides = found.boxes_xyxy.clip(0, [width, height, width, height])
    for k, ((name, score, _), (x1, y1, x2, y2)) in enumerate(zip(found, sides.tolist(), strict=True)):
        wide, high = round(x2 - x1, 2), round(y2 - y1, 2)
        box: _Content = {"id": first + k, "image_id": image_id, "category_id": ids[name], "iscrowd": 0}
        box |= {"bbox": [round(x1, 2), round(y1, 2), wide, high], "area": round(wide * high, 2)}
        content["annotations"].append({**box, "score": round(score, 5)})


def _categories(rows: list[_Content], found: Detections) -> dict[str, Any]:
    """The id of each class by its name; all of the model's are listed, in its order, those of other models stay."""
    names = [*found.names, *(name_of(found.names, int(class_id)) for class_id in found.class_ids)]
    ids = {str(row.get("name")): row.get("id") for row in rows}
    following = _next_id(rows)
    for name in names:
        if name not in ids:
            ids[name] = following
            rows.append({"id": following, "name": name})
            following += 1
    return ids


def _next_id(rows: list[_Content]) -> int:
    """From 1: pycocotools takes 0 for "no box"."""
    return max((row["id"] for row in rows if isinstance(row.get("id"), int)), default=0) + 1


def _is_table(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
