"""The page's first sentences, made from the numbers, whichever way they came out."""

from collections.abc import Sequence

from weighted_mtp.demo.page.arms import role_of
from weighted_mtp.demo.page.content import PageContent, SummaryRow
from weighted_mtp.reports.numbers import draws, interval, listing, points, span

TIE = 0.005  # half a percentage point


def leading_row(content: PageContent) -> SummaryRow | None:
    """The highest mean among the arms that are neither baseline, control nor ceiling.

    A single draw leads only where no arm has several.
    """
    rows = _rows(content, "arm")
    repeated = [row for row in rows if row["n"] > 1]
    return max(repeated or rows, key=lambda row: row["mean"], default=None)


def best_control(content: PageContent) -> SummaryRow | None:
    """The control with the highest mean."""
    return max(_rows(content, "control"), key=lambda row: row["mean"], default=None)


def baseline_row(content: PageContent) -> SummaryRow | None:
    """The row of the arm that differences are taken from."""
    return next((row for row in content.summary if row["arm"] == content.baseline), None)


def headline(content: PageContent) -> str:
    """One sentence: the best arm, and what ties with it, against the baseline."""
    best, base = leading_row(content), baseline_row(content)
    if best is None:
        return "No arm was run." if base is None else f"{base['arm']} alone was run: {_percents([base])} accuracy."
    if best["diff"] is None:
        return f"{best['arm']} reaches {_percents([best])} accuracy."
    against = best.get("baseline", content.baseline)
    if best["diff"] <= 0:
        return (
            f"No arm beats {against}: the best, {best['arm']}, reaches {_percents([best])},"
            f" {points(best['diff'])} points."
        )
    leaders = [best, *_tied(content, best)]
    gains = [row["diff"] for row in leaders if row["diff"] is not None]
    return (
        f"{listing([row['arm'] for row in leaders])} {'reaches' if len(leaders) == 1 else 'reach'}"
        f" {_percents(leaders)} accuracy, {span(gains)} points above {against}."
    )


def caveats(content: PageContent) -> list[str]:
    """What the headline leaves out: how sure it is, how it was picked, and the controls."""
    sentences: list[str] = []
    best, control = leading_row(content), best_control(content)
    if best is not None and best["diff"] is not None:
        against = best.get("baseline", content.baseline)
        sentences.append(f"{best['arm']} against {against}: {_certainty(best)}.")
        if best["low"] is not None and best["high"] is not None and best["low"] <= 0 <= best["high"]:
            sentences.append("The interval includes 0: this run does not show a difference.")
    if best is not None and len(_rows(content, "arm")) > 1:
        sentences.append(f"It is the highest of {len(_rows(content, 'arm'))} arms, picked after the fact.")
    if control is not None and control["diff"] is not None:
        against = control.get("baseline", content.baseline)
        sentences.append(f"The best control, {control['arm']}, against {against}: {_certainty(control)}.")
    return sentences


def _tied(content: PageContent, best: SummaryRow) -> list[SummaryRow]:
    """Other arms within half a point of the best, measured against the same baseline, highest first."""
    rows = [
        row
        for row in _rows(content, "arm")
        if row["arm"] != best["arm"]
        and row["n"] >= min(best["n"], 2)
        and row["diff"] is not None
        and abs(row["mean"] - best["mean"]) <= TIE
        and row.get("baseline") == best.get("baseline")
    ]
    return sorted(rows, key=lambda row: -row["mean"])


def _rows(content: PageContent, role: str) -> list[SummaryRow]:
    return [row for row in content.summary if role_of(row["arm"], content.baseline, content.controls) == role]


def _certainty(row: SummaryRow) -> str:
    gain, count = f"{points(row['diff'])} points", draws(row["n"])
    if row["low"] is None or row["high"] is None:
        return f"{gain}, {count} and so no interval"
    return f"{gain}, 95\N{NO-BREAK SPACE}% interval {interval(row['low'], row['high'])} ({count})"


def _percents(rows: Sequence[SummaryRow]) -> str:
    return f"{span([row['mean'] for row in rows])}\N{NO-BREAK SPACE}%"
