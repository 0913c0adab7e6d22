"""From finished cells to results.json: accuracies, paired comparisons, and how good each critic is."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from research.chains.study_arms import CRITICS, Setting, study_notes
from research.corrected import holm, paired_p
from weighted_mtp.data import share_right, share_right_with_error
from weighted_mtp.demo.arms import GATED
from weighted_mtp.demo.cells import Cell, read_chains
from weighted_mtp.demo.draw import Budget
from weighted_mtp.evaluation.intervals import paired_t_interval, summarise
from weighted_mtp.evaluation.results import provenance
from weighted_mtp.training.skill import read_skill

Finished = Sequence[tuple[Cell, dict[str, Any]]]

PAIRS = (
    ("log_odds", "right_only"),
    ("log_odds", "oracle"),
    ("log_odds", "label_conditioned"),
    ("log_odds", "td_whitened"),
    ("log_odds", "implicit"),
    ("log_odds", "rho1"),
    ("log_odds", "return_weighted"),
    ("td_whitened", "right_only"),
    ("td_whitened", "shuffled_across"),
    ("td_bce", "td_whitened"),
    ("oracle", "right_only"),
    ("right_only_steps", "right_only"),
    ("log_odds", "right_only_steps"),
    ("gated", "right_only"),
    ("gated", "right_only_steps"),
    ("gated", "log_odds"),
    ("gated", "oracle"),
    ("gated_by_quarter", "gated"),
    ("guided", "log_odds"),
    *((f"mtp_{arm}", arm) for arm in ("uniform", "right_only", "td_whitened")),
    ("mtp_log_odds", "mtp_right_only"),
    ("mtp_log_odds", "mtp_log_odds_position"),
    ("mtp_log_odds", "log_odds"),
)
"""What is compared draw by draw, beside each arm with uniform."""
ASKED = PAIRS[:1] + tuple(pair for pair in PAIRS if pair == ("gated", "right_only"))
"""What the study was made for; the others are a family of tests of their own."""
LOCATED = ("auc", "auc_within_wrong", "top1")
OF_SKILL = ("gate", "auc", "within_prompts", "verdict")
"""What is kept with `gated` of its critic's skill out of fold."""


def study_results(preset: str, settings: Sequence[Setting], finished: Finished, budget: Budget) -> dict[str, Any]:
    """The content of results.json.

    Args:
        preset: its name.
        settings: those that ran.
        finished: every cell with its result.
        budget: what each had to spend.
    """
    shares = {setting.name: setting for setting in settings}
    arms = [_arm(cell, result, shares[cell.setting]) for cell, result in finished if cell.arm.is_policy]
    critics = [_critic(result) for cell, result in finished if result["quality"]]
    by_setting = {s.name: [a for a in arms if a["setting"] == s.name] for s in settings}
    summary = {name: summarise(some, _baselines(some)) for name, some in by_setting.items()}
    return {
        "arms": arms,
        "meta": {
            "preset": preset,
            "draws": len({cell.seed for cell, _ in finished}),
            "localisation": _localisation([c for c in critics if c["setting"] == "low_success"]),
            "settings": {s.name: _setting(s, finished) for s in settings},
            "summary": summary,
            "comparisons": compared(by_setting),
            "critics": critics,
            "budget": asdict(budget),
            "notes": study_notes(budget),
            "minutes": round(sum(result["seconds"] for _, result in finished) / 60, 1),
            **dict(provenance()),
        },
    }


def _arm(cell: Cell, result: dict[str, Any], setting: Setting) -> dict[str, Any]:
    kept = ("setting", "arm", "seed", "accuracy", "steps", "train_rows", "cpu_seconds", "curve")
    found = {name: result[name] for name in kept} | {"share_right": setting.share_right, "n_traces": setting.n_traces}
    if cell.arm == GATED and (skill := read_skill(cell.root / GATED.critic)):
        found["skill"] = {name: skill[name] for name in OF_SKILL}
    return found


def _critic(result: dict[str, Any]) -> dict[str, Any]:
    """One critic of one draw, flat."""
    quality = dict(result["quality"])
    located = quality.pop("localisation")
    bins = [
        {"low": b["low"], "high": b["high"], "mean": b["mean_value"], "rate": b["observed_rate"], "count": b["count"]}
        for b in quality.pop("reliability")
    ]  # fmt: skip
    return {
        "setting": result["setting"],
        "seed": result["seed"],
        "critic": CRITICS.get(result["arm"], result["arm"]),
        **{name: located[name] for name in LOCATED},
        **quality,
        "reliability": bins,
        "cpu_seconds": result["cpu_seconds"],
    }


def _localisation(critics: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over the draws, a critic each."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for critic in critics:
        by_name.setdefault(critic["critic"], []).append(critic)
    return {
        name: {key: statistics.fmean(critic[key] for critic in some) for key in LOCATED}
        for name, some in by_name.items()
    }


def _setting(setting: Setting, finished: Finished) -> dict[str, float]:
    """Share and number as they were, completions of a prompt, and right ones with an error: means over the draws."""
    roots = dict.fromkeys(cell.root for cell, _ in finished if cell.setting == setting.name)
    rows = [read_chains(root).train for root in roots]
    return {
        "share_right": statistics.fmean(share_right(some) for some in rows),
        "n_traces": setting.n_traces,
        "per_prompt": statistics.fmean(len(some) / len({row["prompt"] for row in some}) for some in rows),
        "right_with_error": statistics.fmean(share_right_with_error(some) for some in rows),
    }


def _baselines(arms: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {a["arm"]: "mtp_uniform" if a["arm"].startswith("mtp_") else "uniform" for a in arms}


def compared(by_setting: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All pairs in all settings, corrected by Holm over those that the study was made for, and over the others."""
    found = [c for name, some in by_setting.items() for c in _comparisons(name, some)]
    for asked in (True, False):
        family = [c for c in found if ((c["first"], c["second"]) in ASKED) == asked]
        for comparison, adjusted in zip(family, holm([c["p"] for c in family]), strict=True):
            comparison["adjusted"] = adjusted
    return found


def without_draw(results: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The results of the other draws, compared anew."""
    arms = [arm for arm in results["arms"] if arm["seed"] != seed]
    by_setting = {name: [a for a in arms if a["setting"] == name] for name in results["meta"]["settings"]}
    return {**results, "arms": arms, "meta": {**results["meta"], "comparisons": compared(by_setting)}}


def _comparisons(setting: str, arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Paired intervals of the pairs whose arms both ran."""
    by_arm: dict[str, dict[int, float]] = {}
    for arm in arms:
        by_arm.setdefault(arm["arm"], {})[arm["seed"]] = arm["accuracy"]
    compared: list[dict[str, Any]] = []
    for first, second in PAIRS:
        seeds = sorted(by_arm.get(first, {}).keys() & by_arm.get(second, {}).keys())
        if seeds:
            both = [by_arm[first][s] for s in seeds], [by_arm[second][s] for s in seeds]
            interval = paired_t_interval(*both)
            compared.append(
                {"setting": setting, "first": first, "second": second, "n": len(seeds)}
                | {"diff": interval.mean, "low": interval.low, "high": interval.high, "p": paired_p(*both)}
            )
    return compared
