"""From finished cells to the numbers of the page: intervals, paired differences with Holm's correction, outcome AUC."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from research.on_policy.results import LEVEL, flat, holm
from research.real_teacher.cells import LOCATED
from research.real_teacher.folds import GENERATIVE, GSM8K, TASKS, VALUE_HEAD
from research.real_teacher.steps import merged
from weighted_mtp.evaluation.critic_skill import critic_skill
from weighted_mtp.evaluation.intervals import bootstrap_interval
from weighted_mtp.evaluation.ranking import auc
from weighted_mtp.evaluation.results import provenance

Results = dict[str, Any]
METRICS = ("top1", "auc")
SURPRISAL, PRIOR = "surprisal, greatest", "where marks lie elsewhere"
"""What the critics are compared with: a plain language model, and position alone, which reads marks of other traces."""
SHORTER = "the shorter"
"""Length alone."""
COMPARED = tuple(f"{kind}, sum" for kind in (GENERATIVE, VALUE_HEAD))
"""By Bayes' rule a step moves the log-odds by the sum of its tokens' credit; the readings that are compared."""


def read_results(out: Path) -> Results:
    """All finished cells of an output directory, in numbers.

    Raises:
        ValueError: there is none.
    """
    cells = [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/*.json"))]
    if not cells:
        raise ValueError(f"{out} holds no finished cell: run python -m research.real_teacher --data DIR --out {out}")
    by_task: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        by_task.setdefault(cell["asked"]["task"], []).append(cell)
    found: Results = {"cells": [_student(cell) for cell in by_task.get("dyck", [])]}
    folds = {task: by_task[task] for task in TASKS if task in by_task}
    whole = {task: some for task, some in folds.items() if len(some) == some[0]["asked"]["budget"]["folds"]}
    found["mistakes"] = [_mistakes(task, some) for task, some in whole.items()]
    found["compared"] = _compared({task: merged([c["found"] for c in some]) for task, some in whole.items()})
    if GSM8K in by_task and len(by_task[GSM8K]) == by_task[GSM8K][0]["asked"]["budget"]["folds"]:
        found[GSM8K] = _outcomes(by_task[GSM8K])
    return found | {"meta": dict(provenance())}


def _student(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell of the students; of where critics look, the means."""
    told = flat(cell)
    if told["name"] == LOCATED:
        found = told["found"]
        told["found"] = {n: {m: float(np.nanmean(v[m])) for m in METRICS} for n, v in found.items()}
    return told


def _mistakes(task: str, folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A task: what each reading finds, with intervals over traces, and what its critics know of the outcome."""
    found = merged([fold["found"] for fold in folds])
    readings = {n: {m: asdict(bootstrap_interval(_known(v[m]))) for m in METRICS} for n, v in found.items()}
    right = [x for fold in folds for x in fold["right"]]
    return {
        "task": task,
        "rows": len(right),
        "all_rows": folds[0]["all_rows"],
        "right": sum(right),
        "judged": sum(fold["judged"] for fold in folds),
        "outcome_auc": {
            kind: _mean([auc(fold["log_odds"][kind], np.asarray(fold["right"]) > 0) for fold in folds])
            for kind in (GENERATIVE, VALUE_HEAD)
        }
        | {SHORTER: _mean([auc(-np.asarray(f["tokens"]), np.asarray(f["right"]) > 0) for f in folds])},
        "cpu_seconds": round(sum(fold["cpu_seconds"] for fold in folds), 1),
        "budget": folds[0]["asked"]["budget"],
        "readings": readings,
    }


def _known(values: Sequence[float]) -> list[float]:
    return [x for x in values if np.isfinite(x)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return float(np.mean(known)) if known else None


def _compared(by_task: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> list[dict[str, Any]]:
    """Each critic against surprisal and against position, paired by trace; Holm's correction is by metric."""
    told: list[dict[str, Any]] = []
    for metric in METRICS:
        rows: list[dict[str, Any]] = []
        for task, found in by_task.items():
            for critic in COMPARED:
                for other in (SURPRISAL, PRIOR):
                    moved = np.subtract(found[critic][metric], found[other][metric])
                    moved = moved[np.isfinite(moved)]
                    told_p: Any = stats.ttest_1samp(moved, 0.0) if moved.std() > 0 else None
                    row = {"task": task, "metric": metric, "critic": critic, "other": other}
                    row |= {"difference": asdict(bootstrap_interval(moved.tolist()))}
                    rows.append(row | {"p": None if told_p is None else float(told_p.pvalue)})
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            better = "better" if row["difference"]["mean"] > 0 else "worse"
            verdict = better if adjusted is not None and adjusted < LEVEL else "undecided"
            told.append(row | {"adjusted": adjusted, "verdict": verdict})
    return told


def _outcomes(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """GSM8K: does a critic order the solutions of a problem? Beside it length, and who wrote them."""
    right = np.array([x for fold in folds for x in fold["right"]])
    tokens = np.array([x for fold in folds for x in fold["tokens"]])
    problems = np.array([x + 100_000 * i for i, fold in enumerate(folds) for x in fold["problems"]])
    writers = np.array([x for fold in folds for x in fold["writers"]])
    share = {str(w): float(right[writers == w].mean()) for w in sorted(set(writers.tolist()))}
    scores = {kind: [x for fold in folds for x in fold["log_odds"][kind]] for kind in (GENERATIVE, VALUE_HEAD)}
    scores |= {SHORTER: (-tokens).tolist(), "who wrote it": [share[w] for w in writers.tolist()]}
    told: dict[str, Any] = {}
    for name, some in scores.items():
        skill = critic_skill(some, right, problems, tokens)
        told[name] = {"auc": asdict(skill.auc), "explained": asdict(skill.explained), "within": skill.within_prompts}
        if name in (GENERATIVE, VALUE_HEAD):
            told[name]["verdict"] = skill.verdict
    return {
        "rows": len(right),
        "problems": len(set(problems.tolist())),
        "share_right": float(right.mean()),
        "share_of_writers": share,
        "cpu_seconds": round(sum(fold["cpu_seconds"] for fold in folds), 1),
        "budget": folds[0]["asked"]["budget"],
        "scores": told,
    }
