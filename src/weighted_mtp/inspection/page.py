"""The page of runs: side by side, their curves, how reliable their values are, and what they make of tokens."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from weighted_mtp.files import write_text
from weighted_mtp.inspection.content import InspectedRun, RunPage
from weighted_mtp.inspection.figures import LOOKS, cross_entropies, curves_figure, metrics_shown, reliability_figure
from weighted_mtp.reports.layout import document, picture, section, text_table, tokens_section
from weighted_mtp.reports.numbers import NOTHING, number

_ALIGNED = (
    "They are about the token itself: the value is the chance of success before it is read; a loss, in nats, is what a"
    " head lost on it, head k from k tokens further back."
)
_FINAL = {  # shown below the losses, with its name; of training and of evaluation, if not said
    "value_loss": "value loss",
    "value_explained_variance": "explained variance",
    "outcome_auc": "AUC of the outcome",
    "train/weight_mean": "mean weight",
    "train/weight_std": "spread of weights",
    "train/weight_entropy": "entropy of weights",
    "train/weight_clip_fraction": "share of them clipped",
}
_LONG = 34  # characters of a setting
_FIT_A_PHONE = 3  # runs; more are scrolled sideways within their table


def write_run_page(path: str | Path, page: RunPage) -> Path:
    """Write `page` as one HTML file: styles, script and figures inline, equal input giving equal bytes."""
    write_text(path, render_run_page(page))
    return Path(path)


def render_run_page(page: RunPage) -> str:
    """The page as text; see `write_run_page`."""
    sections = (
        _side_by_side(page.runs),
        _curves(page.runs),
        _reliability(page.runs),
        tokens_section(page.examples, "run", _ALIGNED) if page.examples else "",
    )
    return document(page, sections)


def _side_by_side(runs: Sequence[InspectedRun]) -> str:
    if not runs:
        return ""
    headings = ("", *(run.name for run in runs))
    tables = [("What was trained.", identity_rows(runs))]
    tables += [("Where it ended: the last log entry, and below it the last evaluation.", final_rows(runs))]
    tables += [("Settings in which the runs differ.", differing_settings(runs))]
    body = "".join(text_table(headings, rows, caption) for caption, rows in tables if rows)
    scrolls = ' tabindex="0" role="region" aria-label="Runs side by side"' if len(runs) > _FIT_A_PHONE else ""
    return section("runs", "Side by side", f'<div class="sheet"{scrolls}>{body}</div>')


def identity_rows(runs: Sequence[InspectedRun]) -> list[tuple[str, ...]]:
    """What each run is: a row a property, a cell a run; what its critic knows comes first."""
    known = [(run.quality and run.quality.verdict) or NOTHING for run in runs]
    return [
        *([("what its critic knows", *known)] if any(k != NOTHING for k in known) else []),
        ("stage", *(run.stage for run in runs)),
        ("scheme", *(run.scheme for run in runs)),
        ("starts from", *(run.start for run in runs)),
        ("parameters", *(f"{run.parameters / 1e6:,.3g} M" for run in runs)),
        ("prediction heads", *(str(run.heads) for run in runs)),
        ("optimizer steps", *(NOTHING if run.steps is None else f"{run.steps:,}" for run in runs)),
    ]


def final_rows(runs: Sequence[InspectedRun]) -> list[tuple[str, ...]]:
    """The last entry of each metric that any run has: training, and below it evaluation."""
    rows: list[tuple[str, ...]] = []
    for key, words in (("loss", "loss"), *cross_entropies(runs).items(), *_FINAL.items()):
        cells = [_last(run, key) for run in runs]
        if any(cell != NOTHING for cell in cells):
            rows.append((words, *cells))
    return rows


def differing_settings(runs: Sequence[InspectedRun]) -> list[tuple[str, ...]]:
    """The settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [(name, *(shorten_setting(run.settings.get(name)) for run in runs)) for name in names]
    return [
        row
        for row, name in zip(rows, names, strict=True)
        if any(run.settings.get(name) != runs[0].settings.get(name) for run in runs)
    ]


def shorten_setting(value: Any) -> str:
    """A setting in few characters: six digits of a number, JSON of a dictionary, the end of a long path.

    >>> shorten_setting(3 * 1e-4), shorten_setting({"beta": 0.3}), shorten_setting("a/" * 30 + "runs/critic")
    ('0.0003', '{"beta": 0.3}', '…/runs/critic')
    """
    if value is None or value in ("", {}, []):
        return NOTHING
    if isinstance(value, float):
        return f"{value:g}"
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    if len(text) > _LONG and text.count("/") > 1:
        return "\N{HORIZONTAL ELLIPSIS}/" + "/".join(text.split("/")[-2:])
    return text


def _last(run: InspectedRun, key: str) -> str:
    if "/" in key:
        return _final(run, key)
    trained, evaluated = _final(run, f"train/{key}"), _final(run, f"eval/{key}")
    if evaluated == NOTHING:
        return trained
    return f"{trained}\n{evaluated} eval"


def _final(run: InspectedRun, key: str) -> str:
    return number(run.record[key].values[-1]) if key in run.record else NOTHING


def _curves(runs: Sequence[InspectedRun]) -> str:
    if not metrics_shown(runs):
        return ""
    silent = [run.name for run in runs if not run.record]
    caption = "Solid: training, over the steps between two log entries; dashed: evaluation. Losses in nats."
    if silent:
        caption += f" No record was found of {', '.join(silent)}."
    shown = picture(
        "run-curves",
        lambda wide: curves_figure(runs, wide=wide),
        "Metrics by optimizer step, one panel per metric, one line per run; the tables above have the last entries.",
        escape(caption),
    )
    return section("run-curves", "Curves", _key(runs) + shown)


def _key(runs: Sequence[InspectedRun]) -> str:
    entries = ""
    for index, run in enumerate(runs):
        color, _, mark = LOOKS[index % len(LOOKS)]
        entries += f'<li><i style="color: var(--{color})" aria-hidden="true">{mark}</i> {escape(run.name)}</li>'
    return f'<ul class="key" aria-label="Runs">{entries}</ul>'


def _reliability(runs: Sequence[InspectedRun]) -> str:
    judged = [(run.name, run.quality) for run in runs if run.quality is not None]
    if not judged:
        return ""
    shown = picture(
        "run-reliability",
        lambda wide: reliability_figure(judged, wide=wide),
        "Reliability: rate of success by the value, a row a run; the table below has the numbers.",
        "How often a completion succeeded, in percent, by the value of its prefixes; larger dots hold more of"
        " them. On the dashed line values are true chances; ECE is the mean distance from it.",
    )
    rows = [
        (
            f"{name}\n{quality.rows:,} {quality.source}, {quality.values:,} prefixes",
            *map(number, (quality.reliability[0].ece, quality.explained_variance)),
            *map(number, (quality.outcome_auc, quality.error_auc)),
        )
        for name, quality in judged
    ]
    headings = ("run", "ECE", "explained variance", "AUC of outcome", "AUC of wrong token")
    caption = "The values as predictions of the outcome, and the credit as a finder of the first wrong token."
    return section("run-reliability", "Are the values probabilities?", shown + text_table(headings, rows, caption))
