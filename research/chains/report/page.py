"""The page of the study: one self-contained HTML file, made from `results.json` alone."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from research.chains.report.aim import ARM, CEILING, RIVAL
from research.chains.report.numbers import AXES, BASELINE, MAIN, Results, lines_run, mean_accuracy, summary_rows
from research.chains.report.pictures import Picture, study_pictures
from research.chains.report.tables import (
    accuracy_by_setting,
    aim_table,
    calibration_table,
    comparison_table,
    cost_table,
    heads_table,
    localisation_by_share,
    localisation_table,
    setting_names,
    settings_table,
)
from research.chains.report.words import (
    aim_sentences,
    ceiling_sentences,
    claim,
    control_sentences,
    facts,
    findings,
    lead,
    notes,
)
from research.drawing.tables import Table
from weighted_mtp.demo.page.accuracy import accuracy_table
from weighted_mtp.demo.page.arms import group_rows
from weighted_mtp.demo.page.content import CONTROLS
from weighted_mtp.reports.layout import (
    document,
    folded,
    headline_section,
    notes_section,
    picture,
    save,
    section,
    text_table,
)
from weighted_mtp.reports.numbers import percent

Pictures = Mapping[str, Picture]


def write_study_page(path: str | Path, results: Results) -> Path:
    """Write the report of a study as one HTML file: styles, script and figures inline, equal input, equal bytes.

    Args:
        path: the file to write; missing folders are made.
        results: the content of `results.json`; a section whose arms, settings or critics did not run is left out.

    Returns:
        The path of the file.
    """
    return save(path, render_study_page(results))


def render_study_page(results: Results) -> str:
    """The page as text; see `write_study_page`."""
    return document(
        title="Which tokens should teach? The study",
        lead=lead(results),
        sections=(_headline(results), *_study_sections(results)),
        facts=facts(results),
    )


def _study_sections(results: Results) -> tuple[str, ...]:
    """Everything below the headline, as HTML; empty where something did not run."""
    pictures = study_pictures(results)
    return (
        _aim(results),
        _main(results, pictures),
        _lines(results, pictures),
        _pairs(results, pictures),
        _critics(results, pictures),
        _heads(results, pictures),
        _setup(results),
        notes_section(notes(results)),
    )


def _headline(results: Results) -> str:
    roles = {BASELINE: "baseline", RIVAL: "rival", ARM: "arm", CEILING: "ceiling"}
    shown = {arm: mean_accuracy(results, MAIN, arm) for arm in roles}
    numbers = [(roles[arm], arm, percent(mean)) for arm, mean in shown.items() if mean is not None]
    return headline_section(claim(results), numbers, [*ceiling_sentences(results), *control_sentences(results)])


def _aim(results: Results) -> str:
    table = aim_table(results)
    if not table.rows:
        return ""
    return section("aim", "What was aimed at", _paragraph(aim_sentences(results)) + _table(table))


def _main(results: Results, pictures: Pictures) -> str:
    rows = summary_rows(results, MAIN, several_heads=False)
    if not rows:
        return ""
    share = setting_names(results, "share_right")[MAIN]
    table = accuracy_table(group_rows(rows, BASELINE, CONTROLS), BASELINE)
    return section("accuracy", f"Every arm, {share} right", _picture(pictures, "accuracy") + table)


def _lines(results: Results, pictures: Pictures) -> str:
    if "lines" not in pictures:
        return ""
    body = _picture(pictures, "lines")
    body += "".join(_table(accuracy_by_setting(results, axis)) for axis in lines_run(results))
    if "arms" in pictures:
        body += folded("Every arm in a panel of its own", _picture(pictures, "arms"))
    return section("lines", "With fewer right, with fewer completions", body)


def _pairs(results: Results, pictures: Pictures) -> str:
    sentences = findings(results)
    if not sentences:
        return ""
    body = f'<ul class="notes">{"".join(f"<li>{escape(words)}</li>" for words in sentences)}</ul>'
    tables = (_table(comparison_table(results, axis)) for axis in lines_run(results) or AXES[:1])
    return section("pairs", "Who wins, pair by pair", _picture(pictures, "differences") + body + "".join(tables))


def _critics(results: Results, pictures: Pictures) -> str:
    if "localisation" not in pictures:
        return ""
    body = _picture(pictures, "localisation") + _table(localisation_table(results))
    by_share = localisation_by_share(results)
    body += _table(by_share) if by_share.rows else ""
    body += _picture(pictures, "positions") + _picture(pictures, "reliability")
    return section("critics", "What the critics know", body + _table(calibration_table(results)))


def _heads(results: Results, pictures: Pictures) -> str:
    rows = summary_rows(results, MAIN, several_heads=True)
    if not rows:
        return ""
    baseline = rows[0].get("baseline", BASELINE)
    body = _picture(pictures, "heads") + accuracy_table(group_rows(rows, baseline, CONTROLS), baseline)
    table = heads_table(results)
    return section("heads", "Four heads", body + (_table(table) if table.rows else ""))


def _setup(results: Results) -> str:
    return section(
        "setup",
        "Settings and cost",
        _table(settings_table(results)) + folded("What each arm cost", _table(cost_table(results))),
    )


def _paragraph(sentences: Sequence[str]) -> str:
    return f'<p class="text">{escape(" ".join(sentences))}</p>' if sentences else ""


def _picture(pictures: Pictures, name: str) -> str:
    if name not in pictures:
        return ""
    shown = pictures[name]
    return picture(name, shown.draw, shown.description, escape(shown.caption))


def _table(table: Table) -> str:
    return text_table(table.headings, table.rows, table.caption)
