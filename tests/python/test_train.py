"""`wm.train` is the command, to the bit, whatever lies on disk and whatever is in memory."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback

import weighted_mtp as wm
from tests.conftest import weights_in
from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError, chain_tokenizer
from weighted_mtp.training.checkpoints import CheckpointError
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.value_weighting import SCHEMES, Signals, WeightingScheme, make_scheme
from weighted_mtp.value_weighting.schemes.td import TD


def same(a: Any, b: Any) -> bool:
    first, second = weights_in(a), weights_in(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="session")
def by_command(chain_base: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function (stage) -> what `wmtp train STAGE` leaves with the settings of `train`, made once."""
    made: dict[str, Path] = {}

    def run(stage: str) -> Path:
        if stage not in made:
            made[stage] = tmp_path_factory.mktemp(stage) / "out"
            settings = {
                "model_name_or_path": chain_base / ("critic" if stage == "verifiable" else "base"),
                "train_file": chain_base / "train.jsonl",
                "output_dir": made[stage],
                "tracking_uri": store,
                "max_steps": 3,
                "per_device_train_batch_size": 8,
                "learning_rate": 1e-3,
            }
            words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
            assert main(["train", stage, *words]) == 0
        return made[stage]

    return run


@pytest.mark.parametrize("stage", ["baseline", "critic", "verifiable"])
def test_paths_give_the_weights_of_the_command_to_the_bit(train, chain_base, by_command, stage):
    model = chain_base / ("critic" if stage == "verifiable" else "base")
    run = train(model, chain_base / "train.jsonl", stage)
    assert same(run, by_command(stage))
    ours, theirs = (sorted(path.name for path in folder.iterdir()) for folder in (run.path, by_command(stage)))
    assert ours == theirs


def test_a_model_rows_and_tokenizer_in_memory_give_them_too(train, load, rows, by_command):
    assert same(train(load(), rows, tokenizer=chain_tokenizer()), by_command("baseline"))


def test_a_dataset_is_a_list_of_its_rows(train, load, rows, by_command):
    assert same(train(load(), Dataset.from_list(rows)), by_command("baseline"))  # the tokenizer lies where it was read


def test_our_own_model_keeps_its_heads(train, chain_base, rows, by_command):
    model = wm.MTPModel.from_pretrained(chain_base / "critic")
    run = train(model, rows, "verifiable")
    assert same(run, by_command("verifiable"))
    assert "value_head.weight" in weights_in(run)


def test_a_half_precision_model_in_memory_trains_in_float32(train, load, rows, chain_base, tmp_path):
    half = AutoModelForCausalLM.from_pretrained(chain_base / "base", dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    chain_tokenizer().save_pretrained(tmp_path / "half")
    assert same(train(half, rows), train(tmp_path / "half", rows, output_dir=tmp_path / "other"))
    assert weights_in(tmp_path / "out")["lm_head.weight"].dtype == torch.float32


@pytest.mark.parametrize("settings", [{"n_future": 2}, {"n_future": 2, "lora_rank": 4}])
def test_heads_and_adapters_of_a_loaded_model_are_those_of_its_path(train, load, rows, chain_base, tmp_path, settings):
    loaded = train(load(), rows, **settings)
    assert same(loaded, train(chain_base / "base", rows, output_dir=tmp_path / "other", **settings))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks
def test_adapters_of_a_loaded_model_name_where_it_was_read(train, load, rows, chain_base):
    run = train(load(), rows, lora_rank=4)
    config = json.loads((run.path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(chain_base / "base")


def test_a_run_holds_its_path_and_its_last_metrics(train, chain_base, rows):
    run = train(chain_base / "base", rows, eval_rows=rows[:8])
    assert run.path.name == "out"
    assert {"loss", "eval_loss", "eval_ce_head_0", "train_runtime"} <= run.metrics.keys()
    assert AutoModelForCausalLM.from_pretrained(run).config.vocab_size


def test_run_yaml_says_what_was_in_memory(train, load, rows, chain_base):
    run = train(load(), rows, tokenizer=chain_tokenizer(), eval_rows=iter(rows[:8]))
    said = yaml.safe_load((run.path / "run.yaml").read_text())
    assert said["train_file"] == "<96 rows in memory>"
    assert said["eval_file"] == "<8 held-out rows in memory>"
    assert said["model_name_or_path"] == f"<LlamaForCausalLM {chain_base / 'base'} in memory>"
    assert said["tokenizer_name_or_path"].endswith(" in memory>")


def test_callbacks_are_called(train, chain_base, rows):
    class Steps(TrainerCallback):
        count = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.count += 1

    steps = Steps()
    train(chain_base / "base", rows, callbacks=[steps])
    assert steps.count == 3


def test_quiet_prints_nothing(train, chain_base, rows, capfd):
    train(chain_base / "base", rows)
    assert capfd.readouterr() == ("", "")


# Critics and schemes


@pytest.fixture
def critic(chain_base: Path) -> Any:
    return wm.load_critic(str(chain_base / "critic"))


def test_a_loaded_critic_is_its_path(train, chain_base, rows, critic, tmp_path):
    loaded = train(chain_base / "base", rows, "verifiable", critic=critic)
    path = train(chain_base / "base", rows, "verifiable", critic=chain_base / "critic", output_dir=tmp_path / "other")
    assert same(loaded, path)
    assert yaml.safe_load((loaded.path / "run.yaml").read_text())["critic"] == str(chain_base / "critic")


def test_a_run_is_taken_for_its_path(train, chain_base, rows, tmp_path):
    critic = train(chain_base / "base", rows, "critic", learning_rate=1e-2)
    train(chain_base / "base", rows, "verifiable", critic=critic, output_dir=tmp_path / "student")


def test_a_scheme_in_memory_is_its_name_and_options(train, chain_base, rows, tmp_path):
    by_name = train(chain_base / "critic", rows, "verifiable", "td", scheme_options={"beta": 0.2})
    made = train(chain_base / "critic", rows, "verifiable", TD(beta=0.2), output_dir=tmp_path / "other")
    assert same(by_name, made)
    said = yaml.safe_load((made.path / "run.yaml").read_text())
    assert (said["scheme"], said["scheme_options"]["beta"]) == ("td", 0.2)


@pytest.mark.parametrize(
    "name", [name for name, kind in SCHEMES.items() if "inner" not in inspect.signature(kind).parameters]
)
def test_every_scheme_of_ours_can_be_made_again_from_what_is_written(name):
    from weighted_mtp.python.given import scheme_of

    flat: dict[str, Any] = {}
    scheme_of(make_scheme(name), flat)
    assert flat["scheme"] == name
    assert type(make_scheme(**({"name": name} | flat["scheme_options"]))) is SCHEMES[name]


class Doubled(WeightingScheme):
    """Keeps another number than it was made with."""

    requires = ("values", "rewards")

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = 2 * factor

    def forward(self, signals: Signals) -> torch.Tensor:
        return torch.full_like(signals.td_errors, self.factor)


def test_a_scheme_that_cannot_be_made_again_is_called_in_memory(train, chain_base, rows):
    run = train(chain_base / "critic", rows, "verifiable", Doubled(1.5))
    said = yaml.safe_load((run.path / "run.yaml").read_text())
    assert (said["scheme"], said["scheme_options"]) == ("<Doubled in memory>", {"factor": 3.0})


def test_training_leaves_the_scheme_that_was_given_as_it_was(train, chain_base, rows):
    scheme = TD(whitening="ema", beta=1.0)
    before = {name: tensor.clone() for name, tensor in scheme.state_dict().items()}
    train(chain_base / "critic", rows, "verifiable", scheme)
    after = scheme.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# Resume


def interrupted(train: Callable[..., wm.Run], *given: Any, **settings: Any) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 4:
                raise RuntimeError("a power cut")

    with pytest.raises(RuntimeError, match="a power cut"):
        train(*given, callbacks=[Stop()], max_steps=6, save_steps=2, **settings)


def test_a_resumed_call_ends_as_one_that_was_never_stopped(train, load, rows, tmp_path):
    whole = train(load(), rows, max_steps=6, save_steps=2, output_dir=tmp_path / "whole")
    interrupted(train, load(), rows)
    assert same(train(load(), rows, max_steps=6, save_steps=2, resume="auto"), whole)


def test_a_finished_call_has_nothing_left_to_do(train, load, rows, caplog):
    first = train(load(), rows)
    again = train(load(), rows, resume="auto")
    assert (again.path, again.metrics) == (first.path, {})
    assert "nothing is left to train" in caplog.text


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("rows", "training rows: "),
        ("model", "base model: "),
        ("scheme", "'beta': 0.2"),
        ("learning_rate", "0.001 -> 0.002"),
    ],
)
def test_a_resume_with_something_else_is_refused_with_the_difference(train, chain_base, rows, what, said):
    model = wm.MTPModel.from_pretrained(chain_base / "critic")
    interrupted(train, model, rows, "verifiable", TD(beta=0.2))
    model = wm.MTPModel.from_pretrained(chain_base / "critic")
    settings = {"max_steps": 6, "save_steps": 2, "resume": "auto"}
    if what == "rows":
        rows = [*rows[:-1], rows[-1] | {"label": not rows[-1]["label"]}]
    if what == "model":
        model.hf_model.lm_head.weight.data[0] += 1
    if what == "learning_rate":
        settings[what] = 2e-3
    with pytest.raises(CheckpointError, match=f"other settings, rows or models: .*{said}"):
        train(model, rows, "verifiable", TD(beta=0.3 if what == "scheme" else 0.2), **settings)


def test_inspect_reads_a_run_in_memory_again_once_its_rows_are_in_a_file(train, load, rows, chain_base, capsys):
    run = train(load(), rows, tokenizer=chain_tokenizer())
    capsys.readouterr()  # what loading the model showed
    assert main(["inspect", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        "train_file <96 rows in memory>, which cannot be read again: say where it lies now with --train_file" in error
    )
    assert main(["inspect", str(run.path), "--count", "1", "--train_file", str(chain_base / "train.jsonl")]) == 0


def test_inspect_says_of_a_scheme_that_it_cannot_be_made_again(train, chain_base, capsys):
    run = train(chain_base / "critic", chain_base / "train.jsonl", "verifiable", Doubled(1.5))
    assert main(["inspect", str(run.path)]) == 2
    assert (
        "scheme <Doubled in memory>, which cannot be read again: give one that can be imported"
        in capsys.readouterr().err
    )


def test_the_command_says_of_such_a_run_yaml_what_it_cannot_read(train, load, rows, capsys, tmp_path):
    run = train(load(), rows)
    assert (
        main(["train", "baseline", "--config", str(run.path / "run.yaml"), "--output_dir", str(tmp_path / "new")]) == 2
    )
    assert "of a Python session, which cannot be read again: name what lies on disk" in capsys.readouterr().err


# Mistakes: one line each, before anything is written


MISTAKES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "a mistyped setting": (ConfigError, "unknown setting 'lr': did you mean .*learning_rate", {"lr": 1e-3}),
    "a value of another kind": (ConfigError, "learning_rate is 'big': give a number", {"learning_rate": "big"}),
    "a choice": (ConfigError, "dtype is 'int8': give auto or float32 or", {"dtype": "int8"}),
    "a setting that has an argument": (ConfigError, "train_file is given beside rows", {"train_file": "x.jsonl"}),
    "a stage": (ConfigError, "stage is 'sft': give one of baseline", {"stage": "sft"}),
    "a scheme": (ValueError, "unknown weighting scheme 'tdd'; nearest is 'td'", {"scheme": "tdd"}),
    "a class for a scheme": (ConfigError, "scheme is <class .*TD'>: give a name", {"scheme": TD}),
    "options beside a scheme": (ConfigError, "leave it out", {"scheme": TD(), "scheme_options": {"beta": 1.0}}),
    "a model": (ConfigError, "model is a int: give a path, a causal language model", {"model": 3}),
    "no model there": (ValueError, "no model at 'nowhere'", {"model": "nowhere"}),
    "a dict of data sets": (
        ConfigError,
        "rows is a dict of train, test: give one",
        {"rows": {"train": [], "test": []}},
    ),
    "a number for rows": (ConfigError, "rows is a int: give a path", {"rows": 7}),
    "no rows": (DataError, "no row in it", {"rows": []}),
    "rows without labels": (DataError, "rows:1: ", {"rows": [{"prompt": "a", "completion": "b"}]}),
    "no rows there": (DataError, "no such file", {"rows": "nowhere.jsonl"}),
    "a critic": (ConfigError, "critic is a int: give a path, or what load_critic gives", {"critic": 3}),
    "changes without a resume": (ConfigError, "goes with resume: give auto", {"resume_with_changes": True}),
    "a setting that nothing reads": (ConfigError, "value_coef is 0.1, which nothing reads", {"value_coef": 0.1}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(train, chain_base, rows, tmp_path, name):
    kind, said, settings = MISTAKES[name]
    with pytest.raises(kind, match=said) as error:
        train(**{"model": chain_base / "base", "rows": rows, **settings})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "run.yaml").exists()


def test_a_loaded_model_that_was_read_nowhere_wants_a_tokenizer(train, load, rows):
    model = load()
    model.name_or_path = ""
    with pytest.raises(ConfigError, match="was read nowhere: give its tokenizer="):
        train(model, rows)


def test_a_model_that_holds_adapters_is_refused(train, load, rows, tmp_path):
    model = load()
    train(model, rows, lora_rank=2)
    with pytest.raises(ValueError, match="holds adapters: give the directory that their training left"):
        train(model, rows, output_dir=tmp_path / "again")


def test_an_implicit_critic_from_a_model_in_memory_wants_a_reference(train, load, rows):
    with pytest.raises(ConfigError, match="the model is in memory: give reference=DIR"):
        train(load(), rows, "critic", critic="implicit")


def test_importing_the_package_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, weighted_mtp; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_tags_of_a_generative_critic_are_read_by_a_tokenizer_in_memory(train, chain_base, rows, tmp_path):
    tags = {"critic": "generative", "label_tags": ["+1", "-1"]}
    by_path = train(chain_base / "base", rows, stage="critic", **tags)
    in_memory = train(
        chain_base / "base", rows, stage="critic", tokenizer=chain_tokenizer(), output_dir=tmp_path / "again", **tags
    )
    assert same(by_path, in_memory)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tokenizer": 5}, "tokenizer is a int: give a path, or a tokenizer"),
        ({"callbacks": TrainerCallback()}, "callbacks is .*: give a list of them"),
    ],
)
def test_what_is_no_tokenizer_and_no_list_of_callbacks_is_told(train, chain_base, rows, given, said):
    with pytest.raises(ConfigError, match=said):
        train(chain_base / "base", rows, stage="baseline", **given)


@pytest.mark.parametrize("given", [{"stage": "critic"}, {"scheme": "td"}])
def test_the_trainer_takes_no_names_and_says_who_does(chain_base, given):
    with pytest.raises(ConfigError, match=r"is '\w+': give a \w+ \(wm.train takes names\)"):
        wm.WeightedMTPTrainer(model=wm.MTPModel.from_pretrained(chain_base / "base"), **given)


def test_weights_that_uniform_does_not_read_are_told(train, chain_base, rows, caplog):
    weighed = [row | {"weights": [1.0] * (len(row["completion"].split()) + 1)} for row in rows]
    train(chain_base / "base", weighed, stage="baseline")
    assert "has weights, which scheme uniform does not read" in caplog.text
