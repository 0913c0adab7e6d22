"""What a decoder must look like to carry extra heads, and the check that it does."""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn

if TYPE_CHECKING:
    from weighted_mtp.models.mtp_model import MTPModel

KNOWN_FAMILIES = (
    "llama (SmolLM2, Code Llama, ...), mistral, qwen2, qwen3, qwen3_moe, gemma2, gemma3_text, phi3, olmo2, "
    "smollm3, granite, cohere, gpt_neox (Pythia), opt"
)


class UnsupportedModelError(ValueError):
    """A model that cannot carry extra prediction heads: what came, what is needed, what is known to work."""

    def __init__(self, model_type: str, reason: str):
        super().__init__(
            f"model type {model_type!r} cannot carry extra prediction heads: {reason}. Needed: a causal, "
            f"decoder-only language model with a list of decoder layers. Known to work: {KNOWN_FAMILIES}."
        )


def decoder_layers(hf_model: Any) -> nn.ModuleList:
    """The decoder's layers in order of computation.

    Raises:
        UnsupportedModelError: an encoder, an encoder-decoder, or a decoder without a list named `layers`
            (gpt2 and its kin, whose forward also folds the heads back into the hidden size).
    """
    model_type = hf_model.config.model_type
    if hf_model.config.is_encoder_decoder:
        raise UnsupportedModelError(model_type, "it is an encoder-decoder")
    if hf_model.get_output_embeddings() is None:
        raise UnsupportedModelError(model_type, "it has no language-model head")
    layers = getattr(hf_model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        raise UnsupportedModelError(model_type, "its decoder has no list of layers named `layers`")
    return layers


def logit_scaling(config: Any) -> tuple[float, float | None]:
    """(logit_scale, softcap) as a family's ForCausalLM.forward applies them after the language-model head.

        logits = softcap * tanh(z / softcap),  z = logit_scale * lm_head(hidden);  softcap None: logits = z

    Granite divides by `logits_scaling`, Cohere multiplies by `logit_scale`, Falcon-H1 by
    `lm_head_multiplier`; Gemma caps by `final_logit_softcapping`. `check_heads` refuses whatever else a
    family may do.
    """
    config = config.get_text_config(decoder=True)
    scale = 1.0
    for name, power in (("logits_scaling", -1), ("logit_scale", 1), ("lm_head_multiplier", 1)):
        if (factor := getattr(config, name, None)) is not None:
            scale *= float(factor) ** power
    softcap = getattr(config, "final_logit_softcapping", None)
    return scale, None if softcap is None else float(softcap)


@torch.no_grad()
def check_heads(model: "MTPModel") -> None:
    """Run five tokens through a model with fresh heads: every head must give the plain model's logits.

    One test covers whatever could go wrong in an unknown family: a forward that reshapes the stacked heads,
    a layer that depends on its index, logits scaled in an unknown way, attention that is not causal. A
    model on the meta device has nothing to run and is not checked.

    Raises:
        UnsupportedModelError: if the logits differ.
    """
    hf_model, model_type = model.hf_model, model.config.model_type
    if model.device.type == "meta":
        return
    ids = torch.arange(1, 6, device=model.device).repeat(2, 1) % model.config.get_text_config().vocab_size
    ids[1, -1] = 0  # the rows differ in their last token only, which no earlier position may see
    mask = torch.ones_like(ids)
    was_training = hf_model.training
    model.eval()
    plain = hf_model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    try:
        heads = model.full_forward(ids, mask)["logits"].float()
    except Exception as error:  # whatever a foreign forward raises on stacked heads
        raise UnsupportedModelError(model_type, f"its forward fails with them ({error})") from error
    finally:
        model.train(was_training)
    # Stacked heads are multiplied in other block sizes than plain rows: half precision rounds differently.
    tolerance = (1e-3 if model.dtype in (torch.float32, torch.float64) else 0.1) * plain.abs().max().clamp_min(1e-3)
    if heads.shape != (*plain.shape[:2], model.n_future, plain.shape[-1]):
        raise UnsupportedModelError(model_type, "its forward folds them into the hidden size")
    if (heads - plain.unsqueeze(-2)).abs().max() > tolerance:
        raise UnsupportedModelError(
            model_type, "logits from its hidden states and head weight differ from its own (unknown scaling?)"
        )
    if (plain[0, :-1] - plain[1, :-1]).abs().max() > tolerance:
        raise UnsupportedModelError(model_type, "its attention is not causal")
