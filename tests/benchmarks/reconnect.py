"""Cameras that die: one of three RTSP servers is killed and started again, over and over, under a running pipeline.

    python tests/benchmarks/reconnect.py [--kills 20] [--model digits]

Bounds: the two others keep their frame rate within 5 %, each reconnect comes within 2 s of the server being back, every
frame is accounted for, and there is no thread and no file descriptor more at the end than after the first minute.
Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import reconnects

from edgezoo.loading import load


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--fps", type=float, default=15)
    parser.add_argument("--up-seconds", type=float, default=3)
    args = parser.parse_args()
    with load(args.model) as engine:
        engine.warm_up()
        found = reconnects.run(engine, kills=args.kills, fps=args.fps, up_s=args.up_seconds)
    backs, losses = sorted(found.backs_s), sorted(found.losses_s)
    print(f"{args.kills} kills in {found.seconds:.0f} s, {args.fps:g} fps each")
    print(f"told lost after   {losses[len(losses) // 2]:.2f} s median, {losses[-1]:.2f} s at most")
    print(f"back after        {backs[len(backs) // 2]:.2f} s median, {backs[-1]:.2f} s at most")
    print(f"the others' fps   {', '.join(f'{fps:.2f}' for fps in found.fps)}")
    print(f"of their frames   {', '.join(f'{100 * kept:.1f} %' for kept in found.kept)}")
    print(f"threads, files    {found.threads[0]} -> {found.threads[1]}, {found.files[0]} -> {found.files[1]}")
    print(f"accounted for     {found.accounted}")
    bounds = (
        backs[-1] <= 2.0,
        all(abs(fps - args.fps) <= 0.05 * args.fps for fps in found.fps),
        found.accounted,
        found.threads[1] <= found.threads[0],
        found.files[1] <= found.files[0],
    )
    return 0 if all(bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
