"""The candidate tasks: solutions that reasoning-gym accepts, and wrong tokens that follow from what was written."""

import random

import pytest

from research.own_smollm2.tasks import TASKS
from weighted_mtp.models import load_tokenizer

GIVEN = {
    "words": ("Tom has 62 pens, wins 28, then has 3 times as many. How many now?\n", "62+28=90\n90*3=270"),
    "chain_sum": ("State the final answer ... problem: 186 - 830 + 24 =\n", "186-830=-644\n-644+24=-620"),
    "products": ("Solve the following multiplication: 59 * 44. Give ...\n", "59*40=2360\n59*4=236\n2360+236=2596"),
    "gcd": ("Find the ... of these numbers: 12, 18. Give ...\n", "12%18=12\n18%12=6\n12%6=0\n6"),
    "spell_backward": ("Spell this word backward (example: sun -> nus): pens\n", "p e n s\ns n e p\nsnep"),
}


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request):
    if request.param.name != "words":
        request.getfixturevalue("reasoning_gym")
    return request.param


def marks(name: str, completion: str) -> str:
    """`x` below each wrong character, the end included."""
    return "".join(" x"[wrong] for wrong in TASKS[name].wrong_characters(GIVEN[name][0], completion))


@pytest.mark.parametrize("name", GIVEN)
def test_a_solution_that_one_can_check_by_hand(name):
    prompt, solution = GIVEN[name]
    assert TASKS[name].solution(prompt) == solution


def test_every_prompt_has_a_right_solution_without_a_wrong_token(task):
    prompts = task.prompts(random.Random(0), 50)
    assert len(set(prompts)) == 50
    for prompt in prompts:
        assert task.verify(prompt, task.solution(prompt))
        assert not any(task.wrong_characters(prompt, task.solution(prompt)))


def test_reasoning_gym_accepts_the_answers_of_our_solutions(reasoning_gym):
    from reasoning_gym import create_dataset

    for name in GIVEN.keys() - {"words"}:
        made = create_dataset(name, seed=3, size=20, **({"max_terms": 3} if name == "chain_sum" else {}))
        for entry in made:
            if name != "products" or 9 < int(entry["question"].split("* ")[1].split(".")[0]) < 100:
                said = TASKS[name].solution(entry["question"]).split("\n")[-1].split("=")[-1]
                assert made.score_answer(said, entry) == 1, entry["question"]


def test_a_line_is_held_against_the_right_one_and_what_goes_on_from_a_wrong_one_is_right():
    assert marks("words", "62+28=80\n80*3=240") == " " * 6 + "x" + " " * 11
    assert marks("words", "62+38=90\n90*3=270") == " " * 3 + "x" + " " * 14


def test_an_end_too_early_and_a_line_too_many_are_wrong():
    assert marks("words", "62+28=90") == " " * 8 + "x"
    assert marks("words", "62+28=90\n90*3=27") == " " * 16 + "x"
    assert marks("words", "62+28=90\n90*3=270\n1") == " " * 17 + "xx "


def test_behind_a_line_that_says_nothing_the_next_is_wrong():
    assert marks("words", "62+28=\n90*3=270") == " " * 6 + "x" * 9 + " "


def test_a_wrong_step_that_is_healed_gives_a_right_answer():
    prompt, solution = GIVEN["products"]
    healed = solution.replace("2360", "2361", 1)
    assert TASKS["products"].verify(prompt, healed)
    assert any(TASKS["products"].wrong_characters(prompt, healed))


def test_anything_can_be_judged(task):
    rng = random.Random(1)
    for prompt in task.prompts(rng, 20):
        completion = "".join(rng.choices("0123456789+-*%= \nab", k=rng.randrange(1, 30)))
        assert len(task.wrong_characters(prompt, completion)) == len(completion) + 1
        assert task.verify(prompt, completion) in (True, False)


def test_prompt_and_completion_of_smollm2_meet_between_tokens_and_a_digit_is_one(smollm2_dir):
    tokenizer = load_tokenizer(smollm2_dir)
    for prompt, solution in GIVEN.values():
        apart = [*tokenizer(prompt)["input_ids"], *tokenizer(solution)["input_ids"]]
        assert tokenizer(prompt + solution)["input_ids"] == apart
    assert len(tokenizer("2360")["input_ids"]) == 4
