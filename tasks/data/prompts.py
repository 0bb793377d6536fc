"""One renderer for training, evaluation and serving, so that a model is asked exactly as it was taught.

A prompt format is a name, a schema rendering and a template. Formats either give messages for the model's own chat
template or plain text. The rendered prompt already carries every special token: tokenise it with
`add_special_tokens=False`, else a second BOS slips in.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.schema import RENDERERS, Schema, fit_schema, parse_schema

Format = Literal["chat", "instruct", "plain"]

SYSTEM = "Write one SQLite query that answers the question."
INSTRUCT = (
    " ### Instruction:\nGenerate a SQL query to answer the given question based on the provided database schema.\n\n"
    "Database Schema:\n{schema}\n\nQuestion: {question}\n\n ### Response:\n"
)
PLAIN = "{schema}\n\nQuestion: {question}\nSQL:\n"


class PromptSpec(BaseModel):
    """How a model is asked: how an example becomes a prompt, and how the answer is decoded. Kept with every adapter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format = Field("chat", description="chat: the model's chat template; instruct, plain: text templates")
    # `schema` itself would shadow a pydantic attribute.
    schema_style: Literal["ddl", "compact"] = Field("compact", description="how tables are written in the prompt")
    system: str = Field(SYSTEM, description="system message of the chat format")
    max_tokens: int = Field(512, ge=32, description="prompt budget; whole tables are dropped to stay within it")
    decoding: Literal["greedy", "constrained"] = Field(
        "greedy", description="constrained: the best token that keeps the answer a statement over the schema (SQLite)"
    )


class Prompter:
    """Renders prompts with one tokenizer; the only place where prompt text is made."""

    def __init__(self, spec: PromptSpec, tokenizer: Any) -> None:
        self.spec = spec
        self.tokenizer = tokenizer

    def render(self, schema: str, question: str, evidence: str = "", keep: tuple[str, ...] = ()) -> str:
        """The full prompt text for a question over a DDL schema, within the token budget.

        `keep` names tables that must survive trimming (in training: those that gold uses). Raises UserError when
        the schema is unreadable or cannot be made to fit; a prompt is never cut.
        """
        parsed = parse_schema(schema)
        asked = f"{question.strip()}\n{evidence.strip()}".strip()

        def text(candidate: Schema) -> str:
            return self._text(RENDERERS[self.spec.schema_style](candidate), asked)

        fitted, _ = fit_schema(parsed, asked, lambda s: self._length(text(s)) <= self.spec.max_tokens, keep)
        return text(fitted)

    def _length(self, text: str) -> int:
        # A token is at least one character: short prompts need no second tokenisation.
        if len(text) <= self.spec.max_tokens:
            return len(text)
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, schema: str, question: str) -> str:
        if self.spec.format == "chat":
            messages = [
                {"role": "system", "content": self.spec.system},
                {"role": "user", "content": f"{schema}\n\n{question}"},
            ]
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        template = INSTRUCT if self.spec.format == "instruct" else PLAIN
        return template.format(schema=schema, question=question)

    def completion(self, sql: str) -> str:
        """What the model is taught to answer: the SQL, closed by the end token."""
        return sql.strip() + self.tokenizer.eos_token
