"""A user's mistakes: one clear line, exit status 2, no traceback, nothing written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from weighted_mtp.cli.grammar import answer
from weighted_mtp.cli.main import main
from weighted_mtp.cli.rows import console


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main([str(word) for word in words])
    return status, capsys.readouterr().err


@pytest.fixture
def config_file(chain_base: Path, tmp_path: Path) -> Path:
    """A working configuration; tests break one thing in it."""
    settings = {
        "model_name_or_path": str(chain_base / "base"),
        "train_file": str(chain_base / "train.jsonl"),
        "output_dir": str(tmp_path / "run"),
        "max_steps": 2,
        "save_steps": 0,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def change(config_file: Path, **settings: object) -> Path:
    config_file.write_text(yaml.safe_dump(yaml.safe_load(config_file.read_text()) | settings))
    return config_file


def assert_one_line(err: str, *parts: str) -> None:
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("wmtp: error: ")
    for part in parts:
        assert part in lines[0]


def test_an_unknown_command_names_the_nearest(capsys):
    status, err = run(capsys, "trian")
    assert status == 2
    assert_one_line(err, "did you mean train?")


def test_an_unknown_stage_names_the_nearest(capsys):
    status, err = run(capsys, "train", "verifyable")
    assert status == 2
    assert_one_line(err, "did you mean verifiable?")


def test_a_mistyped_key_in_the_file_names_the_nearest(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", change(config_file, learnin_rate=1e-3))
    assert status == 2
    assert_one_line(err, "'learnin_rate'", "did you mean learning_rate?")


def test_a_mistyped_flag_names_the_nearest(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--max_step", "3")
    assert status == 2
    assert_one_line(err, "'max_step'", "did you mean max_steps?")


def test_a_wrong_type_names_key_and_value(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--max_steps", "many")
    assert status == 2
    assert_one_line(err, "max_steps", "many")


def test_a_value_out_of_range_says_what_is_needed(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--learning_rate=-1")
    assert status == 2
    assert_one_line(err, "learning_rate is -1.0", "above 0")


def test_a_missing_configuration_file_is_named(capsys, tmp_path):
    status, err = run(capsys, "train", "baseline", "--config", tmp_path / "none.yaml")
    assert status == 2
    assert_one_line(err, "none.yaml", "no such file")


def test_a_file_that_is_not_yaml_is_named(capsys, config_file):
    config_file.write_text("a: [1,")
    status, err = run(capsys, "train", "baseline", "--config", config_file)
    assert status == 2
    assert_one_line(err, "not valid YAML")


def test_a_required_setting_that_is_missing_is_named(capsys, config_file):
    settings = yaml.safe_load(config_file.read_text())
    del settings["train_file"]
    config_file.write_text(yaml.safe_dump(settings))
    status, err = run(capsys, "train", "baseline", "--config", config_file)
    assert status == 2
    assert_one_line(err, "train_file")


def test_a_missing_training_file_is_named(capsys, config_file, tmp_path):
    status, err = run(capsys, "train", "baseline", "--config", change(config_file, train_file="none.jsonl"))
    assert status == 2
    assert_one_line(err, "none.jsonl")
    assert not (tmp_path / "run").exists()


def test_a_missing_model_is_named_and_nothing_is_downloaded(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", change(config_file, model_name_or_path="no/such"))
    assert status == 2
    assert_one_line(err, "no/such")


def test_a_loss_backend_that_cannot_run_here_is_refused_before_anything_is_written(capsys, config_file, tmp_path):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--loss_backend", "liger")
    assert status == 2
    assert_one_line(err, "backend liger")
    assert not (tmp_path / "run").exists()


def test_a_malformed_row_is_named_by_file_and_line(capsys, config_file, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "7 +3 :", "completion": "0", "label": True}) + '\n{"prompt": "7 +3 :"}\n')
    status, err = run(capsys, "train", "baseline", "--config", change(config_file, train_file=str(rows)))
    assert status == 2
    assert_one_line(err, "rows.jsonl:2")


def test_an_unknown_scheme_lists_the_choices(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--scheme", "tdd")
    assert status == 2
    assert_one_line(err, "tdd", "td")


def test_an_unknown_scheme_option_names_the_accepted_ones(capsys, config_file):
    words = ("--scheme", "td", "--scheme_options", '{"betta": 1}')
    status, err = run(capsys, "train", "baseline", "--config", config_file, *words)
    assert status == 2
    assert_one_line(err, "betta", "beta")


def test_a_scheme_without_its_signal_says_which_stage_supplies_it(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--scheme", "td")
    assert status == 2
    assert_one_line(err, "needs values", "stage verifiable")


def test_rho1_without_a_reference_asks_for_one(capsys, config_file):
    status, err = run(capsys, "train", "rho1", "--config", config_file)
    assert status == 2
    assert_one_line(err, "--reference")


def test_a_mistyped_trainer_argument_names_the_nearest(capsys, config_file):
    path = change(config_file, trainer_args={"dataloader_num_worker": 2})
    status, err = run(capsys, "train", "baseline", "--config", path)
    assert status == 2
    assert_one_line(err, "did you mean dataloader_num_workers?")


def test_a_configuration_of_another_stage_is_refused(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", change(config_file, stage="critic"))
    assert status == 2
    assert_one_line(err, "wmtp train critic")


def test_a_sampler_that_does_not_exist_lists_the_choices(capsys, config_file):
    status, err = run(capsys, "train", "baseline", "--config", config_file, "--sampler", "balance")
    assert status == 2
    assert_one_line(err, "balance", "balanced")


def test_inspecting_what_is_no_run_says_what_to_give(capsys, tmp_path):
    status, err = run(capsys, "inspect", tmp_path)
    assert status == 2
    assert_one_line(err, "output_dir of a `wmtp train` run")


def test_a_finished_run_is_not_overwritten(capsys, config_file, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    status, err = run(capsys, "train", "baseline", "--config", config_file)
    assert status == 2
    assert_one_line(err, "already holds a run", "--resume auto")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data", "mutants", "--source", "humanevl"), "--source humanevl: give humaneval or null"),
        (("data", "mutants", "--per_task", "many"), "--per_task many: give a whole number"),
        (("data", "verify", "--timeout", "soon"), "--timeout soon: give a number or null"),
        (("train", "critic", "--value_loss", "mae"), "--value_loss mae: give mse or bce or pairwise or lambda"),
        (("train", "baseline", "--bf16", "yep"), "--bf16 yep: give true or false"),
        (("train", "baseline", "--scheme_options", "3"), "--scheme_options 3: give a mapping, as {a: 1}"),
        (("train", "baseline", "--critic.x", "3"), "--critic.x 3: give text or null"),
        (
            ("train", "baseline", "--lora_target_modules", "q_proj,v_proj"),
            "--lora_target_modules q_proj,v_proj: give all-linear or a list, as [q_proj,v_proj] or null",
        ),
        (("inspect", "a", "--rows", "b"), "--rows b: give a list, as [1,2] or null"),
    ],
)
def test_a_value_of_the_wrong_kind_says_what_is_needed(capsys, words: tuple[str, ...], said: str):
    assert main(list(words)) == 2
    assert capsys.readouterr().err == f"wmtp: error: {said}\n"


DIGITS = "9" * 400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max_steps", DIGITS), "max_steps is a number of about 400 digits: give one below 2**63"),
        (("--max_steps", "9" * 5000), "--max_steps has thousands of digits"),
        (("--learning_rate", DIGITS), "is too large: give one below 1e308"),
        (("--trainer_args.adam_beta1", DIGITS), "trainer_args.adam_beta1 is a number of about 400 digits"),
        (("--scheme", "td", "--scheme_options.beta", DIGITS), "scheme_options.beta is a number of about 400 digits"),
        (("--tracking_uri", "foo://x"), "MLflow has no store foo: give one of sqlite, "),
        (("--tracking_uri", "runs"), "tracking_uri is runs, a folder"),
        (("--tracking_uri", "http://[bad"), "tracking_uri is http://[bad, which is no address: give http://HOST:PORT"),
        (("--tracking_uri", "https://host:door"), "which is no address"),
        (("--tracking_uri", "http://"), "which is no address"),
        (("--tracking_uri", "http://me:secret@host"), "tracking_uri is http://me:***@host, with a password"),
        (("--tracking_uri", "sqlite:///"), "which names no file"),
        (("--tracking_uri", "sqlite:///:memory:"), "which names no file"),
        (("--tracking_uri", "sqlite:///a%20b.db"), "or one with %: give sqlite:///FILE.db, or none"),
        (("--tracking_uri", "sqlite:////tmp"), "which is a folder: give a file"),
        (("--lora_rank", "1000000000"), "lora_rank is 1000000000, and the layers' weights have rank 64 at most"),
        (("--n_future", "100000"), "n_future is 100000, and rows have 1024 tokens at most"),
        (("--resume", "\x1b[2J\x9b\u202e"), r"\x1b[2J\x9b\u202e"),
    ],
)  # fmt: skip
def test_an_absurd_value_is_one_line(capsys, config_file, words, said):
    status, err = run(capsys, "train", "baseline", "--config", config_file, *words)
    assert status == 2
    assert_one_line(err, said)
    assert err.strip().isprintable()


@pytest.mark.parametrize(
    "value",
    ["!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]", "!!map {}", '!!int ""', "!!bool abc", "!!null 3", "!own 3"],
)
def test_a_tag_in_a_file_of_settings_is_one_line(capsys, config_file, value):
    config_file.write_text(f"{config_file.read_text()}seed: {value}\n")
    status, err = run(capsys, "train", "baseline", "--config", config_file)
    assert status == 2
    assert_one_line(err, "does not fit this value: write the value alone (line 6, column 7)")


def test_a_flag_that_is_given_twice_is_told(capsys, config_file):
    _, err = run(capsys, "train", "baseline", "--config", config_file, "--seed", "1", "--seed=-2")
    assert err.splitlines()[0] == "wmtp: --seed is given 2 times: the last one counts"
    assert "seed is -2" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--prompt", "a", "--temperature", "1e-320"),
            "temperature is 1e-320: give 0 (greedy), or a finite number from",
        ),
        (("--prompt", "a\udc80"), "--prompt is no UTF-8 text"),
    ],
)
def test_a_prompt_and_a_temperature_that_no_model_takes_are_one_line(capsys, chain_base, words, said):
    status, err = run(capsys, "generate", chain_base / "base", *words)
    assert status == 2
    assert_one_line(err, said)


def test_a_lack_of_memory_is_one_line(capsys):
    assert answer(lambda words: torch.empty(2**58).numel(), []) == 1
    assert_one_line(capsys.readouterr().err, "not enough memory (tried to allocate 1152921504606846976 bytes)")


def test_a_critic_whose_settings_are_empty_is_one_line(capsys, chain_base, config_file, tmp_path):
    critic = Path(shutil.copytree(chain_base / "critic", tmp_path / "critic"))
    (critic / "weighted_mtp.json").write_text("{}")
    words = ["--config", change(config_file, critic=str(critic))]
    status, err = run(capsys, "train", "verifiable", *words)
    assert status == 2
    assert_one_line(err, "cannot read weighted_mtp.json: it lacks n_future, which every save writes")


def test_rows_do_not_steer_the_terminal(capsys):
    console().print("a row: \x1b[31mred", markup=False)
    assert capsys.readouterr().out == "a row: \\x1b[31mred\n"


def test_help_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from weighted_mtp.cli.main import main; main(['--help'])\n"
        "print([m for m in ('torch', 'transformers', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_every_setting_is_explained_in_the_help():
    words = [sys.executable, "-m", "weighted_mtp.cli", "train", "verifiable", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "directory of a separate frozen critic" in " ".join(done.stdout.split())
