"""What a run's scheme made of single completions: tokens with weight, TD error and value, for people to look at."""

from typing import Any

import torch
from datasets import Dataset

from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.trainer import WeightedMTPTrainer
from weighted_mtp.value_weighting import weigh


@torch.no_grad()
def view_tokens(
    trainer: WeightedMTPTrainer, dataset: Dataset, tokenizer: Any, arm: str
) -> list[dict[str, Any]]:
    """One record a row: the completion's tokens, and what each counts for the next-token head.

    Args:
        trainer: holds model, stage and scheme; the scheme only reads its statistics.
        dataset: encoded rows, few enough to look at.
        tokenizer: turns ids into the pieces of text that are shown.
        arm: name of the run in what is shown.

    Returns:
        dicts with prompt, label, tokens, weights, td_errors, values (None where the stage has none), token_error (None
        where the rows carry none) and arm; lists run over the labelled tokens.
    """
    views: list[dict[str, Any]] = []
    trainer.model.eval()
    for start in range(0, len(dataset), trainer.args.eval_batch_size):
        rows = [dataset[i] for i in range(start, min(start + trainer.args.eval_batch_size, len(dataset)))]
        batch = TokenBatch.from_inputs(_on_device(trainer, rows), trainer.model.n_future)
        outputs = trainer.stage.forward(trainer.model, batch)
        signals = trainer.stage.signals(batch, outputs, trainer.model, trainer.seeded_generator())
        weights = weigh(trainer.scheme.eval(), signals)[..., 0]
        has_values = signals.values is not None and signals.rewards is not None
        for b, row in enumerate(rows):
            picked = batch.mask[b]
            ids = [token for token in row["labels"] if token != -100]
            views.append(
                {
                    "prompt": tokenizer.decode(row["input_ids"][: -len(ids)], skip_special_tokens=True),
                    "label": row["reward"] > 0.5,
                    "tokens": [tokenizer.decode([token]) for token in ids],
                    "weights": weights[b][picked].tolist(),
                    "td_errors": signals.td_errors[b][picked].tolist() if has_values else None,
                    "values": signals.values[b][picked].tolist() if signals.values is not None else None,
                    "token_error": row.get("token_error"),
                    "arm": arm,
                }
            )
    return views


def collect_weights(trainer: WeightedMTPTrainer, dataset: Dataset, tokenizer: Any, arm: str) -> list[float]:
    """All next-token weights of the rows, for a histogram."""
    return [w for view in view_tokens(trainer, dataset, tokenizer, arm) for w in view["weights"]]


def _on_device(trainer: WeightedMTPTrainer, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    collated = trainer.data_collator(rows)
    return {name: tensor.to(trainer.args.device) for name, tensor in collated.items()}
