"""What sampling costs: tokens a second of our decoding and of plain batches of `generate`, on the same draws.

    python -m benchmarks.decoding [--problems gsm8k.jsonl] [--turns N] [--quick]

SmolLM2-135M, several samples of each of mixed prompts in a chat, CPU time on one thread, turns in one process. Plain:
batches of 16 in order, each row until the longest has ended, nuclei by sorting, as `wmtp evaluate` did at first.
--quick takes a made-up model.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.arms import SMOLLM2, library_rows, tiny_model
from benchmarks.harness import cpu_times, ratio, summary, write_results
from benchmarks.steps import silence
from weighted_mtp.data.chat import end_tokens, padding_token
from weighted_mtp.evaluation.decoding import prompt_tokens, user_turn
from weighted_mtp.evaluation.generation import PLAIN, write_tokens
from weighted_mtp.evaluation.sampling import SeededDraws
from weighted_mtp.models import MTPModel, load_tokenizer

BEFORE, BATCH, SAMPLES = 16, 64, 8
WANTED = 1.5
Write = Callable[[list[list[int]], list[list[int]]], list[list[int]]]


class SortedDraws(SeededDraws):
    """Nuclei by sorting all tokens."""

    likeliest = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model, two turns: does the script run?")
    parser.add_argument("--problems", help="JSONL with a `question` each (GSM8K)")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    silence()
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_model(Path(folder)) if options.quick else SMOLLM2
        model, tokenizer = MTPModel.from_pretrained(path).eval(), load_tokenizer(path)
    most = 20 if options.quick else 96
    texts = questions(options.problems, 8)
    prompts = [ids for ids in prompt_tokens(tokenizer, [user_turn(text) for text in texts]) for _ in range(SAMPLES)]
    seeds = [[0, i // SAMPLES, i % SAMPLES] for i in range(len(prompts))]
    ends, pad = end_tokens(tokenizer, model.hf_model.generation_config.eos_token_id), padding_token(tokenizer) or 0
    written: dict[str, int] = {}

    def plain(rows: list[list[int]], draws: SeededDraws) -> list[list[int]]:
        width = max(map(len, rows))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        shared = {"pad_token_id": pad, "eos_token_id": ends, "max_new_tokens": most, "logits_processor": [draws]}
        found = model.hf_model.generate(input_ids=ids, attention_mask=mask, **shared, **PLAIN)[:, width:].tolist()
        return [row[: next((i for i, token in enumerate(row, 1) if token in ends), None)] for row in found]

    def ours(rows: list[list[int]], draws: SeededDraws) -> list[list[int]]:
        return write_tokens(model, rows, max_new_tokens=most, pad=pad, ends=ends, draws=draws)

    def run(name: str, batch: int, write: Callable[[list[list[int]], SeededDraws], list[list[int]]]) -> None:
        draws = SortedDraws if name == "plain" else SeededDraws
        with torch.no_grad():
            rows = []
            for start in range(0, len(prompts), batch):
                chosen = slice(start, start + batch)
                rows += write(prompts[chosen], draws(seeds[chosen], most, temperature=0.8, top_p=0.95))
        written[name] = sum(map(len, rows))

    arms = {"plain": (BEFORE, plain), "ours": (BATCH, ours)}
    times = cpu_times(
        {name: (lambda name=name, arm=arm: run(name, *arm)) for name, arm in arms.items()},
        2 if options.quick else options.turns,
    )
    costs = {name: [seconds / written[name] for seconds in values] for name, values in times.items()}
    gain = ratio(costs["plain"], costs["ours"])
    results: dict[str, Any] = {
        "problems": Path(options.problems).name if options.problems else None,
        "prompts": len(texts),
        "samples": SAMPLES,
        "batch": {"plain": BEFORE, "ours": BATCH},
        "max_new_tokens": most,
        "tokens": written,
        "tokens_per_second": {name: summary([1 / cost for cost in values]) for name, values in costs.items()},
        "gain": gain,
        "wanted": WANTED,
    }
    for name, rate in results["tokens_per_second"].items():
        print(f"  {name:8} {rate['median']:7.1f} tokens/s, {written[name]} tokens")
    print(f"  ours over plain: {gain['median']:.2f} times the tokens a second, at least {WANTED} wanted")
    if not options.quick:
        print(write_results("decoding", results))


def questions(file: str | None, count: int) -> list[str]:
    """Prompts of mixed lengths."""
    if file is None:
        return [row["completion"][: 60 + 211 * i % 900] for i, row in enumerate(library_rows(count, 1000))]
    return [json.loads(line)["question"] for line in Path(file).read_text().splitlines()[:count]]


if __name__ == "__main__":
    main()
