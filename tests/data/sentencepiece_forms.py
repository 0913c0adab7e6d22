"""Tokenizers of the SentencePiece kind, in the forms that the tokenizer.json files of Llama-2 and Mistral have."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "def add(a, b):\n    return a + b\n", "1 + 1 = 2", "It is 3.", "return True", "return False", "▁the end of the day",
    "안녕 하세요", "    return a - b\n", "[INST] hi [/INST] yo",
]  # fmt: skip


def _trained(normalized: bool) -> Tokenizer:
    """Byte-fallback BPE over text whose spaces are ▁, trained on a few lines."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    mark = [normalizers.Replace(" ", "▁")]
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *mark] if normalized else mark)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe.train_from_iterator(
        [line for line in TEXTS for _ in range(3)],
        trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False, limit_alphabet=60),
    )
    return bpe


def _rebuilt(trained: Tokenizer) -> Tokenizer:
    """The same vocabulary with only <unk>, <s> and </s> special, and without a token that holds a line break."""
    import json

    content = json.loads(trained.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] in ("<unk>", "<s>", "</s>")]
    model = content["model"]
    broken = [token for token in model["vocab"] if "\n" in token]
    model["merges"] = [m for m in model["merges"] if "\n" not in "".join(m)]
    for token in broken:
        number = model["vocab"].pop(token)
        model["vocab"][f"<never{number}>"] = number
    return Tokenizer.from_str(json.dumps(content))


def llama2_form(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """A normalizer writes ▁ before every text and for every space; nothing splits before BPE."""
    tokenizer = _rebuilt(_trained(normalized=True))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, chat_template)


def mistral_form(scheme: str = "first", chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """No normalizer: a Metaspace pre-tokenizer writes ▁ before the first piece of a text ("first") or every one."""
    tokenizer = _rebuilt(_trained(normalized=False))
    tokenizer.normalizer = None  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _wrapped(tokenizer, chat_template)


def space_before_form() -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts a space before every text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator(TEXTS, trainer)
    return _wrapped(bpe, None)


def _wrapped(tokenizer: Tokenizer, chat_template: str | None) -> Any:
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )
