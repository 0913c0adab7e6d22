"""How much each prediction matters: signals of a critic in, weights out. Needs torch alone, and that when asked."""

from typing import TYPE_CHECKING

from weighted_mtp.faces import lazy_face

if TYPE_CHECKING:
    from weighted_mtp.value_weighting.credit import log_odds_of_success, values_from_credit
    from weighted_mtp.value_weighting.entropy_floor import entropy_floor_temperature, softmax_weights
    from weighted_mtp.value_weighting.episodes import align_to_heads, next_valid, prediction_mask
    from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, weigh
    from weighted_mtp.value_weighting.registry import SCHEMES, make_scheme
    from weighted_mtp.value_weighting.returns import compute_gae, compute_lambda_returns
    from weighted_mtp.value_weighting.schemes.basic import Column, Uniform
    from weighted_mtp.value_weighting.schemes.controls import (
        Control,
        LogNormal,
        PositionAligned,
        RandomControl,
        Shuffled,
        ShuffledAcross,
    )
    from weighted_mtp.value_weighting.schemes.exponential import Exponential
    from weighted_mtp.value_weighting.schemes.log_odds import LogOdds
    from weighted_mtp.value_weighting.schemes.return_weighted import ReturnWeighted
    from weighted_mtp.value_weighting.schemes.rho1 import Rho1, top_share
    from weighted_mtp.value_weighting.schemes.softmax import Softmax
    from weighted_mtp.value_weighting.schemes.td import TD
    from weighted_mtp.value_weighting.statistics import (
        Moments,
        clip_fraction,
        critic_drift,
        merge_moments,
        moments,
        td_stats,
        weight_stats,
    )
    from weighted_mtp.value_weighting.td_weighting import (
        build_weights,
        compute_td_errors,
        compute_td_stats,
        compute_weight_stats,
    )
    from weighted_mtp.value_weighting.whitening import EMAWhitener, whiten

__all__ = [
    "SCHEMES",
    "TD",
    "Column",
    "Control",
    "EMAWhitener",
    "Exponential",
    "LogNormal",
    "LogOdds",
    "Moments",
    "PositionAligned",
    "RandomControl",
    "ReturnWeighted",
    "Rho1",
    "Shuffled",
    "ShuffledAcross",
    "Signals",
    "Softmax",
    "Uniform",
    "WeightingScheme",
    "align_to_heads",
    "build_weights",
    "clip_fraction",
    "compute_gae",
    "compute_lambda_returns",
    "compute_td_errors",
    "compute_td_stats",
    "compute_weight_stats",
    "critic_drift",
    "entropy_floor_temperature",
    "log_odds_of_success",
    "make_scheme",
    "merge_moments",
    "moments",
    "next_valid",
    "prediction_mask",
    "softmax_weights",
    "td_stats",
    "top_share",
    "values_from_credit",
    "weigh",
    "weight_stats",
    "whiten",
]

__getattr__ = lazy_face(
    __name__,
    {
        "credit": ("log_odds_of_success", "values_from_credit"),
        "entropy_floor": ("entropy_floor_temperature", "softmax_weights"),
        "episodes": ("align_to_heads", "next_valid", "prediction_mask"),
        "protocol": ("Signals", "WeightingScheme", "weigh"),
        "registry": ("SCHEMES", "make_scheme"),
        "returns": ("compute_gae", "compute_lambda_returns"),
        "schemes.basic": ("Column", "Uniform"),
        "schemes.controls": ("Control", "LogNormal", "PositionAligned", "RandomControl", "Shuffled", "ShuffledAcross"),
        "schemes.exponential": ("Exponential",),
        "schemes.log_odds": ("LogOdds",),
        "schemes.return_weighted": ("ReturnWeighted",),
        "schemes.rho1": ("Rho1", "top_share"),
        "schemes.softmax": ("Softmax",),
        "schemes.td": ("TD",),
        "statistics": (
            "Moments",
            "clip_fraction",
            "critic_drift",
            "merge_moments",
            "moments",
            "td_stats",
            "weight_stats",
        ),
        "td_weighting": ("build_weights", "compute_td_errors", "compute_td_stats", "compute_weight_stats"),
        "whitening": ("EMAWhitener", "whiten"),
    },
)
