"""The tables of the study as text, for the page and the document alike."""

from research.chains.report.aim import ARM, BEHIND, CEILING, OVER, RIVAL, Aim, aims, reached
from research.chains.report.numbers import (
    AXES,
    MAIN,
    Axis,
    Comparison,
    Results,
    arms_in,
    comparison,
    comparisons,
    critic_mean,
    critics,
    mean_accuracy,
    mean_over_draws,
    pairs_along,
    settings_along,
    summary_rows,
)
from research.drawing.markdown import Table
from weighted_mtp.demo.arms import GATED
from weighted_mtp.demo.page.accuracy import accuracy_cells
from weighted_mtp.demo.page.content import BASELINE
from weighted_mtp.reports.numbers import MINUS, NOTHING, PERCENT, number, percent, points

_ALONG: dict[Axis, str] = {"share_right": "share of right completions", "n_traces": "number of completions"}
_MARGIN = "half of their paired 95 % t interval"
_REACHED = "met: the whole interval lies so; missed: none of it; else undecided."
_LOCALISATION = {
    "auc": "AUC",
    "position_only_auc": "AUC of its position alone",
    "auc_within_wrong": "AUC in wrong ones",
    "top1": "Top-1",
}
_CALIBRATION = {
    "outcome_auc": "AUC of the outcome",
    "ece": "ECE",
    "final_ece": "ECE at the end",
    "brier": "Brier score",
    "explained_variance": "Explained variance",
}


def setting_names(results: Results, axis: Axis) -> dict[str, str]:
    """Settings along `axis` -> `24 %` or `8,000`."""
    form = "{:.0%}" if axis == "share_right" else "{:,}"
    known = results["meta"]["settings"]
    names = {setting: form.format(known[setting][axis]) for setting in settings_along(results, axis)}
    return {setting: name.replace("%", PERCENT) for setting, name in names.items()}


def settings_table(results: Results) -> Table:
    """Every setting that ran: how many completions, how many are right, and right in spite of an error."""
    rows: list[tuple[str, ...]] = []
    run = {entry["setting"] for entry in results["arms"]}
    for name, setting in results["meta"]["settings"].items():
        if name in run:
            with_error = percent(setting.get("right_with_error"))
            counts = f"{setting['n_traces']:,}", f"{setting['per_prompt']:.1f}"
            rows.append((name, *counts, percent(setting["share_right"]), with_error))
    headings = ("Setting", "Completions", "a prompt", "Right, %", "Right ones with an error, %")
    return Table(headings, tuple(rows), "Settings of the made task; shares are means over draws.")


def main_table(results: Results, *, several_heads: bool) -> Table:
    """Every arm of the main setting: mean, spread and paired difference to its baseline."""
    shown = summary_rows(results, MAIN, several_heads=several_heads)
    baselines = list(dict.fromkeys(row.get("baseline", BASELINE) for row in shown))
    rows = tuple((row["arm"], *accuracy_cells(row)) for row in shown)
    return Table(
        ("Arm", "Mean, %", "Spread", "Draws", "Difference", "95 % interval"),
        rows,
        f"Accuracy over draws in percent; spread is the standard deviation; differences to {', '.join(baselines)} are"
        " paired by draw, in points.",
    )


def accuracy_by_setting(results: Results, axis: Axis) -> Table:
    """Mean accuracy of every arm that ran in several settings along `axis`."""
    names = setting_names(results, axis)
    rows: list[tuple[str, ...]] = []
    for arm in arms_in(results, list(names)):
        means = [mean_accuracy(results, setting, arm) for setting in names]
        if sum(mean is not None for mean in means) > 1 or len(names) == 1:
            rows.append((arm, *map(percent, means)))
    return Table(("Arm", *names.values()), tuple(rows), f"Accuracy in percent by {_ALONG[axis]}, mean over draws.")


def comparison_table(results: Results, axis: Axis) -> Table:
    """Paired differences with interval and verdict: a row a pair compared along `axis`, a column a setting."""
    names = setting_names(results, axis)
    rows: list[tuple[str, ...]] = []
    for (first, second), entries in pairs_along(results, axis).items():
        if len(entries) > 1 or len(names) == 1:
            by_setting = {entry.setting: in_words(entry) for entry in entries}
            rows.append((f"{first} {MINUS} {second}", *(by_setting.get(setting, NOTHING) for setting in names)))
    return Table(
        (f"First {MINUS} second", *names.values()),
        tuple(rows),
        f"Differences in points by {_ALONG[axis]}, with {_MARGIN}, and how the first fares.",
    )


def aim_table(results: Results) -> Table:
    """The aim, share by share."""
    names = setting_names(results, "share_right")
    rows = tuple(
        (
            names[aim.setting],
            percent(mean_accuracy(results, aim.setting, RIVAL)),
            percent(mean_accuracy(results, aim.setting, ARM)),
            in_words(aim.over),
            NOTHING if aim.behind is None else in_words(aim.behind),
            aim_in_words(aim),
        )
        for aim in aims(results)
    )
    headings = ("Right", f"{RIVAL}, %", f"{ARM}, %", f"To {RIVAL}", f"To the {CEILING}", "The aim")
    caption = (
        f"The aim, where few completions are right: {ARM} at least {100 * OVER:.0f} points over {RIVAL}, and at"
        f" most {100 * BEHIND:.0f} points below the {CEILING}; {_REACHED} Differences in points with {_MARGIN}."
    )
    return Table(headings, rows, caption)


def gated_table(results: Results) -> Table:
    """Is `gated` never worse than right_only, and as good as the better of right_only and log_odds? By setting."""
    rows: list[tuple[str, ...]] = []
    for axis in AXES:
        for setting, name in setting_names(results, axis).items():
            pairs = [comparison(results, setting, GATED.name, other) for other in (RIVAL, ARM)]
            found = [pair for pair in pairs if pair is not None]
            if len(found) == len(pairs) and (axis == AXES[0] or setting != MAIN):
                means = {arm: mean_accuracy(results, setting, arm) for arm in (RIVAL, ARM, GATED.name)}
                better = min(found, key=lambda pair: pair.diff)
                which = f"{name} {'right' if axis == AXES[0] else 'completions'}"
                rows.append((which, *map(percent, means.values()), *map(in_words, found), reached(better, -BEHIND)))
    headings = ("Setting", f"{RIVAL}, %", f"{ARM}, %", f"{GATED.name}, %", f"To {RIVAL}", f"To {ARM}", "The aim")
    caption = (
        f"The aim of the safe default: not worse than {RIVAL}, and within {100 * BEHIND:.0f} points of the better of"
        f" {RIVAL} and {ARM}, everywhere; {_REACHED}"
    )
    return Table(headings, tuple(rows), caption)


def aim_in_words(aim: Aim) -> str:
    """`met`, or of each of the two whether it is; or that neither was asked for."""
    if not aim.asked:
        return "not asked"
    over, beside = aim.parts
    return over if over == beside else f"over {RIVAL}: {over}\nbeside the {CEILING}: {beside}"


def heads_table(results: Results) -> Table:
    """Paired differences between arms with four heads."""
    pairs = [entry for entry in comparisons(results, MAIN) if entry.first.startswith("mtp_")]
    rows = tuple((f"{entry.first} {MINUS} {entry.second}", in_words(entry), str(entry.n)) for entry in pairs)
    caption = f"Differences in points with {_MARGIN}, and how the first fares."
    return Table((f"First {MINUS} second", "Difference", "Draws"), rows, caption)


def localisation_table(results: Results) -> Table:
    """How well each critic finds the wrong tokens, and what the position alone would give."""
    return _critics_table(
        results, _LOCALISATION, "Finding the first wrong token of fresh completions; mean over draws."
    )


def localisation_by_share(results: Results) -> Table:
    """AUC of every critic at finding the first wrong token, where it was measured in several settings."""
    names = setting_names(results, "share_right")
    rows: list[tuple[str, ...]] = []
    for critic in critics(results):
        means = [critic_mean(results, critic, "auc", setting) for setting in names]
        if sum(mean is not None for mean in means) > 1:
            rows.append((critic, *map(number, means)))
    caption = f"AUC of the first wrong token by {_ALONG['share_right']}, mean over draws."
    return Table(("Critic", *names.values()), tuple(rows), caption)


def calibration_table(results: Results) -> Table:
    """How well each critic foretells the outcome."""
    return _critics_table(results, _CALIBRATION, "Foretelling the outcome; mean over draws.")


def _critics_table(results: Results, measures: dict[str, str], caption: str) -> Table:
    """A row a critic; measures that no critic has are left out."""
    names = critics(results)
    means = {key: [critic_mean(results, name, key) for name in names] for key in measures}
    kept = [key for key in measures if any(mean is not None for mean in means[key])]
    rows = tuple((name, *(number(means[key][i]) for key in kept)) for i, name in enumerate(names))
    return Table(("Critic", *(measures[key] for key in kept)), rows, caption)


def cost_table(results: Results) -> Table:
    """What each arm, and each critic, took in the main setting."""
    rows: list[tuple[str, ...]] = []
    for arm in dict.fromkeys(entry["arm"] for entry in results["arms"] if entry["setting"] == MAIN):
        seconds, steps, trained = (mean_over_draws(results, arm, key) for key in ("cpu_seconds", "steps", "train_rows"))
        rows.append((arm, _count(seconds, 1), _count(steps), _count(trained)))
    for critic in critics(results):
        seconds = critic_mean(results, critic, "cpu_seconds")
        if seconds is not None:
            rows.append((f"critic {critic}", _count(seconds, 1), NOTHING, NOTHING))
    headings = ("Arm", "CPU seconds", "Steps", "Training rows")
    return Table(headings, tuple(rows), "Training each arm once, critics apart; mean over draws.")


def in_words(entry: Comparison) -> str:
    """`+31.4 ± 3.4`, the half width of the interval, where there is one, and the verdict."""
    margin = ""
    if entry.low is not None and entry.high is not None:
        margin = f" ±\N{NO-BREAK SPACE}{50 * (entry.high - entry.low):.1f}"
    return f"{points(entry.diff)}{margin}\n{entry.verdict}"


def _count(value: float | None, digits: int = 0) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"
