"""What a run's scheme made of single completions, and what its values said: for people to look at."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.losses import mtp_nll
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.trainer import WeightedMTPTrainer
from weighted_mtp.value_weighting import Signals, weigh


class _Forwarded(NamedTuple):
    """A batch of rows with what the stage makes of it."""

    rows: list[dict[str, Any]]
    batch: TokenBatch
    hidden: Float[Tensor, "batch seq n_future dim"]
    signals: Signals


@torch.no_grad()
def view_tokens(trainer: WeightedMTPTrainer, dataset: Dataset, tokenizer: Any, arm: str) -> list[dict[str, Any]]:
    """One record a row: the completion's tokens, and what the run knows of each.

    Args:
        trainer: holds model, stage and scheme; the scheme only reads its statistics.
        dataset: encoded rows, few enough to look at.
        tokenizer: turns ids into the pieces of text that are shown.
        arm: name of the run in what is shown.

    Returns:
        dicts with row, prompt, label, tokens, arm, and lists over the labelled tokens: weights (of head 0); td_errors,
        values, credit, None where the stage has none; token_error, None where the rows carry none; losses, for each
        token the nats that each head lost on it, head k from k tokens earlier, NaN where the row begins later; and,
        where heads weigh a token differently, head_weights, likewise.
    """
    views: list[dict[str, Any]] = []
    detokenizer = Detokenizer(tokenizer)
    for rows, batch, hidden, signals in _forwarded(trainer, dataset):
        weights = _of_tokens(weigh(trainer.scheme.eval(), signals))
        nll = signals.nll
        if nll is None:
            nll = mtp_nll(hidden, targets=batch.targets, **trainer.model.output_head())
        losses = _of_tokens(nll)
        has_values = signals.values is not None and signals.rewards is not None
        for b, row in enumerate(rows):
            picked = batch.mask[b]
            ids = [token for token in row["labels"] if token != -100]
            prompt = row["input_ids"][: -len(ids)]
            view = {
                "row": row["row_id"],
                "prompt": tokenizer.decode(prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                "label": row["reward"] > 0.5,
                "tokens": detokenizer.pieces(prompt, ids),
                "weights": weights[b, picked, 0].tolist(),
                "td_errors": signals.td_errors[b][picked].tolist() if has_values else None,
                "values": signals.values[b][picked].tolist() if signals.values is not None else None,
                "credit": signals.credit[b][picked].tolist() if signals.credit is not None else None,
                "losses": losses[b][picked].tolist(),
                "token_error": row.get("token_error"),
                "arm": arm,
            }
            if _heads_differ(weights[b][picked]):
                view["head_weights"] = weights[b][picked].tolist()
            views.append(view)
    return views


def collect_weights(trainer: WeightedMTPTrainer, dataset: Dataset, tokenizer: Any, arm: str) -> list[float]:
    """All next-token weights of the rows, for a histogram."""
    return [w for view in view_tokens(trainer, dataset, tokenizer, arm) for w in view["weights"]]


class Judged(NamedTuple):
    """Values and credit of completions, a list over the labelled tokens each."""

    values: list[list[float]]
    """P(success) before each token."""
    credit: list[list[float]]
    """The critic's credit of each token, or its TD error."""


@torch.no_grad()
def judge_rows(trainer: WeightedMTPTrainer, dataset: Dataset) -> Judged | None:
    """What the run's values say of the rows; None where its stage has no values."""
    judged = Judged([], [])
    for _, batch, _, signals in _forwarded(trainer, dataset):
        if signals.values is None:
            return None
        credit = signals.td_errors if signals.credit is None else signals.credit
        for b, picked in enumerate(batch.mask):
            judged.values.append(signals.values[b][picked].tolist())
            judged.credit.append(credit[b][picked].tolist())
    return judged


def _forwarded(trainer: WeightedMTPTrainer, dataset: Dataset) -> Iterator[_Forwarded]:
    """The rows in order, in evaluation batches."""
    trainer.model.eval()
    size = trainer.args.eval_batch_size
    for start in range(0, len(dataset), size):
        rows = [dataset[i] for i in range(start, min(start + size, len(dataset)))]
        batch = TokenBatch.from_inputs(_on_device(trainer, rows), trainer.model.n_future)
        outputs = trainer.stage.forward(trainer.model, batch)
        signals = trainer.stage.signals(batch, outputs, trainer.model, trainer.seeded_generator())
        yield _Forwarded(rows, batch, outputs["hidden_states"], signals)


def _on_device(trainer: WeightedMTPTrainer, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    collated = trainer.data_collator(rows)
    return {name: tensor.to(trainer.args.device) for name, tensor in collated.items()}


def _of_tokens(x: Float[Tensor, "batch seq n_future"]) -> Float[Tensor, "batch seq n_future"]:
    """From predictions by their position to predictions of one token: y[b, t, k] = x[b, t-k, k], NaN where t < k.

    Every y[b, t] is about token t+1, as the weight at t is (`align_to_heads` is the inverse).
    """
    heads = [pad(x[:, : x.shape[1] - k, k], (k, 0), value=torch.nan) for k in range(x.shape[2])]
    return torch.stack(heads, dim=-1)


def _heads_differ(weights: Float[Tensor, "tokens n_future"]) -> bool:
    gap = (weights - weights[:, :1]).nan_to_num(0.0)
    return bool((gap.abs() > 1e-6).any())
