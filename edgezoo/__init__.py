"""edgezoo: an inference pipeline and model zoo for edge devices.

    import edgezoo

    engine = edgezoo.load("yolox_nano")
    found = engine("street.jpg")
    print(found[found.scores > 0.5])

Names are imported at first use: `import edgezoo` alone loads no third-party library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgezoo.bundle import Bundle
    from edgezoo.cards import Card, read_card
    from edgezoo.compiling import compile
    from edgezoo.drawing import draw
    from edgezoo.engine import Engine
    from edgezoo.errors import EdgezooError
    from edgezoo.frame import Event, Frame
    from edgezoo.latency import Profile
    from edgezoo.loading import load
    from edgezoo.pipeline import Pipeline
    from edgezoo.preprocess import Preprocess
    from edgezoo.results import Detections, Labels
    from edgezoo.sinks import Sink, open_sink
    from edgezoo.sources import Source, open_source
    from edgezoo.tracking import Follower, Line, Zone

_ROOMS = {
    "Bundle": "bundle",
    "Card": "cards",
    "Detections": "results",
    "EdgezooError": "errors",
    "Engine": "engine",
    "Event": "frame",
    "Follower": "tracking",
    "Frame": "frame",
    "Labels": "results",
    "Line": "tracking",
    "Pipeline": "pipeline",
    "Preprocess": "preprocess",
    "Profile": "latency",
    "Sink": "sinks",
    "Source": "sources",
    "Zone": "tracking",
    "compile": "compiling",
    "draw": "drawing",
    "load": "loading",
    "open_sink": "sinks",
    "open_source": "sources",
    "read_card": "cards",
}

__all__ = [
    "Bundle",
    "Card",
    "Detections",
    "EdgezooError",
    "Engine",
    "Event",
    "Follower",
    "Frame",
    "Labels",
    "Line",
    "Pipeline",
    "Preprocess",
    "Profile",
    "Sink",
    "Source",
    "Zone",
    "__version__",
    "compile",
    "draw",
    "load",
    "open_sink",
    "open_source",
    "read_card",
]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'edgezoo' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edgezoo.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
