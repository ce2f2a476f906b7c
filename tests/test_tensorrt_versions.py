"""All that differs between TensorRT's versions, in one table; and what an engine may be built for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from edgezoo.backends.tensorrt.options import BuildOptions, batch_range, read_options
from edgezoo.backends.tensorrt.versions import Dialect, dialect, version_of
from edgezoo.errors import BackendError, RequestError

PLAIN = BuildOptions()
OLD, TYPED = ("EXPLICIT_BATCH",), ("STRONGLY_TYPED",)
OBEY = "OBEY_PRECISION_CONSTRAINTS"


@pytest.mark.parametrize(
    ("told", "network", "builder", "pins", "tells"),
    [
        ("8.6.2", OLD, ("FP16", OBEY), True, False),
        ("9.0.1", OLD, ("FP16", OBEY), True, False),
        ("9.1.0.post11.dev4", (*OLD, *TYPED), (), False, False),
        ("10.0.1", TYPED, (), False, True),
        ("10.3.0", TYPED, (), False, True),
        ("10.13.2.6", TYPED, (), False, True),
        ("11.4.0.106", (), (), False, True),
        ("12.0.0", (), (), False, True),
    ],
)
def test_what_each_version_is_told(
    told: str, network: tuple[str, ...], builder: tuple[str, ...], pins: bool, tells: bool
) -> None:
    assert dialect(told, {"fp32", "fp16"}, PLAIN) == Dialect(
        network_flags=network,
        builder_flags=builder,
        parser_flags=(),
        hardware="NONE",
        preview_features=() if tells else ("PROFILE_SHARING_0806",),
        pins=pins,
        tells=tells,
    )


@pytest.mark.parametrize(
    ("precisions", "flags"),
    [
        (set(), ()),
        ({"fp32"}, ()),
        ({"fp32", "fp16"}, ("FP16", OBEY)),
        ({"fp32", "int8"}, ("INT8",)),
        ({"int8", "fp16"}, ("FP16", "INT8")),
    ],
)
def test_the_oldest_switches_on_what_the_graph_has_and_no_more(precisions: set[str], flags: tuple[str, ...]) -> None:
    assert dialect("8.6.1", precisions, PLAIN).builder_flags == flags
    assert dialect("10.3.0", precisions, PLAIN).builder_flags == ()


@pytest.mark.parametrize(
    ("told", "options", "what"),
    [
        ("8.6.2", {"version_compatible": True}, {"VERSION_COMPATIBLE", "NATIVE_INSTANCENORM", "NONE"}),
        ("10.3.0", {"version_compatible": True}, {"VERSION_COMPATIBLE", "NONE"}),
        ("11.4.0", {"version_compatible": True}, {"VERSION_COMPATIBLE", "NONE"}),
        ("8.6.2", {"hardware_compatible": "ampere"}, {"AMPERE_PLUS"}),
        ("10.3.0", {"hardware_compatible": "ampere"}, {"AMPERE_PLUS"}),
        ("10.9.0", {"hardware_compatible": "same"}, {"SAME_COMPUTE_CAPABILITY"}),
        ("11.4.0", {"hardware_compatible": "same"}, {"SAME_COMPUTE_CAPABILITY"}),
        ("10.3.0", {"dla": 1}, {"GPU_FALLBACK", "NONE"}),
    ],
)
def test_options(told: str, options: dict[str, Any], what: set[str]) -> None:
    says = dialect(told, {"fp32"}, BuildOptions(**options))
    assert {*says.builder_flags, *says.parser_flags, says.hardware} == what


@pytest.mark.parametrize("told", ["8.6.2", "10.3.0", "10.8.0.43"])
def test_an_option_that_a_version_does_not_have(told: str) -> None:
    with pytest.raises(RequestError, match=rf"needs TensorRT 10\.9 or newer, here is {told}; try =ampere"):
        dialect(told, set(), BuildOptions(hardware_compatible="same"))


@pytest.mark.parametrize("told", ["8.5.2", "8.5.10", "7.1.3.0", "", "unknown"])
def test_too_old(told: str) -> None:
    with pytest.raises(BackendError, match=rf"expected TensorRT 8\.6 or newer, got {told}"):
        version_of(told)


@pytest.mark.parametrize(
    ("text", "batch"), [("1", (1, 1, 1)), ("8", (8, 8, 8)), ("1:4:8", (1, 4, 8)), (" 2:2:2 ", (2, 2, 2))]
)
def test_batch_ranges(text: str, batch: tuple[int, int, int]) -> None:
    assert batch_range(text) == batch


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:2:3:4", "-1", "1.5", "1,2,3", "123456"])
def test_no_batch_range(text: str) -> None:
    with pytest.raises(RequestError, match="expected a batch size, or LEAST:BEST:MOST"):
        batch_range(text)


@pytest.mark.parametrize(
    ("given", "raises"),
    [
        ({"batch": (0, 1, 1)}, "batch range of 1 <= least <= best <= most, got 0:1:1"),
        ({"batch": (4, 1, 8)}, "got 4:1:8"),
        ({"batch": (1, 9, 8)}, "got 1:9:8"),
        ({"batch": (1, 2)}, "three whole numbers, got (1, 2)"),
        ({"batch": [1, 1, 1]}, "three whole numbers, got [1, 1, 1]"),
        ({"batch": (1, 1.0, 1)}, "three whole numbers, got (1, 1.0, 1)"),
        ({"optimization": "3"}, "optimization as a whole number, got '3'"),
        ({"optimization": None}, "optimization as a whole number, got None"),
        ({"workspace_mb": 1.5}, "workspace_mb as a whole number, got 1.5"),
        ({"dla": True}, "dla as a whole number, got True"),
        ({"version_compatible": 1}, "version_compatible as true or false, got 1"),
        ({"workspace_mb": 0}, "1 MiB of workspace or more, got 0"),
        ({"optimization": 6}, "optimization 0 to 5, got 6"),
        ({"optimization": -1}, "optimization 0 to 5, got -1"),
        ({"hardware_compatible": "turing"}, "hardware ampere or same, got 'turing'"),
        ({"dla": -1}, "a DLA core from 0 on, got -1"),
        ({"dla": 0, "batch": (1, 4, 8)}, "a DLA runs one batch size alone, got 1:4:8; try --batch 4"),
    ],
)
def test_options_out_of_range(given: dict[str, Any], raises: str) -> None:
    with pytest.raises(RequestError, match=re.escape(raises)):
        BuildOptions(**given)


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (PLAIN, ""),
        (BuildOptions(batch=(4, 4, 4)), "--batch 4"),
        (
            BuildOptions(batch=(4, 4, 4), workspace_mb=512, optimization=5, dla=0),
            "--batch 4 --workspace 512 --optimization 5 --dla 0",
        ),
        (
            BuildOptions(version_compatible=True, hardware_compatible="ampere"),
            "--version-compatible --hardware-compatible=ampere",
        ),
    ],
)
def test_options_come_back_as_they_were(options: BuildOptions, command: str) -> None:
    assert options.command() == command
    assert read_options(json.loads(json.dumps(options.to_dict()))) == options
