"""A saved model anew in another folder: in the layout of now, another precision, with or without heads."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from weighted_mtp.files import new_folder, told_when_full
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.models.eagle import write_eagle
from weighted_mtp.models.lora import ADAPTER
from weighted_mtp.models.meta.write import DTYPES
from weighted_mtp.models.sources import digest_of_model, first_line, resolve
from weighted_mtp.training.checkpoints import list_checkpoints
from weighted_mtp.training.config import RUN_FILE
from weighted_mtp.training.saving import WEIGHTING_FILE
from weighted_mtp.training.skill import SKILL, read_skill

CARD = "README.md"
_BESIDE = (RUN_FILE, WEIGHTING_FILE, "tokenizer.model", ADAPTER)
"""Of a run's folder, what goes along."""
_SPEED = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")


def export(
    directory: str, out: str, dtype: str = "auto", max_shard_size: str | None = None, push: str | None = None
) -> str:
    """Writes a model, its tokenizer and a model card into a new folder; returns a line that says what is there.

    Args:
        directory: of a model, in the layout of version 0.1.0 too; a `.gguf` file; as `MTPModel.from_pretrained` takes.
        out: a new or empty folder.
        dtype: "auto" (as stored) or a name of `DTYPES`; value head and label embedding stay float32.
        max_shard_size: of a file of the plain model, such as "5GB"; None: transformers' own.
        push: `hub:OWNER/NAME`, where the folder is uploaded to; a repository that is not there is made, a private one.

    Raises:
        ValueError: no such model, values that the precision cannot hold, or something is at `out`; nothing is left.
            Or the hub does not take it; the folder stays.
    """
    told = _write(directory, MTPModel.from_pretrained(directory), out, dtype, max_shard_size)
    return told if push is None else f"{told}\n{_upload(out, push.removeprefix('hub:'))}"


def add_heads(directory: str, out: str, n_future: int | None = None, value_head: bool = False) -> str:
    """`export` with fresh heads: up to n_future in all, copies of the last layer, and a value head that is zero.
    ValueError where it has them already."""
    model = MTPModel.from_pretrained(directory)
    if n_future is not None and n_future <= model.n_future:
        raise ValueError(f"{directory} has n_future {model.n_future}: give one above it")
    if value_head and model.value_head is not None:
        raise ValueError(f"{directory} has a value head")
    if n_future is None and not value_head:
        raise ValueError("no head is named: give --n_future N, --value_head true, or both")
    return _write(directory, MTPModel.from_pretrained(model, n_future, value_head or None), out)


def drop_heads(directory: str, out: str) -> str:
    """`export` of the plain model alone."""
    return _write(directory, MTPModel(MTPModel.from_pretrained(directory).hf_model), out)


def eagle(directory: str, out: str) -> str:
    """The head of a model with `heads: eagle` as an EAGLE-1 draft model (see `write_eagle`)."""
    model = MTPModel.from_pretrained(directory)
    with new_folder(Path(out)) as folder, told_when_full(folder):
        count = write_eagle(model, folder)
    return f"{out}: an EAGLE-1 draft model for {directory}, {count:,} parameters"


def _write(directory: str, model: MTPModel, out: str, dtype: str = "auto", max_shard_size: str | None = None) -> str:
    source = resolve(directory)
    with new_folder(Path(out)) as folder, told_when_full(folder):
        given = folder if source.gguf_file or source.from_hub else Path(source.location)
        model.save_pretrained(folder, dtype=DTYPES.get(dtype), max_shard_size=max_shard_size)
        saved = json.loads((folder / "config.json").read_text())["dtype"]
        if dtype not in ("auto", saved):
            raise ValueError(f"{directory} has values that {dtype} cannot hold: give another --dtype, or auto")
        with suppress(ValueError):  # models without a tokenizer have use, too
            load_tokenizer(directory).save_pretrained(folder)
        for path in (given / name for name in _BESIDE):
            if path.exists() and not (folder / path.name).exists():
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
        skill = None if model.value_head is None else read_skill(given)
        if skill is not None and dtype == "auto":  # it is of the same critic
            (folder / SKILL).write_text(json.dumps({**skill, "critic": digest_of_model(folder)}, indent=1) + "\n")
        count = sum(parameter.numel() for parameter in model.hf_model.parameters())
        told = f"{count:,} parameters ({saved}); {_heads(model)}"
        (folder / CARD).write_text(_card(given, Path(out).name, told, skill), encoding="utf-8")
    return f"{out}: {told}"


def _upload(folder: str, name: str) -> str:
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(name, private=True, exist_ok=True)
        return f"pushed: {HfApi().upload_folder(repo_id=name, folder_path=folder).commit_url}"
    except Exception as error:  # of the library's client, or what the hub answers
        raise ValueError(
            f"{folder} is written, but hub:{name} did not take it: {first_line(error)}. Once that is mended: "
            f"hf upload {name} {folder}"
        ) from None


def _heads(model: MTPModel) -> str:
    value = "a value head" if model.value_head is not None else "no value head"
    critic = f", a {model.critic.kind} critic" if model.critic is not None else ""
    kind = "" if model.extra_heads.kind == "parallel" else f", {model.extra_heads.kind}"
    return f"{model.n_future} head{'s' * (model.n_future > 1)} (n_future {model.n_future}{kind}), {value}{critic}"


def _card(directory: Path, name: str, told: str, skill: Any) -> str:
    """What the run's own files say of it, as the model card of a hub."""
    header: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    header["tags"] = ["weighted-mtp"]
    file = directory / RUN_FILE
    run: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    facts, end = {"Model": told}, ""
    if run:
        base = run["model_name_or_path"]
        if str(base).startswith("hub:"):
            header["base_model"] = base.removeprefix("hub:")
        options = f" {json.dumps(run['scheme_options'])}" if run["scheme_options"] else ""
        facts |= {"Base": base, "Data": run["train_file"], "Stage": run["stage"], "Scheme": f"{run['scheme']}{options}"}
        facts |= {"Critic": run["critic"]} if run["critic"] else {}
        settings = yaml.safe_dump(run, sort_keys=False, allow_unicode=True)
        end = f"\n## Command\n\n`wmtp train {run['stage']} --config {RUN_FILE}` with\n\n```yaml\n{settings}```\n"
    if skill is not None:
        facts["Skill of the critic"] = skill["verdict"]
    rows = "".join(f"| {key} | {_cell(value)} |\n" for key, value in facts.items())
    head = f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n# {name}\n\nTrained with weighted-mtp. "
    plain = "It loads as any model of transformers; `MTPModel.from_pretrained` reads the heads beside it.\n"
    return f"{head}{plain}\n| | |\n|---|---|\n{rows}{_metrics(directory)}{end}"


def _metrics(directory: Path) -> str:
    """Of the last evaluation that a checkpoint remembers; where a run stopped early, of the model that it kept."""
    for file in (checkpoint / "trainer_state.json" for checkpoint in list_checkpoints(directory)):
        state = json.loads(file.read_text()) if file.is_file() else {"log_history": []}
        kept = state.get("best_global_step")
        if found := [e for e in state["log_history"] if "eval_loss" in e and kept in (None, e["step"])]:
            named = {key: value for key, value in found[-1].items() if key.startswith("eval_") and key not in _SPEED}
            rows = "".join(f"| {key.removeprefix('eval_')} | {value:.4g} |\n" for key, value in named.items())
            step = found[-1]["step"]
            return f"\n## Metrics\n\nOn held-out rows, at step {step}.\n\n| metric | value |\n|---|---|\n{rows}"
    return ""


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
