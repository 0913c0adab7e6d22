"""The loss on a GPU: time and memory against the naive one, Liger and Cut Cross-Entropy.

    python -m benchmarks.gpu [--quick]

Forward and backward of a bf16 loss with token weights. Peers run where they are installed (extra `bench-gpu`).
Writes benchmarks/results/gpu-<device>.json. Where there is no CUDA device it says so and writes nothing; --quick
runs tiny sizes on whatever there is.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import ratio, summary, write_results
from benchmarks.loss import naive, ours
from weighted_mtp.losses import weighted_mtp_loss

PEERS = ("liger_kernel", "cut_cross_entropy")


class Size(NamedTuple):
    """Rows, width and vocabulary of one problem."""

    rows: int
    dim: int
    vocab: int


SIZES = [Size(32_768, 4_096, 131_072), Size(32_768, 576, 49_152)]
TINY = Size(64, 32, 500)


def ours_by_liger(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return weighted_mtp_loss(hidden, unembedding, targets, weights, backend="liger").loss


def liger(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """With reduction none, so that each token gets its weight; 0.8.2 is the first whose gradient of W is right."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    nll = liger_fused_linear_cross_entropy(hidden.flatten(0, 2), unembedding, targets.flatten(), reduction="none")
    return (nll * weights.flatten()).sum() / (targets != -100).sum()


def cut(hidden: Tensor, unembedding: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    nll = linear_cross_entropy(hidden.flatten(0, 2), unembedding, targets.flatten(), reduction="none")
    return (nll * weights.flatten()).sum() / (targets != -100).sum()


def losses() -> dict[str, Callable[..., Tensor]]:
    """naive, ours and, on CUDA, the peers that are installed."""
    found: dict[str, Callable[..., Tensor]] = {"naive": naive, "ours": ours}
    if torch.cuda.is_available():
        if find_spec("liger_kernel"):
            found |= {"ours, backend liger": ours_by_liger, "liger_kernel": liger}
        if find_spec("cut_cross_entropy"):
            found["cut_cross_entropy"] = cut
    return found


def prepare(loss: Callable[..., Tensor], size: Size, device: torch.device) -> Callable[[], None]:
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    hidden = draw(1, size.rows, 1, size.dim).bfloat16().requires_grad_()
    unembedding = (draw(size.vocab, size.dim) * size.dim**-0.5).bfloat16().requires_grad_()
    targets = torch.randint(0, size.vocab, (1, size.rows, 1), generator=generator, device=device)
    weights = draw(1, size.rows, 1).abs() + 0.5

    def step() -> None:
        loss(hidden, unembedding, targets, weights).backward()
        hidden.grad = unembedding.grad = None  # part of the peak, and not of what the next one begins with

    return step


def measure(size: Size, device: torch.device, turns: int) -> dict[str, Any]:
    """Seconds (paired turns) and peak bytes above the inputs of every loss."""
    steps = {name: prepare(loss, size, device) for name, loss in losses().items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, int] = {}
    for turn in range(turns + 1):
        for name, step in steps.items():
            spent, peak = watched(step)
            peaks[name] = max(peak, peaks.get(name, 0))
            if turn:
                seconds[name].append(spent)
    return {
        "size": size._asdict(),
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "time_ratio": {name: ratio(values, seconds["naive"]) for name, values in seconds.items()},
        "bytes": peaks,
    }


def watched(step: Callable[[], None]) -> tuple[float, int]:
    """Seconds and peak bytes above what was there; 0 bytes where the device does not count them."""
    on_gpu = torch.cuda.is_available()
    before = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    begin = time.perf_counter()
    step()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - begin, torch.cuda.max_memory_allocated() - before if on_gpu else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes on any device: does the script run?")
    quick = parser.parse_args().quick
    if not (quick or torch.cuda.is_available()):
        print("no CUDA device here: nothing measured, nothing written")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = [measure(size, device, turns=2 if quick else 20) for size in ([TINY] if quick else SIZES)]
    for result in results:
        print(*result["size"].values())
        for name, times in result["time_ratio"].items():
            gigabytes = result["bytes"][name] / 1e9
            print(f"  {name:20} time {times['median']:.3f} of naive, {gigabytes:.2f} GB")
    if not quick:
        peers = {name: version(name.replace("_", "-")) for name in PEERS if find_spec(name)}
        print(write_results("gpu", {"peers": peers, "against_naive": results}))


if __name__ == "__main__":
    main()
