import pytest

from weighted_mtp.models import head_warmup


def test_head_0_always_weighs_one():
    assert [head_warmup(step, 3, 10)[0] for step in (0, 5, 10, 99)] == [1.0, 1.0, 1.0, 1.0]


def test_extra_heads_rise_linearly_and_stay_at_one():
    # start .2, ten steps: .2 + .8 * step / 10
    weights = [head_warmup(step, 2, 10, start=0.2)[1] for step in (0, 5, 10, 11)]
    assert weights == pytest.approx([0.2, 0.6, 1.0, 1.0])


def test_without_warmup_all_heads_weigh_one_from_the_first_step():
    assert head_warmup(0, 4, 0) == (1.0, 1.0, 1.0, 1.0)


def test_the_weight_decays_from_head_to_head_beside_the_warm_up():
    # half way up: .5 * .6, .5 * .36, .5 * .216
    assert head_warmup(5, 4, 10, decay=0.6) == pytest.approx((1.0, 0.3, 0.18, 0.108))


def test_one_head_needs_no_warmup():
    assert head_warmup(0, 1, 10) == (1.0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": -1}, "must be >= 0"),
        ({"warmup_steps": -1}, "must be >= 0"),
        ({"n_future": 0}, "at least 1"),
        ({"start": 1.5}, r"\[0, 1\]"),
        ({"decay": 0.0}, r"\(0, 1\]"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        head_warmup(**({"step": 0, "n_future": 2, "warmup_steps": 1} | arguments))
