"""What a critic knows beyond prompt and length: planted knowledge is found, and none is made of noise."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from weighted_mtp.evaluation.critic_skill import critic_skill
from weighted_mtp.evaluation.measured import nearest

N, EACH = 1600, 4
PROMPTS = np.arange(N) // EACH
NOTHING = "this critic knows nothing beyond the share of right rows"


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def drawn(rng, log_odds):
    return rng.random(len(log_odds)) < expit(log_odds)


def test_a_critic_that_knows_prompts_alone_knows_nothing(rng):
    hardness = np.repeat(2 * rng.normal(size=N // EACH), EACH)
    skill = critic_skill(hardness + 0.1 * rng.normal(size=N), drawn(rng, hardness), PROMPTS, np.ones(N))
    assert (skill.verdict, skill.gate) == (NOTHING, 0.0)


def test_a_critic_that_knows_lengths_alone_knows_nothing(rng):
    lengths = rng.integers(5, 200, N)
    by_length = -2 * (np.log(lengths) - 4)
    skill = critic_skill(by_length, drawn(rng, by_length), PROMPTS, lengths)
    assert (skill.verdict, skill.gate) == (NOTHING, 0.0)


def test_noise_on_as_many_right_rows_in_every_prompt_knows_nothing(rng):
    right = np.tile([True, False, True, False], N // EACH)
    skill = critic_skill(rng.normal(size=N), right, PROMPTS, np.ones(N))
    assert (skill.verdict, skill.gate) == (NOTHING, 0.0)


@pytest.mark.parametrize(("factor", "said"), [(3.0, "times too large"), (0.4, "times too small")])
def test_the_slope_says_by_how_much_log_odds_are_off(rng, factor, said):
    truth = 1.5 * rng.normal(size=N)
    skill = critic_skill(factor * truth, drawn(rng, truth), PROMPTS, np.ones(N))
    assert skill.verdict.endswith(said)
    assert skill.slope.low < 1 / factor < skill.slope.high


def test_what_is_explained_does_not_depend_on_the_scale_of_the_log_odds(rng):
    truth = rng.normal(size=N)
    right = drawn(rng, truth)
    one, other = (critic_skill(factor * truth, right, PROMPTS, np.ones(N)).explained for factor in (1.0, 7.0))
    assert one.mean == pytest.approx(other.mean, rel=1e-3)
    assert one.low < one.mean < one.high


def test_a_critic_that_is_wrong_about_everything_is_said_to_be(rng):
    truth = rng.normal(size=N)
    skill = critic_skill(-truth, drawn(rng, truth), PROMPTS, np.ones(N))
    assert "the wrong way round" in skill.verdict
    assert skill.gate == 0.0


def test_the_advice_follows_from_the_skill_and_says_what_it_rests_on(rng):
    truth = rng.normal(size=N)
    right = drawn(rng, truth - 1)
    knows = critic_skill(truth, right, PROMPTS, np.ones(N))
    guesses = critic_skill(rng.permutation(truth), right, PROMPTS, np.ones(N))
    gated = "scheme gated (--scheme gated --scheme_options '{}')"
    learned = f"{right.mean():.0%} of the rows, {4 * right.mean():.1f} of 4.0 a prompt"
    assert knows.advice.startswith(f"{gated} trusts this critic by {knows.gate:.2f}; compare with keep: right")
    assert guesses.advice.startswith(f"{gated} learns from it no more than keep: right")
    assert learned in knows.advice
    assert learned in guesses.advice


def test_the_numbers_behind_the_verdict_are_said_with_their_intervals(rng):
    truth = rng.normal(size=N)
    skill = critic_skill(truth, drawn(rng, truth), PROMPTS, np.ones(N))
    loss = skill.log_loss_interval
    assert loss.low < loss.mean == skill.log_loss < loss.high < skill.prompt_log_loss
    assert skill.numbers == (
        f"AUC within prompts {skill.auc.mean:.2f} [{skill.auc.low:.2f}, {skill.auc.high:.2f}]; "
        f"log-loss {skill.prompt_log_loss:.3f} by the prompt's own rate, {skill.log_loss:.3f} with the critic "
        f"[{loss.low:.2f}, {loss.high:.2f}]; calibration slope {skill.slope.mean:.2f} "
        f"[{skill.slope.low:.2f}, {skill.slope.high:.2f}]"
    )
    assert skill.lines[:2] == [skill.verdict, skill.numbers]
    assert skill.lines[-1] == nearest(False, skill.rows, skill.share_right)
    assert skill.as_dict()["log_loss_interval"]["low"] == loss.low


def test_as_many_right_rows_in_every_prompt_hide_no_knowledge(rng):
    right = np.tile([True, False, True, False], N // EACH)
    skill = critic_skill(right + 0.1 * rng.normal(size=N), right, PROMPTS, np.ones(N))
    assert skill.auc.mean == pytest.approx(1.0)
    assert skill.explained.low > 0.9


def test_few_rows_are_said_to_be_too_few():
    skill = critic_skill([2.0, 1.0] * 20, [1, 0] * 20, [0] * 40, [3] * 40)
    assert "cannot be told from 40 rows of 1 prompts" in skill.verdict
    assert skill.gate == 0.0
    written = skill.as_dict()
    assert written["auc"] is written["explained"] is written["log_loss"] is written["log_loss_interval"] is None
    assert skill.numbers is None
    assert [line.partition(" ")[0] for line in skill.lines] == ["what", "advice:"]


def test_a_completion_a_prompt_is_fitted_as_scikit_learn_fits(rng):
    truth = rng.normal(size=N)
    right = drawn(rng, truth)
    found = critic_skill(truth, right, np.arange(N), np.ones(N))
    expected = LogisticRegression(C=1e6).fit(truth[:, None], right)
    assert found.slope.mean == pytest.approx(expected.coef_[0, 0], rel=1e-3)
    said = expected.predict_proba(truth[:, None])[np.arange(N), right.astype(int)]
    assert found.log_loss == pytest.approx(-np.log(said).mean(), rel=1e-5)
    assert found.prompt_log_loss == pytest.approx(-np.log(np.where(right, right.mean(), 1 - right.mean())).mean())
    assert not found.within_prompts


def test_auc_is_of_pairs_within_prompts_where_there_are_some():
    # 30 prompts with a pair each: the right one wins in 20; other prompts' scores are far off and do not matter
    log_odds = [x + 10 * i for i in range(30) for x in ((1, 0) if i < 20 else (0, 1))]
    skill = critic_skill(log_odds, [1, 0] * 30, np.arange(60) // 2, np.ones(60))
    assert skill.auc.mean == pytest.approx(20 / 30)
    assert skill.within_prompts


@pytest.mark.parametrize("log_odds", [[0.0, np.nan], [[0.0, 1.0]]])
def test_log_odds_without_an_order_are_refused(log_odds):
    with pytest.raises(ValueError, match=r"1 of 2 log-odds are not finite|\[N\] is needed"):
        critic_skill(log_odds, [1, 0], [0, 1], [1, 1])
