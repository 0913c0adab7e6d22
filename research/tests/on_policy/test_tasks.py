"""The tasks: what is right is known token by token, and follows from what was written."""

import random

import pytest

from research.on_policy.tasks import ALPHABET, TASKS, character_tokenizer

GIVEN = {
    "arithmetic": ("47+8-9+4:", "47+8=55;55-9=46;46+4=50"),
    "strings": ("abcdef|r<+:", "fedcba;edcbaf;fedcbg"),
    "states": ("351|13241523:", "a1155;b5511;c3332"),
}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request):
    return request.param


@pytest.mark.parametrize("name", GIVEN)
def test_a_solution_that_one_can_check_by_hand(name):
    prompt, solution = GIVEN[name]
    assert TASKS[name].solution(prompt) == solution


def test_every_prompt_has_a_right_solution_without_a_wrong_token(task):
    for prompt in task.prompts(random.Random(0), 50):
        solution = task.solution(prompt)
        assert len(solution) == task.length
        assert task.verify(prompt, solution)
        assert not any(task.wrong_tokens(prompt, solution))
        assert set(prompt + solution) <= set(task.alphabet)


def test_the_first_wrong_token_is_where_a_completion_leaves_the_solution(task):
    rng = random.Random(1)
    for prompt in task.prompts(rng, 50):
        solution, place = task.solution(prompt), rng.randrange(task.length)
        other = rng.choice([c for c in task.alphabet if c != solution[place]])
        wrong = task.wrong_tokens(prompt, solution[:place] + other + solution[place + 1 :])
        assert wrong.index(True) == place


@pytest.mark.parametrize("end", [-3, 3], ids=["too short", "too long"])
def test_a_wrong_end_is_a_wrong_token_and_a_wrong_completion(task, end):
    prompt = task.prompts(random.Random(2), 1)[0]
    solution = task.solution(prompt)
    completion = solution[:end] if end < 0 else solution + solution[:end]
    wrong = task.wrong_tokens(prompt, completion)
    assert wrong.index(True) == min(len(completion), task.length)
    assert not task.verify(prompt, completion)


def test_what_goes_on_rightly_from_a_wrong_step_is_right():
    wrong = TASKS["arithmetic"].wrong_tokens("47+8-9+4:", "47+8=56;56-9=47;47+4=51")
    assert [i for i, is_wrong in enumerate(wrong) if is_wrong] == [6]


def test_a_wrong_step_that_is_healed_gives_a_right_answer():
    task = TASKS["states"]
    prompt, healed = "351|13241523:", "a1155;b5511;c3342"
    assert task.verify(prompt, healed)
    assert any(task.wrong_tokens(prompt, healed))


def test_anything_can_be_judged(task):
    rng = random.Random(3)
    for prompt in task.prompts(rng, 50):
        completion = "".join(rng.choices(task.alphabet, k=rng.randrange(40)))
        assert len(task.wrong_tokens(prompt, completion)) == len(completion) + 1
        assert not task.verify(prompt, completion)


def test_prompts_are_different_and_none_of_those_given(task):
    known = task.prompts(random.Random(4), 40)
    assert len(set(known)) == 40
    assert not set(known) & set(task.prompts(random.Random(4), 40, but=known))


def test_a_character_is_a_token():
    tokenizer = character_tokenizer()
    ids = tokenizer(ALPHABET)["input_ids"]
    assert ids == list(range(len(ALPHABET)))
    assert tokenizer.decode(ids) == ALPHABET
