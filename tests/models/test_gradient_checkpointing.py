import pytest
import torch

from weighted_mtp.models import MTPModel


def gradients(model: MTPModel, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    outputs = model(**batch)
    (outputs["hidden_states"].square().mean() + outputs["value_logits"].square().mean()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["llama", "qwen3", "qwen3_moe", "gemma2", "gpt_neox", "opt"])
def test_recomputed_activations_give_the_same_gradients(make_lm, batch, family):
    model = MTPModel(make_lm(family), n_future=3, value_head=True).train()
    torch.nn.init.ones_(model.value_head.weight)
    kept = gradients(model, batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    recomputed = gradients(model, batch)
    assert recomputed.keys() == kept.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)


def test_every_extra_head_is_recomputed_in_the_backward_pass(make_lm, batch):
    model = MTPModel(make_lm("llama"), n_future=3).train()
    calls = []
    for head in model.extra_heads:
        head.mlp.register_forward_pre_hook(lambda module, *_: calls.append(module))
    model.gradient_checkpointing_enable()
    model(**batch)["hidden_states"].sum().backward()
    assert [calls.count(head.mlp) for head in model.extra_heads] == [2, 2]


def test_disabling_keeps_activations_again(make_lm, batch):
    model = MTPModel(make_lm("llama"), n_future=2).train()
    model.activation_checkpointing_enable()
    assert model.is_activation_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_activation_checkpointing
    calls = []
    model.extra_heads[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    model(**batch)["hidden_states"].sum().backward()
    assert len(calls) == 1
