"""One renderer for training, evaluation and serving, so that a model is asked exactly as it was taught.

A prompt format (`tasks.data.formats`) and a look of the schema (`tasks.data.rendering`) make the text. It already
carries every special token, BOS among them where the tokenizer puts one: tokenise it with `add_special_tokens=False`,
else a second BOS slips in. A prompt is never cut: whole tables go, or it is an error.

Limits: a chat template is given a fixed date (some write today's into every prompt) and asked not to think aloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.errors import UserError
from tasks.data.formats import FORMATS, SYSTEM, Format
from tasks.data.rendering import Look, render_schema
from tasks.data.schema import Schema, fit_schema, parse_schema

# Variables that templates of model families ask for; others pass them over.
_TEMPLATE_VARIABLES = {"enable_thinking": False, "date_string": "26 Jul 2024"}
_PROBE = "SELECT 1"


class PromptSpec(BaseModel):
    """How a model is asked: how an example becomes a prompt, and how the answer is decoded. Kept with every adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = Field(
        "chat",
        description="chat, context, request: by the model's chat template; instruct, task, plain, evidence, translate: "
        "as text",
    )
    # `schema` itself would shadow a pydantic attribute.
    schema_style: Literal["ddl", "compact"] = Field("compact", description="how tables are written in the prompt")
    types: bool | None = Field(None, description="show column types; in ddl only when not given")
    # `keys` would shadow what makes a mapping of a model, which Prefect relies on.
    show_keys: bool = Field(True, description="show foreign keys, and in ddl primary keys")
    sample_values: int = Field(0, ge=0, le=20, description="values of each column that are shown, read from the data")
    system: str = Field(SYSTEM, description="system message of the chat format; none when empty")
    max_tokens: int = Field(512, ge=32, description="prompt budget; whole tables are dropped to stay within it")
    decoding: Literal["greedy", "constrained"] = Field(
        "greedy", description="constrained: the best token that keeps the answer a statement over the schema (SQLite)"
    )

    @property
    def look(self) -> Look:
        """How the schema is written."""
        types = self.schema_style == "ddl" if self.types is None else self.types
        return Look(self.schema_style, types, self.show_keys, self.sample_values)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt, how many tables were left out of it, and how many examples it shows.

    `messages` are the turns of a chat that `text` was made of; none where the format is plain text.
    """

    text: str
    dropped: int
    messages: tuple[dict[str, str], ...] = ()
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An answered example to show ahead of a question."""

    schema: Schema
    question: str
    evidence: str
    sql: str


class Prompter:
    """Renders prompts with one tokenizer; the only place where prompt text is made."""

    def __init__(self, spec: PromptSpec, tokenizer: Any) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._format = FORMATS[spec.format]

    def render(self, schema: str, question: str, evidence: str = "", keep: tuple[str, ...] = ()) -> str:
        """The full prompt text for a question over a DDL schema, within the token budget; see `fit`."""
        return self.fit(schema, question, evidence, keep).text

    def fit(
        self,
        schema: str,
        question: str,
        evidence: str = "",
        keep: tuple[str, ...] = (),
        shown: Sequence[Shown] = (),
    ) -> Rendered:
        """The full prompt and the number of tables that it had to leave out.

        `keep` names tables that must survive trimming (in training: those that gold uses). `shown` are answered
        examples that go ahead of the question, as many of the last as fit beside the whole schema. Raises UserError
        when the schema is unreadable or cannot be made to fit, or when the model has no chat template for the format.
        """
        parsed = parse_schema(schema)
        question, evidence = question.strip(), evidence.strip()
        made = Rendered("", 0)

        def fits(candidate: Schema, count: int = 0) -> bool:
            nonlocal made  # what is tried last is what fits: it is not rendered twice
            made = self._rendered(candidate, question, evidence, shown[len(shown) - count :])
            return self._length(made.text) <= self.spec.max_tokens

        if any(fits(parsed, count) for count in range(len(shown), 0, -1)):
            return made
        _, dropped = fit_schema(parsed, f"{question}\n{evidence}", fits, keep)
        return replace(made, dropped=dropped)

    def _length(self, text: str) -> int:
        # A token is at least one character: short prompts need no second tokenisation.
        if len(text) <= self.spec.max_tokens:
            return len(text)
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _rendered(self, schema: Schema, question: str, evidence: str, shown: Sequence[Shown]) -> Rendered:
        form = self._format
        parts = self._parts(schema, question, evidence)
        user = form.user.format(**parts)
        if shown and (form.one_line or "{schema}" not in form.user):
            raise UserError(f"prompt.format={self.spec.format} has no place for examples; set evaluation.shots=0")
        space = " " if form.space else ""
        pairs = [(form.user.format(**self._parts(s.schema, s.question, s.evidence)), s.sql.strip()) for s in shown]
        if not form.chat:
            before, behind = self._added
            examples = "".join(f"{asked}{space}{sql}\n\n" for asked, sql in pairs)
            return Rendered(before + examples + user + (behind if form.one_line else ""), 0, shown=len(shown))
        messages = [{"role": "system", "content": form.system.format(**parts)}] if form.system else []
        messages = [m for m in messages if m["content"]]
        for asked, sql in pairs:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": f"{form.lead}{space}{sql}"})
        messages.append({"role": "user", "content": user})
        text = self._chat(messages, add_generation_prompt=True) + form.lead
        return Rendered(text, 0, tuple(messages), len(shown))

    def _parts(self, schema: Schema, question: str, evidence: str) -> dict[str, str]:
        form, text = self._format, render_schema(schema, self.spec.look)
        if "{evidence}" not in form.user:
            question, evidence = f"{question}\n{evidence}".strip(), ""
        parts = {"schema": text, "question": question, "evidence": evidence, "system": self.spec.system}
        if form.one_line:
            parts |= {"schema": text.replace("\n", " | "), "question": " ".join(question.split())}
        return parts

    def _chat(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise UserError(
                f"the model has no chat template, which prompt.format={self.spec.format} needs; use plain or instruct"
            )
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, **_TEMPLATE_VARIABLES
            )
        except TemplateError as error:
            raise UserError(
                f"the model's chat template refuses the messages of prompt.format={self.spec.format}: {error}; "
                'with format chat, prompt.system="" leaves the system message out'
            ) from None

    @cached_property
    def _added(self) -> tuple[str, str]:
        """The special tokens that the tokenizer itself puts before and behind one text, as text."""
        bare = self.tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
        whole = self.tokenizer(_PROBE)["input_ids"]
        places = range(len(whole) - len(bare) + 1)
        at = next((i for i in places if whole[i : i + len(bare)] == bare), 0)
        before, behind = whole[:at], whole[at + len(bare) :]
        return "".join(self._tokens(before)), "".join(self._tokens(behind))

    def _tokens(self, ids: list[int]) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(ids)

    @cached_property
    def end_token(self) -> str:
        """The token that closes an answer: what the chat template writes behind one, else the tokenizer's own.

        They differ in some families (Gemma, Qwen's base models): a model that never saw the template's own token at the
        end of an answer runs on into the next turn.
        """
        if not self._format.chat:
            return self.tokenizer.eos_token
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        behind = self._chat(turns, add_generation_prompt=False).rpartition(_PROBE)[2]
        ids = self.tokenizer(behind, add_special_tokens=False)["input_ids"]
        known = self.tokenizer.added_tokens_decoder
        if ids and ids[0] in known and known[ids[0]].special:
            return self._tokens(ids[:1])[0]
        return self.tokenizer.eos_token

    @cached_property
    def end_ids(self) -> list[int]:
        """Ids at which generation stops: the token that closes an answer, and the tokenizer's own end token."""
        ends = dict.fromkeys((self.end_token, self.tokenizer.eos_token))
        return [int(self.tokenizer.convert_tokens_to_ids(token)) for token in ends]

    def completion(self, sql: str) -> str:
        """What the model is taught to answer: the SQL, closed by the end token."""
        return (" " if self._format.space else "") + sql.strip() + self.end_token
