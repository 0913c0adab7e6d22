"""improve.html: rounds side by side, what they cost, and examples of what changed."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weighted_mtp.evaluation.problems import Problems
from weighted_mtp.evaluation.results import provenance
from weighted_mtp.files import write_text
from weighted_mtp.improve import tables
from weighted_mtp.improve.account import SOLVED, RoundNumbers, best_round, changes, paired, shows_gain
from weighted_mtp.improve.plan import model_after, text_of
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.inspection.figures import LOOKS
from weighted_mtp.reports.layout import Page, document, picture, section, text_table
from weighted_mtp.reports.numbers import PERCENT, interval, percent, points
from weighted_mtp.reports.svg import COLORS, NARROW, WIDE, in_percent, new_figure, page_style, panel

_EXAMPLES = 4
"""Of each kind."""
_LONGEST = 1_500
"""Characters of a text that are shown."""


def write_improve_page(
    path: Path, config: ImproveConfig, rounds: Sequence[RoundNumbers], held_out: Problems, ended: str
) -> Path:
    """Writes the page from what the rounds left; `ended` says how it stands with them, in a sentence."""
    start, last = rounds[0], rounds[-1]
    shown = changes(start, last, _EXAMPLES) if last.number else []
    page = Page(
        title=f"Improving {Path(config.model).name}",
        lead=f"{claim(config, rounds)} {ended}",
        facts=[*provenance(), *_settings(config)],
    )
    sections = (
        section("rounds", "Rounds side by side", _figure(rounds) + _sheet(rounds, tables.results(rounds), _RESULTS)),
        section("samples", "What was learned from", _sheet(rounds, tables.samples(rounds), _SAMPLES))
        if last.number
        else "",
        section("costs", "What it cost", _sheet(rounds, tables.costs(rounds), _COSTS)),
        _examples(shown, held_out, last),
    )
    write_text(path, document(page, sections))
    return path


_RESULTS = (
    "On the held-out problems, with 95 % intervals: Wilson's of solved, bootstrap over problems of the others and of "
    "differences, which are paired by problem."
)
_SAMPLES = (
    "Share right: as the verifier found the samples. AUC: right against wrong by the critic's values, on completions "
    "of held-out problems by the model that wrote its rows; .5 is a guess."
)
_COSTS = "Tokens written (sample, evaluation) or read (about, in training), and minutes of the step's own process."


def claim(config: ImproveConfig, rounds: Sequence[RoundNumbers]) -> str:
    """From where to where, whether the interval says so, and which model to keep."""
    start, last = rounds[0].measured[SOLVED], rounds[-1].measured[SOLVED]
    if len(rounds) == 1:
        return f"The start model solves {percent(start.mean)}{PERCENT} of the held-out problems."
    gain = paired(rounds[-1].values[SOLVED], rounds[0].values[SOLVED])
    sure = "which shows a gain" if shows_gain(gain) else "which shows no gain"
    best = best_round(rounds)
    keep = (
        f"The model to keep: {model_after(config, best)}." if best else "No round shows a gain: keep the start model."
    )
    return (
        f"From {percent(start.mean)} to {percent(last.mean)}{PERCENT} of the held-out problems solved after "
        f"{len(rounds) - 1} round{'s' * (len(rounds) > 2)}: {points(gain.mean)} points "
        f"({interval(gain.low, gain.high)}), {sure}. {keep}"
    )


def print_rounds(console: Console, config: ImproveConfig, rounds: Sequence[RoundNumbers]) -> None:
    """The page's tables in the terminal."""
    table = Table(*tables.headings(rounds), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for rows in (tables.results(rounds), tables.samples(rounds), tables.costs(rounds)):
        for row in rows:
            table.add_row(*map(Text, row))
        table.add_section()
    console.print(table)
    console.print(claim(config, rounds), markup=False, highlight=False, soft_wrap=True)


def _sheet(rounds: Sequence[RoundNumbers], rows: tables.Rows, caption: str) -> str:
    wide = ' tabindex="0" role="region" aria-label="Rounds side by side"' if len(rounds) > 3 else ""
    return f'<div class="sheet"{wide}>{text_table(tables.headings(rounds), rows, caption)}</div>'


def _figure(rounds: Sequence[RoundNumbers]) -> str:
    looks = zip(rounds[0].measured, LOOKS, strict=False)
    key = "".join(f'<li><i style="color: var(--{color})">{mark}</i> {name}</li>' for name, (color, _, mark) in looks)
    return f'<ul class="key" aria-label="Measures">{key}</ul>' + picture(
        "solved",
        lambda wide: _draw(rounds, wide),
        "Shares of held-out problems by round; the table below has the numbers.",
        "Held-out problems by round, in percent, with 95 % intervals; solved: by greedy decoding.",
    )


def _draw(rounds: Sequence[RoundNumbers], wide: bool) -> Figure:
    total, names = WIDE if wide else NARROW, list(rounds[0].measured)
    with page_style():
        figure = new_figure(total, 230)
        axes = panel(figure, 42, 10, total - 60, 180)
        axes.grid(axis="y")
        axes.spines["left"].set_visible(False)
        for place, (name, (color, marker, _)) in enumerate(zip(names, LOOKS, strict=False)):
            found = [one.measured[name] for one in rounds]
            at = [one.number + 0.06 * (place - (len(names) - 1) / 2) for one in rounds]
            axes.plot(at, [x.mean for x in found], color=COLORS[color], marker=marker, ms=6, mew=0, lw=1)
            for x, one in zip(at, found, strict=True):
                if one.low is not None and one.high is not None:
                    axes.plot([x, x], [one.low, one.high], color=COLORS[color], lw=1.6)
        axes.set_ylim(0, 1)
        axes.set_xlim(-0.3, max(1, rounds[-1].number) + 0.3)
        axes.set_xticks([one.number for one in rounds], tables.headings(rounds)[1:])
        in_percent(axes.yaxis)
    return figure


def _examples(shown: Sequence[Any], held_out: Problems, last: RoundNumbers) -> str:
    if not shown:
        return ""
    parts = ""
    for one in shown:
        texts = (
            ("prompt", held_out[one.problem]["prompt"]),
            ("start", one.before_text),
            (f"round {last.number}", one.after_text),
        )
        blocks = "".join(
            f"<dt>{name}</dt><dd class=prompt>{escape(_short(text_of(text)))}</dd>" for name, text in texts
        )
        what = "solved now, not before" if one.now else "solved before, not now"
        parts += f"<details><summary>Problem {one.problem}: {what}</summary><dl>{blocks}</dl></details>"
    lead = (
        "<p>The first problems that turned, between the start and the last round; the greedy completions of both.</p>"
    )
    return section("changed", "What changed", lead + parts)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " \N{HORIZONTAL ELLIPSIS}"


def _settings(config: ImproveConfig) -> list[tuple[str, str]]:
    names = ("model", "problems", "held_out", "verifier", "sample", "critic", "score", "student", "evaluate")
    kept: Mapping[str, Any] = {name: getattr(config, name) for name in (*names, "keep", "start_from")}
    return [(name, str(value)) for name, value in kept.items() if value not in (None, {})]
