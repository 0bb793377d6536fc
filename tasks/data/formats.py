"""Prompt formats: what a model reads before its answer, and what stands between the two.

Texts are those of the recipes they come from, to the character (note the space before each `###`): adapters were
trained on them. A format either gives messages for the model's own chat template, or plain text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["chat", "instruct", "task", "plain", "context", "request", "evidence", "translate"]

SYSTEM = "Write one SQLite query that answers the question."


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """`user` and `system` hold {schema}, {question} and {evidence}; `chat` says whether they are messages.

    Where `user` has no {evidence}, evidence follows the question on a line of its own. `lead` begins the answer and is
    part of the prompt; `space` says that the SQL follows it after a space, which is then the SQL's own.
    """

    user: str
    chat: bool = False
    system: str = ""
    lead: str = ""
    space: bool = False
    one_line: bool = False


FORMATS: dict[str, PromptFormat] = {
    # The recipe's own system message, the schema and the question.
    "chat": PromptFormat("{schema}\n\n{question}", chat=True, system="{system}"),
    "instruct": PromptFormat(
        " ### Instruction:\nGenerate a SQL query to answer the given question based on the provided database schema.\n"
        "\nDatabase Schema:\n{schema}\n\nQuestion: {question}\n\n ### Response:\n"
    ),
    # For models without a chat template behind a server, such as CodeLlama.
    "task": PromptFormat(
        "### Task: Convert the following natural language question to a SQL query.  Give only SQL Query as Output\n\n"
        "### Database Schema:\n{schema}\n\n### Question: {question}\n\n### SQL Query:\n"
    ),
    "plain": PromptFormat("{schema}\n\nQuestion: {question}\nSQL:\n"),
    # The schema in the system message, the question alone from the user.
    "context": PromptFormat(
        "{question}",
        chat=True,
        system="The user asks a question. Your task is to generate the SQL query to answer that question. Return SQL "
        "query only. The context of the question is the following: '{schema}'",
    ),
    # One user message, no system message, the answer introduced by SQL:.
    "request": PromptFormat(
        "Generate the SQL query for the following request based on the provided context.\n\nRequest: {question}\n\n"
        "Database Context:\n{schema}",
        chat=True,
        lead="SQL:",
        space=True,
    ),
    "evidence": PromptFormat(
        "Database Schema:\n{schema}\n\nQuestion: {question}\nEvidence: {evidence}\nSQL:", space=True
    ),
    # For encoder-decoder models such as T5, whose tokenizers know no line breaks.
    "translate": PromptFormat("Translate English to SQL: {question} | Schemas: {schema}", one_line=True),
}
