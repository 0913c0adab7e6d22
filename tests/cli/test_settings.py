"""Files of settings and flags: one meaning wherever they stand, one line for whatever is wrong with them."""

import dataclasses
import getpass
import re
from pathlib import Path
from typing import Any

import pytest

from tests.settings_contract import assert_expanded, assert_never_empty, made, names_of_places
from weighted_mtp.cli.grammar import UsageError
from weighted_mtp.cli.main import main
from weighted_mtp.cli.settings import ConvertSettings
from weighted_mtp.cli.settings_files import read_settings
from weighted_mtp.cli.train import parse_config, train_parser
from weighted_mtp.evaluation.problems import EvaluationConfig
from weighted_mtp.labelling.mutants.references import MutantsConfig
from weighted_mtp.labelling.reasoning_gym.rows import ReasoningGymConfig
from weighted_mtp.labelling.split import SplitConfig
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import CRITICS
from weighted_mtp.training.errors import ConfigError, expand_path
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.value_weighting.registry import PATHS as SCHEME_PATHS
from weighted_mtp.verifiers.table import VERIFIERS

NEEDED = "model_name_or_path: m\ntrain_file: t.jsonl\noutput_dir: out\n"
GROUPS: dict[type, dict[str, Any]] = {
    **{part: {"model_name_or_path": "m", "train_file": "t", "output_dir": "o"} for part in RunConfig.PARTS.values()},
    ConvertSettings: {"directory": "d", "out": "o"},
    ScoreConfig: {"critic": "c", "data": "d", "out": "o"},
    EvaluationConfig: {"model": "m", "problems": "p", "verifier": "exact", "out": "o"},
    SplitConfig: {"input": "i", "out": "o"},
    MutantsConfig: {"out": "o", "source": "humaneval"},
    ReasoningGymConfig: {"out": "o", "tasks": ["leg_counting"]},
}
PATHS = {
    "model_name_or_path", "tokenizer_name_or_path", "train_file", "eval_file", "critic", "reference", "output_dir",
    "tracking_uri", "data", "out", "model", "problems", "input", "directory",
    "samples", "environment",
}  # fmt: skip


def settings_of() -> list[tuple[type, str]]:
    return [(group, f.name) for group in GROUPS for f in dataclasses.fields(group)]


def make(group: type, **settings: Any) -> Any:
    given = GROUPS[group] | settings
    if group is EvaluationConfig and isinstance(settings.get("samples"), str):
        given = {name: value for name, value in given.items() if name != "model"}
    if group is MutantsConfig and "input" in settings:
        given["source"] = None
    return made(group, given)


@pytest.fixture
def parsed(tmp_path: Path) -> Any:
    """A function (text of the file, words before --config, words after) -> the settings."""

    def parse(text: str, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> dict[str, Any]:
        (tmp_path / "v.yaml").write_text(text)
        words = [*before, "--config", str(tmp_path / "v.yaml"), *after]
        return parse_config(train_parser("verifiable"), words)

    return parse


def test_what_a_flag_leaves_without_a_use_in_the_file_goes_with_a_line(parsed, capsys):
    file = f"{NEEDED}n_future: 4\nhead_warmup_steps: 1000\neval_share: 0.1\neval_steps: 10\n"
    settings = parsed(file, after=("--n_future=1", "--eval_share", "0"))
    assert (settings["head_warmup_steps"], settings["eval_steps"]) == (0, 0)
    said = capsys.readouterr().err
    assert "head_warmup_steps of the file is left out: flags say otherwise than n_future is above 1" in said


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        ("n_future: 4\n", ("--n_future", "1", "--head_warmup_steps", "1000")),  # a flag is meant
        ("head_warmup_steps: 1000\n", ("--learning_rate", "1e-3")),  # the file contradicts itself
        ("n_future: 4\nhead_warmup_steps: 1000\n", ("--learning_rate", "1e-3")),  # it is read
    ],
)
def test_what_a_flag_did_not_leave_without_a_use_stays(parsed, file, flags):
    assert parsed(NEEDED + file, after=flags)["head_warmup_steps"] == 1000


def test_options_of_a_scheme_in_the_file_are_reset_as_the_advice_says(parsed):
    file = f"{NEEDED}scheme: td\nscheme_options: {{beta: 0.3}}\n"
    settings = parsed(file, after=("--scheme", "gated", "--scheme_options", "{}"))
    assert (settings["scheme"], settings["scheme_options"]) == ("gated", {})


@pytest.mark.parametrize("split", range(3))
def test_flags_go_before_the_file_wherever_they_stand(parsed, split):
    flags = [("--max_steps", "3"), ("--learning_rate=.5",)]
    before = tuple(word for flag in flags[:split] for word in flag)
    after = tuple(word for flag in flags[split:] for word in flag)
    settings = parsed(f"{NEEDED}max_steps: 60\nlearning_rate: 0.001\nwarmup_steps: 7\n", before, after)
    assert [settings[k] for k in ("max_steps", "learning_rate", "warmup_steps")] == [3, 0.5, 7]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("'1e-4'", 1e-4), ("1E-4", 1e-4), ("1", 1.0), ("+.5", 0.5), ("5.", 5.0), ("1_0.0", 10.0)],
)
def test_numbers_in_a_file_are_read_as_people_write_them(parsed, text, value):
    rate = parsed(f"{NEEDED}learning_rate: {text}\n")["learning_rate"]
    assert (type(rate), rate) == (float, value)


@pytest.mark.parametrize("text", ["2026-01-02", "'12'", "안녕 😀", "'null and void'", "a: b".join("''")])
def test_text_in_a_file_stays_text(parsed, text):
    assert parsed(f"{NEEDED}run_name: {text}\n")["run_name"] == text.strip("'")


@pytest.mark.parametrize("name", ["learning_rate", "max_steps"])
@pytest.mark.parametrize("text", ["1:30", "0b10", "0x10"])
def test_what_only_yaml_takes_for_a_number_is_none(parsed, name, text):
    with pytest.raises(UsageError, match=f"--{name} {text}: give a"):
        parsed(NEEDED, (f"--{name}", text))
    with pytest.raises(UsageError, match=f"--{name} {text}: give a"):
        parsed(f"{NEEDED}{name}: {text}\n")


@pytest.mark.parametrize("text", ["no", "'no'", '"no"', "off"])
def test_a_bare_no_is_text(parsed, text):
    said = text.strip("'\"")
    assert parsed(f"{NEEDED}trainer_args: {{save_strategy: {text}}}\n")["trainer_args"] == {"save_strategy": said}
    flag = f"--trainer_args={{save_strategy: {text}}}"
    assert parsed(NEEDED, (flag,))["trainer_args"] == {"save_strategy": said}


def test_a_setting_that_may_be_empty_may_stand_empty_in_the_file(parsed):
    assert parsed(f"{NEEDED}eval_file:\nresume:\n")["eval_file"] is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("seed: !!int 7", 7),
        ("learning_rate: !!float 1", 1.0),
        ("learning_rate: !!float '1e-4'", 1e-4),
        ("bf16: !!bool true", True),
        ("run_name: !!str 12", "12"),
        ("run_name: !<tag:yaml.org,2002:str> null", "null"),
        ("run_name: !!null ''", None),
    ],
)
def test_a_tag_that_says_what_a_value_is_does_no_harm(tmp_path, written, value):
    (tmp_path / "run.yaml").write_text(written)
    assert [*map(repr, read_settings(str(tmp_path / "run.yaml")).values())] == [repr(value)]


def test_a_value_that_is_named_once_and_used_twice_is_read(parsed):
    assert (
        parsed("model_name_or_path: &m dir\ntokenizer_name_or_path: *m\ntrain_file: t\noutput_dir: o\n")[
            "tokenizer_name_or_path"
        ]
        == "dir"
    )


BOMB = "scheme_options:\n  a: &a [x, x, x, x]\n  b: &b [*a, *a, *a, *a]\n"
WRONG_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty value": ("learning_rate:\n", "learning_rate is empty: give a value, or remove the line"),
    "null": ("gamma: null\n", "gamma is empty"),
    "null of a mapping": ("scheme_options: ~\n", "scheme_options is empty"),
    "null of a choice": ("dtype:\n", "dtype is empty"),
    "deep list": (f"scheme_options: {'[' * 3000}{']' * 3000}\n", "nested more than 20 deep (line 4"),
    "deep mapping": (f"scheme_options: {'{a: ' * 99}1{'}' * 99}\n", "nested more than 20 deep"),
    "key twice": ("max_steps: 1\nmax_steps: 2\n", "'max_steps' stands there twice: remove one (line 5"),
    "inner key twice": ("scheme_options: {beta: 1, beta: 2}\n", "'beta' stands there twice"),
    "alias bomb": (BOMB, "*a stands for no single value"),
    "alias of itself": ("scheme_options: &x {a: *x}\n", "*x stands for no single value"),
    "Latin-1": ("run_name: é\n".encode("latin-1"), "not UTF-8 text (byte"),
    "a zero byte": (b"run_name: a\x00b\n", "which no text has"),
    "list for a number": ("learning_rate: [1, 2]\n", "--learning_rate [1, 2]: give a number"),
    "mapping for a number": ("learning_rate: {a: 1}\n", "give a number"),
    "list for text": ("model_name_or_path2: [a]\n", "did you mean model_name_or_path?"),
    "list for a path": ("eval_file: [a]\n", "--eval_file ['a']: give text or null"),
    "text for a list": ("label_tags: a\n", "--label_tags a: give a list, as [a] or null"),
    "numbers for texts": ("label_tags: [1, 2]\n", "--label_tags [1, 2]: give a list"),
    "fraction of a step": ("max_steps: 3.5\n", "--max_steps 3.5: give a whole number"),
    "octal": ("max_steps: 010\n", "give a whole number"),
    "python object": ("run_name: !!python/object:os.system x\n", "python/object"),
    "two documents": ("---\na: 1\n", "another document"),
    "key is a list": ("? [a, b]\n: x\n", "a key is a list or a mapping"),
    "key is a number": ("3: x\n", "unknown setting '3'"),
    "a file in the file": ("config: other.yaml\n", "unknown setting 'config'"),
    "not a number": ("learning_rate: .nan\n", "give a number"),
    "rows": (b"#" * 1_100_000, "give a file of settings, not of rows"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_what_is_wrong_with_a_file_is_told_in_one_line(capsys, tmp_path, name):
    content, said = WRONG_FILES[name]
    path = tmp_path / "v.yaml"
    path.write_bytes(NEEDED.encode() + (content if isinstance(content, bytes) else content.encode()))
    assert main(["train", "verifiable", "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("wmtp: error: ")
    assert len(err.splitlines()) == 1


THERE = ("--model_name_or_path", "m", "--train_file", "t", "--output_dir", "o")
WRONG_WORDS: list[tuple[tuple[str, ...], str]] = [
    (("train", "baseline", "--config", "."), "--config . is a directory: give a YAML file"),
    (("train", "baseline", "--config", "a.yaml", "--config=b.yaml"), "--config is given 2 times"),
    (("train", "baseline", "--config"), "--config needs a value"),
    (("train", "baseline", "--config="), "there is no such file"),
    (("train", "baseline", "--"), "-- is no flag"),
    (("train", "baseline", *THERE, "--seed", "9" * 23), "seed is a number of about 23 digits: give one below 2**63"),
    (("train", "baseline", *THERE, "--resume", ""), "resume is empty: give auto"),
    (("train", "baseline", "--run_name"), "--run_name needs a value"),
    (("train", "baseline", "--learning_rate", "-1e-4"), "write a negative one as --learning_rate=-1"),
    (("train", "baseline", "--trainer_args", "[" * 3000), "give a mapping"),
    (("train", "baseline", "--label_tags", "[null]"), "--label_tags [None]: give a list, as [a,b] or null"),
    (("score",), "needed are --critic, --data, --out: `wmtp score --help` explains"),
    (("inspect", "--page", "a"), "needed is RUN: `wmtp inspect --help` explains"),
    (("data", "split", "--input", "a", "--out", "b", "--folds="), "--folds is empty: give a whole number"),
    (("score", "--print_shtab=bash"), "unknown setting 'print_shtab'"),
    (("train", "critic", "smollm2/critic.yaml"), "smollm2/critic.yaml belongs to no setting: write --KEY VALUE"),
    (("score", "--critik", "x"), "did you mean critic?"),
    (("score", "--gamma", "null"), "--gamma None: give a number"),
    (("evaluate", "m", "--k", "[null]"), "--k [None]: give a list"),
    (("inspect", "a", "--row", "[1]"), "did you mean rows?"),
    (("generate", "m", "--temp", "1"), "unknown setting 'temp'"),
    (("demo", "--sedes", "1"), "did you mean seeds?"),
    (("data", "verify", "--inputs", "x"), "did you mean input?"),
    (("data", "split", "--fold", "2"), "did you mean folds?"),
    (("data", "mutants", "--per_tasks", "2"), "did you mean per_task?"),
    (("data", "reasoning-gym", "--task", "[a]"), "did you mean tasks?"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), WRONG_WORDS, ids=lambda v: " ".join(v)[:40] if isinstance(v, tuple) else "")
def test_what_is_wrong_with_the_words_is_told_in_one_line(capsys, words, said):
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("group", "name"), settings_of(), ids=lambda v: getattr(v, "__name__", v))
def test_a_setting_that_needs_a_value_is_never_empty(group, name):
    assert_never_empty(make, group, name)


@pytest.mark.parametrize(
    ("group", "name"), [s for s in settings_of() if s[1] in PATHS], ids=lambda v: getattr(v, "__name__", v)
)
def test_home_and_environment_are_expanded_in_every_path(group, name, monkeypatch, tmp_path):
    assert_expanded(make, group, name, monkeypatch, tmp_path)


def test_every_setting_that_names_a_place_is_among_the_paths():
    texts = {"experiment_name", "save_total_limit", "early_stopping_patience", "best_metric", "format"}
    assert names_of_places(GROUPS) - texts <= PATHS


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("sqlite:///~/m.db", "sqlite:///HOME/m.db"),
        ("hub:A/~B", "hub:A/~B"),
        ("http://host/~x/$y", "http://host/~x/$y"),
        ("a~b/c", "a~b/c"),
        (f"~{getpass.getuser()}/x", None),
    ],
)
def test_only_what_is_a_path_is_expanded(given, wanted, monkeypatch):
    monkeypatch.setenv("HOME", "HOME")
    expanded = expand_path("name", given)
    assert expanded == wanted if wanted else not expanded.startswith("~")


@pytest.mark.parametrize(
    ("given", "said"),
    [("$NO_SUCH_NAME/x", "has no NO_SUCH_NAME: set it"), ("~nobody_here_7/x", "no user nobody_here_7")],
)
def test_a_path_that_cannot_be_expanded_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        expand_path("output_dir", given)


def test_a_dollar_in_the_name_of_a_file_that_is_there_stays(tmp_path):
    path = tmp_path / "a$b.jsonl"
    path.touch()
    assert expand_path("train_file", str(path)) == str(path)


def test_the_configuration_file_itself_is_found_under_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "v.yaml").write_text(NEEDED)
    assert parse_config(train_parser("baseline"), ["--config", "~/v.yaml"])["output_dir"] == "out"


@pytest.mark.parametrize("path", ["smollm2/critic.yaml", "configs/smollm2/critic.yaml"])
def test_a_configuration_of_the_package_is_found_from_anywhere(monkeypatch, tmp_path, path):
    monkeypatch.chdir(tmp_path)
    assert read_settings(path)["output_dir"] == "runs/smollm2/critic"


def test_a_file_of_that_path_goes_before_the_one_of_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "smollm2" / "critic.yaml").write_text("output_dir: mine\n")
    assert read_settings("smollm2/critic.yaml") == {"output_dir": "mine"}


@pytest.mark.parametrize("path", ["smollm2/critc.yaml", "smollm2", "smollm2/../smollm2/critic.yaml"])
def test_a_name_that_is_no_file_lists_the_configurations_of_the_package(capsys, monkeypatch, tmp_path, path):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "critic", "--config", path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--config {path}: there is no such file; with the package come improve/gsm8k-smollm2.yaml, " in line


def test_the_saved_configuration_of_a_run_is_read_again(make_config):
    shared = {"beta": [1, 2]}
    config = make_config("verifiable", scheme_options=shared, trainer_args=shared, learning_rate=1e-5)
    assert RunConfig.from_flat(read_settings(str(config.save()))).to_flat() == config.to_flat()


def test_a_flag_of_true_or_false_means_true_where_it_stands_alone():
    words = ["--model_name_or_path", "m", "--train_file", "r", "--output_dir", "o"]
    parsed = parse_config(train_parser("baseline"), ["--bf16", *words, "--gradient_checkpointing"])
    assert parsed["bf16"] is True
    assert parsed["gradient_checkpointing"] is True
    assert parse_config(train_parser("baseline"), [*words, "--bf16", "false"])["bf16"] is False


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("train", "critic"), (*SCHEME_PATHS, *CRITICS)),
        (("score",), SCHEME_PATHS),
        (("evaluate",), VERIFIERS),
        (("data", "verify"), VERIFIERS),
    ],
    ids=["train critic", "score", "evaluate", "data verify"],
)
def test_the_help_names_every_row_of_the_tables(capsys, words, names):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    said = " ".join(re.sub(r"-\n +", "-", capsys.readouterr().out).split())
    assert [name for name in names if f" {name}," not in said and f" {name}." not in said] == []
