"""One table for each kind of thing that has a name: every row is whole, and a name without a row is an error."""

import importlib
import inspect
import json
from pathlib import Path

import pytest
import torch

from weighted_mtp.cli.main import main
from weighted_mtp.data import SAMPLERS
from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.models.critic_spec import CONDITIONS
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.config import STAGES
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.critics.table import CRITICS, critic_kind, load_critic
from weighted_mtp.training.critics.value_head import OBJECTIVES, ValueStage
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.settings import CriticConfig
from weighted_mtp.training.stage import Stage
from weighted_mtp.training.stage_table import STAGE_TABLE, stage_row
from weighted_mtp.value_weighting import SCHEMES, WeightingScheme, make_scheme
from weighted_mtp.verifiers.table import VERIFIERS, make_verifier


def test_the_lists_of_names_are_the_rows_of_the_tables():
    assert tuple(STAGE_TABLE) == STAGES
    assert {"value_head", *CONDITIONS} <= set(CRITICS)
    assert set(OBJECTIVES) == set(CriticConfig.__annotations__["value_loss"].__args__)


@pytest.mark.parametrize("kind", CRITICS)
def test_every_kind_of_critic_is_trained_saved_and_read(prepare, kind, tmp_path):
    row = critic_kind(kind)
    run = prepare("critic", critic=kind)
    assert row.help
    assert isinstance(run.inputs.stage, Stage)
    assert run.inputs.stage.needs_value_head
    spec = row.spec(run.config)
    assert run.inputs.model.critic == spec
    assert kind == ("value_head" if spec is None else spec.kind)
    for new in (run.inputs.model.value_head, run.inputs.model.label_condition):
        for parameter in [] if new is None else new.parameters():
            torch.nn.init.normal_(parameter)  # of zeros a critic is refused, as one that was never trained
    with torch.no_grad():  # and so is one that is still its reference
        next(run.inputs.model.hf_model.parameters()).mul_(0.5)
    run.inputs.model.save_pretrained(tmp_path)
    saved = MTPModel.from_pretrained(tmp_path)
    critic = row.read(saved, str(tmp_path), "auto", run.config.model.model_name_or_path)
    assert isinstance(critic, Critic)
    inputs = run.trainer.data_collator([run.inputs.train_dataset[0]])
    values, credit = critic.judge(TokenBatch.from_inputs(inputs, 1))
    assert values.shape == inputs["input_ids"].shape
    assert (credit is not None) == critic.gives_credit


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_line_of_help_a_scheme_and_a_loader(stage):
    row = stage_row(stage)
    assert row.help
    assert make_scheme(row.scheme)
    module, function = row.loader.split(":")
    loader = getattr(importlib.import_module(module), function)
    loaded = ["critic"] if row.reads_critic else []
    assert list(inspect.signature(loader).parameters) == ["config", "tokenizer", *loaded]


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_is_a_weighting_scheme(name):
    assert issubclass(SCHEMES[name], WeightingScheme)


def test_a_kind_of_critic_without_a_row_is_refused_and_not_trained_as_another(make_config):
    with pytest.raises(ConfigError, match=f"'ranking'.*{', '.join(CRITICS)}"):
        make_config("critic", critic="ranking")


def test_a_stage_without_a_row_is_refused_and_not_trained_as_another(make_config, monkeypatch):
    monkeypatch.setattr("weighted_mtp.training.config.STAGES", (*STAGES, "distil"))
    with pytest.raises(ConfigError, match=f"'distil'.*{', '.join(STAGES)}"):
        make_config("distil")


@pytest.mark.parametrize("entry", [{"kind": "ranking"}, {"kind": "generative", "prior": "oracle"}, {"kin": "x"}])
def test_a_directory_of_an_unknown_critic_is_read_as_no_other(chain_base, tmp_path, entry):
    MTPModel.from_pretrained(chain_base / "base", critic=CriticSpec("generative"), value_head=True).save_pretrained(
        tmp_path
    )
    settings = json.loads((tmp_path / "weighted_mtp.json").read_text())
    (tmp_path / "weighted_mtp.json").write_text(json.dumps(settings | {"critic": entry}))
    for read in (load_critic, MTPModel.from_pretrained):
        with pytest.raises(ValueError, match=r"cannot read weighted_mtp\.json"):
            read(str(tmp_path))


def test_a_value_loss_without_a_row_is_no_other(prepare):
    stage = ValueStage(value_objective="hinge")
    with pytest.raises(ConfigError, match="'hinge': give one of mse, bce, pairwise, lambda"):
        stage.value_normalizer(None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "given", "choices"),
    [
        ("value_loss", "hinge", "mse, bce, pairwise, lambda"),
        ("prior", "hed", "base_rate, head"),
        ("keep", "rigth", "all, right"),
        ("on_bad_row", "warn", "error, skip"),
        ("value_link", "tanh", "sigmoid, identity"),
        ("dtype", "float8", "auto, float32"),
        ("loss_backend", "triton", "torch, liger"),
    ],
)
def test_a_setting_of_few_names_takes_no_other_however_it_comes(make_config, name, given, choices):
    with pytest.raises(ConfigError, match=f"{name} is '{given}': give one of {choices}"):
        make_config("critic", **{name: given})


@pytest.mark.parametrize(
    ("words", "choice"),
    [
        (["--sampler", "suffled"], next(iter(SAMPLERS))),
        (["--scheme", "unifrm"], "uniform"),
        (["--critic", "generativ"], "generative"),
        (["--value_loss", "hinge"], "pairwise"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_the_command_line_lists_the_choices(chain_base: Path, tmp_path, capsys, words, choice):
    base = ["--model_name_or_path", str(chain_base / "base"), "--train_file", str(chain_base / "train.jsonl")]
    assert main(["train", "critic", *base, "--output_dir", str(tmp_path / "run"), *words]) == 2
    assert choice in capsys.readouterr().err


def test_a_verifier_without_a_row_is_refused():
    with pytest.raises(ValueError, match=", ".join(VERIFIERS)):
        make_verifier("exactly")
