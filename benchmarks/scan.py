"""Time, error and growth of the reverse scan against loops over time and torchrl.

    python -m benchmarks.scan [--quick]

The loops are the form that TRL and verl use. All of `compute_gae` is timed, from values and rewards to
advantages, without gradient; CPU, one thread. torchrl is compared where it is installed. Writes
benchmarks/results/scan.json, unless --quick.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import cpu_times, growth_slope, ratios, summary, write_results
from weighted_mtp.value_weighting import compute_gae

GAMMA, LAM = 0.99, 0.95
SIZES = [(8, 512), (8, 4096), (32, 4096), (4, 32768)]
TARGETS = {
    "dense": dict(zip(SIZES, (50, 300, 80, 600), strict=True)),
    "gaps": dict(zip(SIZES, (40, 100, 30), strict=False)),
    "packed": dict(zip(SIZES, (30, 80), strict=False)),
    "packed with gaps": {},
    "undiscounted": {},
}
TORCHRL_TARGET = 10
CALLS = 50
DECAYS = [(0.99, 0.95), (1.0, 0.95), (1.0, 0.5), (1.0, 0.999), (1.0, 1.0)]


def dense_loop(values: Tensor, rewards: Tensor, gamma: float, lam: float) -> Tensor:
    """As in TRL's PPO trainer."""
    advantage, reversed_advantages = 0.0, []
    seq = values.shape[1]
    for t in reversed(range(seq)):
        following = values[:, t + 1] if t < seq - 1 else 0.0
        error = rewards[:, t] + gamma * following - values[:, t]
        advantage = error + gamma * lam * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], 1)


def masked_loop(values: Tensor, rewards: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """As in verl: values and advantages wait over a gap."""
    following, advantage, reversed_advantages = 0.0, 0.0, []
    for t in reversed(range(values.shape[1])):
        error = rewards[:, t] + gamma * following - values[:, t]
        summed = error + gamma * lam * advantage
        following = values[:, t] * mask[:, t] + (1 - mask[:, t]) * following
        advantage = summed * mask[:, t] + (1 - mask[:, t]) * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], 1) * mask


def packed_loop(values: Tensor, rewards: Tensor, goes_on: Tensor, gamma: float, lam: float) -> Tensor:
    """The dense loop, stopped where `goes_on` is 0: the next position is of another segment."""
    following, advantage, reversed_advantages = 0.0, 0.0, []
    for t in reversed(range(values.shape[1])):
        error = rewards[:, t] + gamma * following * goes_on[:, t] - values[:, t]
        advantage = error + gamma * lam * advantage * goes_on[:, t]
        following = values[:, t]
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], 1)


def packed_masked_loop(
    values: Tensor, rewards: Tensor, mask: Tensor, goes_on: Tensor, gamma: float, lam: float
) -> Tensor:
    """Both: values and advantages wait over a gap, and are dropped at the end of a segment."""
    following, advantage, reversed_advantages = 0.0, 0.0, []
    for t in reversed(range(values.shape[1])):
        following, advantage = following * goes_on[:, t], advantage * goes_on[:, t]
        error = rewards[:, t] + gamma * following - values[:, t]
        summed = error + gamma * lam * advantage
        following = values[:, t] * mask[:, t] + (1 - mask[:, t]) * following
        advantage = summed * mask[:, t] + (1 - mask[:, t]) * advantage
        reversed_advantages.append(advantage)
    return torch.stack(reversed_advantages[::-1], 1) * mask


def torchrl_gae(values: Tensor, rewards: Tensor, goes_on: Tensor, gamma: float, lam: float) -> Tensor:
    from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    done = goes_on[..., None] == 0
    columns = (x[..., None] for x in (values, following, rewards))
    return vec_generalized_advantage_estimate(gamma, lam, *columns, done=done, terminated=done)[0][..., 0]


def problem(batch: int, seq: int) -> dict[str, Tensor]:
    """Values, rewards at the ends of segments, segments of about 200 tokens, gaps of about 20 in 100."""
    generator = torch.Generator().manual_seed(0)
    position = torch.arange(seq)
    segment_ids = (position // 200 + 1).expand(batch, seq).contiguous()
    goes_on = torch.nn.functional.pad((segment_ids[:, 1:] == segment_ids[:, :-1]).float(), (0, 1))
    at_end = torch.nn.functional.pad(torch.zeros(batch, seq - 1), (0, 1), value=1.0)
    shift = torch.randint(100, (batch, 1), generator=generator)
    return {
        "values": torch.rand(batch, seq, generator=generator),
        "rewards": at_end,
        "rewards_packed": 1.0 - goes_on,
        "mask": (position + shift) % 100 < 80,
        "segment_ids": segment_ids,
        "goes_on": goes_on,
        "one_episode": 1.0 - at_end,
    }


Candidates = dict[str, Callable[[], Tensor]]


def candidates(kind: str, x: dict[str, Tensor]) -> Candidates:
    """Ours, the loop and torchrl's on one problem; torchrl knows no gaps."""
    values, rewards, packed, mask = x["values"], x["rewards"], x["rewards_packed"], x["mask"]
    segments, goes_on = x["segment_ids"], x["goes_on"]
    discounts = (1.0, 1.0) if kind == "undiscounted" else (GAMMA, LAM)
    if kind in ("dense", "undiscounted"):
        return {
            "ours": partial(compute_gae, values, rewards, None, *discounts),
            "loop": partial(dense_loop, values, rewards, *discounts),
            "torchrl": partial(torchrl_gae, values, rewards, x["one_episode"], *discounts),
        }
    if kind == "gaps":
        return {
            "ours": partial(compute_gae, values, rewards, mask, *discounts),
            "loop": partial(masked_loop, values, rewards, mask.float(), *discounts),
        }
    if kind == "packed":
        return {
            "ours": partial(compute_gae, values, packed, None, *discounts, segments),
            "loop": partial(packed_loop, values, packed, goes_on, *discounts),
            "torchrl": partial(torchrl_gae, values, packed, goes_on, *discounts),
        }
    return {
        "ours": partial(compute_gae, values, packed, mask, *discounts, segments),
        "loop": partial(packed_masked_loop, values, packed, mask.float(), goes_on, *discounts),
    }


def repeated(function: Callable[[], Any], times: int) -> Callable[[], Any]:
    def run() -> None:
        for _ in range(times):
            function()

    return run


def torchrl_fits(kind: str, batch: int, seq: int) -> bool:
    """Undiscounted it holds [seq, seq] numbers: gigabytes and minutes at the longer sizes."""
    return find_spec("torchrl") is not None and (kind != "undiscounted" or seq <= 512)


def measure(kind: str, size: tuple[int, int], turns: int) -> dict[str, Any]:
    """Seconds a call, and how many times longer the others take.

    Ours and torchrl run 50 times a turn, so that both have their data and code in the caches; the loop takes
    long enough for that. `ours once` is one call right after the loop, with its data in the caches.
    """
    functions = candidates(kind, problem(*size))
    if not torchrl_fits(kind, *size):
        functions.pop("torchrl", None)
    outputs = {name: function() for name, function in functions.items()}
    for output in outputs.values():
        torch.testing.assert_close(output, outputs["ours"], rtol=0, atol=1e-3)
    once = functions["ours"]
    warm = {name: repeated(function, CALLS) for name, function in functions.items() if name != "loop"}
    times = cpu_times({"loop": functions["loop"], "ours once": once} | warm, turns)
    for name in warm:
        times[name] = [seconds / CALLS for seconds in times[name]]
    return {
        "kind": kind,
        "size": list(size),
        "seconds": {name: summary(values) for name, values in times.items()},
        "times_longer": ratios(times, "ours"),
        "target": TARGETS[kind].get(size),
    }


def largest_error(kind: str, seq: int, gamma: float, lam: float) -> float:
    """Largest difference from the loop in float64, over the largest advantage; values uniform in [0, 1]."""
    x = problem(4, seq)
    exact = {name: value.double() for name, value in x.items()}
    values, rewards, packed = exact["values"], exact["rewards"], exact["rewards_packed"]
    if kind == "dense":
        actual = compute_gae(x["values"], x["rewards"], None, gamma, lam)
        expected = dense_loop(values, rewards, gamma, lam)
    elif kind == "gaps":
        actual = compute_gae(x["values"], x["rewards"], x["mask"], gamma, lam)
        expected = masked_loop(values, rewards, exact["mask"], gamma, lam)
    else:
        actual = compute_gae(x["values"], x["rewards_packed"], None, gamma, lam, x["segment_ids"])
        expected = packed_loop(values, packed, exact["goes_on"], gamma, lam)
    return float((actual - expected).abs().max() / expected.abs().max())


def growth(kind: str, lengths: list[int], turns: int) -> dict[str, Any]:
    """Median seconds of ours by length at batch 4, and the exponent of the growth from 4096 on."""
    runs = {str(seq): candidates(kind, problem(4, seq))["ours"] for seq in lengths}
    seconds = [summary(values)["median"] for values in cpu_times(runs, turns).values()]
    upper = [i for i, seq in enumerate(lengths) if seq >= 4096]
    slope = growth_slope([lengths[i] for i in upper], [seconds[i] for i in upper]) if len(upper) > 1 else None
    return {"kind": kind, "batch": 4, "seq": lengths, "seconds": seconds, "slope": slope}


def row(result: dict[str, Any]) -> str:
    cells = [f"{result['kind']:17s} {result['size']!s:11s}"]
    cells.append(f"{result['seconds']['ours']['median'] * 1e6:8.0f} us")
    cells.append(f"({result['seconds']['ours once']['median'] * 1e6:.0f} once)")
    for name in ("loop", "torchrl"):
        if name not in result["times_longer"]:
            continue
        ratio = result["times_longer"][name]
        low, high = ratio["quartiles"]
        needed = result["target"] if name == "loop" else TORCHRL_TARGET
        verdict = "" if needed is None else f" needed {needed}" + ("" if ratio["median"] >= needed else " MISSED")
        cells.append(f"{name} x {ratio['median']:.0f} [{low:.0f}, {high:.0f}]{verdict}")
    return "  ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, few turns, nothing written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    sizes, turns = ([(2, 64)], 2) if quick else (SIZES, 11)
    results = []
    for kind in TARGETS:
        for size in sizes:
            results.append(measure(kind, size, turns))
            print(row(results[-1]), flush=True)

    errors = []
    for kind in ("dense", "gaps", "packed"):
        for gamma, lam in DECAYS:
            error = max(largest_error(kind, seq, gamma, lam) for seq in ((64,) if quick else (512, 4096)))
            needed = 1e-6 if gamma * lam <= 0.95 else 5e-6 if gamma * lam == 1 else None
            errors.append({"kind": kind, "gamma": gamma, "lam": lam, "error": error, "target": needed})
            print(f"{kind:17s} gamma {gamma} lam {lam}: error {error:.1e} of max|A|", flush=True)

    lengths = [64, 128] if quick else [2**k for k in range(9, 16)]
    growths = [growth(kind, lengths, turns) for kind in ("dense", "gaps", "packed")]
    for result in growths:
        slope = "-" if result["slope"] is None else f"{result['slope']:.2f}"
        print(f"{result['kind']:17s} time grows as seq^{slope} from 4096 to 32768")
    if not quick:
        peers = {"torchrl": version("torchrl") if find_spec("torchrl") else None}
        path = write_results("scan", {"peers": peers, "times": results, "errors": errors, "growth": growths})
        print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
