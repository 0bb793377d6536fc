"""How many weights a model's folder holds, from the headers of its safetensors files alone.

The header is JSON behind its own length in eight bytes: https://huggingface.co/docs/safetensors. Limits: weights that
a model ties are counted once, as they are stored; of weights in 4 bits the stored elements count.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from infra.errors import UserError


def count_parameters(folder: Path) -> int:
    """Elements of all tensors below `folder`; raises UserError when there is no safetensors file."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder} holds no safetensors file")
    return sum(_elements(file) for file in files)


def _elements(file: Path) -> int:
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
