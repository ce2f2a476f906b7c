"""The command line: one file a verb, the file's name is the verb's.

A verb has `HELP`, `arguments(parser)` and `run(args) -> exit code`. Exit 0: done. 1: the numbers disagree, or a bound
was missed. 2: the request was wrong; one line says what was expected, what came, and what to try.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from edgezoo import __version__
from edgezoo.errors import AgreementError, EdgezooError, RequestError

VERBS = (
    "list", "info", "pull", "convert", "finetune", "card",
    "compile", "run", "demo", "serve", "eval", "verify", "bench", "profile", "soak", "cache", "doctor",
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; try: {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code."""
    _end_on_signal()
    _print_what_can_be_printed()
    try:
        args = _parser().parse_args(arguments)
        return int(args.run(args))
    except AgreementError as error:
        return _complain(error, 1)
    except (EdgezooError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        return _complain(error, 2)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="edgezoo", description="Convert models with proof, run them live, know the latency.")
    parser.add_argument("--version", action="version", version=f"edgezoo {__version__}")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        verb = importlib.import_module(f"edgezoo.cli.{name}_")
        summary = verb.HELP[0].lower() + verb.HELP[1:].rstrip(".")
        sub = verbs.add_parser(name, help=summary, description=verb.HELP)
        verb.arguments(sub)
        sub.set_defaults(run=verb.run)
    return parser


def _print_what_can_be_printed() -> None:
    """Where a terminal or a pipe is not UTF-8, a letter that it does not have becomes `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _complain(error: Exception, code: int) -> int:
    from edgezoo.address import without_login
    from edgezoo.cli.show import printable

    text = printable(without_login(" ".join(str(error).split())))  # what was asked for may be a camera's address
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"{red}edgezoo:{plain} {text}", file=sys.stderr)
    return code


def _end_on_signal() -> None:
    """A polite kill ends like Ctrl-C: files are closed, threads end, nothing half-written stays."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
