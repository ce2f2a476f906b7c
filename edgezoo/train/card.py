"""The card of what was trained: `edgezoo convert OUT/card.toml` takes it as it is."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from edgezoo.cards import Card
from edgezoo.preprocess import Preprocess
from edgezoo.train.checkpoint import BEST
from edgezoo.train.data import DataSet

LABELS = "labels.txt"
METRICS = {"top1": "top-1", "map": "mAP50-95", "map50": "mAP50"}


def card_text(
    base: Card, name: str, recipe: Preprocess, data: DataSet, metrics: Mapping[str, float], *, pretrained: bool
) -> str:
    """TOML. Weights inherit the licence of those they began with; what the images ask for is their owner's to say."""
    assert base.network is not None
    started = f"; began with {base.name}: {base.licence.data}" if pretrained else ""
    plain = {
        "name": name,
        "title": f"{base.title or base.name}, fine-tuned" if pretrained else (base.title or base.name),
        "task": base.task,
        "about": f"{len(data.names)} classes, trained on {len(data.train)} images",
        "file": BEST,
        "labels": LABELS,
        "origin": base.origin,
        "paper": base.paper,
    }
    tables: dict[str, Mapping[str, Any]] = {
        "licence": {
            "code": base.licence.code,
            "weights": base.licence.weights if pretrained else "unknown",
            "data": f"images of your own, under terms of their own{started}",
        },
        "network": {"family": base.network.family, "options": dict(base.network.options)},
        "input": dataclasses.asdict(recipe),
        "decoder": {"name": base.decoder.name, **({"strides": base.decoder.strides} if base.task == "detect" else {})},
    }
    text = _rows(plain) + "".join(f"\n[{table}]\n{_rows(rows)}" for table, rows in tables.items())
    for metric, value in metrics.items():
        row = {
            "metric": METRICS[metric],
            "value": round(value, 5),
            "dataset": f"its own {len(data.val)} validation images",
            "source": "edgezoo finetune",
        }
        text += f"\n[[accuracy]]\n{_rows(row)}"
    return text


def name_of(folder: str) -> str:
    """A folder's name as a card may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("-._") or "model"


def _rows(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in values.items() if value != "")


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{name} = {_value(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers, true and false are the same in TOML
