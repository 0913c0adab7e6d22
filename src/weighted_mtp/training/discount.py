"""Where a discount has a meaning: targets, TD errors and values share one, or a calibrated critic has TD errors.

Nothing heavy is imported, so that a discount that does not fit is told at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from weighted_mtp.training.checkpoints import MADE_WITH_FILE
from weighted_mtp.training.config import RUN_FILE
from weighted_mtp.training.settings import ConfigError, require

if TYPE_CHECKING:
    from weighted_mtp.training.stage import Stage
    from weighted_mtp.value_weighting import WeightingScheme


def require_discount_fits(stage: "Stage", scheme: "WeightingScheme") -> None:
    """Refuses gamma below 1 where something cannot be discounted, or nothing is.

    Raises:
        ConfigError: a ranking loss, a critic or a scheme that reckons in log-odds, or a run that reads no reward.
    """
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
        f"gamma is {gamma}, but scheme {name} reads no reward and no value is learned: leave gamma at 1",
    )


def require_trained_with(path: str, gamma: float) -> None:
    """Refuses to read the values of a run that was trained with another discount.

    Raises:
        ConfigError: what lies beside them names another gamma, or cannot be read.
    """
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
