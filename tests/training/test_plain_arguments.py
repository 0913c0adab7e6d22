"""A `WeightedMTPTrainer` takes what a plain Trainer is given, or says what it needs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, DefaultDataCollator, TrainingArguments

from weighted_mtp.data import CompletionCollator, chain_tokenizer, load_rows, tokenize_rows
from weighted_mtp.models import MTPModel
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.trainer import WeightedMTPTrainer
from weighted_mtp.value_weighting import make_scheme

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # is true in plain arguments


@pytest.fixture
def given(chain_base: Path, tmp_path: Path) -> dict[str, Any]:
    """Keyword arguments as for `transformers.Trainer`."""
    rows = load_rows(chain_base / "train.jsonl")[0]
    text = [{name: row[name] for name in ("prompt", "completion", "label")} for row in rows]
    return {
        "model": AutoModelForCausalLM.from_pretrained(chain_base / "base"),
        "args": TrainingArguments(
            str(tmp_path / "out"), max_steps=2, learning_rate=1e-3, report_to="none", disable_tqdm=True
        ),
        "train_dataset": Dataset.from_list(text),
        "processing_class": chain_tokenizer(),
    }


def trained(**given: Any) -> dict[str, torch.Tensor]:
    trainer = WeightedMTPTrainer(**given)
    trainer.train()
    return trainer.model.state_dict()


def test_a_plain_decoder_and_rows_of_text_train_as_tokenized_rows_of_our_own_model(given, chain_base):
    plain = trained(**given)
    rows = tokenize_rows(load_rows(given["train_dataset"])[0], given["processing_class"])[0]
    collator = CompletionCollator.from_tokenizer(given["processing_class"])
    own = {"model": MTPModel.from_pretrained(chain_base / "base"), "train_dataset": rows, "data_collator": collator}
    scheme = make_scheme("uniform")
    explicit = trained(args=given["args"], scheme=scheme, **own)
    assert all(torch.equal(plain[name], explicit[name]) for name in explicit)


def test_the_arguments_that_were_given_stay_as_they_were(given):
    trainer = WeightedMTPTrainer(**given)
    assert (trainer.args.remove_unused_columns, given["args"].remove_unused_columns) == (False, True)
    assert (trainer.args.logging_nan_inf_filter, given["args"].logging_nan_inf_filter) == (False, True)


def test_what_it_saves_is_a_plain_directory(given, tmp_path):
    trainer = WeightedMTPTrainer(**given)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").config.vocab_size


MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "no tokenizer": ("give processing_class=tokenizer, or data_collator=", {"processing_class": None}),
    "rows of text without one": (
        "has no column 'input_ids': give weighted_mtp.data.tokenize_rows",
        {"processing_class": None, "data_collator": DefaultDataCollator()},
    ),
    "rows tokenized elsewhere": (
        "has no column 'reward': give weighted_mtp.data.tokenize_rows",
        {"train_dataset": Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[1, 2]]})},
    ),
    "no model": ("model is a NoneType: give an MTPModel, or a causal", {"model": None}),
    "a path": ("model is a str: give an MTPModel, or a causal", {"model": "start"}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_used_is_refused_in_one_line(given, name):
    said, settings = MISTAKES[name]
    with pytest.raises(ConfigError, match=said) as error:
        WeightedMTPTrainer(**{**given, **settings})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"), [("label_smoothing_factor", 0.1), ("neftune_noise_alpha", 5.0), ("dataloader_drop_last", True)]
)
def test_arguments_that_would_have_no_effect_are_refused_with_the_reason(given, tmp_path, name, value):
    args = TrainingArguments(str(tmp_path), report_to="none", **{name: value})
    with pytest.raises(ConfigError, match=f"args sets {name} to {value}: "):
        WeightedMTPTrainer(**{**given, "args": args})
