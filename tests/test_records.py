"""Records: dataclasses from untrusted data, and one line that says what is wrong and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from edgezoo.records import RecordError, parse_toml, read, to_toml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    side: int
    name: str = "unnamed"

    def __post_init__(self) -> None:
        if self.side < 0:
            raise ValueError(f"expected a side of 0 or more, got {self.side}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    text: str
    number: float = 0.0
    count: int = 0
    flag: bool = False
    fit: Literal["stretch", "crop"] = "crop"
    size: tuple[int, int] = (1, 1)
    words: tuple[str, ...] = ()
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    table: Mapping[str, float] = dataclasses.field(default_factory=dict)
    free: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {}),
        ({"number": 3}, {"number": 3.0}),  # TOML and JSON write whole numbers without a point
        ({"size": [3, 4], "words": ["a"]}, {"size": (3, 4), "words": ("a",)}),
        ({"words": []}, {"words": ()}),
        ({"inner": {"side": 2}}, {"inner": Inner(side=2)}),
        ({"inner": None}, {"inner": None}),
        ({"many": [{"side": 1}, {"side": 2, "name": "b"}]}, {"many": (Inner(side=1), Inner(side=2, name="b"))}),
        ({"table": {"a": 1}}, {"table": {"a": 1.0}}),
        ({"free": {"a": [1, {"b": None}]}}, {"free": {"a": [1, {"b": None}]}}),
        ({"fit": "stretch", "flag": True}, {"fit": "stretch", "flag": True}),
    ],
)
def test_good_data(data: dict[str, Any], expected: dict[str, Any]) -> None:
    got = read(Outer, {"text": "x", **data})
    assert got == Outer(text="x", **expected)
    assert type(got.number) is float


@pytest.mark.parametrize(
    ("data", "raises"),
    [
        ({"text": None}, "text: expected a text, got None"),
        ({"text": 5}, "text: expected a text, got 5"),
        ({"txet": "x"}, "txet: no such key; did you mean 'text'?"),
        ({"zzz": 1}, "zzz: no such key; known: text, number, count"),
        ({"": 1}, ": no such key"),
        ({"number": "3"}, "number: expected a number, got '3'"),
        ({"number": True}, "number: expected a number, got True"),
        ({"number": float("nan")}, "number: expected a number, got nan"),
        ({"number": float("inf")}, "number: expected a number, got inf"),
        ({"number": None}, "number: expected a number, got None"),
        ({"count": 1.0}, "count: expected a whole number, got 1.0"),
        ({"count": True}, "count: expected a whole number, got True"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"fit": "strech"}, "fit: expected 'stretch' or 'crop', got 'strech'"),
        ({"fit": ["crop"]}, "fit: expected 'stretch' or 'crop', got ['crop']"),
        ({"size": [1]}, "size: expected a list of 2: a whole number, a whole number, got [1]"),
        ({"size": [1, 2, 3]}, "size: expected a list of 2"),
        ({"size": "12"}, "size: expected a list of 2"),
        ({"size": [1, "2"]}, "size[1]: expected a whole number, got '2'"),
        ({"words": "abc"}, "words: expected a list of a text, got 'abc'"),
        ({"words": ["a", 1]}, "words[1]: expected a text, got 1"),
        ({"inner": {}}, "inner.side: expected a whole number, got nothing; add it"),
        ({"inner": {"sied": 1}}, "inner.sied: no such key; did you mean 'side'?"),
        ({"inner": {"side": -1}}, "inner: expected a side of 0 or more, got -1"),
        ({"inner": [1]}, "inner: expected a table, got [1]"),
        ({"many": [{"side": 1}, {"side": "x"}]}, "many[1].side: expected a whole number, got 'x'"),
        ({"many": {"side": 1}}, "many: expected a list of a table, got"),
        ({"table": {"a": "x"}}, "table.a: expected a number, got 'x'"),
        ({"table": [1]}, "table: expected a table, got [1]"),
        ({"free": 5}, "free: expected a table, got 5"),
        ({"text": "x" * 500}, None),
        ({"count": "x" * 500}, "..."),
    ],
)
def test_bad_data(data: dict[str, Any], raises: str | None) -> None:
    whole = {"text": "x", **data}
    if raises is None:
        assert read(Outer, whole).text == data["text"]
        return
    with pytest.raises(RecordError) as caught:
        read(Outer, whole)
    told = str(caught.value)
    assert told.startswith(raises) or told.endswith(raises)
    assert len(told) < 200
    assert "\n" not in told


@pytest.mark.parametrize("data", [None, 5, "text", [1], [{}]])
def test_not_even_a_table(data: object) -> None:
    with pytest.raises(RecordError, match="the file: expected a table"):
        read(Outer, data)
    with pytest.raises(RecordError, match="here: expected a table"):
        read(Outer, data, where="here")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choosy:
    limit: int | None


def test_a_field_that_may_be_none_must_still_be_there() -> None:
    assert read(Choosy, {"limit": None}).limit is None
    assert read(Choosy, {"limit": 5}).limit == 5
    with pytest.raises(RecordError, match=r"^limit: expected a whole number, got nothing; add it$"):
        read(Choosy, {})
    with pytest.raises(RecordError, match=r"^limit: expected a whole number, got 'x'$"):
        read(Choosy, {"limit": "x"})


def test_what_is_missing_is_named() -> None:
    with pytest.raises(RecordError, match=r"^text: expected a text, got nothing; add it$"):
        read(Outer, {})


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"text": "x", "whole": -3, "fraction": 0.1, "large": 1e300, "small": 1e-7, "yes": True, "no": False},
        {"text": "ü 蚂蚁 🐜 \u0085\u2028", "quotes": '"a" \'b\' """', "paths": "C:\\new\\u0041 \\\\"},
        {"control": "".join(map(chr, range(32))) + "\x7f\x80", "lines": "a\nb\r\nc\n"},
        {"empty": [], "numbers": [1, 2], "nested": [[1], ["a", "b"], []], "mixed": [1, {"a": 2}]},
        {"table": {"a": 1, "inline": {"b": {"c": "]"}, "none": {}}, "rows": [{"d": 1}, {"e": [2]}]}, "after": 5},
        {"rows": [{"a": 1}, {}, {"b": {"c": [True]}}], "empty": {}, "after": "x"},
        {"two words": 1, "a.b": {"#": 1}, "": [{"ü": 1, "\x7f": {'"': 1}}], "a-b_1": 2},
    ],
)
def test_what_is_written_is_read(tables: dict[str, Any]) -> None:
    assert parse_toml(to_toml(tables)) == tables


def test_a_list_longer_than_a_line_has_an_item_a_line() -> None:
    long = ["layer.of.a.network.with.a.long.name"] * 4
    tables = {"long": long, "short": [1, 2], "table": {"long": long}}
    row = f'    "{long[0]}",\n'
    assert to_toml(tables) == f"long = [\n{4 * row}]\nshort = [1, 2]\n\n[table]\nlong = [\n{4 * row}]\n"
    assert parse_toml(to_toml(tables)) == tables


def test_tables_may_be_rows() -> None:
    tables = {"rows": [{"a": 1, "b": "x\ny"}, {}], "table": {"c": 2}, "none": [], "after": True}
    text = to_toml(tables, in_rows=["rows", "none"])
    assert text.startswith('rows = [\n    { a = 1, b = "x\\ny" },\n    {},\n]\nnone = []\nafter = true\n')
    assert parse_toml(text) == tables


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), [1, None], {"a": {"b": None}}])
def test_what_toml_does_not_hold(value: Any) -> None:
    for tables in ({"a": value}, {"a": {"b": value}}, {"a": [{"b": value}]}):
        with pytest.raises(ValueError, match="expected values that a file can hold, got "):
            to_toml(tables)
