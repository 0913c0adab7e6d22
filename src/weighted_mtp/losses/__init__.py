"""What is minimised: the weighted multi-token cross-entropy, and the losses of the value head.

A shape, a dtype or an option that does not fit raises ValueError.
"""

from weighted_mtp import IGNORED
from weighted_mtp.losses.implicit import implicit_reward_loss
from weighted_mtp.losses.likelihoods import MTPLikelihoods, mtp_likelihoods, mtp_nll
from weighted_mtp.losses.mtp import MTPLossOutput, weighted_mtp_loss
from weighted_mtp.losses.targets import mtp_targets
from weighted_mtp.losses.value import pairwise_ranking, value_bce, value_clipped_mse, value_mse

__all__ = [
    "IGNORED", "MTPLikelihoods", "MTPLossOutput", "implicit_reward_loss", "mtp_likelihoods", "mtp_nll", "mtp_targets",
    "pairwise_ranking", "value_bce", "value_clipped_mse", "value_mse", "weighted_mtp_loss",
]  # fmt: skip
