"""Per-token columns of the rows against what a run reads: weights, values and credit come from one place.

Nothing heavy is imported, so that the first rows can be looked at early. Within a file all rows have a column or none.
"""

from collections.abc import Collection, Mapping

from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.settings import ConfigError

SIGNALS = ("weights", "values", "credit")
"""Columns that a scheme may read."""


def require_columns(
    config: RunConfig, files: Mapping[str, Collection[str]], reads: Collection[str], *, trains: bool
) -> None:
    """Refuses rows that lack what is read, or of which some bring values and others do not.

    Args:
        config: of the run.
        files: the names of the columns of the training rows and of the evaluation rows, by file.
        reads: the signals that the scheme reads and that only rows bring.
        trains: False for a finished run that is only looked at: its weights were made as they were.

    Raises:
        ConfigError: names the file.
    """
    for name in SIGNALS:
        have = [file for file, columns in files.items() if name in columns]
        lack = [file for file in files if file not in have]
        # Where no rows bring values or credit, what else supplies them is told when the scheme is made.
        if name in reads and lack and (have or name == "weights"):
            raise ConfigError(
                f"scheme {config.scheme} needs {name}, and {lack[0]} has no such column: `wmtp score` writes one, or "
                "give another scheme"
            )
        if trains and config.stage == "verifiable":
            _require_one_source(config, name, have, lack)


def _require_one_source(config: RunConfig, name: str, have: list[str], lack: list[str]) -> None:
    """Stage 2 takes the values of a column before its own head's; a critic and a column are one too many."""
    if name == "weights" or not have:
        return
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
