"""How many rows of logits to work on at a time, for memory (chunks) and for the processor's cache (tiles).

Every chunk packs W anew and passes once over W's gradient: 64 rows at a vocabulary of 32k took 3.2 times the naive
time in bf16 (4,096 rows, 512 wide, AMX), 832 rows .60. Many rows cost memory, bounded by a share of W's gradient.
"""

import torch
from jaxtyping import Shaped
from torch import Tensor

SHARE_OF_GRADIENT = 0.82  # 16 % of the naive loss's memory in bf16 and 8 % in float32, at the size above
MIN_LOGITS = 2**21  # for narrow models, whose gradient is small
STEP = 64  # matmuls like whole blocks of rows
NUMBERS_PER_TILE = 2**18  # 1 MB of float32 stays in a core's second-level cache; a chunk does not
# accelerators: by design, not by measurement (no GPU could be had so far)
ACCELERATOR_ROWS = (2_048, 4_096)
ACCELERATOR_BYTES = 2**29  # of logits in a chunk, if that leaves 2,048 rows
ACCELERATOR_NUMBERS_PER_TILE = 2**24  # 64 MB of float32: a launch is short against a pass over it


def rows_per_chunk(rows: int, weight: Shaped[Tensor, "vocab dim"], wide: torch.dtype, chunk_size: int | None) -> int:
    """Chunk length that makes all chunks about equally long; the default one in whole steps.

    Logits have the precision of `weight`, its gradient that of `wide`.
    """
    step = 1
    if chunk_size is None:
        step = STEP
        longest = _longest_elsewhere(weight) if _is_accelerator(weight.device) else _longest_on_cpu(weight, wide)
        chunk_size = max(longest, step) // step * step
    chunks = max(1, -(-rows // chunk_size))
    return max(1, min(rows, -(-rows // (chunks * step)) * step))


def _longest_on_cpu(weight: Shaped[Tensor, "vocab dim"], wide: torch.dtype) -> int:
    share = int(SHARE_OF_GRADIENT * weight.shape[1] * wide.itemsize / weight.itemsize)
    return max(share, MIN_LOGITS // max(1, weight.shape[0]))


def _longest_elsewhere(weight: Shaped[Tensor, "vocab dim"]) -> int:
    fewest, most = ACCELERATOR_ROWS
    return max(fewest, min(most, ACCELERATOR_BYTES // max(1, weight.shape[0] * weight.itemsize)))


def rows_per_tile(rows: int, columns: int, device: torch.device) -> int:
    """How many rows of a matrix one pass works on: as many as stay in a CPU's cache, more elsewhere."""
    numbers = ACCELERATOR_NUMBERS_PER_TILE if _is_accelerator(device) else NUMBERS_PER_TILE
    return max(1, min(rows, numbers // max(1, columns)))


def _is_accelerator(device: torch.device) -> bool:
    """True on an accelerator; the meta device stands for the CPU."""
    return device.type not in ("cpu", "meta")
