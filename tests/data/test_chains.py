from collections import Counter

import numpy as np
import pytest

from weighted_mtp.data import (
    EASY,
    LOW_SUCCESS,
    ChainTask,
    chain_tables,
    chain_tokenizer,
    make_chains,
    share_right,
    share_right_with_error,
    tokenize_rows,
    verify,
)

OPERATIONS = ("+3", "+7", "*3", "*7")


@pytest.fixture(scope="module")
def easy():
    return make_chains(EASY, seed=0)


def steps(row):
    """(digit before, operation, digit written) of each step, read from the text alone."""
    start, *operations = row["prompt"].removesuffix(" :").split()
    written = [int(digit) for digit in row["completion"].split()]
    return list(zip([int(start), *written], operations, written, strict=False))


def apply(digit, operation):
    return (digit + int(operation[1]) if operation[0] == "+" else digit * int(operation[1])) % 10


def test_a_chain_worked_by_hand_is_right():
    # 7+3=10, 0*7=0, 0+7=7, 7*3=21
    assert verify("7 +3 *7 +7 *3 :", "0 0 7 1")


@pytest.mark.parametrize("completion", ["0 0 7 2", "0 0 7", "0 0 7 1 1", "1", "", "a b c d", "0 0 7 11", "0 0 7 ¹"])
def test_a_completion_that_is_no_solution_is_false(completion):
    assert not verify("7 +3 *7 +7 *3 :", completion)


def test_a_chain_that_went_wrong_and_came_back_is_right():
    assert verify("7 +3 *7 +7 *3 :", "9 9 9 1")


@pytest.mark.parametrize("prompt", ["", "7", "7 +3", "77 +3 :", "seven +3 :", "7 /3 :"])
def test_a_prompt_that_is_no_chain_cannot_be_checked(prompt):
    with pytest.raises(ValueError, match="is not a chain"):
        verify(prompt, "0")


@pytest.mark.parametrize("task", [EASY, LOW_SUCCESS])
def test_labels_and_gold_answers_agree_with_the_program_that_checks(task):
    draw = make_chains(task, seed=3, n_train_traces=2_000, n_test_prompts=200)
    assert all(verify(row["prompt"], row["completion"]) == row["label"] for row in draw.train + draw.fresh)
    assert all(verify(row["prompt"], row["completion"]) and row["label"] for row in draw.test)
    assert all(row["completion"].split()[-1] == row["answer"] for row in draw.test)


def test_token_error_is_true_where_a_step_is_wrong_given_the_writers_own_result(easy):
    for row in easy.train[:2_000] + easy.fresh:
        assert [apply(d, op) != w for d, op, w in steps(row)] == row["token_error"]


@pytest.mark.parametrize("task", [EASY, LOW_SUCCESS])
def test_a_draw_has_the_tasks_size_and_its_prompts_have_equally_many_completions(task):
    draw = make_chains(task, seed=0)
    assert len(draw.train) == task.n_traces
    assert set(Counter(row["prompt"] for row in draw.train).values()) == {task.completions_per_prompt}
    assert len({row["prompt"] for row in draw.test}) == len(draw.test) == 512


def test_fresh_traces_are_one_for_each_test_prompt_in_their_order(easy):
    assert [row["prompt"] for row in easy.fresh] == [row["prompt"] for row in easy.test]
    assert all(row.keys() == easy.train[0].keys() for row in easy.fresh)


@pytest.mark.parametrize("task", [EASY, LOW_SUCCESS])
def test_fresh_traces_are_right_as_often_as_training_traces(task):
    draws = [make_chains(task, seed) for seed in range(6)]
    trained = np.mean([share_right(draw.train) for draw in draws])
    fresh = np.mean([share_right(draw.fresh) for draw in draws])
    assert fresh == pytest.approx(trained, abs=0.04)  # 3,072 fresh traces: five standard errors


def test_the_first_traces_are_those_drawn_before_there_were_fresh_ones(easy):
    first = [row["completion"] for row in easy.train[:3]]
    assert easy.train[0]["prompt"] == easy.train[2]["prompt"] == "4 +7 *7 +7 *7 :"
    assert first == ["1 6 3 1", "1 7 4 8", "1 7 4 3"]


@pytest.mark.parametrize("task", [EASY, LOW_SUCCESS])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_test_prompt_is_a_training_prompt(task, seed):
    draw = make_chains(task, seed)
    assert not {row["prompt"] for row in draw.train} & {row["prompt"] for row in draw.test}


def test_all_prompts_of_the_easy_setting_can_be_used_and_no_more():
    draw = make_chains(EASY, seed=0, n_train_traces=2_060, n_test_prompts=500, completions_per_prompt=1)
    assert len({row["prompt"] for row in draw.train + draw.test}) == EASY.n_prompts == 2_560
    with pytest.raises(ValueError, match="need 2061 training prompts, but easy has 2560, of which 500 are kept"):
        make_chains(EASY, seed=0, n_train_traces=2_061, n_test_prompts=500, completions_per_prompt=1)


def test_a_draw_is_a_function_of_its_seed():
    first, same, other = (make_chains(EASY, seed, n_train_traces=100, n_test_prompts=10) for seed in (1, 1, 2))
    assert first == same
    assert first.train != other.train
    assert not np.array_equal(chain_tables(EASY, 1).systematic, chain_tables(EASY, 2).systematic)


def test_the_teachers_tables_do_not_depend_on_how_much_is_drawn():
    wrong = [
        {s[:2]: s[2] for row in make_chains(EASY, 0, n).train for s in steps(row)[:1] if row["token_error"][0]}
        for n in (4_000, 16_000)
    ]
    tables = chain_tables(EASY, 0)
    digits, operations = np.nonzero(tables.systematic)
    for digit, op in zip(digits.tolist(), operations.tolist(), strict=True):
        entry = (digit, OPERATIONS[op])
        assert all(entry in seen for seen in wrong)
        assert apply(*entry) == tables.right[digit, op] != tables.wrong[digit, op]


@pytest.mark.parametrize("task", [EASY, LOW_SUCCESS])
def test_errors_come_at_their_expected_rates(task):
    tables = chain_tables(task, 0)
    seen, errors, answers = Counter(), Counter(), {}
    for row in make_chains(task, 0).train:
        for digit, operation, written in steps(row):
            entry = digit, OPERATIONS.index(operation)
            seen[entry] += 1
            if written != tables.right[entry]:
                errors[entry] += 1
                answers.setdefault(entry, Counter())[written] += 1
    assert tables.systematic.sum() == task.n_systematic == 4
    for entry, n in seen.items():
        p = task.p_systematic if tables.systematic[entry] else task.q_slip
        assert errors[entry] / n == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)  # five standard errors
        if tables.systematic[entry]:
            assert set(answers[entry]) == {tables.wrong[entry]}
    assert len(seen) == 40
    slips = Counter(a for e, c in answers.items() if not tables.systematic[e] for a in c.elements())
    assert len(slips) == 10


def test_without_errors_every_trace_is_right():
    perfect = ChainTask("perfect", n_ops=5, n_systematic=0, q_slip=0.0, n_traces=200, completions_per_prompt=2)
    draw = make_chains(perfect, seed=0)
    assert (share_right(draw.train), share_right_with_error(draw.train)) == (1.0, 0.0)


def test_the_easy_setting_is_right_in_69_percent():
    assert np.mean([share_right(make_chains(EASY, seed).train) for seed in range(6)]) == pytest.approx(0.69, abs=0.02)


def test_low_success_is_right_in_24_percent_and_22_percent_of_those_hold_an_error():
    draws = [make_chains(LOW_SUCCESS, seed).train for seed in range(6)]
    assert np.mean([share_right(rows) for rows in draws]) == pytest.approx(0.24, abs=0.02)
    assert np.mean([share_right_with_error(rows) for rows in draws]) == pytest.approx(0.22, abs=0.03)


def test_the_shares_of_a_small_example_are_counted_by_hand():
    rows = [
        {"label": True, "token_error": [False, False]},
        {"label": True, "token_error": [True, True]},
        {"label": False, "token_error": [False, True]},
        {"label": False, "token_error": [True, False]},
    ]
    assert (share_right(rows), share_right_with_error(rows)) == (0.5, 0.5)
    assert share_right_with_error(rows[2:]) == 0.0


def test_the_tokenizer_gives_one_token_for_each_operation_and_result(easy):
    data, _ = tokenize_rows(easy.train[:50], chain_tokenizer())
    assert {len(ids) for ids in data["input_ids"]} == {6 + 4 + 1}
    assert {len(errors) for errors in data["token_error"]} == {5}
    assert data[0]["labels"][:6] == [-100] * 6


def test_the_tokenizer_round_trips_and_refuses_an_unknown_word(easy):
    tokenizer = chain_tokenizer()
    for row in easy.train[:20]:
        assert tokenizer.decode(tokenizer(row["prompt"])["input_ids"]) == row["prompt"]
    with pytest.raises(Exception, match="UNK"):
        tokenizer("seven")


def test_the_tokenizer_survives_saving(tmp_path):
    from transformers import AutoTokenizer

    chain_tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("7 +3 :")["input_ids"] == [7, 11, 22]
    assert (loaded.eos_token_id, loaded.pad_token_id, len(loaded)) == (23, 24, 25)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_ops", 0), ("n_ops", 26), ("n_systematic", 41), ("q_slip", 1.5), ("p_systematic", -0.1), ("n_traces", 0)],
)
def test_an_impossible_task_is_refused(field, value):
    from dataclasses import replace

    with pytest.raises(ValueError, match=field):
        replace(EASY, **{field: value})


def test_an_impossible_draw_is_refused():
    with pytest.raises(ValueError, match="at least 1, 1 and 0 are needed"):
        make_chains(EASY, seed=0, n_train_traces=0)
