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
from weighted_mtp.data import NO_ROW, RankBatches, WithNoRow
from weighted_mtp.data.packing import PackedOrder, PackedRows
from weighted_mtp.losses import mtp_targets
from weighted_mtp.models.packing import Layout, Packing
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
    packs: Int[Tensor, "packs most"] | None = None
    """Numbers of the rows that share a sequence in a model, -1 for none; None: every row has its own."""
    pack_length: int = 0
    pass_rate: Float[Tensor, " batch"] | None = None
    steps: Float[Tensor, "batch seq"] | None = None
    step_rewards: Float[Tensor, "batch seq"] | None = None
    loss_weights: Float[Tensor, "batch seq"] | None = None
    logprobs: Float[Tensor, "batch seq"] | None = None

    @classmethod
    def from_inputs(cls, inputs: Mapping[str, Any], n_future: int, device: torch.device | None = None) -> "TokenBatch":
        """Takes the collator's tensors, to a device if one is named; a batch that was built of them already is kept."""
        if BUILT in inputs:
            return inputs[BUILT]
        tensors: dict[str, Any] = {f.name: inputs[f.name] for f in fields(cls) if f.name in inputs}
        if device is not None:
            tensors = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in tensors.items()}
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

    @cached_property
    def packing(self) -> Packing | None:
        """How a model packs the rows; None: it does not."""
        return None if self.packs is None else Packing(self.packs, self.pack_length)

    @property
    def rows(self) -> dict[str, Any]:
        """What a model is called with, as keyword arguments."""
        packed = {} if self.packing is None else {"packing": self.packing}
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask, **packed}

    def repeated_rows(self, times: int) -> dict[str, Any]:
        """`rows` of a batch that holds every row so often, one copy of all behind the other."""
        packing = self.packing and {"packing": self.packing.repeated(times, len(self.input_ids))}
        ids, mask = self.input_ids.repeat(times, 1), self.attention_mask.repeat(times, 1)
        return {"input_ids": ids, "attention_mask": mask, **(packing or {})}

    @cached_property
    def _layout(self) -> Layout | None:
        return None if self.packing is None else self.packing.layout(self.attention_mask)

    def as_hidden(self, x: Tensor, fill: float = 0) -> Tensor:
        """What belongs to positions of rows, [batch, seq, ...], as a model's hidden states lie; `fill` between rows."""
        return x if self._layout is None else self._layout.pack(x, fill)

    def by_row(self, x: Tensor) -> Tensor:
        """What lies as a model's hidden states do, by row: [batch, seq, ...]."""
        return x if self._layout is None else self._layout.rows(x)

    @cached_property
    def hidden_targets(self) -> Int[Tensor, "sequences length n_future"]:
        """`targets` as the hidden states lie."""
        return self.as_hidden(self.targets, IGNORED)

    @property
    def row_of(self) -> Int[Tensor, "sequences length"]:
        """Number of the row that a hidden state belongs to."""
        rows, seq = self.input_ids.shape
        return self.as_hidden(torch.arange(rows, device=self.input_ids.device)[:, None].expand(rows, seq))

    @property
    def paid(self) -> Float[Tensor, " batch"] | Float[Tensor, "batch seq"]:
        """What the rows are paid: their steps [batch, seq], or their outcomes [batch] where the data has no steps."""
        return self.rewards if self.step_rewards is None else self.step_rewards

    def input_tokens(self) -> Int[Tensor, ""]:
        """Tokens read, without those of `NO_ROW`."""
        return torch.where(self.row_ids == NO_ROW, 0, self.attention_mask.sum(1)).sum()


class BatchCounts(NamedTuple):
    """Global denominators of one optimizer step: summed over its micro-batches and over all processes.

    They come from the labels alone, before the first backward, so that a batch equals its micro-batches and its ranks.
    """

    predictions: Tensor
    """Valid predictions of all heads."""
    positions: Tensor
    """Value positions."""
    pairs: Tensor
    """Pairs of a better and a worse completion of one prompt within a micro-batch."""
    rows: Tensor
    """Rows with a prediction."""

    @classmethod
    def of(cls, batch: TokenBatch) -> "BatchCounts":
        """Counts one micro-batch."""
        has_positions, rewards = batch.mask.any(1), batch.rewards
        same_prompt = batch.prompt_ids[:, None] == batch.prompt_ids[None, :]
        better = (rewards[:, None] > rewards[None, :]) & has_positions[:, None] & has_positions[None, :]
        pairs = same_prompt & better
        return cls(batch.valid.sum(), batch.mask.sum(), pairs.sum(), has_positions.sum())

    @classmethod
    def total(cls, counts: Iterable["BatchCounts"]) -> Tensor:
        """Sums over micro-batches, as one tensor, for one reduction over processes."""
        return torch.stack([torch.stack(tuple(one)) for one in counts]).sum(0)


def rank_loader(
    args: TrainingArguments,
    rows: Any,
    sampler: Any,
    batch_size: int,
    collate: Any,
    drop_last: bool = False,
    in_one: bool = False,
) -> DataLoader[Any]:
    """This process's batches of an epoch, on the host; `in_one`: of packs, each as one sequence."""
    dealing = [name for name in ("split_batches", "dispatch_batches") if getattr(args.accelerator_config, name)]
    if dealing:
        raise ConfigError(
            f"accelerator_config sets {', '.join(dealing)}: remove it, since rows are dealt so that ranks equal one "
            "process"
        )
    rows = WithNoRow(rows) if args.world_size > 1 else rows
    return DataLoader(
        PackedRows(rows, in_one) if isinstance(sampler, PackedOrder) else rows,
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
