"""What is made in parts is the same wherever it is made, and a worker that is killed costs its part alone."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.engine.works import LETHAL, Forgetful, Squares
from weighted_mtp.cli.main import main
from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.engine.parts import parts_of, rows_in_order
from weighted_mtp.engine.settings import EngineError, EngineSettings
from weighted_mtp.evaluation.evaluate import evaluate
from weighted_mtp.evaluation.problems import EvaluationConfig
from weighted_mtp.labelling.verify import label_file
from weighted_mtp.sampling.sample import sample
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.training import scoring
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.verifiers.base import VerifierError
from weighted_mtp.verifiers.table import make_verifier

QUIET = Console(quiet=True)
HERE = {"engine": "local", "workers": 2}
RAY = {"engine": "ray", "workers": 2}
ACTOR = {"engine": "ray", "workers": 1}  # a process that takes seconds to import what it needs


@pytest.fixture(params=[HERE, RAY], ids=["local", "ray"])
def engine(request):
    """Settings of each engine with two workers."""
    if request.param is RAY:
        request.getfixturevalue("cluster")
    return request.param


def squares(tmp_path: Path, engine: dict, numbers: list, known: int = 0, **options) -> list[dict]:
    parts, _ = parts_of(numbers, known, 3)
    work = Squares(tmp_path / "log", **options)
    return list(rows_in_order(EngineSettings(**engine), work, parts, tmp_path / "out.jsonl"))


def test_rows_come_in_order_and_nothing_is_left_lying(engine, tmp_path):
    assert squares(tmp_path, engine, list(range(20))) == [{"square": i**2} for i in range(20)]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.usefixtures("cluster")
def test_a_part_whose_worker_is_killed_in_its_middle_is_made_by_another(tmp_path):
    numbers = [*range(7), LETHAL, *range(8, 20)]
    rows = squares(tmp_path, RAY, numbers, flag=tmp_path / "flag")
    assert rows == [{"square": 0 if i == 7 else i**2} for i in range(20)]
    assert (tmp_path / "flag").exists(), "a worker was killed"


@pytest.mark.usefixtures("cluster")
def test_a_part_that_kills_every_worker_ends_in_one_line(tmp_path):
    with pytest.raises(EngineError, match=r"a part has killed its worker 3 times, .*: what is made is kept"):
        squares(tmp_path, ACTOR, [1, 2, LETHAL])


def test_a_local_worker_that_is_killed_ends_in_one_line_and_what_was_made_is_not_made_again(tmp_path):
    numbers, kept = [LETHAL, *range(1, 20)], tmp_path / "out.jsonl.parts"
    with pytest.raises(EngineError, match="a worker was killed"):
        squares(tmp_path, HERE, numbers, flag=tmp_path / "flag", kept=kept)
    parts = len([*kept.iterdir()])
    before = (tmp_path / "log").read_text().splitlines()
    assert squares(tmp_path, HERE, numbers, flag=tmp_path / "flag") == [{"square": i**2} for i in range(20)]
    after = (tmp_path / "log").read_text().splitlines()
    assert 1 <= parts <= len(before)
    assert len(after) - len(before) == 7 - parts


def test_a_mistake_in_a_part_is_told_as_it_is(engine, tmp_path):
    with pytest.raises(ValueError, match="what came is bad"):
        squares(tmp_path, engine, [1, 2, 3, "bad"])


def test_a_mistake_of_a_local_worker_says_where_it_arose_even_where_it_cannot_be_sent(tmp_path):
    with pytest.raises(RuntimeError, match=r"OddError: what came is odd at the end") as caught:
        squares(tmp_path, HERE, [1, 2, 3, "odd"])
    assert any('raise OddError("the end", "what came is odd")' in note for note in caught.value.__notes__)


# The commands


def test_rows_judged_anywhere_are_the_same_bytes(engine, numbers, tmp_path):
    here, there, verifier = tmp_path / "here.jsonl", tmp_path / "there.jsonl", make_verifier("numeric")
    label_file(numbers, here, verifier, QUIET)
    label_file(numbers, there, verifier, QUIET, EngineSettings(**engine))
    assert there.read_bytes() == here.read_bytes()


def test_what_is_half_judged_here_goes_on_anywhere(engine, numbers, tmp_path):
    here, there, verifier = tmp_path / "here.jsonl", tmp_path / "there.jsonl", make_verifier("numeric")
    label_file(numbers, here, verifier, QUIET)
    lines = here.read_bytes().splitlines(keepends=True)
    there.write_bytes(b"".join(lines[:300]) + lines[300][:20])
    found = label_file(numbers, there, verifier, QUIET, EngineSettings(**engine))
    assert there.read_bytes() == here.read_bytes()
    assert found.verdicts.total() == 700


def drawn(written: Path, out: Path, **settings) -> bytes:
    given = {"n": 3, "max_new_tokens": 6, "batch_size": 2, "problems": str(written / "problems.jsonl")}
    config = SampleConfig(**({"model": str(written / "model"), "out": str(out)} | given | settings))
    sample(config, QUIET)
    return config.path.read_bytes()


def test_samples_drawn_by_several_processes_are_the_same_bytes(written, tmp_path):
    settings = {"verifier": "numeric", "logprobs": True, "drop_duplicates": True, "temperature": 0.5}
    here = drawn(written, tmp_path / "here.jsonl", **settings)
    assert drawn(written, tmp_path / "there.jsonl", **settings, **HERE) == here


@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_while_it_samples_and_judges_changes_no_byte(written, tmp_path):
    problems = read_json_lines(written / "problems.jsonl")
    problems[2] |= {"flag": str(tmp_path / "flag"), "spare": os.getpid()}
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    settings = {"verifier": "tests.engine.works:Deadly", "problems": str(tmp_path / "problems.jsonl")}
    there = drawn(written, tmp_path / "there.jsonl", **settings, **ACTOR)
    assert (tmp_path / "flag").exists(), "a worker was killed"
    assert there == drawn(written, tmp_path / "here.jsonl", **settings)


def test_shards_joined_are_what_one_call_writes(written, tmp_path, numbers):
    out = tmp_path / "rows.jsonl"
    shards = [drawn(written, out, verifier="numeric", shard=f"{i}/3") for i in (1, 2, 3)]
    assert drawn(written, tmp_path / "whole.jsonl", verifier="numeric") == b"".join(shards)
    words = [
        "data",
        "verify",
        "--input",
        str(numbers),
        "--verifier",
        "numeric",
        "--output",
        str(tmp_path / "out.jsonl"),
    ]
    assert [main([*words, "--shard", shard]) for shard in ("2/2", "1/2", "1/1")] == [0, 0, 0]
    judged = [(tmp_path / f"out-0000{i}-of-00002.jsonl").read_bytes() for i in (1, 2)]
    assert (tmp_path / "out.jsonl").read_bytes() == b"".join(judged)


@pytest.mark.usefixtures("cluster")
def test_rows_scored_by_ray_are_the_same_bytes(critic_dir, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "PART_ROWS", 16)
    for name, where in (("here", {}), ("there", ACTOR)):
        given = {"critic": str(critic_dir), "data": str(rows["train"]), "scheme_options": {"beta": 0.3}}
        score(ScoreConfig(**given, out=str(tmp_path / name), **where), quiet=True)
    here, there = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there
    assert len(here) == 5 + 2, "five parts, the shard's marker and the settings"


@pytest.mark.usefixtures("cluster")
def test_an_evaluation_made_by_ray_is_the_same_bytes(written, tmp_path):
    for name, where in (("here", {}), ("there", ACTOR)):
        settings = {"samples": 2, "max_new_tokens": 6, "batch_size": 2, "out": str(tmp_path / name), **where}
        evaluate(
            EvaluationConfig(str(written / "problems.jsonl"), "numeric", model=str(written / "model"), **settings),
            QUIET,
        )
    for file in ("completions.jsonl", "samples.jsonl", "settings.json"):  # results.json has the date
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_the_command_finds_the_cluster_by_its_address(cluster, written, tmp_path):
    words = [str(written / "model"), "--problems", str(written / "problems.jsonl"), "--n", "2", "--max_new_tokens", "4"]
    command = [sys.executable, "-m", "weighted_mtp.cli", "sample", *words, "--out", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(
        [*command, "--engine", "ray"], env=os.environ | {"RAY_ADDRESS": cluster}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "8 rows" in done.stdout
    assert "prompts that are text are read as they are" in done.stderr, "what one process says is said"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "workers is 0: give at least 1"),
        (["--num_gpus", "1"], "num_gpus is 1.0, and engine local takes none: leave it out, or give engine ray"),
        (["--engine", "ray", "--num_cpus", "-1"], "num_cpus is -1.0: give a number, 0 or more"),
        (["--engine", "spark"], "engine"),
        (["--shard", "3/2"], "shard is '3/2': give i/n with 1 <= i <= n, as 2/8"),
        (["--again", "--shard", "1/2"], "shard is of rows judged for the first time, not of --again: leave it out"),
    ],
)
def test_a_mistake_is_one_line(words, said, numbers, tmp_path, capsys):
    command = [
        "data",
        "verify",
        "--input",
        str(numbers),
        "--verifier",
        "numeric",
        "--output",
        str(tmp_path / "o.jsonl"),
    ]
    assert main([*command, *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_server_is_asked_from_one_process():
    with pytest.raises(ConfigError, match="engine is of a model in a directory, and http://x/v1 is none: leave it out"):
        SampleConfig(model="http://x/v1", problems="p.jsonl", out="o.jsonl", engine="ray")


@pytest.mark.usefixtures("cluster")
def test_more_gpus_than_a_cluster_of_its_own_has_are_refused(numbers, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    engine = EngineSettings(engine="ray", num_gpus=4)
    with pytest.raises(EngineError, match="no node of the Ray cluster has 1 CPUs and 4 GPUs for a worker"):
        label_file(numbers, tmp_path / "o.jsonl", make_verifier("numeric"), QUIET, engine)


def test_a_verifier_that_workers_cannot_make_anew_says_why(numbers, tmp_path):
    with pytest.raises(VerifierError, match="Forgetful takes `words` and has no attribute of that name: keep it under"):
        label_file(numbers, tmp_path / "o.jsonl", Forgetful(["a"]), QUIET, EngineSettings(**HERE))


def test_another_engine_ends_what_one_began_and_leaves_nothing_lying(numbers, tmp_path):
    out, verifier = tmp_path / "o.jsonl", make_verifier("numeric")
    label_file(numbers, out, verifier, QUIET)
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:100]))
    (tmp_path / "o.jsonl.parts").mkdir()
    (tmp_path / "o.jsonl.parts" / "000000512-of-another-engine").write_text("{}")
    label_file(numbers, out, verifier, QUIET)
    assert out.read_bytes() == whole
    assert not (tmp_path / "o.jsonl.parts").exists()


def test_no_cluster_at_an_address_is_told_at_once(ray_installed, numbers, tmp_path):
    command = [
        sys.executable,
        "-m",
        "weighted_mtp.cli",
        "data",
        "verify",
        "--input",
        str(numbers),
        "--verifier",
        "numeric",
    ]
    command += ["--output", str(tmp_path / "o.jsonl"), "--engine", "ray"]
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        environment = os.environ | {"RAY_ADDRESS": address}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert f"wmtp: error: no Ray cluster at RAY_ADDRESS {address}: [Errno 111] Connection refused" in done.stderr


def test_workers_end_without_a_word_of_their_own(written, tmp_path):
    words = [str(written / "model"), "--problems", str(written / "problems.jsonl"), "--n", "2", "--max_new_tokens", "4"]
    command = [sys.executable, "-m", "weighted_mtp.cli", "sample", *words, "--out", str(tmp_path / "rows.jsonl")]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "leaked" not in done.stderr
    assert "Loading weights" not in done.stderr


def test_workers_that_are_ended_in_the_middle_of_a_word_keep_nobody_waiting():
    code = "from tests.engine.works import left_early; left_early(8)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("how", "ends"), [("leaves a child", "EngineError: a worker was killed"), ("is deaf", "ValueError: of the program")]
)
def test_a_program_ends_whatever_its_workers_do(how, ends, tmp_path):
    code = f"from tests.engine.works import made_rudely; made_rudely({how!r})"
    with (tmp_path / "said").open("w") as said:
        program = subprocess.Popen([sys.executable, "-c", code], stderr=said)
    try:
        assert program.wait(15) == 1
    finally:
        program.kill()
    assert ends in (tmp_path / "said").read_text()


@pytest.mark.usefixtures("sandbox_works")
def test_programs_hear_signals_in_workers_as_they_do_here(tmp_path):
    body = "    import signal\n    heard = []\n    signal.signal(signal.SIGHUP, lambda *_: heard.append(1))\n"
    body += "    signal.raise_signal(signal.SIGHUP)\n    return len(heard)\n"
    row = {
        "prompt": "def f():\n",
        "completion": body,
        "test": "def check(f):\n    assert f() == 1\n",
        "entry_point": "f",
    }
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 2)
    for name, where in (("here", {}), ("there", HERE)):
        out = tmp_path / f"{name}.jsonl"
        found = label_file(tmp_path / "rows.jsonl", out, make_verifier("python-tests"), QUIET, EngineSettings(**where))
        assert found.verdicts == {"pass": 2}


def test_a_second_ctrl_c_ends_workers_that_take_their_time(tmp_path):
    log = tmp_path / "log"
    code = f"from tests.engine.works import Slow, made_slowly; made_slowly(Slow({str(log)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        while not log.exists() or log.read_text().count("began") < 2:
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"ended with {process.wait(0.1)}")
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20)
    finally:
        process.kill()
        process.wait()
