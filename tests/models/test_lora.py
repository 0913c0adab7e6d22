"""Adapters begin as nothing, train alone, and are gone from what is saved but for their effect."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.models.lora import ADAPTER, DECODERS

IDS = torch.arange(24).reshape(2, 12) % 100 + 3
ATOL = 1e-5


def adapted(hf_model: Any, **options: Any) -> MTPModel:
    """Adapters as training might have left them."""
    model = MTPModel(hf_model, **options).eval()
    model.add_lora(4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def states(model: MTPModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS)["hidden_states"]


def test_fresh_adapters_change_nothing(any_lm: Any):
    model = MTPModel(any_lm, n_future=2).eval()
    before = states(model)
    model.add_lora(4)
    torch.testing.assert_close(states(model), before)


def test_what_is_saved_is_the_merged_plain_model(any_lm: Any, tmp_path: Path):
    model = adapted(any_lm, n_future=2, value_head=True)
    model.save_pretrained(tmp_path)
    loaded = MTPModel.from_pretrained(tmp_path).eval()
    assert not [name for name in loaded.state_dict() if "lora" in name or "base_layer" in name]
    torch.testing.assert_close(states(loaded), states(model), atol=ATOL, rtol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = plain(IDS).logits
        ours = model.full_forward(IDS)["logits"][..., 0, :]
    torch.testing.assert_close(logits, ours, atol=1e-4, rtol=1e-3)


def test_saving_leaves_the_model_as_it_was(make_lm, tmp_path: Path):
    model = adapted(make_lm("llama"), n_future=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_adapters_and_new_parts_train_alone(make_lm):
    critic = CriticSpec("generative")
    model = MTPModel(make_lm("llama"), n_future=2, value_head=True, value_hidden=8, critic=critic)
    model.add_lora(4)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith(("value_head.", "label_condition.")) for name in trained)
    assert any(name.startswith("label_condition.") for name in trained)
    assert {"value_head.weight", "value_head.hidden.weight", "value_head.hidden.bias"} <= trained
    for place in ("hf_model.model.layers.0.self_attn.q_proj", "hf_model.model.layers.2.mlp", "extra_heads.0"):
        assert any(name.startswith(place) for name in trained), place
    assert not any(
        "embed" in name or "lm_head" in name for name in trained - {"label_condition.weight"} if "label" not in name
    )


def test_a_checkpoint_gives_back_adapters_and_new_parts_to_the_bit(make_lm, tmp_path: Path):
    model = adapted(make_lm("llama"), n_future=2, value_head=True, value_hidden=8)
    with torch.no_grad():
        model.value_head.weight.normal_()  # pyright: ignore[reportOptionalMemberAccess]
    model.save_pretrained(tmp_path)
    other = MTPModel(make_lm("llama"), n_future=2, value_head=True, value_hidden=8).eval()
    other.add_lora(4)
    other.load_weights(tmp_path)
    saved, loaded = model.state_dict(), other.state_dict()
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_adapters_of_a_bfloat16_model_are_float32(make_lm):
    model = MTPModel(make_lm("llama").bfloat16())
    model.add_lora(4)
    kinds = {parameter.dtype for name, parameter in model.named_parameters() if ".lora_" in name}
    assert kinds == {torch.float32}
    assert model(IDS)["hidden_states"].dtype == torch.bfloat16


@pytest.mark.parametrize("problem", ["missing", "rank"])
def test_a_checkpoint_of_other_adapters_is_refused(make_lm, tmp_path: Path, problem: str):
    adapted(make_lm("llama")).save_pretrained(tmp_path)
    if problem == "missing":
        (tmp_path / ADAPTER / DECODERS).unlink()
    other = MTPModel(make_lm("llama"))
    other.add_lora(8 if problem == "rank" else 4)
    with pytest.raises(ValueError, match=r"adapter_model.safetensors (is not there|holds other adapters)"):
        other.load_weights(tmp_path)


def test_a_rank_below_one_is_refused(make_lm):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        MTPModel(make_lm("llama")).add_lora(0)


def test_adapters_learn_the_same_under_gradient_checkpointing(make_lm):
    """The embeddings are frozen, so that no input of a layer wants a gradient."""

    def gradients(checkpointing: bool) -> dict[str, torch.Tensor | None]:
        model = adapted(make_lm("llama"), n_future=2)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()(IDS)["hidden_states"].square().sum().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}

    plain, checkpointed = gradients(False), gradients(True)
    assert all(gradient is not None and gradient.any() for gradient in plain.values())
    torch.testing.assert_close(checkpointed, plain)


def trained_names(model: MTPModel) -> set[str]:
    """Names of layers with adapters."""
    return {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks
def test_peft_gives_the_logits_of_the_merged_model(any_lm: Any, tmp_path: Path):
    from peft import PeftModel

    any_lm.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    adapted(any_lm, n_future=2).save_pretrained(tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        expected = merged(IDS).logits
        found = PeftModel.from_pretrained(base, str(tmp_path / "out" / ADAPTER)).eval()(IDS).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_targets_name_layers_by_their_ends_as_in_peft(make_lm):
    model = MTPModel(make_lm("llama"), n_future=2)
    model.add_lora(4, targets=["q_proj", "layers.1.mlp.up_proj"])
    layers = [f"hf_model.model.layers.{i}.self_attn.q_proj" for i in range(3)]
    others = ["hf_model.model.layers.1.mlp.up_proj", "extra_heads.0.self_attn.q_proj"]
    assert trained_names(model) == {*layers, *others}


def test_all_linear_means_every_linear_layer_but_the_unembedding(make_lm):
    model, usual = MTPModel(make_lm("llama")), MTPModel(make_lm("llama"))
    model.add_lora(4, targets="all-linear")
    usual.add_lora(4)
    assert trained_names(model) == trained_names(usual)
    assert "hf_model.lm_head" not in trained_names(model)


def test_a_target_that_matches_nothing_is_refused_with_what_there_is(make_lm):
    with pytest.raises(
        ValueError, match=r"has 'qproj', and the linear layers are down_proj, .*, q_proj, up_proj, v_proj"
    ):
        MTPModel(make_lm("llama")).add_lora(4, targets=["v_proj", "qproj"])


def test_the_unembedding_takes_no_adapter(make_lm):
    with pytest.raises(ValueError, match="'lm_head', and the linear layers are down_proj"):
        MTPModel(make_lm("llama")).add_lora(4, targets=["lm_head"])


def test_dropout_is_of_the_adapters_and_of_training_alone(make_lm):
    model = MTPModel(make_lm("llama"))
    model.add_lora(4, dropout=0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.fill_(0.1)
    torch.testing.assert_close(states(model.eval()), states(model))
    assert not torch.equal(states(model.train()), states(model))


@pytest.mark.parametrize("loaded", [False, True])
def test_a_base_in_4_bits_trains_adapters_and_is_saved_as_it_computes(make_lm, tmp_path: Path, loaded: bool):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    make_lm("llama", **sizes).save_pretrained(tmp_path / "base")
    if loaded:
        quantized = BitsAndBytesConfig(load_in_4bit=True)
        given = AutoModelForCausalLM.from_pretrained(tmp_path / "base", quantization_config=quantized)
        model = MTPModel.from_pretrained(given)
    else:
        model = MTPModel.from_pretrained(tmp_path / "base", n_future=2, load_in_4bit=True)
    adapted_model = adapted(model.hf_model, n_future=2)
    assert {p.dtype for name, p in adapted_model.named_parameters() if ".base_layer." in name} == {torch.uint8}
    adapted_model.train()(IDS)["hidden_states"].sum().backward()
    assert all(p.grad is not None for p in adapted_model.parameters() if p.requires_grad)
    adapted_model.eval().save_pretrained(tmp_path / "out")
    loaded = MTPModel.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(states(loaded), states(adapted_model), atol=1e-4, rtol=1e-3)
