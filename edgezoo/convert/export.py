"""From a checkpoint to a raw graph. torch lives here and in `nets`; what comes from a `.onnx` needs none of it."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgezoo.cards import Card
from edgezoo.convert.opset import read_by_all
from edgezoo.errors import CardError, ConvertError, UnknownName, WeightsError
from edgezoo.optional import require

if TYPE_CHECKING:
    import onnx
    import torch

OPSET = 18  # the oldest that torch's exporter writes

Original = Callable[[npt.NDArray[np.float32]], list[npt.NDArray[Any]]]
"""The network as its makers run it: float32 (N, 3, H, W) in, raw outputs out."""


def load_network(card: Card, weights: Path, *, key: str | None) -> tuple[torch.nn.Module, int]:
    """The card's network with the checkpoint's weights, in eval mode, and its class count.

    Raises WeightsError, CardError, UnknownName, MissingDependency.
    """
    state = read_state_dict(weights, key=key)
    classes = classes_of(card, state, weights)
    network = build_network(card, classes)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines[1:] if line), lines[0])
        raise WeightsError(f"{weights}: expected a checkpoint of {card.name}: {reason[:200]}") from None
    return network.eval(), classes


def family_of(card: Card) -> Any:
    """The file of `edgezoo/nets/` that the card's [network] names. Raises UnknownName, MissingDependency."""
    require("torch")
    assert card.network is not None
    known = sorted(path.stem for path in (Path(__file__).parents[1] / "nets").glob("[!_]*.py"))
    if card.network.family not in known:
        raise UnknownName("network family", card.network.family, known)
    return importlib.import_module(f"edgezoo.nets.{card.network.family}")


def build_network(card: Card, classes: int) -> torch.nn.Module:
    """The card's network, untrained. Raises CardError."""
    assert card.network is not None
    build = family_of(card).build
    try:
        inspect.signature(build).bind(classes=classes, **card.network.options)
        network: torch.nn.Module = build(classes=classes, **card.network.options)
    except TypeError as error:
        raise CardError(f"{card.path}: network.options: {error}; expected {inspect.signature(build)}") from None
    return network


def classes_of(card: Card, state: Mapping[str, torch.Tensor], weights: Path) -> int:
    """How many classes a checkpoint of the card's network was trained for. Raises WeightsError."""
    assert card.network is not None
    try:
        return int(family_of(card).classes_of(state))
    except KeyError as error:
        raise WeightsError(
            f"{weights}: expected a checkpoint of {card.network.family}, but it has no {error}"
        ) from None


def read_state_dict(path: Path, *, key: str | None) -> Mapping[str, torch.Tensor]:
    """Named tensors from `.safetensors`, or from a torch file without running what is in it. Raises WeightsError."""
    torch = require("torch")
    if not path.is_file():
        raise WeightsError(f"{path}: expected a checkpoint, got no such file")
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = require("safetensors.torch").load_file(path)
        else:
            with warnings.catch_warnings():  # of pickles that are refused below
                warnings.simplefilter("ignore")
                state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise
    except Exception as error:
        with path.open("rb") as file:
            bare_pickle = file.read(1) == b"\x80"
        if bare_pickle or "GLOBAL" in str(error) or "allowed global" in str(error):
            raise WeightsError(
                f"{path}: refused: it holds a pickle with more than tensors, which could run code; "
                "save its state_dict alone, or as .safetensors"
            ) from None
        raise WeightsError(
            f"{path}: expected a checkpoint (.pth of a state dict, or .safetensors), got something else"
        ) from None
    for name in [key] if key else ["model", "state_dict"]:
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items())
    ):
        raise WeightsError(f"{path}: expected named tensors{f' under {key!r}' if key else ''}, got something else")
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }


def export(network: torch.nn.Module, size_wh: tuple[int, int], *, multiple: int = 1) -> onnx.ModelProto:
    """The network as a raw graph with a free batch size, by `torch.onnx.export(dynamo=True)`. Raises ConvertError."""
    torch = require("torch")
    require("onnxscript")
    width, height = size_wh
    if width % multiple or height % multiple:
        near = tuple(max(1, round(side / multiple)) * multiple for side in size_wh)
        raise ConvertError(
            f"expected sides that are multiples of {multiple}, got {width}x{height}; try --size {near[0]}x{near[1]}"
        )
    example = torch.zeros(2, 3, height, width)
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            verbose=False,
        )
    with contextlib.suppress(ConvertError):  # what only a newer opset can say stays in that
        return read_by_all(program.model_proto)
    model: onnx.ModelProto = program.model_proto
    return model


def original(network: torch.nn.Module) -> Original:
    """The network in torch, as the reference that a conversion must agree with."""
    torch = require("torch")

    def run(tensor: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        with torch.inference_mode():
            answer = network(torch.from_numpy(tensor))
        return [part.numpy() for part in (answer if isinstance(answer, (tuple, list)) else [answer])]

    return run


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter's chatter is for its authors: warnings of missing torchvision operators, deprecations of its own."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
