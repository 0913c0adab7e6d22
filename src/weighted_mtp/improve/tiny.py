"""`python -m weighted_mtp.improve.tiny DIR`: for `wmtp improve`, problems of the made task, and a small start model
that imitated a teacher with systematic errors."""

import json
import sys
from pathlib import Path

import torch

from weighted_mtp.data import EASY, Chains, chain_tokenizer, make_chains
from weighted_mtp.demo.draw import tiny_llama
from weighted_mtp.files import write_text
from weighted_mtp.models import MTPModel
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train


def make_tiny(out: Path, prompts: int = 400, held_out: int = 300, steps: int = 50, seed: int = 0) -> None:
    """Writes `start` (a model), problems.jsonl and held_out.jsonl into a folder; what is there already is kept."""
    if (out / "start" / "made_with.json").exists():
        return
    chains = make_chains(EASY, seed, n_train_traces=8_000, n_test_prompts=prompts + held_out)
    _write_problems(out, chains, prompts)
    tokenizer = chain_tokenizer()
    torch.manual_seed(seed)
    MTPModel(tiny_llama(tokenizer)).save_pretrained(out / "untrained")
    tokenizer.save_pretrained(out / "untrained")
    write_text(out / "teacher.jsonl", "".join(json.dumps(row) + "\n" for row in chains.train))
    settings = {
        "stage": "baseline", "model_name_or_path": str(out / "untrained"), "train_file": str(out / "teacher.jsonl"),
        "output_dir": str(out / "start"), "max_length": 64, "max_steps": steps, "per_device_train_batch_size": 128,
        "learning_rate": 4e-3, "warmup_steps": 20, "save_steps": 0, "seed": seed, "tracking_uri": "none",
    }  # fmt: skip
    train(RunConfig.from_flat(settings), resume="auto", quiet=True)


def _write_problems(out: Path, chains: Chains, prompts: int) -> None:
    for name, rows in (("problems", chains.test[:prompts]), ("held_out", chains.test[prompts:])):
        kept = [
            {"task_id": f"{name}/{i}", "prompt": row["prompt"], "answer": row["answer"]} for i, row in enumerate(rows)
        ]
        write_text(out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in kept))


if __name__ == "__main__":
    torch.set_num_threads(1)  # matrices of width 64 gain nothing from a second one
    make_tiny(Path(sys.argv[1]))
