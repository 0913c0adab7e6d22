"""z-scores: by the batch, and by running statistics that do not care how a step was split."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from weighted_mtp.value_weighting import EMAWhitener, whiten

NAN = math.nan


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(actual, torch.as_tensor(expected).to(actual), rtol=0, atol=atol, equal_nan=True)


def trained(decay, *steps):
    """A whitener after the given steps; each is a list of micro-batches."""
    whitener = EMAWhitener(decay)
    for step in steps:
        for micro_batch in step:
            whitener(micro_batch)
        whitener.commit()
    return whitener


def test_scores_are_differences_from_the_mean_in_standard_deviations():
    # mean 3, unbiased variance (4 + 0 + 4) / 2
    close(whiten(torch.tensor([[1.0, 3.0], [5.0, NAN]]), torch.tensor([[1, 1], [1, 0]])), [[-1, 0], [1, 0]])


@pytest.mark.parametrize("level", [0.0, 0.1, -1e6, 1e6, 1e-20, 3.3e30])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_constant_input_gives_zero(level, count):
    assert (whiten(torch.full((count,), level)) == 0).all()


def test_large_offset_does_not_hide_a_real_spread():
    close(whiten(torch.tensor([1e4 - 1, 1e4, 1e4 + 1])), [-1.0, 0.0, 1.0], atol=1e-3)


def test_no_valid_element_gives_zeros():
    close(whiten(torch.tensor([NAN, 2.0]), torch.zeros(2)), [0.0, 0.0])


def test_nan_stays_nan_and_reaches_no_other_element():
    close(whiten(torch.tensor([1.0, 2.0, 3.0, NAN])), [-1.0, 0.0, 1.0, NAN])


def test_nan_is_not_hidden_by_a_constant_rest():
    close(whiten(torch.tensor([0.1, 0.1, 0.1, NAN])), [0.0, 0.0, 0.0, NAN])


def test_scores_are_differentiable_and_masked_garbage_does_not_leak_backward():
    x = torch.tensor([1.0, 2.0, 4.0, NAN], requires_grad=True)
    whiten(x, torch.tensor([1, 1, 1, 0]))[0].backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad[3] == 0


def test_before_the_first_step_mean_is_zero_and_std_one():
    x = torch.tensor([1.0, 5.0])
    close(EMAWhitener()(x), x)


def test_statistics_stand_still_until_the_commit():
    whitener = EMAWhitener()
    x = torch.tensor([1.0, 2.0, 3.0])
    close(whitener(x), x)
    close(whitener(x), x)
    whitener.commit()
    close(whitener(x), [-1.0, 0.0, 1.0], atol=0.2)


def test_first_commit_takes_the_statistics_of_the_step_as_they_are():
    x = torch.tensor([[1.0, 2.0, 4.0]])
    close(trained(0.99, [x]).whiten(x), whiten(x))


def test_average_is_bias_corrected_like_adam():
    steps = [torch.tensor([0.0, 2.0]), torch.tensor([3.0, 7.0]), torch.tensor([1.0, 1.0])]
    whitener = trained(0.9, *([x] for x in steps))
    mean, var, weight = 0.0, 0.0, 0.0
    for batch_mean, batch_var in [(1.0, 2.0), (5.0, 8.0), (1.0, 0.0)]:
        mean, var = 0.9 * mean + 0.1 * batch_mean, 0.9 * var + 0.1 * batch_var
        weight = 0.9 * weight + 0.1
    close(whitener.mean, mean / weight)
    close(whitener.var, var / weight)


def test_micro_batches_equal_the_whole_batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, generator=generator) * 3 + 2
    whole, split = trained(0.9, [x], [x + 1]), trained(0.9, x.split(5), (x + 1).split([1, 2, 9]))
    close(split.whiten(x), whole.whiten(x))


def test_evaluation_reads_and_never_updates():
    x = torch.tensor([1.0, 2.0, 3.0])
    whitener = trained(0.9, [x])
    before = {name: value.clone() for name, value in whitener.state_dict().items()}
    training_scores = whitener(x)
    whitener = trained(0.9, [x]).eval()
    close(whitener(x), training_scores)
    whitener.commit()
    whitener(100 * x)
    whitener.commit()
    for name, value in whitener.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_step_without_a_valid_element_changes_nothing():
    x = torch.tensor([1.0, 2.0, 3.0])
    whitener = trained(0.9, [x])
    expected = whitener.eval()(x)
    whitener.train()(x, torch.zeros(3))
    whitener(torch.full((3,), NAN))
    whitener.commit()
    close(whitener.whiten(x), expected, atol=0)


def test_constant_stream_gives_zero():
    x = torch.full((2, 7), 0.1)
    assert (trained(0.9, [x], [x, x], [x]).whiten(x) == 0).all()


def test_nan_does_not_poison_the_statistics():
    x = torch.tensor([1.0, 2.0, 3.0, NAN, math.inf])
    whitener = trained(0.9, [x])
    close(whitener.whiten(x), [-1.0, 0.0, 1.0, NAN, math.inf])


def test_state_survives_a_checkpoint_in_the_middle_of_a_step(tmp_path: Path):
    x = torch.tensor([1.0, 2.0, 3.0])
    first = trained(0.9, [x])
    first(x + 5)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = EMAWhitener(0.9)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for whitener in (first, second):
        whitener(x + 9)
        whitener.commit()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize("decay", [-0.1, 1.0, NAN])
def test_decay_outside_its_range_is_an_error(decay):
    with pytest.raises(ValueError, match=r"decay is .*; needed is a number in \[0, 1\)"):
        EMAWhitener(decay)


WORLD = 2


def steps_of_rank(rank):
    """Three steps; rank 0 holds more elements than rank 1, which has none in the second step."""
    generator = torch.Generator().manual_seed(3)
    batches = torch.randn(3, 10, generator=generator) * torch.tensor([[1.0], [4.0], [0.5]]) + 2
    mine = slice(0, 7) if rank == 0 else slice(7, 10)
    masks = torch.ones(3, 10, dtype=torch.bool)
    masks[1, 7:] = False
    return [(batches[step, mine], masks[step, mine]) for step in range(3)]


def train_rank(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    whitener = EMAWhitener(0.9)
    for x, mask in steps_of_rank(rank):
        whitener(x, mask)
        whitener.commit()
    torch.save(whitener.state_dict(), f"{folder}/state{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path):
    mp.spawn(train_rank, args=(str(tmp_path),), nprocs=WORLD)
    single = EMAWhitener(0.9)
    for (x, x_mask), (y, y_mask) in zip(steps_of_rank(0), steps_of_rank(1), strict=True):
        single(torch.cat([x, y]), torch.cat([x_mask, y_mask]))
        single.commit()
    for rank in range(WORLD):
        state = torch.load(tmp_path / f"state{rank}.pt", weights_only=True)
        for name, value in single.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-6, atol=1e-6, msg=name)
