"""The page of the experiment: tables made of its results, and sentences that follow from them by rule."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from research.drawing.markdown import Table, items, section, table_text
from research.on_policy.arms import AWAY, CANDIDATES, CRITICS, EQUAL_COMPUTE, FEW, FLOOR, GUIDED, MAIN, SKILL, START
from research.on_policy.results import BASELINE, ORACLE, Difference, Results, differences, over_problems, solved
from weighted_mtp.demo.arms import GENERATIVE
from weighted_mtp.reports.numbers import NOTHING, draws, interval, listing, number, percent, points

TITLE = "# On a model's own samples: where does token credit pay?"
COMMAND = """```bash
python -m research.on_policy --out on-policy --part main
```

The other parts are `shares` and `rounds`; `python -m research.on_policy.docs_page on-policy` makes this page of what is
there."""
METRICS = {"greedy": "greedy", "sampled": "sampled at temperature 1"}
NAMES = {
    "arithmetic": "three sums and differences mod 100, with carries; a wrong step is carried on",
    "strings": "three operations on a word of six letters; a wrong letter is carried on",
    "states": "three balls followed through four swaps of boxes; a wrong box spoils one ball's way",
}


def page(results: Results) -> str:
    """The text; a section whose cells did not run is left out."""
    tasks = list(dict.fromkeys(cell["task"] for cell in results["cells"]))
    tasks = [task for task in NAMES if task in tasks]
    arms = [arm.name for arm in (*MAIN, GENERATIVE)]
    main = {metric: differences(results, metric, [a for a in arms if a != BASELINE], tasks) for metric in METRICS}
    parts = [
        TITLE,
        "<!-- written by research/on_policy/report.py from results/on-policy.json: change that, or the results -->",
        _lead(results, tasks, main["greedy"]),
        COMMAND,
        *section("How much any credit could win", table_text(_oracle_table(results, tasks))),
        *section("Every arm, about a quarter right", *(table_text(_arms(results, tasks, m, main[m])) for m in METRICS)),
        *section("What the critics know", table_text(_critics(results, tasks)), table_text(_gate(results, tasks))),
        *section("Fewer and more right", *(table_text(_few(results, tasks, m)) for m in METRICS)),
        *section("Three rounds", *(table_text(_rounds(results, tasks, m)) for m in METRICS)),
        *section("The starts", table_text(_starts(results, tasks))),
        *section("What was chosen on a draw outside", table_text(_choices(results, tasks))),
        *section("Worth knowing", items(_notes(results, tasks))),
        *section("How this was made", items([f"{name}: {value}" for name, value in results["meta"].items()])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _lead(results: Results, tasks: Sequence[str], greedy: Sequence[Difference]) -> str:
    seeds = {c["seed"] for c in _some(results, BASELINE, 25)}
    if not seeds:
        return "No draw has been made yet: what follows was made on a draw outside, to choose steps and rates."
    told = [
        f"Models of 0.6 M parameters that learned {len(tasks)} text tasks from scratch until about a quarter of their "
        f"samples were right, their own samples judged by a program, one round, {draws(len(seeds))}: data, "
        "initialisation and order are drawn anew in each. Differences are to training on the right samples alone "
        f"(`{BASELINE}`), paired by draw; {len(greedy)} comparisons, corrected by Holm, and what that does not decide "
        "is called undecided."
    ]
    for verdict in ("better", "worse"):
        named = [
            f"`{d.arm}` on {d.task if d.task != 'all' else 'all tasks together'}"
            for d in greedy
            if d.verdict == verdict
        ]
        if named:
            told.append(f"Decidedly {verdict} by greedy decoding: {listing(named)}.")
    if greedy and not any(d.verdict != "undecided" for d in greedy):
        told.append("By greedy decoding no arm is decidedly better or worse.")
    return " ".join(told)


def _some(results: Results, name: str, share: int, round_: int = 1, task: str | None = None) -> list[dict[str, Any]]:
    """Cells of that name, of draws within the experiment."""
    return [
        cell
        for cell in results["cells"]
        if (cell["name"], cell["share"], cell["round"]) == (name, share, round_)
        and cell["seed"] < 1_000
        and task in (None, cell["task"])
    ]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def said(difference: Difference) -> str:
    """Points, with their interval where there is one."""
    low_high = interval(difference.interval.low, difference.interval.high)
    return (
        f"{points(difference.interval.mean)} ({low_high})" if difference.draws > 1 else points(difference.interval.mean)
    )


def _oracle_table(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for metric, name in METRICS.items():
        for d in differences(results, metric, [ORACLE, "signed_oracle"], tasks):
            told = (said(d), str(d.draws), number(d.adjusted), d.verdict)
            rows.append((f"`{d.arm}`, {d.task}, {name}", *told))
    return Table(
        ("Oracle minus right_only", "Points (95 %)", "Draws", "p, Holm", "Verdict"),
        tuple(rows),
        "The oracle drops the truly wrong tokens, the signed one gives them a negative weight: their lead over "
        "training on right samples is what perfect knowledge of the wrong tokens is worth here. Holm's correction is "
        "by metric.",
    )


def _arms(results: Results, tasks: Sequence[str], metric: str, found: Sequence[Difference]) -> Table:
    by = {(d.arm, d.task): d for d in found}
    rows: list[tuple[str, ...]] = []
    for arm in (*MAIN, GENERATIVE):
        cells: list[str] = []
        for task in tasks:
            mean = _mean(list(solved(results, metric, task=task, arm=arm.name).values()))
            d = by.get((arm.name, task))
            cells += [percent(mean), NOTHING if d is None else f"{said(d)} {mark(d)}".strip()]
        every = by.get((arm.name, "all"))
        seconds = [c["cpu_seconds"] for task in tasks for c in _some(results, arm.name, 25, task=task)]
        if any(cell != NOTHING for cell in cells):
            whole = NOTHING if every is None else f"{said(every)} {mark(every)}".strip()
            made = "/".join(str(len(_some(results, arm.name, 25, task=task))) for task in tasks)
            both = over_problems(results, metric, arm.name, tasks) if every else None
            wide = NOTHING if both is None else interval(both.low, both.high)
            rows.append((f"`{arm.name}`", *cells, whole, wide, made, f"{fmean(seconds):.0f}"))
    headings = [h for task in tasks for h in (f"{task}, %", "difference")]
    return Table(
        ("Arm", *headings, "all tasks", "by bootstrap", "draws", "CPU s"),
        tuple(rows),
        f"Test problems solved, {METRICS[metric]}, mean over draws; difference to `{BASELINE}` in points "
        "with its 95 % interval, marked + or - where Holm's correction decides it; by bootstrap: over draws, then "
        "problems. CPU seconds are the arm's own.",
    )


def mark(difference: Difference) -> str:
    """What the table shows of a verdict."""
    return {"better": "**+**", "worse": "**-**"}.get(difference.verdict, "")


def _critics(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for critic in CRITICS:
        for task in tasks:
            cells = _some(results, critic.name, 25, task=task)
            if cells:
                skills = [cell["fresh_skill"] for cell in cells]
                none = sum("knows nothing" in skill["verdict"] for skill in skills)
                rows.append(
                    (
                        f"`{critic.name}`, {task}",
                        *(spread([skill[what]["mean"] for skill in skills]) for what in ("auc", "explained")),
                        spread([cell["localisation"]["auc"] for cell in cells]),
                        f"{none} of {len(cells)}",
                        f"{fmean(cell['train_cpu_seconds'] for cell in cells):.0f}",
                    )
                )
    return Table(
        ("Critic", "AUC within prompts", "explained", "finds wrong tokens, AUC", "knows nothing", "CPU s"),
        tuple(rows),
        "On samples of the test problems, which no critic was trained on: mean over draws, lowest to highest.",
    )


def _gate(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        cells = _some(results, SKILL, 25, task=task)
        if cells:
            skills = [cell["skill"] for cell in cells]
            auc, s = (spread(values) for values in ([k["auc"]["mean"] for k in skills], [k["gate"] for k in skills]))
            none = sum("knows nothing" in skill["verdict"] for skill in skills)
            rows.append((task, auc, s, f"{none} of {len(cells)}", f"{fmean(c['cpu_seconds'] for c in cells):.0f}"))
    return Table(
        ("Task", "AUC within prompts", "s", "knows nothing", "CPU s"),
        tuple(rows),
        "The generative critic by folds of the training prompts, as `wmtp score --cross_fit` measures it; s is what "
        "`gated` mixes by.",
    )


def spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    return f"{fmean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def _few(results: Results, tasks: Sequence[str], metric: str) -> Table:
    shares = [share for share in (10, 50) if _some(results, BASELINE, share)]
    return _by_arm(results, tasks, metric, [(f"{s} %", {"share": s}) for s in shares])


def _rounds(results: Results, tasks: Sequence[str], metric: str) -> Table:
    rounds = [n for n in (1, 2, 3) if n == 1 or _some(results, BASELINE, 25, n)]
    return _by_arm(results, tasks, metric, [(f"round {n}", {"round_": n}) for n in rounds] if len(rounds) > 1 else [])


def _by_arm(
    results: Results, tasks: Sequence[str], metric: str, columns: Sequence[tuple[str, dict[str, Any]]]
) -> Table:
    named = {
        heading: {
            (d.arm, d.task): d
            for d in differences(results, metric, [a.name for a in FEW[:1] + FEW[2:]], tasks, **where)
        }
        for heading, where in columns
    }
    rows: list[tuple[str, ...]] = []
    for task in tasks if columns else ():
        for arm in FEW:
            cells: list[str] = []
            for heading, where in columns:
                mean = _mean(list(solved(results, metric, task=task, arm=arm.name, **where).values()))
                d = named[heading].get((arm.name, task))
                cells += [percent(mean), NOTHING if d is None else f"{said(d)} {mark(d)}".strip()]
            rows.append((f"{task}, `{arm.name}`", *cells))
    return Table(
        ("Task and arm", *(h for heading, _ in columns for h in (f"{heading}, %", "difference"))),
        tuple(rows),
        f"Test problems solved, {METRICS[metric]}; differences to `{BASELINE}` of the same draws, Holm by column pair.",
    )


def _starts(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        for share in (10, 25, 50):
            cells = _some(results, START, share, task=task)
            if cells:
                of: Callable[[str], str] = lambda name, cells=cells: percents([cell[name] for cell in cells])  # noqa: E731
                steps = f"{min(c['start_steps'] for c in cells)} to {max(c['start_steps'] for c in cells)}"
                wrong = f"{fmean(cell['wrong_tokens_a_row'] for cell in cells):.2f}"
                rows.append((f"{task}, {share} %", steps, of("greedy"), of("sampled"), of("right_with_error"), wrong))
    return Table(
        ("Task", "steps", "greedy, %", "sampled, %", "right with an error, %", "wrong tokens a sample"),
        tuple(rows),
        "The start of each draw: mean, lowest to highest. It is trained on demonstrations at a constant rate until a "
        "share of samples of validation problems is right, fixed on a draw outside; then the rate goes down.",
    )


def percents(values: Sequence[float]) -> str:
    """The same in percent."""
    return f"{percent(fmean(values))} [{percent(min(values))}, {percent(max(values))}]"


def _choices(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        outside = {
            c["name"]: c for c in results["cells"] if c["seed"] >= 1_000 and c["task"] == task and c["share"] == 25
        }
        for arm in FEW:
            names = [f"{arm.name}_{steps}_{rate:g}" for steps, rate in CANDIDATES]
            if any(name in outside for name in names):
                told = [" / ".join(percent(outside[n][m]) if n in outside else NOTHING for m in METRICS) for n in names]
                rows.append((f"{task}, `{arm.name}`", *told))
    return Table(
        ("On the draw outside", *(f"{steps} steps, {rate:g}" for steps, rate in CANDIDATES)),
        tuple(rows),
        "Test problems solved, greedy / sampled, by steps and peak learning rate. Every arm of the experiment has "
        "those with which `right_only` solved most by greedy decoding; the other arms show what it does to them.",
    )


def _notes(results: Results, tasks: Sequence[str]) -> list[str]:
    used = {(c["task"], c["share"]): c["budget"] for c in results["cells"] if c["name"] == START and c["seed"] < 1_000}
    told = [f"{task}: {NAMES[task]}." for task in tasks]
    for (task, share), b in used.items():
        if share == 25:
            told.append(
                f"{task}: {b['prompts']:,} prompts with {b['samples']} samples each, {b['steps']} steps of "
                f"{b['batch_size']} rows at a peak rate of {b['learning_rate']:g}; {b['test_prompts']} test problems; "
                f"critics at most {b['critic_steps']} steps, stopped early by the outcome's AUC on held-out prompts."
            )
    equal = [c for arm in EQUAL_COMPUTE for c in _some(results, arm.name, 25)]
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
        f"reference; the signed oracle gives wrong tokens {AWAY:g} down to a probability of {FLOOR:g}.",
        "A program judges the answer alone: a sample that went wrong and came back is right.",
        "Accuracies are of the same test problems for every arm of a draw; they are drawn anew with each, so that "
        "intervals over draws hold their part too.",
    ]
    return told
