"""Results of the experiment on real code as it writes them, made up but plausible."""

from collections.abc import Mapping, Sequence
from typing import Any

CRITICS = {  # AUC alone, and what a critic adds to a fit
    "value-linear": (0.476, -0.001), "value-mlp": (0.495, -0.009), "generative": (0.902, 0.012),
    "implicit": (0.834, 0.001), "value-lora": (0.61, 0.002), "value-lora-mlp": (0.64, 0.0),
}  # fmt: skip
STUDENTS = {  # in the order of MEASURES
    "untrained": (1.694, 3.899, 1.99, 1.198, 0.787, 0.027), "uniform": (1.557, 3.708, 2.03, 1.06, 0.777, 0.032),
    "right-only": (1.525, 3.653, 2.04, 1.03, 0.787, 0.041), "log-odds": (1.531, 3.769, 2.08, 1.037, 0.823, 0.034),
    "shuffled-across": (1.556, 3.695, 2.02, 1.061, 0.781, 0.02),
}  # fmt: skip
MEASURES = {  # half of an interval, and of that of a difference
    "right_nll": (0.06, 0.003), "wrong_token_nll": (0.19, 0.01), "bug_margin": (0.2, 0.03), "other_nll": (0.06, 0.003),
    "prefers_right": (0.03, 0.015), "pass1": (0.02, 0.025),
}  # fmt: skip
CONTROLS = ("untrained", "uniform", "right-only", "shuffled-across")
SURPRISAL, ALL_UNTRAINED, LENGTH = "surprisal", "surprisal, entropy, position", "surprisal, length"
ROWS = {"humaneval": {"tasks": 86, "right": 120, "wrong": 169}, "doctests": {"tasks": 354, "right": 510, "wrong": 666}}


def real_code(
    critics: Sequence[str] = tuple(CRITICS),
    students: Sequence[str] = tuple(STUDENTS),
    sources: Sequence[str] = tuple(ROWS),
) -> dict[str, Any]:
    """An experiment in which these critics, students (the untrained model among them) and sources are finished."""
    parts = {"all": 0.0} | ({source: 0.01 * i for i, source in enumerate(sources, start=1)} if sources[1:] else {})
    jobs = [f"critics/{name}" for name in critics if not name.startswith("value-m") and name != "value-linear"]
    jobs += [f"students/{name}" for name in students if name != "untrained"]
    return {
        "data": {
            "selection": {"data": [f"{source}.jsonl" for source in sources], "max_length": 192},
            "sources": {source: ROWS[source] for source in sources},
            "folds": [{"tasks": 87 + fold, "right": 121 + fold, "wrong": 160 + fold} for fold in range(5)],
            "closest_across_folds": 0.4815,
        },
        "critics": {part: _critics(critics, shift) for part, shift in parts.items()},
        "students": {part: {"tasks": 440, "students": _students(students)} for part in parts},
        "jobs": {
            name: [{"passed": {}, "curve": [], "train_cpu_seconds": 301.0 + f, "test_cpu_seconds": 99.0 + f}
                   for f in range(5)]
            for name in ("untrained", *jobs)
        },
        "meta": {"date": "2025-06-01", "versions": "torch 2.13.0", "python": "3.11.7", "machine": "x86_64, Linux"},
    }  # fmt: skip


def interval(mean: float, half: float) -> dict[str, float]:
    """An entry of results.json."""
    return {"mean": mean, "low": mean - half, "high": mean + half}


def without_bounds(results: Any) -> Any:
    """The same results with no interval anywhere, as where too little was resampled."""
    if isinstance(results, Mapping):
        if set(results) == {"mean", "low", "high"}:
            return {"mean": results["mean"], "low": None, "high": None}
        return {key: without_bounds(value) for key, value in results.items()}
    return results


def _critics(critics: Sequence[str], shift: float) -> dict[str, Any]:
    aucs = {SURPRISAL: 0.834, "entropy": 0.576, "position": 0.673, ALL_UNTRAINED: 0.863}
    beliefs = {SURPRISAL: 0.787, "length": 0.493, LENGTH: 0.808}
    for name in critics:
        alone, gain = CRITICS[name]
        aucs |= {name: alone, f"{name} + surprisal": 0.834 + gain, f"{name} + all untrained": 0.863 + gain}
        beliefs |= {name: 0.3 + alone / 2, f"{name} + {LENGTH}": 0.808 + 2 * gain}
    found = {name: {"auc": auc + shift, "top1": 0.8 * (auc - 0.45)} for name, auc in aucs.items()}
    judged = {name: {"auc": 0.2 + belief / 2, "auc_within": belief} for name, belief in beliefs.items()}
    halves = {"auc": (0.015, 0.004), "top1": (0.03, 0.012), "auc_within": (0.025, 0.007)}
    return {
        "tasks": 440,
        "localisation": _compared(found, halves, [SURPRISAL, ALL_UNTRAINED]),
        "outcome": _compared(judged, halves, [LENGTH]),
        "calibration": {
            name: {"ece": 0.2 * (1 - belief), "brier": 0.249 - belief / 50, "reliability": _bins(belief)}
            for name, belief in beliefs.items()
            if name not in (SURPRISAL, "length")
        },
    }


def _students(students: Sequence[str]) -> dict[str, Any]:
    found = {name: dict(zip(MEASURES, STUDENTS[name], strict=True)) for name in students}
    return _compared(found, MEASURES, [name for name in CONTROLS if name in students])


def _compared(
    found: Mapping[str, Mapping[str, float]], halves: Mapping[str, tuple[float, float]], against: Sequence[str]
) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, measures in found.items():
        entries[name] = {key: interval(x, halves[key][0]) for key, x in measures.items()}
        for key, x in measures.items():
            over = {other: interval(x - found[other][key], halves[key][1]) for other in against if other != name}
            if over:
                entries[name][f"{key}_over"] = over
    return entries


def _bins(belief: float) -> list[dict[str, float]]:
    return [
        {"low": i / 10, "high": (i + 1) / 10, "mean_value": i / 10 + 0.05,
         "observed_rate": 0.43 + (belief - 0.5) * (i - 4.5) / 5, "count": 20 + 60 * i * (9 - i)}
        for i in range(10)
    ]  # fmt: skip
