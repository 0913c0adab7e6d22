"""Processes forked from one that has imported everything and computed nothing. Not a test; tests call `start`.

Imports take longer than a tiny training, and to fork a process that has computed may hang.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = ["weighted_mtp.training.run", "weighted_mtp.training.trainer", "mlflow.store.tracking.sqlalchemy_store"]


def start(
    function: Callable[..., Any], *arguments: Any, said: Path, environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Runs function(*arguments), of a module and picklable, with its standard error in the file `said`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(function, arguments, said, dict(environment or {})))
    process.start()
    return process


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], said: Path, environment: dict[str, str]) -> None:
    gc.freeze()  # every training begins with a search for garbage, and what was imported is none
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    function(*arguments)
