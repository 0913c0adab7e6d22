"""MLflow: one run per training run, on an embedded sqlite file unless a server is named.

Only the main process logs. A server that is down costs one warning, never the training.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from weighted_mtp.files import write_text
from weighted_mtp.training.config import RUN_FILE, RunConfig
from weighted_mtp.training.errors import mlflow_store

logger = logging.getLogger(__name__)

_MAX_PARAM_LENGTH = 500


def tracking_uri(config: RunConfig) -> str | None:
    """The setting, else MLFLOW_TRACKING_URI, else mlflow.db in the run's directory; None where either says none."""
    uri = config.tracking.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    uri = uri or mlflow_store(config.train.output_dir)
    return None if uri.strip().lower() == "none" else uri


def metric_name(key: str) -> str:
    """MLflow name of a Trainer log key: eval_x becomes eval/x, everything else train/x."""
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


class MLflowLogger(TrainerCallback):
    """Logs the resolved configuration as parameters and artifact, and every log entry as metrics; `tags` are further
    tags of the run, the draw of a study say."""

    def __init__(self, config: RunConfig, tags: dict[str, str] | None = None) -> None:
        self.config = config
        self.tags = {"stage": config.stage, "scheme": config.scheme} | (tags or {})
        self.uri = tracking_uri(config)
        self._client: Any = None
        self._run_id: str | None = None
        self._failed = False

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Opens the run (again, when training was resumed)."""
        if state.is_world_process_zero and self.uri is not None:
            self._attempt(self._open)

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Sends one log entry."""
        if state.is_world_process_zero and self._run_id is not None and logs:
            metrics = {metric_name(k): float(v) for k, v in logs.items() if isinstance(v, int | float)}
            self._attempt(self._send, metrics, state.global_step)

    def close(self, status: str) -> None:
        """Ends the run: FINISHED, KILLED (interrupted) or FAILED."""
        if self._run_id is not None:
            self._attempt(self._client.set_terminated, self._run_id, status)

    def _attempt(self, action: Callable[..., Any], *arguments: Any) -> None:
        if self._failed:
            return
        try:
            action(*arguments)
        except Exception as error:  # whatever the network or the server does, training goes on
            self._failed = True
            reason = str(error).splitlines()[0]
            logger.warning("MLflow at %s does not answer, training goes on without it: %s", self.uri, reason)

    def _open(self) -> None:
        # A dead server should cost seconds, not the client's default of minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self.uri)
        folder = Path(self.config.train.output_dir)
        run_file, run_yaml = folder / "mlflow_run_id.txt", folder / RUN_FILE
        if run_file.is_file() and self._reopen(run_file.read_text().strip()):
            return
        run = self._client.create_run(self._experiment_id(), run_name=self.config.run_name, tags=self.tags)
        self._run_id = run.info.run_id
        flat = self.config.to_flat()
        params = [Param(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in flat.items()]
        self._client.log_batch(self._run_id, params=params)
        if run_yaml.is_file():
            self._client.log_artifact(self._run_id, str(run_yaml))
        write_text(run_file, run.info.run_id)

    def _reopen(self, run_id: str) -> bool:
        """Continues the run of an interrupted training; False where this store does not know it."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:
            return False
        self._run_id = run_id
        return True

    def _experiment_id(self) -> str:
        name = self.config.tracking.experiment_name
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        location = None
        assert self.uri is not None, "nothing is opened without a store"
        if self.uri.startswith("sqlite:///"):
            # Beside the database; the default would be a folder in whatever directory the user stands in.
            location = (Path(self.uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
        return self._client.create_experiment(name, artifact_location=location)

    def _send(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, metrics=[Metric(key, x, now, step) for key, x in metrics.items()])
