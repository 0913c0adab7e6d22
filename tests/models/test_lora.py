"""Adapters begin as nothing, train alone, and are gone from what is saved but for their effect."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.models.lora import ADAPTERS

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
        (tmp_path / ADAPTERS).unlink()
    other = MTPModel(make_lm("llama"))
    other.add_lora(8 if problem == "rank" else 4)
    with pytest.raises(ValueError, match=r"lora.safetensors (is not there|holds other adapters)"):
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
