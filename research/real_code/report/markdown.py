"""The measured part of the document of the experiment on real code: every number of it from `results.json`."""

from collections.abc import Mapping

from research.chains.report.words import facts
from research.drawing.markdown import items, section, table_text
from research.drawing.pictures import shown
from research.real_code.report.numbers import Results
from research.real_code.report.pictures import real_code_pictures
from research.real_code.report.tables import (
    cost_table,
    data_table,
    kinds_table,
    localisation_by_source_table,
    localisation_differences_table,
    localisation_table,
    outcome_differences_table,
    outcome_table,
    student_differences_table,
    students_table,
)
from research.real_code.report.words import claim, lead, notes


def real_code_markdown(results: Results, pictures: Mapping[str, str]) -> str:
    """What was measured, without a title: a document puts its own words around it.

    Args:
        results: the content of `results.json`; what is not finished is left out.
        pictures: names, as `write_pictures` gives them -> addresses relative to the document; a picture without an
            address is left out.
    """
    drawn = shown(real_code_pictures(results), pictures)
    parts = [
        "<!-- written from results.json by research/real_code/report/markdown.py: change that, or the results -->",
        f"**{claim(results)}**",
        lead(results),
        *section(
            "Who finds the wrong token",
            drawn.get("localisation"),
            table_text(localisation_table(results)),
            table_text(localisation_differences_table(results)),
            table_text(localisation_by_source_table(results)),
            table_text(kinds_table(results)),
        ),
        *section(
            "Who tells right from wrong",
            drawn.get("reliability"),
            table_text(outcome_table(results)),
            table_text(outcome_differences_table(results)),
        ),
        *section(
            "What students learn",
            drawn.get("students"),
            table_text(students_table(results)),
            table_text(student_differences_table(results)),
        ),
        *section("Rows and cost", table_text(data_table(results)), table_text(cost_table(results))),
        *section("Worth knowing", items(notes(results))),
        *section("How this was made", items([f"{name}: {value}" for name, value in facts(results)])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
