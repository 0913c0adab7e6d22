"""The documentation runs: blocks print what they say, commands parse, links lead on, tables are true."""

import inspect
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from weighted_mtp.cli.main import GROUPS, main
from weighted_mtp.cli.train import parse_config, train_parser
from weighted_mtp.data import SAMPLERS
from weighted_mtp.evaluation.problems import EvaluationConfig
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.labelling.mutants.references import MutantsConfig
from weighted_mtp.labelling.reasoning_gym.rows import ReasoningGymConfig
from weighted_mtp.labelling.split import SplitConfig
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.training.config import STAGES, RunConfig
from weighted_mtp.training.early_checks import require_all_read
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.value_weighting import SCHEMES
from weighted_mtp.verifiers.reasoning_gym import UNSOUND

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND_CONFIGS = (
    ScoreConfig,
    EvaluationConfig,
    SampleConfig,
    ImproveConfig,
    MutantsConfig,
    ReasoningGymConfig,
    SplitConfig,
)
CONFIGS = (*RunConfig.PARTS.values(), *COMMAND_CONFIGS)
SETTINGS = {f.name for part in CONFIGS for f in fields(part)}
OTHER_FLAGS = {"resume", "resume_with_changes", "config", "help", "list", "input", "output"}
OTHER_FLAGS |= {"page", "serve", "judged_rows", "rows"}  # of wmtp inspect
OTHER_FLAGS |= {"logdir"}  # of tensorboard
OTHER_FLAGS |= {"value_head", "max_shard_size", "push"}  # of wmtp convert
OTHER_FLAGS |= {"arms", "kills", "worlds", "server"}  # of python -m benchmarks.kills and benchmarks.soak
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), flags=re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def wmtp_commands(page: Path) -> list[list[str]]:
    """Arguments of `wmtp`, also where a launcher starts it as a module."""
    names = ("wmtp", "weighted_mtp.cli", "weighted_mtp.cli.main")
    return [words[words.index(name) + 1 :] for words in commands(page) for name in names if name in words]


def table(page: Path, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, without its two head lines."""
    section = text_of(page).split(f"\n## {heading}\n", 1)[1]
    rows = [line for line in section.split("\n## ", 1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def first_names(page: Path, heading: str) -> list[str]:
    """The first name in backticks of each row."""
    return [re.search(r"`([^`]+)`", row[0]).group(1) for row in table(page, heading)]


def expected_output(page: Path, block: str) -> str | None:
    """What a Python block says that it prints: a text block right below it, or comments behind its prints."""
    below = text_of(page).split(f"```python\n{block}```", 1)[1]
    if below.startswith("\n\n```text\n"):
        return below.removeprefix("\n\n```text\n").split("```", 1)[0]
    printed = re.findall(r"^ *print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    return "".join(f"{line}\n" for line in printed) or None


# Python


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run_and_print_what_they_say(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)
        expected = expected_output(page, block)
        printed = capsys.readouterr().out
        assert expected is None or printed == expected


# commands


@each_page
def test_commands_are_of_a_kind_that_is_checked_here(page):
    checked = {"wmtp", "make", "pip", "mlflow", "torchrun", "accelerate", "export"}
    assert {words[0] for words in commands(page)} <= checked


@each_page
def test_training_commands_parse(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for words in wmtp_commands(page):
        if words[0] == "train":
            with pytest.raises(SystemExit) as stop:
                main([*words, "--print_config"])
            assert stop.value.code in (0, None), capsys.readouterr().err


@each_page
def test_training_commands_hold_no_setting_that_is_not_read(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MODEL", "m")
    for command, *words in wmtp_commands(page):
        if command == "train":
            parsed = parse_config(train_parser(words[0]), words[1:])
            require_all_read(RunConfig.from_flat({"stage": words[0]} | parsed))


@each_page
def test_flags_of_other_commands_exist(page, capsys):
    for command, *words in wmtp_commands(page):
        if command != "train":
            with pytest.raises(SystemExit) as stop:
                main([command, *(words[:1] if command in GROUPS else []), "--help"])
            assert stop.value.code == 0
            usage = capsys.readouterr().out
            assert [word for word in words if word.startswith("--") and word not in usage] == []


@each_page
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    named = [words[1] for words in commands(page) if words[0] == "make"]
    named += re.findall(r"`make (\w+)`", prose(page))
    assert [target for target in named if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


@each_page
def test_stores_of_mlflow_are_those_that_runs_of_the_configs_leave(page):
    stores = {
        f"sqlite:///{yaml.safe_load(path.read_text())['output_dir']}/mlflow.db"
        for path in ROOT.glob("src/weighted_mtp/configs/smollm2/*.yaml")
    }
    named = {words[-1] for words in commands(page) if words[:2] == ["mlflow", "ui"]}
    assert named <= stores


def flags_in(page: Path) -> set[str]:
    named = {flag for code in INLINE.findall(prose(page)) for flag in re.findall(r"^--(\w+)| --(\w+)", code)}
    return {first or second for first, second in named}


@each_page
def test_flags_in_the_prose_are_settings(page):
    assert flags_in(page) <= SETTINGS | OTHER_FLAGS


@each_page
def test_settings_in_the_prose_exist(page):
    options = {name for scheme in SCHEMES.values() for name in inspect.signature(scheme).parameters}
    named = {match[1] for code in INLINE.findall(prose(page)) if (match := re.fullmatch(r"(\w+): [\w./]+", code))}
    assert named <= SETTINGS | options


# links


@each_page
def test_relative_links_and_pictures_exist(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    local = [target.split("#")[0] for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index():
    index = text_of(ROOT / "docs" / "README.md")
    pages = {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


# tables


def test_the_scheme_table_is_the_table_of_schemes():
    assert first_names(ROOT / "docs" / "method.md", "Schemes") == list(SCHEMES)


def test_the_scheme_table_names_the_options_of_the_scheme():
    for row in table(ROOT / "docs" / "method.md", "Schemes"):
        if "`" in row[2]:
            scheme = SCHEMES[row[0].strip("`")]
            assert re.findall(r"`(\w+)`", row[2]) == list(inspect.signature(scheme).parameters), row[0]


def test_the_sampler_table_is_the_table_of_samplers():
    assert first_names(ROOT / "docs" / "data.md", "Order of the rows") == list(SAMPLERS)


def test_the_stage_table_is_the_list_of_stages():
    assert tuple(first_names(ROOT / "docs" / "training.md", "Four stages")) == STAGES


def test_arxiv_numbers_of_the_paper_map_stand_in_the_files_it_names():
    files: list[str] = []
    missing = []
    for row in re.findall(r"^\| (?!paper|---)(.*) \|$", text_of(ROOT / "docs" / "papers.md"), flags=re.MULTILINE):
        files = re.findall(r"\]\(\.\./((?:src|research)/[^)]+)\)", row) or files  # "same file"
        sources = "".join((ROOT / file).read_text() for file in files)
        missing += [number for number in re.findall(r"\[(\d{4}\.\d{4,5})\]", row) if number not in sources]
    assert missing == []


def test_the_metric_table_holds_what_a_run_logs(make_config, chain_base, store):
    from mlflow import MlflowClient

    from weighted_mtp.training.run import train

    settings = {"eval_file": str(chain_base / "eval.jsonl"), "n_future": 2, "max_steps": 2}
    folder = train(make_config("verifiable", **settings))
    run = MlflowClient(tracking_uri=store).get_run((folder / "mlflow_run_id.txt").read_text())
    logged = {re.sub(r"_head_\d+$", "_head_{k}", name) for name in run.data.metrics}
    ours = {name for name in logged if name.startswith("train/")} - TRAINERS_OWN
    assert metrics_of_the_table() == ours
    only_in_training = {"train/grad_norm", "train/tokens_per_second"}
    assert {name.replace("train/", "eval/") for name in ours - only_in_training} <= logged


TRAINERS_OWN = {
    "train/epoch", "train/learning_rate", "train/total_flos", "train/train_loss", "train/train_runtime",
    "train/train_samples_per_second", "train/train_steps_per_second",
}  # fmt: skip


def metrics_of_the_table() -> set[str]:
    """`train/td_mean`, `_std` in one row are two metrics."""
    named: set[str] = set()
    for row in table(ROOT / "docs" / "training.md", "MLflow"):
        first, *others = re.findall(r"`([^`]+)`", row[0])
        named |= {first, *(first.rsplit("_", 1)[0] + suffix for suffix in others)}
    return named


def test_the_tasks_that_are_refused_are_those_of_the_table():
    page = text_of(ROOT / "docs/verifiers.md")
    table = page[page.index("| task | why |") :].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    told = {name: why for names, why in rows for name in re.findall(r"`(\w+)`", names)}
    assert {name: re.sub(r"[\\`]", "", why) for name, why in told.items()} == {
        name: why.replace("`", "") for name, why in UNSOUND.items()
    }
