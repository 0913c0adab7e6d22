from .batches import NO_ROW, CompletionCollator, RankBatches, WithNoRow
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
from .encoding import IGNORED, prompt_id, prompt_text
from .fields import DataError
from .samplers import (
    SAMPLERS,
    BalancedSampler,
    CurriculumSampler,
    LengthBalancedSampler,
    PairSampler,
    SeededSampler,
    ShuffledSampler,
    make_sampler,
)
from .schema import TOKEN_COLUMNS, BadRows, Row, is_right, parse_row
from .sources import LoadReport, load_rows
from .tokenization import TokenizeReport, tokenize_rows

__all__ = [
    "EASY",
    "IGNORED",
    "LOW_SUCCESS",
    "NO_ROW",
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
    "RankBatches",
    "Row",
    "SeededSampler",
    "ShuffledSampler",
    "TokenizeReport",
    "WithNoRow",
    "chain_tables",
    "chain_tokenizer",
    "is_right",
    "load_rows",
    "make_chains",
    "make_sampler",
    "parse_row",
    "prompt_id",
    "prompt_text",
    "share_right",
    "share_right_with_error",
    "tokenize_rows",
    "verify",
]
