"""Of the experiment's page: how its starts came about, what was chosen outside, and what a reader should know."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from research.drawing.markdown import Table
from research.on_policy.arms import AWAY, CANDIDATES, EQUAL_COMPUTE, FEW, FLOOR, GUIDED, MAIN, SKILL, START
from research.on_policy.results import BASELINE, Difference, Results, cells_named
from weighted_mtp.demo.arms import GATED, GENERATIVE, Arm
from weighted_mtp.reports.numbers import NOTHING, listing, percent, span

METRICS = {"greedy": "greedy", "sampled": "sampled at temperature 1"}
NAMES = {
    "arithmetic": "three sums and differences mod 100, with carries; a wrong step is carried on",
    "strings": "three operations on a word of six letters; a wrong letter is carried on",
    "states": "three balls followed through four swaps of boxes; a wrong box spoils one ball's way",
}
SHARES = (10, 25, 50)
"""Percent of right rows that a start was aimed at."""
FAR = 0.5
"""An aim is missed where the mean over draws lies further from it than this part of it."""


def shares_right(results: Results, task: str, share: int) -> list[float]:
    """Of the training rows of each draw within the experiment, as measured; `share` is what was aimed at."""
    return [cell["share_right"] for cell in cells_named(results, START, share, task=task) if "share_right" in cell]


def told_shares(results: Results, tasks: Sequence[str], share: int, where: str = "") -> str:
    """What the training rows of each task have right, by draw, what was aimed at and where that was missed; nothing
    where there is no start."""
    found = {task: some for task in tasks if (some := shares_right(results, task, share))}
    if not found:
        return ""
    told = f"Right, of the training rows{where}: {listing([f'{task} {span(some)} %' for task, some in found.items()])}"
    missed = _missed(found, share)
    far = f", which {listing(missed)} missed by more than half of that" if missed else ""
    return f"{told}; about {share} % was aimed at{far}."


def _missed(found: Mapping[str, Sequence[float]], share: int) -> list[str]:
    return [task for task, some in found.items() if abs(fmean(some) - share / 100) > FAR * share / 100]


def _outside(results: Results, tasks: Sequence[str], share: int) -> dict[str, dict[str, Any]]:
    """Starts of the draw outside, by task."""
    cells = [c for c in results["cells"] if c["name"] == START and c["seed"] >= 1_000 and c["share"] == share]
    return {c["task"]: c for task in tasks for c in cells if c["task"] == task and "share_right" in c}


def outside_shares(results: Results, tasks: Sequence[str], share: int = 25) -> str:
    """What is right of the training rows of the draw outside, by which steps and rates were chosen."""
    cells = _outside(results, tasks, share)
    named = listing([f"{task} {percent(cell['share_right'])} %" for task, cell in cells.items()]) if cells else ""
    return f"Right, of the training rows there: {named}." if named else ""


def why_missed(results: Results, tasks: Sequence[str], share: int = 25) -> str:
    """How the aim of tasks was missed that reached it on the draw outside; nothing where none was."""
    found = {task: some for task in tasks if (some := shares_right(results, task, share))}
    there = _outside(results, _missed(found, share), share)
    return " ".join(
        f"On {task} the aim is missed because it was set by one draw: stopped at "
        f"{percent(cell['budget']['start_share'])} % of the samples of {cell['budget']['validation_prompts']} "
        f"validation problems, the draw outside went on to {percent(cell['share_right'])} % while the rate went down, "
        f"those of the experiment to {span(found[task])} %."
        for task, cell in there.items()
    )


def starts(results: Results, tasks: Sequence[str]) -> Table:
    """What each start solves, and how it was made."""
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        for share in SHARES:
            cells = cells_named(results, START, share, task=task)
            if cells:
                of: Callable[[str], str] = lambda name, cells=cells: percents([cell[name] for cell in cells])  # noqa: E731
                steps = f"{min(c['start_steps'] for c in cells)} to {max(c['start_steps'] for c in cells)}"
                wrong = f"{fmean(cell['wrong_tokens_a_row'] for cell in cells):.2f}"
                known = (of(name) for name in ("share_right", "greedy", "sampled", "right_with_error"))
                rows.append((f"{task}, {share} %", steps, *known, wrong))
    return Table(
        (
            "Task and aim",
            "steps",
            "training rows right, %",
            "greedy, %",
            "sampled, %",
            "right with an error, %",
            "wrong tokens a sample",
        ),
        tuple(rows),
        "The start of each draw: mean, lowest to highest. It is trained on demonstrations at a constant rate until a "
        "share of samples of validation problems is right, fixed on a draw outside; then the rate goes down. "
        + why_missed(results, tasks),
    )


def percents(values: Sequence[float]) -> str:
    """The same in percent."""
    return f"{percent(fmean(values))} [{percent(min(values))}, {percent(max(values))}]"


def choices(
    results: Results,
    tasks: Sequence[str],
    arms: Sequence[Arm] = FEW,
    candidates: Sequence[tuple[int, float]] = CANDIDATES,
    share: int = 25,
) -> Table:
    """What the arms solve by steps and rate, on the draw outside."""
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        outside = {
            c["name"]: c for c in results["cells"] if c["seed"] >= 1_000 and c["task"] == task and c["share"] == share
        }
        for arm in arms:
            names = [f"{arm.name}_{steps}_{rate:g}" for steps, rate in candidates]
            if any(name in outside for name in names):
                told = [" / ".join(percent(outside[n][m]) if n in outside else NOTHING for m in METRICS) for n in names]
                rows.append((f"{task}, `{arm.name}`", *told))
    return Table(
        ("On the draw outside", *(f"{steps} steps, {rate:g}" for steps, rate in candidates)),
        tuple(rows),
        "Test problems solved, greedy / sampled, by steps and peak learning rate. Every arm of the experiment has "
        "those with which `right_only` solved most by greedy decoding; the other arms show what it does to them. "
        + outside_shares(results, tasks, share),
    )


def left_out(ran: Sequence[Arm]) -> list[str]:
    """Arms with one head of this experiment that another, of which these ran, has not."""
    names = {arm.name for arm in ran}
    return [f"`{arm.name}`" for arm in MAIN if arm.n_future == 1 and arm.name not in names]


def cpu_hours(results: Results) -> float:
    """What all cells took."""
    return sum(cell["cpu_seconds"] for cell in results["cells"]) / 3_600


def identities(results: Results, tasks: Sequence[str], share: int = 25) -> list[str]:
    """What is to be said of tasks on which the critic has no skill in any draw: nothing, where there are none."""
    skills = {task: [c["skill"]["gate"] for c in cells_named(results, SKILL, share, task=task)] for task in tasks}
    without = [task for task, gates in skills.items() if gates and not any(gates)]
    if not without:
        return []
    return [
        f"On {listing(without)} s is 0 in every draw: what is mixed by it is `{BASELINE}` itself there, and its "
        "difference of 0.0 is an identity, not a measured tie."
    ]


def notes(results: Results, tasks: Sequence[str], main: Mapping[str, Sequence[Difference]]) -> list[str]:
    """What a reader should know before believing the numbers; `main`: the main table's differences by metric."""
    used = {(c["task"], c["share"]): c["budget"] for c in results["cells"] if c["name"] == START and c["seed"] < 1_000}
    told = [f"{task}: {NAMES[task]}." for task in tasks]
    for (task, share), b in used.items():
        if share == 25:
            told.append(
                f"{task}: {b['prompts']:,} prompts with {b['samples']} samples each, {b['steps']} steps of "
                f"{b['batch_size']} rows at a peak rate of {b['learning_rate']:g}; {b['test_prompts']} test problems; "
                f"critics at most {b['critic_steps']} steps, stopped early by the outcome's AUC on held-out prompts."
            )
    equal = [c for arm in EQUAL_COMPUTE for c in cells_named(results, arm.name, 25)]
    more = [c for c in equal if "more_rows" in c]
    if more:
        told.append(
            f"`right_only_samples` and `right_only_steps` get the CPU seconds of the generative critic and its folds: "
            f"{fmean(c['more_rows'] for c in more):,.0f} more samples on average of the "
            f"{fmean(c['affordable_rows'] for c in more):,.0f} that would cost as much, since its steps read no more."
        )
    told += [
        f"`{GUIDED.name}` is the generative critic decoded by log p_right + (log p_right - log p_wrong); "
        f'`{GENERATIVE.name}` the same critic decoded under "right" without it.',
        "`surprisal` weighs a token by the whitened log-probability that the start gave it; `nft` has the start as its "
        f"reference; `w_reinforce` gives right samples a tenth of the weight, wrong ones -1; the signed oracle "
        f"gives wrong tokens {AWAY:g}. Both push down to a probability of {FLOOR:g}.",
        *_gated(main),
        *identities(results, tasks),
        "Arms of `mtp_` have three more heads, copies of the last layer that start with the arm, without warm-up; what "
        "is measured is head 0.",
        "A program judges the answer alone: a sample that went wrong and came back is right.",
        "Accuracies are of the same test problems for every arm of a draw; they are drawn anew with each, so that "
        "intervals over draws hold their part too.",
    ]
    return told


def _gated(main: Mapping[str, Sequence[Difference]]) -> list[str]:
    """How `gated` fared over all tasks, and what follows."""
    every = {m: d for m, found in main.items() for d in found if (d.arm, d.task) == (GATED.name, "all")}
    if not every:
        return []
    fared = "; ".join(f"{METRICS[metric]}, {_fared(d)}" for metric, d in every.items())
    return [
        f"`{GATED.name}` is told to mix by the measured skill. Against `{BASELINE}`, over all tasks, it is: {fared}. "
        "So by itself it is right_only on own samples of a model, which rows with `logprobs` are."
    ]


def _fared(d: Difference) -> str:
    if d.verdict in ("better", "worse"):
        return f"decidedly {d.verdict}"
    if d.verdict == "undecided" and d.interval.high is not None and d.interval.high < 0:
        return "worse (interval below 0), undecided after correction"
    return d.verdict
