"""A plain decoder: read whole or not at all, and what it must look like to carry extra heads."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, GgufConfig
from transformers.masking_utils import create_causal_mask
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from weighted_mtp.models.packing import Packing
from weighted_mtp.models.sources import Source, first_line

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
    """The decoder's layers in order of computation; UnsupportedModelError for an encoder, an encoder-decoder, or a
    decoder without a list named `layers` (gpt2 and its kin, whose forward also folds the heads into the hidden
    size)."""
    model_type = hf_model.config.model_type
    if hf_model.config.is_encoder_decoder:
        raise UnsupportedModelError(model_type, "it is an encoder-decoder")
    if hf_model.get_output_embeddings() is None:
        raise UnsupportedModelError(model_type, "it has no language-model head")
    layers = getattr(hf_model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        raise UnsupportedModelError(model_type, "its decoder has no list of layers named `layers`")
    return layers


def packed_attention_mask(hf_model: Any, position_ids: Tensor) -> Tensor | None:
    """What a decoder must be given to keep rows apart that share a sequence; None: it sees them by their positions."""
    if hf_model.config.model_type != "opt":
        return None
    states = torch.empty(*position_ids.shape, 1, dtype=hf_model.dtype, device=position_ids.device)
    return create_causal_mask(hf_model.config, states, None, None, position_ids=position_ids)


@torch.no_grad()
def require_packable(model: Any) -> None:
    """Raises ValueError for a decoder that lets rows which share a sequence see each other, or shifts their positions:
    asked of an `MTPModel` in evaluation mode, by two short rows, packed and each alone."""
    ids = torch.arange(1, 7, device=model.device).view(2, 3) % model.config.get_text_config().vocab_size
    mask, packing = torch.ones_like(ids), Packing(ids.new_tensor([[0, 1]]), 6)
    alone = model.trunk_forward(ids, mask)["hidden_states"]
    packed = model.trunk_forward(ids, mask, packing=packing)["hidden_states"].view_as(alone)
    far = (packed - alone).abs().max() / alone.abs().max()
    if not far <= torch.finfo(alone.dtype).eps ** 0.5:
        raise ValueError(
            f"packing: rows of model type {model.config.model_type!r} that share a sequence are not kept apart (hidden "
            f"states change by {float(far):.0%}): give packing: false"
        )


def logit_scaling(config: Any) -> tuple[float, float | None]:
    """(logit_scale, softcap) as a family's ForCausalLM.forward applies them after the language-model head.

        logits = softcap * tanh(z / softcap),  z = logit_scale * lm_head(hidden);  softcap None: logits = z

    Granite divides by `logits_scaling`, Cohere multiplies by `logit_scale`, Falcon-H1 by `lm_head_multiplier`; Gemma
    caps by `final_logit_softcapping`. `check_heads` refuses whatever else a family may do."""
    config = config.get_text_config(decoder=True)
    scale = 1.0
    for name, power in (("logits_scaling", -1), ("logit_scale", 1), ("lm_head_multiplier", 1)):
        if (factor := getattr(config, name, None)) is not None:
            scale *= float(factor) ** power
    softcap = getattr(config, "final_logit_softcapping", None)
    return scale, None if softcap is None else float(softcap)


def head_logits(hf_model: Any, hidden: Tensor) -> Tensor:
    """Logits of any head, from its states behind the final norm, as the decoder's own forward makes them."""
    scale, softcap = logit_scaling(hf_model.config)
    logits = hf_model.get_output_embeddings()(hidden) * scale
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def read_causal_lm(
    source: Source, dtype: str | torch.dtype, attn_implementation: str | None = None, load_in_4bit: bool = False
) -> Any:
    """A plain causal language model, complete or not at all: transformers would make up what is missing.

    In 4 bits it is as in Dettmers et al. 2023, "QLoRA", arXiv 2305.14314: NF4, its constants quantized again.
    """
    keywords: dict[str, Any] = {
        **source.keywords(),
        "trust_remote_code": False,  # without a word transformers asks whether to run it
        "dtype": _checked_dtype(dtype),
        "attn_implementation": attn_implementation,
        "ignore_mismatched_sizes": True,  # reported below, in one line
        "output_loading_info": True,
    }
    if source.gguf_file is not None:
        # Without it the model keeps a quantizer that refuses to save.
        keywords["quantization_config"] = GgufConfig(dequantize=True)
    if load_in_4bit:
        keywords["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
        )
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        if source.gguf_file is None:
            _require_causal_lm(source)
        with _without_load_report():
            model, report = load(source.location, **keywords)
    except UnsupportedModelError:
        raise
    except Exception as error:  # OSError, SafetensorError, struct.error, ...: whatever a broken file causes
        raise ValueError(f"cannot read the model at {source}: {first_line(error)}") from error
    decoder_layers(model)  # an encoder lacks weights too; say the real reason
    if absent := sorted(report["missing_keys"]):
        raise incomplete(source, absent)
    if wrong := sorted(key for key, *_ in report["mismatched_keys"]):
        raise ValueError(f"{source}: {wrong[0]!r} has not the shape that config.json asks for")
    if source.gguf_file is not None:
        model.config.name_or_path = str(source)  # not the folder, where another model's files may lie
    settle_4_bits(model)
    vars(model.config).pop("auto_map", None)  # names code that is not run, nor saved beside it
    return model


def settle_4_bits(model: Any) -> None:
    """Has a model in 4 bits saved as what it computes with, merged with its adapters; in place, others as they are."""
    if not getattr(model, "is_loaded_in_4bit", False) or model.hf_quantizer is None:
        return
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # bitsandbytes' kernel of CPUs has no gradient


def _checked_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if dtype != "auto" and not isinstance(getattr(torch, str(dtype).removeprefix("torch."), None), torch.dtype):
        raise ValueError(f"dtype must be auto, float32, bfloat16, float16 or float64, got {dtype!r}")
    return dtype


def _require_causal_lm(source: Source) -> None:
    config = AutoConfig.from_pretrained(source.location, trust_remote_code=False, **source.keywords())
    if config.is_encoder_decoder:
        raise UnsupportedModelError(config.model_type, "it is an encoder-decoder")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnsupportedModelError(config.model_type, "transformers has no causal language model of this type")


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Keep transformers from printing a table that calls our own tensors unexpected."""
    logger = logging.getLogger("transformers.modeling_utils")

    def other_records(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(other_records)
    try:
        yield
    finally:
        logger.removeFilter(other_records)


def incomplete(location: object, missing: list[str]) -> ValueError:
    """The error of a model without some of its weights."""
    return ValueError(f"the model at {location} is incomplete: it lacks {len(missing)} weights, {missing[0]!r} first")
