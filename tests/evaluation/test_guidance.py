"""Guided decoding writes what log p_right + guidance * (log p_right - log p_wrong) says, row by row."""

import pytest
import torch

from tests.models.conftest import make, move
from weighted_mtp.cli.settings import GenerateSettings
from weighted_mtp.evaluation.generation import write_tokens
from weighted_mtp.evaluation.sampling import SeededDraws
from weighted_mtp.models import RIGHT, WRONG, CriticSpec, MTPModel
from weighted_mtp.training.errors import ConfigError

SPECS = [CriticSpec("generative"), CriticSpec("generative", tags={"right": [7, 8, 9], "wrong": [11]})]
PROMPTS = [[5, 6, 7], [8], [5, 6, 7], [9, 4, 3, 11, 12]]
MANY = 36  # tokens: more than two looks at what has ended


@pytest.fixture(params=SPECS, ids=["embedding", "tags"])
def critic(request):
    model = move(MTPModel(make("llama"), critic=request.param)).eval()
    for parameter in model.label_condition.parameters():
        parameter.data.mul_(0.2)  # large vectors drown the tokens, and all rows end alike
    return model


@torch.no_grad()
def expected(critic, prompt, label, guidance):
    """Greedy, by whole passes over one row."""
    row = list(prompt)
    for _ in range(MANY):
        logps = []
        for told in (label, WRONG + RIGHT - label):
            hidden = critic(torch.tensor([row]), condition=torch.tensor([told]))["hidden_states"]
            logps.append(critic.hf_model.get_output_embeddings()(hidden[0, -1, 0]).log_softmax(-1))
        row.append(int((logps[0] + guidance * (logps[0] - logps[1])).argmax()))
    return row[len(prompt) :]


def cut(row, ends):
    return row[: next((i for i, token in enumerate(row, start=1) if token in ends), None)]


@pytest.mark.parametrize(("word", "label"), [("right", RIGHT), ("wrong", WRONG)])
def test_greedy_tokens_are_those_of_the_formula_while_rows_leave_the_batch(critic, word, label):
    whole = [expected(critic, prompt, label, 0.5) for prompt in PROMPTS]
    ends = next([end] for end in whole[0] + whole[3] if len({len(cut(row, [end])) for row in whole}) > 1)
    with torch.no_grad():
        written = write_tokens(critic, PROMPTS, max_new_tokens=MANY, pad=0, ends=ends, condition=word, guidance=0.5)
    assert written == [cut(row, ends) for row in whole]


def test_guidance_changes_what_is_written(critic):
    with torch.no_grad():
        plain, guided = (
            write_tokens(critic, PROMPTS, max_new_tokens=MANY, pad=0, ends=[], condition="right", guidance=g)
            for g in (0.0, 1.5)
        )
    assert plain != guided


def test_a_sample_is_that_of_its_seed_whatever_else_is_in_the_batch(critic):
    def written(prompts, seeds):
        draws = SeededDraws(seeds * 2, MANY, temperature=1.5)
        with torch.no_grad():
            return write_tokens(
                critic, prompts, max_new_tokens=MANY, pad=0, ends=[17, 40], draws=draws, condition="right", guidance=1.0
            )

    together = written(PROMPTS, [[seed] for seed in range(len(PROMPTS))])
    assert together == [written([prompt], [[seed]])[0] for seed, prompt in enumerate(PROMPTS)]


def test_guidance_without_a_label_is_refused():
    with pytest.raises(ConfigError, match="give --label right"):
        GenerateSettings("model", "text", guidance=1.0)


@pytest.mark.parametrize("guidance", [-1.0, float("inf"), float("nan")])
def test_guidance_is_a_number_from_0_on(guidance):
    with pytest.raises(ConfigError, match="give 0"):
        GenerateSettings("model", "text", label="right", guidance=guidance)


def test_guidance_of_nothing_is_refused(critic):
    with pytest.raises(ValueError, match="condition is None"):
        write_tokens(critic, PROMPTS, max_new_tokens=2, pad=0, ends=[], guidance=1.0)
