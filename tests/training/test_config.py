"""Configurations: round trip, defaults, and errors that say what came and what is needed."""

from pathlib import Path

import pytest

from weighted_mtp.training.arguments import training_arguments
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.run import make_trainer, train, weights_line


def test_a_configuration_survives_its_flat_form(make_config):
    config = make_config("verifiable", scheme_options={"beta": 0.3}, critic="dir", n_future=4)
    assert RunConfig.from_flat(config.to_flat()) == config.__class__.from_flat(config.to_flat())
    assert RunConfig.from_flat(config.to_flat()).to_flat() == config.to_flat()


def test_a_configuration_survives_its_file(make_config):
    config = make_config("rho1", reference="dir", trainer_args={"adam_beta2": 0.98})
    config.save()
    assert RunConfig.load(config.train.output_dir).to_flat() == config.to_flat()


@pytest.mark.parametrize(
    ("stage", "scheme"), [("baseline", "uniform"), ("critic", "uniform"), ("verifiable", "gated"), ("rho1", "rho1")]
)
def test_a_stage_has_its_own_scheme(make_config, stage, scheme):
    assert make_config(stage, reference="dir", scheme="").scheme == scheme


@pytest.mark.parametrize(
    ("stage", "settings", "said"),
    [
        ("verifiable", {"scheme": ""}, "gated with its defaults gives 0 to 1."),
        ("verifiable", {"scheme": "", "scheme_options": {"skill": 0.5}}, "gated with skill 0.5 gives 0.05 to 3."),
        ("verifiable", {"scheme": "td", "scheme_options": {"beta": 0.3}}, "td with beta 0.3 gives 0.1 to 5; the clip"),
        ("verifiable", {"scheme": "td"}, "td with its defaults gives 0.329 to 3.04; the clip [0.1, 5] never binds"),
        ("verifiable", {"scheme": "td", "value_link": "identity"}, "gives 0.1 to 5; the clip [0.1, 5] can bind"),
        (
            "verifiable",
            {"scheme": "td", "scheme_options": {"whitening": "ema"}},
            "whitening ema gives 0.1 to 5; the clip",
        ),
        ("verifiable", {"scheme": "td", "scheme_options": {"unit_mean": True}}, "has no bound of its own"),
        ("baseline", {}, "uniform with its defaults gives 1."),
    ],
)
def test_the_range_of_the_weights_is_known_before_training(make_config, critic_dir, stage, settings, said):
    base = {"model_name_or_path": str(critic_dir)} if stage == "verifiable" else {}
    settings = dict(settings)
    link = settings.pop("value_link", "sigmoid")
    config = make_config(stage, **base, **settings)
    inputs = load_inputs(config)
    if inputs.model.value_head is not None:
        inputs.model.value_head.link = link
    assert said in f"{weights_line(make_trainer(config, inputs, quiet=True), config)}."


WRONG = {
    "stage": ("sft", "stage is 'sft': give one of baseline, critic, verifiable, rho1"),
    "n_future": (0, "n_future is 0: give 1"),
    "max_length": (1, "max_length is 1: give at least 2 tokens"),
    "gamma": (1.5, r"gamma is 1.5: give a discount in \[0, 1\]"),
    "value_lam": (-0.1, r"value_lam is -0.1: give a number in \[0, 1\]"),
    "value_coef": (-1.0, "value_coef is -1.0: give a finite number, 0 or more"),
    "lm_coef": (float("inf"), "lm_coef is inf: give a finite number, 0 or more"),
    "learning_rate": (float("nan"), "learning_rate is nan: give a finite number above 0"),
    "per_device_train_batch_size": (0, "per_device_train_batch_size is 0: give a finite number above 0"),
    "gradient_accumulation_steps": (0, "gradient_accumulation_steps is 0"),
    "logging_steps": (0, "logging_steps is 0"),
    "save_total_limit": (1, "save_total_limit is 1: give 2 or more"),
    "warmup_steps": (-1, "warmup_steps is -1"),
    "value_hidden": (-1, "value_hidden is -1: give a finite number, 0 or more"),
    "head_decay": (0.0, "head_decay is 0.0: give a number above 0, up to 1"),
    "head_warmup_steps": (-1, "head_warmup_steps is -1"),
    "output_dir": ("", "output_dir is empty: give a path$"),
    "eval_file": ("", "eval_file is empty: give a path, or leave it out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_out_of_range_is_refused_with_what_is_needed(make_config, name):
    value, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        make_config(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "max_steps is 0: give 1 or more, or -1 to train num_train_epochs"),
        ({"max_steps": 0, "num_train_epochs": 3.0}, "max_steps is 0"),
        ({"max_steps": -2}, "max_steps is -2"),
        ({"max_steps": -1, "num_train_epochs": 0.0}, "num_train_epochs is 0.0: give a finite number above 0"),
        ({"num_train_epochs": float("inf")}, "num_train_epochs is inf"),
    ],
)
def test_training_for_no_time_or_for_ever_is_refused(make_config, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**settings)


def test_rho1_without_a_reference_is_refused(make_config):
    with pytest.raises(ConfigError, match="give --reference DIR"):
        make_config("rho1")


def test_a_critic_of_several_heads_is_refused(make_config):
    with pytest.raises(ConfigError, match="stage critic has one head, but n_future is 2"):
        make_config("critic", n_future=2)


def test_a_directory_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run.yaml is not there: give the output_dir of a `wmtp train` run"):
        RunConfig.load(tmp_path)


def test_right_rows_that_do_not_exist_are_refused(make_config, tmp_path):
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"prompt": "7 +3 :", "completion": "1", "label": false}\n')
    with pytest.raises(ConfigError, match=r"no row labelled right .*, so keep: right leaves nothing"):
        load_inputs(make_config(train_file=str(path), keep="right"))


WRONG_SCHEMES = {
    "td": ("scheme td needs values, but stage baseline supplies only", {}),
    "column": ("scheme column needs weights", {}),
    "rho1": ("scheme rho1 needs reference_nll, .* a --reference or rows with .logprobs. .* for reference_nll", {}),
    "shuffled": ("scheme shuffled needs values", {}),
    "unifrom": ("unknown weighting scheme 'unifrom'; nearest is 'uniform'", {}),
    "no.such.module:Scheme": ("^weighting scheme .* cannot be imported", {}),
    "uniform": ("^weighting scheme 'uniform': got .*its options are: none", {"beta": 1}),
}


@pytest.mark.parametrize("scheme", WRONG_SCHEMES)
def test_a_scheme_that_cannot_be_had_is_refused(make_config, scheme):
    message, options = WRONG_SCHEMES[scheme]
    config = make_config(scheme=scheme, scheme_options=options)
    with pytest.raises(ConfigError, match=message):
        make_trainer(config, load_inputs(config), quiet=True)


@pytest.mark.parametrize(
    "options", [{"beta": 0}, {"min_weight": 6}, {"whitening": "emaa"}, {"entropy_floor": 1.0}, {"beta": "a"}]
)
def test_a_scheme_option_out_of_range_is_refused(make_config, options):
    config = make_config("verifiable", scheme="td", scheme_options=options)
    with pytest.raises(ConfigError, match=f"^scheme td: .*{next(iter(options))}"):
        make_trainer(config, load_inputs(config), quiet=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer_args": {"adam_beta3": 1}}, "'adam_beta3' of .*; did you mean adam_beta[12]"),
        ({"trainer_args": {"qqqqq": 1}}, "trainer_args has no field 'qqqqq'"),
        ({"optim": "adamm"}, "adamm"),
        ({"lr_scheduler_type": "cosin"}, "cosin"),
    ],
)
def test_an_argument_that_transformers_does_not_know_is_refused(make_config, settings, message):
    with pytest.raises(ConfigError, match=message):
        training_arguments(make_config(**settings), evaluates=False)


def test_trainer_args_go_before_ours(make_config):
    given = {"adam_beta2": 0.5, "eval_on_start": False}
    args = training_arguments(make_config(trainer_args=given), evaluates=True)
    assert (args.adam_beta2, args.eval_on_start) == (0.5, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_name_or_path": "no/such"}, "no/such"),
        ({"train_file": "none.jsonl"}, "none.jsonl"),
        ({"eval_file": "none.jsonl"}, "none.jsonl"),
        ({"scheme": "tdd"}, "tdd"),
        ({"trainer_args": {"qqqqq": 1}}, "qqqqq"),
        ({"sampler": "curiculum"}, "no sampler 'curiculum': curriculum"),
        ({"sampler": "pairs", "per_device_train_batch_size": 3}, "needs an even one"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(make_config, settings, message):
    config = make_config(**settings)
    with pytest.raises((ValueError, OSError), match=message):
        train(config)
    assert not Path(config.train.output_dir).exists()
