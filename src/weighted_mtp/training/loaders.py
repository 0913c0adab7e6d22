"""Batches for one of several processes that together take the steps of one."""

from functools import partial
from typing import Any

from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.trainer_utils import seed_worker

from weighted_mtp.data import RankBatches, WithNoRow
from weighted_mtp.training.settings import ConfigError


def rank_loader(
    args: TrainingArguments, rows: Any, sampler: Any, batch_size: int, collate: Any, drop_last: bool = False
) -> DataLoader[Any]:
    """This process's batches of an epoch, on the host.

    Raises:
        ConfigError: `accelerator_config` asks for another way of dealing rows.
    """
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
