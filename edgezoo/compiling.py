"""`compile`: from a name to a compiled engine that is kept for this machine, built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgezoo.bundle import Artifact, Bundle
from edgezoo.errors import RequestError
from edgezoo.loading import find_bundle

if TYPE_CHECKING:
    from edgezoo.backends.tensorrt.engines import Compiled
    from edgezoo.backends.tensorrt.options import BatchRange, Hardware
    from edgezoo.backends.tensorrt.progress import Told

BACKEND = "tensorrt"
_FIRST = ("fp16", "fp32")  # what is compiled unless told otherwise: the first of these that there is


def compile(
    what: Bundle | str | Path,
    *,
    precision: str | None = None,
    device: str = "cuda",
    batch: int | BatchRange | None = None,
    workspace_mb: int | None = None,
    optimization: int = 3,
    version_compatible: bool = False,
    hardware_compatible: Hardware = "",
    dla: int | None = None,
    engine: str | Path | None = None,
    trust: bool = False,
    size_wh: tuple[int, int] | None = None,
    progress: Callable[[Told], None] = lambda told: None,
) -> Compiled:
    """The compiled engine of an artifact: the one that is kept where nothing changed, else one that is built now.

    `precision` as `Engine` takes it (None: fp16, or fp32 where there is none), `batch` one size or least, best and most
    (None: 1, or the bundle's own), the rest as `BuildOptions` has it. `engine`: a file that TensorRT built elsewhere,
    to try and to keep instead of building; its code runs here, hence `trust`.

    Raises MissingDependency and BackendError where TensorRT, its driver or its GPU is not here, before anything is
    fetched; RequestError, what `find_bundle` raises, and BackendError where it cannot be built or kept.
    """
    from edgezoo.backends.tensorrt import cuda
    from edgezoo.backends.tensorrt.compiling import compile_graph, take_over
    from edgezoo.backends.tensorrt.options import BuildOptions

    index = cuda.index_of(device)
    here = cuda.facts(index)
    bundle = what if isinstance(what, Bundle) else _found(what, size_wh, progress)
    artifact = artifact_of(bundle, precision)
    options = BuildOptions(
        batch=_batch(bundle, batch),
        workspace_mb=workspace_mb,
        optimization=optimization,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        dla=dla,
    )
    graph, called, name = bundle.read_graph(artifact), bundle.called, artifact.name
    if engine is not None:
        return take_over(
            Path(engine),
            graph,
            called=called,
            artifact=name,
            here=here,
            device=index,
            options=options,
            trust=trust,
            tell=progress,
        )
    return compile_graph(graph, called=called, artifact=name, here=here, device=index, options=options, tell=progress)


def _found(what: str | Path, size_wh: tuple[int, int] | None, tell: Callable[[Told], None]) -> Bundle:
    from edgezoo.backends.tensorrt.progress import Told

    def fetching(name: str, done: int, total: int | None) -> None:
        tell(Told(text=f"fetching {name}", share=done / total if total else None))

    return find_bundle(what, size_wh=size_wh, step=lambda text: tell(Told(text=text)), progress=fetching)


def artifact_of(bundle: Bundle, precision: str | None) -> Artifact:
    """The artifact of that name or precision in TensorRT's form; None: fp16, else fp32. Raises BundleError."""
    there = {artifact.name for artifact in bundle.manifest.artifacts}
    first = next((name for name in _FIRST if name in there), _FIRST[-1])
    return bundle.artifact(first if precision is None else precision, backend=BACKEND)


def _batch(bundle: Bundle, asked: int | BatchRange | None) -> BatchRange:
    fixed = bundle.manifest.batch
    if asked is None:
        asked = fixed or 1
    batch = (asked, asked, asked) if isinstance(asked, int) else asked
    if not isinstance(batch, tuple) or len(batch) != 3:
        raise RequestError(f"expected one batch size, or (least, best, most), got {asked!r:.40}")
    if fixed is not None and batch != (fixed, fixed, fixed):
        raise RequestError(
            f"{bundle.manifest.name}: takes batches of {fixed} alone; leave out --batch, or convert it again with "
            "--batch dynamic"
        )
    return batch
