"""Dirty input by the thousand: each is taken, or ends in one clear error of ours."""

import contextlib
import io
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

Case = Callable[[], Any]

STRANGE = (
    "", " ", "\n", "\x00", "\ufeff", "\u202eabc", "\ud800", "a\udfffb", "é" * 50, "👩‍👩‍👧‍👦",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}", "{%", "%s%n", "../../etc/passwd", "null", "NaN", "1e999", "-0", "0x10", "true", "[]",
    "{}", "'; drop table rows; --",
    "\r\n\r\n", "\t", "a" * 5000, "<|im_end|>", "<s>", "</s>",
)  # fmt: skip
NUMBERS = (
    0,
    1,
    -1,
    2,
    0.5,
    -0.0,
    1e308,
    -1e308,
    1e-320,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**63,
    -(2**70),
    True,
    False,
)
COLUMNS = (
    "prompt", "completion", "label", "is_correct", "reward", "verdict", "messages", "conversations", "instruction",
    "input", "output", "steps", "weights", "values", "credit", "td_errors", "token_error", "span", "pass_rate", "tools",
    "truncated", "system", "completions", "labels", "logprobs", "text", "extra",
)  # fmt: skip


def value(draw: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can hold, and what Python's reader takes beyond it."""
    kind = draw.randrange(9 if depth < 4 else 6)
    if kind < 2:
        return draw.choice(STRANGE)
    if kind < 4:
        return draw.choice(NUMBERS)
    if kind == 4:
        return None
    if kind == 5:
        return "".join(draw.choices(string.printable, k=draw.randrange(20)))
    if kind == 6:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 7:
        return message(draw, depth)
    return {draw.choice(COLUMNS): value(draw, depth + 1) for _ in range(draw.randrange(4))}


def message(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """A message, or nearly one."""
    roles = ("user", "assistant", "system", "tool", "gpt", "human", draw.choice(STRANGE))
    made: dict[str, Any] = {"role": draw.choice(roles), "content": draw.choice(("hello", None, value(draw, depth + 1)))}
    for name in ("tool_calls", "reasoning_content", "weight", "train", "name", "from", "value"):
        if draw.random() < 0.1:
            made[name] = value(draw, depth + 1)
    return made


def row(draw: random.Random) -> Any:
    """A good row of which something was changed, or anything."""
    if draw.random() < 0.1:
        return value(draw)
    good: list[dict[str, Any]] = [
        {"prompt": "7 +3 :", "completion": "0", "label": True},
        {"prompt": [{"role": "user", "content": "a"}], "completion": "b", "reward": 0.5},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "label": 1},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "label": 0},
        {"instruction": "a", "input": "", "output": "b", "label": "true"},
        {"prompt": "a", "completion": "b c", "steps": [{"end": 1, "reward": 1}, {"end": 3, "reward": 0}]},
        {"prompt": "7 :", "completion": "0 3", "label": False, "weights": [1, 2, 3], "span": [0, 1]},
    ]
    made = dict(draw.choice(good))
    if draw.random() < 0.4:  # of what is there
        made[draw.choice([*made])] = draw.choice((*STRANGE, *NUMBERS))
        return made
    for _ in range(draw.randrange(1, 3)):
        made[draw.choice(COLUMNS)] = message(draw) if draw.random() < 0.2 else value(draw)
        if draw.random() < 0.2:
            made.pop(draw.choice([*made]))
    return made


def bytes_of(draw: random.Random) -> bytes:
    """Lines of a file: rows, cut, flipped, or no text at all."""
    lines = [json.dumps(row(draw)).encode() for _ in range(draw.randrange(1, 4))]
    data = bytearray(draw.choice((b"\n", b"\r\n", b"\n\n")).join(lines))
    for _ in range(draw.choice((0, 0, 1, 3))):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    if draw.random() < 0.1:
        data = data[: draw.randrange(len(data) + 1)]
    if draw.random() < 0.05:
        depth = draw.choice((10, 1_000, 100_000))
        data += b'\n{"prompt": ' + b"[" * depth + b"]" * depth + b"}"
    return bytes(data)


def byte_tokenizer() -> Any:
    """A token a byte, so that every text has tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", clean_up_tokenization_spaces=False)


def rows_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """Rows in memory, and tokenized where they are good."""
    from weighted_mtp.data import load_rows, tokenize_rows

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"

    def read(given: Any) -> None:
        rows, _ = load_rows([given])
        tokenize_rows(rows, tokenizer, max_length=64)

    while True:
        yield partial(read, row(draw))


def file_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """Files of rows, whatever their name says."""
    from weighted_mtp.data import load_rows

    path = folder / "rows"

    def read(content: bytes, suffix: str) -> None:
        file = path.with_suffix(suffix)
        file.write_bytes(content)
        load_rows(file, on_bad_row="skip")

    while True:
        suffix = draw.choice((".jsonl", ".jsonl", ".json", ".parquet", ".jsonl.gz", ".txt"))
        yield partial(read, bytes_of(draw), suffix)


def settings_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """YAML files of settings for a run."""
    from weighted_mtp.cli.settings_files import read_settings
    from weighted_mtp.training.config import RunConfig, settings_from

    names = [f.name for part in RunConfig.PARTS.values() for f in fields(part)]
    path = folder / "run.yaml"

    def read(text: str, stage: str) -> None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        given = settings_from(RunConfig.PARTS.values(), read_settings(str(path)))
        RunConfig.from_flat({"stage": stage, **given})

    while True:
        lines = ["model_name_or_path: m", "train_file: t.jsonl", "output_dir: o"]
        for _ in range(draw.randrange(1, 4)):
            likely = draw.choice(("0", "1", "2", ".5", "true", "false", "all", "last", "auto", "[]", "{}", "100"))
            odd = draw.choice(
                (json.dumps(value(draw)), draw.choice(STRANGE), "&a [*a]", "!!python/object:os.system x", "!!bool x")
            )
            lines.append(f"{draw.choice(names)}: {likely if draw.random() < 0.8 else odd}")
        draw.shuffle(lines)
        stage = draw.choice(("baseline", "critic", "verifiable", "rho1"))
        yield partial(read, "\n".join(lines), stage)


def command_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """Command lines: exit status 2 and one line, or what was asked for."""
    from weighted_mtp.cli.commands import COMMANDS
    from weighted_mtp.cli.main import main

    flags = (
        "--out",
        "--data",
        "--critic",
        "--problems",
        "--n",
        "--verifier",
        "--temperature",
        "--input",
        "--output",
        "--config",
    )
    heads = [name.split() for name in COMMANDS if name not in ("demo", "inspect")] + [
        ["train", "critic"],
        ["train", "rho1"],
    ]

    def run(words: list[str]) -> None:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                status = main(words)
            except SystemExit as stop:
                status = stop.code
        if status not in (0, 2, None):
            raise AssertionError(f"{words}: exit status {status}")
        if "Traceback" in said.getvalue():
            raise AssertionError(f"{words}: {said.getvalue()[-400:]}")

    while True:
        words = list(draw.choice(heads))
        for _ in range(draw.randrange(5)):
            words.append(draw.choice(flags))
            if draw.random() < 0.8:
                words.append(
                    draw.choice((draw.choice(STRANGE).replace("\x00", ""), str(draw.choice(NUMBERS)), "nothing/here"))
                )
        yield partial(run, words)


def template_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """A stranger's chat template: it writes, refuses, or is refused, and reaches nothing."""
    from weighted_mtp.data import load_rows, tokenize_rows

    pieces = (
        "{{ m['content'] }}", "{% for m in messages %}", "{% endfor %}", "{{ bos_token }}", "{% if true %}",
        "{% endif %}", "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}",
        "{{ messages.pop() }}", "{{ 1 / 0 }}",
        "{{ x.y.z }}", "{% set m = messages[0] %}", "{{ m['content'] * 100 }}", "{% generation %}",
        "{% endgeneration %}",
        "a", "\ud800", "{{", "{{ cycler.__init__.__globals__ }}", "{% include 'x' %}", "{{ range(10) | list }}",
    )  # fmt: skip
    tokenizer = byte_tokenizer()
    rows, _ = load_rows([{"prompt": [{"role": "user", "content": "7 +3"}], "completion": "0", "label": True}])

    def read(template: str) -> None:
        tokenizer.chat_template = template
        tokenize_rows(rows, tokenizer)

    while True:
        text = "".join(draw.choices(pieces, k=draw.randrange(1, 7)))
        if draw.random() < 0.5:
            pieces_of = [piece for piece in draw.choices(pieces, k=2) if "for" not in piece and piece != "{{"]
            text = "{% for m in messages %}" + "".join(pieces_of) + "{{ m['content'] }} {% endfor %}"
        yield partial(read, text)


def tensor_cases(draw: random.Random, folder: Path) -> Iterator[Case]:
    """Tensor functions on odd shapes, types and numbers."""
    from weighted_mtp import value_weighting as v

    def tensor(*shape: int) -> torch.Tensor:
        kind = draw.randrange(5)
        if kind == 0:
            return torch.tensor([draw.choice(NUMBERS[:12]) for _ in range(max(1, torch.Size(shape).numel()))]).float()
        made = torch.randn(shape) * draw.choice((1, 1e30, 1e-30))
        if kind == 1 and made.numel():
            made.view(-1)[draw.randrange(made.numel())] = draw.choice((float("nan"), float("inf")))
        return made.to(draw.choice((torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool)))

    def run() -> None:
        b, s = draw.randrange(4), draw.randrange(5)
        mask = torch.rand(b, s) < draw.random()
        if draw.random() < 0.1:
            mask = tensor(b, s + 1)
        which = draw.randrange(6)
        if which == 0:
            v.compute_td_errors(
                tensor(b, s, 1), tensor(b) if draw.random() < 0.5 else tensor(b, s), mask, draw.choice((1.0, 0.9, 2.0))
            )
        elif which == 1:
            v.build_weights(tensor(b, s), draw.choice((0.9, 0.0, -1.0, 1e-30)), draw.choice((0.1, 9.0)), 5.0, mask=mask)
        elif which == 2:
            v.compute_gae(tensor(b, s), tensor(b), mask, draw.choice((1.0, 0.99)), draw.choice((0.0, 0.95, 1.5)))
        elif which == 3:
            v.compute_lambda_returns(tensor(b, s), tensor(b, s), mask)
        elif which == 4:
            v.align_to_heads(tensor(b, s), draw.randrange(-1, 5))
        else:
            v.whiten(tensor(b, s), mask)

    while True:
        yield run


KINDS = {
    "rows": rows_cases,
    "files": file_cases,
    "settings": settings_cases,
    "command lines": command_cases,
    "chat templates": template_cases,
    "tensor functions": tensor_cases,
}


def is_clear(error: BaseException) -> bool:
    """An error of ours: a ValueError or an OSError with a message, of which no bare KeyError or the like is one."""
    return isinstance(error, ValueError | OSError) and not isinstance(error, UnicodeError) and bool(str(error).strip())


def run_cases(kind: str, count: int, folder: Path, seed: int = 0) -> dict[str, int]:
    """How many of so many inputs were taken and refused; raises at the first that did anything else."""
    draw = random.Random(f"{seed} {kind}")
    torch.manual_seed(seed)
    found = {"taken": 0, "refused": 0}
    cases = KINDS[kind](draw, folder)
    for number in range(count):
        case = next(cases)
        try:
            case()
            found["taken"] += 1
        except Exception as error:
            if not is_clear(error):
                given = repr(getattr(case, "args", ""))[:1500]
                raise AssertionError(f"{kind} {number}: {type(error).__name__}: {error}; input {given}") from error
            found["refused"] += 1
    return found
