"""What a collated batch says about its predictions, and how several processes deal the batches of one among them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.trainer_utils import seed_worker

from weighted_mtp import IGNORED
from weighted_mtp.data import NO_ROW, RankBatches, WithNoRow, is_right
from weighted_mtp.losses import mtp_targets
from weighted_mtp.training.errors import ConfigError

BUILT = "token_batch"
"""Key of the inputs under which the batch stands that was built of them."""


@dataclass(frozen=True)
class TokenBatch:
    """One micro-batch on its device, with the targets of every head.

    Everything weight-like is prediction-aligned: index t belongs to the prediction of token t+1 made at t.
    """

    input_ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    labels: Int[Tensor, "batch seq"]
    n_future: int
    rewards: Float[Tensor, " batch"]
    row_ids: Int[Tensor, " batch"]
    prompt_ids: Int[Tensor, " batch"]
    weights: Float[Tensor, "batch seq"] | None = None
    values: Float[Tensor, "batch seq"] | None = None
    credit: Float[Tensor, "batch seq"] | None = None
    pass_rate: Float[Tensor, " batch"] | None = None
    steps: Float[Tensor, "batch seq"] | None = None
    step_rewards: Float[Tensor, "batch seq"] | None = None

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Any], n_future: int, device: torch.device | None = None) -> "TokenBatch":
        """Takes the collator's tensors, to a device if one is named; what the rows did not carry stays None.

        A batch that was built of them before, to be counted, is taken as it is.
        """
        if BUILT in inputs:
            return inputs[BUILT]
        tensors = {f.name: inputs[f.name] for f in fields(cls) if f.name in inputs}
        if device is not None:
            tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        return cls(n_future=n_future, **tensors)

    @cached_property
    def targets(self) -> Int[Tensor, "batch seq n_future"]:
        """Token that head k predicts from t: labels[t+1+k], -100 where there is none."""
        return mtp_targets(self.labels, self.n_future)

    @cached_property
    def valid(self) -> Bool[Tensor, "batch seq n_future"]:
        """True where a head has something to predict."""
        return self.targets != IGNORED

    @property
    def mask(self) -> Bool[Tensor, "batch seq"]:
        """The prediction mask: True where the next token is to be learned."""
        return self.valid[..., 0]

    def input_tokens(self) -> Int[Tensor, ""]:
        """Tokens read, without those of `NO_ROW`."""
        return torch.where(self.row_ids == NO_ROW, 0, self.attention_mask.sum(1)).sum()


class BatchCounts(NamedTuple):
    """Global denominators of one optimizer step: summed over its micro-batches and over all processes.

    They come from the labels alone, before the first backward pass, so that a batch equals its micro-batches
    and its ranks.
    """

    predictions: Tensor
    """Valid predictions of all heads."""
    positions: Tensor
    """Value positions."""
    pairs: Tensor
    """Right-wrong pairs of completions of one prompt within a micro-batch."""
    rows: Tensor
    """Rows with a prediction."""

    @classmethod
    def of(cls, batch: TokenBatch) -> "BatchCounts":
        """Counts one micro-batch."""
        has_positions, right = batch.mask.any(1), is_right(batch.rewards)
        same_prompt = batch.prompt_ids[:, None] == batch.prompt_ids[None, :]
        pairs = same_prompt & (right & has_positions)[:, None] & (~right & has_positions)[None, :]
        return cls(batch.valid.sum(), batch.mask.sum(), pairs.sum(), has_positions.sum())

    @classmethod
    def total(cls, counts: Iterable["BatchCounts"]) -> Tensor:
        """Sums over micro-batches, as one tensor, for one reduction over processes."""
        return torch.stack([torch.stack(tuple(one)) for one in counts]).sum(0)


def rank_loader(
    args: TrainingArguments, rows: Any, sampler: Any, batch_size: int, collate: Any, drop_last: bool = False
) -> DataLoader[Any]:
    """This process's batches of an epoch, on the host."""
    dealing = [name for name in ("split_batches", "dispatch_batches") if getattr(args.accelerator_config, name)]
    if dealing:
        raise ConfigError(
            f"accelerator_config sets {', '.join(dealing)}: remove it, since rows are dealt so that ranks equal one "
            "process"
        )
    return DataLoader(
        WithNoRow(rows) if args.world_size > 1 else rows,
        batch_sampler=RankBatches(sampler, batch_size, args.process_index, args.world_size, drop_last),
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        prefetch_factor=args.dataloader_prefetch_factor,
        in_order=args.dataloader_in_order,
        worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
    )


def on_device(loader: DataLoader[Any], accelerator: Accelerator) -> Any:
    """The same batches on the device. Accelerate would deal them once more, and repeat rows to even them out."""
    return prepare_data_loader(
        loader,
        accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=accelerator.device_placement,
        non_blocking=accelerator.non_blocking,
    )
