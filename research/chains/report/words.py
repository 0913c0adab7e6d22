"""What stands around the tables of the study: the claim, whichever way the numbers came out, and notes."""

from collections.abc import Sequence
from typing import get_args

from research.chains.report.aim import ARM, CEILING, RIVAL
from research.chains.report.numbers import (
    AXES,
    MAIN,
    TIE,
    Outcome,
    Results,
    comparison,
    critic_mean,
    mean_over_draws,
    pairs_along,
)
from research.chains.report.tables import setting_names
from research.chains.study_arms import MORE_STEPS, TD_BCE
from weighted_mtp.demo.arms import GATED, LOG_ODDS, TD_WHITENED
from weighted_mtp.demo.page.content import BASELINE
from weighted_mtp.reports.numbers import PERCENT, draws, listing, percent, points, span

_NOTES = {
    CEILING: f"{CEILING} is told which tokens are wrong: a ceiling, not a method.",
    "label_conditioned": "label_conditioned decodes the generative critic itself, asked for a right completion; no"
    " other model is trained.",
    "implicit": "implicit: partial sums of log-ratios are a proxy for the chance of success; only the sum over a"
    " whole completion was trained to be one.",
    "shuffled": "shuffled permutes weights within a completion, so it still tells right completions from wrong ones:"
    " a weaker control than the others.",
    "guided": "guided decodes the generative critic by log p_right + (log p_right - log p_wrong); nothing is trained.",
    "gated": "gated mixes log_odds and right_only by the critic's skill on folds of the training prompts, three times"
    " the critic's steps that log_odds spends.",
    "gated_by_quarter": "gated_by_quarter gives the quarters of a completion the skill of gated in proportion to what"
    " the credit of each explains of the outcome by itself; credit is whitened over all rows, not as training goes.",
    RIVAL: f"{RIVAL} trains on fewer rows, so its batches are drawn from those; steps and batch size are equal.",
}


def lead(results: Results) -> str:
    """What was run, in one paragraph."""
    share, number = (setting_names(results, axis).get(MAIN) for axis in AXES)
    made = f"{number} completions" if number else "completions"
    right = f": in the main setting {share} are right" if share else ""
    steps = mean_over_draws(results, BASELINE, "steps")
    same = f"the same {steps:,.0f} steps where no note says another number" if steps else "the same steps"
    return (
        f"A tiny language model learns chains of ten operations on digits from {made} of a teacher with"
        f" systematic errors. A program checked only the last digit{right}. Every arm has the same start,"
        f" the same unseen test prompts and {same}; {draws(results['meta']['draws'])}. Differences are paired by draw,"
        f" with Student's t intervals of 95{PERCENT}."
    )


def claim(results: Results) -> str:
    """A sentence each: log_odds and gated against training on the right completions only."""
    said = [sentence for arm in (ARM, GATED.name) if (sentence := _claim_of(arm, results))]
    return " ".join(said) or f"{ARM} and {RIVAL} were not both run."


def _claim_of(arm: str, results: Results) -> str:
    entries = pairs_along(results, "share_right").get((arm, RIVAL), [])
    names = setting_names(results, "share_right")
    parts: list[str] = []
    for found in get_args(Outcome):
        members = [entry for entry in entries if entry.verdict == found]
        if members:
            where = listing([names[entry.setting].removesuffix(PERCENT) for entry in members])
            parts.append(_against_rival(found, [entry.diff for entry in members], f"at {where}{PERCENT} right"))
    return f"{arm} {listing(parts)}." if parts else ""


def _against_rival(found: Outcome, differences: Sequence[float], where: str) -> str:
    if found == "wins":
        return f"beats {RIVAL} by {span(differences)} points {where}"
    if found == "loses":
        return f"loses to {RIVAL} by {span([-difference for difference in differences])} points {where}"
    low, high = points(min(differences)), points(max(differences))
    difference = f"{low if low == high else f'{low} to {high}'} points"
    if found == "ties":
        return f"ties with {RIVAL} {where} ({difference})"
    if found == "undecided":
        return f"is not told from {RIVAL} {where} ({difference})"
    return f"differs from {RIVAL} by {difference} {where} (a single draw, no interval)"


def spent(results: Results) -> str:
    """What equal steps cost, critics included, in the main setting; nothing where one of the three did not run."""
    critic = critic_mean(results, LOG_ODDS.name, "cpu_seconds")
    steps, log_odds, gated = (
        mean_over_draws(results, arm.name, "cpu_seconds") for arm in (MORE_STEPS, LOG_ODDS, GATED)
    )
    if critic is None or steps is None or log_odds is None or gated is None:
        return ""
    share = setting_names(results, "share_right").get(MAIN, "")
    return (
        f"{MORE_STEPS.name} has as many steps as {LOG_ODDS.name} and its critic together, not as much compute: at"
        f" {share} right it takes {steps:.0f} CPU seconds, {LOG_ODDS.name} with its critic {log_odds + critic:.0f},"
        f" {GATED.name} with its critic and the folds of its skill {gated + critic:.0f}, mean over draws."
    )


def _value_heads(results: Results) -> list[str]:
    """What a value head trained by cross-entropy is worth beside one of squared errors, by the corrected test."""
    found = comparison(results, MAIN, TD_BCE.name, TD_WHITENED.name)
    if found is None:
        return []
    low, high = points(found.low), points(found.high)
    verdict = {"wins": "decidedly better", "loses": "decidedly worse", "ties": "a tie"}.get(
        found.verdict, found.verdict
    )
    told = f"{points(found.diff)} points [{low}, {high}]"
    return [
        f"{TD_BCE.name} is {TD_WHITENED.name} with the value head of value_bce, which cross-entropy trains, in place of"
        f" squared errors: {told}, {verdict} after correction."
    ]


def notes(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    setting = results["meta"]["settings"].get(MAIN, {})
    kept = setting.get("right_with_error")
    ran = {entry["arm"] for entry in results["arms"]}
    sentences = [sentence for arm, sentence in _NOTES.items() if arm in ran] + _value_heads(results)
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
        "wins and loses: the paired t test decides after Holm's correction, over all settings of log_odds and gated"
        " against right_only, and over all other comparisons together. ties: the interval lies within"
        f" {100 * TIE:.0f} points. All else is undecided; intervals themselves are not widened. The five shares share"
        " their draws' prompts, and the rows of one hold those of another.",
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
