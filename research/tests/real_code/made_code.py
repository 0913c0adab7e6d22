"""Made tasks with a right and a wrong completion, a small fast tokenizer, and a tiny model: `real-code` in seconds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

Row = dict[str, Any]


def made_task(number: int, *, like: int | None = None) -> list[Row]:
    """Two right and three wrong completions of a task; `like` gives it the words of another one."""
    n = number if like is None else like
    prompt = f'def f{number}(x{n}, y{n}):\n    """Sum of x{n} and y{n}, {n} times."""\n'
    right = f"    s{n} = x{n} + y{n}\n    return s{n} * {n}\n"
    task = {"task_id": f"made/{number}", "prompt": prompt}
    rows = [
        task | {"completion": right, "label": True},
        task | {"completion": right.replace(f"x{n} + y{n}", f"y{n} + x{n}"), "label": True},
    ]
    for old, new in ((" + ", " - "), (" * ", " // "), (f"return s{n}", f"return x{n}")):
        start = right.index(old)
        wrong = right.replace(old, new, 1)
        rows.append(task | {"completion": wrong, "label": False, "span": [start, start + len(new)], "operator": new})
    return rows


def made_rows(tasks: int = 20) -> list[Row]:
    """Rows of tasks that are no near-duplicates."""
    return [row for number in range(tasks) for row in made_task(number)]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """The file's path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def small_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE with a BOS, trained on made rows."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([row["prompt"] + row["completion"] for row in made_rows(3)], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


def save_tiny_model(folder: Path, family: str = "llama", **options: Any) -> str:
    """A decoder of two layers with random weights, and the tokenizer beside it; the folder's path."""
    tokenizer = small_tokenizer()
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        **options,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
