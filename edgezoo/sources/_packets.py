"""Packets over UDP: whether any come. Found out here, before FFmpeg listens for them with OpenCV's lock in its hand."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, parse_qs

from edgezoo.errors import SourceAbsent

_TRIES = 50
_ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_NOTHING = b"\x80" + bytes(11)
"""An RTP packet without anything in it. Sent first, it opens the way back through firewalls on our side."""


def wait_for_packet(url: SplitResult, *, timeout_s: float) -> None:
    """Until one comes to where a `udp://` address has us listen, in a group too. TimeoutError; OSError: we cannot."""
    query = parse_qs(url.query)
    asked = query.get("localport", [""])[0]
    port = int(asked) if asked.isdecimal() and int(asked) < 65536 else url.port
    family, group = _family(url.hostname or "")
    with socket.socket(family, socket.SOCK_DGRAM) as ears:
        if group:  # which others may listen to as well
            ears.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ears.bind((group or _ANYWHERE[family], port))
        if group and family == socket.AF_INET:
            near = socket.inet_aton(query.get("localaddr", ["0.0.0.0"])[0])
            ears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + near)
        elif group:
            joined = socket.inet_pton(socket.AF_INET6, group) + bytes(4)
            ears.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, joined)
        ears.settimeout(timeout_s)
        ears.recv(65536)


@contextmanager
def ears_for(ours: str) -> Iterator[tuple[socket.socket, int]]:
    """A socket on an even port and, with nobody on it, the next one too, as RTP wants them (RFC 3550 section 11)."""
    family, _ = _family(ours)
    for _ in range(_TRIES):
        port = random.randrange(32768, 60000, 2)
        ears, reports = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        with ears, reports:
            try:
                ears.bind((ours, port))
                reports.bind((ours, port + 1))
            except OSError:
                continue
            yield ears, port
            return
    raise SourceAbsent("but no two ports are free here for packets over UDP")


def knock(ears: socket.socket, host: str, port: int) -> None:
    with suppress(OSError, OverflowError):  # what comes may come without
        ears.sendto(_NOTHING, (host, port))


def _family(host: str) -> tuple[socket.AddressFamily, str]:
    """Of the protocol that a host is spoken to in; and the host itself where it is a group."""
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a name, or none: it does not matter who, we listen to all
        return socket.AF_INET, ""
    family = socket.AF_INET6 if number.version == 6 else socket.AF_INET
    return family, str(number) if number.is_multicast else ""
