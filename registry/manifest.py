"""The compatibility manifest: what an adapter was taught with, compared with what it is about to be loaded on.

An adapter on another revision of its base, behind another tokenizer or another prompt still answers, only worse. So
three things are hashed when a release is registered and again whenever it is loaded: the base model, the tokenizer (its
vocabulary, template and special tokens, not its files, which libraries write differently), and the text that the
prompt renderer makes of fixed questions.

Limits: a hub reference that names a branch is compared only where a commit was known when the release was made.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import NightshiftError
from infra.hashing import fingerprint, fingerprint_of_folder
from tasks.data.prompts import Prompter, PromptSpec
from tasks.models.loading import load_tokenizer
from tasks.models.reference import parse_reference, reference_fingerprint

LIBRARIES = ("torch", "transformers", "peft", "sqlglot")
FILE = "manifest.json"
_SCHEMA = (
    "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT);\n"
    "CREATE TABLE song (song_id INTEGER PRIMARY KEY, title TEXT, singer_id INTEGER REFERENCES singer(singer_id));"
)
_PROBES = (("How many singers are there?", ""), ("Which songs are “old”?", "old means before 1990"))


class Incompatible(NightshiftError):
    """A release that does not fit the base model, tokenizer or prompt renderer it is about to be loaded with."""


class Manifest(BaseModel):
    """What a release needs to answer as it did when it was judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, description="version of this document's shape")
    base_model: str = Field(description="reference of the base model, as the recipe has it")
    base_revision: str = Field(description="commit, checksum or content fingerprint; empty: a branch, not pinned")
    tokenizer_hash: str = Field(description="fingerprint of vocabulary, chat template and special tokens")
    prompt_hash: str = Field(description="fingerprint of what the renderer makes of fixed questions")
    adapter_hash: str = Field(description="fingerprint of the adapter's files")
    max_new_tokens: int = Field(ge=1, description="length of an answer when it was judged")
    libraries: dict[str, str] = Field(description="versions it was made with; for people, not compared")


def make_manifest(adapter: Path, base_model: str, max_new_tokens: int) -> Manifest:
    """The manifest of an adapter folder (with its tokenizer and `prompt.json`), before it is registered."""
    tokenizer = load_tokenizer(adapter)
    return Manifest(
        base_model=base_model,
        base_revision=base_revision(base_model),
        tokenizer_hash=tokenizer_hash(tokenizer),
        prompt_hash=prompt_hash(read_prompt(adapter), tokenizer),
        adapter_hash=fingerprint_of_folder(adapter),
        max_new_tokens=max_new_tokens,
        libraries={name: metadata.version(name) for name in LIBRARIES},
    )


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; raises Incompatible when there is none or it cannot be read."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise Incompatible(
            "the release carries no readable compatibility manifest; retrain, so that it is registered with one"
        ) from None


def read_prompt(adapter: Path) -> PromptSpec:
    """How the adapter was taught to be asked."""
    return PromptSpec.model_validate_json((adapter / "prompt.json").read_bytes())


def base_revision(reference: str) -> str:
    """What names the base model's weights for good: a commit, a checksum, a folder's content; empty when unknown."""
    ref = parse_reference(reference)
    if ref.kind != "hf":
        return reference_fingerprint(ref)
    if re.fullmatch(r"[0-9a-f]{40}", ref.revision):
        return ref.revision
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # the hub's cache names a snapshot's folder after its commit
        return Path(snapshot_download(ref.name, revision=ref.revision, local_files_only=True)).name
    except LocalEntryNotFoundError:
        return ""


def tokenizer_hash(tokenizer: Any) -> str:
    """The fingerprint of what decides about token ids and the chat's form."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    probe = tokenizer("SELECT  a1, 'é' FROM t -- x\n", add_special_tokens=False)["input_ids"]
    return fingerprint([vocabulary, special, tokenizer.chat_template or "", list(probe)])


def prompt_hash(spec: PromptSpec, tokenizer: Any) -> str:
    """The fingerprint of rendered prompts, so that a change of the renderer shows as one of the settings does."""
    # Trimming depends on the budget alone, which is part of the settings: the probes are rendered whole.
    whole = Prompter(spec.model_copy(update={"max_tokens": 1 << 20}), tokenizer)
    return fingerprint([spec.max_tokens, [whole.render(_SCHEMA, *probe) for probe in _PROBES]])


def check_manifest(manifest: Manifest, adapter: Path, tokenizer: Any) -> None:
    """Raise Incompatible, naming what differs, unless the release can be loaded here as it was taught.

    `tokenizer` is the base model's, the one that will be used.
    """
    wrong = []
    now = base_revision(manifest.base_model)
    if manifest.base_revision and now != manifest.base_revision:
        wrong.append(
            f"base model {manifest.base_model} is at {now or 'an unknown revision'}, not the one it was made on"
        )
    if fingerprint_of_folder(adapter) != manifest.adapter_hash:
        wrong.append("the adapter's files are not those of the manifest")
    if tokenizer_hash(tokenizer) != manifest.tokenizer_hash:
        wrong.append("the base model's tokenizer is another one")
    elif prompt_hash(read_prompt(adapter), tokenizer) != manifest.prompt_hash:
        wrong.append("this version of the code renders prompts differently (the release's own pyfunc model does not)")
    if wrong:
        raise Incompatible(f"release cannot be loaded: {'; '.join(wrong)}")
