"""Greedy decoding in batches equals decoding one by one."""

import pytest

from weighted_mtp.data import chain_tokenizer, verify
from weighted_mtp.evaluation.decoding import accuracy, decode
from weighted_mtp.models import MTPModel

PROMPTS = ["7 +3 *7 :", "1 +3 :", "2 *3 *3 +7 :"]


@pytest.fixture
def model(chain_base) -> MTPModel:
    return MTPModel.from_pretrained(chain_base / "base")


def test_a_batch_decodes_as_its_prompts_alone(model):
    tokenizer = chain_tokenizer()
    together = decode(model, tokenizer, PROMPTS, max_new_tokens=4)
    alone = [decode(model, tokenizer, [prompt], max_new_tokens=4)[0] for prompt in PROMPTS]
    assert together == alone


def test_decoding_leaves_the_model_in_its_mode(model):
    model.train()
    decode(model, chain_tokenizer(), PROMPTS[:1], max_new_tokens=1)
    assert model.training


def test_accuracy_is_the_share_that_the_verifier_accepts():
    assert accuracy(["1 +3 :", "1 +3 :"], ["4", "5"], verify) == 0.5
