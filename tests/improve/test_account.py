"""When it stops, what a round is measured against, what is kept, and what the page shows, without any model."""

import json

import pytest

from weighted_mtp.evaluation.intervals import Interval, bootstrap_interval
from weighted_mtp.improve.account import RoundNumbers, best_round, gains, no_gain_twice
from weighted_mtp.improve.page import write_improve_page
from weighted_mtp.improve.rows import nothing_to_learn, training_rows
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.reports.numbers import interval

UP, NONE, DOWN = (1, Interval(0.1, 0.02, 0.2)), (1, Interval(0.01, -0.02, 0.04)), (1, Interval(-0.1, -0.2, -0.02))


@pytest.mark.parametrize(
    ("found", "stops"),
    [
        ([], False),
        ([NONE], False),
        ([NONE, NONE], True),
        ([NONE, DOWN], True),
        ([NONE, UP], False),
        ([UP, NONE], False),
        ([NONE, UP, NONE], False),
        ([UP, NONE, NONE], True),
        ([(0, Interval(1.0, None, None))] * 2, True),
    ],
)
def test_it_stops_when_two_rounds_in_a_row_show_no_gain(found, stops):
    assert no_gain_twice(found) is stops


def solved(right: int, n: int = 100) -> dict[int, float]:
    return {i: float(i < right) for i in range(n)}


def test_small_gains_add_up_against_the_last_round_that_gained():
    found = gains([solved(50), solved(52), solved(60), solved(61)])
    assert [best for best, _ in found] == [0, 0, 2]
    assert [gain.low > 0 for _, gain in found] == [False, True, False]
    assert [round(gain.mean, 2) for _, gain in found] == [0.02, 0.1, 0.01]


def numbers(tmp_path, number: int, right: int) -> RoundNumbers:
    folder = tmp_path / f"round{number}"
    (folder / "evaluation").mkdir(parents=True)
    rows = [{"problem": i, "kind": "greedy", "completion": f"<b>{number}</b>"} for i in range(100)]
    (folder / "evaluation" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    share = Interval(right / 100, right / 100 - 0.05, right / 100 + 0.05)
    record = {"tokens": 12_345, "seconds": 90.0, "rows": 8, "right": 3, "judged": 6, "cut": 1}
    return RoundNumbers(number, folder, {"solved": share}, {"solved": solved(right)}, {"sample": record})


def page(tmp_path, rounds) -> str:
    config = ImproveConfig(model="a/<i>", problems="p", held_out="h", verifier="numeric", out=str(tmp_path))
    held_out = {i: {"prompt": [{"role": "user", "content": "<script>1</script>"}]} for i in range(100)}
    return write_improve_page(tmp_path / "x.html", config, rounds, held_out, "It <ended>.").read_text()


def test_the_page_escapes_what_models_and_people_wrote(tmp_path):
    shown = page(tmp_path, [numbers(tmp_path, 0, 50), numbers(tmp_path, 1, 60)])
    assert "<b>" not in shown
    assert "&lt;b&gt;1&lt;/b&gt;" in shown
    assert "user: &lt;script&gt;1" in shown
    assert "Improving &lt;i&gt;" in shown
    assert "It &lt;ended&gt;." in shown


def test_the_page_says_what_was_gained_and_what_it_cost(tmp_path):
    shown = page(tmp_path, [numbers(tmp_path, 0, 50), numbers(tmp_path, 1, 60)])
    assert "From 50.0 to 60.0" in shown
    gain = bootstrap_interval([1.0] * 10 + [0.0] * 90)
    said = f"+10.0 points ({interval(gain.low, gain.high)}), which shows a gain. The model to keep: {tmp_path}/round1/"
    assert said in shown
    assert "12,345 tokens <small>1.5 min</small>" in shown
    assert '<th role="rowheader" scope="row">right of them, %</th><td role="cell">50.0</td>' in shown
    assert shown.count("solved now, not before") == 4


def test_where_no_round_gained_the_start_model_is_to_keep(tmp_path):
    rounds = [numbers(tmp_path, 0, 50), numbers(tmp_path, 1, 51)]
    assert best_round(rounds) == 0
    assert "which shows no gain. No round shows a gain: keep the start model." in page(tmp_path, rounds)


def row(prompt: str, completion: str, label, verdict: str = "") -> dict:
    verdict = verdict or ("error" if label is None else "pass" if label else "fail")
    return {"prompt": prompt, "completion": completion, "label": label, "verdict": verdict}


def test_a_round_alone_is_trained_on_as_it_is_but_for_what_was_not_judged():
    rows = [row("a", "1", True), row("a", "1", True), row("a", "", False), row("b", "2", None)]
    assert training_rows([rows]) == rows[:2]


def test_kept_rounds_are_balanced_by_prompt_and_perhaps_each_row_once():
    old = [row("a", str(i), i == 0) for i in range(6)] + [row("b", "1", True)]
    new = [row("a", "0", True), row("b", "1", True)]
    kept = training_rows([old, new])
    assert [x["prompt"] for x in kept] == ["a"] * 5 + ["b"] * 2
    assert [x["completion"] for x in kept[:4]] == ["0", "1", "0", "2"], "right and wrong in turn, the newest first"
    assert len(training_rows([old, new], distinct=True)) == 5


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([True, False, None], None),
        ([True, True, None], "numeric accepts all 2 samples"),
        ([False, None, None], "numeric rejects all 1 samples"),
        ([None, None], "numeric could judge none of 2 samples"),
    ],
)
def test_rows_of_one_outcome_teach_nothing(labels, said):
    found = nothing_to_learn([row("a", "1", label) for label in labels], "numeric")
    assert (found or "").startswith(said or "")
    assert (found is None) is (said is None)
