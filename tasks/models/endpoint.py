"""Any server that speaks OpenAI's protocol as the generator (`tasks.models.completions`).

Chat formats go as messages, for the server's own chat template; text formats as they are. Decoding is greedy
(temperature 0); samples are asked for one by one, each with a seed of its own, which servers that know none pass over.

Limits: the server's tokenizer is not known here, so the prompt budget counts three characters as a token. Nothing holds
an answer to its schema. A server that batches may answer differently from one run to the next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.data.example import Example
from tasks.data.prompts import Rendered
from tasks.models.completions import KEY, Completions
from tasks.models.generation import Generation

_CHARACTERS = 3  # of a token
_FIRST_PAUSE = 0.5  # seconds


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
    """Asks one server; may be called from several threads."""

    def __init__(self, spec: EndpointSpec, max_new_tokens: int) -> None:
        self._body = {"model": spec.model, "temperature": 0, "max_tokens": max_new_tokens}
        self._server = Completions(spec.url, spec.timeout, spec.tries, spec.concurrency, _FIRST_PAUSE)
        self.close = self._server.close

    def __call__(
        self, prompts: Sequence[Rendered], examples: Sequence[Example], progress: Any, temperature: float = 0.0
    ) -> list[Generation]:
        """One answer a prompt, in order, drawn at a `temperature` above 0; raises NightshiftError when the server
        gives none."""
        if not temperature:
            return [self._ask(prompt) for prompt in prompts]
        return [self._ask(prompt, temperature=temperature, seed=number) for number, prompt in enumerate(prompts)]

    def _ask(self, prompt: Rendered, **how: float) -> Generation:
        asked = {"messages": list(prompt.messages)} if prompt.messages else {"prompt": prompt.text}
        asked |= how
        started = time.perf_counter()
        text, tokens = self._server.ask(self._body | asked)
        return Generation(text, tokens, time.perf_counter() - started)
