"""The files of `configs/launch` say to `accelerate launch` what they seem to, and launches train or are refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from benchmarks.moments import children
from tests.conftest import needs, weights_in

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "src/weighted_mtp/configs/launch"
TOLD = {
    "ddp": {},
    "fsdp2": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_OFFLOAD_PARAMS": "false",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
        "FSDP_ACTIVATION_CHECKPOINTING": "false",
    },
}
for stage in ("2", "3"):
    TOLD[f"zero{stage}"] = {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": stage,
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "auto",
        "ACCELERATE_GRADIENT_CLIPPING": "auto",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "none",
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "none",
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",
        "ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL": "true",
    }


def test_every_file_is_tested():
    assert {path.stem for path in LAUNCH.iterdir()} == {*TOLD}


@pytest.mark.parametrize("name", TOLD)
def test_accelerate_tells_its_processes_what_the_file_says(name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["--config_file", str(LAUNCH / f"{name}.yaml"), "--main_process_port", "0", "-m", "weighted_mtp.cli"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert args.num_processes == 8
    args.deepspeed_fields_from_accelerate_config = ""  # which the launcher sets for its warnings
    told = prepare_deepspeed_cmd_env(args)[1] if args.use_deepspeed else prepare_multi_gpu_env(args)
    assert {key: told.get(key, "").lower() for key in TOLD[name]} == {k: v.lower() for k, v in TOLD[name].items()}
    assert told["ACCELERATE_MIXED_PRECISION"] == "no"


@pytest.mark.parametrize("name", TOLD)
def test_every_key_of_a_section_is_an_option_of_accelerate_launch(name):
    options = vars(launch_command_parser().parse_args(["x"]))
    config = yaml.safe_load((LAUNCH / f"{name}.yaml").read_text())
    named = {**config.get("fsdp_config", {}), **config.get("deepspeed_config", {})}
    assert [key for key in named if key not in options] == []


@pytest.fixture
def launched(chain_base, rows, tmp_path):
    """A function (name of a file) -> how a run on two processes that it launched ended, and what it said."""

    def launch(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "model_name_or_path": str(chain_base / "critic"), "train_file": str(rows["train"]), "tracking_uri": "none",
            "output_dir": str(tmp_path / "run"), "max_steps": 2, "per_device_train_batch_size": 2, "n_future": 2,
            "optim": "sgd", "learning_rate": 0.2, "scheme": "td", "scheme_options": '{"beta": 0.3}',
        }  # fmt: skip
        given = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / f"{name}.yaml")]
        command += ["--num_processes", "2", "--main_process_port", "0", "-m", "weighted_mtp.cli", "train", "verifiable"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        return subprocess.run([*command, *given, *words], env=environment, capture_output=True, text=True, timeout=240)

    return launch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3"])
def test_two_launched_processes_train_as_one(name, launched, prepare, tmp_path):
    if name != "ddp":
        needs("deepspeed", "REQUIRE_DEEPSPEED", "DeepSpeed is not installed: pip install deepspeed")
    ended = launched(name)
    assert ended.returncode == 0, ended.stderr[-3000:]
    settings = {"max_steps": 2, "per_device_train_batch_size": 4, "n_future": 2, "optim": "sgd", "learning_rate": 0.2}
    prepare("verifiable", output_dir=str(tmp_path / "one"), **settings).fit()
    one, two = (weights_in(tmp_path / name) for name in ("one", "run"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_is_named(chain_base, rows, tmp_path):
    settings = {
        "model_name_or_path": str(chain_base / "base"), "train_file": str(rows["train"]), "tracking_uri": "none",
        "output_dir": str(tmp_path / "run"), "max_steps": 100_000, "logging_steps": 1, "save_steps": 0,
    }  # fmt: skip
    given = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "weighted_mtp.cli", "train", "baseline", *given]
    with (tmp_path / "said").open("w") as said:
        launcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
    assert launcher.stdout is not None
    assert any("step" in line for line in launcher.stdout), (tmp_path / "said").read_text()[-3000:]
    died, began = children(launcher.pid)[1], time.monotonic()
    os.kill(died, signal.SIGKILL)
    launcher.communicate()
    assert time.monotonic() - began < 40
    assert launcher.returncode == 1
    _, _, cause = (tmp_path / "said").read_text().partition("Root Cause")
    assert f"exitcode  : -9 (pid: {died})" in cause
    assert "rank      : " in cause


@pytest.mark.slow
def test_fsdp_that_accelerate_turned_into_another_wrapper_ends_the_run(launched, tmp_path):
    if torch.accelerator.is_available():
        pytest.skip("an accelerator gets FSDP")
    ended = launched("fsdp2")
    assert ended.returncode != 0
    assert "fsdp was asked for, but the model was wrapped as DistributedDataParallel" in ended.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()
