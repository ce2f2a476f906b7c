"""Lower precisions for tests and benchmarks of a GPU: made in seconds, with nobody's judgement, and not for use."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import graphs
import numpy as np
import onnx
from smallnets import IMAGENET, SIDE, Small, residual

from edgezoo.bundle import Artifact, Bundle
from edgezoo.convert import write
from edgezoo.engine import Engine
from edgezoo.frame import Image
from edgezoo.reduce.half import half
from edgezoo.reduce.int8 import emitter
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.regions import plain
from edgezoo.tasks import task

NAMES = ("fp16", "int8-tensorrt")


def lowered(bundle: Bundle, folder: Path, images: Sequence[Image], *, names: Sequence[str] = NAMES) -> Bundle:
    """A copy of `bundle` with fp32 and those of `names`; what it has of them is taken over.

    Each records how far it is from fp32 on the golden images, on ONNX Runtime and this CPU. `images`: what integers'
    ranges are taken from.
    """
    there = {artifact.name: artifact for artifact in bundle.manifest.artifacts}
    fp32 = onnx.load_model_from_string(bundle.read_graph(there["fp32"]))
    placed = [bundle.manifest.input.place(image)[0] for image in images]
    with write.new_folder(folder) as part, closing(Engine(bundle, threads=2)) as engine:
        kept = [there["fp32"], *(there[name] for name in names if name in there)]
        write.add_files_of(part, bundle, kept)
        for entry in (bundle.manifest.golden, bundle.manifest.notice):
            write.add_file(part, entry.file, bundle.read_bytes(entry))
        made = [
            _add(part, engine, name, half(fp32).graph if name == "fp16" else _integers(fp32, placed))
            for name in names
            if name not in there
        ]
        write.add_manifest(part, dataclasses.replace(bundle.manifest, artifacts=(*kept, *made)))
    return Bundle.open(folder)


def _integers(fp32: onnx.ModelProto, placed: Sequence[Image]) -> onnx.ModelProto:
    model, target = plain(fp32), emitter("tensorrt")
    ranges = calibrate(model, placed, target.tensors(model), method="average")["average"]
    return target.emit(model, ranges, ())


def _add(folder: Path, engine: Engine, name: str, graph: onnx.ModelProto) -> Artifact:
    data = graph.SerializeToString()
    precision, _, target = name.partition("-")
    file = write.add_file(folder, f"model.{name}.onnx", data)
    draft = Artifact(
        file=file.file, sha256=file.sha256, precision=precision, target=target, agreement={}, tools={}, source={}
    )
    golden = engine.bundle.read_golden()["placed"]
    wanted = engine.infer(np.ascontiguousarray(golden))
    with closing(engine.over(data, dataclasses.replace(draft, target=""), backend="onnxruntime")) as made:
        found = made.infer(np.ascontiguousarray(golden))
    differences = task(engine.bundle.manifest.task).difference(wanted, found)
    return dataclasses.replace(draft, agreement={**differences, "against": "fp32", "images": len(golden)})


def small_card(folder: Path) -> Path:
    """A classifier of three classes that is wide enough for all precisions, and runs in no time."""
    net = Small()
    net.gemm(residual(net), len(graphs.COLORS), out="logits")
    model = net.model(["N", 3, SIDE, SIDE], {"logits": ["N", len(graphs.COLORS)]})
    return graphs.write_card(folder, "small", model, IMAGENET, task="classify", decoder='name = "logits"')
