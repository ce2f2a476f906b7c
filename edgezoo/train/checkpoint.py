"""The state of a training between two epochs, so that what goes on from it ends where it would have ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from edgezoo.errors import WeightsError
from edgezoo.optional import require

LAST = "last.pt"
BEST = "best.safetensors"
FORMAT = 2


def save(folder: Path, state: dict[str, Any], device: torch.device) -> None:
    """`last.pt`: tensors, numbers and texts only, so that reading it runs no code."""
    whole = {**state, "format": FORMAT, "random": _random_state(device)}
    _write(folder / LAST, lambda file: torch.save(whole, file))


def load(folder: Path, device: torch.device) -> dict[str, Any]:
    """What `save` wrote; the random state is set. Raises WeightsError."""
    path = folder / LAST
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"{path}: expected the checkpoint of a training: {reason}; begin anew with another -o"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise WeightsError(f"{path}: expected a checkpoint of format {FORMAT}; begin anew with another -o")
    torch.set_rng_state(state["random"]["cpu"])
    if device.type == "cuda" and "cuda" in state["random"]:
        torch.cuda.set_rng_state(state["random"]["cuda"], device)
    return state


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A state dict as `.safetensors`, in the key layout of the network's family."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data: bytes = require("safetensors.torch").save(plain)
    write_bytes(path, data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    _write(path, lambda file: file.write(data))


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Whole or not at all, also where the power fails: to the disk under another name, then renamed."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
