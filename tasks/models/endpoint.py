"""Any server that speaks OpenAI's protocol as the generator: vLLM, llama.cpp, Ollama, a hosted model.

Chat formats go to `/chat/completions` as messages, for the server's own chat template; text formats to `/completions`
as they are. Decoding is greedy (temperature 0). What may pass (no connection, a time-out, 408, 429, 5xx) is tried again
with growing pauses, or after those the server asks for; everything else is an error at once.

Limits: the server's tokenizer is not known here, so the prompt budget counts three characters as a token. Nothing holds
an answer to its schema. A server that batches may answer differently from one run to the next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from infra.errors import NightshiftError, UserError, first_line
from tasks.data.example import Example
from tasks.data.prompts import Rendered
from tasks.models.generation import Generation

KEY = "NIGHTSHIFT_ENDPOINT_KEY"
_CHARACTERS = 3  # of a token
_HERE = ("localhost", "127.0.0.1", "::1")
_PASSING = (408, 409, 425, 429)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds


class EndpointSpec(BaseModel):
    """A server and the model that is asked there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="base address, such as http://127.0.0.1:8000/v1")
    model: str = Field(min_length=1, description="the model's name on the server")
    concurrency: int = Field(8, ge=1, le=256, description="questions in flight at once")
    timeout: float = Field(120.0, gt=0, description="seconds to wait for one answer")
    tries: int = Field(6, ge=1, description="times a question is sent before its failure ends the run")

    @field_validator("url")
    @classmethod
    def _check(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an address such as http://127.0.0.1:8000/v1")
        if "@" in parts.netloc or parts.query:
            raise ValueError(f"an address holds no secret: put the key into {KEY}")
        return url.rstrip("/")


class PlainTokenizer:
    """Stands in for a server's tokenizer where prompts are rendered: counts by characters, joins a chat's turns."""

    chat_template = "the server's own"
    eos_token = ""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """As many ids as the text may have tokens."""
        return {"input_ids": range(-(-len(text) // _CHARACTERS))}

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **_: Any) -> str:
        """What the turns say, to be measured."""
        return "\n".join(message["content"] for message in messages)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """No special tokens: the server puts its own."""
        return []


class Endpoint:
    """Asks one server; may be called from several threads. The key, if any, comes from the environment."""

    def __init__(self, spec: EndpointSpec, max_new_tokens: int) -> None:
        import httpx

        self._spec, self._most = spec, max_new_tokens
        key = os.environ.get(KEY, "")
        limits = httpx.Limits(max_connections=spec.concurrency, max_keepalive_connections=spec.concurrency)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=spec.timeout,
            limits=limits,
            trust_env=urlsplit(spec.url).hostname not in _HERE,  # no proxy stands before this machine
        )

    def __call__(self, prompts: Sequence[Rendered], examples: Sequence[Example], progress: Any) -> list[Generation]:
        """One answer a prompt, in order; raises NightshiftError when the server gives none."""
        return [self._ask(prompt) for prompt in prompts]

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _ask(self, prompt: Rendered) -> Generation:
        body: dict[str, Any] = {"model": self._spec.model, "temperature": 0, "max_tokens": self._most}
        if prompt.messages:
            path, body = "/chat/completions", body | {"messages": list(prompt.messages)}
        else:
            path, body = "/completions", body | {"prompt": prompt.text}
        started = time.perf_counter()
        answer = self._send(path, body)
        seconds = time.perf_counter() - started
        try:
            choice = answer["choices"][0]
            text = (choice["message"]["content"] if prompt.messages else choice["text"]) or ""
            tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError):
            raise NightshiftError(
                f"{self._spec.url}{path} answered without choices: no OpenAI-compatible server?"
            ) from None
        return Generation(str(text), tokens, seconds)

    def _send(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        url, pause = self._spec.url + path, _FIRST_PAUSE
        for attempt in range(1, self._spec.tries + 1):
            asked_for = 0.0
            try:
                response = self._client.post(url, json=body)
            except httpx.TimeoutException:
                trouble = f"no answer within {self._spec.timeout:g} s"
            except httpx.TransportError as error:
                trouble = first_line(error)
            else:
                if response.status_code == 200:
                    return _json(response, url)
                trouble = f"{response.status_code} {_reason(response)}"
                if response.status_code < 500 and response.status_code not in _PASSING:
                    raise UserError(f"{url} refuses model {self._spec.model!r}: {trouble}{_hint(response.status_code)}")
                asked_for = _retry_after(response)
            if attempt < self._spec.tries:
                time.sleep(min(max(pause, asked_for), _LONGEST_PAUSE))
                pause *= 2
        raise NightshiftError(
            f"{url}: {trouble} ({self._spec.tries} tries); answers so far are kept, the same command goes on with them"
        )


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
        return "; is /v1 missing from --endpoint, or the model not loaded?"
    return ""


def _retry_after(response: Any) -> float:
    try:
        return float(response.headers.get("retry-after", 0))
    except ValueError:  # a date: the growing pauses will do
        return 0.0
