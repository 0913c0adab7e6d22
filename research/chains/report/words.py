"""The study in sentences, made from its numbers, whichever way they came out."""

from collections.abc import Sequence

from research.chains.report.aim import ARM, BEHIND, CEILING, OVER, RIVAL, aims
from research.chains.report.numbers import (
    AXES,
    BASELINE,
    MAIN,
    Axis,
    Comparison,
    Results,
    Verdict,
    mean_over_draws,
    pairs_along,
    summary_rows,
    verdict,
)
from research.chains.report.tables import setting_names
from weighted_mtp.demo.page.arms import role_of
from weighted_mtp.demo.page.content import CONTROLS
from weighted_mtp.reports.numbers import PERCENT, draws, listing, percent, span, span_of_points, with_margin

_SAID: dict[Verdict, str] = {
    "wins": "wins",
    "ties": "ties",
    "loses": "loses",
    "single draw": "is undecided by a single draw",
}
_NOTES = {
    CEILING: f"{CEILING} is told which tokens are wrong: a ceiling, not a method.",
    "label_conditioned": "label_conditioned decodes the generative critic itself, asked for a right completion; no"
    " other model is trained.",
    "implicit": "implicit: partial sums of log-ratios are a proxy for the chance of success; only the sum over a"
    " whole completion was trained to be one.",
    "shuffled": "shuffled permutes weights within a completion, so it still tells right completions from wrong ones:"
    " a weaker control than the others.",
    RIVAL: f"{RIVAL} trains on fewer rows, so its batches are drawn from those; steps and batch size are equal.",
}


def lead(results: Results) -> str:
    """What was run, in one paragraph."""
    share, number = (setting_names(results, axis).get(MAIN) for axis in AXES)
    made = f"{number} completions" if number else "completions"
    right = f": in the main setting {share} are right" if share else ""
    steps = mean_over_draws(results, BASELINE, "steps")
    same = f"the same {steps:,.0f} steps" if steps else "the same steps"
    return (
        f"A tiny language model learns chains of ten operations on digits from {made} of a teacher with"
        f" systematic errors. A program checked only the last digit{right}. Every arm has the same start, {same}"
        f" and the same unseen test prompts; {draws(results['meta']['draws'])}. Differences are paired by draw,"
        f" with Student's t intervals of 95{PERCENT}."
    )


def claim(results: Results) -> str:
    """One sentence: log_odds against training on the right completions only."""
    entries = pairs_along(results, "share_right").get((ARM, RIVAL), [])
    if not entries:
        return f"{ARM} and {RIVAL} were not both run."
    parts = [
        _against_rival(found, [entry.diff for entry in members], _where(results, "share_right", members))
        for found, members in _by_verdict(entries).items()
    ]
    return f"{ARM} {listing(parts)}."


def _against_rival(found: Verdict, differences: Sequence[float], where: str) -> str:
    if found == "wins":
        return f"beats {RIVAL} by {span(differences)} points {where}"
    if found == "loses":
        return f"loses to {RIVAL} by {span([-difference for difference in differences])} points {where}"
    difference = f"{span_of_points(differences)} points"
    if found == "ties":
        return f"ties with {RIVAL} {where} ({difference}, 0 within the interval)"
    return f"differs from {RIVAL} by {difference} {where} (a single draw, no interval)"


def aim_sentences(results: Results) -> list[str]:
    """What was aimed at, and where it is met and where not."""
    asked = [aim for aim in aims(results) if aim.asked]
    if not asked:
        return []
    names = setting_names(results, "share_right")
    met = [aim.over for aim in asked if not aim.missed]
    return [
        f"The aim, where few completions are right: {ARM} at least {100 * OVER:.0f} points over {RIVAL}, with an"
        f" interval that excludes 0, and at most {100 * BEHIND:.0f} points below the {CEILING}.",
        *([f"It is met {_where(results, 'share_right', met)}."] if met else []),
        *(f"It is missed at {names[aim.setting]} right: {listing(aim.missed)}." for aim in asked if aim.missed),
    ]


def ceiling_sentences(results: Results) -> list[str]:
    """How log_odds fares against the oracle."""
    entries = pairs_along(results, "share_right").get((ARM, CEILING), [])
    if not entries:
        return []
    outcomes = _outcomes(results, "share_right", entries)
    return [f"{ARM} against the {CEILING}, which drops the truly wrong tokens: {outcomes}."]


def findings(results: Results) -> list[str]:
    """Two sentences a pair of arms: where the first wins, ties and loses, along each line."""
    by_share, by_number = (pairs_along(results, axis) for axis in ("share_right", "n_traces"))
    sentences: list[str] = []
    for pair, entries in by_share.items():
        words = f"{pair[0]} against {pair[1]}: {_outcomes(results, 'share_right', entries)}."
        numbers = by_number.get(pair, [])
        if len(numbers) > 1:
            words += f" By number: {_outcomes(results, 'n_traces', numbers)}."
        sentences.append(words)
    return sentences


def control_sentences(results: Results) -> list[str]:
    """Whether a control, whose weights carry no information, gained all the same."""
    controls = [
        f"{row['arm']} {_SAID[verdict(row['low'], row['high'])]} ({with_margin(row['diff'], row['low'], row['high'])})"
        for row in summary_rows(results, MAIN, several_heads=False)
        if role_of(row["arm"], BASELINE, CONTROLS) == "control" and row["diff"] is not None
    ]
    return [f"Controls against {BASELINE} in the main setting: {listing(controls)}."] if controls else []


def notes(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    setting = results["meta"]["settings"].get(MAIN, {})
    kept = setting.get("right_with_error")
    ran = {entry["arm"] for entry in results["arms"]}
    sentences = [sentence for arm, sentence in _NOTES.items() if arm in ran]
    if kept is not None:
        sentences.append(
            f"{percent(kept)}{PERCENT} of the right completions of the main setting hold an error that a later one"
            " cancels; training on right completions learns from those too."
        )
    if results["meta"].get("preset") == "quick":
        sentences.append("This is the quick preset: few arms and few draws. It shows that the study runs.")
    if results["meta"]["draws"] == 1:
        sentences.append("A single draw: no interval, and so no verdict.")
    return [
        *sentences,
        *results["meta"].get("notes", ()),
        "Every interval stands for itself: none is widened for the number of comparisons.",
        "One made task whose teacher errs systematically: it shows that the method can work, not that it wins on"
        " your data.",
    ]


def facts(results: Results) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    meta = results["meta"]
    known = [(key, str(meta[key])) for key in ("date", "versions", "python", "machine", "preset") if key in meta]
    if "minutes" in meta:
        known.append(("training time", f"{meta['minutes']:.1f} minutes, added up over all trainings"))
    return known


def _outcomes(results: Results, axis: Axis, entries: Sequence[Comparison]) -> str:
    return ", ".join(
        f"{_SAID[found]} {_where(results, axis, members)} ({span_of_points([entry.diff for entry in members])} points)"
        for found, members in _by_verdict(entries).items()
    )


def _by_verdict(entries: Sequence[Comparison]) -> dict[Verdict, list[Comparison]]:
    grouped: dict[Verdict, list[Comparison]] = {}
    for found in _SAID:
        members = [entry for entry in entries if entry.verdict == found]
        if members:
            grouped[found] = members
    return grouped


def _where(results: Results, axis: Axis, entries: Sequence[Comparison]) -> str:
    """`at 5, 15 and 24 % right`, `with 1,000 and 8,000 completions`."""
    names = setting_names(results, axis)
    if axis == "n_traces":
        return f"with {listing([names[entry.setting] for entry in entries])} completions"
    return f"at {listing([names[entry.setting].removesuffix(PERCENT) for entry in entries])}{PERCENT} right"
