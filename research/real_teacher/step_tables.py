"""The page's part on steps that went wrong and on GPT-3's solutions: critics from scratch, by folds."""

from collections.abc import Mapping
from typing import Any

from research.drawing.markdown import Table
from research.real_teacher.folds import GENERATIVE, GSM8K, VALUE_HEAD
from research.real_teacher.results import PRIOR, SHORTER, Results
from weighted_mtp.reports.numbers import NOTHING, interval, listing, number, percent, points

TITLES = {"top1": "Top-1", "auc": "AUC"}


def value(told: Mapping[str, Any]) -> str:
    """A number with its interval."""
    low, high = told["low"], told["high"]
    return number(told["mean"]) if low is None else f"{number(told['mean'])} [{number(low)}, {number(high)}]"


def mistakes_text(results: Results) -> str:
    """What learned from what, and who is asked."""
    told = results["mistakes"]
    if not told:
        return ""
    b = told[0]["budget"]
    return (
        "Critics of fewer than half a million parameters, from scratch, learn from outcomes alone (answer equals "
        "target), "
        f"task by task: {b['folds']} folds of the problems, each read by models that never saw it (nor, of brackets, "
        "a renaming). Each critic, and a "
        f"plain language model beside them, reads {b['tokens']:,} tokens while it is trained. Judged are "
        f"{sum(t['judged'] for t in told):,} wrong traces with a marked step, of {sum(t['rows'] for t in told):,} "
        "traces. "
        "Intervals are 95 % bootstraps over traces. A step is read by what its tokens move together (sum), which by "
        "Bayes' rule is how far it moves the log-odds, and by its worst token; those of a value head are TD errors. "
        f"*{PRIOR}* reads the marks of the other folds, which no critic sees."
    )


def readings_table(results: Results, metric: str) -> Table:
    """What each reading finds, task by task."""
    told = results["mistakes"]
    names = list(told[0]["readings"]) if told else []
    rows = [(name, *(value(task["readings"][name][metric]) for task in told)) for name in names]
    says = {
        "top1": "Top-1: share of the wrong traces whose worst-looking step is the marked one; equal ones share a hit.",
        "auc": "AUC: share of a trace's other steps that look less bad than the marked one, ties half, mean over "
        "traces.",
    }
    return Table(("Reading", *(task["task"].replace("_", " ") for task in told)), tuple(rows), says[metric])


def compared_table(results: Results) -> Table:
    """The critics against surprisal and position."""
    tasks = list(dict.fromkeys(r["task"] for r in results["compared"]))
    by: dict[tuple[str, str, str], list[str]] = {}
    for r in results["compared"]:
        d, sign = r["difference"], {"better": " **+**", "worse": " **-**"}.get(r["verdict"], "")
        told = f"{points(d['mean'])} ({interval(d['low'], d['high'])}){sign}"
        by.setdefault((TITLES[r["metric"]], r["critic"], r["other"]), []).append(told)
    return Table(
        ("Difference", *(task.replace("_", " ") for task in tasks)),
        tuple((f"{metric}: {critic} minus {other}", *told) for (metric, critic, other), told in by.items()),
        "Points, paired by trace, with 95 % intervals; marked + or - where the paired t test decides it, corrected by "
        f"Holm over the {len(results['compared']) // len(TITLES)} comparisons of a metric.",
    )


def tasks_table(results: Results) -> Table:
    """The tasks, and what is known of their outcomes."""
    rows = [
        (
            t["task"].replace("_", " "),
            f"{t['rows']} of {t['all_rows']}",
            percent(t["right"] / t["rows"]),
            str(t["judged"]),
            *(number(t["outcome_auc"][kind]) for kind in (GENERATIVE, VALUE_HEAD, SHORTER)),
            f"{t['cpu_seconds']:.0f}",
        )
        for t in results["mistakes"]
    ]
    return Table(
        (
            "Task",
            "traces",
            "right, %",
            "judged",
            "outcome AUC, generative",
            "value head",
            "the shorter is right",
            "CPU s",
        ),
        tuple(rows),
        "The tasks, and how well the critics, and length alone, tell right from wrong traces out of fold.",
    )


def published(results: Results) -> str:
    """What the paper asks, beside what is asked here."""
    if not results["mistakes"]:
        return ""
    return (
        "Beside the paper (Tyen et al. 2023, [arXiv 2311.08516](https://arxiv.org/abs/2311.08516)): it asks "
        "GPT-4-Turbo, "
        "GPT-4 and GPT-3.5-Turbo by 3-shot prompts, over right and wrong traces, and counts a hit where the step is "
        "named "
        "exactly or *no mistake* is said rightly; it finds that they generally struggle. Its table by task could not "
        "be "
        "read where this page was made, so none of its figures stand here. Top-1 above is told that the trace is "
        "wrong, "
        "which makes it an easier question. By the data's own README most Dyck traces were marked by a script, and the "
        "four other tasks by people."
    )


def gsm8k_text(results: Results) -> str:
    """Whose solutions, and by whom they are judged."""
    if GSM8K not in results:
        return ""
    told = results[GSM8K]
    b = told["budget"]
    shares = listing([f"{name.replace('_', ' ')} {percent(x)} %" for name, x in told["share_of_writers"].items()])
    return (
        f"{told['rows']:,} solutions of {told['problems']:,} problems, four of each, by GPT-3 of 6 B and 175 B: "
        f"{percent(told['share_right'])} % right ({shares}). The critics are small models from scratch, "
        f"{b['folds']} folds of problems, {b['tokens']:,} tokens each: they cannot calculate, and what they know is "
        "how "
        "right solutions look."
    )


def gsm8k_table(results: Results) -> Table:
    """Who orders the solutions of a problem."""
    scores = results[GSM8K]["scores"] if GSM8K in results else {}
    rows = [(n, value(s["auc"]), value(s["explained"]), s.get("verdict", NOTHING)) for n, s in scores.items()]
    return Table(
        ("Score", "AUC within problems", "explained", "verdict"),
        tuple(rows),
        "Over pairs of a right and a wrong solution of one problem, intervals over problems. *Who wrote it* ranks by "
        "the "
        "share right of the four writers, which no critic is told.",
    )
