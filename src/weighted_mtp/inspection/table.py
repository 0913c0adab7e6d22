"""Runs side by side: what they are, where they ended, and the settings in which they differ."""

import json
import math
from collections.abc import Sequence
from typing import Any

from weighted_mtp.inspection.content import InspectedRun
from weighted_mtp.reports.numbers import NOTHING, signed

Row = tuple[str, ...]

FINAL = {
    "value_loss": "value loss",
    "value_explained_variance": "explained variance",
    "train/weight_mean": "mean weight",
    "train/weight_std": "spread of weights",
    "train/weight_entropy": "entropy of weights",
    "train/weight_clip_fraction": "share of them clipped",
}
"""What is shown below the losses, with its name; of training and of evaluation, if not said."""
_LONG = 34  # characters of a setting


def identity_rows(runs: Sequence[InspectedRun]) -> list[Row]:
    """What each run is: a row a property, a cell a run."""
    return [
        ("stage", *(run.stage for run in runs)),
        ("scheme", *(run.scheme for run in runs)),
        ("starts from", *(run.start for run in runs)),
        ("parameters", *(f"{run.parameters / 1e6:,.3g} M" for run in runs)),
        ("prediction heads", *(str(run.heads) for run in runs)),
        ("optimizer steps", *(NOTHING if run.steps is None else f"{run.steps:,}" for run in runs)),
    ]


def final_rows(runs: Sequence[InspectedRun]) -> list[Row]:
    """The last entry of each metric that any run has: training, and below it evaluation."""
    rows: list[Row] = []
    for key, words in (("loss", "loss"), *cross_entropies(runs).items(), *FINAL.items()):
        cells = [_last(run, key) for run in runs]
        if any(cell != NOTHING for cell in cells):
            rows.append((words, *cells))
    return rows


def differing_settings(runs: Sequence[InspectedRun]) -> list[Row]:
    """The settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [(name, *(shorten_setting(run.settings.get(name)) for run in runs)) for name in names]
    return [
        row
        for row, name in zip(rows, names, strict=True)
        if any(run.settings.get(name) != runs[0].settings.get(name) for run in runs)
    ]


def shorten_setting(value: Any) -> str:
    """A setting in few characters: six digits of a number, JSON of a dictionary, the end of a long path.

    >>> shorten_setting(3 * 1e-4), shorten_setting({"beta": 0.3}), shorten_setting("a/" * 30 + "runs/critic")
    ('0.0003', '{"beta": 0.3}', '…/runs/critic')
    """
    if value is None or value in ("", {}, []):
        return NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    if len(text) > _LONG and text.count("/") > 1:
        return "\N{HORIZONTAL ELLIPSIS}/" + "/".join(text.split("/")[-2:])
    return text


def number(value: float | None) -> str:
    """Three decimals, a true minus; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return signed(value, 3).removeprefix("+")


def cross_entropies(runs: Sequence[InspectedRun]) -> dict[str, str]:
    """The cross-entropy of each head that any run has: its metric, and its name."""
    heads = max((run.heads for run in runs), default=0)
    return {f"ce_head_{k}": "cross-entropy" + (f", head {k}" if heads > 1 else "") for k in range(heads)}


def _last(run: InspectedRun, key: str) -> str:
    if "/" in key:
        return _final(run, key)
    trained, evaluated = _final(run, f"train/{key}"), _final(run, f"eval/{key}")
    if evaluated == NOTHING:
        return trained
    return f"{trained}\n{evaluated} eval"


def _final(run: InspectedRun, key: str) -> str:
    return number(run.record[key].values[-1]) if key in run.record else NOTHING
