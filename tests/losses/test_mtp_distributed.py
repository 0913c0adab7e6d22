"""Two processes under DDP, each with its share of the rows, against one process with all of them."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from weighted_mtp.losses import mtp_targets, weighted_mtp_loss

WORLD, HEADS = 2, 2


class TinyModel(nn.Module):
    """Embedding, one layer per head, tied unembedding; the loss is part of forward."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(13, 6)
        self.heads = nn.ModuleList(nn.Linear(6, 6) for _ in range(HEADS))

    def forward(self, tokens: Tensor, targets: Tensor, weights: Tensor, normalizer: Tensor) -> Tensor:
        x = self.embedding(tokens)
        hidden = torch.stack([head(x) for head in self.heads], dim=-2)
        return weighted_mtp_loss(hidden, self.embedding.weight, targets, weights, normalizer=normalizer).loss


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Rank 0's first two rows hold far more targets than rank 1's last two."""
    torch.manual_seed(1)
    tokens = torch.randint(0, 13, (4, 8))
    labels = tokens.clone()
    labels[2:, :6] = -100
    return tokens, mtp_targets(labels, HEADS), torch.rand(4, 8, HEADS)


def model() -> TinyModel:
    torch.manual_seed(0)
    return TinyModel()


def train_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    wrapped = DistributedDataParallel(model())
    tokens, targets, weights = batch()
    mine = slice(2 * rank, 2 * rank + 2)
    count = (targets[mine] != -100).sum()
    dist.all_reduce(count)
    loss = wrapped(tokens[mine], targets[mine], weights[mine], count)
    (loss * WORLD).backward()  # DDP averages gradients; the global denominator wants their sum
    if rank == 0:
        torch.save([p.grad for p in wrapped.parameters()], f"{folder}/gradients.pt")
    dist.destroy_process_group()


def test_two_ranks_with_the_global_denominator_equal_one_process(tmp_path: Path):
    mp.spawn(train_rank, args=(str(tmp_path),), nprocs=WORLD)
    single, (tokens, targets, weights) = model(), batch()
    single(tokens, targets, weights, (targets != -100).sum()).backward()
    gradients = torch.load(tmp_path / "gradients.pt")
    for got, parameter in zip(gradients, single.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-7)
