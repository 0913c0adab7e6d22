"""Meta's SentencePiece model against the Hugging Face tokenizer made of it: the same ids, from text and back."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.models.meta.meta_format import made, params, state, write
from weighted_mtp.cli.main import main
from weighted_mtp.models.meta.convert import from_meta, to_meta

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps until noon.",
    "Der schnelle braune Fuchs springt über den faulen Hund; größere Füchse schlafen länger.",
    "Le renard brun saute par-dessus le chien paresseux, où qu'il soit né : « ça va ? »",
    "El zorro marrón salta sobre el perro perezoso. ¿Mañana también? ¡Claro que sí!",
    "Быстрая коричневая лиса перепрыгивает через ленивую собаку.",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 토큰마다 다른 가중치를 준다.",
    "素早い茶色の狐がのろまな犬を飛び越える。カタカナとひらがな。",
    "敏捷的棕色狐狸跳过了懒狗。每个词元都有自己的权重。",
    "الثعلب البني السريع يقفز فوق الكلب الكسول.",
    "השועל החום המהיר קופץ מעל הכלב העצלן.",
    "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "สุนัขจิ้งจอกสีน้ำตาลกระโดดข้ามสุนัขขี้เกียจ",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί.",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n\tprint(f'{i:02d}', 1234567890)\n",
    "x² + y² = z², ∑ᵢ aᵢ ≤ ∞, π ≈ 3.14159 → 🙂👩‍👩‍👧 e\u0301 ﬁ Ａ",
]
HELD_OUT = [
    "", " ", "   ", "\n", "\t\tx", " leading", "trailing ", "a  b   c", "▁ literal ▁▁", "\u00a0\u3000\u200b", "\r\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "여우야 여우야 뭐하니", "今日は。", "𠜎𠜱 🏳️‍🌈",
    "if x:\n        return 'aaaa' * 20000\n", "aaaaaaaaaaaaaaaa", "1 + 1 = 2", "<unk>", "<0x0A>", "Ünïcödé",
]  # fmt: skip


def trained(**options: Any) -> bytes:
    """A model with Llama's settings, trained on the corpus."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in CORPUS for _ in range(4)]),
        model_writer=model,
        minloglevel=2,
        **{
            "model_type": "bpe", "vocab_size": 700, "byte_fallback": True, "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
            "character_coverage": 0.98, "num_threads": 1,
            **options,
        },
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture(scope="module")
def model() -> bytes:
    return trained()


@pytest.fixture(scope="module")
def both(model, tmp_path_factory) -> tuple[Any, Any]:
    """(SentencePiece's own, ours after a conversion)"""
    root = tmp_path_factory.mktemp("tokenizer")
    made(root / "meta", vocab_size=700)
    (root / "meta" / "tokenizer.model").write_bytes(model)
    from_meta(root / "meta", root / "out")
    return sentencepiece.SentencePieceProcessor(model_proto=model), AutoTokenizer.from_pretrained(root / "out")


@pytest.mark.parametrize("text", CORPUS + HELD_OUT)
def test_ids_are_those_of_sentencepiece_behind_bos(both, text):
    theirs, ours = both
    if text not in ("<unk>", "<0x0A>"):  # text that looks like a token is one for Hugging Face
        assert ours.encode(text) == [theirs.bos_id(), *theirs.encode(text)]
    assert ours.decode(theirs.encode(text)) == theirs.decode(theirs.encode(text))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([*{*"".join(CORPUS)}, " ", "\n", "\U0001f98a"]), max_size=40).map("".join))
def test_ids_are_the_same_on_any_text(both, text):
    theirs, ours = both
    assert ours.encode(text) == [theirs.bos_id(), *theirs.encode(text)]


def test_sentencepiece_itself_is_not_needed(model, both, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model)
    code = (
        "import importlib.util as util; from pathlib import Path; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'sentencepiece' else find(name, *more)\n"
        "from weighted_mtp.models.meta.tokenizer import hugging_face\n"
        f"print(hugging_face(Path({str(tmp_path / 'tokenizer.model')!r})).backend_tokenizer.to_str())\n"
        "import sys; assert 'sentencepiece' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == both[1].backend_tokenizer.to_str()


def test_special_tokens_are_named(both):
    theirs, ours = both
    assert (ours.bos_token_id, ours.eos_token_id, ours.unk_token_id) == (1, 2, 0)
    assert (ours.bos_token, ours.eos_token, len(ours)) == ("<s>", "</s>", theirs.get_piece_size())
    assert [ours.convert_ids_to_tokens(i) for i in range(700)] == [theirs.id_to_piece(i) for i in range(700)]


def test_symbols_of_the_user_are_whole_tokens_and_what_they_do_is_told(tmp_path):
    content = trained(user_defined_symbols=["[INST]"])
    folder = made(tmp_path / "meta", vocab_size=700)
    (folder / "tokenizer.model").write_bytes(content)
    said = from_meta(folder, tmp_path / "out")
    assert said[0] == "text beside [INST] may get other ids than SentencePiece gives it"
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert ours.encode("a [INST]") == [theirs.bos_id(), *theirs.encode("a [INST]")]


def test_it_comes_along_and_goes_back(model, tmp_path):
    folder = made(tmp_path / "released" / "7B", vocab_size=700)
    (tmp_path / "released" / "tokenizer.model").write_bytes(model)  # beside the folders of the models, as released
    said = from_meta(folder, tmp_path / "out")
    assert said[0] == f"the tokenizer is {tmp_path}/released/tokenizer.model, from the folder above"
    to_meta(tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == model


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no SentencePiece model"),
        (b"IQ== 0\nIg== 1\n", "is no SentencePiece model (Llama 3 has another format)"),
        ({"model_type": "unigram", "vocab_size": 560}, "is not of Llama's kind (model_type BPE needed)"),
        ({"normalization_rule_name": "nmt_nfkc"}, "is not of Llama's kind (no rules of normalization needed)"),
        ({"remove_extra_whitespaces": True}, "is not of Llama's kind (spaces kept needed)"),
        ({"vocab_size": 699}, "has 699 tokens, and the model 700: give the model's own"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path, capsys, content, message):
    folder = made(tmp_path / "meta", vocab_size=700)
    (folder / "tokenizer.model").write_bytes(content if isinstance(content, bytes) else trained(**content))
    assert main(["convert", "meta", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["meta"]


def test_a_vocabulary_padded_in_the_model_alone_is_a_mismatch(model, tmp_path: Path, capsys):
    folder = write(tmp_path / "meta", params(vocab_size=704), state(params(vocab_size=704)))
    (folder / "tokenizer.model").write_bytes(model)
    assert main(["convert", "meta", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "has 700 tokens, and the model 704" in capsys.readouterr().err
