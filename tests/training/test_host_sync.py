"""Between two log entries our code never waits for the device, except for the row index of each loss."""

import sys
from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique_consecutive", "_unique2"}
COPIES = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__"}


def our_caller() -> str | None:
    """module.function of ours that called, if the code nearest to the call, torch apart, is ours."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("weighted_mtp."):
            return f"{module.removeprefix('weighted_mtp.')}.{frame.f_code.co_name}"
        if not module.startswith(("torch.", __name__)) and module != "torch":
            return None
        frame = frame.f_back
    return None


class Operators(TorchDispatchMode):
    """Counts operators whose result, or its shape, the host waits for, by our function that called them."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean_index = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if (name in READS or boolean_index) and (caller := our_caller()):
            self.found[f"{name} in {caller}"] += 1
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Counts copies to the host, which on a CPU run no operator."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in COPIES and (caller := our_caller()):
            self.found[f"{name} in {caller}"] += 1
        return func(*args, **(kwargs or {}))


STAGES = {
    "baseline": ("baseline", {}),
    "critic": ("critic", {"n_future": 1}),
    "pairwise": ("critic", {"n_future": 1, "value_loss": "pairwise"}),
    "td_ema": ("verifiable", {"scheme_options": {"whitening": "ema", "unit_mean": True}}),
    "gae": ("verifiable", {"scheme_options": {"credit": "gae", "entropy_floor": 0.9}}),
    "softmax": ("verifiable", {"scheme": "softmax"}),
    "shuffled": ("verifiable", {"scheme": "shuffled"}),
    "shuffled_across": ("verifiable", {"scheme": "shuffled_across"}),
    "lognormal": ("verifiable", {"scheme": "lognormal"}),
    "rho1": ("rho1", {}),
    "generative": ("critic", {"n_future": 1, "critic": "generative", "prior": "head"}),
    "implicit": ("critic", {"n_future": 1, "critic": "implicit"}),
    "log_odds": ("verifiable", {"scheme": "log_odds"}),
}
ROW_INDEX = "nonzero in losses.likelihoods.kept_rows"
LOSSES = {"rho1": 3, "implicit": 4, "log_odds": 2}
"""Losses a forward, where it is more than one: the model's and a reference's per token, and those minimised."""


@pytest.fixture(scope="module")
def generative_dir(train) -> str:
    return train("critic", critic="generative", max_steps=1).args.output_dir


@pytest.mark.parametrize("name", STAGES)
def test_nothing_is_read_but_the_row_index_of_each_loss(prepare, chain_base, generative_dir, name):
    """Three optimizer steps of two micro-batches, without a log entry."""
    stage, settings = STAGES[name]
    run = prepare(
        stage,
        **{
            "n_future": 2,
            "reference": str(chain_base / "base") if stage == "rho1" else None,
            "critic": generative_dir if name == "log_odds" else None,
            "max_steps": 3,
            "logging_steps": 100,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            **settings,
        },
    )
    found: Counter[str] = Counter()

    def watched(function):
        def call(*args, **kwargs):
            with Operators(found), Methods(found):
                return function(*args, **kwargs)

        return call

    for method in ("training_step", "get_batch_samples", "_get_grad_norm"):
        setattr(run.trainer, method, watched(getattr(run.trainer, method)))
    events = run.trainer.callback_handler
    call_event, watched_event = events.call_event, watched(events.call_event)

    def event(name, *args, **kwargs):  # before the first step the device may be waited for
        return (call_event if name == "on_train_begin" else watched_event)(name, *args, **kwargs)

    events.call_event = event
    run.fit()
    assert found == {ROW_INDEX: LOSSES.get(name, 1) * 3 * 2}


ON_THE_HOST = {"trainer._read_window", "metrics.named", "metrics._named", "metrics._ratio", "metrics.<dictcomp>"}


@pytest.mark.parametrize("name", ["baseline", "td_ema"])
def test_a_log_entry_is_one_copy_to_the_host(prepare, name):
    stage, settings = STAGES[name]
    run = prepare(stage, **{"n_future": 2, "max_steps": 4, "logging_steps": 2, **settings})
    found: Counter[str] = Counter()
    log = run.trainer.log

    def watched(*args, **kwargs):
        with Operators(found), Methods(found):
            return log(*args, **kwargs)

    run.trainer.log = watched
    run.fit()
    entries = sum("weight_mean" in entry for entry in run.trainer.state.log_history)
    assert found["cpu in training.trainer._read_window"] == entries == 2
    # everything else reads what was copied
    assert {line.split(" in training.")[1] for line in found} <= ON_THE_HOST


def test_the_counters_count():
    found: Counter[str] = Counter()
    module = {"__name__": "weighted_mtp.made_up"}
    exec("def read(x): return x.item(), x.cpu(), bool(x), (x > 0).nonzero(), x[x > 0].tolist()", module)
    with Operators(found), Methods(found):
        module["read"](torch.ones(1))
    counted = {line.split(" in made_up.read")[0] for line in found}
    assert counted >= {"item", "cpu", "__bool__", "nonzero", "index", "tolist"}
