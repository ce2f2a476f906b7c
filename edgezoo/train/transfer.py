"""From one set of classes to another: what a network keeps, what begins anew, what learns and how fast."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgezoo.cards import Card
from edgezoo.convert.export import build_network, classes_of, read_state_dict
from edgezoo.errors import RequestError, WeightsError
from edgezoo.train.plan import Plan
from edgezoo.weights import Progress, fetch


@dataclass(eq=False)
class Learner:
    """A network in training, and which of it is head and which body."""

    network: nn.Module
    heads: frozenset[str]
    """First words of the names of what depends on the classes: `head` of YOLOX, `classifier` of MobileNets."""
    kept: int
    """Tensors that came from the checkpoint; 0: it learns from nothing."""

    def in_head(self, name: str) -> bool:
        return name.partition(".")[0] in self.heads

    def get_ready(self, plan: Plan, epoch: int) -> None:
        """Set what learns in this epoch, and which batch norms count."""
        frozen = epoch < plan.frozen_epochs
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not frozen or self.in_head(name))
        self.network.train()
        for name, module in self.network.named_modules():
            if isinstance(module, _BatchNorm) and (not plan.batchnorm or (frozen and not self.in_head(name))):
                module.eval()

    def optimizer(self, plan: Plan) -> torch.optim.AdamW:
        """AdamW over four groups: head and body, with and without decay; `share` is a group's part of the rate."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            groups.setdefault((self.in_head(name), parameter.ndim > 1), []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "share": 1.0 if head else plan.body,
                    "weight_decay": plan.weight_decay if decays else 0.0,
                }
                for (head, decays), parameters in groups.items()
            ],
            lr=plan.lr,
        )


class Average:
    """The exponential moving average of a network's weights, young at first: its past grows with its steps."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.steps = 0
        self._keep = keep

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        keep = min(self._keep, (1 + self.steps) / (10 + self.steps))
        for mine, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(new, 1 - keep)
            else:
                mine.copy_(new)


def find_weights(
    card: Card, weights: Path | None, *, progress: Progress | None, step: Callable[[str], None]
) -> tuple[Mapping[str, Tensor], str]:
    """What to begin with, and its name: the checkpoint given, the one beside the card, or the official one.

    Raises RequestError, WeightsError.
    """
    if weights is not None:
        return read_state_dict(weights, key=None), weights.name
    if card.file is not None and not card.has_graph:
        return read_state_dict(card.beside("file", card.file), key=None), card.name
    if card.weights is None:
        raise RequestError(
            f"{card.name}: its card names no checkpoint to start from; give one with --weights, or --scratch"
        )
    step(f"fetching {card.weights.name}")
    return read_state_dict(fetch(card.weights, progress=progress), key=card.weights.key), card.name


def prepare(card: Card, names: tuple[str, ...], state: Mapping[str, Tensor] | None) -> Learner:
    """The card's network for the classes `names`, with all of `state` that does not depend on classes.

    The layers that tell the classes apart begin anew, unless the card knows the very same classes.
    Raises WeightsError: `state` is of another network.
    """
    network = build_network(card, len(names))
    mine, other = network.state_dict(), build_network(card, len(names) + 1).state_dict()
    of_classes = {name for name, value in mine.items() if value.shape != other[name].shape}
    heads = frozenset(name.partition(".")[0] for name in of_classes)
    if state is None:
        return Learner(network, heads, 0)
    same = names == card.label_names and classes_of(card, state, Path(card.name)) == len(names)
    taken = {name: value for name, value in state.items() if same or name not in of_classes}
    strange = [name for name in taken if name not in mine or taken[name].shape != mine[name].shape]
    if missing := [name for name in mine if name not in taken and not (name in of_classes and not same)]:
        raise WeightsError(f"expected a checkpoint of {card.name}, but it has no {missing[0]}")
    if strange:
        raise WeightsError(f"expected a checkpoint of {card.name}, but its {strange[0]} is none of its tensors")
    network.load_state_dict({**mine, **taken})
    return Learner(network, heads, len(taken))


def to_device(learner: Learner, device: torch.device) -> None:
    """Move, in the layout in which narrow and depthwise convolutions are fastest on CPUs and on tensor cores."""
    module: Any = learner.network
    module.to(device=device, memory_format=torch.channels_last)
