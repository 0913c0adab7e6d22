"""Samples: drawn from the right distribution, from their own seeds alone, cut where they should end."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from weighted_mtp.data import DataError, chain_tokenizer, tokenize_rows
from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.evaluation.decoding import Completion, complete, decode, prompt_tokens
from weighted_mtp.evaluation.sampling import SeededDraws, StopStrings, cut_at_stop
from weighted_mtp.models import CriticSpec, MTPModel

PROMPTS = ["7 +3 *7 :", "1 +3 :", "2 *3 *3 +7 :", "9 *3 :", "4 +7 +7 *7 +3 :"]
SEEDS = [[0, i] for i in range(len(PROMPTS))]
MESSAGES = [{"role": "user", "content": "7 +3 :"}]


@pytest.fixture
def model(chain_base) -> MTPModel:
    return MTPModel.from_pretrained(chain_base / "base")


@pytest.fixture
def tokenizer():
    return chain_tokenizer()


def shares(logits: list[float] | torch.Tensor, n: int = 20_000, **options: float) -> list[float]:
    """How often each token is drawn."""
    draws = SeededDraws([[7, i] for i in range(n)], steps=1, **options)
    chosen = draws(torch.zeros(n, 1), torch.as_tensor(logits).repeat(n, 1)).argmax(-1)
    return (chosen.bincount(minlength=len(logits)) / n).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax(temperature):
    logits = [1.0, -0.5, 0.0, 2.0]
    expected = torch.softmax(torch.tensor(logits) / temperature, -1).tolist()
    assert shares(logits, temperature=temperature) == pytest.approx(expected, abs=0.015)  # 4 deviations


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1.0, [0.3, 0.15, 0.05, 0.5]), (0.81, [0.3, 0.15, 0, 0.5]), (0.79, [0.3, 0, 0, 0.5]), (0.1, [0, 0, 0, 0.5])],
)
def test_top_p_keeps_the_fewest_tokens_that_hold_it(top_p, kept):
    found = shares(torch.tensor([0.3, 0.15, 0.05, 0.5]).log(), temperature=1.0, top_p=top_p)
    assert found == pytest.approx([p / sum(kept) for p in kept], abs=0.015)
    assert [share == 0 for share in found] == [p == 0 for p in kept]


def test_a_token_of_no_probability_is_never_drawn():
    for u in (0.0, 0.5, 1 - 2**-53):
        draws = SeededDraws([[0]], steps=1, temperature=1.0)
        draws.uniform = torch.tensor([[u]], dtype=torch.float64)
        assert draws(torch.zeros(1, 1), torch.tensor([[-torch.inf, 0.0, -torch.inf]])).argmax() == 1


def test_greedy_completions_are_those_of_decode(model, tokenizer):
    found = complete(model, tokenizer, PROMPTS, max_new_tokens=6)
    assert [completion.text for completion in found] == decode(model, tokenizer, PROMPTS, max_new_tokens=6)


@pytest.mark.parametrize("seeds", [None, SEEDS], ids=["greedy", "sampled"])
def test_a_batch_is_completed_as_its_prompts_alone(model, tokenizer, seeds):
    options = {"max_new_tokens": 6, "temperature": 1.0, "top_p": 0.9}
    together = complete(model, tokenizer, PROMPTS, seeds=seeds, **options)
    alone = [
        complete(model, tokenizer, [prompt], seeds=seeds and [seeds[i]], **options)[0]
        for i, prompt in enumerate(PROMPTS)
    ]
    assert together == alone


def test_samples_differ_by_seed_and_leave_torch_alone(model, tokenizer):
    state = torch.get_rng_state()
    seeds = [[0, i] for i in range(20)]
    found = complete(model, tokenizer, PROMPTS[:1] * 20, max_new_tokens=6, seeds=seeds, temperature=1.0)
    assert len(set(found)) > 10
    assert torch.equal(torch.get_rng_state(), state)


def test_decode_samples_by_the_seed_of_torch(model, tokenizer):
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(decode(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=2, temperature=1.0))
    assert found[0] == found[1] != found[2]


def test_a_cold_sample_is_the_greedy_completion(model, tokenizer):
    cold = complete(model, tokenizer, PROMPTS, max_new_tokens=6, seeds=SEEDS, temperature=1e-6)
    assert cold == complete(model, tokenizer, PROMPTS, max_new_tokens=6)


def test_the_models_own_generation_settings_change_nothing(model, tokenizer):
    plain = complete(model, tokenizer, PROMPTS, max_new_tokens=6, seeds=SEEDS, temperature=1.0)
    own = model.hf_model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.top_k, own.temperature = 5.0, 1, 1, 0.1
    assert complete(model, tokenizer, PROMPTS, max_new_tokens=6, seeds=SEEDS, temperature=1.0) == plain


def test_the_tokenizers_end_token_ends_a_completion_where_the_model_names_none(model, tokenizer):
    end = tokenizer.eos_token_id
    model.hf_model.generation_config.eos_token_id = None
    with torch.no_grad():  # the end token wins everywhere
        head = model.hf_model.get_output_embeddings().weight
        hidden = model(tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"])["hidden_states"][0, -1, 0]
        head[end] = 100 * hidden
    assert complete(model, tokenizer, PROMPTS[:1], max_new_tokens=6) == [Completion("", "eos")]


# Prompts


def in_training(tokenizer, prompt) -> list[int]:
    dataset, _ = tokenize_rows([{"prompt": prompt, "completion": "0 3", "label": True}], tokenizer)
    return [i for i, label in zip(dataset[0]["input_ids"], dataset[0]["labels"], strict=True) if label == -100]


@pytest.mark.parametrize("template", ["$A <eos>", "<eos> $A", "$A"])
def test_prompts_are_tokenized_as_in_training(tokenizer, template):
    special = [("<eos>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<eos>' if m.role == 'assistant' else '<pad>' }} {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}<eos> {% endif %}"
    )
    prompts = [PROMPTS[0], MESSAGES, PROMPTS[1]]
    assert prompt_tokens(tokenizer, prompts) == [in_training(tokenizer, prompt) for prompt in prompts]


def test_messages_without_a_chat_template_are_refused(model, tokenizer):
    with pytest.raises(DataError, match="chat template"):
        complete(model, tokenizer, [MESSAGES], max_new_tokens=2)


def test_a_prompt_without_tokens_is_refused(model, tokenizer):
    with pytest.raises(DataError, match="the prompt has no token"):
        complete(model, tokenizer, [""], max_new_tokens=2)


# Ends


def test_a_completion_ends_before_the_first_stop_string(model, tokenizer):
    whole = complete(model, tokenizer, PROMPTS, max_new_tokens=12)
    stop = [whole[0].text[4:7], whole[0].text[8:11]]
    stopped = complete(model, tokenizer, PROMPTS, max_new_tokens=12, stop=stop)
    assert stopped[0] == Completion(whole[0].text[:4], "stop")
    assert [completion.text for completion in stopped] == [cut_at_stop(c.text, stop) for c in whole]


def test_rows_end_one_by_one_and_the_prompt_does_not_count(tokenizer):
    ids = [tokenizer(text)["input_ids"] for text in ("3 7 3 0 3 7 1", "3 7 3 3 1 3 7", "3 7 3 7 1 2 5")]
    criterion, n_prompt = StopStrings(Detokenizer(tokenizer), ["3 7", "9 9 9"]), 3
    ended = [criterion(torch.tensor([row[:end] for row in ids]), None).tolist() for end in range(n_prompt + 1, 8)]
    assert [[step[row] for step in ended] for row in range(3)] == [
        [False, False, True, True],  # 0 3 7
        [False, False, False, True],  # 3 1 3 7
        [False, False, False, False],  # 7 behind a prompt that ends in 3
    ]


def test_generation_is_over_when_every_row_has_stopped(model, tokenizer):
    whole = complete(model, tokenizer, PROMPTS[:1], max_new_tokens=12)[0].text
    steps = []
    handle = model.hf_model.register_forward_hook(lambda *_: steps.append(1))
    complete(model, tokenizer, PROMPTS[:1], max_new_tokens=12, stop=[whole[:3]])
    handle.remove()
    assert len(steps) == 2  # two digits and the space between them


def test_a_completion_that_was_cut_off_says_so(model, tokenizer):
    found = complete(model, tokenizer, PROMPTS, max_new_tokens=1)
    assert {completion.ended for completion in found} <= {"length", "eos"}
    assert any(completion.ended == "length" for completion in found)


def test_a_tagged_critic_stops_at_strings_as_a_plain_model_does(model, tokenizer):
    tags = {"right": [1, 2], "wrong": [3]}
    tagged = MTPModel(model.hf_model, critic=CriticSpec("generative", tags=tags))
    whole = complete(tagged, tokenizer, PROMPTS, max_new_tokens=8, condition="right")
    stop = [whole[1].text[2:5]]
    stopped = complete(tagged, tokenizer, PROMPTS, max_new_tokens=8, stop=stop, condition="right")
    assert [completion.text for completion in stopped] == [cut_at_stop(c.text, stop) for c in whole]


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95, 0.999])
def test_a_nucleus_sought_among_the_likeliest_is_that_of_all_tokens(spread, top_p):
    generator = torch.Generator().manual_seed(0)
    scores = (2 * spread * torch.randn(32, 3000, generator=generator)).round() / 2  # many are equally likely
    seeds = [[row] for row in range(32)]
    some, every = (SeededDraws(seeds, 3, temperature=1.0, top_p=top_p) for _ in range(2))
    every.likeliest = 3000
    for _ in range(3):
        assert torch.equal(some(scores, scores), every(scores, scores))
    torch.testing.assert_close(some.logprobs, every.logprobs)
