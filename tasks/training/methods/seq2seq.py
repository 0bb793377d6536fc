"""Supervised fine-tuning of encoder-decoder models (T5): prompt to the encoder, SQL from the decoder.

Rows are those of `sft`, divided where the answer begins. Limits: no shared prefixes, since a decoder attends to one
encoded prompt.
"""

from __future__ import annotations

from tasks.training.engine import Run, Trained
from tasks.training.methods.sft import Sft
from tasks.training.padding import divide
from tasks.training.plain import train_plainly


class Seq2Seq(Sft):
    """Rows, start and files are those of `sft`."""

    def train(self, run: Run) -> Trained:
        """Train with transformers' own trainer."""
        return train_plainly(run, divide, label_smoothing_factor=run.stage.spec.label_smoothing)


METHOD = Seq2Seq()
