"""Compiled engines as they are kept: for which machine one is, what is refused, and that nothing half-built is loaded.

The builder is one of the tests' own (`fake_builder.py`), a process that does what its graph says.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgezoo.backends.tensorrt import engines, private, timings
from edgezoo.backends.tensorrt.compiling import compile_graph, take_over
from edgezoo.backends.tensorrt.cuda import Facts
from edgezoo.backends.tensorrt.engines import Compiled, find
from edgezoo.backends.tensorrt.fitting import NEVER, Record, changes, key_of
from edgezoo.backends.tensorrt.options import BuildOptions
from edgezoo.backends.tensorrt.progress import Told
from edgezoo.errors import BackendError, EdgezooError, MissingDependency, NotCompiled, RequestError

HERE = Facts(tensorrt="10.3.0", cuda="12.6", driver="550.54", gpu="NVIDIA Orin", capability="8.7")
CHANGED = {
    "tensorrt": ("10.13.2", "TensorRT was 10.3.0, here is 10.13.2"),
    "cuda": ("13.0", "CUDA was 12.6, here is 13.0"),
    "driver": ("580.65", "the driver was 550.54, here is 580.65"),
    "gpu": ("NVIDIA Thor", "the GPU was NVIDIA Orin, here is NVIDIA Thor"),
    "capability": ("8.9", "the compute capability was 8.7, here is 8.9"),
}
OTHERWISE: dict[str, tuple[Any, str]] = {
    "batch": ((1, 4, 8), "batch was 1, asked for 1:4:8"),
    "workspace_mb": (512, "workspace was all there is, asked for 512 MiB"),
    "optimization": (5, "optimization was 3, asked for 5"),
    "version_compatible": (True, "TensorRT was this version alone, asked for this version and later ones"),
    "hardware_compatible": ("same", "hardware was this kind of GPU, asked for all GPUs of its compute capability"),
    "dla": (1, "the DLA core was none, asked for 1"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of engines in a cache of the test's own; each build leaves a line in a file beside that."""
    monkeypatch.setenv("EDGEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    return tmp_path / "cache" / "engines"


def graph(**told: Any) -> bytes:
    return json.dumps(told).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def build(content: bytes = b"{}", here: Facts = HERE, **more: Any) -> Compiled:
    """Compile what `graph` made; `more`: builder options, `called`, `artifact` and `tell`."""
    given = {name: more.pop(name) for name in ("called", "artifact", "tell") if name in more}
    asked = {"called": "net", "artifact": "fp16", **given}
    return compile_graph(content, here=here, options=BuildOptions(**more), builder="fake_builder", **asked)


def builds(cache: Path) -> list[dict[str, Any]]:
    log = cache.parent.parent / "builds"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def left_over(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.name.startswith(".")]


def refusal(content: bytes = b"{}", here: Facts = HERE) -> str:
    with pytest.raises(NotCompiled) as caught:
        find(sha256(content), here).read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What is built is kept.


def test_an_engine_is_built_once(cache: Path) -> None:
    told: list[Told] = []
    content = graph(engine="BYTES", seconds=0.3, news=[{"say": "mind  the\ngap"}, "no news", [1]])
    first = build(content, tell=told.append)
    assert first.built
    assert first.why == NEVER
    assert first.warnings == ("mind the gap",)
    assert first.path.read_bytes() == first.read() == b"BYTES"  # nothing is put in front
    assert [each.news for each in told if each.news] == [f"compiling net fp16 for NVIDIA Orin: {NEVER}"]
    again = build(content)
    assert (again.built, again.why) == (False, "")
    assert find(sha256(content), HERE).record == again.record == first.record
    assert len(builds(cache)) == 1
    assert left_over(cache) == []


def test_what_is_kept_of_it(cache: Path) -> None:
    record = build(graph(engine="BYTES"), called="/some/where/net", batch=(1, 2, 4)).record
    assert (record.name, record.batch, record.layers, record.bytes) == ("net fp16", "1:2:4", 7, 5)
    assert record.sha256 == sha256(b"BYTES")
    assert record.facts == HERE
    assert 0 < record.seconds < 60
    assert abs(record.built_at().timestamp() - time.time()) < 60
    (about,) = cache.glob("*.json")
    text = about.read_text()
    assert all(word in text for word in ("10.3.0", "12.6", "550.54", "NVIDIA Orin", "8.7", "/some/where/net"))


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX")
def test_it_is_private(cache: Path) -> None:
    before = os.umask(0)
    try:
        build()
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.suffix for path in files} == {".engine", ".json", "", ".lock"}


def test_a_folder_that_others_may_enter_is_shut(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o755)
    build()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


# When it is rebuilt, and why.


@pytest.mark.parametrize("name", CHANGED)
def test_each_fact_of_the_machine_counts_alone(name: str, cache: Path) -> None:
    build()
    value, why = CHANGED[name]
    here = replace(HERE, **{name: value})
    assert refusal(here=here) == why
    rebuilt = build(here=here)
    assert (rebuilt.built, rebuilt.why) == (True, why)
    assert find(sha256(b"{}"), here).path != find(sha256(b"{}"), HERE).path  # both are kept


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_option_counts_alone(name: str, cache: Path) -> None:
    build()
    value, why = OTHERWISE[name]
    rebuilt = build(**{name: value})
    assert (rebuilt.built, rebuilt.why) == (True, why)
    assert find(sha256(b"{}"), HERE).path == rebuilt.path


def test_all_that_changed_is_said_of_the_nearest(cache: Path) -> None:
    build()
    build(here=replace(HERE, driver="580.65", tensorrt="10.13.2", cuda="13.0"))
    here = replace(HERE, driver="580.65", tensorrt="10.14.1", cuda="13.0")
    assert refusal(here=here) == "TensorRT was 10.13.2, here is 10.14.1"
    here = replace(HERE, driver="999", tensorrt="10.3.0", capability="9.0")
    assert refusal(here=here) == "the driver was 550.54, here is 999; the compute capability was 8.7, here is 9.0"


def test_a_file_that_changed(cache: Path) -> None:
    assert refusal() == NEVER
    build()
    other = graph(engine="OTHER")
    assert refusal(other) == NEVER
    assert build(other).why == "the artifact's file changed"
    assert build(graph(engine="3"), batch=(2, 2, 2)).why == "the artifact's file changed; batch was 1, asked for 2"


@pytest.mark.parametrize(
    ("built", "here", "why"),
    [
        ("10.3.0", "10.3.0", ""),
        ("10.3.0", "10.3.1", ""),
        ("10.3.0", "10.13.2.6", ""),
        ("10.3.0", "10.2.9", "it is for TensorRT 10.3.0 and later ones of version 10, here is 10.2.9"),
        ("10.13.2", "10.3.0", "it is for TensorRT 10.13.2 and later ones of version 10, here is 10.3.0"),
        ("8.6.2", "10.3.0", "it is for TensorRT 8.6.2 and later ones of version 8, here is 10.3.0"),
        ("11.4.0", "10.13.0", "it is for TensorRT 11.4.0 and later ones of version 11, here is 10.13.0"),
    ],
)
def test_an_engine_for_later_versions(built: str, here: str, why: str) -> None:
    options = BuildOptions(version_compatible=True)
    then, now = replace(HERE, tensorrt=built), replace(HERE, tensorrt=here)
    record = Record(called="net", artifact="fp16", graph_sha256="0", options=options, facts=then)
    assert "; ".join(changes(record, now)) == why
    same_key = key_of("0", then, options) == key_of("0", now, options)
    assert same_key == (built.split(".")[0] == here.split(".")[0])
    assert changes(replace(record, options=BuildOptions()), now) or built == here


@pytest.mark.parametrize(
    ("hardware", "gpu", "capability", "why"),
    [
        ("ampere", "NVIDIA A30", "8.0", ""),
        ("ampere", "NVIDIA GeForce RTX 4090", "8.9", ""),
        ("ampere", "NVIDIA B200", "10.0", ""),
        ("ampere", "Tesla T4", "7.5", "it is for Ampere and newer, here is Tesla T4 of compute capability 7.5"),
        ("same", "NVIDIA Other", "8.7", ""),
        ("same", "NVIDIA Orin", "8.6", "the compute capability was 8.7, here is 8.6"),
        ("", "NVIDIA Other", "8.7", "the GPU was NVIDIA Orin, here is NVIDIA Other"),
    ],
)
def test_an_engine_for_other_gpus(hardware: Any, gpu: str, capability: str, why: str) -> None:
    options = BuildOptions(hardware_compatible=hardware)
    record = Record(called="net", artifact="fp16", graph_sha256="0", options=options, facts=HERE)
    now = replace(HERE, gpu=gpu, capability=capability)
    assert "; ".join(changes(record, now)) == why
    if not why:
        assert key_of("0", now, options) == record.key
    assert changes(record, replace(now, driver="1"))[0].startswith("the driver was 550.54")


def test_a_compatible_engine_is_used_and_not_built_again(cache: Path) -> None:
    first = build(version_compatible=True)
    later = replace(HERE, tensorrt="10.13.2")
    assert find(sha256(b"{}"), later).path == build(here=later, version_compatible=True).path == first.path
    assert len(builds(cache)) == 1
    # One that an older version needs takes its place, and serves both.
    older = replace(HERE, tensorrt="10.1.0")
    assert "it is for TensorRT 10.3.0 and later" in build(here=older, version_compatible=True).why
    assert find(sha256(b"{}"), later).record.facts == older
    assert len(list(cache.glob("*.engine"))) == 1


def test_the_one_that_was_asked_for_last_is_meant(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ones, fours = build(), build(batch=(4, 4, 4))
    assert find(sha256(b"{}"), HERE).path == fours.path
    assert not build().built
    assert find(sha256(b"{}"), HERE).path == ones.path
    monkeypatch.setattr("time.time_ns", lambda: 10**9)  # the clock went back by decades
    assert not build(batch=(4, 4, 4)).built
    assert find(sha256(b"{}"), HERE).path == fours.path
    assert not build().built
    assert find(sha256(b"{}"), HERE).path == ones.path


# What is refused.


def spoil_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.write_bytes(b"enginE")


def longer_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.write_bytes(b"ENGINE and more")


def cut_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.write_bytes(b"")


def no_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.unlink()


def linked_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.rename(cache.parent / "elsewhere")
    path.symlink_to(cache.parent / "elsewhere")


def open_engine(cache: Path) -> None:
    (path,) = cache.glob("*.engine")
    path.chmod(0o666)


def open_record(cache: Path) -> None:
    (path,) = cache.glob("*.json")
    path.chmod(0o620)


def spoil_record(cache: Path) -> None:
    """Both changed, so that the hash is right."""
    spoil_engine(cache)
    (path,) = cache.glob("*.json")
    told = json.loads(path.read_text())
    told["record"]["sha256"] = sha256(b"enginE")
    path.write_text(json.dumps(told))


def strange_key(cache: Path) -> None:
    """As in a cache of somebody else's."""
    (cache / "key").write_bytes(bytes(32))


def no_key(cache: Path) -> None:
    (cache / "key").unlink()


def short_key(cache: Path) -> None:
    (cache / "key").write_bytes(b"12")


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX")
@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (spoil_engine, "was changed since it was built"),
        (longer_engine, "is larger than it was written"),
        (cut_engine, "was changed since it was built"),
        (no_engine, "is gone"),
        (linked_engine, "is a link"),
        (open_engine, "may be written by other users"),
        (open_record, "may be written by other users"),
        (spoil_record, "was not built by this cache, or was changed since"),
        (strange_key, "was not built by this cache, or was changed since"),
        (no_key, "was not built by this cache, whose key is gone"),
        (short_key, "was not built by this cache, whose key is damaged"),
    ],
)
def test_what_this_cache_did_not_build_just_so_is_refused(harm: Any, why: str, cache: Path) -> None:
    path = build().path
    harm(cache)
    assert refusal() == (
        f"{path} is gone" if harm is no_engine else f"refused: {path} {why}, and an engine is native code"
    )
    again = build()
    assert (again.built, again.why) == (True, f"the one that was kept {why}")
    assert find(sha256(b"{}"), HERE).read() == b"ENGINE"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("suffix", ["engine", "json"])
def test_a_file_of_another_user_is_refused(suffix: str, cache: Path) -> None:
    path = build().path
    os.chown(path.with_suffix(f".{suffix}"), 65534, -1)
    assert refusal() == f"refused: {path} belongs to another user, and an engine is native code"
    assert build().built
    assert find(sha256(b"{}"), HERE).read() == b"ENGINE"


@pytest.mark.skipif(os.name != "posix", reason="needs users")
def test_a_cache_of_another_user_is_refused_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    says = "expected a folder of your own for compiled engines, but it belongs to another user; point EDGEZOO_CACHE"
    for ask in (lambda: find(sha256(b"{}"), HERE), build, engines.told):
        with pytest.raises(BackendError, match=says):
            ask()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"record": {}}', '{"record": {"called": 7}, "seal": 1}', "\xff" * 9, "[" * 20000]
)
def test_a_record_that_cannot_be_read_is_named(text: str, cache: Path) -> None:
    build()
    (about,) = cache.glob("*.json")
    about.write_text(text, "latin-1")
    assert refusal() == f"{NEVER}, or its record is one that cannot be read: {about}"
    (entry,) = engines.entries()
    assert entry.record is None
    assert entry.trouble == "has a record that cannot be read"
    assert build(batch=(2, 2, 2)).why == f"{NEVER}, or its record is one that cannot be read: {about}"
    rebuilt = build()
    assert (rebuilt.built, rebuilt.why) == (True, f"the record of the one that was kept cannot be read: {about}")
    assert len(engines.entries()) == 2


def test_an_engine_without_a_record_is_not_named(cache: Path) -> None:
    """What is left where one is killed between the two is nothing that anybody could read."""
    build()
    (about,) = cache.glob("*.json")
    about.unlink()
    assert refusal() == build().why == NEVER


def test_a_refusal_says_how_it_was_compiled(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.plan"
    file.write_bytes(b"THEIRS")
    options = BuildOptions(version_compatible=True)
    for harm, how in ((no_engine, "--batch 1:2:4"), (open_record, "--batch 1:2:4")):
        build(batch=(1, 2, 4))
        harm(cache)
        with pytest.raises(NotCompiled) as caught:
            find(sha256(b"{}"), HERE).read()
        assert caught.value.how == how
    engines.clear(engines.entries())
    take_over(
        file, b"{}", called="net", artifact="fp16", here=HERE, options=options, trust=True, builder="fake_builder"
    )
    with pytest.raises(NotCompiled) as caught:
        find(sha256(b"{}"), replace(HERE, driver="1"))
    assert caught.value.how == "--version-compatible --engine FILE --trust"


def test_a_record_of_another_time(cache: Path) -> None:
    build()
    (about,) = cache.glob("*.json")
    for change in ({"format": 2}, {"built": "yesterday"}, {"batch": 3}):
        told = json.loads(about.read_text())
        told["record"].update(change)
        about.write_text(json.dumps(told))
        assert refusal() == f"{NEVER}, or its record is one that cannot be read: {about}"


# Builders that end otherwise.


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("told", "kind", "says"),
    [
        (
            {"end": signal.SIGKILL},
            BackendError,
            "by signal 9 (SIGKILL, as the system does where memory runs out); it printed nothing; end what else runs, "
            "or give the machine swap space",
        ),
        (
            {"end": signal.SIGABRT, "noise": "one\nfree():  invalid pointer"},
            BackendError,
            "the builder was killed by signal 6 (SIGABRT); its last words: free(): invalid pointer; TensorRT itself "
            "crashed: try another --precision or --optimization, or another version of it",
        ),
        ({"end": signal.SIGTERM}, BackendError, "the builder was killed by signal 15 (SIGTERM); it printed nothing"),
        ({"end": -3}, BackendError, "the builder ended with 3 and said nothing; it printed nothing"),
        ({"last": "gibberish"}, BackendError, "the builder ended with 0 and said nothing; it printed nothing"),
        ({"mute": True}, BackendError, "the builder fell silent; it printed nothing"),
        ({"bytes": 0}, BackendError, "the builder of net fp16 ended without an engine; it printed nothing"),
        ({"last": {"error": "no  such\nnode", "kind": "BackendError"}}, BackendError, "no such node"),
        ({"last": {"error": "get it", "kind": "MissingDependency"}}, MissingDependency, "get it"),
        ({"last": {"error": "not that", "kind": "RequestError"}}, RequestError, "not that"),
        ({"last": {"error": "odd", "kind": "SystemExit"}}, BackendError, "odd"),
        (
            {"last": {"error": "[Errno 28] No space left on device: '/x'", "kind": "OSError"}},
            BackendError,
            "No space left on device; make room with `edgezoo cache clear engines` or point EDGEZOO_CACHE elsewhere",
        ),
    ],
)
def test_a_builder_that_fails_is_one_line(
    told: dict[str, Any], kind: type[EdgezooError], says: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgezoo.backends.tensorrt.child._PATIENCE_S", 0.5)
    with pytest.raises(kind) as caught:
        build(graph(**told))
    assert str(caught.value).endswith(says)
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []
    assert engines.entries() == []
    assert build(b"{}").built  # the lock is free


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("deaf", [False, True])
def test_who_is_interrupted_stops_the_builder(deaf: bool, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgezoo.backends.tensorrt.child._PATIENCE_S", 0.5)

    said: list[str] = []

    def interrupt(told: Told) -> None:
        said.append(told.text)
        if builds(cache) and told.text != "stopping":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(graph(seconds=30, deaf=deaf), tell=interrupt)
    assert said[-1] == "stopping"
    assert not alive(builds(cache)[0]["pid"])
    assert left_over(cache) == []
    assert engines.entries() == []
    assert build(b"{}").built


def test_what_a_killed_builder_left_is_removed_by_the_next(cache: Path) -> None:
    build()
    ours, others, held = (f".{key}.01234567.part" for key in (build().record.key, "1" * 16, "2" * 16))
    for name in (ours, others, held, ".0.part", "mine.part"):
        (cache / name).mkdir()
        (cache / name / "into").write_bytes(b"half")
    with private.lock("2" * 16):
        build(batch=(2, 2, 2))
        assert {path.name for path in cache.glob("*.part")} | set(left_over(cache)) == {held, ".0.part", "mine.part"}
    build(batch=(3, 3, 3))
    assert set(left_over(cache)) == {".0.part"}


def test_who_comes_second_waits_and_uses_what_was_built(cache: Path) -> None:
    content = graph(seconds=0.8)
    told: list[Told] = []
    first = threading.Thread(target=build, args=(content,))
    first.start()
    while not builds(cache):
        time.sleep(0.01)
    second = build(content, tell=told.append)
    first.join()
    assert (second.built, second.why) == (False, "another process built it meanwhile")
    assert len(builds(cache)) == 1
    assert [each.news for each in told if each.news][1:] == ["another process is building it: waiting for that one"]


def test_who_waits_for_one_that_fails_builds_itself(cache: Path, tmp_path: Path) -> None:
    content = graph(seconds=0.4, last={"error": "no"})
    failed: list[str] = []

    def fail() -> None:
        with pytest.raises(BackendError) as caught:
            build(content)
        failed.append(str(caught.value))

    threads = [threading.Thread(target=fail) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == ["no", "no"]
    assert len(builds(cache)) == 2


# Disks.


def test_a_full_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    for number, says in (
        (errno.ENOSPC, "edgezoo cache clear engines"),
        (errno.EACCES, "chown"),
        (errno.EIO, "error; point"),
    ):

        def fail(handle: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(BackendError, match=f"could not keep compiled engines in .*{says}"):
                build(batch=(2, 2, 2))
        assert left_over(cache) == []
    assert find(sha256(b"{}"), HERE).read() == b"ENGINE"


def test_a_cache_that_cannot_be_written_to_is_told_before_the_build(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BackendError, match=r"engines: cannot be looked into: .*; point EDGEZOO_CACHE elsewhere"):
        build()
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir()
    (tmp_path / "else").mkdir()
    cache.symlink_to(tmp_path / "else")
    with pytest.raises(BackendError, match="expected a folder of your own for compiled engines, but it is no folder"):
        build()
    assert builds(cache) == []


def read_only(*given: Any, **more: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_what_is_kept_is_used_where_nothing_can_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ones, fours = build(), build(batch=(4, 4, 4))
    for name in ("mkdir", "utime", "chmod", "replace"):
        monkeypatch.setattr(os, name, read_only)
    assert build(batch=(4, 4, 4)) == replace(fours, built=False, why="")
    again = build()
    assert (again.path, again.built) == (ones.path, False)
    (word,) = again.warnings
    assert word == "the cache cannot be written to: the one that was asked for last, batch 4, is run"
    with pytest.raises(BackendError, match=r"could not keep compiled engines in .*: Read-only file system; point EDGE"):
        build(batch=(2, 2, 2))
    assert len(builds(cache)) == 2


# Timing caches.


def test_a_timing_cache_is_lent_to_the_next_build(cache: Path) -> None:
    build(graph(timing="one"))
    build(graph(timing="one"), batch=(2, 2, 2))
    build(graph(timing="two"), here=replace(HERE, driver="1", cuda="2"))
    build(graph(), here=replace(HERE, gpu="NVIDIA Other"))
    build(graph(), optimization=1)
    assert [each["timing"] for each in builds(cache)] == [None, "one", "one", None, "two"]
    assert timings.kept() == [(path, "TensorRT 10.3.0, NVIDIA Orin (8.7)") for path in cache.glob("timing-*.cache")]


@pytest.mark.parametrize("harm", ["changed", "others", "cut", "of another GPU"])
def test_a_timing_cache_that_is_not_ours_is_thrown_away(harm: str, cache: Path) -> None:
    build(graph(timing="one"))
    (path,) = cache.glob("timing-*.cache")
    if harm == "changed":
        path.write_bytes(path.read_bytes() + b"!")
    elif harm == "others":
        path.chmod(0o666)
    elif harm == "cut":
        path.write_bytes(b"")
    else:
        build(graph(timing="theirs"), here=replace(HERE, gpu="NVIDIA Other"))
        (other,) = set(cache.glob("timing-*.cache")) - {path}
        other.rename(path)
    (word,) = build(graph(), batch=(2, 2, 2)).warnings
    assert "was thrown away" in word
    assert builds(cache)[-1]["timing"] is None
    assert not path.exists()


def test_how_long_it_took_before(cache: Path) -> None:
    assert engines.seconds_before(sha256(b"{}"), BuildOptions()) is None
    build()
    build(here=replace(HERE, driver="1"), optimization=5)
    first, second = (
        entry.record.seconds for entry in sorted(engines.entries(), key=lambda each: each.asked_ns) if entry.record
    )
    assert engines.seconds_before(sha256(b"{}"), BuildOptions(batch=(9, 9, 9))) == first
    assert engines.seconds_before(sha256(b"{}"), BuildOptions(optimization=5)) == second
    assert engines.seconds_before("0", BuildOptions()) is None


# Engines that were built elsewhere.


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Compiled]:
    """Takes over a file, which it writes with these bytes; `told`: what the builder does when it tries it."""

    def take_it(content: bytes = b"THEIRS", *, file: Path | None = None, trust: bool = True, **told: Any) -> Compiled:
        if file is None:
            file = tmp_path / "net.plan"
            file.write_bytes(content)
        options = BuildOptions(version_compatible=True)
        given = {"called": "net", "artifact": "fp16", "here": HERE, "options": options, "trust": trust}
        return take_over(file, graph(tried=told) if told else b"{}", builder="fake_builder", **given)  # type: ignore[arg-type]

    return take_it


def test_an_engine_from_elsewhere_is_kept_only_where_it_is_trusted(cache: Path, take: Callable[..., Compiled]) -> None:
    built = build()
    with pytest.raises(RequestError, match=r"net\.plan: refused: an engine is native code.*add --trust$"):
        take(trust=False)
    assert find(sha256(b"{}"), HERE).path == built.path
    taken = take()
    assert (taken.record.taken, taken.record.batch, taken.record.options.version_compatible) == (True, "its own", True)
    assert (taken.built, taken.record.layers) == (False, 7)
    assert find(sha256(b"{}"), HERE).read() == b"THEIRS"
    take(b"OTHERS")
    assert find(sha256(b"{}"), replace(HERE, tensorrt="10.4.0")).read() == b"OTHERS"
    assert find(sha256(b"{}"), HERE).read() == b"OTHERS"
    assert not build().built
    assert find(sha256(b"{}"), HERE).read() == b"ENGINE"
    assert build(batch=(2, 2, 2)).why == "batch was 1, asked for 2"
    assert left_over(cache) == []


@pytest.mark.skipif(os.name != "posix", reason="needs devices")
@pytest.mark.parametrize(
    ("file", "got"),
    [
        ("/etc", "a folder"),
        ("/dev/zero", "a device or a pipe"),
        ("/nowhere/net.plan", "no such file"),
        ("/etc/passwd/net.plan", "a file that cannot be read: Not a directory"),
        (b"", "an empty file"),
        (b"{}", "the artifact itself"),
    ],
)
def test_what_is_no_engine_is_told(file: str | bytes, got: str, cache: Path, take: Callable[..., Compiled]) -> None:
    given = {"content": file} if isinstance(file, bytes) else {"file": Path(file)}
    with pytest.raises(RequestError, match=f"expected an engine that trtexec or TensorRT wrote, got {got}$"):
        take(**given)
    assert not cache.exists()


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("told", "kind", "says"),
    [
        ({"last": {"error": "not this one", "kind": "RequestError"}}, RequestError, "net.plan: not this one"),
        ({"last": {"error": "no room", "kind": "BackendError"}}, BackendError, "net.plan: no room"),
        (
            {"end": signal.SIGSEGV},
            BackendError,
            "net.plan: the builder was killed by signal 11 (SIGSEGV); it printed nothing; it may be damaged, or built "
            "for another GPU or TensorRT",
        ),
    ],
)
def test_an_engine_that_does_not_run_here_replaces_nothing(
    told: dict[str, Any], kind: type[EdgezooError], says: str, cache: Path, take: Callable[..., Compiled]
) -> None:
    content = graph(tried=told)
    before = build(content)
    with pytest.raises(kind) as caught:
        take(**told)
    assert str(caught.value).endswith(says)
    assert find(sha256(content), HERE).path == before.path
    assert len(engines.entries()) == 1
    assert left_over(cache) == []


def test_what_is_said_of_an_engine_from_elsewhere(take: Callable[..., Compiled]) -> None:
    assert take(news=[{"say": "it computes in int8"}]).warnings == ("it computes in int8",)
