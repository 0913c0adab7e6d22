"""Verified completions: one row schema, tokens and labels, batches, orders of sampling, and the made task."""

from .chain_checks import share_right, share_right_with_error, verify
from .chains import (
    EASY,
    LOW_SUCCESS,
    Chains,
    ChainTables,
    ChainTask,
    chain_tables,
    chain_tokenizer,
    make_chains,
)
from .collators import CompletionCollator
from .encoding import IGNORED, prompt_id, prompt_text
from .paired_samplers import BalancedSampler, LengthBalancedSampler, PairSampler
from .resampling import resample_right
from .sampler_base import SeededSampler
from .samplers import SAMPLERS, CurriculumSampler, ShuffledSampler, make_sampler
from .schema import TOKEN_COLUMNS, BadRows, DataError, Row, parse_row
from .sources import LoadReport, load_rows
from .tokenization import TokenizeReport, tokenize_rows

__all__ = [
    "EASY",
    "IGNORED",
    "LOW_SUCCESS",
    "SAMPLERS",
    "TOKEN_COLUMNS",
    "BadRows",
    "BalancedSampler",
    "ChainTables",
    "ChainTask",
    "Chains",
    "CompletionCollator",
    "CurriculumSampler",
    "DataError",
    "LengthBalancedSampler",
    "LoadReport",
    "PairSampler",
    "Row",
    "SeededSampler",
    "ShuffledSampler",
    "TokenizeReport",
    "chain_tables",
    "chain_tokenizer",
    "load_rows",
    "make_chains",
    "make_sampler",
    "parse_row",
    "prompt_id",
    "prompt_text",
    "resample_right",
    "share_right",
    "share_right_with_error",
    "tokenize_rows",
    "verify",
]
