"""A model that is told the label of its completion: by an embedding, or by tags that are plain text."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from weighted_mtp.models import RIGHT, UNTOLD, WRONG, CriticSpec, MTPModel
from weighted_mtp.models.label_condition import LabelTags

EMBEDDING = CriticSpec("generative")
TAGS = CriticSpec("generative", tags={"right": [7, 8, 9], "wrong": [11]}, bos=1)
TOLD = torch.tensor([RIGHT, WRONG])


def conditioned(lm, spec, trained) -> MTPModel:
    return trained(MTPModel(lm, n_future=2, value_head=True, critic=spec)).eval()


def states(model, batch, condition):
    with torch.no_grad():
        return model(**batch, condition=condition)["hidden_states"]


def attended(batch):
    return batch["attention_mask"].bool()


@pytest.mark.parametrize("spec", [EMBEDDING, TAGS], ids=["embedding", "tags"])
def test_untold_rows_are_those_of_the_plain_model(any_lm, batch, trained, spec):
    model = conditioned(any_lm, spec, trained)
    untold = states(model, batch, torch.tensor([UNTOLD, UNTOLD]))
    if spec is TAGS:  # whose positions do not count padding on the left
        batch = batch | {"position_ids": (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)}
    plain = states(model, batch, None)
    torch.testing.assert_close(untold[attended(batch)], plain[attended(batch)], rtol=1e-4, atol=1e-4)


def test_a_fresh_embedding_says_nothing(make_lm, batch):
    model = MTPModel(make_lm("llama"), critic=EMBEDDING).eval()
    assert torch.equal(states(model, batch, TOLD), states(model, batch, None))


@pytest.mark.parametrize("spec", [EMBEDDING, TAGS], ids=["embedding", "tags"])
def test_each_row_is_told_its_own_label(make_lm, batch, trained, spec):
    model = conditioned(make_lm("llama"), spec, trained)
    both = states(model, batch, TOLD)
    for row, label in enumerate(TOLD):
        one = {name: x[row : row + 1] for name, x in batch.items()}
        alone = states(model, one, label[None])
        seen = attended(one)
        torch.testing.assert_close(alone[seen], both[row : row + 1][seen], rtol=1e-4, atol=1e-5)
        other = states(model, one, 1 - label[None])
        assert not torch.allclose(alone[seen], other[seen], atol=1e-2)


def test_a_tagged_row_is_the_plain_model_on_the_tagged_text(any_lm, trained):
    model = conditioned(any_lm, TAGS, trained)
    told = states(model, {"input_ids": torch.tensor([[1, 20, 21, 22]])}, torch.tensor([RIGHT]))
    plain = states(model, {"input_ids": torch.tensor([[1, 7, 8, 9, 20, 21, 22]])}, None)
    torch.testing.assert_close(told, plain[:, [0, 4, 5, 6]], rtol=1e-4, atol=1e-4)


def test_tags_stand_after_the_beginning_of_text_and_behind_padding():
    tags = LabelTags(right=[7, 8], wrong=[9], bos=1)
    ids = torch.tensor([[0, 0, 1, 20], [1, 21, 22, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    longer, attention, place = tags.insert(ids, mask, TOLD)
    assert longer.tolist() == [[0, 0, 1, 7, 8, 20], [1, 9, 0, 21, 22, 0]]
    assert attention.tolist() == [[0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0]]
    assert place.tolist() == [[0, 1, 2, 5], [0, 3, 4, 5]]


@pytest.mark.parametrize("spec", [EMBEDDING, TAGS], ids=["embedding", "tags"])
def test_generation_under_a_label_follows_the_conditioned_states(make_lm, trained, spec):
    model = conditioned(make_lm("llama"), spec, trained)
    ids = torch.tensor([[1, 20, 21], [1, 30, 31]])
    written = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), condition="wrong", max_new_tokens=4,
        do_sample=False, eos_token_id=None,
    )  # fmt: skip
    expected = ids
    for _ in range(4):
        hidden = states(model, {"input_ids": expected}, torch.tensor([WRONG, WRONG]))
        logits = model.hf_model.get_output_embeddings()(hidden[:, -1, 0])
        expected = torch.cat([expected, logits.argmax(-1, keepdim=True)], 1)
    assert written.tolist() == expected.tolist()


@pytest.mark.parametrize("spec", [EMBEDDING, TAGS], ids=["embedding", "tags"])
def test_a_saved_model_comes_back_with_its_condition(make_lm, batch, trained, tmp_path, spec):
    model = conditioned(make_lm("llama"), spec, trained)
    model.save_pretrained(tmp_path)
    loaded = MTPModel.from_pretrained(tmp_path).eval()
    assert loaded.critic == spec
    assert torch.equal(states(loaded, batch, TOLD), states(model, batch, TOLD))
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_critic_can_be_taken_as_a_plain_model(make_lm, batch, trained, tmp_path):
    model = conditioned(make_lm("llama"), EMBEDDING, trained)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="generative critic, taken as a plain model"):
        plain = MTPModel.from_pretrained(tmp_path, critic=False).eval()
    assert torch.equal(states(plain, batch, None), states(model, batch, None))


def test_a_head_that_was_trained_for_another_kind_of_critic_starts_anew(make_lm, trained, tmp_path):
    trained(MTPModel(make_lm("llama"), value_head=True)).save_pretrained(tmp_path / "values")
    trained(MTPModel(make_lm("llama"), value_head=True, critic=EMBEDDING)).save_pretrained(tmp_path / "prior")
    as_prior = MTPModel.from_pretrained(tmp_path / "values", critic=EMBEDDING)
    with pytest.warns(UserWarning, match="taken as a plain model"):
        as_values = MTPModel.from_pretrained(tmp_path / "prior", value_head=True, critic=False)
    for model in (as_prior, as_values):
        assert not model.value_head.weight.any()
    assert MTPModel.from_pretrained(tmp_path / "prior").value_head.weight.any()


def test_a_model_without_critic_says_nothing_of_one(make_lm, tmp_path):
    MTPModel(make_lm("llama")).save_pretrained(tmp_path)
    assert "critic" not in json.loads((tmp_path / "weighted_mtp.json").read_text())


def test_a_plain_model_takes_no_condition(make_lm, batch):
    model = MTPModel(make_lm("llama"))
    with pytest.raises(ValueError, match="generative critic"):
        model(**batch, condition=TOLD)
    with pytest.raises(ValueError, match="generative critic"):
        model.generate(input_ids=batch["input_ids"], condition="right")


def test_an_unknown_label_is_refused(make_lm, batch):
    model = MTPModel(make_lm("llama"), critic=EMBEDDING)
    with pytest.raises(ValueError, match="give 'right' or 'wrong'"):
        model.generate(input_ids=batch["input_ids"], condition="good")
