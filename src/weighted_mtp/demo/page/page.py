"""The report page: one self-contained HTML file that asks nothing of any network."""

from html import escape
from pathlib import Path

from weighted_mtp.demo.page.accuracy import accuracy_table
from weighted_mtp.demo.page.arms import Role, group_rows, role_of
from weighted_mtp.demo.page.content import PageContent
from weighted_mtp.demo.page.figures import accuracy_figure
from weighted_mtp.demo.page.headline import baseline_row, best_control, caveats, headline, leading_row
from weighted_mtp.demo.page.small_multiples import curves_figure, histograms_figure
from weighted_mtp.reports.layout import document, folded, headline_section, notes_section, picture, save, section
from weighted_mtp.reports.numbers import percent
from weighted_mtp.reports.token_view import tokens_section

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
    return save(path, render_page(content))


def render_page(content: PageContent) -> str:
    """The page as text; see `write_page`."""
    sections = (_headline(content), *_result_sections(content), _tokens(content))
    return document(title=content.title, lead=content.lead, sections=sections, facts=content.facts)


def _result_sections(content: PageContent) -> tuple[str, ...]:
    """What arms reached, with curves and weights, as HTML; empty where there is no data."""
    names = [row["arm"] for row in content.summary]
    names += [entry["arm"] for entry in (*content.accuracies, *content.curves, *content.histograms)]
    roles: dict[str, Role] = {arm: role_of(arm, content.baseline, content.controls) for arm in dict.fromkeys(names)}
    return (
        _results(content, roles),
        notes_section(content.notes),
        _curves(content, roles),
        _histograms(content, roles),
    )


def _headline(content: PageContent) -> str:
    rows = (
        (baseline_row(content), "baseline"),
        (leading_row(content), "best arm"),
        (best_control(content), "best control"),
    )
    numbers = [
        (words.rpartition(" ")[2], f"{words}, {row['arm']}", percent(row["mean"]))
        for row, words in rows
        if row is not None
    ]
    return headline_section(headline(content), numbers, caveats(content))


def _results(content: PageContent, roles: dict[str, Role]) -> str:
    if not content.summary:
        return ""
    groups = group_rows(content.summary, content.baseline, content.controls)
    shown = picture(
        "accuracy",
        lambda wide: accuracy_figure(groups, content.accuracies, roles, wide=wide),
        "Accuracy of every draw by arm, and paired differences; the table below has the numbers.",
        "Large marks are means, small dots below them single draws. Differences to"
        f" {escape(content.baseline)} are paired by draw and carry a 95\N{NO-BREAK SPACE}% t interval;"
        " a mark without a line is a single draw. Hollow marks are controls, which should not gain.",
    )
    return section("accuracy", "Accuracy by arm", shown + accuracy_table(groups, content.baseline))


def _curves(content: PageContent, roles: dict[str, Role]) -> str:
    pictures = ""
    for number, metric in enumerate(dict.fromkeys(curve["metric"] for curve in content.curves)):
        curves = [curve for curve in content.curves if curve["metric"] == metric]
        arms = [arm for arm in roles if any(curve["arm"] == arm for curve in curves)]
        caption = _CURVE_CAPTIONS.get(metric, f"{escape(metric)} by optimizer step.")
        shown = picture(
            f"curves-{number}",
            lambda wide, curves=curves, arms=arms: curves_figure(curves, arms, roles, content.baseline, wide=wide),
            f"Learning curves, one panel per arm. {caption}",
            f"{caption} Line: mean over draws; band: lowest to highest draw; grey: {escape(content.baseline)}"
            " with as many heads.",
        )
        pictures += folded(f"{metric.capitalize()} curves", shown) if number else shown
    return section("curves", "Learning curves", pictures) if pictures else ""


def _histograms(content: PageContent, roles: dict[str, Role]) -> str:
    if not content.histograms:
        return ""
    shown = picture(
        "weights",
        lambda wide: histograms_figure(content.histograms, roles, wide=wide),
        "Histograms of token weights, one panel per arm.",
        "Share of trained tokens by weight, on a log scale; the dotted line is weight 1, which uniform"
        " training gives every token. Colours are those of the token view.",
    )
    return section("weights", "How the weights spread", shown)


def _tokens(content: PageContent) -> str:
    if not content.examples:
        return ""
    return tokens_section(content.examples)
