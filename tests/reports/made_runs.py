"""Finished runs as `wmtp inspect --page` shows them, made up but plausible."""

import numpy as np

from weighted_mtp.evaluation.calibration import ReliabilityBin
from weighted_mtp.inspection.content import InspectedRun, Reliability, RunPage, Series, ValueQuality
from weighted_mtp.reports.token_view import TokenView

WRONG_AT = 2


def three_runs() -> RunPage:
    """Three runs: one without values, one with TD errors, one of four heads with credit; six completions of each."""
    rng = np.random.default_rng(4)
    runs = [_run("baseline", "uniform"), _run("td", "td"), _run("log_odds", "log_odds", heads=4)]
    views = [_view(run, row, rng) for row in range(6) for run in runs]
    return RunPage(title="baseline, td, log_odds", lead="Three runs.", runs=runs, examples=views)


def _run(name: str, scheme: str, heads: int = 1) -> InspectedRun:
    steps = list(range(0, 101, 10))
    falling = [3.0 - step / 50 for step in steps]
    metrics = ["loss", "weight_mean", *(f"ce_head_{k}" for k in range(heads))]
    record = {f"{split}/{name}": Series(steps, falling) for split in ("train", "eval") for name in metrics}
    bins = [ReliabilityBin(0.0, 0.1, 0.1, 0.15, 300), ReliabilityBin(0.5, 0.6, 0.6, 0.5, 200)]
    quality = ValueQuality(
        rows=50, values=500, source="evaluation rows of eval.jsonl", explained_variance=0.25, outcome_auc=0.75,
        error_auc=None if name == "td" else 0.9,
        reliability=[Reliability("all prefixes", 0.07, bins)]
        + [Reliability(f"{part} third", 0.11, bins[:1]) for part in ("first", "middle", "last") if heads > 1],
    )  # fmt: skip
    return InspectedRun(
        name=name, stage="baseline" if scheme == "uniform" else "verifiable", scheme=scheme, start="base",
        parameters=151_936, heads=heads, steps=100,
        settings={"seed": 0, "critic": None if heads == 1 else "runs/critic"},
        record=record, quality=None if scheme == "uniform" else quality,
    )  # fmt: skip


def _view(run: InspectedRun, row: int, rng: np.random.Generator) -> TokenView:
    right = row % 2 == 0
    td_errors = rng.normal(0, 0.02, 5)
    td_errors[WRONG_AT] -= 0.0 if right else 0.1 * row
    td_errors[-1] = 0.3 if right else -0.9  # the outcome minus the value
    knows = run.quality is not None
    view = TokenView(
        row=row,
        prompt=f"{row} +3 *7 +7 *3 :",
        label=right,
        tokens=[*(f" {digit}" for digit in rng.integers(0, 10, 4)), "<eos>"],
        weights=np.exp(td_errors).tolist(),
        td_errors=td_errors.tolist() if knows else None,
        values=[0.5, 0.5, 0.5, 0.4, 0.4] if knows else None,
        token_error=[not right and position == WRONG_AT for position in range(5)],
        losses=rng.exponential(1.0, (5, run.heads)).tolist(),
        arm=run.name,
    )
    if run.heads > 1:
        view["credit"] = (10 * td_errors).tolist()
        view["head_weights"] = rng.uniform(0, 2, (5, run.heads)).tolist()
    return view
