"""What can be known of a run without torch, told before torch is imported, which takes seconds.

Files are there, of a known kind, and their first row can be read; what names a model leads to one; what is written can
be written. The same functions check all of it again, and whole, when the run begins.
"""

import os
from collections.abc import Iterator

from weighted_mtp.data.sources import first_row
from weighted_mtp.models import sources
from weighted_mtp.training.checkpoints import resolve_resume
from weighted_mtp.training.columns import require_columns
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.discount import require_trained_with
from weighted_mtp.training.paths import mlflow_store, require_folder
from weighted_mtp.training.score_config import ScoreConfig
from weighted_mtp.training.trainer_fields import check_trainer_args
from weighted_mtp.training.unread import require_all_read
from weighted_mtp.value_weighting.registry import scheme_path


def check_run(config: RunConfig, resume: str | None) -> None:
    """Raises for what `wmtp train` would stumble over.

    Raises:
        ConfigError: a setting, or rows, that do not fit.
        CheckpointError: as `resolve_resume`.
        DataError: as `load_rows`, for the first row.
        ValueError: as `sources.require`.
    """
    scheme_path(config.scheme)
    require_all_read(config)
    check_trainer_args(config.train, config.model, config.data.eval_file is not None)
    require_folder("output_dir", config.train.output_dir)
    if not (config.tracking.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")):
        mlflow_store(config.train.output_dir)
    resolve_resume(resume, config.train.output_dir)
    check_inputs(config, trains=True)


def check_inputs(config: RunConfig, *, trains: bool = False) -> None:
    """Raises where rows or models that a run reads are not there; of finished runs too, which are looked at."""
    files = [file for file in (config.data.train_file, config.data.eval_file) if file is not None]
    first = {file: first_row(file, config.data.on_bad_row) for file in files}
    if config.data.on_bad_row == "error":
        columns = {file: row for file, row in first.items() if row is not None}
        require_columns(config, columns, ["weights"] if config.scheme == "column" else [], trains=trains)
    for model in _models(config):
        sources.require(model)
    if config.stage == "verifiable":
        require_trained_with(config.critic.critic or config.model.model_name_or_path, config.weighting.gamma)


def _models(config: RunConfig) -> Iterator[str]:
    model = config.model
    yield model.tokenizer_name_or_path or model.model_name_or_path
    yield model.model_name_or_path
    if config.separate_critic is not None:
        yield config.separate_critic
    if config.reference.reference is not None:
        yield config.reference.reference


def check_score(config: ScoreConfig) -> None:
    """Raises for what `wmtp score` would stumble over.

    Raises:
        ConfigError: a setting that does not fit.
        DataError: as `load_rows`, for the first row.
        ValueError: as `sources.require`.
    """
    scheme_path(config.scheme)
    first_row(config.data)
    for model in filter(None, (config.critic, config.reference)):
        sources.require(model)
    require_trained_with(config.critic, config.gamma)
    require_folder("out", config.out)
