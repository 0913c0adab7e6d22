"""What a run logged while it trained: its metrics by optimizer step, from MLflow, else from its newest checkpoint."""

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weighted_mtp.inspection.content import Series
from weighted_mtp.training.checkpoints import list_checkpoints, why_incomplete
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import mlflow_store
from weighted_mtp.training.tracking import metric_name, tracking_uri

logger = logging.getLogger(__name__)

Record = dict[str, Series]
"""Metrics under their MLflow names, train/loss say."""


def read_record(run_dir: Path, config: RunConfig) -> Record:
    """Every metric of a run, from MLflow, else from the log of its newest complete checkpoint; empty where none was
    kept."""
    return _from_mlflow(run_dir, config) or _from_checkpoint(run_dir)


def _from_mlflow(run_dir: Path, config: RunConfig) -> Record:
    run_file = run_dir / "mlflow_run_id.txt"
    beside = run_dir.resolve() / "mlflow.db"  # of a run directory that was moved
    uri = mlflow_store(run_dir) if beside.is_file() else tracking_uri(config)
    if uri is None or not run_file.is_file():
        return {}
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():  # asking would make it
        return {}
    # A dead server should cost seconds, not the client's default of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    try:
        client, run_id = MlflowClient(tracking_uri=uri), run_file.read_text().strip()
        names = sorted(client.get_run(run_id).data.metrics)
        return {name: _series(client.get_metric_history(run_id, name)) for name in names}
    except Exception as error:  # whatever the store does, there is more to see than curves
        reason = str(error).splitlines()[0]
        logger.warning("MLflow at %s has no record of %s: %s", uri, run_dir, reason)
        return {}


def _series(history: Iterable[Any]) -> Series:
    """In the order of steps; of a step that was logged twice, after a resume, the last."""
    return Series.of({metric.step: metric.value for metric in sorted(history, key=lambda m: m.timestamp)})


def _from_checkpoint(run_dir: Path) -> Record:
    whole = [folder for folder in list_checkpoints(run_dir) if why_incomplete(folder, by_content=False) is None]
    if not whole:
        return {}
    log = json.loads((whole[0] / "trainer_state.json").read_text())["log_history"]
    points: dict[str, dict[int, float]] = {}
    for entry in log:
        for key, value in entry.items():
            if key != "step" and isinstance(value, int | float):
                points.setdefault(metric_name(key), {})[entry["step"]] = value
    return {name: Series.of(points[name]) for name in sorted(points)}
