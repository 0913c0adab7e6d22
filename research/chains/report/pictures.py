"""The pictures of the study."""

from functools import partial
from pathlib import Path

from research.chains.report.critics import localisation_figure, positions_figure, reliability_figure
from research.chains.report.lines import arms_figure, differences_figure, lines_figure
from research.chains.report.numbers import (
    MAIN,
    Results,
    accuracies,
    arms_in,
    auc_by_position,
    critics,
    line,
    lines_run,
    pairs_along,
    reliability,
    settings_along,
    summary_rows,
)
from research.drawing.pictures import Picture, save_pictures
from weighted_mtp.demo.page.content import BASELINE
from weighted_mtp.demo.page.figures import accuracy_figure


def study_pictures(results: Results) -> dict[str, Picture]:
    """Every picture for which there are results, by name."""
    return {**_accuracies(results), **_lines(results), **_critics(results)}


def write_pictures(results: Results, folder: str | Path) -> dict[str, Path]:
    """Write each picture as `study-<name>.svg` into `folder`; names, as `study_markdown` wants them -> paths."""
    return save_pictures(study_pictures(results), folder, "study")


def _accuracies(results: Results) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    for name, several in (("accuracy", False), ("heads", True)):
        rows = summary_rows(results, MAIN, several_heads=several)
        if rows:
            arms = {row["arm"] for row in rows}
            draws = [entry for entry in accuracies(results, MAIN) if entry["arm"] in arms]
            pictures[name] = Picture(
                partial(accuracy_figure, rows, draws, wide=True),
                "Accuracy of every draw by arm, and paired differences; the table below has the numbers.",
                "Large marks are means, small dots below them single draws. Differences are paired by draw and"
                " carry a 95 % t interval; a mark without a line is a single draw. Hollow: the ceiling"
                " (triangle) and controls (diamonds), which should not gain.",
            )
    return pictures


def _lines(results: Results) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    if lines_run(results):
        pictures["lines"] = Picture(
            partial(lines_figure, results),
            "Accuracy of six arms by share of right completions and by number of completions.",
            "Mean over draws; bands run from the lowest to the highest draw. Hollow and dashed: the oracle, which"
            " drops the truly wrong tokens.",
        )
    if "share_right" in lines_run(results):
        settings = settings_along(results, "share_right")
        arms = [arm for arm in arms_in(results, settings) if len(line(results, "share_right", arm)) > 1]
        pictures["arms"] = Picture(
            partial(arms_figure, results, arms),
            "Accuracy by share of right completions, one panel per arm.",
            f"Accuracy by share of right completions, in percent. Line: mean over draws; band: lowest to highest"
            f" draw; grey: {BASELINE}; thin dashes: the oracle.",
        )
    if any(len(found) > 1 for found in pairs_along(results, "share_right").values()):
        pictures["differences"] = Picture(
            partial(differences_figure, results),
            "Paired differences by share of right completions, one panel per pair of arms.",
            "First minus second in points, paired by draw, with 95 % t intervals. Filled: the interval excludes 0;"
            " hollow: a tie or a single draw. Dashes: what was aimed at, where few completions are right.",
        )
    return pictures


def _critics(results: Results) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    names = critics(results)
    if names:
        pictures["localisation"] = Picture(
            partial(localisation_figure, results),
            "How well each critic finds the wrong tokens; the table has the numbers.",
            "Fresh completions, whose wrong tokens are known. Large marks are means, small dots below them single"
            " draws. Hollow squares: a critic's mean credit at each position, which never looks at the tokens.",
        )
    if any(any(value is not None for value in auc_by_position(results, name)) for name in names):
        pictures["positions"] = Picture(
            partial(positions_figure, results),
            "AUC of the outcome by tokens read, one line per critic.",
            "How well the value of a prefix tells right from wrong completions, mean over draws; 0.5 is chance.",
        )
    if any(reliability(results, name) for name in names):
        pictures["reliability"] = Picture(
            partial(reliability_figure, results),
            "Reliability: rate of success by the chance given, one panel per critic.",
            "How often a completion succeeded, by the chance of success that the critic gave its prefixes, pooled"
            " over draws; larger dots hold more prefixes. On the dashed line chances are true. ECE is the mean"
            " distance from it, mean over draws.",
        )
    return pictures
