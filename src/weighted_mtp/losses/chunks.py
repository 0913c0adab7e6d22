"""How many rows of logits to work on at a time, for memory (chunks) and for the processor's cache (tiles).

Every chunk packs W anew for its matmuls and passes once over W's gradient, so few rows are slow: the first
version's 64 rows at a vocabulary of 32k took 3.2 times the naive time in bf16 (4,096 rows, 512 wide, AMX), 683
rows .64, 832 rows .60. Many rows cost memory. A share of the memory that W's gradient takes anyway bounds both.
"""

import torch
from jaxtyping import Shaped
from torch import Tensor

SHARE_OF_GRADIENT = 0.82  # 16 % of the naive loss's memory in bf16 and 8 % in float32, at the size above
MIN_LOGITS = 2**21  # for narrow models, whose gradient is small
STEP = 64  # matmuls like whole blocks of rows
NUMBERS_PER_TILE = 2**18  # 1 MB of float32 stays in a core's second-level cache; a chunk does not


def rows_per_chunk(
    rows: int, weight: Shaped[Tensor, "vocab dim"], wide: torch.dtype, chunk_size: int | None
) -> int:
    """Chunk length that makes all chunks about equally long; the default one in whole steps.

    Logits have the precision of `weight`, its gradient that of `wide`.
    """
    (vocab, dim), step = weight.shape, 1
    if chunk_size is None:
        step = STEP
        share = int(SHARE_OF_GRADIENT * dim * wide.itemsize / weight.itemsize)
        chunk_size = max(share, MIN_LOGITS // max(1, vocab), step) // step * step
    chunks = max(1, -(-rows // chunk_size))
    return max(1, min(rows, -(-rows // (chunks * step)) * step))


def rows_per_tile(rows: int, columns: int, device: torch.device) -> int:
    """How many rows of a matrix one pass works on: as many as stay in the cache; all where it is no CPU."""
    return max(1, min(rows, NUMBERS_PER_TILE // max(1, columns)) if device.type == "cpu" else rows)
