"""With gamma below 1, values, targets, TD errors and read-outs share one discount, or the run is refused."""

import pytest
import torch

from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.critics.value_head import ValueStage
from weighted_mtp.training.early_checks import require_trained_with
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.value_weighting import Signals, compute_td_errors

MASK = torch.tensor([[False, True, False, True, True], [True, True, True, False, False]])
REWARDS = torch.tensor([1.0, 0.75])


def signals(gamma: float) -> Signals:
    return Signals(mask=MASK, valid=MASK[..., None], rewards=REWARDS, gamma=gamma)


def batch() -> TokenBatch:
    """The same mask as labels: position t predicts token t + 1."""
    labels = torch.full((2, 6), -100)
    labels[:, 1:][MASK] = 7
    ids, ones = torch.arange(len(labels)), torch.ones_like(labels)
    return TokenBatch(ones, ones, labels, 1, rewards=REWARDS, row_ids=ids, prompt_ids=ids)


def test_a_step_costs_one_discount_and_a_gap_none():
    returns = signals(0.5).returns
    assert returns[MASK].tolist() == pytest.approx([0.25, 0.5, 1.0, 0.1875, 0.375, 0.75])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0])
def test_values_that_are_the_discounted_reward_have_no_td_error(gamma):
    values = signals(gamma).returns
    td = compute_td_errors(values[..., None], REWARDS, MASK, gamma)
    torch.testing.assert_close(td, torch.zeros_like(td), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("objective", ["mse", "bce", "lambda"])
def test_every_value_loss_is_at_its_minimum_there(objective, gamma):
    targets = torch.nn.functional.pad(signals(gamma).returns, (0, 1)).clamp(1e-6, 1 - 1e-6)
    logits = targets.logit().requires_grad_()
    outputs = {"values": logits.sigmoid()[..., None], "value_logits": logits[..., None]}
    stage = ValueStage(gamma=gamma, value_objective=objective)
    loss = stage.value_loss(batch(), outputs, BatchCounts.of(batch()), None)  # pyright: ignore
    assert loss is not None
    loss.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0, atol=1e-5)
    if objective != "bce":
        assert loss.item() == pytest.approx(0.0, abs=1e-9)


def test_the_explained_variance_is_that_of_the_discounted_reward(prepare, rows):
    run = prepare("critic", gamma=0.5, eval_file=str(rows["eval"]), per_device_eval_batch_size=21)
    found = run.trainer.evaluate()["eval_value_explained_variance"]
    inputs = next(iter(run.trainer.get_eval_dataloader()))
    read = TokenBatch.from_inputs(inputs, 1)
    known = run.trainer.stage.signals(read, run.inputs.model.trunk_forward(read.input_ids), run.inputs.model, None)
    target, value = known.returns[read.mask].double(), known.values[read.mask].double()
    assert found == pytest.approx(1 - (target - value).var().item() / target.var().item(), rel=1e-4)


REFUSED = {
    "pairwise": ("critic", {"value_loss": "pairwise"}, "pairwise learns no scale"),
    "generative": ("critic", {"critic": "generative"}, "a generative critic learns P.success., undiscounted"),
    "implicit": ("critic", {"critic": "implicit"}, "an implicit critic learns P.success., undiscounted"),
    "ignored": ("baseline", {}, "scheme Uniform discounts no reward and no value is learned"),
    "summed": ("baseline", {"scheme": "w_reinforce"}, "scheme WReinforce discounts no reward"),
    "ranked_again": ("verifiable", {"value_loss": "pairwise"}, "pairwise learns no scale"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_gamma_below_one_is_refused_where_nothing_can_be_discounted(prepare, case):
    stage, settings, message = REFUSED[case]
    with pytest.raises(ConfigError, match=f"gamma is 0.9, but .*{message}.*: leave gamma at 1"):
        prepare(stage, gamma=0.9, **settings)


def test_values_of_another_discount_are_refused(prepare, critic_dir, rows, tmp_path):
    message = "gamma is 0.9, but the values of .* were trained with gamma 1.0"
    for settings in ({"critic": str(critic_dir)}, {"model_name_or_path": str(critic_dir)}):
        with pytest.raises(ConfigError, match=message):
            prepare("verifiable", gamma=0.9, **settings)
    with pytest.raises(ConfigError, match=message):
        score(ScoreConfig(str(critic_dir), str(rows["eval"]), str(tmp_path), gamma=0.9))


def test_a_checkpoint_says_its_discount_without_a_run_yaml(make_config, rows):
    config = make_config("critic", gamma=0.9, save_steps=1, max_steps=1, train_file=str(rows["train"]))
    checkpoint = train(config, quiet=True) / "checkpoint-1"
    require_trained_with(str(checkpoint), 0.9)
    with pytest.raises(ConfigError, match=r"trained with gamma 0\.9.*give --gamma 0\.9"):
        require_trained_with(str(checkpoint), 1.0)


@pytest.mark.parametrize("text", ["a: [1", "[1]", "gamma: null", "gamma: x", "gamma: true", "\udcff"])
def test_a_broken_run_yaml_beside_a_critic_is_named(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError, match=r"run\.yaml does not say with which gamma"):
        require_trained_with(str(tmp_path), 1.0)
