"""Two ranks are one process of twice the batch, rows that do not divide included: real processes on gloo."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import needs, td_unless_named, weights_in
from tests.training.ranks import start_ranks
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train as run

BATCH = 4  # of one process; two take 2 each
N_ROWS = 21  # 6 steps an epoch, the last of one row: the second rank has none
ONE_HEAD = {"n_future": 1}
CASES = {
    "uniform": ("baseline", {}),
    "accumulated": ("baseline", {"gradient_accumulation_steps": 2}),
    "column": ("baseline", {"scheme": "column"}),
    "signed": ("verifiable", {"scheme": "signed"}),
    "rho1": ("rho1", {"scheme_options": {"keep_fraction": 1.0}}),
    "td": ("verifiable", {"scheme_options": {"beta": 0.3}}),
    "td_ema": ("verifiable", {"scheme_options": {"whitening": "ema", "unit_mean": True}}),
    "balanced": ("verifiable", {"sampler": "balanced"}),
    "curriculum": ("verifiable", {"sampler": "curriculum"}),
    "mse": ("critic", ONE_HEAD),
    "bce": ("critic", ONE_HEAD | {"value_loss": "bce"}),
    "lambda": ("critic", ONE_HEAD | {"value_loss": "lambda", "freeze_trunk": True}),
    # A pair meets in one batch of two, and no other pair of its prompt with it.
    "pairwise": ("critic", ONE_HEAD | {"value_loss": "pairwise", "sampler": "pairs"}),
    "generative": ("critic", ONE_HEAD | {"critic": "generative", "prior": "head"}),
    "implicit": ("critic", ONE_HEAD | {"critic": "implicit"}),
    "packed": ("verifiable", {"packing": True, "max_length": 24}),
    "adapters": ("baseline", {"lora_rank": 2}),
}
SHARDED = {"fsdp": True, "fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT"}}
ZERO = {
    "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto", "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
}  # fmt: skip
SHARDS = {
    "FSDP2": SHARDED,
    "ZeRO-2": {"deepspeed": ZERO | {"zero_optimization": {"stage": 2}}},
    "ZeRO-3": {
        "deepspeed": ZERO | {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}}
    },
}
IN_SHARDS = (
    "uniform",
    "accumulated",
    "rho1",
    "td_ema",
    "mse",
    "lambda",
    "generative",
    "implicit",
    "packed",
    "adapters",
)
TIMES = ("runtime", "per_second")


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory) -> dict[str, str]:
    """21 rows to train on, half of them right, with a `weights` column, and 7 to evaluate; 5 prompts in pairs."""
    folder = tmp_path_factory.mktemp("odd")
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()]
    right, wrong = ([row for row in table if row["label"] is kind] for kind in (True, False))
    mixed = [dict(row) for pair in zip(right, wrong, strict=False) for row in pair]
    odd = [*mixed[: N_ROWS - 1], dict(right[-1])]
    evaluated = [json.loads(line) for line in rows["eval"].read_text().splitlines()][:7]
    for i, row in enumerate([*odd, *evaluated]):
        row["weights"] = [0.1 + (7 * i + 3 * j) % 11 / 5 for j in range(len(row["completion"].split()) + 1)]
    paired = [
        row | {"prompt": right[3 * i]["prompt"]}
        for i in range(5)
        for row in (right[3 * i] | {"label": True}, right[3 * i] | {"label": False})
    ]
    made = {"train": odd, "pairs": paired, "eval": evaluated}
    for name, some in made.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return {name: str(folder / f"{name}.jsonl") for name in made}


@pytest.fixture(scope="module")
def settings_of(files, chain_base, critic_dir, store):
    """A function (case, processes, output_dir) -> flat settings of eight SGD steps, across the end of an epoch."""

    def settings(case: str, processes: int, output_dir: Path) -> dict:
        stage, own = CASES[case]
        return {
            "stage": stage,
            "model_name_or_path": str(critic_dir if stage in ("critic", "verifiable") else chain_base / "base"),
            "reference": str(chain_base / "base") if stage == "rho1" else None,
            "train_file": files["pairs" if case == "pairwise" else "train"],
            "eval_file": files["eval"],
            "output_dir": str(output_dir),
            "tracking_uri": store,
            "max_steps": 8,
            "per_device_train_batch_size": BATCH // processes,
            "per_device_eval_batch_size": BATCH // processes,
            "n_future": 2,
            "optim": "sgd",
            "learning_rate": 0.2,
            "logging_steps": 1,
            "save_steps": 0,
        } | td_unless_named(stage, own)

    return settings


RESUMED = {"optim": "adamw_torch", "learning_rate": 1e-3, "max_steps": 10, "save_steps": 7}


def resumed_job(settings_of, folder: Path, trainer_args: dict) -> list[dict]:
    """A whole run, and one from its checkpoint within the second epoch."""
    whole = settings_of("td_ema", 2, folder / "whole") | RESUMED | {"trainer_args": trainer_args}
    resumed = whole | {"output_dir": str(folder / "resumed")}
    checkpoint = str(folder / "whole" / "checkpoint-7")
    return [{"settings": whole, "resume": None}, {"settings": resumed, "resume": checkpoint}]


@pytest.fixture(scope="module")
def one(settings_of, made_once) -> Path:
    """What one process left that was to be resumed."""

    def make(folder: Path) -> None:
        run(RunConfig.from_flat(settings_of("td_ema", 1, folder) | RESUMED), quiet=True)

    return made_once("one_process", make)


@pytest.fixture(scope="module")
def two_ranks(settings_of, one, made_once) -> Path:
    """A folder with what two processes left of every case, and of one that was resumed within its second epoch."""

    def make(folder: Path) -> None:
        jobs = [{"settings": settings_of(case, 2, folder / case), "resume": None} for case in CASES]
        jobs += resumed_job(settings_of, folder, {})
        of_one = settings_of("td_ema", 2, folder / "of_one") | RESUMED
        jobs.append({"settings": of_one, "resume": str(one / "checkpoint-7")})
        broken = settings_of("uniform", 2, folder / "broken") | {"learning_rate": 3e38, "save_steps": 1}
        jobs.append({"settings": broken, "resume": None, "breaks": True})
        start_ranks(jobs, folder)

    return made_once("two_processes", make)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one_process(two_ranks, settings_of, prepare, tmp_path, case):
    one = prepare(**settings_of(case, 1, tmp_path / "one")).fit()
    assert_close(tmp_path / "one", two_ranks / case)
    for a, b in zip(one.state.log_history, history(two_ranks / case), strict=True):
        a, b = ({k: v for k, v in entry.items() if not any(t in k for t in TIMES)} for entry in (a, b))
        assert b == pytest.approx(a, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_two_ranks_resumed_within_their_second_epoch_are_bitwise_the_uninterrupted_ones(two_ranks):
    whole, resumed = (weights_in(two_ranks / name) for name in ("whole", "resumed"))
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


@pytest.fixture(scope="module", params=SHARDS)
def two_shards(request, settings_of, made_once) -> Path:
    """The same of models in shards."""
    shards = request.param
    if shards != "FSDP2":
        needs("deepspeed", "REQUIRE_DEEPSPEED", "DeepSpeed is not installed: pip install deepspeed")

    def make(folder: Path) -> None:
        asked = SHARDS[shards]
        jobs = [
            {"settings": settings_of(case, 2, folder / case) | {"trainer_args": asked}, "resume": None}
            for case in IN_SHARDS
        ]
        jobs += resumed_job(settings_of, folder, asked)
        half = settings_of("td_ema", 2, folder / "bf16") | {"trainer_args": asked, "bf16": True}
        jobs.append({"settings": half, "resume": None})
        if shards == "FSDP2":
            jobs += resumed_job(settings_of, folder / "whole_checkpoints", {"fsdp": True})
        start_ranks(jobs, folder, shards=shards)

    return made_once(shards, make)


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_SHARDS)
def test_a_model_in_shards_trains_as_whole_ones_and_is_saved_whole(two_shards, two_ranks, case):
    assert_close(two_ranks / case, two_shards / case)


@pytest.mark.slow
def test_shards_that_compute_in_bfloat16_begin_with_the_loss_of_float32(two_shards, two_ranks):
    first, second = (
        next(entry["loss"] for entry in history(folder) if "loss" in entry)
        for folder in (two_shards / "bf16", two_ranks / "td_ema")
    )
    assert first == pytest.approx(second, rel=1e-2)
    assert first != second


@pytest.mark.slow
def test_shards_resume_bitwise_from_checkpoints_in_shards_and_whole_ones(two_shards):
    for folder in (two_shards, *two_shards.glob("whole_checkpoints")):
        whole, resumed = (weights_in(folder / name) for name in ("whole", "resumed"))
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


@pytest.mark.slow
def test_two_processes_go_on_from_the_checkpoint_of_one(one, two_ranks):
    assert_close(one, two_ranks / "of_one")
    [line] = [x for x in (two_ranks / "rank0.stderr").read_text().splitlines() if "resumed at optimizer step 7" in x]
    assert "per_device_train_batch_size: 4 -> 2, processes: 1 -> 2: the rows of every step are the same" in line


@pytest.mark.slow
def test_one_process_goes_on_from_the_checkpoint_of_two(two_ranks, settings_of, tmp_path, caplog):
    shutil.copytree(two_ranks / "whole" / "checkpoint-7", tmp_path / "checkpoint-7")
    run(RunConfig.from_flat(settings_of("td_ema", 1, tmp_path) | RESUMED), "auto", quiet=True)
    assert_close(two_ranks / "whole", tmp_path)
    assert "processes: 2 -> 1: the rows of every step are the same" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("two_shards", ["FSDP2"], indirect=True)
def test_four_processes_go_on_from_the_shards_of_two(two_shards, settings_of, tmp_path):
    checkpoint = two_shards / "whole" / "checkpoint-7"
    settings = settings_of("td_ema", 4, tmp_path) | RESUMED | {"trainer_args": SHARDED}
    start_ranks([{"settings": settings, "resume": checkpoint}], tmp_path, world=4, shards="FSDP2")
    assert_close(two_shards / "whole", tmp_path)


@pytest.mark.slow
def test_an_update_that_breaks_the_parameters_ends_both_ranks_and_completes_no_checkpoint(two_ranks):
    reasons = [(two_ranks / "broken" / f"why_broken{rank}.txt").read_text() for rank in range(2)]
    assert all("not finite at optimizer step 2" in reason for reason in reasons)  # each names its own rows
    whole = [marker.parent for marker in (two_ranks / "broken").rglob("complete.json")]
    assert [folder.name for folder in whole] == ["checkpoint-1"]
    assert all(x.isfinite().all() for x in weights_in(whole[0]).values())


def assert_close(one: Path, other: Path) -> None:
    first, second = (weights_in(folder) for folder in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def history(run_dir: Path) -> list[dict[str, float]]:
    return json.loads((run_dir / "history.json").read_text())
