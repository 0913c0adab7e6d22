"""The demo's page; its first sentences are made from the numbers, whichever way they came out."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from weighted_mtp.demo.page.accuracy import accuracy_table
from weighted_mtp.demo.page.content import BASELINE, PageContent, SummaryRow, role_of
from weighted_mtp.demo.page.figures import accuracy_figure, curves_figure, histograms_figure
from weighted_mtp.files import write_text
from weighted_mtp.reports.layout import document, picture, section, tokens_section
from weighted_mtp.reports.numbers import PERCENT, draws, interval, listing, percent, points, span

_TIE = 0.005  # half a percentage point
_CURVE_CAPTIONS = {
    "accuracy": "Accuracy on test prompts by optimizer step.",
    "loss": "Training loss by optimizer step, in nats; arms weigh it differently: compare shapes only.",
}


def write_page(path: str | Path, content: PageContent) -> Path:
    """Write `content` as one HTML file: styles, script and figures inline, equal input giving equal bytes. Every text
    is escaped; a content security policy forbids every request and every script but the page's own."""
    write_text(path, render_page(content))
    return Path(path)


def render_page(content: PageContent) -> str:
    """The page as text; see `write_page`."""
    arms = [row["arm"] for row in content.summary]
    arms += [entry["arm"] for entry in (*content.accuracies, *content.curves, *content.histograms)]
    sections = (
        _headline(content),
        _results(content),
        _notes(content.notes),
        _curves(content, list(dict.fromkeys(arms))),
        _histograms(content, list(dict.fromkeys(arms))),
        tokens_section(content.examples) if content.examples else "",
    )
    return document(content, sections)


def _headline(content: PageContent) -> str:
    """The claim, three numbers in large type, and how sure the claim is."""
    base = next((row for row in content.summary if row["arm"] == BASELINE), None)
    arms, controls = _rows(content, "arm"), _rows(content, "control")
    repeated = [row for row in arms if row["n"] > 1]  # a single draw leads only where no arm has several
    best = max(repeated or arms, key=lambda row: row["mean"], default=None)
    control = max(controls, key=lambda row: row["mean"], default=None)
    shown = ((base, "baseline"), (best, "best arm"), (control, "best control"))
    entries = "".join(
        f'<div class="{words.rpartition(" ")[2]}"><dt>{words}, {escape(row["arm"])}</dt>'
        f"<dd>{percent(row['mean'])}<small> %</small></dd></div>"
        for row, words in shown
        if row is not None
    )
    return (
        f'<section class="headline" aria-label="Result"><p class="claim">{escape(_claim(base, best, arms))}</p>\n'
        f'<dl class="numbers">{entries}</dl>\n'
        f'<p class="more">{" ".join(escape(sentence) for sentence in _caveats(best, len(arms), control))}</p></section>'
    )


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return section("notes", "Worth knowing", f'<ul class="notes">{items}</ul>')


def _results(content: PageContent) -> str:
    if not content.summary:
        return ""
    shown = picture(
        "accuracy",
        lambda wide: accuracy_figure(content.summary, content.accuracies, wide=wide),
        "Accuracy of every draw by arm, and paired differences; the table below has the numbers.",
        f"Large marks are means, small dots below them single draws. Differences to {BASELINE}"
        " are paired by draw and carry a 95\N{NO-BREAK SPACE}% t interval;"
        " a mark without a line is a single draw. Hollow marks are controls, which should not gain.",
    )
    return section("accuracy", "Accuracy by arm", shown + accuracy_table(content.summary))


def _curves(content: PageContent, arms: Sequence[str]) -> str:
    pictures = ""
    for number, metric in enumerate(dict.fromkeys(curve["metric"] for curve in content.curves)):
        curves = [curve for curve in content.curves if curve["metric"] == metric]
        drawn = [arm for arm in arms if any(curve["arm"] == arm for curve in curves)]
        caption = _CURVE_CAPTIONS.get(metric, f"{escape(metric)} by optimizer step.")
        shown = picture(
            f"curves-{number}",
            lambda wide, curves=curves, drawn=drawn: curves_figure(curves, drawn, wide=wide),
            f"Learning curves, one panel per arm. {caption}",
            f"{caption} Line: mean over draws; band: lowest to highest draw; grey: {BASELINE} with as many heads.",
        )
        folded = f"<details><summary>{escape(metric.capitalize())} curves</summary>{shown}</details>"
        pictures += folded if number else shown
    return section("curves", "Learning curves", pictures) if pictures else ""


def _histograms(content: PageContent, arms: Sequence[str]) -> str:
    if not content.histograms:
        return ""
    weighed = {histogram["arm"] for histogram in content.histograms}
    drawn = [arm for arm in arms if arm in weighed]
    shown = picture(
        "weights",
        lambda wide: histograms_figure(content.histograms, drawn, wide=wide),
        "Histograms of token weights, one panel per arm.",
        "Share of trained tokens by weight, on a log scale; the dotted line is weight 1, which uniform"
        " training gives every token. Colours are those of the token view.",
    )
    return section("weights", "How the weights spread", shown)


def _claim(base: SummaryRow | None, best: SummaryRow | None, arms: Sequence[SummaryRow]) -> str:
    """One sentence: the best arm, and what ties with it, against the baseline."""
    if best is None:
        return "No arm was run." if base is None else f"{base['arm']} alone was run: {_percents([base])} accuracy."
    if best["diff"] is None:
        return f"{best['arm']} reaches {_percents([best])} accuracy."
    against = best.get("baseline", BASELINE)
    if best["diff"] <= 0:
        return (
            f"No arm beats {against}: the best, {best['arm']}, reaches {_percents([best])},"
            f" {points(best['diff'])} points."
        )
    leaders = [best, *_tied(best, arms)]
    gains = [row["diff"] for row in leaders if row["diff"] is not None]
    return (
        f"{listing([row['arm'] for row in leaders])} {'reaches' if len(leaders) == 1 else 'reach'}"
        f" {_percents(leaders)} accuracy, {span(gains)} points above {against}."
    )


def _caveats(best: SummaryRow | None, arms: int, control: SummaryRow | None) -> list[str]:
    """What the headline leaves out: how sure it is, how it was picked, and the controls."""
    sentences: list[str] = []
    if best is not None and best["diff"] is not None:
        against = best.get("baseline", BASELINE)
        sentences.append(f"{best['arm']} against {against}: {_certainty(best)}.")
        if best["low"] is not None and best["high"] is not None and best["low"] <= 0 <= best["high"]:
            sentences.append("The interval includes 0: this run does not show a difference.")
    if arms > 1:
        sentences.append(f"It is the highest of {arms} arms, picked after the fact.")
    if control is not None and control["diff"] is not None:
        against = control.get("baseline", BASELINE)
        sentences.append(f"The best control, {control['arm']}, against {against}: {_certainty(control)}.")
    return sentences


def _tied(best: SummaryRow, arms: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Other arms within half a point of the best, measured against the same baseline, highest first."""
    rows = [
        row
        for row in arms
        if row["arm"] != best["arm"]
        and row["n"] >= min(best["n"], 2)
        and row["diff"] is not None
        and abs(row["mean"] - best["mean"]) <= _TIE
        and row.get("baseline") == best.get("baseline")
    ]
    return sorted(rows, key=lambda row: -row["mean"])


def _rows(content: PageContent, role: str) -> list[SummaryRow]:
    return [row for row in content.summary if role_of(row["arm"]) == role]


def _certainty(row: SummaryRow) -> str:
    gain, count = f"{points(row['diff'])} points", draws(row["n"])
    if row["low"] is None or row["high"] is None:
        return f"{gain}, {count} and so no interval"
    return f"{gain}, 95{PERCENT} interval {interval(row['low'], row['high'])} ({count})"


def _percents(rows: Sequence[SummaryRow]) -> str:
    return f"{span([row['mean'] for row in rows])}{PERCENT}"
