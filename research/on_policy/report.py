"""The page of the experiment: tables made of its results, and sentences that follow from them by rule."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from research.drawing.markdown import Table, items, section, table_text
from research.drawing.pictures import Picture, shown
from research.on_policy.arms import COMPARED, CRITICS, FEW, MAIN, SKILL
from research.on_policy.picture import arms_picture
from research.on_policy.results import (
    BASELINE,
    Difference,
    Results,
    aucs_within,
    cells_named,
    differences,
    over_problems,
    solved,
)
from research.on_policy.settings_tables import (
    METRICS,
    NAMES,
    choices,
    notes,
    outside_shares,
    shares_right,
    starts,
    told_shares,
)
from research.on_policy.weight_tables import (
    BLAME,
    again_table,
    change_point_table,
    drawn_table,
    gates_table,
    oracle_table,
    quarters_table,
    said,
)
from weighted_mtp.demo.arms import GENERATIVE
from weighted_mtp.reports.numbers import NOTHING, draws, interval, listing, percent, span

TITLE = "# On a model's own samples: where does token credit pay?"
HOW = {"greedy": "by greedy decoding", "sampled": "sampled at temperature 1"}
COMMAND = """```bash
python -m research.on_policy --out on-policy --part main
```

The other parts are `shares`, `rounds`, `rates`, `drawn`, `blame` and `quarters`;
`python -m research.on_policy.docs_page on-policy AGAIN` makes this page of what is there, AGAIN being an output folder
of the same draws with critics of today."""


def pictures(results: Results) -> dict[str, Picture]:
    """The picture of all arms, where there is a draw."""
    tasks = [task for task in NAMES if any(cell["task"] == task for cell in results["cells"])]
    found = differences(results, "greedy", COMPARED, tasks)
    return {"arms": arms_picture(found)} if found else {}


def page(results: Results) -> str:
    """The text; a section whose cells did not run is left out."""
    drawn = shown(pictures(results), {"arms": "images/on-policy-arms.svg"})
    tasks = list(dict.fromkeys(cell["task"] for cell in results["cells"]))
    tasks = [task for task in NAMES if task in tasks]
    main = {metric: differences(results, metric, COMPARED, tasks) for metric in METRICS}
    parts = [
        TITLE,
        "<!-- written by research/on_policy/report.py from results/on-policy.json: change that, or the results -->",
        _lead(results, tasks, main),
        COMMAND,
        *section("How much any credit could win", table_text(oracle_table(main))),
        *section(
            _every_arm(results, tasks),
            told_shares(results, tasks, 25),
            drawn.get("arms"),
            *(table_text(arms_table(results, tasks, m, main[m])) for m in METRICS),
        ),
        *section(
            "What the critics know", table_text(critics_table(results, tasks)), table_text(gate_table(results, tasks))
        ),
        *section(
            "Fewer and more right", _aims(results, tasks), *(table_text(_few(results, tasks, m)) for m in METRICS)
        ),
        *section("Three rounds", *(table_text(_rounds(results, tasks, m)) for m in METRICS)),
        *section("Rows drawn by their weight", table_text(drawn_table(results, tasks))),
        *section(
            "A gate by row, and by quarter",
            *(table_text(table(results, tasks)) for table in (gates_table, quarters_table)),
        ),
        *section("Which token is to blame", _blame(results, tasks), table_text(change_point_table(results, tasks))),
        *section("With critics kept by another rule", table_text(again_table(results, tasks))),
        *section("The starts", table_text(starts(results, tasks))),
        *section("What was chosen on a draw outside", table_text(choices(results, tasks))),
        *section("Worth knowing", items(notes(results, tasks, main))),
        *section("How this was made", items([f"{name}: {value}" for name, value in results["meta"].items()])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _every_arm(results: Results, tasks: Sequence[str]) -> str:
    known = [share for task in tasks for share in shares_right(results, task, 25)]
    return f"Every arm, from starts with {span(known)} % right" if known else "Every arm"


def _aims(results: Results, tasks: Sequence[str]) -> str:
    some = [share for share in (10, 50) if cells_named(results, BASELINE, share)]
    return " ".join(told_shares(results, tasks, share, f" of the columns of {share} %") for share in some)


def _lead(results: Results, tasks: Sequence[str], main: Mapping[str, Sequence[Difference]]) -> str:
    seeds = {c["seed"] for c in cells_named(results, BASELINE, 25)}
    if not seeds:
        return "No draw has been made yet: what follows was made on a draw outside, to choose steps and rates."
    told = [
        f"Models of 0.6 M parameters that learned {len(tasks)} text tasks from scratch until some of their samples "
        f"were right, their own samples judged by a program, one round, {draws(len(seeds))}: data, initialisation and "
        f"order are drawn anew in each. {told_shares(results, tasks, 25)} Steps and learning rate were chosen on a "
        f"draw outside. {outside_shares(results, tasks)} Differences are to training on the right samples alone "
        f"(`{BASELINE}`), paired by draw; {len(main['greedy'])} comparisons by each way of decoding, corrected by "
        "Holm, and what that does not decide is a tie where its interval lies within 5 points, else undecided."
    ]
    return " ".join(told + [sentence for metric, found in main.items() for sentence in decided(found, HOW[metric])])


def decided(found: Sequence[Difference], decoded: str = HOW["greedy"]) -> list[str]:
    """Which arms are better or worse than the baseline, in sentences."""
    told: list[str] = []
    for verdict in ("better", "worse"):
        tasks: dict[str, list[str]] = {}
        for d in found:
            if d.verdict == verdict:
                tasks.setdefault(d.arm, []).append(d.task if d.task != "all" else "all tasks together")
        arms: dict[str, list[str]] = {}
        for arm, some in tasks.items():
            arms.setdefault(listing(some), []).append(f"`{arm}`")
        if arms:
            told.append(f"Decidedly {verdict} {decoded}: {'; '.join(f'{listing(a)} on {t}' for t, a in arms.items())}.")
    if found and not told:
        told.append(f"{decoded.capitalize()} no arm is decidedly better or worse.")
    return told


def _blame(results: Results, tasks: Sequence[str]) -> str:
    found = {metric: differences(results, metric, BLAME, tasks) for metric in METRICS}
    return " ".join(sentence for metric, some in found.items() for sentence in decided(some, HOW[metric]))


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def arms_table(
    results: Results,
    tasks: Sequence[str],
    metric: str,
    found: Sequence[Difference],
    arms: Sequence[str] = tuple(arm.name for arm in (*MAIN, GENERATIVE)),
    share: int = 25,
) -> Table:
    """What every arm solves, and its differences to the baseline."""
    by = {(d.arm, d.task): d for d in found}
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        cells: list[str] = []
        for task in tasks:
            mean = _mean(list(solved(results, metric, task=task, arm=arm, share=share).values()))
            d = by.get((arm, task))
            cells += [percent(mean), NOTHING if d is None else f"{said(d)} {mark(d)}".strip()]
        every = by.get((arm, "all"))
        seconds = [c["cpu_seconds"] for task in tasks for c in cells_named(results, arm, share, task=task)]
        if any(cell != NOTHING for cell in cells):
            whole = NOTHING if every is None else f"{said(every)} {mark(every)}".strip()
            made = "/".join(str(len(cells_named(results, arm, share, task=task))) for task in tasks)
            both = over_problems(results, metric, arm, tasks, share=share) if every else None
            wide = NOTHING if both is None else interval(both.low, both.high)
            rows.append((f"`{arm}`", *cells, whole, wide, made, f"{fmean(seconds):.0f}"))
    headings = [h for task in tasks for h in (f"{task}, %", "difference")]
    return Table(
        ("Arm", *headings, "all tasks", "by bootstrap", "draws", "CPU s"),
        tuple(rows),
        f"Test problems solved, {METRICS[metric]}, mean over draws; difference to `{BASELINE}` in points "
        "with its 95 % interval, marked + or - where Holm's correction decides it, = where the interval lies within 5 "
        "points; by bootstrap: over draws, then problems. CPU seconds are the arm's own.",
    )


def mark(difference: Difference) -> str:
    """What the table shows of a verdict."""
    return {"better": "**+**", "worse": "**-**", "tie": "="}.get(difference.verdict, "")


def critics_table(results: Results, tasks: Sequence[str], share: int = 25) -> Table:
    """What each critic knows of fresh samples."""
    rows: list[tuple[str, ...]] = []
    for critic in CRITICS:
        for task in tasks:
            cells = cells_named(results, critic.name, share, task=task)
            if cells:
                skills = [cell["fresh_skill"] for cell in cells]
                none = sum("knows nothing" in skill["verdict"] for skill in skills)
                rows.append(
                    (
                        f"`{critic.name}`, {task}",
                        _within(skills),
                        measured(skills, "explained"),
                        spread([cell["localisation"]["auc"] for cell in cells]),
                        f"{none} of {len(cells)}",
                        f"{fmean(cell['train_cpu_seconds'] for cell in cells):.0f}",
                    )
                )
    return Table(
        ("Critic", "AUC within prompts", "explained", "finds wrong tokens, AUC", "knows nothing", "CPU s"),
        tuple(rows),
        "On samples of the test problems, which no critic was trained on: mean over draws, lowest to highest. The AUC "
        "is that of draws with enough pairs of a right and a wrong sample of one prompt.",
    )


def gate_table(results: Results, tasks: Sequence[str], share: int = 25) -> Table:
    """The skill that `gated` mixes by."""
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        cells = cells_named(results, SKILL, share, task=task)
        if cells:
            skills = [cell["skill"] for cell in cells]
            s = spread([k["gate"] for k in skills])
            none = sum("knows nothing" in skill["verdict"] for skill in skills)
            rows.append(
                (task, _within(skills), s, f"{none} of {len(cells)}", f"{fmean(c['cpu_seconds'] for c in cells):.0f}")
            )
    return Table(
        ("Task", "AUC within prompts", "s", "knows nothing", "CPU s"),
        tuple(rows),
        "The generative critic by folds of the training prompts, as `wmtp score --cross_fit` measures it; s is what "
        "`gated` mixes by.",
    )


def _within(skills: Sequence[dict[str, Any]]) -> str:
    known, told = aucs_within(skills)
    return spread(known) + told if known else NOTHING


def measured(skills: Sequence[dict[str, Any]], what: str) -> str:
    """Mean, lowest and highest over the skills that had rows enough to tell."""
    known = [skill[what]["mean"] for skill in skills if skill[what]]
    return spread(known) if known else NOTHING


def spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    return f"{fmean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def _few(results: Results, tasks: Sequence[str], metric: str) -> Table:
    shares = [share for share in (10, 50) if cells_named(results, BASELINE, share)]
    return _by_arm(results, tasks, metric, [(f"{s} %", {"share": s}) for s in shares])


def _rounds(results: Results, tasks: Sequence[str], metric: str) -> Table:
    rounds = [n for n in (1, 2, 3) if n == 1 or cells_named(results, BASELINE, 25, n)]
    seeds = {cell["seed"] for cell in cells_named(results, BASELINE, 25, rounds[-1])}
    results = results | {"cells": [cell for cell in results["cells"] if cell["seed"] in seeds]}  # the same in all
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
