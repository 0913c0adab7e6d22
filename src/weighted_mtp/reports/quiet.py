"""Quiet libraries: what a user sees in the terminal is ours. Imports transformers only when called."""

import logging
import os
import warnings
from pathlib import Path

from weighted_mtp.terminal import printable

_PACKAGE = str(Path(__file__).parents[1])
_AS_PYTHON_DOES = warnings.formatwarning


def quiet_libraries() -> None:
    """Keeps libraries' start-up chatter off the terminal; our own warnings are printed as single lines."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("wmtp: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    quiet_loggers()
    warnings.simplefilter("ignore", FutureWarning)
    warnings.formatwarning = _formatted
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of loading and writing shards; training has its own


def quiet_loggers() -> None:
    """What of it may be done in a process that is not ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    for noisy in ("torch.distributed", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for told in ("mlflow", "alembic", "sqlalchemy"):  # what they raise we tell; a full disk they log in 40 lines
        logging.getLogger(told).setLevel(logging.CRITICAL)


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of ours as one line; of others with the place in the code that Python names."""
    if filename.startswith(_PACKAGE):
        return f"wmtp: {printable(str(message))}\n"
    return printable(_AS_PYTHON_DOES(message, category, filename, lineno, line))


class _Plain(logging.Formatter):
    """Records may hold what others wrote."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
