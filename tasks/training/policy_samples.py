"""Answers sampled from the policy, prompted exactly as in evaluation.

Limits: sampling is plain (temperature alone) whatever the recipe's decoding is: a preference is learnt from what the
model itself would say, not from what constrained decoding lets through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tasks.data.example import Example
from tasks.data.prompts import Prompter
from tasks.data.schema import PromptTooLong
from tasks.sql.extraction import extract_sql
from tasks.training.pairs import Candidate, Proposer
from tasks.training.specs.pairs import PairSpec

_BATCH = 32  # answers generated at once


def propose_samples(model: Any, prompter: Prompter, spec: PairSpec, seed: int) -> Proposer:
    """Proposes answers that `model` gives at the spec's temperature; the same for the same examples and seed."""

    def propose(examples: Sequence[Example]) -> list[list[Candidate]]:
        prompts = [_prompt(prompter, example) for example in examples]
        asked = [place for place, prompt in enumerate(prompts) if prompt]
        drawn = sample(
            model,
            prompter,
            [prompts[place] for place in asked],
            spec.samples,
            spec.temperature,
            spec.max_new_tokens,
            f"{seed}|{'|'.join(examples[place].id for place in asked)}",
        )
        answers = dict(zip(asked, drawn, strict=True))
        return [
            [Candidate(extract_sql(text), "policy") for text in answers.get(place, [])]
            for place in range(len(examples))
        ]

    return propose


def _prompt(prompter: Prompter, example: Example) -> str:
    """The prompt, or nothing where the schema does not fit: such a row is trained on by no method."""
    try:
        return prompter.render(example.schema, example.question, example.evidence)
    except PromptTooLong:
        return ""


def sample(
    model: Any,
    prompter: Prompter,
    prompts: Sequence[str],
    count: int,
    temperature: float,
    max_new_tokens: int,
    seed: str,
) -> list[list[str]]:
    """`count` answers to each prompt, drawn at `temperature` (0: greedy, then `count` must be 1).

    Torch's random state is as before afterwards; the model is left in the mode it was in.
    """
    import torch
    from transformers import GenerationConfig

    tokenizer, device, training = prompter.tokenizer, next(model.parameters()).device, model.training
    drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_return_sequences=count,
        eos_token_id=prompter.end_ids,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
        **{"do_sample": False} | drawing,
    )
    answers: list[list[str]] = []
    model.eval()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode():
        torch.manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big"))
        size = max(1, _BATCH // count)
        for begin in range(0, len(prompts), size):
            batch = list(prompts[begin : begin + size])
            encoded = tokenizer(
                batch, add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False
            ).to(device)
            output = model.generate(**encoded, generation_config=config)
            texts = tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
            answers += [texts[i * count : (i + 1) * count] for i in range(len(batch))]
    model.train(training)
    return answers
