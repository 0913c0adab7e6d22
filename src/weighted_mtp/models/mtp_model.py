"""Multi-token prediction by a hook on a decoder's last layer."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from weighted_mtp.models.architecture import decoder_layers, head_logits, logit_scaling, packed_attention_mask
from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.drafts import generate_with_drafts
from weighted_mtp.models.extra_heads import ExtraHeads
from weighted_mtp.models.label_condition import RIGHT, WRONG, LabelCondition
from weighted_mtp.models.lora import add_adapters
from weighted_mtp.models.native_heads import NativeHeads
from weighted_mtp.models.packing import Layout, Packing
from weighted_mtp.models.parts import check_heads
from weighted_mtp.models.row_attention import ROWS
from weighted_mtp.models.saved_heads import HEADS, Heads
from weighted_mtp.models.sequential_heads import SequentialHeads
from weighted_mtp.models.stored import StoredModel
from weighted_mtp.models.value_head import ValueHead, ValueLink


class MTPModel(StoredModel):
    """A Hugging Face causal language model that predicts the next n_future tokens, and its own success.

        trunk      x_{<=t} -> layers[:-1] -> z_t
        head 0     norm(layers[-1](z_t))            predicts token t+1: the plain model, unchanged
        head k     norm(extra_heads[k-1](z_t))      predicts token t+1+k, k = 1 .. n_future-1
        logits     one language-model head for all
        value      P(success | x_{<=t}) = link(value_head(head 0's state))

    All heads run in parallel on the trunk's output. While this model's forward runs, a hook on the last layer calls
    each extra head on the very arguments that layer received and stacks the results, so that the decoder's own final
    norm serves all heads, and masks and position embeddings need no code. `hf_model` used directly is the plain model.
    Losses that a ForCausalLM adds itself (the router's balance loss of mixtures of experts) are not computed.

    Source: Gloeckle et al. 2024, "Better & Faster Large Language Models via Multi-token Prediction",
    arXiv 2404.19737, section 2 (parallel heads, shared unembedding).

    Args:
        hf_model: a causal, decoder-only `PreTrainedModel`; it is wrapped, not copied.
        n_future: prediction heads, at least 1 (plain next-token). Extra heads start as copies of the last
            layer and want a warm-up of their loss weight (`head_warmup`).
        value_head: whether to add a value head; it starts at zero (see `ValueHead`).
        value_link: "sigmoid" (values are probabilities) or "identity" (values are the raw output).
        value_hidden: units of the value head's hidden layer; 0: a linear head.
        critic: makes the model a generative or an implicit critic (see `CriticSpec`); None: neither.
        heads: "parallel" as above; "sequential": one behind the other, each told the token before (see
            `SequentialHeads`); "eagle": such heads without norms, which EAGLE-1 drafts with; "native": the
            checkpoint's own (see `NativeHeads`), or those of another model in memory.

    Raises:
        ValueError: n_future < 1, value_hidden < 0, an unknown link, or a model that cannot carry extra heads
            (gpt2, encoders, encoder-decoders, logits scaled in an unknown way).
    """

    # Read by transformers.Trainer when it loads a checkpoint.
    _keys_to_ignore_on_save = None

    def __init__(
        self,
        hf_model: Any,
        n_future: int = 1,
        value_head: bool = False,
        value_link: ValueLink = "sigmoid",
        value_hidden: int = 0,
        critic: CriticSpec | None = None,
        heads: Heads | NativeHeads = "parallel",
    ):
        super().__init__()
        if n_future < 1:
            raise ValueError(f"n_future must be at least 1, got {n_future}")
        layers = decoder_layers(hf_model)
        self.hf_model = hf_model
        if heads not in HEADS and not isinstance(heads, NativeHeads):
            raise ValueError(f"heads is {heads!r}: give one of {', '.join(HEADS)}")
        if n_future == 1 or heads == "parallel":
            self.extra_heads = ExtraHeads(layers, n_future - 1)
        elif isinstance(heads, NativeHeads):
            self.extra_heads = heads
        elif heads == "native":
            self.extra_heads = NativeHeads(hf_model, n_future - 1)
        else:
            self.extra_heads = SequentialHeads(hf_model, n_future - 1, heads)
        if self.n_future != n_future:
            raise ValueError(f"this model has {self.n_future - 1} native heads: give n_future {self.n_future}")
        if critic is not None and self.extra_heads.kind != "parallel":
            raise ValueError(f"a {critic.kind} critic has no {self.extra_heads.kind} heads: give n_future 1")
        # The language-model head's input size: a decoder may project its hidden size down (opt-350m).
        dim = hf_model.get_output_embeddings().weight.shape[-1]
        self.value_head = ValueHead(dim, value_link, value_hidden, self.device) if value_head else None
        self.critic = critic
        self.label_condition = None if critic is None else critic.label_condition(hf_model)
        check_heads(self)

    def forward(
        self,
        input_ids: Shaped[Tensor, "batch seq"],
        attention_mask: Shaped[Tensor, "batch seq"] | None = None,
        position_ids: Shaped[Tensor, "batch seq"] | None = None,
        condition: Shaped[Tensor, " batch"] | None = None,
        packing: Packing | None = None,
    ) -> dict[str, Tensor]:
        """Hidden states of every head, without logits: what training needs.

        Wrappers (DDP, FSDP) see only this method; the loss gets the language-model head from `output_head`.

        Args:
            input_ids: tokens.
            attention_mask: 1 where a token counts, 0 on padding (either side).
            position_ids: positions, where the decoder's own default will not do.
            condition: what a generative critic is told of each row: 1 right, 0 wrong, -1 nothing.
            packing: which rows share a sequence in the decoder, each with its own positions and attention.

        Returns:
            "hidden_states" [batch, seq, n_future, dim], after the final norm, head 0 first, or with `packing` [packs,
            length, n_future, dim], as `Packing.layout` says; with a value head also "value_logits" and "values"
            [batch, seq, 1], float32: index t is V of the prefix that ends with token t.
        """
        rows = input_ids, attention_mask, position_ids
        with self.extra_heads.attached_to(self.hf_model):
            if condition is None:
                hidden = self._decode(*rows, packing)
            else:
                embeddings = self.hf_model.get_input_embeddings()
                hidden = self._conditioned().decode(self._decode, embeddings, rows, condition, packing)
        return {"hidden_states": hidden, **self._value_outputs(hidden[..., 0, :], _layout(packing, attention_mask))}

    def trunk_forward(
        self,
        input_ids: Shaped[Tensor, "batch seq"],
        attention_mask: Shaped[Tensor, "batch seq"] | None = None,
        position_ids: Shaped[Tensor, "batch seq"] | None = None,
        packing: Packing | None = None,
    ) -> dict[str, Tensor]:
        """Head 0 and the values alone; the extra heads do not run.

        Returns:
            "hidden_states" [batch, seq, dim] of head 0, after the final norm, or with `packing` [packs, length, dim];
            with a value head also "value_logits" and "values" [batch, seq, 1].
        """
        hidden = self._decode(input_ids, attention_mask, position_ids, packing)
        return {"hidden_states": hidden, **self._value_outputs(hidden, _layout(packing, attention_mask))}

    def full_forward(
        self,
        input_ids: Shaped[Tensor, "batch seq"],
        attention_mask: Shaped[Tensor, "batch seq"] | None = None,
        position_ids: Shaped[Tensor, "batch seq"] | None = None,
    ) -> dict[str, Tensor]:
        """`forward` and the logits of every head: [batch, seq, n_future, vocab], which training never builds.

        Returns:
            "logits" [batch, seq, n_future, vocab], those of head 0 the plain model's; the rest as `forward`.
        """
        outputs = self.forward(input_ids, attention_mask, position_ids)
        return {"logits": head_logits(self.hf_model, outputs["hidden_states"]), **outputs}

    def output_head(self) -> dict[str, Any]:
        """The language-model head as keyword arguments of `weighted_mtp_loss` and `mtp_nll`.

            logits = softcap * tanh(z / softcap),  z = logit_scale * (hidden @ lm_head_weight.T + bias)

        The weight is then used outside a wrapper's forward. FSDP2 has it whole from the wrapper's forward to the end of
        the backward: call this after each forward. DDP must be told find_unused_parameters=False (transformers'
        Trainer: ddp_find_unused_parameters=False): a weight that forward does not read would count as unused."""
        head = self.hf_model.get_output_embeddings()
        scale, softcap = logit_scaling(self.config)
        bias = getattr(head, "bias", None)
        return {"lm_head_weight": head.weight, "bias": bias, "logit_scale": scale, "softcap": softcap}

    def generate(self, *args: Any, condition: str | Tensor | None = None, drafts: bool = False, **kwargs: Any) -> Any:
        """The decoder's own `generate`, by head 0.

        Args:
            condition: "right" or "wrong": what a generative critic is told, or [batch] of `RIGHT` and `WRONG`;
                `input_ids` is then a keyword.
            drafts: the extra heads guess ahead and head 0 checks: the same tensor in fewer forwards, where it is
                sampled one of the same distribution; with `return_dict_in_generate` the result has `drafts`, a
                `DraftCounts` of each row (see `drafts.generate_with_drafts`).

        Raises:
            ValueError: a condition for a model that takes none, or an unknown one; drafts that cannot be.
        """
        if drafts:
            if condition is not None:
                raise ValueError("drafts=True is of models without a condition: leave one of them out")
            return generate_with_drafts(self, *args, **kwargs)
        if condition is None:
            return self.hf_model.generate(*args, **kwargs)
        if isinstance(condition, str):
            if condition not in ("right", "wrong"):
                raise ValueError(f"condition is {condition!r}: give 'right' or 'wrong'")
            condition = torch.tensor([RIGHT if condition == "right" else WRONG])
        return self._conditioned().generate(self.hf_model, condition, **kwargs)

    def freeze_trunk(self, extra_heads: bool = False) -> None:
        """Let only the value head train, or only the extra heads; ValueError if there is none."""
        named = ("the extra heads", "n_future=2") if extra_heads else ("the value head", "value_head=True")
        part = self.extra_heads if extra_heads else self.value_head
        parameters = [] if part is None else list(part.parameters())
        if not parameters:
            raise ValueError(f"freeze_trunk trains {named[0]} alone, and there is none: {named[1]}")
        self.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)

    def add_lora(
        self,
        rank: int,
        alpha: float = 16.0,
        targets: Sequence[str] | None = None,
        dropout: float = 0.0,
        base: str | None = None,
    ) -> None:
        """Train low-rank adapters and the new parts alone; what is saved is merged (see `lora.add_adapters`).

        Raises:
            ValueError: rank below 1, or a target that no linear layer is called.
        """
        if rank < 1:
            raise ValueError(f"the rank of adapters must be at least 1, got {rank}")
        add_adapters(self, rank, alpha, targets, dropout, base)

    def _conditioned(self) -> LabelCondition:
        if self.label_condition is None:
            raise ValueError("a condition is for a generative critic, and this model is none")
        return self.label_condition

    def _decode(
        self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None, packing: Packing | None
    ) -> Tensor:
        layout, apart = _layout(packing, attention_mask), {}
        if packing is not None and attention_mask is not None and layout is not None:
            if input_ids.device.type == "cpu" and self.config._attn_implementation == ROWS:
                apart["row_spans"] = packing.spans(attention_mask)
            input_ids, position_ids = layout.pack(input_ids), layout.positions
            attention_mask = packed_attention_mask(self.hf_model, position_ids)
        return self.hf_model.get_decoder()(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False, **apart
        ).last_hidden_state

    def _value_outputs(self, hidden: Tensor, layout: Layout | None) -> dict[str, Tensor]:
        if self.value_head is None:
            return {}
        value_logits = self.value_head(hidden)
        value_logits = value_logits if layout is None else layout.rows(value_logits)
        return {"value_logits": value_logits, "values": self.value_head.values(value_logits)}


def _layout(packing: Packing | None, attention_mask: Tensor | None) -> Layout | None:
    if packing is None:
        return None
    if attention_mask is None:
        raise ValueError("packing needs the attention_mask of the padded rows, which says how long they are")
    return packing.layout(attention_mask)
