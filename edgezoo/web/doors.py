"""Who may come in, and what every answer says to browsers.

A page of somebody else's, open in the same browser, must not reach the device through it: names that a stranger's name
server could point here are refused (DNS rebinding), as is what another origin sends, and there is no CORS.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response

from edgezoo.web.answers import Refusal, failure, refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "edgezoo-{port}"
"""A browser keeps cookies by host: those of two servers on one are told apart by their names."""
WITHOUT_TOKEN = frozenset({"/login", "/style.css", "/healthz", "/readyz"})
_WRONG_S = 0.5  # what a wrong token costs
_LOGIN_S = 5.0  # for all of a form
_MOST_FORM = 4096  # bytes
_LAST = {"connection": "close"}
_MONTH_S = 30 * 24 * 3600
_CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
_CSP += "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": _CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with none at all, browsers send a form without saying from where
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_log = logging.getLogger("edgezoo")


class Doors:
    """In front of an ASGI application."""

    def __init__(self, app: App, *, token: str | None, names: Iterable[str] = ()) -> None:
        """`names`: what a browser may call this machine, besides localhost and all addresses in numbers. With a token
        any name will do: a stranger's page does not have it.
        """
        self._app, self._token = app, token
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = False

        async def answer(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = _with_ours(message.get("headers", []))
            await send(message)

        try:
            await self._enter(scope, receive, answer)
        except Refusal as refusal:
            await refused(refusal)(scope, receive, answer)
        except Exception as error:
            _log.exception("a request to %s failed", scope["path"])
            if began:
                raise
            await refused(failure(error))(scope, receive, answer)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host")
        if self._token is None and host is not None and not self._is_ours(host):
            raise Refusal(403, f"expected this machine as localhost or in numbers, got {host[:80]!r}; try 127.0.0.1")
        if scope["method"] not in ("GET", "HEAD") and _is_foreign(headers, host):
            raise Refusal(403, "expected a request of this page's own, another site sent it")
        if self._token is None:
            return await self._app(scope, receive, send)
        path, query = scope["path"], parse_qs(scope["query_string"].decode("latin-1"))
        if path == "/login" and scope["method"] == "POST":
            return await self._log_in(scope, receive, send)
        if path == "/" and (given := query.get("token")):
            return await self._with_cookie(given[-1], scope, receive, send)
        if path in WITHOUT_TOKEN or self._knows(headers, _cookie_of(scope)):
            return await self._app(scope, receive, send)
        if path == "/" and scope["method"] == "GET":
            raise Refusal(303, "expected a token", headers={"location": "/login"})
        raise Refusal(
            401, "expected the token as Authorization: Bearer TOKEN, or a login", headers={"www-authenticate": "Bearer"}
        )

    # -- the token

    def _knows(self, headers: dict[bytes, str], name: str) -> bool:
        """`name`: of the cookie."""
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get(b"cookie", "")).get(name)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._pass.encode())

    def _is_token(self, given: str) -> bool:
        """In a time that does not tell how much of it is right."""
        return hmac.compare_digest(given.encode("utf-8", "replace"), (self._token or "").encode())

    @property
    def _pass(self) -> str:
        """What a browser keeps instead of the token."""
        return hmac.new((self._token or "").encode(), b"a browser's pass", hashlib.sha256).hexdigest()

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            form = await asyncio.wait_for(_form(receive), _LOGIN_S)
        except asyncio.TimeoutError:
            raise Refusal(408, f"expected the token within {_LOGIN_S:g} s, it did not come", headers=_LAST) from None
        given = parse_qs(form.decode("utf-8", "replace")).get("token", [""])[-1]
        await self._with_cookie(given.strip(), scope, receive, send)

    async def _with_cookie(self, given: str, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_token(given):
            await asyncio.sleep(_WRONG_S)
            raise Refusal(303, "expected the token, got another", headers={"location": "/login?wrong"})
        # Not a redirect: after a link from elsewhere a browser would keep a strict cookie back from it.
        cookie = f"{_cookie_of(scope)}={self._pass}; HttpOnly; SameSite=Strict; Path=/; Max-Age={_MONTH_S}"
        blank = '<!doctype html><title>edgezoo</title><link rel="icon" href="data:,">'
        page = Response(blank, headers={"set-cookie": cookie, "refresh": "0; url=/"})
        page.headers["content-type"] = "text/html"
        await page(scope, receive, send)

    # -- where it comes from

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower().rstrip(".") in self._names
        return True


async def _form(receive: Receive) -> bytes:
    body, more = b"", True
    while more and len(body) <= _MOST_FORM:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body[:_MOST_FORM]


def _cookie_of(scope: Scope) -> str:
    return COOKIE.format(port=(scope.get("server") or ("", ""))[1])


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host.strip())


def _is_foreign(headers: dict[bytes, str], host: str | None) -> bool:
    """Browsers say from where; programs need not. Most say whether it is another site: their word counts, for a proxy
    in between may call this host by another name. Of the others the origin is compared.
    """
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin).netloc.lower() != (host or "").strip().lower()


def _with_ours(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = [*headers]
    there = {name.lower() for name, _ in given}
    ours = {**HEADERS, "cache-control": "no-store"}
    return given + [(name.encode(), value.encode()) for name, value in ours.items() if name.encode() not in there]
