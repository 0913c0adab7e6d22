"""A `weights` column in trainers of other packages: `transformers.Trainer`, and TRL's SFTTrainer, packed or padded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy

from weighted_mtp import IGNORED
from weighted_mtp.checks import require_shape

WEIGHTS = "weights"


def weighted_next_token_loss(
    logits: Shaped[Tensor, "batch seq vocab"],
    labels: Shaped[Tensor, "batch seq"],
    weights: Shaped[Tensor, "batch seq"],
    normalizer: float | Tensor | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of next tokens, each times the weight of the token that is predicted.

        loss = sum over t of weights[t+1] * -log softmax(logits[t])[labels[t+1]] / normalizer,   labels[t+1] != -100

    `weighted_mtp_loss` of one head, for trainers that build the logits anyway.

    Args:
        labels: token ids at the tokens' own places, -100 where nothing is learned.
        weights: of the tokens, likewise; constants.
        normalizer: tokens that the whole optimizer step learns; None: those of this batch.

    Examples:
        >>> logits, labels = torch.zeros(1, 3, 4), torch.tensor([[-100, 2, 1]])
        >>> loss = weighted_next_token_loss(logits, labels, torch.tensor([[9.0, 0.5, 1.5]]))
        >>> round(loss.item(), 4)  # (.5 + 1.5) ln 4 over two tokens
        1.3863
    """
    require_shape("labels", labels, tuple(logits.shape[:2]))
    require_shape("weights", weights, tuple(labels.shape))
    targets, factors = labels[:, 1:].reshape(-1), weights[:, 1:].reshape(-1).to(logits.device, torch.float32)
    nll = cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]).float(), targets, reduction="none", ignore_index=IGNORED
    )
    learned = targets != IGNORED
    count = learned.sum() if normalizer is None else torch.as_tensor(normalizer, device=nll.device)
    return torch.where(learned, factors * nll, 0.0).sum() / count.clamp(min=1)


@dataclass(frozen=True)
class WeightsCollator:
    """Another collator, and the rows' `weights` laid where it laid their tokens; rows without them pass as they are.

    Examples:
        >>> from transformers import default_data_collator
        >>> rows = [{"input_ids": [5, 6], "labels": [-100, 6], "weights": [0.0, 2.0]}]
        >>> WeightsCollator(default_data_collator)(rows)["weights"]
        tensor([[0., 2.]])
    """

    collate: Callable[[list[dict[str, Any]]], dict[str, Any]]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The other collator's batch with `weights` [batch, seq] beside its `labels`."""
        batch = dict(self.collate([{name: x for name, x in row.items() if name != WEIGHTS} for row in rows]))
        given = [row.get(WEIGHTS) for row in rows]
        if all(weights is None for weights in given):
            return batch
        for row, weights in zip(rows, given, strict=True):
            if weights is None or len(weights) != len(row["input_ids"]):
                found = "no" if weights is None else str(len(weights))
                raise ValueError(
                    f"a row has {len(row['input_ids'])} tokens and {found} weights: give one for each token, 0 on "
                    "the prompt (`wmtp score --format tokens` writes them)"
                )
        flat = torch.cat([torch.as_tensor(weights, dtype=torch.float32) for weights in given])
        if not bool((flat >= 0).all() and flat.isfinite().all()):
            raise ValueError(
                f"weights lie between {float(flat.min())} and {float(flat.max())}: finite ones from 0 on are needed; "
                "negative ones are for `wmtp train baseline --scheme column --scheme_options '{floor: .01}'`"
            )
        shape = batch["labels"].shape
        shown = batch.get("attention_mask", (torch.arange(shape.numel()) < len(flat)).view(shape)).bool()
        if shown.shape != shape or int(shown.sum()) != len(flat):
            raise ValueError(
                f"the rows have {len(flat)} tokens, and {type(self.collate).__name__} shows {int(shown.sum())}: give a "
                "collator that pads rows, or joins them, and cuts none"
            )
        return batch | {WEIGHTS: torch.zeros(shape).masked_scatter(shown, flat)}


class TokenWeights:
    """Makes a trainer honour the `weights` column of its rows: put it before the trainer's own class.

        class WeightedSFTTrainer(TokenWeights, SFTTrainer): ...
        class WeightedTrainer(TokenWeights, Trainer): ...

    Rows are `input_ids`, `labels` (-100 where nothing is learned) and `weights`, one for each token, as `wmtp score
    --format tokens` writes them. The loss is `weighted_next_token_loss` over the tokens of the whole optimizer step, so
    micro-batches and processes add up to one batch; packed (TRL's `packing`) equals padded. Rows of an evaluation may
    lack weights: their loss is the trainer's own.

    Raises:
        ValueError: rows to train on without weights, or settings of another loss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own: Any = self
        for name, plain in (("loss_type", "nll"), ("label_smoothing_factor", 0.0), ("use_liger_kernel", False)):
            if getattr(own.args, name, plain) != plain:
                raise ValueError(
                    f"{name} is {getattr(own.args, name)!r}: the loss is that of TokenWeights; leave it out"
                )
        if getattr(own, "compute_loss_func", None) is not None:
            raise ValueError("compute_loss_func is given: the loss is that of TokenWeights; leave it out")
        self.data_collator: Any = WeightsCollator(self.data_collator)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted loss of a batch that has weights."""
        trainer: Any = super()
        if WEIGHTS not in inputs:
            if model.training:
                raise ValueError(
                    f"the rows to train on have no column `{WEIGHTS}`: name theirs so, or leave TokenWeights out"
                )
            return trainer.compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {name: x for name, x in inputs.items() if name not in ("labels", WEIGHTS)}
        outputs = model(**given, use_cache=False)
        loss = weighted_next_token_loss(outputs.logits, inputs["labels"], inputs[WEIGHTS], num_items_in_batch)
        own: Any = self
        if num_items_in_batch is not None and own.args.average_tokens_across_devices:
            loss = loss * own.accelerator.num_processes  # DDP averages, and the count is of all processes
        return (loss, outputs) if return_outputs else loss

    def _set_signature_columns_if_needed(self) -> None:
        """The column is used, though no model reads it."""
        trainer: Any = super()
        trainer._set_signature_columns_if_needed()
        own: Any = self
        own._signature_columns = list(dict.fromkeys([*own._signature_columns, WEIGHTS]))

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, packing: bool, *rest: Any) -> Any:
        """TRL's, which cuts and packs `input_ids` and `labels` alone: so it is given weights in their place, too."""
        trainer: Any = super()
        names = dataset.column_names or list(next(iter(dataset)))  # a stream may not know them
        if WEIGHTS not in names:
            return trainer._prepare_dataset(dataset, processing_class, args, packing, *rest)
        if "input_ids" not in names or "labels" not in names:
            raise ValueError(
                f"rows with weights have the columns {', '.join(names)}: give input_ids, labels and "
                "weights, one entry for each token (`wmtp score --format tokens` writes them)"
            )
        columns = ["input_ids", "labels", WEIGHTS]
        dataset = dataset.select_columns(columns)
        if args.max_length is not None and not packing:
            kept = slice(args.max_length) if args.truncation_mode == "keep_start" else slice(-args.max_length, None)
            dataset = dataset.map(lambda row: {name: row[name][kept] for name in columns})
            dataset = dataset.filter(lambda row: any(label != IGNORED for label in row["labels"]))
        dataset = dataset.shuffle(seed=args.seed) if args.shuffle_dataset else dataset
        if not packing:
            return dataset
        if args.max_length is None:
            raise ValueError("packing needs max_length, the tokens of a sequence: set it in SFTConfig")
        from trl.data_utils import pack_dataset

        return pack_dataset(dataset, args.max_length, args.packing_strategy)
