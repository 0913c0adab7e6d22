"""`wmtp evaluate`: greedy and sampled completions of problems, a verifier's verdict on each, exact match and pass@k.
Two files grow row by row, completions.jsonl and samples.jsonl; a call goes on where the last one stopped."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from weighted_mtp.data import DataError
from weighted_mtp.data.json_lines import JsonLinesWriter
from weighted_mtp.engine.parts import Make, Part, parts_of, rows_in_order
from weighted_mtp.engine.settings import OF_ENGINES
from weighted_mtp.evaluation.asking import load_asked, prompt_of, silent, tokenizer_of
from weighted_mtp.evaluation.decoding import complete
from weighted_mtp.evaluation.elsewhere import read_completions
from weighted_mtp.evaluation.problems import CODE, EvaluationConfig, Problems, read_problems, usable
from weighted_mtp.evaluation.results import print_evaluation, provenance, summarise_samples
from weighted_mtp.evaluation.sampling import HUMANEVAL_STOPS, MBPP_STOPS
from weighted_mtp.files import digest_of, write_text
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.reports.terminal import progress_bar
from weighted_mtp.training.errors import ConfigError, require, require_same_settings
from weighted_mtp.training.loading import NOTHING, InMemory
from weighted_mtp.training.made_with import fingerprint_model
from weighted_mtp.verifiers.base import Verifier
from weighted_mtp.verifiers.judging import judged_in_parts
from weighted_mtp.verifiers.table import make_verifier

Rows = list[dict[str, Any]]
COMPLETIONS, SAMPLES, RESULTS, SETTINGS = ("completions.jsonl", "samples.jsonl", "results.json", "settings.json")
BY_CONTENT = ("model weights or tokenizer", "problems")
"""Settings that are digests: the same wherever the files lie."""
ELSEWHERE = "completions made elsewhere"
BY_VALUE = ("verifier", "samples", "temperature", "top_p", "max_new_tokens", "seed", "timeout", "label")


def evaluate(config: EvaluationConfig, console: Console, memory: InMemory = NOTHING) -> dict[str, Any]:
    """Generates what is missing, checks what is unchecked, writes and prints the results: what results.json holds.

    Raises VerifierError where the verifier cannot work, DataError for problems without what they need or files that do
    not fit, ConfigError for a folder with other settings, or a setting that does not fit the model.
    """
    verifier = make_verifier(config.verifier, **config.options())
    tell = _tell(console)
    problems = usable(config, read_problems(config, memory.rows), verifier.problem_errors, tell)
    given = None
    if config.completions is not None:
        whole = config.limit is None and config.on_bad_problem == "error"
        given = read_completions(config.completions, problems, whole, tell)
    out, stop = Path(config.out), stop_strings(config, problems)
    settings = _settings(config, problems, stop, memory.model, given)
    if (out / COMPLETIONS).exists() and (out / COMPLETIONS).stat().st_size:
        require((out / SETTINGS).exists(), f"{out} holds completions and no {SETTINGS}: use another --out")
        require_same_settings(out / SETTINGS, settings, "an evaluation", (*BY_CONTENT, ELSEWHERE))
    completions = _generate(config, settings, problems, console, memory) if given is None else given
    if given is not None:
        _keep(out, settings, given)
    samples = _verify(config, verifier, problems, completions, console)
    sampled = Counter(row["problem"] for row in samples if row["kind"] == "sampled")
    tries = config.tries(min(sampled.get(place, 0) for place in problems))
    results = summarise_samples(samples, problems, tries)
    told = {name: value for name, value in asdict(config).items() if name not in OF_ENGINES}
    results["settings"] = told | {"stop": stop, "k": tries}
    _write_results(out / RESULTS, results)
    print_evaluation(console, results)
    return results


def _tell(console: Console) -> Callable[[str], None]:
    return partial(console.print, soft_wrap=True, markup=False, highlight=False)


def stop_strings(config: EvaluationConfig, problems: Problems) -> list[str]:
    """As given; else, for code that goes on from a text, where the function that it begins or asks for ends."""
    if config.stop is not None or config.completions is not None or config.chat or config.verifier != CODE:
        return config.stop or []
    if not all(isinstance(row["prompt"], str) for row in problems.values()):
        return []
    begun = all(f"def {row.get('entry_point')}" in row["prompt"] for row in problems.values())
    return list(HUMANEVAL_STOPS if begun else MBPP_STOPS)


# The folder


def _settings(
    config: EvaluationConfig, problems: Problems, stop: list[str], loaded: Any, given: Rows | None
) -> dict[str, Any]:
    """What the rows depend on; of model, problems and completions the content, so that they may be moved."""
    flat, contents = asdict(config), {BY_CONTENT[1]: _digest(list(problems.values()))}
    others = [name for name in ("guidance", "chat", "allow", "environment") if flat[name]]
    if given is not None:
        names = ("verifier", "timeout", *others)
        return contents | {ELSEWHERE: _digest(given)} | {name: flat[name] for name in names}
    model = digest_of_model(config.model or "") if loaded is None else fingerprint_model(loaded)
    return {BY_CONTENT[0]: model, **contents, "stop": stop, **{name: flat[name] for name in (*BY_VALUE, *others)}}


def _digest(rows: Rows) -> str:
    return digest_of(json.dumps(rows, sort_keys=True).encode())


def _keep(out: Path, settings: dict[str, Any], given: Rows) -> None:
    """Completions made elsewhere, in the folder as if they were made here."""
    writer = JsonLinesWriter(out / COMPLETIONS)
    _require_prefix(writer.path, writer.done, given)
    with writer:
        _write_json(out / SETTINGS, settings)
        for row in given[len(writer.done) :]:
            writer.write(row)


def _write_results(path: Path, results: dict[str, Any]) -> None:
    """A file that says the same is kept, and with it the date and the versions of the call that did the work."""
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        results["provenance"] = found.get("provenance")
        if found == results:
            return
    results["provenance"] = dict(provenance())
    _write_json(path, results)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def _require_prefix(path: Path, found: Rows, wanted: Rows) -> None:
    """Raises DataError unless the rows of a file are the first of those that belong there."""
    if found != wanted[: len(found)]:
        at = next(i for i, row in enumerate(found) if i >= len(wanted) or row != wanted[i])
        raise DataError(f"{path}: row {at} is not of this evaluation: was the file changed? Use another --out")


# Generating


def _wanted(problems: Problems, samples: int) -> Rows:
    """The columns that say what each completion is: a greedy one a problem, then all samples."""
    named = [{"problem": i, "task_id": problem.get("task_id")} for i, problem in problems.items()]
    greedy = [row | {"kind": "greedy", "sample": None} for row in named]
    return greedy + [row | {"kind": "sampled", "sample": sample} for row in named for sample in range(samples)]


def _generate(
    config: EvaluationConfig, settings: dict[str, Any], problems: Problems, console: Console, memory: InMemory
) -> Rows:
    """All completions, those of an earlier call first."""
    writer = JsonLinesWriter(Path(config.out) / COMPLETIONS)
    rows, wanted = writer.done, _wanted(problems, int(config.samples))
    _require_prefix(writer.path, [{name: row.get(name) for name in wanted[0]} for row in rows], wanted)
    if len(rows) == len(wanted):
        return rows
    tell = _tell(console)
    work = _Generating(config, problems, settings["stop"], tell if config.alone else silent, memory)
    if not config.alone:
        require(memory.model is None, "a model in memory is of one process: leave engine and workers out")
        tokenizer_of(config, problems, tell, continues=config.verifier == CODE)
    known, parts, done = len(rows), list[Part](), 0
    for start, of_kind in ((0, wanted[: len(problems)]), (len(problems), wanted[len(problems) :])):
        # A part is all greedy or all sampled.
        more, begun = parts_of(of_kind, max(0, known - start), config.batch_size, settings)
        parts, done = parts + more, done + begun
    with writer, progress_bar(console) as progress:
        task = progress.add_task("generating", total=len(wanted), completed=known)
        made = islice(rows_in_order(config, work, parts, writer.path), done, None)
        for row, completion in zip(wanted[known:], made, strict=True):
            if not rows:
                _write_json(Path(config.out) / SETTINGS, settings)
            rows.append(row | completion)
            writer.write(rows[-1])
            progress.advance(task)
    return rows


@dataclass(frozen=True)
class _Generating:
    """The work: a model completes batches."""

    config: EvaluationConfig
    problems: Problems
    stop: list[str]
    tell: Callable[[str], None]
    memory: InMemory

    def open(self, cores: int | None) -> Make:
        config = self.config
        continues = config.verifier == CODE
        model, tokenizer = load_asked(config, self.problems, self.tell, continues=continues, memory=self.memory)
        if config.label is not None and model.label_condition is None:
            raise ConfigError(f"label is {config.label}: {config.model} is no generative critic, so it takes no label")

        def make(batch: Rows) -> Rows:
            asked = [self.problems[row["problem"]] for row in batch]
            greedy = batch[0]["kind"] == "greedy"
            found = complete(
                model,
                tokenizer,
                [prompt_of(problem, config.chat) for problem in asked],
                max_new_tokens=config.max_new_tokens,
                seeds=None if greedy else [[config.seed, row["problem"], row["sample"]] for row in batch],
                temperature=config.temperature,
                top_p=config.top_p,
                stop=self.stop,
                condition=config.label,
                guidance=config.guidance,
                tools=[problem.get("tools") for problem in asked],
                drafts=config.drafts,
            )
            return [
                {"completion": one.text, "ended": one.ended} | ({"drafts": asdict(one.drafts)} if one.drafts else {})
                for one in found
            ]

        return make


# Checking


def _asked(problem: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """What a verifier is asked of a problem's completion, as of a row of `wmtp sample`."""
    return problem | {"completion": row["completion"], "truncated": row["ended"] == "length"}


def _verify(
    config: EvaluationConfig, verifier: Verifier, problems: Problems, completions: Rows, console: Console
) -> Rows:
    """All completions with their verdicts, those of an earlier call first."""
    writer = JsonLinesWriter(Path(config.out) / SAMPLES)
    samples = writer.done
    bare = [{name: x for name, x in row.items() if name != "verdict"} for row in samples]
    _require_prefix(writer.path, bare, completions)
    for number, row in enumerate(samples, start=1):
        if verifier.needs_end and row["ended"] == "length" and row["verdict"] != "fail":
            reason = f"was cut off, and an earlier version's verdict is {row['verdict']}, where it is fail now"
            raise DataError(f"{writer.path}:{number}: {reason}: remove this file, and its completions are judged anew")
    known = len(samples)
    if known == len(completions):
        return samples
    asked = [_asked(problems[row["problem"]], row) for row in completions]
    with writer, progress_bar(console) as progress:
        task = progress.add_task("checking  ", total=len(completions), completed=known)
        judgements = judged_in_parts(config, verifier, asked, known, writer.path)
        for row, (verdict, *_) in zip(completions[known:], judgements, strict=True):
            samples.append(row | {"verdict": verdict})
            writer.write(samples[-1])
            progress.advance(task)
    return samples
