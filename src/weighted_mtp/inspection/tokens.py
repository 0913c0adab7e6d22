"""What a run's scheme made of single completions: for people to look at."""

from collections.abc import Callable, Iterator
from itertools import compress
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from weighted_mtp import IGNORED
from weighted_mtp.data import is_right
from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.losses import mtp_nll
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.trainer import WeightedMTPTrainer
from weighted_mtp.value_weighting import Signals, weigh

Advance = Callable[[int], None]
"""Told how many rows were gone through."""


@torch.no_grad()
def view_tokens(
    trainer: WeightedMTPTrainer, dataset: Dataset, tokenizer: Any, arm: str, advance: Advance | None = None
) -> list[dict[str, Any]]:
    """One record a row, as `TokenView` wants it: the learned tokens of all turns, and what the run knows of each.

    The scheme only reads its statistics; the rows are encoded, and few enough to look at. weights are those of head 0;
    td_errors, values and credit are None where the stage has none, token_error where the rows carry none. losses has
    for each token the nats that each head lost on it, head k from k tokens earlier, NaN where the row begins later;
    and, where heads weigh a token differently, head_weights likewise.
    """
    views: list[dict[str, Any]] = []
    detokenizer = Detokenizer(tokenizer)
    for rows, batch, hidden, signals in forwarded(trainer, dataset, advance):
        weights = _of_tokens(weigh(trainer.scheme.eval(), signals))
        nll = signals.nll
        if nll is None:
            nll = mtp_nll(hidden, targets=batch.targets, **trainer.model.output_head())
        losses = _of_tokens(nll)
        has_values = signals.values is not None and signals.rewards is not None
        for b, row in enumerate(rows):
            picked = batch.mask[b]
            learned = [label != IGNORED for label in row["labels"]]
            first = learned.index(True)
            prompt = row["input_ids"][:first]
            pieces = detokenizer.pieces(prompt, row["input_ids"][first:])
            view = {
                "row": row["row_id"],
                "prompt": tokenizer.decode(prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                "label": is_right(row["reward"]),
                "tokens": [*compress(pieces, learned[first:])],
                "weights": weights[b, picked, 0].tolist(),
                "td_errors": signals.td_errors[b][picked].tolist() if has_values else None,
                "values": signals.values[b][picked].tolist() if signals.values is not None else None,
                "credit": signals.credit[b][picked].tolist() if signals.credit is not None else None,
                "losses": losses[b][picked].tolist(),
                "token_error": row.get("token_error"),
                "arm": arm,
            }
            gap = (weights[b][picked] - weights[b][picked, :1]).nan_to_num(0.0)
            if (gap.abs() > 1e-6).any():
                view["head_weights"] = weights[b][picked].tolist()
            views.append(view)
    return views


def forwarded(
    trainer: WeightedMTPTrainer, dataset: Dataset, advance: Advance | None = None
) -> Iterator[tuple[list[dict[str, Any]], TokenBatch, Tensor, Signals]]:
    """The rows in order, in evaluation batches: each with its hidden states, and what the stage makes of it."""
    trainer.model.eval()
    size = trainer.args.eval_batch_size
    for start in range(0, len(dataset), size):
        rows = [dataset[i] for i in range(start, min(start + size, len(dataset)))]
        collated = {name: tensor.to(trainer.args.device) for name, tensor in trainer.data_collator(rows).items()}
        batch = TokenBatch.from_inputs(collated, trainer.model.n_future)
        outputs = trainer.stage.forward(trainer.model, batch)
        signals = trainer.stage.signals(batch, outputs, trainer.model, trainer.seeded_generator())
        yield rows, batch, outputs["hidden_states"], signals
        if advance is not None:
            advance(len(rows))


def _of_tokens(x: Float[Tensor, "batch seq n_future"]) -> Float[Tensor, "batch seq n_future"]:
    """From predictions by their position to predictions of one token: y[b, t, k] = x[b, t-k, k], NaN where t < k. Every
    y[b, t] is about token t+1, as the weight at t is (`align_to_heads` is the inverse)."""
    heads = [pad(x[:, : x.shape[1] - k, k], (k, 0), value=torch.nan) for k in range(x.shape[2])]
    return torch.stack(heads, dim=-1)
