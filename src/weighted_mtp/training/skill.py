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
from weighted_mtp.training.stage_table import stage_row

logger = logging.getLogger(__name__)

SKILL = "skill.json"
"""In a folder of scores, and beside the critic: its skill on completions of prompts that it was not trained on."""


def read_skill(folder: str | Path) -> Mapping[str, Any] | None:
    """What `wmtp score` measured; None where nothing was, or of a critic that lies here no more."""
    path = Path(folder) / SKILL
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    beside_critic = (path.parent / "config.json").is_file()
    return None if beside_critic and found["critic"] != digest_of_model(folder) else found


def measured_skill(config: RunConfig) -> Mapping[str, Any] | None:
    """That of the rows that a run reads, else of the critic that it reads; None where nothing was measured."""
    critic = config.critic.critic or config.model.model_name_or_path
    places = [config.data.train_file, *([critic] if stage_row(config.stage).reads_critic else [])]
    return next(filter(None, map(read_skill, places)), None)


def with_skill(config: RunConfig, rows: Any = None) -> RunConfig:
    """The run with the `skill` of scheme `gated` filled in, so that run.yaml says it and a resumed run keeps it.

    0 where none was measured, and of a model's own samples (rows with `logprobs`), whose wrong rows pull it back at any
    weight. Rows of weight 0 are then left out as right-only does, unless the own value head learns from them.
    """
    name, options = config.scheme, config.scheme_options
    inner = options.get("inner") == "gated"
    own = options.get("inner_options", {}) if inner else options
    if (name != "gated" and not inner) or own.get("skill") is not None:
        return config
    found = measured_skill(config)
    own_samples = found is not None and found["gate"] > 0 and _are_own_samples(config, rows)
    skill = found["gate"] if found and not own_samples else 0.0
    own = {**own, "skill": skill}
    weighting = replace(
        config.weighting, scheme=name, scheme_options={**options, "inner_options": own} if inner else own
    )
    data = config.data
    if found is None:
        logger.warning(
            "no skill of critic %s was measured out of fold: right-only; run wmtp score --cross_fit 3 --critic DIR "
            "--data FILE --out FOLDER, or give scheme gated a skill",
            config.critic.critic or config.model.model_name_or_path,
        )
    elif own_samples:
        logger.warning(
            "%s, but rows with logprobs are a model's own samples, where mixing by skill did worse than right-only: "
            "right-only; scheme_options: %s mixes all the same",
            found["verdict"],
            ("{inner_options: {skill: %.2f}}" if inner else "{skill: %.2f}") % found["gate"],
        )
    elif not skill:
        logger.warning("%s: right-only", found["verdict"])
    own_head = stage_row(config.stage).reads_critic and config.separate_critic is None
    if not (skill or inner or own_head) and data.keep == "all":
        data = replace(data, keep="right", keep_above=0.0)
    return replace(config, weighting=weighting, data=data)


def _are_own_samples(config: RunConfig, rows: Any) -> bool:
    """Whether the first usable row says how likely its tokens were to the model that wrote them."""
    data = config.data
    source = data.train_file if rows is None else rows
    first = first_row(source, data.on_bad_row, split=data.split, stream=data.stream)
    return first is not None and first.get("logprobs") is not None
