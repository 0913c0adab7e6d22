"""What packing saves: tokens learned from a second, packed and padded, and by TRL's SFTTrainer with its own packing.

    python -m benchmarks.packing [--rows gsm8k.jsonl] [--dtype float32|bfloat16] [--turns N] [--quick] [--model DIR]

Whole optimizer steps of SmolLM2-135M on rows of mixed lengths: CPU time on one thread, or the wall time of a GPU where
there is one, there also with flash attention if that is installed. A step of each arm reads about as many tokens: so
many rows at random where they are padded, so many sequences of 512 tokens where they are packed. Steps are taken in
turns in one process, and the time of each is divided by the tokens of its rows; padding is none. --rows is a JSONL file
of questions and answers (GSM8K's form); without it rows are cut from the standard library, at lengths as mixed as
those. --quick takes a made-up model.
"""

import argparse
import json
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_flash_attn_4_available

from benchmarks.arms import SMOLLM2, Shape, library_rows, tiny_model, trainer_on, trl_trainer
from benchmarks.harness import in_fresh_process, ratio, summary, write_results
from benchmarks.steps import silence
from benchmarks.turns import seconds_per_step
from weighted_mtp.data import tokenize_rows
from weighted_mtp.models import load_tokenizer

PADDED, PACKED, TRL = "padded", "packed", "TRL SFTTrainer, packed"
FLASH = ", flash attention"
BOUNDS = {PADDED: 1.5, TRL: 1.0}
HAS_TRL = find_spec("trl") is not None


def groups() -> list[tuple[int, list[str]]]:
    """Rows of a padded batch, and what is compared: the more rows, the more of them is padding."""
    all_arms = [PADDED, PACKED, *([TRL] if HAS_TRL else [])]
    if not torch.cuda.is_available():
        return [(8, all_arms), (16, [PADDED, PACKED]), (32, [PADDED, PACKED])]  # TRL's of 16 would not fit
    flash = [arm + FLASH for arm in all_arms] if flash_attention() else []
    return [(8, all_arms + flash), (64, all_arms + flash)]


def checkpointed(shape: Shape) -> bool:
    """Whether activations are computed again in the backward pass, padded and packed alike: 32 rows need it."""
    return shape.batch > 16 and not torch.cuda.is_available()


def flash_attention() -> str | None:
    """The newest kernels of flash attention that are installed, in transformers' name."""
    there = {4: is_flash_attn_4_available, 3: is_flash_attn_3_available, 2: is_flash_attn_2_available}
    return next((f"flash_attention_{version}" for version, check in there.items() if check()), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model, two turns: does the script run?")
    parser.add_argument("--model", default=SMOLLM2, help="a model of its size elsewhere (default: SmolLM2-135M)")
    parser.add_argument("--rows", help="questions and answers, JSONL")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--turns", type=int, default=15, help="paired steps behind each median (default: 15)")
    parser.add_argument("--batches", type=int, nargs="+", help="only these numbers of rows")
    parser.add_argument("--length", type=int, default=512, help="tokens of a sequence (default: 512)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(Path(folder)) if options.quick else options.model
        peers = {"trl": version("trl") if HAS_TRL else None, "flash attention": flash_attention()}
        results: dict[str, Any] = {"dtype": options.dtype, "peers": peers}
        results["groups"] = []
        for batch, arms in groups():
            if options.batches and batch not in options.batches:
                continue
            shape = Shape(model, batch=batch, seq=options.length)
            arguments = (arms, shape, options.dtype, Path(folder), 2 if options.quick else options.turns, options.rows)
            results["groups"].append(in_fresh_process(measure, *arguments))
            show(results["groups"][-1])
    if not options.quick:
        device = torch.cuda.get_device_name().replace(" ", "-") if torch.cuda.is_available() else None
        name = "-".join(["packing", device or options.dtype, *map(str, options.batches or ())])
        print(write_results(name, results))


def mixed_rows(file: str | None) -> list[dict[str, Any]]:
    if file is None:
        return [
            row | {"completion": row["completion"][: 150 + 37 * i % 900]}
            for i, row in enumerate(library_rows(400, 1200))
        ]
    table = [json.loads(line) for line in Path(file).read_text().splitlines()]
    return [{"prompt": row["question"] + "\n", "completion": row["answer"], "label": True} for row in table]


def measure(arms: list[str], shape: Shape, dtype: str, folder: Path, turns: int, file: str | None) -> dict[str, Any]:
    """Seconds a token of each arm, and the paired ratios to what is packed."""
    torch.set_num_threads(1)
    silence()
    rows, _ = tokenize_rows(mixed_rows(file), load_tokenizer(shape.model), max_length=shape.seq)
    lengths = [len(ids) for ids in rows["input_ids"]]
    packs = max(1, round(shape.batch * sum(lengths) / len(lengths) / shape.seq))
    trainers = {arm: make(arm, rows, shape, dtype, folder, turns + 3, packs) for arm in arms}
    read = {name: counted(trainer) for name, trainer in trainers.items()}
    walls: dict[str, list[float]] = {}
    seconds = seconds_per_step(trainers, turns, walls)
    costs, wall_costs = (
        {name: [s / n for s, (n, _) in zip(times, read[name][1:], strict=False)] for name, times in clock.items()}
        for clock in (seconds, walls)
    )
    return {
        "rows": {
            "file": Path(file).name if file else None,
            "count": len(rows),
            "mean_tokens": sum(lengths) / len(lengths),
            "longest": max(lengths),
        },
        "shape": {"rows": shape.batch, "packs": packs, "pack_length": shape.seq, "checkpointed": checkpointed(shape)},
        "tokens": {name: summary([n for n, _ in numbers[1 : turns + 1]]) for name, numbers in read.items()},
        "positions_per_token": {
            name: sum(p for _, p in numbers[1 : turns + 1]) / sum(n for n, _ in numbers[1 : turns + 1])
            for name, numbers in read.items()
        },
        "tokens_per_second": {name: summary([1 / cost for cost in values]) for name, values in costs.items()},
        "gain": [
            {
                "arm": packed,
                "over": name,
                "bound": BOUNDS[name.removesuffix(FLASH)],
                "ratio": ratio(costs[name], spent),
                "wall_ratio": ratio(wall_costs[name], wall_costs[packed]),
            }
            for packed, spent in costs.items()
            if packed.removesuffix(FLASH) == PACKED
            for name in costs
            if name.removesuffix(FLASH) != PACKED
        ],
    }


def make(arm: str, rows: Dataset, shape: Shape, dtype: str, folder: Path, steps: int, packs: int) -> Any:
    """The trainer of an arm, ready to train."""
    kind, attention = arm.removesuffix(FLASH), flash_attention() if arm.endswith(FLASH) else "sdpa"
    settings = {"stage": "baseline", "attn_implementation": attention, "gradient_checkpointing": checkpointed(shape)}
    if kind == PADDED:
        return trainer_on(rows, settings, shape, dtype, folder / arm, steps)
    packed = shape._replace(batch=packs)
    if kind == TRL:
        trainer = trl_trainer(packed, dtype, folder, steps, rows, packing=True)
        trainer.model.set_attn_implementation(attention)
        return trainer
    settings |= {"max_length": shape.seq, "packing": True}
    return trainer_on(rows, settings, packed, dtype, folder / arm, steps)


def counted(trainer: Any) -> list[tuple[int, int]]:
    """A list that grows by the tokens of every step that the trainer takes, and the positions that they lie in."""
    read: list[tuple[int, int]] = []
    step = trainer.training_step

    def counting(model: Any, inputs: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        mask, positions = inputs.get("attention_mask"), inputs["input_ids"].numel()
        tokens = positions if mask is None else int(mask.sum())
        if "packs" in inputs:
            positions = len(inputs["packs"]) * inputs["pack_length"]
        read.append((tokens, positions))
        return step(model, inputs, *arguments, **keywords)

    trainer.training_step = counting
    return read


def show(results: dict[str, Any]) -> None:
    print(results["rows"], results["shape"])
    for arm, rate in results["tokens_per_second"].items():
        positions = f"{results['positions_per_token'][arm]:.2f} positions each"
        print(f"  {arm:24} {rate['median']:7.1f} tokens/s, {results['tokens'][arm]['median']:.0f} a step, {positions}")
    for entry in results["gain"]:
        low, high = entry["ratio"]["quartiles"]
        said = (
            f"{entry['ratio']['median']:.2f} ({low:.2f} to {high:.2f}; by the wall {entry['wall_ratio']['median']:.2f})"
        )
        print(
            f"  {entry['arm']} over {entry['over']}: {said} times the tokens a second, at least {entry['bound']} wanted"
        )


if __name__ == "__main__":
    main()
