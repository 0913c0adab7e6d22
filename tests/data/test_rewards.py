"""Outcomes that are more than right or wrong: rewards, steps, pass rates, and what of them reaches a batch."""

import pytest
import torch

from weighted_mtp.data import CompletionCollator, DataError, chain_tokenizer, parse_row, tokenize_rows
from weighted_mtp.data.schema import is_unjudged

PLAIN = {"prompt": "7 +3 *7 :", "completion": "0 3 7 1"}
ROW = PLAIN | {"label": True}
TOKENIZER = chain_tokenizer()


def one(row, **options):
    return tokenize_rows([parse_row(row)], TOKENIZER, **options)[0][0]


# --- the outcome


@pytest.mark.parametrize(("reward", "label"), [(0.7, True), (0.5, False), (-3.5, False), (2, True), (True, True)])
def test_a_reward_is_any_number_and_right_above_a_half(reward, label):
    row = parse_row(PLAIN | {"reward": reward})
    assert (row["reward"], row["label"]) == (reward, label)
    assert parse_row(row) == row
    assert one(PLAIN | {"reward": reward})["reward"] == pytest.approx(float(reward))


def test_a_label_without_a_reward_is_1_or_0():
    assert "reward" not in parse_row(ROW)
    assert one(ROW)["reward"] == 1.0


def test_a_reward_and_a_label_must_agree():
    assert parse_row(ROW | {"reward": 0.6})["reward"] == 0.6
    with pytest.raises(DataError, match=r"`label` is True but `reward` is 0.4, and a reward above 0.5 is right"):
        parse_row(ROW | {"reward": 0.4})


@pytest.mark.parametrize("reward", [float("nan"), 1e39, "high", [1]])
def test_a_reward_that_is_no_finite_number_is_malformed(reward):
    with pytest.raises(DataError, match=r"`reward` is .*: a finite number is needed"):
        parse_row(PLAIN | {"reward": reward})


def test_a_reward_that_is_not_known_leaves_a_row_unjudged():
    assert is_unjudged(PLAIN | {"reward": None})
    assert is_unjudged(PLAIN | {"reward": 0.5, "verdict": "error"})
    assert not is_unjudged(PLAIN | {"reward": 0.5, "label": None})


def test_a_reward_against_its_verdict_is_refused():
    with pytest.raises(DataError, match=r"`reward` is 0.2 but `verdict` is 'pass'"):
        parse_row(PLAIN | {"reward": 0.2, "verdict": "pass"})


# --- steps


def test_steps_alone_give_the_least_of_them_as_outcome():
    steps = [{"end": 3, "reward": 0.9}, {"end": 7, "reward": 0.2}]
    row = parse_row(PLAIN | {"steps": steps})
    assert (row["reward"], row["label"], row["steps"]) == (0.2, False, steps)
    assert parse_row(row) == row


def test_beside_an_outcome_steps_are_only_what_is_paid():
    item = one(ROW | {"steps": [{"end": 3, "label": False}, {"end": 7, "label": 1}]})
    assert item["reward"] == 1.0
    assert item["rewards"] == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_trls_steps_are_joined_by_line_breaks_and_end_where_their_texts_do():
    row = parse_row({"prompt": "p", "completions": ["a b", "c ", "d"], "labels": [True, 1, False]})
    assert row["completion"] == "a b\nc d"
    assert [row["completion"][: step["end"]] for step in row["steps"]] == ["a b", "a b\nc ", "a b\nc d"]
    assert [step["reward"] for step in row["steps"]] == [1.0, 1.0, 0.0]
    assert row["label"] is False
    assert not {"completions", "labels"} & row.keys()


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], r"`steps` holds \[\]: a list of"),
        ([{"end": 3}], r"`steps` holds .*\"reward\" or \"label\""),
        ([{"end": 3, "reward": 1, "label": True}], "`steps` holds"),
        ([{"end": 0, "reward": 1}], "a step ends at 0: ends must rise"),
        ([{"end": 3, "reward": 1}, {"end": 3, "reward": 1}], "a step ends at 3"),
        ([{"end": 8, "reward": 1}], "to the completion's 7 characters"),
        ([{"end": 2.0, "reward": 1}], r"a step ends at 2\.0"),
        ([{"end": 3, "label": "good"}], "`label` is 'good'"),
    ],
)
def test_a_malformed_step_is_named(steps, reason):
    with pytest.raises(DataError, match=reason):
        parse_row(ROW | {"steps": steps})


def test_steps_and_labels_of_other_lengths_are_refused():
    with pytest.raises(DataError, match="must be lists of one length"):
        parse_row({"prompt": "p", "completions": ["a"], "labels": [True, False]})


def test_a_step_is_paid_at_the_token_of_its_last_character_and_the_last_step_at_the_end():
    # tokens 0, 3, 7, 1 stand at characters 0, 2, 4, 6
    item = one(ROW | {"steps": [{"end": 3, "reward": 0.25}, {"end": 4, "reward": 0.5}, {"end": 7, "reward": 0.125}]})
    assert item["rewards"] == [0.0, 0.25, 0.5, 0.0, 0.125]
    assert item["steps"] == [0.25, 0.25, 0.5, 0.125, 0.125]


def test_what_stands_behind_the_last_step_belongs_to_it():
    item = one(ROW | {"steps": [{"end": 3, "reward": 0.25}]})
    assert item["rewards"] == [0.0, 0.25, 0.0, 0.0, 0.0]
    assert item["steps"] == [0.25] * 5


def test_a_row_without_steps_among_others_is_paid_at_its_end():
    rows = [parse_row(ROW | {"steps": [{"end": 1, "reward": 1}]}), parse_row(PLAIN | {"reward": 0.75})]
    data, _ = tokenize_rows(rows, TOKENIZER)
    assert data[1]["rewards"] == [0.0, 0.0, 0.0, 0.0, 0.75]
    assert "rewards" not in tokenize_rows(rows[1:], TOKENIZER)[0].column_names


def test_steps_that_are_cut_off_are_paid_at_the_last_token_that_is_left():
    steps = [{"end": 1, "reward": 0.25}, {"end": 5, "reward": 0.5}, {"end": 7, "reward": 0.125}]
    assert one(ROW | {"steps": steps}, max_length=6)["rewards"] == [0.25, 0.625]


def test_bytes_of_a_character_belong_to_the_step_that_ends_with_it(tokenizer):
    row = parse_row({"prompt": "p", "completion": "a한b", "steps": [{"end": 2, "reward": 1}, {"end": 3, "reward": 0}]})
    assert tokenize_rows([row], tokenizer)[0][0]["rewards"] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


# --- pass rates and batches


def test_the_pass_rate_is_the_mean_reward_of_a_prompts_rows_unless_a_row_brings_its_own():
    other = PLAIN | {"prompt": "7 :"}
    rows = [ROW, PLAIN | {"reward": 0.25}, other | {"reward": 0}, other | {"reward": 1, "pass_rate": 0.75}]
    data, _ = tokenize_rows([parse_row(row) for row in rows], TOKENIZER)
    assert data["pass_rate"][:] == [0.625, 0.625, 0.5, 0.75]


def test_a_pass_rate_that_is_no_number_is_malformed():
    with pytest.raises(DataError, match="`pass_rate` is 'most'"):
        parse_row(ROW | {"pass_rate": "most"})


def test_step_rewards_pass_rates_and_factors_reach_the_batch_at_the_positions_that_predict(tokenizer):
    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc", "weight": 0.5}]
    rows = [
        {"messages": turn, "steps": [{"end": 1, "reward": 1}, {"end": 2, "reward": 0}]},
        {"messages": turn, "label": 1},
    ]
    data, _ = tokenize_rows([parse_row(row) for row in rows], tokenizer)
    batch = CompletionCollator.from_tokenizer(tokenizer)([data[0], data[1]])
    predicts = torch.nn.functional.pad(batch["labels"][:, 1:] != -100, (0, 1))
    assert batch["rewards"].tolist() == [0.0, 1.0]
    assert batch["pass_rate"].tolist() == [0.5, 0.5]
    assert batch["step_rewards"][predicts].tolist() == [1, 0, 0, 0, 0, 1]
    assert batch["steps"][predicts].tolist() == [1, 0, 0, 1, 1, 1]
    assert torch.equal(batch["loss_weights"], 0.5 * predicts)
    assert not batch["step_rewards"][~predicts].any()


def test_weights_may_be_negative():
    assert one(ROW | {"weights": [-1.0, 0.5, 0.0, 2.0, -0.25]})["weights"] == [-1.0, 0.5, 0.0, 2.0, -0.25]


def test_a_pass_rate_is_a_share():
    with pytest.raises(DataError, match=r"`pass_rate` is 2.0: a share between 0 and 1"):
        parse_row(ROW | {"pass_rate": 2})
