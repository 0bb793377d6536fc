"""What commands that read models' tokenizers and write files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import UserError

if TYPE_CHECKING:
    from tasks.data.frame import TokenCounter


def check_out(out: Path, option: str = "--out") -> None:
    """Raise UserError unless a file can be written at `out`; for before the work, not after it."""
    if not out.parent.is_dir():
        raise UserError(f"{option} {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise UserError(f"{option} {out}: that is a folder; name another file")


def check_folder(out: Path, option: str) -> None:
    """Raise UserError unless a folder can be at `out`, whatever has to be made above it."""
    above = next(path for path in (out, *out.parents) if path.exists())
    if not above.is_dir():
        raise UserError(f"{option} {out}: {above} is a file; name a folder")


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """A name beside `out` to write to; it becomes `out` at the end, and nothing is left of it after an error."""
    waiting = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        yield waiting
        os.replace(waiting, out)
    finally:
        waiting.unlink(missing_ok=True)


def counter_of(model: str) -> TokenCounter:
    """Counts tokens as the model behind a reference does; fetches it when it is not here yet."""
    from infra.settings import load_settings
    from tasks.models.resolve import resolve_model
    from tasks.models.tokens import token_counter

    return token_counter(resolve_model(model, load_settings().models_path).path)
