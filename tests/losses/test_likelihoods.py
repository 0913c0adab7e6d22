"""nll and entropy from one pass, and a loss that is made of them without another."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.losses import implicit_reward_loss, mtp_likelihoods, mtp_nll, weighted_mtp_loss

BATCH, SEQ, HEADS, DIM, VOCAB = 3, 5, 2, 8, 50


def make(dtype=torch.float64, *, frozen=True, bias=False):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(BATCH, SEQ, HEADS, DIM, generator=g, dtype=torch.float64)
    head = {"lm_head_weight": torch.randn(VOCAB, DIM, generator=g, dtype=torch.float64)}
    if bias:
        head["bias"] = torch.randn(VOCAB, generator=g, dtype=torch.float64)
    targets = torch.randint(VOCAB, (BATCH, SEQ, HEADS), generator=g)
    targets[:, -1] = -100
    weights = torch.randn(BATCH, SEQ, HEADS, generator=g, dtype=torch.float64)
    head = {name: x.to(dtype).requires_grad_(not frozen) for name, x in head.items()}
    return hidden.to(dtype).requires_grad_(), head, targets, weights


def by_hand(hidden, head, targets, logit_scale=1.0, softcap=None):
    z = hidden.double() @ head["lm_head_weight"].double().T + head.get("bias", torch.zeros(1)).double()
    logits = z * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logp = logits.log_softmax(-1)
    valid = targets != -100
    nll = -logp.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    return torch.where(valid, nll, 0.0), torch.where(valid, -(logp.exp() * logp).sum(-1), 0.0)


@pytest.mark.parametrize("options", [{}, {"logit_scale": 0.3}, {"softcap": 2.0}, {"logit_scale": 2.0, "softcap": 5.0}])
@pytest.mark.parametrize("bias", [False, True])
def test_they_are_those_of_the_plain_formula(options, bias):
    hidden, head, targets, _ = make(bias=bias)
    known = mtp_likelihoods(hidden, targets=targets, entropy=True, **head, **options)
    nll, entropy = by_hand(hidden, head, targets, **options)
    torch.testing.assert_close(known.nll, nll.detach())
    torch.testing.assert_close(known.entropy, entropy.detach())
    assert not known.nll.requires_grad
    assert not known.entropy.requires_grad
    assert torch.equal(mtp_nll(hidden, targets=targets, **head, **options), known.nll)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_they_are_float32_of_narrow_inputs(dtype):
    hidden, head, targets, _ = make(dtype)
    known = mtp_likelihoods(hidden, targets=targets, entropy=True, **head)
    assert known.nll.dtype == known.entropy.dtype == torch.float32
    _, entropy = by_hand(hidden, head, targets)
    torch.testing.assert_close(known.entropy.double(), entropy.detach(), rtol=0.03, atol=0.03)


def test_entropy_lies_between_certainty_and_a_uniform_guess():
    targets = torch.zeros(1, 3, 1, dtype=torch.long)
    hidden = torch.tensor([0.0, 1.0, 1e4])[None, :, None, None]  # of logits 0, of one, of one that is far ahead
    weight = torch.zeros(4, 1)
    weight[0] = 1.0
    entropy = mtp_likelihoods(hidden, weight, targets, entropy=True).entropy.flatten()
    assert entropy[0].item() == pytest.approx(math.log(4), abs=1e-6)
    assert 0.0 < entropy[1] < math.log(4)
    assert entropy[2].item() == 0.0


def test_a_token_that_is_forbidden_by_its_bias_adds_nothing():
    targets = torch.zeros(1, 1, 1, dtype=torch.long)
    bias = torch.tensor([0.0, 0.0, -torch.inf])
    known = mtp_likelihoods(torch.zeros(1, 1, 1, 2), torch.zeros(3, 2), targets, entropy=True, bias=bias)
    assert known.entropy.item() == pytest.approx(math.log(2), abs=1e-6)


def test_entropy_is_made_only_where_it_is_asked_for():
    hidden, head, targets, _ = make()
    assert mtp_likelihoods(hidden, targets=targets, **head).entropy is None


class Unembeddings(TorchDispatchMode):
    """Counts the products that a vocabulary takes part in."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_):
            self.count += any(isinstance(x, torch.Tensor) and VOCAB in x.shape for x in args)
        return func(*args, **(kwargs or {}))


def loss_and_gradients(hidden, head, targets, weights, likelihoods=None):
    inputs = [x for x in (hidden, *head.values()) if x.requires_grad]
    loss = weighted_mtp_loss(hidden, targets=targets, weights=weights, likelihoods=likelihoods, **head).loss
    return loss, torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("bias", [False, True])
def test_a_loss_made_of_them_is_the_loss(dtype, frozen, bias):
    hidden, head, targets, weights = make(dtype, frozen=frozen, bias=bias)
    weights[0] = 0.0
    expected, gradients = loss_and_gradients(hidden, head, targets, weights)
    known = mtp_likelihoods(hidden, targets=targets, **head)
    found, with_known = loss_and_gradients(hidden, head, targets, weights, known)
    close = {"rtol": 2e-2, "atol": 2e-3} if dtype in (torch.bfloat16, torch.float16) else {}
    torch.testing.assert_close(found, expected, **close)
    for ours, theirs in zip(with_known, gradients, strict=True):
        assert ours.dtype == theirs.dtype == dtype
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize(("frozen", "products"), [(True, 2), (False, 4)])
def test_a_frozen_unembedding_is_gone_through_once_for_signal_and_loss(frozen, products):
    """Logits and the gradient of hidden; where it learns, its own gradient wants the logits again."""
    hidden, head, targets, weights = make(frozen=frozen)
    with Unembeddings() as counted:
        known = mtp_likelihoods(hidden, targets=targets, **head)
        loss_and_gradients(hidden, head, targets, weights, known)
    assert counted.count == products


def test_without_gradient_the_loss_asks_the_unembedding_nothing():
    hidden, head, targets, weights = make(frozen=False)
    with torch.no_grad(), Unembeddings() as counted:
        known = mtp_likelihoods(hidden, targets=targets, **head)
        weighted_mtp_loss(hidden, targets=targets, weights=weights, likelihoods=known, **head)
    assert counted.count == 1


def test_what_has_no_weight_is_not_read():
    hidden, head, targets, weights = make()
    with torch.no_grad():
        hidden[0, 0, 0] = torch.nan
    weights[0, 0, 0] = 0.0
    known = mtp_likelihoods(hidden, targets=targets, **head)
    assert known.nll[0, 0, 0].isnan()
    loss, (gradient,) = loss_and_gradients(hidden, head, targets, weights, known)
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_the_same_likelihoods_serve_several_losses():
    hidden, head, targets, weights = make()
    known = mtp_likelihoods(hidden, targets=targets, **head)
    once = loss_and_gradients(hidden, head, targets, weights, known)
    again = loss_and_gradients(hidden, head, targets, weights, known)
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1][0], again[1][0])


def test_likelihoods_of_other_predictions_are_refused():
    hidden, head, targets, weights = make()
    known = mtp_likelihoods(hidden, targets=targets, **head)
    with pytest.raises(ValueError, match=r"likelihoods.nll has shape \[3, 5, 2\]; \[2, 5, 2\] is needed"):
        weighted_mtp_loss(hidden[:2], targets=targets[:2], weights=weights[:2], likelihoods=known, **head)


def test_likelihoods_of_what_stood_there_before_are_refused():
    hidden, head, targets, weights = make()
    known = mtp_likelihoods(hidden, targets=targets, **head)
    for other in ({"hidden": hidden.clone()}, {"targets": targets.clone()}, {"softcap": 5.0}, {"logit_scale": 2.0}):
        given = {"hidden": hidden, "targets": targets, **head} | other
        with pytest.raises(ValueError, match="likelihoods were made of other hidden states"):
            weighted_mtp_loss(weights=weights, likelihoods=known, **given)
    with torch.no_grad():
        hidden.mul_(2)
    with pytest.raises(ValueError, match="before these were changed in place"):
        weighted_mtp_loss(hidden, targets=targets, weights=weights, likelihoods=known, **head)


@pytest.mark.parametrize(("frozen", "products"), [(True, 2), (False, 4)])
def test_an_implicit_reward_goes_through_a_frozen_unembedding_once(frozen, products):
    hidden, head, targets, _ = make(frozen=frozen)
    one = hidden[:, :, :1], head["lm_head_weight"], targets[:, :, :1]
    with Unembeddings() as counted:
        loss = implicit_reward_loss(*one, torch.zeros(BATCH, SEQ, 1), torch.ones(BATCH), torch.tensor(0.0))
        loss.backward()
    assert counted.count == products
