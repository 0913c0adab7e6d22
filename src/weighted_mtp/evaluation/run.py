"""`wmtp evaluate`: greedy and sampled completions of problems, a verifier's verdict on each, exact match and pass@k.

Two files grow row by row, in one fixed order: completions.jsonl while the model writes, samples.jsonl while the
verifier checks. A call goes on where the last one stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from weighted_mtp.data import DataError
from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.evaluation.config import EvaluationConfig
from weighted_mtp.evaluation.decoding import Completion, Prompt, complete, prompt_tokens
from weighted_mtp.evaluation.files import (
    COMPLETIONS,
    RESULTS,
    SAMPLES,
    require_same,
    settings_of,
    write_results,
    write_settings,
)
from weighted_mtp.evaluation.generate import require_template, user_turn
from weighted_mtp.evaluation.problems import read_problems
from weighted_mtp.evaluation.results import summarise_samples
from weighted_mtp.evaluation.results_table import print_evaluation
from weighted_mtp.evaluation.sampling import HUMANEVAL_STOPS
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.training.settings import ConfigError
from weighted_mtp.verifiers.base import Verifier
from weighted_mtp.verifiers.table import make_verifier

Rows = list[dict[str, Any]]
HINT = (
    "hint: this model's tokenizer has a chat template, and prompts that are text are read as they are; --chat true "
    "asks as a user does"
)


class Job(NamedTuple):
    """One completion that is wanted."""

    problem: int
    """Row number in the file, from 0."""
    sample: int | None
    """Number of the sample, from 0; None: the greedy completion."""

    def describe(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that say what a row of the output is."""
        kind = "greedy" if self.sample is None else "sampled"
        return {"problem": self.problem, "task_id": problem.get("task_id"), "kind": kind, "sample": self.sample}


def evaluate(config: EvaluationConfig, console: Console) -> dict[str, Any]:
    """Generates what is missing, checks what is unchecked, and writes and prints the results.

    Args:
        config: what is asked for.
        console: where the bars and the table go.

    Returns:
        What results.json holds.

    Raises:
        VerifierError: the verifier cannot work; known before anything is generated.
        DataError: problems without what they need, or files in the folder that do not fit.
        ConfigError: the folder holds an evaluation with other settings, or a setting does not fit the model.
    """
    verifier = make_verifier(config.verifier, timeout=config.timeout)
    problems = read_problems(config.problems, config.verifier, verifier, config.limit)
    stop = _stop(config, problems)
    settings, out = settings_of(config, problems, stop), Path(config.out)
    require_same(settings, out)
    jobs = [Job(i, None) for i in range(len(problems))]
    jobs += [Job(i, sample) for i in range(len(problems)) for sample in range(config.samples)]
    completions = _generate(config, settings, problems, jobs, console)
    samples = _verify(config, verifier, problems, completions, console)
    results = summarise_samples(samples, len(problems), config.tries())
    results["settings"] = asdict(config) | {"stop": stop, "k": config.tries()}
    write_results(out, results)
    print_evaluation(console, results)
    console.print(f"every completion: {out / SAMPLES}; numbers: {out / RESULTS}", soft_wrap=True, markup=False)
    return results


@contextmanager
def _bar(console: Console, name: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; what it gives moves it on by so many."""
    with progress_bar(console) as progress:
        task = progress.add_task(name, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def _stop(config: EvaluationConfig, problems: Rows) -> list[str]:
    """As given; else those of HumanEval, where a function's body is wanted and not an answer in a chat."""
    if config.stop is not None:
        return config.stop
    body = config.verifier == "python-tests" and all(isinstance(row["prompt"], str) for row in problems)
    return list(HUMANEVAL_STOPS) if body else []


# Generating


def _generate(
    config: EvaluationConfig, settings: dict[str, Any], problems: Rows, jobs: list[Job], console: Console
) -> Rows:
    """All completions, those of an earlier call first."""
    writer = JsonLinesWriter(Path(config.out) / COMPLETIONS)
    rows, wanted = writer.done, [job.describe(problems[job.problem]) for job in jobs]
    _require_prefix(writer.path, [{name: row.get(name) for name in wanted[0]} for row in rows], wanted)
    if len(rows) == len(jobs):
        return rows
    model, tokenizer = _load(config, problems, console)
    write_settings(Path(config.out), settings)
    with writer, _bar(console, "generating", len(jobs), len(rows)) as advance:
        for start, batch in _batches(jobs, config.batch_size):
            known = min(len(batch), max(0, len(rows) - start))
            if known == len(batch):
                continue
            # A batch that a kill cut off is computed whole again: alone, its last rows might round differently.
            found = _complete(config, settings["stop"], model, tokenizer, problems, batch)
            for row, completion in zip(wanted[start + known :], found[known:], strict=False):
                rows.append(row | {"completion": completion.text, "ended": completion.ended})
                writer.write(rows[-1])
            advance(len(batch) - known)
    return rows


def _complete(
    config: EvaluationConfig, stop: list[str], model: MTPModel, tokenizer: Any, problems: Rows, batch: Sequence[Job]
) -> list[Completion]:  # fmt: skip
    seeds = [[config.seed, job.problem, job.sample] for job in batch if job.sample is not None]
    return complete(
        model,
        tokenizer,
        [_prompt(config, problems[job.problem]) for job in batch],
        max_new_tokens=config.max_new_tokens,
        seeds=seeds or None,
        temperature=config.temperature,
        top_p=config.top_p,
        stop=stop,
        condition=config.label,
        tools=[problems[job.problem].get("tools") for job in batch],
    )


def _prompt(config: EvaluationConfig, problem: Mapping[str, Any]) -> Prompt:
    """What the model is asked with."""
    prompt = problem["prompt"]
    return user_turn(prompt) if config.chat and isinstance(prompt, str) else prompt


def _batches(jobs: Sequence[Job], size: int) -> Iterator[tuple[int, Sequence[Job]]]:
    """Where each batch begins, and its jobs: all greedy or all sampled."""
    n_greedy = sum(job.sample is None for job in jobs)
    for first, last in ((0, n_greedy), (n_greedy, len(jobs))):
        for start in range(first, last, size):
            yield start, jobs[start : min(start + size, last)]


def _load(config: EvaluationConfig, problems: Rows, console: Console) -> tuple[MTPModel, Any]:
    """Model and tokenizer, once it is known that every prompt fits."""
    tokenizer = load_tokenizer(config.model)
    if config.chat:
        require_template(tokenizer, "chat is true", config.model)
    elif tokenizer.chat_template and config.verifier != "python-tests" and _any_text(problems):
        console.print(HINT, soft_wrap=True, markup=False)
    model = MTPModel.from_pretrained(config.model)
    if config.label is not None and model.label_condition is None:
        raise ConfigError(f"label is {config.label}: {config.model} is no generative critic, so it takes no label")
    longest = 0
    for i, problem in enumerate(problems):
        try:
            longest = max(longest, len(_tokens_of(config, problem, tokenizer)))
        except DataError as error:
            raise DataError(f"{config.problems}: problem {i}: {error}") from None
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and longest + config.max_new_tokens > positions:
        raise ConfigError(
            f"max_new_tokens is {config.max_new_tokens}: the longest prompt has {longest} tokens and the model "
            f"{positions} positions, so give at most {max(0, positions - longest)}"
        )
    model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    return model, tokenizer


def _any_text(problems: Rows) -> bool:
    return any(isinstance(problem["prompt"], str) for problem in problems)


def _tokens_of(config: EvaluationConfig, problem: Mapping[str, Any], tokenizer: Any) -> list[int]:
    return prompt_tokens(tokenizer, [_prompt(config, problem)], [problem.get("tools")])[0]


# Checking


def _verify(config: EvaluationConfig, verifier: Verifier, problems: Rows, completions: Rows, console: Console) -> Rows:
    """All completions with their verdicts, those of an earlier call first."""
    writer = JsonLinesWriter(Path(config.out) / SAMPLES)
    samples = writer.done
    bare = [{name: x for name, x in row.items() if name != "verdict"} for row in samples]
    _require_prefix(writer.path, bare, completions)
    todo = completions[len(samples) :]
    if not todo:
        return samples
    asked = (problems[row["problem"]] | {"completion": row["completion"]} for row in todo)
    with writer, _bar(console, "checking  ", len(completions), len(samples)) as advance:
        for row, verdict in zip(todo, verifier.check_all(asked), strict=True):
            samples.append(row | {"verdict": verdict})
            writer.write(samples[-1])
            advance(1)
    return samples


def _require_prefix(path: Path, found: Rows, wanted: Rows) -> None:
    """Raises DataError unless the rows of a file are the first of those that belong there."""
    if found != wanted[: len(found)]:
        at = next(i for i, row in enumerate(found) if i >= len(wanted) or row != wanted[i])
        raise DataError(f"{path}: row {at} is not of this evaluation: was the file changed? Use another --out")
