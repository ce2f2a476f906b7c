"""Objects in front of the camera, in a window. Usage: python demos/webcam.py [SOURCE] [SINK]

Any source and sink will do: `python demos/webcam.py clip.mp4 out.mp4`.
"""

import sys

import edgezoo


def main(source: str = "camera:0", sink: str = "window") -> None:
    engine = edgezoo.load("yolox_nano", score=0.4)
    view = edgezoo.open_sink(sink, overlay=lambda frame: f"age {frame.age_ms:.0f} ms")
    with engine, edgezoo.Pipeline(source, engine) as pipeline:
        try:
            for frame, result in pipeline:
                view.write(frame, result)
                if view.done:  # q, Esc, or the window was closed
                    break
        finally:
            view.close()
    print(pipeline.profile)


if __name__ == "__main__":
    main(*sys.argv[1:])
