"""What was measured of a critic out of fold, where it lies, and the gate that scheme `gated` takes from it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from weighted_mtp.data.sources import first_row
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import require
from weighted_mtp.training.stage_table import stage_row
from weighted_mtp.training.writers import own_samples_by
from weighted_mtp.value_weighting import WeightingScheme

logger = logging.getLogger(__name__)

SKILL = "skill.json"
"""In a folder of scores, and beside the critic: its skill on completions of prompts that it was not trained on."""
MEASURE = "run wmtp score --cross_fit 3 --critic DIR --data FILE --out FOLDER"


def read_skill(folder: str | Path) -> Mapping[str, Any] | None:
    """What `wmtp score` measured; None where nothing was, or of a critic that lies here no more. ConfigError: the file
    is none of its."""
    path = Path(folder) / SKILL
    if not path.is_file():
        return None
    beside_critic = (path.parent / "config.json").is_file()
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        said = ("verdict", "critic") if beside_critic else ("verdict",)  # a critic in memory has no digest
        whole = 0 <= found["gate"] <= 1 and all(isinstance(found[key], str) for key in said)
    except (ValueError, KeyError, TypeError):  # of another version, or changed by hand
        whole = False
    require(
        whole,
        f"{path} is not what wmtp score writes, with a `verdict`, a `gate` in [0, 1] and, beside a critic, its digest: "
        "remove it, and measure again with wmtp score --cross_fit",
    )
    return None if beside_critic and found["critic"] != digest_of_model(folder) else found


def measured_skill(config: RunConfig) -> Mapping[str, Any] | None:
    """That of the rows that a run reads, else of the critic that it reads; None where nothing was measured."""
    critic = config.critic.critic or config.model.model_name_or_path
    places = [config.data.train_file, *([critic] if stage_row(config.stage).reads_critic else [])]
    return next(filter(None, map(read_skill, places)), None)


def with_skill(config: RunConfig, rows: Any = None) -> RunConfig:
    """The run with the `skill` of scheme `gated` filled in, so that run.yaml says it and a resumed run keeps it.

    0 where none was measured, and of the model's own samples (see `own_samples_by`), whose wrong rows pull it back at
    any weight. Rows of weight 0 are then left out as right-only does, unless the own value head learns from them.
    """
    options, inner = config.scheme_options, _inner(config)
    own = (options.get("inner_options") or {}) if inner else options
    if not is_gated(config) or not isinstance(own, Mapping) or own.get("skill") is not None:
        return config  # what is no mapping the scheme refuses
    found = measured_skill(config)
    column = _own_samples_by(config, rows) if found is not None and found["gate"] > 0 else None
    skill = found["gate"] if found and column is None else 0.0
    own = {**own, "skill": skill}
    options = {**options, "inner_options": own} if inner else own
    weighting = replace(config.weighting, scheme=config.scheme, scheme_options=options)
    if found is None:
        logger.warning("%s: right-only; %s, or give scheme gated a skill", _unmeasured(config), MEASURE)
    elif column is not None:
        logger.warning(
            "%s, but %s, where mixing by skill did worse than right-only: right-only; scheme_options: %s mixes all the "
            "same",
            found["verdict"],
            _of_own(column),
            ("{inner_options: {skill: %.2f}}" if inner else "{skill: %.2f}") % found["gate"],
        )
    elif skill:
        logger.info("%s", found["verdict"])
    else:
        logger.warning("%s: right-only", found["verdict"])
    own_head, data = stage_row(config.stage).reads_critic and config.separate_critic is None, config.data
    if not (skill or inner or own_head) and data.keep == "all":
        data = replace(data, keep="right", keep_above=0.0)
    return replace(config, weighting=weighting, data=data)


def tell_skill(config: RunConfig, scheme: WeightingScheme, rows: Any = None) -> None:
    """One line on a scheme that the user named and that weighs by a critic: what it was found to know of the outcome.

    A warning where that is nothing, where it was not measured, and where credit did harm: it is trained all the same.
    """
    found = measured_skill(config)
    scored = "weights" in scheme.requires and found is not None  # by `wmtp score`
    if is_gated(config) or not (scored or {"values", "credit"} & set(scheme.requires)):
        return
    if found is None:
        logger.warning("%s: scheme %s weighs by it all the same; %s", _unmeasured(config), config.scheme, MEASURE)
    elif not found["gate"]:
        logger.warning("%s: scheme %s weighs by it all the same; compare keep: right", found["verdict"], config.scheme)
    elif column := _own_samples_by(config, rows):
        logger.warning(
            "%s, but %s, where weighing by credit did worse than right-only: compare keep: right",
            found["verdict"],
            _of_own(column),
        )
    else:
        logger.info("%s", found["verdict"])


def is_gated(config: RunConfig) -> bool:
    """Whether the scheme is `gated`, or wraps it."""
    return config.scheme == "gated" or _inner(config)


def _inner(config: RunConfig) -> bool:
    return config.scheme_options.get("inner") == "gated"


def _unmeasured(config: RunConfig) -> str:
    read = stage_row(config.stage).reads_critic
    critic = f"critic {config.separate_critic or config.model.model_name_or_path}" if read else "the rows' critic"
    return f"no skill of {critic} was measured out of fold"


def _of_own(column: str) -> str:
    if column == "logprobs":
        return "the rows have `logprobs`, as a model's own samples do"
    return f"by their `{column}` the rows are the model's own samples"


def _own_samples_by(config: RunConfig, rows: Any) -> str | None:
    """The column by which the first usable row is a sample of the model that is trained."""
    data = config.data
    source = data.train_file if rows is None else rows
    first = first_row(source, data.on_bad_row, split=data.split, stream=data.stream)
    return None if first is None else own_samples_by(first, config.model.model_name_or_path)
