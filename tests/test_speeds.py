"""Speeds: what is timed, what is chosen from it, and what makes it void. Timings are given, but where it says so."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import need

import edgezoo
from edgezoo.bundle import MANIFEST, Artifact, Bundle
from edgezoo.cli import main
from edgezoo.convert.write import add_manifest
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, BundleError, EdgezooError, MissingDependency, RequestError, UnknownName
from edgezoo.loading import decide
from edgezoo.measure import doctor, race, speeds
from edgezoo.measure.race import Against
from edgezoo.measure.speeds import candidates, choosing, left_out, measure, stored
from edgezoo.measure.speeds.choosing import choose, fastest
from edgezoo.measure.speeds.stored import Speed, Speeds, kept, store
from edgezoo.preprocess import Preprocess

pytest.importorskip("onnxruntime", reason="bundles are run")

RECIPE = Preprocess(size_wh=(64, 48), fit="stretch")
BundleOf = Callable[..., Bundle]
MET, MISSED = {"ok": True, "drop": 0.2, "max_drop": 1.0}, {"ok": False, "drop": 3.14159, "max_drop": 1.0}
BOTH = {"onnxruntime": "1.32.0", "openvino": "2026.4.1"}
ONE = {"onnxruntime": "1.32.0"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in with a cache of its own, and a race over in milliseconds."""
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(race, "_BLOCK_S", 0.002)
    monkeypatch.setattr(race, "_PAUSE_S", 0.0)
    return tmp_path


@pytest.fixture
def plain(bundle_of: BundleOf) -> Bundle:
    return bundle_of("squares", RECIPE)


def bundle_with(plain: Bundle, folder: Path, *more: Artifact) -> Bundle:
    """A copy whose manifest has `more` artifacts, all of them over the one graph."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(plain.folder, folder)
    (folder / MANIFEST).unlink()
    add_manifest(folder, dataclasses.replace(plain.manifest, artifacts=(*plain.manifest.artifacts, *more)))
    return Bundle.open(folder)


def artifact(plain: Bundle, precision: str, target: str = "", judgement: Any = MET, /, **options: Any) -> Artifact:
    return dataclasses.replace(
        plain.artifact(), precision=precision, target=target, judgement=judgement, options=options
    )


def runtimes(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """As if these were installed, and no others."""
    for room in (speeds, stored, choosing):
        monkeypatch.setattr(room, "installed", lambda: versions)


def timed(monkeypatch: pytest.MonkeyPatch, **times: float) -> list[tuple[str, str]]:
    """In place of a race: `fp32_openvino=1.5` is 1.5 times as fast as the first, everything else is as fast."""
    raced: list[tuple[str, str]] = []

    def given(
        engine: Engine, rivals: list[Engine], *, batch: int, rounds: int, progress: Any
    ) -> tuple[float, list[Against]]:
        found = []
        for each in rivals:
            its = times.get(f"{each.artifact.name}_{each.runs.backend}".replace("-", "_"), 1.0)
            found.append(Against(name=each.artifact.name, ms=6 / its, ratio=1 / its, low=0.98 / its, high=1.02 / its))
        raced.extend((each.artifact.name, each.runs.backend) for each in (engine, *rivals))
        progress(rounds, rounds)
        return 6.0, found

    monkeypatch.setattr(speeds, "race", given)
    return raced


def both() -> None:
    need("openvino", importlib.util.find_spec("openvino") is not None, "openvino is not installed")


def names(found: list[tuple[str, Artifact]]) -> list[tuple[str, str]]:
    return [(artifact.name, backend) for backend, artifact in found]


# What may be chosen.


def test_candidates_are_what_met_its_budget_where_it_may_run(
    plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes(monkeypatch, BOTH)
    bundle = bundle_with(
        plain,
        here / "b",
        artifact(plain, "int8", "openvino"),
        artifact(plain, "int8", "onnxruntime", MISSED),
        artifact(plain, "int8", "tensorrt"),
        artifact(plain, "bf16", "openvino", {}, precision="bf16"),
        artifact(plain, "fp16"),
        artifact(plain, "fp16", "openvino"),
        artifact(plain, "fp64", "", {"ok": "yes"}),
    )
    assert names(candidates(bundle)) == [
        ("fp32", "onnxruntime"),
        ("fp32", "openvino"),
        ("fp16", "onnxruntime"),
        ("fp16-openvino", "openvino"),  # which stands there for fp16, whose name would open it too
        ("int8-openvino", "openvino"),
    ]
    assert {each.name: why for each, why in left_out(bundle)} == {
        "int8-onnxruntime": "missed its budget: 3.14 points lost, 1 allowed",
        "int8-tensorrt": "tensorrt is not installed",
        "bf16-openvino": "was never judged",
        "fp64": "missed its budget",
    }


@pytest.mark.parametrize("drop", [10**400, 1e300, True, "3.14", None])
def test_a_budget_missed_by_what_is_no_figure(
    plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch, drop: Any
) -> None:
    runtimes(monkeypatch, BOTH)
    bundle = bundle_with(plain, here / "b", artifact(plain, "int8", "openvino", {**MISSED, "drop": drop}))
    assert [why for _, why in left_out(bundle)] == ["missed its budget"]


def test_what_is_installed() -> None:
    found = stored.installed()
    assert found["onnxruntime"][0].isdecimal()
    assert set(found) <= set(edgezoo.backends.backends())


def speed(name: str, backend: str, times: float, low: float | None = None) -> Speed:
    low = times - 0.01 if low is None else low
    return Speed(backend=backend, artifact=name, identity="", ms=6 / times, times=times, low=low, high=times + 0.01)


FP32 = speed("fp32", "onnxruntime", 1.0, 1.0)


@pytest.mark.parametrize(
    ("rivals", "chosen"),
    [
        ([], ("fp32", "onnxruntime")),
        ([speed("fp32", "openvino", 1.3)], ("fp32", "openvino")),
        ([speed("fp32", "openvino", 1.02)], ("fp32", "onnxruntime")),  # closer than noise
        ([speed("int8-openvino", "openvino", 2.1), speed("fp32", "openvino", 1.3)], ("int8-openvino", "openvino")),
        ([speed("int8-openvino", "openvino", 1.31), speed("fp32", "openvino", 1.3)], ("fp32", "openvino")),
        ([speed("int8", "onnxruntime", 0.4)], ("fp32", "onnxruntime")),
        ([speed("int8", "onnxruntime", 1.2, low=0.9)], ("fp32", "onnxruntime")),  # not in three rounds of four
        ([speed("bf16-openvino", "openvino", 2.0), speed("fp16", "openvino", 2.01)], ("fp16", "openvino")),
    ],
)
def test_the_fastest_and_of_equals_the_exactest(rivals: list[Speed], chosen: tuple[str, str]) -> None:
    for order in ([FP32, *rivals], [*rivals, FP32]):
        found = choose(order)
        assert (found.artifact, found.backend) == chosen


def test_without_fp32_the_fastest_of_what_there_is() -> None:
    slow, slower = speed("int8-openvino", "openvino", 0.8), speed("fp32", "openvino", 0.5)
    assert choose([slower, slow]) == slow


# Measured, stored, chosen.


def test_auto_runs_the_fastest_and_says_so(plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_with(plain, here / "b", artifact(plain, "int8", "onnxruntime"))
    runtimes(monkeypatch, ONE)
    raced = timed(monkeypatch, int8_onnxruntime_onnxruntime=2.1)
    store(measure(bundle, rounds=3))
    assert raced == [("fp32", "onnxruntime"), ("int8-onnxruntime", "onnxruntime")]
    with edgezoo.load(bundle.folder, precision="auto") as engine:
        assert engine.artifact.name == "int8-onnxruntime"
        told = json.loads(json.dumps(engine.describe()))
        with engine.fork(threads=1) as twin:
            assert twin.describe()["chosen"] == told["chosen"]
    assert told["chosen"].pop("measured") == kept()[0].day
    assert told["chosen"] == {
        "artifact": "int8-onnxruntime",
        "backend": "onnxruntime",
        "times_fp32": 2.1,
        "against": "onnxruntime",
        "unmeasured": [],
    }
    with edgezoo.load(bundle.folder) as engine:
        assert engine.artifact.name == "fp32"
        assert "chosen" not in engine.describe()


def test_among_both_runtimes_or_those_of_one(plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both()
    bundle = bundle_with(
        plain, here / "b", artifact(plain, "fp16"), artifact(plain, "int8", "openvino", precision="f32")
    )
    runtimes(monkeypatch, BOTH)
    raced = timed(monkeypatch, fp32_openvino=1.2, fp16_onnxruntime=1.4, int8_openvino_openvino=3.0)
    store(measure(bundle))
    assert sorted(raced) == sorted((artifact, backend) for artifact, backend in names(candidates(bundle)))
    assert len(raced) == 5
    for backend, chosen in [(None, "int8-openvino"), ("openvino", "int8-openvino"), ("onnxruntime", "fp16")]:
        with edgezoo.load(bundle.folder, precision="auto", backend=backend) as engine:
            assert (engine.artifact.name, engine.runs.backend) == (chosen, backend or "openvino")
    assert str(fastest(bundle)).startswith("auto: int8-openvino on openvino, 3.00 times fp32 on onnxruntime here (meas")


def test_what_a_runtime_refuses_is_skipped_and_told(plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_with(plain, here / "b", artifact(plain, "int8", "onnxruntime", spinn=1))
    runtimes(monkeypatch, ONE)
    timed(monkeypatch)
    found = measure(bundle)
    ((name, why),) = [(each.artifact, each.why) for each in found.skipped]
    assert name == "int8-onnxruntime"
    assert "did you mean 'spin'" in why
    store(found)
    assert fastest(bundle).precision == "fp32"
    told = "fp32 on onnxruntime, nothing is faster of what was timed, without int8-onnxruntime"
    assert fastest(bundle).gist == told
    assert fastest(bundle).to_dict()["unmeasured"] == ["int8-onnxruntime"]


def test_a_backend_that_ran_nothing(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    both()
    runtimes(monkeypatch, BOTH)
    timed(monkeypatch)
    real = edgezoo.backends.open_backend

    def fail(name: str, *more: Any, **options: Any) -> Any:
        if name == "openvino":
            raise BackendError("asked for bf16, but on this CPU\nthere is none")
        return real(name, *more, **options)

    monkeypatch.setattr("edgezoo.engine.open_backend", fail)
    store(measure(plain))
    assert fastest(plain).backend == "onnxruntime"
    with pytest.raises(
        RequestError, match=r"nothing of it ran on openvino .*: asked for bf16, but on this CPU there is"
    ):
        fastest(plain, backend="openvino")


def test_where_nothing_runs(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes(monkeypatch, {})
    with pytest.raises(MissingDependency, match=r'no runtime is installed; try: pip install "edgezoo\[cpu\]"'):
        measure(plain)
    runtimes(monkeypatch, ONE)
    with pytest.raises(RequestError, match="expected device cpu, cuda"):
        measure(plain, device="tpu")
    with pytest.raises(RequestError, match="1 round or more"):
        measure(plain, rounds=0)


def test_really_measured(bundle_of: BundleOf) -> None:
    told: list[tuple[int, int]] = []
    bundle = bundle_of("colors", RECIPE, batch=2)
    found = measure(bundle, threads=1, rounds=2, progress=lambda done, total: told.append((done, total)))
    assert [(each.artifact, each.backend) for each in found.speeds] == names(candidates(bundle))
    assert all(each.ms > 0 and each.low <= each.times <= each.high for each in found.speeds)
    assert (found.threads, found.device, found.rounds, found.against) == (1, "cpu", 2, "onnxruntime")
    assert found.versions == stored.installed()
    assert told == [(0, 2), (1, 2), (2, 2)]
    store(found)
    assert kept() == [found]
    assert fastest(bundle, threads=1).backend in found.versions


# What makes it void.


@pytest.fixture
def measured(plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle of two artifacts whose speeds are stored, int8's being twice that of fp32."""
    bundle = bundle_with(plain, here / "b", artifact(plain, "int8", "onnxruntime"))
    runtimes(monkeypatch, ONE)
    timed(monkeypatch, int8_onnxruntime_onnxruntime=2.0)
    store(measure(bundle))
    assert fastest(bundle).precision == "int8-onnxruntime"
    return bundle


def other_hardware(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    monkeypatch.setattr(stored, "cores", lambda: 64)


def other_cpu(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    monkeypatch.setattr(stored, "cpu_model", lambda: "Another CPU")


def other_version(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    runtimes(monkeypatch, {"onnxruntime": "1.33.0"})


def new_runtime(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    runtimes(monkeypatch, BOTH)


def new_conversion(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    bundle_with(_plain(bundle), bundle.folder, artifact(bundle, "int8", "onnxruntime", spin=False))


def new_artifact(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    bundle_with(_plain(bundle), bundle.folder, artifact(bundle, "int8", "onnxruntime"), artifact(bundle, "fp16"))


def _plain(bundle: Bundle) -> Bundle:
    """A copy with fp32 alone."""
    folder = bundle.folder.with_name("plain")
    shutil.copytree(bundle.folder, folder)
    (folder / MANIFEST).unlink()
    add_manifest(folder, dataclasses.replace(bundle.manifest, artifacts=bundle.manifest.artifacts[:1]))
    return Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_hardware, "measured with cores .*, here is 64: run edgezoo bench .*b --store again"),
        (other_cpu, "measured with cpu .*, here is Another CPU: run"),
        (other_version, "measured with onnxruntime 1.32.0, here is 1.33.0: run edgezoo bench .*b --store again"),
        (new_runtime, "measured without openvino, here is 2026.4.1: run"),
        (new_conversion, "int8-onnxruntime was another file when it was measured: run"),
        (new_artifact, "fp16 was not there when it was measured: run"),
    ],
)
def test_a_change_makes_it_void(
    measured: Bundle, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Bundle], None], says: str
) -> None:
    change(monkeypatch, measured)
    with pytest.raises(RequestError, match=says) as caught:
        edgezoo.load(measured.folder, precision="auto")
    assert "\n" not in str(caught.value)
    timed(monkeypatch)
    if change is not new_runtime or importlib.util.find_spec("openvino"):
        again = Bundle.open(measured.folder)
        store(measure(again))
        assert fastest(again).precision == "fp32"


def test_what_changed_elsewhere_does_not_matter(measured: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes(monkeypatch, BOTH)  # openvino came, and onnxruntime alone is asked for
    assert fastest(measured, backend="onnxruntime").precision == "int8-onnxruntime"
    runtimes(monkeypatch, ONE)
    shutil.copytree(measured.folder, here / "copy")
    assert fastest(Bundle.open(here / "copy")).precision == "int8-onnxruntime"


def test_a_runtime_that_went(plain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    both()
    runtimes(monkeypatch, BOTH)
    timed(monkeypatch)
    store(measure(plain))
    runtimes(monkeypatch, ONE)
    with pytest.raises(RequestError, match=r"measured with openvino 2026.4.1, which is not here: run"):
        fastest(plain)


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        ({"threads": 1}, RequestError, "as many threads as a runtime likes, asked for --threads 1: .*--threads 1$"),
        (
            {"device": "cuda"},
            RequestError,
            "measured on cpu, asked for cuda:0: run edgezoo bench .* --store --device cuda:0$",
        ),
        ({"backend": "openvin"}, UnknownName, "did you mean 'openvino'"),
    ],
)
def test_asked_for_what_was_not_measured(
    measured: Bundle, asked: dict[str, Any], kind: type[EdgezooError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        edgezoo.load(measured.folder, precision="auto", **asked)


def test_a_backend_that_is_not_installed(measured: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(module: str) -> None:
        raise MissingDependency(f"{module} is not installed; try: pip install")

    monkeypatch.setattr(choosing, "require", gone)
    with pytest.raises(MissingDependency, match="openvino is not installed"):
        edgezoo.load(measured.folder, precision="auto", backend="openvino")


def test_an_artifact_that_missed_its_budget_is_never_chosen(measured: Bundle) -> None:
    worse = bundle_with(_plain(measured), measured.folder, artifact(measured, "int8", "onnxruntime", MISSED))
    assert [each.artifact for each in kept()[0].speeds] == ["fp32", "int8-onnxruntime"]  # it was twice as fast
    assert fastest(worse).precision == "fp32"


def test_what_is_asked_for_by_name_is_run_or_refused(measured: Bundle) -> None:
    worse = bundle_with(_plain(measured), measured.folder, artifact(measured, "int8", "onnxruntime", MISSED))
    for name in ("int8", "int8-onnxruntime"):
        with edgezoo.load(worse.folder, precision=name) as engine:
            assert engine.artifact.name == "int8-onnxruntime"
    with pytest.raises(BundleError, match="no artifact of precision 'bf16'"):
        edgezoo.load(worse.folder, precision="bf16")
    assert decide(worse, precision="int8") == ("onnxruntime", "int8", None)
    assert decide(worse, precision="int8", backend="openvino") == ("openvino", "int8", None)


# How it is kept.


def test_nothing_stored(plain: Bundle) -> None:
    with pytest.raises(RequestError) as caught:
        fastest(plain)
    command = f"edgezoo bench {plain.folder} --store"
    assert str(caught.value) == f"squares: nothing was measured on this machine yet: run {command}"


def test_a_model_of_the_zoo_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes(monkeypatch, ONE)
    with pytest.raises(RequestError, match=r"run edgezoo bench digits --store$"):
        edgezoo.load("digits", precision="auto")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"measured": "', '"measured": "once in '),
        lambda text: text.replace('"rounds"', '"turns"'),
        lambda text: text.replace('"times": 1.0', '"times": NaN'),
        lambda text: "[" * 100_000,
        lambda text: text + " " * (2 << 20),
    ],
)
def test_a_damaged_file_is_as_good_as_none(measured: Bundle, damage: Callable[[str], str]) -> None:
    (path,) = stored._folder().iterdir()
    path.write_text(damage(path.read_text("utf-8")), "utf-8")
    (path.parent / "folder.json").mkdir()
    (path.parent / "bytes.json").write_bytes(b"\xff\xfe\x00")
    assert kept() == []
    with pytest.raises(RequestError, match="nothing was measured on this machine yet"):
        fastest(measured)
    assert [row.state for row in doctor._speeds()] == ["missing"]
    store(measure(measured))
    assert fastest(measured).precision == "int8-onnxruntime"


def test_the_last_measurement_stays_and_others_beside_it(measured: Bundle, plain: Bundle) -> None:
    before = kept()[0]
    store(dataclasses.replace(before, rounds=77))
    store(measure(measured, threads=1))
    store(measure(plain))
    store(dataclasses.replace(before, model="../a b", called="../a b"))
    folder = stored._folder()
    assert len(kept()) == len(list(folder.iterdir())) == 4
    assert {each.rounds for each in kept() if each.path == before.path} == {77}
    assert fastest(measured).precision == "int8-onnxruntime"
    assert fastest(plain).precision == "fp32"


def test_a_cache_that_cannot_be_written_to(measured: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("EDGEZOO_CACHE", str(here / "file"))
    with pytest.raises(RequestError, match=r"could not keep its speeds under .* point EDGEZOO_CACHE elsewhere"):
        store(measure(measured))
    assert kept() == []


@pytest.mark.parametrize(("days", "age"), [(0, "today"), (1, "yesterday"), (40, "40 days ago"), (-3, "today")])
def test_how_old(days: int, age: str) -> None:
    noon = datetime.datetime.now().replace(hour=12, minute=0) - datetime.timedelta(days=days)
    when = noon.astimezone(datetime.timezone.utc).strftime(stored._WHEN)
    assert dataclasses.replace(_record(), measured=when).age == age
    assert dataclasses.replace(_record(), measured=when).day == noon.date().isoformat()


def _record(**changes: Any) -> Speeds:
    made = Speeds(
        model="m", size_wh=(8, 8), called="m", hardware=stored.hardware(), device="cpu", threads=None, versions=ONE,
        measured=stored.now(), against="onnxruntime", speeds=(FP32, speed("int8-onnxruntime", "onnxruntime", 2.5)),
        skipped=(), rounds=3, others=None,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def test_a_gpu_is_part_of_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored.devices, "jetson", lambda: "")
    monkeypatch.setattr(stored.devices, "nvidia", lambda: stored.devices.Device(name="A GPU, 550"))
    assert stored.hardware("cuda:0")["gpu"] == "A GPU, 550"
    assert "gpu" not in stored.hardware()


# What a person sees.


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Runs a verb in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "160")
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    yield run
    signal.signal(signal.SIGTERM, before)


def test_bench_store_prints_all_and_marks_the_fastest(
    plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    artifacts = (
        artifact(plain, "int8", "onnxruntime"),
        artifact(plain, "fp16"),
        artifact(plain, "bf16", "onnxruntime", spinn=0),
        artifact(plain, "int8", "openvino", MISSED),
    )
    bundle_with(plain, here / "b", *artifacts)
    runtimes(monkeypatch, ONE)
    timed(monkeypatch, int8_onnxruntime_onnxruntime=2.1, fp16_onnxruntime=0.5)
    code, out, err = call("bench", "b", "--store")
    assert (code, err) == (0, "")
    rows = [" ".join(line.split()) for line in out.splitlines() if line.strip()]
    assert rows[0] == "artifact backend ms times fp32"
    assert rows[2] == "int8-onnxruntime onnxruntime 2.86 2.10 2.06 to 2.14 ✓ auto runs this"
    assert rows[3] == "fp32 onnxruntime 6.00 1.00 all are held against it"
    assert rows[4] == "fp16 onnxruntime 12.00 0.50 0.49 to 0.51 slower than fp32"
    assert rows[5].startswith("bf16-onnxruntime onnxruntime skipped: no option of onnxruntime is called 'spinn'; did")
    assert rows[6] == "int8-openvino openvino missed its budget: 3.14 points lost, 1 allowed"
    assert rows[7].startswith("squares 64x48 on cpu; onnxruntime 1.32.0; ")
    assert fastest(Bundle.open(here / "b")).precision == "int8-onnxruntime"


@pytest.mark.parametrize("verb", [["bench", "b", "--store"], ["profile", "b", "--no-compare"], ["info", "b"]])
def test_names_in_a_bundle_are_text_and_move_no_cursor(
    plain: Bundle, here: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any], verb: list[str]
) -> None:
    made = bundle_with(plain, here / "b", artifact(plain, "[bold]\x1b[2Jint7[/]"))
    manifest = dataclasses.replace(made.manifest, title="[red]a[/nothing]\x1b]0;mine\x07\u202e")
    add_manifest(made.folder, manifest)
    runtimes(monkeypatch, ONE)
    timed(monkeypatch, **{"[bold]\x1b[2Jint7[/]_onnxruntime": 0.5})
    code, out, err = call(*verb, *(["--precision", "[bold]\x1b[2Jint7[/]"] if verb[0] == "profile" else []))
    assert (code, err) == (0, "")
    assert "[bold]\N{REPLACEMENT CHARACTER}[2Jint7[/]" in out
    assert not set(out) & {"\x1b", "\x07", "\u202e"}


def test_rivals_names_are_text(plain: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    from edgezoo.cli import profile_
    from edgezoo.measure.layers import profile_layers

    found = profile_layers(plain, runs=1, compare=False)
    rival = Against(name="[/x]\x1b[2J", ms=1.0, ratio=1.0, low=1.0, high=1.0)
    strange = {**found.runs, "precision": "[/y]"}
    profile_._show_rivals(dataclasses.replace(found, against=(rival,), runs=strange), 1.0)
    out = capfd.readouterr().out
    assert "[/x]\N{REPLACEMENT CHARACTER}[2J" in out
    assert "[/y]" in out


def test_an_error_moves_no_cursor(call: Callable[..., Any]) -> None:
    code, _, err = call("info", "\x1b[2Jno such model")
    assert code == 2
    assert "\x1b" not in err


def test_bench_store_as_json(measured: Bundle, call: Callable[..., Any]) -> None:
    code, out, _ = call("bench", measured.folder, "--store", "--json", "--threads", 1, "--blocks", 4)
    told = json.loads(out)
    assert code == 0
    assert told["fastest"] == {"artifact": "int8-onnxruntime", "backend": "onnxruntime"}
    assert (told["threads"], told["rounds"], told["left_out"]) == (1, 4, [])
    assert fastest(measured, threads=1).speed.times == told["speeds"][1]["times"] == 2.0


@pytest.mark.parametrize("option", ["--batch 2", "--precision auto", "--backend openvino", "--source x.mp4"])
def test_bench_store_takes_no_options_of_others(measured: Bundle, call: Callable[..., Any], option: str) -> None:
    code, out, err = call("bench", measured.folder, "--store", *option.split())
    assert (code, out) == (2, "")
    assert err.endswith(f"leave out {option.split()[0]}\n")


@pytest.mark.parametrize(
    "verb",
    [
        ["run", "b", "synthetic:#live=0&frames=2", "--sink", "null"],
        ["verify", "b"],
        ["profile", "b", "--runs", "1", "--no-compare"],
        ["bench", "b", "--blocks", "1", "--max-seconds", "0"],
    ],
)
def test_every_verb_that_runs_says_once_what_auto_runs(
    measured: Bundle, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.setattr("edgezoo.measure.bench._BLOCK_S", 0.004)
    record = measured.artifact("int8")
    agreed = dataclasses.replace(record, agreement=dict.fromkeys(("scores", "boxes_px", "scored_boxes_px"), 0.0))
    bundle_with(_plain(measured), measured.folder, agreed)
    code, out, err = call(*verb, "--precision", "auto", "--json")
    assert code == 0, err
    line = f"auto: int8-onnxruntime on onnxruntime, 2.00 times fp32 on onnxruntime here (measured {kept()[0].day})"
    assert err.splitlines().count(line) == 1
    assert json.loads(out).get("runs", {}).get("precision", "int8-onnxruntime") == "int8-onnxruntime"
    code, _, err = call(*verb)
    assert code == 0, err
    assert "auto" not in err


def test_auto_that_was_not_measured_is_one_line(plain: Bundle, call: Callable[..., Any]) -> None:
    code, out, err = call("run", plain.folder, "synthetic:#live=0&frames=2", "--precision", "auto", "--sink", "null")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("edgezoo: squares: nothing was measured on this machine yet: run edgezoo bench ")


def test_the_doctor_tells_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    runtimes(monkeypatch, ONE)
    (row,) = doctor._speeds()
    assert (row.state, row.cure) == ("missing", "edgezoo bench MODEL --store")
    store(_record(measured="2020-01-01T00:00:00Z", called="/a/nano b", threads=1, versions={"onnxruntime": "1.30"}))
    store(_record())
    store(_record(called="elsewhere", hardware={**stored.hardware(), "cpu": "of another machine"}))
    valid, void = doctor._speeds()
    assert (valid.section, valid.name, valid.state) == ("speeds", "m", "ok")
    assert valid.what == "int8-onnxruntime on onnxruntime, 2.50 times fp32 on onnxruntime, measured today"
    assert (void.name, void.state) == ("nano b", "missing")
    assert void.what == "void with --threads 1: measured with onnxruntime 1.30, here is 1.32.0"
    assert void.cure == "edgezoo bench '/a/nano b' --store --threads 1"
