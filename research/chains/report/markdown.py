"""The document of the study: every number of it from `results.json`."""

from collections.abc import Mapping

from research.chains.report.numbers import AXES, MAIN, Results, lines_run
from research.chains.report.pictures import study_pictures
from research.chains.report.tables import (
    accuracy_by_setting,
    aim_table,
    calibration_table,
    comparison_table,
    cost_table,
    gated_table,
    heads_table,
    localisation_by_share,
    localisation_table,
    main_table,
    setting_names,
    settings_table,
)
from research.chains.report.words import claim, facts, lead, notes, spent
from research.drawing.markdown import items, section, table_text
from research.drawing.pictures import shown


def study_markdown(results: Results, pictures: Mapping[str, str]) -> str:
    """The text of the document.

    Args:
        results: the content of `results.json`; a section whose arms, settings or critics did not run is left out.
        pictures: names, as `write_pictures` gives them -> addresses relative to the document; a picture without an
            address is left out.
    """
    drawn = shown(study_pictures(results), pictures)
    share = setting_names(results, "share_right").get(MAIN, "0")
    axes = lines_run(results)
    parts = [
        *_opening(results),
        *section("What was aimed at", table_text(aim_table(results)), table_text(gated_table(results))),
        *section(
            f"Every arm, {share} right", drawn.get("accuracy"), table_text(main_table(results, several_heads=False))
        ),
        *section(
            "With fewer right, with fewer completions",
            drawn.get("lines"),
            *(table_text(accuracy_by_setting(results, axis)) for axis in axes),
            drawn.get("arms"),
        ),
        *section(
            "Who wins, pair by pair",
            drawn.get("differences"),
            *(table_text(comparison_table(results, axis)) for axis in axes or AXES[:1]),
        ),
        *section(
            "What the critics know",
            drawn.get("localisation"),
            table_text(localisation_table(results)),
            table_text(localisation_by_share(results)),
            drawn.get("positions"),
            drawn.get("reliability"),
            table_text(calibration_table(results)),
        ),
        *section(
            "Four heads",
            drawn.get("heads"),
            table_text(main_table(results, several_heads=True)),
            table_text(heads_table(results)),
        ),
        *section("Settings and cost", table_text(settings_table(results)), table_text(cost_table(results))),
        *section("Worth knowing", items(notes(results))),
        *section("How this was made", items([f"{name}: {value}" for name, value in facts(results)])),
    ]
    return "\n\n".join(parts) + "\n"


QUICK = "\npython -m research.chains.study --out quick --preset quick  # two draws, ten minutes on two cores"


def _opening(results: Results) -> list[str]:
    preset = results["meta"].get("preset", "full")
    flags = "" if preset == "full" else f" --preset {preset}"
    return [
        "# Study: which tokens should teach?",
        "<!-- written from results.json by research/chains/report/markdown.py: change that, or the results -->",
        f"**{claim(results)}**",
        *([costs] if (costs := spent(results)) else []),
        lead(results),
        f"```bash\npython -m research.chains.study --out study{flags}{QUICK * (not flags)}\n```",
    ]
