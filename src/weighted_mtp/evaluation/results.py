"""From verdicts to numbers: exact match and pass@k, with intervals over problems, and what became of the rest."""

import math
import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.reports.numbers import NOTHING, percent
from weighted_mtp.verifiers.base import VERDICTS

KINDS = ("greedy", "sampled")


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate, from n samples of which c pass, of the chance that at least one of k passes.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n-c+1}^{n} (1 - k / i)

    The share of the subsets of k samples that hold one that passes. The product needs no binomials, which overflow
    a float, and is exactly 0 where none passes and 1 where fewer than k fail.

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1 and figure 3.

    Examples:
        >>> pass_at_k(4, 1, 2), pass_at_k(4, 3, 1), pass_at_k(5, 0, 5)  # 1 - C(3, 2) / C(4, 2) = 1 - 3 / 6
        (0.5, 0.75, 0.0)
    """
    if k < 1 or not 0 <= c <= n:
        raise ValueError(f"n, c, k are {n}, {c}, {k}: at least 1 try, and from 0 to n samples that pass")
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples of every problem, and there are {n}")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def summarise_samples(
    samples: Sequence[dict[str, Any]], problems: Collection[int], tries: Sequence[int]
) -> dict[str, Any]:
    """The numbers of an evaluation; a problem counts once, whatever its samples.

        exact match = share of problems whose greedy completion passes
        pass@k      = mean over problems of pass_at_k(n, c, k)

    Every verdict but `pass` counts as not passed, `error` included, which is counted apart as well. Without greedy
    completions there is no exact match (None).

    """
    tables = {i: {"problem": i, "task_id": None, "greedy": None, "n": 0, "c": 0} for i in problems}
    for row in samples:
        table = tables[row["problem"]]
        table["task_id"] = row["task_id"]
        if row["kind"] == "greedy":
            table["greedy"] = row["verdict"]
        else:
            table["n"] += 1
            table["c"] += row["verdict"] == "pass"
    solved, n = sum(table["greedy"] == "pass" for table in tables.values()), len(tables)
    exact_match = wilson_interval(solved, n) if n > 1 else Interval(float(solved), None, None)
    chances = {k: [pass_at_k(table["n"], table["c"], k) for table in tables.values()] for k in tries}
    drafts = [DraftCounts(**row["drafts"]) for row in samples if "drafts" in row]
    return {
        "exact_match": asdict(exact_match) if any(row["kind"] == "greedy" for row in samples) else None,
        "pass_at_k": {str(k): asdict(bootstrap_interval(values)) for k, values in chances.items()},
        "verdicts": {kind: _counts(samples, kind, "verdict", VERDICTS) for kind in KINDS},
        "ended": {kind: _counts(samples, kind, "ended", ("eos", "stop", "length")) for kind in KINDS},
        "problems": list(tables.values()),
    } | ({"drafts": DraftCounts.total(drafts).summary()} if drafts else {})


def _counts(samples: Sequence[dict[str, Any]], kind: str, column: str, names: Sequence[str]) -> dict[str, int]:
    counts = Counter(row[column] for row in samples if row["kind"] == kind)
    return {name: counts[name] for name in names}


def provenance() -> list[tuple[str, str]]:
    """When, with what and on what something ran: date, versions, Python and machine, as (name, value)."""
    packages = ("weighted-mtp", "torch", "transformers", "accelerate", "mlflow")
    return [
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("versions", ", ".join(f"{name} {version(name)}" for name in packages)),
        ("python", platform.python_version()),
        ("machine", f"{platform.machine()}, {platform.system()}"),
    ]


def print_evaluation(console: Console, results: Mapping[str, Any]) -> None:
    """What results.json holds: exact match and pass@k with their intervals, and the verdicts behind them."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{len(results['problems'])} problems")
    for heading in ("%", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    sampled = {f"pass@{k}, sampled": found for k, found in results["pass_at_k"].items()}
    greedy = {"exact match, greedy": results["exact_match"]} if results["exact_match"] else {}
    for name, found in (greedy | sampled).items():
        low, high = found["low"], found["high"]
        table.add_row(name, percent(found["mean"]), NOTHING if low is None else f"{percent(low)} to {percent(high)}")
    console.print(table)
    console.print()
    shown = {kind: counts for kind, counts in results["verdicts"].items() if any(counts.values())}
    table = Table("completions", box=None, pad_edge=False)
    for verdict in next(iter(shown.values())):
        table.add_column(verdict, justify="right")
    for kind, counts in shown.items():
        table.add_row(kind, *map(str, counts.values()))
    console.print(table)
    if "drafts" in results:
        found = results["drafts"]
        console.print(str(DraftCounts(*(found[name] for name in ("tokens", "forwards", "drafted", "accepted")))))
    total = sum(sum(counts.values()) for counts in shown.values())
    errors = sum(counts["error"] for counts in shown.values())
    cut = sum(counts["length"] for counts in results["ended"].values())
    settings = results["settings"]
    most = f" at {settings['max_new_tokens']} tokens" * (settings["model"] is not None)
    warnings = {
        f"{errors} of {total} completions could not be checked (error): counted as not passed.": errors,
        f"{cut} of {total} completions were cut off{most}.": cut,
    }
    for warning in filter(warnings.get, warnings):
        console.print(Text(warning, style="bold red"))
