"""Results of studies as `python -m research.chains.study` writes them, made up but plausible."""

import math
from statistics import mean, stdev
from typing import Any

import numpy as np

from research.chains.results import compared
from weighted_mtp.evaluation.intervals import paired_t_interval

SHARES = {"low_success": 0.24, "share_05": 0.05, "share_15": 0.15, "share_50": 0.494, "share_70": 0.7}
NUMBERS = {"n_1000": 1000, "n_16000": 16000}
STUDY_ARMS = {  # accuracy where 5 % are right, and where all would be; made up but plausible
    "uniform": (0.12, 0.99), "right_only": (0.31, 1.3), "return_weighted": (0.25, 1.2), "td_beta0.3": (0.2, 1.2),
    "td_whitened": (0.27, 1.22), "log_odds": (0.88, 1.1), "implicit": (0.5, 1.1), "label_conditioned": (0.7, 1.0),
    "gated": (0.86, 1.1), "guided": (0.8, 1.1),
    "rho1": (0.14, 0.95), "oracle": (0.96, 1.1), "shuffled_across": (0.12, 0.98),
}  # fmt: skip
QUICK_ARMS = ("uniform", "right_only", "td_whitened", "log_odds", "gated", "oracle", "shuffled_across")
MTP_ARMS = ("uniform", "right_only", "td_whitened", "log_odds", "log_odds_position")
CRITICS = {
    "value_head": 0.64, "value_bce": 0.66, "value_lambda": 0.65, "value_pairwise": 0.56, "log_odds": 0.96,
    "implicit": 0.81,
}  # fmt: skip


def full_study() -> dict[str, Any]:
    """A whole study: seven settings, five draws."""
    rng = np.random.default_rng(1)
    plan = {setting: list(STUDY_ARMS) for setting in SHARES}
    plan |= {setting: list(QUICK_ARMS[:-1]) for setting in NUMBERS}
    plan["low_success"] += ["td_beta0.9", "gae_whitened", "lognormal", "shuffled"]
    plan["low_success"] += [f"mtp_{arm}" for arm in MTP_ARMS]
    return _study(plan, list(CRITICS), 5, rng, preset="full")


def small_study(draws: int, seed: int) -> dict[str, Any]:
    """The quick preset: one setting, six arms, two critics."""
    plan = {"low_success": list(QUICK_ARMS)}
    return _study(plan, ["value_head", "log_odds"], draws, np.random.default_rng(seed), preset="quick")


def _study(
    plan: dict[str, list[str]], critics: list[str], draws: int, rng: np.random.Generator, *, preset: str
) -> dict[str, Any]:
    runs = {(s, arm): _study_draws(s, arm, draws, rng) for s, arms in plan.items() for arm in arms}
    by_setting = {
        s: [{"arm": a, "seed": i, "accuracy": v} for a in arms for i, v in enumerate(runs[s, a])]
        for s, arms in plan.items()
    }
    summary = {
        s: [_study_row(runs, s, arm, "mtp_uniform" if arm.startswith("mtp_") else "uniform") for arm in arms]
        for s, arms in plan.items()
    }
    return {
        "arms": [
            {"setting": s, "arm": arm, "seed": seed, "accuracy": value, "share_right": SHARES.get(s, 0.24),
             "n_traces": NUMBERS.get(s, 8000), "steps": 300, "train_rows": 8000, "cpu_seconds": 12.0 + seed}
            for (s, arm), values in runs.items()
            for seed, value in enumerate(values)
        ],
        "meta": {
            "preset": preset, "draws": draws, "summary": summary, "minutes": 71.2, "date": "2025-06-01",
            "versions": "torch 2.13.0", "python": "3.11.7", "machine": "x86_64, Linux",
            "settings": {
                s: {"share_right": SHARES.get(s, 0.24), "n_traces": NUMBERS.get(s, 8000), "right_with_error": 0.22,
                    "per_prompt": 1.5}
                for s in plan
            },
            "comparisons": compared(by_setting),
            "critics": [
                _critic(s, critic, seed, rng)
                for s in plan
                for critic in (critics if s == "low_success" else critics[:1] + critics[-2:])
                for seed in range(draws)
            ],
        },
    }  # fmt: skip


def _study_draws(setting: str, arm: str, draws: int, rng: np.random.Generator) -> list[float]:
    low, high = STUDY_ARMS.get(arm.removeprefix("mtp_").removesuffix("_position"), (0.2, 1.1))
    share, number = SHARES.get(setting, 0.24), NUMBERS.get(setting, 8000)
    center = low + (high - low) * ((share - 0.05) / 0.95) ** 0.6 + 0.06 * math.log2(number / 8000)
    values = center + rng.normal(0, 0.025, draws) - 0.08 * arm.endswith("_position")
    return [float(value) for value in values.clip(0, 1)]


def _study_row(runs: dict[tuple[str, str], list[float]], setting: str, arm: str, base: str) -> dict[str, Any]:
    values = runs[setting, arm]
    row: dict[str, Any] = {"arm": arm, "mean": mean(values), "n": len(values), "baseline": base}
    row["std"] = stdev(values) if len(values) > 1 else None
    own = {"diff": None, "low": None, "high": None}
    if arm == base:
        return row | own
    found = paired_t_interval(values, runs[setting, base])
    return row | {"diff": found.mean, "low": found.low, "high": found.high}


def _critic(setting: str, critic: str, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    auc = CRITICS[critic] + 0.008 * rng.standard_normal()
    known = np.linspace(0.52, 0.75 + auc / 4, 10)
    centers = np.arange(0.05, 1, 0.1)
    rates = (centers + (0.9 - auc) * np.sin(6 * centers) * 0.4).clip(0, 1)
    return {
        "setting": setting, "critic": critic, "seed": seed, "auc": auc, "auc_within_wrong": auc - 0.04,
        "top1": auc - 0.4 * (1 - auc) - 0.2, "position_only_auc": 0.5 + auc / 9, "length_only_auc": 0.5,
        "final_ece": 0.1 * (1 - auc), "ece": 0.3 * (1 - auc) / 2, "explained_variance": auc - 0.5,
        "brier": 0.25 - auc / 5, "outcome_auc": auc + 0.02, "cpu_seconds": 14.5,
        "auc_by_position": [None, *known[1:].tolist()],
        "reliability": [
            {"low": low, "high": low + 0.1, "mean": low + 0.05, "rate": float(rate), "count": int(count)}
            for low, rate, count in zip((centers - 0.05).tolist(), rates, 900 * (1.05 - centers) ** 3, strict=True)
        ],
    }  # fmt: skip
