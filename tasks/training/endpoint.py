"""Wrong answers from another model, behind any server that speaks OpenAI's chat completions.

The models take turns by the example's id. An answer is written down as it comes, so that a run that broke off asks for
the missing ones alone. A refusal (429, 5xx, no connection) is tried again after a wait that doubles, or after the time
the server names; a model that keeps refusing, or asks to wait for more than `LONGEST_WAIT`, is given up, and its
examples go to the next one.

Limits: the key goes to the address in the recipe and nowhere else: redirects are refused. Answers differ between runs;
those written down are what a resumed run goes on with.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra.errors import NightshiftError, UserError
from tasks.data.example import Example
from tasks.sql.extraction import extract_sql
from tasks.training.pairs import Candidate, Proposer
from tasks.training.specs.pairs import EndpointSpec

KEY = "NIGHTSHIFT_ENDPOINT_KEY"
LONGEST_WAIT = 60.0  # seconds
_ANSWER_BYTES = 1 << 20
_SYSTEM = (
    "You write training data for a text-to-SQL model. You are given a schema, a question and the SQL query that "
    "answers it. Write a query that looks right and is wrong: change it so that it has at least one mistake that "
    "a weaker model might make and gives another result. Keep its style and formatting. Answer with the query alone."
)


class _Refused(Exception):
    """An answer that may come when it is asked for again, after `wait` seconds if the server named them."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """Asks the server of a spec; `answers` is the JSONL file of what it has said so far."""

    def __init__(
        self, spec: EndpointSpec, answers: Path, key: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._spec, self._path, self._sleep = spec, answers, sleep
        self._key = os.environ.get(KEY, "") if key is None else key
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._lock = threading.Lock()
        self._given_up: dict[str, str] = {}
        self._said = self._read()

    def _read(self) -> dict[str, Candidate]:
        if not self._path.is_file():
            return {}
        said, text = {}, self._path.read_text(encoding="utf-8")
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that was being written when the process died
            said[row["id"]] = Candidate(row["sql"], row["maker"])
        if text and not text.endswith("\n"):
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write("\n")
        return said

    def propose(self, examples: Sequence[Example]) -> list[list[Candidate]]:
        """One wrong answer an example; raises NightshiftError when every model was given up."""
        missing = [example for example in examples if example.id not in self._said]
        with ThreadPoolExecutor(self._spec.workers) as pool:
            for future in [pool.submit(self._answer, example) for example in missing]:
                future.result()
        return [[self._said[example.id]] for example in examples]

    def _answer(self, example: Example) -> None:
        digest = int(hashlib.sha256(example.id.encode()).hexdigest(), 16)
        models = self._spec.models
        turn = [models[(digest + k) % len(models)] for k in range(len(models))]
        for model in turn:
            if model in self._given_up:
                continue
            text = self._ask(model, example)
            if text is not None:
                self._keep(example.id, Candidate(extract_sql(text), f"endpoint:{model}"))
                return
        reasons = "; ".join(f"{model}: {reason}" for model, reason in self._given_up.items())
        raise NightshiftError(f"endpoint {self._spec.url}: no model answers ({reasons}); run again to go on from here")

    def _keep(self, id: str, candidate: Candidate) -> None:
        line = json.dumps({"id": id, "sql": candidate.sql, "maker": candidate.maker})
        with self._lock:
            self._said[id] = candidate
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(line + "\n")

    def _ask(self, model: str, example: Example) -> str | None:
        """The model's answer, or None when it was given up."""
        wait = self._spec.wait_seconds
        for attempt in range(self._spec.attempts):
            if model in self._given_up:
                return None
            try:
                return self._request(model, example)
            except _Refused as refusal:
                reason = str(refusal)
                asked = wait if refusal.wait is None else refusal.wait
                if asked > LONGEST_WAIT and refusal.wait is not None:
                    reason = f"{reason}, asks to wait {asked:.0f} s"
                    break
                if attempt + 1 < self._spec.attempts:
                    self._sleep(min(asked, LONGEST_WAIT))
                wait *= 2
        with self._lock:
            self._given_up[model] = reason
        return None

    def _request(self, model: str, example: Example) -> str:
        user = f"Schema:\n{example.schema}\n\nQuestion: {example.question}\n{example.evidence}\n\nSQL:\n{example.sql}"
        body = {
            "model": model,
            "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}],
            "temperature": self._spec.temperature,
            "max_tokens": self._spec.max_tokens,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(
            f"{self._spec.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._spec.timeout_seconds) as response:
                content = json.loads(response.read(_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            raise self._refusal(error, model) from None
        except (OSError, json.JSONDecodeError) as error:
            raise _Refused(f"{type(error).__name__}: {error}") from None
        try:
            return str(content["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError):
            raise _Refused("its answer is no chat completion") from None

    def _refusal(self, error: urllib.error.HTTPError, model: str) -> Exception:
        reason = f"HTTP {error.code} {HTTPStatus(error.code).phrase if error.code in _KNOWN else ''}".strip()
        if error.code in (401, 403):
            return UserError(f"endpoint {self._spec.url}: {reason}; set {KEY} to a key that it takes")
        if error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500 or error.code == HTTPStatus.REQUEST_TIMEOUT:
            named = error.headers.get("Retry-After", "")
            return _Refused(reason, float(named) if named.replace(".", "", 1).isdigit() else None)
        return UserError(f"endpoint {self._spec.url}, model {model}: {reason}; check url and models of pairs.endpoint")


_KNOWN = {status.value for status in HTTPStatus}


def propose_from_endpoint(spec: EndpointSpec, answers: Path) -> Proposer:
    """Proposes one answer an example of the models behind `spec`, each of which is told to be wrong."""
    return Endpoint(spec, answers).propose
