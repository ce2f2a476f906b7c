"""The engine in a program's own loop: no pipeline, no threads. Usage: python demos/embed.py CLIP [MODEL]

Counts cars and tells when their number changes.
"""

import sys

import cv2

import edgezoo


def main(clip: str, model: str = "yolox_nano") -> None:
    capture = cv2.VideoCapture(clip)
    before = -1
    with edgezoo.load(model, classes=["car", "truck", "bus"]) as engine:
        while True:
            there, image = capture.read()  # any BGR array of uint8 will do
            if not there:
                break
            found = engine(image)
            sure = found[found.scores > 0.5]
            if len(sure) != before:
                before = len(sure)
                print(f"{capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3:6.2f} s  {before} vehicles")
    capture.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
