"""Scores made ahead equal those made while training; shards and interrupted runs give the same rows."""

import dataclasses
import json
from pathlib import Path

import datasets
import pytest
import torch

from weighted_mtp.cli.main import main
from weighted_mtp.data import DataError, load_rows, tokenize_rows
from weighted_mtp.data.exact_parquet import shard_marker
from weighted_mtp.inspection.tokens import view_tokens
from weighted_mtp.models import CriticSpec, MTPModel, load_tokenizer
from weighted_mtp.training import scoring
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

OPTIONS = {"beta": 0.3}
SCORES = ("values", "td_errors", "weights")  # of a value head, which has no credit of its own


@pytest.fixture
def config(critic_dir, rows, tmp_path, monkeypatch):
    """80 rows in parts of 16."""
    monkeypatch.setattr(scoring, "PART_ROWS", 16)
    return ScoreConfig(
        critic=str(critic_dir),
        data=str(rows["train"]),
        out=str(tmp_path / "scored"),
        scheme_options=OPTIONS,
        batch_size=7,
    )


def scored_rows(folder):
    return load_rows(folder)[0]


def test_scores_are_those_that_training_makes(config, prepare, critic_dir, rows):
    score(config)
    run = prepare("verifiable", critic=str(critic_dir), train_file=str(rows["train"]), scheme_options=OPTIONS)
    views = view_tokens(run.trainer, run.inputs.train_dataset, run.inputs.tokenizer, "td")
    found = scored_rows(config.out)
    assert len(found) == len(views) == 80
    for row, view in zip(found, views, strict=True):
        for name in SCORES:
            assert row[name] == pytest.approx(view[name], abs=1e-5), name


def unlabelled(rows, tmp_path, keep=()):
    """The rows without what a program found, but for those at `keep`."""
    table = [json.loads(line) for line in rows["eval"].read_text().splitlines()]
    known = ("label", "token_error")
    bare = [{k: x for k, x in row.items() if i in keep or k not in known} for i, row in enumerate(table)]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    return str(tmp_path / "bare.jsonl")


def test_rows_without_labels_get_values_to_rank_them_by(config, rows, tmp_path, capsys):
    words = ["--critic", config.critic, "--data", unlabelled(rows, tmp_path), "--out", config.out]
    assert main(["score", *words]) == 0
    assert "no labels: `p_success`" in capsys.readouterr().out
    score(dataclasses.replace(config, data=str(rows["eval"]), out=str(tmp_path / "labelled")))
    found, labelled = load_rows(config.out, labelled=None)[0], scored_rows(tmp_path / "labelled")
    for row, other in zip(found, labelled, strict=True):
        assert not {"td_errors", "weights", "label"} & row.keys()
        assert row["values"] == other["values"]
        assert row["p_success"] == other["p_success"] == row["values"][-1]


@pytest.mark.parametrize(
    ("keep", "said"), [([0], "bare.jsonl:2: no `label`"), ([5], "bare.jsonl:6: .* give all rows a label, or none")]
)
def test_rows_of_which_some_have_labels_are_refused(config, rows, tmp_path, keep, said):
    with pytest.raises(DataError, match=said):
        score(dataclasses.replace(config, data=unlabelled(rows, tmp_path, keep)))


def test_a_format_of_weights_needs_labels_where_the_scheme_reads_rewards(config, rows, tmp_path):
    bare = dataclasses.replace(config, data=unlabelled(rows, tmp_path), format="tokens")
    with pytest.raises(ConfigError, match="needs weights, which scheme td makes of labels"):
        score(bare)


def test_training_on_scored_rows_equals_training_with_the_critic(config, prepare, critic_dir, rows):
    score(config)
    online = prepare("verifiable", critic=str(critic_dir), train_file=str(rows["train"]), scheme_options=OPTIONS)
    ahead = prepare("baseline", scheme="column", train_file=config.out)
    parameters = []
    for run in (online, ahead):
        run.fit()
        parameters.append(run.parameters())
    for name, expected in parameters[0].items():
        torch.testing.assert_close(parameters[1][name], expected, atol=1e-5, rtol=0, msg=name)


def test_shards_in_any_order_merge_into_the_whole(config, tmp_path):
    score(config)
    folder = str(tmp_path / "shards")
    for number in (2, 3, 1):
        score(dataclasses.replace(config, out=folder, shard=f"{number}/3", batch_size=number))
    whole, merged = scored_rows(config.out), scored_rows(folder)
    assert [row["completion"] for row in merged] == [row["completion"] for row in whole]
    for row, expected in zip(merged, whole, strict=True):
        for name in SCORES:
            assert row[name] == pytest.approx(expected[name], abs=1e-6)
    read = datasets.load_dataset("parquet", data_files=f"{folder}/*.parquet", split="train")
    assert read["prompt"][:] == [row["prompt"] for row in whole]


def test_an_interrupted_run_goes_on_with_the_parts_that_are_missing(config, monkeypatch):
    written = []
    write = scoring.write_rows

    def interrupted(rows, path, columns):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(rows, path, columns)

    monkeypatch.setattr(scoring, "write_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(config)
    with pytest.raises(DataError, match="shards 1/1 are not finished"):
        load_rows(config.out)
    before = {path.name: path.stat().st_mtime_ns for path in Path(config.out).glob("part-*")}
    monkeypatch.setattr(scoring, "write_rows", write)
    score(config)
    after = {path.name: path.stat().st_mtime_ns for path in Path(config.out).glob("part-*")}
    assert len(before) == 2
    assert len(after) == 5
    assert {name: after[name] for name in before} == before
    assert len(scored_rows(config.out)) == 80


def test_a_folder_of_other_scores_is_left_alone(config):
    score(config)
    parts = sorted(Path(config.out).glob("part-*"))
    with pytest.raises(
        ConfigError, match=r"holds scores with gamma 1\.0 and not 0\.9; nothing in it was changed: use another"
    ):
        score(dataclasses.replace(config, gamma=0.9))
    assert sorted(Path(config.out).glob("part-*")) == parts


def test_under_bfloat16_the_scores_are_nearly_those_of_float32(config, tmp_path):
    score(config)
    score(dataclasses.replace(config, bf16=True, out=str(tmp_path / "autocast")))
    whole, rounded = scored_rows(config.out), scored_rows(tmp_path / "autocast")
    values = [[value for row in rows for value in row["values"]] for rows in (whole, rounded)]
    assert values[0] != values[1]
    assert values[1] == pytest.approx(values[0], abs=0.02)


@pytest.mark.parametrize("first", [True, False])
def test_a_folder_is_not_gone_on_with_in_another_precision(config, first):
    score(dataclasses.replace(config, bf16=first))
    with pytest.raises(ConfigError, match=f"holds scores with bf16 {first or None} and not {not first or None}"):
        score(dataclasses.replace(config, bf16=not first))


def test_what_lies_beyond_max_length_gets_weight_0_and_is_reported(config):
    account = score(dataclasses.replace(config, max_length=9))
    found = scored_rows(config.out)
    cut = [row for row in found if row["weights"][-1] == 0]
    assert f"{len(cut)} completions cut at 9 tokens" in account.summary()
    assert all(row["weights"][0] > 0 for row in found)
    assert all(len(row["weights"]) == len(row["completion"].split()) + 1 for row in found)  # and EOS


def test_a_completion_far_beyond_max_length_is_written_without_its_end(config, tmp_path):
    row = {"prompt": "7 +3 *7 :", "label": True, "source": "a"}
    (tmp_path / "far.jsonl").write_text(
        "".join(json.dumps(row | {"completion": "0 1 " * n}) + "\n" for n in (1, 400, 100_000))
    )
    config = dataclasses.replace(config, data=str(tmp_path / "far.jsonl"), max_length=16)
    assert "1 completions far beyond that written without their ends" in score(config).summary()
    near, long, far = scored_rows(config.out)
    assert "truncated" not in near | long
    assert far["truncated"]
    assert len(far["completion"]) < 4_000
    assert far["source"] == "a"
    for name in SCORES:  # two rows of a batch may differ in their last bit
        assert far[name][:12] == pytest.approx(long[name][:12], rel=1e-5, abs=1e-6)
    _, report = tokenize_rows([near, long, far], load_tokenizer(config.critic), max_length=16)  # the lists fit
    assert (report.kept, report.truncated) == (3, 2)


def test_old_scores_in_the_rows_are_replaced(config, tmp_path):
    again = tmp_path / "again.jsonl"
    stale = [row | {name: [0.0] for name in SCORES} for row in load_rows(config.data)[0]]
    again.write_text("".join(json.dumps(row) + "\n" for row in stale))
    score(config)
    score(dataclasses.replace(config, data=str(again), out=str(tmp_path / "from_stale")))
    assert scored_rows(tmp_path / "from_stale") == scored_rows(config.out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme_options": {"whitening": "ema"}}, "whitening ema takes .* '{whitening: none}', .* values column"),
        ({"scheme_options": {"unit_mean": True}}, "unit_mean takes its statistics .* '{unit_mean: false}'"),
        ({"scheme": "rho1", "scheme_options": {}}, "needs nll, reference_nll, which no critic supplies"),
        ({"scheme": "tdd"}, "unknown weighting scheme 'tdd'"),
        ({"scheme": "gated", "scheme_options": {}}, "gated weighs by the critic's skill, .*; or give one"),
        (
            {"scheme": "gated", "scheme_options": {"whitening": "none"}},
            "score without the scheme and train on .*, --scheme_options '{skill: .3, whitening: none}'",
        ),
        (
            {
                "scheme": "position_aligned",
                "scheme_options": {"inner": "gated", "inner_options": {"whitening": "none"}},
            },
            "scheme position_aligned: gated weighs by .* '{inner: gated, inner_options: {skill: .3, whitening: none}}'",
        ),
    ],
)
def test_a_scheme_that_cannot_be_scored_ahead_is_refused(config, change, message):
    with pytest.raises(ConfigError, match=message):
        score(dataclasses.replace(config, **change))
    assert not Path(config.out).exists()


@pytest.mark.parametrize(
    "scheme",
    [
        {"scheme": "gated", "scheme_options": {"skill": 0.3, "whitening": "none"}},
        {
            "scheme": "position_aligned",
            "scheme_options": {"inner": "gated", "inner_options": {"skill": 0.3, "whitening": "none"}},
        },
    ],
)
def test_gated_with_a_skill_that_was_given_can_be_scored_ahead(config, scheme):
    score(dataclasses.replace(config, **scheme))
    weights = {w for row in scored_rows(config.out) if row["label"] for w in row["weights"]}
    assert min(weights) >= 0.7
    assert len(weights) > 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "0/2"], "shard is '0/2': give i/n with 1 <= i <= n"),
        (["--shard", "half"], "shard is 'half'"),
        (["--gamma", "1.5"], "gamma is 1.5"),
        (["--batch_size", "0"], "batch_size 0"),
        (["--shards", "1/2"], "did you mean shard?"),
        (["--critic", "nowhere"], "no model at 'nowhere'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(capsys, config, flags, message):
    given = {"--critic": config.critic, "--data": config.data, "--out": config.out} | dict([flags])
    assert main(["score", *(word for pair in given.items() for word in pair)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_critic_without_a_value_head_is_refused(config, chain_base):
    with pytest.raises(ConfigError, match="has no value head: train it with `wmtp train critic`"):
        score(dataclasses.replace(config, critic=str(chain_base / "base")))


def test_the_command_says_what_it_cost(capsys, config):
    assert main(["score", "--critic", config.critic, "--data", config.data, "--out", config.out]) == 0
    printed = capsys.readouterr().out
    assert "80 rows scored" in printed
    assert "minutes a million here" in printed
    assert f"--scheme column --train_file {config.out} ..." in printed


def test_the_command_for_training_names_the_turns_that_were_scored(capsys, config):
    words = ["--critic", config.critic, "--data", config.data, "--out", config.out, "--turns", "last"]
    assert main(["score", *words]) == 0
    assert f"--scheme column --train_file {config.out} --turns last ..." in capsys.readouterr().out


def test_rows_whose_check_could_not_be_made_are_not_scored_and_are_counted(config, tmp_path):
    rows = load_rows(config.data)[0][:6]
    rows[1] |= {"verdict": "error"}
    rows[4] |= {"label": None}
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    account = score(dataclasses.replace(config, data=str(path)))
    assert "2 rows dropped: their checks could not be made" in account.summary()
    assert [row["completion"] for row in scored_rows(config.out)] == [rows[i]["completion"] for i in (0, 2, 3, 5)]


def test_extra_columns_come_back_as_they_were(config, tmp_path):
    extras = [
        {"answer": 1, "meta": {}, "cut": "\ud83d", "row_id": 7},
        {"answer": "one", "meta": {"x": [1, None]}, "cut": None, "row_id": 8},
        {"answer": 2**70, "meta": {"y": 1.0}, "cut": "whole", "row_id": 9, "rare": None},
    ]
    rows = [row | extra for row, extra in zip(load_rows(config.data)[0], extras, strict=False)]
    path = tmp_path / "extras.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    score(dataclasses.replace(config, data=str(path)))
    found = scored_rows(config.out)
    made = (*SCORES, "p_success")
    assert [{name: x for name, x in row.items() if name not in made} for row in found] == rows


def test_a_row_without_tokens_is_named_before_anything_is_computed(config, tmp_path):
    rows = load_rows(config.data)[0][:40]
    rows[33] |= {"token_error": [True]}
    path = tmp_path / "wrong.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"row 33 .*`token_error` has 1 entries"):
        score(dataclasses.replace(config, data=str(path)))
    assert not Path(config.out).exists()


def test_a_part_whose_rows_are_all_too_long_is_empty(config, tmp_path):
    rows = sorted(load_rows(config.data)[0], key=lambda row: len(row["prompt"].split()))
    path = tmp_path / "long_last.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    account = score(dataclasses.replace(config, data=str(path), max_length=6))
    assert len(list(Path(config.out).glob("part-*"))) == 5
    assert 0 < len(scored_rows(config.out)) == account.rows < 64


def test_a_scored_folder_can_be_scored_again(config, tmp_path):
    score(config)
    score(dataclasses.replace(config, data=config.out, out=str(tmp_path / "again")))
    assert scored_rows(tmp_path / "again") == scored_rows(config.out)
    with pytest.raises(ConfigError, match="holds scores with other data"):
        score(dataclasses.replace(config, out=str(tmp_path / "again")))


@pytest.fixture
def implicit(config, chain_base, tmp_path):
    """An implicit critic, and a reference other than its own."""
    base, other = str(chain_base / "base"), str(tmp_path / "other")
    tokenizer = load_tokenizer(base)
    made = ((str(tmp_path / "implicit"), CriticSpec("implicit", reference=base), 0.5), (other, None, 0.25))
    for path, spec, scale in made:
        model = MTPModel.from_pretrained(base, n_future=1, value_head=spec is not None, critic=spec)
        with torch.no_grad():
            next(model.parameters()).mul_(scale)
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return dataclasses.replace(config, critic=str(tmp_path / "implicit")), base, other


def test_a_folder_is_not_gone_on_with_by_another_reference(implicit):
    config, own, other = implicit
    score(config)
    score(dataclasses.replace(config, reference=own))  # the one that the critic names
    with pytest.raises(ConfigError, match="holds scores with other reference"):
        score(dataclasses.replace(config, reference=other))


def test_a_reference_for_a_critic_without_one_is_refused(config, chain_base):
    with pytest.raises(ConfigError, match="is a value head, which reads none: leave --reference out"):
        score(dataclasses.replace(config, reference=str(chain_base / "base")))


def test_a_folder_is_not_gone_on_with_by_a_critic_that_reckons_otherwise(implicit):
    config, _, _ = implicit
    score(config)
    path = Path(config.critic, "weighted_mtp.json")
    text = path.read_text()
    assert '"reward_beta": 0.05' in text
    path.write_text(text.replace('"reward_beta": 0.05', '"reward_beta": 0.5'))
    with pytest.raises(ConfigError, match="holds scores with other critic"):
        score(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "out is .*file, but .*file is a file: give a folder"),
        ("file/inside", "out is .*inside, but .*file is a file: give a folder"),
        ("halves", "holds scores in shards i/2, not i/1: give another folder, or --shard as there"),
        ("settings", "settings.json holds no settings"),
    ],
)
def test_a_place_that_cannot_take_the_scores_is_refused(config, tmp_path, name, message):
    (tmp_path / "file").touch()
    for folder, file in (("halves", shard_marker(2, 2)), ("settings", "settings.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("[]")
    with pytest.raises(ConfigError, match=message):
        score(dataclasses.replace(config, out=str(tmp_path / name)))


def test_a_folder_without_scores_is_no_data(tmp_path):
    with pytest.raises(DataError, match="is a folder; name the file in it"):
        load_rows(tmp_path)
