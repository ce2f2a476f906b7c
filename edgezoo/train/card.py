"""The card of what was trained: `edgezoo convert OUT/card.toml` takes it as it is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from edgezoo import records
from edgezoo.convert.draft import card_name
from edgezoo.measure.evaluate import METRICS
from edgezoo.train.checkpoint import BEST

if TYPE_CHECKING:
    from edgezoo.train.loop import Training

LABELS = "labels.txt"
CARD = "card.toml"


def card_text(training: Training) -> str:
    """TOML, with the metrics of the best epoch.

    Weights inherit the licence of those they began with, where that is known; what the images ask for is for their
    owner to say.
    """
    base, data, best = training.card, training.data, training.best
    assert base.network is not None
    assert best is not None
    from_zoo = training.began == base.name
    began = f"; began with {training.began}" + (f": {base.licence.data}" if from_zoo else "")
    texts = {
        "name": card_name(training.folder.resolve().name),
        "title": (base.title or base.name) + (", fine-tuned" if training.began else ""),
        "task": base.task,
        "about": f"{len(data.names)} classes, trained on {len(data.train)} images",
        "file": BEST,
        "labels": LABELS,
        "origin": base.origin,
        "paper": base.paper,
    }
    decoder: dict[str, Any] = {"name": base.decoder.name}
    if base.task == "detect":
        decoder["strides"] = base.decoder.strides
    return records.to_toml(
        {
            **{name: text for name, text in texts.items() if text},
            "licence": {
                "code": base.licence.code,
                "weights": base.licence.weights if from_zoo else "unknown",
                "data": "images of your own, under terms of their own" + (began if training.began else ""),
            },
            "network": {"family": base.network.family, "options": base.network.options},
            "input": dataclasses.asdict(training.recipe),
            "decoder": decoder,
            "accuracy": [
                {
                    "metric": METRICS[name],
                    "value": round(value, 5),
                    "dataset": f"its own {len(data.val)} validation images",
                    "source": "edgezoo finetune",
                }
                for name, value in best.items()
                if name in METRICS
            ],
        }
    )
