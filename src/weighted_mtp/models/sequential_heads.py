"""Heads that follow one another: each reads the state of the one before and the token that was predicted there."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from weighted_mtp.models.architecture import UnsupportedModelError, decoder_layers, head_logits
from weighted_mtp.models.extra_heads import ExtraHeads, hidden_of, in_precision, precision_of, set_layer_index

Given = dict[int, dict[str, Any]]
"""By the index of a decoder layer, what it received beside hidden states."""

_AS_LLAMAS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")


class SequentialHead(nn.Module):
    """norm(layer(W [norm(embedding); norm(state)])), under the names that transformers gives such a layer's parts.

    The last layer and the final norm are copied, W is [0 1], and the norms before it have the gain c that makes of a
    state one of the size that the last layer reads: the head begins as that layer run once more. Without norms it
    begins as the head before: what the layer adds is 0.

    `scale` is c; None: no norm but that before the layer's MLP, as in an EAGLE-1 draft model. ValueError: a decoder
    without a final norm, or that ends in another width.
    """

    def __init__(self, hf_model: Any, scale: Tensor | None):
        super().__init__()
        norms = [part for part in hf_model.get_decoder().children() if "Norm" in type(part).__name__]
        width = hf_model.get_input_embeddings().weight.shape[-1]
        if not norms or norms[-1].weight.shape != (width,):
            raise UnsupportedModelError(
                hf_model.config.model_type, "sequential ones need a final norm as wide as the embedding"
            )
        last, like = decoder_layers(hf_model)[-1], norms[-1].weight
        self.eh_proj = nn.Linear(2 * width, width, bias=False, device=like.device, dtype=like.dtype)
        self.mtp_block: Any = copy.deepcopy(last)
        with torch.no_grad():
            self.eh_proj.weight.copy_(torch.eye(width, 2 * width).roll(width, 1))
            if scale is None:
                self.enorm, self.hnorm, self.post_norm = (nn.Identity() for _ in range(3))
                self.mtp_block.input_layernorm = nn.Identity()
                for added in (self.mtp_block.self_attn.o_proj, self.mtp_block.mlp.down_proj):
                    added.weight.zero_()
                return
            self.enorm, self.hnorm, self.post_norm = (copy.deepcopy(norms[-1]) for _ in range(3))
            for norm in (self.enorm, self.hnorm):
                hf_model._init_weights(norm)
                norm.weight.add_(scale - 1)  # some families keep a gain as what it is beyond 1

    def forward(self, embedding: Tensor, state: Tensor, **given: Any) -> Tensor:
        """The next state, from what a decoder layer receives beside hidden states."""
        joined = self.eh_proj(torch.cat([self.enorm(embedding), self.hnorm(state)], dim=-1))
        return self.post_norm(hidden_of(self.mtp_block(joined, **given)))


class SequentialHeads(ExtraHeads):
    """Heads of which each has the state of the one before, the embedding of a token more, and a decoder layer.

        s_0[t] = head 0's state, behind the final norm
        s_k[t] = norm_k(layer_k(W_k [norm(embed(x_{t+k})); norm(s_{k-1}[t])]))       predicts x_{t+k+1}

    A layer is given the mask and positions of a decoder layer: positions t, not t + k, which is the same to rotary
    embeddings. The last k places of a row, where x_{t+k} is not of the row, count nowhere.

    Source: DeepSeek-AI 2024, "DeepSeek-V3 Technical Report", arXiv 2412.19437, section 2.2; without its norms Li et al.
    2024, "EAGLE: Speculative Sampling Requires Rethinking Feature Uncertainty", arXiv 2401.15077, section 3.1.
    `kind` is "sequential", or "eagle" for heads without norms, which EAGLE-1's draft models are (see `eagle`).
    """

    likes: list[int]
    """By head, the decoder layer whose mask and positions it is given."""

    def __init__(self, hf_model: Any, count: int, kind: str):
        layers = decoder_layers(hf_model)
        if kind == "eagle":
            _require_fits_eagle(hf_model, layers[-1], count)
        scale = None if kind == "eagle" else _stream_scale(hf_model)
        nn.ModuleList.__init__(self, (SequentialHead(hf_model, scale) for _ in range(count)))
        for index, head in enumerate(self, start=len(layers)):
            set_layer_index(head, index)
        self.kind, self.likes = kind, [len(layers) - 1] * count

    @contextmanager
    def attached_to(self, hf_model: Any) -> Iterator[None]:
        """As `ExtraHeads`."""
        with self.watching(hf_model) as given:
            hook = hf_model.get_decoder().register_forward_hook(partial(self._follow, given), with_kwargs=True)
            try:
                yield
            finally:
                hook.remove()

    @contextmanager
    def watching(self, hf_model: Any) -> Iterator[Given]:
        """Notes, while inside, what the layers receive in whose place the heads are."""
        given: Given = {}
        layers = decoder_layers(hf_model)
        hooks = [layers[i].register_forward_hook(partial(_note, given, i), with_kwargs=True) for i in {*self.likes}]
        try:
            yield given
        finally:
            for hook in hooks:
                hook.remove()

    def _follow(self, given: Given, decoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        ids, states = kwargs["input_ids"], [output.last_hidden_state]
        for k in range(len(self)):
            ids = ids.roll(-1, dims=1)
            states.append(self._step(k, decoder.get_input_embeddings()(ids), states[-1], given))
        output.last_hidden_state = torch.stack(states, dim=-2)
        return output

    @property
    def rereads(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Places at which the last head was told drafts, when it ran there."""
        return len(self) - 1

    def draft(self, hf_model: Any, hidden: Tensor, ids: Tensor, newest: Tensor, last: Tensor, given: Given) -> Tensor:
        """As `ExtraHeads`: each head runs on all tokens, with what follows them, and behind `last` with guesses."""
        rows, state, found = torch.arange(len(ids), device=ids.device), hidden[..., 0, :], list[Tensor]()
        for k in range(len(self)):
            ids = ids.roll(-1, dims=1)
            ids[rows, last] = newest
            state = self._step(k, hf_model.get_input_embeddings()(ids), state, given)
            newest = head_logits(hf_model, state[rows, last]).argmax(-1)
            found.append(newest)
        return torch.stack(found, dim=1)

    def _step(self, k: int, embeddings: Tensor, state: Tensor, given: Given) -> Tensor:
        narrow, wide = state.dtype, precision_of(self[k])
        inputs = in_precision((embeddings, state), narrow, wide)
        return self[k](*inputs, **in_precision(given[self.likes[k]], narrow, wide)).to(narrow)

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """Those that are no copies of a layer's, which adapters would leave as they start."""
        return (parameter for name, parameter in self.named_parameters() if ".mtp_block." not in name)


@torch.no_grad()
def _stream_scale(hf_model: Any) -> Tensor:
    """Root mean square of what the last layer reads: the median of some tokens, since the first may be far larger."""
    if hf_model.device.type == "meta":
        return torch.ones((), device="meta")
    read, was_training = list[Tensor](), hf_model.training
    hook = decoder_layers(hf_model)[-1].register_forward_pre_hook(lambda layer, args: read.append(args[0]))
    try:
        ids = torch.arange(1, 17, device=hf_model.device)[None] * (hf_model.config.get_text_config().vocab_size // 17)
        hf_model.eval().get_decoder()(input_ids=ids, use_cache=False)
    finally:
        hook.remove()
        hf_model.train(was_training)
    return read[0].float().square().mean(-1).sqrt().median()


def _require_fits_eagle(hf_model: Any, last: Any, count: int) -> None:
    """Raises for what has no place in an EAGLE-1 draft model, which servers build of a layer of Llama's."""
    if count > 1:
        raise ValueError(
            f"heads: eagle is one head, which servers run again for each further token, and n_future is {count + 1}: "
            "give n_future: 2, or heads: sequential"
        )
    if getattr(hf_model, "is_loaded_in_4bit", False):
        raise ValueError("heads: eagle starts with weights of 0, which 4 bits have not: give load_in_4bit: false")
    windowed = getattr(hf_model.config.get_text_config(), "sliding_window", None)
    if type(last).__name__ not in _AS_LLAMAS or windowed:
        raise ValueError(
            f"heads: eagle is of decoders whose layers are built as Llama's (llama, mistral, qwen2, without a window), "
            f"and model type {hf_model.config.model_type!r} is none: give heads: sequential"
        )


def _note(given: Given, index: int, layer: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
    given[index] = {name: x for name, x in kwargs.items() if name != "hidden_states"}
