"""Every backend on a GPU: the right answers, for as long as it takes, and memory that stays where it was."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from edgezoo.backends import _nvidia
from edgezoo.bundle import Bundle
from edgezoo.convert import seeded_scenes
from edgezoo.engine import Engine
from edgezoo.errors import BackendError
from edgezoo.measure.verify import SLACK, verify
from edgezoo.pipeline import Pipeline
from edgezoo.tasks import task
from gpu.conftest import RANGE, RUNS, Figures, Way
from gpu.memory import resident

pytestmark = pytest.mark.gpu

MIB = 1 << 20
JETSON = _nvidia.on_jetson()
"""Its GPU has no memory of its own: what is free there, others take and give back meanwhile."""
SIZES = sorted({1, 2, 3, RANGE[2]})

Free = Callable[[], int]


def batch_of(engine: Engine, n: int, *, first: int = 0) -> np.ndarray:
    """`n` drawn scenes, as the engine's recipe places them."""
    scenes = seeded_scenes()
    return engine.prepare([scenes[(first + k) % len(scenes)] for k in range(n)])[0]


def differences(engine: Engine, wanted: Any, found: Any) -> dict[str, float]:
    assert all(np.isfinite(value).all() for value in found.values())
    return task(engine.bundle.manifest.task).difference(wanted, found)


def test_what_really_runs(engine: Engine, way: Way) -> None:
    wanted = "cpu" if way.device == "cpu" else way.device if ":" in way.device else f"{way.device}:0"
    assert (engine.runs.backend, engine.runs.device) == (way.backend, wanted)
    if way.device != "cpu" and way.backend == "onnxruntime":
        engine.infer(batch_of(engine, 1))
        assert vars(engine.backend)["graph"], vars(engine.backend)["no_graph"]


def test_golden_images(engine: Engine, way: Way, bundle: Bundle) -> None:
    """Opened by its name, as `edgezoo verify` does."""
    found = verify(bundle, backend=way.backend, device=way.device, precision=engine.artifact.name)
    assert found.ok, found.to_dict()


@pytest.mark.parametrize("n", SIZES)
def test_parity(engine: Engine, bundle: Bundle, n: int) -> None:
    """With fp32 on the CPU: fp32 as exactly as a conversion must be, and a lower precision not much further away than
    the very same artifact is on the CPU.
    """
    array = batch_of(engine, n, first=n)
    with Engine(bundle) as reference, Engine(bundle, precision=engine.artifact.name) as same:
        wanted = reference.infer(array)
        given = differences(engine, wanted, same.infer(array))
    tolerance = task(bundle.manifest.task).TOLERANCE
    allowed = {name: max(value, SLACK * given[name]) for name, value in tolerance.items()}
    for _ in range(3):  # as it comes, captured, replayed
        found = differences(engine, wanted, engine.infer(array))
        assert all(found[name] <= allowed[name] for name in found), (found, allowed)


def test_parity_of_one_batch_size_alone(way: Way, bundle: Bundle) -> None:
    """Whose runs TensorRT replays as one graph."""
    with way.open(bundle, "fp32", batch=4) as engine, Engine(bundle) as reference:
        tolerance = task(bundle.manifest.task).TOLERANCE
        for first in range(4):
            array = batch_of(engine, 4, first=first)
            found = differences(engine, reference.infer(array), engine.infer(array))
            assert all(found[name] <= tolerance[name] for name in found), found


def test_results_own_their_memory(engine: Engine) -> None:
    array = batch_of(engine, 2)
    before = array.copy()
    first = engine.infer(array)
    kept = {name: value.copy() for name, value in first.items()}
    np.testing.assert_array_equal(array, before)
    engine.infer(np.zeros_like(array))
    for name, value in first.items():
        assert value.flags.owndata
        assert value.flags.writeable
        np.testing.assert_array_equal(value, kept[name])


def test_a_wrong_feed_harms_nobody(engine: Engine) -> None:
    array = batch_of(engine, 2)
    wanted = engine.infer(array)
    for wrong in (array.astype(np.float32), array[:, 1:], array[0]):
        with pytest.raises(BackendError) as caught:
            engine.infer(wrong)
        assert "\n" not in str(caught.value)
    assert max(differences(engine, wanted, engine.infer(array)).values()) < 1e-3


def test_memory_stays_flat(engine: Engine, free: Free) -> None:
    arrays = [batch_of(engine, n) for n in (1, 2, 1)]

    def run(times: int) -> None:
        for k in range(times):
            engine.infer(arrays[k % len(arrays)])

    run(max(10, RUNS // 10))
    host, device = resident(), free()
    run(RUNS)
    assert device - free() < (64 if JETSON else 8) * MIB
    assert resident() - host < 32 * MIB


def test_opening_and_closing_stays_flat(way: Way, bundle: Bundle, figures: Figures, free: Free) -> None:
    with Engine(bundle) as reference:
        array = batch_of(reference, 2)

    def cycle() -> None:
        with closing(way.open(bundle, "fp32")) as engine, closing(engine.fork()) as fork:
            engine.infer(array)
            fork.infer(array)

    for _ in range(2):  # the first also loads libraries
        cycle()
    host, device = resident(), free()
    for _ in range(8 if RUNS >= 1000 else 2):
        cycle()
    assert device - free() < (128 if JETSON else 16) * MIB
    assert resident() - host < 96 * MIB


def test_two_engines_in_two_threads(way: Way, bundle: Bundle, figures: Figures) -> None:
    """Both at their first runs, in which graphs are captured, and long after."""
    times = max(10, RUNS // 20)
    with closing(way.open(bundle, "fp32")) as one, closing(way.open(bundle, "fp16")) as other:
        arrays = [batch_of(one, n, first=n) for n in (1, 2)]
        found: dict[str, list[Any]] = {}
        errors: list[BaseException] = []

        def work(engine: Engine) -> None:
            try:
                found[engine.artifact.name] = [engine.infer(arrays[k % 2]) for k in range(times)]
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(engine,)) for engine in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        for engine in (one, other):
            alone = [engine.infer(array) for array in arrays]
            for k, answers in enumerate(found[engine.artifact.name]):
                assert max(differences(engine, alone[k % 2], answers).values()) < 1e-3
            assert not getattr(engine.backend, "no_graph", "")


def test_both_ways_at_once(both: tuple[Way, Way], bundle: Bundle) -> None:
    """A capture of ONNX Runtime's may forbid the whole process what TensorRT does when it opens, runs and closes."""
    with Engine(bundle) as reference:
        array = batch_of(reference, 2)
        wanted = reference.infer(array)
    worst: list[float] = []
    errors: list[BaseException] = []

    def work(mine: Way) -> None:
        try:
            for _ in range(6 if RUNS >= 1000 else 2):
                with closing(mine.open(bundle, "fp32")) as engine:
                    for _ in range(20):
                        worst.append(differences(engine, wanted, engine.infer(array))["scores"])
                    assert not getattr(engine.backend, "no_graph", "")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert max(worst) <= task(bundle.manifest.task).TOLERANCE["scores"]


def test_forks(engine: Engine) -> None:
    array = batch_of(engine, 2)
    wanted = engine.infer(array)
    forks = [engine.fork() for _ in range(2)]
    found: list[Any] = []
    threads = [threading.Thread(target=lambda fork=fork: found.append(fork.infer(array))) for fork in forks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forks[0].close()
    with pytest.raises(BackendError, match="closed"):
        forks[0].infer(array)
    for answers in (*found, forks[1].infer(array), engine.infer(array)):
        assert max(differences(engine, wanted, answers).values()) < 1e-3
    assert len(found) == 2
    forks[1].close()


def test_a_pipeline(engine: Engine) -> None:
    with Pipeline("synthetic:#frames=20&live=0", engine, batch=2) as pipeline:
        assert [frame.index for frame, _ in pipeline] == list(range(20))


def test_layers(engine: Engine) -> None:
    layers = engine.layers(batch_of(engine, 1), runs=3)
    assert layers
    assert all(layer.ms >= 0 for layer in layers)
    assert any(not layer.conversion for layer in layers)


@pytest.mark.parametrize("n", [1, RANGE[2]])
def test_figures(engine: Engine, way: Way, figures: Figures, n: int) -> None:
    """Times are told, not judged: `tests/benchmarks/gpu.py` is what measures."""
    array = batch_of(engine, n)
    for _ in range(max(3, RUNS // 1000)):
        engine.infer(array)
    times = []
    for _ in range(max(5, min(200, RUNS // 20))):
        began = time.perf_counter()
        engine.infer(array)
        times.append(time.perf_counter() - began)
    middle = statistics.median(times)
    figures.rows.append(
        {
            "on": f"{engine.runs.backend} {engine.runs.version}",
            "device": engine.runs.device + (" (rehearsal)" if way.rehearsal else ""),
            "artifact": engine.artifact.name,
            "batch": n,
            "ms": round(1e3 * middle, 3),
            "images/s": round(n / middle, 1),
        }
    )
    assert middle > 0
