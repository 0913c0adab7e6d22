"""A setting that differs from its default and that nothing in the run reads is refused; nothing is taken and dropped.

Nothing heavy is imported, so that a mistake is told at once.
"""

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any

from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import CRITICS, critic_kind
from weighted_mtp.training.reads import OWN_HEAD, When
from weighted_mtp.training.settings import ConfigError, require
from weighted_mtp.training.stage_table import STAGE_TABLE, stage_row

EVERY_STAGE = (
    # model
    "model_name_or_path", "tokenizer_name_or_path", "dtype", "n_future", "head_warmup_steps", "lora_rank", "lora_alpha",
    "gradient_checkpointing",
    # data
    "train_file", "eval_file", "max_length", "on_bad_row", "keep", "sampler",
    # weighting
    "scheme", "scheme_options", "gamma",
    # train
    "output_dir", "save_dtype", "max_steps", "num_train_epochs", "per_device_train_batch_size",
    "per_device_eval_batch_size", "gradient_accumulation_steps", "learning_rate", "weight_decay", "warmup_steps",
    "lr_scheduler_type", "max_grad_norm", "optim", "bf16", "loss_backend", "seed", "logging_steps", "eval_steps",
    "save_steps", "save_total_limit", "early_stopping_patience", "best_metric", "trainer_args",
    # tracking
    "tracking_uri", "experiment_name", "run_name",
)  # fmt: skip
"""Settings that any stage reads; the others stand in the rows of the stages and kinds of critic that read them."""

BESIDE = {
    "head_warmup_steps": When("n_future is above 1", lambda config: config.model.n_future > 1),
    "lora_alpha": When("lora_rank is above 0", lambda config: config.model.lora_rank > 0),
    "eval_steps": When("eval_file is given", lambda config: config.data.eval_file is not None),
    "best_metric": When("early_stopping_patience is above 0", lambda config: config.train.early_stopping_patience > 0),
    "value_lam": When("value_loss is lambda", lambda config: config.critic.value_loss == "lambda"),
}
"""Settings that are read only beside another one, whoever reads them."""

BY_SCHEME = "reference"
"""The setting that is read by whichever scheme wants its losses, which is known when that is loaded."""


def require_all_read(config: RunConfig) -> None:
    """Refuses what would be taken and ignored, and a critic that would learn nothing.

    Raises:
        ConfigError: names the setting, what the run is, and what reads the setting.
    """
    read = {*settings_read(config), BY_SCHEME}
    for name, value, default in _settings(config):
        if value != default and name not in read:
            raise ConfigError(unread(config, name, value, default))
    _require_objective(config, read)


def settings_read(config: RunConfig) -> set[str]:
    """Names of the settings that this run reads, but for a reference that only its scheme reads."""
    row = stage_row(config.stage)
    tables = [row.reads, critic_kind(config.critic.kind).reads] if row.trains_critic else [row.reads]
    named = {name for table in tables for name, when in table.items() if when.holds(config)}
    return {*EVERY_STAGE, *named} - {name for name, when in BESIDE.items() if not when.holds(config)}


def require_reference_read(config: RunConfig, read: bool) -> None:
    """Refuses a reference that neither the stage with its critic nor the scheme reads; they are loaded by then.

    Raises:
        ConfigError: as `require_all_read`.
    """
    reference = config.reference.reference
    if reference is not None and not read:
        raise ConfigError(unread(config, BY_SCHEME, reference, None))


def unread(config: RunConfig, name: str, value: Any, default: Any) -> str:
    """What is said of a setting that nothing reads."""
    advice = "leave it out" if default is None else f"leave it at {default}"
    return f"{name} is {value!r}, which nothing reads in {_run(config)}: {advice}; it is read by {_readers(name)}"


def _settings(config: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and default of every setting of the run that has a default value."""
    for part in config.PARTS:
        group = getattr(config, part)
        for f in fields(group):
            if f.name not in EVERY_STAGE or f.name in BESIDE:
                yield f.name, getattr(group, f.name), f.default


def _run(config: RunConfig) -> str:
    row = stage_row(config.stage)
    if row.trains_critic:
        return f"stage {config.stage} with critic: {config.critic.kind}"
    if "critic" in row.reads:
        return f"stage {config.stage} with {OWN_HEAD.said if OWN_HEAD.holds(config) else 'a separate critic'}"
    return f"stage {config.stage}"


def _readers(name: str) -> str:
    found: list[str] = []
    for stage, row in STAGE_TABLE.items():
        if name in row.reads:
            found.append(_with(f"stage {stage}", row.reads[name]))
        kinds = [_with(kind, c.reads[name]) for kind, c in CRITICS.items() if name in c.reads]
        if row.trains_critic and kinds:
            found.append(f"stage {stage} ({'; '.join(kinds)})")
    if name == BY_SCHEME:
        found.append("an implicit critic of stage verifiable, a scheme that requires reference_nll (rho1)")
    readers = ", ".join(found) or "any stage"
    return f"{readers}, where {BESIDE[name].said}" if name in BESIDE else readers


def _with(what: str, when: When) -> str:
    return f"{what} with {when.said}" if when.said else what


def _require_objective(config: RunConfig, read: Collection[str]) -> None:
    """Every term of a critic's objective has a coefficient; a policy's language-model loss has none."""
    if not stage_row(config.stage).trains_critic:
        return
    terms = [name for name in ("lm_coef", "value_coef") if name in read]
    require(
        any(getattr(config.critic, name) for name in terms),
        f"{' and '.join(terms)} {'are' if len(terms) > 1 else 'is'} 0, so that nothing is learned in {_run(config)}: "
        f"give {' or '.join(terms)} above 0",
    )
