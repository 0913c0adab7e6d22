"""`heads: sequential` and `eagle` in a run: trained, in checkpoints, left beside a plain model, and taken out."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.models.released import plain_tensors
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel


def test_a_run_leaves_a_plain_model_and_trained_heads_that_draft(chain_base, rows, tmp_path, capsys):
    words = {"n_future": "3", "heads": "sequential", "head_decay": "0.6", "max_steps": "2", "tracking_uri": "none"}
    words |= {"train_file": str(rows["train"]), "output_dir": str(tmp_path), "learning_rate": "0.001"}
    base = str(chain_base / "base")
    settings = [word for name, value in words.items() for word in (f"--{name}", value)]
    assert main(["train", "baseline", "--model_name_or_path", base, *settings]) == 0
    run = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert (run["heads"], run["head_decay"]) == ("sequential", 0.6)
    assert plain_tensors(tmp_path).keys() == plain_tensors(Path(base)).keys()
    before = MTPModel.from_pretrained(base, n_future=3, heads="sequential").state_dict()
    beside = load_file(tmp_path / "weighted_mtp.safetensors")
    assert all(name.startswith("extra_heads.") and not torch.equal(x, before[name]) for name, x in beside.items())
    capsys.readouterr()
    prompt, written = json.loads(rows["train"].read_text().splitlines()[0])["prompt"], []
    for drafts in ([], ["--drafts"]):
        assert main(["generate", str(tmp_path), "--prompt", prompt, "--max_new_tokens", "6", *drafts]) == 0
        written.append(capsys.readouterr().out.splitlines()[0])
    assert written[0] == written[1]


@pytest.mark.parametrize("settings", [{}, {"lora_rank": 2}, {"freeze": "trunk"}], ids=str)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(prepare, settings):
    settings = {"n_future": 2, "heads": "sequential", "head_decay": 0.6, "save_steps": 2} | settings
    whole = prepare(**settings)
    start = whole.parameters()
    whole.fit()
    resumed = prepare(**settings)
    resumed.fit(Path(whole.config.train.output_dir) / "checkpoint-2")
    one, other = whole.parameters(), resumed.parameters()
    assert not torch.equal(one["extra_heads.0.eh_proj.weight"], start["extra_heads.0.eh_proj.weight"])
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_eagle_head_of_a_run_becomes_a_draft_model(train, tmp_path, capsys):
    run = train(n_future=2, heads="eagle", freeze="trunk").args.output_dir
    assert main(["convert", "eagle", run, "--out", str(tmp_path / "draft")]) == 0
    assert f"an EAGLE-1 draft model for {run}" in capsys.readouterr().out
    head: Any = MTPModel.from_pretrained(run).extra_heads[0]
    left = load_file(tmp_path / "draft" / "model.safetensors")
    assert torch.equal(left["fc.weight"], head.eh_proj.weight)


def test_a_model_without_such_a_head_is_one_line_and_nothing_is_left(chain_base, tmp_path, capsys):
    assert main(["convert", "eagle", str(chain_base / "base"), "--out", str(tmp_path / "draft")]) == 2
    assert "this model has no extra heads" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
