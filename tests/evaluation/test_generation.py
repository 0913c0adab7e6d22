"""Reading equal prompts once and dropping rows that have ended changes no token of what is written."""

import pytest
import torch

from tests.models.conftest import FAMILIES, make
from weighted_mtp.evaluation.generation import PLAIN, write_tokens
from weighted_mtp.evaluation.sampling import SeededDraws
from weighted_mtp.models import DraftCounts, MTPModel

PROMPTS = [[5, 6, 7], [8], [5, 6, 7], [9, 4, 3, 11, 12], [5, 6, 7], [13, 14]]
SHARED = [[5, 6, 7], [9, 4, 3, 11, 12], [5, 6, 7], [5, 6, 7]]
MANY = 40  # tokens: more than two looks at what has ended


def alone(model, prompt, ends, draws=None):
    """What `generate` writes behind one prompt."""
    ids = torch.tensor([prompt])
    chosen = {"logits_processor": [draws]} if draws else {}
    out = model.hf_model.generate(ids, max_new_tokens=MANY, eos_token_id=ends, pad_token_id=0, **PLAIN, **chosen)
    return out[0, len(prompt) :].tolist()


def some_ends(model):
    """Tokens that end some rows early and others late: those that come up in the middle of what is written."""
    rows = [alone(model, prompt, None) for prompt in PROMPTS]
    return sorted({rows[0][2], rows[3][20]})


@pytest.mark.parametrize("prompts", [PROMPTS, SHARED], ids=["some alike", "alike and of two tokens at least"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_writes_what_it_writes_alone(family, prompts):
    model = MTPModel(make(family)).eval()
    ends = some_ends(model)
    with torch.no_grad():
        together = write_tokens(model, prompts, max_new_tokens=MANY, pad=0, ends=ends)
        assert together == [alone(model, prompt, ends) for prompt in prompts]


def test_samples_are_those_of_their_seeds_however_the_batch_shrinks():
    model = MTPModel(make("llama")).eval()
    ends, seeds = [17, 40, 80], [[seed] for seed in range(len(SHARED))]

    def draws(chosen):
        return SeededDraws(chosen, MANY, temperature=1.5)

    with torch.no_grad():
        together = write_tokens(model, SHARED, max_new_tokens=MANY, pad=0, ends=ends, draws=draws(seeds))
        lengths = {len(row) for row in together}
        assert len(lengths) > 1
        for prompt, seed, row in zip(SHARED, seeds, together, strict=True):
            assert row == alone(model, prompt, ends, draws([seed]))


def test_samples_and_their_likelihoods_are_those_of_their_seeds_with_drafts_too():
    model = MTPModel(make("llama"), n_future=3).double().eval()
    chosen = {"max_new_tokens": MANY, "pad": 0, "ends": [17, 40, 80]}
    found = []
    for drafts in (None, list[DraftCounts]()):
        draws = SeededDraws([[seed] for seed in range(len(PROMPTS))], MANY, temperature=0.4, top_p=0.9)
        with torch.no_grad():
            rows = write_tokens(model, PROMPTS, **chosen, draws=draws, drafts=drafts)
        found.append((rows, [draws.logprobs[i, : len(row)].tolist() for i, row in enumerate(rows)]))
        assert not drafts or DraftCounts.total(drafts).acceptance[0] > 0
    (rows, likely), (drafted, drafted_likely) = found
    assert drafted == rows
    for one, other in zip(drafted_likely, likely, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_nothing_is_computed_for_rows_that_have_ended():
    model = MTPModel(make("llama")).eval()
    with torch.no_grad():
        first, other = (set(alone(model, prompt, None)[:12]) for prompt in SHARED[:2])
        sizes = []
        model.hf_model.model.layers[0].register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
        write_tokens(model, SHARED, max_new_tokens=MANY, pad=0, ends=sorted(first - other))
    assert sizes[0] == 2, "two prompts are different"
    assert sizes[-1] < len(SHARED)
