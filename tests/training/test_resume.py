"""What a resume may change: nothing that decides the outcome, unless it was asked for; a refusal writes nothing."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import weights_in
from weighted_mtp.cli.main import main
from weighted_mtp.cli.train import parse_config, train_parser
from weighted_mtp.training.checkpoints import MADE_WITH_FILE, MARKER, mark_complete, why_incomplete, why_not_resumable
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.made_with import MadeWith, code_of_now, fingerprint_rows
from weighted_mtp.training.resume import settle_resume


@pytest.fixture(scope="module")
def finished(chain_base, rows, store, tmp_path_factory) -> Path:
    """A finished run of four steps, with checkpoints 2 and 4, made by the command line; never written to."""
    folder = tmp_path_factory.mktemp("resumes") / "run"
    settings = {
        "model_name_or_path": str(chain_base / "base"), "train_file": str(rows["train"]),
        "eval_file": str(rows["eval"]), "output_dir": str(folder), "tracking_uri": store, "max_steps": 4,
        "save_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "seed": 3,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    assert main(["train", "baseline", *words]) == 0
    return folder


@pytest.fixture
def stopped(finished, tmp_path) -> Path:
    """The same, killed after step 2, in another place."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copytree(finished / "checkpoint-2", folder / "checkpoint-2")
    shutil.copy(finished / "run.yaml", folder)
    return folder


def resume(run_dir: Path, *words: object, stage: str = "baseline") -> int:
    return main(["train", stage, "--config", str(run_dir / "run.yaml"), "--resume", "auto", *map(str, words)])


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*")) if p.is_file()}


CHANGED = [
    ("learning_rate", 1e-2, "learning_rate: 0.001 -> 0.01"),
    ("per_device_train_batch_size", 8, "per_device_train_batch_size: 4 -> 8"),
    ("gradient_accumulation_steps", 2, "gradient_accumulation_steps: 1 -> 2"),
    ("max_steps", 8, "max_steps: 4 -> 8"),
    ("n_future", 2, "n_future: 1 -> 2"),
    ("optim", "sgd", "optim: adamw_torch_fused -> sgd"),
    ("weight_decay", 0.1, "weight_decay: 0.0 -> 0.1"),
    ("seed", 4, "seed: 3 -> 4"),
    ("lora_rank", 2, "lora_rank: 0 -> 2"),
    ("trainer_args", '{"adam_beta1": 0.5}', "trainer_args.adam_beta1: None -> 0.5"),
]


@pytest.mark.parametrize(
    ("state", "name", "value", "shown"),
    [*(("stopped", *case) for case in CHANGED), *(("finished", *CHANGED[i]) for i in (0, 3))],
)
def test_another_setting_is_refused_with_old_and_new_and_nothing_is_written(state, name, value, shown, request, capsys):
    run_dir = request.getfixturevalue(state)
    before = contents(run_dir)
    assert resume(run_dir, f"--{name}", value) == 2
    error = capsys.readouterr().err
    assert shown in error
    assert "--resume_with_changes" in error
    assert contents(run_dir) == before


def test_another_stage_is_refused_before_anything_is_written(stopped, capsys):
    flat = yaml.safe_load((stopped / "run.yaml").read_text()) | {"stage": "critic"}
    path = stopped.parent / "critic.yaml"
    path.write_text(yaml.safe_dump(flat | {"output_dir": str(stopped)}))
    before = contents(stopped)
    assert main(["train", "critic", "--config", str(path), "--resume", "auto"]) == 2
    assert "stage: baseline -> critic" in capsys.readouterr().err
    assert contents(stopped) == before


@pytest.mark.parametrize(("name", "fact"), [("train_file", "training rows"), ("eval_file", "evaluation rows")])
def test_the_same_rows_in_another_order_are_other_rows(name, fact, stopped, rows, tmp_path, capsys):
    lines = rows["train" if name == "train_file" else "eval"].read_text().splitlines(keepends=True)
    other = tmp_path / "other.jsonl"
    other.write_text("".join([*lines[1:], lines[0]]))
    assert resume(stopped, f"--{name}", other) == 2
    assert f"{fact}: " in capsys.readouterr().err


def test_a_base_model_that_differs_in_one_weight_is_another(stopped, chain_base, tmp_path, capsys):
    other = shutil.copytree(chain_base / "base", tmp_path / "base")
    tensors = load_file(other / "model.safetensors")
    tensors[min(tensors)].view(-1)[0] += 1
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    before = contents(stopped)
    assert resume(stopped, "--model_name_or_path", other) == 2
    assert "base model: " in capsys.readouterr().err
    assert contents(stopped) == before


def test_a_run_yaml_that_was_copied_alone_means_its_own_output_dir(stopped, tmp_path):
    (tmp_path / "alone").mkdir()
    shutil.copy(stopped / "run.yaml", tmp_path / "alone")
    words = ["--config", str(tmp_path / "alone" / "run.yaml"), "--resume", "auto"]
    settings = parse_config(train_parser("baseline"), words)
    assert settings["output_dir"] == yaml.safe_load((stopped / "run.yaml").read_text())["output_dir"]
    words[1] = str(stopped / "run.yaml")
    assert parse_config(train_parser("baseline"), words)["output_dir"] == str(stopped)


def test_moved_files_and_free_settings_resume_to_the_same_weights(stopped, finished, chain_base, rows, tmp_path):
    base = shutil.copytree(chain_base / "base", tmp_path / "moved_base")
    train = shutil.copy(rows["train"], tmp_path / "moved.jsonl")
    words = ["--model_name_or_path", base, "--train_file", train, "--logging_steps", 1, "--save_steps", 1]
    words += ["--eval_steps", 2, "--run_name", "again", "--per_device_eval_batch_size", 3]
    words += ["--trainer_args", '{"dataloader_pin_memory": false}']
    assert resume(stopped, *words) == 0
    a, b = (weights_in(folder) for folder in (stopped, finished))
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert (stopped / "checkpoint-4").is_dir()  # not in the directory that run.yaml names


def test_a_finished_run_says_so_and_nothing_is_rewritten(finished, caplog):
    before = contents(finished)
    assert resume(finished) == 0
    assert "is finished" in caplog.text
    assert contents(finished) == before


def test_changes_that_were_asked_for_apply_and_stand_in_run_yaml(stopped):
    words = ["--learning_rate", 1e-2, "--per_device_train_batch_size", 8, "--lr_scheduler_type", "constant"]
    assert resume(stopped, *words, "--resume_with_changes") == 0
    said = yaml.safe_load((stopped / "run.yaml").read_text())
    assert said["learning_rate"] == 1e-2
    [change] = said["resumed_with_changes"]
    assert change["step"] == 2
    assert change["changes"]["learning_rate"] == [1e-3, 1e-2]
    assert change["changes"]["per_device_train_batch_size"] == [4, 8]
    state = torch.load(stopped / "checkpoint-4" / "optimizer.pt", weights_only=True)
    assert {group["lr"] for group in state["param_groups"]} == {1e-2}
    assert resume(stopped) == 0  # run.yaml is a configuration still, of a finished run


@pytest.mark.parametrize(("name", "value"), [("n_future", 2), ("optim", "sgd"), ("lora_rank", 2), ("max_steps", 1)])
def test_an_impossible_change_is_one_line_and_nothing_is_written(name, value, stopped, capsys):
    before = contents(stopped)
    assert resume(stopped, f"--{name}", value, "--resume_with_changes") == 2
    error = capsys.readouterr().err
    assert name in error.splitlines()[-1]
    assert "cannot go on from" in error
    assert contents(stopped) == before


def test_a_checkpoint_without_the_record_is_refused_unless_changes_are_allowed(stopped, chain_base):
    (stopped / "checkpoint-2" / MADE_WITH_FILE).unlink()
    now = MadeWith({"seed": 0})
    with pytest.raises(ValueError, match="--resume_with_changes"):
        settle_resume(now, stopped / "checkpoint-2", str(stopped), resumes=True, with_changes=False)
    decided = settle_resume(now, stopped / "checkpoint-2", str(stopped), resumes=True, with_changes=True)
    assert decided.made_with.changes == [{"step": 2, "changes": "unknown"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            {"sharded by": "FSDP"},
            {},
            "an optimizer sharded by FSDP, which a run that is sharded by nothing cannot read",
        ),
        ({}, {"sharded by": "DeepSpeed"}, "sharded by nothing, which a run that is sharded by DeepSpeed cannot read"),
        (
            {"sharded by": "DeepSpeed", "processes": 8},
            {"sharded by": "DeepSpeed", "processes": 4},
            "DeepSpeed resumes on as many alone: launch 8, not 4",
        ),
    ],
)
def test_an_optimizer_in_parts_that_do_not_fit_is_refused_whatever_was_asked_for(stopped, old, new, message):
    MadeWith(old).write(stopped / "checkpoint-2", finished=False)
    with pytest.raises(ValueError, match=message):
        settle_resume(MadeWith(new), stopped / "checkpoint-2", str(stopped), resumes=True, with_changes=True)


def test_another_number_of_rows_in_a_step_needs_to_be_asked_for(stopped):
    shared = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    MadeWith({"processes": 1, **shared}).write(stopped / "checkpoint-2", finished=False)
    with pytest.raises(ValueError, match=r"processes: 1 -> 2\. .*--resume_with_changes"):
        settle_resume(
            MadeWith({"processes": 2, **shared}),
            stopped / "checkpoint-2",
            str(stopped),
            resumes=True,
            with_changes=False,
        )


def test_a_checkpoint_of_the_model_alone_is_whole_and_not_resumed_from(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    mark_complete(tmp_path)
    assert why_incomplete(tmp_path) is None
    assert "save_only_model" in str(why_not_resumable(tmp_path))


def damage_each(checkpoint: Path) -> Iterator[tuple[str, str]]:
    """Has every file of a checkpoint missing, cut, zeroed and with one bit flipped, one after another."""
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MARKER):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for content in (None, whole[:-1], bytes(len(whole)), bytes(flipped)):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
            yield path.name, str(why_incomplete(checkpoint))
        path.write_bytes(whole)


def test_damage_to_any_file_of_a_checkpoint_is_named(finished, tmp_path):
    checkpoint = Path(shutil.copytree(finished / "checkpoint-4", tmp_path / "checkpoint-4"))
    damages = list(damage_each(checkpoint))
    assert {name for name, _ in damages} >= {
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "weighting.pt",
    }  # fmt: skip
    assert [(name, said) for name, said in damages if not said.startswith(name)] == []
    assert why_incomplete(checkpoint) is None


def test_a_resume_passes_over_an_edited_step_and_goes_on_from_the_older_one(stopped, finished, caplog):
    damaged = Path(shutil.copytree(finished / "checkpoint-4", stopped / "checkpoint-4"))
    state = damaged / "trainer_state.json"
    state.write_text(state.read_text().replace('"global_step": 4', '"global_step": 3'))
    assert resume(stopped) == 0
    said = [line for line in caplog.messages if "passed over" in line]
    assert said == [f"{damaged} is passed over: trainer_state.json has other content than was written"]
    a, b = (weights_in(folder) for folder in (stopped, finished))
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert why_incomplete(damaged) is None  # saved anew


def test_where_every_checkpoint_is_damaged_that_is_the_one_error_and_nothing_is_written(stopped, capsys):
    (stopped / "checkpoint-2" / "optimizer.pt").unlink()
    before = contents(stopped)
    assert resume(stopped) == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"{stopped} holds no checkpoint that can be resumed from" in error
    assert contents(stopped) == before


class Hostile:
    def __reduce__(self):
        return print, ("it was run",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "unlogged_0.pt"])
def test_a_whole_checkpoint_that_cannot_be_loaded_is_told_and_no_older_one_is_taken(stopped, name, capsys):
    newer = stopped / "checkpoint-2"
    shutil.copytree(newer, stopped / "checkpoint-1")
    torch.save({"state": Hostile()}, newer / name)
    mark_complete(newer)
    assert resume(stopped) == 2
    said = capsys.readouterr()
    [line] = [line for line in said.err.splitlines() if line.startswith("wmtp: error: ")]
    assert f"{newer} is whole, but this run cannot load it" in line
    assert "weights_only" not in line
    assert "it was run" not in said.out


@pytest.fixture
def ended(finished, tmp_path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "ended"))


def test_a_finished_run_is_saved_anew_in_another_precision(ended):
    assert resume(ended, "--save_dtype", "bfloat16") == 0
    assert {x.dtype for x in load_file(ended / "model.safetensors").values()} == {torch.bfloat16}
    assert MadeWith.read(ended).changes == []


def test_a_finished_run_that_lost_its_model_is_ended_again(ended, finished):
    (ended / "model.safetensors").unlink()
    shutil.rmtree(ended / "checkpoint-4")
    assert resume(ended) == 0
    again, before = (weights_in(folder) for folder in (ended, finished))
    assert all(torch.equal(again[name], before[name]) for name in before)


@pytest.mark.parametrize("how", [Path.unlink, partial(Path.write_bytes, data=b"x")], ids=["gone", "changed"])
@pytest.mark.parametrize("lost", ["model.safetensors", "weighted_mtp.safetensors", "weighting.pt"])
def test_a_finished_run_that_lost_a_file_is_ended_again(lost, how, tmp_path, caplog):
    (tmp_path / "checkpoint-4").mkdir()
    for name in ("model.safetensors", "weighted_mtp.safetensors", "weighting.pt", "config.json"):
        (tmp_path / name).touch()
    now = MadeWith({"seed": 0})
    for folder, ended in ((tmp_path, True), (tmp_path / "checkpoint-4", False)):
        now.write(folder, finished=ended)
    decide = partial(settle_resume, now, tmp_path / "checkpoint-4", str(tmp_path), resumes=True, with_changes=False)
    assert decide().finished
    how(tmp_path / lost)
    assert not decide().finished
    assert f"is finished, but lacks as it was saved: {lost}" in caplog.text


def test_other_code_is_told_and_stands_in_run_yaml(stopped, caplog):
    record = stopped / "checkpoint-2" / MADE_WITH_FILE
    said = json.loads(record.read_text())
    said["code"] |= {"torch": "1.0", "source of weighted-mtp": "0"}
    record.write_text(json.dumps(said))
    mark_complete(stopped / "checkpoint-2")
    assert resume(stopped) == 0
    [line] = [line for line in caplog.messages if "code" in line]
    source = code_of_now()["source of weighted-mtp"]
    changed = f"torch: 1.0 -> {torch.__version__}, source of weighted-mtp: 0 -> {source}"
    assert line == f"resumed at optimizer step 2 under other code: {changed}"
    [change] = yaml.safe_load((stopped / "run.yaml").read_text())["resumed_with_changes"]
    assert (change["step"], change["code"]["torch"]) == (2, ["1.0", torch.__version__])
    assert MadeWith.read(stopped / "checkpoint-4").code == code_of_now()


def test_a_setting_that_the_version_of_a_checkpoint_did_not_have_counts_as_its_default(stopped, capsys):
    record = stopped / "checkpoint-2" / MADE_WITH_FILE
    said = json.loads(record.read_text())
    del said["facts"]["head_decay"]
    record.write_text(json.dumps(said))
    mark_complete(stopped / "checkpoint-2")
    assert resume(stopped, "--n_future", 2, "--head_decay", 0.5) == 2
    assert "head_decay: 1.0 -> 0.5" in capsys.readouterr().err
    assert resume(stopped) == 0


def test_a_finished_model_without_a_checkpoint_is_not_trained_over(finished, tmp_path, capsys):
    for path in filter(Path.is_file, finished.iterdir()):
        shutil.copy(path, tmp_path)
    before = contents(tmp_path)
    assert resume(tmp_path, "--learning_rate", 1e-2) == 2
    assert "learning_rate: 0.001 -> 0.01" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_resume_with_changes_alone_is_a_mistake(finished, capsys):
    config = str(finished / "run.yaml")
    assert main(["train", "baseline", "--config", config, "--resume_with_changes"]) == 2
    assert "--resume auto" in capsys.readouterr().err


def test_the_record_is_among_the_files_that_the_marker_lists(finished):
    assert MADE_WITH_FILE in json.loads((finished / "checkpoint-2" / "complete.json").read_text())


def test_rows_are_told_by_content_and_not_by_where_they_lie_in_memory(finished):
    dataset = load_inputs(RunConfig.load(finished)).train_dataset
    same = dataset.select([*range(10)]).select([*range(10)])
    assert fingerprint_rows(same) == fingerprint_rows(dataset.select(range(10)))
    assert fingerprint_rows(same) != fingerprint_rows(dataset.select([1, 0, *range(2, 10)]))
