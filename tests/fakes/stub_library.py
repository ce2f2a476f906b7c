"""A shared library that has nothing but a name and functions that answer 0, written without a compiler.

It lets a module load that needs a library by that name: the module's names can be read, nothing of it can run. The
layout follows the System V ABI, chapters 4 and 5 (ELF64, little-endian): one segment that is read and executed, one
that is written, and what the loader asks for (hash, symbols, strings, soname).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence

# "return 0" and the machine's number in an ELF header.
_MACHINES = {
    "x86_64": (62, bytes.fromhex("31c0c3")),  # xor eax, eax; ret
    "aarch64": (183, bytes.fromhex("000080d2c0035fd6")),  # mov x0, #0; ret
}
_PAGE = 0x10000  # as large as any Linux on either machine has it
_HEADER, _SEGMENT = 64, 56
_LOAD, _DYNAMIC, _STACK = 1, 2, 0x6474E551
_HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 4, 5, 6, 10, 11, 14


def stub_library(soname: str, functions: Sequence[str], *, machine: str | None = None) -> bytes:
    """The bytes of a library of that name that exports these functions. Raises KeyError for a machine not known."""
    number, code = _MACHINES[machine or platform.machine()]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (*functions, soname))
    code_at = _HEADER + 4 * _SEGMENT
    symbols_at = _aligned(code_at + len(code))
    symbols = bytes(24)
    name_at = 1
    for name in functions:
        symbols += struct.pack("<IBBHQQ", name_at, 0x12, 0, 1, code_at, len(code))  # global, a function, section 1
        name_at += len(name.encode()) + 1
    hash_at = symbols_at + len(symbols)
    count = len(functions) + 1
    # One bucket: every symbol is found by walking the chain 1, 2, 3, ... to its end.
    table = struct.pack(f"<{3 + count}I", 1, count, 1 if functions else 0, *_chain(count))
    strings_at = _aligned(hash_at + len(table))
    text = _padded({0: bytes(code_at), code_at: code, symbols_at: symbols, hash_at: table, strings_at: strings})
    entries = {_HASH: hash_at, _STRTAB: strings_at, _SYMTAB: symbols_at, _STRSZ: len(strings), _SYMENT: 24}
    dynamic = b"".join(struct.pack("<qQ", *pair) for pair in [*entries.items(), (_SONAME, name_at), (0, 0)])
    dynamic_at = -(-len(text) // _PAGE) * _PAGE
    segments = (
        _segment(_LOAD, 5, 0, len(text), _PAGE)
        + _segment(_LOAD, 6, dynamic_at, len(dynamic), _PAGE)
        + _segment(_DYNAMIC, 6, dynamic_at, len(dynamic), 8)
        + _segment(_STACK, 6, 0, 0, 16)  # without it, the loader would make the stack executable
    )
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, number, 1, 0, _HEADER, 0, 0, _HEADER, _SEGMENT, 4, 0, 0, 0)
    return (header + segments + text[code_at:]).ljust(dynamic_at, b"\0") + dynamic


def _segment(kind: int, flags: int, at: int, size: int, align: int) -> bytes:
    """A program header of what lies in memory where it lies in the file."""
    return struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, align)


def _chain(count: int) -> list[int]:
    return [0, *range(2, count), 0][:count]


def _aligned(at: int) -> int:
    return -(-at // 8) * 8


def _padded(parts: dict[int, bytes]) -> bytes:
    whole = b""
    for at, part in parts.items():
        whole = whole.ljust(at, b"\0") + part
    return whole
