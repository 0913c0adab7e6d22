"""`wmtp improve`: rounds until the held-out problems show no gain twice, each step the command of its own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from weighted_mtp.data.json_lines import read_json_lines
from weighted_mtp.data.schema import DataError
from weighted_mtp.evaluation.problems import Problems
from weighted_mtp.improve.account import SOLVED, gains, no_gain_twice, read_rounds
from weighted_mtp.improve.page import print_rounds, write_improve_page
from weighted_mtp.improve.plan import Tokens, account_of, evaluation, learning, passes, round_dir, sampling
from weighted_mtp.improve.rows import held_out_rows, nothing_to_learn, rows_of, training_rows, write_rows
from weighted_mtp.improve.settings import ImproveConfig
from weighted_mtp.improve.steps import Record, Step

PAGE = "improve.html"


def improve(config: ImproveConfig, problems: Problems, held_out: Problems, console: Console) -> str:
    """Does what is not done yet; returns, in a sentence, why it ended. ConfigError: a step is done with other settings;
    DataError: the first round's samples teach nothing; StepFailedError: a step's command ended with an error."""
    page = Path(config.out) / PAGE
    tell = partial(console.print, soft_wrap=True, markup=False, highlight=False)
    run = partial(_run, Tokens(config.model), tell)
    run(evaluation(config, 0))
    ended = _ended(config, 0)
    for number in range(1, config.rounds + 1):
        if ended:
            break
        if why := _round(config, number, held_out, run):
            if number == 1:
                raise DataError(f"{round_dir(config, 1) / 'rows.jsonl'}: {why}")
            ended = f"It ended in round {number}: {why}."
            break
        ended = _ended(config, number)
        rounds = read_rounds(config)
        print_rounds(console, config, rounds[: number + 1])
        write_improve_page(page, config, rounds, held_out, ended or "It goes on.")
    write_improve_page(page, config, read_rounds(config), held_out, ended)
    return ended


def _ended(config: ImproveConfig, number: int) -> str:
    """Why there is no round after this one; nothing where there is."""
    found = gains([one.values[SOLVED] for one in read_rounds(config)[: number + 1]])
    if no_gain_twice(found):
        return f"It ended after round {number}: two rounds in a row show no gain on the held-out problems."
    return f"It ended after round {number}, the last that was asked for." if number == config.rounds else ""


def _round(config: ImproveConfig, number: int, held_out: Problems, run: Callable[[Step], Record]) -> str | None:
    """One round; a line where its samples teach nothing, which ends it before anything is trained."""
    folder = round_dir(config, number)
    run(sampling(config, number))
    sampled = [rows_of(round_dir(config, i)) for i in range(1 if config.keep else number, number + 1)]
    if why := nothing_to_learn(sampled[-1], config.verifier):
        return why
    write_rows(folder / "train.jsonl", training_rows(sampled, config.sample.get("drop_duplicates", False)))
    if config.critic is not None:
        samples = read_json_lines(round_dir(config, number - 1) / "evaluation" / "samples.jsonl")
        write_rows(folder / "skill.jsonl", held_out_rows(held_out, samples, bool(config.evaluate.get("chat"))))
    for step in learning(config, number):
        run(step)
    run(evaluation(config, number))
    return None


def _run(tokens: Tokens, tell: Callable[[str], None], step: Step) -> Record:
    done = step.record().get("finished")
    name = f"{step.folder.name}: {step.name}"
    if not done:
        tell(f"{name}: wmtp {step.command}, in {step.log}")
    record = step.run(account_of(step, tokens))
    right = f", {100 * record['right'] / max(1, record['judged']):.0f} % right" if "right" in record else ""
    auc = f", AUC {record['auc']:.3f}" if record.get("auc") is not None else ""
    when = "done before" if done else "done"
    tell(f"{name}: {when}, {record['tokens']:,} tokens, {record['seconds'] / 60:.1f} min{right}{auc}")
    return record


def show_plan(config: ImproveConfig, problems: Problems, held_out: Problems, console: Console) -> None:
    """The steps of a round with what they cost at most; nothing is done."""
    sampled, judged = (
        config.sample.get("n", 8) * len(problems),
        (1 + config.evaluate.get("samples", 10)) * len(held_out),
    )
    learned = sampled * (config.rounds if config.keep else 1)
    table = Table("round", "step", "rows", "optimizer steps", "tokens at most", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    total = 0
    last = f"1 to {config.rounds}" if config.rounds > 1 else "1"
    steps = [("0", evaluation(config, 0))]
    steps += [(last, step) for step in (sampling(config, 1), *learning(config, 1), evaluation(config, 1))]
    for name, step in steps:
        rows, optimizer, tokens = sampled, "", 0
        if step.command in ("sample", "evaluate"):
            rows = sampled if step.command == "sample" else judged
            tokens = rows * step.settings.get("max_new_tokens", 512)
        elif step.command == "score":
            rows = min(judged, 2000) if step.name == "skill" else learned
            tokens = rows * step.settings.get("max_length", 1024)
        else:
            rows = learned
            done = passes(step, rows)
            optimizer, tokens = f"{done.steps:,}", done.rows * step.settings.get("max_length", 1024)
        total += tokens * (config.rounds if name != "0" else 1)
        table.add_row(name, f"{step.name}: wmtp {step.command}", f"{rows:,}", optimizer, f"{tokens:,}")
    console.print(table)
    console.print(f"all rounds: at most {total:,} tokens, written or read; nothing was done", highlight=False)
