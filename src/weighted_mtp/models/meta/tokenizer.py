"""A SentencePiece model as a Hugging Face tokenizer that gives the same ids."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

NAME = "tokenizer.model"
_BPE, _NORMAL, _CONTROL, _USER_DEFINED = 2, 1, 3, 4
_SPACE = "▁"


def find_tokenizer(directory: Path) -> Path | None:
    """Meta's tokenizer of a checkpoint: beside it or, as released, in the folder above."""
    places = (directory / NAME, directory.resolve().parent / NAME)
    return next((place for place in places if place.is_file()), None)


def hugging_face(file: Path) -> Any:
    """The tokenizer in the form of Llama 2's tokenizer.json, with BOS before every text, as Meta's code encodes;
    ValueError: no SentencePiece model, or one that is not of Llama's kind."""
    from transformers import PreTrainedTokenizerFast

    spec = _read(file)
    trainer, normalizer = spec.trainer_spec, spec.normalizer_spec
    kind = {
        "model_type BPE": trainer.model_type == _BPE,
        "no rules of normalization": not normalizer.precompiled_charsmap,
        "spaces kept": not normalizer.remove_extra_whitespaces,
        "spaces as ▁": normalizer.escape_whitespaces and not trainer.treat_whitespace_as_suffix,
        "<s> and </s>": trainer.bos_id >= 0 and trainer.eos_id >= 0,
    }
    if lacking := [name for name, has in kind.items() if not has]:
        raise ValueError(
            f"{file} is not of Llama's kind ({', '.join(lacking)} needed): move it away to convert without"
        )
    pieces = [piece.piece for piece in spec.pieces]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=_merges(spec.pieces),
            unk_token=pieces[trainer.unk_id],
            fuse_unk=True,
            byte_fallback=trainer.byte_fallback,
        )
    )
    first = [normalizers.Prepend(_SPACE)] * normalizer.add_dummy_prefix
    tokenizer.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", _SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] * normalizer.add_dummy_prefix
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    bos, eos, unk = (pieces[i] for i in (trainer.bos_id, trainer.eos_id, trainer.unk_id))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, trainer.bos_id)]
    )
    whole = [piece for piece in spec.pieces if piece.type in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(p.piece, normalized=False, special=p.type == _CONTROL) for p in whole])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, unk_token=unk, clean_up_tokenization_spaces=False
    )


def _read(file: Path) -> Any:
    from google.protobuf.message import DecodeError
    from transformers.convert_slow_tokenizer import import_protobuf

    proto: Any = import_protobuf()
    spec = proto.ModelProto()
    try:
        spec.ParseFromString(file.read_bytes())
    except DecodeError:
        spec.Clear()
    if not spec.pieces:
        raise ValueError(
            f"{file} is no SentencePiece model (Llama 3 has another format): move it away to convert without one"
        )
    return spec


def _merges(pieces: Any) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, the best third first: SentencePiece joins by the score of what comes
    out, which is the same but for a piece that two pairs make."""
    rank = {piece.piece: (-piece.score, i) for i, piece in enumerate(pieces) if piece.type == _NORMAL}
    found = [
        (rank[piece], rank[piece[:i]], piece[:i], piece[i:])
        for piece in rank
        for i in range(1, len(piece))
        if piece[:i] in rank and piece[i:] in rank
    ]
    return [(left, right) for *_, left, right in sorted(found)]
