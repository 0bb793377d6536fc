"""Wrong answers from another model, behind any server that speaks OpenAI's chat completions.

The models take turns by the example's id. An answer is written down as it comes, so that a run that broke off asks for
the missing ones alone. A model that keeps refusing, or asks to wait for long, is given up, and its examples go to the
next one.

Limits: answers differ between runs; those written down are what a resumed run goes on with.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.errors import NightshiftError
from tasks.data.example import Example
from tasks.models.completions import Completions, Unavailable
from tasks.sql.extraction import extract_sql
from tasks.training.pairs import Candidate, Proposer
from tasks.training.specs.pairs import EndpointSpec

_SYSTEM = (
    "You write training data for a text-to-SQL model. You are given a schema, a question and the SQL query that "
    "answers it. Write a query that looks right and is wrong: change it so that it has at least one mistake that "
    "a weaker model might make and gives another result. Keep its style and formatting. Answer with the query alone."
)


class Endpoint:
    """Asks the server of a spec; `answers` is the JSONL file of what it has said so far."""

    def __init__(self, spec: EndpointSpec, answers: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self._spec, self._path = spec, answers
        self._server = Completions(
            spec.url, spec.timeout_seconds, spec.attempts, spec.workers, spec.wait_seconds, sleep
        )
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
        user = f"Schema:\n{example.schema}\n\nQuestion: {example.question}\n{example.evidence}\n\nSQL:\n{example.sql}"
        body = {
            "model": model,
            "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}],
            "temperature": self._spec.temperature,
            "max_tokens": self._spec.max_tokens,
        }
        try:
            return self._server.ask(body)[0]
        except Unavailable as error:
            with self._lock:
                self._given_up[model] = error.reason
            return None


def propose_from_endpoint(spec: EndpointSpec, answers: Path) -> Proposer:
    """Proposes one answer an example of the models behind `spec`, each of which is told to be wrong."""
    return Endpoint(spec, answers).propose
