"""Every arm on a small model in SmolLM2's place: what the cells leave, what the rule takes, and the page."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from research.on_policy.arms import START, with_needs
from research.on_policy.cells import run_cell
from research.on_policy.results import read_results
from research.own_smollm2 import report
from research.own_smollm2.cells import BEGUN, MAIN, OwnCell, cells_of, choice_cells, chosen, rule_cells, taken
from research.own_smollm2.docs_page import DOCS, KEPT
from research.own_smollm2.place import Own, Size
from research.own_smollm2.run import rule
from research.own_smollm2.tasks import TASKS, Task
from research.real_teacher.bpe import byte_pairs
from weighted_mtp.models import MTPModel
from weighted_mtp.training.errors import ConfigError

COIN = Task(
    "coin",
    "whether a letter comes an even number of times",
    lambda rng: iter(lambda: "".join(rng.choices("cd", k=9)), None),
    lambda prompt, lines: "ab"[prompt.count("c") % 2] if not lines else "" if len(lines) == 1 else None,
)
"""A small model guesses, and half of its samples are right."""
TINY = Size(
    0.0, 2, 1e-3, critic_steps=6, start_steps=40, start_learning_rate=1e-2, batch_size=8, demonstrations=64, prompts=40,
    samples=4, test_prompts=8, validation_prompts=8, fresh_samples=2, rounds=1, lora_rank=16,
)  # fmt: skip


def write_small(folder: Path) -> None:
    """A model of two layers and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = byte_pairs(COIN.prompts(random.Random(0), 9), 270)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.2, **sizes, **special
    )
    MTPModel(LlamaForCausalLM(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def coin() -> Iterator[None]:
    """While inside, there is the task of one token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "coin", COIN)
        yield


@pytest.fixture(scope="module")
def finished(made_once) -> Path:
    """The output of one draw of all arms, and what was tried on the draw outside."""

    def make(out: Path) -> None:
        place = Own("coin", 0, 0, out, TINY)
        write_small(place.base)
        for name in (BEGUN, *with_needs(MAIN)):
            run_cell(OwnCell(place, name))

    with coin():
        return made_once("own_smollm2", make)


def found(out: Path, name: str) -> dict:
    return OwnCell(Own("coin", 0, 0, out, TINY), name).finished() or {}


@pytest.mark.parametrize("arm", [arm.name for arm in MAIN])
def test_every_arm_says_what_it_solved_and_what_it_cost(finished, arm):
    assert 0 <= found(finished, arm)["greedy"] <= 1
    assert found(finished, arm)["cpu_seconds"] > 0


def test_the_start_is_sampled_and_its_critic_measured(finished):
    rows = found(finished, START)["rows"]
    assert 0 < rows <= TINY.prompts * TINY.samples
    assert found(finished, "skill")["skill"]["rows"] == rows
    assert 0 < found(finished, "label_conditioned")["fresh_skill"]["rows"] <= TINY.fresh_samples * TINY.test_prompts


def test_models_that_no_cell_needs_any_more_are_gone(finished):
    folders = {path.name for path in (finished / "work" / "coin-0-draw0").iterdir() if path.is_dir()}
    assert folders == {"start", "label_conditioned"}


def test_a_token_is_wrong_where_a_character_of_it_is(finished):
    place = Own("coin", 0, 0, finished, TINY)
    with coin():
        for row in place.read("train"):
            right = COIN.solution(row["prompt"])
            assert row["label"] == (row["completion"] == right and "truncated" not in row)
            assert row["token_error"][0] == (row["completion"][0] != right)


def test_the_rule_takes_the_first_two_between_its_bounds():
    assert taken({"a": 0.09, "b": 0.6, "c": 0.61, "d": 0.1, "e": 0.3}) == ["b", "d"]
    assert taken({"a": 0.0, "b": 0.6}) == ["b"]


def finish(cell: OwnCell, **result: float) -> None:
    """Leaves a result where the cell's would be."""
    cell.file.parent.mkdir(parents=True, exist_ok=True)
    cell.file.write_text(json.dumps({"asked": cell._asked()} | result))


@pytest.fixture
def out(tmp_path) -> Path:
    """An output directory in which the base is there."""
    Own("", 0, 0, tmp_path, TINY).base.mkdir(parents=True)
    (Own("", 0, 0, tmp_path, TINY).base / "tokenizer.json").touch()
    return tmp_path


def test_candidates_behind_those_that_are_taken_are_not_looked_at(out, capsys):
    cells = rule_cells(out, TINY)
    for cell, share in zip(cells, (0.2, 0.9, 0.3), strict=False):
        finish(cell, sampled=share)
    assert rule(out, TINY) == [cells[0].place.task, cells[2].place.task]
    assert f"{cells[1].place.task}: 90.0% of the samples right, not taken" in capsys.readouterr().out


def test_too_few_tasks_are_an_error(out):
    for cell in rule_cells(out, TINY):
        finish(cell, sampled=0.0)
    with pytest.raises(ConfigError, match="only 0 of the candidates are 10 to 60 % right"):
        rule(out, TINY)


def test_steps_and_rate_are_those_that_served_right_only_best_outside(tmp_path):
    *_, last = [cell for cell in choice_cells(["words"], tmp_path, TINY) if cell.name != START]
    finish(last, greedy=0.5)
    size = chosen("words", tmp_path, TINY)
    assert f"right_only_{size.steps}_{size.learning_rate:g}" == last.name
    assert replace(size, steps=TINY.steps, learning_rate=TINY.learning_rate) == TINY


def test_what_a_cell_needs_stands_before_it(tmp_path):
    cells = list(cells_of(["words", "gcd"], tmp_path, TINY, 2))
    for i, cell in enumerate(cells):
        assert cell.first() <= {other.name for other in cells[:i] if cell.needs(other)}


def test_the_page_is_made_of_what_is_there(finished, monkeypatch):
    monkeypatch.setattr(report, "CANDIDATES", (COIN,))
    results = read_results(finished)
    (begun,) = [cell for cell in results["cells"] if cell["name"] == BEGUN]
    results["cells"].append(begun | {"seed": 1_000, "sampled": 0.5})
    text = report.page(results)
    assert "| coin: whether a letter comes an even number of times | 50.0 |" in text
    for arm in report.ARMS:
        assert f"| `{arm}` |" in text
    assert "Decidedly" not in text


def test_the_page_of_the_repository_is_made_from_the_results_that_are_kept():
    assert (DOCS / "own-smollm2.md").read_text() == report.page(json.loads(KEPT.read_text()))


def test_the_page_says_which_arms_were_left_out_and_what_the_oracle_bounds():
    results = json.loads(KEPT.read_text())
    text = report.page(results).split("## Worth knowing")[1]
    hours = sum(cell["cpu_seconds"] for cell in results["cells"]) / 3_600
    left = text.split("Left out, of the arms of on-policy.md: ")[1].split(". ")[0]
    for name in ("return_weighted", "td_whitened", "implicit", "guided", "surprisal", "signed", "nft", "dft_right"):
        assert f"`{name}`" in left
    for name in ("shuffled_across", "right_only_samples", "right_only_steps"):
        assert f"`{name}`" in left
    assert [arm for arm in report.ARMS if f"`{arm}`" in left] == []
    assert f"took {hours:.1f} CPU hours" in text
    assert "on all tasks together is: tie greedy and undecided sampled at temperature 1." in text
