"""Verified completions: one row schema, tokens and labels, batches, orders of sampling, and the made task."""

from .chains import (
    EASY,
    LOW_SUCCESS,
    Chains,
    ChainTables,
    ChainTask,
    chain_tables,
    chain_tokenizer,
    make_chains,
    share_right,
    share_right_with_error,
    verify,
)
from .collators import CompletionCollator
from .encoding import IGNORED, prompt_id, prompt_text
from .schema import TOKEN_COLUMNS, BadRows, DataError, Row, parse_row
from .sources import LoadReport, load_rows
from .tokenization import TokenizeReport, tokenize_rows

__all__ = [
    "EASY",
    "IGNORED",
    "LOW_SUCCESS",
    "TOKEN_COLUMNS",
    "BadRows",
    "ChainTables",
    "ChainTask",
    "Chains",
    "CompletionCollator",
    "DataError",
    "LoadReport",
    "Row",
    "TokenizeReport",
    "chain_tables",
    "chain_tokenizer",
    "load_rows",
    "make_chains",
    "parse_row",
    "prompt_id",
    "prompt_text",
    "share_right",
    "share_right_with_error",
    "tokenize_rows",
    "verify",
]
