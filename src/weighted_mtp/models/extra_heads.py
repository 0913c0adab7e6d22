"""The heads for the second, third, ... next token: copies of a decoder's last layer, which come in gently."""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from weighted_mtp.models.architecture import decoder_layers, head_logits


class ExtraHeads(nn.ModuleList):
    """Copies of the last of `layers`, run on the arguments that this layer receives; ValueError: more than memory
    holds."""

    kind = "parallel"
    """In the words of the setting `heads`."""
    rereads = 0
    """Tokens that a forward which verifies drafts reads once more (see `SequentialHeads.draft`)."""

    def __init__(self, layers: nn.ModuleList, count: int):
        one = sum(parameter.nbytes for parameter in layers[-1].parameters())
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if count * one > memory:
            raise ValueError(
                f"n_future is {count + 1}: this machine has memory for {memory // one} heads of {one / 1e6:.3g} MB"
            )
        super().__init__(copy.deepcopy(layers[-1]) for _ in range(count))
        for index, head in enumerate(self, start=len(layers)):
            set_layer_index(head, index)

    @contextmanager
    def attached_to(self, hf_model: Any) -> Iterator[None]:
        """While inside, the decoder returns its own and all heads' hidden states, stacked on axis -2; used outside it
        is untouched, copies of a model carry no hook, and a decoder may be wrapped twice."""
        handle = decoder_layers(hf_model)[-1].register_forward_hook(self._stack, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def watching(self, hf_model: Any) -> Iterator[Any]:
        """`attached_to` for a forward behind which the heads `draft`; gives what they then need of it."""
        with self.attached_to(hf_model):
            yield None

    def draft(self, hf_model: Any, hidden: Tensor, ids: Tensor, newest: Tensor, last: Tensor, given: Any) -> Tensor:
        """The likeliest tokens behind the newest one [rows], [rows, heads]: by the states [rows, tokens, heads, dim] of
        a forward `watching`, which noted what is `given`, over `ids`, of which each row's `last` is the last one that
        counts."""
        rows = torch.arange(len(ids), device=ids.device)
        return head_logits(hf_model, hidden[rows, last, 1:]).argmax(-1)

    def _stack(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        states = [hidden_of(output)]
        for head in self:
            own_args, own_kwargs = in_precision((args, kwargs), states[0].dtype, precision_of(head))
            states.append(hidden_of(head(*own_args, **own_kwargs)).to(states[0].dtype))
        stacked = torch.stack(states, dim=-2)
        return (stacked, *output[1:]) if isinstance(output, tuple) else stacked

    def as_stored(self, hf_model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights in an `MTPModel`'s state dict that belong into the plain model's files, under their names there."""
        return {}

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Those that adapters would leave as they start: none, since all are copies of a layer's."""
        return iter(())

    def set_checkpointing(self, enable: bool, function: Any = None) -> None:
        """Recompute each head's activations in the backward pass, by `function`, or keep them."""
        for module in self.modules():
            if hasattr(module, "gradient_checkpointing"):
                vars(module).update(gradient_checkpointing=enable, _gradient_checkpointing_func=function)


def in_precision(x: Any, narrow: torch.dtype, wide: torch.dtype) -> Any:
    """Arguments of a layer of one precision for a copy of it in another: heads train in float32 beside a half base."""
    if narrow == wide:
        return x
    if isinstance(x, Tensor):
        return x.to(wide) if x.dtype == narrow else x
    if isinstance(x, tuple | list):
        return tuple(in_precision(entry, narrow, wide) for entry in x)
    if isinstance(x, dict):
        return {name: in_precision(entry, narrow, wide) for name, entry in x.items()}
    return x


def precision_of(head: nn.Module) -> torch.dtype:
    """In which it computes."""
    return next(p.dtype for p in head.parameters() if p.is_floating_point())  # in 4 bits some are not


def hidden_of(output: Any) -> Tensor:
    """What a decoder layer of any family returns, without its attentions."""
    return output[0] if isinstance(output, tuple) else output


def set_layer_index(layer: nn.Module, index: int) -> None:
    """A copy that kept the last layer's index would write over that layer's part of a cache."""
    for module in layer.modules():
        if hasattr(module, "layer_idx"):
            vars(module)["layer_idx"] = index


def head_warmup(
    step: int, n_future: int, warmup_steps: int, start: float = 0.0, decay: float = 1.0
) -> tuple[float, ...]:
    """Weight of every prediction head in the loss at one optimizer step.

        head 0:      1
        head k > 0:  decay^k (start + (1 - start) min(1, step / warmup_steps))

    A fresh extra head is a copy of the last layer, which predicts the next token: it begins *worse* than a uniform
    guess (11.0 to 11.9 nats against ln V = 10.8), and at full weight would push the shared trunk away from what it
    knows.

    Source of the decay: Cai et al. 2025, "FastMTP", arXiv 2509.18362, equation 2, which has no head 0 in the loss and
    divides by the sum; here head 0 keeps weight 1, and the ratios of the heads are the same.

    Args:
        step: optimizer steps done so far, 0 for the first.
        n_future: number of heads, at least 1.
        warmup_steps: optimizer steps until all heads weigh the same; 0 for no warm-up.
        start: weight of the extra heads at step 0, in [0, 1].
        decay: of the weight from head to head, in (0, 1]; 1: all extra heads weigh the same.

    Returns:
        n_future weights, head 0 (next token) first.

    Examples:
        >>> head_warmup(0, n_future=4, warmup_steps=100)
        (1.0, 0.0, 0.0, 0.0)
        >>> head_warmup(50, n_future=2, warmup_steps=100, start=0.1)
        (1.0, 0.55)
        >>> head_warmup(200, n_future=2, warmup_steps=100)
        (1.0, 1.0)
        >>> head_warmup(0, n_future=3, warmup_steps=0, decay=0.6)
        (1.0, 0.6, 0.36)
    """
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be >= 0, got {step} and {warmup_steps}")
    if n_future < 1:
        raise ValueError(f"n_future must be at least 1, got {n_future}")
    if not 0.0 <= start <= 1.0:
        raise ValueError(f"start must lie in [0, 1], got {start}")
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"decay must lie in (0, 1], got {decay}")
    progress = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return (1.0, *((start + (1.0 - start) * progress) * decay**k for k in range(1, n_future)))
