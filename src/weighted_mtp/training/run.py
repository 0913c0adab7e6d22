"""From a configuration to a trained directory: each function is one step, `train` their sequence, `loading` reads what
it names. What holds models and rows in memory enters at `make_trainer`."""

import gc
import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from weighted_mtp.data import SAMPLERS, BalancedSampler, CompletionCollator, is_right, make_sampler
from weighted_mtp.files import finish_interrupted, own_folder
from weighted_mtp.losses.liger import require_liger
from weighted_mtp.models.architecture import require_packable
from weighted_mtp.models.row_attention import attend_by_row
from weighted_mtp.terminal import Stopped
from weighted_mtp.training.arguments import training_arguments
from weighted_mtp.training.callbacks import InterruptCallback, LastStepEvaluation, LogLines, ProgressBar
from weighted_mtp.training.checkpoints import resolve_resume
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import require_spread
from weighted_mtp.training.critics.value_head import ValueStage, holds_pair
from weighted_mtp.training.early_stopping import EarlyStopping, stopping_lines
from weighted_mtp.training.errors import ConfigError, in_memory
from weighted_mtp.training.loading import NOTHING, InMemory, Inputs, load_inputs, load_scheme
from weighted_mtp.training.made_with import MadeWith
from weighted_mtp.training.nonfinite import NonFiniteError
from weighted_mtp.training.resume import Resumption, agreed, require_possible, settle_resume
from weighted_mtp.training.skill import tell_skill, with_skill
from weighted_mtp.training.tracking import MLflowLogger
from weighted_mtp.training.trainer import WeightedMTPTrainer

logger = logging.getLogger(__name__)

LOOKED_AT_BATCHES = 1000
"""In which a ranking must find a pair."""


class Interrupted(Stopped):
    """Training was stopped by a signal after saving; the message says how to go on."""


def train(
    config: RunConfig,
    resume: str | None = None,
    *,
    with_changes: bool = False,
    quiet: bool = False,
    memory: InMemory = NOTHING,
    callbacks: Sequence[TrainerCallback] = (),
) -> Path:
    """Runs one stage from its files to its output directory, and returns that directory; quietly without a bar.

    What the caller has in `memory` is taken from there, and named in run.yaml. The directory is the process's own
    meanwhile (else Occupied); a save that a kill interrupted is ended first. A resume with other settings, rows or
    models than the checkpoint's is refused, unless made `with_changes`. Raises what `fit` raises.
    """
    run = partial(_train, config, resume, with_changes, quiet, memory, callbacks)
    if os.environ.get("RANK", "0") != "0":
        return run()
    with own_folder(config.train.output_dir):
        finish_interrupted(config.train.output_dir)
        return run()


def _train(
    config: RunConfig, resume: str | None, with_changes: bool, quiet: bool, memory: InMemory,
    callbacks: Sequence[TrainerCallback],
) -> Path:  # fmt: skip
    inputs = load_inputs(config := with_skill(config, memory.rows), memory=memory)
    made_with = MadeWith.of(config, inputs)
    trainer, output_dir = make_trainer(config, inputs, quiet=quiet, callbacks=callbacks), config.train.output_dir

    def decide() -> Resumption:
        checkpoint, trainer.passed_over = resolve_resume(resume, output_dir)
        for damaged, reason in trainer.passed_over.items():
            logger.warning("%s is passed over: %s", damaged, reason)
        return settle_resume(made_with, checkpoint, output_dir, resume is not None, with_changes)

    try:
        decided = agreed(decide)
        if decided.finished:
            logger.warning("%s is finished, with these settings, rows and models: nothing is left to train", output_dir)
            if trainer.is_world_process_zero():
                MLflowLogger(config).finish()
            return Path(output_dir)
        require_possible(trainer, decided)
        require_informed(trainer, config)
        trainer.made_with, trainer.resumes_with_changes = decided.made_with, decided.changed is not None
        config.save(decided.made_with.changes)
        if trainer.is_world_process_zero():
            warn_of_missing_pairs(trainer)
            tell_skill(config, trainer.scheme, memory.rows)
            if not quiet:
                print(weights_line(trainer, config), *packing_lines(trainer), *stopping_lines(config), sep="\n")
        fit(trainer, config, decided.checkpoint)
    finally:
        # A process that exits with its group's threads running aborts now and then ("terminate called"). The wrapped
        # model holds the group, and cycles hold the trainer.
        if torch.distributed.is_initialized():
            del trainer, inputs
            gc.collect()
            torch.distributed.destroy_process_group()
    return Path(output_dir)


def require_informed(trainer: WeightedMTPTrainer, config: RunConfig) -> None:
    """Refuses to weigh rows by a critic, separate or the model's own head, that says the same of every token."""
    rows: Any = trainer.train_dataset
    critic = trainer.stage.judged_by(trainer.model, rows)
    if critic is not None:
        name = config.critic.critic or config.model.model_name_or_path
        require_spread(critic, rows, trainer.data_collator, name)


def warn_of_missing_pairs(trainer: WeightedMTPTrainer) -> None:
    """Says of how many of the first batches a ranking of completions within a prompt learns nothing."""
    stage, rows = trainer.stage, cast(Dataset, trainer.train_dataset)
    if not isinstance(stage, ValueStage) or not stage.ranks_pairs:
        return
    if trainer.sampler_name == "pairs" and trainer.pack_length is None:
        return
    told = list(zip(rows["prompt_id"], rows["reward"], strict=True))
    batches: Any = trainer.train_batches().batch_sampler
    packed = trainer.pack_length is not None
    looked_at = (chain.from_iterable(batch) if packed else batch for batch in islice(batches, LOOKED_AT_BATCHES))
    holds = [holds_pair(told[i] for i in batch if i >= 0) for batch in looked_at]
    without, count = holds.count(False), len(holds)
    remedy = "--sampler pairs"
    if trainer.sampler_name == "pairs":
        remedy = f"--max_length more than {trainer.pack_length}, into which both rows of such pairs do not fit"
    if without == count:
        raise ConfigError(
            f"value_loss pairwise learns nothing from any of the first {count} batches, which hold no right and wrong "
            f"completion of one prompt: give {remedy}"
        )
    if without:
        logger.warning(
            f"value_loss pairwise learns nothing from {without} of the first {count} batches, which hold no right and "
            f"wrong completion of one prompt: give {remedy}"
        )


def sampler_of(config: RunConfig, rows: Dataset) -> str:
    """The order of the rows: where `keep: right` has left nothing to balance, shuffled, and a line says so."""
    name, data = config.data.sampler, config.data
    balances = name in SAMPLERS and issubclass(SAMPLERS[name], BalancedSampler)
    if balances and data.keep == "right" and is_right(np.asarray(rows["reward"])).all():
        logger.warning("keep: right leaves sampler %s no wrong rows to balance: the right ones are shuffled", name)
        return "shuffled"
    return name


def packing_lines(trainer: WeightedMTPTrainer) -> list[str]:
    """How many sequences the rows make, and steps an epoch; nothing where none is packed."""
    if trainer.pack_length is None:
        return []
    packs: Any = trainer.train_batches().batch_sampler
    order, args = packs.sampler, trainer.args
    tokens = sum(order.lengths[list(pack)].sum() for pack in order)
    full = tokens / (len(order) * trainer.pack_length)
    steps = -(-len(order) // (args.train_batch_size * args.gradient_accumulation_steps * args.world_size))
    return [f"packing: {len(order)} sequences of {trainer.pack_length} tokens, {full:.0%} full: {steps} steps an epoch"]


def weights_line(trainer: WeightedMTPTrainer, config: RunConfig) -> str:
    """What weights the scheme and its options allow, and whether the clip can bind: known before training."""
    models = [trainer.model, *trainer.stage.frozen_models()]
    links = [model.value_head.link for model in models if model.value_head is not None]
    rows: Any = trainer.train_dataset
    span = trainer.scheme.weight_range("identity" not in links and "values" not in rows.column_names)
    options = ", ".join(f"{name} {value}" for name, value in config.scheme_options.items()) or "its defaults"
    line = f"weights: scheme {config.scheme} with {options}"
    if span is None:
        return f"{line} has no bound of its own"
    line += f" gives {span[0]:.3g}" + (f" to {span[1]:.3g}" if span[1] != span[0] else "")
    clip = trainer.scheme.clip_bounds()
    if clip is None or span[0] == span[1]:
        return line
    binds = span[0] <= float(clip[0]) or span[1] >= float(clip[1])
    return f"{line}; the clip [{float(clip[0]):g}, {float(clip[1]):g}] {'can bind' if binds else 'never binds'}"


def make_trainer(
    config: RunConfig,
    inputs: Inputs,
    *,
    quiet: bool = False,
    callbacks: Sequence[TrainerCallback] | None = None,
    tags: dict[str, str] | None = None,
) -> WeightedMTPTrainer:
    """The Trainer of a run, with MLflow, progress and interrupts attached."""
    args = training_arguments(config, inputs.eval_dataset is not None, quiet)
    if config.train.loss_backend == "liger":
        require_liger(args.device)
    # Made again when training starts; here so that rows it cannot order are told before anything is written.
    batch_rows = 2 if config.data.packing else config.train.per_device_train_batch_size
    sampler = sampler_of(config, inputs.train_dataset)
    make_sampler(sampler, inputs.train_dataset, batch_rows)
    if config.data.packing:
        for model in (inputs.model, *inputs.stage.frozen_models()):  # alike, so that equal models stay equal
            attend_by_row(model.hf_model)
        require_packable(inputs.model)
    trainer = WeightedMTPTrainer(
        model=inputs.model,
        stage=inputs.stage,
        scheme=load_scheme(config, inputs.stage, inputs.train_dataset, inputs.scheme),
        head_warmup_steps=config.model.head_warmup_steps,
        head_decay=config.model.head_decay,
        loss_backend=config.train.loss_backend,
        sampler=sampler,
        pack_length=config.data.max_length if config.data.packing else None,
        new_learning_rate=config.train.new_learning_rate,
        args=args,
        train_dataset=inputs.train_dataset,
        eval_dataset=inputs.eval_dataset,
        data_collator=CompletionCollator.from_tokenizer(inputs.tokenizer),
        processing_class=inputs.tokenizer,
        callbacks=[MLflowLogger(config, tags), InterruptCallback(), *(callbacks or ())],
    )
    trainer.save_dtype = None if (dtype := config.train.save_dtype) == "auto" else getattr(torch, dtype)
    if config.train.early_stopping_patience:
        trainer.add_callback(EarlyStopping(config.train.early_stopping_patience))
    elif inputs.eval_dataset is not None:
        trainer.add_callback(LastStepEvaluation())
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if not quiet:
        trainer.add_callback(LogLines())
    if not args.disable_tqdm:
        trainer.add_callback(ProgressBar())
    return trainer


def fit(trainer: WeightedMTPTrainer, config: RunConfig, checkpoint: Path | None = None) -> None:
    """Trains, evaluates and saves; ends the MLflow run in every case.

    With early stopping the model that is evaluated and saved at the end is the best one. Raises Interrupted where a
    signal stopped the run behind a checkpoint, and NonFiniteError before anything broken is saved.
    """
    callbacks = trainer.callback_handler.callbacks
    tracker = next(c for c in callbacks if isinstance(c, MLflowLogger))
    interrupt = next(c for c in callbacks if isinstance(c, InterruptCallback))
    stopping = next((c for c in callbacks if isinstance(c, EarlyStopping)), None)
    status, tracker.anew = "FAILED", trainer.resumes_with_changes
    # The uninterrupted run has no evaluation where it is taken up, and early stopping would count it.
    trainer.args.eval_on_start &= checkpoint is None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            try:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            except RuntimeError as error:
                # an optimizer's own scalar, the rate times its bias correction say, that its tensors cannot hold
                if "without overflow" not in str(error):
                    raise
                raise NonFiniteError(
                    f"the optimizer cannot compute the update of step {trainer.state.global_step + 1}: {error}. "
                    "No checkpoint was completed from that step on; lower --learning_rate"
                ) from None
        ended = trainer.state.global_step >= trainer.state.max_steps or (stopping and stopping.exhausted)
        if interrupt.interrupted and not ended:
            command = f"wmtp train {config.stage} --config {config.train.output_dir}/run.yaml --resume auto"
            again = 'the same call and resume="auto"' if any(map(in_memory, config.to_flat().values())) else command
            raise Interrupted(
                interrupt.interrupted,
                f"interrupted at optimizer step {trainer.state.global_step} of {trainer.state.max_steps}; a checkpoint "
                f"is in {config.train.output_dir}. Continue with: {again}",
            )
        if stopping and trainer.is_world_process_zero():
            logger.warning(stopping.outcome(trainer.args, trainer.state))
        if trainer.eval_dataset is not None and not trainer.was_evaluated():
            trainer.evaluate()
        trainer.save_model(config.train.output_dir)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        interrupt.restore()
        for bar in (c.training_bar for c in callbacks if isinstance(c, ProgressBar) and c.training_bar is not None):
            bar.close()  # what is said next has a line of its own
        tracker.close(status)


__all__ = ["Interrupted", "NonFiniteError", "fit", "make_trainer", "train"]
