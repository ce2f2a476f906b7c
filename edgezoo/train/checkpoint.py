"""The state of a training between two epochs, so that what goes on from it ends where it would have ended."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from edgezoo.errors import WeightsError
from edgezoo.optional import require

LAST = "last.pt"
BEST = "best.safetensors"
FORMAT = 1


def save(folder: Path, state: dict[str, Any]) -> None:
    """`last.pt`: tensors, numbers and texts only, so that reading it runs no code."""
    _write(folder / LAST, lambda file: torch.save({**state, "format": FORMAT, "random": _random_state()}, file))


def load(folder: Path) -> dict[str, Any]:
    """What `save` wrote; the random state is set. Raises WeightsError."""
    path = folder / LAST
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"{path}: expected the checkpoint of a training: {reason}; begin anew without --resume"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise WeightsError(f"{path}: expected a checkpoint of format {FORMAT}; begin anew without --resume")
    torch.set_rng_state(state["random"]["cpu"])
    if state["random"]["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    return state


def save_weights(path: Path, network: torch.nn.Module) -> None:
    """A state dict as `.safetensors`, in the key layout of the network's family."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    data: bytes = require("safetensors.torch").save(tensors)
    write_bytes(path, data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    _write(path, lambda file: file.write(data))


def _random_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Whole or not at all, also where the power fails: to the disk under another name, then renamed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
