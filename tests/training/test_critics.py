"""Generative and implicit critics: Bayes' rule exactly, an exact posterior learned, and every scheme fed."""

import dataclasses
import itertools
import json
import math
import random
from pathlib import Path

import pytest
import torch

from weighted_mtp.cli.main import main
from weighted_mtp.inspection.tokens import view_tokens
from weighted_mtp.models import MTPModel
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.generative import GenerativeCritic
from weighted_mtp.training.critics.implicit import ImplicitCritic
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import make_trainer
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.value_weighting import compute_td_errors, weigh

SHORT = {"max_steps": 12, "learning_rate": 3e-3}
KINDS = {
    "embedding": {"critic": "generative"},
    "prior_head": {"critic": "generative", "prior": "head"},
    "tags": {"critic": "generative", "label_tags": ["+1", "-1"]},  # words that no chain holds
    "implicit": {"critic": "implicit"},
}


@pytest.fixture(scope="module")
def critic_dirs(train):
    """A short stage 1 of each kind."""
    return {name: Path(train("critic", **settings, **SHORT).args.output_dir) for name, settings in KINDS.items()}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def batch_of(run) -> TokenBatch:
    inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(16)])
    return TokenBatch.from_inputs(inputs, run.inputs.model.n_future)


def log_probability(model: MTPModel, batch: TokenBatch, label: int | None) -> torch.Tensor:
    """log p(completion | prompt, label) of each row in float64, from full logits."""
    condition = None if label is None else torch.full((len(batch.input_ids),), label)
    with torch.no_grad():
        hidden = model(batch.input_ids, batch.attention_mask, condition=condition)["hidden_states"][..., 0, :]
        logits = hidden.double() @ model.hf_model.get_output_embeddings().weight.double().T
    target = batch.labels[:, 1:]
    picked = logits[:, :-1].log_softmax(-1).gather(-1, target.clamp(min=0)[..., None]).squeeze(-1)
    return torch.where(target != -100, picked, 0.0).sum(1)


# Bayes' rule


@pytest.mark.parametrize("name", ["embedding", "prior_head", "tags"])
def test_prior_and_credits_sum_to_the_log_odds_of_success(prepare, critic_dirs, name):
    run = prepare("verifiable", critic=str(critic_dirs[name]))
    critic, batch = run.inputs.stage.critic, batch_of(run)
    judged = critic.judge(batch)
    first, last = batch.mask.long().argmax(1), batch.labels.ne(-100).long().cumsum(1).argmax(1) - 1
    rows = torch.arange(len(first))
    prior = torch.logit(judged.values[rows, first].double())
    total = prior + torch.where(batch.mask, judged.credit, 0.0).double().sum(1)
    contrast = log_probability(critic.model, batch, 1) - log_probability(critic.model, batch, 0)
    torch.testing.assert_close(total, prior + contrast, rtol=0, atol=1e-5)
    before_last = torch.logit(judged.values[rows, last].double())
    torch.testing.assert_close(before_last + judged.credit[rows, last], total, rtol=0, atol=1e-4)


def test_identical_conditions_give_no_credit(prepare, critic_dirs):
    run = prepare("verifiable", critic=str(critic_dirs["embedding"]))
    critic, batch = run.inputs.stage.critic, batch_of(run)
    with torch.no_grad():
        critic.model.label_condition.weight[:] = critic.model.label_condition.weight[0]
    judged = critic.judge(batch)
    assert not judged.credit.any()
    assert judged.values[batch.mask].unique().numel() == 1


def test_the_base_rate_is_the_prior(prepare, critic_dirs):
    run = prepare("verifiable", critic=str(critic_dirs["embedding"]))
    judged, batch = run.inputs.stage.critic.judge(batch_of(run)), batch_of(run)
    share = sum(run.inputs.train_dataset["reward"]) / len(run.inputs.train_dataset)
    first = batch.mask.long().argmax(1)
    priors = judged.values[torch.arange(len(first)), first]
    torch.testing.assert_close(priors, torch.full_like(priors, share))


def test_a_prior_head_tells_prompts_apart_without_seeing_the_label(prepare, critic_dirs):
    run = prepare("verifiable", critic=str(critic_dirs["prior_head"]))
    critic, batch = run.inputs.stage.critic, batch_of(run)
    first = batch.mask.long().argmax(1)
    priors = critic.judge(batch).values[torch.arange(len(first)), first]
    assert priors.unique().numel() > 1
    assert set(critic.model.value_head.weight.abs().gt(0).flatten().tolist()) == {True}


# A toy Markov chain, whose posterior is known

START, STAY_RIGHT, STAY_WRONG = 0.5, 0.8, 0.4
STEPS = 5


def markov_rows(n: int, seed: int) -> list[dict]:
    """Chains over the words 0 and 1: a right one stays where it is with .8, a wrong one with .4; 40 % are right."""
    generator = random.Random(seed)

    def draw(p: float) -> bool:
        return generator.random() < p

    rows = []
    for _ in range(n):
        label = draw(0.4)
        state, words = draw(START), []
        for _ in range(STEPS):
            words.append(str(int(state)))
            state = state if draw(STAY_RIGHT if label else STAY_WRONG) else not state
        rows.append({"prompt": ":", "completion": " ".join(words), "label": label})
    return rows


def exact_posterior(words: list[int]) -> list[float]:
    """P(right | the first j words), j = 0 .. STEPS."""
    log_odds = [math.log(0.4 / 0.6)] * 2
    for before, after in itertools.pairwise(words):
        right, wrong = (p if before == after else 1 - p for p in (STAY_RIGHT, STAY_WRONG))
        log_odds.append(log_odds[-1] + math.log(right / wrong))
    return [1 / (1 + math.exp(-x)) for x in log_odds]


@pytest.mark.slow
def test_a_generative_critic_learns_the_exact_posterior_of_a_markov_chain(train, tmp_path):
    path = tmp_path / "markov.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in markov_rows(20_000, seed=0)))
    trainer = train(
        "critic",
        critic="generative",
        train_file=str(path),
        max_steps=300,
        per_device_train_batch_size=128,
        learning_rate=2e-3,
        warmup_steps=20,
        logging_steps=100,
    )
    critic = GenerativeCritic(trainer.model.eval())
    chains = [list(words) for words in itertools.product((0, 1), repeat=STEPS)]
    columns = [
        {"input_ids": [22, *words, 23], "labels": [-100, *words, 23], "reward": 1.0, "row_id": i, "prompt_id": 0}
        for i, words in enumerate(chains)
    ]  # fmt: skip
    batch = TokenBatch.from_inputs(trainer.data_collator(columns), 1)
    values = critic.judge(batch).values[batch.mask].view(len(chains), STEPS + 1)
    expected = torch.tensor([exact_posterior(words) for words in chains])
    assert (values - expected).abs().max() < 0.05


# The contract: values and credit for every scheme


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("log_odds", {}),
        ("td", {"beta": 0.1}),
        ("td", {"credit": "gae", "whitening": "ema"}),
        ("softmax", {}),
        ("shuffled_across", {"inner": "log_odds"}),
        ("position_aligned", {"inner": "log_odds"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_every_scheme_takes_any_critic(prepare, critic_dirs, kind, scheme, options):
    run = prepare("verifiable", critic=str(critic_dirs[kind]), scheme=scheme, scheme_options=options, n_future=2)
    run.fit()
    entry = next(e for e in reversed(run.trainer.state.log_history) if "weight_std" in e)
    assert entry["weight_std"] > 0
    assert math.isfinite(entry["loss"])


def test_td_errors_of_a_generative_critic_close_with_the_reward(prepare, critic_dirs):
    run = prepare("verifiable", critic=str(critic_dirs["embedding"]))
    batch = batch_of(run)
    values = run.inputs.stage.critic.judge(batch).values
    td_errors = compute_td_errors(values[..., None], batch.rewards, batch.mask)
    first = batch.mask.long().argmax(1)
    expected = batch.rewards - values[torch.arange(len(first)), first]
    torch.testing.assert_close(td_errors.sum(1), expected, atol=1e-5, rtol=0)


def test_log_odds_weights_do_not_depend_on_the_label(prepare, critic_dirs):
    run = prepare("verifiable", critic=str(critic_dirs["embedding"]), scheme="log_odds")
    batch = batch_of(run)
    weights = []
    for rewards in (batch.rewards, 1 - batch.rewards):
        told = dataclasses.replace(batch, n_future=1, rewards=rewards)
        signals = run.inputs.stage.signals(told, {}, run.inputs.model, torch.Generator())
        weights.append(weigh(run.trainer.scheme.eval(), signals))
    assert torch.equal(*weights)


def test_an_implicit_critic_is_the_scaled_log_ratio_to_its_reference(prepare, critic_dirs, chain_base):
    run = prepare("verifiable", critic=str(critic_dirs["implicit"]))
    critic, batch = run.inputs.stage.critic, batch_of(run)
    assert isinstance(critic, ImplicitCritic)
    ratio = log_probability(critic.model, batch, None) - log_probability(
        MTPModel.from_pretrained(chain_base / "base"), batch, None
    )
    total = torch.where(batch.mask, critic.judge(batch).credit, 0.0).double().sum(1)
    torch.testing.assert_close(total, 0.05 * ratio, rtol=1e-4, atol=1e-5)


def test_an_implicit_critic_learns_the_label_and_no_language_model(train):
    trainer = train("critic", critic="implicit", reward_beta=1.0, max_steps=40, learning_rate=3e-3,
                    sampler="balanced", logging_steps=10)  # fmt: skip
    entries = [e for e in trainer.state.log_history if "value_loss" in e]
    assert entries[-1]["value_loss"] < 0.8 * entries[0]["value_loss"]
    assert not any("ce_head_0" in e for e in entries)


def test_evaluation_says_how_good_a_critic_is(train, rows, kind):
    trainer = train("critic", eval_file=str(rows["eval"]), **KINDS[kind])
    entry = next(e for e in reversed(trainer.state.log_history) if "eval_td_std" in e)
    assert "eval_value_explained_variance" in entry


# Training: only what it says


def test_a_generative_critic_trains_each_row_under_its_own_label(prepare):
    run = prepare("critic", critic="generative")
    batch, model = batch_of(run), run.inputs.model
    told = run.inputs.stage.forward(model, batch)["hidden_states"]
    expected = model(batch.input_ids, batch.attention_mask, condition=batch.rewards.long())["hidden_states"]
    assert torch.equal(told, expected)


def test_the_base_rate_stays_what_it_is(prepare):
    run = prepare("critic", critic="generative")
    before = run.parameters()
    run.fit()
    frozen = {name for name, p in run.inputs.model.named_parameters() if torch.equal(p, before[name])}
    assert frozen == {"value_head.weight", "value_head.bias"}


def test_a_trained_critic_is_looked_at_as_it_was(prepare, critic_dirs, kind):
    config = RunConfig.load(critic_dirs[kind]).of_finished(critic_dirs[kind])
    from weighted_mtp.training.loading import load_inputs

    inputs = load_inputs(config)
    saved = MTPModel.from_pretrained(critic_dirs[kind])
    for name, tensor in saved.state_dict().items():
        assert torch.equal(inputs.model.state_dict()[name], tensor), name
    views = view_tokens(
        make_trainer(config, inputs, quiet=True), inputs.train_dataset.select([0, 1]), inputs.tokenizer, kind
    )
    assert all(0 < v < 1 for view in views for v in view["values"])


# Scoring ahead


def test_credit_scored_ahead_trains_like_the_critic(prepare, critic_dirs, kind, rows, tmp_path):
    score(ScoreConfig(str(critic_dirs[kind]), str(rows["train"]), str(tmp_path / "scored"), batch_size=7))
    # SGD: where a gradient is all but 0, Adam turns the rounding of another batch size into 3e-5 of a parameter
    weighting = {"scheme": "log_odds", "scheme_options": {"whitening": "none"}, "optim": "sgd"}
    online = prepare("verifiable", critic=str(critic_dirs[kind]), **weighting)
    ahead = prepare("baseline", train_file=str(tmp_path / "scored"), **weighting)
    parameters = []
    for run in (online, ahead):
        run.fit()
        parameters.append(run.parameters())
    for name, expected in parameters[0].items():
        torch.testing.assert_close(parameters[1][name], expected, atol=1e-6, rtol=0, msg=name)


def test_a_value_head_cannot_be_scored_for_log_odds(critic_dir, rows, tmp_path):
    config = ScoreConfig(str(critic_dir), str(rows["train"]), str(tmp_path), "log_odds", {"whitening": "none"})
    with pytest.raises(ConfigError, match="use scheme td"):
        score(config)


# Mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"critic": "generativ"}, "value_head, generative, implicit"),
        ({"critic": "generative", "freeze_trunk": True}, "freeze_trunk"),
        ({"critic": "implicit", "value_link": "identity"}, "sigmoid"),
        ({"critic": "implicit", "value_hidden": 8}, "value_hidden is 8, .* leave it at 0"),
        ({"critic": "generative", "value_hidden": 8}, "value_hidden is 8, .* leave it at 0"),
        ({"critic": "generative", "label_tags": ["same", "same"]}, "two different texts"),
        ({"critic": "generative", "label_tags": ["0", "0 "]}, "both are the same tokens"),
        ({"critic": "generative", "label_tags": [" ", "0"]}, "' ' has no token"),
        ({"critic": "generative", "label_tags": ["0", "x"]}, "cannot read .*give texts that it knows"),
        ({"critic": "implicit", "reward_beta": 0.0}, "reward_beta"),
        ({"critic": "generative", "keep": "right"}, "needs right and wrong ones"),
    ],
)
def test_what_cannot_be_trained_is_refused(prepare, settings, message):
    with pytest.raises(ConfigError, match=message):
        prepare("critic", **settings)


def test_a_tagged_critic_is_a_plain_model_of_tagged_prompts(critic_dirs):
    saved = MTPModel.from_pretrained(critic_dirs["tags"])
    assert saved.critic.tags == {"right": [10], "wrong": [14]}
    assert not any(name.startswith("label_condition") for name in saved.state_dict())


def test_a_kind_of_critic_is_no_directory(prepare):
    with pytest.raises(ConfigError, match="wmtp train critic --critic generative"):
        prepare("verifiable", critic="generative")


def test_log_odds_of_a_value_head_is_refused(prepare, critic_dir):
    with pytest.raises(ConfigError, match="needs credit"):
        prepare("verifiable", critic=str(critic_dir), scheme="log_odds")


def test_a_reference_that_moved_is_asked_for(critic_dirs, chain_base, tmp_path):
    model = MTPModel.from_pretrained(critic_dirs["implicit"])
    settings = json.loads((critic_dirs["implicit"] / "weighted_mtp.json").read_text())
    settings["critic"]["reference"] = str(tmp_path / "gone")
    model.save_pretrained(tmp_path / "copy")
    (tmp_path / "copy" / "weighted_mtp.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="give its directory as `reference`"):
        load_critic(str(tmp_path / "copy"))
    assert load_critic(str(tmp_path / "copy"), reference=str(chain_base / "base"))


def test_the_command_line_generates_under_a_label(critic_dirs, capsys):
    words = ["generate", str(critic_dirs["embedding"]), "--prompt", "7 +3 :", "--max_new_tokens", "3"]
    assert main([*words, "--label", "right"]) == 0


def test_a_label_for_a_plain_model_is_refused(critic_dir, capsys):
    assert main(["generate", str(critic_dir), "--prompt", "7 +3 :", "--label", "right"]) == 2
    assert "no generative critic" in capsys.readouterr().err
