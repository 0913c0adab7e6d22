"""What stands around the tables of real code: the claim, whichever way the numbers came out, and notes."""

from collections.abc import Sequence

from research.real_code.report.measures import AUC
from research.real_code.report.numbers import (
    BESIDE,
    SURPRISAL,
    UNTRAINED_ALL,
    Entries,
    Results,
    calibration,
    critics,
    differences,
    estimate,
    localisation,
    students,
)
from weighted_mtp.reports.numbers import PERCENT, listing


def lead(results: Results) -> str:
    """What was measured on what, in one paragraph; empty where the rows are not described."""
    counted = results.get("data", {}).get("sources", {})
    if not counted:
        return ""
    tasks, right, wrong = (sum(entry[key] for entry in counted.values()) for key in ("tasks", "right", "wrong"))
    folds = len(results["data"].get("folds", []))
    return (
        f"{tasks:,} tasks ({listing(list(counted))}), {right:,} right and {wrong:,} wrong completions, {folds} folds by"
        " task: every completion is judged by models that did not see its task. Intervals are of 95"
        f"{PERCENT} and resample tasks, differences are paired: a method wins or loses where the interval of its"
        " difference excludes 0, and ties where it does not."
    )


def claim(results: Results) -> str:
    """One sentence, by AUC: which critics beat surprisal, and which add to all that is known without them."""
    found, names = localisation(results), critics(results)
    if not names:
        return "No critic is finished."
    alone = _winners(found, names, "", SURPRISAL)
    beside = _winners(found, names, BESIDE[UNTRAINED_ALL], UNTRAINED_ALL)
    bar, together = (_value(found, name) for name in (SURPRISAL, UNTRAINED_ALL))
    return (
        f"Alone, {_who(alone, 'beat')} surprisal (AUC {bar}) at finding the first wrong token; beside surprisal,"
        f" entropy and position (AUC {together} together), {_who(beside, 'improve')} the fit."
    )


def _who(named: Sequence[str], verb: str) -> str:
    """`no critic beats`, `a (+0.012) beats`, `a (+0.012) and b (+0.034) beat`."""
    return f"{listing(named) if named else 'no critic'} {verb if len(named) > 1 else f'{verb}s'}"


def _winners(found: Entries, names: Sequence[str], suffix: str, bar: str) -> list[str]:
    compared = differences(found, [(name + suffix, bar) for name in names], (AUC,))
    won = [entry for entry in compared if entry.verdict == "wins"]
    return [f"{entry.first.removesuffix(suffix)} ({AUC.difference(entry.estimate.mean)})" for entry in won]


def notes(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    sentences = [
        "Every interval stands for itself: none is widened for the number of comparisons.",
        "Intervals resample tasks and hold the trained models fixed: each was trained once a fold, and what"
        " another seed would change is not in them.",
    ]
    if calibration(results):
        sentences.append("A small calibration error is not knowledge: whoever always says the base rate has none.")
    if any("pass1" in entry for entry in students(results).values()):
        sentences.append("pass@1 is over the tasks that students were asked to solve, one greedy completion each.")
    return sentences


def _value(entries: Entries, name: str) -> str:
    found = estimate(entries, name, AUC)
    return "unknown" if found is None else AUC.value(found.mean)
