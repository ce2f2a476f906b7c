"""Ranges from images: exact where they can be, the same in any order, and no more memory for more images."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import numpy as np
import onnx
import pytest
from graphs import Net
from onnx import TensorProto, helper

from edgezoo.errors import ConvertError
from edgezoo.frame import Image
from edgezoo.reduce.int8 import calibrate as room
from edgezoo.reduce.int8 import histogram
from edgezoo.reduce.int8.calibrate import METHODS, calibrate
from edgezoo.reduce.int8.histogram import SIDE, Histogram, divergence

SIZE = 8


def graph(*, batch: int | str = "N") -> onnx.ModelProto:
    """A door, and tensors of all kinds behind it."""
    net = Net()
    pixels = net.add("Transpose", net.add("Cast", "images", to=TensorProto.FLOAT), perm=[0, 3, 1, 2], out="pixels")
    shifted = net.add("Sub", pixels, net.constant(100), out="shifted")
    net.add("Relu", shifted, out="positive")
    net.add("Sqrt", shifted, out="nan")
    net.add("Log", pixels, out="infinite")
    net.add("Cast", pixels, to=TensorProto.INT32, out="whole")
    net.add("Mul", pixels, net.constant(0), out="zero")
    net.add("Add", "zero", net.constant(5), out="five")
    net.add("ReduceMean", shifted, axes=[1, 2, 3], keepdims=0, out="mean")
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, SIZE, SIZE, 3])
    answer = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [batch])
    made = helper.make_graph(net.nodes, "tiny", [images], [answer], net.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(*ends: tuple[int, int]) -> list[Image]:
    """Noise, of which the lowest and the highest pixel are known."""
    found = []
    for seed, (low, high) in enumerate(ends):
        image = np.random.default_rng(seed).integers(low, high + 1, (SIZE, SIZE, 3)).astype(np.uint8)
        image.flat[:2] = low, high
        found.append(image)
    return found


IMAGES = pictures((90, 110), (20, 200), (100, 105))


def test_the_lowest_and_the_highest_and_the_mean_of_these_are_exact() -> None:
    names = ["shifted", "positive", "zero", "five", "pixels"]
    found = calibrate(graph(), IMAGES, names, method=["minmax", "average"])
    assert found["minmax"] == {
        "shifted": (-80, 100),
        "positive": (0, 100),
        "zero": (0, 0),
        "five": (5, 5),
        "pixels": (20, 200),
    }
    assert found["average"]["shifted"] == pytest.approx(((-10 - 80 + 0) / 3, (10 + 100 + 5) / 3), abs=1e-12)
    assert found["average"]["positive"] == pytest.approx((0, (10 + 100 + 5) / 3), abs=1e-12)


def test_the_lowest_and_the_highest_are_those_of_onnx_runtimes_own_calibrater(tmp_path: Path) -> None:
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    model = graph()
    kept = [node for node in model.graph.node if node.output[0] not in ("nan", "infinite")]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, tmp_path / "model.onnx")
    theirs = MinMaxCalibrater(tmp_path / "model.onnx", augmented_model_path=str(tmp_path / "augmented.onnx"))
    theirs.augment_graph()
    theirs.create_inference_session()
    for image in IMAGES:
        theirs.collect_data(room._One({"images": image[None]}))
    expected = {name: (data.lowest.item(), data.highest.item()) for name, data in theirs.compute_data().items()}
    assert {"pixels", "shifted", "positive"} < set(expected)
    assert calibrate(model, IMAGES, list(expected), method="minmax")["minmax"] == expected


@pytest.mark.parametrize("method", METHODS)
def test_any_order_of_images_gives_the_same(method: str) -> None:
    names = ["shifted", "positive", "mean", "zero"]
    images = pictures(*[(100 - k, 100 + k * k) for k in range(1, 12)])  # ever wider: the bins double often
    found = [
        calibrate(graph(), order, names, method=method)[method]
        for order in (images, images[::-1], images[1::2] + images[::2])
    ]
    for each in found[1:]:
        for name in names:
            assert each[name] == pytest.approx(found[0][name], abs=0 if method != "average" else 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_no_range_is_wider_than_what_came(method: str) -> None:
    found = calibrate(graph(), IMAGES, ["shifted", "positive", "zero", "five", "mean"], method=method)[method]
    widest = calibrate(graph(), IMAGES, list(found), method="minmax")["minmax"]
    for name, (low, high) in found.items():
        assert widest[name][0] <= low <= high <= widest[name][1]
    assert found["zero"] == (0, 0)
    assert found["five"] == (5, 5)


def test_a_fixed_batch_is_filled_with_the_image() -> None:
    free, fixed = (calibrate(graph(batch=batch), IMAGES, ["shifted"], method=METHODS) for batch in ("N", 3))
    assert free == fixed


def test_progress_hears_of_every_image() -> None:
    for images, count, total in ((IMAGES, None, 3), (iter(IMAGES), 3, 3), (iter(IMAGES), None, 0)):
        heard = Mock()
        calibrate(graph(), images, ["shifted"], method="minmax", count=count, progress=heard)
        assert heard.call_args_list == [call(1, total), call(2, total), call(3, total)]


def test_neither_the_graph_nor_the_folder_for_temporary_files_shows_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = graph()
    before = model.SerializeToString(deterministic=True)
    calibrate(model, IMAGES, ["shifted"], method="entropy")
    with pytest.raises(ConvertError):
        calibrate(model, IMAGES, ["nan"], method="entropy")
    assert model.SerializeToString(deterministic=True) == before
    assert list(tmp_path.iterdir()) == []


# Memory.


def test_of_an_image_nothing_is_kept_but_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier: list[weakref.ref[Any]] = []
    collect = room._Collector.collect

    def watched(self: room._Collector, values: dict[str, list[Any]]) -> None:
        assert sum(each() is not None for each in earlier) <= 1  # the image that is calibrated with now
        earlier.extend(weakref.ref(value) for (value,) in values.values())
        collect(self, values)

    def made() -> Iterator[Image]:
        for _ in range(20):
            image = IMAGES[1].copy()
            earlier.append(weakref.ref(image))
            yield image

    monkeypatch.setattr(room._Collector, "collect", watched)
    calibrate(graph(), made(), ["shifted", "positive"], method=METHODS)
    assert len(earlier) == 60


def test_counts_take_as_much_whatever_comes() -> None:
    counted = Histogram()
    for size in (0.0, 1e-30, 1.0, 3.0, 1e30, 1e-3):
        counted.add(np.full(10, size, np.float32), size)
    assert counted.counts.shape == (2 * SIDE,)
    assert counted.counts.sum() == 60


# Counting.


def counts_of(values: Any) -> Histogram:
    found = Histogram()
    array = np.asarray(values, np.float32)
    found.add(array, float(np.abs(array).max()))
    return found


@pytest.mark.parametrize(
    "sizes", [(1, 2, 3), (1e-3, 1, 1e3), (1e-9, 1e9, 1), (0, 1e-25, 5), (7, 0, 0.9), (2**-40, 2**-20, 1)]
)
def test_parts_that_are_counted_one_by_one_are_counted_as_all_at_once(sizes: Sequence[float]) -> None:
    random = np.random.default_rng(1)
    parts = [(random.normal(size=70_000) * size).astype(np.float32) for size in sizes]
    whole = counts_of(np.concatenate(parts))
    for order in (parts, parts[::-1]):
        merged = Histogram()
        for part in order:
            merged.add(part, float(np.abs(part).max()))
        assert merged.width == whole.width
        np.testing.assert_array_equal(merged.counts, whole.counts)
    reach = SIDE * whole.width
    expected, _ = np.histogram(np.concatenate(parts).astype(np.float64), 2 * SIDE, range=(-reach, reach))
    np.testing.assert_array_equal(whole.counts, expected)


def test_a_percentile_is_found_to_a_bin() -> None:
    values = np.random.default_rng(2).laplace(size=300_000).astype(np.float32)
    counted = counts_of(values)
    for percent in (90.0, 99.0, 99.99):
        low, high = counted.percentile(percent)
        expected = np.percentile(values, [(100 - percent) / 2, (100 + percent) / 2])
        assert low <= expected[0] < low + 2 * counted.width
        assert high >= expected[1] > high - 2 * counted.width
    low, high = counted.percentile(100)
    assert low <= values.min() < low + counted.width
    assert high >= values.max() >= high - counted.width


@pytest.mark.parametrize(("first", "last", "levels"), [(0, 64, 16), (10, 50, 16), (20, 45, 7), (31, 33, 16)])
def test_the_divergence_is_the_one_that_its_definition_says(first: int, last: int, levels: int) -> None:
    counts = np.random.default_rng(3).integers(0, 9, 64)
    levels_here = min(levels, last - first)
    real = [float(count) for count in counts[first:last]]
    real[0] += sum(counts[:first])
    real[-1] += sum(counts[last:])
    steps = [0.0] * len(real)
    for level in range(levels_here):
        start, end = level * len(real) // levels_here, (level + 1) * len(real) // levels_here
        filled = [k for k in range(start, end) if real[k]]
        for k in filled:
            steps[k] = sum(counts[first + start : first + end]) / len(filled)
    parts = [
        p / sum(real) * math.log((p / sum(real)) / max(q / sum(steps), 1e-4 / np.count_nonzero(real)))
        for p, q in zip(real, steps)
        if p
    ]
    assert divergence(counts, first, last, levels) == pytest.approx(sum(parts), rel=1e-9)


def test_entropy_ends_where_onnx_runtimes_own_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides of zero, where its grid is the one that will be used; with fewer bins, as it takes seconds."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    monkeypatch.setattr(histogram, "SIDE", 256)
    values = np.concatenate([np.random.default_rng(4).normal(size=100_000), [-25, 30]]).astype(np.float32)
    counted = counts_of(values)
    edges = (np.arange(-256, 257) * counted.width).astype(np.float32)
    theirs = HistogramCollector("entropy", False, 512, 64, 99.99, "same")
    expected = theirs.get_entropy_threshold((counted.counts, edges, values.min(), values.max()), 64)
    assert counted.entropy(64) == pytest.approx([float(end) for end in expected], rel=0.1)
    assert counted.entropy(64)[1] < 6


def test_entropy_leaves_nothing_out_of_what_is_even() -> None:
    assert counts_of(np.linspace(-1, 1, 100_000)).entropy() == pytest.approx((-1, 1), abs=0.01)


def test_how_often_zero_comes_does_not_move_the_end() -> None:
    values = np.abs(np.random.default_rng(5).normal(size=50_000))
    alone = counts_of(values).entropy()
    assert alone[0] == 0
    assert counts_of(np.concatenate([values, np.zeros(200_000)])).entropy() == alone


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [-5.0], [1.0, -2.0], [1e-20]])
def test_few_values_keep_their_ends(values: list[float]) -> None:
    for low, high in (counts_of(values).entropy(), counts_of(values).percentile(99.99)):
        assert low <= min(values)
        assert high >= max(values)


# What is refused.


@pytest.mark.parametrize(
    ("names", "images", "method", "says"),
    [
        (["shifted"], IMAGES, "mean", "expected methods out of error, average, percentile, entropy, minmax, got mean"),
        (["shifted"], IMAGES, [], "got none"),
        ([], IMAGES, "minmax", "expected tensors to find the ranges of, got none"),
        (["shifted", "gone"], IMAGES, "minmax", "got 'gone', which it has not"),
        (["whole"], IMAGES, "minmax", "tensor 'whole': expected floats, got tensor(int32)"),
        (["images"], IMAGES, "minmax", "tensor 'images': expected floats, got tensor(uint8)"),
        (["shifted"], [], "minmax", "expected images to calibrate with, got none"),
        (["shifted", "nan"], [IMAGES[2], IMAGES[1]], "minmax", "'nan': expected finite values, got NaN from image 1"),
        (["infinite"], pictures((1, 9), (0, 9)), "entropy", "'infinite': expected finite values, got infinity from"),
        (["shifted"], [IMAGES[0], IMAGES[0][1:]], "minmax", "image 1: expected uint8 (8, 8, 3), got uint8 (7, 8, 3)"),
        (["shifted"], [IMAGES[0] / 255], "minmax", "image 0: expected uint8 (8, 8, 3), got float64 (8, 8, 3)"),
    ],
)
def test_what_cannot_be_calibrated_is_said(names: list[str], images: Any, method: Any, says: str) -> None:
    with pytest.raises(ConvertError) as caught:
        calibrate(graph(), images, names, method=method)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
