"""Time, memory and growth of the weighted multi-token loss against the one written by hand.

    python -m benchmarks.loss [--quick]

The naive loss makes logits [batch, seq, n_future, vocab], calls cross_entropy(reduction="none"), multiplies
by the weights and divides by the count; times hold forward and backward. CPU, one thread. Writes
benchmarks/results/loss.json, unless --quick.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from benchmarks.harness import cpu_times, growth_slope, peak_memory, ratios, summary, write_results
from weighted_mtp.losses import mtp_nll, weighted_mtp_loss


class Size(NamedTuple):
    """Shape of one problem."""

    batch: int
    seq: int
    n_future: int
    dim: int
    vocab: int


SMALL = Size(1, 64, 2, 64, 4_000)
MEDIUM = Size(2, 512, 4, 512, 32_768)
LARGE = Size(4, 512, 4, 576, 49_152)  # SmolLM2-135M's head
KEPT = 0.6
# The ratios to naive that we set ourselves; in bfloat16 time depends on the matmuls' speed: for CPUs with AMX.
TIME_BOUNDS = {
    "float32": {"ours": 0.85, "ours_60_percent": 0.52, "rho1_60_percent": 0.95},
    "bfloat16": {"ours": 0.60, "ours_60_percent": 0.37, "rho1_60_percent": 0.95},
}
MEMORY_BOUNDS = {  # by vocabulary and dtype
    (32_768, "float32"): 0.10,
    (32_768, "bfloat16"): 0.17,
    (49_152, "float32"): 0.05,
    (49_152, "bfloat16"): 0.09,
}

# Narrow, so that sizes far apart end soon.
GROWTH = {
    "seq": [Size(1, seq, 1, 64, 4_096) for seq in (512, 2_048, 8_192, 32_768)],
    "n_future": [Size(1, 1_024, heads, 64, 8_192) for heads in (1, 2, 4, 8)],
    "vocab": [Size(1, 512, 1, 64, vocab) for vocab in (8_192, 32_768, 131_072, 262_144)],
    "batch": [Size(batch, 512, 1, 64, 8_192) for batch in (1, 4, 16, 64)],
}


def naive(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    logits = linear(hidden, unembedding)
    nll = cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none")
    return (nll * weights.flatten()).sum() / (targets != -100).sum()


def ours(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return weighted_mtp_loss(hidden, unembedding, targets, weights).loss


def rho1(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weights from this very forward: the predictions of largest nll, as many as `weights` has nonzero."""
    nll = mtp_nll(hidden, unembedding, targets)
    threshold = nll.flatten().kthvalue(int((weights == 0).sum()) + 1).values
    return weighted_mtp_loss(hidden, unembedding, targets, (nll >= threshold).float()).loss


LOSSES = {"naive": naive, "ours": ours, "ours_60_percent": ours, "rho1_60_percent": rho1}


def prepare(loss: str, size: Size, dtype: torch.dtype) -> Callable[[], None]:
    """A step, forward and backward, of the loss on random inputs; `60_percent` zeroes the other weights."""
    generator = torch.Generator().manual_seed(0)
    rows = (size.batch, size.seq, size.n_future)
    hidden = torch.randn(*rows, size.dim, generator=generator).to(dtype).requires_grad_()
    unembedding = torch.randn(size.vocab, size.dim, generator=generator) * size.dim**-0.5
    unembedding = unembedding.to(dtype).requires_grad_()
    targets = torch.randint(0, size.vocab, rows, generator=generator)
    weights = torch.rand(rows, generator=generator) + 0.5
    if loss.endswith("60_percent"):
        weights = weights * (torch.rand(rows, generator=generator) < KEPT)

    def step() -> None:
        hidden.grad = unembedding.grad = None
        LOSSES[loss](hidden, unembedding, targets, weights).backward()

    return step


def prepare_warm(loss: str, size: Size, dtype: torch.dtype) -> Callable[[], None]:
    """`prepare` after such a step: kernels compiled for these shapes (6 MB) are no memory of the loss."""
    prepare(loss, size, dtype)()
    return prepare(loss, size, dtype)


def time_against_naive(size: Size, dtype: torch.dtype, turns: int) -> dict[str, Any]:
    times = cpu_times({loss: prepare(loss, size, dtype) for loss in LOSSES}, turns)
    return {"seconds": {k: summary(v) for k, v in times.items()}, "ratio": ratios(times, against="naive")}


def memory_against_naive(size: Size, dtype: torch.dtype) -> dict[str, Any]:
    peaks = {loss: peak_memory(prepare_warm, loss, size, dtype) for loss in LOSSES}
    return {"bytes": peaks, "ratio": {k: v / peaks["naive"] for k, v in peaks.items() if k != "naive"}}


def growth(axis: str, sizes: list[Size], turns: int) -> dict[str, Any]:
    """Cost of our loss along one axis, and the exponent of its growth."""
    x = [getattr(size, axis) for size in sizes]
    times = cpu_times({str(n): prepare("ours", s, torch.float32) for n, s in zip(x, sizes, strict=True)}, turns)
    seconds = [summary(times[str(n)]) for n in x]
    peaks = [peak_memory(prepare_warm, "ours", size, torch.float32) for size in sizes]
    return {
        axis: x,
        "seconds": seconds,
        "bytes": peaks,
        "time_exponent": growth_slope(x, [s["median"] for s in seconds]),
        "memory_exponent": growth_slope(x, [float(p) for p in peaks]),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one tiny size and one axis, two turns: does the script run?"
    )
    parser.add_argument("--turns", type=int, default=9, help="paired runs behind each median (default: 9)")
    options = parser.parse_args(arguments)
    turns = 2 if options.quick else options.turns
    torch.set_num_threads(1)

    results: dict[str, Any] = {"against_naive": [], "growth": {}}
    for size, timed in [(SMALL, True)] if options.quick else [(MEDIUM, True), (LARGE, False)]:
        for dtype in (torch.float32,) if options.quick else (torch.float32, torch.bfloat16):
            entry: dict[str, Any] = {"size": size._asdict(), "dtype": str(dtype).removeprefix("torch.")}
            if timed:
                entry["time"] = time_against_naive(size, dtype, turns)
            entry["memory"] = memory_against_naive(size, dtype)
            results["against_naive"].append(entry)
            show(entry)
    for axis, sizes in [("seq", GROWTH["seq"])] if options.quick else GROWTH.items():
        entry = growth(axis, sizes[:2] if options.quick else sizes, min(turns, 5))
        results["growth"][axis] = entry
        print(f"{axis}: time ~ n^{entry['time_exponent']:.2f}, memory ~ n^{entry['memory_exponent']:.2f}")
    if not options.quick:
        print(write_results("loss", results))


def show(entry: dict[str, Any]) -> None:
    print(*entry["size"].values(), entry["dtype"], flush=True)
    for loss in entry["memory"]["ratio"]:
        line = f"  {loss:16} memory {entry['memory']['ratio'][loss]:.3f}"
        if "time" in entry:
            ratio = entry["time"]["ratio"][loss]
            line += f"  time {ratio['median']:.3f} ({ratio['quartiles'][0]:.3f} to {ratio['quartiles'][1]:.3f})"
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
