"""What drafts of the extra heads gain: tokens a forward and a second, with and without them, on the same prompts.

    python -m benchmarks.drafts [--model DIR --about TEXT --rows gsm8k-test.jsonl] [--turns N] [--quick]

CPU time on one thread, or the wall time of a GPU where there is one, float32, greedy, turns in one process, 3 rows
alone and a batch of 8, each until its end or --tokens. Two models: one of 12 blocks that learns here, in four minutes,
to work chains of digit operations out, whose text is easy to foresee; and the one in --model, trained on its own task
with four heads (`n_future: 4`), asked with the questions in --rows (JSON lines with `question`, GSM8K's form). --quick
takes a made-up model, of which nothing is to be learned.
"""

import argparse
import json
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.arms import Shape, trainer_on
from benchmarks.harness import cpu_times, ratio, summary, write_results
from benchmarks.steps import silence
from benchmarks.turns import now
from weighted_mtp.data import chain_tokenizer, tokenize_rows
from weighted_mtp.data.chat import end_tokens, padding_token
from weighted_mtp.evaluation.decoding import prompt_tokens
from weighted_mtp.evaluation.generation import PLAIN
from weighted_mtp.models import DraftCounts, MTPModel, load_tokenizer

WANTED = {"tokens_per_forward": 2.2, "gain": 1.5}
ROWS = {1: 3, 8: 8}
"""Prompts by batch."""
PROMPTS, STEPS = 8, 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two steps, two turns: does the script run?")
    parser.add_argument("--model", help="directory of a trained model with extra heads")
    parser.add_argument("--about", default="a trained model", help="what the page calls --model")
    parser.add_argument("--rows", help="JSON lines with a `question` each, for --model")
    parser.add_argument("--tokens", type=int, default=80, help="of a row at most (default: 80)")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    silence()
    most, turns = (8, 2) if options.quick else (options.tokens, options.turns)
    results: dict[str, Any] = {"wanted": WANTED, "about": options.about}
    with tempfile.TemporaryDirectory() as folder:
        made = worked_chains(Path(folder), 2 if options.quick else STEPS)
        results["made"] = show("worked chains", [measure(*made, batch, most, turns) for batch in ROWS])
    if options.model:
        lines = Path(options.rows).read_text().splitlines()[:PROMPTS]
        asked = [json.loads(line)["question"] + "\n" for line in lines]
        model = MTPModel.from_pretrained(options.model), load_tokenizer(options.model), asked
        results["trained"] = show(options.model, [measure(*model, batch, most, turns) for batch in ROWS])
    if not options.quick:
        print(write_results("cuda-drafts" if torch.cuda.is_available() else "drafts", results))


def worked_chains(folder: Path, steps: int) -> tuple[MTPModel, Any, list[str]]:
    """A model that learned to write chains out, its tokenizer, and prompts that it has not seen.

    `7 +3 *7 :` is gone on with by `7 +3 0 0 *7 0`: of three tokens one must be worked out.
    """
    tokenizer, rows = chain_tokenizer(), [worked(i) for i in range(max(256, 32 * steps) + PROMPTS)]
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    settings = {"stage": "baseline", "n_future": 4, "learning_rate": 2e-3, "warmup_steps": 20}
    shape = Shape(str(folder / "base"), batch=32, seq=128)
    trainer = trainer_on(tokenize_rows(rows[PROMPTS:], tokenizer)[0], settings, shape, "float32", folder / "run", steps)
    trainer.train()
    return trainer.model, tokenizer, [row["prompt"] for row in rows[:PROMPTS]]


def worked(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    digit, operations = draw.randrange(10), [draw.choice(("+3", "+7", "*3", "*7")) for _ in range(draw.randint(6, 14))]
    prompt, text = f"{digit} {' '.join(operations)} :", list[str]()
    for name in operations:
        result = (digit + int(name[1]) if name[0] == "+" else digit * int(name[1])) % 10
        text += [str(digit), name, str(result)]
        digit = result
    return {"prompt": prompt, "completion": " " + " ".join(text), "label": True}


def measure(model: MTPModel, tokenizer: Any, prompts: list[str], batch: int, most: int, turns: int) -> dict[str, Any]:
    """Tokens a forward and a second, with and without drafts."""
    read, pad = prompt_tokens(tokenizer, prompts), padding_token(tokenizer) or 0
    ends = end_tokens(tokenizer, model.hf_model.generation_config.eos_token_id)
    shared = {"max_new_tokens": most, "eos_token_id": ends, "pad_token_id": pad, **PLAIN}
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    found = dict[str, list[Any]]()

    def write(name: str, **how: Any) -> None:
        found[name] = []
        for rows in (read[start : start + batch] for start in range(0, ROWS[batch], batch)):
            width = max(map(len, rows))
            ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=model.device)
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
            found[name].append(model.generate(input_ids=ids, attention_mask=mask, **shared, **how))

    asked: dict[str, dict[str, Any]] = {"plain": {}, "drafts": {"drafts": True, "return_dict_in_generate": True}}
    times = cpu_times({name: partial(write, name, **how) for name, how in asked.items()}, turns, now)
    same = [torch.equal(a, b.sequences) for a, b in zip(found["plain"], found["drafts"], strict=True)]
    total = DraftCounts.total(row for output in found["drafts"] for row in output.drafts)
    return {
        "batch": batch,
        "rows": ROWS[batch],
        "max_new_tokens": most,
        "same_tensors": [sum(same), len(same)],
        **total.summary(),
        "tokens_per_second": {name: summary([total.tokens / s for s in spent]) for name, spent in times.items()},
        "gain": ratio(times["plain"], times["drafts"]),
    }


def show(name: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for entry in found:
        rates = " and ".join(f"{x['median']:.1f} {arm}" for arm, x in entry["tokens_per_second"].items())
        shares = ", ".join(f"{100 * share:.0f}" for share in entry["acceptance"])
        low, high = entry["gain"]["quartiles"]
        print(f"{name}, batch {entry['batch']}: {entry['tokens_per_forward']:.2f} tokens a forward ({shares} % held)")
        print(f"  {rates} tokens/s: {entry['gain']['median']:.2f} times ({low:.2f} to {high:.2f})")
        print(f"  the same tensors: {entry['same_tensors'][0]} of {entry['same_tensors'][1]}")
    return found


if __name__ == "__main__":
    main()
