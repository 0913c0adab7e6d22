"""The document of the study: every number of it from `results.json`."""

from collections.abc import Mapping, Sequence

from weighted_mtp.reports.study_numbers import AXES, MAIN, Results, lines_run
from weighted_mtp.reports.study_pictures import Picture, study_pictures
from weighted_mtp.reports.study_tables import (
    Table,
    accuracy_by_setting,
    aim_table,
    calibration_table,
    comparison_table,
    cost_table,
    heads_table,
    localisation_by_share,
    localisation_table,
    main_table,
    setting_names,
    settings_table,
)
from weighted_mtp.reports.study_words import (
    aim_sentences,
    ceiling_sentences,
    claim,
    control_sentences,
    facts,
    findings,
    lead,
    notes,
)


def study_markdown(results: Results, pictures: Mapping[str, str]) -> str:
    """The text of the document.

    Args:
        results: the content of `results.json`; a section whose arms, settings or critics did not run is left out.
        pictures: names, as `write_pictures` gives them -> addresses relative to the document; a picture without an
            address is left out.
    """
    drawn = study_pictures(results)
    shown = {name: _picture(drawn[name], address) for name, address in pictures.items() if name in drawn}
    share = setting_names(results, "share_right").get(MAIN, "0")
    axes = lines_run(results)
    parts = [
        *_opening(results),
        *_section("What was aimed at", " ".join(aim_sentences(results)), _table(aim_table(results))),
        *_section(
            f"Every arm, {share} right",
            shown.get("accuracy"),
            _table(main_table(results, several_heads=False)),
        ),
        *_section(
            "With fewer right, with fewer completions",
            shown.get("lines"),
            *(_table(accuracy_by_setting(results, axis)) for axis in axes),
            shown.get("arms"),
        ),
        *_section(
            "Who wins, pair by pair",
            _items(findings(results)),
            shown.get("differences"),
            *(_table(comparison_table(results, axis)) for axis in axes or AXES[:1]),
        ),
        *_section(
            "What the critics know",
            shown.get("localisation"),
            _table(localisation_table(results)),
            _table(localisation_by_share(results)),
            shown.get("positions"),
            shown.get("reliability"),
            _table(calibration_table(results)),
        ),
        *_section(
            "Four heads",
            shown.get("heads"),
            _table(main_table(results, several_heads=True)),
            _table(heads_table(results)),
        ),
        *_section("Settings and cost", _table(settings_table(results)), _table(cost_table(results))),
        *_section("Worth knowing", _items(notes(results))),
        *_section("How this was made", _items([f"{name}: {value}" for name, value in facts(results)])),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(results: Results) -> list[str]:
    preset = results["meta"].get("preset", "full")
    flags = "" if preset == "full" else f" --preset {preset}"
    sure = [*ceiling_sentences(results), *control_sentences(results)]
    return [
        "# Study: which tokens should teach?",
        "<!-- written from results.json by weighted_mtp/reports/study_markdown.py: change that, or the results -->",
        f"**{claim(results)}**" + (f" {' '.join(sure)}" if sure else ""),
        lead(results),
        f"```bash\nwmtp study --out study{flags}\n```",
    ]


def _section(heading: str, *parts: str | None) -> list[str]:
    """Nothing where every part is empty."""
    filled = [part for part in parts if part]
    return [f"## {heading}", *filled] if filled else []


def _picture(picture: Picture, address: str) -> str:
    return f"![{picture.description}]({address})\n\n{picture.caption}"


def _items(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(table: Table) -> str:
    """Empty where the table has no rows."""
    if not table.rows:
        return ""
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    lines = [f"| {' | '.join(cells)} |".replace("\n", " ") for cells in (table.headings, rule, *table.rows)]
    return "\n".join([table.caption, "", *lines])
