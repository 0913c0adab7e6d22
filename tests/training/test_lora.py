"""Runs with adapters: every stage trains them, a killed one is resumed to the bit, and what they leave is plain."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.training.launch import launch
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel
from weighted_mtp.models.lora import ADAPTER, DECODERS, HEADS
from weighted_mtp.training.early_checks import check_run
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import train

KINDS = {
    "baseline": {"n_future": 2},
    "value_head": {"stage": "critic"},
    "generative": {"stage": "critic", "critic": "generative"},
    "implicit": {"stage": "critic", "critic": "implicit"},
    "verifiable": {"stage": "verifiable", "scheme_options": {"whitening": "ema", "beta": 1.0}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_a_plain_directory_that_learned(make_config, chain_base: Path, kind: str, capsys):
    settings = dict(KINDS[kind])
    config = make_config(settings.pop("stage", "baseline"), lora_rank=4, learning_rate=1e-2, **settings)
    run_dir = train(config)
    base, tuned = MTPModel.from_pretrained(chain_base / "base"), MTPModel.from_pretrained(run_dir)
    before, after = base.hf_model.state_dict(), tuned.hf_model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {name for name in before if ".layers." in name and "norm" not in name}
    assert changed == linear  # of the decoder's layers, all of them, and nothing else
    assert main(["inspect", str(run_dir), "--count", "1"]) == 0  # reads the directory as any other
    assert capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_bitwise_the_uninterrupted_one(make_config, tmp_path: Path):
    def status(name: str, **accident: Any) -> int | None:
        config = make_config(
            **KINDS["verifiable"], lora_rank=4, n_future=2, max_steps=6, save_steps=2, output_dir=str(tmp_path / name)
        )
        return launch(config, **accident).returncode

    assert status("whole") == 0
    assert status("killed", kill_at=5) == -9
    assert status("killed", resume="auto") == 0
    for file in ("model.safetensors", "weighted_mtp.safetensors", f"{ADAPTER}/{DECODERS}", f"{ADAPTER}/{HEADS}"):
        whole, killed = (load_file(tmp_path / name / file) for name in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert [name for name in whole if not torch.equal(whole[name], killed[name])] == []


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks
def test_peft_reads_the_adapters_of_a_run_onto_the_base_that_was_named(make_config, chain_base: Path):
    from peft import PeftConfig, PeftModel

    targets = {"lora_target_modules": ["q_proj", "down_proj"], "lora_dropout": 0.1}
    run_dir = train(make_config("baseline", n_future=2, lora_rank=4, learning_rate=1e-2, **targets))
    base = str(PeftConfig.from_pretrained(str(run_dir / ADAPTER)).base_model_name_or_path)
    assert base == str(chain_base / "base")
    ids = torch.arange(10)[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(run_dir).eval()(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(base).eval()
        before = plain(ids).logits
        found = PeftModel.from_pretrained(plain, str(run_dir / ADAPTER)).eval()(ids).logits
    torch.testing.assert_close(found, merged, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before, merged, atol=1e-3)


def test_a_run_on_a_base_in_4_bits_leaves_a_plain_directory(make_config, chain_base: Path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    run_dir = train(make_config("verifiable", lora_rank=4, load_in_4bit=True, learning_rate=1e-2))
    kinds = {tensor.dtype for tensor in load_file(run_dir / "model.safetensors").values()}
    assert kinds == {torch.float32}
    assert main(["inspect", str(run_dir), "--count", "1"]) == 0


def test_4_bits_without_bitsandbytes_are_refused_with_the_command(make_config):
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(ConfigError, match=r"pip install bitsandbytes$"):
        check_run(make_config(lora_rank=4, load_in_4bit=True), None)


def test_adapters_and_a_frozen_trunk_exclude_each_other(make_config):
    with pytest.raises(ConfigError, match="freeze_trunk and lora_rank are both set"):
        make_config("critic", freeze_trunk=True, lora_rank=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lora_rank", -1), ("lora_alpha", 0.0), ("lora_dropout", 1.0), ("lora_target_modules", "q_proj")],
)
def test_settings_out_of_range_are_refused(make_config, name: str, value: float):
    with pytest.raises(ConfigError, match=name):
        make_config(**{name: value})
