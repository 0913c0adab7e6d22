"""`trainer_args`: every field of the installed TrainingArguments is ours, has its effect, or is refused by name."""

import dataclasses

import pytest
import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_callback import ProgressCallback
from transformers.training_args import OptimizerNames

from tests.forked import start
from weighted_mtp.cli.main import main
from weighted_mtp.training.arguments import training_arguments
from weighted_mtp.training.callbacks import LogLines
from weighted_mtp.training.config import RunConfig, settings_from
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train as train_run
from weighted_mtp.training.trainer_fields import OPTIMIZERS, OURS, PASSED_ON, REFUSED, REPORTERS, Package

FIELDS = {f.name: f for f in dataclasses.fields(TrainingArguments)}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_installed_transformers_is_in_one_table(name):
    assert [name in table for table in (OURS, PASSED_ON, REFUSED)].count(True) == 1


@pytest.mark.parametrize("name", [*PASSED_ON, *REFUSED])
def test_the_tables_name_only_fields_that_exist(name):
    assert name in FIELDS


@pytest.mark.parametrize("name", [name for name in FIELDS if name in OURS])
def test_a_field_that_is_a_setting_of_ours_is_refused_and_the_setting_named(make_config, name):
    with pytest.raises(ConfigError, match=f"trainer_args sets {name}, .* give --{OURS[name]}"):
        training_arguments(make_config(trainer_args={name: 3}), evaluates=True)


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_that_would_do_nothing_is_refused_unless_it_says_what_is_done_anyway(make_config, name):
    neutral, reason = REFUSED[name]
    training_arguments(make_config(trainer_args={name: neutral}), evaluates=True)
    other = (not neutral) if isinstance(neutral, bool) else "another"
    with pytest.raises(ConfigError, match=f"trainer_args sets {name} to ") as refused:
        training_arguments(make_config(trainer_args={name: other}), evaluates=True)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"accelerator_config": {"split_batches": True}}, "how batches are cut and dealt to processes is ours"),
        ({"accelerator_config": "file.json"}, "how batches are cut"),
        ({"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}}, "--gradient_accumulation_steps"),
        ({"activation_checkpointing_kwargs": {"use_reentrant": False}}, "give --gradient_checkpointing true too"),
        ({"eval_strategy": "epoch"}, "give --eval_file"),
        ({"eval_on_start": True}, "give --eval_file"),
        ({"eval_delay": 1}, "give --eval_file"),
        ({"lr_scheduler_kwargs": {"zz": 2}}, "lr_scheduler_type .* does not work with lr_scheduler_kwargs .*zz"),
        ({"lr_scheduler_kwargs": 7}, "lr_scheduler_kwargs of trainer_args is 7: give names with values"),
        ({"optim_args": "betas=0.1"}, "optim_args betas=0.1, which changes nothing of optim adamw_torch_fused"),
        ({"optim_target_modules": "all-linear"}, "which optim adamw_torch_fused does not read"),
        ({"project": "p"}, "of report_to: trackio"),
        ({"fsdp_config": {"x": 1}}, "fsdp_config, which is of fsdp"),
        ({"do_train": False}, "wmtp train trains"),
        ({"log_level": "loud"}, "log_level to 'loud': give passive"),
        ({"data_seed": -5}, "a whole number from 0 on"),
        ({"ddp_backend": "nonsense"}, "give nccl, gloo"),
        ({"optim_args": "nonsense"}, "give name=value"),
        ({"report_to": ""}, "report_to to '': give one or several"),
        ({"adam_beta1": None}, "adam_beta1 to None: give a number"),
        ({"debug": "tpu_metrics_debug"}, "TPUs are not supported"),
        ({"trackio_space_id": "a/b"}, "of report_to: trackio"),
        ({"adam_beta2": "much"}, "trainer_args sets adam_beta2 to 'much': give a number"),
        ({"adam_beta2": True}, "give a number"),
        ({"dataloader_num_workers": 1.5}, "give a whole number"),
        ({"full_determinism": 1}, "give true or false"),
        ({"logging_strategy": "sometimes"}, "transformers refuses the settings: .*sometimes"),
        ({"dataloader_prefetch_factor": 2}, "transformers refuses the settings: .*prefetch_factor"),
        ({"report_to": "mlflow"}, "set tracking_uri"),
        ({"report_to": ["all"]}, "name them"),
        ({"report_to": "tensorbord"}, "report_to is 'tensorbord': give one or several of tensorboard"),
        ({"report_to": "comet_ml"}, "report_to is comet_ml, but comet_ml is not installed: pip install comet_ml"),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, "deepspeed is set, but .*: pip install deepspeed"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_would_not_be_honoured_is_refused(make_config, given, said):
    with pytest.raises(ConfigError, match=said):
        training_arguments(make_config(trainer_args=given), evaluates=False)


def test_a_schedule_that_wants_options_says_so(make_config):
    with pytest.raises(ConfigError, match=r"warmup_stable_decay does not work .*num_decay_steps"):
        training_arguments(make_config(lr_scheduler_type="warmup_stable_decay"), evaluates=False)
    options = {"lr_scheduler_kwargs": {"num_decay_steps": 1}}
    training_arguments(make_config(lr_scheduler_type="warmup_stable_decay", trainer_args=options), evaluates=False)


def test_options_of_an_optimizer_that_reads_them_are_passed_on(make_config):
    config = make_config(optim="rmsprop", trainer_args={"optim_args": "momentum=0.5"})
    assert training_arguments(config, evaluates=False).optim_args == "momentum=0.5"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in float16")
def test_float16_on_a_cpu_is_refused_since_it_would_be_float32(make_config):
    with pytest.raises(ConfigError, match=r"fp16 .*a CPU does not compute in"):
        training_arguments(make_config(trainer_args={"fp16": True}), evaluates=False)


@pytest.mark.parametrize("no", ["no", False])
def test_held_out_rows_and_no_evaluation_are_refused(make_config, no):
    with pytest.raises(ConfigError, match="held-out rows are evaluated at the start and the end"):
        training_arguments(make_config(trainer_args={"eval_strategy": no}), evaluates=True)


def test_a_field_of_trainer_args_that_is_given_as_a_setting_is_told_where_it_goes():
    with pytest.raises(ConfigError, match="'adam_beta2': it goes under trainer_args"):
        settings_from(RunConfig.PARTS.values(), {"adam_beta2": 0.9})


@pytest.mark.parametrize("name", ["logging_strategy", "save_strategy", "eval_strategy"])
def test_a_no_that_was_read_as_false_is_no(make_config, name):
    assert getattr(training_arguments(make_config(trainer_args={name: False}), evaluates=False), name) == "no"


@pytest.mark.parametrize("name", [name.value for name in OptimizerNames])
def test_an_optimizer_works_or_says_what_it_needs(make_config, name):
    entry = OPTIMIZERS[name]
    if entry is None:
        assert training_arguments(make_config(optim=name), evaluates=False).optim == name
    else:
        said = f"pip install {entry.pip}" if isinstance(entry, Package) else "trains other weights|backward pass"
        with pytest.raises(ConfigError, match=f"optim is {name}.*({said})"):
            training_arguments(make_config(optim=name), evaluates=False)


@pytest.mark.parametrize("name", INTEGRATION_TO_CALLBACK)
def test_every_reporter_of_transformers_is_known(name):
    assert name in REPORTERS


def test_reporters_are_told_our_settings_and_the_scheme_with_its_options(make_config):
    config = make_config("verifiable", scheme="td", scheme_options={"beta": 0.2}, run_name="one", train_file="t")
    told = training_arguments(config, evaluates=False).to_dict()
    assert (told["scheme"], told["scheme_options"], told["train_file"]) == ("td", {"beta": 0.2}, "t")
    assert (told["run_name"], told["stage"]) == ("one", "verifiable")


def test_a_mistake_in_trainer_args_is_told_by_the_command(make_config, capsys):
    path = make_config(trainer_args={"label_smoothing_factor": 0.1}).save()
    assert main(["train", "baseline", "--config", str(path), "--output_dir", str(path.parent / "x")]) == 2
    assert "label_smoothing_factor" in capsys.readouterr().err


def test_another_data_seed_changes_the_order_of_the_rows_and_nothing_else(prepare):
    def order(**settings):
        trainer = prepare(max_steps=1, **settings).trainer
        return list(trainer._get_train_sampler())

    plain = order()
    assert order(trainer_args={"data_seed": 0}) == plain
    assert order(trainer_args={"data_seed": 5}) == order(seed=5)
    assert order(trainer_args={"data_seed": 5}) != plain


def test_disable_tqdm_takes_the_bar_and_leaves_the_lines(make_config):
    from weighted_mtp.training.loading import load_inputs
    from weighted_mtp.training.run import make_trainer

    config = make_config()
    inputs = load_inputs(config)
    for disable in (False, True):
        changed = dataclasses.replace(
            config, train=dataclasses.replace(config.train, trainer_args={"disable_tqdm": disable})
        )
        callbacks = make_trainer(changed, inputs).callback_handler.callbacks
        assert any(isinstance(c, ProgressCallback) for c in callbacks) is not disable
        assert any(isinstance(c, LogLines) for c in callbacks)


def test_what_the_trainer_does_with_a_field_it_does_here(train):
    """Fields that pass through code of ours: counting tokens, the first log, checkpointing, when is saved."""
    trainer = train(
        gradient_checkpointing=True,
        trainer_args={
            "include_num_input_tokens_seen": "non_padding",
            "logging_first_step": True,
            "activation_checkpointing_kwargs": {"every_n_layers": 2, "use_reentrant": False},
            "save_strategy": "epoch",
            "save_only_model": True,
        },
    )
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in logs] == [1, 2, 4]
    assert logs[-1]["num_input_tokens_seen"] > logs[0]["num_input_tokens_seen"] > 0
    layers = trainer.model.hf_model.model.layers
    assert [layer.gradient_checkpointing for layer in layers] == [i % 2 == 0 for i in range(len(layers))]


def test_tensorboard_gets_our_names_and_settings(train, rows, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore

    trainer = train(
        "critic", eval_file=str(rows["eval"]), output_dir=str(tmp_path / "run"), tracking_uri="none",
        scheme="td", scheme_options={"beta": 0.25}, trainer_args={"report_to": "tensorboard"},
    )  # fmt: skip
    (folder,) = (tmp_path / "run" / "runs").iterdir()
    seen = EventAccumulator(str(folder))
    seen.Reload()
    assert {"train/td_mean", "train/weight_entropy", "eval/value_explained_variance"} <= set(seen.Tags()["scalars"])
    text = str(seen.Tensors("args/text_summary")[0])
    assert "scheme_options" in text
    assert "0.25" in text
    assert not (tmp_path / "run" / "mlflow.db").exists()
    assert trainer.args.report_to == ["tensorboard"]


def test_wandb_offline_gets_our_names_and_settings(make_config, rows, tmp_path):
    """In a process of its own: wandb starts a service that lives as long as the process."""
    config = make_config(
        scheme="return_weighted", scheme_options={"beta": 0.25}, train_file=str(rows["train"]), max_steps=2,
        output_dir=str(tmp_path / "run"), tracking_uri="none", trainer_args={"report_to": "wandb"},
    )  # fmt: skip
    said = tmp_path / "stderr"
    process = start(_train, config, said=said, environment={"WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    process.join(timeout=240)
    process.kill()
    assert process.exitcode == 0, said.read_text()[-2000:]
    (written,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    for part in (b"train/weight_mean", b"train/ce_head_0", b"scheme_options", b'"beta":0.25'):
        assert part in written.read_bytes().replace(b": ", b":")


def _train(config):
    import wandb

    train_run(config, quiet=True)
    wandb.finish()  # as at the exit of a program; a forked process just ends


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_tracking_uri_none_turns_mlflow_off(prepare, tmp_path, monkeypatch, word):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    prepared = prepare(output_dir=str(tmp_path / "run"), tracking_uri=word, max_steps=1)
    tracker = next(c for c in prepared.trainer.callback_handler.callbacks if type(c).__name__ == "MLflowLogger")
    tracker.on_train_begin(prepared.trainer.args, prepared.trainer.state, prepared.trainer.control)
    tracker.close("FINISHED")
    assert (tracker.uri, tracker._client) == (None, None)
    assert not (tmp_path / "run" / "mlflow.db").exists()


def test_the_console_shows_what_one_watches_in_every_stage(train, rows, capsys):
    trainer = train("critic", max_steps=2, eval_file=str(rows["eval"]))
    for entry in trainer.state.log_history:
        LogLines().on_log(trainer.args, trainer.state, trainer.control, dict(entry))
    out = capsys.readouterr()
    printed = out.out + out.err
    for name in ("value_explained_variance", "eval/value_explained_variance", "weight_std"):
        assert f"  {name} " in printed
