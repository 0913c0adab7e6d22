"""What the report of the study reads out of its results."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.chains.report.aim import aims
from research.chains.report.numbers import (
    Comparison,
    auc_by_position,
    comparison,
    critic_mean,
    line,
    pairs_along,
    reliability,
    settings_along,
)
from research.chains.report.tables import accuracy_by_setting, aim_table, comparison_table, setting_names
from research.chains.results import without_draw
from research.drawing.labels import spread
from weighted_mtp.evaluation.calibration import ReliabilityBin

Study = dict[str, Any]


def few(*critics: dict[str, Any], comparisons: Sequence[dict[str, Any]] = ()) -> Study:
    """Results of one setting with nothing but what is given."""
    arms = [("log_odds", 0.9), ("right_only", 0.7), ("oracle", 0.95)]
    return {
        "arms": [{"setting": "low_success", "arm": arm, "seed": 0, "accuracy": a} for arm, a in arms],
        "meta": {
            "draws": 2,
            "settings": {"low_success": {"share_right": 0.24, "n_traces": 8000}},
            "comparisons": [{"setting": "low_success", "n": 2, **entry} for entry in comparisons],
            "critics": [{"setting": "low_success", "seed": 0, "critic": "c", **row} for row in critics],
        },
    }


def against(second: str, diff: float, half: float | None) -> dict[str, Any]:
    low, high = (None, None) if half is None else (diff - half, diff + half)
    return {"first": "log_odds", "second": second, "diff": diff, "low": low, "high": high, "p": 0.5, "adjusted": 0.5}


def parts(over: tuple[float, float | None], behind: tuple[float, float | None] | None) -> tuple[str, str]:
    pairs = [against("right_only", *over)] + ([against("oracle", *behind)] if behind else [])
    (aim,) = aims(few(comparisons=pairs))
    return aim.parts


@pytest.mark.parametrize(("shift", "said"), [(0.037, "ties"), (0.3, "undecided")])
def test_a_difference_that_is_alike_in_all_draws_has_no_test_but_an_interval(shift: float, said: str) -> None:
    assert Comparison("low_success", "a", "b", shift, shift, shift, 5, None, None).verdict == said


def test_settings_stand_in_the_order_of_what_they_change(study: Study) -> None:
    assert settings_along(study, "share_right") == [
        "share_05", "share_15", "low_success", "share_50", "share_70",
    ]  # fmt: skip
    assert settings_along(study, "n_traces") == ["n_1000", "low_success", "n_16000"]
    assert list(setting_names(study, "n_traces").values()) == ["1,000", "8,000", "16,000"]


def test_a_setting_that_did_not_run_is_not_on_the_line(study: Study) -> None:
    cut = {**study, "arms": [entry for entry in study["arms"] if entry["setting"] != "share_50"]}

    assert "share_50" not in settings_along(cut, "share_right")


def test_a_line_has_mean_lowest_and_highest_draw(study: Study) -> None:
    draws = [e["accuracy"] for e in study["arms"] if (e["setting"], e["arm"]) == ("share_05", "td_whitened")]
    point = line(study, "share_right", "td_whitened")[0]

    assert (point.x, point.low, point.high, point.n) == (0.05, min(draws), max(draws), 5)
    assert point.mean == pytest.approx(sum(draws) / 5)


def test_arms_of_the_main_setting_alone_make_no_line(study: Study) -> None:
    rows = [row[0] for row in accuracy_by_setting(study, "share_right").rows]

    assert "implicit" in rows
    assert "td_beta0.9" not in rows
    assert not any(row.startswith("mtp_") for row in rows)


@pytest.mark.parametrize(
    ("diff", "half", "adjusted", "verdict"),
    [
        (0.15, 0.05, 0.01, "wins"),
        (-0.15, 0.05, 0.01, "loses"),
        (0.15, 0.05, 0.06, "undecided"),
        (0.0, 0.05, 1.0, "ties"),
        (0.01, 0.05, 1.0, "undecided"),
    ],
)
def test_what_is_not_decided_is_a_tie_only_within_five_points(diff, half, adjusted, verdict) -> None:
    assert Comparison("s", "a", "b", diff, diff - half, diff + half, 5, 0.01, adjusted).verdict == verdict


def test_a_single_draw_has_no_verdict() -> None:
    assert Comparison("s", "a", "b", 0.1, None, None, 1, None, None).verdict == "single draw"


def test_a_pair_that_was_not_compared_is_missing_and_no_error(quick_study: Study) -> None:
    assert comparison(quick_study, "low_success", "log_odds", "label_conditioned") is None
    assert ("log_odds", "label_conditioned") not in pairs_along(quick_study, "share_right")


def test_a_comparison_that_was_not_made_in_a_setting_is_a_dash(study: Study) -> None:
    kept = [entry for entry in study["meta"]["comparisons"] if entry["setting"] != "n_1000"]
    cut = {**study, "meta": {**study["meta"], "comparisons": kept}}
    row = comparison_table(cut, "n_traces").rows[0]

    assert row[:2] == ("log_odds − right_only", "–")
    assert "–" not in row[2:]


def test_a_pair_of_the_main_setting_alone_is_no_row_of_a_line(study: Study) -> None:
    pairs = [row[0] for row in comparison_table(study, "n_traces").rows]

    assert "log_odds − oracle" in pairs
    assert "log_odds − rho1" not in pairs


def test_an_aim_is_met_by_a_whole_interval_and_missed_by_none_of_it() -> None:
    assert parts((0.2, 0.05), (-0.04, 0.01)) == ("met", "met")
    assert parts((0.1, 0.02), (-0.07, 0.01)) == ("missed", "missed")
    assert parts((0.2, 0.06), (0.0, 0.06)) == ("undecided", "undecided")
    assert parts((0.2, None), (0.0, None)) == ("single draw", "single draw")
    assert parts((0.2, 0.05), None) == ("met", "not run")


def test_the_aim_asks_only_where_few_are_right(study: Study) -> None:
    assert [aim.asked for aim in aims(study)] == [True, True, True, False, False]


def test_the_table_says_share_by_share_whether_the_aim_is_met_and_what_is_missed(study: Study) -> None:
    cells = [row[-1].replace("\N{NO-BREAK SPACE}", " ") for row in aim_table(study).rows]

    print(cells)
    assert cells[-2:] == ["not asked", "not asked"]


def test_reliability_pools_draws_by_count() -> None:
    one = {"low": 0.2, "high": 0.3, "mean": 0.22, "rate": 0.5, "count": 30}
    other = {"low": 0.2, "high": 0.3, "mean": 0.26, "rate": 0.1, "count": 10}
    empty = {"low": 0.3, "high": 0.4, "mean": None, "rate": None, "count": 0}
    (pooled,) = reliability(few({"reliability": [one, empty]}, {"reliability": [other]}), "c")

    assert pooled == ReliabilityBin(0.2, 0.3, pytest.approx(0.23), pytest.approx(0.4), 40)


def test_a_position_without_auc_in_one_draw_takes_that_of_the_others() -> None:
    results = few({"auc_by_position": [None, None, 0.6]}, {"auc_by_position": [None, 0.5, 0.8]})

    assert auc_by_position(results, "c") == [None, 0.5, pytest.approx(0.7)]


def test_a_measure_that_no_draw_has_is_none() -> None:
    assert critic_mean(few({"ece": None}), "c", "ece") is None
    assert critic_mean(few({"ece": float("nan")}, {"ece": 0.2}), "c", "ece") == 0.2


def test_labels_that_fit_stay_where_they_are() -> None:
    assert spread([10, 40, 90], 14, 0, 100) == [10, 40, 90]


def test_labels_at_one_point_spread_around_it() -> None:
    assert spread([50, 50, 50], 10, 0, 100) == [40, 50, 60]
    assert spread([100, 100], 10, 0, 100) == [90, 100]  # no higher than the axes


@given(st.lists(st.floats(0, 300), max_size=12).map(sorted), st.floats(1, 20))
def test_labels_never_overlap_and_stay_within_the_axes(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, 0, 300)

    assert all(high - low > gap - 1e-6 for low, high in pairwise(placed))
    assert all(-1e-6 <= position <= 300 + 1e-6 for position in placed)


def test_without_a_draw_the_others_are_compared_anew(study: Study) -> None:
    rest = without_draw(study, 1)
    assert {arm["seed"] for arm in rest["arms"]} == {0, 2, 3, 4}
    assert {entry["n"] for entry in rest["meta"]["comparisons"]} == {4}
    assert {entry["n"] for entry in study["meta"]["comparisons"]} == {5}
