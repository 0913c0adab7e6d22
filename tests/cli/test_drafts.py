"""Every command that decodes takes --drafts: the same results, and a line that says how well they went."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weighted_mtp.cli.main import main

HELD = "tokens a forward; drafts accepted, by head: "
CONFIG = ["--n_future", "3", "--freeze", "trunk", "--max_steps", "30", "--learning_rate", "3e-3", "--save_steps", "0"]


@pytest.fixture(scope="module")
def model(chain_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `wmtp train --freeze trunk` made of a model without extra heads."""
    root = tmp_path_factory.mktemp("drafts")
    base, rows = str(chain_base / "base"), str(chain_base / "train.jsonl")
    words = ["--model_name_or_path", base, "--train_file", rows, "--output_dir", str(root / "model"), *CONFIG]
    assert main(["train", "baseline", *words, "--tracking_uri", "none"]) == 0
    lines = (chain_base / "eval.jsonl").read_text().splitlines()
    asked = [{"prompt": row["prompt"], "answer": row["completion"]} for row in map(json.loads, lines[::4])]
    (root / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    return root / "model"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    capsys.readouterr()
    assert main(list(words)) == 0
    return capsys.readouterr()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_frozen_trunk_is_the_base_to_the_bit(model: Path, chain_base: Path):
    base, trained = (load_file(folder / "model.safetensors") for folder in (chain_base / "base", model))
    assert base.keys() == trained.keys()
    assert all(torch.equal(base[name], trained[name]) for name in base)
    heads = load_file(model / "weighted_mtp.safetensors")
    last = f"model.layers.{max(int(name.split('.')[2]) for name in base if '.layers.' in name)}."
    assert any(not torch.equal(x, base[last + name.split(".", 2)[2]]) for name, x in heads.items())


def test_generate_writes_the_same_and_says_how(model: Path, capsys):
    asked = ["generate", str(model), "--prompt", "7 +3 *7 :", "--max_new_tokens", "12"]
    plain, drafted = told(capsys, *asked), told(capsys, *asked, "--drafts")
    assert drafted[0] == plain[0]
    assert HELD in drafted[1]
    assert HELD not in plain[1]


def test_sample_writes_the_same_file(model: Path, tmp_path: Path, capsys):
    asked = ["sample", str(model), "--problems", str(model.parent / "problems.jsonl"), "--n", "3", "--logprobs"]
    asked += ["--max_new_tokens", "12", "--out"]
    told(capsys, *asked, str(tmp_path / "plain.jsonl"))
    assert HELD in told(capsys, *asked, str(tmp_path / "drafted.jsonl"), "--drafts")[0]
    plain, drafted = (lines(tmp_path / f"{name}.jsonl") for name in ("plain", "drafted"))
    for row, other in zip(plain, drafted, strict=True):
        assert other.pop("logprobs") == pytest.approx(row.pop("logprobs"), abs=1e-4)
        assert other == row


def test_evaluate_finds_the_same_and_keeps_how(model: Path, tmp_path: Path, capsys):
    asked = ["evaluate", str(model), "--problems", str(model.parent / "problems.jsonl"), "--verifier", "exact"]
    asked += ["--samples", "2", "--max_new_tokens", "12", "--out"]
    told(capsys, *asked, str(tmp_path / "plain"))
    assert HELD in told(capsys, *asked, str(tmp_path / "drafted"), "--drafts")[0]
    plain, drafted = (lines(tmp_path / name / "samples.jsonl") for name in ("plain", "drafted"))
    counts = [row.pop("drafts") for row in drafted]
    assert drafted == plain
    found = json.loads((tmp_path / "drafted" / "results.json").read_text())["drafts"]
    assert found["tokens"] == sum(row["tokens"] for row in counts)
    assert found["tokens_per_forward"] == found["tokens"] / found["forwards"]
    assert len(found["acceptance"]) == 2
    os.remove(tmp_path / "drafted" / "results.json")
    assert main([*asked, str(tmp_path / "drafted")]) == 0, "drafts change no setting that completions depend on"
    assert json.loads((tmp_path / "drafted" / "results.json").read_text())["drafts"] == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "BASE", "--prompt", "7", "--drafts"], "this model has none"),
        (["sample", "http://127.0.0.1:9/v1", "--problems", "P", "--out", "O", "--drafts"], "drafts is of a model in a"),
        (["evaluate", "--problems", "P", "--verifier", "exact", "--samples", "P", "--out", "O", "--drafts"], "drafts"),
        (["train", "baseline", "--model_name_or_path", "BASE", "--train_file", "P", "--output_dir", "O", "--freeze",
          "trunk"], "freeze is 'trunk', which nothing reads"),
    ],
)  # fmt: skip
def test_drafts_without_heads_are_refused(model: Path, chain_base: Path, tmp_path: Path, capsys, words, said):
    paths = {"BASE": chain_base / "base", "P": model.parent / "problems.jsonl", "O": tmp_path / "out"}
    assert main([str(paths.get(word, word)) for word in words]) == 2
    assert said in capsys.readouterr().err
