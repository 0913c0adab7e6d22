"""What a training step costs: our stages against each other and against TRL's SFTTrainer.

    python -m benchmarks.steps [--quick] [--dtype float32|bfloat16] [--turns N]

Whole optimizer steps of SmolLM2-135M on 8 rows of 256 tokens, CPU, one thread: data, forward, weights, loss,
backward, clipping, AdamW, logging. bfloat16 is autocast over float32 parameters. Arms advance in turns in one
process; peak memory is that of two steps in a fresh process, above the loaded model. Each precision writes
benchmarks/results/steps-<dtype>.json, unless --quick, which takes a made-up model of two layers and times
it in this process.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from benchmarks.arms import OURS, TRL, Shape, make_arm, tiny_model
from benchmarks.harness import in_fresh_process, peak_memory, ratio, summary, write_results
from benchmarks.turns import seconds_per_step

DTYPES = ("float32", "bfloat16")
ONE, FOUR, STAGE_2, SCORED = OURS
# What is compared, and the bound on the ratio that we set ourselves.
COMPARISONS = [
    (STAGE_2, FOUR, 1.03),
    (SCORED, FOUR, 1.01),
    (ONE, TRL, 1.00),
    (FOUR, ONE, None),  # against what its floating-point operations predict
]
HEADS_ALLOWANCE = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny model, two turns: does the script run?")
    parser.add_argument("--dtype", choices=DTYPES, help="one precision (default: both)")
    parser.add_argument("--turns", type=int, default=9, help="paired steps behind each median (default: 9)")
    options = parser.parse_args()
    silence()
    for dtype in [options.dtype] if options.dtype else DTYPES:
        with tempfile.TemporaryDirectory() as folder:
            shape = Shape(tiny_model(Path(folder)), batch=2, seq=32) if options.quick else Shape()
            results = measure(shape, dtype, 2 if options.quick else options.turns, Path(folder), options.quick)
        show(results)
        if not options.quick:
            print(write_results(f"steps-{dtype}", results))


def measure(shape: Shape, dtype: str, turns: int, folder: Path, quick: bool) -> dict[str, Any]:
    """Peak memory of each arm (of one where it is quick), time in two groups, then the arithmetic."""
    has_trl = find_spec("trl") is not None
    groups = [[ONE, FOUR, *([TRL] if has_trl else [])], [FOUR, STAGE_2, SCORED]]
    arms = [ONE] if quick else [*groups[0], STAGE_2, SCORED]
    memory = {arm: peak_memory(two_steps, arm, shape, dtype, folder) for arm in arms}
    seconds, operations = [], {}
    for group in groups:  # all at once would hold 24 GB
        arguments = (group, shape, dtype, folder, turns)
        times, operations = timed(*arguments) if quick else in_fresh_process(timed, *arguments)
        seconds.append(times)
    return {
        "peers": {"trl": version("trl") if has_trl else None},
        "transformers": version("transformers"),
        "dtype": dtype,
        "shape": {"batch": shape.batch, "seq": shape.seq},
        "seconds": {arm: summary(values) for times in reversed(seconds) for arm, values in times.items()},
        "ratios": compared(seconds, HEADS_ALLOWANCE * operations["ratio"]),
        "operations": operations,
        "bytes": memory,
    }


def timed(
    arms: list[str], shape: Shape, dtype: str, folder: Path, turns: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """CPU seconds of the arms' steps, taken in turns, and what four heads should cost."""
    torch.set_num_threads(1)
    silence()
    trainers = {arm: make_arm(arm, shape, dtype, folder, steps=turns + 3) for arm in arms}
    return seconds_per_step(trainers, turns), predicted_ratio(trainers[FOUR].model)


def compared(seconds: list[dict[str, list[float]]], heads_bound: float) -> list[dict[str, Any]]:
    """The paired ratios of `COMPARISONS`, within the group that holds both arms."""
    return [
        {"arm": arm, "over": over, "bound": bound or heads_bound, "ratio": ratio(times[arm], times[over])}
        for arm, over, bound in COMPARISONS
        for times in seconds
        if arm in times and over in times
    ]


def silence() -> None:
    """Other packages' advice is for those who train."""
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def two_steps(arm: str, shape: Shape, dtype: str, folder: Path) -> Callable[[], Any]:
    """Two optimizer steps of an arm: the second one holds the optimizer's state."""
    silence()
    return make_arm(arm, shape, dtype, folder, steps=2).train


def predicted_ratio(model: Any) -> dict[str, Any]:
    """Four heads over one by matmul parameters: a token costs 6 operations for each, whatever the sizes.

    Attention scores, softmax over the vocabulary, the optimizer and everything elementwise are left out.
    """
    layers = sum(p.numel() for p in model.hf_model.get_decoder().layers.parameters())
    extra = sum(p.numel() for p in model.extra_heads.parameters())
    unembedding = model.output_head()["lm_head_weight"].numel()
    one, four = layers + unembedding, layers + extra + model.n_future * unembedding
    return {"layers": layers, "extra_layers": extra, "unembedding": unembedding, "ratio": four / one}


def tokens_per_second(results: dict[str, Any], arm: str) -> float:
    return results["shape"]["batch"] * results["shape"]["seq"] / results["seconds"][arm]["median"]


def show(results: dict[str, Any]) -> None:
    print(results["dtype"])
    for arm, seconds in results["seconds"].items():
        line = f"  {arm:24} {seconds['median']:7.2f} s  {tokens_per_second(results, arm):7.1f} tokens/s"
        print(line + (f"  {results['bytes'][arm] / 1e9:.2f} GB" if arm in results["bytes"] else ""))
    for entry in results["ratios"]:
        low, high = entry["ratio"]["quartiles"]
        print(
            f"  {entry['arm']} over {entry['over']}: {entry['ratio']['median']:.3f} ({low:.3f} to {high:.3f}), "
            f"at most {entry['bound']:.2f} wanted"
        )


if __name__ == "__main__":
    main()
