"""Nothing here makes the host wait for the device: no value of a tensor is read while weights are made."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.value_weighting import (
    SCHEMES,
    EMAWhitener,
    Signals,
    align_to_heads,
    build_weights,
    clip_fraction,
    compute_gae,
    compute_lambda_returns,
    compute_td_errors,
    compute_td_stats,
    critic_drift,
    entropy_floor_temperature,
    log_odds_of_success,
    make_scheme,
    merge_moments,
    moments,
    prediction_mask,
    softmax_weights,
    td_stats,
    top_share,
    values_from_credit,
    weigh,
    weight_stats,
    whiten,
)

READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_consecutive", "_unique2"}


class CountReads(TorchDispatchMode):
    """Counts the operators whose result, or its shape, the host has to wait for."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean_index = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        )
        if name in READS or boolean_index:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


BATCH, SEQ, HEADS = 3, 6, 2


def tensors(device):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.rand(*shape, generator=generator).to(device)

    return {
        "values": draw(BATCH, SEQ),
        "credit": draw(BATCH, SEQ),
        "rewards": draw(BATCH, SEQ),
        "mask": draw(BATCH, SEQ) < 0.7,
        "nll": draw(BATCH, SEQ, HEADS),
        "reference_nll": draw(BATCH, SEQ, HEADS),
        "entropy": draw(BATCH, SEQ, HEADS),
        "entropy_top20": draw(BATCH, SEQ, HEADS),
        "weights": draw(BATCH, SEQ),
        "steps": draw(BATCH, SEQ),
        "pass_rate": draw(BATCH),
        "segment_ids": torch.tensor([[1, 1, 1, 2, 2, 0]]).expand(BATCH, SEQ).to(device),
    }


FUNCTIONS = {
    "compute_td_errors": lambda x: compute_td_errors(x["values"][..., None], x["rewards"], x["mask"]),
    "compute_td_errors terminal": lambda x: compute_td_errors(x["values"][..., None], x["rewards"][:, 0], x["mask"]),
    "compute_gae dense": lambda x: compute_gae(x["values"], x["rewards"][:, 0], None),
    "compute_gae masked": lambda x: compute_gae(x["values"], x["rewards"], x["mask"]),
    "compute_gae packed": lambda x: compute_gae(x["values"], x["rewards"], x["mask"], segment_ids=x["segment_ids"]),
    "compute_lambda_returns": lambda x: compute_lambda_returns(x["values"], x["rewards"], x["mask"]),
    "log_odds_of_success": lambda x: log_odds_of_success(x["credit"], x["rewards"][0, 0], x["mask"]),
    "values_from_credit packed": lambda x: values_from_credit(x["credit"], x["values"], x["mask"], x["segment_ids"]),
    "build_weights": lambda x: build_weights(x["values"], mask=x["mask"]),
    "whiten": lambda x: whiten(x["values"], x["mask"]),
    "td_stats": lambda x: td_stats(moments(x["values"], x["mask"])),
    "weight_stats": lambda x: weight_stats(merge_moments(moments(x["weights"]), moments(x["weights"], x["mask"]))),
    "clip_fraction": lambda x: clip_fraction(x["weights"], x["mask"], 0.1, 0.5),
    "critic_drift": lambda x: critic_drift(x["values"], x["weights"], x["mask"]),
    "entropy_floor_temperature": lambda x: entropy_floor_temperature(
        x["values"], 0.9, 0.1, x["mask"], x["segment_ids"]
    ),
    "softmax_weights": lambda x: softmax_weights(x["values"], 0.3, x["mask"]),
    "top_share": lambda x: top_share(x["nll"], x["nll"] > 0.5, 0.3),
    "align_to_heads": lambda x: align_to_heads(x["values"], HEADS),
    "prediction_mask": lambda x: prediction_mask(x["segment_ids"], x["segment_ids"]),
    "EMAWhitener": lambda x: (w := EMAWhitener().to(x["values"].device))(x["values"], x["mask"]) + (w.commit() or 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_reads_nothing(name):
    with CountReads() as reads:
        FUNCTIONS[name](tensors("cpu"))
    assert reads.names == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_runs_on_tensors_that_have_no_contents(name):
    FUNCTIONS[name](tensors("meta"))


OPTIONS = [{}, {"whitening": "batch"}, {"whitening": "ema", "unit_mean": True, "entropy_floor": 0.9, "credit": "gae"}]
SCHEME_CASES = [(name, {}) for name in SCHEMES] + [("td", options) for options in OPTIONS]
SCHEME_CASES += [
    ("log_odds", {"whitening": "none", "smoothing": 0.1}),
    ("return_weighted", {"whitening": "ema", "unit_mean": True}),
    ("position_aligned", {"inner": "rho1"}),
    ("iw_sft", {"form": "token"}),
    ("w_reinforce", {"clip": 0.2}),
    ("nft", {"prompt_weight": "root"}),
]


def one_step(name, options, device, packed):
    x = tensors(device)
    signals = Signals(
        valid=align_to_heads(x["mask"], HEADS),
        generator=torch.Generator().manual_seed(0),
        **(x if packed else x | {"segment_ids": None}),
    )
    scheme = make_scheme(name, **options).to(device)
    weights = weigh(scheme, signals)
    scheme.commit()
    return weights


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "options"), SCHEME_CASES)
def test_scheme_reads_nothing(name, options, packed):
    with CountReads() as reads:
        one_step(name, options, "cpu", packed)
    assert reads.names == []


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "options"), SCHEME_CASES)
def test_scheme_runs_on_tensors_that_have_no_contents(name, options, packed):
    assert one_step(name, options, "meta", packed).shape == (BATCH, SEQ, HEADS)


def test_statistics_for_a_log_are_one_copy_and_floats():
    with CountReads() as reads:
        stats = compute_td_stats(torch.tensor([1.0, 2.0]))
    assert all(type(value) is float for value in stats.values())
    # they do read, from a tensor that is on the host by then; it shows that the counter counts
    assert reads.names == ["_local_scalar_dense"] * 4
