"""GGUF to safetensors, in a process of its own: `python -m tasks.models.convert FILE.gguf FOLDER`.

Weights are dequantised and kept in bfloat16: 4-bit values need no more, and the file is half as large.
"""

from __future__ import annotations

import sys
from pathlib import Path


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write model and tokenizer of a GGUF file into `target` (config, safetensors, tokenizer, chat template)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # Without dequantize=True the model would load and generate, but could not be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    if getattr(model.config, "quantization_config", None) is not None:
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
