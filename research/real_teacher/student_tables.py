"""The page's part on the students: what they solved, where their critics look, and what was chosen."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from research.drawing.markdown import Table
from research.on_policy.arms import CHOICES, SKILL, START
from research.on_policy.report import mark, measured, said, spread
from research.on_policy.results import BASELINE, Difference, solved
from research.on_policy.settings_tables import percents
from research.real_teacher.cells import LOCATED, MAIN
from research.real_teacher.results import METRICS, Results
from weighted_mtp.demo.arms import CRITIC
from weighted_mtp.demo.arms import GENERATIVE as GENERATIVE_ARM
from weighted_mtp.reports.numbers import draws, number, percent

SOLVED = {"greedy": "greedy", "sampled": "sampled at temperature 1"}


def cells_named(results: Results, name: str) -> list[dict[str, Any]]:
    """Cells of that name, of draws within the experiment."""
    return [cell for cell in results["cells"] if cell["name"] == name and cell["seed"] < 1_000]


def students_text(results: Results) -> str:
    """What was trained on what."""
    starts = cells_named(results, START)
    if not starts:
        return ""
    s, b = starts[0], starts[0]["budget"]
    depth = [fmean(c["depth"][i] for c in starts) for i in (0, 1)]
    return (
        f"{s['rows'] + s['held_out']} of the teacher's 986 traces are used, those of at most {b['most_brackets']} "
        f"brackets and {b['most_trace']} tokens: {percent(s['share_right'])} % are right, and a step is marked in "
        f"{s['marked_wrong']} wrong and {s['marked_right']} right ones. A draw holds out {s['held_out']} of them and "
        f"trains on {s['rows']}; none held out has the prompt of one to train on, nor that prompt with its kinds of "
        "brackets renamed, and split, initialisation, order and test problems are drawn anew. A model of 0.6 M "
        "parameters, with a token for each bracket and each of the teacher's phrases, learns all training traces alike "
        f"from scratch, with their kinds of brackets renamed in every way, in {b['start_steps']} steps of "
        f"{b['batch_size']} traces. It solves {percents([c['greedy'] for c in starts])} % of the test problems by "
        "greedy decoding, and every arm and critic starts from it and learns the traces as they are: arms in "
        f"{b['steps']} steps at a peak rate of {b['learning_rate']:g}, critics in at most {b['critic_steps']}. The "
        f"{b['test_prompts']} test problems are fresh: a grammar draws them in the lengths of the teacher's, the "
        "longer ones more often, since few short ones are new, and none is one of those, nor one of those with its "
        f"kinds of brackets renamed (at most {depth[1]:.1f} brackets are open at a time, on average; {depth[0]:.1f} in "
        "the teacher's). A program compares the closing sequence."
    )


def arms_table(results: Results, metric: str, found: Sequence[Difference]) -> Table:
    """What each arm solved, and by how much more than right_only."""
    by = {d.arm: d for d in found}
    rows: list[tuple[str, ...]] = []
    for arm in (*MAIN, GENERATIVE_ARM):
        values = list(solved(results, metric, task="dyck", arm=arm.name, share=0).values())
        if values:
            d = by.get(arm.name)
            told = ("", "", "") if d is None else (f"{said(d)} {mark(d)}".strip(), number(d.adjusted), d.verdict)
            seconds = fmean(c["cpu_seconds"] for c in cells_named(results, arm.name))
            rows.append((f"`{arm.name}`", percents(values), *told, str(len(values)), f"{seconds:.0f}"))
    return Table(
        ("Arm", "Solved, %", f"Minus `{BASELINE}`, points (95 %)", "p, Holm", "Verdict", "Draws", "CPU s"),
        tuple(rows),
        f"Test problems solved, {SOLVED[metric]}: mean [lowest, highest] over draws; differences are paired by draw.",
    )


def located_table(results: Results) -> Table:
    """Who finds the marked steps of the traces held out."""
    cells = cells_named(results, LOCATED)
    rows: list[tuple[str, ...]] = []
    for name in cells[0]["found"] if cells else ():
        told = [[c["found"][name][m] for c in cells] for m in METRICS]
        rows.append((_named(name), *(spread(values) for values in told)))
    judged = sum(c["judged"] for c in cells)
    return Table(
        ("Reading", "Top-1", "AUC"),
        tuple(rows),
        f"The marked step of the wrong traces held out ({judged} over {draws(len(cells))}): is it the one that looks "
        "worst, "
        "and how many of the other steps of its trace look less bad. Mean [lowest, highest] over draws. "
        f"`{GENERATIVE_ARM.name}` is the generative critic, `{CRITIC.name}` the value head, surprisal and entropy are "
        "of the "
        "start.",
    )


def _named(reading: str) -> str:
    head, comma, rest = reading.partition(", ")
    return f"`{head}`{comma}{rest}" if head in (GENERATIVE_ARM.name, CRITIC.name) else reading


def skill_table(results: Results) -> Table:
    """What the critics know of the outcome."""
    rows: list[tuple[str, ...]] = []
    for name, skill in [(n, "fresh_skill") for n in (GENERATIVE_ARM.name, CRITIC.name)] + [(SKILL, "skill")]:
        known = [c[skill] for c in cells_named(results, name)]
        if known:
            values = [measured(known, what) for what in ("auc", "explained")]
            none = sum("knows nothing" in k["verdict"] for k in known)
            label = "the generative critic by folds, for `gated`" if name == SKILL else f"`{name}`, on traces held out"
            rows.append((label, *values, spread([k["gate"] for k in known]), f"{none} of {len(known)}"))
    return Table(
        ("Critic", "Outcome AUC", "explained", "s", "knows nothing"),
        tuple(rows),
        "What the critics know of the outcome; each problem has one trace, so that AUC is over all pairs and length is "
        "taken out of what is explained. s is what `gated` mixes by.",
    )


def choices_table(results: Results) -> Table:
    """The candidates on the draw outside."""
    outside = {c["name"]: c for c in results["cells"] if c["seed"] >= 1_000}
    rows = [
        (f"{steps} steps, rate {rate:g}", *(percent(outside[name][m]) for m in SOLVED))
        for name, (steps, rate) in CHOICES.items()
        if name in outside
    ]
    return Table(
        ("`right_only` on the draw outside", "greedy, %", "sampled, %"),
        tuple(rows),
        "Steps and peak learning rate of every arm are those with which `right_only` solved most.",
    )
