"""What can be known of a run without torch, told before torch is imported, which takes seconds: files, models, places
to write, settings that nothing reads, per-token columns, discounts. The run checks all of it again, and whole."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weighted_mtp.data.sources import HUB, first_row
from weighted_mtp.models import sources
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, resolve_resume
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.critics.table import CRITICS, When, critic_kind
from weighted_mtp.training.errors import (
    ConfigError,
    in_memory,
    mlflow_store,
    require,
    require_folder,
    require_store,
    without_password,
)
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.stage_table import OWN_HEAD, STAGE_TABLE, stage_row
from weighted_mtp.training.trainer_fields import check_trainer_args
from weighted_mtp.value_weighting.registry import scheme_path

if TYPE_CHECKING:
    from weighted_mtp.training.stage import Stage
    from weighted_mtp.value_weighting import WeightingScheme


def check_run(config: RunConfig, resume: str | None, held: Collection[str] = ()) -> None:
    """Raises for what `wmtp train` would stumble over; `held` names what the caller has in memory."""
    for name, value in config.to_flat().items():
        if in_memory(value) and value not in held:
            raise ConfigError(
                f"{name} is {value}, of a Python session, which cannot be read again: name what lies on disk"
            )
    if config.scheme not in held:
        scheme_path(config.scheme)
    require_all_read(config)
    check_trainer_args(config.train, config.model, config.data.evaluates)
    require_folder("output_dir", config.train.output_dir)
    uri = config.tracking.tracking_uri or ""
    require(
        uri == (shown := without_password(uri)),
        f"tracking_uri is {shown}, with a password, which run.yaml would keep: leave tracking_uri out and "
        "set the variable MLFLOW_TRACKING_URI of the environment",
    )
    if uri := uri or os.environ.get("MLFLOW_TRACKING_URI"):
        require_store(uri)
    else:
        mlflow_store(config.train.output_dir)
    resolve_resume(resume, config.train.output_dir, by_content=False)
    check_inputs(config, trains=True, held=held)


def check_inputs(config: RunConfig, *, trains: bool = False, held: Collection[str] = ()) -> None:
    """Raises where rows or models that a run reads are not there; of finished runs too, which are looked at."""
    files = [file for file in (config.data.train_file, config.data.eval_file) if file is not None and file not in held]
    first = {file: first_row(file, config.data.on_bad_row) for file in files}
    if config.data.on_bad_row == "error":
        columns = {file: row for file, row in first.items() if row is not None}
        require_columns(config, columns, ["weights"] if config.scheme == "column" else [], trains=trains)
    for model in _models(config):
        if model not in held:
            sources.require(model)
    if stage_row(config.stage).reads_critic:
        require_trained_with(config.critic.critic or config.model.model_name_or_path, config.weighting.gamma)


def _models(config: RunConfig) -> Iterator[str]:
    model = config.model
    yield model.tokenizer_name_or_path or model.model_name_or_path
    yield from filter(None, (model.model_name_or_path, config.separate_critic, config.reference.reference))


def check_score(config: ScoreConfig, held: Collection[str] = ()) -> None:
    """Raises for what `wmtp score` would stumble over; `held` names what the caller has in memory."""
    if config.scheme not in held:
        scheme_path(config.scheme)
    if config.data not in held:
        first_row(config.data, labelled=None)
    for model in filter(None, (config.critic, config.reference)):
        if model not in held:
            sources.require(model)
    require_trained_with(config.critic, config.gamma)
    require_folder("out", config.out)


# No setting is taken and dropped: one that differs from its default and that nothing in the run reads is refused.

_SETTINGS = [f.name for part in RunConfig.PARTS.values() for f in fields(part)]
_OF_SOME = {name for row in (*STAGE_TABLE.values(), *CRITICS.values()) for name in row.reads}
EVERY_STAGE = tuple(name for name in _SETTINGS if name not in _OF_SOME)
"""Settings that any stage reads; the others stand in the rows of the stages and kinds of critic that read them."""

EXTRA_HEADS = When("n_future is above 1", lambda config: config.model.n_future > 1)
ADAPTERS = When("lora_rank is above 0", lambda config: config.model.lora_rank > 0)
READS_HUB = When(
    "train_file or eval_file is hub:OWNER/NAME",
    lambda config: any(str(file).startswith(HUB) for file in (config.data.train_file, config.data.eval_file)),
)
BESIDE = {
    **dict.fromkeys(("freeze", "heads", "head_warmup_steps", "head_decay"), EXTRA_HEADS),
    "keep_above": When("keep is right", lambda config: config.data.keep == "right"),
    **dict.fromkeys(("split", "stream"), READS_HUB),
    **dict.fromkeys(("lora_alpha", "lora_dropout", "lora_target_modules", "load_in_4bit"), ADAPTERS),
    "eval_steps": When("eval_file or eval_share is given", lambda config: config.data.evaluates),
    "best_metric": When("early_stopping_patience is above 0", lambda config: config.train.early_stopping_patience > 0),
    "value_lam": When("value_loss is lambda", lambda config: config.critic.value_loss == "lambda"),
}
"""Settings that are read only beside another one, whoever reads them."""

BY_SCHEME = "reference"
"""The setting that is read by whichever scheme wants its losses, which is known when that is loaded."""


def require_all_read(config: RunConfig) -> None:
    """Refuses what would be taken and ignored, and a critic that would learn nothing."""
    row = stage_row(config.stage)
    tables = [row.reads, critic_kind(config.critic.kind).reads] if row.trains_critic else [row.reads]
    named = {name for table in tables for name, when in table.items() if when.holds(config)}
    idle = {name for name, when in BESIDE.items() if not when.holds(config)}
    read = {*EVERY_STAGE, *named, BY_SCHEME} - idle
    for group in (getattr(config, part) for part in config.PARTS):
        for f in fields(group):
            if f.name not in read and getattr(group, f.name) != f.default:
                raise ConfigError(_unread(config, f.name, getattr(group, f.name), f.default))
    if row.trains_critic:  # every term of its objective has a coefficient; a policy's language-model loss has none
        terms = [name for name in ("lm_coef", "value_coef") if name in read]
        require(
            any(getattr(config.critic, name) for name in terms),
            f"{' and '.join(terms)} {'are' if len(terms) > 1 else 'is'} 0, so that nothing is learned in "
            f"{_run(config)}: give {' or '.join(terms)} above 0",
        )


def require_reference_read(config: RunConfig, read: bool) -> None:
    """Refuses a reference that neither the stage with its critic nor the scheme reads; they are loaded by then."""
    reference = config.reference.reference
    if reference is not None and not read:
        raise ConfigError(_unread(config, BY_SCHEME, reference, None))


def _unread(config: RunConfig, name: str, value: Any, default: Any) -> str:
    advice = "leave it out" if default is None else f"leave it at {default}"
    return f"{name} is {value!r}, which nothing reads in {_run(config)}: {advice}; it is read by {_readers(name)}"


def _run(config: RunConfig) -> str:
    row = stage_row(config.stage)
    if row.trains_critic:
        return f"stage {config.stage} with critic: {config.critic.kind}"
    if row.reads_critic:
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
        found.append(
            "an implicit critic of stage verifiable, a scheme that requires reference_nll (rho1, prift, iw_sft, nft)"
        )
    readers = ", ".join(found) or "any stage"
    return f"{readers}, where {BESIDE[name].said}" if name in BESIDE else readers


def _with(what: str, when: When) -> str:
    return f"{what} with {when.said}" if when.said else what


# Per-token columns of the rows come from one place. Within a file all rows have a column or none.


def require_columns(
    config: RunConfig, files: Mapping[str, Collection[str]], reads: Collection[str], *, trains: bool
) -> None:
    """Refuses files, by their columns, that lack what the scheme reads from rows alone, or are one source too many."""
    for name in ("weights", "values", "credit", "steps"):
        have = [file for file, columns in files.items() if name in columns]
        lack = [file for file in files if file not in have]
        # Where no rows bring values or credit, what else supplies them is told when the scheme is made.
        if name in reads and lack and (have or name in ("weights", "steps")):
            source = "label the steps of its rows" if name == "steps" else "`wmtp score` writes one"
            raise ConfigError(
                f"scheme {config.scheme} needs {name}, and {lack[0]} has no such column: {source}, or "
                "give another scheme"
            )
        if not (trains and stage_row(config.stage).reads_critic and have) or name in ("weights", "steps"):
            continue
        # The values of a column go before the own head's; a critic and a column are one too many.
        if config.critic.critic is not None:
            raise ConfigError(
                f"{have[0]} has a column `{name}`, and critic {config.critic.critic} would judge the same rows: leave "
                "critic out to train by the column, or drop the column to train by the critic"
            )
        if name == "values" and lack:
            raise ConfigError(
                f"{have[0]} has a column `values` and {lack[0]} has none, so that training would go by the column and "
                "evaluation by the model's own head: give both the column (`wmtp score` writes it), or neither"
            )


# A discount has a meaning where targets, TD errors and values share one: then a calibrated critic has TD errors.


def require_discount_fits(stage: "Stage", scheme: "WeightingScheme") -> None:
    """Refuses gamma below 1 where something cannot be discounted (a ranking, log-odds), or nothing is."""
    gamma, reads = stage.gamma, set(scheme.requires)
    if gamma == 1:
        return
    require(stage.undiscounted is None, f"gamma is {gamma}, but {stage.undiscounted}: leave gamma at 1")
    name = type(scheme).__name__
    require(
        "credit" not in reads,
        f"gamma is {gamma}, but scheme {name} reads credit, which is not discounted: leave gamma at 1",
    )
    learns_values = stage.needs_value_head and stage.value_coef > 0
    require(
        learns_values or bool(reads & {"values", "rewards"}),
        f"gamma is {gamma}, but scheme {name} discounts no reward and no value is learned: leave gamma at 1",
    )


def require_bounded_loss(scheme: "WeightingScheme") -> None:
    """Refuses a scheme that may push a token's probability down without end."""
    span, name = scheme.weight_range(False), type(scheme).__name__
    if scheme.floor is not None:
        require("nll" in scheme.requires, f"scheme {name} has a floor, which needs nll: name it in its `requires`")
    elif span is not None:
        require(
            span[0] >= 0,
            f"scheme {name} gives weights down to {span[0]:g} and has no floor, so that its loss can go to minus "
            "infinity: give it a floor, the probability below which a token is pushed down no further (0.01)",
        )


def require_trained_with(path: str, gamma: float) -> None:
    """Refuses to read the values of a run that was trained with another discount."""
    trained = _trained_gamma(Path(path))
    if trained not in (None, gamma):
        raise ConfigError(
            f"gamma is {gamma}, but the values of {path} were trained with gamma {trained}, so that even right ones "
            f"would have TD errors: give --gamma {trained}, or train the critic with gamma {gamma}"
        )


def _trained_gamma(folder: Path) -> float | None:
    """The discount that a run, or a checkpoint of one, was made with; None where nothing says so."""
    import yaml

    for name, facts in ((MADE_WITH_FILE, "facts"), (RUN_FILE, None)):
        file = folder / name
        if not file.is_file():
            continue
        try:
            said = yaml.safe_load(file.read_text())
            gamma = (said[facts] if facts else said).get("gamma", 1.0)
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
            gamma = None
        if isinstance(gamma, bool) or not isinstance(gamma, int | float):
            raise ConfigError(
                f"{file} does not say with which gamma the values of {folder} were trained: mend the file"
            )
        return float(gamma)
    return None
