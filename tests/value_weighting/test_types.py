"""The private kernels keep the shapes that their annotations promise."""

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from weighted_mtp.value_weighting import (
    credit,
    entropy_floor,
    episodes,
    returns,
    reverse_scan,
    statistics,
    td_weighting,
)
from weighted_mtp.value_weighting.schemes import controls, log_odds, rho1

VALUES, MASK = torch.rand(2, 5), torch.ones(2, 5, dtype=torch.bool)
SEGMENTS = torch.tensor([[1, 1, 2, 2, 0]]).expand(2, 5)
CUBE = torch.rand(2, 5, 3)
FOLLOWING = episodes.next_valid(MASK)

KERNELS = {
    td_weighting.td_errors: (VALUES, torch.ones(2), MASK, FOLLOWING, 1.0),
    td_weighting.clipped_exponential: (VALUES, 0.9, 0.1, 5.0, MASK),
    returns.dense_gae: (VALUES, torch.ones(2), 1.0, 0.9),
    returns.masked_gae: (VALUES, VALUES, MASK, SEGMENTS, 1.0, 0.9),
    returns.packed_gae: (VALUES, VALUES, SEGMENTS, 1.0, 0.9),
    returns.rewards_to_come: (VALUES, torch.ones(2), MASK, None),
    reverse_scan.reverse_scan: (VALUES, 0.5),
    reverse_scan.segmented_reverse_scan: (VALUES, 0.5, VALUES),
    reverse_scan.doubling_scan: (CUBE, 0.5, CUBE),
    reverse_scan.place_in_episode: (SEGMENTS, torch.float32),
    reverse_scan.beyond: (CUBE, CUBE, 1),
    reverse_scan.decay_powers: (CUBE, 0.5),
    reverse_scan.blocks_of: (SEGMENTS, 2),
    episodes.next_valid: (MASK, SEGMENTS),
    episodes.prediction_mask: (SEGMENTS, SEGMENTS),
    episodes.align_to_heads: (VALUES, 3),
    episodes.episode_index: (SEGMENTS,),
    episodes.episode_sum: (VALUES, episodes.episode_index(SEGMENTS)),
    episodes.episode_max: (VALUES, None),
    credit.log_odds_of_success: (VALUES, torch.tensor(0.5), MASK, SEGMENTS),
    credit.values_from_credit: (VALUES, torch.ones(2), MASK),
    credit.sums_before: (VALUES, SEGMENTS),
    log_odds.smooth_log_odds: (VALUES, 0.1),
    entropy_floor.entropy_floor_temperature: (VALUES, 0.5, 0.9, MASK, None),
    entropy_floor.softmax_weights: (VALUES, torch.ones(2, 1), MASK, None),
    statistics.masked_mean_and_m2: (VALUES, MASK),
    statistics.merge_mean_and_m2: (torch.ones(2, dtype=torch.int64), torch.ones(2), torch.ones(2)),
    rho1.top_share: (CUBE, CUBE > 0.5, 0.5),
    controls.hash_per_prediction: (CUBE, torch.Generator()),
    controls.mix64: (SEGMENTS,),
    controls.standard_normal: (SEGMENTS,),
}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_kernel_gives_the_shape_and_dtype_of_its_annotation(kernel):
    jaxtyped(typechecker=beartype)(kernel)(*KERNELS[kernel])


def test_kernel_called_with_another_shape_is_caught():
    checked = jaxtyped(typechecker=beartype)(td_weighting.td_errors)
    with pytest.raises(TypeCheckError):
        checked(VALUES, torch.ones(2), MASK[:, :4], FOLLOWING, 1.0)
