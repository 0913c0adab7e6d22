"""Two steps of SGD on an MTPModel by one process or by several. Not a test."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import LlamaConfig, LlamaForCausalLM

from weighted_mtp.losses import mtp_targets, weighted_mtp_loss
from weighted_mtp.models import MTPModel

ROWS = 4


def build(kind: str) -> MTPModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        tie_word_embeddings=kind.endswith("_tied"),
        initializer_range=0.2,
    )
    heads = "sequential" if kind.endswith("sequential") else "parallel"
    return MTPModel(LlamaForCausalLM(config), n_future=3, value_head=True, heads=heads).train()


def wrap(model: MTPModel, kind: str) -> torch.nn.Module:
    if kind.startswith("ddp"):
        return DistributedDataParallel(model)
    if kind.endswith("checkpointing"):
        model.gradient_checkpointing_enable()
    if kind.startswith("fsdp"):
        for block in [*model.hf_model.model.layers, *model.extra_heads]:
            fully_shard(block)
        fully_shard(model)
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
    return model


def train(rank: int, world: int, kind: str, directory: Path) -> None:
    model = build(kind)
    wrapped = wrap(model, kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ids = torch.randint(0, 64, (ROWS, 10), generator=torch.Generator().manual_seed(2))[rank::world]
    targets = mtp_targets(ids, model.n_future)
    for _ in range(2):
        outputs = wrapped(ids)
        loss = weighted_mtp_loss(outputs["hidden_states"], targets=targets, **model.output_head()).loss
        (loss + (outputs["values"] - 1).square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    state = model.state_dict()
    if kind.startswith("fsdp"):
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        model.save_pretrained(directory, state_dict=state)


def train_all(rank: int, world: int, directory: Path, kinds: list[str]) -> None:
    """What each of several processes does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(directory / "store"), world), rank=rank, world_size=world)
    for kind in kinds:
        train(rank, world, kind, directory / kind)
    dist.destroy_process_group()
