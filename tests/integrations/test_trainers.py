"""A `weights` column in trainers of other packages gives the parameters that our own trainer gives."""

import json
import os
import re
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments, default_data_collator

from tests.forked import start
from weighted_mtp.integrations.trainers import TokenWeights, WeightsCollator, weighted_next_token_loss
from weighted_mtp.losses import mtp_targets, weighted_mtp_loss
from weighted_mtp.models import load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.run import fit, make_trainer

DOCS = Path(__file__).parents[2] / "docs" / "other-trainers.md"
ROWS = 24
STEPS = {"learning_rate": 0.5, "optim": "sgd", "max_steps": 3, "lr_scheduler_type": "constant"}


class WeightedTrainer(TokenWeights, Trainer):
    """The trainer of transformers."""


def sft_trainer():
    if find_spec("trl") is None:
        reason = "TRL is not installed: pip install trl"
        pytest.fail(reason) if os.environ.get("REQUIRE_TRL") == "1" else pytest.skip(reason)
    from trl import SFTTrainer

    return type("WeightedSFTTrainer", (TokenWeights, SFTTrainer), {})


@pytest.fixture(scope="module")
def scored(chain_base, tmp_path_factory):
    """A file of rows with weights; and the rows as tokens, weights of full length."""
    file = tmp_path_factory.mktemp("scored") / "rows.jsonl"
    table = [json.loads(line) for line in (chain_base / "train.jsonl").read_text().splitlines()][:ROWS]
    for i, row in enumerate(table):
        row.pop("token_error", None)
        row["completion"] = " ".join(row["completion"].split()[: 1 + i % 5])
        row["weights"] = [0.1 + (7 * i + 3 * j) % 11 / 5 for j in range(len(row["completion"].split()) + 1)]
    file.write_text("".join(json.dumps(row) + "\n" for row in table))
    return file


@pytest.fixture(scope="module")
def ours(chain_base, scored, store, tmp_path_factory):
    """What our trainer makes of them, and its rows as tokens."""
    flat = {
        "stage": "baseline",
        "scheme": "column",
        "model_name_or_path": str(chain_base / "base"),
        "train_file": str(scored),
        "output_dir": str(tmp_path_factory.mktemp("ours")),
        "tracking_uri": store,
        "per_device_train_batch_size": ROWS,
        "save_steps": 0,
    }
    config = RunConfig.from_flat(flat | STEPS)
    inputs = load_inputs(config)
    fit(make_trainer(config, inputs, quiet=True), config)
    rows = [
        {
            "input_ids": row["input_ids"],
            "labels": row["labels"],
            "weights": [0.0] * (len(row["labels"]) - len(row["weights"])) + row["weights"],
        }
        for row in inputs.train_dataset
    ]
    return inputs.model.hf_model, rows


def require_same(model, ours):
    for (name, p), q in zip(ours.named_parameters(), model.named_parameters(), strict=True):
        torch.testing.assert_close(q[1].cpu(), p, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def arguments(kind, folder, batch, accumulated=1, **more):
    return kind(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulated,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **STEPS,
        **more,
    )


def plain_model(chain_base):
    return AutoModelForCausalLM.from_pretrained(chain_base / "base", dtype=torch.float32)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_the_trainer_of_transformers_gives_our_parameters(ours, chain_base, tmp_path, accumulated):
    tokenizer = load_tokenizer(str(chain_base / "base"))
    trainer = WeightedTrainer(
        model=plain_model(chain_base),
        args=arguments(TrainingArguments, tmp_path, ROWS // accumulated, accumulated),
        train_dataset=Dataset.from_list(ours[1]),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()
    require_same(trainer.model, ours[0])


@pytest.mark.parametrize("packing", [False, True])
def test_the_sft_trainer_of_trl_gives_our_parameters_packed_and_padded(ours, chain_base, tmp_path, packing):
    kind = sft_trainer()
    from trl import SFTConfig

    # so many packs that all are in one step, whatever their order
    args = arguments(
        SFTConfig, tmp_path, ROWS, max_length=64, packing=packing, activation_checkpointing=False, bf16=False
    )
    trainer = kind(
        model=plain_model(chain_base),
        args=args,
        train_dataset=Dataset.from_list(ours[1]),
        processing_class=load_tokenizer(str(chain_base / "base")),
    )
    assert len(trainer.train_dataset) < ROWS if packing else len(trainer.train_dataset) == ROWS
    trainer.train()
    require_same(trainer.model, ours[0])


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")  # TRL's own default
def test_the_lines_of_the_docs_for_trl_train(ours, chain_base, tmp_path):
    """But for the model, which is ours, and where it writes."""
    sft_trainer()
    (code,) = re.findall(r"```py\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    place, options = repr(str(tmp_path)), "max_steps=2, report_to='none', use_cpu=True, bf16=False, save_strategy='no'"
    code = code.replace('"weighted", ', f"{place}, {options}, ").replace(
        "HuggingFaceTB/SmolLM2-135M-Instruct", str(chain_base / "base")
    )
    names = {"TokenWeights": TokenWeights, "rows": Dataset.from_list(ours[1])}
    exec(code, names)
    assert names["trainer"].train().global_step == 2
    assert "weights" in names["trainer"].train_dataset.column_names


def train_on_a_rank(base, rows, out):
    """One of two processes; not a test."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(base / "base", dtype=torch.float32)
    trainer = WeightedTrainer(
        model=model,
        args=arguments(TrainingArguments, out, ROWS // 4, 2),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(str(base / "base"))),
    )
    assert trainer.args.world_size == 2
    trainer.train()
    if trainer.is_world_process_zero():
        model.save_pretrained(out / "model")
    torch.distributed.destroy_process_group()


def test_two_processes_and_micro_batches_give_our_parameters(ours, chain_base, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        start(
            train_on_a_rank, chain_base, ours[1], tmp_path, said=tmp_path / f"said{rank}",
            environment=group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in processes:
        process.join(timeout=300)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0], (tmp_path / "said0").read_text()[-3000:]
    require_same(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), ours[0])


def test_the_loss_is_ours_of_one_head():
    torch.manual_seed(0)
    hidden, unembedding = torch.randn(2, 5, 8), torch.randn(11, 8)
    labels, weights = torch.randint(11, (2, 5)), torch.randn(2, 5)
    labels[0, :3] = -100
    expected = weighted_mtp_loss(
        hidden[:, :, None],
        unembedding,
        targets=mtp_targets(labels, 1),
        weights=torch.nn.functional.pad(weights[:, 1:], (0, 1))[..., None],
    )
    found = weighted_next_token_loss(hidden @ unembedding.T, labels, weights)
    torch.testing.assert_close(found, expected.loss)


def test_nan_on_a_token_that_is_not_learned_does_no_harm():
    logits = torch.zeros(1, 3, 4).index_fill(1, torch.tensor([0]), torch.nan)
    loss = weighted_next_token_loss(logits, torch.tensor([[-100, -100, 1]]), torch.tensor([[0.0, torch.nan, 1.0]]))
    torch.testing.assert_close(loss, torch.tensor(4.0).log())


@pytest.mark.parametrize("side", ["right", "left"])
def test_weights_lie_where_their_tokens_were_laid(chain_base, side):
    tokenizer = load_tokenizer(str(chain_base / "base"))
    tokenizer.padding_side = side
    rows = [
        {"input_ids": [1, 2], "labels": [-100, 2], "weights": [0.0, 2.0]},
        {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "weights": [0.0, 2.0, 3.0]},
    ]
    batch = WeightsCollator(DataCollatorForSeq2Seq(tokenizer))(rows)
    assert batch["weights"].tolist() == [[0, 2, 0] if side == "right" else [0, 0, 2], [0, 2, 3]]
    assert "weights" not in WeightsCollator(DataCollatorForSeq2Seq(tokenizer))([{"input_ids": [1], "labels": [1]}])


@pytest.mark.parametrize(
    ("weights", "said"), [([1.0], "2 tokens and 1 weights: give one for each token"), (None, "2 tokens and no weights")]
)
def test_weights_that_do_not_fit_their_row_are_told(weights, said):
    rows = [
        {"input_ids": [1, 2], "labels": [1, 2], "weights": [1.0, 1.0]},
        {"input_ids": [1, 2], "labels": [1, 2], "weights": weights},
    ]
    with pytest.raises(ValueError, match=said):
        WeightsCollator(default_data_collator)(rows)


def test_negative_weights_are_refused_where_nothing_bounds_them():
    rows = [{"input_ids": [1, 2], "labels": [1, 2], "weights": [0.0, -1.0]}]
    with pytest.raises(ValueError, match=r"lie between -1.0 and 0.0: finite ones from 0 on are needed"):
        WeightsCollator(default_data_collator)(rows)


def test_a_collator_that_cuts_rows_is_told():
    def cut(rows):
        return {"labels": torch.zeros(len(rows), 1), "attention_mask": torch.ones(len(rows), 1)}

    with pytest.raises(ValueError, match="the rows have 2 tokens, and function shows 1: give"):
        WeightsCollator(cut)([{"input_ids": [1, 2], "labels": [1, 2], "weights": [1.0, 1.0]}])


def test_rows_to_train_on_without_weights_are_refused(chain_base, ours, tmp_path):
    bare = [{name: row[name] for name in ("input_ids", "labels")} for row in ours[1]]
    trainer = WeightedTrainer(
        model=plain_model(chain_base),
        args=arguments(TrainingArguments, tmp_path, 4),
        train_dataset=Dataset.from_list(bare),
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(str(chain_base / "base"))),
    )
    with pytest.raises(ValueError, match="no column `weights`: name theirs so"):
        trainer.train()


def test_settings_of_another_loss_are_refused(chain_base, ours, tmp_path):
    with pytest.raises(ValueError, match=r"label_smoothing_factor is 0.1: the loss is that of TokenWeights"):
        WeightedTrainer(
            model=plain_model(chain_base),
            args=arguments(TrainingArguments, tmp_path, 4, label_smoothing_factor=0.1),
            train_dataset=Dataset.from_list(ours[1]),
        )


def test_a_loss_of_the_callers_is_refused(chain_base, ours, tmp_path):
    with pytest.raises(ValueError, match="compute_loss_func is given: the loss is that of TokenWeights"):
        WeightedTrainer(
            model=plain_model(chain_base),
            args=arguments(TrainingArguments, tmp_path, 4),
            train_dataset=Dataset.from_list(ours[1]),
            compute_loss_func=lambda outputs, labels, num_items_in_batch=None: outputs.logits.sum(),
        )


def test_rows_longer_than_a_pack_are_split_with_their_weights_where_trl_splits_them(ours, chain_base, tmp_path):
    kind = sft_trainer()
    from trl import SFTConfig

    options = {"packing": True, "packing_strategy": "bfd_split", "activation_checkpointing": False, "bf16": False}
    trainer = kind(
        model=plain_model(chain_base),
        args=arguments(SFTConfig, tmp_path, 4, max_length=5, **options),
        train_dataset=Dataset.from_list(ours[1]),
        processing_class=load_tokenizer(str(chain_base / "base")),
    )
    kept = sum(map(len, trainer.train_dataset["weights"]))
    assert kept == sum(map(len, trainer.train_dataset["input_ids"])) == sum(len(row["input_ids"]) for row in ours[1])
