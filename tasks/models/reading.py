"""Reading a batch of prompts and then answering token by token: what the model holds of the rows meanwhile.

`Reader` is for models that read and write one sequence; `EncoderReader` for encoder-decoders, whose encoder reads the
prompt once and whose decoder holds the answer alone. Both give the scores of each row's next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.models.batching import Batch, alike


class Reader:
    """A causal model, with or without a soft prompt; shared prefixes are read once, rests of like length together."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._soft = _without_soft_prompt(model)
        self._pad = pad
        self._device = next(model.parameters()).device
        self._cache: Any = None
        self._mask: Any = None

    def read(self, batch: Batch) -> Any:
        """Read the prompts; the scores of each row's first new token."""
        import torch

        from tasks.models.holding import new_cache

        groups = len(batch.prefixes)
        self._cache = new_cache(self._model.config)
        self._mask = torch.zeros(groups, 0, dtype=torch.long, device=self._device)
        if self._soft is not None:
            soft = self._soft.expand(groups, -1, -1)
            self._forward(self._mask.new_ones(soft.shape[:2]), inputs_embeds=soft)
        if any(batch.prefixes):
            ids, mask = _padded(batch.prefixes, self._pad, self._device)
            self._forward(mask, input_ids=ids)
        return self._read_rests(batch)

    def _read_rests(self, batch: Batch) -> Any:
        """Read what follows the prefixes, rests of like length in one pass, and hold all rows as one batch."""
        import torch

        from tasks.models.holding import aligned, can_be_joined, joined, selected

        prefixes, mask, parts = self._cache, self._mask, []
        for rows in alike(batch.rests) if can_be_joined(prefixes) else [slice(None)]:
            group = torch.tensor(batch.group[rows], device=self._device)
            self._cache, self._mask = selected(prefixes, group), mask[group]
            ids, new = _padded(batch.rests[rows], self._pad, self._device)
            parts.append((self._forward(new, input_ids=ids), self._cache, self._mask))
        scores, caches, masks = zip(*parts, strict=True)
        if len(parts) > 1:
            self._cache, self._mask = joined(caches), aligned(masks)
        return torch.cat(scores)

    def keep(self, places: Sequence[int]) -> None:
        """Let go of all rows but those at `places`."""
        import torch

        kept = torch.tensor(places, device=self._device)
        self._cache.batch_select_indices(kept)
        self._mask = self._mask[kept]

    def step(self, tokens: Sequence[int]) -> Any:
        """Append a token to every row; the scores of the next ones."""
        import torch

        ids = torch.tensor([[token] for token in tokens], device=self._device)
        return self._forward(self._mask.new_ones(ids.shape), input_ids=ids)

    def _forward(self, mask: Any, **given: Any) -> Any:
        """One pass; `mask` (batch, new) is 0 at padding, which has no position."""
        import torch

        self._mask = torch.cat([self._mask, mask], dim=1)
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -mask.shape[1] :]
        output = self._model(
            **given,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            # As an index, not as a number: a slice would not be contiguous, and for a frozen head PyTorch then copies
            # the head's weights once a row, 4 GB for 72 rows of a small model.
            logits_to_keep=torch.tensor([mask.shape[1] - 1], device=self._device),
        )
        self._cache = output.past_key_values
        return output.logits[:, -1]


class EncoderReader:
    """An encoder-decoder: prompts are encoded whole."""

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._pad = model, pad
        self._device = next(model.parameters()).device
        self._start = model.config.decoder_start_token_id
        self._encoded: Any = None
        self._mask: Any = None
        self._cache: Any = None

    def read(self, batch: Batch) -> Any:
        """Encode the prompts; the scores of each answer's first token."""
        prompts = [batch.prefixes[group] + rest for group, rest in zip(batch.group, batch.rests, strict=True)]
        ids, self._mask = _padded(prompts, self._pad, self._device, left=False)
        self._encoded = self._model.get_encoder()(input_ids=ids, attention_mask=self._mask).last_hidden_state
        self._cache = None
        return self.step([self._start] * len(prompts))

    def keep(self, places: Sequence[int]) -> None:
        """Let go of all rows but those at `places`."""
        import torch

        kept = torch.tensor(places, device=self._device)
        self._cache.batch_select_indices(kept)
        self._mask, self._encoded = self._mask[kept], self._encoded[kept]

    def step(self, tokens: Sequence[int]) -> Any:
        """Append a token to every answer; the scores of the next ones."""
        import torch

        output = self._model(
            encoder_outputs=(self._encoded,),
            attention_mask=self._mask,
            decoder_input_ids=torch.tensor([[token] for token in tokens], device=self._device),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        return output.logits[:, -1]


def reader_for(model: Any, pad: int) -> Reader | EncoderReader:
    """The reader that suits `model`."""
    return EncoderReader(model, pad) if model.config.is_encoder_decoder else Reader(model, pad)


def _without_soft_prompt(model: Any) -> tuple[Any, Any]:
    """The model itself, and the vectors (1, length, width) of a soft prompt that stand before every text, or None.

    PEFT's own forward would put them before every token that is read."""
    config = getattr(model, "active_peft_config", None)
    if config is None or not config.is_prompt_learning:
        return model, None
    base = model.get_base_model()
    return base, model.get_prompt(batch_size=1).to(base.dtype)


def _padded(rows: Sequence[list[int]], pad: int, device: Any, left: bool = True) -> tuple[Any, Any]:
    """Token ids and mask of rows padded to the longest: tensors (rows, longest)."""
    import torch

    width = max(len(row) for row in rows)

    def filled(row: list[int], filler: int) -> list[int]:
        more = [filler] * (width - len(row))
        return more + row if left else row + more

    ids = torch.tensor([filled(row, pad) for row in rows], device=device)
    return ids, torch.tensor([filled([1] * len(row), 0) for row in rows], device=device)
