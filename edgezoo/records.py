"""Dataclasses from untrusted data, strictly: a card's TOML, a bundle's JSON.

Unknown keys, missing keys and wrong types are refused, each with its place and with what was expected.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeGuard, TypeVar, Union

from edgezoo.errors import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
_LINE = 120
_LARGEST_FIGURE = 10**12


class RecordError(ValueError):
    """What is wrong and where; whoever reads a file adds which file, and raises its own error."""


def is_figure(value: object) -> TypeGuard[int | float]:
    """Whether what stands free in a file is a number to be shown: finite, and not of four hundred digits."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return -_LARGEST_FIGURE < value < _LARGEST_FIGURE


def read(kind: type[T], data: object, *, where: str = "") -> T:
    """An instance of the dataclass `kind` from parsed TOML or JSON. Raises RecordError.

    Fields may be str, int, float, bool, Literal, tuples, mappings from str, other dataclasses; any may be None.
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"{where or 'the file'}: expected a table, got {_shown(data)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = nearest(str(key), fields)
            tip = f"did you mean {near!r}?" if near else f"known: {', '.join(fields)}"
            raise RecordError(f"{_join(where, str(key))}: no such key; {tip}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(where, name)}: expected {_wanted(hints[name])}, got nothing; add it")
    try:
        return kind(**values)
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{where}: {error}" if where else str(error)) from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises RecordError."""
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(" ".join(str(error).split())) from None
    return tables


def to_toml(tables: Mapping[str, Any], *, in_rows: Collection[str] = ()) -> str:
    """What `parse_toml` reads: plain values first, then a table for each mapping, several for each list of them.

    A list longer than a line has an item a line; so do those lists of mappings that `in_rows` names.
    Raises ValueError for None, NaN and infinities, of which a file should not speak.
    """
    plain = {name: value for name, value in tables.items() if name in in_rows or not _is_table(value)}
    text = _rows(plain, in_rows)
    for name, value in tables.items():
        if name in plain:
            continue
        if isinstance(value, Mapping):
            text += f"\n[{_key(name)}]\n" + _rows(value)
        else:
            text += "".join(f"\n[[{_key(name)}]]\n" + _rows(row) for row in value)
    return text


def _rows(table: Mapping[str, Any], in_rows: Collection[str] = ()) -> str:
    text = ""
    for name, value in table.items():
        row = f"{_key(name)} = {_inline(value)}\n"
        if isinstance(value, (list, tuple)) and value and (len(row) > _LINE or name in in_rows):
            row = f"{_key(name)} = [\n" + "".join(f"    {_inline(item)},\n" for item in value) + "]\n"
        text += row
    return text


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(i, Mapping) for i in value)
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _inline(name)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(name)} = {_inline(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_inline, value))}]"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"expected values that a file can hold, got {value}")
    # Texts, numbers, true and false are the same in TOML, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(hint: Any, value: object, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(arg for arg in args if arg is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return read(typing.cast(type, hint), value, where=where)
    if origin is tuple and isinstance(value, (list, tuple)):
        if args[-1] is Ellipsis:
            return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) == len(args):
            return tuple(
                _value(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True))
            )
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): _value(args[1], item, _join(where, str(key))) for key, item in value.items()}
    elif origin is Literal and value in args:
        return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    elif (hint in (str, int, bool) and type(value) is hint) or hint in (Any, object):
        return value
    raise RecordError(f"{where}: expected {_wanted(hint)}, got {_shown(value)}")


def _wanted(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin is tuple:
        return (
            f"a list of {_wanted(args[0])}"
            if args[-1] is Ellipsis
            else f"a list of {len(args)}: {', '.join(map(_wanted, args))}"
        )
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(arg) for arg in args if arg is not type(None))
    if dataclasses.is_dataclass(hint) or origin in (dict, Mapping):
        return "a table"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, "a value")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
