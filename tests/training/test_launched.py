"""What a launcher was told and the model did not get is refused, in one line."""

import pytest
import torch
from transformers import TrainingArguments

from weighted_mtp.training.arguments import require_wrapped
from weighted_mtp.training.errors import ConfigError

TOLD = {
    "fsdp": ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, {}, "fsdp was asked for"),
    "fsdp1": ({"ACCELERATE_USE_FSDP": "true"}, {}, "FSDP 1 was asked for"),
    "deepspeed": ({"ACCELERATE_USE_DEEPSPEED": "true"}, {}, "deepspeed"),
    "megatron": ({"ACCELERATE_USE_MEGATRON_LM": "true"}, {}, "Megatron-LM was asked for"),
    "tensor_parallel": (
        {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
        {},
        "tensor parallelism was asked for .tp_size 2.",
    ),
    "micro_batches": (
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
        {"gradient_accumulation_steps": 2},
        "was told gradient_accumulation_steps 4, and the run's is 2",
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_was_asked_for_and_not_had_is_refused(prepare, monkeypatch, case):
    variables, settings, message = TOLD[case]
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")  # Accelerate sets it itself; this puts it back
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        prepare(**settings).fit()


def test_a_model_that_is_not_sharded_is_refused_where_the_arguments_ask_for_fsdp(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, fsdp=True)  # pyright: ignore
    with pytest.raises(ConfigError, match="fsdp was asked for, but the model was wrapped as Linear"):
        require_wrapped(args, torch.nn.Linear(1, 1))


@pytest.mark.parametrize("option", ["split_batches", "dispatch_batches"])
def test_another_way_of_dealing_rows_is_refused(prepare, option):
    with pytest.raises(ConfigError, match=f"accelerator_config .*{option}"):
        prepare(trainer_args={"accelerator_config": {option: True}})
