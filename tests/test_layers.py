"""What really runs in which precision, and whether that gains anything; nothing is judged by the clock here."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import graphs
import numpy as np
import pytest
from onnx import TensorProto
from rich.console import Console

from edgezoo.backends import Layer, layers
from edgezoo.bundle import MANIFEST, Artifact, Bundle
from edgezoo.cli import main
from edgezoo.convert import convert
from edgezoo.convert.write import add_file, add_manifest
from edgezoo.engine import Engine
from edgezoo.errors import BundleError, RequestError, UnknownName
from edgezoo.measure import race as track
from edgezoo.measure.layers import LayerProfile, judge, profile_layers
from edgezoo.measure.race import Against, race
from edgezoo.preprocess import Preprocess

pytest.importorskip("onnxruntime", reason="layers are told by a runtime")

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
CONVS = 3


def conv_net(folder: Path) -> Path:
    """The card of a classifier with CONVS convolutions, each with a Relu."""
    values = np.random.default_rng(0)
    net, x, channels = graphs.Net(), "pixels", 3
    for k in range(CONVS):
        weights = net.constant(values.normal(0, 0.1, (16, channels, 3, 3)))
        x = net.add("Conv", x, weights, pads=[1, 1, 1, 1], name=f"conv_{k}")
        x, channels = net.add("Relu", x, name=f"relu_{k}"), 16
    mean = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.add("MatMul", mean, net.constant(values.normal(0, 0.1, (16, 3))), out="logits")
    model = net.model(["N", 3, 48, 64], {"logits": ["N", 3]})
    return graphs.write_card(folder, "convs", model, RECIPE, task="classify", decoder='name = "logits"')


def quantised(bundle: Bundle, folder: Path, *, in_float: tuple[str, ...] = ()) -> bytes:
    """Its fp32 graph with QuantizeLinear and DequantizeLinear around all but the nodes `in_float`."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    rows = iter([{"images": image[None]} for image in bundle.read_golden()["placed"]])

    class Rows(quantization.CalibrationDataReader):  # type: ignore[name-defined, misc]
        def get_next(self) -> Any:
            return next(rows, None)

    quantization.quantize_static(
        str(bundle.folder / bundle.artifact().file),
        str(folder / "int8.onnx"),
        Rows(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        nodes_to_exclude=list(in_float),
    )
    return (folder / "int8.onnx").read_bytes()


def with_artifacts(bundle: Bundle, folder: Path, graphs_of: dict[tuple[str, str], bytes]) -> Bundle:
    """A copy of the bundle with more artifacts, by precision and target."""
    shutil.copytree(bundle.folder, folder)
    more = []
    for (precision, target), graph in graphs_of.items():
        file = add_file(folder, f"model.{precision}-{target}.onnx", graph)
        more.append(
            dataclasses.replace(bundle.artifact(), precision=precision, target=target, **dataclasses.asdict(file))
        )
    (folder / MANIFEST).unlink()
    add_manifest(folder, dataclasses.replace(bundle.manifest, artifacts=(*bundle.manifest.artifacts, *more)))
    return Bundle.open(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("convs")
    return convert(conv_net(folder), folder / "bundle")


@pytest.fixture(scope="module")
def mixed(plain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With int8 for two backends; in that for OpenVINO all convolutions but the first are left in fp32.

    One alone would not stay so: ONNX Runtime quantises the weights of a convolution between int8 neighbours itself.
    """
    folder = tmp_path_factory.mktemp("mixed")
    left = tuple(f"net/{kind}_{k}" for kind in ("conv", "relu") for k in range(1, CONVS))
    whole, broken = quantised(plain, folder), quantised(plain, folder, in_float=left)
    return with_artifacts(plain, folder / "bundle", {("int8", "onnxruntime"): whole, ("int8", "openvino"): broken})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "_BLOCK_S", 0.002)
    monkeypatch.setattr(track, "_PAUSE_S", 0.0)


def profile(bundle: Bundle, precision: str = "fp32", **asked: Any) -> LayerProfile:
    return profile_layers(bundle, precision=precision, threads=1, runs=3, rounds=2, **asked)


# What runs.


def test_fp32_is_fp32_between_the_doors_conversions(plain: Bundle) -> None:
    found = profile(plain)
    assert set(found.precisions) == {"fp32"}
    assert found.kinds["Conv"].layers == CONVS
    kinds = dict(found.conversion_kinds)
    assert {kinds.pop("Cast"), kinds.pop("Transpose")} == {1}  # bytes to floats, rows of pixels to planes
    assert set(kinds) <= {"ReorderInput", "ReorderOutput"}  # what the runtime's own blocked layout costs
    assert (found.run_ms, found.against, found.warnings) == (None, (), ())


def test_int8_is_int8(mixed: Bundle) -> None:
    found = profile(mixed, "int8", compare=False)
    convs = [layer for layer in found.layers if "Conv" in layer.kind]
    assert [layer.kind for layer in convs] == ["QLinearConv"] * CONVS
    assert {layer.precision for layer in convs} == {"int8"}
    assert found.conversion_kinds["Cast"] == found.conversion_kinds["QuantizeLinear"] == 1
    assert found.precisions["int8"].layers >= CONVS


def test_an_island_of_fp32_is_told_with_its_conversions(mixed: Bundle) -> None:
    whole, broken = (profile(mixed, name, compare=False) for name in ("int8-onnxruntime", "int8-openvino"))
    convs = [layer for layer in broken.layers if "Conv" in layer.kind]
    assert [layer.precision for layer in convs] == ["int8", "fp32", "fp32"]
    assert [layer.kind for layer in convs] == ["QLinearConv", "Conv", "Conv"]
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        assert broken.conversion_kinds[kind] > whole.conversion_kinds[kind]


def test_openvino_tells_the_same(mixed: Bundle) -> None:
    pytest.importorskip("openvino")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("OpenVINO's int8 is another on this CPU")
    found = profile(mixed, "int8", backend="openvino", compare=False)
    convs = [layer for layer in found.layers if layer.kind == "Convolution"]
    assert [layer.precision for layer in convs] == ["int8", "fp32", "fp32"]
    assert [layer.name for layer in convs][1:] == ["net/conv_1", "net/conv_2"]
    assert not any(layer.kind == "Relu" for layer in found.layers)  # fused, so not run


def test_openvino_in_bf16(plain: Bundle) -> None:
    pytest.importorskip("openvino")
    from edgezoo.backends.openvino import capabilities

    if "BF16" not in capabilities():
        pytest.skip("this CPU has no bf16")
    with Engine(plain, backend="openvino", threads=1, options={"precision": "bf16"}) as engine:
        found = engine.layers(np.zeros((1, 48, 64, 3), np.uint8), runs=1)
    assert {layer.precision for layer in found if layer.kind == "Convolution"} == {"bf16"}


def test_half_on_a_cpu_without_kernels_for_it() -> None:
    """ONNX Runtime then converts, computes in fp32 and converts back, and says nothing of it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("this CPU may have fp16 kernels")
    net = graphs.Net()
    half = net.add("Cast", "pixels", to=TensorProto.FLOAT16)
    answer = net.add("Conv", half, net.constant(np.ones((4, 3, 3, 3)), np.float16))
    net.add("Cast", answer, to=TensorProto.FLOAT, out="y")
    model = net.model([1, 3, 8, 8], {"y": [1, 4, 6, 6]}).SerializeToString()
    found = layers("onnxruntime", model, {"pixels": np.zeros((1, 3, 8, 8), np.float32)}, runs=1)
    assert [layer.precision for layer in found if layer.kind == "Conv"] == ["fp32"]


def test_shares_add_up(mixed: Bundle) -> None:
    found = profile(mixed, "int8", compare=False)
    parts = [*found.precisions.values(), found.conversions]
    assert sum(part.layers for part in parts) == len(found.layers) == sum(part.layers for part in found.kinds.values())
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert sum(part.ms for part in parts) == pytest.approx(found.ms)
    assert list(found.kinds.values()) == sorted(found.kinds.values(), key=lambda part: -part.ms)


def test_a_fixed_batch(bundle_of: Callable[..., Bundle]) -> None:
    assert profile(bundle_of("squares", RECIPE, batch=2)).batch == 2


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"backend": "tensorflow"}, UnknownName, "no backend is called 'tensorflow'"),
        ({"precision": "int7"}, BundleError, "no artifact of precision 'int7'"),
        ({"device": "tpu"}, RequestError, "expected device"),
        ({"threads": 0}, RequestError, "expected 1 thread or more, got 0"),
        ({"runs": 0}, RequestError, "expected 1 run or more, got 0"),
        ({"precision": "int8", "rounds": 0}, RequestError, "expected 1 round or more, got 0"),
    ],
)
def test_requests_that_cannot_be_served(
    mixed: Bundle, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        profile_layers(mixed, **asked)


def test_every_engine_is_closed_whatever_happens(mixed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Engine] = []
    monkeypatch.setattr(Engine, "close", lambda engine: closed.append(engine))
    profile(mixed, "int8")
    assert [engine.artifact.name for engine in closed] == ["fp32", "int8-onnxruntime"]
    monkeypatch.setattr(track, "BareEngine", None)
    with pytest.raises(TypeError):
        profile(mixed, "int8")
    assert len(closed) == 4


# Who is faster.


class Scripted:
    """In place of a BareEngine: frames per second from a list, and a record of who was asked."""

    asked = ""
    rates: dict[str, Iterator[float]]

    def __init__(self, engine: Any, batch: int, clip: str) -> None:
        self._name = engine.artifact.name

    def block(self, seconds: float) -> float:
        Scripted.asked += self._name
        return next(Scripted.rates[self._name])


def raced(monkeypatch: pytest.MonkeyPatch, **rates: list[float]) -> tuple[float, list[Against]]:
    """A race of engines by these names, each with its frames per second round by round."""
    monkeypatch.setattr(track, "BareEngine", Scripted)
    Scripted.asked, Scripted.rates = "", {name: iter([0.0, *each]) for name, each in rates.items()}
    engines: list[Any] = [SimpleNamespace(batches=(2, 2), artifact=SimpleNamespace(name=name)) for name in rates]
    return race(engines[0], engines[1:], rounds=len(next(iter(rates.values()))))


def test_they_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    ms, (b, c) = raced(monkeypatch, A=[100.0, 50.0, 100.0], B=[200.0, 100.0, 200.0], C=[50.0, 50.0, 50.0])
    assert Scripted.asked == "ABC" + "ABC" + "CBA" + "ABC"  # the first warms up
    assert (ms, b.ms, c.ms) == (20.0, 10.0, 40.0)  # of a batch of 2
    assert (b.name, b.ratio, b.low, b.high) == ("B", 0.5, 0.5, 0.5)  # though the machine was slow for a while
    assert (c.name, c.ratio, c.low, c.high) == ("C", 2.0, 1.5, 2.0)


def test_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (rival,) = raced(monkeypatch, A=[50.0], B=[100.0])
    assert (rival.ratio, rival.low, rival.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "lost", "won"),
    [
        (0.6, 0.5, 0.7, True, False),
        (0.6, 0.5, 1.1, False, False),  # one round in four was the other way
        (0.99, 0.98, 0.995, False, False),  # as good as equal
        (1.01, 1.0, 1.02, False, False),
        (1.4, 1.2, 1.5, False, True),
        (1.4, 0.9, 1.5, False, False),
    ],
)
def test_lost_and_won(ratio: float, low: float, high: float, lost: bool, won: bool) -> None:
    found = Against(name="fp32", ms=1.0, ratio=ratio, low=low, high=high)
    assert (found.lost, found.won) == (lost, won)


# The judgement.


def some(count: int, precision: str, ms: float, *, kind: str = "Conv", conversion: bool = False) -> list[Layer]:
    return [Layer(name="x", kind=kind, precision=precision, ms=ms, conversion=conversion)] * count


def casts(count: int, ms: float) -> list[Layer]:
    return some(count, "fp32", ms, kind="DequantizeLinear", conversion=True)


def against(name: str, ratio: float, ms: float = 1.0) -> Against:
    return Against(name=name, ms=ms, ratio=ratio, low=ratio, high=ratio)


def artifact(precision: str, target: str = "") -> Artifact:
    return Artifact(file="x", sha256="", precision=precision, agreement={}, tools={}, source={}, target=target)


INT8 = artifact("int8", "onnxruntime")
ISLANDS = [*some(29, "int8", 1.0), *some(31, "fp32", 1.0), *some(5, "int64", 0.0), *casts(44, 0.5)]


@pytest.mark.parametrize(
    ("judged", "found", "rivals", "elsewhere", "says"),
    [
        (artifact("fp32"), some(3, "fp32", 1.0), [against("int8", 0.5)], [], []),
        (INT8, ISLANDS, [], [], []),
        (INT8, ISLANDS, [against("fp32", 1.5)], [], []),
        (
            INT8, ISLANDS, [against("fp32", 0.6)], [artifact("int8", "openvino"), artifact("fp16", "tensorrt")],
            ["int8-onnxruntime is 0.60 times as fast as fp32 here: 31 of 60 layers run in fp32 between 44 conversions, "
             "together 65 % of the time; try --precision fp32 or --precision int8 --backend openvino"],
        ),
        (
            INT8, [*some(60, "int8", 1.0), *casts(2, 1.0)], [against("fp32", 0.6)], [],
            ["int8-onnxruntime is 0.60 times as fast as fp32 here: all 60 layers run in int8, 2 conversions take 3 % "
             "of the time, and its int8 kernels are slow on this machine; try --precision fp32"],
        ),
        (
            INT8, [*some(2, "int8", 1.0), *casts(2, 1.0)], [against("fp32", 0.8, ms=3.0), against("fp16", 0.5, ms=2.0)],
            [],
            ["int8-onnxruntime is 0.50 times as fast as fp16 here: all 2 layers run in int8, 2 conversions take 50 % "
             "of the time; try --precision fp16"],
        ),
        (
            artifact("fp16"), [*some(9, "fp32", 1.0), *casts(18, 0.5)], [against("fp32", 1.0)], [],
            ["fp16 is fp16 in its file alone: 9 of 9 layers run in fp32 between 18 conversions, together 100 % of the "
             "time"],
        ),
        (
            INT8, [*some(1, "fp32", 0.0)], [], [artifact("int8", "openvino")],
            ["int8-onnxruntime is int8 in its file alone: 1 of 1 layers run in fp32 between 0 conversions, together 0 "
             "% of the time; try --precision int8 --backend openvino"],
        ),
    ],
    ids=["fp32", "not compared", "faster", "islands", "slow kernels", "the fastest rival", "not what it is called",
         "no time at all"],
)  # fmt: skip
def test_what_is_wrong_with_it(
    judged: Artifact, found: list[Layer], rivals: list[Against], elsewhere: list[Artifact], says: list[str]
) -> None:
    assert judge(judged, found, rivals, elsewhere) == says


def test_a_profile_warns(mixed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezoo.measure.layers.race", lambda *engines, **how: (2.0, [against("fp32", 0.5)]))
    (warning,) = profile(mixed, "int8").warnings
    assert warning.startswith("int8-onnxruntime is 0.50 times as fast as fp32 here")
    assert warning.endswith("; try --precision fp32 or --precision int8 --backend openvino")


# The verb.


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    quick = ("--threads", 1, "--runs", 2, "--rounds", 2)
    assert main([str(each) for each in ("profile", *arguments, *quick)]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A wide terminal; and the verb's handler of signals is taken off again."""
    monkeypatch.setattr("edgezoo.cli.show.out", Console(width=200, highlight=False, emoji=False))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_json_says_all(mixed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, mixed.folder, "--precision", "int8", "--json"))
    assert set(found["precisions"]["int8"]) == {"layers", "ms", "share"}
    assert found["conversions"]["kinds"]["QuantizeLinear"] == 1
    assert {"name", "kind", "precision", "ms", "conversion"} == set(found["layers"][0])
    assert [rival["name"] for rival in found["against"]] == ["fp32"]
    assert found["run_ms"] > 0
    assert (found["runs"]["precision"], found["runs"]["threads"]) == ("int8-onnxruntime", 1)
    assert found["machine"]["cores"] >= 1


@pytest.mark.parametrize("flag", [[], ["--layers"]])
def test_the_tables(mixed: Bundle, capsys: pytest.CaptureFixture[str], flag: list[str]) -> None:
    said = told(capsys, mixed.folder, "--precision", "int8", *flag)
    for word in ("precision", "conversions", "QLinearConv", "slowest layers", "a whole run", "times as fast"):
        assert word in said
    assert "convs int8-onnxruntime, onnxruntime" in said


def test_all_layers_in_order(mixed: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, mixed.folder, "--precision", "int8-openvino", "--all", "--no-compare")
    assert said.index("QuantizeLinear   ") < said.index("QLinearConv   ") < said.rindex("Conv  ")
    assert "a whole run" not in said
