"""The search for layers to leave in float: which, in what order, when it stops, and what it tells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import fragile
import numpy as np
import onnx
import pytest

from edgezoo import graphs
from edgezoo.backends import open_backend
from edgezoo.convert import convert
from edgezoo.reduce.int8 import TARGETS, tensors
from edgezoo.reduce.int8.calibrate import calibrate
from edgezoo.reduce.regions import plain
from edgezoo.reduce.search import MARGIN, Search, Subject, Trial, harm, run_each, search

pytest.importorskip("cv2", reason="scenes are made with OpenCV")
pytest.importorskip("onnxruntime", reason="graphs are run")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., onnx.ModelProto]:
    """The graph of a bundle, whose layer `fragile` does not survive INT8, or does where the factor is 1."""
    made: dict[float, onnx.ModelProto] = {}

    def make(factor: float = 1000.0) -> onnx.ModelProto:
        if factor not in made:
            folder = tmp_path_factory.mktemp("classifier")
            bundle = convert(fragile.card(folder / "card", "classifier", fragile=factor), folder / "bundle")
            made[factor] = plain(graphs.parse(bundle.read_graph(bundle.artifact())))
        return made[factor]

    return make


def subject(model: onnx.ModelProto, target: str, *methods: str) -> Subject:
    ranges = calibrate(model, fragile.bright(12), tensors(model), method=methods or ("minmax",))
    return Subject(model, target, ranges, fragile.bright(8))


def quiet(text: str, done: int, total: int) -> None:
    pass


# Real graphs.


@pytest.mark.parametrize("target", TARGETS)
def test_the_one_layer_that_ruins_the_answers_is_freed_and_no_other(
    classifier: Callable[..., onnx.ModelProto], target: str
) -> None:
    network, found = subject(classifier(), target), Search()
    candidate = next(search(network, found, drop_of=fragile.wrong, max_drop=1.0, minutes=1.0, tell=quiet))
    assert candidate.floats == ("fragile",)
    assert [(trial.floats, trial.drop) for trial in found.trials] == [((), pytest.approx(200 / 3)), (("fragile",), 0)]
    assert found.candidates == [candidate]
    assert not found.out_of_time
    assert list(found.harms) == network.layers
    assert network.layers == ([*fragile.LAYERS[1:-1]] if target == "tensorrt" else fragile.LAYERS)  # thin ones: never
    assert found.layers == len(network.layers)
    assert found.harms["fragile"] == pytest.approx(2 / 3)
    assert all(value < 1e-3 for layer, value in found.harms.items() if layer != "fragile")
    integers = {tensor.data_type for tensor in graphs.parse(network.graph("minmax", ["fragile"])).graph.initializer}
    assert onnx.TensorProto.INT8 in integers


def test_nothing_is_freed_where_nothing_needs_to_be(classifier: Callable[..., onnx.ModelProto]) -> None:
    network, found = subject(classifier(1.0), "openvino"), Search()
    candidate = next(search(network, found, drop_of=fragile.wrong, max_drop=1.0, minutes=1.0, tell=quiet))
    assert (candidate.floats, found.trials, found.harms) == ((), [candidate], {})


def test_the_gentlest_method_is_taken(classifier: Callable[..., onnx.ModelProto]) -> None:
    network = subject(classifier(1.0), "openvino", "minmax", "percentile")
    low, high = network.ranges["minmax"][name := next(iter(network.ranges["minmax"]))]
    network.ranges = {"narrow": {**network.ranges["minmax"], name: (low, high / 10)}, **network.ranges}
    harms = {method: network.harm(method, ()) for method in network.ranges}
    assert harms["narrow"] > 10 * harms["minmax"]
    best, least = network.gentlest(())
    assert best != "narrow"
    assert least == min(harms.values())


def test_a_layer_by_itself_may_be_read_and_edited_by_its_name(classifier: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(KeyError):
        subject(classifier(), "openvino").graph("minmax", ["nothing of that name"])


# What it does with the numbers: a network in name only, whose time and drops are made up.


class Fake:
    """Layers a, b, c, …: the harm of each, and what time it takes to see it."""

    def __init__(self, harms: dict[str, float], *, seconds: float = 0.0, try_seconds: float | None = None) -> None:
        self.alone, self.seconds = harms, seconds
        self.try_seconds = seconds if try_seconds is None else try_seconds
        self.now = 100.0
        self.ranges = {"one": {}, "two": {}}
        self.asked: list[list[str]] = []

    @property
    def layers(self) -> list[str]:
        return [*self.alone]

    def harm(self, method: str, floats: Sequence[str]) -> float:
        self.now += self.seconds
        (layer,) = set(self.alone) - set(floats)
        self.asked.append([layer])
        return self.alone[layer]

    def gentlest(self, floats: Sequence[str]) -> tuple[str, float]:
        self.now += self.try_seconds
        return "two", sum(value for layer, value in self.alone.items() if layer not in floats)

    def graph(self, method: str, floats: Sequence[str]) -> bytes:
        assert method == "two"
        return json.dumps([*floats]).encode()


def searched(
    network: Any, drop_of: Callable[[list[str]], float], *, minutes: float = 1.0, looks: int = 3, tell: Any = quiet
) -> Search:
    found = Search()
    trials = search(
        network,
        found,
        drop_of=lambda graph: drop_of(json.loads(graph)),
        max_drop=2.0,
        minutes=minutes,
        tell=tell,
        clock=lambda: network.now,
    )
    assert list(islice(trials, looks)) == found.candidates
    return found


def counts(trials: list[Trial]) -> list[int]:
    return [len(trial.floats) for trial in trials]


def test_the_worst_come_first_and_equals_in_the_order_of_the_graph() -> None:
    found = searched(Fake({"a": 0.1, "b": 0.5, "c": 0.1, "d": math.inf}), lambda floats: 9.0 - len(floats))
    assert [trial.floats for trial in found.trials] == [(), ("d",), ("d", "b"), ("d", "b", "a")]
    assert counts(found.candidates) == [3]  # the nearest


@pytest.mark.parametrize(
    ("needed", "looks", "tried", "candidates"),
    [
        (0, 1, [0], [0]),
        (0, 3, [0, 3, 6], [0, 3, 6]),  # the gate saw more than the calibration images
        (1, 1, [0, 1], [1]),
        (3, 1, [0, 1, 2, 3], [3]),
        (3, 3, [0, 1, 2, 3, 6, 12], [3, 6, 12]),
        (5, 2, [0, 1, 2, 3, 4, 6, 12], [6, 12]),
        (15, 3, [0, 1, 2, 3, 4, 6, 8, 12, 16], [16]),  # there is none of twice as many
        (20, 3, [0, 1, 2, 3, 4, 6, 8, 12, 16], [16]),  # never are all in float: the nearest
    ],
)
def test_it_stops_where_the_budget_holds(needed: int, looks: int, tried: list[int], candidates: list[int]) -> None:
    network = Fake({f"layer {k}": 1 / (1 + k) for k in range(20)})
    found = searched(network, lambda floats: 1.0 if len(floats) >= needed else 50.0 - len(floats), looks=looks)
    assert counts(found.trials) == tried
    assert counts(found.candidates) == candidates
    assert not found.out_of_time


def test_what_must_hold_is_half_the_budget_since_these_images_flatter() -> None:
    drops = {0: 2.0 * MARGIN + 0.001, 1: 2.0 * MARGIN}
    found = searched(Fake({"a": 0.2, "b": 0.3}), lambda floats: drops[len(floats)], looks=1)
    assert found.candidates == [Trial(method="two", floats=("b",), harm=0.2, drop=1.0)]


def test_without_minutes_there_is_no_search() -> None:
    network = Fake({"a": 0.2, "b": 0.3})
    found = searched(network, lambda floats: 60.0, minutes=0.0)
    assert (counts(found.trials), counts(found.candidates), found.harms, network.asked) == ([0], [0], {}, [])
    assert not found.out_of_time


def test_a_network_of_one_layer_is_not_freed_of_it() -> None:
    found = searched(Fake({"a": 0.2}), lambda floats: 60.0)
    assert (counts(found.trials), counts(found.candidates)) == ([0], [0])


@pytest.mark.parametrize("strange", [math.nan, math.inf, -math.inf])
def test_a_drop_that_is_no_number_is_the_worst_of_all(strange: float) -> None:
    drops = {0: strange, 1: 80.0, 2: strange, 3: 90.0}
    found = searched(Fake(dict.fromkeys("abcde", 0.1)), lambda floats: drops.get(len(floats), strange))
    assert [trial.drop for trial in found.trials] == [math.inf, 80.0, math.inf, 90.0, math.inf]
    assert counts(found.candidates) == [1]


def test_where_no_drop_is_a_number_the_gate_still_hears_why() -> None:
    found = searched(Fake({"a": math.inf, "b": math.inf}), lambda floats: math.nan)
    assert found.candidates == [Trial(method="two", floats=(), harm=math.inf, drop=math.inf)]
    assert found.candidates[0].to_dict() == {"method": "two", "floats": 0}


# Time.


def test_past_its_minutes_nothing_new_begins() -> None:
    network = Fake(dict.fromkeys(map(str, range(40)), 0.1), seconds=1.0)
    found = searched(network, lambda floats: 50.0)
    # 60 seconds: one for all in INT8, harms until 36, the rest for trying.
    assert len(found.harms) == 36
    assert found.out_of_time
    assert counts(found.trials) == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert found.seconds == 47.0


def test_layers_that_time_does_not_suffice_for_come_last() -> None:
    harms = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3, "e": 0.9, "f": 0.8, "g": 0.7}
    found = searched(Fake(harms, seconds=10.0, try_seconds=0.0), lambda floats: 50.0)
    assert found.harms == {layer: harms[layer] for layer in "abcd"}  # what begins in 0.6 of 60 s is ended
    assert found.trials[-1].floats == ("c", "d", "b", "a", "e", "f")
    assert found.out_of_time


def test_a_search_that_is_late_from_the_start_gives_what_it_has() -> None:
    network = Fake({"a": 0.2, "b": 0.3}, seconds=1000.0)
    found = searched(network, lambda floats: 50.0)
    assert (counts(found.trials), counts(found.candidates), found.harms) == ([0], [0], {})
    assert found.out_of_time


def test_the_time_that_the_gate_takes_is_not_the_search_s() -> None:
    network, found = Fake(dict.fromkeys("abcdefgh", 0.1), seconds=1.0), Search()
    trials = search(
        network,  # type: ignore[arg-type]
        found,
        drop_of=lambda graph: 0.0,
        max_drop=2.0,
        minutes=1.0,
        tell=quiet,
        clock=lambda: network.now,
    )
    for _ in range(3):
        next(trials)
        network.now += 1000
    assert counts(found.candidates) == [0, 3, 6]
    assert found.seconds == 1 + 8 + 2
    assert not found.out_of_time


def test_what_it_tells() -> None:
    told: list[tuple[str, int, int]] = []
    network = Fake({"a": 0.2, "b": 0.3, "c": 0.1})
    searched(network, lambda floats: 50.0, tell=lambda *each: told.append(each))
    assert told == [
        ("all layers in INT8", 0, 0),
        *(("measuring the harm of each layer", k, 3) for k in range(3)),
        ("leaving 1 of 3 layers in float", 0, 0),
        ("leaving 2 of 3 layers in float", 0, 0),
    ]


# Harm.

SCORES = np.array([[[0.5, 0.0], [0.0, 0.0]]])
BOXES = np.array([[[0.0, 0, 10, 20], [0, 0, 10, 20]]])


@pytest.mark.parametrize(
    ("scores", "boxes", "expected"),
    [
        (SCORES, BOXES, 0.0),
        (SCORES * 0, BOXES, 1.0),
        (np.add(SCORES, [[[0, 0.5], [0, 0]]]), BOXES, 1.0),
        (
            SCORES,
            np.add(BOXES, [[[0.4, 0, 0, 0], [0, 0, 0, 0]]]),
            0.4**2 / 4,
        ),  # two of the five hundredths of the longer side that lose a box, at one of four sides
        (SCORES, np.add(BOXES, [[[0, 0, 0, 0], [99, 99, 99, 99]]]), 0.0),  # nothing is found there
        (SCORES, BOXES + 1000, 1.0),  # no box is worse than a lost one
        (SCORES * np.nan, BOXES, math.inf),
        (SCORES, BOXES * np.nan, math.inf),
    ],
)
def test_harm(scores: Any, boxes: Any, expected: float) -> None:
    reference = {"scores": SCORES, "boxes": BOXES}
    with np.errstate(invalid="ignore"):
        assert harm(reference, {"scores": scores, "boxes": boxes}) == pytest.approx(expected)
        if (boxes == BOXES).all():
            assert harm({"scores": SCORES}, {"scores": scores}) == pytest.approx(expected)


def test_harm_to_a_network_that_finds_nothing() -> None:
    assert harm({"scores": SCORES * 0}, {"scores": SCORES * 0}) == 0
    assert 1e6 < harm({"scores": SCORES * 0}, {"scores": SCORES}) < math.inf


def test_a_fixed_batch_is_asked_image_by_image(tmp_path: Path) -> None:
    fixed = convert(fragile.card(tmp_path / "card", "classifier", batch=2), tmp_path / "fixed", batch=2)
    free = convert(fragile.card(tmp_path / "card", "classifier"), tmp_path / "free")
    answers = []
    for bundle in (fixed, free):
        backend = open_backend("onnxruntime", bundle.read_graph(bundle.artifact()))
        answers.append(run_each(backend, fragile.bright(5))["scores"])
        backend.close()
    assert answers[0].shape == (5, 3)
    np.testing.assert_allclose(*answers, rtol=1e-5)
