"""Answers that were given, kept for a while so that people can say whether they were right.

`ask` keeps them as files in the home folder, `serve` in memory; both turn one into a feedback record the same way.
Limits: the newest answers only; a service that restarts forgets its own.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any, Literal

from pydantic import ValidationError

from infra.errors import UserError
from infra.settings import Settings
from registry.answering import why_invalid
from registry.serving import Answer
from tasks.data.dedupe import schema_key
from tasks.data.feedback import Feedback, now
from tasks.sql.parse import parse, writes

KEPT_FILES = 100
KEPT_IN_MEMORY = 2000
LAST = "last"


def draft_of(answer: Answer) -> dict[str, Any]:
    """What a feedback record says about the answer itself, before anyone judged it."""
    pasted = not answer.named
    return {
        "question": answer.question,
        "evidence": answer.evidence,
        "db_id": f"schema-{schema_key(answer.schema)}" if pasted else answer.database,
        "schema": answer.schema,
        "setup": answer.setup,
        "sql": answer.document()["sql"],
        "release": answer.release,
        "version": answer.version,
        "answer_id": answer.id,
    }


def judged(draft: dict[str, Any], verdict: Literal["right", "wrong"], corrected_sql: str = "") -> Feedback:
    """The unsigned record of a judgement. Raises UserError for a correction that is no query over the schema."""
    corrected = corrected_sql.strip().rstrip(";").rstrip()
    if verdict == "right" and not draft["sql"].strip():
        raise UserError("an answer without SQL cannot be right; give the correct SQL instead")
    if corrected:
        problem = (
            parse(corrected).message if parse(corrected).status != "ok" else why_invalid(corrected, draft["schema"])
        )
        if writes(corrected):
            problem = "it changes data"
        if problem:
            raise UserError(f"the corrected SQL is not a query over this schema: {problem}")
        if corrected == draft["sql"].strip():
            raise UserError("the corrected SQL is the answer itself; send verdict 'right' instead")
    try:
        return Feedback(**draft, verdict=verdict, corrected_sql=corrected, time=now())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"feedback {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


class Answers:
    """The newest answers of a service, by id; safe to use from several threads."""

    def __init__(self, most: int = KEPT_IN_MEMORY) -> None:
        self._drafts: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def keep(self, answer: Answer) -> None:
        """Keep an answer; the oldest one goes when there are too many."""
        with self._lock:
            self._drafts[answer.id] = draft_of(answer)
            while len(self._drafts) > self._most:
                self._drafts.popitem(last=False)

    def draft(self, answer_id: str) -> dict[str, Any] | None:
        """The draft of an answer's record; None when it was never given or is no longer kept."""
        with self._lock:
            return self._drafts.get(answer_id)


def remember(settings: Settings, answer: Answer) -> None:
    """Keep an answer as a file, for a later `nightshift feedback`."""
    folder = settings.root / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{answer.id}.json").write_text(json.dumps(draft_of(answer), indent=2), encoding="utf-8")
    oldest_first = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    for path in oldest_first[:-KEPT_FILES]:
        path.unlink(missing_ok=True)


def recall(settings: Settings, answer_id: str) -> dict[str, Any]:
    """The draft of an answer that `ask` gave here; `last` is the newest. Raises UserError when it is not kept."""
    found = sorted((settings.root / "answers").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    chosen = found[-1:] if answer_id == LAST else [path for path in found if path.stem == answer_id]
    if not chosen:
        what = "no question was asked here yet" if answer_id == LAST else f"no answer {answer_id!r} is kept here"
        raise UserError(f'{what}; run `nightshift ask "..." --database FILE` first')
    return json.loads(chosen[0].read_text(encoding="utf-8"))
