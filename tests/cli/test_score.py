"""How `wmtp score` ends: with the command that follows its own advice."""

import dataclasses

import numpy as np
import pytest

from weighted_mtp.cli.score import ways_to_train
from weighted_mtp.evaluation.critic_skill import critic_skill
from weighted_mtp.training.score_settings import ScoreConfig

RIGHT = np.tile([True, False, True, False], 100)
KNOWS, GUESSES = (
    critic_skill(RIGHT * by + 0.3 * np.random.default_rng(0).normal(size=400), RIGHT, np.arange(400) // 4, np.ones(400))
    for by in (1.0, 0.0)
)
GATED = "train on them with: wmtp train baseline --scheme gated --scheme_options '{}' --train_file out"
RIGHT_ONLY = "train on them with: wmtp train baseline --keep right --train_file rows.jsonl"
COLUMN = "wmtp train baseline --scheme column --train_file out"


@pytest.mark.parametrize(
    ("skill", "settings", "ways"),
    [
        (KNOWS, {}, [f"{GATED} ..."]),
        (KNOWS, {"turns": "last"}, [f"{GATED} --turns last ..."]),
        (KNOWS, {"gamma": 0.9}, [f"{GATED} --gamma 0.9 ..."]),
        (KNOWS, {"scheme": "log_odds"}, [f"{GATED} ...", f"or by the weights of scheme log_odds: {COLUMN} ..."]),
        (
            KNOWS,
            {"scheme_options": {"beta": 0.3}, "turns": "last"},
            [f"{GATED} --turns last ...", f"or by the weights of scheme td: {COLUMN} --turns last ..."],
        ),
        (GUESSES, {}, [f"{RIGHT_ONLY} ..."]),
        (GUESSES, {"scheme": "log_odds"}, [f"{RIGHT_ONLY} ...", f"or by the weights of scheme log_odds: {COLUMN} ..."]),
        (dataclasses.replace(KNOWS, own_samples=True), {}, [f"{RIGHT_ONLY} ..."]),
        (None, {}, [f"train on them with: {COLUMN} ..."]),
        (None, {"scheme": "log_odds"}, [f"train on them with: {COLUMN} ..."]),
    ],
)
def test_the_last_lines_follow_the_advice_and_name_weights_that_were_asked_for(skill, settings, ways):
    assert (KNOWS.gate > 0.5, GUESSES.gate) == (True, 0.0)
    assert ways_to_train(ScoreConfig("critic", "rows.jsonl", "out", **settings), skill) == ways
