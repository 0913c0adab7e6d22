"""Values and credit come from one place in training and in evaluation: a column of both files, or a critic."""

import json

import pytest
import torch

from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.errors import ConfigError


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    """train and eval rows, plain and with the columns `values` and `credit`, by name."""
    folder, made = tmp_path_factory.mktemp("columns"), {}
    for part in ("train", "eval"):
        table = [json.loads(line) for line in rows[part].read_text().splitlines()]
        for name in ("plain", "values", "credit"):
            added = {} if name == "plain" else {name: 0.25}
            filled = [
                row | {column: [x] * (len(row["completion"].split()) + 1) for column, x in added.items()}
                for row in table
            ]
            path = folder / f"{part}_{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in filled))
            made[f"{part}_{name}"] = str(path)
    return made


@pytest.mark.parametrize(
    ("stage", "settings", "train", "evaluated", "lacks"),
    [
        ("verifiable", {}, "values", "plain", "eval_plain.jsonl has none"),
        ("verifiable", {}, "plain", "values", "train_plain.jsonl has none"),
        ("baseline", {"scheme": "td"}, "values", "plain", "td needs values, and .*eval_plain"),
        ("baseline", {"scheme": "log_odds"}, "credit", "values", "log_odds needs credit, and .*eval_values"),
        ("verifiable", {"scheme": "log_odds"}, "credit", "plain", "log_odds needs credit, and .*eval_plain"),
        ("rho1", {"scheme": "td"}, "plain", "values", "td needs values, and .*train_plain"),
    ],
)
def test_what_is_read_is_in_both_files(prepare, files, chain_base, stage, settings, train, evaluated, lacks):
    names = {"train_file": files[f"train_{train}"], "eval_file": files[f"eval_{evaluated}"]}
    if stage == "rho1":
        settings = settings | {"reference": str(chain_base / "base")}
    with pytest.raises(ConfigError, match=lacks):
        prepare(stage, **names, **settings)


def test_a_column_that_nobody_reads_may_be_in_one_file(prepare, files):
    assert prepare("baseline", train_file=files["train_values"], eval_file=files["eval_plain"])


@pytest.mark.parametrize("name", ["values", "credit"])
@pytest.mark.parametrize("part", ["train", "eval"])
def test_a_critic_beside_a_column_of_its_kind_is_refused(prepare, files, critic_dir, part, name):
    names = {"train_file": files["train_plain"], "eval_file": files["eval_plain"]}
    names[f"{part}_file"] = files[f"{part}_{name}"]
    with pytest.raises(ConfigError, match=f"{part}_{name}.jsonl has a column `{name}`, and critic .*leave critic out"):
        prepare("verifiable", critic=str(critic_dir), **names)


def test_the_own_head_goes_with_a_column_of_credit(prepare, files):
    run = prepare("verifiable", scheme="log_odds", train_file=files["train_credit"])
    run.fit()
    assert run.trainer.state.log_history


def test_what_stage_1_says_of_its_values_is_about_the_head_that_it_trains(prepare, files, critic_dir):
    run = prepare("critic", model_name_or_path=str(critic_dir), train_file=files["train_values"])
    batch = TokenBatch.from_inputs(run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(4)]), 1)
    outputs = run.inputs.stage.forward(run.inputs.model, batch)
    signals = run.inputs.stage.signals(batch, outputs, run.inputs.model, torch.Generator())
    assert torch.equal(signals.values, outputs["values"].squeeze(-1))
