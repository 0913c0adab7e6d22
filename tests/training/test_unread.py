"""No setting is taken and ignored: what the rows of the tables name has its effect, everything else is refused."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from weighted_mtp.data.chains import Chains
from weighted_mtp.demo.arms import FOUR_HEADS, NEXT_TOKEN
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import CRITICS, critic_kind, load_critic
from weighted_mtp.training.early_checks import BESIDE, EVERY_STAGE, require_all_read
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import Inputs, load_dataset, load_inputs, load_model, load_stage
from weighted_mtp.training.run import make_trainer
from weighted_mtp.training.stage_table import STAGE_TABLE

ROOT = Path(__file__).parents[2]

RUNS = {
    "baseline": {"stage": "baseline"},
    "rho1": {"stage": "rho1", "reference": "BASE"},
    "own head": {"stage": "verifiable"},
    "separate critic": {"stage": "verifiable", "critic": "CRITIC"},
    "value head": {"stage": "critic", "critic": "value_head"},
    "frozen trunk": {"stage": "critic", "critic": "value_head", "freeze_trunk": True},
    "generative": {"stage": "critic", "critic": "generative"},
    "tags": {"stage": "critic", "critic": "generative", "label_tags": ["+1", "-1"]},
    "learned prior": {"stage": "critic", "critic": "generative", "prior": "head"},
    "implicit": {"stage": "critic", "critic": "implicit"},
}
"""Every stage and every kind of critic."""
HEAD = ["value_link", "value_hidden", "value_loss", "value_coef", "new_learning_rate"]
READ = {
    "baseline": [],
    "rho1": [],
    "own head": HEAD,
    "separate critic": [],
    "value head": [*HEAD, "freeze_trunk", "lm_coef"],
    "frozen trunk": HEAD,
    "generative": ["lm_coef", "label_tags", "prior", "new_learning_rate"],
    "tags": ["lm_coef", "prior"],
    "learned prior": ["lm_coef", "label_tags", "value_coef", "new_learning_rate"],
    "implicit": ["value_coef", "reward_beta", "new_learning_rate"],
}
"""Which of OTHER each of them reads."""
OTHER = {
    "value_link": "identity",
    "value_hidden": 8,
    "value_loss": "bce",
    "value_coef": 3.0,
    "value_lam": 0.5,
    "new_learning_rate": 0.1,
    "freeze_trunk": True,
    "lm_coef": 0.25,
    "label_tags": ["+1", "-1"],
    "prior": "head",
    "reward_beta": 9.0,
    "critic": "some/directory",
}
"""Another value than the default for every setting that only some runs read; value_lam needs value_loss: lambda too."""
CASES = [(run, name) for run in RUNS for name in OTHER if name not in RUNS[run]]


def config_of(run: str, **settings) -> RunConfig:
    flat = {"model_name_or_path": "base", "train_file": "rows.jsonl", "output_dir": "out"}
    return RunConfig.from_flat(flat | RUNS[run] | settings)


def test_every_setting_stands_in_one_place():
    rows = {name for row in (*STAGE_TABLE.values(), *CRITICS.values()) for name in row.reads}
    settings = {f.name for part in RunConfig.PARTS.values() for f in dataclasses.fields(part)}
    assert rows | set(EVERY_STAGE) == settings
    assert not rows & set(EVERY_STAGE)
    assert set(BESIDE) <= settings
    assert set(OTHER) | {"reference"} == rows, "a new setting of some runs wants a value, and its readers, here"


def test_every_stage_and_kind_is_walked():
    assert {config_of(run).stage for run in RUNS} == set(STAGE_TABLE)
    assert {settings["critic"] for settings in RUNS.values() if settings["stage"] == "critic"} == set(CRITICS)


@pytest.mark.parametrize(("run", "name"), CASES)
def test_a_setting_is_read_or_refused(run, name):
    if name in READ[run] or (run, name) == ("own head", "critic"):
        require_all_read(config_of(run, **{name: OTHER[name]}))
    else:
        stage = RUNS[run]["stage"]
        with pytest.raises(ConfigError, match=rf"^{name} is .*, which nothing reads in stage {stage}.* read by "):
            require_all_read(config_of(run, **{name: OTHER[name]}))


@pytest.mark.parametrize(("run", "name"), [case for case in CASES if case[1] in READ[case[0]]])
def test_a_setting_that_is_read_has_an_effect(make_config, chain_base, run, name):
    places = {"model_name_or_path": str(chain_base / "base")}
    plain, other = (make_config(**RUNS[run] | places | given) for given in ({}, {name: OTHER[name]}))
    assert _made(plain) != _made(other)


def _made(config: RunConfig) -> list[object]:
    """All that a stage is but for its models, which parts there are, and what trains at which rate."""
    tokenizer = load_tokenizer(config.model.model_name_or_path)
    rows, stage = load_dataset(config, config.data.train_file, tokenizer), load_stage(config, tokenizer)
    model = load_model(config, stage)
    if config.stage == "critic":
        stage.prepare(model, rows)
    trainer = make_trainer(config, Inputs(model, tokenizer, rows, None, stage), quiet=True)
    own = {f.name: getattr(stage, f.name) for f in dataclasses.fields(stage)}
    head = model.value_head and (model.value_head.link, model.value_head.hidden_units)
    trains = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    rates = {group["lr"] for group in trainer.create_optimizer().param_groups}
    return [own | {"critic": None, "reference": None}, head, model.critic, trains, rates]


@pytest.mark.parametrize(
    ("name", "value", "partner"),
    [
        ("head_warmup_steps", 3, {"n_future": 2}),
        ("head_decay", 0.6, {"n_future": 2}),
        ("freeze", "trunk", {"n_future": 2}),
        ("heads", "sequential", {"n_future": 2}),
        ("lora_alpha", 32.0, {"lora_rank": 2}),
        ("lora_dropout", 0.1, {"lora_rank": 2}),
        ("lora_target_modules", ["q_proj"], {"lora_rank": 2}),
        ("load_in_4bit", True, {"lora_rank": 2}),
        ("eval_steps", 5, {"eval_file": "held_out.jsonl"}),
        ("best_metric", "weighted_ce", {"early_stopping_patience": 1, "eval_steps": 1, "eval_file": "e.jsonl"}),
        ("value_lam", 0.5, {"value_loss": "lambda"}),
        ("keep_above", 0.9, {"keep": "right"}),
        ("split", "test", {"train_file": "hub:a/b"}),
        ("stream", True, {"eval_file": "hub:a/b:test"}),
    ],
)
def test_a_setting_that_needs_another_is_refused_without_it(name, value, partner):
    require_all_read(config_of("own head", **{name: value}, **partner))
    with pytest.raises(ConfigError, match=f"^{name} is .* where .* (is|given)"):
        require_all_read(config_of("own head", **{name: value}))


def test_the_cases_of_partners_are_all():
    marks = test_a_setting_that_needs_another_is_refused_without_it.pytestmark
    assert {name for name, *_ in marks[0].args[1]} == set(BESIDE)


def test_the_message_names_the_run_and_the_readers():
    with pytest.raises(ConfigError) as refused:
        require_all_read(config_of("separate critic", value_coef=3.0))
    assert str(refused.value) == (
        "value_coef is 3.0, which nothing reads in stage verifiable with a separate critic: leave it at 0.5; it is "
        "read by stage critic (value_head; generative with prior: head; implicit), stage verifiable with its own "
        "value head, without freeze"
    )


def test_a_frozen_value_head_learns_nothing(make_config, chain_base):
    frozen = {"freeze": "trunk", "n_future": 2, "model_name_or_path": str(chain_base / "critic")}
    with pytest.raises(ConfigError, match=r"^value_coef is .*, without freeze"):
        require_all_read(config_of("own head", value_coef=3.0, **frozen))
    config = make_config("verifiable", **frozen)
    assert load_stage(config, load_tokenizer(str(chain_base / "critic"))).value_coef == 0


# A reference is read by some stages, by some critics, and by whichever scheme requires its losses.


@pytest.mark.parametrize("stage", ["baseline", "critic", "verifiable"])
def test_a_reference_that_no_scheme_reads_is_refused(make_config, chain_base, stage):
    with pytest.raises(ConfigError, match=f"nothing reads in stage {stage}.*requires reference_nll"):
        load_inputs(make_config(stage, reference=str(chain_base / "base")))


def test_a_reference_beside_a_critic_that_is_compared_with_none_is_refused(make_config, chain_base):
    config = make_config("verifiable", critic=str(chain_base / "critic"), reference=str(chain_base / "base"))
    with pytest.raises(ConfigError, match=r"with a separate critic.*an implicit critic of stage verifiable"):
        load_inputs(config)


def test_the_reference_of_an_implicit_critic_is_read(prepare, chain_base, train):
    critic, base = train("critic", critic="implicit", max_steps=1).args.output_dir, str(chain_base / "base")
    assert load_critic(critic).reads_reference == critic_kind("implicit").needs_reference
    prepare("verifiable", critic=critic, scheme="log_odds", reference=base)


def test_a_mistyped_scheme_is_told_before_a_reference_that_it_would_read(prepare, chain_base):
    with pytest.raises(ConfigError, match="nearest is 'rho1'"):
        prepare("baseline", scheme="rho11", reference=str(chain_base / "base"))


# An objective with nothing in it.


@pytest.mark.parametrize(
    ("run", "settings", "said"),
    [
        ("value head", {"value_coef": 0.0, "lm_coef": 0.0}, "lm_coef and value_coef are 0"),
        ("frozen trunk", {"value_coef": 0.0}, "value_coef is 0"),
        ("generative", {"lm_coef": 0.0}, "lm_coef is 0"),
        ("learned prior", {"lm_coef": 0.0, "value_coef": 0.0}, "lm_coef and value_coef are 0"),
        ("implicit", {"value_coef": 0.0}, "value_coef is 0"),
    ],
)
def test_a_critic_that_would_learn_nothing_is_refused(run, settings, said):
    with pytest.raises(ConfigError, match=f"^{said}, so that nothing is learned in stage critic"):
        require_all_read(config_of(run, **settings))


@pytest.mark.parametrize(
    ("run", "settings"),
    [("value head", {"value_coef": 0.0}), ("value head", {"lm_coef": 0.0}), ("own head", {"value_coef": 0.0})],
)
def test_one_term_is_enough(run, settings):
    require_all_read(config_of(run, **settings))


# What is there already goes on to work.


@pytest.mark.parametrize("run", RUNS)
def test_the_saved_settings_of_any_run_are_taken_again(run):
    require_all_read(RunConfig.from_flat(config_of(run).to_flat()))


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("src/weighted_mtp/configs/smollm2/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_our_configurations_hold_nothing_that_is_not_read(path):
    settings = yaml.safe_load(path.read_text())
    stage = "critic" if path.stem == "generative" else path.stem  # where a file names none
    held_out = {} if "eval_share" in settings else {"eval_file": "e"}
    filled = {"stage": stage, "train_file": "t", "output_dir": "o"} | held_out | settings
    require_all_read(RunConfig.from_flat(filled))


def test_our_configurations_leave_the_scheme_to_the_stage_and_the_store_to_the_environment():
    for path in ROOT.glob("src/weighted_mtp/configs/smollm2/*.yaml"):
        assert yaml.safe_load(path.read_text()).keys().isdisjoint({"scheme", "scheme_options", "tracking_uri"}), path


def test_the_arms_of_the_demo_are_runs_that_wmtp_train_takes(tmp_path):
    draw = Draw("easy", Chains([], [], []), 0, tmp_path, "none", Budget())
    for arm in (*NEXT_TOKEN, *FOUR_HEADS):
        require_all_read(draw.config(arm))


def test_a_finished_run_with_settings_that_it_never_read_is_looked_at(make_config, chain_base, tmp_path):
    flat = make_config().to_flat() | {"value_coef": 7.0, "max_steps": 0, "reference": str(chain_base / "base")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(flat))
    config = RunConfig.load(tmp_path)
    assert config.critic.value_coef == 7.0
    load_inputs(config, trains=False)
    with pytest.raises(ConfigError, match=r"value_coef is 7\.0"):
        load_inputs(config)


def test_a_policy_starts_from_a_critic_whatever_the_link_of_its_head(make_config, prepare, chain_base, tmp_path):
    run = prepare("critic", model_name_or_path=str(chain_base / "base"), value_link="identity")
    run.inputs.model.save_pretrained(tmp_path)
    run.inputs.tokenizer.save_pretrained(tmp_path)
    config = make_config(model_name_or_path=str(tmp_path))
    with pytest.warns(UserWarning, match="which was dropped"):
        assert load_model(config, load_stage(config, run.inputs.tokenizer)).value_head is None
