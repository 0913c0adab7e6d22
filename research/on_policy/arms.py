"""What is trained on a model's own samples, and what each needs before it."""

from typing import Any

from research.chains.study_arms import GATED, IMPLICIT, LOG_ODDS, ORACLE, RETURN_WEIGHTED, SHUFFLED_ACROSS, TD_WHITENED
from weighted_mtp.demo.arms import CRITIC, GENERATIVE, RIGHT_ONLY, UNIFORM, Arm

START, SKILL = "start", "skill"
"""Cells that are no arms: the start with its samples, and the generative critic's skill by folds."""
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
"""Of a teacher's traces: drops the step that people marked as the first wrong one, and all behind it."""

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
    Arm("dft_right", scheme="dft", keep="right"),
    SHUFFLED_ACROSS,
    ORACLE,
    Arm("signed_oracle", scheme="column", options={"floor": FLOOR}, rows="signed_oracle"),
)
FEW = (UNIFORM, RIGHT_ONLY, LOG_ODDS, GATED, ORACLE)
"""At other shares, and for several rounds; their models are kept for the next round."""
CANDIDATES: dict[str, tuple[int, float]] = {
    f"right_only_{steps}_{rate:g}": (steps, rate) for steps, rate in ((80, 1e-3), (80, 2e-3), (80, 5e-4), (40, 1e-3))
}
"""Steps and learning rates that right_only is tried with on a draw outside."""
ARMS: dict[str, Arm] = {
    arm.name: arm for arm in (*CRITICS, *MAIN, ORACLE_BEHIND, *(Arm(n, keep="right") for n in CANDIDATES))
}


def needs(name: str) -> set[str]:
    """Cells of the same round that must be there first."""
    if name == START:
        return set()
    critic = {GENERATIVE.name}
    if name == SKILL or name == GUIDED.name:
        return {START, *critic}
    if name == GATED.name or ARMS[name] in EQUAL_COMPUTE:
        return {START, SKILL, *critic} | ({RIGHT_ONLY.name} if name == MORE_STEPS.name else set())
    return {START, *ARMS[name].needs}


def with_needs(arms: tuple[Arm, ...]) -> list[str]:
    """The names of the arms, and before each those of the cells that it needs."""
    ordered: dict[str, Any] = {}

    def add(name: str) -> None:
        for before in sorted(needs(name), key=[START, *ARMS, SKILL].index):
            add(before)
        ordered.setdefault(name)

    for arm in arms:
        add(arm.name)
    return list(ordered)
