"""`load`: from a name to an engine, with as little ceremony as can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import edgezoo
from edgezoo.bundle import Bundle, is_bundle
from edgezoo.cards import Card, read_card
from edgezoo.engine import Engine
from edgezoo.errors import BundleError, RequestError
from edgezoo.weights import Progress, cache_folder, sha256_of


def load(
    what: str | Path,
    *,
    backend: str = "onnxruntime",
    device: str = "cpu",
    precision: str = "fp32",
    threads: int | None = None,
    score: float | None = None,
    iou: float | None = None,
    classes: Sequence[str] | None = None,
    size_wh: tuple[int, int] | None = None,
) -> Engine:
    """An engine for a bundle's folder, a zoo model's name, or a card: see `find_bundle` and `Engine`."""
    return Engine(
        find_bundle(what, size_wh=size_wh),
        backend=backend,
        device=device,
        precision=precision,
        threads=threads,
        score=score,
        iou=iou,
        classes=classes,
    )


def find_bundle(
    what: str | Path,
    *,
    size_wh: tuple[int, int] | None = None,
    step: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Bundle:
    """The bundle in a folder; for a name or a card the one in the cache, made there from the `.onnx` if need be.

    Needs no torch. Raises BundleError, UnknownName, WeightsError, and RequestError where only `edgezoo convert`
    can make it.
    """
    if is_bundle(what) or Path(what).is_dir():
        bundle = Bundle.open(what)
        if size_wh not in (None, bundle.manifest.input.size_wh):
            width, height = bundle.manifest.input.size_wh
            raise RequestError(
                f"{what}: this bundle takes {width}x{height} px; another size needs `edgezoo convert --size`"
            )
        return bundle
    card = read_card(what)
    folder = _cached(card, size_wh)
    if is_bundle(folder):
        try:
            return Bundle.open(folder)
        except BundleError:
            pass  # damaged in the cache: made again below
    if card.onnx is None and card.file is None:
        raise RequestError(
            f"{card.name} has no official .onnx; make its bundle once with `edgezoo convert {what} -o {card.name}` "
            'in an environment with "edgezoo[cpu,export]", then give that folder'
        )
    from edgezoo.convert import convert

    return convert(what, folder, size_wh=size_wh, prefer_onnx=True, step=step, progress=progress)


def _cached(card: Card, size_wh: tuple[int, int] | None) -> Path:
    """A place that changes with whatever the bundle is made of: card, labels, graph, size, and edgezoo itself."""
    assert card.path is not None
    graph = sha256_of(card.beside("file", card.file)) if card.file is not None else ""
    made_of = card.path.read_bytes() + repr((card.label_names, graph, size_wh, edgezoo.__version__)).encode()
    width, height = size_wh or card.input.size_wh
    return cache_folder() / "bundles" / f"{card.name}-{width}x{height}-{hashlib.sha256(made_of).hexdigest()[:8]}"
