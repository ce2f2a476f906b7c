"""Two cameras, one engine, one line per frame. Usage: python demos/two_cameras.py [SOURCE SOURCE]

Frames of both go through the network in one batch; a camera that dies stops only itself, and comes back.
"""

import sys

import edgezoo


def tell(event: edgezoo.Event) -> None:
    print(f"{event.source}: {event.kind}: {event.message}", file=sys.stderr)


def main(*sources: str) -> None:
    engine = edgezoo.load("yolox_nano")
    pipeline = edgezoo.Pipeline(sources or ("camera:0", "camera:1"), engine, batch=2, wait_ms=5, on_event=tell)
    with engine, pipeline:
        for frame, result in pipeline:
            print(f"{frame.source} #{frame.index}  age {frame.age_ms:.0f} ms  {result}")
    print(pipeline.profile)


if __name__ == "__main__":
    main(*sys.argv[1:])
