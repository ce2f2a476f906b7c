"""`load`: from a name to an engine, with as little ceremony as can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import edgezoo
from edgezoo.backends import device_of
from edgezoo.bundle import Bundle, is_bundle
from edgezoo.cards import Card, names, read_card
from edgezoo.engine import Engine
from edgezoo.errors import BundleError, RequestError
from edgezoo.weights import Progress, cache_folder, cached, fetch, sha256_of

if TYPE_CHECKING:
    from edgezoo.measure.speeds.choosing import Choice

AUTO = "auto"
BACKEND = "onnxruntime"


def load(
    what: str | Path,
    *,
    backend: str | None = None,
    device: str | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    score: float | None = None,
    iou: float | None = None,
    classes: Sequence[str] | None = None,
    size_wh: tuple[int, int] | None = None,
) -> Engine:
    """An engine for a bundle's folder, a zoo model's name, or a card: see `find_bundle`, `decide` and `Engine`."""
    bundle = find_bundle(what, size_wh=size_wh)
    backend, precision, choice = decide(bundle, backend=backend, device=device, precision=precision, threads=threads)
    return Engine(
        bundle,
        backend=backend,
        device=device,
        precision=precision,
        threads=threads,
        score=score,
        iou=iou,
        classes=classes,
        chosen=None if choice is None else choice.to_dict(),
    )


def decide(
    bundle: Bundle,
    *,
    backend: str | None = None,
    device: str | None = None,
    precision: str = "fp32",
    threads: int | None = None,
) -> tuple[str, str, Choice | None]:
    """The backend (None: ONNX Runtime) and the artifact that are meant.

    `precision="auto"`: what `edgezoo bench MODEL --store` measured to be fastest on this machine, of all artifacts that
    met their budget, or of those on `backend`; and that choice. Raises RequestError where that was not measured.
    """
    if precision != AUTO:
        return backend or BACKEND, precision, None
    from edgezoo.measure.speeds.choosing import fastest

    choice = fastest(bundle, backend=backend, device=device_of(backend or BACKEND, device), threads=threads)
    return choice.backend, choice.precision, choice


def find_bundle(
    what: str | Path,
    *,
    size_wh: tuple[int, int] | None = None,
    step: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Bundle:
    """The bundle in a folder; for a name or a card the built-in one, or that in the cache, made there from the `.onnx`.

    Needs no torch. Raises BundleError, UnknownName, WeightsError, and RequestError where only `edgezoo convert`
    can make it.
    """
    if is_bundle(what) or (Path(what).is_dir() and str(what) not in names()):
        bundle = Bundle.open(what)
        if size_wh not in (None, bundle.manifest.input.size_wh):
            width, height = bundle.manifest.input.size_wh
            raise RequestError(
                f"{what}: this bundle takes {width}x{height} px; another size needs `edgezoo convert --size`"
            )
        return bundle
    card = read_card(what)
    if (there := _at_hand(card, size_wh)) is not None:
        return there
    if card.onnx is None and not card.has_graph:
        raise RequestError(_how_to_make(what, card, size_wh))
    from edgezoo.convert import convert

    return convert(what, _place(card, size_wh), size_wh=size_wh, prefer_onnx=True, step=step, progress=progress)


def bring(
    what: str | Path,
    *,
    patience_s: float,
    size_wh: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> bool:
    """Fetch what `find_bundle` would; whether there was something to fetch. Then that needs no network any more.

    Raises UnknownName, CardError, and WeightsError: also where nothing comes for `patience_s`.
    """
    if is_bundle(what):
        return False
    card = read_card(what)
    if card.onnx is None or card.has_graph or _at_hand(card, size_wh) is not None or cached(card.onnx) is not None:
        return False
    fetch(card.onnx, progress=progress, patience_s=patience_s)
    return True


def _at_hand(card: Card, size_wh: tuple[int, int] | None) -> Bundle | None:
    """Its bundle of that size that needs nothing more: the built-in one, or one in the cache."""
    if (folder := card.built_in) is not None:
        bundle = Bundle.open(folder)
        if size_wh in (None, bundle.manifest.input.size_wh):
            return bundle
    if is_bundle(folder := _place(card, size_wh)):
        with suppress(BundleError):  # damaged in the cache: made again
            return Bundle.open(folder)
    return None


def _how_to_make(what: str | Path, card: Card, size_wh: tuple[int, int] | None) -> str:
    why = "has no official .onnx" if card.file is None else f"comes as a checkpoint, {card.file}"
    size = "" if size_wh is None else " --size {}x{}".format(*size_wh)
    return (
        f"{card.name} {why}; make its bundle once with `edgezoo convert {what}{size} -o {card.name}` "
        'in an environment with "edgezoo[cpu,export]", then give that folder'
    )


def _place(card: Card, size_wh: tuple[int, int] | None) -> Path:
    """Where it is kept: changes with whatever the bundle is made of, card, labels, graph, size, and edgezoo itself."""
    assert card.path is not None
    graph = sha256_of(card.beside("file", card.file)) if card.file is not None else ""
    made_of = card.path.read_bytes() + repr((card.label_names, graph, size_wh, edgezoo.__version__)).encode()
    width, height = size_wh or card.input.size_wh
    return cache_folder() / "bundles" / f"{card.name}-{width}x{height}-{hashlib.sha256(made_of).hexdigest()[:8]}"
