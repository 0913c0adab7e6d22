"""A gate for each quarter of a completion."""

import numpy as np
import pytest

from research.weights import gate_by_quarter, mixed_by_quarter, whitened_weights
from weighted_mtp.evaluation.cross_fit import skill_of_rows


def rows(told: float) -> list[dict]:
    """400 rows of 8 tokens; credit in their third quarter tells the outcome, in the others it is noise."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(400):
        right = bool(rng.random() < 0.5)
        credit = rng.normal(size=8)
        credit[4:6] += told * (1 if right else -1)
        made.append({"prompt": f"p{i // 4}", "label": right, "values": [0.5] * 8, "credit": credit.tolist()})
    return made


@pytest.mark.parametrize("credit", [0.0, 0.1])
def test_the_same_credit_everywhere_weighs_every_token_alike(credit):
    for weights in whitened_weights([[credit] * 3, [credit] * 4]):
        assert weights == pytest.approx([1.0] * len(weights))


def test_the_quarter_that_tells_the_outcome_has_the_gate_and_the_mean_square_is_that_of_all_rows():
    scored = rows(told=0.6)
    gates = gate_by_quarter(scored)
    assert gates[2] > 3 * max(gates[0], gates[1], gates[3])
    assert np.mean(np.square(gates)) == pytest.approx(skill_of_rows(scored).gate ** 2)


def test_a_critic_that_knows_nothing_has_no_gate_anywhere():
    assert gate_by_quarter(rows(told=0.0)) == [0, 0, 0, 0]
    assert gate_by_quarter([]) == [0, 0, 0, 0]


def test_a_quarter_without_a_gate_is_that_of_right_only_and_one_of_1_that_of_credit():
    scored = [{"label": True, "credit": [1.0, -1.0, 0.0, 0.0]}, {"label": False, "credit": [0.0, 0.0, -1.0, 1.0]}]
    right, wrong = mixed_by_quarter(scored, [0.0, 1.0, 0.5, 0.0])
    e = np.exp(np.sqrt(2))  # credits have mean 0 and standard deviation 1 / sqrt(2)
    assert right == pytest.approx([1.0, 1 / e, 1.0, 1.0])
    assert wrong == pytest.approx([0.0, 1.0, 0.5 / e, 0.0])
