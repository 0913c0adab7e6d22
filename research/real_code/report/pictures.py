"""The pictures of the experiment on real code, as files beside its document."""

from functools import partial
from pathlib import Path

from research.drawing.pictures import Picture, save_pictures
from research.real_code.report.figures import draw_calibration, draw_localisation, draw_students, students_compared
from research.real_code.report.numbers import BASELINE, Results, calibration, critics, localisation


def real_code_pictures(results: Results) -> dict[str, Picture]:
    """Every picture for which there are results, by name."""
    pictures: dict[str, Picture] = {}
    if localisation(results):
        pictures["localisation"] = Picture(
            partial(draw_localisation, results),
            "AUC and top-1 of every method at finding the first wrong token; the table below has the numbers.",
            "Unseen tasks, with 95 % intervals over tasks. Squares: the untrained model's signals and where a token"
            " stands; filled circles: critics alone; hollow: a fit of a critic and these signals. Dashed: surprisal;"
            " dotted: surprisal, entropy and position together. Intervals of two marks may overlap where their paired"
            " difference excludes 0: the table of differences says so.",
        )
    if any(name in calibration(results) for name in critics(results)):
        pictures["reliability"] = Picture(
            partial(draw_calibration, results),
            "Reliability: rate of right completions by the chance given, one panel per critic.",
            "How often a completion was right, by the chance of success that the critic gave it at its end; larger dots"
            " hold more completions. On the dashed line chances are true.",
        )
    if students_compared(results):
        pictures["students"] = Picture(
            partial(draw_students, results),
            f"Paired differences of students to {BASELINE}, one panel per measure.",
            f"Student minus {BASELINE} on unseen tasks, with paired 95 % intervals over tasks. Filled: the interval"
            " excludes 0; hollow: it does not, or there is none.",
        )
    return pictures


def write_pictures(results: Results, folder: str | Path) -> dict[str, Path]:
    """Write each picture as `real-code-<name>.svg`; names, as `real_code_markdown` wants them -> paths."""
    return save_pictures(real_code_pictures(results), folder, "real-code")
