"""What goes over the wire where something is wrong: JSON with one line, as on the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from edgezoo.errors import EdgezooError


class Refusal(EdgezooError):
    """A request that is not served: its status, and one line of what was expected, what came, and what to try."""

    def __init__(self, status: int, line: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status, self.headers = status, dict(headers or {})


class Json(Response):
    """What is not a number becomes null, as in the JSON lines."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dump(content)


def dump(content: Any) -> bytes:
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, separators=(",", ":")).encode()


def refused(refusal: Refusal) -> Json:
    return Json({"error": " ".join(str(refusal).split())}, refusal.status, refusal.headers)


def failure(error: Exception) -> Refusal:
    """What is told of an error that should not be; the log tells all of it."""
    return Refusal(500, f"expected to answer, {type(error).__name__} came in between; the server's log has more")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
