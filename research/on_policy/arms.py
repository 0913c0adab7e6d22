"""What is trained on a model's own samples, and what each needs before it."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from research.chains.study_arms import GATED, IMPLICIT, LOG_ODDS, ORACLE, RETURN_WEIGHTED, SHUFFLED_ACROSS, TD_WHITENED
from weighted_mtp.demo.arms import CRITIC, GENERATIVE, RIGHT_ONLY, UNIFORM, Arm, four_heads

START, SKILL, SKILL_IMPLICIT = "start", "skill", "skill_implicit"
"""Cells that are no arms: the start with its samples, and the generative and the implicit critic's skill by folds."""
EVALUATED = 2
"""Samples of each test problem."""
FLOOR, AWAY = 0.01, -0.3
"""Probability below which a token is pushed down no further, and the weight of the tokens that a signed oracle does."""

IMPLICIT_CRITIC = Arm("implicit_critic", "critic", critic="implicit")
CRITICS = (GENERATIVE, CRITIC, IMPLICIT_CRITIC)
GUIDED = Arm("guided", "critic", critic="generative", decode_under="right")
"""The generative critic itself, decoded by log p_right + (log p_right - log p_wrong); nothing is trained."""
MORE_SAMPLES = Arm("right_only_samples", keep="right", rows="more")
MORE_STEPS = Arm("right_only_steps", keep="right")
EQUAL_COMPUTE = (MORE_SAMPLES, MORE_STEPS)
"""Right-only with the compute of the generative critic and its folds."""

ORACLE_BEHIND = Arm("oracle_behind", scheme="column", rows="oracle_behind")
"""Drops the first wrong token, of a teacher's traces the marked step, and all behind it."""

MAIN = (
    UNIFORM,
    RIGHT_ONLY,
    *EQUAL_COMPUTE,
    RETURN_WEIGHTED,
    TD_WHITENED,
    LOG_ODDS,
    IMPLICIT,
    GATED,
    GUIDED,
    Arm("surprisal", scheme="column", rows="surprisal"),
    Arm("signed", "verifiable", "signed", {"credit": "critic", "floor": FLOOR}, critic=GENERATIVE.name),
    Arm("nft", scheme="nft"),
    Arm("w_reinforce", scheme="w_reinforce"),
    Arm("dft_right", scheme="dft", keep="right"),
    SHUFFLED_ACROSS,
    ORACLE,
    Arm("signed_oracle", scheme="column", options={"floor": FLOOR}, rows="signed_oracle"),
    four_heads(UNIFORM),
    four_heads(RIGHT_ONLY),
)
COMPARED = tuple(arm.name for arm in (*MAIN, GENERATIVE) if arm != RIGHT_ONLY)
"""With right-only, by the main table; Holm's correction is over all of them and all tasks."""
FEW = (UNIFORM, RIGHT_ONLY, LOG_ODDS, GATED, ORACLE)
"""At other shares, and for several rounds; their models are kept for the next round."""
DRAWN = {f"{arm.name}_drawn": arm for arm in (LOG_ODDS, GATED, ORACLE)}
"""Trained on rows drawn in proportion to the mean of that arm's weights, which is divided out."""
CANDIDATES = ((80, 1e-3), (80, 2e-3), (80, 5e-4), (40, 1e-3))
"""Steps and learning rates that are tried on a draw outside."""
OF_ADAPTERS = ((24, 1e-3), (24, 3e-3), (12, 1e-3))
"""The same of a pretrained model's adapters."""
TRIED: dict[str, tuple[Arm, int, float]] = {
    name: (replace(arm, name=name), steps, rate)
    for arm in FEW
    for steps, rate in (*CANDIDATES, *OF_ADAPTERS)
    for name in [f"{arm.name}_{steps}_{rate:g}"]
}
"""Arms with their steps and rates there; right_only's decide, those of the others show what that choice does."""
ROW_GATED = (
    Arm("row_gated", scheme="column", rows=GENERATIVE.name),
    Arm("row_gated_implicit", scheme="column", rows=IMPLICIT_CRITIC.name),
)
"""Weighed by token are only rows whose outcome that critic explains; of the others the right ones are kept."""
CHANGE_POINT = tuple(replace(arm, name=arm.name.replace("row_gated", "change_point")) for arm in ROW_GATED)
"""Beside the right rows, what wrong ones have before their first wrong token, as that critic places it."""
GATED_BY_QUARTER = Arm("gated_by_quarter", scheme="column", rows=GENERATIVE.name)
"""As `gated`, with a skill for each quarter of a completion."""
OF_EVIDENCE = (*ROW_GATED, *CHANGE_POINT)
DRAWN_ARMS = tuple(replace(arm, name=name) for name, arm in DRAWN.items())
ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        *CRITICS,
        *MAIN,
        ORACLE_BEHIND,
        GATED_BY_QUARTER,
        *DRAWN_ARMS,
        *OF_EVIDENCE,
        *(arm for arm, *_ in TRIED.values()),
    )
}


def tried(arms: Iterable[Arm], candidates: Collection[tuple[int, float]] = CANDIDATES) -> tuple[Arm, ...]:
    """The arms with every candidate's steps and rate."""
    names = [arm.name for arm in arms]
    return tuple(
        arm
        for name, (arm, *candidate) in TRIED.items()
        if name.rsplit("_", 2)[0] in names and tuple(candidate) in candidates
    )


CHOICES = {arm.name: TRIED[arm.name][1:] for arm in tried((RIGHT_ONLY,))}
"""Cells of right_only, by which steps and rate of all arms are chosen."""


def skill_of(critic: str) -> str:
    """The cell of a critic's skill by folds."""
    return SKILL if critic == GENERATIVE.name else SKILL_IMPLICIT


def needs(name: str) -> set[str]:
    """Cells of the same round that must be there first."""
    if name == START:
        return set()
    critic = {GENERATIVE.name}
    if name == SKILL_IMPLICIT:
        return {START, IMPLICIT_CRITIC.name}
    if name in (arm.name for arm in OF_EVIDENCE):
        return {START, ARMS[name].rows, skill_of(ARMS[name].rows)}
    if name == GATED_BY_QUARTER.name:
        return {START, *critic}
    if name == SKILL or name == GUIDED.name:
        return {START, *critic}
    if ARMS[name].scheme == "gated" or ARMS[name] in EQUAL_COMPUTE:
        return {START, SKILL, *critic} | ({RIGHT_ONLY.name} if name == MORE_STEPS.name else set())
    return {START, *ARMS[name].needs}


def with_needs(arms: tuple[Arm, ...]) -> list[str]:
    """The names of the arms, and before each those of the cells that it needs."""
    ordered: dict[str, Any] = {}

    def add(name: str) -> None:
        for before in sorted(needs(name), key=[START, *ARMS, SKILL, SKILL_IMPLICIT].index):
            add(before)
        ordered.setdefault(name)

    for arm in arms:
        add(arm.name)
    return list(ordered)
