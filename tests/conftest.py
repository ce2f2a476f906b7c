"""What all tests share: a world of their own, real data where there is any, and bundles of tiny networks."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest

from edgezoo.backends import backends
from edgezoo.bundle import Bundle
from edgezoo.convert import convert
from edgezoo.preprocess import Preprocess

OPEN_ANY = [name for name in backends() if name != "tensorrt"]
"""The backends that open a graph as it is; of TensorRT, which wants it compiled first, is `test_tensorrt.py`."""


def need(what: str, here: bool, why: str) -> None:
    """Skip the test, saying why, where `what` is not here; fail it where `EDGEZOO_MUST` lists `what`."""
    if here:
        return
    if must(what):
        pytest.fail(f"EDGEZOO_MUST says that this machine has {what}, but {why}")
    pytest.skip(why)


def must(what: str) -> bool:
    """Whether `EDGEZOO_MUST` (`rtsp,bindings,cuda`) says that tests which need `what` may not be skipped here."""
    return what in os.environ.get("EDGEZOO_MUST", "").split(",")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, so that nothing is found that they did not put there."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEZOO_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def own_network() -> Iterator[None]:
    """No way out but to this machine, so that a test answers the same with and without a network."""
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", None, ""):
            raise socket.gaierror(f"tests do not reach out, not even to {host}")
        return real(host, *more, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real images and clips: `data/`, `media/`."""
    return _folder("EDGEZOO_TEST_DATA", "real images and clips")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real weights, which `fetch` asks before the network."""
    return _folder("EDGEZOO_MIRROR", "real weights")


def _folder(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} names no folder with {what}")
    folder = Path(value).resolve()
    assert folder.is_dir(), f"{variable}: {folder} is no folder"
    return folder


@pytest.fixture(scope="session")
def official(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """`official("yolox_nano" or "mobilenet_v2")`: its makers' weights, by their own graph where there is one."""
    return functools.cache(lambda name: convert(name, tmp_path_factory.mktemp(name) / "bundle", prefer_onnx=True))


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """`bundle_of("squares" or "colors", recipe, batch=None)`: a tiny network's bundle, of one recipe made only once."""
    made: dict[Any, Bundle] = {}

    def make(kind: str, recipe: Preprocess, *, batch: int | None = None) -> Bundle:
        if (kind, recipe, batch) not in made:
            folder = tmp_path_factory.mktemp(kind)
            made[kind, recipe, batch] = convert(
                graphs.card_of(kind, folder, recipe, batch=batch), folder / "bundle", batch=batch
            )
        return made[kind, recipe, batch]

    return make
