"""kill -9 of the commands that make rows, of improve and of a study: what is left when they have ended at last."""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.moments import KILLS_OF_A_RUN, At, Moment, Outcome, below, children, die
from weighted_mtp.data import EASY, make_chains
from weighted_mtp.improve.tiny import make_tiny
from weighted_mtp.training.checkpoints import MARKER
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.run import train

ASKING = {"max_new_tokens": 8, "temperature": 1.0, "batch_size": 16}
TRAINING = {
    "max_length": 64, "max_steps": 8, "save_steps": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-3,
    "tracking_uri": "none", "eval_share": 0.0,
}  # fmt: skip
COMMANDS = {
    "sample": (1, 2), "data verify": (1, 2), "score": (1, 2), "score --cross_fit": (1,), "evaluate": (1, 2),
    "improve": (1,), "study": (2,),
}  # fmt: skip
"""Each with the numbers of processes that it is measured on."""
VICTIMS = ("the command", "one of its processes", "all")
OF_TIME = {"date", "seconds", "minutes", "cpu_seconds"}
"""Keys of JSON that say when something was made, and how long it took."""
NOT_COMPARED = ("mlflow.db", "mlartifacts", "mlflow_run_id.txt", "checkpoint-*", "*.log", "improve.html", "study.md")
"""MLflow's record, which has ids of its own; what is kept of a run on its way; what was said; and pages of when and how
long, drawn from files that are compared."""


def make_command_inputs(folder: Path) -> None:
    """A model that gets some problems right, the problems, rows, and a critic that says how it was trained."""
    make_tiny(folder / "tiny", prompts=40, held_out=30, steps=40)
    rows = make_chains(EASY, seed=1, n_train_traces=1_600, n_test_prompts=8).train
    _write(folder / "traces.jsonl", rows)
    answers = [row["completion"].split()[-1] for row in rows]
    _write(folder / "answered.jsonl", [row | {"answer": answer} for row, answer in zip(rows, answers, strict=True)])
    settings = TRAINING | {
        "stage": "critic", "model_name_or_path": str(folder / "tiny/start"), "train_file": str(folder / "traces.jsonl"),
        "output_dir": str(folder / "scorer"),
    }  # fmt: skip
    train(RunConfig.from_flat(settings), quiet=True)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def words_of(command: str, processes: int, inputs: Path, out: Path) -> list[str]:
    """The command line, and its files."""
    tiny, asking = inputs / "tiny", [f"--{name}={value}" for name, value in ASKING.items()]
    numeric, engine = ["--verifier=numeric"], [f"--workers={processes}"] * (processes > 1)
    score = ["score", f"--critic={inputs}/scorer", f"--data={inputs}/traces.jsonl", f"--out={out}/scores"]
    if command == "sample":
        more = ["--n=4", "--drop_duplicates=true", f"--problems={tiny}/problems.jsonl", f"--out={out}/rows.jsonl"]
        return ["sample", f"{tiny}/start", *more, *numeric, *asking, *engine]
    if command == "data verify":
        return [*command.split(), f"--input={inputs}/answered.jsonl", f"--output={out}/rows.jsonl", *numeric, *engine]
    if command == "evaluate":
        more = ["--samples=4", f"--problems={tiny}/held_out.jsonl", f"--out={out}/evaluation"]
        return [command, f"{tiny}/start", *more, *numeric, *asking, *engine]
    if command == "improve":
        settings = {
            "model": f"{tiny}/start", "problems": f"{tiny}/problems.jsonl", "held_out": f"{tiny}/held_out.jsonl",
            "verifier": "numeric", "out": f"{out}/rounds", "rounds": 1, "sample": ASKING | {"n": 4},
            "critic": TRAINING, "student": TRAINING, "score": {"scheme_options": {"beta": 0.5}},
            "evaluate": ASKING | {"samples": 2},
        }  # fmt: skip
        (inputs / "improve.yaml").write_text(json.dumps(settings))
        return [command, f"--config={inputs}/improve.yaml"]
    if command == "study":
        return ["--preset=quick", f"--out={out}/study", "--draws=1", f"--jobs={processes}"]
    return [*score, "--max_length=64", *(["--cross_fit=2"] if command != "score" else engine)]


def kill_command(command: str, processes: int, kills: int, inputs: Path, folder: Path) -> Outcome:
    """Kills a command so many times, and compares its files with those of the uninterrupted one; says which differ."""
    folder.mkdir(parents=True)
    out, chance = folder / "out", random.Random(f"{command} {processes}")
    words, said = words_of(command, processes, inputs, out), folder / "said"
    _launch(words, said, None, "")
    whole, (seconds, operations) = contents(out), json.loads(said.with_suffix(".json").read_text())
    outcome = Outcome()
    while outcome.kills < kills:
        shutil.rmtree(out)
        for _ in range(min(KILLS_OF_A_RUN, kills - outcome.kills)):
            in_time = outcome.kills % 2 == 0
            at = chance.uniform(0, seconds) if in_time else chance.randint(1, operations)
            if not _launch(words, said, (in_time, at), chance.choice(VICTIMS)):
                break
            outcome.kills += 1
            outcome.in_saves += any(map(_is_half_written, out.rglob("*")))
        _launch(words, said, None, "")
        found = contents(out)
        outcome.runs += 1
        outcome.equal += found == whole
        different = [name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)]
        if different:
            print(f"{command}, run {outcome.runs}: {', '.join(sorted(different))}", file=sys.stderr)
    return outcome


def _is_half_written(path: Path) -> bool:
    """Whether it is of a save that was not ended."""
    if path.suffix == ".jsonl" and path.is_file():
        return not path.read_bytes().endswith(b"\n")
    unmarked = path.name.startswith("checkpoint-") and not (path / MARKER).exists()
    return unmarked or (path.name.startswith(".") and not path.name.endswith("lock"))


def _launch(words: list[str], said: Path, at: At | None, victim: str) -> bool:
    """Runs the command until its end or the moment; whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_command, args=(words, said, at, victim))
    process.start()
    process.join()
    if process.exitcode == 0:
        return False
    told = said.read_text()
    told_so = victim == VICTIMS[1] and "Traceback" not in told  # a line for one of its processes
    assert process.exitcode == -signal.SIGKILL or told_so, f"{words}: {process.exitcode}: {told[-3000:]}"
    return True


def _command(words: list[str], said: Path, at: At | None, victim: str) -> None:
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(1)
    is_study = words[0].startswith("--")
    main = import_module("research.chains.study" if is_study else "weighted_mtp.cli.main")
    sys.modules["__main__"] = main  # which workers of their own import
    if is_study:
        _make_study_small()
    moment = Moment(at, lambda: _kill(victim))
    moment.begin()
    status = main.main(words)
    if status == 0:
        said.with_suffix(".json").write_text(json.dumps(moment.spent()))
    sys.exit(status)


def _kill(victim: str) -> None:
    own = children(os.getpid()) if victim == VICTIMS[1] else below(os.getpid()) if victim == VICTIMS[2] else []
    own = [random.choice(own)] if own and victim == VICTIMS[1] else own
    for one in own:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    if victim != VICTIMS[1] or not own:
        die()


def _make_study_small() -> None:
    from research.chains import run
    from research.chains.study_arms import QUICK
    from weighted_mtp.demo.draw import Budget

    arms = tuple(arm for arm in QUICK[0].arms if arm.name in ("right_only", "log_odds"))
    run.PRESETS = {"quick": ((replace(QUICK[0], n_traces=400, arms=arms),), 1)}
    run.POOL, run.BUDGET = 2_000, Budget(steps=2, critic_steps=2, batch_size=16, test_prompts=24, curve_points=1)


def contents(out: Path) -> dict[str, str]:
    """Of every file under a folder, hidden ones too, a digest of what it holds."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    compared = [
        path
        for path in files
        if not any(Path(part).match(one) for part in path.relative_to(out).parts for one in NOT_COMPARED)
    ]
    return {str(path.relative_to(out)): hashlib.sha256(_timeless(path)).hexdigest() for path in compared}


def _timeless(path: Path) -> bytes:
    """The bytes of a file; of JSON without what says when."""
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    return json.dumps(json.loads(content, object_hook=_without_time)).encode()


def _without_time(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in OF_TIME}
