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
    families,
    left_undecided,
    localisation,
    localisation_pairs,
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
        " difference excludes 0, and is undecided where it does not."
    )


def claim(results: Results) -> str:
    """One sentence, by AUC: which critics beat surprisal, and which add to all that is known without them."""
    found, names = localisation(results), critics(results)
    if not names:
        return "No critic is finished."
    alone = _winners(found, names, "", SURPRISAL)
    beside = _winners(found, names, BESIDE[UNTRAINED_ALL], UNTRAINED_ALL)
    bar, together = (_value(found, name) for name in (SURPRISAL, UNTRAINED_ALL))
    told = (
        f"Alone, {_who(alone, 'beat')} surprisal (AUC {bar}) at finding the first wrong token; beside surprisal,"
        f" entropy and position (AUC {together} together), {_who(beside, 'improve')} the fit."
    )
    return f"{told} {_corrected(results)}" if alone or beside else told


def _corrected(results: Results) -> str:
    """What remains of the claim after Holm's correction over all differences of AUC in its table."""
    every = differences(localisation(results), localisation_pairs(results), (AUC,))
    pairs = [(name, SURPRISAL) for name in critics(results)]
    pairs += [(name + BESIDE[UNTRAINED_ALL], UNTRAINED_ALL) for name in critics(results)]
    fallen = [d.first for d in left_undecided(every) if (d.first, d.second) in pairs and d.verdict == "wins"]
    leaves = f"{listing(fallen)} undecided" if fallen else "all of it standing"
    return f"That is not corrected for the {len(every)} differences of AUC: Holm's correction leaves {leaves}."


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
        "Every interval stands for itself, and so does what is said of it: none is widened for the number of"
        f" comparisons. {_fallen(results)}",
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


def _fallen(results: Results) -> str:
    """Whose interval excludes 0 though the correction leaves it undecided, metric by metric."""
    fallen = [
        f"{d.first} against {d.second} ({name}, p {p:.3f})"
        for name, found in families(results).items()
        for d, p in left_undecided(found).items()
    ]
    return (
        "Holm's correction over the differences of a metric in a table, with p values from the widths of the intervals"
        f" as of normal distributions, leaves {'; '.join(fallen) if fallen else 'nothing of it'} undecided."
    )
