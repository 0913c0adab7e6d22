"""What says the same of every token passes for no critic, however it came to be so."""

import json

import pytest
import torch

from weighted_mtp.cli.main import main
from weighted_mtp.models import CriticSpec, MTPModel, load_tokenizer
from weighted_mtp.training.critics.base import require_spread
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.critics.value_head import ValueHeadCritic, knows_nothing
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import require_informed, train
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

TAGS = {"right": [10], "wrong": [14]}


@pytest.fixture
def saved(chain_base, tmp_path):
    """A function (change, critic) -> directory of the tiny model with a value head, after change(model)."""

    def save(change, critic=None, value_hidden=0) -> str:
        base = str(chain_base / "base")
        model = MTPModel.from_pretrained(base, value_head=True, value_hidden=value_hidden, critic=critic)
        with torch.no_grad():
            change(model)
        model.save_pretrained(tmp_path / "made")
        load_tokenizer(base).save_pretrained(tmp_path / "made")
        return str(tmp_path / "made")

    return save


def nothing(model) -> None:
    """Leaves the model as it is made."""


# Seen in the weights


def hidden_head(output: list[float], reads: list[float]):
    """Of two hidden units: the weight of the output on each, and what each reads of the state."""

    def change(model) -> None:
        model.value_head.weight[:] = torch.tensor([output])
        model.value_head.hidden.weight[:] = torch.tensor(reads)[:, None]

    return change


@pytest.mark.parametrize(
    ("output", "reads", "nothing_known"),
    [([0, 0], [1, 1], True), ([1, 1], [0, 0], True), ([1, 0], [0, 1], True), ([1, 0], [1, 0], False)],
    ids=["no output", "no input", "no unit with both", "one unit with both"],
)
def test_a_hidden_layer_is_read_where_a_unit_has_input_and_output(chain_base, output, reads, nothing_known):
    model = MTPModel.from_pretrained(chain_base / "base", value_head=True, value_hidden=2)
    with torch.no_grad():
        model.value_head.bias.fill_(1.0)
        hidden_head(output, reads)(model)
    assert knows_nothing(model) is nothing_known


def test_a_head_that_is_a_bias_alone_is_refused_as_base_and_as_critic(saved, prepare):
    path = saved(lambda model: model.value_head.bias.fill_(1.0))
    for settings in ({"model_name_or_path": path}, {"critic": path}):
        with pytest.raises(ConfigError, match=r"never trained.*wmtp train critic"):
            prepare("verifiable", **settings)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_implicit_critic_that_is_its_reference_is_refused(chain_base, tmp_path, saved, dtype):
    reference = str(tmp_path / "reference")
    half = MTPModel.from_pretrained(chain_base / "base", dtype=dtype)
    half.save_pretrained(reference)

    def as_read(model) -> None:  # float32, of what the reference holds
        for own, other in zip(model.hf_model.parameters(), half.hf_model.parameters(), strict=True):
            own.copy_(other)

    path = saved(as_read, CriticSpec("implicit", reference=reference))
    with pytest.raises(ConfigError, match=r"weights are those of its reference.*wmtp train critic"):
        load_critic(path)


@pytest.mark.parametrize(
    ("embedding", "message"),
    [(1e-30, "same, or all 0"), (torch.full((2, 64), 0.5), "same, or all 0"), (torch.eye(2, 64) * 1e-4, None)],
    ids=["next to 0", "one for both", "trained a little"],
)
def test_a_generative_critic_must_tell_its_labels_apart(saved, embedding, message):
    def change(model) -> None:
        model.label_condition.weight[0] = 0
        model.label_condition.weight += embedding

    path = saved(change, CriticSpec("generative"))
    if message is None:
        assert load_critic(path)
        return
    with pytest.raises(ConfigError, match=f"{message}.*wmtp train critic"):
        load_critic(path)


def test_a_generative_critic_of_one_tag_for_both_labels_is_refused(saved):
    path = saved(nothing, CriticSpec("generative", tags=TAGS | {"wrong": [10]}))
    with pytest.raises(ConfigError, match="both of its tags are the same tokens"):
        load_critic(path)


# Seen in what it says


def faint(model) -> None:
    """A head that an all but absent learning rate moved."""
    torch.nn.init.normal_(model.value_head.weight, std=1e-12)
    model.value_head.bias.fill_(0.3)


def blind(model) -> None:
    """A decoder that sees its last token alone, and so no tag."""
    for layer in model.hf_model.model.layers:
        layer.self_attn.o_proj.weight.zero_()


CASES = {
    "value_head": (faint, None, "its value goes from 0.574"),
    "tags": (blind, CriticSpec("generative", tags=TAGS), "its credit goes from"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_critic_that_says_the_same_of_every_token_scores_nothing(saved, rows, tmp_path, case):
    change, spec, said = CASES[case]
    config = ScoreConfig(saved(change, spec), str(rows["train"]), str(tmp_path / "scored"))
    with pytest.raises(ConfigError, match=f"labelled tokens of 64 rows {said}.*wmtp train critic"):
        score(config)
    assert not list(tmp_path.glob("scored/part-*"))


@pytest.mark.parametrize("case", CASES)
def test_a_critic_that_says_the_same_of_every_token_weighs_nothing(saved, make_config, tmp_path, case):
    change, spec, said = CASES[case]
    with pytest.raises(ConfigError, match=f"{said}.*wmtp train critic"):
        train(make_config("verifiable", critic=saved(change, spec)))
    assert not (tmp_path / "run" / "run.yaml").exists()


def test_an_own_head_that_says_the_same_of_every_token_weighs_nothing(saved, chain_base, tmp_path, capsys):
    words = ["--train_file", str(chain_base / "train.jsonl"), "--output_dir", str(tmp_path / "run")]
    words += ["--tracking_uri", "none"]
    assert main(["train", "verifiable", "--model_name_or_path", saved(faint), *words]) == 2
    assert "tells no token from another" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.yaml").exists()


def test_rows_with_values_need_no_head_that_knows_something(saved, prepare, chain_base, tmp_path):
    rows = [json.loads(line) for line in (chain_base / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row["values"] = [0.25] * (len(row["completion"].split()) + 1)
    file = tmp_path / "valued.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = prepare("verifiable", model_name_or_path=saved(faint), train_file=str(file))
    require_informed(run.trainer, run.config)


def test_the_look_leaves_random_state_and_modes_as_they_were(prepare):
    run = prepare("verifiable")
    model = run.inputs.model
    model.train()
    model.value_head.eval()
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    require_spread(ValueHeadCritic(model), run.inputs.train_dataset, run.trainer.data_collator, "it")
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes


def test_of_a_critic_that_knows_something_one_row_is_read(prepare):
    run = prepare("verifiable")
    sizes = []

    def collate(some):
        sizes.append(len(some))
        return run.trainer.data_collator(some)

    require_spread(ValueHeadCritic(run.inputs.model), run.inputs.train_dataset, collate, "it")
    assert sizes == [1]


def test_a_scheme_that_reads_no_values_asks_no_critic_for_any(prepare, chain_base):
    run = prepare("verifiable", model_name_or_path=str(chain_base / "base"), scheme="return_weighted")
    assert run.fit().state.global_step == 4
