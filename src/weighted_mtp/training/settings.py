"""The concerns of a run: one frozen dataclass each, flat names as in `transformers.TrainingArguments`. Defaults live
here and nowhere else; nothing heavy is imported."""

from dataclasses import dataclass, field
from typing import Any, Literal

from weighted_mtp.training.errors import ConfigError, require, require_at_least_zero, require_positive, settle


@dataclass(frozen=True)
class ModelConfig:
    """Which decoder is trained, and with how many prediction heads."""

    model_name_or_path: str
    """A Hugging Face directory, one saved by wmtp, a .gguf file, or package:NAME/FILE.gguf."""
    tokenizer_name_or_path: str | None = None
    """Where the tokenizer is, if not beside the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the parameters. auto: float32 for all that trains, whatever the checkpoint holds; what is frozen
    (the base under adapters, freeze or freeze_trunk, critics, references) stays as stored. bfloat16 lets small updates
    round away; float16 is refused."""
    n_future: int = 1
    """Tokens predicted per position: 1 is plain next-token, 4 trains three extra heads."""
    heads: Literal["parallel", "sequential", "eagle", "native"] | None = None
    """parallel: extra heads are copies of the last layer, side by side; sequential: one behind the other, each told the
    token before, as DeepSeek-V3's; eagle: those without norms, for `wmtp convert eagle`; native: the checkpoint's own
    (DeepSeek-V3, GLM-4.5), saved under their own names; none: as saved, else parallel."""
    value_link: Literal["sigmoid", "identity"] = "sigmoid"
    """How the value head's raw output becomes V: a probability, or as it is (the published head)."""
    value_hidden: int = 0
    """Units of the value head's hidden layer; 0: a linear head, or the saved one."""
    freeze: Literal["trunk"] | None = None
    """trunk: the extra heads train alone; the decoder with head 0 and a value head stay as they are, to the bit."""
    head_warmup_steps: int = 0
    """Optimizer steps over which the loss weight of the extra heads rises linearly to its full value."""
    head_decay: float = 1.0
    """Loss weight of each head in that of the head before, in (0, 1]: .6 is FastMTP's; 1: all heads weigh the same."""
    lora_rank: int = 0
    """Rank of low-rank adapters, which train instead of the decoder's weights; 0: all weights train."""
    lora_alpha: float = 16.0
    """Scale of the adapters, times their rank."""
    lora_dropout: float = 0.0
    """Share of the adapters' inputs that is dropped in training."""
    lora_target_modules: list[str] | Literal["all-linear"] | None = None
    """Ends of names of layers that get adapters, as [q_proj,v_proj], or all-linear; none: those of decoder layers."""
    load_in_4bit: bool = False
    """Hold the frozen base under adapters in 4 bits (pip install bitsandbytes); what is saved is not."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    attn_implementation: str | None = None
    """How attention is computed, in transformers' names (sdpa, eager, flash_attention_2, flex_attention); none: the
    model's own choice."""

    def __post_init__(self) -> None:
        settle(self, "model_name_or_path", "tokenizer_name_or_path")
        require(
            self.dtype != "float16",
            "dtype is float16, in which training overflows: leave dtype at auto (float32 parameters, from a float16 "
            "checkpoint too) with bf16: true for speed; save_dtype: float16 saves the end in it",
        )
        require(self.n_future >= 1, f"n_future is {self.n_future}: give 1 (next token) or more")
        both = self.freeze is not None and self.lora_rank > 0
        require(not both, "freeze and lora_rank are both set: adapters would train the trunk; give one of them")
        require(self.lora_rank >= 0, f"lora_rank is {self.lora_rank}: give 0 (no adapters) or more")
        require_positive(self, "lora_alpha")
        require(0 <= self.lora_dropout < 1, f"lora_dropout is {self.lora_dropout}: give a share in [0, 1)")
        targets = self.lora_target_modules
        if targets not in (None, "all-linear") and not (isinstance(targets, list) and targets and all(targets)):
            raise ConfigError(f"lora_target_modules is {targets!r}: give names, as [q_proj,v_proj], or all-linear")
        require_at_least_zero(self, "value_hidden", "head_warmup_steps")
        require(0 < self.head_decay <= 1, f"head_decay is {self.head_decay}: give a number above 0, up to 1")


@dataclass(frozen=True)
class DataConfig:
    """Which verified completions are read, and in which order."""

    train_file: str
    """Rows to train on: .jsonl, .json or .parquet with prompt, completion and label, or hub:OWNER/NAME, with :SPLIT
    behind it if not `split`."""
    eval_file: str | None = None
    """Rows for evaluation, in the same form."""
    eval_share: float = 0.0
    """Share of the prompts of train_file whose rows are held out for evaluation, where there is no eval_file."""
    split: str = "train"
    """Which split of a data set of the hub is read."""
    stream: bool = False
    """Read a data set of the hub row by row, without a copy of it on the disk."""
    max_length: int = 1024
    """Tokens per row, prompt included; longer rows are cut and counted."""
    on_bad_row: Literal["error", "skip"] = "error"
    """What a malformed row does: stop the run, or be left out and listed."""
    keep: Literal["all", "right"] = "all"
    """Train on all completions, or only on those that are right (rejection sampling)."""
    keep_above: float = 0.5
    """With keep: right, the reward above which a completion is kept."""
    turns: Literal["all", "last"] = "all"
    """Which of the assistant's turns in a conversation are learned."""
    sampler: str = "shuffled"
    """Order of the rows: shuffled, balanced, pairs, curriculum or length_balanced."""
    packing: bool = False
    """Training rows share sequences of max_length tokens, each with its own positions and attention: no padding.
    per_device_train_batch_size then counts sequences."""

    def __post_init__(self) -> None:
        settle(self, "train_file", "eval_file")
        require(self.max_length >= 2, f"max_length is {self.max_length}: give at least 2 tokens")
        require(0 <= self.eval_share < 1, f"eval_share is {self.eval_share}: give a share in [0, 1)")
        require(
            not (self.eval_share and self.eval_file),
            "eval_file and eval_share are both set: give one of them (--eval_share 0)",
        )

    @property
    def evaluates(self) -> bool:
        """Whether there are held-out rows."""
        return self.eval_file is not None or self.eval_share > 0


@dataclass(frozen=True)
class WeightingConfig:
    """How signals become token weights."""

    scheme: str = ""
    """A scheme's name, or package.module:Class; empty takes the stage's own (uniform, gated or rho1)."""
    scheme_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the scheme: beta, min_weight, max_weight, whitening, ..."""
    gamma: float = 1.0
    """Discount per token of the reward, in [0, 1]."""

    def __post_init__(self) -> None:
        settle(self)
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}: give a discount in [0, 1]")


@dataclass(frozen=True)
class CriticConfig:
    """Where values and credit come from, and how the critic learns."""

    critic: str | None = None
    """Stage critic: its kind, value_head unless another is named. Stage verifiable: directory of a separate frozen
    critic of any kind; none: the value head of the trained model."""
    value_loss: Literal["mse", "bce", "pairwise", "lambda"] = "mse"
    """Objective of the value head."""
    value_coef: float = 0.5
    """Weight of the value loss beside the language-model loss."""
    value_lam: float = 0.95
    """lambda of the returns that value_loss: lambda regresses on."""
    freeze_trunk: bool = False
    """Stage critic: train the value head alone."""
    lm_coef: float = 1.0
    """Stage critic: weight of the language-model term (it is 0 with a frozen trunk)."""
    label_tags: list[str] | None = None
    """Generative critic: texts [right, wrong] put before the prompt; none: a learned embedding of the label."""
    prior: Literal["base_rate", "head"] = "base_rate"
    """Generative critic: P(success | prompt) is the share of right rows, or learned from the last prompt token."""
    reward_beta: float = 0.05
    """Implicit critic: log-odds of success per nat of log-ratio to the reference."""

    def __post_init__(self) -> None:
        settle(self, "critic")
        require_at_least_zero(self, "value_coef", "lm_coef")
        require_positive(self, "reward_beta")
        require(0 <= self.value_lam <= 1, f"value_lam is {self.value_lam}: give a number in [0, 1]")
        tags = self.label_tags
        require(
            tags is None or (len(tags) == 2 and tags[0] != tags[1] and all(tags)),
            f"label_tags is {tags}: give two different texts, [right, wrong]",
        )

    @property
    def kind(self) -> str:
        """Stage critic: which kind of critic is trained."""
        return self.critic or "value_head"


@dataclass(frozen=True)
class ReferenceConfig:
    """What Rho-1 and implicit critics compare with."""

    reference: str | None = None
    """Directory of the frozen reference model; it must share the tokenizer. Implicit critic: none is the model that
    training starts from."""

    def __post_init__(self) -> None:
        settle(self, "reference")


LOWER_IS_BETTER = ("loss", "weighted_ce", "value_loss")
HIGHER_IS_BETTER = ("value_explained_variance", "outcome_auc")


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation, in the names of `transformers.TrainingArguments`."""

    output_dir: str
    """Where the model, checkpoints, resolved configuration and metrics go."""
    save_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the final model in output_dir: auto is the one that was trained. Checkpoints always keep that, so
    that a resumed run is exact."""
    max_steps: int = -1
    """Optimizer steps; 1 or more overrides num_train_epochs, -1 leaves the end to that."""
    num_train_epochs: float = 1.0
    """Passes over the training rows."""
    per_device_train_batch_size: int = 8
    """Rows per micro-batch and process; with packing sequences of max_length tokens."""
    per_device_eval_batch_size: int = 8
    """Rows per evaluation batch and process."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step."""
    learning_rate: float = 5e-5
    """Peak learning rate."""
    new_learning_rate: float = 0.0
    """Peak learning rate of what starts from nothing, value head and label embedding; 0: learning_rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    warmup_steps: int = 0
    """Optimizer steps of linear learning-rate warm-up."""
    lr_scheduler_type: str = "cosine"
    """A scheduler name of transformers."""
    max_grad_norm: float = 1.0
    """Gradient norm above which gradients are scaled down; 0 leaves them."""
    optim: str = "adamw_torch_fused"
    """An optimizer name of transformers."""
    bf16: bool = False
    """Autocast to bfloat16 over float32 parameters."""
    loss_backend: Literal["torch", "liger"] = "torch"
    """What computes the loss: torch, or Liger Kernel's Triton kernels on CUDA (pip install weighted-mtp[liger])."""
    seed: int = 0
    """Seed of initialisation, data order and random schemes."""
    logging_steps: int = 10
    """Optimizer steps between two log entries."""
    eval_steps: int = 0
    """Optimizer steps between evaluations; 0 evaluates at the end only, and for early stopping 20 times."""
    save_steps: int = 500
    """Optimizer steps between checkpoints; 0 keeps only the final model. Early stopping saves at every evaluation."""
    save_total_limit: int = 2
    """Checkpoints kept; at least 2, because the newest may be incomplete after a kill."""
    early_stopping_patience: int | None = None
    """Evaluations without a better best_metric after which training stops; the best model is kept, by outcome_auc the
    last one within its standard error of the highest. 0: trains to the end and keeps the last model. None: 5 for a
    critic with held-out rows, else 0."""
    best_metric: str = ""
    """Early stopping: loss, weighted_ce, ce_head_{k} or value_loss (lower is better), value_explained_variance or
    outcome_auc, all of held-out rows; empty: outcome_auc of a critic, else loss."""
    trainer_args: dict[str, Any] = field(default_factory=dict)
    """Further fields of transformers.TrainingArguments (fsdp, report_to, dataloader_num_workers, ...); what would have
    no effect here is refused."""

    def __post_init__(self) -> None:
        settle(self, "output_dir")
        require(
            self.max_steps == -1 or self.max_steps > 0,
            f"max_steps is {self.max_steps}: give 1 or more, or -1 to train num_train_epochs",
        )
        require(0 <= self.seed < 2**32, f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")
        require_positive(
            self, "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size",
            "gradient_accumulation_steps", "learning_rate", "logging_steps",
        )  # fmt: skip
        require_at_least_zero(
            self, "new_learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "eval_steps", "save_steps",
        )  # fmt: skip
        patience = self.early_stopping_patience
        require((patience or 0) >= 0, f"early_stopping_patience is {patience}: give 0 or more")
        require(
            self.save_total_limit >= 2,
            f"save_total_limit is {self.save_total_limit}: give 2 or more, since a kill during a save leaves "
            "the newest checkpoint incomplete",
        )


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go."""

    tracking_uri: str | None = None
    """MLflow store; null: MLFLOW_TRACKING_URI, or mlflow.db in output_dir. The word none switches MLflow off."""
    experiment_name: str = "weighted-mtp"
    """MLflow experiment."""
    run_name: str | None = None
    """MLflow run; none: the stage and the name of output_dir."""

    def __post_init__(self) -> None:
        settle(self, "tracking_uri")
