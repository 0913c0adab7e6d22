"""The report page: one self-contained HTML file that asks nothing of any network."""

import base64
import hashlib
from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from weighted_mtp.reports.arms import Group, Role, group_rows, role_of
from weighted_mtp.reports.content import PageContent, SummaryRow
from weighted_mtp.reports.figures import accuracy_figure
from weighted_mtp.reports.headline import baseline_row, best_control, caveats, headline, leading_row
from weighted_mtp.reports.numbers import interval, percent, points
from weighted_mtp.reports.small_multiples import curves_figure, histograms_figure
from weighted_mtp.reports.svg import inline_svg
from weighted_mtp.reports.token_view import token_view

_CURVE_CAPTIONS = {
    "accuracy": "Accuracy on test prompts by optimizer step.",
    "loss": "Training loss by optimizer step, in nats; arms weigh it differently: compare shapes only.",
}


def write_page(path: str | Path, content: PageContent) -> Path:
    """Write `content` as one HTML file: styles, script and figures inline, equal input giving equal bytes.

    A section without data is left out. Every text is escaped, and a content security policy forbids every
    request and every script but the page's own.

    Args:
        path: the file to write; missing folders are made.
        content: what to show.

    Returns:
        The path of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(content), encoding="utf-8")
    return path


def render_page(content: PageContent) -> str:
    """The page as text; see `write_page`."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    names = [row["arm"] for row in content.summary]
    names += [entry["arm"] for entry in (*content.accuracies, *content.curves, *content.histograms)]
    roles: dict[str, Role] = {
        arm: role_of(arm, content.baseline, content.controls) for arm in dict.fromkeys(names)
    }
    sections = (_headline(content), _results(content, roles), _notes(content), _curves(content, roles))
    sections += (_histograms(content, roles), _tokens(content))
    return Template(_asset("page.html")).substitute(
        title=escape(content.title),
        lead=escape(content.lead),
        style=_asset("page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        body="\n".join(section for section in sections if section),
        footer=_footer(content),
    )


def _asset(name: str) -> str:
    return files("weighted_mtp.reports").joinpath(name).read_text(encoding="utf-8")


def _section(name: str, heading: str, body: str) -> str:
    title = f'<h2 id="{name}-h">{heading}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-h">{title}\n{body}\n</section>'


def _headline(content: PageContent) -> str:
    rows = [
        (row, words)
        for row, words in (
            (baseline_row(content), "baseline"),
            (leading_row(content), "best arm"),
            (best_control(content), "best control"),
        )
        if row is not None
    ]
    numbers = "".join(
        f'<div class="{words.rpartition(" ")[2]}"><dt>{words}, {escape(row["arm"])}</dt>'
        f"<dd>{percent(row['mean'])}<small> %</small></dd></div>"
        for row, words in rows
    )
    more = " ".join(escape(sentence) for sentence in caveats(content))
    return (
        f'<section class="headline" aria-label="Result"><p class="claim">{escape(headline(content))}</p>\n'
        f'<dl class="numbers">{numbers}</dl>\n<p class="more">{more}</p></section>'
    )


def _results(content: PageContent, roles: dict[str, Role]) -> str:
    if not content.summary:
        return ""
    groups = group_rows(content.summary, content.baseline, content.controls)
    picture = _figure(
        "accuracy",
        lambda wide: accuracy_figure(groups, content.accuracies, roles, wide=wide),
        "Accuracy of every draw by arm, and paired differences; the table below has the numbers.",
        "Large marks are means, small dots below them single draws. Differences to"
        f" {escape(content.baseline)} are paired by draw and carry a 95\N{NO-BREAK SPACE}% t interval;"
        " a mark without a line is a single draw. Hollow marks are controls, which should not gain.",
    )
    return _section("accuracy", "Accuracy by arm", picture + _table(groups, content.baseline))


def _table(groups: list[Group], baseline: str) -> str:
    headings = ("Arm", "Mean, %", "Spread", "Draws", "Difference", "95 % interval")
    head = "".join(f'<th role="columnheader" scope="col">{text}</th>' for text in headings)
    bodies = ""
    for group in groups:
        rows = "".join(_row(row, baseline) for row in group.rows)
        heading = (
            f'<tr role="row" class="group"><th role="rowheader" scope="rowgroup" colspan="{len(headings)}">'
            f"{group.heading}</th></tr>"
        )
        bodies += f'<tbody role="rowgroup">{heading if group.heading else ""}{rows}</tbody>'
    return (
        f'<table role="table"><caption>Accuracy over draws in percent; spread is the standard deviation;'
        f" differences to {escape(baseline)} are paired by draw, in points.</caption>"
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>{bodies}</table>'
    )


def _row(row: SummaryRow, baseline: str) -> str:
    against = row.get("baseline", baseline)
    note = f"<small>{escape(row['note'])}</small>" if "note" in row else ""
    if against != baseline and row["diff"] is not None:
        note += f"<small>difference to {escape(against)}</small>"
    cells = (
        percent(row["mean"]),
        percent(row["std"] if row["n"] > 1 else None),
        str(row["n"]),
        points(row["diff"]),
        interval(row["low"], row["high"]),
    )
    numbers = "".join(f'<td role="cell">{value}</td>' for value in cells)
    return f'<tr role="row"><th role="rowheader" scope="row">{escape(row["arm"])}{note}</th>{numbers}</tr>'


def _notes(content: PageContent) -> str:
    if not content.notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
    return _section("notes", "Worth knowing", f'<ul class="notes">{items}</ul>')


def _curves(content: PageContent, roles: dict[str, Role]) -> str:
    pictures = ""
    for number, metric in enumerate(dict.fromkeys(curve["metric"] for curve in content.curves)):
        curves = [curve for curve in content.curves if curve["metric"] == metric]
        arms = [arm for arm in roles if any(curve["arm"] == arm for curve in curves)]
        caption = _CURVE_CAPTIONS.get(metric, f"{escape(metric)} by optimizer step.")
        picture = _figure(
            f"curves-{number}",
            lambda wide, curves=curves, arms=arms: curves_figure(
                curves, arms, roles, content.baseline, wide=wide
            ),
            f"Learning curves, one panel per arm. {caption}",
            f"{caption} Line: mean over draws; band: lowest to highest draw; grey: {escape(content.baseline)}"
            " with as many heads.",
        )
        folded = f"<details><summary>{escape(metric).capitalize()} curves</summary>{picture}</details>"
        pictures += folded if number else picture
    return _section("curves", "Learning curves", pictures) if pictures else ""


def _histograms(content: PageContent, roles: dict[str, Role]) -> str:
    if not content.histograms:
        return ""
    picture = _figure(
        "weights",
        lambda wide: histograms_figure(content.histograms, roles, wide=wide),
        "Histograms of token weights, one panel per arm.",
        "Share of trained tokens by weight, on a log scale; the dotted line is weight 1, which uniform"
        " training gives every token. Colours are those of the token view.",
    )
    return _section("weights", "How the weights spread", picture)


def _tokens(content: PageContent) -> str:
    if not content.examples:
        return ""
    lead = "<p>Hover or focus a token, or tap it, for its weight, TD error and value.</p>"
    return _section("tokens", "Token by token", lead + token_view(content.examples))


def _figure(name: str, draw: Callable[[bool], Figure], description: str, caption: str) -> str:
    layouts = "".join(
        f'<div class="{layout}" role="img" aria-label="{escape(description)}">'
        f"{inline_svg(draw(layout == 'wide'), f'{name}-{layout}')}</div>"
        for layout in ("wide", "narrow")
    )
    return f"<figure>{layouts}<figcaption>{caption}</figcaption></figure>"


def _footer(content: PageContent) -> str:
    if not content.facts:
        return ""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in content.facts
    )
    return f'<footer><h2>How this was made</h2><dl class="facts">{facts}</dl></footer>'
