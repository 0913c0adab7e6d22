"""The page of the experiment: tables made of its results, and sentences that follow from them by rule."""

from collections.abc import Sequence
from statistics import fmean

from research.drawing.markdown import items, section, table_text
from research.on_policy.arms import AWAY, MORE_SAMPLES, MORE_STEPS, ORACLE_BEHIND
from research.on_policy.report import said
from research.on_policy.results import BASELINE, Difference, differences
from research.on_policy.settings_tables import cpu_hours, left_out
from research.real_teacher.cells import MAIN, SIGNED_ORACLE
from research.real_teacher.folds import GENERATIVE, GSM8K, VALUE_HEAD
from research.real_teacher.results import COMPARED, METRICS, PRIOR, SHORTER, SURPRISAL, Results
from research.real_teacher.step_tables import (
    compared_table,
    gsm8k_table,
    gsm8k_text,
    mistakes_text,
    published,
    readings_table,
    tasks_table,
    value,
)
from research.real_teacher.student_tables import (
    SOLVED,
    arms_table,
    cells_named,
    choices_table,
    located_table,
    skill_table,
    students_text,
)
from weighted_mtp.demo.arms import GENERATIVE as GENERATIVE_ARM
from weighted_mtp.demo.arms import ORACLE
from weighted_mtp.reports.numbers import draws, listing

TITLE = "# A real teacher's real errors"
ASKED = 5
"""Draws of the students that the experiment is planned with."""
COMMAND = """```bash
python -m research.real_teacher --data data --out real-teacher --part dyck
```

The other parts are `mistakes` and `gsm8k`; without a part all are run, and finished cells are kept. `data` is a folder
with `bigbench_mistake/dyck_languages.jsonl` and the four other files of
[BIG-Bench Mistake](https://github.com/WHGTyen/BIG-Bench-Mistake), and `gsm8k/model_solutions.jsonl` with GPT-3's
solutions of [GSM8K](https://github.com/openai/grade-school-math) (its `example_model_solutions.jsonl`): they are not
part of this project. `python -m research.real_teacher.docs_page real-teacher` makes this page of what is there."""


def page(results: Results) -> str:
    """The text; a section whose cells did not run is left out."""
    arms = [arm.name for arm in (*MAIN, GENERATIVE_ARM) if arm.name != BASELINE]
    found = {m: differences(results, m, arms, ["dyck"], share=0) for m in SOLVED}
    parts = [
        TITLE,
        "<!-- written by research/real_teacher/report.py from results/real-teacher.json: change those -->",
        _lead(results, found["greedy"], found["sampled"]),
        COMMAND,
        *section(
            "Students of PaLM 2's traces",
            students_text(results),
            *(table_text(arms_table(results, m, found[m])) for m in SOLVED),
        ),
        *section(
            "Where the students' critics look", table_text(located_table(results)), table_text(skill_table(results))
        ),
        *section(
            "Who finds the first wrong step",
            mistakes_text(results),
            *(table_text(readings_table(results, m)) for m in METRICS),
            table_text(compared_table(results)),
            table_text(tasks_table(results)),
            published(results),
        ),
        *section("Solutions of GPT-3", gsm8k_text(results), table_text(gsm8k_table(results))),
        *section("What was chosen on a draw outside", table_text(choices_table(results))),
        *section("Worth knowing", items(_notes(results))),
        *section("How this was made", items([f"{name}: {value}" for name, value in results["meta"].items()])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _decided(found: Sequence[Difference]) -> str:
    """Which arms are better and worse, in half a sentence each."""
    told: list[str] = []
    for verdict in ("better", "worse"):
        named = [f"`{d.arm}` ({said(d)} points)" for d in found if d.verdict == verdict]
        told.append(f"decidedly {verdict}: {listing(named)}" if named else f"none is decidedly {verdict}")
    return "; ".join(told)


def _lead(results: Results, greedy: Sequence[Difference], sampled: Sequence[Difference]) -> str:
    told: list[str] = []
    if greedy:
        made = max(d.draws for d in greedy)
        few = "" if made >= ASKED else f" of the {ASKED} asked for"
        told.append(
            f"Students of PaLM 2's Dyck-language traces, {draws(made)}{few}: {len(greedy)} arms "
            f"against training on the right traces alone (`{BASELINE}`), by greedy decoding, corrected by Holm:"
        )
        told.append(f"{_decided(greedy)}. Sampled at temperature 1: {_decided(sampled)}.")
        oracle = next((d for d in greedy if d.arm == ORACLE.name), None)
        if oracle:
            told.append(
                f"Dropping the marked steps (`{ORACLE.name}`) moves it by {said(oracle)} points: {oracle.verdict}."
            )
    told += [_claim(results, critic) for critic in COMPARED if results["compared"]]
    if told_of := [t["outcome_auc"] for t in results["mistakes"]]:
        longer = sum(t[SHORTER] > max(t[kind] for kind in (GENERATIVE, VALUE_HEAD)) for t in told_of)
        told.append(
            f"That a trace is short tells its outcome better than either critic on {longer} of {len(told_of)} tasks."
        )
    if GSM8K in results:
        scores = results[GSM8K]["scores"]
        orders = listing([f"{value(scores[kind]['auc'])} ({kind})" for kind in (GENERATIVE, VALUE_HEAD)])
        told.append(f"Within problems of GSM8K small critics order GPT-3's solutions with an AUC of {orders}.")
    return " ".join(told)


def _claim(results: Results, critic: str) -> str:
    """On how many tasks a critic's AUC beats surprisal and position."""
    parts: list[str] = []
    for other, name in ((SURPRISAL, "surprisal"), (PRIOR, "position (as marks of other traces have it)")):
        rows = [r for r in results["compared"] if (r["critic"], r["other"], r["metric"]) == (critic, other, "auc")]
        counted = {v: sum(row["verdict"] == v for row in rows) for v in ("better", "worse", "undecided")}
        parts.append(
            f"against {name} better on {counted['better']}, worse on {counted['worse']} and undecided on "
            f"{counted['undecided']} of {len(rows)} tasks"
        )
    kind = critic.removesuffix(", sum")
    return f"At finding the first wrong step (AUC) a small {kind} critic is {' and '.join(parts)}."


def _notes(results: Results) -> list[str]:
    if not results["cells"]:
        return []
    more = [c["steps"] for c in cells_named(results, MORE_STEPS.name)]
    told = [
        f"Left out, of the arms of on-policy.md: {listing(left_out(MAIN))}. The teacher writes no more, so there is no "
        f"`{MORE_SAMPLES.name}`, and does not say how likely its tokens were to it, which `nft` asks. All that is here "
        f"took {cpu_hours(results):.1f} CPU hours.",
        f"`{ORACLE.name}` gives the tokens of the marked step no weight, in right traces too; `{ORACLE_BEHIND.name}` "
        f"also all tokens behind it. Both keep what a wrong trace does rightly before. `{SIGNED_ORACLE}` gives the "
        f"marked step a weight of {AWAY:g}.",
        "`surprisal` weighs by the log-probability under the start, which has read these traces; `guided` is the "
        "generative "
        "critic decoded by log p_right + (log p_right - log p_wrong), `label_conditioned` the same without guidance.",
    ]
    if more:
        told.append(
            f"`{MORE_STEPS.name}` gets the CPU seconds of the generative critic and its folds as steps: "
            f"{fmean(more):.0f}."
        )
    return told
