"""A base model and an adapter as one ordinary model folder, for servers that know no adapters; a GGUF file if wished.

Merged in float32: merging in bfloat16 changes answers; a GGUF file is made of that, whatever `dtype` says. Limits: a
soft prompt is no change of weights and cannot be merged; a merged model is another artifact than the one that was
judged, so `note` says what it was made of.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Literal

from infra.errors import UserError
from tasks.models.gguf_file import Kind, write_gguf
from tasks.models.loading import is_whole_model, load_adapter, load_base, load_tokenizer
from tasks.models.precision import Precision

NOTE = "nightshift.json"


def export_merged(
    base: Path,
    adapter: Path,
    target: Path,
    dtype: Literal["float32", "bfloat16", "float16"],
    note: dict[str, Any],
    gguf: Kind | None = None,
) -> Path:
    """Write base and adapter, merged, with tokenizer and prompt format into the new folder `target`; returns it.

    With `gguf` a file `model-<gguf>.gguf` lies there, too. Raises UserError when `target` holds something, the adapter
    is a soft prompt, or the model is none that `tasks.models.gguf_file` covers.
    """
    import torch

    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty; give a new folder")
    precise = Precision("float32", None)
    model = load_adapter(None if is_whole_model(adapter) else load_base(base, precise), adapter, precision=precise)
    if not is_whole_model(adapter):
        if model.active_peft_config.is_prompt_learning:
            raise UserError("a soft prompt cannot be merged into the weights; serve it with nightshift")
        model = model.merge_and_unload()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        tokenizer, prompt = load_tokenizer(adapter), (adapter / "prompt.json").read_text()
        if gguf is not None:
            about = note | {"prompt": prompt}
            write_gguf(model, tokenizer, made / f"model-{gguf}.gguf", gguf, target.name, about)
        model.to(getattr(torch, dtype)).save_pretrained(made)
        tokenizer.save_pretrained(made)
        (made / "prompt.json").write_text(prompt)
        (made / NOTE).write_text(json.dumps(note | {"dtype": dtype}, indent=2))
        if target.exists():
            target.rmdir()
        made.rename(target)
    return target
