"""The arms, critics and settings of the study, and its two presets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weighted_mtp.demo.arms import (
    CRITIC,
    GATED,
    GENERATIVE,
    LOG_ODDS,
    ORACLE,
    RHO1,
    RIGHT_ONLY,
    SHUFFLED_ACROSS,
    TD_BETA_03,
    TD_BETA_09,
    TD_WHITENED,
    UNIFORM,
    WHITENED,
    Arm,
    control,
    four_heads,
)
from weighted_mtp.demo.draw import Budget

VALUE_HEAD = replace(CRITIC, times=2)
"""Learns more slowly than the generative critic, and is given twice its steps."""
IMPLICIT_CRITIC = Arm("implicit_critic", "critic", critic="implicit", reference="uniform", start="uniform")
"""Starts from the uniform policy, which is its reference."""

MORE_STEPS = replace(RIGHT_ONLY, name="right_only_steps", times=3)
"""Right-only with the steps that log_odds and its critic have together: 150 + 300 as 450."""
RETURN_WEIGHTED = Arm("return_weighted", "baseline", "return_weighted", WHITENED)
IMPLICIT = Arm("implicit", "verifiable", "log_odds", WHITENED, critic="implicit_critic")

GUIDED = Arm("guided", start=GENERATIVE.name, decode_under="right")
"""The generative critic, decoded by log p_right + (log p_right - log p_wrong); nothing is trained."""

GATED_BY_QUARTER = Arm("gated_by_quarter", scheme="column", rows="gated_by_quarter", reference=GATED.name)
"""As gated, with a skill for each quarter of a completion; it waits for gated, which makes the folds."""

AT_EVERY_SHARE = (
    UNIFORM, RIGHT_ONLY, MORE_STEPS, RETURN_WEIGHTED, TD_BETA_03, TD_WHITENED, LOG_ODDS, GATED, GATED_BY_QUARTER,
    IMPLICIT, GENERATIVE, GUIDED, RHO1, ORACLE, SHUFFLED_ACROSS,
)  # fmt: skip
AT_EVERY_NUMBER = (UNIFORM, RIGHT_ONLY, MORE_STEPS, TD_WHITENED, LOG_ODDS, GATED, ORACLE)
TD_BCE = replace(TD_WHITENED, name="td_bce", critic="value_bce")
"""Reads a value head that is trained by cross-entropy."""
AT_LOW_SUCCESS = (
    TD_BETA_09,
    Arm("gae_whitened", "verifiable", "td", {**WHITENED, "credit": "gae"}, critic="critic"),
    TD_BCE,
    control("lognormal"),
    control("shuffled"),
    *map(four_heads, (UNIFORM, RIGHT_ONLY, TD_WHITENED, LOG_ODDS)),
    four_heads(replace(control("position_aligned"), name="log_odds_position")),
)
"""The controls carry the weights of log_odds without their information."""

VALUE_HEADS = tuple(
    replace(VALUE_HEAD, name=f"value_{objective}", value_loss=objective) for objective in ("bce", "lambda", "pairwise")
)
"""Other objectives of a value head; measured, and read by no arm but `TD_BCE`."""

CRITICS = {"critic": "value_head", "label_conditioned": "log_odds", "implicit_critic": "implicit"}
"""How results name the critics of these arms; others go by their arm's name."""


@dataclass(frozen=True)
class Setting:
    """How many completions of the low-success task there are, and how many of them are right."""

    name: str
    share_right: float
    n_traces: int
    arms: tuple[Arm, ...]


QUICK_ARMS = (UNIFORM, RIGHT_ONLY, TD_WHITENED, LOG_ODDS, GATED, ORACLE, SHUFFLED_ACROSS)
LOW_SHARE = 0.24
"""What the task gives by itself, over draws."""

QUICK = (Setting("low_success", LOW_SHARE, 8_000, QUICK_ARMS),)
FULL = (
    Setting("low_success", LOW_SHARE, 8_000, (*AT_EVERY_SHARE, *AT_LOW_SUCCESS, *VALUE_HEADS)),
    *(Setting(f"share_{share:02d}", share / 100, 8_000, AT_EVERY_SHARE) for share in (5, 15, 50, 70)),
    Setting("n_1000", LOW_SHARE, 1_000, AT_EVERY_NUMBER),
    Setting("n_16000", LOW_SHARE, 16_000, AT_EVERY_NUMBER),
)
PRESETS = {"quick": (QUICK, 2), "full": (FULL, 5)}
"""Settings and draws."""

ALL_ARMS = {
    arm.name: arm
    for arm in (VALUE_HEAD, IMPLICIT_CRITIC, *AT_EVERY_SHARE, *AT_LOW_SUCCESS, *VALUE_HEADS)
}  # fmt: skip


def with_needs(arms: Iterable[Arm]) -> list[Arm]:
    """The arms, and before each of them those it needs."""
    ordered: dict[str, Arm] = {}
    for arm in arms:
        before = with_needs(ALL_ARMS[name] for name in arm.needs)
        ordered |= {a.name: ordered.get(a.name, a) for a in (*before, arm)}
    return list(ordered.values())


def study_notes(budget: Budget) -> list[str]:
    """What a reader of the results must know of how they came about."""
    value_steps = VALUE_HEAD.times * budget.critic_steps
    return [
        f"{budget.steps} steps a policy, a number chosen on a draw outside the study for right_only, the strongest arm"
        " without a critic.",
        f"The generative and the implicit critic are trained at most {budget.critic_steps} steps, value heads, which"
        f" learn more slowly, {value_steps}: they stop early, and learn from nine tenths of the prompts."
        " label_conditioned is the generative critic and has its steps. right_only_steps trains three times as many as"
        " the other arms, those of log_odds and its critic.",
        "The implicit critic starts from the uniform policy, which is its reference, and so has seen more steps than"
        " the others; every other model starts from the shared initialisation.",
        "Critics go by the arm that reads them: log_odds is the generative critic, value_head that of the td arms.",
        "Critics are trained on the completions whose tokens they weigh, and measured on fresh ones of unseen prompts.",
        "The controls shuffled_across, shuffled and lognormal carry the weights of log_odds.",
        "value_pairwise ranks completions of one prompt, so it sees only prompts that have a right and a wrong one.",
    ]
