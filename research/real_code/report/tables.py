"""The tables of the experiment on real code as text."""

from collections.abc import Iterable, Sequence

from research.drawing.markdown import Table
from research.real_code.report.measures import AUC, LOCALISATION, OUTCOME, STUDENTS, Measure, capital
from research.real_code.report.numbers import (
    ALL,
    BESIDE,
    SURPRISAL,
    UNTRAINED_ALL,
    Cost,
    Difference,
    Entries,
    Results,
    bar_of,
    best_critic,
    calibration,
    costs,
    difference,
    estimate,
    localisation,
    localisation_pairs,
    outcome,
    outcome_pairs,
    sources,
    student_pairs,
    students,
    trained_while_judged,
)
from weighted_mtp.reports.numbers import NOTHING, listing

_INTERVALS = "with 95 % intervals over tasks"
_VERDICTS = (
    "first minus second, with paired 95 % intervals over tasks, and how the first fares: undecided where the"
    " interval, before rounding, contains 0"
)


def data_table(results: Results) -> Table:
    """Tasks and rows by source and by fold."""
    data = results.get("data", {})
    counted = dict(data.get("sources", {}))
    if len(counted) > 1:
        counted[ALL] = {key: sum(entry[key] for entry in counted.values()) for key in ("tasks", "right", "wrong")}
    counted |= {f"fold {number}": entry for number, entry in enumerate(data.get("folds", []))}
    rows = tuple((name, *(f"{entry[key]:,}" for key in ("tasks", "right", "wrong"))) for name, entry in counted.items())
    caption = "Tasks, each with right and wrong completions, by source and by the fold that tests them."
    closest = data.get("closest_across_folds")
    if closest is not None:
        caption += f" Closest pair of tasks in different parts of the split: containment {closest:.2f}."
    return Table(("Rows", "Tasks", "Right", "Wrong"), rows, caption)


def localisation_table(results: Results) -> Table:
    """How well every method finds the first wrong token."""
    return _values(
        "Method",
        localisation(results),
        LOCALISATION,
        f"Finding the first wrong token of wrong completions of unseen tasks, {_INTERVALS}; + is a logistic fit.",
    )


def localisation_differences_table(results: Results) -> Table:
    """Every method against what it has to beat."""
    return _differences(
        localisation(results), localisation_pairs(results), LOCALISATION, f"Finding the first wrong token: {_VERDICTS}."
    )


def localisation_by_source_table(results: Results) -> Table:
    """AUC and top-1 by source, and how each method fares; no rows where there is one source."""
    named = sources(results)
    rows: list[tuple[str, ...]] = []
    for method in localisation(results) if named else ():
        cells = (
            _with_verdict(localisation(results, source), method, bar_of(method), measure)
            for source in named
            for measure in LOCALISATION
        )
        rows.append((method, *cells))
    headings = [f"{source}: {measure.heading}" for source in named for measure in LOCALISATION]
    caption = (
        "Finding the first wrong token by source, and how a method fares by its paired interval: a critic beside all"
        " untrained signals against these, everything else against surprisal."
    )
    return Table(("Method", *headings), tuple(rows), caption)


def kinds_table(results: Results) -> Table:
    """AUC by kind of bug, of the untrained signals and of the critic that helps them most."""
    kinds, critic = results.get("kinds", {}), best_critic(results)
    if not kinds or critic is None:
        return Table((), (), "")
    methods = (SURPRISAL, UNTRAINED_ALL, critic, critic + BESIDE[UNTRAINED_ALL])
    rows = tuple(
        (
            kind.replace("_", " "),
            str(entry["completions"]),
            *(_with_verdict(entry["localisation"], name, bar_of(name), AUC) for name in methods),
        )
        for kind, entry in kinds.items()
    )
    caption = (
        "AUC at finding the first wrong token by kind of bug, and how a method fares by its paired interval:"
        f" {critic} beside all untrained signals against these, everything else against surprisal."
    )
    return Table(("Kind of bug", "Completions", *methods), rows, caption)


def outcome_table(results: Results) -> Table:
    """How well every method tells right from wrong completions, and how far it gives chances."""
    made = _values(
        "Method",
        outcome(results),
        OUTCOME,
        f"Telling right from wrong completions of unseen tasks, over all pairs and within tasks, {_INTERVALS};"
        " calibration of what is said after the whole completion.",
    )
    found = calibration(results)
    kept = {"ece": "ECE", "brier": "Brier score"} if found else {}
    rows = tuple(
        (*row, *(f"{found[row[0]][key]:.3f}" if row[0] in found else NOTHING for key in kept)) for row in made.rows
    )
    return Table((*made.headings, *kept.values()), rows, made.caption)


def outcome_differences_table(results: Results) -> Table:
    """Critics against what surprisal and length foretell without them."""
    return _differences(
        outcome(results), outcome_pairs(results), OUTCOME, f"Telling right from wrong completions: {_VERDICTS}."
    )


def students_table(results: Results) -> Table:
    """What every student learned."""
    return _values(
        "Student",
        students(results),
        STUDENTS,
        f"Students on unseen tasks, {_INTERVALS}: mean loss on the tokens of right completions, on the first wrong"
        " token and on the other tokens of wrong completions; loss of a bug's first token less that of the token that a"
        " right completion has in its place, after the same tokens; share of pairs in which the right completion has"
        " the smaller mean loss; share of tasks whose greedy completion passes.",
    )


def student_differences_table(results: Results) -> Table:
    """Students against controls."""
    return _differences(
        students(results),
        student_pairs(results),
        STUDENTS,
        f"Students on unseen tasks: {_VERDICTS}. To win is a lower loss on right completions, a higher one on first"
        " wrong tokens, also over the right tokens in their place; on other tokens neither is better.",
    )


def cost_table(results: Results) -> Table:
    """CPU minutes of every row, over its folds."""
    found = costs(results)
    if len(found) > 1:
        found["total"] = sum(found.values(), start=Cost(0, 0.0, 0.0))
    rows = tuple(
        (name, str(cost.folds), *map(minutes, (cost.train, cost.test, cost.train + cost.test)))
        for name, cost in found.items()
    )
    caption = "CPU minutes, added up over folds; testing is scoring, and for students decoding."
    uncounted = trained_while_judged(results)
    if uncounted:
        caption += f" Not counted: {listing(uncounted)}, trained while the results were judged."
    return Table(("Job", "Folds", "Training", "Testing", "Both"), rows, caption)


def minutes(seconds: float) -> str:
    """`41.7`."""
    return f"{seconds / 60:,.1f}"


def _values(first: str, entries: Entries, measures: Sequence[Measure], caption: str) -> Table:
    """A row a name; measures that nobody has are left out."""
    kept = [measure for measure in measures if any(measure.key in entry for entry in entries.values())]
    rows: list[tuple[str, ...]] = []
    for name in entries:
        found = [(measure, estimate(entries, name, measure)) for measure in kept]
        rows.append((name, *(NOTHING if x is None else m.value_with_interval(x) for m, x in found)))
    return Table((first, *(capital(measure.heading) for measure in kept)), tuple(rows), caption)


def _differences(
    entries: Entries, pairs: Iterable[tuple[str, str]], measures: Sequence[Measure], caption: str
) -> Table:
    """A row a pair that was compared; measures that nobody has are left out."""
    found = {pair: [difference(entries, *pair, measure) for measure in measures] for pair in pairs}
    found = {pair: cells for pair, cells in found.items() if any(cells)}
    kept = [i for i in range(len(measures)) if any(cells[i] for cells in found.values())]
    rows = tuple((first, second, *(_words(cells[i]) for i in kept)) for (first, second), cells in found.items())
    headings = (capital(measures[i].difference_heading) for i in kept)
    return Table(("First", "Second", *headings), rows, caption)


def _words(entry: Difference | None) -> str:
    if entry is None:
        return NOTHING
    return f"{entry.measure.difference_with_interval(entry.estimate)}\n{entry.verdict}"


def _with_verdict(entries: Entries, method: str, bar: str | None, measure: Measure) -> str:
    found = estimate(entries, method, measure)
    if found is None:
        return NOTHING
    compared = None if bar is None else difference(entries, method, bar, measure)
    return measure.value(found.mean) + ("" if compared is None else f"\n{compared.verdict}")
