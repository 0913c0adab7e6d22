"""What the experiment on real code found in sentences, made from its numbers, whichever way they came out."""

from collections.abc import Iterable, Sequence

from research.real_code.report.measures import AUC, LOCALISATION, OUTCOME, STUDENTS, TOP1, Measure, Verdict
from research.real_code.report.numbers import (
    BESIDE,
    OUTCOME_ALL,
    SURPRISAL,
    UNTRAINED_ALL,
    Difference,
    Entries,
    Results,
    calibration,
    critics,
    differences,
    estimate,
    localisation,
    outcome,
    student_pairs,
    students,
)
from weighted_mtp.reports.numbers import PERCENT, listing

_VERBS: dict[Verdict, tuple[str, str]] = {  # of one, of several
    "wins": ("wins", "win"),
    "ties": ("ties", "tie"),
    "loses": ("loses", "lose"),
    "no interval": ("has no interval", "have no interval"),
}
_ON: dict[Verdict, str] = {
    "wins": "wins on",
    "loses": "loses on",
    "ties": "ties on",
    "lower": "has a lower loss on",
    "higher": "has a higher loss on",
    "no interval": "has no interval on",
}
_TOGETHER = {SURPRISAL: "surprisal", UNTRAINED_ALL: "surprisal, entropy and position"}


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
    bar, together = (_value(found, name, AUC) for name in (SURPRISAL, UNTRAINED_ALL))
    return (
        f"Alone, {_who(alone, 'beat')} surprisal (AUC {bar}) at finding the first wrong token; beside surprisal,"
        f" entropy and position (AUC {together} together), {_who(beside, 'improve')} the fit."
    )


def _who(named: Sequence[str], verb: str) -> str:
    """`no critic beats`, `a (+0.012) beats`, `a (+0.012) and b (+0.034) beat`."""
    return f"{listing(named) if named else 'no critic'} {verb if len(named) > 1 else f'{verb}s'}"


def _winners(found: Entries, names: Sequence[str], suffix: str, bar: str) -> list[str]:
    won = (entry for entry in _of_critics(found, names, suffix, bar, (AUC,)) if entry.verdict == "wins")
    return [f"{entry.first.removesuffix(suffix)} ({_difference(entry)})" for entry in won]


def localisation_sentences(results: Results) -> list[str]:
    """What the untrained model knows, and how critics fare against it, alone and beside it."""
    found, names = localisation(results), critics(results)
    known = [
        f"{words} an AUC of {_value(found, name, AUC)} and a top-1 of {_value(found, name, TOP1)}{PERCENT}"
        for name, words in ((SURPRISAL, "surprisal has"), (UNTRAINED_ALL, "a fit of surprisal, entropy and position"))
        if name in found
    ]
    sentences = [f"The untrained model: {', '.join(known)}."] if known else []
    for bar, words in _TOGETHER.items():
        sentences += _contest(f"Critics alone against {words}", _of_critics(found, names, "", bar, LOCALISATION), "")
    for bar, words in _TOGETHER.items():
        entries = _of_critics(found, names, BESIDE[bar], bar, LOCALISATION)
        sentences += _contest(f"Critics beside {words} against the fit without them", entries, BESIDE[bar])
    return sentences


def outcome_sentences(results: Results) -> list[str]:
    """Who tells right from wrong, and how far chances can be believed."""
    found, names, suffix = outcome(results), critics(results), f" + {OUTCOME_ALL}"
    sentences: list[str] = []
    if OUTCOME_ALL in found:
        over_all, within = (_value(found, OUTCOME_ALL, measure) for measure in OUTCOME)
        sentences.append(
            f"A fit of mean surprisal and length has an AUC of {over_all} over all pairs of a right and a wrong"
            f" completion, and of {within} within tasks."
        )
    alone, beside = (_of_critics(found, names, behind, OUTCOME_ALL, OUTCOME) for behind in ("", suffix))
    sentences += _contest("Critics alone against that fit", alone, "")
    sentences += _contest("Critics beside surprisal and length against that fit", beside, suffix)
    errors = sorted((calibration(results)[name]["ece"], name) for name in names if name in calibration(results))
    if errors:
        said = [f"{name} {error:.3f}" for error, name in errors]
        sentences.append(f"Expected calibration error of what critics say at the end: {', '.join(said)}.")
    return sentences


def student_sentences(results: Results) -> list[str]:
    """A sentence a pair of students: on what the first wins, ties and loses."""
    sentences: list[str] = []
    for first, second in student_pairs(results):
        entries = differences(students(results), [(first, second)], STUDENTS)
        parts = [
            f"{_ON[found]} {listing([f'{entry.measure.name} ({_difference(entry)})' for entry in members])}"
            for found, members in _by_verdict(entries).items()
        ]
        if parts:
            sentences.append(f"{first} against {second}: {', '.join(parts)}.")
    return sentences


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


def _of_critics(
    found: Entries, names: Iterable[str], suffix: str, bar: str, measures: Sequence[Measure]
) -> list[Difference]:
    return differences(found, [(name + suffix, bar) for name in names], measures)


def _contest(what: str, entries: Sequence[Difference], suffix: str) -> list[str]:
    """`Critics alone against surprisal, by AUC: a wins (+0.012), b and c lose (−0.358 to −0.339); by top-1: ...`."""
    by_measure: dict[Measure, list[Difference]] = {}
    for entry in entries:
        by_measure.setdefault(entry.measure, []).append(entry)
    parts = [f"by {measure.name}: {_fare(members, suffix)}" for measure, members in by_measure.items()]
    return [f"{what}, {'; '.join(parts)}."] if parts else []


def _fare(entries: Sequence[Difference], suffix: str) -> str:
    parts: list[str] = []
    for found, members in _by_verdict(entries).items():
        names = [entry.first.removesuffix(suffix) for entry in members]
        who = "all" if len(names) == len(entries) > 1 else listing(names)
        parts.append(f"{who} {_VERBS[found][len(names) > 1]} ({_span(members)})")
    return ", ".join(parts)


def _span(entries: Sequence[Difference]) -> str:
    ordered = sorted(entries, key=lambda entry: entry.estimate.mean)
    first, last = (entry.measure.difference(entry.estimate.mean) for entry in (ordered[0], ordered[-1]))
    return f"{first if first == last else f'{first} to {last}'} {entries[0].measure.difference_unit}".rstrip()


def _difference(entry: Difference) -> str:
    return f"{entry.measure.difference(entry.estimate.mean)} {entry.measure.difference_unit}".rstrip()


def _by_verdict(entries: Sequence[Difference]) -> dict[Verdict, list[Difference]]:
    grouped: dict[Verdict, list[Difference]] = {}
    for found in _ON:
        members = [entry for entry in entries if entry.verdict == found]
        if members:
            grouped[found] = members
    return grouped


def _value(entries: Entries, name: str, measure: Measure) -> str:
    found = estimate(entries, name, measure)
    return "unknown" if found is None else measure.value(found.mean)
