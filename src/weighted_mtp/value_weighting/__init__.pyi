from .credit import log_odds_of_success, values_from_credit
from .entropy_floor import entropy_floor_temperature, softmax_weights
from .episodes import align_to_heads, next_valid, prediction_mask
from .protocol import Signals, WeightingScheme, stop_at_floor, weigh
from .registry import SCHEMES, make_scheme
from .returns import compute_gae, compute_lambda_returns
from .schemes.basic import Column, Uniform
from .schemes.controls import Control, LogNormal, PositionAligned, RandomControl, Shuffled, ShuffledAcross
from .schemes.dft import DFT
from .schemes.eaft import EAFT
from .schemes.exponential import Exponential
from .schemes.iw_sft import IwSFT
from .schemes.log_odds import LogOdds
from .schemes.nft import NFT
from .schemes.prift import PriFT
from .schemes.profit import ProFit
from .schemes.return_weighted import ReturnWeighted
from .schemes.rho1 import Rho1, top_share
from .schemes.signed import SignedCredit
from .schemes.softmax import Softmax
from .schemes.steps import Steps
from .schemes.td import TD
from .schemes.top_entropy import TopEntropy
from .schemes.w_reinforce import WReinforce
from .statistics import Moments, clip_fraction, critic_drift, merge_moments, moments, td_stats, weight_stats
from .td_weighting import build_weights, compute_td_errors, compute_td_stats, compute_weight_stats
from .whitening import EMAWhitener, whiten

__all__ = [
    "DFT",
    "EAFT",
    "NFT",
    "SCHEMES",
    "TD",
    "Column",
    "Control",
    "EMAWhitener",
    "Exponential",
    "IwSFT",
    "LogNormal",
    "LogOdds",
    "Moments",
    "PositionAligned",
    "PriFT",
    "ProFit",
    "RandomControl",
    "ReturnWeighted",
    "Rho1",
    "Shuffled",
    "ShuffledAcross",
    "Signals",
    "SignedCredit",
    "Softmax",
    "Steps",
    "TopEntropy",
    "Uniform",
    "WReinforce",
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
    "stop_at_floor",
    "td_stats",
    "top_share",
    "values_from_credit",
    "weigh",
    "weight_stats",
    "whiten",
]
