"""Tensors that somebody's training code makes: read from a file, or made by their own script on the golden images."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
import types
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgezoo.bundle import Bundle
from edgezoo.errors import BundleError, RequestError, ShapeError, SinkError
from edgezoo.frame import Image, check_image
from edgezoo.measure.likeness import Likeness, explain
from edgezoo.optional import require
from edgezoo.sources.images import read_image

FUNCTION = "preprocess"
_DTYPES = ("float32", "float64", "float16", "uint8")
_MODULE = "edgezoo_reference"
_KEY = re.compile(r"image_(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A bundle's recipe against a reference."""

    bundle: str
    names: tuple[str, ...]
    """Of the images: `golden 0`, or a file's."""
    likeness: Likeness
    telling: tuple[int, ...]
    """Golden images that were not compared and would show what these left open."""
    rather: int | None = None
    """Where nothing explains the tensor of a golden image: the other one that it really belongs to."""

    @property
    def ok(self) -> bool:
        return self.likeness.same

    def to_dict(self) -> dict[str, Any]:
        told = self.likeness.to_dict()
        images = [{"name": name, **apart} for name, apart in zip(self.names, told["images"])]
        return {
            "ok": self.ok,
            "bundle": self.bundle,
            **told,
            "images": images,
            "told_apart_by": list(self.telling),
            "rather": self.rather,
        }


def compare(
    bundle: Bundle | str | Path, reference: str | Path, *, golden: int | None = None, image: str | Path | None = None
) -> Compared:
    """Hold what a bundle's recipe makes of images against `reference`, and name what is different.

    `reference`: one tensor (`.npy`), some under `image_0`, `image_1`, … (`.npz`), or a script (`.py`) that defines
    `preprocess(image)`, BGR uint8 (H, W, 3) to a tensor. A script is run, in this process. `golden`: only this golden
    image; None: number 0 for one tensor, else all that there are. `image`: a file, instead of the golden ones.

    Raises RequestError, ShapeError, SourceError, BundleError.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    path = Path(reference)
    if path.suffix not in (".npy", ".npz", ".py"):
        cure = "try np.save('reference.npy', tensor)"
        raise RequestError(f"expected a tensor (.npy, .npz) or a script (.py), got {str(path)!r}; {cure}")
    if not path.is_file():
        raise RequestError(f"expected a tensor (.npy, .npz) or a script (.py), found no file at {path}")
    goldens = golden_images(bundle)
    if golden is not None and not 0 <= golden < len(goldens):
        raise RequestError(f"expected a golden image of 0..{len(goldens) - 1}, got {golden}")
    images = dict(enumerate(goldens)) if golden is None else {golden: goldens[golden]}
    if image is not None:
        images = {-1: read_image(image)}
    if path.suffix == ".py":
        tensors = dict(zip(images, run_script(path, list(images.values()))))
    else:
        tensors = _of_images(path, read_tensors(path), list(images), chosen=golden is not None or image is not None)
    for tensor in tensors.values():
        _check(path, tensor)
    try:
        likeness = explain(bundle.manifest.input, [images[k] for k in tensors], list(tensors.values()))
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from None
    told = tuple(k for k in likeness.told_apart_by(goldens) if k not in tensors)
    names = tuple(f"golden {k}" if k >= 0 else str(image) for k in tensors)
    rather = None
    if not likeness.explanations and len(tensors) == 1:
        (tensor,) = tensors.values()
        others = [k for k in range(len(goldens)) if k not in tensors]
        rather = next((k for k in others if explain(bundle.manifest.input, [goldens[k]], [tensor]).explanations), None)
    return Compared(bundle=bundle.manifest.name, names=names, likeness=likeness, telling=told, rather=rather)


def golden_images(bundle: Bundle) -> list[Image]:
    """The images that a bundle came with, BGR. Raises BundleError."""
    arrays = bundle.read_golden()
    try:
        images = [check_image(arrays[f"image_{k}"]) for k in range(len(arrays)) if f"image_{k}" in arrays]
    except ShapeError as error:
        raise BundleError(f"{bundle.folder}: a golden image is none: {error}; convert again") from None
    if not images:
        raise BundleError(f"{bundle.folder}: expected golden images, got none; convert again")
    return images


def write_golden_images(bundle: Bundle | str | Path, folder: str | Path) -> list[Path]:
    """`golden_0.png`, … in `folder`, for training code to read; PNG keeps every pixel.

    Raises BundleError, RequestError: another picture of that name is there, SinkError.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    cv2, folder, written = require("cv2"), Path(folder), []
    try:
        folder.mkdir(exist_ok=True)
        for k, image in enumerate(golden_images(bundle)):
            path = folder / f"golden_{k}.png"
            data = cv2.imencode(".png", image)[1].tobytes()
            if path.exists() and not np.array_equal(read_image(path), image):
                raise RequestError(f"{path}: is there already and is another picture; choose another folder")
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(data)
            os.replace(part, path)
            written.append(path)
    except OSError as error:
        reason = error.strerror or error
        raise SinkError(f"expected to write golden images into {str(folder)!r}, got: {reason}; try another") from None
    return written


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz` by name, or the one of an `.npy` under no name. Raises RequestError."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error):
        raise RequestError(
            f"{path}: expected what np.save or np.savez writes of numbers, got something else; "
            "pickled objects are refused; try np.save(path, np.asarray(tensor, 'float32'))"
        ) from None


def _of_images(
    path: Path, arrays: dict[str, npt.NDArray[Any]], known: Sequence[int], *, chosen: bool
) -> dict[int, npt.NDArray[Any]]:
    """Which tensor belongs to which image; `chosen`: `known` is the one that was asked for."""
    keys = {name: _KEY.fullmatch(name) for name in arrays}
    if len(arrays) == 1 and (chosen or not all(keys.values())):
        return {known[0]: next(iter(arrays.values()))}
    numbered = {int(key[1]): arrays[name] for name, key in keys.items() if key}
    if chosen and known[0] in numbered:
        return {known[0]: numbered[known[0]]}
    if chosen or len(numbered) != len(arrays) or not numbered or not set(numbered) <= set(known):
        wanted = f"image_{known[0]}" if chosen and known[0] >= 0 else f"image_0 to image_{max(known)}"
        wanted = "one tensor" if known == [-1] else f"one tensor, or tensors named {wanted}"
        raise RequestError(f"{path}: expected {wanted}; got {', '.join(arrays)[:80] or 'none'}")
    return dict(sorted(numbered.items()))


def _check(path: Path, tensor: npt.NDArray[Any]) -> None:
    if tensor.dtype.name not in _DTYPES:
        raise RequestError(
            f"{path}: expected a tensor of {', '.join(_DTYPES)}, got {tensor.dtype}; try tensor.astype('float32')"
        )
    wrong = tensor.size - np.count_nonzero(np.isfinite(tensor))
    if wrong:
        raise RequestError(f"{path}: expected finite numbers, got {wrong} of {tensor.size} that are NaN or infinite")


def run_script(path: Path, images: Sequence[Image]) -> list[npt.NDArray[Any]]:
    """What a script's `preprocess` makes of each image. Its prints go to stderr. Raises RequestError."""
    with _at_home(path), contextlib.redirect_stdout(sys.stderr):
        with _blaming(path):
            module = types.ModuleType(_MODULE)
            module.__file__ = str(path)
            sys.modules[_MODULE] = module  # dataclasses look there
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        function: Callable[[Image], Any] | None = getattr(module, FUNCTION, None)
        if not callable(function):
            raise RequestError(
                f"{path}: expected a function {FUNCTION}(image), which takes BGR uint8 (H, W, 3) and returns the "
                "tensor that your network sees; found none"
            )
        with _blaming(path):
            return [_array(function(image.copy())) for image in images]


def _array(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):  # torch's
        value = value.detach().cpu()
    return np.asarray(value)


@contextlib.contextmanager
def _at_home(path: Path) -> Iterator[None]:
    """As `python SCRIPT` would have it: what lies beside the script can be imported."""
    sys.path.insert(0, home := str(path.resolve().parent))
    try:
        yield
    finally:
        sys.modules.pop(_MODULE, None)
        with contextlib.suppress(ValueError):
            sys.path.remove(home)


@contextlib.contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """What the script raises, as one line with its place."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        place = f"{path}, line {lines[-1]}" if lines else str(path)
        said = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
        raise RequestError(f"{place}: {type(error).__name__}: {said[:300]}") from error
