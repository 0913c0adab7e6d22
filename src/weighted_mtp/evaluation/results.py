"""From verdicts to numbers: exact match and pass@k, with intervals over problems, and what became of the rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from weighted_mtp.evaluation.intervals import bootstrap_interval
from weighted_mtp.evaluation.pass_at_k import pass_at_k
from weighted_mtp.verifiers.base import VERDICTS

KINDS = ("greedy", "sampled")


def summarise_samples(samples: Sequence[dict[str, Any]], n_problems: int, tries: Sequence[int]) -> dict[str, Any]:
    """The numbers of an evaluation; a problem counts once, whatever its samples.

        exact match = share of problems whose greedy completion passes
        pass@k      = mean over problems of pass_at_k(n, c, k)

    Every verdict but `pass` counts as not passed, `error` included, which is counted apart as well.

    Args:
        samples: rows `problem, task_id, kind, ended, verdict`; one greedy one a problem, and as many
            sampled ones for each.
        n_problems: how many problems.
        tries: every k of pass@k, at most the number of samples a problem.
    """
    tables = [{"problem": i, "task_id": None, "greedy": None, "n": 0, "c": 0} for i in range(n_problems)]
    for row in samples:
        table = tables[row["problem"]]
        table["task_id"] = row["task_id"]
        if row["kind"] == "greedy":
            table["greedy"] = row["verdict"]
        else:
            table["n"] += 1
            table["c"] += row["verdict"] == "pass"
    solved = [float(table["greedy"] == "pass") for table in tables]
    chances = {k: [pass_at_k(table["n"], table["c"], k) for table in tables] for k in tries}
    return {
        "exact_match": asdict(bootstrap_interval(solved)),
        "pass_at_k": {str(k): asdict(bootstrap_interval(values)) for k, values in chances.items()},
        "verdicts": {kind: _counts(samples, kind, "verdict", VERDICTS) for kind in KINDS},
        "ended": {kind: _counts(samples, kind, "ended", ("eos", "stop", "length")) for kind in KINDS},
        "problems": tables,
    }


def _counts(samples: Sequence[dict[str, Any]], kind: str, column: str, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(row[column] for row in samples if row["kind"] == kind)
    return {name: counts[name] for name in names}
