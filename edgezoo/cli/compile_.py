"""`edgezoo compile`"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgezoo.cli import options, show
from edgezoo.errors import RequestError, UnknownName

if TYPE_CHECKING:
    from edgezoo.backends.tensorrt.engines import Compiled

HELP = "Compile an artifact for this machine's GPU with TensorRT, once; it is kept, and rebuilt only when it must be."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="which artifact: fp32, fp16, int8, or its name (default: fp16, or else fp32)",
    )
    parser.add_argument("--device", metavar="cuda:N", default="cuda", help="for which GPU (default: the first)")
    parser.add_argument("--size", type=options.size, metavar="WxH", help="the network's input size, for a model's name")
    group = parser.add_argument_group("what is built")
    group.add_argument(
        "--batch",
        metavar="N|LEAST:BEST:MOST",
        help="one batch size, or a range and what it is tuned for: 1:4:8 (default: 1, or the bundle's own)",
    )
    group.add_argument("--workspace", metavar="MB", type=int, help="GPU memory for a layer to use (default: all)")
    group.add_argument(
        "--optimization", metavar="0..5", type=int, help="how long it searches for faster kernels (default: 3)"
    )
    group.add_argument(
        "--version-compatible", action="store_true", help="also for later TensorRT of the same major version; larger"
    )
    group.add_argument(
        "--hardware-compatible",
        nargs="?",
        const="ampere",
        type=_hardware,
        metavar="ampere|same",
        help="also for other GPUs: of Ampere and newer, or of the same compute capability; slower (default: ampere)",
    )
    group.add_argument("--dla", metavar="N", type=int, help="on this deep learning accelerator of a Jetson, as it can")
    group = parser.add_argument_group("instead of building")
    group.add_argument(
        "--engine", metavar="FILE", type=Path, help="try and keep this one, which trtexec built on such a machine"
    )
    group.add_argument("--trust", action="store_true", help="run it: an engine is native code, and may do what you may")
    group.add_argument(
        "--check",
        metavar="VERSION",
        nargs="+",
        help="tell what the ONNX parser of TensorRT 8.6, 10, 11 would not read, by its documents; needs no GPU",
    )
    options.add_json(parser)


def _hardware(text: str) -> str:
    if text not in ("ampere", "same"):
        raise argparse.ArgumentTypeError(f"expected ampere or same, got {text!r}; the model stands before it")
    return text


def run(args: argparse.Namespace) -> int:
    if args.check is not None:
        return _check(args)
    if args.trust and args.engine is None:
        raise RequestError("expected --engine FILE with --trust: what edgezoo builds itself needs none")
    try:
        found = _compiled(args)
    except KeyboardInterrupt:
        show.err.print("stopped: nothing was kept, and nothing goes on")
        return 130
    if args.json:
        show.print_json(_to_dict(found))
    else:
        _tell(found, chosen=args.precision is None)
    return 0


def _compiled(args: argparse.Namespace) -> Compiled:
    from edgezoo.backends.tensorrt.options import batch_range
    from edgezoo.compiling import compile

    asked = {name: getattr(args, name) for name in ("batch", "workspace", "optimization")}
    if args.engine is not None and (said := [name for name, value in asked.items() if value is not None]):
        raise RequestError(f"an engine that is built already has its own {said[0]}; leave out --{said[0]}")
    batch = None if args.batch is None else batch_range(args.batch)
    with show.building() as tell:
        return compile(
            args.model,
            precision=args.precision,
            device=args.device,
            batch=batch,
            workspace_mb=args.workspace,
            optimization=3 if args.optimization is None else args.optimization,
            version_compatible=args.version_compatible,
            hardware_compatible=args.hardware_compatible or "",
            dla=args.dla,
            engine=args.engine,
            trust=args.trust,
            size_wh=args.size,
            progress=tell,
        )


def _to_dict(found: Compiled) -> dict[str, Any]:
    told = {"compiled": str(found.path), "built": found.built, "why": found.why, "warnings": list(found.warnings)}
    return {**told, "record": found.record.to_dict()}


def _tell(found: Compiled, *, chosen: bool) -> None:
    from edgezoo.backends.tensorrt.progress import duration

    record, facts = found.record, found.record.facts
    for warning in found.warnings:
        show.err.print(f"[yellow]{show.plain(warning)}", soft_wrap=True)
    took = f"in {duration(record.seconds)}"
    if record.taken:
        how = "taken over, not built here"
    elif found.built:
        how = f"built {took}"
    else:
        how = found.why or f"kept since {record.built_at().astimezone():%Y-%m-%d %H:%M}, when it was built {took}"
    name = f"[bold]{show.plain(record.name)}[/], batch {show.plain(record.batch)}"
    show.out.print(f"[green]✓[/] {name}  {show.plain(how)}; {show.size(record.bytes)}", soft_wrap=True)
    runs_on = f"TensorRT {facts.tensorrt}, CUDA {facts.cuda}, driver {facts.driver}, {facts.gpu} ({facts.capability})"
    show.indented(f"  [dim]for {show.plain(runs_on)}")
    if chosen:
        show.out.print(
            f"  [dim]{record.artifact} was meant, as none was named: --precision names another", soft_wrap=True
        )
    # What others built is better compared first; `verify` takes folders alone.
    verb, source = ("verify", "") if record.taken and Path(record.called).is_dir() else ("run", " SOURCE")
    command = f"edgezoo {verb} {shlex.quote(record.called)}{source} --backend tensorrt --precision {record.artifact}"
    show.out.print(f"  [dim]next: {show.plain(command)}", soft_wrap=True)


def _check(args: argparse.Namespace) -> int:
    from edgezoo.backends.tensorrt.parser import notes, refusals
    from edgezoo.compiling import artifact_of

    bundle = options.found_bundle(args)
    artifact = artifact_of(bundle, args.precision)
    graph = bundle.read_graph(artifact)
    try:
        refused = {version: refusals(graph, version) for version in args.check}
        said = {version: notes(graph, version) for version in args.check}
    except UnknownName:
        raise RequestError(f"expected --check {_checkable()}, got {shlex.join(args.check)}") from None
    if args.json:
        show.print_json({"artifact": artifact.name, "refused": refused, "notes": said})
        return int(any(refused.values()))
    for version, lines in refused.items():
        _tell_checked(f"{bundle.manifest.name} {artifact.name}", version, lines, said[version])
    return int(any(refused.values()))


def _checkable() -> str:
    """`8.6, 10.x or 11.x`: a major version that is known from its beginning on is known whole."""
    from edgezoo.backends.tensorrt.parser import known

    first: dict[str, str] = {}
    for version in known():
        major, _, minor = version.partition(".")
        first.setdefault(major, f"{major}.x" if minor == "0" else version)
    *names, last = first.values()
    return f"{', '.join(names)} or {last}"


def _tell_checked(name: str, version: str, refused: list[str], notes: list[str]) -> None:
    mark = "[red]✗[/]" if refused else "[green]✓[/]"
    told = "would not read" if refused else "documents that it reads all of"
    show.out.print(f"{mark} TensorRT {show.plain(version)} {told} [bold]{show.plain(name)}", soft_wrap=True)
    for line in refused:
        show.out.print(f"  {show.plain(line)}", soft_wrap=True)
    for line in notes:
        show.out.print(f"  [dim]{show.plain(line)}", soft_wrap=True)
