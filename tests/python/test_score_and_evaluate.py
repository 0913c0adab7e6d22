"""`wm.score` and `wm.evaluate` are the commands, with rows, models and critics on disk or in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import weighted_mtp as wm
from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError, chain_tokenizer, load_rows
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.value_weighting.schemes.td import TD


@pytest.fixture(scope="session")
def scored(chain_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `wmtp score` writes."""
    out = tmp_path_factory.mktemp("scored")
    words = ["--critic", str(chain_base / "critic"), "--data", str(chain_base / "train.jsonl"), "--out", str(out)]
    assert main(["score", *words]) == 0
    return load_rows(out)[0]


def test_rows_come_back_with_the_columns_of_the_command(chain_base, rows, scored):
    assert wm.score(chain_base / "critic", chain_base / "train.jsonl", quiet=True) == scored
    critic = wm.load_critic(chain_base / "critic")
    assert wm.score(critic, rows, scheme=TD(), tokenizer=chain_tokenizer(), quiet=True) == scored
    assert {"values", "td_errors", "weights"} <= scored[0].keys()


def test_a_folder_is_written_where_one_is_named_and_gone_on_with(chain_base, rows, scored, tmp_path):
    for _ in range(2):
        folder = wm.score(chain_base / "critic", rows, out=tmp_path / "scored", quiet=True)
        assert load_rows(folder)[0] == scored
    with pytest.raises(ConfigError, match="holds scores with other data"):
        wm.score(chain_base / "critic", rows[:8], out=tmp_path / "scored", quiet=True)


def test_a_format_of_other_trainers_is_written_into_the_folder(chain_base, rows, tmp_path):
    wm.score(chain_base / "critic", rows[:8], out=tmp_path / "scored", format="tinker", quiet=True)
    assert len((tmp_path / "scored" / "tinker" / "train.jsonl").read_text().splitlines()) == 8
    with pytest.raises(ConfigError, match="format tinker is a file: give out=FOLDER"):
        wm.score(chain_base / "critic", rows[:8], format="tinker", quiet=True)


def test_scored_rows_train_by_their_column(train, chain_base, scored):
    assert train(chain_base / "base", scored, "baseline", "column").metrics["weight_std"] > 0


def test_a_critic_in_memory_that_was_read_nowhere_wants_a_tokenizer_and_then_scores(chain_base, rows, scored):
    critic = wm.load_critic(chain_base / "critic")
    critic.model.hf_model.name_or_path = ""
    with pytest.raises(ConfigError, match="was read nowhere: give its tokenizer="):
        wm.score(critic, rows, quiet=True)
    assert wm.score(critic, rows, tokenizer=chain_base / "critic", quiet=True) == scored


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bach_size": 4}, "unknown setting 'bach_size': did you mean batch_size"),
        ({"data": "x.jsonl"}, "data is given beside rows"),
        ({"scheme": "shuffled"}, "needs generator, which no critic supplies"),
        ({"critic": "nowhere"}, "no model at 'nowhere'"),
        ({"rows": []}, "no row in it"),
    ],
)
def test_a_mistake_in_scoring_is_one_line(chain_base, rows, settings, said):
    with pytest.raises(ValueError, match=said) as error:
        wm.score(**{"critic": chain_base / "critic", "rows": rows, "quiet": True, **settings})
    assert "\n" not in str(error.value)


# Evaluation

PROBLEMS = [{"prompt": "4 +7 *3 :", "answer": "1 3"}, {"prompt": "2 +3 *7 :", "answer": "5 5"}]
FEW = {"samples": 2, "max_new_tokens": 4, "k": [1], "quiet": True}


def numbers(results: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results.items() if name not in ("settings", "provenance")}


def test_an_evaluation_in_memory_is_that_of_the_command(chain_base, tmp_path):
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    words = ["--problems", str(file), "--verifier", "exact", "--out", str(tmp_path / "out"), "--samples", "2"]
    assert main(["evaluate", str(chain_base / "base"), *words, "--max_new_tokens", "4", "--k", "[1]"]) == 0
    expected = numbers(json.loads((tmp_path / "out" / "results.json").read_text()))
    model = AutoModelForCausalLM.from_pretrained(chain_base / "base")
    found = [
        wm.evaluate(chain_base / "base", file, "exact", **FEW),
        wm.evaluate(model, PROBLEMS, verifier="exact", **FEW),
        wm.evaluate(wm.MTPModel(model), PROBLEMS, "exact", tokenizer=chain_tokenizer(), **FEW),
    ]
    assert [json.loads(json.dumps(numbers(results))) for results in found] == [expected] * 3


def test_an_evaluation_keeps_its_completions_where_a_folder_is_named(chain_base, tmp_path):
    first = wm.evaluate(chain_base / "base", PROBLEMS, "exact", out=tmp_path / "out", **FEW)
    assert len((tmp_path / "out" / "samples.jsonl").read_text().splitlines()) == 6
    assert numbers(wm.evaluate(chain_base / "base", PROBLEMS, "exact", out=tmp_path / "out", **FEW)) == numbers(first)
    model = AutoModelForCausalLM.from_pretrained(chain_base / "base")
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    with pytest.raises(ConfigError, match="other model weights or tokenizer"):
        wm.evaluate(model, PROBLEMS, "exact", out=tmp_path / "out", **FEW)


def test_a_model_can_be_evaluated_while_it_holds_its_adapters(chain_base):
    model = wm.MTPModel.from_pretrained(chain_base / "base")
    model.add_lora(2)
    assert wm.evaluate(model, PROBLEMS, "exact", **FEW)["problems"][1]["n"] == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"verifier": "exakt"}, "exact"),
        ({"max_tokens": 4}, "unknown setting 'max_tokens': did you mean max_new_tokens"),
        (
            {"problems": [{"question": "?"}]},
            "<1 problems in memory>: exact cannot check 1 of 1 problems: problem 0: no `prompt`",
        ),
        ({"problems": []}, "no problem in it"),
        ({"model": 3}, "model is a int"),
    ],
)
def test_a_mistake_in_evaluating_is_one_line(chain_base, settings, said):
    with pytest.raises(ValueError, match=said) as error:
        wm.evaluate(**{"model": chain_base / "base", "problems": PROBLEMS, "verifier": "exact", **settings})
    assert "\n" not in str(error.value)


def test_rows_that_cannot_be_read_are_a_data_error(chain_base):
    with pytest.raises(DataError, match="rows:1: "):
        wm.score(chain_base / "critic", [{"prompt": "a"}], quiet=True)
