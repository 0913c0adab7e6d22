"""Drafts change how often the decoder runs, and nothing of what is written."""

import itertools
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
)
from transformers import TemperatureLogitsWarper as Temperature
from transformers import TopKLogitsWarper as TopK
from transformers import TopPLogitsWarper as TopP

from tests.models.conftest import FAMILIES, make
from weighted_mtp.models import DraftCounts, MTPModel

SLIDING = {
    "mistral": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},
    "gemma2": {},
    "gemma3_text": {},
    "phi3": {},
    "smollm3": {"use_sliding_window": True, "max_window_layers": 1},
}
WINDOW = 5
MADE: dict[str, MTPModel] = {}


def prompts(rows=4, width=6, seed=1):
    """Ids and mask, padded on the left but for the first row; the last two rows are alike."""
    ids = torch.randint(3, 120, (rows, width), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        mask[row, : 1 + row % (width - 1)] = 0
    ids[mask == 0] = 0
    ids[-1], mask[-1] = ids[-2], mask[-2]
    return {"input_ids": ids, "attention_mask": mask}


def drafting(family, heads="parallel", **options) -> MTPModel:
    """A model whose heads have learned some of what it writes; in float64, where no two logits tie."""
    if (name := f"{family} {heads} {options}") in MADE:
        return MADE[name]
    lm = make(family, **options)
    if "moe" in family:  # whose grouped kernel has no float64
        lm.set_experts_implementation("eager")
    model = MTPModel(lm, n_future=3, heads=heads)
    model.freeze_trunk(extra_heads=True)
    batch = prompts()
    ids = model.generate(**batch, max_new_tokens=20, eos_token_id=None)
    mask = torch.cat([batch["attention_mask"], torch.ones(4, 20, dtype=torch.long)], 1)
    optimizer = torch.optim.Adam(model.extra_heads.parameters(), lr=1e-2)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(15):
        logits = model.full_forward(ids, mask, positions)["logits"][:, 5:-3, 1:]
        aims = torch.stack([ids[:, 7:-1], ids[:, 8:]], -1)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), aims.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return MADE.setdefault(name, model.double().eval())


def both(model, **options):
    """What is written without drafts, and with them."""
    drafted = model.generate(drafts=True, return_dict_in_generate=True, **options)
    return model.generate(**options), drafted


@pytest.mark.parametrize("heads", ["parallel", "sequential"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes_with_drafts_what_it_writes_without(family, heads):
    model = drafting(family, heads)
    for ends in (None, [int(model.generate(**prompts(), max_new_tokens=9)[0, 11])]):
        plain, drafted = both(model, **prompts(), max_new_tokens=20, eos_token_id=ends, pad_token_id=0)
        assert torch.equal(drafted.sequences, plain)
        if ends is None:
            assert DraftCounts.total(drafted.drafts).tokens_per_forward > 1.1, "the heads should have learned something"


@pytest.mark.parametrize(("family", "heads"), [*((family, "parallel") for family in SLIDING), ("gemma2", "sequential")])
def test_windows_slide_as_without_drafts(family, heads):
    model = drafting(family, heads, sliding_window=WINDOW, **SLIDING[family])
    plain, drafted = both(model, **prompts(), max_new_tokens=20, eos_token_id=None)
    assert torch.equal(drafted.sequences, plain)
    assert DraftCounts.total(drafted.drafts).tokens_per_forward > 1.1


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(2, 5),
    width=st.integers(2, 7),
    seed=st.integers(0, 3),
    new=st.integers(1, 24),
    ends=st.lists(st.integers(3, 119), max_size=40),
    family=st.sampled_from(["llama", "gemma2"]),
    heads=st.sampled_from(["parallel", "sequential"]),
)
def test_any_batch_and_end_gives_the_same_tensor_padding_included(rows, width, seed, new, ends, family, heads):
    model = drafting(family, heads)
    batch = prompts(rows, width, seed)
    plain, drafted = both(model, **batch, max_new_tokens=new, eos_token_id=ends or None, pad_token_id=0)
    assert torch.equal(drafted.sequences, plain)


@pytest.mark.parametrize(
    "asked",
    [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 12}, {"suppress_tokens": [7, 9]}],
    ids=str,
)
def test_what_shapes_the_scores_does_so_with_drafts(asked):
    model = drafting("llama")
    ends = model.generate(**prompts(), max_new_tokens=4)[:, -1].tolist()
    plain, drafted = both(model, **prompts(), max_new_tokens=20, eos_token_id=ends, pad_token_id=0, **asked)
    assert torch.equal(drafted.sequences, plain)


def letters() -> PreTrainedTokenizerFast:
    """A tokenizer of one character a token."""
    model = Tokenizer(WordLevel({chr(33 + i): i for i in range(120)}, unk_token="!"))
    model.pre_tokenizer, model.decoder = Split("", "isolated"), Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="!")


@pytest.mark.parametrize("ends", [None, [2]], ids=["without an end token", "with one"])
def test_stop_strings_end_rows_where_they_do_without_drafts(ends):
    model, tokenizer = drafting("llama"), letters()
    written = model.generate(**prompts(), max_new_tokens=20, eos_token_id=None)
    strings = [tokenizer.decode(written[0, 8:10]), tokenizer.decode(written[2, 14])]
    chosen = {"stop_strings": strings, "eos_token_id": ends, "pad_token_id": 0, "max_new_tokens": 20}
    drafted = model.generate(**prompts(), **chosen, tokenizer=tokenizer, drafts=True)
    assert torch.equal(drafted, model.generate(**prompts(), **chosen, tokenizer=tokenizer))


def test_a_row_may_fill_all_positions_that_the_model_has():
    model = drafting("opt")
    plain, drafted = both(model, **prompts(), max_length=64, eos_token_id=None)
    assert plain.shape[1] == 64
    assert torch.equal(drafted.sequences, plain)


def test_a_model_with_better_heads_runs_less_often_and_says_so():
    model = drafting("llama")
    sizes = []
    layer = model.hf_model.model.layers[0]
    handle = layer.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    found = model.generate(**prompts(), max_new_tokens=20, eos_token_id=None, drafts=True, return_dict_in_generate=True)
    handle.remove()
    assert [row.tokens for row in found.drafts] == [20] * 4
    assert sizes[0] == 3, "of two equal prompts one is read"
    assert len(sizes) == max(row.forwards for row in found.drafts) < 20
    assert sum(sizes[1:]) == sum(row.forwards - 1 for row in found.drafts), "rows that have ended are not read"
    for row in found.drafts:
        assert 0 <= row.forwards + sum(row.accepted) - row.tokens <= 1, "the last draft may end a row"
        assert row.accepted[1] <= row.accepted[0] <= row.drafted[0] <= row.forwards - 1


def test_nothing_is_left_on_the_model():
    model = drafting("llama")
    model.generate(**prompts(), max_new_tokens=3, drafts=True)
    assert not model.hf_model.model.layers[-1]._forward_hooks


DRAWS, VOCAB, LENGTH = 20_000, 6, 3
ASKED = {"temperature": 1.4, "top_k": 5, "top_p": 0.9}


def exact(model: MTPModel, prompt: torch.Tensor) -> torch.Tensor:
    """Probability of each of VOCAB ** LENGTH continuations under what is asked for."""
    warp = LogitsProcessorList([Temperature(ASKED["temperature"]), TopK(ASKED["top_k"]), TopP(ASKED["top_p"])])
    texts = torch.tensor(list(itertools.product(range(VOCAB), repeat=LENGTH)))
    with torch.no_grad():
        logits = model.hf_model(torch.cat([prompt.expand(len(texts), -1), texts], 1)).logits
    steps = [
        warp(texts, logits[:, prompt.shape[1] - 1 + i]).softmax(-1).gather(1, texts[:, i, None]) for i in range(LENGTH)
    ]
    return torch.cat(steps, 1).prod(1)


def test_samples_with_drafts_are_distributed_as_the_model_says():
    torch.manual_seed(0)
    model = MTPModel(make("llama", vocab_size=VOCAB), n_future=3).double().eval()
    prompt = torch.tensor([[3, 4, 5]])
    probability = exact(model, prompt)
    chosen = {"max_new_tokens": LENGTH, "eos_token_id": None, "do_sample": True, **ASKED}
    found = model.generate(prompt.expand(DRAWS, -1), **chosen, drafts=True, return_dict_in_generate=True)
    place = (found.sequences[:, 3:] * torch.tensor([VOCAB**2, VOCAB, 1])).sum(1)
    counts, expected = torch.bincount(place, minlength=VOCAB**LENGTH).double(), DRAWS * probability
    assert not counts[expected == 0].any()
    common = expected >= 5  # the rare ones together
    counts, expected = (torch.cat([x[common], x[~common].sum(0, keepdim=True)]) for x in (counts, expected))
    statistic, freedom = ((counts - expected) ** 2 / expected.clamp(min=1e-9)).sum(), len(counts) - 1
    tail = 1 - torch.special.gammainc(torch.tensor(freedom / 2.0), statistic.float() / 2)
    assert tail > 0.01, f"chi-square {statistic:.0f} with {freedom} degrees of freedom"
    total = DraftCounts.total(found.drafts)
    assert 0.05 < total.acceptance[0] < 0.95, "both branches of the rule are taken"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_drafts_on_a_gpu_write_what_is_written_without():
    model = deepcopy(drafting("llama")).cuda()
    asked = {name: x.cuda() for name, x in prompts().items()}
    plain, drafted = both(model, **asked, max_new_tokens=20)
    assert torch.equal(plain, drafted.sequences)
    assert drafted.sequences.is_cuda


def test_a_model_without_extra_heads_has_no_drafts():
    with pytest.raises(ValueError, match="this model has none: train it with n_future"):
        MTPModel(make("llama")).generate(**prompts(), drafts=True)


class Own(LogitsProcessor):
    """Of which nobody knows whether it counts calls."""


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"num_beams": 2}, "beam_search"),
        ({"prompt_lookup_num_tokens": 2}, "assisted_generation"),
        ({"output_scores": True, "return_dict_in_generate": True}, "output_scores"),
        ({"use_cache": False}, "use_cache=False"),
        ({"guidance_scale": 2.0}, "ClassifierFreeGuidanceLogitsProcessor wants all rows"),
        ({"streamer": object()}, "streamer"),
        ({"condition": "right"}, "without a condition"),
        ({"stop_strings": "w5"}, "give the tokenizer too"),
        ({"generation_config": GenerationConfig(stop_strings="w5")}, "give them to generate itself"),
        ({"logits_processor": [Own()]}, "Own wants all rows"),
        ({"max_length": 50}, "beyond 16 this model turns all positions"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_another_loop_does_is_refused(asked, said):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 16}
    options = {"rope_parameters": rope} if "max_length" in asked else {}
    model = MTPModel(make("llama", **options), n_future=2)
    with pytest.raises(ValueError, match=said):
        model.generate(**prompts(), drafts=True, **({"max_new_tokens": 3} | asked if not options else asked))


def test_a_decoder_whose_state_cannot_be_taken_back_is_refused():
    config = AutoConfig.for_model(
        "qwen3_next", vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=32, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16,
        shared_expert_intermediate_size=16, linear_num_value_heads=2, linear_num_key_heads=2,
        linear_key_head_dim=8, linear_value_head_dim=8, layer_types=["linear_attention", "full_attention"],
    )  # fmt: skip
    model = MTPModel(AutoModelForCausalLM.from_config(config).eval(), n_future=2)
    with pytest.raises(ValueError, match="'qwen3_next' has layers whose state cannot be"):
        model.generate(torch.tensor([[3, 4]]), drafts=True, max_new_tokens=3)
