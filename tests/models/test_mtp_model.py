import copy

import pytest
import torch
import torch.nn as nn
from transformers import AutoConfig, AutoModelForCausalLM, BartConfig, BartForConditionalGeneration

from weighted_mtp.models import MTPModel, UnsupportedModelError


def test_head_0_gives_the_plain_models_logits(any_lm, batch):
    plain = any_lm(**batch, use_cache=False).logits
    logits = MTPModel(any_lm, n_future=3).full_forward(**batch)["logits"]
    valid = batch["attention_mask"].bool()
    torch.testing.assert_close(logits[:, :, 0][valid], plain[valid], atol=1e-6, rtol=1e-6)


def test_a_fresh_extra_head_equals_head_0(any_lm, batch):
    logits = MTPModel(any_lm, n_future=3).full_forward(**batch)["logits"]
    valid = batch["attention_mask"].bool()
    torch.testing.assert_close(logits[:, :, 2][valid], logits[:, :, 0][valid], atol=1e-6, rtol=1e-6)


def test_the_output_head_turns_hidden_states_into_the_plain_models_logits(any_lm, batch):
    model = MTPModel(any_lm)
    head = model.output_head()
    hidden = model(**batch)["hidden_states"][:, :, 0]
    logits = head["logit_scale"] * nn.functional.linear(hidden, head["lm_head_weight"], head["bias"])
    if head["softcap"] is not None:
        logits = head["softcap"] * torch.tanh(logits / head["softcap"])
    valid = batch["attention_mask"].bool()
    plain = any_lm(**batch, use_cache=False).logits
    torch.testing.assert_close(logits[valid], plain[valid], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "scale", "softcap"),
    [("llama", 1.0, None), ("granite", 1 / 8, None), ("cohere", 0.25, None), ("gemma2", 1.0, 0.5)],
)
def test_the_output_head_reports_the_familys_scaling(make_lm, family, scale, softcap):
    head = MTPModel(make_lm(family)).output_head()
    assert (head["logit_scale"], head["softcap"]) == (scale, softcap)


def test_heads_differ_once_they_have_been_trained(make_lm, batch, trained):
    model = trained(MTPModel(make_lm("llama"), n_future=3))
    hidden = model(**batch)["hidden_states"]
    assert (hidden[:, :, 1] - hidden[:, :, 0]).abs().max() > 0.01
    assert (hidden[:, :, 2] - hidden[:, :, 1]).abs().max() > 0.01


def test_an_extra_head_is_the_final_norm_of_its_layer_on_the_trunks_output(make_lm, batch, trained):
    """The definition, by hand: replace the last layer by the extra head and run the plain decoder."""
    model = trained(MTPModel(make_lm("llama"), n_future=2))
    hidden = model(**batch)["hidden_states"][:, :, 1]
    replaced = copy.deepcopy(model.hf_model.get_decoder())
    replaced.layers[-1] = model.extra_heads[0]
    by_hand = replaced(**batch, use_cache=False).last_hidden_state
    torch.testing.assert_close(hidden, by_hand, atol=1e-6, rtol=1e-6)


def test_one_head_is_plain_next_token_prediction_with_a_head_axis(make_lm, batch):
    model = MTPModel(make_lm("llama"))
    assert len(model.extra_heads) == 0
    assert model(**batch)["hidden_states"].shape == (2, 12, 1, 32)


def test_no_future_token_reaches_a_head(make_lm, batch, trained):
    model = trained(MTPModel(make_lm("qwen3"), n_future=3))
    before = model(**batch)["hidden_states"]
    batch["input_ids"][:, 8:] = 5
    after = model(**batch)["hidden_states"]
    torch.testing.assert_close(after[1, :8], before[1, :8], atol=1e-6, rtol=1e-6)


def test_padding_on_the_left_changes_no_valid_state(make_lm, trained):
    model = trained(MTPModel(make_lm("llama"), n_future=3))
    tokens = torch.tensor([[5, 6, 7, 8]])
    padded = {"input_ids": torch.tensor([[0, 0, 5, 6, 7, 8]]), "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1]])}
    torch.testing.assert_close(
        model(**padded)["hidden_states"][:, 2:], model(tokens)["hidden_states"], atol=1e-5, rtol=1e-5
    )


def test_position_ids_reach_the_decoder(make_lm, batch):
    model = MTPModel(make_lm("llama"), n_future=2)
    stretched = torch.arange(12).repeat(2, 1) * 2
    assert (
        model(**batch, position_ids=stretched)["hidden_states"] - model(**batch)["hidden_states"]
    ).abs().max() > 1e-3


def test_packed_segments_with_their_own_positions_do_not_see_each_other(make_lm, trained):
    model = trained(MTPModel(make_lm("llama"), n_future=2))
    first, second = torch.randint(3, 120, (2, 5)), torch.randint(3, 120, (2, 6))
    positions = torch.cat([torch.arange(5), torch.arange(6)]).repeat(2, 1)
    packed = model(torch.cat([first, second], dim=1), position_ids=positions)["hidden_states"]
    torch.testing.assert_close(packed[:, 5:], model(second)["hidden_states"], atol=1e-5, rtol=1e-5)


def test_the_inner_model_stays_the_plain_model(make_lm, batch, trained):
    model = make_lm("llama")
    before = model(**batch, use_cache=False).logits
    wrapped = trained(MTPModel(model, n_future=3))
    wrapped.full_forward(**batch)
    assert torch.equal(model(**batch, use_cache=False).logits, before)


def test_an_error_inside_forward_leaves_the_inner_model_plain(make_lm, batch):
    model = MTPModel(make_lm("llama"), n_future=2)
    before = model.hf_model(**batch, use_cache=False).logits
    with pytest.raises(IndexError):
        model(torch.full((1, 3), 999))
    assert torch.equal(model.hf_model(**batch, use_cache=False).logits, before)


def test_generate_gives_the_plain_models_tokens(any_lm, batch, trained):
    prompt = {name: tensor[:1] for name, tensor in batch.items()}
    options = {"max_new_tokens": 4, "do_sample": False}
    plain = any_lm.generate(**prompt, **options)
    assert torch.equal(trained(MTPModel(any_lm, n_future=3)).generate(**prompt, **options), plain)


def test_trunk_forward_gives_head_0_and_the_same_values(make_lm, batch, trained):
    model = trained(MTPModel(make_lm("gemma2"), n_future=3, value_head=True))
    trunk, full = model.trunk_forward(**batch), model.full_forward(**batch)
    assert torch.equal(trunk["hidden_states"], full["hidden_states"][:, :, 0])
    assert torch.equal(trunk["value_logits"], full["value_logits"])
    assert torch.equal(trunk["values"], full["values"])


def test_a_copied_model_does_not_share_weights(make_lm, batch, trained):
    model = MTPModel(make_lm("llama"), n_future=2)
    before = model(**batch)["hidden_states"]
    trained(copy.deepcopy(model))
    assert torch.equal(model(**batch)["hidden_states"], before)


def test_copies_get_layer_indices_of_their_own(make_lm):
    model = MTPModel(make_lm("llama"), n_future=3)
    assert [head.self_attn.layer_idx for head in model.extra_heads] == [3, 4]


def test_building_a_model_draws_no_random_numbers(make_lm):
    model = make_lm("llama", attention_dropout=0.5).train()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    MTPModel(model, n_future=2, value_head=True)
    assert torch.equal(torch.rand(3), expected)
    assert model.training


def test_tied_embeddings_stay_tied(make_lm, batch):
    model = MTPModel(make_lm("llama", tie_word_embeddings=True), n_future=2)
    head = model.output_head()["lm_head_weight"]
    assert head is model.hf_model.get_input_embeddings().weight
    model.full_forward(**batch)["logits"].square().mean().backward()
    assert head.grad is not None


@pytest.mark.parametrize("family", ["gpt2", "bert", "gpt_bigcode", "falcon"])
def test_a_family_without_a_list_of_decoder_layers_is_refused(family):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokens = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **tokens, is_decoder=True))
    with pytest.raises(ValueError, match=rf"model type '{family}' cannot carry .* Needed: a causal, .* Known to work"):
        MTPModel(model)


def test_an_encoder_decoder_is_refused():
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    model = BartForConditionalGeneration(BartConfig(vocab_size=40, **sizes))
    with pytest.raises(UnsupportedModelError, match="it is an encoder-decoder"):
        MTPModel(model)


def test_a_family_that_scales_logits_in_an_unknown_way_is_refused(make_lm):
    class Doubled(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.config = model, model.config
            self.device, self.dtype = model.device, model.dtype
            self.get_decoder, self.get_output_embeddings = model.get_decoder, model.get_output_embeddings

        def forward(self, **inputs):
            output = self.model(**inputs)
            output.logits = output.logits * 2
            return output

    with pytest.raises(UnsupportedModelError, match="unknown scaling"):
        MTPModel(Doubled(make_lm("llama")))


def test_a_model_that_is_not_causal_is_refused(make_lm):
    model = make_lm("gemma3_text", use_bidirectional_attention=True)
    with pytest.raises(UnsupportedModelError, match="not causal"):
        MTPModel(model)


def test_no_head_at_all_is_refused(make_lm):
    with pytest.raises(ValueError, match="n_future must be at least 1, got 0"):
        MTPModel(make_lm("llama"), n_future=0)


def test_half_precision_passes_the_check_of_heads(make_lm, batch):
    model = MTPModel(make_lm("gemma2").to(torch.bfloat16), n_future=3, value_head=True)
    outputs = model.full_forward(**batch)
    assert outputs["logits"].dtype == model.dtype == torch.bfloat16
    assert outputs["values"].dtype == torch.float32
