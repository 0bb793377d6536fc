"""Answers of one generation run, kept as they come: a run that was broken off goes on with the questions that are left.

A partial file has one JSON object a line, appended and synced to disk; a line torn by a crash is dropped. Its name
carries the fingerprint of everything the answers depend on, so whoever finds it may go on with it. Finished, the
answers are written in the order of the examples under the output's name, whole or not at all, and it goes.

Limits: one process at a time writes a partial file; a second one is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.errors import Busy

_PATIENCE = 10.0  # seconds: a predecessor whose parent was killed needs a moment to end


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered to one example; tokens and seconds are those of all its tries together.

    `tokens` is None where nobody counted, `tries` where the model had no other, `shown` (the examples ahead of the
    question) where none were to be. `gave_up`: no token kept it within its schema, so it was ended as it stands.
    `samples` are further answers to the same prompt, which count in none of these.
    """

    id: str
    prediction: str
    tokens: int | None = 0
    seconds: float = 0.0
    tries: int | None = None
    shown: int | None = None
    gave_up: bool | None = None
    samples: tuple[str, ...] | None = None

    def to_row(self) -> dict[str, Any]:
        """A line of a predictions file."""
        row = {
            "id": self.id,
            "prediction": self.prediction,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 5),
        }
        seldom = {"tries": self.tries, "shown": self.shown, "gave_up": self.gave_up, "samples": self.samples}
        return row | {name: value for name, value in seldom.items() if value is not None}


def partial_of(output: Path) -> Path:
    """Where the answers of an unfinished `output` are kept."""
    return output.with_name(f"{output.stem}.partial{output.suffix}")


class KeptAnswers:
    """The answers so far to what `output` will hold, `found` by id; to be used in a `with` statement.

    Raises Busy when another process is writing them.
    """

    def __init__(self, output: Path) -> None:
        self._output, self._path = output, partial_of(output)
        self._handle = self._path.open("a+b")
        self._lock()
        self.found: dict[str, Answer] = {}
        self._read()

    def __enter__(self) -> KeptAnswers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._handle.close()

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep some more, on disk when this returns."""
        new = list(answers)
        self._handle.write(_lines(new))
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self.found |= {answer.id: answer for answer in new}

    def finish(self, ids: Sequence[str]) -> None:
        """Write the output, in the order of `ids`, each of which must have been answered; drop the partial file."""
        temporary = self._output.with_name(f".{self._output.name}.tmp")
        temporary.write_bytes(_lines([self.found[id] for id in ids]))
        temporary.replace(self._output)
        self._path.unlink()

    def _lock(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._handle.close()
                    raise Busy("another process is asking the same model the same questions; let it finish") from None
                time.sleep(0.2)
                continue
            if self._path.exists() and os.fstat(self._handle.fileno()).st_ino == self._path.stat().st_ino:
                return
            self._handle.close()  # its last owner finished and took it away: begin a new one
            self._handle = self._path.open("a+b")

    def _read(self) -> None:
        self._handle.seek(0)
        whole = 0
        for line in self._handle:
            try:
                row = json.loads(line)
                answer = Answer(**row | ({"samples": tuple(row["samples"])} if row.get("samples") else {}))
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self.found[answer.id] = answer
            whole += len(line)
        self._handle.truncate(whole)


def _lines(answers: Iterable[Answer]) -> bytes:
    # ASCII escapes: a server may well send half a surrogate pair, which UTF-8 cannot hold.
    return "".join(json.dumps(answer.to_row()) + "\n" for answer in answers).encode()
