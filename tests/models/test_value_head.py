import pytest
import torch

from weighted_mtp.models import MTPModel


@pytest.fixture
def critic(make_lm):
    return MTPModel(make_lm("llama"), n_future=2, value_head=True)


def test_a_fresh_value_head_says_one_half_everywhere(critic, batch):
    outputs = critic(**batch)
    assert outputs["value_logits"].shape == outputs["values"].shape == (2, 12, 1)
    assert torch.equal(outputs["values"], torch.full((2, 12, 1), 0.5))


def test_values_are_the_sigmoid_of_a_linear_function_of_head_0(critic, batch):
    with torch.no_grad():
        critic.value_head.weight.normal_()
        critic.value_head.bias.fill_(0.3)
    outputs = critic(**batch)
    logits = outputs["hidden_states"][:, :, 0] @ critic.value_head.weight.T + 0.3
    torch.testing.assert_close(outputs["value_logits"], logits)
    torch.testing.assert_close(outputs["values"], torch.sigmoid(logits))


def test_with_the_identity_link_values_are_the_raw_output(make_lm, batch):
    critic = MTPModel(make_lm("llama"), value_head=True, value_link="identity")
    with torch.no_grad():
        critic.value_head.weight.normal_()
    outputs = critic(**batch)
    assert torch.equal(outputs["values"], outputs["value_logits"])
    assert outputs["values"].abs().max() > 1


def test_values_are_float32_under_autocast(critic, batch):
    with torch.no_grad():
        critic.value_head.weight.normal_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = critic(**batch)
    hidden = outputs["hidden_states"][:, :, 0].float()
    torch.testing.assert_close(
        outputs["value_logits"], hidden @ critic.value_head.weight.T, atol=1e-6, rtol=1e-5
    )


def test_a_model_without_a_value_head_gives_no_values(make_lm, batch):
    assert MTPModel(make_lm("llama"))(**batch).keys() == {"hidden_states"}


def test_with_a_frozen_trunk_only_the_value_head_gets_gradients(critic, batch):
    critic.freeze_trunk()
    critic(**batch)["values"].sum().backward()
    assert {n for n, p in critic.named_parameters() if p.grad is not None} == {
        "value_head.weight",
        "value_head.bias",
    }


def test_the_first_value_gradient_leaves_the_trunk_as_it_is(critic, batch):
    critic(**batch)["values"].sum().backward()
    assert all(not p.grad.any() for p in critic.hf_model.parameters() if p.grad is not None)
    assert critic.value_head.weight.grad.any()


def test_a_model_without_a_value_head_cannot_freeze_its_trunk(make_lm):
    with pytest.raises(ValueError, match="value_head=True"):
        MTPModel(make_lm("llama")).freeze_trunk()


def test_an_unknown_link_names_the_known_ones(make_lm):
    with pytest.raises(ValueError, match="one of sigmoid, identity, got 'tanh'"):
        MTPModel(make_lm("llama"), value_head=True, value_link="tanh")
