"""What critics know of samples, and the skill of one by folds."""

import shutil
from pathlib import Path
from typing import Any

from research.on_policy.place import Place
from weighted_mtp.data import load_rows
from weighted_mtp.evaluation.critic_checks import quality_of_scores
from weighted_mtp.evaluation.cross_fit import skill_of_rows, skill_of_scores
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score


def scoring(place: Place, critic: Path, data: str, out: str, **more: Any) -> ScoreConfig:
    """How a critic's rows are scored."""
    rows = str(place.folder / f"{data}.jsonl")
    how = {"max_length": place.most_tokens, "batch_size": 256, "bf16": place.training.get("bf16", False)}
    return ScoreConfig(str(critic), rows, str(place.folder / out), **how, **more)


def quality(place: Place, critic: Path) -> dict[str, Any]:
    """What a critic knows of the start's samples of the test problems, which it was not trained on."""
    config = scoring(place, critic, "fresh", f"{critic.name}-fresh")
    shutil.rmtree(config.out, ignore_errors=True)
    score(config, quiet=True)
    known = skill_of_rows(load_rows(config.out)[0]).as_dict()
    located = quality_of_scores(config.out, str(critic))[0].localisation
    shutil.rmtree(config.out)
    told = {name: getattr(located, name) for name in ("auc", "auc_within_wrong", "top1")}
    return {"fresh_skill": known, "localisation": told}


def skill(place: Place, critic: str) -> dict[str, Any]:
    """By folds of the training rows: what `wmtp score --cross_fit` measures, and scheme gated reads."""
    folds = f"folds-{critic}"
    config = scoring(place, place.folder / critic, "train", folds, cross_fit=place.budget.folds)
    known = skill_of_scores(config, quiet=True)
    shutil.rmtree(config.out)
    assert known is not None, "folds were asked for"
    return {"skill": known.as_dict()}
