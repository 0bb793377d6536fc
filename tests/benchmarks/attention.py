"""Attention on this CPU: batched products (tasks.models.attention) against PyTorch's fused kernel, forward and back.

Run: `python -m tests.benchmarks.attention`. Shapes are those of SmolLM2-135M, four sequences of four questions each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

ROWS, HEADS, KEY_HEADS, WIDTH = 4, 9, 3, 64


def main() -> None:
    """Print milliseconds of both kernels at several lengths."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from tasks.models.attention import attend

    print(f"{'tokens':>7}{'products ms':>13}{'fused ms':>10}{'ratio':>7}")
    for length in (128, 256, 384, 512, 640):
        ours, fused = (_milliseconds(kernel, length) for kernel in (attend, sdpa_attention_forward))
        print(f"{length:>7}{ours:>13.1f}{fused:>10.1f}{fused / ours:>7.2f}")


def _milliseconds(kernel: Callable[..., Any], length: int, rounds: int = 15) -> float:
    import torch

    from tasks.training.batches import collate

    part = length // 7
    segments = [0] * (length - 4 * part) + [number for number in (1, 2, 3, 4) for _ in range(part)]
    one = {"input_ids": segments, "labels": segments, "position_ids": segments, "segments": segments}
    mask = collate([one] * ROWS, 0)["attention_mask"]
    layer = SimpleNamespace(num_key_value_groups=HEADS // KEY_HEADS, is_causal=True)
    shapes = [(ROWS, length, heads, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    given = [torch.randn(shape, dtype=torch.bfloat16, requires_grad=True) for shape in shapes]
    gradient = torch.randn(shapes[0], dtype=torch.bfloat16)

    def once() -> None:
        kernel(layer, *(tensor.transpose(1, 2) for tensor in given), mask)[0].backward(gradient)

    once()
    started = time.perf_counter()
    for _ in range(rounds):
        once()
    return (time.perf_counter() - started) / rounds * 1e3


if __name__ == "__main__":
    main()
