import pytest
import torch

from weighted_mtp.models import MTPModel, ValueHead

WIDTHS = pytest.mark.parametrize("width", [0, 8], ids=["linear", "hidden"])
LINEAR = {"value_head.weight", "value_head.bias"}
HIDDEN = {"value_head.hidden.weight", "value_head.hidden.bias"}


@pytest.fixture
def critic(make_lm):
    return MTPModel(make_lm("llama"), n_future=2, value_head=True)


def head_in_float64(head: ValueHead, h: torch.Tensor) -> torch.Tensor:
    """w . gelu(U h + c) + b with gelu(x) = x (1 + erf(x / sqrt 2)) / 2."""
    h, w, b = h.double(), head.weight.double(), head.bias.double()
    x = h @ head.hidden.weight.double().T + head.hidden.bias.double()
    return x * (1 + torch.erf(x / 2**0.5)) / 2 @ w.T + b


@WIDTHS
def test_a_fresh_value_head_says_one_half_everywhere(make_lm, batch, width):
    outputs = MTPModel(make_lm("llama"), n_future=2, value_head=True, value_hidden=width)(**batch)
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


def test_a_hidden_layer_is_a_gelu_before_the_linear_output(make_lm, batch, trained):
    critic = trained(MTPModel(make_lm("llama"), value_head=True, value_hidden=8))
    outputs = critic(**batch)
    logits = head_in_float64(critic.value_head, outputs["hidden_states"][:, :, 0]).float()
    assert logits.std() > 0.01
    torch.testing.assert_close(outputs["value_logits"], logits)
    torch.testing.assert_close(outputs["values"], torch.sigmoid(logits))


def test_a_hidden_layer_starts_as_any_linear_layer():
    torch.manual_seed(0)
    head = ValueHead(32, hidden=8)
    torch.manual_seed(0)
    torch.testing.assert_close(head.hidden.state_dict(), torch.nn.Linear(32, 8).state_dict(), rtol=0, atol=0)


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
    torch.testing.assert_close(outputs["value_logits"], hidden @ critic.value_head.weight.T, atol=1e-6, rtol=1e-5)


def test_a_hidden_layer_reckons_in_float32_under_autocast_and_in_a_bfloat16_model(make_lm, batch, trained):
    critic = trained(MTPModel(make_lm("llama").bfloat16(), value_head=True, value_hidden=8))
    assert {p.dtype for p in critic.value_head.parameters()} == {torch.float32}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = critic(**batch)
    logits = head_in_float64(critic.value_head, outputs["hidden_states"][:, :, 0]).float()
    torch.testing.assert_close(outputs["value_logits"], logits, atol=1e-5, rtol=1e-5)


def test_a_model_without_a_value_head_gives_no_values(make_lm, batch):
    assert MTPModel(make_lm("llama"))(**batch).keys() == {"hidden_states"}


@WIDTHS
def test_with_a_frozen_trunk_only_the_value_head_gets_gradients(make_lm, batch, width):
    critic = MTPModel(make_lm("llama"), n_future=2, value_head=True, value_hidden=width)
    critic.freeze_trunk()
    critic(**batch)["values"].sum().backward()
    learning = {n for n, p in critic.named_parameters() if p.grad is not None}
    assert learning == (LINEAR | HIDDEN if width else LINEAR)


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


def test_a_negative_width_is_refused(make_lm):
    with pytest.raises(ValueError, match="value_hidden must be at least 0, got -1"):
        MTPModel(make_lm("llama"), value_head=True, value_hidden=-1)
