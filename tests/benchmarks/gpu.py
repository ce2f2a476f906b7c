"""What a GPU gives: parity with the CPU, frames per second bare and in a pipeline, and what of it all is copying.

    python tests/benchmarks/gpu.py [MODEL ...] [--batch 1 8 32] [--images FOLDER] [--json FILE]

ONNX Runtime on CUDA with I/O binding and CUDA graphs, with binding alone, and with neither; and where TensorRT is
there, the engines that it compiles of fp32, fp16 and int8, for each batch size alone. All contestants of a batch size
take turns, block by block, in an order that turns too; figures are medians of the rounds, ratios are made within a
round. Official weights come from `EDGEZOO_MIRROR` where they are; seeded random ones do for speed, and for parity too.
Lower precisions are made in seconds and judged by nobody (`tests/lowered.py`): how far the GPU's answers are from
fp32's on the CPU is told beside how far the same artifact's are on the CPU.

`--device cpu` is a rehearsal over the CPU's own memory: its figures say nothing about a GPU, where none of this has run
yet. With `PYTHONPATH=tests/fakes` TensorRT is rehearsed, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))
from lowered import lowered

import edgezoo
from edgezoo import cards
from edgezoo.backends import _nvidia
from edgezoo.bundle import Bundle
from edgezoo.convert import convert
from edgezoo.engine import DOOR, Engine
from edgezoo.errors import BackendError, MissingDependency
from edgezoo.frame import Image
from edgezoo.machine import OtherLoad, machine
from edgezoo.measure import devices
from edgezoo.measure.player import BareEngine, Player
from edgezoo.sources import open_source
from edgezoo.sources.images import find_images, read_image
from edgezoo.tasks import task

MODELS = ("yolox_nano", "mobilenet_v2", "resnet50")
IMAGES = 16
CLIP = "synthetic:#size=768x432&live=0&shapes=6"
PARTS = ("upload", "execute", "download")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A way to run an artifact on the GPU."""

    name: str
    backend: str
    precision: str
    options: tuple[tuple[str, bool], ...] = ()

    def open(self, bundle: Bundle, device: str, batch: int) -> Engine:
        if self.backend == "tensorrt":
            device = "cuda" if device == "cpu" else device  # the fakes', in a rehearsal
            edgezoo.compile(bundle, precision=self.precision, device=device, batch=batch)
        options = dict(self.options)
        return Engine(bundle, backend=self.backend, device=device, precision=self.precision, options=options)


@dataclass(kw_only=True)
class Row:
    """One contestant, one model, one batch size."""

    model: str
    weights: str
    contestant: str
    batch: int
    runs: str
    """What really ran."""
    cuda_graph: str
    differences: dict[str, float]
    """From fp32 on the CPU, over the images."""
    same_on_cpu: dict[str, float]
    engine_fps: float = 0.0
    pipeline_fps: float = 0.0
    pipeline_ratio: float = 0.0
    against_unbound: list[float] | None = None
    """The bare engine over that without I/O binding: lower quartile, median, upper quartile of the rounds."""
    copies: dict[str, float] | None = None
    """Milliseconds to the device, on it, from it, and the share of both copies, 0..1."""


def main() -> None:
    args, console = _arguments(), Console(stderr=True)
    if args.device == "cpu":
        console.print("[red]A rehearsal on the CPU: nothing below says anything about a GPU.")
    images = _images(args.images)
    found = list(_contestants(args.device, console))
    load = OtherLoad()
    rows: list[Row] = []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            bundle, weights = _bundle(name, Path(folder), images)
            for batch in args.batch:
                console.print(f"{bundle.manifest.name}, batch {batch} …")
                rows += measure(bundle, weights, found, images, batch, args)
    told = {"rehearsal": args.device == "cpu", "machine": _machine(), "others": load.share(), "rounds": args.rounds}
    _show(rows, told)
    if args.json:
        text = json.dumps({**told, "rows": [asdict(row) for row in rows]}, indent=1)
        Path(args.json).write_text(text + "\n", "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="names or cards")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N; cpu: a rehearsal")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--images", metavar="FOLDER", help="to compare the answers to (default: drawn scenes)")
    parser.add_argument("--clip", default=CLIP, help="what pipelines read, and wait for (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def _images(folder: str | None) -> list[Image]:
    if folder:
        return [read_image(path) for path in find_images(folder)[:IMAGES]]
    scenes = [open_source(f"synthetic:#size=640x480&seed={k}&frames=1&live=0&shapes=6") for k in range(IMAGES)]
    return [frame.image for scene in scenes for frame in scene]


def _contestants(device: str, console: Console) -> Iterator[Contestant]:
    bound: list[tuple[tuple[str, bool], ...]] = [(), (("cuda_graph", False),)]
    if device == "cpu":
        bound = [(("io_binding", True),)]
    for options in bound:
        graph = ", CUDA graph" if not options else ""
        yield Contestant(name=f"onnxruntime bound{graph}", backend="onnxruntime", precision="fp32", options=options)
    unbound = (("io_binding", False),)
    yield Contestant(name="onnxruntime unbound", backend="onnxruntime", precision="fp32", options=unbound)
    yield Contestant(name="onnxruntime fp16", backend="onnxruntime", precision="fp16", options=bound[0])
    try:
        from edgezoo.backends.tensorrt import cuda

        cuda.facts(cuda.index_of("cuda" if device == "cpu" else device))
    except (MissingDependency, BackendError) as error:
        console.print(f"without TensorRT: {error}", markup=False, soft_wrap=True)
        return
    for precision in ("fp32", "fp16", "int8-tensorrt"):
        name = f"tensorrt {precision.partition('-')[0]}"
        yield Contestant(name=name, backend="tensorrt", precision=precision)


def _bundle(name: str, folder: Path, images: Sequence[Image]) -> tuple[Bundle, str]:
    """With fp16 and int8; and whose weights they are."""
    card = cards.read_card(name)
    if card.has_graph:
        return lowered(convert(name, folder / "fp32"), folder / "bundle", images[:4]), "the card's"
    import zoo  # and torch

    weights, real = zoo.checkpoint(card, folder)
    fp32 = convert(name, folder / "fp32", weights=weights)
    return lowered(fp32, folder / "bundle", images[:4]), "official" if real else "random"


def measure(
    bundle: Bundle,
    weights: str,
    contestants: Sequence[Contestant],
    images: Sequence[Image],
    batch: int,
    args: argparse.Namespace,
) -> list[Row]:
    """All contestants at one batch size."""
    with ExitStack() as stack:
        engines = [stack.enter_context(closing(each.open(bundle, args.device, batch))) for each in contestants]
        on_cpu = {}
        for precision in {each.precision for each in contestants}:
            with Engine(bundle, precision=precision) as engine:  # on ONNX Runtime
                on_cpu[precision] = [engine.infer(engine.prepare([image])[0]) for image in images]
        rows = [
            _compared(bundle, weights, contestant, engine, on_cpu, images, batch)
            for contestant, engine in zip(contestants, engines)
        ]
        bare = {each.name: BareEngine(engine, batch, args.clip) for each, engine in zip(contestants, engines)}
        players = {}
        for each, engine in zip(contestants, engines):
            players[each.name] = Player(engine, args.clip, workers=1, batch=batch)
            stack.callback(players[each.name].close)
        blocks = {f"engine {name}": each.block for name, each in bare.items()}
        blocks |= {f"pipeline {name}": each.block for name, each in players.items()}
        rounds = _in_turns(blocks, args.rounds, args.seconds)
        for row, engine in zip(rows, engines):
            _fill(row, rounds)
            row.copies = _copies(engine, bare[row.contestant].array, args.seconds)
    return rows


def _compared(
    bundle: Bundle,
    weights: str,
    contestant: Contestant,
    engine: Engine,
    on_cpu: dict[str, list[Any]],
    images: Sequence[Image],
    batch: int,
) -> Row:
    """Every image's answers in a batch of `batch`, against the CPU's to it alone."""
    meaning, worst, same = task(bundle.manifest.task), dict[str, float](), dict[str, float]()
    for start in range(0, len(images), batch):
        some = images[start : start + batch]
        answers = engine.infer(engine.prepare([*some, *some[-1:] * (batch - len(some))])[0])
        for k in range(len(some)):
            alone = {name: value[k : k + 1] for name, value in answers.items()}
            _widen(worst, meaning.difference(on_cpu["fp32"][start + k], alone))
            _widen(same, meaning.difference(on_cpu["fp32"][start + k], on_cpu[contestant.precision][start + k]))
    graph = getattr(engine.backend, "graph", None)
    told = "" if graph is None else "yes" if graph else getattr(engine.backend, "no_graph", "") or "no"
    return Row(
        model=bundle.manifest.name,
        weights=weights,
        contestant=contestant.name,
        batch=batch,
        runs=str(engine.runs),
        cuda_graph=told,
        differences=worst,
        same_on_cpu=same,
    )


def _widen(worst: dict[str, float], found: dict[str, float]) -> None:
    worst.update({name: float(np.maximum(worst.get(name, 0.0), value)) for name, value in found.items()})


def _in_turns(blocks: dict[str, Callable[[float], float]], rounds: int, seconds: float) -> list[dict[str, float]]:
    """Frames per second of each, round by round, after one that does not count."""
    names, found = list(blocks), []
    for turn in range(1 + rounds):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        found.append({name: blocks[name](seconds if turn else min(seconds, 0.25)) for name in order})
    return found[1:]


def _fill(row: Row, rounds: Sequence[dict[str, float]]) -> None:
    engine, pipeline = (f"{what} {row.contestant}" for what in ("engine", "pipeline"))
    row.engine_fps = statistics.median(found[engine] for found in rounds)
    row.pipeline_fps = statistics.median(found[pipeline] for found in rounds)
    row.pipeline_ratio = statistics.median(found[pipeline] / found[engine] for found in rounds)
    if row.contestant.startswith("onnxruntime bound"):
        ratios = [found[engine] / found["engine onnxruntime unbound"] for found in rounds]
        row.against_unbound = statistics.quantiles(ratios * (1 + (len(ratios) < 2)), n=4, method="inclusive")


def _copies(engine: Engine, array: np.ndarray, seconds: float) -> dict[str, float] | None:
    """None where a backend does not have the parts of a run apart."""
    ask = getattr(engine.backend, "bound", None)
    feeds = {DOOR: array}
    engine.infer(array)  # a graph is captured by the thread that runs it
    if ask is None or (bound := ask(feeds)) is None:
        return None
    steps: tuple[Callable[[], Any], ...] = (lambda: bound.upload(feeds), bound.execute, bound.download)
    times: list[list[float]] = [[], [], []]
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times[0]) < 5:
        for step, taken in zip(steps, times):
            began = time.perf_counter()
            step()
            taken.append(1e3 * (time.perf_counter() - began))
    found = dict(zip(PARTS, map(statistics.median, times)))
    return {**found, "share": (found["upload"] + found["download"]) / sum(found.values())}


def _machine() -> dict[str, Any]:
    gpu = devices.nvidia()
    return {**machine(), "gpu": gpu and (gpu.trouble or gpu.name), "driver_runs_cuda": _nvidia.driver_cuda()}


def _show(rows: Sequence[Row], told: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(told, soft_wrap=True)
    for name, group in itertools.groupby(rows, key=lambda row: row.model):
        some = list(group)
        table = Table(title=f"{name}, {some[0].weights} weights" + " (a rehearsal)" * told["rehearsal"])
        for column in ("", "batch", "engine fps", "pipeline fps", "ratio", "against unbound", "copies", "off by"):
            table.add_column(column, justify="left" if column in ("", "off by") else "right")
        for row in some:
            table.add_row(*_cells(row))
        console.print(table)
        for line in dict.fromkeys(f"{row.contestant}: {row.runs}" for row in some):
            console.print(f"  {line}", style="dim", soft_wrap=True)
        for line in dict.fromkeys(row.cuda_graph for row in some if row.cuda_graph not in ("", "yes", "no")):
            console.print(f"  no CUDA graph: {line}", style="dim", soft_wrap=True)


def _cells(row: Row) -> list[str]:
    against, copies = "", ""
    if row.against_unbound is not None:
        low, middle, high = row.against_unbound
        against = f"{middle:.2f} ({low:.2f}..{high:.2f})"
    if row.copies is not None:
        copies = f"{row.copies['share']:.0%} of {sum(row.copies[part] for part in PARTS):.2f} ms"
    off_by = ", ".join(
        f"{name} {value:.2g}" + (f" (CPU {row.same_on_cpu[name]:.2g})" if row.same_on_cpu[name] else "")
        for name, value in row.differences.items()
    )
    numbers = f"{row.engine_fps:.1f}", f"{row.pipeline_fps:.1f}", f"{row.pipeline_ratio:.3f}"
    return [row.contestant, str(row.batch), *numbers, against, copies, off_by]


if __name__ == "__main__":
    main()
