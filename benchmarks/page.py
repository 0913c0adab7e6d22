"""Write docs/benchmarks.md, its pictures and the READMEs' table from benchmarks/results: no number typed by hand.

python -m benchmarks.page
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures, headline
from benchmarks.convert import BEYOND_LARGEST
from benchmarks.harness import read_results
from benchmarks.loss import MEMORY_BOUNDS, TIME_BOUNDS
from benchmarks.scan import TORCHRL_TARGET
from benchmarks.steps import tokens_per_second
from benchmarks.verify import WANTED_PER_SECOND

DOCS = Path(__file__).parents[1] / "docs"
Results = list[dict[str, Any]]

INTRODUCTION = """\
# Benchmarks

<!-- written by benchmarks/page.py: change that, or the results -->

Every number here comes from one command, which installs the peers, measures for about an hour and a half and
writes this page:

```bash
make bench
```

Time is CPU time of one thread; whatever is compared takes turns in one process, and a ratio is the median of the
ratios within the turns, with its quartiles. Memory is resident memory at its peak above the inputs (above the
loaded model for training steps), in a fresh process. The machines are shared virtual ones. What was wanted is
named beside each figure, and *missed* where it was missed. What was tried and did not help is in the
[performance notes](performance-notes.md); the raw results, with commit, date and versions, are in
[benchmarks/results](../benchmarks/results).
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def machine(results: dict[str, Any]) -> str:
    """One line of provenance."""
    e = results["environment"]
    peers = "".join(f", {name} {v}" for name, v in results.get("peers", {}).items() if v)
    units = f" ({', '.join(e['matrix_units'])})" if e["matrix_units"] and not e["gpu"] else ""
    changed = f" with {e['changed_files']} files changed" if e["changed_files"] else ""
    return (
        f"{e['gpu'] or e['processor']}{units}; {e['date'][:10]}, commit {e['commit'][:7]}{changed}; "
        f"Python {e['python']}, torch {e['torch']}{peers}."
    )


def spread(ratio: dict[str, Any], digits: int = 2) -> str:
    low, high = ratio["quartiles"]
    return f"{ratio['median']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def at_most(value: float, bound: float | None, digits: int = 2) -> str:
    if bound is None:
        return ""
    return f"≤ {bound:.{digits}f}" + (" *missed*" if round(value, digits) > bound else "")


def at_least(value: float, bound: float | None) -> str:
    if bound is None:
        return ""
    return f"≥ {bound}" + (" *missed*" if value < bound else "")


NAMES = {
    "ours": "all weights nonzero",
    "ours_60_percent": "60 % of the weights nonzero",
    "rho1_60_percent": "60 % kept, chosen by this forward's own loss (Rho-1)",
}


def loss_section(results: Results) -> str:
    text = """\
## The loss

`weighted_mtp_loss` against logits `[batch, seq, n_future, vocab]`, `cross_entropy(reduction="none")` and a product
with the weights; forward and backward; naive = 1.

![Time and memory of the loss, as a share of the naive one](images/bench-loss.svg)
"""
    for one in results:
        rows = [row for entry in one["against_naive"] for row in _loss_rows(entry, one["environment"])]
        header = ("tokens x heads, width, vocabulary", "dtype", "weights", "time", "wanted", "memory", "wanted")
        text += f"\n{machine(one)}\n\n{table(header, rows)}"
    return text


def _loss_rows(entry: dict[str, Any], environment: dict[str, Any]) -> list[list[str]]:
    size, dtype = entry["size"], entry["dtype"]
    shape = f"{size['batch'] * size['seq']} x {size['n_future']}, {size['dim']}, {size['vocab']}"
    bounded = dtype == "float32" or "amx_bf16" in environment["matrix_units"]
    rows = []
    for name, memory in entry["memory"]["ratio"].items():
        time = entry.get("time", {}).get("ratio", {}).get(name)
        bound = TIME_BOUNDS[dtype][name] if bounded else None
        memory_bound = MEMORY_BOUNDS.get((size["vocab"], dtype))
        rows.append(
            [shape, dtype, NAMES[name]]
            + ([spread(time), at_most(time["median"], bound)] if time else ["", ""])
            + [f"{memory:.3f}", at_most(memory, memory_bound)]
        )
    return rows


def growth_section(results: Results) -> str:
    text = """\
## Growth

Time and memory of our loss (float32) along one axis at a time, on doubly logarithmic axes; time of `compute_gae`
along the row. The exponent p of size^p is in the legends: 1 is linear. Memory beyond the gradients is one chunk
of logits, so it hardly grows with the rows.

![Cost of the loss against length, heads, vocabulary and batch](images/bench-growth.svg)

![Time of compute_gae against length](images/bench-scan-growth.svg)
"""
    header = ("axis", "from", "to", "time ~ n^", "memory ~ n^", "seconds at the largest")
    for one in results:
        rows = [
            [
                axis,
                str(g[axis][0]),
                str(g[axis][-1]),
                f"{g['time_exponent']:.2f}",
                f"{g['memory_exponent']:.2f}",
                f"{g['seconds'][-1]['median']:.2f}",
            ]
            for axis, g in one["growth"].items()
        ]
        text += f"\n{machine(one)}\n\n{table(header, rows)}"
    return text


def scan_section(results: Results) -> str:
    text = """\
## Reverse scan

All of `compute_gae`, from values and rewards to advantages, against a Python loop over time (the form that TRL and
verl use) and torchrl's vectorised version: how many times longer they take. Ours and torchrl are called 50 times a
turn; "once" is one call of ours with its data and code out of the caches. torchrl knows no gaps and is quadratic
where nothing is discounted.

![How many times longer a loop and torchrl take](images/bench-scan.svg)
"""
    header = ("rows", "batch x length", "ours, µs", "once, µs", "loop", "wanted", "torchrl", "wanted")
    for one in results:
        rows = [_scan_row(entry) for entry in one["times"]]
        errors = ", ".join(
            f"{e['kind']} {e['gamma']:g} · {e['lam']:g}: {e['error']:.0e}" for e in one["errors"] if e["target"]
        )
        text += f"\n{machine(one)}\n\n{table(header, rows)}"
        text += f"\nLargest error against a float64 loop, over max |A|, by rows and gamma · lam: {errors}.\n"
    return text


def _scan_row(entry: dict[str, Any]) -> list[str]:
    microseconds = [f"{entry['seconds'][name]['median'] * 1e6:.0f}" for name in ("ours", "ours once")]
    cells = [entry["kind"], "{} x {}".format(*entry["size"]), *microseconds]
    for peer, bound, digits in (("loop", entry["target"], 0), ("torchrl", TORCHRL_TARGET, 1)):
        longer = entry["times_longer"].get(peer)
        cells += [spread(longer, digits), at_least(longer["median"], bound)] if longer else ["", ""]
    return cells


def steps_section(results: Results) -> str:
    text = """\
## Training steps

Whole optimizer steps of SmolLM2-135M (data, forward, weights, loss, backward, clipping, AdamW, logging) on 8 rows
of 256 tokens, all but a short prompt trained; bfloat16 is autocast over float32 parameters. Stage 2 has a value
head on the shared trunk, TD errors whitened by running statistics, and a value loss; the pre-scored run reads
weights from its rows. TRL's SFTTrainer (loss `nll`) has the same rows, optimizer, schedule and clipping; MLflow
runs in our arms only.

![Tokens per second and peak memory of every arm](images/bench-steps.svg)
"""
    for one in results:
        header = (one["dtype"], "seconds a step", "tokens a second", "peak memory, GB")
        rows = [
            [arm, spread(s), f"{tokens_per_second(one, arm):.0f}", f"{one['bytes'][arm] / 1e9:.2f}"]
            for arm, s in one["seconds"].items()
        ]
        text += f"\n{machine(one)}\n\n{table(header, rows)}\n"
        rows = [
            [f"{r['arm']} / {r['over']}", spread(r["ratio"], 3), at_most(r["ratio"]["median"], r["bound"])]
            for r in one["ratios"]
        ]
        text += table(("time", "ratio", "wanted"), rows) + "\n" + arithmetic(one["operations"])
    return text


def arithmetic(operations: dict[str, Any]) -> str:
    layers, extra, unembedding = (operations[name] / 1e6 for name in ("layers", "extra_layers", "unembedding"))
    return (
        f"What four heads should cost, by parameters in matmuls (million): "
        f"({layers:.1f} + {extra:.1f} + 4 · {unembedding:.1f}) / ({layers:.1f} + {unembedding:.1f}) = "
        f"{operations['ratio']:.2f} times one head; wanted is at most 1.10 times that.\n"
    )


def packing_section(results: Results) -> str:
    text = """\
## Packing

Whole optimizer steps of SmolLM2-135M on questions and answers of mixed lengths: some at random, padded to the longest
of them, or packed into sequences. Tokens are those of the rows, without padding; each step's time is divided by its
own. TRL's SFTTrainer packs by its own best fit, with the attention that transformers picks on a CPU; so do our padded
rows. Packed rows attend one by one since 30 November 2026; what is dated before was measured with a mask over the
sequence, and is to be measured anew. The unembedding leaves padding out, packed or not, and optimizer, clipping and
casts of the weights (by a profile about .65 s of CPU time, a seventh of a packed step of 8 rows) do not grow with the
rows: packing saves of the rest what positions a token says, and half of attention.
"""
    for one in results:
        about = one["groups"][0]["rows"]
        rows = f"{about['count']} rows of {about['file'] or 'the standard library'}"
        text += f"\n{machine(one)} {rows}, {about['mean_tokens']:.0f} tokens each on average; {one['dtype']}.\n\n"
        rates, gains = list[list[str]](), list[list[str]]()
        for group in one["groups"]:
            shape = group["shape"]
            batch = f"{shape['rows']} rows or {shape['packs']} sequences of {shape['pack_length']}"
            batch += ", checkpointed" * shape.get("checkpointed", False)
            rates += [
                [
                    batch,
                    arm,
                    spread(rate, 0),
                    f"{group['tokens'][arm]['median']:.0f}",
                    f"{group['positions_per_token'][arm]:.2f}" if "positions_per_token" in group else "",
                ]
                for arm, rate in group["tokens_per_second"].items()
            ]
            gains += [
                [
                    batch,
                    f"{gain['arm']} / {gain['over']}",
                    spread(gain["ratio"]),
                    spread(gain["wall_ratio"]) if "wall_ratio" in gain else "",
                    at_least(gain["ratio"]["median"], gain["bound"]),
                ]
                for gain in group["gain"]
            ]
        text += table(("a step", "arm", "tokens a second", "tokens a step", "positions a token"), rates) + "\n"
        text += table(("a step", "tokens a second", "by CPU time", "by the wall", "wanted"), gains)
    return text


def decoding_section(results: Results) -> str:
    text = """\
## Decoding

Samples of SmolLM2-135M in chats, CPU time on one thread, tokens as they are drawn. Plain: `generate` of transformers on
batches of 16 in order, each until its longest row has ended, nuclei by sorting all tokens, as `wmtp evaluate` did until
29 November 2026. Ours, as in `wmtp sample`: batches of 64, equal prompts are read once, rows that have ended leave,
and a nucleus is sought among the likeliest tokens.
"""
    for one in results:
        asked = f"{one['samples']} samples of {one['prompts']} prompts of {one['problems'] or 'the standard library'}"
        text += f"\n{machine(one)} {asked}, at most {one['max_new_tokens']} tokens each.\n\n"
        rows = [[name, spread(rate, 1), str(one["tokens"][name])] for name, rate in one["tokens_per_second"].items()]
        text += table(("arm", "tokens a second", "tokens"), rows)
        gain = one["gain"]
        text += f"\nOurs over plain: {spread(gain)}, wanted {at_least(gain['median'], one['wanted'])}.\n"
    return text


def drafts_section(results: Results) -> str:
    text = """\
## Drafts

Greedy decoding with [drafts of the extra heads](serving.md#drafts-what-extra-heads-are-for-when-training-is-done) (four
heads in all) and without them, `generate` both, CPU time on one thread, float32, turns in one process. Held: the share
of each head's guesses that were taken.
"""
    header = (
        "model",
        "batch",
        "tokens a forward",
        "wanted",
        "held, by head",
        "tokens a second",
        "without",
        "ratio",
        "wanted",
    )
    for one in results:
        wanted, rows = one["wanted"], list[list[str]]()
        for name, said in (("made", "worked chains, 12 blocks"), ("trained", one["about"])):
            for entry in one.get(name, ()):
                rates = [f"{entry['tokens_per_second'][arm]['median']:.1f}" for arm in ("drafts", "plain")]
                gain, forward = entry["gain"], entry["tokens_per_forward"]
                held = ", ".join(f"{100 * share:.0f}" for share in entry["acceptance"])
                size = f"{entry['batch']}, at most {entry['max_new_tokens']} tokens"
                row = [said, size, f"{forward:.2f}", at_least(forward, wanted["tokens_per_forward"])]
                rows.append([*row, f"{held} %", *rates, spread(gain), at_least(gain["median"], wanted["gain"])])
        text += f"\n{machine(one)}\n\n{table(header, rows)}"
    return text


def verify_section(results: Results) -> str:
    text = """\
## Verifying Python

`wmtp data verify --verifier python-tests` on a short completion with three assertions: completions checked in a
second of wall time, each candidate in a fresh sandbox, its tests in a fork of a kept process.
"""
    for one in results:
        rows = [
            [str(rate["workers"]), spread(rate["per_second"], 1), at_least(rate["per_second"]["median"], bound)]
            for rate in one["rates"]
            for bound in [WANTED_PER_SECOND if rate["workers"] == 2 else None]
        ]
        text += f"\n{machine(one)}\n\n{table(('at a time', 'checks a second', 'wanted'), rows)}"
    return text


def convert_section(results: Results) -> str:
    text = """\
## Converting Meta's checkpoints

`wmtp convert` on a made float32 checkpoint with the widths of a 7B model and six blocks. Memory is the peak of the
whole process, interpreter, torch and mapped pages of files included; wanted is at most the largest tensor and 2 GB.
"""
    for one in results:
        largest = one["largest_tensor_bytes"] / 1e9
        rows = []
        for name, run in one["runs"].items():
            peak = run["peak_bytes"] / 1e9
            rows.append(
                [f"`{name}`", f"{peak:.2f}", at_most(peak, largest + BEYOND_LARGEST / 1e9), f"{run['seconds']:.0f}"]
            )
        text += f"\n{machine(one)}\n\n{table(('conversion', 'peak, GB', 'wanted', 'CPU seconds'), rows)}"
        text += f"\nThe checkpoint has {one['checkpoint_bytes'] / 1e9:.1f} GB, its largest tensor {largest:.2f} GB.\n"
    return text


def gpu_section(results: Results) -> str:
    if not results:
        return (
            "## GPU\n\nNo GPU could be had so far, so nothing is measured and nothing is claimed: the CUDA lengths of "
            "chunks and tiles and the matmuls that add to float32 never ran, neither did the tests marked `gpu`. "
            "Where there is one, `make bench` with `EXTRAS=bench,bench-gpu` measures it against Liger Kernel and Cut "
            "Cross-Entropy.\n"
        )
    text = "## GPU\n"
    header = ("rows, width, vocabulary", "loss", "time", "memory, GB", "memory / naive")
    for one in results:
        rows = [
            [
                ", ".join(map(str, entry["size"].values())),
                name,
                spread(entry["time_ratio"][name]),
                f"{size / 1e9:.2f}",
                f"{size / entry['bytes']['naive']:.3f}",
            ]
            for entry in one["against_naive"]
            for name, size in entry["bytes"].items()
        ]
        text += f"\n{machine(one)}\n\n{table(header, rows)}"
    return text


def page() -> str:
    """The whole page."""
    sections: list[tuple[Callable[[Results], str], str]] = [
        (loss_section, "loss"),
        (steps_section, "steps"),
        (packing_section, "packing"),
        (scan_section, "scan"),
        (growth_section, "loss"),
        (decoding_section, "decoding"),
        (drafts_section, "drafts"),
        (verify_section, "verify"),
        (convert_section, "convert"),
        (gpu_section, "gpu"),
    ]
    return "\n".join([INTRODUCTION, *(section(read_results(name)) for section, name in sections)])


def main() -> None:
    for path in figures.draw_all(DOCS / "images"):
        print(path.name)
    (DOCS / "benchmarks.md").write_text(page(), encoding="utf-8")
    print("benchmarks.md", *(path.name for path in headline.write_all()))


if __name__ == "__main__":
    main()
