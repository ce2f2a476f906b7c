"""Which images validate, where a set does not say it itself."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from edgezoo.train.check import Seen
from edgezoo.train.listing import Side


def split(seen: Sequence[Seen], *, task: str, share: float, seed: int) -> list[Side]:
    """The side of each: about `share` of every class (detect: of the images with objects, and of those without).

    Copies stay together, and no class loses its last image, or its last box, to validation. The draw depends on the
    seed and the images' bytes alone, neither on names nor on the order of files.
    """
    copies: defaultdict[bytes, list[int]] = defaultdict(list)
    for k, one in enumerate(seen):
        copies[one.content].append(k)
    groups = sorted(copies.values(), key=lambda group: _draw(seen[group[0]], seed))
    strata: defaultdict[int, list[list[int]]] = defaultdict(list)
    for group in groups:
        ids = taught(seen[group[0]])
        strata[ids[0] if task == "classify" else bool(ids)].append(group)
    left = Counter(class_id for group in groups for class_id in set(taught(seen[group[0]])))
    sides: list[Side] = ["train"] * len(seen)
    for stratum in strata.values():
        wanted = max(1, round(share * sum(map(len, stratum))))
        for group in stratum:
            shown = set(taught(seen[group[0]]))
            if wanted > 0 and all(left[class_id] > 1 for class_id in shown):
                left.subtract(shown)
                wanted -= len(group)
                for k in group:
                    sides[k] = "val"
    return sides


def taught(one: Seen) -> list[int]:
    """The class of every box, or of the image; crowds aside."""
    ids: list[int] = one.item.class_ids[~one.item.crowd].tolist()
    return ids


def _draw(one: Seen, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} ".encode() + one.content).digest()
