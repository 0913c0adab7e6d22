"""The page to read first: `compute_loss` is the method, on top of `transformers.Trainer`; all below it keeps that exact
across micro-batches, processes and interruptions."""

import logging
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from torch.utils.data import SequentialSampler
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.utils.generic import is_flash_attention_requested

from weighted_mtp.data import SAMPLERS, make_sampler
from weighted_mtp.data.packing import PackedOrder, row_lengths
from weighted_mtp.losses import weighted_mtp_loss
from weighted_mtp.models import head_warmup
from weighted_mtp.training.arguments import require_supported
from weighted_mtp.training.batch import BUILT, BatchCounts, TokenBatch, on_device, rank_loader
from weighted_mtp.training.callbacks import StepCallback
from weighted_mtp.training.early_checks import require_bounded_loss, require_discount_fits
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.metrics import MetricWindow
from weighted_mtp.training.nonfinite import NonFiniteRecord, rows_are_finite, skip_update
from weighted_mtp.training.plain_arguments import fitted
from weighted_mtp.training.saving import SavingTrainer
from weighted_mtp.training.stage import Stage
from weighted_mtp.value_weighting import WeightingScheme, align_to_heads, weigh
from weighted_mtp.value_weighting.schemes.basic import Uniform

logger = logging.getLogger(__name__)


class WeightedMTPTrainer(SavingTrainer):
    """Trains an `MTPModel` with token weights.

    Args:
        stage: supplies signals and the value loss; None: stage 0.
        scheme: turns signals into weights; None: `uniform`.
        head_warmup_steps, head_decay: of the extra heads' loss weight (see `head_warmup`).
        loss_backend: of `weighted_mtp_loss`.
        sampler: name of a sampler of `weighted_mtp.data`.
        pack_length: tokens of a sequence that training rows share, which a batch then counts; None: they share none.
        new_learning_rate: of value head and label embedding; 0: that of the rest.
        **kwargs: those of `transformers.Trainer`. A plain decoder as `model` is wrapped, rows of text are tokenized
            where `processing_class` is given, and fields of `args` that would break the method are set on a copy.

    Raises:
        ConfigError: `args`, model or rows that cannot be used so.
    """

    def __init__(
        self,
        *,
        stage: Stage | None = None,
        scheme: WeightingScheme | None = None,
        head_warmup_steps: int = 0,
        head_decay: float = 1.0,
        loss_backend: str = "torch",
        sampler: str = "shuffled",
        pack_length: int | None = None,
        new_learning_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        stage, scheme = stage or Stage(), Uniform() if scheme is None else scheme
        for name, given, kind in (("stage", stage, Stage), ("scheme", scheme, WeightingScheme)):
            if not isinstance(given, kind):
                raise ConfigError(f"{name} is {given!r}: give a {kind.__name__} (wm.train takes names)")
        kwargs = fitted(kwargs, stage)
        require_supported(kwargs["args"])
        super().__init__(**kwargs)
        unset_hf_deepspeed_config()  # with it, transformers would read the model of a checkpoint in shards
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if isinstance(policy := getattr(plugin, "mixed_precision_policy", None), MixedPrecisionPolicy):
            # Accelerate would sum gradients, and hand over values, in bfloat16 too.
            plugin.mixed_precision_policy = replace(policy, reduce_dtype=torch.float32, output_dtype=None)  # pyright: ignore
        # Our loss is divided by a global count: the Trainer must not divide it again by the accumulation steps.
        self.loss_is_scaled_for_ga = True
        self.model_accepts_loss_kwargs = True
        self.stage, self.sampler_name = stage, sampler
        self._warmed = partial(head_warmup, warmup_steps=head_warmup_steps, decay=head_decay)
        self.loss_backend, self.new_learning_rate, self.pack_length = loss_backend, new_learning_rate, pack_length
        stage.wanted = tuple(scheme.requires)
        device = self.args.device
        self.scheme = scheme.to(device)
        require_discount_fits(stage, scheme)
        require_bounded_loss(scheme)
        for frozen in stage.frozen_models():
            frozen.to(device).eval().requires_grad_(False)
        rows: Any = self.train_dataset or [0]
        self.nonfinite = NonFiniteRecord(min(self.args.train_batch_size, len(rows)), device)
        self.windows = {mode: MetricWindow(self.model.n_future, device, mode == "eval") for mode in ("train", "eval")}
        self._generator = torch.Generator(device=device)
        self._micro_batch, self.window_start = 0, time.perf_counter()
        self.add_callback(StepCallback(self))

    # The method.

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: BatchCounts | None = None,
    ) -> Any:
        """Weighted cross-entropy of every head, plus the stage's value loss, over global denominators.

        loss = lm_coef * sum_btk h_k * w_btk * nll_btk / (predictions of the whole step) + value_coef * value loss
        """
        batch = TokenBatch.from_inputs(inputs, self.model.n_future)
        counts = num_items_in_batch or BatchCounts.of(batch)
        outputs = self.stage.forward(model, batch)
        # Accelerate's own autocast ends with the model's forward: without this one, unembedding and frozen models
        # would run in float32 beside a bfloat16 model.
        with self.accelerator.autocast():
            likelihoods = self.stage.likelihoods(batch, outputs, self.model)
            signals = self.stage.signals(batch, outputs, self.model, self.seeded_generator(), likelihoods)
            weights = weigh(self.scheme.train(model.training), signals)
            if batch.loss_weights is not None:  # of single messages of a chat
                weights = weights * align_to_heads(batch.loss_weights, batch.n_future)
            lm = weighted_mtp_loss(
                outputs["hidden_states"],
                targets=batch.hidden_targets,
                weights=batch.as_hidden(weights),
                head_weights=self._head_weights(),
                normalizer=counts.predictions,
                backend=self.loss_backend,
                likelihoods=likelihoods,
                **self.model.output_head(),
            )
            value_loss = self.stage.value_loss(batch, outputs, counts, self.model)
        loss = lm.loss if value_loss is None else lm.loss + self.stage.value_coef * value_loss
        self._observe(batch, outputs, signals, weights, lm, value_loss, counts, loss)
        # DDP averages gradients over processes; the denominator is already global.
        loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _head_weights(self) -> list[float]:
        """lm_coef times warm-up and decay of the extra heads; 0 drops every row before the unembedding."""
        return [self.stage.lm_coef * x for x in self._warmed(self.state.global_step, self.model.n_future)]

    def seeded_generator(self) -> torch.Generator:
        """Randomness of the control schemes: a function of seed, step, micro-batch and process, so resume is exact."""
        step, world = self.state.global_step, self.accelerator.num_processes
        stream = (step * 4096 + self._micro_batch) * world + self.accelerator.process_index
        self._micro_batch += 1
        return self._generator.manual_seed((self.args.seed * 0x9E3779B97F4A7C15 + stream) % 2**63)

    # Global denominators: one count per optimizer step, over micro-batches and processes.

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> BatchCounts | None:
        self._micro_batch = 0
        self.nonfinite.begin_step()
        if not batch_samples:
            return None
        for inputs in batch_samples:
            inputs[BUILT] = TokenBatch.from_inputs(inputs, self.model.n_future)
        total = BatchCounts.total(BatchCounts.of(inputs[BUILT]) for inputs in batch_samples).to(device)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(total)
        return BatchCounts(*total.unbind())

    # Observation: device sums and the first non-finite step; read only where something is logged or saved.

    def _observe(
        self, batch: TokenBatch, outputs: Any, signals: Any, weights: Tensor, lm: Any, value_loss: Tensor | None,
        counts: BatchCounts, loss: Tensor,
    ) -> None:  # fmt: skip
        window = self.windows["train" if self.model.training else "eval"]
        window.add(batch, signals, weights, lm, counts, self.scheme, self._head_weights())
        if value_loss is not None:
            local = BatchCounts.of(batch)
            window.add_value_loss(value_loss, self.stage.value_normalizer(counts), self.stage.value_normalizer(local))
        if self.model.training:
            states = outputs["hidden_states"].detach().sum(-1, dtype=torch.float32)
            finite = rows_are_finite(batch.by_row(states), weights, batch.valid)
            self.nonfinite.observe(self.state.global_step, loss, finite, batch.row_ids)

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # A gradient scaler (float16) overflows in the course of business, and skips such an update by itself.
        if isinstance(norm, torch.Tensor) and self.accelerator.scaler is None:
            self.nonfinite.observe_gradient(self.state.global_step, norm)
            optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
            skip_update(optimizer, self.nonfinite.step_is_bad)
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the window's metrics to a training or evaluation entry; this is where the device is waited for. In
        place: `Trainer.evaluate` hands the same dictionary to callbacks, to the choice of the best model and to its
        caller."""
        mode = "train" if "loss" in logs else "eval" if "eval_runtime" in logs else None
        if mode is not None:
            metrics = self._read_window(self.windows[mode])
            tokens, objective = metrics.pop("input_tokens", 0.0), metrics.pop("objective", None)
            prefix = "eval_" if mode == "eval" else ""
            if mode == "train":
                metrics["tokens_per_second"] = tokens / max(time.perf_counter() - self.window_start, 1e-9)
            elif objective is not None:
                logs["eval_loss"] = objective
            if mode == "train" and metrics.get("weight_min") == metrics.get("weight_max") == 0:
                logger.warning("all weights since the last entry are 0: the language model learned nothing")
            logs.update({prefix + name: value for name, value in metrics.items()})
        if mode == "train":
            self.window_start = time.perf_counter()
        super().log(logs, start_time)

    def _read_window(self, window: MetricWindow) -> dict[str, float]:
        """The window's metrics and the record of non-finite steps: one copy to the host for both."""
        state, record = window.state(), self.nonfinite.state()
        on_host = torch.cat([state.flatten(), record.to(state.dtype)]).cpu()
        numbers, verdict = on_host.split([state.numel(), record.numel()])
        self.nonfinite.raise_if_broken(verdict.long().tolist())
        window.reset()
        return window.named(numbers.view(state.shape), self.stage.value_coef)

    # Evaluation, sampling.

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """`Trainer.evaluate`; its time is no training time, so tokens per second leave it out."""
        started = time.perf_counter()
        metrics = super().evaluate(*args, **kwargs)
        self.window_start += time.perf_counter() - started
        return metrics

    def was_evaluated(self) -> bool:
        """Whether the model at hand is that of the last evaluation: not if a better one was loaded since."""
        state = self.state
        loaded = self.args.load_best_model_at_end and state.best_model_checkpoint is not None
        evaluated = [entry["step"] for entry in state.log_history if "eval_runtime" in entry]
        return evaluated[-1:] == [state.best_global_step if loaded else state.global_step]

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, None, None]:
        """The loss and statistics of training, read only, into the window; the Trainer's own were a mean of batch
        means."""
        with torch.no_grad():
            self.compute_loss(model, self._prepare_inputs(inputs))
        return None, None, None

    def get_train_dataloader(self) -> Any:
        """This process's part of every step; with one process, all of it."""
        return on_device(self.train_batches(), self.accelerator)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Every row once, in the order of the file, and as many batches on every process."""
        rows: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        size = self.args.eval_batch_size
        loader = rank_loader(self.args, rows, SequentialSampler(rows), size, self.data_collator)
        return on_device(loader, self.accelerator)

    def train_batches(self) -> Any:
        """This process's batches of an epoch, the first unless the sampler is told another, on the host."""
        rows, sampler, drop_last = (self.train_dataset, self._get_train_sampler(), self.args.dataloader_drop_last)
        in_one = is_flash_attention_requested(self.model.config)
        return rank_loader(self.args, rows, sampler, self._train_batch_size, self.data_collator, drop_last, in_one)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        name, args, kind = self.sampler_name, self.args, SAMPLERS.get(self.sampler_name)
        options = {"epochs": self._epochs(dataset)} if kind is not None and "epochs" in kind.options else {}
        seed = args.seed if args.data_seed is None else args.data_seed
        batch_rows = args.train_batch_size if self.pack_length is None else 2  # a pack holds whole pairs
        sampler = make_sampler(name, dataset, batch_rows, seed, **options)
        left_out = getattr(sampler, "left_out", 0)
        if left_out:
            rows = len(dataset)
            logger.warning("sampler %s never shows %d of %d rows: no partner of the other label", name, left_out, rows)
        if self.pack_length is None:
            return sampler
        return PackedOrder(sampler, row_lengths(dataset), self.pack_length)

    def _epochs(self, dataset: Any) -> float:
        """Passes over the rows that the whole training makes."""
        args = self.args
        if args.max_steps <= 0:
            return args.num_train_epochs
        per_step = args.train_batch_size * args.gradient_accumulation_steps * self.accelerator.num_processes
        whole = len(dataset) if self.pack_length is None else row_lengths(dataset).sum() / self.pack_length
        return args.max_steps * per_step / whole

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """`Trainer.train`, ending with a look at the record of non-finite steps."""
        self.window_start = time.perf_counter()
        result = super().train(*args, **kwargs)
        self.nonfinite.raise_if_any()
        return result
