"""Memory and synchronisation of weighted_mtp_loss, by watching every operation; no clocks."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from weighted_mtp.losses import mtp_nll, weighted_mtp_loss
from weighted_mtp.losses.chunks import rows_per_chunk

from .conftest import example


class Watch(TorchDispatchMode):
    """Counts operations; tracks the bytes of storages alive that were made inside, and the largest tensor."""

    def __init__(self):
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.ops[func.overloadpacket.__name__] += 1
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
                self.largest = max(self.largest, storage.nbytes() // x.element_size())
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self.alive.values()))
        return out


def watched(function: Callable[..., Tensor], *args: Any, backward: bool = True, **options: Any) -> Watch:
    with Watch() as watch:
        loss = function(*args, **options)
        if backward:
            loss.backward()
        del loss
    return watch


def naive_loss(hidden: Tensor, lm_head_weight: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    logits = linear(hidden, lm_head_weight).flatten(0, 2)
    nll = cross_entropy(logits, targets.flatten(), reduction="none")
    return (nll * weights.flatten()).sum() / (targets != -100).sum()


def mtp_loss(**inputs: Any) -> Tensor:
    return weighted_mtp_loss(**inputs).loss


LARGE = {"batch": 2, "seq": 256, "n_future": 4, "dim": 32, "vocab": 16_000}


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 0.10), (torch.bfloat16, 0.17)])
def test_peak_memory_is_a_small_part_of_the_naive_loss(dtype: torch.dtype, share: float):
    inputs = example(**LARGE, dtype=dtype)
    plain = watched(naive_loss, **inputs)
    for name in ("hidden", "lm_head_weight"):
        inputs[name].grad = None
    ours = watched(mtp_loss, **inputs)
    assert plain.peak >= 2 * dtype.itemsize * 2048 * 16_000  # the watch sees logits and their gradient
    assert ours.peak <= share * plain.peak


@pytest.mark.parametrize(
    ("batch", "dim", "vocab", "dtype", "share"),
    [
        (2, 512, 32_768, torch.float32, 0.10),
        (4, 576, 49_152, torch.float32, 0.05),
        (2, 512, 32_768, torch.bfloat16, 0.17),
        (4, 576, 49_152, torch.bfloat16, 0.09),
    ],
)
def test_peak_memory_at_the_sizes_of_real_heads(batch: int, dim: int, vocab: int, dtype: torch.dtype, share: float):
    """What the two losses hold at their peaks, by arithmetic: the real thing takes 5 GB (benchmarks/loss.py)."""
    rows, unembedding = batch * 512 * 4, torch.empty(vocab, dim, dtype=dtype, device="meta")
    chunk = rows_per_chunk(rows, unembedding, torch.float32, None) * vocab * dtype.itemsize
    d_unembedding, d_hidden = 4 * vocab * dim, rows * dim * dtype.itemsize
    naive = 3 * rows * vocab * dtype.itemsize  # log-probabilities, and the gradients of these and of logits
    assert chunk + d_unembedding + d_hidden <= share * naive


def test_no_tensor_reaches_the_size_of_all_logits():
    rows, vocab = 2 * 256 * 4, 16_000
    watch = watched(mtp_loss, **example(**LARGE), chunk_size=100, softcap=5.0)
    assert watch.largest <= max(100 * vocab, vocab * 32)
    assert watch.largest < rows * vocab / 15


def test_nll_holds_one_chunk_of_logits():
    inputs = example(**LARGE)
    del inputs["weights"]
    watch = watched(mtp_nll, **inputs, backward=False)
    assert watch.largest <= 2**21
    assert watch.peak <= 2 * 4 * 2**21


def test_the_index_of_rows_is_the_one_host_synchronisation():
    inputs = example(seq=40)
    watch = watched(
        mtp_loss, **inputs, chunk_size=7, softcap=5.0, logit_scale=0.5, bias=torch.zeros(11), head_weights=[1, 0, 2]
    )
    assert watch.ops["nonzero"] == 1
    assert not set(watch.ops) & {"_local_scalar_dense", "is_nonzero", "equal", "unique", "masked_select"}
    assert watch.ops["mm"] > 10  # the watch sees the chunks


def test_without_gradient_mode_no_gradient_work_is_done():
    inputs = example(seq=40)
    with torch.no_grad():
        watch = watched(mtp_loss, **inputs, chunk_size=7, backward=False)
    rows = int(((inputs["targets"] != -100) & (inputs["weights"] != 0)).sum())
    assert watch.ops["mm"] == -(-rows // 7)
    assert watch.ops["addmm_"] == watch.ops["scatter_add_"] == 0


def test_a_frozen_unembedding_costs_no_matmul_for_its_gradient():
    inputs = example(seq=40)
    inputs["lm_head_weight"].requires_grad_(False)
    assert watched(mtp_loss, **inputs).ops["addmm_"] == 0


def test_dropped_rows_cost_no_matmul():
    inputs = example(seq=40)
    inputs["weights"].zero_()
    assert watched(mtp_loss, **inputs).ops["mm"] == 0
