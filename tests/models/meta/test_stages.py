"""A converted model through everything: the four stages, generate, inspect, and back."""

import json
import random
import shlex
from pathlib import Path

import pytest

from tests.models.meta.meta_format import made
from tests.models.meta.test_tokenizer import trained
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel


def rows(file: Path) -> Path:
    """Sums of two digits, half of them wrong."""
    draw = random.Random(0)
    lines = []
    for i in range(24):
        a, b, right = draw.randrange(10), draw.randrange(10), i % 2 == 0
        lines.append({"prompt": f"{a} + {b} = ", "completion": str(a + b + (not right)), "label": right})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.slow
def test_every_stage_generate_and_inspect_run_on_a_converted_model(tmp_path, capsys):
    def run(*words: str) -> str:
        assert main(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    folder = made(tmp_path / "meta", vocab_size=700)
    (folder / "tokenizer.model").write_bytes(trained())
    base, back = str(tmp_path / "base"), tmp_path / "back"
    run("convert", "meta", str(folder), "--out", base)
    few = ["--train_file", str(rows(tmp_path / "rows.jsonl")), "--max_steps", "2", "--per_device_train_batch_size", "4"]
    few += ["--tracking_uri", "none", "--save_steps", "0", "--learning_rate", "1e-3"]

    def train(stage: str, model: str, *words: str) -> str:
        out = str(tmp_path / stage)
        run("train", stage, "--model_name_or_path", model, "--output_dir", out, *few, *words)
        return out

    baseline = train("baseline", base, "--n_future", "4")
    with pytest.warns(UserWarning, match="holds 4 heads; kept 1"):  # a critic needs no more
        critic = train("critic", base)
    verifiable = train("verifiable", base, "--n_future", "4", "--critic", critic)
    rho1 = train("rho1", base, "--n_future", "4", "--reference", baseline)
    for made_run in (baseline, verifiable, rho1):
        assert MTPModel.from_pretrained(made_run).n_future == 4
        run("generate", made_run, "--prompt", "1 + 2 = ", "--max_new_tokens", "3")
    assert "mean weight" in run("inspect", verifiable, "--count", "1")
    run("convert", "to-meta", verifiable, "--out", str(back))
    assert json.loads((back / "params.json").read_text())["n_future_tokens"] == 4
    run("convert", "meta", str(back), "--out", str(tmp_path / "again"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*holds 4 heads; kept 1")
def test_the_commands_of_the_documentation_run(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "meta.md").read_text(encoding="utf-8")
    lines = page.split("```bash\n")[1].split("```")[0].splitlines()
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "7B_1T_4", vocab_size=700)
    (tmp_path / "tokenizer.model").write_bytes(trained())  # in the folder above, as released
    rows(tmp_path / "rows.jsonl")
    few = ["--max_steps", "2", "--per_device_train_batch_size", "4", "--tracking_uri", "none"]
    for program, command, *words in map(shlex.split, lines):
        assert program == "wmtp"
        assert main([command, *words, *(few if command == "train" else [])]) == 0, words
    assert MTPModel.from_pretrained("runs/7b").n_future == 4
    assert json.loads((tmp_path / "back" / "params.json").read_text())["n_layers"] == 5
