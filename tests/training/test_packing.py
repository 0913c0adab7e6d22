"""Rows that share sequences are the same rows: one step's loss and gradients, every stage, critic and scheme."""

import json
import re

import pytest
import torch

from weighted_mtp.training.batch import rank_loader
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import packing_lines
from weighted_mtp.value_weighting import SCHEMES

PACKED = {"packing": True, "max_length": 40, "per_device_train_batch_size": 2}
ONE_HEAD = {"n_future": 1}
STAGES = {
    "uniform": ("baseline", {}),
    "lora": ("baseline", {"lora_rank": 2}),
    "sequential": ("baseline", {"heads": "sequential"}),
    "checkpointed": ("baseline", {"gradient_checkpointing": True}),
    "eager": ("baseline", {"attn_implementation": "eager"}),
    "entropy_floor": ("verifiable", {"scheme_options": {"entropy_floor": 0.9}}),
    "gae": ("verifiable", {"scheme_options": {"credit": "gae"}, "gamma": 0.9, "value_loss": "lambda"}),
    "whitened": ("verifiable", {"scheme_options": {"whitening": "batch"}}),
    "mse": ("critic", ONE_HEAD),
    "bce": ("critic", ONE_HEAD | {"value_loss": "bce"}),
    "lambda": ("critic", ONE_HEAD | {"value_loss": "lambda", "gamma": 0.9}),
    "generative": ("critic", ONE_HEAD | {"critic": "generative"}),
    "prior_head": ("critic", ONE_HEAD | {"critic": "generative", "prior": "head"}),
    "tags": ("critic", ONE_HEAD | {"critic": "generative", "label_tags": ["+1 +1", "-1"]}),
    "implicit": ("critic", ONE_HEAD | {"critic": "implicit"}),
}


def loss_and_gradients(run, inputs):
    run.inputs.model.zero_grad()
    torch.manual_seed(0)  # dropout, where there is any, does not start elsewhere
    run.trainer._micro_batch = 0
    loss = run.trainer.compute_loss(run.inputs.model, dict(inputs))
    loss.backward()
    gradients = {name: p.grad for name, p in run.inputs.model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def require_equal_when_packed(run):
    packed = run.trainer._prepare_inputs(next(iter(run.trainer.train_batches())))
    assert packed["packs"].shape[1] > 1, "several rows share a sequence"
    padded = {name: x for name, x in packed.items() if name not in ("packs", "pack_length")}
    (loss, gradients), (expected, expected_gradients) = (loss_and_gradients(run, x) for x in (packed, padded))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert gradients
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, expected_gradients[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("case", STAGES)
def test_packed_rows_have_the_loss_and_gradients_of_padded_rows(prepare, case):
    stage, settings = STAGES[case]
    require_equal_when_packed(prepare(stage, **{**PACKED, "n_future": 3, **settings}))


@pytest.fixture(scope="module")
def verifiable(prepare, rows, chain_base, tmp_path_factory):
    """A packed run whose stage and rows supply every signal that a scheme may read."""
    file = tmp_path_factory.mktemp("columns") / "train.jsonl"
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()]
    for i, row in enumerate(table):
        for place, name in enumerate(("weights", "credit")):
            row[name] = [0.1 + (7 * i + 3 * j + place) % 11 / 5 for j in range(len(row["completion"].split()) + 1)]
    file.write_text("".join(json.dumps(row) + "\n" for row in table))
    run = prepare(
        "verifiable", **PACKED, n_future=2, train_file=str(file), scheme="rho1", reference=str(chain_base / "base")
    )
    made = run.inputs.train_dataset
    labelled = [sum(label != -100 for label in labels) for labels in made["labels"]]
    supplied = {
        "pass_rate": [0.2 + i % 4 / 5 for i in range(len(labelled))],
        "steps": [[float((i + j // 2) % 2) for j in range(n)] for i, n in enumerate(labelled)],
    }
    for name in supplied.keys() - {*made.column_names}:
        made = made.add_column(name, supplied[name])
    run.trainer.train_dataset = made
    assert run.trainer.stage.reference is not None
    return run


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_weighs_packed_rows_as_padded_ones(verifiable, name):
    scheme = SCHEMES[name]()
    verifiable.trainer.scheme, verifiable.trainer.stage.wanted = scheme, tuple(scheme.requires)
    require_equal_when_packed(verifiable)


def test_a_batch_in_one_sequence_as_flash_attention_needs_it_is_the_same_batch(prepare):
    """No kernel of it runs on a CPU: the sequence that it would be given does, by another attention."""
    run = prepare(**PACKED, n_future=2)
    trainer = run.trainer
    arguments = trainer.args, trainer.train_dataset, trainer._get_train_sampler(), 2, trainer.data_collator
    several, one = (next(iter(rank_loader(*arguments, in_one=in_one))) for in_one in (False, True))
    assert (len(several["packs"]), len(one["packs"])) == (2, 1)
    assert torch.equal(one["input_ids"], several["input_ids"])
    (loss, gradients), (expected, expected_gradients) = (loss_and_gradients(run, x) for x in (one, several))
    torch.testing.assert_close(loss, expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-4, atol=1e-5)


def test_a_packed_run_reads_every_row_once_an_epoch_in_fewer_steps(prepare):
    run = prepare(**PACKED | {"per_device_train_batch_size": 1}, num_train_epochs=2, max_steps=-1)
    batches = list(run.trainer.train_batches())
    rows = [row for batch in batches for row in batch["row_ids"].tolist()]
    assert sorted(rows) == list(range(80))
    tokens = sum(len(ids) for ids in run.inputs.train_dataset["input_ids"])
    assert len(batches) <= tokens / 40 * 1.05 + 1
    assert run.fit().state.global_step == 2 * len(batches)


def test_pairs_meet_in_a_pack_and_lengths_stay_balanced(prepare, rows, tmp_path):
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()][:30]
    both = [row | {"label": label} for row in table for label in (True, False)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in both))
    settings = PACKED | {"per_device_train_batch_size": 1, "train_file": str(tmp_path / "pairs.jsonl")}
    for sampler in ("pairs", "length_balanced"):
        run = prepare("critic", **settings, sampler=sampler)
        for batch in run.trainer.train_batches():
            assert batch["rewards"].mean() == 0.5, "each right row has its wrong one in the pack"
            if sampler == "pairs":
                right, wrong = (batch["prompt_ids"][batch["rewards"] == label] for label in (1, 0))
                assert sorted(right.tolist()) == sorted(wrong.tolist())


@pytest.mark.parametrize("sampler", ["shuffled", "balanced", "curriculum"])
def test_a_packed_run_goes_on_exactly_in_the_middle_of_an_epoch(prepare, sampler, tmp_path):
    settings = PACKED | {"sampler": sampler, "per_device_train_batch_size": 1, "max_steps": 8, "save_steps": 6}
    whole = prepare("verifiable", **settings, output_dir=str(tmp_path / "whole"))
    whole.fit()
    resumed = prepare("verifiable", **settings, output_dir=str(tmp_path / "again"))
    resumed.fit(tmp_path / "whole" / "checkpoint-6")
    for (name, p), q in zip(whole.inputs.model.named_parameters(), resumed.inputs.model.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_a_decoder_that_lets_packed_rows_see_each_other_is_refused(prepare, monkeypatch):
    from transformers.models.llama import modeling_llama

    whole = modeling_llama.create_causal_mask
    monkeypatch.setattr(modeling_llama, "create_causal_mask", lambda **given: whole(**given | {"position_ids": None}))
    with pytest.raises(ValueError, match=r"'llama' that share a sequence are not kept apart .*give packing: false"):
        prepare(**PACKED)


def test_a_packed_run_says_how_many_steps_an_epoch_has(prepare):
    run = prepare(**PACKED | {"per_device_train_batch_size": 1})
    (line,) = packing_lines(run.trainer)
    steps = len(list(run.trainer.train_batches()))
    assert re.fullmatch(rf"packing: {steps} sequences of 40 tokens, \d+% full: {steps} steps an epoch", line)
    assert packing_lines(prepare().trainer) == []


def test_flex_attention_on_a_cpu_is_refused_before_training(prepare):
    with pytest.raises(ConfigError, match="no backward pass on a CPU: give sdpa or eager"):
        prepare(attn_implementation="flex_attention")


def test_an_unknown_attention_is_told_in_one_line(prepare):
    with pytest.raises(ValueError, match="attn_implementation"):
        prepare(attn_implementation="sdpaa")
