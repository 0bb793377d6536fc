"""Requests to any server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama, a hosted model.

What may pass (no connection, a time-out, 408, 409, 425, 429, 5xx) is tried again after a pause that doubles, or the one
the server names; everything else is an error at once. Redirects are not followed: the key, which comes from the
environment, goes to the address that was given and nowhere else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from infra.errors import NightshiftError, UserError, first_line

KEY = "NIGHTSHIFT_ENDPOINT_KEY"
LONGEST_PAUSE = 60.0  # seconds; a server that asks for more is not waited for
_HERE = ("localhost", "127.0.0.1", "::1")
_PASSING = (408, 409, 425, 429)


class Unavailable(NightshiftError):
    """No answer however often it was asked for; `reason` is the last trouble."""

    def __init__(self, url: str, reason: str, tries: int) -> None:
        super().__init__(
            f"{url}: {reason} ({tries} tries); answers so far are kept, the same command goes on with them"
        )
        self.reason = reason


class Completions:
    """One server; may be called from several threads. `timeout` and `first_pause` are seconds."""

    def __init__(
        self,
        url: str,
        timeout: float,
        tries: int,
        connections: int,
        first_pause: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self._timeout, self._tries, self._pause, self._sleep = timeout, tries, first_pause, sleep
        key = os.environ.get(KEY, "")
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=urlsplit(url).hostname not in _HERE,  # no proxy stands before this machine
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ask(self, body: dict[str, Any]) -> tuple[str, int]:
        """The answer's text, and its tokens (0 where the server does not count).

        `body` names the model and holds `messages`, which go to `/chat/completions` for the server's own chat template,
        or a `prompt`, which goes to `/completions` as it is. Raises Unavailable, or UserError for what no retry mends.
        """
        chat = "messages" in body
        url = self.url + ("/chat/completions" if chat else "/completions")
        document = self._send(url, body)
        try:
            choice = document["choices"][0]
            text = choice["message"]["content"] if chat else choice["text"]
            return str(text or ""), int((document.get("usage") or {}).get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError):
            raise NightshiftError(f"{url} answered without choices: no OpenAI-compatible server?") from None

    def _send(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        pause = self._pause
        for attempt in range(1, self._tries + 1):
            named = None
            try:
                response = self._client.post(url, json=body)
            except httpx.TimeoutException:
                trouble = f"no answer within {self._timeout:g} s"
            except httpx.TransportError as error:
                trouble = first_line(error)
            else:
                if response.status_code == 200:
                    return _json(response, url)
                trouble, named = f"{response.status_code} {_reason(response)}", _retry_after(response)
                if response.status_code < 500 and response.status_code not in _PASSING:
                    raise UserError(f"{url} refuses model {body['model']!r}: {trouble}{_hint(response.status_code)}")
            if named is not None and named > LONGEST_PAUSE:
                raise Unavailable(url, f"{trouble}, asks to wait {named:.0f} s", attempt)
            if attempt < self._tries:
                self._sleep(min(pause if named is None else named, LONGEST_PAUSE))
                pause *= 2
        raise Unavailable(url, trouble, self._tries)


def _json(response: Any, url: str) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise NightshiftError(f"{url} answered something else than JSON: no OpenAI-compatible server?")
    return value


def _reason(response: Any) -> str:
    """What the server says in its error document, shortened; servers differ in where they say it."""
    try:
        value = response.json()
        value = value.get("error", value)
        told = value.get("message") or value.get("detail") or value if isinstance(value, dict) else value
    except (ValueError, AttributeError):
        told = response.text
    return " ".join(str(told).split())[:200] or response.reason_phrase


def _hint(status: int) -> str:
    if status in (401, 403):
        return f"; put the key into {KEY}"
    if status == 404:
        return "; is /v1 missing from the address, or the model not loaded?"
    return ""


def _retry_after(response: Any) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):  # not given, or a date: the growing pauses will do
        return None
