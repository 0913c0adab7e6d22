"""What the experiments say of which scheme to pick, as a table in the user's page: no number there is typed by hand.

usage: python -m research.which_scheme
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from research.chains.report.numbers import Comparison, comparison, critic_mean, mean_accuracy
from research.drawing.markdown import Table, between, table_text
from research.on_policy.arms import COMPARED
from research.on_policy.results import BASELINE, ORACLE, Difference, aucs_within, cells_named, differences, solved
from research.own_smollm2.report import COMPARED as COMPARED_OF_SMOLLM2
from weighted_mtp.demo.arms import GATED, LOG_ODDS
from weighted_mtp.reports.numbers import NOTHING, number, percent, points

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "research" / "docs" / "results"
PAGE = ROOT / "docs" / "which-scheme.md"
MARK = "results"
ARMS = (LOG_ODDS.name, GATED.name)


def block() -> str:
    """The table, made of the results that are kept."""
    names = ("study", "on-policy", "own-smollm2")
    study, small, real = (json.loads((RESULTS / f"{name}.json").read_text()) for name in names)
    own = [
        *of_own_samples(small, 25, "its own", COMPARED),
        *of_own_samples(real, 0, "SmolLM2-135M's own", COMPARED_OF_SMOLLM2),
    ]
    rows = [*(_of_study(study, name) for name in study["meta"]["settings"]), *own]
    return table_text(
        Table(
            ("Rows", "a prompt", "right, %", "critic's AUC", f"{BASELINE}, %", "oracle's lead", *ARMS, "pick"),
            tuple(rows),
            "Problems solved by greedy decoding; leads over `right_only` in points, paired by draw, **bold** where a t "
            "test decides them after Holm's correction over the comparisons of the experiment's page. The critic "
            "is the generative one and its AUC that of the outcome on rows that it has not seen, on own samples within "
            "prompts; the oracle drops the truly wrong tokens, so its lead is the most that credit can win. Pick: what "
            "is decidedly ahead of `right_only`, else `right_only`, which costs no critic.",
        )
    )


def _of_study(study: dict[str, Any], setting: str) -> tuple[str, ...]:
    known = study["meta"]["settings"][setting]
    found = {arm: comparison(study, setting, arm, BASELINE) for arm in ARMS}
    base, lead = mean_accuracy(study, setting, BASELINE), comparison(study, setting, ORACLE, BASELINE)
    auc = critic_mean(study, LOG_ODDS.name, "outcome_auc", setting)
    return (
        f"{known['n_traces']:,} of a teacher, learned from scratch",
        f"{known['per_prompt']:.1f}",
        percent(known["share_right"]),
        number(auc),
        percent(base),
        NOTHING if lead is None else _bold(points(lead.diff), lead.verdict == "wins"),
        *_leads(found),
    )


def of_own_samples(own: dict[str, Any], share: int, whose: str, compared: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each task; `compared` are the arms of the experiment's main table, over which Holm's correction is."""
    rows: list[tuple[str, ...]] = []
    tasks = list(
        dict.fromkeys(cell["task"] for cell in own["cells"] if cell["name"] == BASELINE and cell["seed"] < 1_000)
    )
    every = differences(own, "greedy", compared, tasks, share=share)
    for task in tasks:
        base = solved(own, "greedy", task=task, arm=BASELINE, share=share)
        found = {d.arm: d for d in every if d.task == task}
        critics, starts = (cells_named(own, name, share, task=task) for name in ("label_conditioned", "start"))
        aucs, of_draws = aucs_within([c["fresh_skill"] for c in critics])
        shares = [c["share_right"] for c in starts]
        lead, budget = found.get(ORACLE), starts[0]["budget"]
        rows.append(
            (
                f"{budget['prompts'] * budget['samples']:,} of {whose}, {task}",
                str(budget["samples"]),
                percent(fmean(shares)),
                number(fmean(aucs) if aucs else None) + of_draws,
                percent(fmean(base.values())),
                NOTHING if lead is None else _bold(points(lead.interval.mean), lead.verdict == "better"),
                *_leads(found),
            )
        )
    return rows


def _leads(found: dict[str, Any]) -> Sequence[str]:
    """The lead of each arm, and which of them to pick."""
    cells, ahead = list[str](), dict[str, float]()
    for arm in ARMS:
        one: Comparison | Difference | None = found.get(arm)
        if one is None:
            cells.append(NOTHING)
            continue
        mean, better = (
            (one.diff, one.verdict == "wins")
            if isinstance(one, Comparison)
            else (one.interval.mean, one.verdict == "better")
        )
        decided = better or one.verdict in ("loses", "worse")
        cells.append(_bold(points(mean), decided))
        if better:
            ahead[arm] = mean
    return *cells, f"`{max(ahead, key=ahead.__getitem__) if ahead else BASELINE}`"


def _bold(text: str, decided: bool) -> str:
    return f"**{text}**" if decided else text


def main() -> None:
    """Writes the table into the page."""
    PAGE.write_text(between(PAGE.read_text(), MARK, block()))


if __name__ == "__main__":
    main()
