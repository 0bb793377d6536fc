"""Who may ask. On loopback anybody on this machine; with a token set, whoever has one, for every path.

A token comes as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic, which browsers ask for by themselves.
A reviewer's token opens the service too, and names the reviewer. Without tokens only requests to a loopback name are
answered, so that no web page can reach the service through a name of its own (DNS rebinding); bodies must be JSON,
which no page can send across origins unasked.

Limits: no rate limit for each caller and no TLS: put a proxy in front for both.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass

from infra.errors import UserError
from infra.network import is_loopback
from tasks.data.feedback import SHORTEST_TOKEN, reviewers_from_environment

TOKEN = "NIGHTSHIFT_SERVE_TOKEN"
LARGEST_BODY = 2 << 20
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Access:
    """The tokens that count: one that opens the service, and reviewers' own (name -> token)."""

    token: str = ""
    reviewers: Mapping[str, str] | None = None

    @property
    def guarded(self) -> bool:
        """Whether every request needs a token."""
        return bool(self.token)

    def reviewer(self, token: str) -> str | None:
        """The reviewer whose token this is."""
        return next((name for name, own in (self.reviewers or {}).items() if _same(own, token)), None)

    def opens(self, token: str) -> bool:
        """Whether the token opens the service."""
        return bool(token) and (_same(self.token, token) or self.reviewer(token) is not None)


def access_from_environment(host: str) -> Access:
    """The tokens of the environment; raises UserError when `host` is beyond loopback and there is none."""
    token = os.environ.get(TOKEN, "")
    if token and len(token) < SHORTEST_TOKEN:
        raise UserError(f"{TOKEN} must have at least {SHORTEST_TOKEN} characters")
    if not token and not is_loopback(host):
        raise UserError(f"--host {host} is beyond this machine: set a token in {TOKEN}, or serve on 127.0.0.1")
    return Access(token, reviewers_from_environment())


def token_of(authorization: str) -> str:
    """The token in an Authorization header; empty when there is none."""
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def refusal(access: Access, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
    """The status and reason with which a request is turned away; None lets it in. `headers` have lower-case names."""
    if access.guarded:
        if not access.opens(token_of(headers.get("authorization", ""))):
            return 401, "a token is needed: Authorization: Bearer TOKEN"
    elif not is_loopback(_host_name(headers.get("host", ""))):
        return 403, f"only 127.0.0.1 and localhost are served without a token; set one in {TOKEN}"
    if method in ("POST", "PUT", "PATCH"):
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "send JSON, with content-type application/json"
        length = headers.get("content-length", "")
        if not length.isdigit():
            return 411, "say how long the body is (content-length)"
        if int(length) > LARGEST_BODY:
            return 413, f"a body may have {LARGEST_BODY >> 20} MB at most"
    return None


def _host_name(host: str) -> str:
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _same(own: str, given: str) -> bool:
    return bool(own) and hmac.compare_digest(own.encode(), given.encode())


class Gate:
    """ASGI middleware: `refusal` for every request, and the headers that every answer carries."""

    def __init__(self, app, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope, receive, send) -> None:
        """Let the request through, or answer it here."""
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.responses import JSONResponse

        async def dressed(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = refusal(self.access, scope["method"], headers)
        if refused is None:
            await self.app(scope, receive, dressed)
            return
        status, reason = refused
        ask = {"www-authenticate": 'Basic realm="nightshift", charset="UTF-8"'} if status == 401 else None
        await JSONResponse({"detail": reason}, status, headers=ask)(scope, receive, dressed)
