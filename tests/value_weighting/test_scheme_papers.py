"""The schemes of other people's papers, against their formula or their code, read anew on small arrays.

Where a paper states a loss, the weight must be that loss's derivative by the nll of each token: autograd takes it here.
"""

import math

import pytest
import torch

from weighted_mtp.losses import mtp_likelihoods, weighted_mtp_loss
from weighted_mtp.value_weighting import Signals, make_scheme, stop_at_floor, weigh

LENGTHS = [5, 3, 4]


@pytest.fixture
def batch():
    """Logits of a model and of a reference [3, 5, 30], targets, and rows of 5, 3 and 4 tokens."""
    torch.manual_seed(3)
    logits, reference = (2.5 * torch.randn(2, 3, 5, 30, dtype=torch.float64)).unbind()
    targets = torch.randint(30, (3, 5))
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return logits, 0.6 * logits + 0.4 * reference, targets, mask


def log_probabilities(logits, targets):
    return logits.log_softmax(-1).gather(-1, targets[..., None]).squeeze(-1)


def signals_of(logits, reference, targets, mask, **more):
    p = logits.softmax(-1)
    known = {
        "nll": -log_probabilities(logits, targets),
        "reference_nll": -log_probabilities(reference, targets),
        "entropy": -(p * p.log()).sum(-1),
    }
    return Signals(mask=mask, valid=mask[..., None], **{name: x[..., None] for name, x in known.items()}, **more)


def close(weights, expected, mask):
    expected = torch.where(mask, expected, 0.0).float()
    torch.testing.assert_close(weights[..., 0], expected, rtol=1e-5, atol=1e-6)


def derivatives(loss_of, logits, targets):
    """d loss / d nll of each token, for a loss that is a function of the log-probabilities."""
    log_p = log_probabilities(logits, targets).requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(log_p), log_p)
    return -gradient


def test_dft_has_the_gradient_of_the_probability(batch):
    logits, _, targets, mask = batch
    expected = derivatives(lambda log_p: -(log_p * log_p.detach().exp()).sum(), logits, targets)
    close(weigh(make_scheme("dft"), signals_of(*batch)), expected, mask)
    close(weigh(make_scheme("dft"), signals_of(*batch)), derivatives(lambda x: -x.exp().sum(), logits, targets), mask)


def test_profit_masks_what_its_authors_mask(batch):
    logits, _, targets, mask = batch
    p = logits.softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    tau = p[mask].median().item() + 1e-9
    masked = p < tau  # their mask_condition of direction "higher"
    weights = weigh(make_scheme("profit", tau=tau), signals_of(*batch))
    close(weights, (~masked).double(), mask)
    assert 0 < weights.sum() < mask.sum()


def test_prift_is_the_probability_by_the_reference(batch):
    _, reference, targets, mask = batch
    expected = reference.softmax(-1).gather(-1, targets[..., None]).squeeze(-1)
    close(weigh(make_scheme("prift"), signals_of(*batch)), expected, mask)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_iw_sft_by_row_clamps_the_mean_log_ratio_as_its_authors_do(batch, temperature):
    logits, reference, targets, mask = batch
    difference = (log_probabilities(logits, targets) - log_probabilities(reference, targets)).masked_fill(~mask, 0.0)
    iw = torch.clamp(torch.exp(temperature * difference.sum(1) / mask.sum(1)), 0.0, 16.0)
    weights = weigh(make_scheme("iw_sft", temperature=temperature), signals_of(*batch))
    close(weights, iw[:, None].expand(mask.shape), mask)


def test_iw_sft_by_token_clamps_the_ratio_as_its_authors_do(batch):
    logits, reference, targets, mask = batch
    iw = torch.exp(log_probabilities(logits, targets) - log_probabilities(reference, targets))
    close(weigh(make_scheme("iw_sft", form="token"), signals_of(*batch)), iw.clamp(1 - 0.8, 1 + 0.8), mask)


def test_iw_sft_takes_the_mean_of_each_episode_of_a_packed_row():
    mask, segments = torch.ones(1, 4, dtype=torch.bool), torch.tensor([[1, 1, 2, 2]])
    nll = torch.tensor([[0.0, 1.0, 2.0, 4.0]])[..., None]
    losses = {"nll": nll, "reference_nll": torch.full((1, 4, 1), 2.0)}
    weights = weigh(make_scheme("iw_sft"), Signals(mask=mask, valid=mask[..., None], segment_ids=segments, **losses))
    expected = [math.exp(1.5), math.exp(1.5), math.exp(-1.0), math.exp(-1.0)]
    assert weights.flatten().tolist() == pytest.approx(expected)


def test_iw_sft_takes_the_mean_of_each_head():
    mask = torch.ones(1, 2, dtype=torch.bool)
    valid = torch.tensor([[[True, True], [True, False]]])
    losses = {"nll": torch.tensor([[[0.0, 3.0], [1.0, 9.0]]]), "reference_nll": torch.ones(1, 2, 2)}
    weights = weigh(make_scheme("iw_sft"), Signals(mask=mask, valid=valid, **losses))
    expected = [math.exp(0.5), math.exp(-2.0), math.exp(0.5), 0.0]
    assert weights.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
@pytest.mark.parametrize("vocab", [12, 40])
def test_eaft_renormalises_the_top_20_logits_and_divides_by_3(alpha, vocab):
    torch.manual_seed(1)
    hidden, unembedding = torch.randn(2, 3, 2, 8, dtype=torch.float64), torch.randn(vocab, 8, dtype=torch.float64)
    targets = torch.randint(vocab, (2, 3, 2))
    top = (hidden @ unembedding.T).topk(min(20, vocab), -1).values
    log_q = top - top.logsumexp(-1, keepdim=True)
    expected = (-(log_q.exp() * log_q).sum(-1) / 3.0) ** alpha
    known = mtp_likelihoods(hidden, unembedding, targets, entropy_top20=True)
    assert known.entropy is None
    valid = torch.ones(2, 3, 2, dtype=torch.bool)
    signals = Signals(mask=valid[..., 0], valid=valid, entropy_top20=known.entropy_top20)
    torch.testing.assert_close(weigh(make_scheme("eaft", alpha=alpha), signals), expected.float())


def test_both_entropies_and_the_gradients_come_from_one_pass_unchanged():
    torch.manual_seed(1)
    hidden, unembedding = torch.randn(1, 6, 1, 8, requires_grad=True), torch.randn(40, 8)
    targets = torch.randint(40, (1, 6, 1))
    options = {"bias": torch.randn(40), "logit_scale": 0.5, "softcap": 20.0}
    both = mtp_likelihoods(hidden, unembedding, targets, entropy=True, entropy_top20=True, **options)
    alone = mtp_likelihoods(hidden, unembedding, targets, entropy_top20=True, **options)
    plain = mtp_likelihoods(hidden, unembedding, targets, **options)
    assert plain.entropy_top20 is None
    assert torch.equal(both.entropy_top20, alone.entropy_top20)
    assert torch.equal(both.slope, plain.slope)
    assert torch.equal(both.nll, plain.nll)
    assert (both.entropy_top20 <= both.entropy + 1e-5).all()
    logits = 20.0 * torch.tanh(0.5 * (hidden.detach() @ unembedding.T + options["bias"]) / 20.0)
    expected = torch.distributions.Categorical(logits=logits.topk(20, -1).values).entropy()
    torch.testing.assert_close(both.entropy_top20, expected)


def test_top_entropy_keeps_what_lies_above_the_80_percent_quantile(batch):
    _, _, _, mask = batch
    signals = signals_of(*batch)
    entropies = sorted(signals.entropy[..., 0][mask].tolist(), reverse=True)
    threshold = entropies[math.ceil(0.2 * len(entropies)) - 1]
    close(weigh(make_scheme("top_entropy"), signals), (signals.entropy[..., 0] >= threshold).double(), mask)


OUTCOMES = torch.tensor([1.0, 0.0, 0.25])


def test_w_reinforce_is_a_tenth_for_right_and_minus_one_for_wrong_rows(batch):
    _, _, _, mask = batch
    weights = weigh(make_scheme("w_reinforce", floor=1e-9), signals_of(*batch, rewards=torch.tensor([1.0, 0.0, 0.0])))
    close(weights, torch.tensor([[0.1], [-1.0], [-1.0]]).expand(mask.shape), mask)


def test_w_reinforce_with_a_clip_is_the_gradient_of_the_clipped_surrogate(batch):
    logits, reference, targets, mask = batch
    advantages = torch.tensor([[0.1], [-1.0], [0.1 * 0.25 - 0.75]], dtype=torch.float64)
    old = log_probabilities(reference, targets)

    def surrogate(log_p):
        ratio = (log_p - old).exp()
        return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2)).sum()

    weights = weigh(make_scheme("w_reinforce", clip=0.2, floor=1e-9), signals_of(*batch, rewards=OUTCOMES))
    close(weights, derivatives(surrogate, logits, targets), mask)
    assert (weights[..., 0][mask] == 0).any()
    assert (weights[..., 0][mask] != 0).any()


@pytest.mark.parametrize("prompt_weight", ["hard", "root", "none"])
@pytest.mark.parametrize("epsilon", [1.0, 0.2])
def test_nft_is_the_gradient_of_its_authors_loss(batch, epsilon, prompt_weight):
    logits, reference, targets, mask = batch
    reference = reference.clone()
    reference[2, 0, targets[2, 0]] -= 25.0  # a ratio beyond e^10
    rates = torch.tensor([0.25, 0.5, 1.0])

    def straight_through_floor(x, least):
        return x + (x.clamp(min=least) - x).detach()

    def loss(log_p):
        ratio = (log_p - log_probabilities(reference, targets)).clamp(max=10.0).exp()
        rate = rates.double().clamp(0.02, 0.98)[:, None]
        proxy = (1.0 - rate * ratio) / (1.0 - rate)
        right = OUTCOMES.double()[:, None]
        negative = -straight_through_floor(proxy, epsilon).log()
        losses = negative * (1.0 - right) - right * straight_through_floor(ratio, 0.0).log()
        factor = {"hard": 1.0 - rate, "root": ((1.0 - rate) / rate) ** 0.5, "none": 1.0}[prompt_weight]
        return (losses * factor).sum()

    scheme = make_scheme("nft", epsilon=epsilon, prompt_weight=prompt_weight)
    weights = weigh(scheme, signals_of(logits, reference, targets, mask, rewards=OUTCOMES, pass_rate=rates))
    expected = derivatives(loss, logits, targets)
    torch.testing.assert_close(weights[..., 0], torch.where(mask, expected, 0.0).float(), rtol=1e-4, atol=1e-6)
    low, high = scheme.weight_range(True)
    assert low <= weights.min()
    assert weights.max() <= high + 1e-6


def test_nft_on_the_policys_own_rows_has_dr_grpos_advantages():
    mask, same = torch.ones(2, 1, dtype=torch.bool), torch.ones(2, 1, 1)
    rate = torch.full((2,), 0.3)
    signals = Signals(mask=mask, valid=mask[..., None], nll=same, reference_nll=same, pass_rate=rate,
                      rewards=torch.tensor([1.0, 0.0]))  # fmt: skip
    assert weigh(make_scheme("nft"), signals).flatten().tolist() == pytest.approx([0.7, -0.3])


def test_steps_gives_every_token_what_its_own_step_earned():
    mask, steps = torch.tensor([[False, True, True, True]]), torch.tensor([[9.0, 1.0, 0.5, 0.0]])
    signals = Signals(mask=mask, valid=mask[..., None], steps=steps)
    assert weigh(make_scheme("steps"), signals).flatten().tolist() == [0.0, 1.0, 0.5, 0.0]


def test_signed_credit_blames_and_praises_by_the_td_error():
    mask, values = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[0.5, 0.9, 0.2]])
    signals = Signals(mask=mask, valid=mask[..., None], values=values, rewards=torch.tensor([1.0]),
                      nll=torch.ones(1, 3, 1))  # fmt: skip
    weights = weigh(make_scheme("signed", beta=0.5, max_weight=1.5), signals).flatten().tolist()
    assert weights == pytest.approx([0.8, -1.0, 1.5])


# the guard


def test_floor_stops_a_negative_weight_for_each_head_by_its_own_probability():
    mask = torch.ones(1, 2, dtype=torch.bool)
    valid = torch.tensor([[[True, True], [True, False]]])
    nll = torch.tensor([[[1.0, 9.0], [1.0, 1.0]]])
    signals = Signals(mask=mask, valid=valid, nll=nll, weights=torch.tensor([[2.0, -2.0]]))
    assert weigh(make_scheme("column", floor=0.01), signals).tolist() == [[[2.0, 0.0], [-2.0, 0.0]]]


def test_floor_lets_nan_through():
    assert stop_at_floor(torch.tensor([math.nan, -1.0]), torch.tensor([9.0, math.nan]), 0.5).isnan().tolist() == [
        True,
        False,
    ]


def test_control_of_a_signed_scheme_keeps_its_guard():
    mask = torch.ones(1, 64, dtype=torch.bool)
    nll = torch.where(torch.arange(64) % 2 == 0, 0.1, 9.0)[None, :, None]
    given = torch.where(torch.arange(64) % 2 == 0, -1.0, 1.0)[None]
    signals = Signals(mask=mask, valid=mask[..., None], nll=nll, weights=given,
                      generator=torch.Generator().manual_seed(0))  # fmt: skip
    weights = weigh(make_scheme("shuffled", inner="column", inner_options={"floor": 0.01}), signals)
    assert (weights < 0).any()
    assert not ((weights < 0) & (nll > 5)).any()


def test_pushed_down_without_end_a_likelihood_stops_at_the_floor():
    """Gradient descent on one wrong token: its loss stays finite, and its probability just below the floor."""
    torch.manual_seed(0)
    hidden, unembedding = torch.ones(1, 1, 1, 4), torch.nn.Parameter(0.1 * torch.randn(6, 4))
    targets, mask = torch.zeros(1, 1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
    scheme = make_scheme("w_reinforce", floor=0.05)
    for _ in range(400):
        known = mtp_likelihoods(hidden, unembedding, targets)
        signals = Signals(mask=mask, valid=mask[..., None], rewards=torch.zeros(1), nll=known.nll)
        loss = weighted_mtp_loss(hidden, unembedding, targets, weigh(scheme, signals)).loss
        (gradient,) = torch.autograd.grad(loss, unembedding)
        unembedding.data -= 0.05 * gradient
    probability = (-mtp_likelihoods(hidden, unembedding, targets).nll).exp().item()
    assert 0.04 < probability < 0.05


def test_outcomes_are_the_rows_rewards_or_the_sum_of_what_an_episode_is_paid():
    mask = torch.tensor([[True, True, False, True], [True, True, True, False]])
    paid = torch.tensor([[0.25, 0.0, math.nan, 0.5], [1.0, 2.0, 4.0, 9.0]])
    rows = Signals(mask=mask, valid=mask[..., None], rewards=paid)
    assert rows.outcomes.tolist() == [[0.75], [7.0]]
    packed = Signals(mask=mask, valid=mask[..., None], rewards=paid, segment_ids=torch.tensor([[1, 1, 1, 2]] * 2))
    assert packed.outcomes.tolist() == [[0.25, 0.25, 0.25, 0.5], [7.0, 7.0, 7.0, 0.0]]
    labelled = Signals(mask=mask, valid=mask[..., None], rewards=paid, row_rewards=torch.tensor([1.0, 0.0]))
    assert labelled.outcomes.tolist() == [[1.0], [0.0]]
    whole = Signals(mask=mask, valid=mask[..., None], rewards=torch.tensor([1, 0]))
    assert whole.outcomes.tolist() == [[1.0], [0.0]]
    assert Signals(mask=mask, valid=mask[..., None]).outcomes is None
