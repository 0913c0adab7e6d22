"""A learning rate of its own for value head and label embedding: who gets it, and that nothing else changes."""

from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from weighted_mtp.training.errors import ConfigError

RATE = 0.03


class Rates(TrainerCallback):
    """Learning rates of the parameter groups at every step."""

    def __init__(self):
        self.seen: list[list[float]] = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


def names_by_rate(run) -> dict[float, set[str]]:
    """Names of the parameters that the optimizer holds, by their learning rate."""
    name_of = {id(p): name for name, p in run.inputs.model.named_parameters()}
    held: dict[float, set[str]] = {}
    for group in run.trainer.create_optimizer().param_groups:
        for parameter in group["params"]:
            assert name_of[id(parameter)] not in set().union(*held.values())
            held.setdefault(group["lr"], set()).add(name_of[id(parameter)])
    return held


def decay_by_name(run) -> dict[str, float]:
    groups = run.trainer.create_optimizer().param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    return {name: decay[id(p)] for name, p in run.inputs.model.named_parameters() if id(p) in decay}


def trainable(run) -> set[str]:
    return {name for name, p in run.inputs.model.named_parameters() if p.requires_grad}


NEW_PARTS = [
    ({}, {"value_head.weight", "value_head.bias"}),
    ({"lora_rank": 2}, {"value_head.weight", "value_head.bias"}),
    ({"value_hidden": 8}, {f"value_head.{part}" for part in ("weight", "bias", "hidden.weight", "hidden.bias")}),
    ({"critic": "generative", "lora_rank": 2}, {"label_condition.weight"}),
    ({"critic": "generative", "prior": "head"}, {"label_condition.weight", "value_head.weight", "value_head.bias"}),
]


@pytest.mark.parametrize(("settings", "new"), NEW_PARTS)
def test_new_parts_alone_get_their_own_rate(prepare, settings, new):
    run = prepare("critic", new_learning_rate=RATE, **settings)
    held = names_by_rate(run)
    assert held == {RATE: new, 1e-3: trainable(run) - new}
    assert held[1e-3]


def test_a_rate_for_new_parts_is_refused_where_there_are_none(prepare):
    with pytest.raises(ConfigError, match=r"new_learning_rate is .*, which nothing reads in stage baseline"):
        prepare("baseline", new_learning_rate=RATE, n_future=2)


@pytest.mark.parametrize("settings", [{"value_hidden": 8}, {"critic": "generative", "prior": "head"}])
def test_weight_decay_stays_as_it_was(prepare, settings):
    plain, own = (
        decay_by_name(prepare("critic", weight_decay=0.1, new_learning_rate=rate, **settings)) for rate in (0.0, RATE)
    )
    assert plain == own
    assert set(plain.values()) == {0.0, 0.1}


def test_without_it_groups_are_those_of_the_trainer(prepare):
    run = prepare("critic", weight_decay=0.1)
    groups = run.trainer.create_optimizer().param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {group["lr"] for group in groups} == {1e-3}
    assert sum(len(group["params"]) for group in groups) == len(trainable(run))


def test_a_rate_that_is_the_same_for_all_trains_the_same(prepare):
    runs = [prepare("critic", new_learning_rate=rate, weight_decay=0.1) for rate in (0.0, 1e-3)]
    for run in runs:
        run.fit()
    first, second = (run.parameters() for run in runs)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("schedule", ["cosine", "constant_with_warmup"])
def test_a_schedule_scales_both_rates_alike(prepare, schedule):
    rates = Rates()
    prepare(
        "critic", new_learning_rate=RATE, lr_scheduler_type=schedule, warmup_steps=3, max_steps=6, callbacks=[rates]
    ).fit()
    assert len(rates.seen) == 6
    shares = [max(step) / RATE for step in rates.seen]
    assert shares[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    for step, share in zip(rates.seen, shares, strict=True):
        assert sorted({round(rate, 12) for rate in step}) == pytest.approx(sorted({1e-3 * share, RATE * share}))


@pytest.mark.parametrize("settings", [{}, {"critic": "generative", "lora_rank": 2, "sampler": "balanced"}])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(prepare, settings):
    settings = {"new_learning_rate": RATE, "max_steps": 4, "save_steps": 2, **settings}
    whole = prepare("critic", **settings)
    before = whole.parameters()
    folder = whole.config.train.output_dir
    whole.fit()
    rates = Rates()
    resumed = prepare("critic", output_dir=folder, callbacks=[rates], **settings)
    resumed.fit(Path(folder) / "checkpoint-2")
    assert len(rates.seen) == 2
    assert max(rates.seen[0]) == pytest.approx(RATE / 2)  # half way down a cosine
    first, second = whole.parameters(), resumed.parameters()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert [name for name in trainable(whole) if torch.equal(first[name], before[name])] == []


def moved(run) -> dict[str, torch.Tensor]:
    """By how much one step moves each parameter that trains."""
    before = run.parameters()
    run.fit()
    return {name: (x - before[name]).abs() for name, x in run.parameters().items() if name in trainable(run)}


def test_the_first_step_moves_new_parts_by_their_rate_and_the_rest_by_theirs(prepare):
    found = moved(prepare("critic", value_loss="bce", new_learning_rate=RATE, max_steps=1))
    head = torch.cat([x.flatten() for name, x in found.items() if name.startswith("value_head.")])
    torch.testing.assert_close(head, torch.full_like(head, RATE), rtol=0.01, atol=0.0)
    rest = max(float(x.max()) for name, x in found.items() if not name.startswith("value_head."))
    assert rest == pytest.approx(1e-3, rel=0.01)


def test_the_first_step_moves_the_label_embedding_by_its_rate(prepare):
    settings = {"critic": "generative", "sampler": "balanced", "lora_rank": 2}
    found = moved(prepare("critic", new_learning_rate=RATE, max_steps=1, **settings))
    label = found.pop("label_condition.weight")
    torch.testing.assert_close(label, torch.full_like(label, RATE), rtol=0.01, atol=0.0)
    assert max(float(x.max()) for x in found.values()) < 1.01e-3


def test_a_frozen_trunk_trains_at_the_rate_of_new_parts(prepare):
    found = moved(prepare("critic", freeze_trunk=True, new_learning_rate=RATE, max_steps=1))
    assert found.keys() == {"value_head.weight", "value_head.bias"}
    for x in found.values():
        torch.testing.assert_close(x, torch.full_like(x, RATE), rtol=0.01, atol=0.0)


def test_a_frozen_trunk_leaves_no_group_without_parameters(prepare):
    """The first group's rate is the one that is logged."""
    run = prepare("critic", freeze_trunk=True, new_learning_rate=RATE)
    groups = run.trainer.create_optimizer().param_groups
    assert all(group["params"] for group in groups)
    assert groups[0]["lr"] == RATE
