"""Tables of real code: each number beside its interval, each method beside what it has to beat."""

from typing import Any

import pytest

from research.drawing.markdown import Table
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
from research.tests.real_code.report.made_results import CRITICS, interval, real_code, without_bounds

EVERY = (
    cost_table, data_table, localisation_by_source_table, localisation_differences_table, localisation_table,
    outcome_differences_table, outcome_table, student_differences_table, students_table,
)  # fmt: skip


def row(table: Table, *names: str) -> dict[str, str]:
    (found,) = (cells for cells in table.rows if cells[: len(names)] == names)
    return dict(zip(table.headings, found, strict=True))


def with_difference(results: dict[str, Any], entry: dict[str, Any], first: str, second: str) -> dict[str, Any]:
    results["critics"]["all"]["localisation"][first]["auc_over"][second] = entry
    return results


def test_auc_has_three_digits_and_top1_is_in_percent() -> None:
    results = real_code(critics=["generative"])
    results["critics"]["all"]["localisation"]["generative"] = {
        "auc": {"mean": 0.90234, "low": 0.88, "high": 0.9249},
        "top1": {"mean": 0.3618, "low": 0.33, "high": 0.4},
    }

    assert row(localisation_table(results), "generative") == {
        "Method": "generative",
        "AUC": "0.902 [0.880, 0.925]",
        "Top-1, %": "36.2 [33.0, 40.0]",
    }


@pytest.mark.parametrize("name", CRITICS)
def test_a_fit_with_a_critic_is_held_against_the_fit_that_lacks_only_the_critic(name: str) -> None:
    compared = [cells[:2] for cells in localisation_differences_table(real_code()).rows]

    assert [second for first, second in compared if first == name] == ["surprisal", "surprisal, entropy, position"]
    assert [second for first, second in compared if first == f"{name} + surprisal"] == ["surprisal"]
    assert [second for first, second in compared if first == f"{name} + all untrained"] == [
        "surprisal, entropy, position"
    ]


@pytest.mark.parametrize(
    ("entry", "cell"),
    [
        (interval(0.012, 0.004), "+0.012 [+0.008, +0.016]\nwins"),
        (interval(-0.012, 0.004), "−0.012 [−0.016, −0.008]\nloses"),
        (interval(0.002, 0.004), "+0.002 [−0.002, +0.006]\nundecided"),
        ({"mean": 0.001, "low": 0.0, "high": 0.002}, "+0.001 [0.000, +0.002]\nundecided"),
        ({"mean": 0.012, "low": None, "high": None}, "+0.012\nno interval"),
    ],
)
def test_the_verdict_is_whether_the_interval_excludes_zero(entry: dict[str, Any], cell: str) -> None:
    pair = ("generative + surprisal", "surprisal")
    results = with_difference(real_code(), entry, *pair)

    assert row(localisation_differences_table(results), *pair)["AUC"] == cell


def test_by_source_each_method_fares_by_the_intervals_of_that_source() -> None:
    results = real_code(critics=["generative"])
    found = results["critics"]["doctests"]["localisation"]["generative + all untrained"]
    found["auc_over"] |= {"surprisal": interval(0.5, 0.1), "surprisal, entropy, position": interval(-0.5, 0.1)}
    cells = row(localisation_by_source_table(results), "generative + all untrained")

    assert cells["humaneval: AUC"] == "0.885\nwins"
    assert cells["doctests: AUC"] == "0.895\nloses"


def test_one_source_is_no_table_by_source() -> None:
    assert localisation_by_source_table(real_code(sources=["humaneval"])).rows == ()
    assert [cells[0] for cells in data_table(real_code(sources=["humaneval"])).rows][:2] == ["humaneval", "fold 0"]


def test_what_gives_no_chance_of_success_has_no_calibration() -> None:
    table = outcome_table(real_code(critics=["implicit"]))

    assert row(table, "surprisal")["ECE"] == row(table, "surprisal")["Brier score"] == "–"
    assert row(table, "implicit")["ECE"] == "0.057"


def test_a_student_is_held_against_every_control() -> None:
    compared = [cells[:2] for cells in student_differences_table(real_code()).rows]

    assert compared == [
        ("log-odds", "uniform"), ("log-odds", "right-only"), ("log-odds", "shuffled-across"),
        ("log-odds", "untrained"), ("uniform", "untrained"), ("right-only", "uniform"),
        ("shuffled-across", "uniform"),
    ]  # fmt: skip


def test_controls_are_shown_before_the_student_under_test_is_finished() -> None:
    table = student_differences_table(real_code(students=["untrained", "uniform", "right-only"]))

    assert [cells[:2] for cells in table.rows] == [("uniform", "untrained"), ("right-only", "uniform")]


def test_losses_are_won_by_the_lower_on_right_completions_and_the_higher_on_wrong_tokens() -> None:
    cells = row(student_differences_table(real_code()), "right-only", "uniform")

    assert cells["Right completions, nats"] == "−0.032 [−0.035, −0.029]\nwins"
    assert cells["First wrong token, nats"] == "−0.055 [−0.065, −0.045]\nloses"
    assert cells["Other tokens, nats"] == "−0.030 [−0.033, −0.027]\nlower"
    assert cells["Prefers right, points"] == "+1.0 [−0.5, +2.5]\nundecided"


def test_where_no_task_was_decoded_there_is_no_column_of_pass_at_1() -> None:
    results = real_code()
    for entry in results["students"]["all"]["students"].values():
        del entry["pass1"], entry["pass1_over"]

    assert "Pass@1, %" not in students_table(results).headings
    assert "Pass@1, points" not in student_differences_table(results).headings


def test_cost_adds_up_folds_and_jobs() -> None:
    table = cost_table(real_code(critics=["generative"], students=["untrained"]))

    assert row(table, "critics/generative") == {
        "Job": "critics/generative", "Folds": "5", "Training": "25.2", "Testing": "8.4", "Both": "33.7",
    }  # fmt: skip
    assert row(table, "total")["Training"] == "50.5"  # 2 * 1515 s


def test_heads_trained_while_judging_are_said_to_be_uncounted() -> None:
    assert "Not counted: value-linear and value-mlp," in cost_table(real_code()).caption
    assert "Not counted" not in cost_table(real_code(critics=["generative"])).caption


def test_the_untrained_model_alone_is_no_table_of_students() -> None:
    results = real_code(students=["untrained"])

    assert students_table(results).rows == student_differences_table(results).rows == ()


@pytest.mark.parametrize("make", EVERY)
def test_rows_have_as_many_cells_as_headings(make: Any) -> None:
    for results in (real_code(), real_code(critics=[]), without_bounds(real_code())):
        table = make(results)
        assert {len(cells) for cells in table.rows} <= {len(table.headings)}


@pytest.mark.parametrize("make", EVERY)
def test_without_any_section_a_table_has_no_rows(make: Any) -> None:
    assert make({}).rows == ()


def test_kinds_of_bugs_are_rows_with_the_critic_that_helps_most() -> None:
    results = real_code(critics=["generative", "implicit"])
    found = results["critics"]["all"]["localisation"]
    found["generative + all untrained"]["auc"]["mean"] = 0.5
    found["implicit + all untrained"]["auc"]["mean"] = 0.95
    results["kinds"] = {"off_by_one": {"completions": 29, "localisation": found}}
    table = kinds_table(results)
    assert table.headings[-2:] == ("implicit", "implicit + all untrained")
    cells = row(table, "off by one")
    assert cells["Completions"] == "29"
    assert cells["implicit + all untrained"].startswith("0.950")


@pytest.mark.parametrize("missing", ["kinds", "critics"])
def test_without_kinds_or_critics_there_is_no_table_of_kinds(missing: str) -> None:
    results = real_code(critics=["generative"]) | {"kinds": {}}
    del results[missing]
    assert kinds_table(results).rows == ()
