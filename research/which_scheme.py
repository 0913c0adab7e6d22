"""What the experiments say of which scheme to pick, as a table in the user's page, and as a file of the package: no
number there is typed by hand.

usage: python -m research.which_scheme
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from research.chains.report.numbers import comparison, mean_accuracy
from research.drawing.markdown import Table, between, table_text
from research.on_policy.arms import COMPARED, SKILL
from research.on_policy.results import BASELINE, ORACLE, aucs_within, cells_named, differences, solved
from research.own_smollm2.report import COMPARED as COMPARED_OF_SMOLLM2
from weighted_mtp.demo.arms import GATED, LOG_ODDS
from weighted_mtp.evaluation.measured import MEASURED
from weighted_mtp.reports.numbers import NOTHING, number, percent, points

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "research" / "docs" / "results"
PAGE = ROOT / "docs" / "which-scheme.md"
KEPT = ROOT / "src" / "weighted_mtp" / "evaluation" / MEASURED
MARK = "results"
ARMS = (LOG_ODDS.name, GATED.name)


@dataclass(frozen=True)
class Lead:
    """Of an arm over right-only, in points / 100; decided: by the corrected test."""

    mean: float
    decided: bool


@dataclass(frozen=True)
class Setting:
    """A row of the table."""

    rows: int
    whose: str
    own_samples: bool
    per_prompt: float
    share_right: float
    skills: Sequence[dict[str, Any]]
    """Of the generative critic out of fold, a draw each; none where they were not kept."""
    right_only: float
    leads: Mapping[str, Lead]

    @property
    def gate(self) -> float | None:
        """The s of `gated`, mean over draws."""
        return fmean(skill["gate"] for skill in self.skills) if self.skills else None

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        aucs, of_draws = aucs_within(self.skills)
        ahead = {arm: lead.mean for arm in ARMS if (lead := self.leads.get(arm)) and lead.decided and lead.mean > 0}
        return (
            f"{self.rows:,} of {self.whose}",
            f"{self.per_prompt:.1f}".removesuffix(".0"),
            percent(self.share_right),
            number(self.gate),
            number(fmean(aucs) if aucs else None) + (of_draws if aucs else ""),
            percent(self.right_only),
            *(_told(self.leads.get(arm)) for arm in (ORACLE, *ARMS)),
            f"`{max(ahead, key=ahead.__getitem__) if ahead else BASELINE}`",
        )

    @property
    def kept(self) -> dict[str, Any]:
        """What the package holds of it."""
        named = {arm: {"lead": round(lead.mean, 4), "decided": lead.decided} for arm, lead in self.leads.items()}
        whole = {name: getattr(self, name) for name in ("rows", "whose", "own_samples")}
        shares = {name: round(getattr(self, name), 4) for name in ("per_prompt", "share_right", "right_only")}
        aucs, _ = aucs_within(self.skills)
        skill = {"gate": self.gate, "auc": fmean(aucs) if aucs else None}
        return whole | shares | {name: value and round(value, 4) for name, value in skill.items()} | {"leads": named}


def settings() -> list[Setting]:
    """All that was measured, from the results that are kept."""
    names = ("study", "on-policy", "own-smollm2")
    study, small, real = (json.loads((RESULTS / f"{name}.json").read_text()) for name in names)
    return [
        *(of_study(study, name) for name in study["meta"]["settings"]),
        *of_own_samples(small, 25, "a small model's own", COMPARED),
        *of_own_samples(real, 0, "SmolLM2-135M's own", COMPARED_OF_SMOLLM2),
    ]


def block() -> str:
    """The table."""
    return table_text(
        Table(
            ("Rows", "a prompt", "right, %", "s", "AUC", f"{BASELINE}, %", "oracle's lead", *ARMS, "pick"),
            tuple(setting.cells for setting in settings()),
            "Problems solved by greedy decoding; leads over `right_only` in points, paired by draw, **bold** where a t "
            "test decides them after Holm's correction over the comparisons of the experiment's page. s is what "
            "`gated` mixes by and AUC that of whole completions within prompts, both of the generative critic on folds "
            "that it was not trained on, as `wmtp score --cross_fit` measures them, mean over draws; the AUC is of "
            "draws with enough pairs of a right and a wrong completion of one prompt. The oracle drops the truly wrong "
            "tokens, so its lead is the most that credit can win. Pick: what is decidedly ahead of `right_only`, else "
            "`right_only`, which costs no critic.",
        )
    )


def of_study(study: dict[str, Any], name: str) -> Setting:
    """A setting of the study."""
    known = study["meta"]["settings"][name]
    pairs = {arm: comparison(study, name, arm, BASELINE) for arm in (ORACLE, *ARMS)}
    gated = [arm for arm in study["arms"] if (arm["setting"], arm["arm"]) == (name, GATED.name)]
    return Setting(
        rows=known["n_traces"],
        whose="a teacher, learned from scratch",
        own_samples=False,
        per_prompt=known["per_prompt"],
        share_right=known["share_right"],
        skills=[arm["skill"] for arm in gated if "skill" in arm],
        right_only=mean_accuracy(study, name, BASELINE) or 0.0,
        leads={arm: Lead(c.diff, c.verdict in ("wins", "loses")) for arm, c in pairs.items() if c},
    )


def of_own_samples(own: dict[str, Any], share: int, whose: str, compared: Sequence[str]) -> list[Setting]:
    """One for each task; `compared` are the arms of the experiment's main table, over which Holm's correction is."""
    tasks = list(
        dict.fromkeys(cell["task"] for cell in own["cells"] if cell["name"] == BASELINE and cell["seed"] < 1_000)
    )
    every = differences(own, "greedy", compared, tasks, share=share)
    made: list[Setting] = []
    for task in tasks:
        starts = cells_named(own, "start", share, task=task)
        budget = starts[0]["budget"]
        found = {d.arm: d for d in every if d.task == task and d.arm in (ORACLE, *ARMS)}
        made.append(
            Setting(
                rows=budget["prompts"] * budget["samples"],
                whose=f"{whose}, {task}",
                own_samples=True,
                per_prompt=budget["samples"],
                share_right=fmean(c["share_right"] for c in starts),
                skills=[c["skill"] for c in cells_named(own, SKILL, share, task=task)],
                right_only=fmean(solved(own, "greedy", task=task, arm=BASELINE, share=share).values()),
                leads={arm: Lead(d.interval.mean, d.verdict in ("better", "worse")) for arm, d in found.items()},
            )
        )
    return made


def _told(lead: Lead | None) -> str:
    if lead is None:
        return NOTHING
    return f"**{points(lead.mean)}**" if lead.decided else points(lead.mean)


def kept() -> str:
    """The file that the package holds, a setting a line."""
    return "[\n" + ",\n".join(json.dumps(setting.kept) for setting in settings()) + "\n]\n"


def main() -> None:
    """Writes the table into the page, and the file."""
    PAGE.write_text(between(PAGE.read_text(), MARK, block()))
    KEPT.write_text(kept())


if __name__ == "__main__":
    main()
