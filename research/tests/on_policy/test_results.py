"""What the page may say follows from paired differences and their correction."""

import pytest

from research.corrected import holm, paired_p
from research.on_policy.arms import COMPARED
from research.on_policy.report import critics_table, decided, page
from research.on_policy.results import Difference, differences
from research.on_policy.settings_tables import METRICS, notes, starts, told_shares, why_missed
from research.on_policy.weight_tables import oracle_table
from weighted_mtp.evaluation.intervals import Interval
from weighted_mtp.reports.numbers import NOTHING, number

NOISE = (0.0, 0.01, -0.01, 0.02, -0.02)
LEADS = {"right_only": 0.0, "oracle": 0.037, "gated": 0.0}
ARMS = {"right_only": 0.5, "uniform": 0.3, "oracle": 0.7, "gated": 0.5, "log_odds": 0.5}


def cell(task: str, arm: str, seed: int, solved: float) -> dict:
    return {
        "task": task, "share": 25, "seed": seed, "name": arm, "round": 1, "greedy": solved, "sampled": solved,
        "cpu_seconds": 1.0,
    }  # fmt: skip


@pytest.fixture
def results() -> dict:
    """Two tasks, five draws: the oracle leads by 20 points, gated by what is noise, log_odds by nothing at all."""
    cells = []
    for task in ("strings", "states"):
        for seed, noise in enumerate(NOISE):
            shifts = {"oracle": NOISE[seed - 1], "uniform": NOISE[seed - 2], "gated": 5 * NOISE[seed - 3] + 0.01}
            cells += [cell(task, arm, seed, mean + noise + shifts.get(arm, 0)) for arm, mean in ARMS.items()]
        cells.append(cell(task, "oracle", 1_000, 0.0))
    return {"cells": cells, "meta": {"date": "today"}}


def test_holm_by_hand():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06], abs=1e-12)


def test_a_correction_of_one_test_changes_nothing_and_none_exceeds_one():
    assert holm([0.2]) == [0.2]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_three_equal_leads_are_a_chance_of_rounding_and_no_certainty():
    assert paired_p([0.237, 0.337, 0.437], [0.2, 0.3, 0.4]) is None
    assert paired_p([0.2, 0.3], [0.2, 0.3]) == 1.0


def test_differences_are_paired_by_draw_and_leave_out_the_draw_outside(results):
    found = {(d.arm, d.task): d for d in differences(results, "greedy", ["oracle"], ["strings", "states"])}
    assert set(found) == {("oracle", "strings"), ("oracle", "states"), ("oracle", "all")}
    assert found["oracle", "strings"].draws == 5
    assert found["oracle", "strings"].interval.mean == pytest.approx(0.2)


def test_only_what_the_corrected_test_decides_is_called_better_or_worse(results):
    found = differences(results, "greedy", ["oracle", "uniform", "gated", "log_odds"], ["strings", "states"])
    verdicts = {(d.arm, d.task): d.verdict for d in found}
    assert verdicts["oracle", "strings"] == "better"
    assert verdicts["uniform", "all"] == "worse"
    assert verdicts["gated", "strings"] == "undecided"
    assert verdicts["log_odds", "all"] == "tie"


def test_a_single_draw_decides_nothing(results):
    one = {"cells": [c for c in results["cells"] if c["seed"] == 0], "meta": {}}
    assert {d.verdict for d in differences(one, "greedy", ["oracle"], ["strings"])} == {"undecided"}


def test_a_lead_that_is_the_same_in_every_draw_has_no_test_and_is_undecided():
    cells = [cell("strings", arm, seed, 0.2 + 0.1 * seed + lead) for seed in range(3) for arm, lead in LEADS.items()]
    found = {d.arm: d for d in differences({"cells": cells}, "greedy", ["oracle", "gated"], ["strings"])}
    assert (found["oracle"].draws, found["oracle"].p, found["oracle"].verdict) == (3, None, "undecided")
    assert (found["gated"].p, found["gated"].verdict) == (1.0, "tie")


def test_draws_that_lack_an_arm_are_left_out_of_its_difference(results):
    cells = [c for c in results["cells"] if (c["name"], c["seed"], c["task"]) != ("oracle", 3, "states")]
    found = {d.task: d.draws for d in differences({"cells": cells}, "greedy", ["oracle"], ["strings", "states"])}
    assert found == {"strings": 5, "states": 4, "all": 4}


def test_the_page_shows_the_oracles_lead_by_task_and_names_what_is_decided(results):
    text = page(results)
    assert "| `oracle`, strings, greedy | +20.0 (" in text
    assert "`oracle` on strings" in text.split("Decidedly better")[1].split(".")[0]
    assert "`gated` on" not in text


def test_the_headline_names_what_is_decided_of_both_ways_of_decoding(results):
    for c in results["cells"]:
        c["sampled"] += 0.4 * (c["name"] == "uniform")
    head = page(results).split("```")[0]
    assert "Decidedly better by greedy decoding: `oracle` on strings" in head
    assert "Decidedly worse by greedy decoding: `uniform` on strings" in head
    assert "Decidedly better sampled at temperature 1: `uniform` and `oracle` on strings" in head


def test_arms_that_are_decided_of_the_same_tasks_are_named_together():
    def better(task: str, arm: str) -> Difference:
        return Difference(task, arm, Interval(0.2, 0.1, 0.3), 5, 0.001, 0.01)

    found = [better("strings", "oracle"), better("all", "oracle"), better("strings", "dft"), better("all", "dft")]
    assert decided([*found, better("all", "nft")]) == [
        "Decidedly better by greedy decoding: `oracle` and `dft` on strings and all tasks together; "
        "`nft` on all tasks together."
    ]


def start(task: str, seed: int, right: float) -> dict:
    told = dict.fromkeys(("share_right", "right_with_error", "wrong_tokens_a_row"), right)
    budget = dict.fromkeys(("prompts", "samples", "steps", "batch_size", "learning_rate", "test_prompts"), 4)
    budget |= {"start_share": 0.1, "validation_prompts": 200, "critic_steps": 4}
    return cell(task, "start", seed, right) | told | {"start_steps": 50, "budget": budget}


def test_starts_are_told_by_what_their_rows_have_right_and_not_by_what_was_aimed_at(results):
    measured = {"strings": (0.2, 0.3, 0.36), "states": (0.06, 0.07, 0.14)}
    made = [start(task, seed, right) for task, some in measured.items() for seed, right in enumerate(some)]
    made.append(start("states", 1_000, 0.248))
    results["cells"] += made
    told = "Right, of the training rows: strings 20.0 to 36.0 % and states 6.0 to 14.0 %; about 25 % was aimed at, "
    assert told_shares(results, [*measured], 25) == told + "which states missed by more than half of that."
    text = page(results)
    assert "a quarter" not in text
    assert "## Every arm, from starts with 6.0 to 36.0 % right" in text
    assert told in text.split("```")[0]
    assert "outside. Right, of the training rows there: states 24.8 %." in text
    assert "went on to 24.8 % while the rate went down, those of the experiment to 6.0 to 14.0 %." in text
    assert [row[2] for row in starts(results, [*measured]).rows] == ["28.7 [20.0, 36.0]", "9.0 [6.0, 14.0]"]


def test_no_reason_is_given_for_an_aim_that_was_reached(results):
    results["cells"] += [start("strings", seed, 0.25) for seed in (0, 1, 1_000)]
    assert why_missed(results, ["strings"]) == ""
    assert told_shares(results, ["states"], 25) == ""


def test_a_difference_has_one_verdict_throughout_the_page(results):
    main = {metric: differences(results, metric, COMPARED, ["strings", "states"]) for metric in METRICS}
    shown = {(name, p, verdict) for name, _, _, p, verdict in oracle_table(main).rows}
    assert shown == {
        (f"`oracle`, {d.task}, {METRICS[metric]}", number(d.adjusted), d.verdict)
        for metric, found in main.items()
        for d in found
        if d.arm == "oracle"
    }


def test_an_auc_within_prompts_is_of_the_draws_that_have_one():
    def critic(seed: int, auc: float, within: bool) -> dict:
        known = {"verdict": "", "auc": {"mean": auc}, "explained": {"mean": 0.1}, "within_prompts": within}
        told = cell("strings", "label_conditioned", seed, 0.5)
        return told | {"fresh_skill": known, "localisation": {"auc": 0.5}, "train_cpu_seconds": 1.0}

    def shown(*within: bool) -> str:
        cells = [critic(seed, 0.6 + seed / 10, one) for seed, one in enumerate(within)]
        ((_, auc, *_),) = critics_table({"cells": cells}, ["strings"]).rows
        return auc

    assert shown(True, True, True) == "0.700 [0.600, 0.800]"
    assert shown(True, True, False) == "0.650 [0.600, 0.700] (2 of 3 draws)"
    assert shown(False, False) == NOTHING


def test_the_page_says_how_gated_fared():
    def told(low: float, high: float, adjusted: float) -> str:
        gated = Difference("all", "gated", Interval((low + high) / 2, low, high), 5, 0.005, adjusted)
        (note,) = [note for note in notes({"cells": []}, [], {"greedy": [gated]}) if "it is: greedy, " in note]
        return note.split("greedy, ")[1].split(". So")[0]

    assert told(-0.069, -0.022, 0.2) == "worse (interval below 0), undecided after correction"
    assert told(-0.069, -0.022, 0.04) == "decidedly worse"
    assert told(-0.069, 0.022, 0.2) == "undecided"
    assert told(-0.01, 0.02, 0.2) == "tie"


def test_where_no_draw_has_skill_what_is_mixed_by_it_is_right_only_itself(results):
    skill = {"skill": {"gate": 0.0, "auc": {"mean": 0.5}, "within_prompts": True, "verdict": ""}}
    with_skills = {**results, "cells": results["cells"] + [cell("strings", "skill", i, 0.0) | skill for i in range(5)]}
    assert "identity" not in page(results)
    assert "On strings s is 0 in every draw" in page(with_skills)


def test_the_page_says_what_is_decided_of_the_token_that_is_to_blame(results):
    led = [cell(c["task"], "oracle_behind", c["seed"], c["greedy"]) for c in results["cells"] if c["name"] == "oracle"]
    text = page({**results, "cells": results["cells"] + led}).split("## Which token is to blame")[1]
    assert "Decidedly better by greedy decoding: `oracle_behind` on strings" in text
    assert "Decidedly better sampled at temperature 1: `oracle_behind` on strings" in text


def test_without_a_draw_nothing_is_said_of_arms(results):
    outside = {"cells": [c for c in results["cells"] if c["seed"] >= 1_000], "meta": {}}
    assert "No draw has been made yet" in page(outside)
