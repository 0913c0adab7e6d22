"""results.json of the experiment on real code: whatever is finished on all folds, judged."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from research.real_code.critics import beliefs, head_opinion, judge_critics, judge_kinds, scored_opinion, suspicions
from research.real_code.jobs import UNTRAINED, Job
from research.real_code.rows import FOLDS, SUMMARY_FILE, Row
from research.real_code.students import judge_students
from research.real_code.tokens import Completions, read_signals
from weighted_mtp.evaluation.results import provenance
from weighted_mtp.files import write_text
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError

RESULTS_FILE = "results.json"
CONTROLS = (UNTRAINED, "uniform", "right-only", "shuffled-across")
"""Students that each other one is compared with, where they are there."""


def write_results(
    rows: Sequence[Row], jobs: Sequence[Job], heads: Mapping[str, RunConfig], tokenizer: Any
) -> dict[str, Any]:
    """Judges the critics and the students that are finished on all folds; writes results.json into their root.

    Args:
        rows: of the experiment.
        jobs: of the untrained model, critics and students, finished or not.
        heads: value heads on the frozen trunk, which are trained here.
        tokenizer: of the model.

    Raises:
        ConfigError: the untrained model's signals are not there.
    """
    finished = _finished(jobs)
    if UNTRAINED not in finished:
        raise ConfigError(
            f"{jobs[0].root} lacks the untrained model's signals: run `python -m research.real_code` to its end"
        )
    completions = Completions.of(rows, tokenizer)
    untrained = read_signals(completions, [job.signals for job in finished[UNTRAINED]])
    opinions, costs = {}, {name: [job.finished() for job in held] for name, held in finished.items()}
    for name, run in heads.items():
        started = time.process_time()
        opinions[name] = head_opinion(completions, run, untrained["states"])
        seconds = (time.process_time() - started) / FOLDS
        costs[f"critics/{name}"] = [{"curve": [], "train_cpu_seconds": seconds, "test_cpu_seconds": 0.0}] * FOLDS
    nll = {UNTRAINED: untrained["surprisal"]}
    passed = {UNTRAINED: _passed(finished[UNTRAINED])}
    for name, held in finished.items():
        kind, _, short = name.partition("/")
        if kind == "critics":
            opinions[short] = scored_opinion(completions, [job.scores for job in held])
        elif kind == "students":
            nll[short] = read_signals(completions, [job.signals for job in held])["surprisal"]
            passed[short] = _passed(held)
    suspicion = suspicions(completions, untrained, opinions)
    belief = beliefs(completions, untrained["surprisal"], opinions)
    against = [name for name in CONTROLS if name in nll]
    results = {
        "data": json.loads((jobs[0].root / SUMMARY_FILE).read_text()),
        "critics": _by_source(rows, lambda of: judge_critics(completions, suspicion, belief, of)),
        "kinds": judge_kinds(completions, suspicion),
        "students": _by_source(rows, lambda of: judge_students(completions, nll, passed, against, of)),
        "jobs": costs,
        "meta": dict(provenance()),
    }
    write_text(jobs[0].root / RESULTS_FILE, json.dumps(results, indent=1))
    return results


def _finished(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """By name, the jobs of all folds, where all are finished."""
    by_name: dict[str, list[Job]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job)
    return {name: held for name, held in by_name.items() if all(job.finished() for job in held)}


def _passed(jobs: Sequence[Job]) -> dict[str, bool]:
    return {task: passed for job in jobs for task, passed in (job.finished() or {}).get("passed", {}).items()}


def _by_source(rows: Sequence[Row], judge: Callable[[Sequence[str] | None], dict[str, Any]]) -> dict[str, Any]:
    sources = sorted({row["source"] for row in rows})
    return {"all": judge(None)} | {source: judge([source]) for source in sources if len(sources) > 1}
