"""The engine: a bundle and a backend. Image in, result out; it is what other programs embed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from edgezoo.backends import Arrays, Backend, Layer, device_of, layers, open_backend
from edgezoo.bundle import Artifact, Bundle
from edgezoo.errors import BundleError, NotCompiled, ShapeError
from edgezoo.frame import Image
from edgezoo.geometry import Placement
from edgezoo.results import Result
from edgezoo.sources.images import read_image
from edgezoo.tasks import Ask, class_ids, task

DOOR = "images"

Picture: TypeAlias = "npt.NDArray[Any] | str | Path"


class Engine:
    """One thread at a time; `fork` gives another thread its own. Results own their memory.

    `engine(image)` takes a BGR uint8 (H, W, 3) array or a path and answers in source pixels; `engine([a, b])` runs
    a batch. `prepare`, `infer` and `read` are the three stages of both, for whoever overlaps them.
    """

    def __init__(
        self,
        bundle: Bundle | str | Path,
        *,
        backend: str = "onnxruntime",
        device: str | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        score: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] | None = None,
        options: dict[str, Any] | None = None,
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """`precision`: an artifact's name (`int8-openvino`), or its precision alone (`int8`) in the backend's own form.
        `device`: `cpu`, `cuda`, `cuda:1`; None: the CPU, with TensorRT the first GPU.
        `score`, `iou` (0..1) and `classes` (names or numbers) say what of an answer is wanted.
        `chosen`: the measurement that chose backend and precision, for `describe`; `load` has `precision="auto"`.

        Raises BundleError, BackendError (NotCompiled where `edgezoo compile` comes first), RequestError,
        MissingDependency.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = self.bundle.manifest
        self.recipe, self.names = manifest.input, manifest.labels
        self.artifact = self.bundle.artifact(precision, backend=backend)
        ids = None if classes is None else class_ids(self.names, classes)
        self.ask = Ask(score=score, iou=iou, classes=ids)
        self.chosen = None if chosen is None else dict(chosen)
        self._task = task(manifest.task)
        self._how = (backend, device_of(backend, device), dict(self.artifact.options) | (options or {}))
        self._graph = self.bundle.read_graph(self.artifact)
        self._open(threads)

    def _open(self, threads: int | None) -> None:
        backend, device, options = self._how
        try:
            opened = open_backend(backend, self._graph, device=device, threads=threads, options=options)
        except NotCompiled as error:
            command = f"edgezoo compile {shlex.quote(self.bundle.called)} --precision {self.artifact.name} {error.how}"
            told = f"{self.bundle.manifest.name} {self.artifact.name}: {error}; run once: {command.strip()}"
            raise NotCompiled(told, how=error.how) from None
        self._over(opened)

    def _over(self, backend: Backend) -> None:
        self.backend, self.runs = backend, backend.runs
        try:
            self._check_contract()
        except BundleError:
            backend.close()
            raise

    def _check_contract(self) -> None:
        width, height = self.recipe.size_wh
        door, batch = self.backend.inputs, self.bundle.manifest.batch
        wanted = (batch, height, width, 3)
        # A compiled engine may take fewer batch sizes than its graph.
        shapes = [wanted] if batch else [wanted, (self.backend.batches[0], height, width, 3)]
        if len(door) != 1 or (door[0].name, door[0].dtype) != (DOOR, "uint8") or door[0].shape not in shapes:
            raise BundleError(f"{self.artifact.file}: expected one input images uint8 {wanted}, got {door}")
        there = {port.name for port in self.backend.outputs}
        if there != set(self._task.OUTPUTS):
            raise BundleError(f"{self.artifact.file}: expected outputs {self._task.OUTPUTS}, got {sorted(there)}")

    @overload
    def __call__(self, picture: Picture) -> Result: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, picture: Sequence[Picture]) -> list[Result]: ...

    def __call__(self, picture: Picture | Sequence[Picture]) -> Result | list[Result]:
        """Raises ShapeError for an array that is no image, SourceError for a path that is none."""
        if isinstance(picture, Sequence) and not isinstance(picture, str):
            return self.batch(picture)
        return self.batch([picture])[0]

    def batch(self, pictures: Sequence[Picture]) -> list[Result]:
        """One result per image, in order, in as many runs as `batches` asks for."""
        images = [read_image(picture) if isinstance(picture, (str, Path)) else picture for picture in pictures]
        step = self.batches[1] or max(1, len(images))
        results: list[Result] = []
        for start in range(0, len(images), step):
            array, placements = self.prepare(images[start : start + step])
            results += self.read(self.infer(array), placements)
        return results

    def prepare(self, images: Sequence[Image]) -> tuple[npt.NDArray[np.uint8], list[Placement]]:
        """Geometry: images as one uint8 (N, H, W, 3) array for the graph's door, and their ways home.

        N is the number of images, or the smallest that a run takes, the last image repeated. Raises ShapeError.
        """
        width, height = self.recipe.size_wh
        least, most = self.batches
        if not 1 <= len(images) <= (most or len(images)):
            raise ShapeError(f"expected 1 to {most or 'more'} images, got {len(images)}")
        array = np.empty((max(least, len(images)), height, width, 3), np.uint8)
        placements = [self.recipe.place(image, out)[1] for image, out in zip(images, array)]
        array[len(images) :] = array[len(images) - 1]
        return array, placements

    @property
    def batches(self) -> tuple[int, int | None]:
        """The smallest and the largest N that one run takes (None: any): the graph's, or the compiled engine's."""
        return self.backend.batches

    def infer(self, array: npt.NDArray[np.uint8]) -> Arrays:
        """The graph's dense answers to a prepared batch. Raises BackendError."""
        return self.backend.run({DOOR: array})

    def read(self, outputs: Arrays, placements: Sequence[Placement]) -> list[Result]:
        """Dense answers as results in source pixels, one per placement."""
        return self._task.read(outputs, placements, self.names, self.ask)

    def warm_up(self) -> None:
        """Run once on a blank image: the first run of a runtime pays for its allocations."""
        width, height = self.recipe.size_wh
        self.infer(self.prepare([np.zeros((height, width, 3), np.uint8)])[0])

    def layers(self, array: npt.NDArray[np.uint8], *, runs: int = 20) -> list[Layer]:
        """What really runs for a prepared batch, in order, with its precision and time; the graph is opened anew."""
        backend, device, options = self._how
        threads = self.runs.threads
        return layers(backend, self._graph, {DOOR: array}, device=device, threads=threads, options=options, runs=runs)

    def fork(self, *, threads: int | None = None) -> Engine:
        """An engine of its own over the same verified bytes, for another thread."""
        twin = object.__new__(Engine)
        twin.__dict__ = {**self.__dict__}
        twin._over(self.backend.fork(threads=threads))
        return twin

    def over(self, graph: bytes, artifact: Artifact, *, backend: str) -> Engine:
        """An engine of this bundle over a graph that is not in it, as `artifact` describes it: for who makes artifacts.

        Raises BackendError, BundleError, MissingDependency.
        """
        twin = object.__new__(Engine)
        how = (backend, self._how[1], dict(artifact.options) if artifact.target == backend else {})
        twin.__dict__ = {**self.__dict__, "artifact": artifact, "_graph": graph, "_how": how}
        twin._open(self.runs.threads)
        return twin

    def asking(self, ask: Ask) -> Engine:
        """This engine, wanting something else of an answer; the opened graph is shared, closing one closes both."""
        twin = object.__new__(Engine)
        twin.__dict__ = {**self.__dict__, "ask": ask}
        return twin

    def describe(self) -> dict[str, Any]:
        """What really runs, for records: model, backend, version, device, threads, precision, and what chose them."""
        told = {"model": self.bundle.manifest.name, **self.runs.to_dict(), "precision": self.artifact.name}
        return told if self.chosen is None else {**told, "chosen": self.chosen}

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Engine({self.bundle.manifest.name} {self.artifact.name}, {self.runs})"
